package inet

import (
	"bytes"
	"testing"
	"time"

	"rumptools/internal/kernel"
	"rumptools/pkg/netbsd"
)

// TestOptionErrors: what setsockopt and getsockopt say of options that are
// wrong. They are errors that were recorded with a real kernel, or that its
// source has.
func TestOptionErrors(t *testing.T) {
	s := newStackOf(t, netbsd.AMD64)
	m := s.machine
	sockets := map[string]kernel.Socket{
		"tcp":  open(t, s, inet, stream, 0),
		"tcp6": open(t, s, inet6, stream, 0),
		"udp":  open(t, s, inet, dgram, 0),
		"udp6": open(t, s, inet6, dgram, 0),
		"raw":  open(t, s, inet, netbsd.SOCK_RAW, netbsd.IPPROTO_ICMP),
		"raw6": open(t, s, inet6, netbsd.SOCK_RAW, netbsd.IPPROTO_ICMPV6),
		"any6": open(t, s, inet6, netbsd.SOCK_RAW, 200),
	}
	num := func(v int32) []byte { return intOpt(m, v) }
	const (
		sol  = netbsd.SOL_SOCKET
		ip   = netbsd.IPPROTO_IP
		ip6  = netbsd.IPPROTO_IPV6
		tcp  = netbsd.IPPROTO_TCP
		udp  = netbsd.IPPROTO_UDP
		icmp = netbsd.IPPROTO_ICMPV6
	)
	for _, tt := range []struct {
		so          string
		level, name int32
		value       []byte // nil: getsockopt
		want        error
	}{
		{"tcp", sol, 0x7777, num(1), netbsd.ENOPROTOOPT},
		{"tcp", sol, 0x7777, nil, netbsd.ENOPROTOOPT},
		{"udp", sol, netbsd.SO_REUSEADDR, []byte{1}, netbsd.EINVAL},
		{"udp", sol, netbsd.SO_REUSEADDR, []byte{1, 0, 0, 0, 0}, netbsd.EINVAL},
		{"udp", sol, netbsd.SO_SNDBUF, num(0), netbsd.EINVAL},
		{"udp", sol, netbsd.SO_SNDBUF, num(-1), netbsd.EINVAL},
		{"udp", sol, netbsd.SO_SNDBUF, num(209716), netbsd.ENOBUFS},
		{"udp", sol, netbsd.SO_SNDBUF, num(209715), nil},
		{"udp", sol, netbsd.SO_RCVBUF, num(1 << 30), netbsd.ENOBUFS},
		{"udp", sol, netbsd.SO_RCVTIMEO, num(1), netbsd.EINVAL},
		{"udp", sol, netbsd.SO_LINGER, num(1), netbsd.EINVAL},
		{"udp", sol, netbsd.SO_TYPE, num(1), netbsd.ENOPROTOOPT},
		{"udp", sol, netbsd.SO_ERROR, num(1), netbsd.ENOPROTOOPT},
		{"udp", sol, netbsd.SO_ACCEPTCONN, nil, nil},
		{"udp", sol, netbsd.SO_NOSIGPIPE, num(1), nil},

		{"raw", ip, 22, num(1), netbsd.ENOPROTOOPT}, // IP_IPSEC_POLICY
		{"raw", ip, 22, nil, netbsd.ENOPROTOOPT},
		{"raw", ip, netbsd.IP_HDRINCL, num(1), nil},
		{"udp", ip, netbsd.IP_HDRINCL, num(1), netbsd.ENOPROTOOPT},
		{"udp", ip, netbsd.IP_TTL, []byte{1}, netbsd.EINVAL},
		{"udp", ip, netbsd.IP_MULTICAST_TTL, []byte{1}, nil},
		{"udp", ip, netbsd.IP_MULTICAST_TTL, num(256), netbsd.EINVAL},
		{"udp", ip, netbsd.IP_MULTICAST_LOOP, num(2), netbsd.EINVAL},
		{"udp", ip, netbsd.IP_MULTICAST_IF, []byte{10, 0, 0, 9}, netbsd.EADDRNOTAVAIL},
		{"udp", ip, netbsd.IP_MULTICAST_IF, []byte{127, 0, 0, 1}, nil},
		{"udp", ip, netbsd.IP_ADD_MEMBERSHIP, []byte{10, 0, 0, 1, 127, 0, 0, 1}, netbsd.EINVAL},
		{"udp", ip, netbsd.IP_ADD_MEMBERSHIP, []byte{224, 0, 0, 9, 10, 0, 0, 9}, netbsd.EADDRNOTAVAIL},
		{"udp", ip, netbsd.IP_ADD_MEMBERSHIP, []byte{224, 0, 0, 9}, netbsd.EINVAL},
		{"udp", ip, netbsd.IP_OPTIONS, []byte{7, 3, 4}, netbsd.EINVAL},
		{"udp", ip, netbsd.IP_OPTIONS, []byte{7, 200, 4, 0}, netbsd.EINVAL},
		{"udp", ip, netbsd.IP_PORTRANGE, num(3), netbsd.EINVAL},
		{"udp6", ip, netbsd.IP_TTL, num(1), netbsd.ENOPROTOOPT},
		{"udp", ip6, netbsd.IPV6_UNICAST_HOPS, num(1), netbsd.ENOPROTOOPT},

		{"udp6", ip6, netbsd.IPV6_UNICAST_HOPS, num(256), netbsd.EINVAL},
		{"udp6", ip6, netbsd.IPV6_UNICAST_HOPS, num(-1), nil},
		{"udp6", ip6, netbsd.IPV6_MULTICAST_IF, num(99), netbsd.ENXIO},
		{"udp6", ip6, netbsd.IPV6_MULTICAST_IF, num(1), nil},
		{"udp6", ip6, netbsd.IPV6_MULTICAST_HOPS, num(256), netbsd.EINVAL},
		{"udp6", ip6, netbsd.IPV6_MULTICAST_LOOP, num(2), netbsd.EINVAL},
		{"udp6", ip6, netbsd.IPV6_TCLASS, num(256), netbsd.EINVAL},
		{"udp6", ip6, netbsd.IPV6_PKTINFO, num(1), netbsd.EINVAL},
		{"udp6", ip6, 0x7f, num(1), netbsd.ENOPROTOOPT},
		{"raw6", ip6, netbsd.IPV6_CHECKSUM, num(2), nil},
		{"raw6", ip6, netbsd.IPV6_CHECKSUM, num(4), netbsd.EINVAL},
		{"raw6", ip6, 28, num(1), netbsd.ENOPROTOOPT}, // IPV6_IPSEC_POLICY
		{"any6", ip6, netbsd.IPV6_CHECKSUM, num(4), nil},
		{"any6", ip6, netbsd.IPV6_CHECKSUM, num(3), netbsd.EINVAL},
		{"raw6", icmp, netbsd.ICMP6_FILTER, make([]byte, 31), netbsd.EINVAL},
		{"raw6", icmp, netbsd.ICMP6_FILTER, make([]byte, 32), nil},
		{"raw6", icmp, 19, num(1), netbsd.ENOPROTOOPT},

		{"tcp", tcp, netbsd.TCP_NODELAY, []byte{1}, netbsd.EINVAL},
		{"tcp", tcp, netbsd.TCP_MAXSEG, num(0), netbsd.EINVAL},
		{"tcp", tcp, netbsd.TCP_MAXSEG, num(537), netbsd.EINVAL},
		{"tcp", tcp, netbsd.TCP_KEEPIDLE, num(0), netbsd.EINVAL},
		{"tcp", tcp, netbsd.TCP_KEEPIDLE, nil, netbsd.ENOPROTOOPT},
		{"tcp", tcp, 99, num(1), netbsd.ENOPROTOOPT},
		{"tcp6", tcp, netbsd.TCP_NODELAY, num(1), nil},
		{"udp", tcp, netbsd.TCP_NODELAY, num(1), netbsd.ENOPROTOOPT},
		{"udp", udp, 99, num(1), netbsd.ENOPROTOOPT},
	} {
		var err error
		if tt.value != nil {
			err = sockets[tt.so].SetOption(nil, tt.level, tt.name, tt.value)
		} else {
			_, err = sockets[tt.so].Option(nil, tt.level, tt.name, 4)
		}
		if err != tt.want {
			t.Errorf("%s: option %#x of level %#x with %x: %v, want %v", tt.so, tt.name, tt.level, tt.value, err, tt.want)
		}
	}
}

