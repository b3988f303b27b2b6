package shmif

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// allocate gives the file all its blocks, and its size if it is shorter.
// errors.ErrUnsupported says that the file system cannot do that.
func allocate(fd int) error {
	for {
		err := unix.Fallocate(fd, 0, 0, FileSize)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EINVAL):
			return errors.ErrUnsupported
		}
		return os.NewSyscallError("fallocate", err)
	}
}

// prefault fetches the pages, writable, so that nobody has to wait for one while
// he holds the lock. Hosts that cannot do that leave it to chance.
func prefault(mem []byte) {
	unix.Madvise(mem, unix.MADV_POPULATE_WRITE)
}
