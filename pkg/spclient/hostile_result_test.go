package spclient_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
	"rumptools/pkg/spclient/spclienttest"
)

// liar answers every call with success and the same number in both registers, and
// fills with the same byte whatever the call lets it write. That is within the
// protocol: only the caller can know that no kernel says so.
type liar struct {
	fill   byte
	retval uint64
}

// serve answers a call.
func (l liar) serve(c *spclienttest.Call) {
	m := c.Machine
	write := func(addr uint64, n int) {
		if addr != 0 {
			c.CopyOut(addr, bytes.Repeat([]byte{l.fill}, n))
		}
	}
	// length is the length of a buffer that a word or an int in memory tells.
	length := func(addr uint64, size int) int {
		if addr == 0 {
			return 0
		}
		b := c.CopyIn(addr, size)
		if size == 4 {
			return int(m.Order.Uint32(b))
		}
		return int(m.Word(b))
	}
	a := &c.Args
	switch c.Num {
	case netbsd.SYS_read:
		a.Int()
		addr := a.Ptr()
		write(addr, int(a.Word()))
	case netbsd.SYS_recvfrom:
		a.Int()
		addr := a.Ptr()
		write(addr, int(a.Word()))
		a.Int()
		from, fromLen := a.Ptr(), a.Ptr()
		write(from, length(fromLen, 4))
		write(fromLen, 4)
	case netbsd.SYS_getsockname, netbsd.SYS_getpeername, netbsd.SYS_paccept, netbsd.SYS_accept:
		a.Int()
		addr, addrLen := a.Ptr(), a.Ptr()
		write(addr, length(addrLen, 4))
		write(addrLen, 4)
	case netbsd.SYS_getsockopt:
		a.Int()
		a.Int()
		a.Int()
		val, valLen := a.Ptr(), a.Ptr()
		write(val, length(valLen, 4))
		write(valLen, 4)
	case netbsd.SYS_recvmsg:
		a.Int()
		write(a.Ptr(), netbsd.Sizeof(m, netbsd.Msghdr{}))
	case netbsd.SYS_socketpair:
		a.Int()
		a.Int()
		a.Int()
		write(a.Ptr(), 8)
	case netbsd.SYS_poll:
		addr := a.Ptr()
		write(addr, int(a.Uint())*netbsd.Sizeof(m, netbsd.Pollfd{}))
	case netbsd.SYS___kevent50:
		a.Int()
		a.Ptr()
		a.Word()
		addr := a.Ptr()
		write(addr, int(a.Word())*netbsd.Sizeof(m, netbsd.Kevent{}))
	case netbsd.SYS___clock_gettime50:
		a.Int()
		write(a.Ptr(), netbsd.Sizeof(m, netbsd.Timespec{}))
	case netbsd.SYS_ioctl:
		a.Int()
		if cmd := uint32(a.Word()); netbsd.IoctlOut(cmd) {
			write(a.Ptr(), netbsd.IoctlSize(cmd))
		}
	case netbsd.SYS___sysctl:
		a.Ptr()
		a.Uint()
		old, oldLen := a.Ptr(), a.Ptr()
		if old != 0 {
			write(old, length(oldLen, m.WordSize))
		}
		write(oldLen, m.WordSize)
	}
	c.Reply(l.retval, l.retval)
}

