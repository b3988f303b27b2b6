package trace

import (
	"errors"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// hungUp tells whether the other end of a socket from which no more comes has
// been closed, and not its sending direction alone. Of a TCP connection it can't
// be known before something is sent.
func hungUp(s socket) bool {
	raw, err := s.SyscallConn()
	if err != nil {
		return true
	}
	hup := false
	raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd)}}
		n, err := unix.Poll(fds, 0)
		hup = err == nil && n > 0 && fds[0].Revents&(unix.POLLHUP|unix.POLLERR|unix.POLLNVAL) != 0
	})
	return hup
}

// listensStill tells whether a connection that was not made would have found
// somebody: a full queue, or nothing left to make it with.
func listensStill(err error) bool {
	return errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE)
}

// takenTime is how long clients may wait to be taken.
const takenTime = time.Second

// awaitTaken waits until no client waits to be taken from a listener.
func awaitTaken(l *net.UnixListener) {
	raw, err := l.SyscallConn()
	if err != nil {
		return
	}
	for deadline := time.Now().Add(takenTime); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		waiting := false
		raw.Control(func(fd uintptr) {
			fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			n, err := unix.Poll(fds, 0)
			waiting = n > 0 || err == unix.EINTR
		})
		if !waiting {
			return
		}
	}
}
