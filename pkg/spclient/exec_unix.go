//go:build unix

package spclient

import (
	"fmt"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// execWith executes a program that inherits a connection. It returns only when
// that fails.
func execWith(fd int, path string, argv, env []string) error {
	// No other child is to get what is not close-on-exec for a while.
	syscall.ForkLock.Lock()
	defer syscall.ForkLock.Unlock()
	holy, err := signalDescriptor(fd)
	if err != nil {
		return err
	}
	defer unix.Close(holy)
	for _, fd := range []int{fd, holy} {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			return os.NewSyscallError("fcntl", err)
		}
		defer unix.CloseOnExec(fd)
	}
	env = setenv(env, ExecEnv, strconv.Itoa(fd)+","+strconv.Itoa(holy))
	return syscall.Exec(path, argv, env)
}

// inheritTransport takes over the descriptors that a program was executed with.
func inheritTransport(fd, holy int) (transport, error) {
	if _, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err != nil {
		return nil, fmt.Errorf("descriptor %d: %w", fd, err)
	}
	if holy > 2 && isSignalDescriptor(holy) {
		unix.Close(holy) // Go has other means
	}
	if fd <= 2 {
		high, err := dupAbove2(fd)
		if err != nil {
			return nil, err
		}
		unix.Close(fd)
		fd = high
	}
	unix.CloseOnExec(fd)
	return newSocketTransport(fd)
}
