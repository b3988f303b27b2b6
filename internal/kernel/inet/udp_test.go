package inet

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"rumptools/internal/kernel"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

const (
	inet  = netbsd.AF_INET
	inet6 = netbsd.AF_INET6
	dgram = netbsd.SOCK_DGRAM
)

// bound makes a UDP socket with an address.
func bound(t *testing.T, s *Stack, a string) kernel.Socket {
	t.Helper()
	sa := addr(s, a)
	so := open(t, s, int32(sa[1]), dgram, 0)
	must(t, so.Bind(sa))
	return so
}

// name gives a socket's own address.
func name(t *testing.T, so kernel.Socket) []byte {
	t.Helper()
	sa, err := so.Name()
	must(t, err)
	return sa
}

// portOf gives the port of a socket address.
func portOf(sa []byte) uint16 { return binary.BigEndian.Uint16(sa[2:]) }

func TestUDPExchange(t *testing.T) {
	onMachines(t, func(t *testing.T, s *Stack) {
		for _, a := range []string{"127.0.0.1:5000", "[::1]:5000"} {
			to := addr(s, a)
			r := bound(t, s, a)
			c := open(t, s, int32(to[1]), dgram, 0)
			send(t, c, []byte("hello"), to)
			m := recv(t, r, 64, 0)
			if string(m.Data) != "hello" || len(m.Name) != len(to) || portOf(m.Name) != portOf(name(t, c)) {
				t.Errorf("%q from %x", m.Data, m.Name)
			}
			if p := portOf(m.Name); p < netbsd.IPPORT_ANONMIN {
				t.Errorf("chosen port %d", p)
			}
			send(t, r, []byte("back"), m.Name)
			if m := recv(t, c, 64, 0); string(m.Data) != "back" || !bytes.Equal(m.Name, to) {
				t.Errorf("%q from %x", m.Data, m.Name)
			}
			send(t, c, nil, to)
			if m := recv(t, r, 64, 0); len(m.Data) != 0 || len(m.Name) == 0 {
				t.Errorf("an empty datagram: %x from %x", m.Data, m.Name)
			}
		}
	})
}

// TestUDPPeekAndTruncate reads a datagram without taking it, and a part of it.
func TestUDPPeekAndTruncate(t *testing.T) {
	s := newStackOf(t, netbsd.AMD64)
	so := bound(t, s, "127.0.0.1:5000")
	send(t, so, []byte("12345678"), addr(s, "127.0.0.1:5000"))
	m := recv(t, so, 64, netbsd.MSG_PEEK)
	if string(m.Data) != "12345678" || m.Flags != netbsd.MSG_PEEK {
		t.Errorf("peek: %q, flags %#x", m.Data, m.Flags)
	}
	data := make([]byte, 4)
	must(t, so.Ioctl(nil, netbsd.FIONREAD.Cmd(s.machine), data))
	if n := s.machine.Order.Uint32(data); n != 8+netbsd.SizeofSockaddrIn {
		t.Errorf("FIONREAD says %d", n)
	}
	m = recv(t, so, 2, 0)
	if string(m.Data) != "12" || m.Flags != netbsd.MSG_TRUNC {
		t.Errorf("short read: %q, flags %#x", m.Data, m.Flags)
	}
	nothing(t, so)
}

