//go:build amd64 || arm64

package hijack

import (
	"golang.org/x/sys/unix"
)

// complain tells the program of an error: S is readable, and its next call fails.
func (x *socket) complain(e unix.Errno) {
	if e == unix.EMSGSIZE && x.inner == nil && x.refusesTooLong() && !x.queuesErrors() {
		// S could have a reset only, which says that all is over. Who looks for the MTU of
		// a path takes a datagram that is lost for one that was too long.
		x.s.say("%v", e)
		return
	}
	x.queueError(e)
	x.tell(e)
}

// tell makes an error the program's next: S is readable, and a call fails.
func (x *socket) tell(e unix.Errno) {
	if x.inner != nil {
		x.fail(e)
		return
	}
	x.pend(e)
	x.show()
}

// refusesTooLong tells whether datagrams that are too long are to fail.
func (x *socket) refusesTooLong() bool {
	x.optMu.Lock()
	defer x.optMu.Unlock()
	return x.opts.RefusesTooLong()
}

// show makes the error that waits one of S's, too, as far as it can be.
func (x *socket) show() {
	x.mu.Lock()
	k, path, forwarded := x.k, x.path, x.k == x.lending.forwarded
	x.mu.Unlock()
	switch {
	case k == nil:
		if x.queuesErrors() {
			go x.turnFrom(path) // the caller may have the gate
		}
	case forwarded:
		k.stopReading() // forward goes on in turnAway
	default:
		x.turnAway(k, path)
	}
}

// turnAway makes the error that waits one of S's, too, for poll(2) and for calls that
// are the host's own: K turns away from S while it holds a datagram of S's, which is
// ECONNRESET there. What S has sent before is not lost.
func (x *socket) turnAway(k *kept, path string) {
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
			unix.Sendto(s, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, nil)
		}
		disconnect(fd)
		unix.Connect(fd, &unix.SockaddrUnix{Name: path})
	})
	k.resumeReading()
	for _, b := range rest {
		x.sendDatagram(b, nil, 0, noControl)
	}
}

// turnFrom is turnAway for an S that is not connected: it is for a moment, to a socket that
// turns away from it. What has come to S, which would be lost with that, is put there again.
func (x *socket) turnFrom(path string) {
	x.lending.gate.Lock()
	defer x.lending.gate.Unlock()
	x.mu.Lock()
	k, origins := x.k, x.origins
	x.mu.Unlock()
	s, found := x.borrow()
	if !found {
		return
	}
	defer unix.Close(s)
	if k != nil || origins == nil || !x.hasError() {
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
		if from, control, ok := x.kernelOrigin(from); ok {
			came = append(came, datagram{b[:n], from, control})
		}
	}
	if x.hasError() { // the program has not been told meanwhile
		unix.Sendto(s, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, nil)
		disconnect(fd)
	}
	disconnect(s)
	for _, d := range came {
		x.put(origins, path, d.data, d.from, d.control)
	}
}
