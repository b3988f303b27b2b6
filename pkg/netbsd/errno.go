package netbsd

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
	"syscall"
)

// Errno is a NetBSD error number, whatever the host's numbers are. The zero
// Errno is no error: it should not be made into an error value.
type Errno uint32

// Error returns the text that strerror(3) has for e: "Device not configured".
func (e Errno) Error() string {
	switch {
	case e == 0:
		return "Undefined error: 0"
	case e > ELAST:
		return "Unknown error: " + strconv.FormatUint(uint64(e), 10)
	}
	return errnoTable[e].text
}

// Name returns the number's name, "ENXIO", or the number in decimal when it
// has no name.
func (e Errno) Name() string {
	if e == 0 || e > ELAST {
		return strconv.FormatUint(uint64(e), 10)
	}
	return errnoTable[e].name
}

// ErrnoByName finds an error number by its name.
func ErrnoByName(name string) (Errno, bool) {
	if name == "EWOULDBLOCK" {
		return EWOULDBLOCK, true
	}
	for i := Errno(1); i <= ELAST; i++ {
		if errnoTable[i].name == name {
			return i, true
		}
	}
	return 0, false
}

// Is makes errors.Is find what it finds in the host's own error numbers:
// fs.ErrNotExist, fs.ErrExist, fs.ErrPermission, errors.ErrUnsupported, and
// os.ErrDeadlineExceeded for ETIMEDOUT. It also finds the host's error number
// of the same name, so that errors.Is(err, syscall.ECONNREFUSED) works on any
// host.
func (e Errno) Is(target error) bool {
	switch target {
	case fs.ErrPermission:
		return e == EACCES || e == EPERM
	case fs.ErrExist:
		return e == EEXIST || e == ENOTEMPTY
	case fs.ErrNotExist:
		return e == ENOENT
	case errors.ErrUnsupported:
		return e == ENOSYS || e == ENOTSUP || e == EOPNOTSUPP
	case os.ErrDeadlineExceeded:
		return e == ETIMEDOUT
	}
	if host, ok := target.(syscall.Errno); ok && host != 0 {
		return int(e) < len(toHost) && toHost[e] == host
	}
	return false
}

// Timeout tells whether the error is a time that ran out, as for
// syscall.Errno: ETIMEDOUT, and EAGAIN, which a socket with SO_RCVTIMEO gives.
func (e Errno) Timeout() bool { return e == EAGAIN || e == ETIMEDOUT }

// Temporary tells whether the same call may succeed later, as for
// syscall.Errno.
func (e Errno) Temporary() bool {
	switch e {
	case EINTR, EMFILE, ENFILE:
		return true
	}
	return e.Timeout()
}

// Host returns the host's error number of the same name. Where the host has
// none it returns the nearest in meaning, and EIO for what has none at all.
// Host of 0 is 0.
func (e Errno) Host() syscall.Errno {
	if e == 0 {
		return 0
	}
	if e <= ELAST && toHost[e] != 0 {
		return toHost[e]
	}
	switch e {
	case EPROCLIM:
		return syscall.EAGAIN
	case EFTYPE:
		return syscall.EINVAL
	case EAUTH, ENEEDAUTH:
		return syscall.EPERM
	case ENOATTR:
		return syscall.ENOENT
	case ENOTSUP:
		return syscall.EOPNOTSUPP
	}
	return syscall.EIO
}

// FromHost returns NetBSD's number of a host's error number, by its name. What
// NetBSD has no name for becomes EIO. FromHost of 0 is 0.
func FromHost(host syscall.Errno) Errno {
	if host == 0 {
		return 0
	}
	if e, ok := fromHost[host]; ok {
		return e
	}
	return EIO
}

// toHost has the host's number of the same name, or 0.
var toHost = func() (t [ELAST + 1]syscall.Errno) {
	for _, p := range hostErrnos {
		t[p.netbsd] = p.host
	}
	for _, p := range moreHostErrnos {
		t[p.netbsd] = p.host
	}
	return t
}()

var fromHost = func() map[syscall.Errno]Errno {
	t := make(map[syscall.Errno]Errno, ELAST)
	// Hosts may have one number with two names (ENOTSUP and EOPNOTSUPP on
	// Linux): the lower of NetBSD's numbers wins, which is the one that
	// sockets give.
	for e := ELAST; e > 0; e-- {
		if toHost[e] != 0 {
			t[toHost[e]] = e
		}
	}
	return t
}()

type hostErrno struct {
	netbsd Errno
	host   syscall.Errno
}
