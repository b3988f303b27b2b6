package registry

import (
	"context"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// PeerPID is the process at the other end of a local socket (SO_PEERCRED), or 0.
func PeerPID(c net.Conn) int {
	sc, ok := c.(syscall.Conn)
	if !ok || c.RemoteAddr().Network() != "unix" {
		return 0
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return 0
	}
	pid := 0
	raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(cred.Pid)
		}
	})
	return pid
}

// watchProcess gives a function that waits for the end of the process that has
// that number now (pidfd_open(2)); without such a process, or on a kernel before
// 5.3, it returns at once. It is to be called once.
func watchProcess(pid int) func(context.Context) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return func(context.Context) error { return nil }
	}
	return func(ctx context.Context) error {
		defer unix.Close(fd)
		for {
			fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			n, err := unix.Poll(fds, int(goneInterval.Milliseconds()))
			if n > 0 || err != nil && err != unix.EINTR {
				return nil
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}
}
