package spclient

import (
	"context"
	"net"
	"net/netip"
	"time"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// ListenConfig makes listeners and packet sockets in the kernel's network, as a
// net.ListenConfig makes them in the host's.
type ListenConfig struct {
	// Conn is the kernel.
	Conn *Conn
	// Resolver looks names up. Without one only addresses and localhost can be
	// listened on.
	Resolver *Resolver
	// KeepAlive is the time between probes of idle TCP connections that are
	// accepted; 0 is 15 seconds, and none are sent when it is negative.
	KeepAlive time.Duration
	// Backlog is how many connections may wait to be accepted; 0 is 128, which is
	// the most that NetBSD allows without its kern.somaxconn being changed.
	Backlog int
	// Control, if it is set, is called with each new socket, which is not bound
	// yet. An error ends the attempt.
	Control func(ctx context.Context, network, address string, fd FD) error
}

// Listen listens for connections in the kernel's network, as net.Listen does: tcp,
// tcp4, tcp6, unix and unixpacket. Without an address ("tcp", ":80") that is on all of
// the kernel's, of both versions of IP where the kernel has both. The result is a
// [*TCPListener] or a [*UnixListener].
//
// The context is for the making of the listener only.
func (c *Conn) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	return (&ListenConfig{Conn: c}).Listen(ctx, network, address)
}

// ListenPacket makes a socket for messages in the kernel's network, as net.ListenPacket
// does: udp, udp4, udp6, unixgram, and ip with a protocol ("ip4:icmp"). The result
// is a [*UDPConn], an [*IPConn] or a [*UnixConn].
//
// The context is for the making of the socket only.
func (c *Conn) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	return (&ListenConfig{Conn: c}).ListenPacket(ctx, network, address)
}

// Listen listens; see [Conn.Listen].
func (lc *ListenConfig) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	k, err := parseNetwork(network)
	if err == nil && k.typ != netbsd.SOCK_STREAM && k.typ != netbsd.SOCK_SEQPACKET {
		err = net.UnknownNetworkError(network)
	}
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Err: err}
	}
	fd, err := lc.open(ctx, k, network, address)
	if err != nil {
		return nil, err
	}
	if k.family == netbsd.AF_LOCAL {
		return &UnixListener{netListener{fd: fd}, address}, nil
	}
	l := netListener{fd: fd, keepAlive: lc.KeepAlive}
	if a, ok := fd.laddr.(*net.TCPAddr); ok && len(a.IP) != 0 && !a.IP.IsUnspecified() {
		l.laddr = a
	}
	return &TCPListener{l}, nil
}

// ListenPacket makes a socket for messages; see [Conn.ListenPacket].
func (lc *ListenConfig) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	k, err := parseNetwork(network)
	if err == nil && k.typ != netbsd.SOCK_DGRAM && k.typ != netbsd.SOCK_RAW {
		err = net.UnknownNetworkError(network)
	}
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Err: err}
	}
	fd, err := lc.open(ctx, k, network, address)
	switch {
	case err != nil:
		return nil, err
	case k.family == netbsd.AF_LOCAL:
		return newUnixConn(fd), nil
	case k.typ == netbsd.SOCK_RAW:
		return &IPConn{netConn{fd}}, nil
	}
	return &UDPConn{netConn{fd}}, nil
}

// open makes a socket that is bound to an address, and listens if it is of a kind
// that does.
func (lc *ListenConfig) open(ctx context.Context, k netKind, network, address string) (*netFD, error) {
	if k.family == netbsd.AF_LOCAL {
		laddr := &net.UnixAddr{Name: address, Net: network}
		fd, err := lc.bind(ctx, k, k.family, address, func(*netFD) ([]byte, error) {
			return netbsd.SockaddrUn(address)
		})
		if err != nil {
			return nil, &net.OpError{Op: "listen", Net: network, Addr: laddr, Err: contextError(ctx, err)}
		}
		return fd, nil
	}
	addrs, err := resolveAddrs(ctx, lc.Resolver, k, address)
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Err: contextError(ctx, err)}
	}
	laddr := addrs[0]
	for _, ap := range addrs {
		// As in package net, of several addresses that of IPv4 is meant.
		if ap.Addr().Is4() {
			laddr = ap
			break
		}
	}
	family := familyOf(laddr.Addr())
	if k.family == netbsd.AF_UNSPEC && laddr.Addr() == netip.IPv4Unspecified() && k.typ != netbsd.SOCK_RAW && isWildcard(address) {
		// All addresses of both versions, if the kernel has both.
		all := netip.AddrPortFrom(netip.IPv6Unspecified(), laddr.Port())
		fd, err := lc.bindIP(ctx, k, netbsd.AF_INET6, all)
		if err == nil {
			return fd, nil
		}
		if !noIPv6(err) {
			return nil, &net.OpError{Op: "listen", Net: network, Addr: netAddr(k, all), Err: contextError(ctx, err)}
		}
	}
	fd, err := lc.bindIP(ctx, k, family, laddr)
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Addr: netAddr(k, laddr), Err: contextError(ctx, err)}
	}
	return fd, nil
}

// isWildcard tells whether an address has no host.
func isWildcard(address string) bool {
	host, _, err := net.SplitHostPort(address)
	return err == nil && host == ""
}

// bindIP makes a socket and binds it.
func (lc *ListenConfig) bindIP(ctx context.Context, k netKind, family int32, laddr netip.AddrPort) (*netFD, error) {
	return lc.bind(ctx, k, family, netAddr(k, laddr).String(), func(fd *netFD) ([]byte, error) {
		return fd.appendSockaddr(nil, laddr)
	})
}

