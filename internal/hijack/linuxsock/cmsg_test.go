//go:build linux

package linuxsock_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
	"rumptools/pkg/sysproxy"
)

// u32 is a value that is an int.
func u32(v int32) []byte { return native.AppendUint32(nil, uint32(v)) }

// control makes a control message as a program does.
func control(level, typ int, data []byte) []byte {
	b := make([]byte, unix.CmsgSpace(len(data)))
	h := b[unix.CmsgLen(0):]
	copy(h, data)
	if unix.CmsgLen(0) == 16 {
		native.PutUint64(b, uint64(unix.CmsgLen(len(data))))
	} else {
		native.PutUint32(b, uint32(unix.CmsgLen(len(data))))
	}
	native.PutUint32(b[unix.CmsgLen(0)-8:], uint32(level))
	native.PutUint32(b[unix.CmsgLen(0)-4:], uint32(typ))
	return b
}

func pktinfo4(index uint32, spec, addr string) []byte {
	b := native.AppendUint32(nil, index)
	return append(append(b, netip.MustParseAddr(spec).AsSlice()...), netip.MustParseAddr(addr).AsSlice()...)
}

func pktinfo6(index uint32, addr string) []byte {
	return native.AppendUint32(netip.MustParseAddr(addr).AsSlice(), index)
}

