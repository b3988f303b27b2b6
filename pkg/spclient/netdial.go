package spclient

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"rumptools/pkg/netbsd"
)

const (
	// defaultKeepAlive is the time between probes of idle TCP connections, and
	// before the first one, as in package net.
	defaultKeepAlive = 15 * time.Second
	keepAliveProbes  = 9
	// defaultFallback is RFC 8305's Connection Attempt Delay.
	defaultFallback = 250 * time.Millisecond
)

// Dialer makes connections in the kernel's network, as a net.Dialer makes them in
// the host's. It must not be changed while it is used.
type Dialer struct {
	// Conn is the kernel.
	Conn *Conn
	// Resolver looks names up. Without one only addresses and localhost can be
	// dialled: the host's files and name servers have nothing to do with the
	// kernel's network.
	Resolver *Resolver
	// Timeout is how long connecting may take; 0 is no limit of its own.
	Timeout time.Duration
	// LocalAddr is the address to connect from, one of the network's kind; nil
	// leaves it to the kernel.
	LocalAddr net.Addr
	// KeepAlive is the time between probes of an idle TCP connection; 0 is 15
	// seconds, and none are sent when it is negative.
	KeepAlive time.Duration
	// FallbackDelay is how long the attempt to connect to one of several
	// addresses may take before the next one is tried as well; 0 is 250 ms. When
	// it is negative they are tried one after the other.
	FallbackDelay time.Duration
	// Control, if it is set, is called with each new socket, which is not bound
	// yet. An error ends the attempt.
	Control func(ctx context.Context, network, address string, fd FD) error
}

// DialContext connects to an address in the kernel's network, as net.Dialer does:
//
//	client := &http.Client{Transport: &http.Transport{DialContext: c.DialContext}}
//
// The networks are tcp, udp, unix, unixgram and unixpacket (local sockets in the
// kernel), and ip with a protocol ("ip4:icmp"); tcp, udp and ip may end in 4 or 6.
// Addresses are as package net has them, but for names: only localhost has one; see
// [Dialer] for more. The zone of an IPv6 address is the name of an interface in the
// kernel.
//
// The connection is a [*TCPConn], [*UDPConn], [*IPConn] or [*UnixConn]. Its errors
// are [*net.OpError]s. One that the kernel said is an [*os.SyscallError] with a
// [netbsd.Errno]: errors.Is finds syscall.ECONNREFUSED and the like in it. When the
// connection to the kernel ends, so do all waits, with [Conn.Err].
//
// When ctx ends, connecting ends; later it means nothing to the connection.
func (c *Conn) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return (&Dialer{Conn: c}).DialContext(ctx, network, address)
}

// Dial is [Conn.DialContext] without a limit in time.
func (d *Dialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}

// errTimeout is the error of an attempt whose time has run out.
type errTimeout struct{}

func (errTimeout) Error() string   { return "i/o timeout" }
func (errTimeout) Timeout() bool   { return true }
func (errTimeout) Temporary() bool { return true }
func (errTimeout) Is(target error) bool {
	return target == context.DeadlineExceeded || target == os.ErrDeadlineExceeded
}

// errCanceled is the error of an attempt that was called off.
type errCanceled struct{}

func (errCanceled) Error() string        { return "operation was canceled" }
func (errCanceled) Is(target error) bool { return target == context.Canceled }

// contextError turns the context's error, if err is that, into package net's.
func contextError(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return errTimeout{}
	case errors.Is(err, context.Canceled):
		return errCanceled{}
	case err == errOverdue && ctx.Err() != nil:
		return contextError(ctx, ctx.Err())
	}
	return err
}

