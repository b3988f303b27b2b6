package spclient

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// MaxAbandoned is how many calls that were abandoned may be unanswered on one
// connection. Each may hold a worker of the kernel's, of which a rump_server
// has 128.
const MaxAbandoned = 64

// A session is one connection to one kernel, from the banner to its end.
type session struct {
	url     string
	banner  sysproxy.Banner
	machine *netbsd.Machine
	layout  sysproxy.Layout
	gen     uint32
	carries bool        // the kernel takes a call's buffers with the call
	posts   bool        // the kernel takes calls that it does not answer
	settles bool        // connect(2) says what has come of it, when it is asked to
	dials   bool        // socket(2) connects, too, when it is asked to
	raised  atomic.Bool // the process may have more descriptors than at first
	renewed bool        // came after one that was lost
	onRaise func(signo int32)

	tr     transport
	direct directTransport // tr, if it is one
	in     reader
	out    writer
	// head is where the reader builds its answers.
	head [64]byte
	// done is closed when the session has ended and its descriptor is
	// closed.
	done chan struct{}

	mu        sync.Mutex
	err       error // why it ended
	ended     func(error)
	reqno     uint64
	pending   map[uint64]*Call
	loans     int // how many of them are loans
	abandoned int
	space     addressSpace
	net       netpoll
	// held, when not nil, keeps new calls back until it is closed.
	held chan struct{}
	// drained, when not nil, is closed when no call is under way.
	drained chan struct{}

	turn turn
	// parked is set while the watcher of a transport that is not direct waits
	// between two frames.
	parked bool
	// short is how many of the pending calls may be answered any moment.
	short int
	// maxReaders is how many callers of all connections may read for
	// themselves at a time.
	maxReaders int32
	// contended is set when callers come while another reads; turns counts
	// those who did.
	contended atomic.Bool
	turns     uint
	// skip is how many callers shall not read for themselves, misses how
	// often in turn that was in vain.
	skip, misses int
	// calls counts calls for tick, which comes when ticking, if not 0, is
	// over, and has seen callsSeen of them.
	calls, callsSeen uint64
	reqnoSeen        uint64
	tick             *time.Timer
	ticking          time.Duration
}

// errHeld is returned by enter while calls are held back.
var errHeld = errors.New("calls are held back")

// enter gives a call its number and registers it and its window. From then on
// whoever reads may use it. It reports whether that is the caller.
func (s *session) enter(call *Call) (mine bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.err != nil:
		return false, s.err
	case s.held != nil:
		return false, errHeld
	case s.abandoned >= MaxAbandoned:
		return false, ErrAbandoned
	}
	for i := range call.spans {
		if !s.space.enter(call.spans[i]) {
			for _, entered := range call.spans[:i] {
				s.space.leave(entered)
			}
			return false, errNoSpace
		}
	}
	if call.ended != nil {
		s.loans++
	} else {
		mine = s.takeTurn(call)
		if !call.blocks {
			call.short = true
			s.short++
		}
	}
	if !mine && s.turn == turnNobody {
		s.giveTurn()
	}
	s.reqno++
	call.reqno = s.reqno
	s.layout.Order.PutUint64(call.frame[8:], call.reqno)
	call.state = waiting
	s.pending[call.reqno] = call
	s.calls++
	s.tickIn(checkTime)
	return mine, nil
}

// postTime is how long a call that nobody waits for may wait for company.
const postTime = idleTime

// postLater makes a call that is not answered, together with the next that is made, or else
// soon. It reports whether that will be.
func (s *session) postLater(num uint32, args []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.posts || s.tick == nil || s.err != nil || s.held != nil {
		return false
	}
	if !s.out.later(sysproxy.Post{Num: num, Args: args}.Append(nil, s.layout, 0)) {
		return false
	}
	s.tickIn(postTime)
	return true
}

// withdraw takes back a call of which the server has seen nothing. It returns
// false when the session has dropped it.
func (s *session) withdraw(call *Call) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if call.state != waiting {
		return false
	}
	call.state = building
	s.remove(call)
	return true
}

// remove forgets a call that is pending; s.mu is held.
func (s *session) remove(call *Call) {
	delete(s.pending, call.reqno)
	s.unshort(call)
	if call.ended != nil {
		s.loans--
	}
	if s.drained != nil && len(s.pending) == 0 {
		close(s.drained)
		s.drained = nil
	}
	for _, sp := range call.spans {
		s.space.leave(sp)
	}
}