// TestOptionDefaults: what getsockopt says of new sockets.
func TestOptionDefaults(t *testing.T) {
	onMachines(t, func(t *testing.T, s *Stack) {
		for _, tt := range []struct {
			family, typ int32
			level, name int32
			want        int32
		}{
			{inet, stream, netbsd.SOL_SOCKET, netbsd.SO_TYPE, stream},
			{inet, stream, netbsd.SOL_SOCKET, netbsd.SO_SNDBUF, 32768},
			{inet, stream, netbsd.SOL_SOCKET, netbsd.SO_RCVBUF, 32768},
			{inet, stream, netbsd.SOL_SOCKET, netbsd.SO_SNDLOWAT, 4096},
			{inet, stream, netbsd.SOL_SOCKET, netbsd.SO_RCVLOWAT, 1},
			{inet, stream, netbsd.SOL_SOCKET, netbsd.SO_ERROR, 0},
			{inet, stream, netbsd.SOL_SOCKET, netbsd.SO_KEEPALIVE, 0},
			{inet, stream, netbsd.IPPROTO_IP, netbsd.IP_TTL, 64},
			{inet, stream, netbsd.IPPROTO_IP, netbsd.IP_TOS, 0},
			{inet, stream, netbsd.IPPROTO_TCP, netbsd.TCP_NODELAY, 0},
			{inet, stream, netbsd.IPPROTO_TCP, netbsd.TCP_MAXSEG, 536},
			{inet, dgram, netbsd.SOL_SOCKET, netbsd.SO_TYPE, dgram},
			{inet, dgram, netbsd.SOL_SOCKET, netbsd.SO_SNDBUF, 9216},
			{inet, dgram, netbsd.SOL_SOCKET, netbsd.SO_RCVBUF, 41600},
			{inet6, dgram, netbsd.SOL_SOCKET, netbsd.SO_RCVBUF, 42080},
			{inet6, dgram, netbsd.IPPROTO_IPV6, netbsd.IPV6_V6ONLY, 1},
			{inet6, dgram, netbsd.IPPROTO_IPV6, netbsd.IPV6_UNICAST_HOPS, -1},
			{inet6, dgram, netbsd.IPPROTO_IPV6, netbsd.IPV6_MULTICAST_HOPS, 1},
			{inet6, dgram, netbsd.IPPROTO_IPV6, netbsd.IPV6_MULTICAST_LOOP, 1},
			{inet, netbsd.SOCK_RAW, netbsd.SOL_SOCKET, netbsd.SO_RCVBUF, 8192},
			{inet, netbsd.SOCK_RAW, netbsd.IPPROTO_IP, netbsd.IP_HDRINCL, 0},
		} {
			so := open(t, s, tt.family, tt.typ, 0)
			if v := getInt(t, so, s.machine, tt.level, tt.name); v != tt.want {
				t.Errorf("option %#x of level %#x of type %d is %d, want %d", tt.name, tt.level, tt.typ, v, tt.want)
			}
		}
		so := open(t, s, inet, dgram, 0)
		b, err := so.Option(nil, netbsd.IPPROTO_IP, netbsd.IP_MULTICAST_TTL, 1)
		if err != nil || !bytes.Equal(b, []byte{1}) {
			t.Errorf("IP_MULTICAST_TTL is %x, %v", b, err)
		}
		b, err = so.Option(nil, netbsd.IPPROTO_IP, netbsd.IP_MULTICAST_IF, 4)
		if err != nil || !bytes.Equal(b, make([]byte, 4)) {
			t.Errorf("IP_MULTICAST_IF is %x, %v", b, err)
		}
	})
}

