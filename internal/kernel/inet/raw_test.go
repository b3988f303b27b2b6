package inet

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip/checksum"

	"rumptools/internal/kernel"
	"rumptools/pkg/netbsd"
)

// echoRequest makes an ICMP or ICMPv6 echo request; the latter has no
// checksum.
func echoRequest(typ byte, id, seq uint16, data []byte) []byte {
	b := append([]byte{typ, 0, 0, 0, byte(id >> 8), byte(id), byte(seq >> 8), byte(seq)}, data...)
	if typ == netbsd.ICMP_ECHO {
		binary.BigEndian.PutUint16(b[2:], ^checksum.Checksum(b, 0))
	}
	return b
}

func TestRawICMPEcho(t *testing.T) {
	onMachines(t, func(t *testing.T, s *Stack) {
		so := open(t, s, netbsd.AF_INET, netbsd.SOCK_RAW, netbsd.IPPROTO_ICMP)
		msg := echoRequest(netbsd.ICMP_ECHO, 0x1234, 1, []byte("some data"))
		send(t, so, msg, addr(s, "127.0.0.1:0"))
		m := recv(t, so, 1500, 0)
		if want := addr(s, "127.0.0.1:0"); !bytes.Equal(m.Name, want) {
			t.Errorf("from %x, want %x", m.Name, want)
		}
		b := m.Data
		if len(b) != 20+len(msg) {
			t.Fatalf("%d bytes: %x", len(b), b)
		}
		if n := s.machine.Order.Uint16(b[2:]); int(n) != len(msg) {
			t.Errorf("ip_len is %d, want %d", n, len(msg))
		}
		if b[0] != 0x45 || b[8] != 255 || b[9] != netbsd.IPPROTO_ICMP {
			t.Errorf("header %x", b[:20])
		}
		if b[20] != netbsd.ICMP_ECHOREPLY || !bytes.Equal(b[24:], msg[4:]) {
			t.Errorf("message %x", b[20:])
		}
		nothing(t, so) // the request itself is not shown
	})
}

// TestRawFragments sends more than the interface takes at once.
func TestRawFragments(t *testing.T) {
	s := newStackOf(t, netbsd.AMD64)
	so := open(t, s, netbsd.AF_INET, netbsd.SOCK_RAW, netbsd.IPPROTO_ICMP)
	setInt(t, so, s.machine, netbsd.SOL_SOCKET, netbsd.SO_SNDBUF, 60000)
	setInt(t, so, s.machine, netbsd.SOL_SOCKET, netbsd.SO_RCVBUF, 70000)
	data := make([]byte, 50000)
	for i := range data {
		data[i] = byte(i * 7)
	}
	send(t, so, echoRequest(netbsd.ICMP_ECHO, 1, 2, data), addr(s, "127.0.0.1:0"))
	m := recv(t, so, 65536, 0)
	if !bytes.Equal(m.Data[28:], data) {
		t.Errorf("%d bytes came back: %.40x", len(m.Data), m.Data)
	}
	// With IP_DF it is an error, and the socket tells the MTU.
	setInt(t, so, s.machine, netbsd.IPPROTO_IP, netbsd.IP_HDRINCL, 1)
	whole := append(make([]byte, 20), data...)
	whole[0], whole[8], whole[9] = 0x45, 64, netbsd.IPPROTO_ICMP
	s.machine.Order.PutUint16(whole[2:], uint16(len(whole)))
	s.machine.Order.PutUint16(whole[6:], netbsd.IP_DF)
	copy(whole[16:], []byte{127, 0, 0, 1})
	_, err := so.Send(nil, &kernel.Message{Data: whole, Name: addr(s, "127.0.0.1:0")})
	check(t, "send with IP_DF", err, netbsd.EMSGSIZE)
	if mtu := getInt(t, so, s.machine, netbsd.IPPROTO_IP, netbsd.IP_ERRORMTU); mtu != loopMTU {
		t.Errorf("IP_ERRORMTU is %d", mtu)
	}
}

