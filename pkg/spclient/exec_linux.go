package spclient

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// signalDescriptor makes what NetBSD's client waits for signals with while it
// waits for the kernel: a signalfd with all signals.
func signalDescriptor(int) (int, error) {
	var all unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	low, err := unix.Signalfd(-1, &all, unix.SFD_CLOEXEC)
	if err != nil {
		return -1, os.NewSyscallError("signalfd", err)
	}
	fd, err := dupAbove2(low)
	unix.Close(low)
	return fd, err
}

// isSignalDescriptor tells whether a descriptor is what a program hands over with
// a connection.
func isSignalDescriptor(fd int) bool {
	name, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	return err != nil || name == "anon_inode:[signalfd]"
}