func TestUDPErrors(t *testing.T) {
	a, _ := pair(t)
	sendTo := func(so kernel.Socket, size int, to []byte) error {
		_, err := so.Send(nil, &kernel.Message{Data: make([]byte, size), Name: to})
		return err
	}
	so := open(t, a, inet, dgram, 0)
	check(t, "send to nobody", sendTo(so, 1, nil), netbsd.EDESTADDRREQ)
	check(t, "send too much", sendTo(so, 70000, addr(a, "127.0.0.1:1")), netbsd.EMSGSIZE)
	check(t, "send more than the buffer", sendTo(so, 9217, addr(a, "127.0.0.1:1")), netbsd.EMSGSIZE)
	check(t, "send the buffer", sendTo(so, 9216, addr(a, "127.0.0.1:1")), nil)
	check(t, "send to IPv6", sendTo(so, 1, addr(a, "[::1]:1")), netbsd.EINVAL)
	check(t, "send to AF_LINK", sendTo(so, 1, []byte{16, netbsd.AF_LINK, 15: 0}), netbsd.EAFNOSUPPORT)
	check(t, "send to port 0", sendTo(so, 1, addr(a, "127.0.0.1:0")), netbsd.EADDRNOTAVAIL)
	check(t, "send to half an address", sendTo(so, 1, addr(a, "127.0.0.1:1")[:10]), netbsd.EINVAL)
	check(t, "send to nowhere", sendTo(so, 1, addr(a, "192.168.1.1:1")), netbsd.EHOSTUNREACH)
	check(t, "send to all", sendTo(so, 1, addr(a, "10.0.0.255:1")), netbsd.EACCES)
	check(t, "listen", so.Listen(1), netbsd.EOPNOTSUPP)
	check(t, "bind again", so.Bind(addr(a, "127.0.0.1:7")), netbsd.EINVAL)
	if _, _, err := so.Accept(); err != netbsd.EOPNOTSUPP {
		t.Errorf("accept: %v", err)
	}
	if _, err := so.Peer(); err != netbsd.ENOTCONN {
		t.Errorf("getpeername: %v", err)
	}
	so = open(t, a, inet, dgram, 0)
	check(t, "bind somebody else's", so.Bind(addr(a, "10.0.0.9:7")), netbsd.EADDRNOTAVAIL)
	check(t, "bind IPv6", so.Bind(addr(a, "[::1]:7")), netbsd.EINVAL)
	check(t, "bind AF_LINK", so.Bind([]byte{16, netbsd.AF_LINK, 15: 0}), netbsd.EAFNOSUPPORT)
	check(t, "bind half", so.Bind(addr(a, "127.0.0.1:7")[:15]), netbsd.EINVAL)
	check(t, "bind all", so.Bind(addr(a, "10.0.0.255:7")), nil)
	so = open(t, a, inet, dgram, 0)
	check(t, "connect", so.Connect(addr(a, "127.0.0.1:9")), nil)
	check(t, "send elsewhere", sendTo(so, 1, addr(a, "127.0.0.1:1")), netbsd.EISCONN)
	if sa := name(t, so); !bytes.Equal(sa[4:8], []byte{127, 0, 0, 1}) {
		t.Errorf("connected from %x", sa)
	}
	unspec := make([]byte, 16)
	check(t, "disconnect", so.Connect(unspec), netbsd.EAFNOSUPPORT)
	check(t, "send to nobody", sendTo(so, 1, nil), netbsd.EDESTADDRREQ)
	check(t, "shutdown", so.Shutdown(netbsd.SHUT_WR), nil)
	check(t, "send after shutdown", sendTo(so, 1, addr(a, "127.0.0.1:1")), netbsd.EPIPE)
	check(t, "shutdown of a third way", so.Shutdown(3), netbsd.EINVAL)
	if n, err := so.Recv(nil, &kernel.Message{Data: make([]byte, 1), Flags: netbsd.MSG_OOB}); n != 0 || err != netbsd.EOPNOTSUPP {
		t.Errorf("receive urgent data: %d, %v", n, err)
	}
	check(t, "shutdown", so.Shutdown(netbsd.SHUT_RD), nil)
	if n, err := so.Recv(nil, &kernel.Message{Data: make([]byte, 1)}); n != 0 || err != nil {
		t.Errorf("receive after shutdown: %d, %v", n, err)
	}
}

// TestUDPRefused: what ICMP says of a connected socket's peer is its error, once.
func TestUDPRefused(t *testing.T) {
	a, _ := pair(t)
	for _, to := range []string{"127.0.0.1:9", "10.0.0.2:9", "[::1]:9", "[fd00::2]:9"} {
		sa := addr(a, to)
		so := open(t, a, int32(sa[1]), dgram, 0)
		must(t, so.Connect(sa))
		send(t, so, []byte("x"), nil)
		err := await(t, so, func() error {
			_, err := so.Recv(nil, &kernel.Message{Data: make([]byte, 1)})
			return err
		})
		check(t, "receive from "+to, err, netbsd.ECONNREFUSED)
		if n := getInt(t, so, a.machine, netbsd.SOL_SOCKET, netbsd.SO_ERROR); n != 0 {
			t.Errorf("SO_ERROR is %d afterwards", n)
		}
	}
}

