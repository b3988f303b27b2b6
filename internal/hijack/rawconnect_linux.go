//go:build amd64 || arm64

package hijack

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// rawConnect is connect(2) with an address that package unix has no name for.
func rawConnect(fd int, sa *unix.RawSockaddr) error {
	_, _, e := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(sa)), unsafe.Sizeof(*sa))
	if e != 0 {
		return e
	}
	return nil
}