// TestOptionTimeouts: timeouts in the layouts of machines, and in those of
// programs from before NetBSD 6.
func TestOptionTimeouts(t *testing.T) {
	onMachines(t, func(t *testing.T, s *Stack) {
		m := s.machine
		so := open(t, s, inet, stream, 0)
		set := func(name int32, v any) error {
			return so.SetOption(nil, netbsd.SOL_SOCKET, name, netbsd.Marshal(m, v))
		}
		must(t, set(netbsd.SO_RCVTIMEO, &netbsd.Timeval{Sec: 2, Usec: 345678}))
		must(t, set(soOldSndtimeo, &netbsd.Timeval50{Sec: 1, Usec: 1}))
		recv, send := so.Timeouts()
		if recv != 2340*time.Millisecond || send != time.Second {
			t.Errorf("timeouts are %v and %v", recv, send)
		}
		b, err := so.Option(nil, netbsd.SOL_SOCKET, netbsd.SO_RCVTIMEO, 16)
		must(t, err)
		var tv netbsd.Timeval
		must(t, netbsd.Unmarshal(m, b, &tv))
		if tv.Sec != 2 || tv.Usec != 340000 || len(b) != netbsd.Sizeof(m, tv) {
			t.Errorf("SO_RCVTIMEO is %+v, %d bytes", tv, len(b))
		}
		must(t, set(netbsd.SO_SNDTIMEO, &netbsd.Timeval{Usec: 1}))
		if _, send := so.Timeouts(); send != tick {
			t.Errorf("the least timeout is %v", send)
		}
		must(t, set(netbsd.SO_SNDTIMEO, &netbsd.Timeval{Sec: -5}))
		if _, send := so.Timeouts(); send != tick {
			t.Errorf("a negative timeout is %v", send)
		}
		check(t, "too long", set(netbsd.SO_SNDTIMEO, &netbsd.Timeval{Sec: 1 << 40}), netbsd.EDOM)
		must(t, set(netbsd.SO_LINGER, &netbsd.Linger{Onoff: 7, Linger: 30}))
		b, err = so.Option(nil, netbsd.SOL_SOCKET, netbsd.SO_LINGER, 8)
		if want := netbsd.Marshal(m, &netbsd.Linger{Onoff: 1, Linger: 30}); err != nil || !bytes.Equal(b, want) {
			t.Errorf("SO_LINGER is %x, %v, want %x", b, err, want)
		}
		check(t, "linger too long", set(netbsd.SO_LINGER, &netbsd.Linger{Onoff: 1, Linger: 70000}), netbsd.EDOM)
	})
}