// TestUDPDual has an IPv6 socket talk IPv4.
func TestUDPDual(t *testing.T) {
	s := newStackOf(t, netbsd.AMD64)
	so := open(t, s, inet6, dgram, 0)
	setInt(t, so, s.machine, netbsd.IPPROTO_IPV6, netbsd.IPV6_V6ONLY, 0)
	must(t, so.Bind(addr(s, "[::]:5000")))
	c := open(t, s, inet, dgram, 0)
	send(t, c, []byte("hello"), addr(s, "127.0.0.1:5000"))
	m := recv(t, so, 64, 0)
	if want := netip.MustParseAddr("::ffff:127.0.0.1").As16(); !bytes.Equal(m.Name[8:24], want[:]) {
		t.Errorf("from %x", m.Name)
	}
	send(t, so, []byte("back"), m.Name)
	if m := recv(t, c, 64, 0); string(m.Data) != "back" || !bytes.Equal(m.Name, addr(s, "127.0.0.1:5000")) {
		t.Errorf("%q from %x", m.Data, m.Name)
	}
	// By default they do not.
	only := bound(t, s, "[::]:5001")
	_, err := only.Send(nil, &kernel.Message{Data: []byte("x"), Name: m.Name})
	check(t, "send to IPv4", err, netbsd.EINVAL)
}

// TestUDPGroups sends to a broadcast address and to groups.
func TestUDPGroups(t *testing.T) {
	a, b := pair(t)
	r := bound(t, b, "0.0.0.0:5000")
	r6 := bound(t, b, "[::]:5000")
	c := open(t, a, inet, dgram, 0)
	setInt(t, c, a.machine, netbsd.SOL_SOCKET, netbsd.SO_BROADCAST, 1)
	for _, to := range []string{"10.0.0.255:5000", "255.255.255.255:5000"} {
		send(t, c, []byte("to all"), addr(a, to))
		if m := recv(t, r, 64, 0); string(m.Data) != "to all" || !bytes.Equal(m.Name[4:8], []byte{10, 0, 0, 1}) {
			t.Errorf("%s: %q from %x", to, m.Data, m.Name)
		}
	}
	mreq := netbsd.Marshal(b.machine, &netbsd.IpMreq{Multiaddr: [4]byte{224, 9, 9, 9}, Interface: [4]byte{10, 0, 0, 2}})
	must(t, r.SetOption(nil, netbsd.IPPROTO_IP, netbsd.IP_ADD_MEMBERSHIP, mreq))
	check(t, "join again", r.SetOption(nil, netbsd.IPPROTO_IP, netbsd.IP_ADD_MEMBERSHIP, mreq), netbsd.EADDRINUSE)
	must(t, c.SetOption(nil, netbsd.IPPROTO_IP, netbsd.IP_MULTICAST_IF, []byte{10, 0, 0, 1}))
	send(t, c, []byte("to some"), addr(a, "224.9.9.9:5000"))
	if m := recv(t, r, 64, 0); string(m.Data) != "to some" {
		t.Errorf("%q", m.Data)
	}
	must(t, r.SetOption(nil, netbsd.IPPROTO_IP, netbsd.IP_DROP_MEMBERSHIP, mreq))
	check(t, "leave again", r.SetOption(nil, netbsd.IPPROTO_IP, netbsd.IP_DROP_MEMBERSHIP, mreq), netbsd.EADDRNOTAVAIL)
	send(t, c, []byte("to nobody"), addr(a, "224.9.9.9:5000"))
	send(t, c, []byte("end"), addr(a, "10.0.0.2:5000"))
	if m := recv(t, r, 64, 0); string(m.Data) != "end" {
		t.Errorf("%q", m.Data)
	}

	group := netip.MustParseAddr("ff02::99")
	mreq = netbsd.Marshal(b.machine, &netbsd.Ipv6Mreq{Multiaddr: group.As16(), Interface: 2})
	must(t, r6.SetOption(nil, netbsd.IPPROTO_IPV6, netbsd.IPV6_JOIN_GROUP, mreq))
	c6 := open(t, a, inet6, dgram, 0)
	to := netbsd.SockaddrIn6(a.machine, netip.AddrPortFrom(group, 5000), 2, 0)
	send(t, c6, []byte("to six"), to)
	m := recv(t, r6, 64, 0)
	if string(m.Data) != "to six" || m.Name[8] != 0xfe || b.machine.Order.Uint32(m.Name[24:]) != 2 {
		t.Errorf("%q from %x", m.Data, m.Name)
	}
}

