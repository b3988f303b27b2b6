package kernel

import "golang.org/x/sys/unix"

// closeFile closes a descriptor of the host that a client has sent, if it has.
func closeFile(fd int) {
	if fd >= 0 {
		unix.Close(fd)
	}
}
