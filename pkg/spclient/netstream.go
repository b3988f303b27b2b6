package spclient

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"rumptools/pkg/netbsd"
)

// A netConn is what the connections of all networks have.
type netConn struct{ fd *netFD }

// opError is an operation's error as package net has it; nil and io.EOF are
// returned as they are.
func (fd *netFD) opError(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return &net.OpError{Op: op, Net: fd.network, Source: fd.laddr, Addr: fd.raddr, Err: err}
}

// Read reads what has come, at least a byte, and waits for it. At the end of a
// stream it returns io.EOF. Of a message that is longer than p the rest is lost.
func (c *netConn) Read(p []byte) (int, error) {
	n, err := c.fd.read(p)
	if err != nil {
		err = c.fd.opError("read", err)
	}
	return n, err
}

// Write writes all of p, waiting for room in the kernel. On networks of messages p
// is one.
func (c *netConn) Write(p []byte) (int, error) {
	n, err := c.fd.write(p)
	if err != nil {
		err = c.fd.opError("write", err)
	}
	return n, err
}

// Close closes the connection. Reads and writes that wait end with net.ErrClosed.
func (c *netConn) Close() error { return c.fd.opError("close", c.fd.close()) }

// LocalAddr returns the connection's own address.
func (c *netConn) LocalAddr() net.Addr { return c.fd.laddr }

// RemoteAddr returns the peer's address, nil when there is no peer.
func (c *netConn) RemoteAddr() net.Addr { return c.fd.raddr }

// SetDeadline sets the time at which reads and writes fail that are under way or
// come later, with an error that is os.ErrDeadlineExceeded. The zero time is none.
//
// A call that the kernel has got by then and has not answered is waited for, for at
// most 5 seconds: what it has read would be lost.
func (c *netConn) SetDeadline(t time.Time) error { return c.fd.opError("set", c.fd.setDeadlines(t)) }

// SetReadDeadline is SetDeadline for reads.
func (c *netConn) SetReadDeadline(t time.Time) error {
	return c.fd.opError("set", c.fd.setDeadline(&c.fd.rd, t))
}

// SetWriteDeadline is SetDeadline for writes. A write that fails may have written
// some bytes.
func (c *netConn) SetWriteDeadline(t time.Time) error {
	return c.fd.opError("set", c.fd.setDeadline(&c.fd.wr, t))
}

// SetReadBuffer sets how many bytes the kernel keeps that have not been read.
func (c *netConn) SetReadBuffer(bytes int) error {
	return c.fd.opError("set", c.fd.setsockoptInt(netbsd.SOL_SOCKET, netbsd.SO_RCVBUF, int32(bytes)))
}

// SetWriteBuffer sets how many bytes the kernel keeps that have not gone out.
func (c *netConn) SetWriteBuffer(bytes int) error {
	return c.fd.opError("set", c.fd.setsockoptInt(netbsd.SOL_SOCKET, netbsd.SO_SNDBUF, int32(bytes)))
}

// FD returns the descriptor in the kernel, for options and calls that have no method
// here. It is non-blocking and must stay so, and ends with the connection.
func (c *netConn) FD() FD { return c.fd.fd }

// TCPConn is a TCP connection in the kernel's network: a [net.Conn], with what a
// net.TCPConn has more than that.
type TCPConn struct{ netConn }

// CloseRead ends reading: later reads find the end of the stream.
func (c *TCPConn) CloseRead() error { return c.fd.opError("close", c.fd.shutdown(netbsd.SHUT_RD)) }

// CloseWrite ends writing: the peer finds the end of the stream.
func (c *TCPConn) CloseWrite() error { return c.fd.opError("close", c.fd.shutdown(netbsd.SHUT_WR)) }

// SetNoDelay sets whether small writes go out at once, as they do by default.
func (c *TCPConn) SetNoDelay(noDelay bool) error {
	return c.fd.opError("set", c.fd.setsockoptInt(netbsd.IPPROTO_TCP, netbsd.TCP_NODELAY, boolInt(noDelay)))
}

func boolInt(b bool) int32 {
	if b {
		return 1
	}
	return 0
}

// SetLinger sets what happens to data at Close that has not been acknowledged: it
// goes on in the background when sec is negative, as it does by default, and is
// dropped, with a reset, when it is 0 or after that many seconds.
func (c *TCPConn) SetLinger(sec int) error {
	l := netbsd.Linger{}
	if sec >= 0 {
		l.Onoff, l.Linger = 1, int32(sec)
	}
	return c.fd.opError("set", c.fd.setsockopt(netbsd.SOL_SOCKET, netbsd.SO_LINGER, netbsd.Marshal(c.fd.s.machine, &l)))
}

