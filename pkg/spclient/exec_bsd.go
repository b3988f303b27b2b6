//go:build unix && !linux

package spclient

import (
	"os"

	"golang.org/x/sys/unix"

	"rumptools/pkg/netbsd"
)

// signalDescriptor makes what NetBSD's client waits for signals with while it
// waits for the kernel: a kqueue that has all signals and the connection.
func signalDescriptor(conn int) (int, error) {
	low, err := unix.Kqueue()
	if err != nil {
		return -1, os.NewSyscallError("kqueue", err)
	}
	fd, err := dupAbove2(low)
	unix.Close(low)
	if err != nil {
		return -1, err
	}
	changes := make([]unix.Kevent_t, 1, 1+netbsd.NSIG)
	unix.SetKevent(&changes[0], conn, unix.EVFILT_READ, unix.EV_ADD|unix.EV_ENABLE)
	for sig := netbsd.Signal(1); sig < netbsd.NSIG; sig++ {
		if host, ok := sig.Host(); ok {
			var ev unix.Kevent_t
			unix.SetKevent(&ev, int(host), unix.EVFILT_SIGNAL, unix.EV_ADD|unix.EV_ENABLE)
			changes = append(changes, ev)
		}
	}
	if _, err := unix.Kevent(fd, changes, nil, nil); err != nil {
		unix.Close(fd)
		return -1, os.NewSyscallError("kevent", err)
	}
	return fd, nil
}

// isSignalDescriptor tells whether a descriptor is what a program hands over with
// a connection.
func isSignalDescriptor(fd int) bool {
	_, err := unix.Kevent(fd, nil, nil, nil)
	return err == nil
}