// waitHeld waits while calls are held back.
func (s *session) waitHeld(ctx context.Context) error {
	s.mu.Lock()
	held := s.held
	s.mu.Unlock()
	if held == nil {
		return nil
	}
	select {
	case <-held:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// abandon gives a call up. It returns false when the call has been answered or
// dropped, so that its done has a value.
func (s *session) abandon(call *Call) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if call.state != waiting {
		return false
	}
	call.state = abandoned
	s.abandoned++
	// The window stays until the answer is here, but what the kernel writes
	// there goes nowhere.
	for i := range call.segments {
		call.segments[i].user = nil
	}
	return true
}

// end ends the session. Only the first reason counts. Calls that are under way
// end with it.
func (s *session) end(err error) {
	s.mu.Lock()
	if s.err != nil {
		s.mu.Unlock()
		return
	}
	s.err = err
	for _, call := range s.pending {
		if call.state == waiting {
			call.state = dropped
			if call.ended != nil {
				call.loanEnded(LoanEnd{Err: err})
			} else {
				call.done <- struct{}{}
			}
		}
	}
	clear(s.pending)
	s.loans = 0
	s.space.live = nil
	ended := s.ended
	if s.drained != nil {
		close(s.drained)
		s.drained = nil
	}
	if s.held != nil {
		close(s.held)
		s.held = nil
	}
	s.mu.Unlock()
	s.out.end(err)
	s.tr.close()
	if ended != nil {
		ended(err)
	}
}

// sysctlTime is how long letSysctlEnd waits. The calls take milliseconds.
const sysctlTime = time.Second

// letSysctlEnd waits until no sysctl(3) is under way, unless the kernel takes its
// buffers along. Else it copies them while it holds a lock, and several threads of
// NetBSD's server that wait to send to a client that goes miss that
// they may: serv_handledisco clears the client's state after it has woken them. One that
// is amid a sysctl keeps the lock for good.
func (s *session) letSysctlEnd() {
	if s.carries {
		return
	}
	for end := time.Now().Add(sysctlTime); s.isInSysctl() && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
}

func (s *session) isInSysctl() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, call := range s.pending {
		if call.num == netbsd.SYS___sysctl {
			return true
		}
	}
	return false
}

// drainTime is how long the reader may go on when sending has failed: answers
// that the server sent before it ended may be here.
const drainTime = 100 * time.Millisecond

// sendFailed ends the session because sending has failed.
func (s *session) sendFailed(err error) {
	s.tr.expire(time.Now().Add(drainTime))
	select {
	case <-s.done:
	case <-time.After(2 * drainTime): // the transport knows no deadlines, or data never ends
		s.end(&LostError{s.url, err})
	}
}

// Err returns why the session ended, or nil.
func (s *session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// answer finishes the call that a frame of the class RESP or ERROR answers.
func (s *session) answer(h sysproxy.Header, payload []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	call := s.pending[h.ReqNo]
	if call == nil {
		if s.err != nil {
			return s.err
		}
		return fmt.Errorf("answered request %d, which is not under way", h.ReqNo)
	}
	var err error
	var end LoanEnd
	if h.Class == sysproxy.Error {
		call.refusal = sysproxy.ErrorCode(h.U)
	} else if h.Type != call.kind {
		err = fmt.Errorf("answered %s request %d with %s", call.kind, h.ReqNo, h.Type)
	} else {
		switch h.Type {
		case sysproxy.TypeSyscall:
			call.reply, err = s.layout.ParseSyscallReply(h, payload)
		case sysproxy.TypeHandshake:
			var m sysproxy.HandshakeReply
			m, err = s.layout.ParseHandshakeReply(h, payload)
			call.reply.Errno = m.Errno
		case sysproxy.TypePrefork:
			var m sysproxy.PreforkReply
			m, err = s.layout.ParsePreforkReply(h, payload)
			call.auth = m.Auth
		case sysproxy.TypePair:
			call.pair, err = s.layout.ParsePairReply(h, payload)
			call.reply.Errno = call.pair.Errno
		case sysproxy.TypeLend, sysproxy.TypeLendDatagrams:
			var m sysproxy.LendReply
			m, err = s.layout.ParseLendReply(h, payload)
			call.reply.Errno = m.Errno
			end = LoanEnd{How: m.End, Cause: netbsd.Errno(m.Cause)}
		}
	}
	if err != nil {
		return err
	}
	s.remove(call)
	if call.ended != nil {
		call.state = answered
		call.loanEnded(end)
		call.frame = nil // it may be being sent
		call.free()
		return nil
	}
	if call.state == abandoned {
		s.abandoned--
		call.free()
		return nil
	}
	call.state = answered
	call.done <- struct{}{}
	return nil
}
