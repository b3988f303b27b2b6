//go:build amd64 || arm64

package hijack

import (
	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/innernet"
	"rumptools/internal/hijack/linuxsock"
)

// disconnect ends the association of a socket for datagrams of the host's.
func disconnect(fd int) { innernet.Disconnect(fd) }

// giveUpConnection is connect(2) to nobody of a stream that has a connection, or an attempt that goes on: that is reset, and the socket
// is as a new one, with the address that it was bound to. A local socket cannot give up its peer: the program gets a TCP socket of the inner network that
// has done so, as with a refusal. Where another process has S, too, it is EISCONN. x.op is held.
func (x *socket) giveUpConnection(t *trap) unix.Errno {
	net := t.s.innerNet()
	if net == nil || x.heldElsewhere(t.TID) {
		return unix.EISCONN
	}
	fd, err := net.Disconnected()
	if err != nil {
		return errnoOf(err)
	}
	x.mu.Lock()
	state, ks, k := x.state, x.ks, x.k
	if a := x.attempt; state == connecting && a != nil && a.async != nil {
		ks, a.failed = a.ks, unix.ECONNRESET
	} else if state != connected {
		ks = nil
	}
	if ks == nil || k == nil {
		x.mu.Unlock()
		unix.Close(fd)
		return unix.EISCONN // a pair, or it has broken at this moment
	}
	x.ks, x.k, x.carrier, x.peer, x.attempt, x.untold = nil, nil, nil, nil, nil, false
	x.beginAgain()
	bound := x.state
	x.state = dead // until the program has another S
	x.mu.Unlock()
	if name, err := ks.Getsockname(); err == nil && bound == fresh {
		// It shows the port, which it has no longer.
		if ap, ok := linuxsock.Addr(x.linuxAddr(name)); ok {
			x.mu.Lock()
			x.lastName = x.noAddr()
			copy(x.lastName[2:4], []byte{byte(ap.Port() >> 8), byte(ap.Port())})
			x.mu.Unlock()
		}
	}
	ks.Abort()
	k.close() // who waits in S has ECONNRESET
	x.delivered()
	if err := x.swap(t, fd); err != nil {
		return errnoOf(err)
	}
	x.mu.Lock()
	x.state, x.shows, x.shut = bound, true, false
	x.mu.Unlock()
	return 0
}
