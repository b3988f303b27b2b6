package signals

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Info is the signal that asks a running program how far it is. Linux has no
// SIGINFO; ping(8) and others use SIGQUIT (usually Control-\) in its place.
var Info os.Signal = syscall.SIGQUIT

// start catches the signals and reads them from a signalfd as well.
//
// The usual recipe for a signalfd is to block the signals in every thread. Go
// does not let a program do that: the runtime unblocks the signals that can kill
// in each thread it starts, keeps one thread where everything that Notify was
// asked for is unblocked, and what AllThreadsSyscall does to the masks of other
// threads lasts no longer than the signal handler in which it does it. It is
// not needed either: each signal goes to whoever takes it first.
func (s *Source) start(sigs []os.Signal) (restore func() error, err error) {
	var set unix.Sigset_t
	for _, sig := range sigs {
		if err := addSignal(&set, sig); err != nil {
			return nil, err
		}
	}
	// Catching comes first, so that the default action is out of the way.
	stop := s.notify(sigs)

	fd, err := unix.Signalfd(-1, &set, unix.SFD_CLOEXEC|unix.SFD_NONBLOCK)
	if err != nil {
		// A sandbox that lacks it. What Notify catches is complete by itself.
		return func() error { stop(); return nil }, nil
	}
	file := os.NewFile(uintptr(fd), "signalfd")
	done := make(chan struct{})
	s.wg.Go(func() {
		defer close(done)
		s.read(file)
	})
	return func() error {
		// The descriptor goes first: were it the last, it would swallow a signal
		// which then neither comes out of the source nor has its default action.
		err := file.Close()
		<-done
		stop()
		return err
	}, nil
}

// read reports what the signalfd gives until it is closed.
func (s *Source) read(file *os.File) {
	// struct signalfd_siginfo; ssi_signo is its first word.
	var buf [unsafe.Sizeof(unix.SignalfdSiginfo{})]byte
	for {
		n, err := file.Read(buf[:])
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil || n < len(buf):
			return // closed
		default:
			s.report(syscall.Signal(binary.NativeEndian.Uint32(buf[:])))
		}
	}
}

// addSignal adds a signal to a set. Signals count from 1.
func addSignal(set *unix.Sigset_t, sig os.Signal) error {
	const word = uint(8 * unsafe.Sizeof(set.Val[0]))
	n, ok := sig.(syscall.Signal)
	if !ok || n < 1 || uint(n) > word*uint(len(set.Val)) {
		return fmt.Errorf("signals: %v is no signal of this system", sig)
	}
	bit := uint(n) - 1
	set.Val[bit/word] |= 1 << (bit % word)
	return nil
}
