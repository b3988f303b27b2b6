package spclient

import (
	"os"
	"strconv"
)

// isEpoll tells whether a descriptor is one of epoll's.
func isEpoll(fd int) bool {
	name, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	return err != nil || name == "anon_inode:[eventpoll]"
}
