package inet

import (
	"slices"

	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"rumptools/pkg/netbsd"
)

// tcpPort is a TCP socket's claim to its local port. NetBSD's rules about who
// may have a port are kept here; the engine is told that everybody shares ports
// with everybody, and minds only two connections of the same two ends. The lock
// of the table guards it.
type tcpPort struct {
	portHolder
	ep *tcp.Endpoint
	// owner is the socket, but of connections that were never bound.
	owner *tcpSocket
	// end is the socket once it is connected, or about to be.
	end *tcpSocket
	// closed says that the program has closed the socket.
	closed bool
}

// claimTCP adds a claim to a port, unless others are in its way: EADDRINUSE.
func (t *socketTable) claimTCP(h portHolder, ep *tcp.Endpoint) (*tcpPort, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := t.tcpHolders(h.local.port)
	at := func(i int) portHolder { return list[i].portHolder }
	if i := conflict(h.family, h.local.addr, h.device, isWild(h.options), len(list), at); i >= 0 && !at(i).shares(h.options, h.local.addr) {
		return nil, netbsd.EADDRINUSE
	}
	return t.holdTCP(h, ep), nil
}

// addTCP adds the claim of a connection that the engine has found a port for.
func (t *socketTable) addTCP(h portHolder, ep *tcp.Endpoint) *tcpPort {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.holdTCP(h, ep)
}

func (t *socketTable) holdTCP(h portHolder, ep *tcp.Endpoint) *tcpPort {
	p := &tcpPort{portHolder: h, ep: ep}
	t.tcp[h.local.port] = append(t.tcp[h.local.port], p)
	return p
}

// tcpHolders gives the claims to a port. Those of connections that have ended are
// dropped.
func (t *socketTable) tcpHolders(port uint16) []*tcpPort {
	list := slices.DeleteFunc(t.tcp[port], func(p *tcpPort) bool { return isOver(p.ep) })
	if len(list) == 0 {
		delete(t.tcp, port)
	} else {
		t.tcp[port] = list
	}
	return list
}

// updateTCP changes a claim, but not its port.
func (t *socketTable) updateTCP(p *tcpPort, change func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change()
}

// closedTCP tells whether the program has closed the socket of an endpoint.
func (t *socketTable) closedTCP(port uint16, ep *tcp.Endpoint) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	i := slices.IndexFunc(t.tcp[port], func(p *tcpPort) bool { return p.ep == ep })
	return i >= 0 && t.tcp[port][i].closed
}

// releaseTCP ends a claim.
func (t *socketTable) releaseTCP(p *tcpPort) {
	t.mu.Lock()
	defer t.mu.Unlock()
	port := p.local.port
	list := slices.DeleteFunc(t.tcp[port], func(other *tcpPort) bool { return other == p })
	if len(list) == 0 {
		delete(t.tcp, port)
	} else {
		t.tcp[port] = list
	}
}

// holder is the socket in the matter of ports, with an address; so.mu is held.
func (so *tcpSocket) holder(local endpoint) portHolder {
	return portHolder{
		family: so.family, dual: so.family == netbsd.AF_INET6 && so.ip6.flags&in6pV6Only == 0,
		local: local, remote: so.remote, options: so.options, device: so.boundNIC(),
	}
}
