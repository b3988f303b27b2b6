package inet

import (
	"net/netip"
	"testing"

	"rumptools/internal/kernel"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// devices makes a host with two interfaces, and a neighbour on the network of each.
func devices(t *testing.T) (s, first, second *Stack) {
	t.Helper()
	one, two := newSegment(), newSegment()
	s = host(t, one.join(), "10.0.0.1/24", "fd00::1/64")
	s.plug(t, "shmif1", two.join(), "10.0.1.1/24", "fd01::1/64")
	return s, host(t, one.join(), "10.0.0.2/24", "fd00::2/64"), host(t, two.join(), "10.0.1.2/24", "fd01::2/64")
}

// openOn makes a socket that is bound to an interface.
func openOn(t *testing.T, s *Stack, ifname string, family, typ, proto int32) kernel.Socket {
	t.Helper()
	so := open(t, s, family, typ, proto)
	setInt(t, so, s.machine, netbsd.SOL_SOCKET, sysproxy.SOBindToDevice, s.index(ifname))
	return so
}

func (s *Stack) index(ifname string) int32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int32(s.ifByName[ifname].Index)
}

// TestDeviceOption: the option is what was set, and only interfaces that are there can be.
func TestDeviceOption(t *testing.T) {
	s, _, _ := devices(t)
	for _, typ := range []int32{dgram, stream, netbsd.SOCK_RAW} {
		so := open(t, s, inet, typ, 0)
		get := func() int32 { return getInt(t, so, s.machine, netbsd.SOL_SOCKET, sysproxy.SOBindToDevice) }
		set := func(v int32) error {
			return so.SetOption(nil, netbsd.SOL_SOCKET, sysproxy.SOBindToDevice, intOpt(s.machine, v))
		}
		index := s.index("shmif1")
		check(t, "one that is there", set(index), nil)
		for _, v := range []int32{-1, 99, index + 1<<16, int32(nullNIC)} {
			check(t, "one that is not there", set(v), netbsd.ENXIO)
		}
		if got := get(); got != index {
			t.Errorf("type %d: bound to %d, want %d", typ, got, index)
		}
		check(t, "none", set(0), nil)
		if got := get(); got != 0 {
			t.Errorf("type %d: bound to %d", typ, got)
		}
		err := so.SetOption(nil, netbsd.SOL_SOCKET, sysproxy.SOBindToDevice, make([]byte, 2))
		check(t, "two bytes", err, netbsd.EINVAL)
	}
}