func TestToControl(t *testing.T) {
	m := netbsd.POWERPC
	be := func(v int32) []byte { return binary.BigEndian.AppendUint32(nil, uint32(v)) }
	kernel6 := func(typ int32, data []byte) []byte { return netbsd.AppendCmsg(m, nil, netbsd.IPPROTO_IPV6, typ, data) }
	for _, test := range []struct {
		name, kind string
		control    []byte
		want       string // of Outgoing, without Control
		kernel     []byte
		err        unix.Errno
	}{
		{"nothing", "udp4", nil, "invalid IP 0 -1 -1", nil, 0},
		{"source", "udp4", control(unix.SOL_IP, unix.IP_PKTINFO, pktinfo4(0, "10.0.0.1", "0.0.0.0")), "10.0.0.1 0 -1 -1", nil, 0},
		{"interface", "udp4", control(unix.SOL_IP, unix.IP_PKTINFO, pktinfo4(3, "0.0.0.0", "9.9.9.9")), "invalid IP 3 -1 -1", nil, 0},
		{"short pktinfo", "udp4", control(unix.SOL_IP, unix.IP_PKTINFO, make([]byte, 8)), "", nil, unix.EINVAL},
		{"TTL and TOS", "udp4", append(control(unix.SOL_IP, unix.IP_TTL, u32(3)), control(unix.SOL_IP, unix.IP_TOS, []byte{0x10})...), "invalid IP 0 3 16", nil, 0},
		{"TOS as an int", "udp4", control(unix.SOL_IP, unix.IP_TOS, u32(8)), "invalid IP 0 -1 8", nil, 0},
		{"no TTL", "udp4", control(unix.SOL_IP, unix.IP_TTL, u32(0)), "", nil, unix.EINVAL},
		{"TTL of a byte", "udp4", control(unix.SOL_IP, unix.IP_TTL, []byte{3}), "", nil, unix.EINVAL},
		{"unknown", "udp4", control(unix.SOL_IP, 99, nil), "", nil, unix.EINVAL},
		{"of another level", "udp4", control(4711, 1, u32(1)), "invalid IP 0 -1 -1", nil, 0},
		{"of IPv6", "udp4", control(unix.SOL_IPV6, unix.IPV6_TCLASS, u32(1)), "invalid IP 0 -1 -1", nil, 0},
		{"mark", "udp4", control(unix.SOL_SOCKET, unix.SO_MARK, u32(1)), "", nil, unix.EPERM},
		{"unknown of the socket", "udp4", control(unix.SOL_SOCKET, 4711, u32(1)), "", nil, unix.EINVAL},
		{"rights", "udp4", control(unix.SOL_SOCKET, unix.SCM_RIGHTS, u32(1)), "invalid IP 0 -1 -1", nil, 0},
		{"segments of a byte", "udp4", control(unix.SOL_UDP, unix.UDP_SEGMENT, []byte{100}), "", nil, unix.EINVAL},
		{"no segments, to a raw socket", "raw4", control(unix.SOL_UDP, unix.UDP_SEGMENT, []byte{100}), "invalid IP 0 -1 -1", nil, 0},
		{"cut", "udp4", control(unix.SOL_IP, unix.IP_TTL, u32(3))[:18], "", nil, unix.EINVAL},
		{"a tail", "udp4", append(control(unix.SOL_IP, unix.IP_TTL, u32(3)), 1, 2, 3), "invalid IP 0 3 -1", nil, 0},
		{"to a stream", "tcp4", control(unix.SOL_IP, 99, nil), "invalid IP 0 -1 -1", nil, 0},
		{"hop limit", "udp6", control(unix.SOL_IPV6, unix.IPV6_HOPLIMIT, u32(3)), "invalid IP 0 -1 -1", kernel6(netbsd.IPV6_HOPLIMIT, be(3)), 0},
		{"hop limit of 2292", "udp6", control(unix.SOL_IPV6, unix.IPV6_2292HOPLIMIT, u32(-1)), "invalid IP 0 -1 -1", kernel6(netbsd.IPV6_HOPLIMIT, be(-1)), 0},
		{"large hop limit", "udp6", control(unix.SOL_IPV6, unix.IPV6_HOPLIMIT, u32(256)), "", nil, unix.EINVAL},
		{"class", "udp6", control(unix.SOL_IPV6, unix.IPV6_TCLASS, u32(7)), "invalid IP 0 -1 -1", kernel6(netbsd.IPV6_TCLASS, be(7)), 0},
		{"pktinfo6", "udp6", control(unix.SOL_IPV6, unix.IPV6_PKTINFO, pktinfo6(2, "2001:db8::1")), "invalid IP 0 -1 -1",
			kernel6(netbsd.IPV6_PKTINFO, append(netip.MustParseAddr("2001:db8::1").AsSlice(), 0, 0, 0, 2)), 0},
		{"mapped pktinfo6", "udp6", control(unix.SOL_IPV6, unix.IPV6_PKTINFO, pktinfo6(2, "::ffff:10.0.0.1")), "10.0.0.1 2 -1 -1", nil, 0},
		{"hop-by-hop options", "udp6", control(unix.SOL_IPV6, unix.IPV6_HOPOPTS, make([]byte, 8)), "", nil, unix.EPERM},
		{"unknown of IPv6", "udp6", control(unix.SOL_IPV6, 4711, nil), "", nil, unix.EINVAL},
	} {
		k := kindNamed(test.kind)
		s := &linuxsock.Socket{Domain: k.domain, Type: k.typ, Protocol: k.protocol}
		out, errno := s.ToControl(m, test.control)
		if errno != test.err {
			t.Errorf("%s: %v, want %v", test.name, errno, test.err)
			continue
		}
		if errno != 0 {
			continue
		}
		if got := fmt.Sprint(out.Source, out.Interface, out.TTL, out.TOS); got != test.want || !bytes.Equal(out.Control, test.kernel) {
			t.Errorf("%s: %s, % x, want %s, % x", test.name, got, out.Control, test.want, test.kernel)
		}
		if plain := test.want == "invalid IP 0 -1 -1"; out.Plain() != plain {
			t.Errorf("%s: plain is %v", test.name, !plain)
		}
	}
}

