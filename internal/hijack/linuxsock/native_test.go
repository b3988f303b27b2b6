//go:build linux

package linuxsock_test

import (
	"fmt"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
	"rumptools/pkg/netbsd"
)

// nativeGet is getsockopt(2) of the host.
func nativeGet(fd, level, name, size int) ([]byte, unix.Errno) {
	b := make([]byte, size+1)
	n := uint32(size)
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(name),
		uintptr(unsafe.Pointer(&b[0])), uintptr(unsafe.Pointer(&n)), 0)
	if errno != 0 {
		return nil, errno
	}
	return b[:n], 0
}

// nativeSet is setsockopt(2) of the host.
func nativeSet(fd, level, name int, value []byte) unix.Errno {
	err := unix.SetsockoptString(fd, level, name, string(value))
	errno, _ := err.(unix.Errno)
	return errno
}

// native makes a socket of the host's, if that is allowed.
func (k kind) native(t *testing.T) int {
	t.Helper()
	fd, err := unix.Socket(k.domain, k.typ|unix.SOCK_CLOEXEC, k.protocol)
	if err != nil {
		t.Skipf("no socket of the host's: %v", err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// unlikeNative are options whose values are another's than those of a socket of
// the host's, and why that is right.
var unlikeNative = map[string]string{
	"SO_SNDBUF":        "the host's socket is a local one",
	"SO_RCVBUF":        "the host's socket is a local one",
	"SO_MEMINFO":       "the host's socket is a local one",
	"SO_COOKIE":        "differs from socket to socket",
	"TCP_CONGESTION":   "the host's administrator chooses",
	"TCP_INFO":         "of another connection",
	"TCP_CC_INFO":      "of the host's algorithm",
	"TCP_WINDOW_CLAMP": "known when there is a connection",
}

// What a new socket answers is what a native one answers, for each option that
// can be read.
func TestDefaultsAreNative(t *testing.T) {
	c := dial(t, netbsd.AMD64)
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			native := k.native(t)
			p := k.open(t, c)
			compared := 0
			for _, o := range linuxsock.Options() {
				for _, size := range []int{64, 4, 3, 1, 0} {
					want, wantErrno := nativeGet(native, o.Level, o.Option, size)
					if !o.CanGet || unlikeNative[o.Name] != "" || wantErrno == unix.ENOPROTOOPT && olderHost(o) {
						continue
					}
					got, errno := p.get(t, o.Level, o.Option, size)
					if errno != wantErrno || string(got) != string(want) {
						t.Errorf("%s of %d bytes: % x, %v, want % x, %v", o.Name, size, got, errno, want, wantErrno)
					}
					compared++
				}
			}
			if compared < 200 {
				t.Errorf("only %d values were compared", compared)
			}
		})
	}
}

// olderHost tells whether an option is younger than the oldest host that this
// is for.
func olderHost(o linuxsock.OptionInfo) bool {
	switch o.Name {
	case "SO_RESERVE_MEM", "SO_TXREHASH", "SO_RCVMARK", "SO_PASSPIDFD", "SO_PEERPIDFD", "SO_PASSRIGHTS",
		"IP_LOCAL_PORT_RANGE", "IP_PROTOCOL", "TCP_IS_MPTCP":
		return true
	}
	return false
}

// Options that are none give the errors that native sockets give.
func TestUnknownOptions(t *testing.T) {
	c := dial(t, netbsd.AMD64)
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			native, p := k.native(t), k.open(t, c)
			for _, level := range []int{unix.SOL_SOCKET, unix.SOL_IP, unix.SOL_IPV6, unix.SOL_TCP, unix.SOL_UDP, unix.SOL_RAW, unix.SOL_ICMPV6, 132, 4711} {
				const name = 4711
				for size := range 6 {
					value := make([]byte, size)
					what := fmt.Sprintf("level %d, %d bytes", level, size)
					if got, want := p.set(t, level, name, value), nativeSet(native, level, name, value); got != want {
						t.Errorf("set, %s: %v, want %v", what, got, want)
					}
					_, want := nativeGet(native, level, name, size)
					if _, got := p.get(t, level, name, size); got != want {
						t.Errorf("get, %s: %v, want %v", what, got, want)
					}
				}
			}
		})
	}
}
