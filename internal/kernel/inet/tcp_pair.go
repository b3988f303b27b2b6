package inet

import "rumptools/internal/kernel"

// Pairing implements [kernel.Pairer].
func (so *tcpSocket) Pairing() *kernel.Pairing { return &so.pairing }

// PairMate implements [kernel.Pairer].
func (so *tcpSocket) PairMate() kernel.Pairer {
	if mate := so.mate(); mate != nil {
		return mate
	}
	return nil
}

// mate is the socket of the connection's other end, nil when it has none here. The ends have the
// same addresses the other way round, also when one of them is of an IPv6 socket.
func (so *tcpSocket) mate() *tcpSocket {
	so.mu.Lock()
	local, remote := so.local, so.remote
	so.mu.Unlock()
	if mate := so.stack.sockets.endTCP(remote, local); mate != so {
		return mate
	}
	return nil
}

// endTCP finds the socket of the end of a connection, nil when it has none here.
func (t *socketTable) endTCP(local, remote endpoint) *tcpSocket {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, p := range t.tcp[local.port] {
		if p.end != nil && p.local.is(local) && p.remote.is(remote) {
			return p.end
		}
	}
	return nil
}

// is tells whether two ends are the same one of IPv4 or of IPv6.
func (e endpoint) is(other endpoint) bool {
	return e.port == other.port && unmapped(e.addr) == unmapped(other.addr)
}