// SetKeepAlive sets whether an idle connection is probed.
func (c *TCPConn) SetKeepAlive(keepAlive bool) error {
	return c.fd.opError("set", c.fd.setsockoptInt(netbsd.SOL_SOCKET, netbsd.SO_KEEPALIVE, boolInt(keepAlive)))
}

// SetKeepAlivePeriod sets the time between probes, and before the first one, in
// whole seconds, rounded up.
func (c *TCPConn) SetKeepAlivePeriod(d time.Duration) error {
	ticks := slowTicks(d)
	err := c.fd.setsockoptInt(netbsd.IPPROTO_TCP, netbsd.TCP_KEEPINTVL, ticks)
	if err == nil {
		err = c.fd.setsockoptInt(netbsd.IPPROTO_TCP, netbsd.TCP_KEEPIDLE, ticks)
	}
	return c.fd.opError("set", err)
}

// SetKeepAliveConfig sets all that there is to set about probes.
func (c *TCPConn) SetKeepAliveConfig(config net.KeepAliveConfig) error {
	return c.fd.opError("set", c.fd.setOptions(keepAliveOptions(config)))
}

var copyBufs = sync.Pool{New: func() any { return new([maxTransfer]byte) }}

// ReadFrom writes all that r has, in pieces as large as the kernel takes at once.
func (c *TCPConn) ReadFrom(r io.Reader) (n int64, err error) {
	buf := copyBufs.Get().(*[maxTransfer]byte)
	defer copyBufs.Put(buf)
	for {
		m, rerr := r.Read(buf[:])
		if m > 0 {
			w, werr := c.Write(buf[:m])
			n += int64(w)
			if werr != nil {
				return n, werr
			}
		}
		if rerr == io.EOF {
			return n, nil
		}
		if rerr != nil {
			return n, rerr
		}
	}
}

// WriteTo writes all that comes to w.
func (c *TCPConn) WriteTo(w io.Writer) (n int64, err error) {
	buf := copyBufs.Get().(*[maxTransfer]byte)
	defer copyBufs.Put(buf)
	for {
		m, rerr := c.Read(buf[:])
		if m > 0 {
			k, werr := w.Write(buf[:m])
			n += int64(k)
			if werr != nil {
				return n, werr
			}
			if k < m {
				return n, io.ErrShortWrite
			}
		}
		if rerr == io.EOF {
			return n, nil
		}
		if rerr != nil {
			return n, rerr
		}
	}
}

// UnixConn is a local socket in the kernel, of the networks unix, unixpacket and
// unixgram: a [net.Conn] and, for unixgram, a [net.PacketConn].
type UnixConn struct{ netConn }

func newUnixConn(fd *netFD) *UnixConn { return &UnixConn{netConn{fd}} }

// CloseRead ends reading.
func (c *UnixConn) CloseRead() error { return c.fd.opError("close", c.fd.shutdown(netbsd.SHUT_RD)) }

// CloseWrite ends writing: the peer finds the end of the stream.
func (c *UnixConn) CloseWrite() error { return c.fd.opError("close", c.fd.shutdown(netbsd.SHUT_WR)) }

// ReadFromUnix receives a message and its sender's address, which is nil when the
// sender has none.
func (c *UnixConn) ReadFromUnix(p []byte) (int, *net.UnixAddr, error) {
	n, a, err := c.fd.receive(p)
	ua, _ := a.(*net.UnixAddr)
	return n, ua, err
}

// ReadFrom implements [net.PacketConn].
func (c *UnixConn) ReadFrom(p []byte) (int, net.Addr, error) { return c.fd.receive(p) }

// WriteToUnix sends p as one message to an address.
func (c *UnixConn) WriteToUnix(p []byte, addr *net.UnixAddr) (int, error) {
	if addr == nil {
		return 0, c.fd.opError("write", errMissingAddress)
	}
	return c.WriteTo(p, addr)
}

// WriteTo implements [net.PacketConn].
func (c *UnixConn) WriteTo(p []byte, addr net.Addr) (int, error) {
	a, ok := addr.(*net.UnixAddr)
	if !ok || a == nil {
		return 0, c.fd.sendError(addr, errMissingAddress)
	}
	if a.Net != c.fd.network {
		return 0, c.fd.sendError(addr, netbsd.EAFNOSUPPORT)
	}
	sa, err := netbsd.SockaddrUn(a.Name)
	if err != nil {
		return 0, c.fd.sendError(addr, err)
	}
	n, err := c.fd.writeTo(p, sa)
	if err != nil {
		err = c.fd.sendError(addr, err)
	}
	return n, err
}

// errMissingAddress is the error of a message that nobody can be meant by.
var errMissingAddress = errors.New("missing address")