// TestUDPGroupLoop: members on the sender's own host are given a copy, unless
// the sender does not want that.
func TestUDPGroupLoop(t *testing.T) {
	a, _ := pair(t)
	r := bound(t, a, "0.0.0.0:5000")
	mreq := netbsd.Marshal(a.machine, &netbsd.IpMreq{Multiaddr: [4]byte{224, 9, 9, 9}, Interface: [4]byte{10, 0, 0, 1}})
	must(t, r.SetOption(nil, netbsd.IPPROTO_IP, netbsd.IP_ADD_MEMBERSHIP, mreq))
	c := open(t, a, inet, dgram, 0)
	must(t, c.SetOption(nil, netbsd.IPPROTO_IP, netbsd.IP_MULTICAST_IF, []byte{10, 0, 0, 1}))
	must(t, c.SetOption(nil, netbsd.IPPROTO_IP, netbsd.IP_MULTICAST_LOOP, []byte{0}))
	send(t, c, []byte("quiet"), addr(a, "224.9.9.9:5000"))
	must(t, c.SetOption(nil, netbsd.IPPROTO_IP, netbsd.IP_MULTICAST_LOOP, []byte{1}))
	send(t, c, []byte("loud"), addr(a, "224.9.9.9:5000"))
	if m := recv(t, r, 64, 0); string(m.Data) != "loud" {
		t.Errorf("%q", m.Data)
	}
}

// TestUDPControl: the control messages that come with a datagram.
func TestUDPControl(t *testing.T) {
	onMachines(t, func(t *testing.T, s *Stack) {
		order := s.machine.Order
		so := bound(t, s, "0.0.0.0:5000")
		for _, name := range []int32{netbsd.IP_RECVDSTADDR, netbsd.IP_RECVIF, netbsd.IP_RECVTTL, netbsd.IP_PKTINFO, sysproxy.IPRecvTOS} {
			if v := getInt(t, so, s.machine, netbsd.IPPROTO_IP, name); v != 0 {
				t.Errorf("option %#x is %d at first", name, v)
			}
			setInt(t, so, s.machine, netbsd.IPPROTO_IP, name, 1)
		}
		setInt(t, so, s.machine, netbsd.SOL_SOCKET, netbsd.SO_TIMESTAMP, 1)
		c := open(t, s, inet, dgram, 0)
		setInt(t, c, s.machine, netbsd.IPPROTO_IP, netbsd.IP_TTL, 17)
		setInt(t, c, s.machine, netbsd.IPPROTO_IP, netbsd.IP_TOS, 0x2a)
		send(t, c, []byte("hello"), addr(s, "127.0.0.1:5000"))
		m := recv(t, so, 64, 0)
		index := order.AppendUint16(nil, s.lo0.Index)
		want := []netbsd.Cmsg{
			{Level: netbsd.SOL_SOCKET, Type: netbsd.SCM_TIMESTAMP},
			{Level: netbsd.IPPROTO_IP, Type: netbsd.IP_RECVDSTADDR, Data: []byte{127, 0, 0, 1}},
			{Level: netbsd.IPPROTO_IP, Type: netbsd.IP_PKTINFO, Data: append([]byte{127, 0, 0, 1}, order.AppendUint32(nil, uint32(s.lo0.Index))...)},
			{Level: netbsd.IPPROTO_IP, Type: netbsd.IP_RECVIF, Data: []byte{8, netbsd.AF_LINK, index[0], index[1], 0, 0, 0, 0}},
			{Level: netbsd.IPPROTO_IP, Type: netbsd.IP_RECVTTL, Data: []byte{17}},
			{Level: netbsd.IPPROTO_IP, Type: netbsd.IP_TOS, Data: []byte{0x2a}},
		}
		compareControl(t, m.Control, want)
		if n := len(m.Control[0].Data); n != netbsd.Sizeof(s.machine, netbsd.Timeval{}) {
			t.Errorf("the time has %d bytes", n)
		}

		so = bound(t, s, "[::]:5000")
		for _, name := range []int32{netbsd.IPV6_RECVPKTINFO, netbsd.IPV6_RECVHOPLIMIT, netbsd.IPV6_RECVTCLASS} {
			setInt(t, so, s.machine, netbsd.IPPROTO_IPV6, name, 1)
		}
		c = open(t, s, inet6, dgram, 0)
		_, err := c.Send(nil, &kernel.Message{
			Data: []byte("hello"), Name: addr(s, "[::1]:5000"),
			Control: []netbsd.Cmsg{
				{Level: netbsd.IPPROTO_IPV6, Type: netbsd.IPV6_HOPLIMIT, Data: order.AppendUint32(nil, 9)},
				{Level: netbsd.IPPROTO_IPV6, Type: netbsd.IPV6_TCLASS, Data: order.AppendUint32(nil, 0x20)},
			},
		})
		must(t, err)
		m = recv(t, so, 64, 0)
		one := netip.IPv6Loopback().As16()
		compareControl(t, m.Control, []netbsd.Cmsg{
			{Level: netbsd.IPPROTO_IPV6, Type: netbsd.IPV6_PKTINFO, Data: append(one[:], order.AppendUint32(nil, uint32(s.lo0.Index))...)},
			{Level: netbsd.IPPROTO_IPV6, Type: netbsd.IPV6_HOPLIMIT, Data: order.AppendUint32(nil, 9)},
			{Level: netbsd.IPPROTO_IPV6, Type: netbsd.IPV6_TCLASS, Data: order.AppendUint32(nil, 0x20)},
		})
	})
}

