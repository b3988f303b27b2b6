package inet

import (
	"math/rand/v2"
	"net/netip"
	"slices"

	"rumptools/pkg/netbsd"
)

// The local and remote addresses of UDP sockets change only with the table's
// lock held for writing, and the socket's besides. So whoever holds the
// table's lock may read them.

// matches tells whether a datagram may be for the socket.
func (so *udpSocket) matches(from, to endpoint) bool {
	if to.addr.Is4() && so.family == netbsd.AF_INET6 {
		if !so.dual {
			return false
		}
		from.addr, to.addr = mappedAddr(from.addr), mappedAddr(to.addr)
	} else if to.addr.Is4() != (so.family == netbsd.AF_INET) {
		return false
	}
	local := so.local.addr
	if so.family == netbsd.AF_INET6 && local.Is4In6() && isAny(local.Unmap()) {
		if !to.addr.Is4In6() {
			return false
		}
		local = netip.Addr{}
	}
	return so.local.port == to.port && (!local.IsValid() || local == to.addr) &&
		(so.remote == endpoint{} || so.remote == from)
}

// findUDP finds the socket that a datagram is for: the one connected to the
// sender, else one bound to the address, else one bound to the port; of several
// the newest. IPv4 sockets come before IPv6 ones.
func (t *socketTable) findUDP(from, to endpoint) *udpSocket {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var best *udpSocket
	score := 0
	for _, so := range t.udp[to.port] {
		if !so.matches(from, to) {
			continue
		}
		n := 1
		if so.local.addr.IsValid() {
			n += 2
		}
		if so.remote != (endpoint{}) {
			n += 4
		}
		if to.addr.Is4() && so.family == netbsd.AF_INET {
			n += 8
		}
		if n > score {
			best, score = so, n
		}
	}
	return best
}

// bindUDPSocket gives a socket its local address. A port of 0 has one chosen. With
// portOnly the address stays what it is, and a socket that has a port keeps it.
func (t *socketTable) bindUDPSocket(so *udpSocket, e endpoint, portOnly bool) (endpoint, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if portOnly {
		if so.local.port != 0 {
			return so.local, nil
		}
		e = so.local
	}
	return t.bindLocked(so, e)
}

func (t *socketTable) bindLocked(so *udpSocket, e endpoint) (endpoint, error) {
	so.mu.Lock()
	closed, options, low := so.closed, so.options, so.ip4.flags&inpLowPort != 0 || so.ip6.flags&in6pLowPort != 0
	dual := so.family == netbsd.AF_INET6 && so.ip6.flags&in6pV6Only == 0
	so.mu.Unlock()
	if closed {
		return e, netbsd.EINVAL
	}
	anon := e.port == 0
	if anon {
		port, ok := t.freePort(so, e.addr, low)
		if !ok {
			return e, netbsd.EADDRNOTAVAIL
		}
		e.port = port
	} else {
		reuse := options & netbsd.SO_REUSEPORT
		if unmapped(e.addr).IsMulticast() && options&(netbsd.SO_REUSEADDR|netbsd.SO_REUSEPORT) != 0 {
			reuse = netbsd.SO_REUSEADDR | netbsd.SO_REUSEPORT
		}
		wild := options&(netbsd.SO_REUSEADDR|netbsd.SO_REUSEPORT) == 0
		if other := t.conflict(so, e, wild); other != nil {
			other.mu.Lock()
			shares := other.options&reuse != 0
			other.mu.Unlock()
			if !shares {
				return e, netbsd.EADDRINUSE
			}
		}
	}
	so.mu.Lock()
	so.local = e
	so.anonPort = anon
	so.mu.Unlock()
	so.dual = dual
	t.udp[e.port] = append([]*udpSocket{so}, t.udp[e.port]...)
	return e, nil
}

// conflict finds the bound socket that is nearest to an address
// (in_pcblookup_port); with wild, addresses that are not set agree with all.
func (t *socketTable) conflict(so *udpSocket, e endpoint, wild bool) *udpSocket {
	var match *udpSocket
	best := 3
	for _, other := range t.udp[e.port] {
		if other == so || !sameWorld(so, other, e.addr) {
			continue
		}
		a, b := unmapped(e.addr), unmapped(other.local.addr)
		n := 0
		if other.remote != (endpoint{}) {
			n++
		}
		switch {
		case isAny(a) != isAny(b):
			n++
		case !isAny(a) && a != b:
			continue
		}
		if n > 0 && !wild {
			continue
		}
		if n < best {
			match, best = other, n
		}
	}
	return match
}

// sameWorld tells whether two sockets' ports can be in each other's way: they
// are of the same family, or the IPv6 one of them is for IPv4 as well. A new
// IPv6 socket looks at IPv4 ones only when it asks for an IPv4-mapped address.
func sameWorld(so, other *udpSocket, a netip.Addr) bool {
	switch {
	case so.family == other.family:
		return true
	case so.family == netbsd.AF_INET:
		la := other.local.addr
		return other.dual && (!la.IsValid() || la.Is4In6())
	}
	return a.Is4In6()
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

// freePort chooses a port at random.
func (t *socketTable) freePort(so *udpSocket, a netip.Addr, low bool) (uint16, bool) {
	first, last := so.stack.ports(so.family, low)
	n := last - first + 1
	start := rand.IntN(n)
	for i := range n {
		port := uint16(first + (start+i)%n)
		if t.conflict(so, endpoint{a, port}, true) == nil {
			return port, true
		}
	}
	return 0, false
}

// connectUDP gives a socket both addresses, and a port if it has none.
func (t *socketTable) connectUDP(so *udpSocket, src netip.Addr, remote endpoint) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, other := range t.udp[so.local.port] {
		if other != so && other.family == so.family && other.local == (endpoint{src, so.local.port}) && other.remote == remote {
			return netbsd.EADDRINUSE
		}
	}
	if so.local.port == 0 {
		if _, err := t.bindLocked(so, endpoint{addr: so.local.addr}); err != nil {
			return err
		}
	}
	so.mu.Lock()
	so.local.addr, so.remote, so.connected = src, remote, true
	so.mu.Unlock()
	return nil
}

// disconnectUDP undoes connectUDP, but for the port.
func (t *socketTable) disconnectUDP(so *udpSocket) {
	t.mu.Lock()
	defer t.mu.Unlock()
	so.mu.Lock()
	defer so.mu.Unlock()
	so.local.addr, so.remote, so.connected = netip.Addr{}, endpoint{}, false
}

// unbind takes a socket out of the port table; the lock is held.
func (t *socketTable) unbind(so *udpSocket) {
	port := so.local.port
	list := slices.DeleteFunc(slices.Clone(t.udp[port]), func(o *udpSocket) bool { return o == so })
	if len(list) == 0 {
		delete(t.udp, port)
		return
	}
	t.udp[port] = list
}
