//go:build amd64 || arm64

package hijack

import (
	"net/netip"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
	"rumptools/internal/hijack/netview"
	"rumptools/pkg/netbsd"
)

// Errors of datagrams are queued for programs that ask for it (IP_RECVERR in ip(7)). What
// they are to be told is in the messages of ICMP that come to the kernel, which a raw socket hears
// (icmpEar). Without one an error that the kernel tells is taken for one of the datagram that
// was sent last.

// errorEntry is an error in the queue.
type errorEntry struct {
	linuxsock.QueuedError
	data []byte // of the datagram
	to   []byte // whom it was for, Linux's address
	// control are NetBSD's control messages of the packet that told of it.
	control []byte
	// at is when it came into the queue.
	at time.Time
}

const (
	maxErrors    = 64
	maxErrorData = 576 // as much as an ICMP message quotes
)

// queuesErrors tells whether the program asks for a queue of errors.
func (x *socket) queuesErrors() bool {
	x.optMu.Lock()
	defer x.optMu.Unlock()
	return x.opts.ErrorQueue()
}

// hearsErrors tells whether it has a queue, of what the messages of ICMP tell.
func (x *socket) hearsErrors() bool { return x.queuesErrors() && x.s.ear.hears(x.opts.Domain) }

// remember keeps the datagram that is sent, for its error.
func (x *socket) remember(data, to []byte) {
	if !x.queuesErrors() {
		return
	}
	x.s.ear.open(x.opts.Domain)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.lastSent = append(x.lastSent[:0], data[:min(len(data), maxErrorData)]...)
	if x.lastTo = x.peer; to != nil {
		x.lastTo = x.linuxAddr(to)
	}
}

// queueError puts an error that the kernel has told into the queue.
func (x *socket) queueError(e unix.Errno) {
	if !x.queuesErrors() {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.queue(errorEntry{
		QueuedError: linuxsock.GuessedError(x.opts.Domain, e, x.lastTo),
		data:        append([]byte(nil), x.lastSent...),
		to:          x.lastTo,
	})
}

// longestPacket is a length, in bytes with headers, that kernels send a packet of, in fragments.
const longestPacket = 1<<16 - 1

// refusesTooLong tells whether datagrams that are too long are to fail.
func (x *socket) refusesTooLong() bool {
	x.optMu.Lock()
	defer x.optMu.Unlock()
	return x.opts.RefusesTooLong()
}

// queueTooLong puts into the queue that a datagram of size bytes cannot be sent. IPv4 does not get as
// far with one that none of its packets would hold.
func (x *socket) queueTooLong(host int, size uint64, to []byte) {
	inet6 := x.opts.Domain == unix.AF_INET6
	if !x.queuesErrors() || !inet6 && size > longestPacket {
		return
	}
	x.mu.Lock()
	addr := x.peer
	if to != nil {
		addr = x.linuxAddr(to)
	}
	if x.peer == nil && addr != nil && !inet6 {
		addr = append([]byte(nil), addr...)
		addr[2], addr[3] = 0, 0 // the port is that of the peer, of whom there is none
	}
	x.mu.Unlock()
	e := x.tooLong(addr)
	x.mu.Lock()
	x.queue(e)
	x.mu.Unlock()
	x.standIn.showQueue(host)
}

// tooLong is the error of a datagram to an address of Linux's that this host does not send.
func (x *socket) tooLong(to []byte) errorEntry {
	e := errorEntry{
		QueuedError: linuxsock.QueuedError{Errno: unix.EMSGSIZE, Origin: unix.SO_EE_ORIGIN_LOCAL, Info: longestPacket},
		to:          to,
	}
	if dst, ok := linuxsock.Addr(to); ok {
		if mtu, ok := x.mtuTo(dst.Addr()); ok {
			e.Info = uint32(mtu)
		}
	}
	return e
}

// mtuTo asks the kernel how long a packet to an address may be.
func (x *socket) mtuTo(dst netip.Addr) (mtu int, ok bool) {
	index := 0
	if zone := dst.Zone(); zone != "" {
		index, _ = strconv.Atoi(zone)
	}
	path, link, err := netview.PathMTU(x.s.ctx, x.s.view, dst.Unmap().WithZone(""), index)
	x.optMu.Lock()
	defer x.optMu.Unlock()
	return x.opts.MTU(path, link), err == nil
}

// queue puts an error into the queue; x.mu is held.
func (x *socket) queue(e errorEntry) {
	if len(x.errors) < maxErrors {
		e.at = time.Now()
		x.errors = append(x.errors, e)
	}
}

// nextError takes the first error of the queue, whatever S has.
func (x *socket) nextError() (entry errorEntry, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.errors) == 0 {
		return errorEntry{}, false
	}
	entry = x.errors[0]
	x.errors = x.errors[1:]
	return entry, true
}

// stamped are control and the time, which Linux tells first. Of what was never in our queue it is that of now.
func (e *errorEntry) stamped(m *netbsd.Machine) []byte {
	at := e.at
	if at.IsZero() {
		at = time.Now()
	}
	tv := netbsd.TimevalAt(at)
	return append(netbsd.AppendCmsg(m, nil, netbsd.SOL_SOCKET, netbsd.SCM_TIMESTAMP, netbsd.Marshal(m, &tv)), e.control...)
}

// receiveError is recvmsg(2) with MSG_ERRQUEUE.
func (t *trap) receiveError(m *message) (int, unix.Errno) {
	x := t.sock
	entry, ok := x.standIn.takeQueued(t.host)
	if !ok {
		return 0, unix.EAGAIN
	}
	n := min(len(entry.data), int(min(m.size(), maxDatagram)))
	if e := t.scatter(m, entry.data[:n]); e != 0 {
		return 0, e
	}
	flags := unix.MSG_ERRQUEUE
	if n < len(entry.data) {
		flags |= unix.MSG_TRUNC
	}
	room := int(min(m.controllen, linuxsock.MaxControl))
	x.optMu.Lock()
	control, cut := x.opts.FromControl(x.s.machine, entry.stamped(x.s.machine), linuxsock.Incoming{}, room)
	x.optMu.Unlock()
	control, cut2 := linuxsock.ErrorControl(control, x.opts.Domain, entry.QueuedError, room)
	if cut || cut2 {
		flags |= unix.MSG_CTRUNC
	}
	if e := t.putMessage(m, entry.to, control, flags); e != 0 {
		return 0, e
	}
	return n, 0
}
