package inet

import (
	"net/netip"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"

	"rumptools/internal/kernel"
	"rumptools/pkg/netbsd"
)

// Connect implements [kernel.Socket].
func (so *tcpSocket) Connect(sa []byte) error {
	so.mu.Lock()
	so.sync()
	switch {
	case so.phase == tcpListening:
		so.mu.Unlock()
		return netbsd.EOPNOTSUPP
	case so.phase == tcpConnecting:
		so.mu.Unlock()
		return netbsd.EALREADY
	case so.connected:
		so.mu.Unlock()
		return netbsd.EISCONN
	case so.phase != tcpIdle:
		so.mu.Unlock()
		return netbsd.EINVAL
	}
	so.mu.Unlock()
	remote, nic, err := so.route(sa)
	so.mu.Lock()
	defer so.mu.Unlock()
	if so.phase != tcpIdle || so.closed {
		return netbsd.EINVAL
	}
	if err == nil {
		err = so.start(remote, nic)
	}
	if err != netbsd.EINPROGRESS && !so.isBound() {
		// The kernel gives the socket a port before it looks at the
		// address.
		_ = so.bindAny(netip.Addr{})
	}
	return err
}

// route checks where to connect to, and finds the interface to do it by. It is
// called without so.mu.
func (so *tcpSocket) route(sa []byte) (remote endpoint, nic tcpip.NICID, err error) {
	s := so.stack
	switch {
	case len(sa) != sizeofSockaddr(so.family):
		return remote, 0, netbsd.EINVAL
	case saFamily(sa) != so.family:
		return remote, 0, netbsd.EAFNOSUPPORT
	}
	if remote, err = so.parse(sa); err != nil {
		return remote, 0, err
	}
	so.mu.Lock()
	local, v6only := so.local.addr, so.ip6.flags&in6pV6Only != 0
	dontRoute := so.options&netbsd.SO_DONTROUTE != 0
	so.mu.Unlock()
	switch {
	case remote.port == 0, unmapped(remote.addr).IsMulticast():
		return remote, 0, netbsd.EADDRNOTAVAIL
	case !remote.addr.IsValid() && so.family == netbsd.AF_INET:
		if remote.addr = s.firstAddr4(false); !remote.addr.IsValid() {
			return remote, 0, netbsd.EADDRNOTAVAIL
		}
	case so.family == netbsd.AF_INET && remote.addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}) && so.boundNIC() == 0:
		if b := s.firstAddr4(true); b.IsValid() {
			remote.addr = b
		}
	case !remote.addr.IsValid():
		remote.addr = netip.IPv6Loopback()
	case remote.addr.Is4In6() && (v6only || local.IsValid() && !local.Is4In6()),
		so.family == netbsd.AF_INET6 && !remote.addr.Is4In6() && local.Is4In6():
		return remote, 0, netbsd.EINVAL
	}
	dst := unmapped(remote.addr)
	if dst.Is4() && (!local.IsValid() || isAny(unmapped(local))) {
		if _, err := s.selectSource4(dst, dontRoute, so.boundNIC()); err != nil {
			return remote, 0, err
		}
	}
	r, err := s.findRoute(sendPath{dst: dst, device: so.boundNIC(), dontRoute: dontRoute && dst.Is4()})
	if err != nil {
		return remote, 0, err
	}
	defer r.Release()
	if r.IsOutboundBroadcast() {
		return remote, 0, netbsd.EACCES
	}
	return remote, r.NICID(), nil
}

// start begins to connect; so.mu is held.
func (so *tcpSocket) start(remote endpoint, nic tcpip.NICID) error {
	if so.local.addr.IsValid() && !isAny(unmapped(so.local.addr)) {
		// The engine has tied the endpoint to one of the interfaces with
		// its address: not necessarily to the one that leads to the peer.
		if err := so.renewEndpoint(nic); err != nil {
			return err
		}
	}
	err := so.ep.Connect(tcpip.FullAddress{NIC: nic, Addr: engineAddr(remote.addr), Port: remote.port})
	switch err.(type) {
	case *tcpip.ErrConnectStarted:
	case *tcpip.ErrBadLocalAddress:
		return netbsd.EADDRINUSE // another connection has the same two ends
	default:
		return tcpErrno(err)
	}
	so.anonPort = so.anonPort || so.local.port == 0
	so.remote = remote
	so.local = so.address(so.ep.GetLocalAddress())
	so.hold()
	so.phase = tcpConnecting
	so.connTimer = time.AfterFunc(so.opt.keepInit, so.connectTimeout)
	return netbsd.EINPROGRESS
}

