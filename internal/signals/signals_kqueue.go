//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package signals

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// Info is the signal that asks a running program how far it is (usually Control-T).
var Info os.Signal = syscall.SIGINFO

// start watches the signals with a kqueue. The filter counts every attempt to
// deliver a signal, whatever the process does with it, so the handler that
// Notify installs serves only to keep the default action away, and what it
// catches is thrown away: else every signal would be reported twice.
func (s *Source) start(sigs []os.Signal) (restore func() error, err error) {
	kq, err := unix.Kqueue()
	if err != nil {
		return nil, fmt.Errorf("signals: kqueue: %w", err)
	}
	unix.CloseOnExec(kq)
	// The pipe's end wakes the reader: closing a kqueue need not.
	var wake [2]int
	if err := unix.Pipe(wake[:]); err != nil {
		unix.Close(kq)
		return nil, fmt.Errorf("signals: pipe: %w", err)
	}
	unix.CloseOnExec(wake[0])
	unix.CloseOnExec(wake[1])
	fail := func(err error) (func() error, error) {
		unix.Close(wake[0])
		unix.Close(wake[1])
		unix.Close(kq)
		return nil, err
	}

	changes := make([]unix.Kevent_t, len(sigs)+1)
	for i, sig := range sigs {
		n, ok := sig.(syscall.Signal)
		if !ok {
			return fail(fmt.Errorf("signals: %v is no signal of this system", sig))
		}
		unix.SetKevent(&changes[i], int(n), unix.EVFILT_SIGNAL, unix.EV_ADD)
	}
	unix.SetKevent(&changes[len(sigs)], wake[0], unix.EVFILT_READ, unix.EV_ADD)
	if _, err := unix.Kevent(kq, changes, nil, nil); err != nil {
		return fail(fmt.Errorf("signals: kevent: %w", err))
	}

	// The filters are there before the handler, so between the two a signal
	// meets its default action as before Open, and none falls between the stools.
	discard := make(chan os.Signal, 1)
	signal.Notify(discard, sigs...)

	done := make(chan struct{})
	s.wg.Go(func() {
		defer close(done)
		s.read(kq, wake[0])
	})
	return func() error {
		signal.Stop(discard)
		unix.Close(wake[1]) // end of file for the reader
		<-done
		unix.Close(wake[0])
		return unix.Close(kq)
	}, nil
}

// read reports what the kqueue gives until the pipe's other end is closed.
func (s *Source) read(kq, wake int) {
	events := make([]unix.Kevent_t, 16)
	for {
		n, err := unix.Kevent(kq, nil, events, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return
		}
		for i := range events[:n] {
			ev := &events[i]
			if ev.Filter == unix.EVFILT_READ && int(ev.Ident) == wake {
				return
			}
			// Data counts the deliveries since the last look.
			for count := min(int64(ev.Data), maxPending); count > 0; count-- {
				s.report(syscall.Signal(ev.Ident))
			}
		}
	}
}