// ip makes an IPv4 datagram as IP_HDRINCL takes it.
func ip(s *Stack, proto byte, dst string, off uint16, payload []byte) []byte {
	b := append(make([]byte, 20), payload...)
	b[0], b[8], b[9] = 0x45, 64, proto
	s.machine.Order.PutUint16(b[2:], uint16(len(b)))
	s.machine.Order.PutUint16(b[6:], off)
	copy(b[16:], mustAddr(dst).AsSlice())
	return b
}

// TestRawHeader has programs make the header.
func TestRawHeader(t *testing.T) {
	onMachines(t, func(t *testing.T, s *Stack) {
		so := open(t, s, inet, netbsd.SOCK_RAW, 99)
		setInt(t, so, s.machine, netbsd.IPPROTO_IP, netbsd.IP_HDRINCL, 1)
		to := addr(s, "127.0.0.1:0")
		b := ip(s, 99, "127.0.0.1", netbsd.IP_DF, []byte("hello"))
		b[1], b[8] = 0x10, 7
		send(t, so, b, to)
		m := recv(t, so, 1500, 0)
		if h := m.Data; h[1] != 0x10 || h[8] != 7 || string(h[20:]) != "hello" ||
			s.machine.Order.Uint16(h[6:]) != netbsd.IP_DF || !bytes.Equal(h[12:16], []byte{127, 0, 0, 1}) {
			t.Errorf("%x", h)
		}
		write := func(change func(b []byte) []byte) error {
			_, err := so.Send(nil, &kernel.Message{Data: change(ip(s, 99, "127.0.0.1", 0, []byte("hello"))), Name: to})
			return err
		}
		check(t, "wrong length", write(func(b []byte) []byte { return b[:24] }), netbsd.EINVAL)
		check(t, "short", write(func(b []byte) []byte { return b[:10] }), netbsd.EINVAL)
		check(t, "wrong header length", write(func(b []byte) []byte { b[0] = 0x44; return b }), netbsd.EINVAL)
		check(t, "header longer than all", write(func(b []byte) []byte { b[0] = 0x4f; return b }), netbsd.EINVAL)
	})
}

// TestRawErrors: what raw sockets refuse.
func TestRawErrors(t *testing.T) {
	a, _ := pair(t)
	so := open(t, a, inet, netbsd.SOCK_RAW, netbsd.IPPROTO_ICMP)
	to := func(so kernel.Socket, n int, sa []byte, control ...netbsd.Cmsg) error {
		_, err := so.Send(nil, &kernel.Message{Data: make([]byte, n), Name: sa, Control: control})
		return err
	}
	check(t, "to nobody", to(so, 8, nil), netbsd.EDESTADDRREQ)
	check(t, "more than the buffer", to(so, 8193, addr(a, "127.0.0.1:0")), netbsd.EMSGSIZE)
	check(t, "control", to(so, 8, addr(a, "127.0.0.1:0"), netbsd.Cmsg{Level: netbsd.IPPROTO_IP, Type: netbsd.IP_TTL, Data: make([]byte, 4)}), netbsd.EINVAL)
	check(t, "no route", to(so, 8, addr(a, "192.168.1.1:0")), netbsd.EHOSTUNREACH)
	check(t, "bind somebody else's", so.Bind(addr(a, "10.0.0.9:0")), netbsd.EADDRNOTAVAIL)
	check(t, "connect", so.Connect(addr(a, "10.0.0.2:0")), nil)
	check(t, "elsewhere", to(so, 8, addr(a, "127.0.0.1:0")), netbsd.EISCONN)
	so = open(t, a, inet6, netbsd.SOCK_RAW, netbsd.IPPROTO_ICMPV6)
	check(t, "no route", to(so, 8, addr(a, "[2001:db8::1]:0")), netbsd.EHOSTUNREACH)
	check(t, "too short for a checksum", to(so, 3, addr(a, "[::1]:0")), netbsd.EINVAL)
	check(t, "bind IPv4", so.Bind(addr(a, "[::ffff:127.0.0.1]:0")), netbsd.EADDRNOTAVAIL)
	check(t, "bind", so.Bind(addr(a, "[fd00::1]:0")), nil)
	a.mu.Lock()
	a.ifDown(a.ifByName["shmif0"])
	a.mu.Unlock()
	so = open(t, a, inet, netbsd.SOCK_RAW, netbsd.IPPROTO_ICMP)
	check(t, "interface down", to(so, 8, addr(a, "10.0.0.2:0")), netbsd.ENETDOWN)
	for _, tt := range []struct {
		family, typ, proto int32
		want               error
	}{
		{inet, 9, 0, netbsd.EPROTOTYPE},
		{inet, 0, 0, netbsd.EPROTONOSUPPORT},
		{inet, stream, netbsd.IPPROTO_UDP, netbsd.EPROTONOSUPPORT},
		{inet, dgram, netbsd.IPPROTO_TCP, netbsd.EPROTONOSUPPORT},
		{inet, dgram, netbsd.IPPROTO_ICMP, netbsd.EPROTONOSUPPORT},
		{inet6, netbsd.SOCK_SEQPACKET, 0, netbsd.EPROTOTYPE},
	} {
		if _, err := a.open(tt.family, tt.typ, tt.proto); err != tt.want {
			t.Errorf("socket(%d, %d, %d): %v, want %v", tt.family, tt.typ, tt.proto, err, tt.want)
		}
	}
}

