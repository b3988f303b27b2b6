// Package signals turns operating system signals into one race-free source of events.
//
// A program that waits for a reply from a rump kernel has to wait for the
// person at the keyboard as well. [Open] delivers the signals it is given into
// one channel, so that a select statement waits for both, and no signal is
// lost between the two:
//
//   - On Linux the signals are caught with [signal.Notify] and read from a
//     signalfd(2) at the same time. Go's runtime keeps SIGINT and SIGTERM unblocked
//     in the threads that it starts, so a signalfd alone would see the first signal
//     kill the process. A signal sent to a process is taken off its pending set
//     once, either by a thread on its way to the handler or by a read of the
//     signalfd; whoever takes it feeds the same channel, so it is never lost and
//     never reported twice.
//   - On the BSDs and darwin an EVFILT_SIGNAL filter of kqueue(2) reports every
//     signal, whatever its disposition; signal.Notify merely keeps the default
//     action from happening.
//   - Elsewhere signal.Notify does everything.
//
// As with any Unix signal, several instances of one signal that arrive while
// nobody takes them may be merged into one. Signals of different kinds are never merged.
//
// The signal mask is left alone, so programs that this process starts inherit nothing.
package signals

import (
	"os"
	"os/signal"
	"sync"
)

// Source delivers signals. It is made by [Open].
type Source struct {
	out     chan os.Signal
	in      chan os.Signal
	quit    chan struct{}
	wg      sync.WaitGroup
	restore func() error // ends the deliveries and puts handling back

	once sync.Once
	err  error
}

// maxPending bounds the queue of signals that nobody takes. Above it, a signal
// that is queued already is not queued again.
const maxPending = 64

// Open starts to deliver the signals sigs. It belongs at the very beginning of
// main: what arrives earlier meets the default action.
//
// Signals that were ignored when the program started (SIGINT in a background
// job of a shell, SIGHUP under nohup) are caught all the same; a program that
// wants to respect its parent's wish filters them with [NotIgnored] first.
func Open(sigs ...os.Signal) (*Source, error) {
	s := &Source{
		out:  make(chan os.Signal),
		in:   make(chan os.Signal),
		quit: make(chan struct{}),
	}
	if len(sigs) == 0 { // Notify would take this for "all signals"
		s.restore = func() error { return nil }
		return s, nil
	}
	restore, err := s.start(sigs)
	if err != nil {
		return nil, err
	}
	s.restore = restore
	s.wg.Go(s.merge)
	return s, nil
}

// C returns the channel on which the signals come. It is never closed.
func (s *Source) C() <-chan os.Signal { return s.out }

// Close ends the delivery and puts the handling back as Open found it. Signals that arrived and were not taken from C are discarded.
// Further calls do nothing and return what the first returned.
func (s *Source) Close() error {
	s.once.Do(func() {
		s.err = s.restore()
		close(s.quit)
		s.wg.Wait()
	})
	return s.err
}

// NotIgnored returns those of sigs which were not ignored when the program
// started, in the same order. Call it before Open.
func NotIgnored(sigs ...os.Signal) []os.Signal {
	kept := make([]os.Signal, 0, len(sigs))
	for _, sig := range sigs {
		if !signal.Ignored(sig) {
			kept = append(kept, sig)
		}
	}
	return kept
}

// merge takes signals from all ways they come and hands them out in the order
// of their arrival. It is always ready to take one, so no producer ever has to
// drop a signal because the consumer is busy.
func (s *Source) merge() {
	var queue pending
	for {
		var out chan os.Signal
		var next os.Signal
		if len(queue) > 0 {
			out, next = s.out, queue[0]
		}
		select {
		case sig := <-s.in:
			queue.add(sig)
		case out <- next:
			queue = queue[1:]
		case <-s.quit:
			return
		}
	}
}

// report passes one signal to merge.
func (s *Source) report(sig os.Signal) {
	select {
	case s.in <- sig:
	case <-s.quit:
	}
}

// pending is a queue of signals not yet taken.
type pending []os.Signal

func (p *pending) add(sig os.Signal) {
	if len(*p) >= maxPending {
		for _, queued := range *p {
			if queued == sig {
				return
			}
		}
	}
	*p = append(*p, sig)
}

// notify forwards what the runtime catches. Each signal has a channel of its
// own: when it is full, the signal that does not fit is of the same kind as the
// one inside, so nothing but a repetition is ever merged. The function returned
// ends it.
func (s *Source) notify(sigs []os.Signal) (stop func()) {
	channels := make([]chan os.Signal, len(sigs))
	for i, sig := range sigs {
		c := make(chan os.Signal, 1)
		channels[i] = c
		signal.Notify(c, sig)
		s.wg.Go(func() {
			for {
				select {
				case sig := <-c:
					s.report(sig)
				case <-s.quit:
					return
				}
			}
		})
	}
	return func() {
		for _, c := range channels {
			signal.Stop(c)
		}
	}
}