// TestLies has every call answered with results that cannot be. Numbers of bytes
// and things must stay within what the caller gave, and nothing may panic, hang or
// take memory because a result says so. Most lies are errors and need not be; the
// connection goes on.
func TestLies(t *testing.T) {
	// What a value may take that the kernel says is as long as can be.
	const lieMemory = 8 * spclient.MaxSysctl
	// What a lie makes wait is given up soon: that it can be is what counts.
	const lieTime = 500 * time.Millisecond
	within := func(what string, n, limit int, err error) error {
		if n < 0 || n > limit {
			return fmt.Errorf("%s says %d of %d (%v)", what, n, limit, err)
		}
		return nil
	}
	calls := []struct {
		name string
		do   func(ctx context.Context, c *spclient.Conn) error
	}{
		{"Read", func(ctx context.Context, c *spclient.Conn) error {
			n, err := c.Read(ctx, c.FD(3), make([]byte, 10))
			return within("Read", n, 10, err)
		}},
		{"Write", func(ctx context.Context, c *spclient.Conn) error {
			n, err := c.Write(ctx, c.FD(3), make([]byte, 10))
			return within("Write", n, 10, err)
		}},
		{"Sendto", func(ctx context.Context, c *spclient.Conn) error {
			n, err := c.Sendto(ctx, c.FD(3), make([]byte, 10), 0, nil)
			return within("Sendto", n, 10, err)
		}},
		{"Recvfrom", func(ctx context.Context, c *spclient.Conn) error {
			n, sa, err := c.Recvfrom(ctx, c.FD(3), make([]byte, 10), 0)
			netbsd.ParseSockaddr(c.Machine(), sa)
			return cmpErr(within("Recvfrom", n, 10, err), within("address", len(sa), 255, err))
		}},
		{"Recv", func(ctx context.Context, c *spclient.Conn) error {
			n, err := c.Recv(ctx, c.FD(3), make([]byte, 10), 0)
			return within("Recv", n, 10, err)
		}},
		{"Sendmsg", func(ctx context.Context, c *spclient.Conn) error {
			n, err := c.Sendmsg(ctx, c.FD(3), &spclient.Message{Buffers: [][]byte{make([]byte, 4), make([]byte, 6)}}, 0)
			return within("Sendmsg", n, 10, err)
		}},
		{"Recvmsg", func(ctx context.Context, c *spclient.Conn) error {
			msg := &spclient.Message{Buffers: [][]byte{make([]byte, 4), make([]byte, 6)}, Control: make([]byte, 20)}
			n, err := c.Recvmsg(ctx, c.FD(3), msg, 0)
			netbsd.ParseCmsgs(c.Machine(), msg.Control)
			return cmpErr(within("Recvmsg", n, 10, err), within("control", len(msg.Control), 20, err), within("name", len(msg.Name), 255, err))
		}},
		{"Accept", func(ctx context.Context, c *spclient.Conn) error {
			_, sa, err := c.Accept(context.WithoutCancel(ctx), c.FD(3))
			return within("Accept", len(sa), 255, err)
		}},
		{"Getsockname", func(ctx context.Context, c *spclient.Conn) error {
			sa, err := c.Getsockname(ctx, c.FD(3))
			return within("Getsockname", len(sa), 255, err)
		}},
		{"Getpeername", func(ctx context.Context, c *spclient.Conn) error {
			sa, err := c.Getpeername(ctx, c.FD(3))
			return within("Getpeername", len(sa), 255, err)
		}},
		{"Getsockopt", func(ctx context.Context, c *spclient.Conn) error {
			n, err := c.Getsockopt(ctx, c.FD(3), netbsd.SOL_SOCKET, netbsd.SO_LINGER, make([]byte, 8))
			return within("Getsockopt", n, 8, err)
		}},
		{"GetsockoptInt", func(ctx context.Context, c *spclient.Conn) error {
			c.GetsockoptInt(ctx, c.FD(3), netbsd.SOL_SOCKET, netbsd.SO_ERROR)
			return nil
		}},
		{"GetsockoptStruct", func(ctx context.Context, c *spclient.Conn) error {
			var tv netbsd.Timeval
			c.GetsockoptStruct(ctx, c.FD(3), netbsd.SOL_SOCKET, netbsd.SO_RCVTIMEO, &tv)
			_ = tv.Duration()
			return nil
		}},
		{"Socketpair", func(ctx context.Context, c *spclient.Conn) error {
			c.Socketpair(ctx, netbsd.AF_LOCAL, netbsd.SOCK_STREAM, 0)
			return nil
		}},
		{"Pipe", func(ctx context.Context, c *spclient.Conn) error { c.Pipe(ctx); return nil }},
		{"Poll", func(ctx context.Context, c *spclient.Conn) error {
			fds := make([]spclient.PollFD, 3)
			n, err := c.Poll(ctx, fds, 0)
			return within("Poll", n, 3, err)
		}},
		{"Kevent", func(ctx context.Context, c *spclient.Conn) error {
			n, err := c.Kevent(ctx, c.FD(3), nil, make([]netbsd.Kevent, 3), 0)
			return within("Kevent", n, 3, err)
		}},
		{"ClockGettime", func(ctx context.Context, c *spclient.Conn) error {
			ts, _ := c.ClockGettime(ctx, netbsd.CLOCK_REALTIME)
			_, _ = ts.Time(), ts.Duration()
			return nil
		}},
		{"Lseek", func(ctx context.Context, c *spclient.Conn) error {
			c.Lseek(ctx, c.FD(3), 0, netbsd.SEEK_END)
			return nil
		}},
		{"Fcntl", func(ctx context.Context, c *spclient.Conn) error {
			c.Fcntl(ctx, c.FD(3), netbsd.F_GETFL, 0)
			return nil
		}},
		{"IoctlStruct", func(ctx context.Context, c *spclient.Conn) error {
			r := netbsd.Ifreq{Name: netbsd.IfName("lo0")}
			c.IoctlStruct(ctx, c.FD(3), netbsd.SIOCGIFFLAGS, &r)
			_ = r.Flags(c.Machine())
			return nil
		}},
		{"IoctlPtr", func(ctx context.Context, c *spclient.Conn) error {
			ifcr := netbsd.IfClonereq{Count: 2}
			c.IoctlPtr(ctx, c.FD(3), netbsd.SIOCIFGCLONERS, &ifcr, make([]byte, 32), func(p netbsd.Ptr) { ifcr.Buffer = p })
			return nil
		}},
		{"Sysctl", func(ctx context.Context, c *spclient.Conn) error {
			n, err := c.Sysctl(ctx, []int32{1, 1}, make([]byte, 10), nil)
			return within("Sysctl", n, 10, err)
		}},
		{"Sysctl of nothing", func(ctx context.Context, c *spclient.Conn) error {
			n, err := c.Sysctl(ctx, []int32{1, 1}, nil, nil)
			return within("Sysctl", n, 1<<31-1, err)
		}},
		{"SysctlBytes", func(ctx context.Context, c *spclient.Conn) error {
			b, err := c.SysctlBytes(ctx, []int32{1, 1})
			return within("SysctlBytes", len(b), spclient.MaxSysctl, err)
		}},
		{"SysctlInt", func(ctx context.Context, c *spclient.Conn) error { c.SysctlInt(ctx, []int32{1, 1}); return nil }},
		{"SysctlQuery", func(ctx context.Context, c *spclient.Conn) error { c.SysctlQuery(ctx, []int32{1}); return nil }},
		{"SysctlByName", func(ctx context.Context, c *spclient.Conn) error { c.SysctlByName(ctx, "kern.ostype"); return nil }},
		{"Uname", func(ctx context.Context, c *spclient.Conn) error { c.Uname(ctx); return nil }},
		{"DialContext", func(ctx context.Context, c *spclient.Conn) error {
			nc, err := c.DialContext(ctx, "tcp", "127.0.0.1:80")
			if err != nil {
				return nil
			}
			defer nc.Close()
			// After a part there may be no room for the rest.
			nc.SetDeadline(time.Now().Add(lieTime))
			n, err := nc.Write(make([]byte, 10))
			if n == 0 && isTimeout(err) {
				return errors.New("Write makes the same call for ever")
			}
			return cmpErr(within("Write", n, 10, err), endAddr[*net.TCPAddr]("LocalAddr", nc.LocalAddr()),
				endAddr[*net.TCPAddr]("RemoteAddr", nc.RemoteAddr()))
		}},
		{"Listen", func(ctx context.Context, c *spclient.Conn) error {
			l, err := c.Listen(ctx, "tcp", "127.0.0.1:0")
			if err != nil {
				return nil
			}
			defer l.Close()
			errs := endAddr[*net.TCPAddr]("Addr", l.Addr())
			// Some lies are that there is nothing to accept.
			l.(*spclient.TCPListener).SetDeadline(time.Now().Add(lieTime))
			if nc, err := l.Accept(); err == nil {
				errs = cmpErr(errs, endAddr[*net.TCPAddr]("LocalAddr", nc.LocalAddr()), endAddr[*net.TCPAddr]("RemoteAddr", nc.RemoteAddr()))
				nc.Close()
			}
			return errs
		}},
		{"Listen of a local socket", func(ctx context.Context, c *spclient.Conn) error {
			l, err := c.Listen(ctx, "unix", "/tmp/s")
			if err != nil {
				return nil
			}
			defer l.Close()
			return endAddr[*net.UnixAddr]("Addr", l.Addr())
		}},
		{"ListenPacket", func(ctx context.Context, c *spclient.Conn) error {
			p, err := c.ListenPacket(ctx, "udp", "127.0.0.1:0")
			if err != nil {
				return nil
			}
			defer p.Close()
			p.SetDeadline(time.Now().Add(lieTime))
			p.WriteTo([]byte("x"), p.LocalAddr())
			return endAddr[*net.UDPAddr]("LocalAddr", p.LocalAddr())
		}},
		{"ListenPacket of a raw socket", func(ctx context.Context, c *spclient.Conn) error {
			p, err := c.ListenPacket(ctx, "ip4:icmp", "127.0.0.1")
			if err != nil {
				return nil
			}
			defer p.Close()
			return endAddr[*net.IPAddr]("LocalAddr", p.LocalAddr())
		}},
		{"NetConn", func(ctx context.Context, c *spclient.Conn) error {
			nc, err := c.NetConn(ctx, c.FD(3))
			if err != nil {
				return nil
			}
			defer nc.Close()
			if nc.LocalAddr() == nil {
				return errors.New("no LocalAddr")
			}
			return nil
		}},
	}
	liars := []liar{{0, 0}, {0xff, 1<<64 - 1}, {0x80, 1 << 63}, {0x7f, 1<<31 - 1}, {0x01, 1 << 31}, {0xff, 3}, {0x03, 4}}
	for _, m := range []*netbsd.Machine{netbsd.AMD64, netbsd.POWERPC} {
		for _, l := range liars {
			t.Run(fmt.Sprintf("%s/%#x %#x", m.Name, l.fill, l.retval), func(t *testing.T) {
				checkLeaks(t)
				checkMemory(t, lieMemory)
				srv := spclienttest.NewServer(t, "unix", m, func(p *spclienttest.Peer) { p.ServeAll(l.serve) })
				c := dial(t, srv, nil)
				for _, call := range calls {
					ctx, cancel := context.WithTimeout(testContext(t), lieTime)
					if err := call.do(ctx, c); err != nil {
						t.Error(err)
					}
					cancel()
					if err := c.Err(); err != nil {
						t.Fatalf("%s: the connection ended: %v", call.name, err)
					}
				}
			})
		}
	}
}

// endAddr checks that an end of a socket has an address of its network's type.
func endAddr[A net.Addr](what string, got net.Addr) error {
	if _, ok := got.(A); !ok {
		return fmt.Errorf("%s is %T", what, got)
	}
	return nil
}

// cmpErr returns the first error.
func cmpErr(errs ...error) error {
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
		return errs[i]
	}
	return nil
}
