package spclient

import (
	"fmt"
	"sync"
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
	onRaise func(signo int32)

	tr  transport
	in  reader
	out writer
	net netpoll // the sockets that wait
	// head is where the reader builds its answers.
	head [64]byte
	// done is closed when the session has ended and its descriptor is
	// closed.
	done chan struct{}

	mu        sync.Mutex
	err       error // why it ended
	reqno     uint64
	pending   map[uint64]*Call
	abandoned int
	space     addressSpace
}

// enter gives a call its number and registers it and its window. From then on
// the reader may use it.
func (s *session) enter(call *Call) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.err != nil:
		return s.err
	case s.abandoned >= MaxAbandoned:
		return ErrAbandoned
	}
	for i := range call.spans {
		if !s.space.enter(call.spans[i]) {
			for _, entered := range call.spans[:i] {
				s.space.leave(entered)
			}
			return errNoSpace
		}
	}
	s.reqno++
	call.reqno = s.reqno
	s.layout.Order.PutUint64(call.frame[8:], call.reqno)
	call.state = waiting
	s.pending[call.reqno] = call
	return nil
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
			call.done <- struct{}{}
		}
	}
	clear(s.pending)
	s.space.live = nil
	s.mu.Unlock()
	s.out.end(err)
	s.tr.close()
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
		}
	}
	if err != nil {
		return err
	}
	delete(s.pending, h.ReqNo)
	for _, sp := range call.spans {
		s.space.leave(sp)
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
