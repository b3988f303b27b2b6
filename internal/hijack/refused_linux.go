//go:build amd64 || arm64

package hijack

import (
	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/innernet"
)

// A local socket has no error but a reset. Where a connect that does not wait was refused, the program gets a TCP socket in
// the place of S whose own connect was refused in the inner network (innernet.Refused), which says of that what TCP says:
// poll(2), read(2) and write(2), too, which are not trapped. It takes a call that is, for a descriptor is put into a process
// while one of its threads waits for an answer. The next connect(2) puts a local socket in its place again.

// refused answers a connect that does not wait and was refused at once: it says that it goes on. It tells whether S can show
// the refusal.
func (t *trap) refused(a *attempt) bool {
	x := t.sock
	x.op.Lock()
	defer x.op.Unlock()
	if !x.awaits(a) || !x.showRefusal(t) {
		return false
	}
	x.mu.Lock()
	x.untold = a
	x.mu.Unlock()
	return true
}

// showRefused has S show a refusal that came while nothing was trapped, unless the program has been told of it already. Those
// who want to know what became of a connect ask for the peer first, and then read to have the error.
func (x *socket) showRefused(t *trap) {
	x.op.Lock()
	defer x.op.Unlock()
	// Unless a call of the host's has told it.
	x.toldByHost(t.host)
	x.mu.Lock()
	local := x.state == dead && x.condition != speaking
	x.mu.Unlock()
	x.optMu.Lock()
	refused := x.opts.Pending == unix.ECONNREFUSED
	x.optMu.Unlock()
	if local && refused && x.showRefusal(t) {
		x.pend(0)
	}
}

// showRefusal puts a TCP socket that was refused in the place of S, and tells whether it has. x.op is held.
func (x *socket) showRefusal(t *trap) bool {
	net := t.s.innerNet()
	if net == nil {
		return false
	}
	// What another process has of S would stay as it is.
	if x.heldElsewhere(t.TID) {
		return false
	}
	fd, err := net.Refused()
	if err == nil {
		err = x.swap(t, fd)
	}
	if err != nil {
		t.s.say("%d: a refusal as a reset: %v", t.TID, err)
		return false
	}
	x.mu.Lock()
	was := x.leave(dead, speaking)
	x.mu.Unlock()
	was.close()
	return true
}

// tellRefusal is connect(2) to a socket that shows a refusal: the first time it tells that the attempt has ended, and then the
// socket can be connected again.
func (x *socket) tellRefusal(host int) unix.Errno {
	e := errnoOf(innernet.AgainRefused(host))
	x.mu.Lock()
	x.beginAgain(speaking)
	x.mu.Unlock()
	return e
}
