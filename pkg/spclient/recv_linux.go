package spclient

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// recv receives bytes from a socket, and fails on anything else. Package unix's
// functions would make a Go address of the peer's each time.
func recv(fd int, p []byte) (int, error) {
	n, _, errno := unix.Syscall6(unix.SYS_RECVFROM, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
