//go:build amd64 || arm64

package hijack

import (
	"golang.org/x/sys/unix"
)

func (l *local) tell(e unix.Errno) {
	x := l.x
	if e == unix.EMSGSIZE && x.refusesTooLong() && !x.queuesErrors() {
		// S could have a reset only, which says that all is over. Who looks for the MTU of
		// a path takes a datagram that is lost for one that was too long.
		x.s.say("%v", e)
		return
	}
	x.pend(e)
	l.show()
}

func (l *local) takeError(host int) unix.Errno {
	hostError(host) // it is the same, only less exact
	return l.x.takeError()
}

func (l *local) showQueue(int) {} // S has no queue

func (l *local) takeQueued(host int) (entry errorEntry, ok bool) {
	x := l.x
	if entry, ok = x.nextError(); !ok {
		return entry, false
	}
	// It is told with that.
	hostError(host)
	x.mu.Lock()
	next := unix.Errno(0)
	if len(x.errors) > 0 {
		next = x.errors[0].Errno
	}
	x.mu.Unlock()
	if x.pend(next); next != 0 {
		l.show()
	}
	return entry, true
}

// show makes the error that waits one of S's, too, as far as it can be.
func (l *local) show() {
	x := l.x
	x.mu.Lock()
	k, forwarded := x.k, x.k == x.lending.forwarded
	x.mu.Unlock()
	switch {
	case k == nil:
		if x.queuesErrors() {
			go l.turnFrom() // the caller may have the gate
		}
	case forwarded:
		k.stopReading() // forward goes on in turnAway
	default:
		x.turnAway(k)
	}
}

// turnAway makes the error that waits one of S's, too, for poll(2) and for calls that
// are the host's own: K turns away from S while it holds a datagram of S's, which is
// ECONNRESET there. What S has sent before is not lost. Where forward
// does it S is local, too: nothing else interrupts forward but what ends it.
func (x *socket) turnAway(k *kept) {
	x.mu.Lock()
	path := x.path
	x.mu.Unlock()
	s, found := x.borrow()
	if found {
		defer unix.Close(s)
	}
	var rest [][]byte
	k.control(func(fd int) {
		for {
			b := make([]byte, maxDatagram)
			n, _, err := unix.Recvfrom(fd, b, unix.MSG_DONTWAIT)
			if err != nil {
				break
			}
			rest = append(rest, b[:n])
		}
		if found {
			fillTurning(s)
		}
		disconnect(fd)
		unix.Connect(fd, &unix.SockaddrUnix{Name: path})
	})
	k.resumeReading()
	for _, b := range rest {
		x.sendDatagram(b, nil, 0, noControl)
	}
}

// fillTurning has S send the datagram that who turns away from it holds then. An error that S has already, and the program has
// not been told, is this call's first: another takes its place.
func fillTurning(s int) {
	for {
		err := unix.Sendto(s, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, nil)
		if err != unix.ECONNRESET && err != unix.EINTR {
			return
		}
	}
}

// turnFrom is turnAway for an S that is not connected: it is for a moment, to a socket that
// turns away from it. What has come to S, which would be lost with that, is put there again.
func (l *local) turnFrom() {
	x := l.x
	x.lending.gate.Lock()
	defer x.lending.gate.Unlock()
	x.mu.Lock()
	k, path := x.k, x.path
	x.mu.Unlock()
	s, found := x.borrow()
	if !found {
		return
	}
	defer unix.Close(s)
	if k != nil || !x.hasError() {
		return
	}
	// Nobody else may send to S now.
	x.takeBack()
	fd, name, err := connectedTo(path)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if unix.Connect(s, &unix.SockaddrUnix{Name: name}) != nil {
		return
	}
	type datagram struct{ data, from, control []byte }
	var came []datagram
	for {
		b := make([]byte, maxDatagram)
		n, from, err := unix.Recvfrom(s, b, unix.MSG_DONTWAIT)
		if err == unix.EINTR || err == unix.ECONNRESET { // of the error before
			continue
		}
		if err != nil {
			break
		}
		if from, control, ok := l.kernelOrigin(from); ok {
			came = append(came, datagram{b[:n], from, control})
		}
	}
	if x.hasError() { // the program has not been told meanwhile
		fillTurning(s)
		disconnect(fd)
	}
	disconnect(s)
	for _, d := range came {
		l.put(d.data, d.from, d.control)
	}
}
