package spclient

import (
	"context"
	"errors"
	"io"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"rumptools/pkg/netbsd"
)

// Who reads what the server sends takes turns. A caller that finds nobody reading
// reads for itself, with direct calls of the host's: most answers come within
// microseconds, less than it takes to wake another goroutine and to be woken by
// it. When an answer does not come at once, or calls of others are under way,
// the watcher reads, a goroutine that the runtime's poller wakes.
type turn uint8

const (
	// turnNobody: nothing is under way. The timer makes it the watcher's
	// when no call comes soon.
	turnNobody  turn = iota
	turnWatched      // the watcher waits for something to read
	turnWatcher      // the watcher reads
	turnCaller       // a caller reads
)

const (
	// idleTime is after how long without calls the watcher is told to watch: a
	// signal of the server's, or its end, is noticed that much later.
	idleTime = 5 * time.Millisecond
	// checkTime is how often it is checked, while calls are under way, that
	// the connection's descriptor is still there.
	checkTime = time.Second
	// maxSkip is the number of calls that do not read for themselves after many
	// in vain.
	maxSkip = 64
	// soon is how long an answer may take for which it is worth to wait so.
	soon = 500 * time.Microsecond
	// yieldEvery is how many calls in a row are made without a look whether
	// other goroutines wait for the processor.
	yieldEvery = 16
)

// readers is how many callers wait for their answers in the host, each with one of
// the runtime's processors in its hand.
var readers atomic.Int32

// mayBlock tells whether a call is one whose answer is awaited by intent.
func mayBlock(num uint32) bool {
	switch num {
	case netbsd.SYS_poll, netbsd.SYS___pollts50, netbsd.SYS___select50, netbsd.SYS___pselect50,
		netbsd.SYS___kevent50, netbsd.SYS___nanosleep50:
		return true
	}
	return false
}

// takeTurn makes the reading a caller's if it may be; s.mu is held, and the call
// is not pending yet.
func (s *session) takeTurn(call *Call) bool {
	if s.turn == turnCaller {
		s.contended.Store(true)
		return false
	}
	// A call that is meant to wait, or that finds others that may be answered
	// any moment, is better off with the watcher.
	if s.direct == nil || call.blocks || s.short > 0 || s.turn == turnWatcher {
		return false
	}
	if s.skip > 0 {
		s.skip--
		return false
	}
	if readers.Add(1) > s.maxReaders {
		readers.Add(-1)
		return false
	}
	if s.turn == turnWatched && s.direct.unwatch() != nil {
		readers.Add(-1)
		return false
	}
	s.turn = turnCaller
	return true
}

// giveTurn leaves the reading to the watcher; s.mu is held.
func (s *session) giveTurn() {
	s.turn = turnWatched
	if err := s.tr.watch(); err != nil {
		go s.end(&LostError{s.url, err})
	}
}

// readFor reads until the call is answered, or it takes too long.
func (s *session) readFor(ctx context.Context, call *Call) {
	defer readers.Add(-1)
	if s.turns++; s.contended.Load() || s.turns%yieldEvery == 0 {
		// Those who wait for the processor may have calls to make, which are
		// answered together.
		runtime.Gosched()
	}
	start := time.Now()
	late := false
	for {
		ok, err := s.step(true)
		switch {
		case err == errWouldWait:
			go s.readOn()
			return
		case err != nil:
			s.readFailed(err)
			return
		case ok:
			continue
		}
		if len(call.done) > 0 || late {
			break
		}
		select {
		case <-ctx.Done():
			late = true
		default:
			got, err := s.more(true)
			if err != nil {
				s.readFailed(err)
				return
			}
			late = !got
		}
	}
	late = late || time.Since(start) > soon
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return
	}
	if late {
		s.misses = min(s.misses+1, 6)
		s.skip = min(1<<s.misses, maxSkip)
		if call.state == waiting {
			s.unshort(call)
		}
	} else {
		s.misses = 0
	}
	if len(s.pending) == s.loans && s.contended.Load() {
		s.contended.Store(false)
	}
	if len(s.pending) > 0 || s.in.inFrame() {
		s.giveTurn()
		return
	}
	s.turn = turnNobody
	s.tickIn(idleTime)
}

