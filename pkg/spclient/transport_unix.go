//go:build unix

package spclient

import (
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// newTransport takes a connection over. When it has a descriptor, that is
// replaced with one that is none of 0, 1 and 2 and close-on-exec.
func newTransport(nc net.Conn) (transport, error) {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return netTransport{nc}, nil
	}
	defer nc.Close()
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil, err
	}
	var fd int
	if cerr := raw.Control(func(old uintptr) { fd, err = dupAbove2(int(old)) }); cerr != nil {
		return nil, cerr
	}
	if err != nil {
		return nil, err
	}
	return newSocketTransport(fd)
}

// dupAbove2 returns a copy of a descriptor that is above 2 and close-on-exec.
func dupAbove2(fd int) (int, error) {
	fd, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	return fd, os.NewSyscallError("fcntl", err)
}

// newParcel makes a local socket at which a message with copies of descriptors waits.
func newParcel(files ...int) (int, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	if err != nil {
		return -1, os.NewSyscallError("socketpair", err)
	}
	defer unix.Close(pair[1])
	unix.CloseOnExec(pair[0])
	if err := unix.Sendmsg(pair[1], []byte{0}, unix.UnixRights(files...), nil, 0); err != nil {
		unix.Close(pair[0])
		return -1, os.NewSyscallError("sendmsg", err)
	}
	return pair[0], nil
}

// closeHost closes a descriptor of the host's.
func closeHost(fd int) { unix.Close(fd) }
