//go:build linux

package linuxsock_test

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
	"rumptools/pkg/sysproxy"
)

// Every option that is not the kernel's says why it is right to answer without
// it.
func TestOptionsSayWhy(t *testing.T) {
	list := linuxsock.Options()
	if len(list) < 150 {
		t.Errorf("only %d options", len(list))
	}
	for _, o := range list {
		if o.Name == "" || !o.Acts && o.Why == "" || !o.CanSet && !o.CanGet {
			t.Errorf("level %d, option %d: %+v", o.Level, o.Option, o)
		}
	}
}

// Options that rumpd has for such programs act there.
func TestOwnOptions(t *testing.T) {
	if os.Getenv("LINUXSOCK_TEST_SERVER") != "" {
		t.Skip("about rumpd")
	}
	each(t, func(t *testing.T, k *spclient.Conn) {
		for _, test := range []struct {
			name, own int32
			set       int32
			want      int32 // in the kernel
			back      int32 // to the program
			errno     unix.Errno
		}{
			{unix.TCP_CORK, sysproxy.TCPCork, 5, 1, 1, 0},
			{unix.TCP_CORK, sysproxy.TCPCork, 0, 0, 0, 0},
			{unix.TCP_DEFER_ACCEPT, sysproxy.TCPDeferAccept, 10, 15, 15, 0},
			{unix.TCP_DEFER_ACCEPT, sysproxy.TCPDeferAccept, -1, 0, 0, 0},
			{unix.TCP_QUICKACK, sysproxy.TCPQuickAck, 1, 1, 1, 0},
			{unix.TCP_QUICKACK, sysproxy.TCPQuickAck, 0, 1, 1, unix.ENOPROTOOPT},
			{unix.TCP_LINGER2, sysproxy.TCPLinger2, 30, 30, 30, 0},
			{unix.TCP_USER_TIMEOUT, sysproxy.TCPUserTimeout, 1500, 1500, 1500, 0},
		} {
			p := kindNamed("tcp4").open(t, k)
			if errno := p.set(t, unix.SOL_TCP, int(test.name), u32(test.set)); errno != test.errno {
				t.Errorf("option %d set to %d: %v, want %v", test.name, test.set, errno, test.errno)
			}
			if v := p.kernelInt(t, netbsd.IPPROTO_TCP, test.own); v != test.want {
				t.Errorf("option %d set to %d: the kernel has %d, want %d", test.name, test.set, v, test.want)
			}
			if b, errno := p.get(t, unix.SOL_TCP, int(test.name), 4); errno != 0 || !bytes.Equal(b, u32(test.back)) {
				t.Errorf("option %d set to %d: % x, %v, want %d", test.name, test.set, b, errno, test.back)
			}
			p.close()
		}
		// Datagrams come with their type of service.
		u, own := kindNamed("udp4").bound(t, k, "127.0.0.1:0")
		for _, on := range []int32{0, 1, 0} {
			u.must(t, unix.SOL_IP, unix.IP_RECVTOS, u32(on))
			if v := u.kernelInt(t, netbsd.IPPROTO_IP, sysproxy.IPRecvTOS); v != on {
				t.Errorf("IP_RECVTOS set to %d: the kernel has %d", on, v)
			}
			u.must(t, unix.SOL_IP, unix.IP_TOS, u32(0x2a))
			if _, err := k.Sendto(t.Context(), u.fd, []byte("hello"), 0, own); err != nil {
				t.Fatal(err)
			}
			var want []byte
			if on != 0 {
				want = control(unix.SOL_IP, unix.IP_TOS, []byte{0x2a})
			}
			if _, got, _ := u.receive(t, linuxsock.Incoming{}, 256); !bytes.Equal(got, want) {
				t.Errorf("IP_RECVTOS is %d: % x, want % x", on, got, want)
			}
		}
		// Who carries the bytes acts on it.
		p := kindNamed("tcp4").open(t, k)
		p.CorksHere = true
		p.must(t, unix.SOL_TCP, unix.TCP_CORK, u32(1))
		if v := p.kernelInt(t, netbsd.IPPROTO_TCP, sysproxy.TCPCork); v != 0 || !p.Corked() || !p.Clone().Corked() {
			t.Errorf("the kernel has TCP_CORK %d; corked: %v", v, p.Corked())
		}
	})
}