// bound makes a socket that is bound to an address of this host, in the kernel.
func (k kind) bound(t *testing.T, c *spclient.Conn, addr string) (p *pair, own []byte) {
	t.Helper()
	p = k.open(t, c)
	sa, errno := p.Address(c.Machine(), linuxsock.Bind, sockaddr(addr))
	if errno != 0 {
		t.Fatal(errno)
	}
	if err := c.Bind(t.Context(), p.fd, sa); err != nil {
		t.Fatal(err)
	}
	own, err := c.Getsockname(t.Context(), p.fd)
	if err != nil {
		t.Fatal(err)
	}
	return p, own
}

// must reports a set that failed.
func (p *pair) must(t *testing.T, level, name int, value []byte) {
	t.Helper()
	if errno := p.set(t, level, name, value); errno != 0 {
		t.Fatalf("option %d, %d: %v", level, name, errno)
	}
}

// receive receives a datagram with its control messages as the program gets
// them.
func (p *pair) receive(t *testing.T, in linuxsock.Incoming, room int) (data, control []byte, truncated bool) {
	t.Helper()
	msg := &spclient.Message{Buffers: [][]byte{make([]byte, 2000)}, Control: make([]byte, 512)}
	n, err := p.k.RecvmsgWait(t.Context(), p.fd, msg, 0)
	if err != nil {
		t.Fatal(err)
	}
	control, truncated = p.FromControl(p.k.Machine(), msg.Control, in, room)
	return msg.Buffers[0][:n], control, truncated
}

// Datagrams come with the control messages that were asked for, in their order.
func TestFromControl(t *testing.T) {
	each(t, func(t *testing.T, k *spclient.Conn) {
		p, own := kindNamed("udp4").bound(t, k, "127.0.0.1:0")
		send := func() {
			t.Helper()
			if _, err := k.Sendto(t.Context(), p.fd, []byte("hello"), 0, own); err != nil {
				t.Fatal(err)
			}
		}
		send()
		if data, control, truncated := p.receive(t, linuxsock.Incoming{}, 256); string(data) != "hello" || len(control) != 0 || truncated {
			t.Errorf("%q with % x, %v", data, control, truncated)
		}
		p.must(t, unix.SOL_IP, unix.IP_PKTINFO, u32(1))
		p.must(t, unix.SOL_IP, unix.IP_RECVTTL, u32(1))
		p.must(t, unix.SOL_IP, unix.IP_TTL, u32(33))
		info := control(unix.SOL_IP, unix.IP_PKTINFO, pktinfo4(1, "127.0.0.1", "127.0.0.1"))
		ttl := control(unix.SOL_IP, unix.IP_TTL, u32(33))
		all := append(info, ttl...)
		for room, want := range map[int][]byte{
			256: all, len(all): all, len(all) - 4: all[:len(all)-4], len(info): info, len(info) + 15: info, 15: nil, 0: nil,
		} {
			send()
			_, got, truncated := p.receive(t, linuxsock.Incoming{}, room)
			// The padding of the last may be missing.
			if cut := room < len(all)-4; truncated != cut || !bytes.Equal(got, want) {
				t.Errorf("room %d: % x, %v, want % x", room, got, truncated, want)
			}
		}
		// A message that is cut says how much is there.
		send()
		room := len(info) + 18
		_, got, truncated := p.receive(t, linuxsock.Incoming{}, room)
		if len(got) != room || !truncated || native.Uint64(got[len(info):]) != 18 {
			t.Errorf("cut: % x, %v", got, truncated)
		}
		local := netip.MustParseAddr("10.9.8.7")
		send()
		_, got, _ = p.receive(t, linuxsock.Incoming{Local: func(index uint32, dst netip.Addr) netip.Addr {
			if index != 1 || dst.String() != "127.0.0.1" {
				t.Errorf("asked for %s on %d", dst, index)
			}
			return local
		}}, 256)
		if want := control(unix.SOL_IP, unix.IP_PKTINFO, pktinfo4(1, "10.9.8.7", "127.0.0.1")); !bytes.HasPrefix(got, want) {
			t.Errorf("% x, want % x", got, want)
		}
		p.must(t, unix.SOL_IP, unix.IP_PKTINFO, u32(0))
		p.must(t, unix.SOL_IP, unix.IP_RECVTTL, u32(0))
		send()
		if _, control, _ := p.receive(t, linuxsock.Incoming{}, 256); len(control) != 0 {
			t.Errorf("nothing is wanted any more: % x", control)
		}
	})
}