// DialContext connects; see [Conn.DialContext].
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if d.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d.Timeout)
		defer cancel()
	}
	opError := func(raddr net.Addr, err error) error {
		return &net.OpError{Op: "dial", Net: network, Source: d.LocalAddr, Addr: raddr, Err: contextError(ctx, err)}
	}
	k, err := parseNetwork(network)
	if err != nil {
		return nil, opError(nil, err)
	}
	if k.family == netbsd.AF_LOCAL {
		raddr := &net.UnixAddr{Name: address, Net: network}
		fd, err := d.dialUnix(ctx, k, raddr)
		if err != nil {
			return nil, opError(raddr, err)
		}
		return newUnixConn(fd), nil
	}
	if d.LocalAddr != nil {
		local, ok := addrPortOf(d.LocalAddr)
		if !ok || !sameKind(k, d.LocalAddr) {
			return nil, opError(nil, &net.AddrError{Err: "mismatched local address type", Addr: d.LocalAddr.String()})
		}
		// Only addresses of the same version can be reached from it.
		if !local.Addr().IsUnspecified() && k.family == netbsd.AF_UNSPEC {
			k.family = familyOf(local.Addr())
		}
	}
	addrs, err := resolveAddrs(ctx, d.Resolver, k, address)
	if err != nil {
		return nil, opError(nil, err)
	}
	for i, ap := range addrs {
		// Package net's custom: no address is this host.
		switch {
		case ap.Addr() == netip.IPv4Unspecified():
			addrs[i] = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), ap.Port())
		case ap.Addr() == netip.IPv6Unspecified():
			addrs[i] = netip.AddrPortFrom(netip.IPv6Loopback(), ap.Port())
		}
	}
	fd, raddr, err := d.race(ctx, k, interleave(addrs))
	if err != nil {
		return nil, opError(raddr, err)
	}
	return newIPStackConn(k, fd), nil
}

// sameKind tells whether a local address is one of the network's.
func sameKind(k netKind, a net.Addr) bool {
	switch a.(type) {
	case *net.TCPAddr:
		return k.typ == netbsd.SOCK_STREAM
	case *net.UDPAddr:
		return k.typ == netbsd.SOCK_DGRAM
	case *net.IPAddr:
		return k.typ == netbsd.SOCK_RAW
	}
	return false
}

func familyOf(addr netip.Addr) int32 {
	if addr.Is4() {
		return netbsd.AF_INET
	}
	return netbsd.AF_INET6
}

// netAddr returns ap as an address of the network's.
func netAddr(k netKind, ap netip.AddrPort) net.Addr {
	ip, port, zone := net.IP(ap.Addr().AsSlice()), int(ap.Port()), ap.Addr().Zone()
	switch k.typ {
	case netbsd.SOCK_STREAM:
		return &net.TCPAddr{IP: ip, Port: port, Zone: zone}
	case netbsd.SOCK_DGRAM:
		return &net.UDPAddr{IP: ip, Port: port, Zone: zone}
	}
	return &net.IPAddr{IP: ip, Zone: zone}
}

// interleave orders addresses so that the versions of IP take turns (RFC 8305),
// the first one's first.
func interleave(addrs []netip.AddrPort) []netip.AddrPort {
	var first, second []netip.AddrPort
	for _, ap := range addrs {
		if ap.Addr().Is4() == addrs[0].Addr().Is4() {
			first = append(first, ap)
		} else {
			second = append(second, ap)
		}
	}
	out := make([]netip.AddrPort, 0, len(addrs))
	for len(first)+len(second) > 0 {
		if len(first) > 0 {
			out, first = append(out, first[0]), first[1:]
		}
		if len(second) > 0 {
			out, second = append(out, second[0]), second[1:]
		}
	}
	return out
}

