//go:build unix && !linux

package spclient

import "golang.org/x/sys/unix"

// recv receives bytes from a socket, and fails on anything else.
func recv(fd int, p []byte) (int, error) {
	n, _, _, _, err := unix.Recvmsg(fd, p, nil, 0)
	return n, err
}
