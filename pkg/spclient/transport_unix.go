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

// closeHost closes a descriptor of the host's.
func closeHost(fd int) { unix.Close(fd) }