// race connects to the first of several addresses that answers: each gets some
// time before the next is tried as well. The error is that of the first address.
func (d *Dialer) race(ctx context.Context, k netKind, addrs []netip.AddrPort) (*netFD, net.Addr, error) {
	if len(addrs) == 1 {
		fd, err := d.dialIP(ctx, k, addrs[0])
		return fd, netAddr(k, addrs[0]), err
	}
	delay := d.FallbackDelay
	if delay == 0 {
		delay = defaultFallback
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		fd  *netFD
		i   int
		err error
	}
	results := make(chan result)
	next, running := 0, 0
	start := func() {
		i := next
		next++
		running++
		go func() {
			fd, err := d.dialIP(ctx, k, addrs[i])
			results <- result{fd, i, err}
		}()
	}
	start()
	var tick <-chan time.Time
	if delay > 0 {
		t := time.NewTicker(delay)
		defer t.Stop()
		tick = t.C
	}
	first := result{i: len(addrs)}
	for running > 0 {
		select {
		case r := <-results:
			running--
			if r.err == nil {
				cancel()
				// The others end soon; one may have been connected, too.
				go func(n int) {
					for range n {
						if late := <-results; late.err == nil {
							late.fd.close()
						}
					}
				}(running)
				return r.fd, netAddr(k, addrs[r.i]), nil
			}
			if r.i < first.i {
				first = r
			}
			if next < len(addrs) && ctx.Err() == nil {
				start()
			}
		case <-tick:
			if next < len(addrs) && ctx.Err() == nil {
				start()
			}
		}
	}
	return nil, netAddr(k, addrs[first.i]), first.err
}

// selfConnects is how often a connection is made again that TCP has made with
// itself, from the port that it was to, by accident.
const selfConnects = 3

// dialIP connects to one address.
func (d *Dialer) dialIP(ctx context.Context, k netKind, raddr netip.AddrPort) (*netFD, error) {
	for try := 1; ; try++ {
		fd, err := d.dialOnce(ctx, k, raddr)
		if err != nil || k.typ != netbsd.SOCK_STREAM || d.LocalAddr != nil || try == selfConnects {
			return fd, err
		}
		if fd.laddr == nil || fd.raddr == nil || fd.laddr.String() != fd.raddr.String() {
			return fd, nil
		}
		fd.close()
	}
}

func (d *Dialer) dialOnce(ctx context.Context, k netKind, raddr netip.AddrPort) (*netFD, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	family := familyOf(raddr.Addr())
	if k.typ == netbsd.SOCK_STREAM && d.LocalAddr == nil && d.Control == nil && raddr.Addr().Zone() == "" {
		return d.dialTCP(ctx, k, family, raddr)
	}
	return d.open(ctx, k, family, netAddr(k, raddr).String(), func(fd *netFD) error {
		var buf [netbsd.SizeofSockaddrIn6]byte
		if d.LocalAddr != nil {
			local, _ := addrPortOf(d.LocalAddr)
			if local.Addr().IsUnspecified() && fd.family == netbsd.AF_INET6 {
				local = netip.AddrPortFrom(netip.IPv6Unspecified(), local.Port())
			}
			sa, err := fd.appendSockaddr(buf[:0], local)
			if err != nil {
				return err
			}
			if err := fd.bind(sa); err != nil {
				return err
			}
		}
		sa, err := fd.appendSockaddr(buf[:0], raddr)
		if err != nil {
			return err
		}
		if err := fd.connect(ctx, sa); err != nil {
			return err
		}
		fd.raddr = netAddr(k, raddr)
		if k.typ == netbsd.SOCK_STREAM {
			return fd.setOptions(streamDefaults(d.KeepAlive))
		}
		return nil
	})
}