// compareControl compares control messages; data that is not given may be
// anything.
func compareControl(t *testing.T, got, want []netbsd.Cmsg) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d control messages, want %d: %+v", len(got), len(want), got)
	}
	for i, w := range want {
		if g := got[i]; g.Level != w.Level || g.Type != w.Type || w.Data != nil && !bytes.Equal(g.Data, w.Data) {
			t.Errorf("control message %d is %+v, want %+v", i, g, w)
		}
	}
}

// TestUDPOverflow: what does not fit is lost, and counted.
func TestUDPOverflow(t *testing.T) {
	s := newStackOf(t, netbsd.AMD64)
	so := bound(t, s, "127.0.0.1:5000")
	setInt(t, so, s.machine, netbsd.SOL_SOCKET, netbsd.SO_RCVBUF, 1000)
	for range 10 {
		send(t, so, make([]byte, 284), addr(s, "127.0.0.1:5000"))
	}
	if read, write := so.Pending(); read != 900 || write != udpSendSpace {
		t.Errorf("pending are %d and %d", read, write)
	}
	if n := getInt(t, so, s.machine, netbsd.SOL_SOCKET, netbsd.SO_OVERFLOWED); n != 7 {
		t.Errorf("SO_OVERFLOWED is %d", n)
	}
	if ev := so.Poll(); ev != pollRead|pollWrite {
		t.Errorf("poll gives %#x", ev)
	}
}

// TestUDPFragments sends datagrams over a segment that are longer than its MTU.
func TestUDPFragments(t *testing.T) {
	a, b := pair(t)
	data := make([]byte, 9000)
	for i := range data {
		data[i] = byte(i * 31)
	}
	for _, to := range []string{"10.0.0.2:5000", "[fd00::2]:5000"} {
		sa := addr(a, to)
		r := bound(t, b, to)
		c := open(t, a, int32(sa[1]), dgram, 0)
		send(t, c, data, sa)
		if m := recv(t, r, 1<<16, 0); !bytes.Equal(m.Data, data) {
			t.Errorf("%s: %d bytes of %d", to, len(m.Data), len(data))
		}
	}
}

