//go:build linux

package linuxsock_test

import (
	"bytes"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
)

// What the queue of errors tells of a port that nobody has is what a native
// socket tells.
func TestErrorControlIsNative(t *testing.T) {
	for _, test := range []struct {
		domain      int
		addr        string
		level, name int
	}{
		{unix.AF_INET, "127.0.0.1:9", unix.SOL_IP, unix.IP_RECVERR},
		{unix.AF_INET6, "[::1]:9", unix.SOL_IPV6, unix.IPV6_RECVERR},
	} {
		k := kind{"udp", test.domain, unix.SOCK_DGRAM, unix.IPPROTO_UDP}
		t.Run(test.addr, func(t *testing.T) {
			fd := k.native(t)
			if errno := nativeSet(fd, test.level, test.name, u32(1)); errno != 0 {
				t.Fatal(errno)
			}
			peer := sockaddr(test.addr)
			ap, _ := linuxsock.Addr(peer)
			var to unix.Sockaddr
			if ap.Addr().Is4() {
				to = &unix.SockaddrInet4{Port: int(ap.Port()), Addr: ap.Addr().As4()}
			} else {
				to = &unix.SockaddrInet6{Port: int(ap.Port()), Addr: ap.Addr().As16()}
			}
			if err := unix.Connect(fd, to); err != nil {
				t.Skipf("no loopback of the host's: %v", err)
			}
			if _, err := unix.Write(fd, []byte("x")); err != nil {
				t.Fatal(err)
			}
			fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			if n, err := unix.Poll(fds, int((30 * time.Second).Milliseconds())); n != 1 || err != nil {
				t.Skipf("the host does not say that nobody has the port: %v", err)
			}
			want := make([]byte, 256)
			_, n, _, _, err := unix.Recvmsg(fd, make([]byte, 10), want, unix.MSG_ERRQUEUE)
			if err != nil {
				t.Fatal(err)
			}
			got, truncated := linuxsock.ErrorControl(nil, test.domain, linuxsock.GuessedError(test.domain, unix.ECONNREFUSED, peer), 256)
			if !bytes.Equal(got, want[:n]) || truncated {
				t.Errorf("% x, %v, want % x", got, truncated, want[:n])
			}
			if got, truncated := linuxsock.ErrorControl(nil, test.domain, linuxsock.GuessedError(test.domain, unix.ECONNREFUSED, peer), 20); len(got) != 20 || !truncated {
				t.Errorf("room for 20: % x, %v", got, truncated)
			}
		})
	}
	for _, test := range []struct {
		e    unix.Errno
		peer string
		want []byte // origin, type, code
	}{
		{unix.EHOSTUNREACH, "[2001:db8::1]:9", []byte{3, 1, 3}},
		{unix.ENETUNREACH, "[2001:db8::1]:9", []byte{3, 1, 0}},
		{unix.EMSGSIZE, "[2001:db8::1]:9", []byte{3, 2, 0}},
		{unix.EMSGSIZE, "[::ffff:10.0.0.1]:9", []byte{2, 3, 4}},
		{unix.EHOSTUNREACH, "[::ffff:10.0.0.1]:9", []byte{2, 3, 1}},
	} {
		b, _ := linuxsock.ErrorControl(nil, unix.AF_INET6, linuxsock.GuessedError(unix.AF_INET6, test.e, sockaddr(test.peer)), 256)
		data := b[unix.CmsgLen(0):]
		if unix.Errno(native.Uint32(data)) != test.e || !bytes.Equal(data[4:7], test.want) {
			t.Errorf("%v for %s: % x", test.e, test.peer, data)
		}
	}
}
