package innernet

import (
	"errors"
	"os"
	"time"
	"unsafe"

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
		err = await(fd, unix.POLLERR)
	} else if err == nil {
		err = unix.EISCONN
	}
	if err != nil {
		unix.Close(fd)
		return -1, os.NewSyscallError("connect", err)
	}
	return fd, nil
}

// Disconnected makes a TCP socket that had a connection, which it has given up by connect(2) to nobody: that resets a
// connection, which the next call tells.
func (n *Net) Disconnected() (fd int, err error) {
	l, err := n.make(factory.TCP)
	if err != nil {
		return -1, err
	}
	defer unix.Close(l)
	if err := unix.Bind(l, &unix.SockaddrInet4{Addr: nobody.Addr}); err != nil {
		return -1, os.NewSyscallError("bind", err)
	}
	if err := unix.Listen(l, 1); err != nil {
		return -1, os.NewSyscallError("listen", err)
	}
	name, err := unix.Getsockname(l)
	if err != nil {
		return -1, os.NewSyscallError("getsockname", err)
	}
	if fd, err = n.make(factory.TCP); err != nil {
		return -1, err
	}
	if err = unix.Connect(fd, name); err == unix.EINPROGRESS {
		err = await(fd, unix.POLLOUT)
	}
	if err == nil {
		err = Disconnect(fd)
	}
	if err != nil {
		unix.Close(fd)
		return -1, os.NewSyscallError("connect", err)
	}
	return fd, nil
}

// Disconnect is connect(2) to nobody: with an address of AF_UNSPEC, which package unix has no type for.
func Disconnect(fd int) error {
	sa := unix.RawSockaddr{Family: unix.AF_UNSPEC}
	if _, _, e := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&sa)), unsafe.Sizeof(sa)); e != 0 {
		return e
	}
	return nil
}

// await waits until poll(2) says one of the events of a socket.
func await(fd int, events int16) error {
	fds := []unix.PollFd{{Fd: int32(fd), Events: events}}
	for end := time.Now().Add(refusalTime); ; {
		left := max(time.Until(end), 0)
		got, err := unix.Poll(fds, int(left.Milliseconds()))
		switch {
		case err != nil && !errors.Is(err, unix.EINTR):
			return err
		case got > 0 && fds[0].Revents&events != 0:
			return nil
		case left == 0:
			return unix.ETIMEDOUT
		}
	}
}

// AgainRefused is connect(2) of a program to a socket that [Net.Refused] has made: it is told of the refusal, or that the
// connect has ended, and has a socket then that has no peer.
func AgainRefused(fd int) error { return unix.Connect(fd, &nobody) }
