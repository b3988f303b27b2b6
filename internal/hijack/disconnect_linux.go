//go:build amd64 || arm64

package hijack

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// disconnect ends the association of a socket for datagrams of the host's: connect(2)
// with an address that package unix has no name for.
func disconnect(fd int) {
	sa := unix.RawSockaddr{Family: unix.AF_UNSPEC}
	unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&sa)), unsafe.Sizeof(sa))
}