// TestRawProtocols sends datagrams of a protocol that the kernel does not know,
// also longer ones than fit a frame, and of one that nobody takes.
func TestRawProtocols(t *testing.T) {
	a, b := pair(t)
	data := make([]byte, 4000)
	for i := range data {
		data[i] = byte(i * 3)
	}
	for _, to := range []string{"10.0.0.2:0", "[fd00::2]:0"} {
		sa := addr(a, to)
		family := int32(sa[1])
		c := open(t, a, family, netbsd.SOCK_RAW, 200)
		r := open(t, b, family, netbsd.SOCK_RAW, 200)
		any := open(t, b, family, netbsd.SOCK_RAW, 0)
		other := open(t, b, family, netbsd.SOCK_RAW, 201)
		for _, data := range [][]byte{data[:100], data} {
			send(t, c, data, sa)
			for _, so := range []kernel.Socket{r, any} {
				got := recv(t, so, 1<<16, 0).Data
				if family == inet {
					got = got[20:]
				}
				if !bytes.Equal(got, data) {
					t.Errorf("%s: %d bytes of %d", to, len(got), len(data))
				}
			}
		}
		nothing(t, other)
		any.Close()
	}

	c := open(t, a, inet, netbsd.SOCK_RAW, 222)
	icmp := open(t, a, inet, netbsd.SOCK_RAW, netbsd.IPPROTO_ICMP)
	send(t, c, data[:100], addr(a, "10.0.0.2:0"))
	m := recv(t, icmp, 1500, 0).Data
	if m[20] != netbsd.ICMP_UNREACH || m[21] != netbsd.ICMP_UNREACH_PROTOCOL || m[28+9] != 222 || len(m) != 20+8+20+8 {
		t.Errorf("%x", m)
	}
	c = open(t, a, inet6, netbsd.SOCK_RAW, 222)
	icmp = open(t, a, inet6, netbsd.SOCK_RAW, netbsd.IPPROTO_ICMPV6)
	passOnly(t, a, icmp, netbsd.ICMP6_PARAM_PROB)
	send(t, c, data[:100], addr(a, "[fd00::2]:0"))
	m = recv(t, icmp, 1500, 0).Data
	if m[1] != netbsd.ICMP6_PARAMPROB_NEXTHEADER || m[7] != 6 || m[8+6] != 222 || len(m) != 8+40+100 {
		t.Errorf("%x", m)
	}
}

// passOnly has a socket see ICMPv6 messages of one type only.
func passOnly(t *testing.T, s *Stack, so kernel.Socket, typ uint8) {
	t.Helper()
	var f netbsd.Icmp6Filter
	f.BlockAll()
	f.SetPass(typ)
	must(t, so.SetOption(nil, netbsd.IPPROTO_ICMPV6, netbsd.ICMP6_FILTER, netbsd.Marshal(s.machine, &f)))
}