// Datagrams of IPv6 come with theirs, under the names of either RFC, and what
// goes with those that are sent is heeded.
func TestControl6(t *testing.T) {
	each(t, func(t *testing.T, k *spclient.Conn) {
		p, own := kindNamed("udp6").bound(t, k, "[::1]:0")
		for _, name := range []int{unix.IPV6_RECVPKTINFO, unix.IPV6_RECVHOPLIMIT, unix.IPV6_RECVTCLASS} {
			p.must(t, unix.SOL_IPV6, name, u32(1))
		}
		out, errno := p.ToControl(k.Machine(), append(control(unix.SOL_IPV6, unix.IPV6_HOPLIMIT, u32(44)), control(unix.SOL_IPV6, unix.IPV6_TCLASS, u32(0x20))...))
		if errno != 0 {
			t.Fatal(errno)
		}
		send := func() {
			msg := &spclient.Message{Name: own, Buffers: [][]byte{[]byte("hello")}, Control: out.Control}
			if _, err := k.Sendmsg(t.Context(), p.fd, msg, 0); err != nil {
				t.Fatal(err)
			}
		}
		send()
		_, got, _ := p.receive(t, linuxsock.Incoming{}, 256)
		want := control(unix.SOL_IPV6, unix.IPV6_PKTINFO, pktinfo6(1, "::1"))
		want = append(want, control(unix.SOL_IPV6, unix.IPV6_HOPLIMIT, u32(44))...)
		want = append(want, control(unix.SOL_IPV6, unix.IPV6_TCLASS, u32(0x20))...)
		if !bytes.Equal(got, want) {
			t.Errorf("% x, want % x", got, want)
		}
		p.must(t, unix.SOL_IPV6, unix.IPV6_RECVPKTINFO, u32(0))
		p.must(t, unix.SOL_IPV6, unix.IPV6_RECVTCLASS, u32(0))
		p.must(t, unix.SOL_IPV6, unix.IPV6_RECVHOPLIMIT, u32(0))
		p.must(t, unix.SOL_IPV6, unix.IPV6_2292HOPLIMIT, u32(1))
		send()
		_, got, _ = p.receive(t, linuxsock.Incoming{}, 256)
		if want := control(unix.SOL_IPV6, unix.IPV6_2292HOPLIMIT, u32(44)); !bytes.Equal(got, want) {
			t.Errorf("RFC 2292: % x, want % x", got, want)
		}
	})
}

// Times come in the form that was asked for last.
func TestTimestamps(t *testing.T) {
	each(t, func(t *testing.T, k *spclient.Conn) {
		p, own := kindNamed("udp4").bound(t, k, "127.0.0.1:0")
		for _, test := range []struct {
			name, size int
			unit       time.Duration
		}{
			{unix.SO_TIMESTAMP_OLD, 16, time.Microsecond},
			{unix.SO_TIMESTAMP_NEW, 16, time.Microsecond},
			{unix.SO_TIMESTAMPNS_OLD, 16, time.Nanosecond},
			{unix.SO_TIMESTAMPNS_NEW, 16, time.Nanosecond},
			{unix.SO_TIMESTAMPING_NEW, 48, time.Nanosecond},
			{unix.SO_TIMESTAMPING_OLD, 48, time.Nanosecond},
		} {
			on := int32(1)
			if test.size == 48 {
				p.must(t, unix.SOL_SOCKET, unix.SO_TIMESTAMP_NEW, u32(0))
				on = unix.SOF_TIMESTAMPING_RX_SOFTWARE | unix.SOF_TIMESTAMPING_SOFTWARE
			}
			p.must(t, unix.SOL_SOCKET, test.name, u32(on))
			before := time.Now()
			if _, err := k.Sendto(t.Context(), p.fd, []byte("hello"), 0, own); err != nil {
				t.Fatal(err)
			}
			_, got, _ := p.receive(t, linuxsock.Incoming{}, 256)
			if len(got) != 16+test.size || native.Uint32(got[12:]) != uint32(test.name) {
				t.Fatalf("option %d: % x", test.name, got)
			}
			at := time.Unix(int64(native.Uint64(got[16:])), int64(native.Uint64(got[24:]))*int64(test.unit))
			if d := at.Sub(before); d < -time.Second || d > time.Minute {
				t.Errorf("option %d: %v, %v after it was sent", test.name, at, d)
			}
		}
		if errno := p.set(t, unix.SOL_SOCKET, unix.SO_TIMESTAMPING_OLD, u32(unix.SOF_TIMESTAMPING_TX_HARDWARE)); errno != unix.EINVAL {
			t.Errorf("times of what is sent: %v", errno)
		}
	})
}

