//go:build amd64 || arm64

package hijack

import (
	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
)

// Errors of datagrams are queued for programs that ask for it (IP_RECVERR in ip(7)).
// NetBSD tells only that there was one, of sockets that are connected: it is taken for
// one of the datagram that was sent last.

// errorEntry is an error in the queue.
type errorEntry struct {
	errno unix.Errno
	data  []byte // of the datagram
	to    []byte // whom it was for, Linux's address
}

const (
	maxErrors    = 64
	maxErrorData = 576 // as much as an ICMP message quotes
)

// remember keeps the datagram that is sent, for its error.
func (x *socket) remember(data, to []byte) {
	x.optMu.Lock()
	want := x.opts.ErrorQueue()
	x.optMu.Unlock()
	if !want {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.lastSent = append(x.lastSent[:0], data[:min(len(data), maxErrorData)]...)
	if x.lastTo = x.peer; to != nil {
		x.lastTo = x.linuxAddr(to)
	}
}

// queueError puts an error into the queue.
func (x *socket) queueError(e unix.Errno) {
	x.optMu.Lock()
	want := x.opts.ErrorQueue()
	x.optMu.Unlock()
	if !want {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.errors) < maxErrors {
		x.errors = append(x.errors, errorEntry{e, append([]byte(nil), x.lastSent...), x.lastTo})
	}
}

// receiveError is recvmsg(2) with MSG_ERRQUEUE.
func (t *trap) receiveError(m *message) (int, unix.Errno) {
	x := t.sock
	x.mu.Lock()
	if len(x.errors) == 0 {
		x.mu.Unlock()
		return 0, unix.EAGAIN
	}
	entry := x.errors[0]
	x.errors = x.errors[1:]
	x.mu.Unlock()
	// It is told with that.
	x.pend(0)
	unix.GetsockoptInt(t.host, unix.SOL_SOCKET, unix.SO_ERROR)
	n := min(len(entry.data), int(min(m.size(), maxDatagram)))
	if e := t.scatter(m, entry.data[:n]); e != 0 {
		return 0, e
	}
	flags := unix.MSG_ERRQUEUE
	if n < len(entry.data) {
		flags |= unix.MSG_TRUNC
	}
	control, cut := linuxsock.ErrorControl(x.opts.Domain, entry.errno, entry.to, int(min(m.controllen, linuxsock.MaxControl)))
	if cut {
		flags |= unix.MSG_CTRUNC
	}
	if e := t.putMessage(m, entry.to, control, flags); e != 0 {
		return 0, e
	}
	return n, 0
}