// TestDeviceUDP: a UDP socket gets and sends what passes by its interface only, and others may have its port.
func TestDeviceUDP(t *testing.T) {
	s, first, second := devices(t)
	for _, tt := range []struct {
		family                        int32
		any, near0, near1, far0, far1 string
	}{
		{family: inet, any: "0.0.0.0", near0: "10.0.0.1", near1: "10.0.1.1", far0: "10.0.0.2", far1: "10.0.1.2"},
		{family: inet6, any: "[::]", near0: "[fd00::1]", near1: "[fd01::1]", far0: "[fd00::2]", far1: "[fd01::2]"},
	} {
		on0, on1 := openOn(t, s, "shmif0", tt.family, dgram, 0), openOn(t, s, "shmif1", tt.family, dgram, 0)
		must(t, on1.Bind(addr(s, tt.any+":7000")))
		check(t, "bind on another interface", on0.Bind(addr(s, tt.any+":7000")), nil)
		check(t, "bind without", open(t, s, tt.family, dgram, 0).Bind(addr(s, tt.any+":7000")), netbsd.EADDRINUSE)
		check(t, "bind on the same", openOn(t, s, "shmif1", tt.family, dgram, 0).Bind(addr(s, tt.any+":7000")), netbsd.EADDRINUSE)

		from0, from1 := open(t, first, tt.family, dgram, 0), open(t, second, tt.family, dgram, 0)
		send(t, from0, []byte("by the first"), addr(first, tt.near0+":7000"))
		send(t, from1, []byte("by the second"), addr(second, tt.near1+":7000"))
		for so, want := range map[kernel.Socket]string{on0: "by the first", on1: "by the second"} {
			if m := recv(t, so, 100, 0); string(m.Data) != want {
				t.Errorf("received %q, want %q", m.Data, want)
			}
			nothing(t, so)
		}
		// Who is bound to the interface comes before who is not.
		loose := open(t, s, tt.family, dgram, 0)
		setInt(t, loose, s.machine, netbsd.SOL_SOCKET, netbsd.SO_REUSEPORT, 1)
		must(t, loose.Bind(addr(s, tt.any+":7001")))
		tied := openOn(t, s, "shmif1", tt.family, dgram, 0)
		setInt(t, tied, s.machine, netbsd.SOL_SOCKET, netbsd.SO_REUSEPORT, 1)
		must(t, tied.Bind(addr(s, tt.any+":7001")))
		newest := open(t, s, tt.family, dgram, 0)
		setInt(t, newest, s.machine, netbsd.SOL_SOCKET, netbsd.SO_REUSEPORT, 1)
		must(t, newest.Bind(addr(s, tt.any+":7001")))
		send(t, from1, []byte("tied"), addr(second, tt.near1+":7001"))
		recv(t, tied, 100, 0)
		send(t, from0, []byte("newest"), addr(first, tt.near0+":7001"))
		recv(t, newest, 100, 0)
		nothing(t, tied)

		// Nobody is there for what comes in by the other interface.
		only := openOn(t, s, "shmif1", tt.family, dgram, 0)
		must(t, only.Bind(addr(s, tt.any+":7002")))
		asks := open(t, first, tt.family, dgram, 0)
		must(t, asks.Connect(addr(first, tt.near0+":7002")))
		send(t, asks, []byte("x"), nil)
		err := await(t, asks, func() error {
			_, err := asks.Recv(nil, &kernel.Message{Data: make([]byte, 1)})
			return err
		})
		check(t, "to a port that is open on another interface", err, netbsd.ECONNREFUSED)
		nothing(t, only)

		// There is no way by the interface to the other's network.
		_, err = only.Send(nil, &kernel.Message{Data: []byte("x"), Name: addr(s, tt.far0+":9")})
		check(t, "to the other network", err, netbsd.EHOSTUNREACH)
		from1 = open(t, second, tt.family, dgram, 0)
		must(t, from1.Bind(addr(second, tt.any+":7003")))
		send(t, only, []byte("out"), addr(s, tt.far1+":7003"))
		if m := recv(t, from1, 100, 0); string(m.Data) != "out" || netip.AddrPortFrom(netipOf(t, second, m.Name), 7002) != netip.MustParseAddrPort(tt.near1+":7002") {
			t.Errorf("received %q from % x", m.Data, m.Name)
		}
		if tt.family == inet {
			setInt(t, only, s.machine, netbsd.SOL_SOCKET, netbsd.SO_DONTROUTE, 1)
			_, err = only.Send(nil, &kernel.Message{Data: []byte("x"), Name: addr(s, tt.far0+":9")})
			check(t, "to the other network without routes", err, netbsd.ENETUNREACH)
			send(t, only, []byte("near"), addr(s, tt.far1+":7003"))
			recv(t, from1, 100, 0)
		}
		// A connection has the interface's address.
		tied = openOn(t, s, "shmif1", tt.family, dgram, 0)
		must(t, tied.Connect(addr(s, tt.far1+":9")))
		if got := netipOf(t, s, name(t, tied)); got != netip.MustParseAddrPort(tt.near1+":0").Addr() {
			t.Errorf("connected from %s", got)
		}
	}
}

// netipOf is the address of a socket address.
func netipOf(t *testing.T, s *Stack, sa []byte) netip.Addr {
	t.Helper()
	a, err := netbsd.ParseSockaddr(s.machine, sa)
	if err != nil {
		t.Fatal(err)
	}
	return a.Addr()
}

// TestDeviceGroups: broadcasts and multicasts leave by the interface that the socket is bound to, whatever routes
// and IP_MULTICAST_IF say.
func TestDeviceGroups(t *testing.T) {
	s, first, second := devices(t)
	for _, tt := range []struct {
		family int32
		to     string
	}{
		{inet, "255.255.255.255:7010"},
		{inet, "224.0.0.1:7010"},
		{inet6, "[ff02::1]:7010"},
	} {
		any := "0.0.0.0:7010"
		if tt.family == inet6 {
			any = "[::]:7010"
		}
		there := map[*Stack]kernel.Socket{}
		for _, s := range []*Stack{first, second} {
			there[s] = open(t, s, tt.family, dgram, 0)
			must(t, there[s].Bind(addr(s, any)))
		}
		for i, to := range []*Stack{first, second} {
			so := openOn(t, s, []string{"shmif0", "shmif1"}[i], tt.family, dgram, 0)
			setInt(t, so, s.machine, netbsd.SOL_SOCKET, netbsd.SO_BROADCAST, 1)
			send(t, so, []byte("all"), addr(s, tt.to))
			if m := recv(t, there[to], 100, 0); string(m.Data) != "all" {
				t.Errorf("%s: received %q", tt.to, m.Data)
			}
			nothing(t, there[first])
			nothing(t, there[second])
		}
		for _, so := range there {
			so.Close()
		}
	}
}