// unshort notes that a pending call waits for something; s.mu is held.
func (s *session) unshort(call *Call) {
	if call.short {
		call.short = false
		s.short--
	}
}

// dropTurn ends the turn of a caller whose call was not sent: the session is about
// to end, and what the server said before may be read.
func (s *session) dropTurn() {
	s.mu.Lock()
	defer s.mu.Unlock()
	readers.Add(-1)
	if s.err == nil {
		s.giveTurn()
	}
}

// readOn goes on with a caller's turn when an answer to the server has to wait.
func (s *session) readOn() {
	for {
		ok, err := s.step(false)
		if err != nil {
			s.readFailed(err)
			return
		}
		if !ok {
			break
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.giveTurn()
	}
}

// tickIn has tick called within d; s.mu is held.
func (s *session) tickIn(d time.Duration) {
	if s.tick == nil {
		return
	}
	if s.ticking == 0 || s.ticking > d {
		s.ticking = d
		s.tick.Reset(d)
	}
}

// ticked is called by the timer.
func (s *session) ticked() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ticking = 0
	if s.err != nil {
		return
	}
	if !s.out.idle() {
		go s.out.push()
	}
	switch {
	case s.turn == turnNobody && s.calls == s.callsSeen:
		s.giveTurn() // and no call is pending
		return
	case s.turn == turnNobody || s.turn == turnCaller:
		s.ticking = idleTime
	case len(s.pending) > 0:
		if err := s.tr.check(); err != nil {
			go s.end(&LostError{s.url, err})
			return
		}
		s.ticking = checkTime
		if s.short > 0 {
			// What has been waiting since the last time waits for
			// something.
			for reqno, call := range s.pending {
				if reqno <= s.reqnoSeen {
					s.unshort(call)
				}
			}
			s.ticking = idleTime
		}
	default:
		return
	}
	s.callsSeen, s.reqnoSeen = s.calls, s.reqno
	s.tick.Reset(s.ticking)
}

// read is the watcher: it has every turn that no caller takes, until the session
// ends.
func (s *session) read() {
	defer close(s.done)
	if s.direct != nil {
		s.mu.Lock()
		s.tick = time.AfterFunc(time.Hour, s.ticked)
		s.tick.Stop()
		s.mu.Unlock()
	}
	err := s.watch()
	s.readFailed(err)
	if s.tick != nil {
		s.tick.Stop()
	}
}

// readFailed ends the session because of what reading returned.
func (s *session) readFailed(err error) {
	var v violation
	if errors.As(err, &v) {
		// A descriptor that was replaced between the look at it and the read
		// brings what another file has.
		if err := s.tr.check(); err != nil {
			s.end(&LostError{s.url, err})
			return
		}
		s.end(&ProtocolError{s.url, v.err})
		return
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = s.out.cause(err)
	}
	if err == io.EOF && s.in.inFrame() {
		err = io.ErrUnexpectedEOF
	}
	s.end(&LostError{s.url, err})
}

// watch reads whenever there is something to read. It returns why it can't.
func (s *session) watch() error {
	for {
		ok, err := s.step(false)
		if err != nil {
			return err
		}
		if ok {
			continue
		}
		ok, err = s.more(false)
		if err != nil {
			return err
		}
		if ok {
			continue
		}
		if s.direct == nil {
			s.park(!s.in.inFrame())
			err := s.tr.await()
			s.park(false)
			if err != nil {
				return err
			}
			continue
		}
		// Those whose calls have been answered come with new ones, which
		// are answered soon.
		runtime.Gosched()
		ok, err = s.more(false)
		if err != nil {
			return err
		}
		if ok {
			continue
		}
		if err := s.waitTurn(); err != nil {
			return err
		}
	}
}

func (s *session) park(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.parked = on
}

// waitTurn leaves reading to others until there is something to read that
// nobody reads.
func (s *session) waitTurn() error {
	s.mu.Lock()
	if s.err == nil {
		s.giveTurn()
	}
	s.mu.Unlock()
	for {
		err := s.tr.await()
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		s.mu.Lock()
		switch {
		case s.err != nil:
			err = s.err
		case s.turn == turnWatched:
			s.turn = turnWatcher
			s.mu.Unlock()
			return err
		}
		s.mu.Unlock()
		if err != nil {
			return err
		}
	}
}
