//go:build amd64 || arm64

package hijack

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// letGo has this process give up what its caller has given it for the program, which has it by
// now: the reader of a pipe, or who waits for a lock, waits for the programs that have it, of which
// a daemon has let go long before it ends. Errors are shown until the front has ended.
func letGo() {
	letGoOf(unix.Stdin, unix.Stdout)
	dir, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return
	}
	for _, entry := range dir {
		fd, err := strconv.Atoi(entry.Name())
		if err != nil || fd <= unix.Stderr {
			continue
		}
		// What was inherited has no FD_CLOEXEC, and all that is this process's own has.
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			unix.Close(fd)
		}
	}
}

// letGoOf puts /dev/null in the place of descriptors.
func letGoOf(fds ...int) {
	null, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(null)
	for _, fd := range fds {
		unix.Dup3(null, fd, 0)
	}
}
