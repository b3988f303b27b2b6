package inet

import (
	"hash/fnv"
	"net/netip"
	"slices"

	"gvisor.dev/gvisor/pkg/tcpip"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// The local and remote addresses of UDP sockets change only with the table's
// lock held for writing, and the socket's besides. So whoever holds the
// table's lock may read them.

// matches tells whether a datagram that came in by an interface, 0 for any, may be for the socket.
func (so *udpSocket) matches(nic tcpip.NICID, from, to endpoint) bool {
	if nic != 0 && !so.takesFrom(nic) {
		return false
	}
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
// sender, else one bound to the address, else one bound to the port; of several one
// bound to the interface, and the newest, or of those that share what comes the one that has the sender. IPv4 sockets
// come before IPv6 ones. It is not without.
func (t *socketTable) findUDP(nic tcpip.NICID, from, to endpoint, without *udpSocket) *udpSocket {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var best *udpSocket
	score := 0
	var sharing []*udpSocket // as good as best
	for _, so := range t.udp[to.port] {
		if so == without || !so.matches(nic, from, to) {
			continue
		}
		n := 1
		if so.boundNIC() != 0 {
			n += 2
		}
		if so.local.addr.IsValid() {
			n += 4
		}
		if so.remote != (endpoint{}) {
			n += 8
		}
		if to.addr.Is4() && so.family == netbsd.AF_INET {
			n += 16
		}
		if n > score {
			best, score, sharing = so, n, sharing[:0]
		}
		if n == score && so.spreads.Load() {
			sharing = append(sharing, so)
		}
	}
	if len(sharing) < 2 || !best.spreads.Load() {
		return best
	}
	h := fnv.New32a()
	h.Write(from.addr.AsSlice())
	h.Write([]byte{byte(from.port), byte(from.port >> 8)})
	return sharing[int(h.Sum32()%uint32(len(sharing)))]
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
	closed, options, low := so.closed || so.abandoned, so.options, so.lowPort()
	dual := so.family == netbsd.AF_INET6 && so.ip6.flags&in6pV6Only == 0
	so.mu.Unlock()
	if closed {
		return e, netbsd.EINVAL
	}
	anon := e.port == 0
	if anon {
		port, ok := so.stack.choosePort(so.family, low, func(port uint16) bool {
			return t.udpConflict(so, endpoint{e.addr, port}, true) == nil
		})
		if !ok {
			return e, netbsd.EADDRNOTAVAIL
		}
		e.port = port
	} else if other := t.udpConflict(so, e, isWild(options)); other != nil && !other.holder().shares(options, e.addr) {
		return e, netbsd.EADDRINUSE
	}
	so.mu.Lock()
	so.local = e
	so.anonPort = anon
	so.mu.Unlock()
	so.dual = dual
	t.udp[e.port] = append([]*udpSocket{so}, t.udp[e.port]...)
	return e, nil
}

// holder is the socket in the matter of ports. The table's lock is held.
func (so *udpSocket) holder() portHolder {
	so.mu.Lock()
	defer so.mu.Unlock()
	return portHolder{so.family, so.dual, so.local, so.remote, so.options, so.boundNIC()}
}

// udpConflict finds the socket that is most in the way of one that asks for an
// address.
func (t *socketTable) udpConflict(so *udpSocket, e endpoint, wild bool) *udpSocket {
	list := t.udp[e.port]
	i := conflict(so.family, e.addr, so.boundNIC(), wild, len(list), func(i int) portHolder { return list[i].holder() })
	if i < 0 {
		return nil
	}
	return list[i]
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

// disconnectUDP undoes connectUDP, but for what is to stay of the local address (sysproxy.SODissociate).
func (t *socketTable) disconnectUDP(so *udpSocket, keep int32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	so.mu.Lock()
	defer so.mu.Unlock()
	so.remote, so.connected = endpoint{}, false
	if keep&sysproxy.KeepAddress == 0 {
		so.local.addr = netip.Addr{}
	}
	if keep&sysproxy.KeepPort == 0 {
		t.unbind(so)
		so.local.port, so.anonPort = 0, false
	}
}

// abandonUDP takes what has come for a socket that is to receive nothing any more, and, if that was nothing or in any case,
// the socket out of the port table. It keeps its address, to send from.
func (t *socketTable) abandonUDP(so *udpSocket, always bool) (waiting []datagram, over bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	so.mu.Lock()
	defer so.mu.Unlock()
	waiting, so.queue, so.size = so.queue, nil, 0
	if over = always || len(waiting) == 0; over {
		so.abandoned = true
		t.unbind(so)
	}
	return waiting, over
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
