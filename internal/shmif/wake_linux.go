package shmif

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// inotify is a waiter with a watch on the file. The descriptor belongs to Go's
// poller, so a waiting receiver takes up no thread.
type inotify struct {
	file *os.File
	buf  [4096]byte
}

func watchFile(f *os.File, path string) (waiter, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("inotify_init1", err)
	}
	// A watch is on the inode, and this path leads to that of our
	// descriptor, whatever has become of its name.
	_, err = unix.InotifyAddWatch(fd, fmt.Sprintf("/proc/self/fd/%d", f.Fd()), unix.IN_MODIFY)
	if err != nil && sameFile(f, path) { // no /proc
		_, err = unix.InotifyAddWatch(fd, path, unix.IN_MODIFY)
	}
	if err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("inotify_add_watch", err)
	}
	return &inotify{file: os.NewFile(uintptr(fd), "inotify")}, nil
}

func sameFile(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Stat(path)
	return err == nil && os.SameFile(a, b)
}

func (w *inotify) wait(d time.Duration) (idle bool, err error) {
	if err = w.file.SetReadDeadline(time.Now().Add(d)); err == nil {
		// One read takes all events that are there. What they say does
		// not matter.
		_, err = w.file.Read(w.buf[:])
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return true, nil
	case errors.Is(err, os.ErrClosed):
		return false, errClosed
	}
	return false, err
}

func (w *inotify) close() { w.file.Close() }
