package spclient

import (
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// An ioSide is one direction of a netFD.
type ioSide struct {
	// lock lets one operation at a time.
	lock   sync.Mutex
	filter uint32
	// counts is that events tell how many bytes there are to read: those of TCP
	// connections. Of listeners, ones is that they tell of connections.
	counts, ones bool
	// once is that each wait asks for an event anew.
	once bool
	// full is, under lock, that the last call wrote a part: the next one would say
	// EAGAIN at once.
	full bool
	// wake has a value when there is a reason to look again: an event, a
	// deadline, the end.
	wake chan struct{}

	// Guarded by the netpoll's lock: the kqueue that knows the direction, why a
	// wait failed, whether somebody waits who has not been woken by an event, and
	// the last event.
	epoch uint32
	err   error
	waits bool
	last  lastEvent

	// deadline is a time in nanoseconds after clockStart, 0 for none.
	deadline atomic.Int64
	// calls is odd while a call is under way.
	calls   atomic.Uint32
	timerMu sync.Mutex
	timer   *time.Timer
}

// A lastEvent is what is known of a direction since its last event. It spares reads
// that would say EAGAIN: when all bytes that the event told of have been read, by
// calls that were made after it, and it did not tell of the end, then whatever else
// has come since, the end included, is an event that is still to come. How much a call
// returned of what it asked for says nothing of the kind: the end may have come with
// the last bytes, and its event before them.
type lastEvent struct {
	// count numbers events, and other reasons to look.
	count uint32
	// looked is that a call has been made after it.
	looked bool
	// ended is that it told of the end, or is not known.
	ended bool
	// bytes are those that it told of and have not been read.
	bytes int64
}

// tell notes an event, and look a reason to look that is none; the netpoll's lock is
// held.
func (e *lastEvent) tell(bytes int64, ended bool) {
	*e = lastEvent{count: e.count + 1, ended: ended, bytes: bytes}
}

func (e *lastEvent) look() { e.tell(0, true) }

// begin is called before a read and tells whether that would find nothing; done
// takes what it found, for the number that begin returned.
func (e *lastEvent) begin() (count uint32, nothing bool) {
	if e.looked && !e.ended && e.bytes <= 0 {
		return 0, true
	}
	e.looked = true
	return e.count, false
}

func (e *lastEvent) done(count uint32, n int64) {
	if e.count == count {
		e.bytes -= n
	}
}

// clockStart is what deadlines count from.
var clockStart = time.Now()

// expired tells whether the deadline has passed.
func (w *ioSide) expired() bool {
	d := w.deadline.Load()
	return d != 0 && int64(time.Since(clockStart)) >= d
}

// ready says why an operation can't go on, or nil.
func (fd *netFD) ready(w *ioSide) error {
	switch {
	case fd.closed.Load():
		return net.ErrClosed
	case w.expired():
		return os.ErrDeadlineExceeded
	}
	return nil
}

// transfer makes a call until the kernel has more to say than EAGAIN. w.lock is
// held.
func (fd *netFD) transfer(w *ioSide, build func() *Call) (reply sysproxy.SyscallReply, err error) {
	if w.full {
		w.full = false
		if err = fd.ready(w); err == nil {
			err = fd.wait(w, nil)
		}
		if err != nil {
			return reply, err
		}
	}
	for {
		// What was there before is seen by the call.
		select {
		case <-w.wake:
		default:
		}
		if err = fd.ready(w); err != nil {
			return reply, err
		}
		event, nothing := fd.beginRead(w)
		if nothing {
			if err = fd.wait(w, nil); err != nil {
				return reply, err
			}
			continue
		}
		reply, err = fd.attempt(w, build)
		switch {
		case err == nil && w.counts:
			n := int64(min(reply.Retval[0], 1<<32))
			if w.ones {
				n = 1
			}
			fd.doneRead(w, event, n)
			return reply, nil
		case err == netbsd.EAGAIN:
		case err == netbsd.EINTR:
			continue
		default:
			return reply, err
		}
		if err = fd.wait(w, nil); err != nil {
			return reply, err
		}
	}
}

// beginRead is lastEvent.begin, and doneRead lastEvent.done.
func (fd *netFD) beginRead(w *ioSide) (event uint32, nothing bool) {
	if !w.counts {
		return 0, false
	}
	p := &fd.s.net
	p.mu.Lock()
	defer p.mu.Unlock()
	return w.last.begin()
}

func (fd *netFD) doneRead(w *ioSide, event uint32, n int64) {
	p := &fd.s.net
	p.mu.Lock()
	defer p.mu.Unlock()
	w.last.done(event, n)
}

// attempt makes a call once. One that is under way at the deadline may take its
// time to be answered.
func (fd *netFD) attempt(w *ioSide, build func() *Call) (reply sysproxy.SyscallReply, err error) {
	if err := fd.begin(); err != nil {
		return reply, err
	}
	defer fd.end()
	w.calls.Add(1)
	defer w.calls.Add(1)
	if w.expired() {
		return reply, os.ErrDeadlineExceeded
	}
	reply, err = fd.call(build)
	if err == errOverdue && w.expired() {
		err = os.ErrDeadlineExceeded
	}
	return reply, err
}

// setDeadline sets when operations in a direction end; the zero Time is never.
func (fd *netFD) setDeadline(w *ioSide, t time.Time) error {
	if fd.closed.Load() {
		return net.ErrClosed
	}
	w.timerMu.Lock()
	defer w.timerMu.Unlock()
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
	if t.IsZero() {
		w.deadline.Store(0)
		return nil
	}
	now := time.Since(clockStart)
	d := time.Until(t)
	w.deadline.Store(max(1, int64(now+min(d, 1<<62-now))))
	if d <= 0 {
		fd.expire(w)
	} else {
		w.timer = time.AfterFunc(d, func() { fd.expire(w) })
	}
	return nil
}

// expire ends the operation that is under way, at its deadline.
func (fd *netFD) expire(w *ioSide) {
	w.kick()
	if n := w.calls.Load(); n%2 == 1 {
		time.AfterFunc(answerTime, func() {
			if w.calls.Load() == n {
				fd.stop.cancel()
			}
		})
	}
}

func (fd *netFD) setDeadlines(t time.Time) error {
	err := fd.setDeadline(&fd.rd, t)
	if err2 := fd.setDeadline(&fd.wr, t); err == nil {
		err = err2
	}
	return err
}

// read reads from a stream, or one message into p.
func (fd *netFD) read(p []byte) (int, error) {
	fd.rd.lock.Lock()
	defer fd.rd.lock.Unlock()
	if len(p) == 0 && fd.stream() {
		return 0, fd.ready(&fd.rd)
	}
	p = p[:min(len(p), fd.most())]
	reply, err := fd.transfer(&fd.rd, func() *Call {
		return fd.newCall(netbsd.SYS_recvfrom).Out(p).Word(uint64(len(p))).Int(0).Ptr(0).Ptr(0)
	})
	if err != nil {
		return 0, wrapErrno("recvfrom", err)
	}
	n := int(min(reply.Retval[0], uint64(len(p))))
	if n == 0 && fd.stream() {
		return 0, io.EOF
	}
	return n, nil
}

// stream tells whether a result of no bytes is the end.
func (fd *netFD) stream() bool {
	return fd.typ == netbsd.SOCK_STREAM || fd.typ == netbsd.SOCK_SEQPACKET
}

// most is the most bytes of one call.
func (fd *netFD) most() int {
	if fd.typ == netbsd.SOCK_STREAM {
		return maxTransfer
	}
	return maxPacket
}

// write writes all of p to a stream, or p as one message.
func (fd *netFD) write(p []byte) (n int, err error) {
	fd.wr.lock.Lock()
	defer fd.wr.lock.Unlock()
	if len(p) == 0 && fd.stream() {
		return 0, fd.ready(&fd.wr)
	}
	if fd.typ != netbsd.SOCK_STREAM {
		return fd.send(p, nil)
	}
	for n < len(p) {
		m, err := fd.send(p[n:min(len(p), n+maxTransfer)], nil)
		n += m
		if err != nil {
			return n, err
		}
		if m == 0 {
			return n, io.ErrUnexpectedEOF // no kernel says so, and it would say so for ever
		}
	}
	return n, nil
}

// writeTo sends p as one message to an address.
func (fd *netFD) writeTo(p, sa []byte) (int, error) {
	fd.wr.lock.Lock()
	defer fd.wr.lock.Unlock()
	return fd.send(p, sa)
}

// send sends once, p or a part of it; wr.lock is held.
func (fd *netFD) send(p, sa []byte) (int, error) {
	reply, err := fd.transfer(&fd.wr, func() *Call {
		return fd.newCall(netbsd.SYS_sendto).In(p).Word(uint64(len(p))).
			Int(netbsd.MSG_NOSIGNAL).In(sa).Uint(uint32(len(sa)))
	})
	if err != nil {
		return 0, wrapErrno("sendto", err)
	}
	n := int(min(reply.Retval[0], uint64(len(p))))
	fd.wr.full = n < len(p)
	return n, nil
}

// readFrom receives one message into p, and its sender's address into sa, of
// which it returns the length.
func (fd *netFD) readFrom(p []byte, sa *sockaddrBuf) (n, salen int, err error) {
	fd.rd.lock.Lock()
	defer fd.rd.lock.Unlock()
	p = p[:min(len(p), maxPacket)]
	length := sa[maxSockaddr+1:][:4]
	order := fd.s.machine.Order
	reply, err := fd.transfer(&fd.rd, func() *Call {
		order.PutUint32(length, maxSockaddr)
		return fd.newCall(netbsd.SYS_recvfrom).Out(p).Word(uint64(len(p))).Int(0).
			Out(sa[:maxSockaddr]).InOut(length)
	})
	if err != nil {
		return 0, 0, wrapErrno("recvfrom", err)
	}
	return int(min(reply.Retval[0], uint64(len(p)))), int(min(order.Uint32(length), maxSockaddr)), nil
}

// A sockaddrBuf has room for a socket address and its length.
type sockaddrBuf [maxSockaddr + 1 + 4]byte

var sockaddrBufs = sync.Pool{New: func() any { return new(sockaddrBuf) }}
