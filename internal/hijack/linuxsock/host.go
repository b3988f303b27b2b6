//go:build linux

package linuxsock

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// hostOption reads an option of a socket of the host's, of at most size bytes.
func hostOption(fd, level, name, size int) ([]byte, unix.Errno) {
	b := make([]byte, max(size, 1))
	n := uint32(size)
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(name),
		uintptr(unsafe.Pointer(&b[0])), uintptr(unsafe.Pointer(&n)), 0)
	if errno != 0 {
		return nil, errno
	}
	return b[:min(int(n), size)], 0
}

// hostInt reads an option of the program's own socket that is an int, at the
// level SOL_SOCKET; without a socket it is a default.
func (r *request) hostInt(name int, def int32) (int32, unix.Errno) {
	if r.host < 0 {
		return def, 0
	}
	b, errno := hostOption(r.host, unix.SOL_SOCKET, name, 4)
	if errno != 0 || len(b) < 4 {
		return def, errno
	}
	return int32(native.Uint32(b)), 0
}

// hostGet reads the option from the program's own socket, of at most size
// bytes; without a socket it is a default.
func (r *request) hostGet(size int, def []byte) ([]byte, unix.Errno) {
	if r.host < 0 {
		return def, 0
	}
	return hostOption(r.host, r.key.level, r.key.name, size)
}
