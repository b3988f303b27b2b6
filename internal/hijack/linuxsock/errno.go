//go:build linux

package linuxsock

import (
	"context"
	"errors"
	"net"

	"golang.org/x/sys/unix"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// Errno is the error number of Linux's that a program gets for an error of a
// call in the kernel. It is 0 for nil. A kernel that is lost, and descriptors
// that went with it, are ECONNRESET; a call that was given up is EINTR, or
// ETIMEDOUT when its time had passed; what has no number is EIO.
func Errno(err error) unix.Errno {
	if err == nil {
		return 0
	}
	// A kernel that could not be connected to again may have a number of the
	// host's in its error, which is not the program's business.
	if isLost(err) {
		return unix.ECONNRESET
	}
	if e, ok := kernelErrno(err); ok {
		return fromNetBSDErrno(e)
	}
	var errno unix.Errno
	switch {
	case errors.As(err, &errno) && errno != 0:
		return errno
	case errors.Is(err, net.ErrClosed):
		return unix.EBADF
	case errors.Is(err, context.DeadlineExceeded):
		return unix.ETIMEDOUT
	case errors.Is(err, context.Canceled):
		return unix.EINTR
	case errors.Is(err, spclient.ErrNoKernel), errors.Is(err, spclient.ErrFull):
		return unix.ENETDOWN
	case errors.Is(err, spclient.ErrAbandoned):
		return unix.ENOBUFS
	}
	return unix.EIO
}

// UseErrno is Errno of a call that was given an address. From where no address of
// this host's leads to the destination NetBSD says EADDRNOTAVAIL, for it chooses
// the address before the way; Linux says ENETUNREACH. EADDRINUSE, of a connection whose two
// ends another one has, is EADDRNOTAVAIL there.
func UseErrno(use Use, err error) unix.Errno {
	switch errno := Errno(err); {
	case use != Bind && errno == unix.EADDRNOTAVAIL:
		return unix.ENETUNREACH
	case use == Connect && errno == unix.EADDRINUSE:
		return unix.EADDRNOTAVAIL
	default:
		return errno
	}
}

// isLost tells whether an error is that of a kernel that is lost.
func isLost(err error) bool {
	var protocol *spclient.ProtocolError
	return errors.Is(err, spclient.ErrLost) || errors.Is(err, spclient.ErrStale) ||
		errors.Is(err, spclient.ErrClosed) || errors.As(err, &protocol)
}

// kernelErrno is the number that the kernel gave for a call, if it did.
func kernelErrno(err error) (netbsd.Errno, bool) {
	var e netbsd.Errno
	return e, errors.As(err, &e) && e != 0
}

// fromNetBSDErrno is the number of the same name, but for those that Linux has
// another name for.
func fromNetBSDErrno(e netbsd.Errno) unix.Errno {
	switch e {
	case netbsd.EHOSTDOWN:
		// Nobody answered ARP or neighbour discovery.
		return unix.EHOSTUNREACH
	case netbsd.EPFNOSUPPORT:
		return unix.EAFNOSUPPORT
	case netbsd.EPROTOTYPE:
		return unix.EPROTONOSUPPORT
	}
	return e.Host()
}
