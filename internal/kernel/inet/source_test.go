package inet

import (
	"testing"

	"rumptools/internal/kernel"
	"rumptools/pkg/netbsd"
)

// What a socket without an address says of destinations that no route leads to,
// when only lo0 has an address, and when another interface has one: in_selectsrc
// fails in the first case, and in the second gives that address, so that it is
// only sending that fails. IPv6 asks for the route first.
func TestNoRouteNoSource(t *testing.T) {
	lo := newStackOf(t, netbsd.AMD64)
	wide, _ := pair(t)
	const (
		unreach = netbsd.EHOSTUNREACH
		noAddr  = netbsd.EADDRNOTAVAIL
		noNet   = netbsd.ENETUNREACH
	)
	for _, tt := range []struct {
		name             string
		s                *Stack
		to               string
		dontRoute        bool
		tcp, udp, sendto error // of connect(2) and sendto(2)
	}{
		{"lo0", lo, "192.0.2.1:9", false, noAddr, noAddr, noAddr},
		{"lo0", lo, "192.0.2.1:9", true, noAddr, noAddr, noAddr},
		{"lo0", lo, "255.255.255.255:9", false, noAddr, noAddr, noAddr},
		{"lo0", lo, "224.0.0.9:9", false, noAddr, noAddr, noAddr},
		{"lo0", lo, "127.0.0.2:9", false, unreach, nil, unreach},
		{"lo0", lo, "[::ffff:192.0.2.1]:9", false, noAddr, noAddr, noAddr},
		{"lo0", lo, "[2001:db8::1]:9", false, unreach, unreach, unreach},
		{"shmif0", wide, "192.0.2.1:9", false, unreach, nil, unreach},
		{"shmif0", wide, "192.0.2.1:9", true, noNet, nil, noNet},
		{"shmif0", wide, "255.255.255.255:9", false, netbsd.EACCES, nil, netbsd.EACCES},
		{"shmif0", wide, "10.0.0.255:9", true, netbsd.EACCES, nil, netbsd.EACCES},
		{"shmif0", wide, "127.0.0.2:9", false, unreach, nil, unreach},
		{"shmif0", wide, "[::ffff:192.0.2.1]:9", false, unreach, nil, unreach},
		{"shmif0", wide, "[2001:db8::1]:9", false, unreach, unreach, unreach},
		{"shmif0", wide, "10.0.0.2:9", true, netbsd.EINPROGRESS, nil, nil},
	} {
		family := int32(inet)
		if tt.to[0] == '[' {
			family = inet6
		}
		socket := func(typ int32) kernel.Socket {
			so := open(t, tt.s, family, typ, 0)
			if family == inet6 {
				setInt(t, so, tt.s.machine, netbsd.IPPROTO_IPV6, netbsd.IPV6_V6ONLY, 0)
			}
			if tt.dontRoute {
				setInt(t, so, tt.s.machine, netbsd.SOL_SOCKET, netbsd.SO_DONTROUTE, 1)
			}
			return so
		}
		sa := addr(tt.s, tt.to)
		what := tt.name + " " + tt.to + ": "
		check(t, what+"connect TCP", socket(stream).Connect(sa), tt.tcp)
		check(t, what+"connect UDP", socket(dgram).Connect(sa), tt.udp)
		_, err := socket(dgram).Send(nil, &kernel.Message{Data: []byte("x"), Name: sa})
		check(t, what+"sendto", err, tt.sendto)
	}
	// A socket that has an address needs none.
	so := bound(t, lo, "127.0.0.1:0")
	_, err := so.Send(nil, &kernel.Message{Data: []byte("x"), Name: addr(lo, "192.0.2.1:9")})
	check(t, "sendto, bound", err, unreach)
	// A connection to where no packet can go shows in its first.
	so = open(t, wide, inet, dgram, 0)
	check(t, "connect", so.Connect(addr(wide, "192.0.2.1:9")), nil)
	if got := name(t, so); string(got[4:8]) != string([]byte{10, 0, 0, 1}) {
		t.Errorf("it has the address %v", got[4:8])
	}
	_, err = so.Send(nil, &kernel.Message{Data: []byte("x")})
	check(t, "send", err, unreach)
}