// TestMulticastAll: a socket gets what comes to any group that somebody has joined, or only what comes to its own.
func TestMulticastAll(t *testing.T) {
	s, first, _ := devices(t)
	join := func(so kernel.Socket, level int32, group string) {
		t.Helper()
		if level == netbsd.IPPROTO_IP {
			a := netip.MustParseAddr(group).As4()
			mreq := netbsd.IpMreq{Multiaddr: a, Interface: [4]byte{10, 0, 0, 1}}
			must(t, so.SetOption(nil, level, netbsd.IP_ADD_MEMBERSHIP, netbsd.Marshal(s.machine, &mreq)))
			return
		}
		mreq := netbsd.Ipv6Mreq{Multiaddr: netip.MustParseAddr(group).As16(), Interface: uint32(s.index("shmif0"))}
		must(t, so.SetOption(nil, level, netbsd.IPV6_JOIN_GROUP, netbsd.Marshal(s.machine, &mreq)))
	}
	for _, tt := range []struct {
		family, level, name int32
		any, one, other     string
	}{
		{inet, netbsd.IPPROTO_IP, sysproxy.IPMulticastAll, "0.0.0.0", "239.0.0.1", "239.0.0.2"},
		{inet6, netbsd.IPPROTO_IPV6, sysproxy.IPv6MulticastAll, "[::]", "ff02::1:1", "ff02::1:2"},
	} {
		for _, typ := range []int32{dgram, netbsd.SOCK_RAW} {
			proto, port := int32(0), ":7020"
			if typ == netbsd.SOCK_RAW {
				proto, port = 253, ":0" // whose IPv6 packets the engine reads as with an extension header
			}
			all, own := open(t, s, tt.family, typ, proto), open(t, s, tt.family, typ, proto)
			for _, so := range []kernel.Socket{all, own} {
				if typ == dgram {
					setInt(t, so, s.machine, netbsd.SOL_SOCKET, netbsd.SO_REUSEPORT, 1)
					must(t, so.Bind(addr(s, tt.any+port)))
				}
				if got := getInt(t, so, s.machine, tt.level, tt.name); got != 1 {
					t.Errorf("at first it is %d", got)
				}
			}
			setInt(t, own, s.machine, tt.level, tt.name, 0)
			if got := getInt(t, own, s.machine, tt.level, tt.name); got != 0 {
				t.Errorf("it is %d", got)
			}
			join(all, tt.level, tt.one)
			join(own, tt.level, tt.other)
			from := openOn(t, first, "shmif0", tt.family, typ, proto)
			for _, group := range []string{tt.one, tt.other} {
				to := netip.AddrPortFrom(netip.MustParseAddr(group), 0).String()
				send(t, from, []byte("to "+group), addr(first, to[:len(to)-2]+port))
				for _, so := range []kernel.Socket{all, own} {
					if so == own && group == tt.one {
						continue
					}
					m := recv(t, so, 100, 0)
					if got := string(m.Data[max(0, len(m.Data)-3-len(group)):]); got != "to "+group {
						t.Errorf("received %q, want that to %s", got, group)
					}
				}
				nothing(t, own)
			}
			own.Close()
			all.Close()
		}
	}
}