// TestOptionInherited: connections have their listener's options.
func TestOptionInherited(t *testing.T) {
	s := newStackOf(t, netbsd.AMD64)
	l := listener(t, s, "127.0.0.1:80", 5)
	setInt(t, l, s.machine, netbsd.SOL_SOCKET, netbsd.SO_RCVBUF, 5000)
	setInt(t, l, s.machine, netbsd.SOL_SOCKET, netbsd.SO_KEEPALIVE, 1)
	setInt(t, l, s.machine, netbsd.IPPROTO_TCP, netbsd.TCP_NODELAY, 1)
	setInt(t, l, s.machine, netbsd.IPPROTO_IP, netbsd.IP_TOS, 16)
	dial(t, s, "127.0.0.1:80")
	srv, _ := accept(t, l)
	for _, tt := range []struct{ level, name, want int32 }{
		{netbsd.SOL_SOCKET, netbsd.SO_RCVBUF, 5000},
		{netbsd.SOL_SOCKET, netbsd.SO_KEEPALIVE, 1},
		{netbsd.SOL_SOCKET, netbsd.SO_ACCEPTCONN, 0},
		{netbsd.IPPROTO_TCP, netbsd.TCP_NODELAY, 4},
		{netbsd.IPPROTO_IP, netbsd.IP_TOS, 16},
	} {
		if v := getInt(t, srv, s.machine, tt.level, tt.name); v != tt.want {
			t.Errorf("option %#x of level %#x is %d, want %d", tt.name, tt.level, v, tt.want)
		}
	}
	if v := getInt(t, l, s.machine, netbsd.SOL_SOCKET, netbsd.SO_ACCEPTCONN); v == 0 {
		t.Error("a listener does not accept connections")
	}
}

