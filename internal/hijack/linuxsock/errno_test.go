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

// Destinations that nothing leads to are unreachable, and the kernel says so when
// it is asked.
func TestUseErrno(t *testing.T) {
	each(t, func(t *testing.T, k *spclient.Conn) {
		for _, name := range []string{"tcp4", "udp4", "tcp6"} {
			dst := "192.0.2.1:80"
			if name == "tcp6" {
				dst = "[2001:db8::1]:80"
			}
			p := kindNamed(name).open(t, k)
			sa, errno := p.Address(k.Machine(), linuxsock.Connect, sockaddr(dst))
			if errno != 0 {
				t.Fatal(errno)
			}
			switch got := linuxsock.UseErrno(linuxsock.Connect, k.Connect(t.Context(), p.fd, sa)); got {
			case unix.ENETUNREACH, unix.EHOSTUNREACH:
			default:
				t.Errorf("%s: %v", name, got)
			}
		}
	})
	if got := linuxsock.UseErrno(linuxsock.Bind, netbsd.EADDRNOTAVAIL); got != unix.EADDRNOTAVAIL {
		t.Errorf("bind: %v", got)
	}
}