// dialTCP is dialOnce of a connection for which nobody else has a say: a rumpd makes the
// socket, sets the options and connects in one call.
func (d *Dialer) dialTCP(ctx context.Context, k netKind, family int32, raddr netip.AddrPort) (*netFD, error) {
	sa, err := appendSockaddr(nil, family, raddr, noScope)
	if err != nil {
		return nil, err
	}
	before, after := k.defaults(family), streamDefaults(d.KeepAlive)
	fd := newNetFD(d.Conn, k.name, family, k.typ)
	dialed, errno, err := fd.open(ctx, k.proto, sa, func(order netbsd.ByteOrder) []SocketOption {
		var options []SocketOption
		for _, o := range slices.Concat(before, after) {
			options = append(options, SocketOption{Level: o.level, Name: o.name, Value: order.AppendUint32(nil, uint32(o.value))})
		}
		return options
	})
	if err != nil {
		return nil, err
	}
	defer fd.follow(ctx)()
	if dialed {
		var over bool
		if over, err = fd.began(errno); !over {
			err = fd.settled(ctx)
		}
	} else {
		if err = fd.setOptions(before); err == nil {
			err = fd.connect(ctx, sa)
		}
		if err == nil {
			err = fd.setOptions(after)
		}
	}
	if err == nil {
		fd.raddr = netAddr(k, raddr)
		err = fd.learn()
	}
	if err != nil {
		fd.close()
		return nil, err
	}
	return fd, nil
}

// open makes a socket, sets its options and has setUp do the rest. It learns the
// socket's address then.
func (d *Dialer) open(ctx context.Context, k netKind, family int32, address string, setUp func(*netFD) error) (*netFD, error) {
	fd, err := openSocket(ctx, d.Conn, k.name, family, k.typ, k.proto)
	if err != nil {
		return nil, err
	}
	defer fd.follow(ctx)()
	err = fd.setOptions(k.defaults(family))
	if err == nil && d.Control != nil {
		err = d.Control(ctx, controlNetwork(k, family), address, fd.fd)
	}
	if err == nil {
		err = setUp(fd)
	}
	if err == nil {
		err = fd.learn()
	}
	if err != nil {
		fd.close()
		return nil, err
	}
	return fd, nil
}

// controlNetwork is the network's name with the version of IP.
func controlNetwork(k netKind, family int32) string {
	name := strings.TrimRight(k.name, "46")
	switch family {
	case netbsd.AF_INET:
		return name + "4"
	case netbsd.AF_INET6:
		return name + "6"
	}
	return name
}

