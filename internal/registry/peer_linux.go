package registry

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// peerPID is the process at the other end of a local socket (SO_PEERCRED), or
// 0.
func peerPID(c net.Conn) int {
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