// TestPairSysctl: net.inet.tcp.pair is off at first, and a flag; nothing in the kernel acts
// on it.
func TestPairSysctl(t *testing.T) {
	s := newStackOf(t, netbsd.AMD64)
	pair := s.sockets.params.tcp["pair"]
	want := func(want int) {
		t.Helper()
		if v := s.tcpParam("pair"); v != want {
			t.Errorf("net.inet.tcp.pair is %d, want %d", v, want)
		}
	}
	want(0)
	must(t, pair.set(s, 1))
	want(1)
	check(t, "pair 2", pair.set(s, 2), netbsd.EINVAL)
	must(t, pair.set(s, 0))
	want(0)
}

// TestOptionSysctl: new sockets begin as sysctl(3) says.
func TestOptionSysctl(t *testing.T) {
	s := newStackOf(t, netbsd.AMD64)
	ps := &s.sockets.params
	must(t, ps.tcp["sendspace"].set(s, 20000))
	must(t, ps.tcp["recvspace"].set(s, 10000))
	must(t, ps.tcp["mssdflt"].set(s, 600))
	must(t, ps.udp["recvspace"].set(s, 3000))
	must(t, s.setParam("net.inet.ip.ttl", 33))
	must(t, s.setParam("net.inet6.ip6.v6only", 0))
	so := open(t, s, inet, stream, 0)
	udp, udp6 := open(t, s, inet, dgram, 0), open(t, s, inet6, dgram, 0)
	for _, tt := range []struct {
		so                kernel.Socket
		level, name, want int32
	}{
		{so, netbsd.SOL_SOCKET, netbsd.SO_SNDBUF, 20000},
		{so, netbsd.SOL_SOCKET, netbsd.SO_RCVBUF, 10000},
		{so, netbsd.IPPROTO_TCP, netbsd.TCP_MAXSEG, 600},
		{so, netbsd.IPPROTO_IP, netbsd.IP_TTL, 33},
		{udp, netbsd.SOL_SOCKET, netbsd.SO_RCVBUF, 3000},
		{udp6, netbsd.SOL_SOCKET, netbsd.SO_RCVBUF, 42080},
		{udp6, netbsd.IPPROTO_IPV6, netbsd.IPV6_V6ONLY, 0},
	} {
		if v := getInt(t, tt.so, s.machine, tt.level, tt.name); v != tt.want {
			t.Errorf("option %#x of level %#x is %d, want %d", tt.name, tt.level, v, tt.want)
		}
	}
	check(t, "sendspace 0", ps.tcp["sendspace"].set(s, 0), netbsd.EINVAL)
	must(t, s.setParam("net.inet.ip.anonportmin", 60000))
	must(t, s.setParam("net.inet.ip.anonportmax", 60003))
	for range 4 {
		u := open(t, s, inet, dgram, 0)
		must(t, u.Bind(addr(s, "127.0.0.1:0")))
		if p := portOf(name(t, u)); p < 60000 || p > 60003 {
			t.Errorf("port %d was chosen", p)
		}
		c := open(t, s, inet, stream, 0)
		must(t, c.Bind(addr(s, "127.0.0.1:0")))
		if p := portOf(name(t, c)); p < 60000 || p > 60003 {
			t.Errorf("TCP port %d was chosen", p)
		}
	}
	check(t, "no port is free", open(t, s, inet, dgram, 0).Bind(addr(s, "127.0.0.1:0")), netbsd.EADDRNOTAVAIL)
	check(t, "no TCP port is free", open(t, s, inet, stream, 0).Bind(addr(s, "127.0.0.1:0")), netbsd.EADDRNOTAVAIL)
}