// TestNoChecksum: datagrams leave without checksums if they are to, and over IPv6 come in only where they are wanted so.
func TestNoChecksum(t *testing.T) {
	seg := newSegment()
	a, b := host(t, seg.join(), "10.0.0.1/24", "fd00::1/64"), host(t, seg.join(), "10.0.0.2/24", "fd00::2/64")
	for _, tt := range []struct {
		family      int32
		to          string
		level, name int32
		at          int // of the checksum in a frame
	}{
		{inet, "10.0.0.2", netbsd.SOL_SOCKET, sysproxy.SONoCheck, 14 + 20 + 6},
		{inet6, "[fd00::2]", netbsd.IPPROTO_UDP, sysproxy.UDPNoCheck6TX, 14 + 40 + 6},
	} {
		sums := make(chan bool, 16)
		seg.mu.Lock()
		seg.sniff = func(frame []byte) {
			if len(frame) >= tt.at+2 && bytes.Contains(frame, []byte("datagram")) {
				sums <- frame[tt.at]|frame[tt.at+1] != 0
			}
		}
		seg.mu.Unlock()
		there := bound(t, b, tt.to+":7000")
		so := open(t, a, tt.family, dgram, 0)
		to := addr(a, tt.to+":7000")
		for v := range int32(2) {
			setInt(t, so, a.machine, tt.level, tt.name, v)
			if got := getInt(t, so, a.machine, tt.level, tt.name); got != v {
				t.Errorf("%s: the option is %d, want %d", tt.to, got, v)
			}
			send(t, so, []byte("datagram"), to)
			if has := <-sums; has != (v == 0) {
				t.Errorf("%s: with the option %d a checksum: %v", tt.to, v, has)
			}
			if tt.family == inet6 && v != 0 {
				// This one is not taken, the next is.
				eventually(t, "one without checksum is counted", func() bool {
					return b.sockets.udp6Stat[netbsd.UDP6_STAT_NOSUM].Load() == 1
				})
				nothing(t, there)
				setInt(t, there, b.machine, netbsd.IPPROTO_UDP, sysproxy.UDPNoCheck6RX, 1)
				send(t, so, []byte("datagram"), to)
				<-sums
			}
			if m := recv(t, there, 100, 0); string(m.Data) != "datagram" {
				t.Errorf("%s: received %q", tt.to, m.Data)
			}
		}
		// To ourselves it is the same.
		if tt.family == inet6 {
			own := bound(t, a, "[fd00::1]:7000")
			send(t, so, []byte("own"), addr(a, "[fd00::1]:7000"))
			nothing(t, own)
			setInt(t, own, a.machine, netbsd.IPPROTO_UDP, sysproxy.UDPNoCheck6RX, 1)
			send(t, so, []byte("own"), addr(a, "[fd00::1]:7000"))
			recv(t, own, 100, 0)
		}
	}
}

// TestReach: what keeps datagrams from the peer is told before one is sent, and no more than that.
func TestReach(t *testing.T) {
	a, _ := pair(t)
	for _, tt := range []struct {
		to        string
		broadcast int32
		want      netbsd.Errno
	}{
		{"10.0.0.2:9", 0, 0},
		{"10.0.0.77:9", 0, 0}, // that nobody is there turns out later
		{"127.0.0.1:9", 0, 0},
		{"192.0.2.1:9", 0, netbsd.EHOSTUNREACH},
		{"224.0.0.9:9", 0, netbsd.EHOSTUNREACH},
		{"10.0.0.255:9", 0, netbsd.EACCES},
		{"10.0.0.255:9", 1, 0},
		{"255.255.255.255:9", 0, netbsd.EACCES},
		{"[fd00::2]:9", 0, 0},
	} {
		family := int32(inet)
		if tt.to[0] == '[' {
			family = inet6
		}
		so := open(t, a, family, dgram, 0)
		reach := func() netbsd.Errno {
			return netbsd.Errno(getInt(t, so, a.machine, netbsd.SOL_SOCKET, sysproxy.SOReach))
		}
		if got := reach(); got != 0 {
			t.Errorf("not connected: %v", got)
		}
		setInt(t, so, a.machine, netbsd.SOL_SOCKET, netbsd.SO_BROADCAST, tt.broadcast)
		must(t, so.Connect(addr(a, tt.to)))
		if got := reach(); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.to, got, tt.want)
		}
		_, err := so.Send(nil, &kernel.Message{Data: []byte("x")})
		if tt.want != 0 {
			check(t, "send to "+tt.to, err, tt.want)
		}
	}
	so := open(t, a, inet, dgram, 0)
	must(t, so.SetOption(nil, netbsd.IPPROTO_IP, netbsd.IP_MULTICAST_IF, []byte{10, 0, 0, 1}))
	must(t, so.Connect(addr(a, "224.0.0.9:9")))
	if got := getInt(t, so, a.machine, netbsd.SOL_SOCKET, sysproxy.SOReach); got != 0 {
		t.Errorf("a group with an interface: %d", got)
	}
}

