//go:build amd64 || arm64

package hijack

import (
	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/innernet"
)

// disconnect ends the association of a socket for datagrams of the host's.
func disconnect(fd int) { innernet.Disconnect(fd) }

// disconnect is connect(2) to nobody of a stream. x.op is held.
func (x *socket) disconnect(t *trap) unix.Errno {
	x.mu.Lock()
	state, condition := x.state, x.condition
	if condition == speaking {
		x.beginAgain(speaking)
	}
	x.mu.Unlock()
	switch {
	case condition == speaking:
		return errnoOf(innernet.Disconnect(t.host)) // it can do that itself
	case state == connecting:
		e := x.giveUpConnection(t)
		if e == unix.EISCONN {
			e = unix.EALREADY // it goes on
		}
		return e
	case state == connected:
		e := x.giveUpConnection(t)
		if e == unix.EISCONN && !x.isConnected() {
			return x.disconnect(t) // it has just ended by itself
		}
		return e
	case state == listening:
		return x.stopListening(t)
	case state == broken || state == completed:
		if x.heldElsewhere(t.TID) {
			return unix.EISCONN
		}
		x.toldByHost(t.host)
		if net := t.s.innerNet(); x.hasError() && net != nil {
			// The program is still told that.
			fd, err := net.Disconnected()
			if err != nil {
				return errnoOf(err)
			}
			return x.speak(t, fd)
		}
		return x.replace(t)
	case condition != usable:
		return x.replace(t)
	}
	return 0
}

func (x *socket) isConnected() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.state == connected
}

// giveUpConnection is connect(2) to nobody of a stream that has a connection, or an attempt that goes on: that is reset, and the socket
// is as a new one, with the address that it was bound to. A local socket cannot give up its peer: the program gets a TCP socket of the inner network that
// has done so, as with a refusal. Where another process has S, too, it is EISCONN. An attempt that only other threads wait for is given
// up without that. x.op is held.
func (x *socket) giveUpConnection(t *trap) unix.Errno {
	x.mu.Lock()
	a, c := x.attempt, x.connection
	x.mu.Unlock()
	x.sockname() // its port is told afterwards, too
	if a != nil && c == nil {
		was := x.endAttempt(a, unix.ECONNRESET, usable) // S has nothing of it yet
		a.ks.Abort()
		was.close()
		return 0
	}
	net := t.s.innerNet()
	if net == nil || x.heldElsewhere(t.TID) {
		return unix.EISCONN
	}
	fd, err := net.Disconnected()
	if err != nil {
		return errnoOf(err)
	}
	x.mu.Lock()
	if x.connection == nil || x.state == broken {
		x.mu.Unlock()
		unix.Close(fd)
		return unix.EISCONN // a pair, or it has broken at this moment
	}
	size := 0
	if a != nil {
		a.failed, size = unix.ECONNRESET, a.size
	}
	was := x.leave(dead, failing) // until the program has another S
	x.untold = nil
	x.mu.Unlock()
	c.ks.Abort()
	was.close() // who waits in S has ECONNRESET
	if size > 0 {
		// The other S is to have what the program has seen of this one.
		setSendBuffer(t.host, size)
	}
	return x.speak(t, fd)
}

// speak puts a TCP socket of the inner network that has just been disconnected in the place of S. x.op is held.
func (x *socket) speak(t *trap, fd int) unix.Errno {
	if err := x.swap(t, fd); err != nil {
		x.retrack() // it has no peer
		return errnoOf(err)
	}
	x.pend(0)
	x.mu.Lock()
	x.beginAgain(speaking)
	x.mu.Unlock()
	return 0
}
