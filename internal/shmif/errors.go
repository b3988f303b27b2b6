package shmif

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"
)

// errorWithErrno is a fixed error that is an errno for those who must report
// one.
type errorWithErrno struct {
	text  string
	errno syscall.Errno
}

func (e *errorWithErrno) Error() string { return e.text }
func (e *errorWithErrno) Unwrap() error { return e.errno }

// The causes of failure. They come wrapped in an *fs.PathError that names the
// operation and the bus; test with errors.Is. Each is also the host's errno
// that a kernel would report, so errors.Is(err, syscall.ENOEXEC) finds all
// files that are no bus.
var (
	// ErrNotBus says that the file holds something else. The file has not
	// been changed. ENOEXEC.
	ErrNotBus error = &errorWithErrno{"not a shmif bus", syscall.ENOEXEC}
	// ErrNotRegular says that the path leads to something other than a
	// regular file. ENOEXEC.
	ErrNotRegular error = &errorWithErrno{"not a regular file, so not a shmif bus", syscall.ENOEXEC}
	// ErrByteOrder says that the file is a bus of a host of the other byte
	// order. ENOEXEC.
	ErrByteOrder error = &errorWithErrno{"shmif bus of a host with the other byte order", syscall.ENOEXEC}
	// ErrVersion says that the file is a bus of another format version; the
	// error is a *VersionError. ENOEXEC.
	ErrVersion error = &errorWithErrno{"shmif bus of another version", syscall.ENOEXEC}
	// ErrFrameTooLong refuses frames of more than MaxFrame bytes: one of
	// them on the bus panics every real rump kernel there. EMSGSIZE.
	ErrFrameTooLong error = &errorWithErrno{fmt.Sprintf("frame longer than %d bytes", MaxFrame), syscall.EMSGSIZE}
	// ErrFrameTooShort refuses frames that lack a whole Ethernet header;
	// receivers ignore them. EINVAL.
	ErrFrameTooShort error = &errorWithErrno{fmt.Sprintf("frame shorter than an Ethernet header of %d bytes", minFrame), syscall.EINVAL}
	// ErrLocked says that another party kept the bus's lock for too long;
	// the error is a *LockError. EAGAIN.
	ErrLocked error = &errorWithErrno{"bus is locked by another party", syscall.EAGAIN}
	// ErrGone says that the file has lost its contents while in use: it was
	// truncated or overwritten, or its file system is full. The Bus is of
	// no use any more, except to be closed. EIO.
	ErrGone error = &errorWithErrno{"bus file has been truncated or overwritten", syscall.EIO}
)

// VersionError is an ErrVersion that knows the version found.
type VersionError struct {
	Version uint32
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("shmif bus of version %d, not %d", e.Version, Version)
}

// Unwrap gives ErrVersion.
func (e *VersionError) Unwrap() error { return ErrVersion }

// LockError is an ErrLocked that says why the lock could not be had.
type LockError struct {
	// Held is how long the lock has been seen taken without interruption;
	// 0 if it changed hands meanwhile.
	Held time.Duration
	// Suspects are the processes that may be holding it and kept it from
	// being recovered, such as "process 1234, which is stopped". Found on
	// Linux only.
	Suspects []string
}

func (e *LockError) Error() string {
	s := ErrLocked.Error()
	if e.Held > 0 {
		s += fmt.Sprintf(" for %v", e.Held.Round(10*time.Millisecond))
	}
	if len(e.Suspects) > 0 {
		s += ", perhaps " + strings.Join(e.Suspects, " or ")
	}
	return s
}

// Unwrap gives ErrLocked.
func (e *LockError) Unwrap() error { return ErrLocked }

// errCorrupt is the inner word for a ring that makes no sense. Nobody outside
// sees it: readers resynchronise, writers start the ring anew.
var errCorrupt = errors.New("corrupt ring")