// TestDontRouteTTL: with SO_DONTROUTE or MSG_DONTROUTE an IPv4 datagram has a time to live of 1, as on NetBSD, unless it is asked to keep
// what it has.
func TestDontRouteTTL(t *testing.T) {
	a, b := pair(t)
	there := bound(t, b, "10.0.0.2:7000")
	setInt(t, there, b.machine, netbsd.IPPROTO_IP, netbsd.IP_RECVTTL, 1)
	so := open(t, a, inet, dgram, 0)
	setInt(t, so, a.machine, netbsd.IPPROTO_IP, netbsd.IP_TTL, 77)
	for i, step := range []struct {
		name, value int32
		ttl         byte
		bit, keeps  int32
	}{
		{netbsd.SO_DONTROUTE, 0, 77, 0, 0},
		{netbsd.SO_DONTROUTE, 1, 1, 1, 0},
		{sysproxy.SODontRoute, 1, 77, 1, 1},
		{netbsd.SO_DONTROUTE, 1, 1, 1, 0},
		{sysproxy.SODontRoute, 2, 77, 1, 1},
		{sysproxy.SODontRoute, 0, 77, 0, 0},
	} {
		setInt(t, so, a.machine, netbsd.SOL_SOCKET, step.name, step.value)
		send(t, so, []byte("x"), addr(a, "10.0.0.2:7000"))
		if m := recv(t, there, 10, 0); len(m.Control) != 1 || m.Control[0].Data[0] != step.ttl {
			t.Errorf("step %d: received with %v, want a time to live of %d", i, m.Control, step.ttl)
		}
		get := func(name int32) int32 { return getInt(t, so, a.machine, netbsd.SOL_SOCKET, name) }
		if bit, keeps := get(netbsd.SO_DONTROUTE), get(sysproxy.SODontRoute); bit != step.bit || keeps != step.keeps {
			t.Errorf("step %d: the options are %d and %d", i, bit, keeps)
		}
	}
	for flags, ttl := range map[int32]byte{netbsd.MSG_DONTROUTE: 1, netbsd.MSG_DONTROUTE | sysproxy.MsgKeepTTL: 77, sysproxy.MsgKeepTTL: 77} {
		if _, err := so.Send(nil, &kernel.Message{Data: []byte("x"), Name: addr(a, "10.0.0.2:7000"), Flags: flags}); err != nil {
			t.Fatal(err)
		}
		if m := recv(t, there, 10, 0); len(m.Control) != 1 || m.Control[0].Data[0] != ttl {
			t.Errorf("flags %#x: received with %v, want a time to live of %d", flags, m.Control, ttl)
		}
	}
}

// TestUDPHostErrors: which errors sending gives when there is no way.
func TestUDPHostErrors(t *testing.T) {
	a, _ := pair(t)
	so := open(t, a, inet, dgram, 0)
	to := func(a2 string) error {
		_, err := so.Send(nil, &kernel.Message{Data: []byte("x"), Name: addr(a, a2)})
		return err
	}
	check(t, "no route", to("192.168.3.4:1"), netbsd.EHOSTUNREACH)
	setInt(t, so, a.machine, netbsd.SOL_SOCKET, netbsd.SO_DONTROUTE, 1)
	check(t, "not on a network of ours", to("192.168.3.4:1"), netbsd.ENETUNREACH)
	check(t, "on a network of ours", to("10.0.0.2:1"), nil)
	setInt(t, so, a.machine, netbsd.SOL_SOCKET, netbsd.SO_DONTROUTE, 0)
	a.mu.Lock()
	a.ifDown(a.ifByName["shmif0"])
	a.mu.Unlock()
	check(t, "interface down", to("10.0.0.2:1"), netbsd.ENETDOWN)
}

