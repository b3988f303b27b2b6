package innernet

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/innernet/factory"
)

// nobody is where no socket of this network listens, for nothing in it listens at all.
var nobody = unix.SockaddrInet4{Port: 1, Addr: [4]byte{127, 0, 0, 1}}

// refusalTime is how long the host may take to refuse a connection to itself.
const refusalTime = time.Second

// Refused makes a TCP socket, of mode not to wait, whose connect has gone on and was refused, of which nobody has been told:
// what calls and poll(2) say of it is what they say after that.
func (n *Net) Refused() (fd int, err error) {
	if fd, err = n.make(factory.TCP); err != nil {
		return -1, err
	}
	if err = unix.Connect(fd, &nobody); err == unix.EINPROGRESS {
		err = awaitError(fd)
	} else if err == nil {
		err = unix.EISCONN
	}
	if err != nil {
		unix.Close(fd)
		return -1, os.NewSyscallError("connect", err)
	}
	return fd, nil
}

// awaitError waits until a socket has an error.
func awaitError(fd int) error {
	fds := []unix.PollFd{{Fd: int32(fd)}}
	for end := time.Now().Add(refusalTime); ; {
		left := max(time.Until(end), 0)
		got, err := unix.Poll(fds, int(left.Milliseconds()))
		switch {
		case err != nil && !errors.Is(err, unix.EINTR):
			return err
		case got > 0 && fds[0].Revents&unix.POLLERR != 0:
			return nil
		case left == 0:
			return unix.ETIMEDOUT
		}
	}
}

// AgainRefused is connect(2) of a program to a socket that [Net.Refused] has made: it is told of the refusal, or that the
// connect has ended, and has a socket then that has no peer.
func AgainRefused(fd int) error { return unix.Connect(fd, &nobody) }