// noIPv6 tells whether an error says that the kernel has no IPv6, or none that takes
// IPv4 in.
func noIPv6(err error) bool {
	return wraps(err, netbsd.EAFNOSUPPORT, netbsd.EPROTONOSUPPORT, netbsd.EADDRNOTAVAIL, netbsd.EINVAL, netbsd.ENOPROTOOPT)
}

// defaultBacklog is NetBSD's SOMAXCONN.
const defaultBacklog = netbsd.SOMAXCONN

func (lc *ListenConfig) bind(ctx context.Context, k netKind, family int32, address string, sockaddr func(*netFD) ([]byte, error)) (*netFD, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	fd, err := openSocket(ctx, lc.Conn, k.name, family, k.typ, k.proto)
	if err != nil {
		return nil, err
	}
	defer fd.follow(ctx)()
	err = func() error {
		if err := fd.setOptions(k.defaults(fd.family)); err != nil {
			return err
		}
		if k.typ == netbsd.SOCK_STREAM && family != netbsd.AF_LOCAL {
			if err := fd.setsockoptInt(netbsd.SOL_SOCKET, netbsd.SO_REUSEADDR, 1); err != nil {
				return err
			}
		}
		if lc.Control != nil {
			if err := lc.Control(ctx, controlNetwork(k, family), address, fd.fd); err != nil {
				return err
			}
		}
		sa, err := sockaddr(fd)
		if err != nil {
			return err
		}
		if err := fd.bind(sa); err != nil {
			return err
		}
		if k.typ == netbsd.SOCK_STREAM || k.typ == netbsd.SOCK_SEQPACKET {
			backlog := lc.Backlog
			if backlog <= 0 {
				backlog = defaultBacklog
			}
			if err := fd.listen(int32(min(backlog, 1<<16))); err != nil {
				return err
			}
		}
		return fd.learn()
	}()
	if err != nil {
		fd.close()
		return nil, err
	}
	return fd, nil
}

// A netListener is what the listeners of all networks have.
type netListener struct {
	fd        *netFD
	keepAlive time.Duration
	// laddr is the address of all that are accepted, nil when it is not known.
	laddr net.Addr
}

// accept takes a connection and learns its addresses.
func (l *netListener) accept() (*netFD, error) {
	for {
		fd, err := l.fd.accept()
		if err != nil {
			return nil, l.opError("accept", err)
		}
		if fd.family != netbsd.AF_LOCAL {
			err = fd.setOptions(streamDefaults(l.keepAlive))
		}
		if fd.laddr = l.laddr; fd.laddr == nil && err == nil {
			err = fd.learn()
		}
		switch {
		case err == nil:
			return fd, nil
		case fd.s.Err() != nil:
			return nil, l.opError("accept", err)
		}
		fd.close()
		// NetBSD says EINVAL of connections that the peer has reset by now.
		if !wraps(err, netbsd.EINVAL, netbsd.ECONNRESET, netbsd.ENOTCONN) {
			return nil, l.opError("accept", err)
		}
	}
}

func (l *netListener) opError(op string, err error) error {
	if err == nil {
		return nil
	}
	return &net.OpError{Op: op, Net: l.fd.network, Addr: l.fd.laddr, Err: err}
}

// Addr returns the address that is listened on.
func (l *netListener) Addr() net.Addr { return l.fd.laddr }

// SetDeadline sets the time at which Accept fails, with an error that is
// os.ErrDeadlineExceeded. The zero time is none.
func (l *netListener) SetDeadline(t time.Time) error {
	return l.opError("set", l.fd.setDeadline(&l.fd.rd, t))
}

// FD returns the descriptor in the kernel. It is non-blocking and must stay so, and
// ends with the listener.
func (l *netListener) FD() FD { return l.fd.fd }

// TCPListener is a listener for TCP connections in the kernel's network.
type TCPListener struct{ netListener }

// Accept waits for the next connection, a [*TCPConn].
func (l *TCPListener) Accept() (net.Conn, error) {
	c, err := l.AcceptTCP()
	if err != nil {
		return nil, err
	}
	return c, nil
}

// AcceptTCP waits for the next connection.
func (l *TCPListener) AcceptTCP() (*TCPConn, error) {
	fd, err := l.accept()
	if err != nil {
		return nil, err
	}
	return &TCPConn{netConn{fd}}, nil
}

// Close ends listening. Accepts that wait end with net.ErrClosed.
func (l *TCPListener) Close() error { return l.opError("close", l.fd.close()) }

// UnixListener is a listener for connections of local sockets in the kernel.
type UnixListener struct {
	netListener
	path string // to be removed
}

// Accept waits for the next connection, a [*UnixConn].
func (l *UnixListener) Accept() (net.Conn, error) {
	c, err := l.AcceptUnix()
	if err != nil {
		return nil, err
	}
	return c, nil
}

// AcceptUnix waits for the next connection.
func (l *UnixListener) AcceptUnix() (*UnixConn, error) {
	fd, err := l.accept()
	if err != nil {
		return nil, err
	}
	return newUnixConn(fd), nil
}

// Close ends listening and removes the socket's file in the kernel. Accepts that wait
// end with net.ErrClosed.
func (l *UnixListener) Close() error {
	err := l.fd.close()
	if err == nil && l.path != "" && l.fd.s.Err() == nil {
		ctx, cancel := context.WithTimeout(context.Background(), answerTime)
		defer cancel()
		// Kernels without file systems have removed it already.
		l.fd.s.newCall(netbsd.SYS_unlink, sysproxy.TypeSyscall).String(l.path).do(ctx)
	}
	return l.opError("close", err)
}
