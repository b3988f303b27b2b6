//go:build unix

package spclient

import "golang.org/x/sys/unix"

// holdStdio keeps the numbers 0 to 2, if they are free, from being taken until
// the function that it returns is called: not only by the connection, but also
// by what the runtime opens with its first one, for good.
func holdStdio() (release func()) {
	var held []int
	for {
		fd, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			break
		}
		if fd > 2 {
			unix.Close(fd)
			break
		}
		held = append(held, fd)
	}
	return func() {
		for _, fd := range held {
			unix.Close(fd)
		}
	}
}
