package spclient

import (
	"errors"
	"fmt"
	"io"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

var (
	// ErrNoKernel is what a [DialError] is when nobody listens at the URL.
	ErrNoKernel = errors.New("no rump kernel")

	// ErrFull is what a [DialError] is when the server closed the
	// connection without a word. A rump_server that has all the clients
	// it can have (255) does that, and one that is about to end.
	ErrFull = errors.New("closed by the server at once: it may have too many clients")

	// ErrLost is what every [LostError] is.
	ErrLost = errors.New("connection to the rump kernel lost")

	// ErrClosed is the error of calls of a connection that [Conn.Close]
	// ended.
	ErrClosed = errors.New("connection to the rump kernel closed")

	// ErrStale is the error of calls with a descriptor of another
	// connection, of a kernel that was lost (it is ErrLost then, too), and
	// with the zero FD.
	ErrStale = errors.New("descriptor of another connection")

	// ErrAbandoned is the error of calls that are made while MaxAbandoned
	// abandoned ones are not answered.
	ErrAbandoned = errors.New("too many abandoned calls")
)

// DialError says why there is no connection. It wraps its cause:
// [ErrNoKernel], [ErrFull], sysproxy's ErrURL, ErrBanner and ErrVersion, a
// sysproxy.ErrorCode or netbsd.Errno when the server refused, the context's
// error, or what the host said.
type DialError struct {
	URL string
	Err error
	// Host is what the host said, for ErrNoKernel.
	Host error
}

func (e *DialError) Error() string {
	switch {
	case e.Err == ErrNoKernel:
		return "no rump kernel at " + e.URL
	case errors.Is(e.Err, sysproxy.ErrURL):
		return e.Err.Error() // it has the URL
	}
	switch e.Err.(type) {
	case *LostError, *ProtocolError:
		return e.Err.Error() // likewise
	}
	return "rump kernel at " + e.URL + ": " + e.Err.Error()
}

// Unwrap returns the cause, and what the host said if it said something.
func (e *DialError) Unwrap() []error {
	if e.Host != nil {
		return []error{e.Err, e.Host}
	}
	return []error{e.Err}
}

// LostError says that the connection broke: the server ended or the network
// between failed. Whether the calls that were under way happened is not known.
type LostError struct {
	URL string
	// Cause is io.EOF when the server closed the connection,
	// io.ErrUnexpectedEOF when it did so in the middle of a frame, or what
	// the host said.
	Cause error
}

func (e *LostError) Error() string {
	cause := e.Cause.Error()
	switch e.Cause {
	case io.EOF:
		cause = "it closed the connection"
	case io.ErrUnexpectedEOF:
		cause = "it closed the connection in the middle of a message"
	}
	return "lost the rump kernel at " + e.URL + ": " + cause
}

// Unwrap returns the cause.
func (e *LostError) Unwrap() error { return e.Cause }

// Is makes every LostError be ErrLost.
func (e *LostError) Is(target error) bool { return target == ErrLost }

// ReconnectError says that a connection was lost and could not be made again. It is
// ErrLost.
type ReconnectError struct {
	// Lost is the error with which the connection was lost, a LostError.
	Lost error
	// Err says why there is no new one.
	Err error
}

func (e *ReconnectError) Error() string { return e.Lost.Error() + "; reconnecting: " + e.Err.Error() }

// Unwrap returns both errors.
func (e *ReconnectError) Unwrap() []error { return []error{e.Lost, e.Err} }

// staleError is the error of a call with a descriptor of a kernel that was lost.
type staleError struct{ url string }

func (e *staleError) Error() string {
	return "descriptor of a rump kernel that is gone, at " + e.url
}

func (e *staleError) Is(target error) bool { return target == ErrStale || target == ErrLost }

// stale returns the error of a call with a descriptor that is not the session's.
func (s *session) stale(fd FD) error {
	if fd.gen != 0 && fd.gen < s.gen && s.renewed {
		return &staleError{s.url}
	}
	return ErrStale
}

// ProtocolError says that the server did what no server may do. The
// connection has ended.
type ProtocolError struct {
	URL string
	// Err says what it did.
	Err error
}

func (e *ProtocolError) Error() string {
	return fmt.Sprintf("rump kernel at %s broke the protocol: %v", e.URL, e.Err)
}

// Unwrap returns what the server did.
func (e *ProtocolError) Unwrap() error { return e.Err }

// SyscallError is the failure of a system call in the kernel.
type SyscallError struct {
	// Call is the system call's name: "ioctl".
	Call  string
	Errno netbsd.Errno
}

func (e *SyscallError) Error() string { return e.Call + ": " + e.Errno.Error() }

// Unwrap returns the errno.
func (e *SyscallError) Unwrap() error { return e.Errno }