func TestFlags(t *testing.T) {
	stream := &linuxsock.Socket{Domain: unix.AF_INET, Type: unix.SOCK_STREAM, Protocol: unix.IPPROTO_TCP}
	dgram := &linuxsock.Socket{Domain: unix.AF_INET, Type: unix.SOCK_DGRAM, Protocol: unix.IPPROTO_UDP}
	for _, test := range []struct {
		s     *linuxsock.Socket
		flags int
		want  int32
		err   unix.Errno
	}{
		{stream, unix.MSG_DONTWAIT | unix.MSG_NOSIGNAL | unix.MSG_MORE, netbsd.MSG_DONTWAIT | netbsd.MSG_NOSIGNAL, 0},
		{dgram, unix.MSG_DONTROUTE | unix.MSG_EOR | unix.MSG_CONFIRM, netbsd.MSG_DONTROUTE | sysproxy.MsgKeepTTL | netbsd.MSG_EOR, 0},
		{dgram, unix.MSG_MORE, 0, unix.EOPNOTSUPP},
		{stream, unix.MSG_OOB, 0, unix.EOPNOTSUPP},
		{stream, unix.MSG_FASTOPEN, 0, unix.EOPNOTSUPP},
		{stream, unix.MSG_PEEK | unix.MSG_ZEROCOPY | 1<<30, 0, 0},
	} {
		if got, errno := test.s.SendFlags(test.flags); got != test.want || errno != test.err {
			t.Errorf("send %#x: %#x, %v, want %#x, %v", test.flags, got, errno, test.want, test.err)
		}
	}
	if got, errno := dgram.RecvFlags(unix.MSG_PEEK | unix.MSG_TRUNC | unix.MSG_WAITALL | unix.MSG_DONTWAIT | unix.MSG_ERRQUEUE); got != netbsd.MSG_PEEK|netbsd.MSG_WAITALL|netbsd.MSG_DONTWAIT || errno != 0 {
		t.Errorf("recv: %#x, %v", got, errno)
	}
	if _, errno := stream.RecvFlags(unix.MSG_OOB); errno != unix.EOPNOTSUPP {
		t.Errorf("recv MSG_OOB: %v", errno)
	}
	if got := linuxsock.MsgFlags(netbsd.MSG_TRUNC | netbsd.MSG_CTRUNC | netbsd.MSG_EOR | netbsd.MSG_BCAST); got != unix.MSG_TRUNC|unix.MSG_CTRUNC|unix.MSG_EOR {
		t.Errorf("msg_flags: %#x", got)
	}
}