// kernelBytes reads an option of NetBSD's from the kernel.
func (p *pair) kernelBytes(t *testing.T, level, name int32) []byte {
	t.Helper()
	b := make([]byte, 64)
	n, err := p.k.Getsockopt(t.Context(), p.fd, level, name, b)
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

// Options act in the kernel.
func TestOptionsReachTheKernel(t *testing.T) {
	each(t, func(t *testing.T, k *spclient.Conn) {
		be := func(v uint32) []byte { return k.Machine().Order.AppendUint32(nil, v) }
		linger := func(onoff, sec uint32) []byte { return append(be(onoff), be(sec)...) }
		for _, test := range []struct {
			kind        string
			level, name int
			value       []byte
			klevel      int32
			kname       int32
			want        []byte
		}{
			{"tcp4", unix.SOL_SOCKET, unix.SO_REUSEADDR, u32(2), netbsd.SOL_SOCKET, netbsd.SO_REUSEADDR, be(1)},
			{"tcp4", unix.SOL_SOCKET, unix.SO_REUSEPORT, u32(1), netbsd.SOL_SOCKET, netbsd.SO_REUSEPORT, be(1)},
			{"tcp4", unix.SOL_SOCKET, unix.SO_REUSEADDR, u32(1), netbsd.SOL_SOCKET, netbsd.SO_REUSEPORT, be(1)},
			{"udp4", unix.SOL_SOCKET, unix.SO_REUSEADDR, u32(1), netbsd.SOL_SOCKET, netbsd.SO_REUSEPORT, be(1)},
			{"tcp6", unix.SOL_SOCKET, unix.SO_KEEPALIVE, u32(1), netbsd.SOL_SOCKET, netbsd.SO_KEEPALIVE, be(1)},
			{"udp4", unix.SOL_SOCKET, unix.SO_BROADCAST, u32(1), netbsd.SOL_SOCKET, netbsd.SO_BROADCAST, be(1)},
			{"udp4", unix.SOL_SOCKET, unix.SO_DONTROUTE, u32(1), netbsd.SOL_SOCKET, netbsd.SO_DONTROUTE, be(1)},
			{"tcp4", unix.SOL_SOCKET, unix.SO_OOBINLINE, u32(1), netbsd.SOL_SOCKET, netbsd.SO_OOBINLINE, be(1)},
			{"tcp4", unix.SOL_SOCKET, unix.SO_LINGER, append(u32(1), u32(0)...), netbsd.SOL_SOCKET, netbsd.SO_LINGER, linger(1, 0)},
			{"tcp4", unix.SOL_SOCKET, unix.SO_LINGER, append(u32(1), u32(-1)...), netbsd.SOL_SOCKET, netbsd.SO_LINGER, linger(1, 32767)},
			{"tcp4", unix.SOL_SOCKET, unix.SO_RCVBUF, u32(20000), netbsd.SOL_SOCKET, netbsd.SO_RCVBUF, be(20000)},
			{"tcp4", unix.SOL_SOCKET, unix.SO_SNDBUF, u32(20000), netbsd.SOL_SOCKET, netbsd.SO_SNDBUF, be(20000)},
			{"tcp4", unix.SOL_SOCKET, unix.SO_SNDBUF, u32(1), netbsd.SOL_SOCKET, netbsd.SO_SNDBUF, be(4096)},
			{"udp4", unix.SOL_SOCKET, unix.SO_SNDBUF, u32(1), netbsd.SOL_SOCKET, netbsd.SO_SNDBUF, be(65535 + 1024)},
			{"udp6", unix.SOL_SOCKET, unix.SO_SNDBUF, u32(1 << 20), netbsd.SOL_SOCKET, netbsd.SO_RCVBUF, be(192 << 10)},
			{"udp4", unix.SOL_SOCKET, unix.SO_RCVBUF, u32(1 << 30), netbsd.SOL_SOCKET, netbsd.SO_RCVBUF, be(186624)},
			{"udp4", unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, u32(1), netbsd.SOL_SOCKET, netbsd.SO_TIMESTAMP, be(1)},
			{"tcp4", unix.SOL_TCP, unix.TCP_NODELAY, u32(1), netbsd.IPPROTO_TCP, netbsd.TCP_NODELAY, nil},
			{"tcp4", unix.SOL_IP, unix.IP_TOS, u32(0x13), netbsd.IPPROTO_IP, netbsd.IP_TOS, be(0x10)},
			{"udp4", unix.SOL_IP, unix.IP_TOS, []byte{0x13}, netbsd.IPPROTO_IP, netbsd.IP_TOS, be(0x13)},
			{"udp4", unix.SOL_IP, unix.IP_TTL, []byte{7}, netbsd.IPPROTO_IP, netbsd.IP_TTL, be(7)},
			{"udp4", unix.SOL_IP, unix.IP_TTL, u32(-1), netbsd.IPPROTO_IP, netbsd.IP_TTL, be(64)},
			{"udp6", unix.SOL_IP, unix.IP_TTL, u32(7), netbsd.IPPROTO_IPV6, netbsd.IPV6_UNICAST_HOPS, be(7)},
			{"udp4", unix.SOL_IP, unix.IP_MINTTL, u32(255), netbsd.IPPROTO_IP, netbsd.IP_MINTTL, be(255)},
			{"udp4", unix.SOL_IP, unix.IP_PKTINFO, u32(5), netbsd.IPPROTO_IP, netbsd.IP_PKTINFO, be(1)},
			{"udp4", unix.SOL_IP, unix.IP_RECVTTL, u32(1), netbsd.IPPROTO_IP, netbsd.IP_RECVTTL, be(1)},
			{"udp4", unix.SOL_IP, unix.IP_MULTICAST_TTL, u32(9), netbsd.IPPROTO_IP, netbsd.IP_MULTICAST_TTL, []byte{9}},
			{"udp4", unix.SOL_IP, unix.IP_MULTICAST_LOOP, []byte{0}, netbsd.IPPROTO_IP, netbsd.IP_MULTICAST_LOOP, []byte{0}},
			{"udp4", unix.SOL_IP, unix.IP_MULTICAST_IF, []byte{127, 0, 0, 1}, netbsd.IPPROTO_IP, netbsd.IP_MULTICAST_IF, []byte{127, 0, 0, 1}},
			{"udp4", unix.SOL_IP, unix.IP_MULTICAST_IF, append(make([]byte, 8), u32(1)...), netbsd.IPPROTO_IP, netbsd.IP_MULTICAST_IF, nil},
			{"udp4", unix.SOL_IP, unix.IP_OPTIONS, []byte{7, 7, 4, 0, 0, 0, 0}, netbsd.IPPROTO_IP, netbsd.IP_OPTIONS, nil},
			{"udp6", unix.SOL_IPV6, unix.IPV6_V6ONLY, u32(1), netbsd.IPPROTO_IPV6, netbsd.IPV6_V6ONLY, be(1)},
			{"udp6", unix.SOL_IPV6, unix.IPV6_UNICAST_HOPS, u32(7), netbsd.IPPROTO_IPV6, netbsd.IPV6_UNICAST_HOPS, be(7)},
			{"udp6", unix.SOL_IPV6, unix.IPV6_UNICAST_HOPS, u32(-1), netbsd.IPPROTO_IPV6, netbsd.IPV6_UNICAST_HOPS, be(1<<32 - 1)},
			{"tcp6", unix.SOL_IPV6, unix.IPV6_TCLASS, u32(0x13), netbsd.IPPROTO_IPV6, netbsd.IPV6_TCLASS, be(0x10)},
			{"udp6", unix.SOL_IPV6, unix.IPV6_DONTFRAG, u32(1), netbsd.IPPROTO_IPV6, netbsd.IPV6_DONTFRAG, be(1)},
			{"udp6", unix.SOL_IPV6, unix.IPV6_RECVPKTINFO, u32(1), netbsd.IPPROTO_IPV6, netbsd.IPV6_RECVPKTINFO, be(1)},
			{"udp6", unix.SOL_IPV6, unix.IPV6_2292HOPLIMIT, u32(1), netbsd.IPPROTO_IPV6, netbsd.IPV6_RECVHOPLIMIT, be(1)},
			{"udp6", unix.SOL_IPV6, unix.IPV6_MULTICAST_IF, u32(1), netbsd.IPPROTO_IPV6, netbsd.IPV6_MULTICAST_IF, be(1)},
			{"udp6", unix.SOL_IPV6, unix.IPV6_MULTICAST_HOPS, u32(9), netbsd.IPPROTO_IPV6, netbsd.IPV6_MULTICAST_HOPS, be(9)},
			{"udp6", unix.SOL_IPV6, unix.IPV6_MULTICAST_LOOP, u32(0), netbsd.IPPROTO_IPV6, netbsd.IPV6_MULTICAST_LOOP, be(0)},
			{"udp6", unix.SOL_IPV6, unix.IPV6_ADDR_PREFERENCES, u32(1), netbsd.IPPROTO_IPV6, netbsd.IPV6_PREFER_TEMPADDR, be(1)},
			{"udp6", unix.SOL_IPV6, unix.IPV6_PKTINFO, pktinfo6(1, "::1"), netbsd.IPPROTO_IPV6, netbsd.IPV6_PKTINFO,
				append(netip.IPv6Loopback().AsSlice(), be(1)...)},
			{"raw6", unix.SOL_IPV6, unix.IPV6_CHECKSUM, u32(4), netbsd.IPPROTO_IPV6, netbsd.IPV6_CHECKSUM, be(4)},
			{"raw6", unix.SOL_RAW, unix.IPV6_CHECKSUM, u32(6), netbsd.IPPROTO_IPV6, netbsd.IPV6_CHECKSUM, be(6)},
			{"icmp6", unix.SOL_ICMPV6, unix.ICMPV6_FILTER, u32(1), netbsd.IPPROTO_ICMPV6, netbsd.ICMP6_FILTER,
				append(be(1<<32-2), bytes.Repeat([]byte{0xff}, 28)...)},
		} {
			p := kindNamed(test.kind).open(t, k)
			before := p.kernelBytes(t, test.klevel, test.kname)
			p.must(t, test.level, test.name, test.value)
			got := p.kernelBytes(t, test.klevel, test.kname)
			if test.want != nil && !bytes.Equal(got, test.want) {
				t.Errorf("%s, level %d, option %d set to % x: the kernel has % x, want % x", test.kind, test.level, test.name, test.value, got, test.want)
			}
			if test.want == nil && bytes.Equal(got, before) {
				t.Errorf("%s, level %d, option %d set to % x: the kernel has % x as before", test.kind, test.level, test.name, test.value, got)
			}
			// A socket that takes its place is the same.
			next := kindNamed(test.kind).open(t, k)
			next.Socket = p.Clone()
			if errno := next.Prepare(t.Context(), k, next.fd); errno != 0 {
				t.Fatal(errno)
			}
			if again := next.kernelBytes(t, test.klevel, test.kname); !bytes.Equal(again, got) {
				t.Errorf("%s, level %d, option %d: a new socket has % x, not % x", test.kind, test.level, test.name, again, got)
			}
			p.close()
			next.close()
		}
	})
}

// Options that are set before there is a socket in the kernel reach the one that
// is made, memberships too, but not those that have ended.
func TestOptionsBeforeTheSocket(t *testing.T) {
	each(t, func(t *testing.T, k *spclient.Conn) {
		kind := kindNamed("udp4")
		s := &linuxsock.Socket{Domain: kind.domain, Type: kind.typ, Protocol: kind.protocol}
		set := func(name int, value []byte) unix.Errno {
			return s.Set(t.Context(), noKernel{m: k.Machine()}, spclient.FD{}, -1, unix.SOL_IP, name, value)
		}
		group := func(last byte) []byte { return []byte{239, 0, 0, last, 127, 0, 0, 1} }
		for _, errno := range []unix.Errno{
			set(unix.IP_TTL, u32(7)), set(unix.IP_TTL, u32(8)), set(unix.IP_ADD_MEMBERSHIP, group(1)),
			set(unix.IP_ADD_MEMBERSHIP, group(2)), set(unix.IP_DROP_MEMBERSHIP, group(1)),
		} {
			if errno != 0 {
				t.Fatal(errno)
			}
		}
		if errno := set(unix.IP_DROP_MEMBERSHIP, group(3)); errno != unix.EADDRNOTAVAIL {
			t.Errorf("leaving what was not joined: %v", errno)
		}
		p := kind.open(t, k)
		p.Socket = s
		if errno := p.Prepare(t.Context(), k, p.fd); errno != 0 {
			t.Fatal(errno)
		}
		if got := p.kernelInt(t, netbsd.IPPROTO_IP, netbsd.IP_TTL); got != 8 {
			t.Errorf("TTL is %d", got)
		}
		for last, want := range map[byte]unix.Errno{1: 0, 2: unix.EADDRINUSE, 4: 0} {
			if got := p.set(t, unix.SOL_IP, unix.IP_ADD_MEMBERSHIP, group(last)); got != want {
				t.Errorf("joining group %d: %v, want %v", last, got, want)
			}
		}
	})
}

// Groups are joined and left by all of Linux's ways to name an interface, and
// fail as on Linux.
func TestMembership(t *testing.T) {
	each(t, func(t *testing.T, k *spclient.Conn) {
		g4, g6 := []byte{239, 1, 2, 3}, netip.MustParseAddr("ff05::77").AsSlice()
		req := func(index uint32, sa []byte) []byte {
			return append(append(native.AppendUint64(nil, uint64(index)), sa...), make([]byte, 128-len(sa))...)
		}
		concat := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
		for _, test := range []struct {
			name, kind       string
			level, join, end int
			value            []byte
			joined, again    unix.Errno
			left             unix.Errno
		}{
			{"by address", "udp4", unix.SOL_IP, unix.IP_ADD_MEMBERSHIP, unix.IP_DROP_MEMBERSHIP, concat(g4, []byte{127, 0, 0, 1}), 0, unix.EADDRINUSE, 0},
			{"by number", "udp4", unix.SOL_IP, unix.IP_ADD_MEMBERSHIP, unix.IP_DROP_MEMBERSHIP, concat(g4, make([]byte, 4), u32(1)), 0, unix.EADDRINUSE, 0},
			{"by group_req", "udp4", unix.SOL_IP, unix.MCAST_JOIN_GROUP, unix.MCAST_LEAVE_GROUP, req(1, sockaddr("239.1.2.3:0")), 0, unix.EADDRINUSE, 0},
			{"on none", "udp4", unix.SOL_IP, unix.IP_ADD_MEMBERSHIP, unix.IP_DROP_MEMBERSHIP, concat(g4, []byte{10, 99, 99, 99}), unix.ENODEV, unix.ENODEV, unix.EADDRNOTAVAIL},
			{"on none by number", "udp4", unix.SOL_IP, unix.IP_ADD_MEMBERSHIP, unix.IP_DROP_MEMBERSHIP, concat(g4, make([]byte, 4), u32(99)), unix.ENODEV, unix.ENODEV, unix.EADDRNOTAVAIL},
			{"of no group", "udp4", unix.SOL_IP, unix.IP_ADD_MEMBERSHIP, unix.IP_DROP_MEMBERSHIP, []byte{10, 0, 0, 1, 127, 0, 0, 1}, unix.EINVAL, unix.EINVAL, unix.EADDRNOTAVAIL},
			{"short", "udp4", unix.SOL_IP, unix.IP_ADD_MEMBERSHIP, unix.IP_DROP_MEMBERSHIP, g4, unix.EINVAL, unix.EINVAL, unix.EINVAL},
			{"of a stream", "tcp4", unix.SOL_IP, unix.IP_ADD_MEMBERSHIP, unix.IP_DROP_MEMBERSHIP, concat(g4, []byte{127, 0, 0, 1}), unix.EPROTO, unix.EPROTO, unix.EPROTO},
			{"of IPv6", "udp6", unix.SOL_IPV6, unix.IPV6_JOIN_GROUP, unix.IPV6_LEAVE_GROUP, concat(g6, u32(1)), 0, unix.EADDRINUSE, 0},
			{"of IPv6 by group_req", "udp6", unix.SOL_IPV6, unix.MCAST_JOIN_GROUP, unix.MCAST_LEAVE_GROUP, req(1, sockaddr("[ff05::77]:0")), 0, unix.EADDRINUSE, 0},
			{"of IPv6 on none", "udp6", unix.SOL_IPV6, unix.IPV6_JOIN_GROUP, unix.IPV6_LEAVE_GROUP, concat(g6, u32(99)), unix.ENODEV, unix.ENODEV, unix.ENODEV},
			{"of IPv6, no group", "udp6", unix.SOL_IPV6, unix.IPV6_JOIN_GROUP, unix.IPV6_LEAVE_GROUP, concat(netip.IPv6Loopback().AsSlice(), u32(1)), unix.EINVAL, unix.EINVAL, unix.EADDRNOTAVAIL},
			{"of IPv6 of a stream", "tcp6", unix.SOL_IPV6, unix.IPV6_JOIN_GROUP, unix.IPV6_LEAVE_GROUP, concat(g6, u32(1)), unix.EPROTO, unix.EPROTO, unix.EPROTO},
			{"of the other family", "udp4", unix.SOL_IP, unix.MCAST_JOIN_GROUP, unix.MCAST_LEAVE_GROUP, req(1, sockaddr("[ff05::77]:0")), unix.EINVAL, unix.EINVAL, unix.EINVAL},
		} {
			p := kindNamed(test.kind).open(t, k)
			for i, want := range []unix.Errno{test.joined, test.again, test.left} {
				name := test.join
				if i == 2 {
					name = test.end
				}
				if got := p.set(t, test.level, name, test.value); got != want {
					t.Errorf("%s, step %d: %v, want %v", test.name, i, got, want)
				}
			}
			p.close()
		}
	})
}

// SO_ERROR tells an error that waits, once, and in Linux's number.
func TestError(t *testing.T) {
	each(t, func(t *testing.T, k *spclient.Conn) {
		p := kindNamed("udp4").open(t, k)
		get := func() unix.Errno {
			t.Helper()
			b, errno := p.get(t, unix.SOL_SOCKET, unix.SO_ERROR, 4)
			if errno != 0 || len(b) != 4 {
				t.Fatalf("% x, %v", b, errno)
			}
			return unix.Errno(native.Uint32(b))
		}
		if e := get(); e != 0 {
			t.Errorf("a new socket: %v", e)
		}
		p.Pending = unix.ETIMEDOUT
		if a, b := get(), get(); a != unix.ETIMEDOUT || b != 0 {
			t.Errorf("one that waits: %v, then %v", a, b)
		}
		// Nobody listens there: the answer to what is sent is an error.
		sa, errno := p.Address(k.Machine(), linuxsock.Connect, sockaddr("127.0.0.1:4711"))
		if errno != 0 {
			t.Fatal(errno)
		}
		if err := k.Connect(t.Context(), p.fd, sa); err != nil {
			t.Fatal(err)
		}
		if _, err := k.Write(t.Context(), p.fd, []byte("x")); err != nil {
			t.Fatal(err)
		}
		eventually(t, "an error", func() bool {
			e := get()
			if e != 0 && e != unix.ECONNREFUSED {
				t.Fatal(e)
			}
			return e != 0
		})
		if e := get(); e != 0 {
			t.Errorf("told twice: %v", e)
		}
	})
}

// A connection tells its state, and what it has agreed on.
func TestTCPInfo(t *testing.T) {
	each(t, func(t *testing.T, k *spclient.Conn) {
		state := func(p *pair) uint8 {
			t.Helper()
			b, errno := p.get(t, unix.SOL_TCP, unix.TCP_INFO, 1024)
			if errno != 0 || len(b) < 232 {
				t.Fatalf("%d bytes, %v", len(b), errno)
			}
			return b[0]
		}
		p := kindNamed("tcp4").open(t, k)
		if s := state(p); s != 7 {
			t.Errorf("state of a new socket is %d", s)
		}
		l, addr := kindNamed("tcp4").bound(t, k, "127.0.0.1:0")
		if err := k.ListenFD(t.Context(), l.fd, 5); err != nil {
			t.Fatal(err)
		}
		if s := state(l); s != 10 {
			t.Errorf("state of a listener is %d", s)
		}
		if _, errno := p.get(t, unix.SOL_IP, unix.IP_MTU, 4); errno != unix.ENOTCONN {
			t.Errorf("MTU without a connection: %v", errno)
		}
		if err := k.Connect(t.Context(), p.fd, addr); err != nil {
			t.Fatal(err)
		}
		b, _ := p.get(t, unix.SOL_TCP, unix.TCP_INFO, 1024)
		mss, cwnd := native.Uint32(b[16:]), native.Uint32(b[80:])
		if b[0] != 1 || b[5]&4 == 0 || mss < 536 || cwnd == 0 || cwnd > 10000 {
			t.Errorf("state %d, options %#x, segments of %d, %d of them at once", b[0], b[5], mss, cwnd)
		}
		// Times may change between two calls.
		eventually(t, "104 bytes are the first of all", func() bool {
			b, _ := p.get(t, unix.SOL_TCP, unix.TCP_INFO, 1024)
			short, errno := p.get(t, unix.SOL_TCP, unix.TCP_INFO, 104)
			return errno == 0 && bytes.Equal(short, b[:104])
		})
		if b, errno := p.get(t, unix.SOL_TCP, unix.TCP_MAXSEG, 4); errno != 0 || native.Uint32(b) != uint32(p.kernelInt(t, netbsd.IPPROTO_TCP, netbsd.TCP_MAXSEG)) {
			t.Errorf("TCP_MAXSEG: % x, %v", b, errno)
		}
		list, err := interfaces(t, k)
		if err != nil {
			t.Fatal(err)
		}
		if b, errno := p.get(t, unix.SOL_IP, unix.IP_MTU, 4); errno != 0 || native.Uint32(b) != list["lo0"] {
			t.Errorf("MTU: % x, %v, want %d", b, errno, list["lo0"])
		}
		if b, errno := p.get(t, unix.SOL_SOCKET, unix.SO_PEERNAME, 16); errno != 0 || !bytes.Equal(b, linuxsock.FromNetBSD(k.Machine(), addr)) {
			t.Errorf("SO_PEERNAME: % x, %v", b, errno)
		}
		if _, errno := p.get(t, unix.SOL_SOCKET, unix.SO_PEERNAME, 17); errno != unix.EINVAL {
			t.Errorf("SO_PEERNAME with a long buffer: %v", errno)
		}
		if err := k.Shutdown(t.Context(), p.fd, netbsd.SHUT_WR); err != nil {
			t.Fatal(err)
		}
		eventually(t, "FIN_WAIT_2", func() bool { return state(p) == 5 })
	})
}

// A connected socket of IPv6 tells the MTU of its way, and the errors that a
// program asks to be queued are known.
func TestPathMTU(t *testing.T) {
	each(t, func(t *testing.T, k *spclient.Conn) {
		p := kindNamed("udp6").open(t, k)
		if _, errno := p.get(t, unix.SOL_IPV6, unix.IPV6_PATHMTU, unix.SizeofIPv6MTUInfo); errno != unix.ENOTCONN {
			t.Errorf("without a peer: %v", errno)
		}
		sa, errno := p.Address(k.Machine(), linuxsock.Connect, sockaddr("[::1]:4711"))
		if errno != 0 {
			t.Fatal(errno)
		}
		if err := k.Connect(t.Context(), p.fd, sa); err != nil {
			t.Fatal(err)
		}
		list, err := interfaces(t, k)
		if err != nil {
			t.Fatal(err)
		}
		want := append(sockaddr("[::1]:0"), u32(int32(list["lo0"]))...)
		if got, errno := p.get(t, unix.SOL_IPV6, unix.IPV6_PATHMTU, 64); errno != 0 || !bytes.Equal(got, want) {
			t.Errorf("IPV6_PATHMTU: % x, %v, want % x", got, errno, want)
		}
		if got, errno := p.get(t, unix.SOL_IPV6, unix.IPV6_MTU, 4); errno != 0 || !bytes.Equal(got, want[28:]) {
			t.Errorf("IPV6_MTU: % x, %v", got, errno)
		}
		if _, errno := p.get(t, unix.SOL_IPV6, unix.IPV6_PATHMTU, 31); errno != unix.EINVAL {
			t.Errorf("a short buffer: %v", errno)
		}
		if errno := p.set(t, unix.SOL_IPV6, unix.IPV6_PKTINFO, pktinfo6(99, "::")); errno != unix.ENODEV {
			t.Errorf("on no interface: %v", errno)
		}
		if p.ErrorQueue() {
			t.Error("nobody asked for errors")
		}
		p.must(t, unix.SOL_IPV6, unix.IPV6_RECVERR, u32(1))
		if !p.ErrorQueue() || !p.Clone().ErrorQueue() {
			t.Error("errors were asked for")
		}
	})
}

// interfaces are the MTUs of the kernel's interfaces.
func interfaces(t *testing.T, k *spclient.Conn) (map[string]uint32, error) {
	list, err := new(linuxsock.Addresses).Interfaces(t.Context(), k)
	mtus := make(map[string]uint32)
	for _, ifp := range list {
		mtus[ifp.Name] = uint32(ifp.Data.Mtu)
	}
	return mtus, err
}

// Timeouts and the like act on the program's own socket, and are told to who
// waits in its place.
func TestHostOptions(t *testing.T) {
	k := dial(t, netbsd.AMD64)
	p := kindNamed("tcp4").open(t, k)
	tv := unix.NsecToTimeval(1500e6)
	value := native.AppendUint64(native.AppendUint64(nil, uint64(tv.Sec)), uint64(tv.Usec))
	p.must(t, unix.SOL_SOCKET, unix.SO_RCVTIMEO_OLD, value)
	p.must(t, unix.SOL_SOCKET, unix.SO_SNDTIMEO_NEW, value)
	if p.RecvTimeout() != 1500e6 || p.SendTimeout() != 1500e6 {
		t.Errorf("timeouts are %v and %v", p.RecvTimeout(), p.SendTimeout())
	}
	for _, name := range []int{unix.SO_RCVTIMEO_OLD, unix.SO_RCVTIMEO_NEW, unix.SO_SNDTIMEO_OLD, unix.SO_SNDTIMEO_NEW} {
		host, errno := nativeGet(p.host, unix.SOL_SOCKET, name, 16)
		got, errno2 := p.get(t, unix.SOL_SOCKET, name, 16)
		if errno != 0 || errno2 != 0 || !bytes.Equal(got, host) || !bytes.Equal(got[:8], value[:8]) {
			t.Errorf("option %d: % x and % x, %v and %v", name, got, host, errno, errno2)
		}
	}
	bad := native.AppendUint64(make([]byte, 8), 1e6)
	if errno := p.set(t, unix.SOL_SOCKET, unix.SO_RCVTIMEO_OLD, bad); errno != unix.EDOM {
		t.Errorf("a million microseconds: %v", errno)
	}
	p.must(t, unix.SOL_SOCKET, unix.SO_RCVBUF, u32(30000))
	host, _ := nativeGet(p.host, unix.SOL_SOCKET, unix.SO_RCVBUF, 4)
	if got, _ := p.get(t, unix.SOL_SOCKET, unix.SO_RCVBUF, 4); !bytes.Equal(got, u32(60000)) || !bytes.Equal(host, got) {
		t.Errorf("SO_RCVBUF: % x, and % x on the host", got, host)
	}
	p.must(t, unix.SOL_SOCKET, unix.SO_LINGER, append(u32(1), u32(5)...))
	if on, sec := p.Linger(); !on || sec != 5 {
		t.Errorf("linger: %v, %d", on, sec)
	}
	if host, _ := nativeGet(p.host, unix.SOL_SOCKET, unix.SO_LINGER, 8); !bytes.Equal(host, make([]byte, 8)) {
		t.Errorf("the host's socket lingers: % x", host)
	}
	// A socket that is accepted has them, too.
	accepted, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(accepted)
	if errno := p.Clone().PrepareHost(accepted); errno != 0 {
		t.Fatal(errno)
	}
	for _, name := range []int{unix.SO_RCVBUF, unix.SO_SNDBUF, unix.SO_RCVTIMEO, unix.SO_SNDTIMEO} {
		want, _ := nativeGet(p.host, unix.SOL_SOCKET, name, 16)
		if got, errno := nativeGet(accepted, unix.SOL_SOCKET, name, 16); errno != 0 || !bytes.Equal(got, want) {
			t.Errorf("option %d of an accepted socket: % x, %v, want % x", name, got, errno, want)
		}
	}
	for _, o := range []struct {
		level, name int
		value       []byte
		want        unix.Errno
	}{
		{unix.SOL_SOCKET, unix.SO_BINDTODEVICE, []byte("eth0\x00"), unix.ENODEV}, // the host's
		{unix.SOL_SOCKET, unix.SO_MARK, u32(1), unix.EPERM},
		{unix.SOL_SOCKET, unix.SO_RCVLOWAT, u32(2), unix.ENOPROTOOPT},
		{unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, make([]byte, 16), unix.ENOPROTOOPT},
		{unix.SOL_TCP, unix.TCP_ULP, []byte("tls"), unix.ENOPROTOOPT},
		{unix.SOL_TCP, unix.TCP_CONGESTION, []byte("nonesuch"), unix.ENOENT},
		{unix.SOL_TCP, unix.TCP_CONGESTION, []byte("reno\x00"), 0},
	} {
		if got := p.set(t, o.level, o.name, o.value); got != o.want {
			t.Errorf("level %d, option %d: %v, want %v", o.level, o.name, got, o.want)
		}
	}
	if got, errno := p.get(t, unix.SOL_TCP, unix.TCP_CONGESTION, 16); errno != 0 || netbsd.CString(got) != "reno" {
		t.Errorf("TCP_CONGESTION: %q, %v", got, errno)
	}
}

// Options of a kernel that is lost, or of a call that was given up, say so.
func TestLostKernel(t *testing.T) {
	k := dial(t, netbsd.AMD64)
	p := kindNamed("tcp4").open(t, k)
	p.must(t, unix.SOL_SOCKET, unix.SO_KEEPALIVE, u32(1))
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("given up"))
	if errno := p.Set(ctx, k, p.fd, p.host, unix.SOL_TCP, unix.TCP_NODELAY, u32(1)); errno != unix.EINTR {
		t.Errorf("a call that was given up: %v", errno)
	}
	k.Close()
	if errno := p.set(t, unix.SOL_TCP, unix.TCP_NODELAY, u32(1)); errno != unix.ECONNRESET {
		t.Errorf("set: %v", errno)
	}
	if _, errno := p.get(t, unix.SOL_TCP, unix.TCP_INFO, 256); errno != unix.ECONNRESET {
		t.Errorf("get: %v", errno)
	}
	if b, errno := p.get(t, unix.SOL_SOCKET, unix.SO_ERROR, 4); errno != 0 || !bytes.Equal(b, u32(int32(unix.ECONNRESET))) {
		t.Errorf("SO_ERROR: % x, %v", b, errno)
	}
	if errno := p.Prepare(t.Context(), k, p.fd); errno != unix.ECONNRESET {
		t.Errorf("Prepare: %v", errno)
	}
	if _, errno := linuxsock.Ioctl(t.Context(), k, -1, unix.SIOCGIFFLAGS, ifreq("lo0"), noWrite); errno != unix.ECONNRESET {
		t.Errorf("ioctl: %v", errno)
	}
}

