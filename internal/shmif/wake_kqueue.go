//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package shmif

import (
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// kqueue is a waiter with a vnode filter on the file. A pipe's end tells about
// close.
type kqueue struct {
	kq     int
	pipe   [2]int
	closed atomic.Bool
	inWait sync.Mutex // held during a wait; the descriptors live until it is over
}

func watchFile(f *os.File, _ string) (waiter, error) {
	w := &kqueue{}
	var err error
	if w.kq, err = unix.Kqueue(); err != nil {
		return nil, os.NewSyscallError("kqueue", err)
	}
	unix.CloseOnExec(w.kq)
	if err := unix.Pipe(w.pipe[:]); err != nil {
		unix.Close(w.kq)
		return nil, os.NewSyscallError("pipe", err)
	}
	unix.CloseOnExec(w.pipe[0])
	unix.CloseOnExec(w.pipe[1])

	changes := make([]unix.Kevent_t, 2)
	unix.SetKevent(&changes[0], int(f.Fd()), unix.EVFILT_VNODE, unix.EV_ADD|unix.EV_CLEAR)
	changes[0].Fflags = unix.NOTE_WRITE
	unix.SetKevent(&changes[1], w.pipe[0], unix.EVFILT_READ, unix.EV_ADD)
	if _, err := unix.Kevent(w.kq, changes, nil, nil); err != nil {
		unix.Close(w.kq)
		unix.Close(w.pipe[0])
		unix.Close(w.pipe[1])
		return nil, os.NewSyscallError("kevent", err)
	}
	return w, nil
}

func (w *kqueue) wait(d time.Duration) (idle bool, err error) {
	w.inWait.Lock()
	defer w.inWait.Unlock()
	if w.closed.Load() {
		return false, errClosed
	}
	timeout := unix.NsecToTimespec(int64(d))
	var events [2]unix.Kevent_t
	n, err := unix.Kevent(w.kq, nil, events[:], &timeout)
	if w.closed.Load() {
		return false, errClosed
	}
	if err != nil && err != unix.EINTR {
		return false, os.NewSyscallError("kevent", err)
	}
	return n == 0, nil
}

func (w *kqueue) close() {
	if w.closed.Swap(true) {
		return
	}
	unix.Write(w.pipe[1], []byte{0})
	w.inWait.Lock()
	defer w.inWait.Unlock()
	unix.Close(w.kq)
	unix.Close(w.pipe[0])
	unix.Close(w.pipe[1])
}