// dialUnix connects a local socket.
func (d *Dialer) dialUnix(ctx context.Context, k netKind, raddr *net.UnixAddr) (*netFD, error) {
	var local *net.UnixAddr
	if d.LocalAddr != nil {
		var ok bool
		if local, ok = d.LocalAddr.(*net.UnixAddr); !ok {
			return nil, &net.AddrError{Err: "mismatched local address type", Addr: d.LocalAddr.String()}
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return d.open(ctx, k, netbsd.AF_LOCAL, raddr.Name, func(fd *netFD) error {
		if local != nil {
			sa, err := netbsd.SockaddrUn(local.Name)
			if err != nil {
				return err
			}
			if err := fd.bind(sa); err != nil {
				return err
			}
		}
		sa, err := netbsd.SockaddrUn(raddr.Name)
		if err != nil {
			return err
		}
		fd.raddr = raddr
		return fd.connect(ctx, sa)
	})
}

// intOption is an option that is an int.
type intOption struct{ level, name, value int32 }

// setOptions sets options, until one fails.
func (fd *netFD) setOptions(options []intOption) error {
	for _, o := range options {
		if err := fd.setsockoptInt(o.level, o.name, o.value); err != nil {
			return err
		}
	}
	return nil
}

// defaults are the options that package net sets for all sockets of a kind.
func (k netKind) defaults(family int32) (options []intOption) {
	if family == netbsd.AF_INET6 && k.typ != netbsd.SOCK_RAW {
		only := int32(0)
		if k.family == netbsd.AF_INET6 {
			only = 1
		}
		options = append(options, intOption{netbsd.IPPROTO_IPV6, netbsd.IPV6_V6ONLY, only})
	}
	if family != netbsd.AF_LOCAL && k.typ != netbsd.SOCK_STREAM {
		options = append(options, intOption{netbsd.SOL_SOCKET, netbsd.SO_BROADCAST, 1})
	}
	return options
}

// streamDefaults are the options that package net sets for TCP connections.
func streamDefaults(keepAlive time.Duration) []intOption {
	options := []intOption{{netbsd.IPPROTO_TCP, netbsd.TCP_NODELAY, 1}}
	if keepAlive < 0 {
		return options
	}
	if keepAlive == 0 {
		keepAlive = defaultKeepAlive
	}
	return append(options, keepAliveOptions(net.KeepAliveConfig{
		Enable: true, Idle: keepAlive, Interval: keepAlive, Count: keepAliveProbes,
	})...)
}

// slowTicks is a time in whole seconds, rounded up, in the unit of TCP_KEEPIDLE and
// TCP_KEEPINTVL: NetBSD 7 takes ticks of the slow timer, two a second (PR_SLOWHZ), where
// tcp(4) says seconds.
func slowTicks(d time.Duration) int32 {
	return int32(2 * min((d+time.Second-1)/time.Second, 1<<30-1))
}

// keepAliveOptions are how idle TCP connections are probed. A value of 0 is package
// net's default, a negative one leaves the kernel's.
func keepAliveOptions(config net.KeepAliveConfig) []intOption {
	if !config.Enable {
		return []intOption{{netbsd.SOL_SOCKET, netbsd.SO_KEEPALIVE, 0}}
	}
	options := []intOption{{netbsd.SOL_SOCKET, netbsd.SO_KEEPALIVE, 1}}
	add := func(name int32, d time.Duration) {
		if d == 0 {
			d = defaultKeepAlive
		}
		if d > 0 {
			options = append(options, intOption{netbsd.IPPROTO_TCP, name, slowTicks(d)})
		}
	}
	add(netbsd.TCP_KEEPIDLE, config.Idle)
	add(netbsd.TCP_KEEPINTVL, config.Interval)
	count := int32(config.Count)
	if count == 0 {
		count = keepAliveProbes
	}
	if count > 0 {
		options = append(options, intOption{netbsd.IPPROTO_TCP, netbsd.TCP_KEEPCNT, count})
	}
	return options
}

// errNoResolver is why a name is not looked up.
const errNoResolver = "names need a Resolver for the kernel's network"

// resolveAddrs returns the addresses that an address of IP networks stands for, at
// least one, in the order in which they are to be tried.
func resolveAddrs(ctx context.Context, r *Resolver, k netKind, address string) ([]netip.AddrPort, error) {
	host, port := address, uint16(0)
	if k.typ != netbsd.SOCK_RAW {
		var service string
		var err error
		if host, service, err = net.SplitHostPort(address); err != nil {
			return nil, err
		}
		if port, err = parsePort(k.name, service); err != nil {
			return nil, err
		}
	}
	var addrs []netip.Addr
	if addr, err := netip.ParseAddr(host); err == nil {
		addrs = []netip.Addr{addr.Unmap()}
	} else if host == "" {
		addrs = []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
		if k.family == netbsd.AF_UNSPEC {
			addrs = addrs[:1]
		}
	} else if r != nil {
		addrs, err = r.LookupNetIP(ctx, k.lookup(), host)
		if err != nil {
			return nil, err
		}
	} else if addrs = localhost(host); addrs == nil {
		return nil, &net.DNSError{Err: errNoResolver, Name: host}
	}
	var out []netip.AddrPort
	for _, addr := range addrs {
		if k.fits(addr) {
			out = append(out, netip.AddrPortFrom(addr, port))
		}
	}
	if len(out) == 0 {
		return nil, &net.AddrError{Err: "no suitable address found", Addr: host}
	}
	return out, nil
}

// lookup is the network of look-ups of names.
func (k netKind) lookup() string {
	switch k.family {
	case netbsd.AF_INET:
		return "ip4"
	case netbsd.AF_INET6:
		return "ip6"
	}
	return "ip"
}

// localhost returns the addresses of the names that are the same everywhere (RFC
// 6761), nil for others.
func localhost(name string) []netip.Addr {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if name != "localhost" && !strings.HasSuffix(name, ".localhost") {
		return nil
	}
	return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
}