// TestDeviceRaw: a raw socket gets and sends what passes by its interface only.
func TestDeviceRaw(t *testing.T) {
	const ospf = 89
	s, first, second := devices(t)
	for _, tt := range []struct {
		family                   int32
		near0, near1, far0, far1 string
		header                   int
	}{
		{inet, "10.0.0.1:0", "10.0.1.1:0", "10.0.0.2:0", "10.0.1.2:0", 20},
		{inet6, "[fd00::1]:0", "[fd01::1]:0", "[fd00::2]:0", "[fd01::2]:0", 0},
	} {
		tied, all := openOn(t, s, "shmif1", tt.family, netbsd.SOCK_RAW, ospf), open(t, s, tt.family, netbsd.SOCK_RAW, ospf)
		for i, from := range []*Stack{first, second} {
			so := open(t, from, tt.family, netbsd.SOCK_RAW, ospf)
			send(t, so, []byte("hello"), addr(from, []string{tt.near0, tt.near1}[i]))
			recv(t, all, 100, 0)
			if from == first {
				nothing(t, tied)
			} else if m := recv(t, tied, 100, 0); string(m.Data[tt.header:]) != "hello" {
				t.Errorf("received %q", m.Data)
			}
		}
		_, err := tied.Send(nil, &kernel.Message{Data: []byte("x"), Name: addr(s, tt.far0)})
		check(t, "to the other network", err, netbsd.EHOSTUNREACH)
		there := open(t, second, tt.family, netbsd.SOCK_RAW, ospf)
		send(t, tied, []byte("out"), addr(s, tt.far1))
		if m := recv(t, there, 100, 0); string(m.Data[tt.header:]) != "out" {
			t.Errorf("received %q", m.Data)
		}
	}
}

// TestDeviceTCP: connections are made and accepted by the interface only.
func TestDeviceTCP(t *testing.T) {
	s, first, second := devices(t)
	for _, tt := range []struct {
		family                        int32
		any, near0, near1, far0, far1 string
	}{
		{inet, "0.0.0.0", "10.0.0.1", "10.0.1.1", "10.0.0.2", "10.0.1.2"},
		{inet6, "[::]", "[fd00::1]", "[fd01::1]", "[fd00::2]", "[fd01::2]"},
	} {
		index := s.index("shmif1")
		device := func(so kernel.Socket) int32 {
			return getInt(t, so, s.machine, netbsd.SOL_SOCKET, sysproxy.SOBindToDevice)
		}
		for port, order := range map[string]string{":80": "bound later", ":82": "bound before"} {
			l := open(t, s, tt.family, stream, 0)
			if order == "bound before" {
				must(t, l.Bind(addr(s, tt.any+port)))
			}
			setInt(t, l, s.machine, netbsd.SOL_SOCKET, sysproxy.SOBindToDevice, index)
			if order == "bound later" {
				must(t, l.Bind(addr(s, tt.any+port)))
			}
			must(t, l.Listen(5))
			check(t, "another interface for a listener",
				l.SetOption(nil, netbsd.SOL_SOCKET, sysproxy.SOBindToDevice, intOpt(s.machine, 0)), netbsd.EINVAL)
			other := openOn(t, s, "shmif0", tt.family, stream, 0)
			check(t, "bind on another interface", other.Bind(addr(s, tt.any+port)), nil)
			other.Close()
			check(t, "bind without", open(t, s, tt.family, stream, 0).Bind(addr(s, tt.any+port)), netbsd.EADDRINUSE)

			c := open(t, first, tt.family, stream, 0)
			check(t, "connect by the other interface", connect(t, c, addr(first, tt.near0+port)), netbsd.ECONNREFUSED)
			c = dial(t, second, tt.near1+port)
			a, _ := accept(t, l)
			if got := device(a); got != index {
				t.Errorf("%s: the accepted socket is bound to %d", order, got)
			}
			send(t, c, []byte("in"), nil)
			if m := recv(t, a, 10, 0); string(m.Data) != "in" {
				t.Errorf("%s: received %q", order, m.Data)
			}
			c.Close()
			a.Close()
			l.Close()
		}

		away := listener(t, second, tt.any+":81", 5)
		for _, local := range []string{"", tt.any + ":4000", tt.near1 + ":4001"} {
			c := openOn(t, s, "shmif1", tt.family, stream, 0)
			if local != "" {
				must(t, c.Bind(addr(s, local)))
			}
			check(t, "connect from "+local, connect(t, c, addr(s, tt.far1+":81")), nil)
			a, sa := accept(t, away)
			if got := netipOf(t, second, sa); got != netip.MustParseAddrPort(tt.near1+":0").Addr() {
				t.Errorf("connected from %s", got)
			}
			send(t, c, []byte("out"), nil)
			if m := recv(t, a, 10, 0); string(m.Data) != "out" {
				t.Errorf("received %q", m.Data)
			}
			c.Close()
			a.Close()
		}
		c := openOn(t, s, "shmif1", tt.family, stream, 0)
		check(t, "connect to the other network", connect(t, c, addr(s, tt.far0+":81")), netbsd.EHOSTUNREACH)
	}
}