// Of options that wait, Set says without a socket in the kernel what it says with one.
func TestWaitingOptions(t *testing.T) {
	each(t, func(t *testing.T, k *spclient.Conn) {
		for _, kind := range []string{"tcp4", "tcp6"} {
			waits := 0
			for _, o := range linuxsock.Options() {
				p := kindNamed(kind).open(t, k)
				if !p.Waits(o.Level, o.Option) {
					p.close()
					continue
				}
				waits++
				for _, v := range []int32{0, 1, -1, 2, 127, 128, 255, 32767, 32768, 1<<31 - 1, -1 << 31} {
					for _, size := range []int{4, 0, 8, 16} {
						value := append(u32(v), u32(v)...)
						value = append(value, value...)[:size]
						early := p.Set(t.Context(), k, spclient.FD{}, p.host, o.Level, o.Option, value)
						if errno := p.set(t, o.Level, o.Option, value); errno != early {
							t.Errorf("%s: %s set to % x: %v, without a socket %v", kind, o.Name, value, errno, early)
						}
					}
				}
				p.close()
			}
			if waits < 10 {
				t.Errorf("%s: only %d options wait", kind, waits)
			}
		}
	})
}

// Options that ask for control messages are known to do so, and others are not taken for them.
func TestHasControl(t *testing.T) {
	each(t, func(t *testing.T, k *spclient.Conn) {
		for _, test := range []struct {
			kind        string
			level, name int
			want        bool
		}{
			{"udp4", unix.SOL_SOCKET, unix.SO_TIMESTAMP, true},
			{"udp4", unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, true},
			{"udp4", unix.SOL_IP, unix.IP_PKTINFO, true},
			{"udp4", unix.SOL_IP, unix.IP_RECVTTL, true},
			{"udp4", unix.SOL_IP, unix.IP_RECVTOS, os.Getenv("LINUXSOCK_TEST_SERVER") == ""},
			{"udp6", unix.SOL_IPV6, unix.IPV6_RECVPKTINFO, true},
			{"udp6", unix.SOL_IPV6, unix.IPV6_RECVHOPLIMIT, true},
			{"udp6", unix.SOL_IPV6, unix.IPV6_RECVTCLASS, true},
			{"udp6", unix.SOL_IPV6, unix.IPV6_RECVRTHDR, true},
			{"udp6", unix.SOL_IPV6, unix.IPV6_RECVHOPOPTS, true},
			{"udp6", unix.SOL_IPV6, unix.IPV6_RECVDSTOPTS, true},
			{"udp6", unix.SOL_IPV6, unix.IPV6_2292PKTINFO, true},
			{"udp6", unix.SOL_IPV6, unix.IPV6_2292HOPLIMIT, true},
			{"udp4", unix.SOL_SOCKET, unix.SO_REUSEADDR, false},
			{"udp4", unix.SOL_SOCKET, unix.SO_BROADCAST, false},
			{"udp4", unix.SOL_IP, unix.IP_TTL, false},
			{"udp4", unix.SOL_IP, unix.IP_TOS, false},
			{"udp6", unix.SOL_IPV6, unix.IPV6_TCLASS, false},
			{"udp6", unix.SOL_IPV6, unix.IPV6_V6ONLY, false},
		} {
			p := kindNamed(test.kind).open(t, k)
			if p.HasControl() {
				t.Errorf("a new socket of %s has control messages", test.kind)
			}
			if errno := p.set(t, test.level, test.name, u32(1)); errno != 0 && test.want {
				t.Errorf("level %d, option %d: %v", test.level, test.name, errno)
			}
			if p.HasControl() != test.want && (test.want || test.name != unix.IP_RECVTOS) {
				t.Errorf("level %d, option %d: control messages are %v", test.level, test.name, p.HasControl())
			}
			p.close()
		}
	})
}