// newIPStackConn returns the connection of a socket of the IP networks.
func newIPStackConn(k netKind, fd *netFD) net.Conn {
	switch k.typ {
	case netbsd.SOCK_STREAM:
		return &TCPConn{netConn{fd}}
	case netbsd.SOCK_DGRAM:
		return &UDPConn{netConn{fd}}
	}
	return &IPConn{netConn{fd}}
}

// adopt makes a netFD of a descriptor in the kernel, which it takes over.
func (c *Conn) adopt(ctx context.Context, desc FD) (*netFD, netKind, error) {
	fd := newNetFD(c, "", netbsd.AF_UNSPEC, 0)
	call := c.NewCall(netbsd.SYS_getsockopt).FD(desc)
	s, err := call.s, call.err
	call.free()
	if err != nil {
		return nil, netKind{}, err
	}
	fd.belong(s, desc.num)
	defer fd.follow(ctx)()
	typ, err := fd.getsockoptInt(netbsd.SOL_SOCKET, netbsd.SO_TYPE)
	if err != nil {
		return nil, netKind{}, err
	}
	sa, err := fd.name(netbsd.SYS_getsockname, "getsockname")
	if err != nil {
		return nil, netKind{}, err
	}
	fd.typ = typ
	if len(sa) >= 2 {
		fd.family = int32(sa[1])
	}
	k := netKind{typ: typ, family: fd.family}
	names := map[int32]map[int32]string{
		netbsd.AF_INET: {netbsd.SOCK_STREAM: "tcp", netbsd.SOCK_DGRAM: "udp", netbsd.SOCK_RAW: "ip"},
		netbsd.AF_LOCAL: {
			netbsd.SOCK_STREAM: "unix", netbsd.SOCK_DGRAM: "unixgram", netbsd.SOCK_SEQPACKET: "unixpacket",
		},
	}
	names[netbsd.AF_INET6] = names[netbsd.AF_INET]
	name, ok := names[fd.family][typ]
	if !ok {
		return nil, k, os.NewSyscallError("getsockname", netbsd.EAFNOSUPPORT)
	}
	k.name, fd.network = name, name
	fd.laddr = fd.endAddr(sa)
	if sa, err := fd.name(netbsd.SYS_getpeername, "getpeername"); err == nil {
		fd.raddr = fd.endAddr(sa)
	}
	for _, set := range [...]struct{ get, set, flag int32 }{
		{netbsd.F_GETFL, netbsd.F_SETFL, netbsd.O_NONBLOCK | netbsd.O_NOSIGPIPE},
		{netbsd.F_GETFD, netbsd.F_SETFD, netbsd.FD_CLOEXEC},
	} {
		reply, err := fd.control("fcntl", func() *Call { return fd.newCall(netbsd.SYS_fcntl).Int(set.get).Int(0) })
		if err == nil {
			flags := int32(reply.Retval[0]) | set.flag
			_, err = fd.control("fcntl", func() *Call { return fd.newCall(netbsd.SYS_fcntl).Int(set.set).Int(flags) })
		}
		if err != nil {
			return nil, k, err
		}
	}
	return fd, k, nil
}

// NetConn returns the connection or packet socket that a descriptor in the kernel is:
// one that was inherited, came in a control message or from [Conn.Socketpair]. The
// result is as that of [Conn.DialContext]. It takes the descriptor over and makes it
// non-blocking, which also concerns its duplicates.
func (c *Conn) NetConn(ctx context.Context, desc FD) (net.Conn, error) {
	fd, k, err := c.adopt(ctx, desc)
	if err != nil {
		return nil, &net.OpError{Op: "file", Net: k.name, Err: contextError(ctx, err)}
	}
	if fd.family == netbsd.AF_LOCAL {
		return newUnixConn(fd), nil
	}
	return newIPStackConn(k, fd), nil
}

// NetListener returns the listener that a descriptor in the kernel is, and takes it
// over as [Conn.NetConn] does.
func (c *Conn) NetListener(ctx context.Context, desc FD) (net.Listener, error) {
	fd, k, err := c.adopt(ctx, desc)
	if err == nil && fd.typ != netbsd.SOCK_STREAM && fd.typ != netbsd.SOCK_SEQPACKET {
		err = sysError("listen", netbsd.EOPNOTSUPP)
	}
	if err != nil {
		return nil, &net.OpError{Op: "file", Net: k.name, Err: contextError(ctx, err)}
	}
	if fd.family == netbsd.AF_LOCAL {
		return &UnixListener{netListener{fd: fd}, ""}, nil
	}
	return &TCPListener{netListener{fd: fd}}, nil
}
