//go:build linux

package linuxsock_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

func TestErrno(t *testing.T) {
	lost := &spclient.LostError{URL: "unix:///k", Cause: io.EOF}
	for _, test := range []struct {
		err  error
		want unix.Errno
	}{
		{nil, 0},
		{netbsd.ECONNREFUSED, unix.ECONNREFUSED},
		{&spclient.SyscallError{Call: "connect", Errno: netbsd.EADDRINUSE}, unix.EADDRINUSE},
		{fmt.Errorf("listen: %w", &spclient.SyscallError{Call: "bind", Errno: netbsd.EAGAIN}), unix.EAGAIN},
		{netbsd.EHOSTDOWN, unix.EHOSTUNREACH},
		{netbsd.EPFNOSUPPORT, unix.EAFNOSUPPORT},
		{netbsd.EPROTOTYPE, unix.EPROTONOSUPPORT},
		{netbsd.ENOTSUP, unix.EOPNOTSUPP},
		{netbsd.Errno(4711), unix.EIO},
		{lost, unix.ECONNRESET},
		{&spclient.ReconnectError{Lost: lost, Err: netbsd.ENOENT}, unix.ECONNRESET},
		{&spclient.ProtocolError{URL: "unix:///k", Err: errors.New("nonsense")}, unix.ECONNRESET},
		{spclient.ErrStale, unix.ECONNRESET},
		{spclient.ErrClosed, unix.ECONNRESET},
		{fmt.Errorf("read: %w", context.Canceled), unix.EINTR},
		{context.DeadlineExceeded, unix.ETIMEDOUT},
		{&spclient.DialError{URL: "unix:///k", Err: spclient.ErrNoKernel}, unix.ENETDOWN},
		{&spclient.DialError{URL: "unix:///k", Err: spclient.ErrFull}, unix.ENETDOWN},
		{spclient.ErrAbandoned, unix.ENOBUFS},
		{unix.EMFILE, unix.EMFILE},
		{errors.New("something"), unix.EIO},
	} {
		if got := linuxsock.Errno(test.err); got != test.want {
			t.Errorf("%v: %v, want %v", test.err, got, test.want)
		}
	}
	// Every number has one.
	for e := netbsd.Errno(1); e <= netbsd.ELAST; e++ {
		if got := linuxsock.Errno(e); got == 0 {
			t.Errorf("%s has none", e.Name())
		}
	}
}