// renewEndpoint gives a socket that is bound a fresh endpoint, on an interface if nic is not 0; so.mu is
// held.
func (so *tcpSocket) renewEndpoint(nic tcpip.NICID) error {
	so.ep.Close()
	so.wq.EventUnregister(&so.entry)
	if err := so.newEndpoint(); err != nil {
		return err
	}
	so.stack.sockets.updateTCP(so.port, func() { so.port.ep = so.ep })
	return so.bindEndpoint(so.local, nic)
}

// hold tells the table the addresses of the connection; so.mu is held.
func (so *tcpSocket) hold() {
	t := &so.stack.sockets
	h := so.holder(so.local)
	if so.port == nil {
		so.port = t.addTCP(h, so.ep)
	}
	t.updateTCP(so.port, func() { so.port.portHolder, so.port.end = h, so })
}

// address gives an endpoint's address in the kernel's form.
func (so *tcpSocket) address(a tcpip.FullAddress, _ tcpip.Error) endpoint {
	addr := netipAddr(a.Addr)
	if so.family == netbsd.AF_INET6 && addr.Is4() {
		addr = mappedAddr(addr)
	}
	return endpoint{netbsd.EmbedScope(normal(addr), uint32(a.NIC)), a.Port}
}

// connectTimeout ends an attempt to connect that took too long.
func (so *tcpSocket) connectTimeout() {
	so.mu.Lock()
	so.sync()
	if so.phase == tcpConnecting {
		so.err = netbsd.ETIMEDOUT
		so.drop()
	}
	so.mu.Unlock()
	so.Wake(kernel.Changed)
}

// drop ends the socket's control block; so.mu is held.
func (so *tcpSocket) drop() {
	so.stopTimer()
	so.phase, so.connected, so.cantSend, so.cantRecv = tcpGone, false, true, true
	so.ep.Close()
}

// ConnectResult implements [kernel.Socket].
func (so *tcpSocket) ConnectResult() error {
	so.mu.Lock()
	defer so.mu.Unlock()
	so.sync()
	if so.phase == tcpConnecting {
		return netbsd.EINPROGRESS
	}
	return so.takeError()
}

// Settling implements [kernel.Settler]: a connection to an address of this host
// stands when the listener has its end, which one that waits for data (TCPDeferAccept) has
// only later. A listener that is full does not answer.
func (so *tcpSocket) Settling() bool {
	so.mu.Lock()
	so.sync()
	phase, local, remote, passive := so.phase, so.local, so.remote, so.passive
	so.mu.Unlock()
	switch {
	case passive, !so.stack.isLocal(unmapped(remote.addr)):
		return false
	case phase == tcpConnecting:
		return !so.stack.sockets.fullTCP(remote)
	}
	return phase == tcpConnected && !so.stack.sockets.acceptedTCP(local, remote)
}

// hasTCP tells whether one end of a connection is known.
func (t *socketTable) hasTCP(local, remote endpoint) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, p := range t.tcp[local.port] {
		if p.remote.port == remote.port && unmapped(p.remote.addr) == unmapped(remote.addr) {
			return true
		}
	}
	return false
}

// acceptedTCP tells whether there is the other end of a connection from one own
// address to another, once the listeners have been asked for it.
func (t *socketTable) acceptedTCP(from, to endpoint) bool {
	if t.hasTCP(to, from) {
		return true
	}
	hidden := false
	for _, l := range t.listenersTCP(to.port) {
		l.mu.Lock()
		l.drain()
		// It may be the one that the engine has, which does not tell.
		hidden = hidden || l.waiting() > len(l.queue) || l.opt.deferAccept != 0
		l.mu.Unlock()
	}
	return t.hasTCP(to, from) || hidden
}

// listenersTCP are the sockets without a peer on a port, those that are only bound among them.
func (t *socketTable) listenersTCP(port uint16) (listeners []*tcpSocket) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, p := range t.tcp[port] {
		if p.owner != nil && p.remote == (endpoint{}) {
			listeners = append(listeners, p.owner)
		}
	}
	return listeners
}

// fullTCP tells whether there are listeners on a port, and all have as many connections as they
// may.
func (t *socketTable) fullTCP(to endpoint) bool {
	full := false
	for _, l := range t.listenersTCP(to.port) {
		l.mu.Lock()
		l.drain()
		listens, room := l.phase == tcpListening, l.room() > 0 && l.waiting() <= l.most()
		l.mu.Unlock()
		switch {
		case listens && room:
			return false
		case listens:
			full = true
		}
	}
	return full
}
