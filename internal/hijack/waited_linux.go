//go:build amd64 || arm64

package hijack

import (
	"os"

	"golang.org/x/sys/unix"
)

// waited is an epoll(7) that one goroutine waits for, which alone closes it: its number would be another's as soon as it is
// closed, and who waits by it would take what is for that one. Of its events the data 0 is its own.
type waited struct {
	fd   int
	stop int // an eventfd(2) in it
}

func newWaited() (w waited, err error) {
	if w.fd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return w, os.NewSyscallError("epoll_create1", err)
	}
	if w.stop, err = unix.Eventfd(0, unix.EFD_CLOEXEC); err != nil {
		unix.Close(w.fd)
		return w, os.NewSyscallError("eventfd", err)
	}
	if err = unix.EpollCtl(w.fd, unix.EPOLL_CTL_ADD, w.stop, &unix.EpollEvent{Events: unix.EPOLLIN}); err != nil {
		w.close()
		return w, os.NewSyscallError("epoll_ctl", err)
	}
	return w, nil
}

// wake wakes who waits, to close it.
func (w waited) wake() { unix.Write(w.stop, []byte{1, 1, 1, 1, 1, 1, 1, 1}) }

func (w waited) close() {
	unix.Close(w.fd)
	unix.Close(w.stop)
}