// TestRawFilters: bound and connected sockets see what is for them and from
// their peer.
func TestRawFilters(t *testing.T) {
	a, _ := pair(t)
	bind, peer, far := open(t, a, inet, netbsd.SOCK_RAW, 200), open(t, a, inet, netbsd.SOCK_RAW, 200), open(t, a, inet, netbsd.SOCK_RAW, 200)
	must(t, bind.Bind(addr(a, "10.0.0.1:0")))
	must(t, peer.Connect(addr(a, "127.0.0.1:0")))
	must(t, far.Connect(addr(a, "10.0.0.2:0")))
	c := open(t, a, inet, netbsd.SOCK_RAW, 200)
	send(t, c, []byte("to 127"), addr(a, "127.0.0.1:0"))
	nothing(t, bind)
	nothing(t, far)
	if m := recv(t, peer, 100, 0); string(m.Data[20:]) != "to 127" {
		t.Errorf("%q", m.Data[20:])
	}
	send(t, c, []byte("to 10"), addr(a, "10.0.0.1:0"))
	nothing(t, peer)
	if m := recv(t, bind, 100, 0); string(m.Data[20:]) != "to 10" {
		t.Errorf("%q", m.Data[20:])
	}
	// Without its header.
	setInt(t, bind, a.machine, netbsd.SOL_SOCKET, netbsd.SO_NOHEADER, 1)
	send(t, c, []byte("to 10"), addr(a, "10.0.0.1:0"))
	if m := recv(t, bind, 100, 0); string(m.Data) != "to 10" {
		t.Errorf("%q", m.Data)
	}
}

// TestRawICMP6 pings with ICMPv6: the kernel makes the checksum, the hop limit
// comes in a control message, and the filter keeps all else out.
func TestRawICMP6(t *testing.T) {
	onMachines(t, func(t *testing.T, s *Stack) {
		for _, old := range []bool{false, true} {
			so := open(t, s, inet6, netbsd.SOCK_RAW, netbsd.IPPROTO_ICMPV6)
			passOnly(t, s, so, netbsd.ICMP6_ECHO_REPLY)
			names := []int32{netbsd.IPV6_RECVPKTINFO, netbsd.IPV6_RECVHOPLIMIT}
			types := []int32{netbsd.IPV6_PKTINFO, netbsd.IPV6_HOPLIMIT}
			if old {
				names = []int32{netbsd.IPV6_2292PKTINFO, netbsd.IPV6_2292HOPLIMIT}
				types = names
			}
			for _, name := range names {
				setInt(t, so, s.machine, netbsd.IPPROTO_IPV6, name, 1)
			}
			to := netbsd.SockaddrIn6(s.machine, netip.AddrPortFrom(mustAddr("fe80::1"), 0), 1, 0)
			msg := echoRequest(netbsd.ICMP6_ECHO_REQUEST, 9, 1, []byte("some data"))
			send(t, so, msg, to)
			m := recv(t, so, 1500, 0)
			if m.Data[0] != netbsd.ICMP6_ECHO_REPLY || !bytes.Equal(m.Data[4:], msg[4:]) || !bytes.Equal(m.Name, to) {
				t.Errorf("%x from %x", m.Data, m.Name)
			}
			ll := mustAddr("fe80::1").As16()
			compareControl(t, m.Control, []netbsd.Cmsg{
				{Level: netbsd.IPPROTO_IPV6, Type: types[0], Data: append(ll[:], s.machine.Order.AppendUint32(nil, 1)...)},
				{Level: netbsd.IPPROTO_IPV6, Type: types[1], Data: intOpt(s.machine, 64)},
			})
			if old {
				check(t, "new options after old ones",
					so.SetOption(nil, netbsd.IPPROTO_IPV6, netbsd.IPV6_RECVPKTINFO, intOpt(s.machine, 1)), netbsd.EINVAL)
			}
		}
	})
}