// TestUDPDissociate: of its address a socket that is connected to nobody has what it is to keep, and receives at that; a port that it
// has given up is anybody's.
func TestUDPDissociate(t *testing.T) {
	a, _ := pair(t)
	for _, keep := range []int32{0, sysproxy.KeepAddress, sysproxy.KeepPort, sysproxy.KeepAddress | sysproxy.KeepPort} {
		for _, address := range []string{"10.0.0.1:5000", "[fd00::1]:5000"} {
			bound, any := addr(a, address), "0.0.0.0"
			if bound[1] == inet6 {
				any = "[::]"
			}
			so, other := open(t, a, int32(bound[1]), dgram, 0), open(t, a, int32(bound[1]), dgram, 0)
			must(t, so.Bind(bound))
			peer := netip.MustParseAddrPort(address).Addr()
			to := addr(a, netip.AddrPortFrom(peer, 9).String())
			must(t, so.Connect(to))
			check(t, "bind once more", so.Bind(addr(a, any+":0")), netbsd.EINVAL)
			setInt(t, so, a.machine, netbsd.SOL_SOCKET, sysproxy.SODissociate, keep)
			if _, err := so.Peer(); err != netbsd.ENOTCONN {
				t.Errorf("%d: it has a peer", keep)
			}
			want := []string{any + ":0", strings.TrimSuffix(address, "5000") + "0", any + ":5000", address}[keep]
			if got := name(t, so); !bytes.Equal(got, addr(a, want)) {
				t.Errorf("%d: its name is %x, want %x", keep, got, addr(a, want))
			}
			if keep&sysproxy.KeepPort != 0 {
				check(t, "bind its port", other.Bind(bound), netbsd.EADDRINUSE)
				send(t, other, []byte("kept"), bound)
				if m := recv(t, so, 64, 0); string(m.Data) != "kept" {
					t.Errorf("%d: %q", keep, m.Data)
				}
				// As it is for NetBSD's programs.
				must(t, so.Connect(to))
				check(t, "connect to nobody", so.Connect(make([]byte, len(bound))), netbsd.EAFNOSUPPORT)
				if got, want := name(t, so), addr(a, any+":5000"); !bytes.Equal(got, want) {
					t.Errorf("%d: its name is %x then, want %x", keep, got, want)
				}
				must(t, so.Close())
				must(t, other.Close())
				continue
			}
			must(t, other.Bind(bound))
			send(t, so, []byte("from anywhere"), bound)
			m := recv(t, other, 64, 0)
			if got := name(t, so); portOf(got) == 0 || portOf(got) != portOf(m.Name) || string(m.Data) != "from anywhere" {
				t.Errorf("%d: its name is %x, and it has sent %q from %x", keep, got, m.Data, m.Name)
			}
			setInt(t, so, a.machine, netbsd.SOL_SOCKET, sysproxy.SODissociate, keep)
			must(t, so.Bind(addr(a, any+":5001")))
			if got, want := name(t, so), addr(a, any+":5001"); !bytes.Equal(got, want) {
				t.Errorf("%d: its name is %x in the end, want %x", keep, got, want)
			}
			must(t, so.Close())
			must(t, other.Close())
		}
	}
}

// TestUDPAbandon: a socket that is abandoned is found by nobody, and what has come for it goes to another that shares its port, or
// is refused.
func TestUDPAbandon(t *testing.T) {
	a, _ := pair(t)
	for _, to := range []string{"127.0.0.1:5000", "[::1]:5000", "10.0.0.1:5000"} {
		sa := addr(a, to)
		make := func() *udpSocket {
			so := open(t, a, int32(sa[1]), dgram, 0)
			setInt(t, so, a.machine, netbsd.SOL_SOCKET, netbsd.SO_REUSEPORT, 1)
			must(t, so.Bind(sa))
			return so.(*udpSocket)
		}
		older, newer := make(), make()
		client := open(t, a, int32(sa[1]), dgram, 0)
		must(t, client.Connect(sa))
		for i := range 20 {
			send(t, client, []byte{byte(i)}, nil)
		}
		newer.Abandon()
		for i := range 40 {
			if i >= 20 {
				send(t, client, []byte{byte(i)}, nil)
			}
			if m := recv(t, older, 64, 0); len(m.Data) != 1 || int(m.Data[0]) != i {
				t.Fatalf("%s: %x, want %x", to, m.Data, i)
			}
		}
		nothing(t, newer)
		send(t, client, []byte("x"), nil)
		older.Abandon()
		for range 2 {
			err := await(t, client, func() error {
				_, err := client.Recv(nil, &kernel.Message{Data: []byte{0}})
				return err
			})
			check(t, "receive from "+to, err, netbsd.ECONNREFUSED)
			client.Send(nil, &kernel.Message{Data: []byte("x")})
		}
		for _, so := range []kernel.Socket{older, newer, client} {
			must(t, so.Close())
		}
	}
}
