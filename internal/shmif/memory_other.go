//go:build !linux

package shmif

import (
	"errors"

	"golang.org/x/sys/unix"
)

// allocate would give the file all its blocks.
func allocate(int) error { return errors.ErrUnsupported }

// prefault asks for the pages, so that nobody has to wait for one while he holds
// the lock.
func prefault(mem []byte) {
	unix.Madvise(mem, unix.MADV_WILLNEED)
}
