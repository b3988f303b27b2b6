package inet

import (
	"math/rand/v2"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"

	"rumptools/pkg/netbsd"
)

// portHolder is a socket in the matter of local ports.
type portHolder struct {
	family int32
	// dual says that an IPv6 socket is for IPv4 as well.
	dual          bool
	local, remote endpoint
	options       int32 // SO_*
	// device is the interface that it is bound to, 0 for none.
	device tcpip.NICID
}

// conflict finds among n holders of a port, which at gives, the one that is
// nearest to an address that a socket of a family asks for
// (in_pcblookup_port), -1 for none. With wild, addresses that are not set agree
// with all. Sockets that are bound to different devices are in nobody's way.
func conflict(family int32, a netip.Addr, device tcpip.NICID, wild bool, n int, at func(int) portHolder) int {
	match, best := -1, 3
	for i := range n {
		other := at(i)
		if !other.inWayOf(family, a) || device != 0 && other.device != 0 && device != other.device {
			continue
		}
		a, b := unmapped(a), unmapped(other.local.addr)
		score := 0
		if other.remote != (endpoint{}) {
			score++
		}
		switch {
		case isAny(a) != isAny(b):
			score++
		case !isAny(a) && a != b:
			continue
		}
		if score > 0 && !wild {
			continue
		}
		if score < best {
			match, best = i, score
		}
	}
	return match
}

// inWayOf tells whether a holder's port can be in the way of a socket of a
// family that asks for an address: they are of the same family, or the IPv6 one
// of them is for IPv4 as well. A new IPv6 socket looks at IPv4 ones only when it
// asks for an IPv4-mapped address.
func (h portHolder) inWayOf(family int32, a netip.Addr) bool {
	switch {
	case family == h.family:
		return true
	case family == netbsd.AF_INET:
		return h.dual && (!h.local.addr.IsValid() || h.local.addr.Is4In6())
	}
	return a.Is4In6()
}

// shares tells whether a socket with options may have the port of one that is
// in its way (in_pcbbind_port): both must ask for that.
func (h portHolder) shares(options int32, a netip.Addr) bool {
	reuse := options & netbsd.SO_REUSEPORT
	if unmapped(a).IsMulticast() && options&(netbsd.SO_REUSEADDR|netbsd.SO_REUSEPORT) != 0 {
		reuse = netbsd.SO_REUSEADDR | netbsd.SO_REUSEPORT
	}
	return h.options&reuse != 0
}

// isWild tells whether a socket that asks for a port minds those that have it
// for other addresses.
func isWild(options int32) bool {
	return options&(netbsd.SO_REUSEADDR|netbsd.SO_REUSEPORT) == 0
}

// ports is the range that ports are chosen from, as net.inet.ip and
// net.inet6.ip6 have it.
func (s *Stack) ports(family int32, low bool) (first, last int) {
	path, kind := "net.inet.ip.", "anon"
	if family == netbsd.AF_INET6 {
		path = "net.inet6.ip6."
	}
	if low {
		kind = "low"
	}
	first, last = int(s.params.get(path+kind+"portmin")), int(s.params.get(path+kind+"portmax"))
	return min(first, last), max(first, last)
}

// choosePort tries the ports of the range at random until one is taken. ok is
// false when none was.
func (s *Stack) choosePort(family int32, low bool, take func(port uint16) bool) (port uint16, ok bool) {
	first, last := s.ports(family, low)
	n := last - first + 1
	start := rand.IntN(n)
	for i := range n {
		port := uint16(first + (start+i)%n)
		if take(port) {
			return port, true
		}
	}
	return 0, false
}

// lowPort tells whether the socket wants a port below 1024 when one is chosen
// for it; so.mu is held.
func (so *socket) lowPort() bool {
	return so.ip4.flags&inpLowPort != 0 || so.ip6.flags&in6pLowPort != 0
}