func FuzzControl(f *testing.F) {
	f.Add(control(unix.SOL_IP, unix.IP_PKTINFO, pktinfo4(1, "10.0.0.1", "10.0.0.1")), 64)
	f.Add(append(control(unix.SOL_IPV6, unix.IPV6_PKTINFO, pktinfo6(1, "::1")), control(unix.SOL_IPV6, unix.IPV6_TCLASS, u32(1))...), 20)
	for _, m := range machines {
		b := netbsd.AppendCmsg(m, nil, netbsd.IPPROTO_IP, netbsd.IP_PKTINFO, make([]byte, 8))
		b = netbsd.AppendCmsg(m, b, netbsd.IPPROTO_IP, netbsd.IP_RECVTTL, []byte{64})
		b = netbsd.AppendCmsg(m, b, netbsd.IPPROTO_IPV6, netbsd.IPV6_HOPLIMIT, []byte{0, 0, 0, 64})
		b = netbsd.AppendCmsg(m, b, netbsd.SOL_SOCKET, netbsd.SCM_TIMESTAMP, netbsd.Marshal(m, &netbsd.Timeval{Sec: 1}))
		f.Add(b, 256)
	}
	f.Fuzz(func(t *testing.T, b []byte, room int) {
		room &= 1023
		for _, m := range machines {
			for _, k := range kinds {
				s := &linuxsock.Socket{Domain: k.domain, Type: k.typ, Protocol: k.protocol}
				for _, o := range []struct{ level, name int }{
					{unix.SOL_IP, unix.IP_PKTINFO}, {unix.SOL_IP, unix.IP_RECVTTL}, {unix.SOL_IPV6, unix.IPV6_RECVPKTINFO},
					{unix.SOL_IPV6, unix.IPV6_RECVHOPLIMIT}, {unix.SOL_IPV6, unix.IPV6_2292PKTINFO}, {unix.SOL_SOCKET, unix.SO_TIMESTAMPNS},
				} {
					s.Set(t.Context(), noKernel{m: m}, spclient.FD{}, -1, o.level, o.name, u32(1))
				}
				if out, errno := s.ToControl(m, b); errno == 0 {
					if _, err := netbsd.ParseCmsgs(m, out.Control); err != nil {
						t.Fatal(err)
					}
				}
				got, _ := s.FromControl(m, b, linuxsock.Incoming{}, room)
				if len(got) > room {
					t.Fatalf("%d bytes in a buffer of %d", len(got), room)
				}
				if k.domain == unix.AF_INET {
					s.FromRaw(m, bytes.Clone(b))
					s.ToRaw(m, netip.Addr{}, netip.Addr{}, linuxsock.Outgoing{TTL: -1, TOS: -1}, b)
				}
				s.FromPing(1, b)
				s.ToPing(1, b)
			}
		}
	})
}

// noKernel stands for a kernel whose socket is not made yet: nothing is asked of
// it but its machine.
type noKernel struct {
	m *netbsd.Machine
	linuxsock.Kernel
}

func (k noKernel) Machine() *netbsd.Machine { return k.m }

// The time that a datagram came is replaced, and nothing else.
func TestRestamp(t *testing.T) {
	at := time.Unix(1234567890, 123456000)
	for _, m := range netbsd.Machines() {
		messages := func(tv netbsd.Timeval) []byte {
			b := netbsd.AppendCmsg(m, nil, netbsd.IPPROTO_IP, netbsd.IP_RECVTTL, []byte{64})
			b = netbsd.AppendCmsg(m, b, netbsd.SOL_SOCKET, netbsd.SCM_TIMESTAMP, netbsd.Marshal(m, &tv))
			return netbsd.AppendCmsg(m, b, netbsd.IPPROTO_IP, netbsd.IP_TOS, []byte{8})
		}
		b := messages(netbsd.Timeval{Sec: 1, Usec: 2})
		linuxsock.Restamp(m, b, at)
		if want := messages(netbsd.TimevalAt(at)); !bytes.Equal(b, want) {
			t.Errorf("%s: % x, want % x", m.Name, b, want)
		}
		linuxsock.Restamp(m, b[:len(b)-1], at) // cut
	}
}