// TestRawChecksum6: the kernel makes and checks a checksum where IPV6_CHECKSUM
// says.
func TestRawChecksum6(t *testing.T) {
	s := newStackOf(t, netbsd.AMD64)
	with := open(t, s, inet6, netbsd.SOCK_RAW, 200)
	setInt(t, with, s.machine, netbsd.IPPROTO_IPV6, netbsd.IPV6_CHECKSUM, 2)
	without := open(t, s, inet6, netbsd.SOCK_RAW, 200)
	send(t, without, []byte("no checksum"), addr(s, "[::1]:0"))
	nothing(t, with)
	recv(t, without, 100, 0)
	send(t, with, []byte("xx..is one"), addr(s, "[::1]:0"))
	m := recv(t, with, 100, 0)
	one := netip.IPv6Loopback()
	if string(m.Data[4:]) != "is one" || internetChecksum(200, one, one, m.Data) != 0 {
		t.Errorf("%q", m.Data)
	}
	_, err := with.Send(nil, &kernel.Message{Data: []byte("xxx"), Name: addr(s, "[::1]:0")})
	check(t, "no place for a checksum", err, netbsd.EINVAL)
}

// TestRawICMPConsumed: which ICMP messages the kernel keeps to itself.
func TestRawICMPConsumed(t *testing.T) {
	s := newStackOf(t, netbsd.AMD64)
	so := open(t, s, inet, netbsd.SOCK_RAW, netbsd.IPPROTO_ICMP)
	to := addr(s, "127.0.0.1:0")
	post := func(b []byte) {
		t.Helper()
		b[2], b[3] = 0, 0
		binary.BigEndian.PutUint16(b[2:], ^checksum.Checksum(b, 0))
		send(t, so, b, to)
	}
	expect := func(typ byte) []byte {
		t.Helper()
		m := recv(t, so, 1500, 0).Data[20:]
		if m[0] != typ {
			t.Errorf("a message of type %d, want %d", m[0], typ)
		}
		nothing(t, so)
		return m
	}
	post([]byte{netbsd.ICMP_TSTAMP, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 9, 19: 0})
	m := expect(netbsd.ICMP_TSTAMPREPLY)
	if ms := binary.BigEndian.Uint32(m[12:]); !bytes.Equal(m[4:12], []byte{1, 2, 3, 4, 0, 0, 0, 9}) || ms > 24*3600*1000 || ms == 0 {
		t.Errorf("%x", m)
	}
	post([]byte{netbsd.ICMP_TSTAMP, 0, 0, 0, 1, 2, 3, 4}) // too short to answer
	expect(netbsd.ICMP_TSTAMP)
	post([]byte{netbsd.ICMP_MASKREQ, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0})
	expect(netbsd.ICMP_MASKREQ)
	post([]byte{netbsd.ICMP_ECHOREPLY, 0, 0, 0, 1, 2, 3, 4})
	expect(netbsd.ICMP_ECHOREPLY)
	post([]byte{200, 0, 0, 0, 1, 2, 3, 4})
	expect(200)
	send(t, so, []byte{netbsd.ICMP_ECHOREPLY, 0, 1, 1, 1, 2, 3, 4}, to) // a wrong checksum
	nothing(t, so)
	send(t, so, []byte{netbsd.ICMP_ECHOREPLY, 0, 0}, to) // too short
	nothing(t, so)
}

// TestRawRecordRoute sends the record route option.
func TestRawRecordRoute(t *testing.T) {
	a, _ := pair(t)
	so := open(t, a, inet, netbsd.SOCK_RAW, netbsd.IPPROTO_ICMP)
	opt := append([]byte{netbsd.IPOPT_RR, 39, 4}, make([]byte, 37)...)
	must(t, so.SetOption(nil, netbsd.IPPROTO_IP, netbsd.IP_OPTIONS, opt))
	send(t, so, echoRequest(netbsd.ICMP_ECHO, 1, 1, nil), addr(a, "10.0.0.2:0"))
	m := recv(t, so, 1500, 0).Data
	// There, and here.
	if m[0] != 0x4f || !bytes.Equal(m[20:31], []byte{netbsd.IPOPT_RR, 39, 12, 10, 0, 0, 2, 10, 0, 0, 1}) {
		t.Errorf("%x", m)
	}
}
