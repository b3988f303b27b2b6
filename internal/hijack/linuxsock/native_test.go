//go:build linux

package linuxsock_test

import (
	"fmt"
	"os"
	"runtime"
	"strings"
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

// comparable skips a test that compares with a native socket of another Linux
// than the one whose answers these are, or of one that is set up otherwise.
func comparable(t *testing.T) {
	t.Helper()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	var major, minor int
	release := unix.ByteSliceToString(u.Release[:])
	if n, err := fmt.Sscanf(release, "%d.%d", &major, &minor); n != 2 || major < 6 || major == 6 && minor < 18 {
		t.Skipf("Linux %s answers otherwise (%v)", release, err)
	}
	for name, want := range map[string]string{
		"ipv4/ip_default_ttl": "64", "ipv4/ip_no_pmtu_disc": "0", "ipv4/tcp_keepalive_time": "7200",
		"ipv4/tcp_keepalive_intvl": "75", "ipv4/tcp_keepalive_probes": "9", "ipv4/tcp_syn_retries": "6",
		"ipv4/tcp_fin_timeout": "60", "core/somaxconn": "4096", "core/busy_read": "0", "ipv6/bindv6only": "0",
		"ipv6/auto_flowlabels": "1", "ipv6/conf/default/hop_limit": "64",
	} {
		b, err := os.ReadFile("/proc/sys/net/" + name)
		if got := strings.TrimSpace(string(b)); err == nil && got != want {
			t.Skipf("the host's net/%s is %s", name, got)
		}
	}
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

// notOnNetBSD are options that NetBSD's kernel, which LINUXSOCK_TEST_SERVER names, has not; they are
// refused there, as rumpctl(1) says.
var notOnNetBSD = map[string]string{
	"TCP_QUICKACK":       "reads as off",
	"TCP_LINGER2":        "cannot be set",
	"TCP_DEFER_ACCEPT":   "cannot be set",
	"IP_RECVTOS":         "cannot be set",
	"IP_MTU_DISCOVER":    "cannot forbid fragments",
	"IPV6_MTU":           "is 1280 only",
	"SO_NO_CHECK":        "cannot be set",
	"UDP_NO_CHECK6_TX":   "cannot be set",
	"UDP_NO_CHECK6_RX":   "cannot be set",
	"IP_MULTICAST_ALL":   "cannot be cleared",
	"IPV6_MULTICAST_ALL": "cannot be cleared",
	"SO_BINDTODEVICE":    "cannot be set",
	"TCP_CORK":           "is the supervisor's, not these tests'",
}

// otherKernel tells why an option is not compared on the kernel of the tests, or "".
func otherKernel(o linuxsock.OptionInfo) string {
	if os.Getenv("LINUXSOCK_TEST_SERVER") == "" {
		return ""
	}
	return notOnNetBSD[o.Name]
}

// What a new socket answers is what a native one answers, for each option that
// can be read.
func TestDefaultsAreNative(t *testing.T) {
	comparable(t)
	c := dial(t, netbsd.AMD64)
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			native := k.native(t)
			p := k.open(t, c)
			compared := 0
			for _, o := range linuxsock.Options() {
				for _, size := range []int{64, 4, 3, 1, 0} {
					want, wantErrno := nativeGet(native, o.Level, o.Option, size)
					if !o.CanGet || unlikeNative[o.Name] != "" || otherKernel(o) != "" || wantErrno == unix.ENOPROTOOPT && olderHost(o) {
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
	comparable(t)
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

// setUnlikeNative are options that are set otherwise than those of a socket of
// the host's, and why that is right.
var setUnlikeNative = map[string]string{
	"SO_TIMESTAMPING":     "what is sent has no time",
	"SO_TIMESTAMPING_NEW": "what is sent has no time",
	"IPV6_MULTICAST_IF":   "has other interfaces",
	"IP_MULTICAST_IF":     "has other interfaces",
	"tcp6 IP_MINTTL":      "NetBSD does not look at it",
	"udp6 IP_MINTTL":      "NetBSD does not look at it",
	"raw6 IPV6_CHECKSUM":  "NetBSD cannot end it",
	"tcp6 IP_OPTIONS":     "NetBSD has none for IPv6",
	"udp6 IP_OPTIONS":     "NetBSD has none for IPv6",
	"udp4 IP_RECVOPTS":    "NetBSD does not tell them",
	"udp6 IP_RECVOPTS":    "NetBSD does not tell them",
	"udp4 IP_RETOPTS":     "NetBSD does not tell them",
	"udp6 IP_RETOPTS":     "NetBSD does not tell them",
	"SO_BINDTOIFINDEX":    "a native one is bound by then",
	"SO_PRIORITY":         "more than 6 needs privilege natively",
}

// unprivileged has the rest of a test run on a thread that may do what users
// may.
func unprivileged(t *testing.T) {
	t.Helper()
	runtime.LockOSThread() // for ever: the thread ends with the test
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capset(&hdr, &data[0]); err != nil {
		t.Fatal(err)
	}
}

// Sets of options succeed and fail as those of native sockets, and are read back
// alike, for numbers of all kinds and sizes. What is refused may be allowed
// natively.
func TestSetsAreNative(t *testing.T) {
	comparable(t)
	c := dial(t, netbsd.AMD64)
	numbers := []int32{0, 1, -1, 2, 3, 5, 6, 7, 64, 88, 127, 128, 255, 256, 1024, 1280, 1500, 32767, 32768, 65536, 1 << 20, -2, -1 << 31, 1<<31 - 1, 0, 1}
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			var sockets []int
			for range linuxsock.Options() {
				sockets = append(sockets, k.native(t))
			}
			unprivileged(t)
			for i, o := range linuxsock.Options() {
				native := sockets[i]
				if !o.CanSet || setUnlikeNative[o.Name] != "" || setUnlikeNative[k.name+" "+o.Name] != "" || otherKernel(o) != "" {
					continue
				}
				p := k.open(t, c)
				wrong := 0
				for _, v := range numbers {
					for _, size := range []int{4, 1, 0, 3, 8, 12} {
						value := make([]byte, max(size, 4))
						copy(value, u32(v))
						value = value[:size]
						want := nativeSet(native, o.Level, o.Option, value)
						got := p.set(t, o.Level, o.Option, value)
						if o.Refused && got != 0 {
							continue // perhaps for another reason
						}
						if got != want {
							t.Errorf("%s set to % x: %v, want %v", o.Name, value, got, want)
							wrong++
						}
						if o.Refused || unlikeNative[o.Name] != "" {
							continue
						}
						wantBack, want := nativeGet(native, o.Level, o.Option, 64)
						back, got := p.get(t, o.Level, o.Option, 64)
						if got != want || string(back) != string(wantBack) {
							t.Errorf("%s after % x: % x, %v, want % x, %v", o.Name, value, back, got, wantBack, want)
							wrong++
						}
						if wrong > 3 {
							break
						}
					}
				}
				p.close()
			}
		})
	}
}
