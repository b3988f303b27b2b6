package kernel_test

import (
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// hostFDs counts this process's descriptors.
func hostFDs(t *testing.T) int {
	t.Helper()
	es, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	return len(es)
}

// Descriptors that nobody asked for, or for requests that can't be, are closed.
func TestHostileLend(t *testing.T) {
	k, url, served := target(t)
	served()
	before := hostFDs(t)
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	h := attack(t, url, true)
	with := func(b []byte, fds ...int) error {
		_, _, err := h.Conn.(*net.UnixConn).WriteMsgUnix(b, unix.UnixRights(fds...), nil)
		return err
	}
	lend := func(fd int32, fds ...int) sysproxy.Message {
		t.Helper()
		b := h.frames(1, sysproxy.Lend{FD: fd})
		if len(fds) > 0 {
			with(b, fds...)
		} else {
			h.Write(b)
		}
		_, m := h.hear(t)
		return m
	}
	h.say(syscallOf(netbsd.SYS___socket30, netbsd.AF_LOCAL, netbsd.SOCK_STREAM, 0))
	h.hear(t)
	for _, tt := range []struct {
		fd   int32
		fds  []int
		want netbsd.Errno
	}{
		{3, nil, netbsd.EOPNOTSUPP}, {3, pair[:1], netbsd.EOPNOTSUPP}, {3, pair[:], netbsd.EOPNOTSUPP},
		{-1, pair[:1], netbsd.EBADF}, {99, pair[:1], netbsd.EBADF}, {99, nil, netbsd.EBADF}, {0, pair[:1], netbsd.ENOTSOCK},
	} {
		if m := lend(tt.fd, tt.fds...); m != (sysproxy.LendReply{Errno: int32(tt.want)}) {
			t.Errorf("%d with %d descriptors: %+v, want %v", tt.fd, len(tt.fds), m, tt.want)
		}
	}
	with(h.frames(1, sysproxy.Lend{FD: 3, Flags: 2}), pair[0])
	if _, m := h.hear(t); m != (sysproxy.Refusal{Code: sysproxy.ErrMalformedRequest}) {
		t.Errorf("a LEND with flags that there are not: %+v", m)
	}
	bad := wire.AppendHeader(nil, sysproxy.Header{Len: sysproxy.HeaderLen + 5, ReqNo: 1, Type: sysproxy.TypeLend})
	with(append(bad, 1, 2, 3, 4, 5), pair[0])
	if _, m := h.hear(t); m != (sysproxy.Refusal{Code: sysproxy.ErrMalformedRequest}) {
		t.Errorf("a LEND of 5 bytes: %+v", m)
	}
	// More of them than requests: that ends the connection.
	for range 100 {
		if with(h.frames(1, syscallOf(netbsd.SYS_getpid)), pair[0]) != nil {
			break
		}
	}
	end := time.Now().Add(10 * time.Second)
	for {
		if _, err := wire.ReadHeader(h.r); err != nil {
			if os.IsTimeout(err) {
				t.Error("the connection does not end")
			}
			break
		}
		h.r.Discard(24)
		if time.Now().After(end) {
			t.Fatal("the connection does not end")
		}
	}
	h.Close()
	served()
	alone(t, k)
	// One that goes in the middle.
	h = attack(t, url, true)
	with(h.frames(1, sysproxy.Lend{FD: 3})[:10], pair[0])
	h.Close()
	alone(t, k)
	// Before the handshake.
	h = attack(t, url, false)
	with(h.frames(1, sysproxy.Lend{FD: 3}), pair[0])
	if _, m := h.hear(t); m != (sysproxy.Refusal{Code: sysproxy.ErrAuth}) {
		t.Errorf("before the handshake: %+v", m)
	}
	h.Close()
	alone(t, k)
	unix.Close(pair[0])
	unix.Close(pair[1])
	for end := time.Now().Add(10 * time.Second); hostFDs(t) > before; {
		if time.Now().After(end) {
			t.Fatalf("%d descriptors, %d before", hostFDs(t), before)
		}
		time.Sleep(time.Millisecond)
	}
}
