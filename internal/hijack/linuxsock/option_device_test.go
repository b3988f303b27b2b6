//go:build linux

package linuxsock_test

import (
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
	"rumptools/pkg/sysproxy"
)

// An interface that a socket is bound to is the kernel's, whether it was named or numbered, if the
// kernel is rumpd; NetBSD's own has none, and the program is told so.
func TestBindToDevice(t *testing.T) {
	each(t, func(t *testing.T, k *spclient.Conn) {
		list, err := new(linuxsock.Addresses).Interfaces(t.Context(), k)
		if err != nil {
			t.Fatal(err)
		}
		index := 0
		for _, ifp := range list {
			if ifp.Name == "lo0" {
				index = ifp.Index
			}
		}
		bound := os.Getenv("LINUXSOCK_TEST_SERVER") == ""
		for _, kind := range kinds {
			p := kind.open(t, k)
			want := func(what, name string, index int) {
				t.Helper()
				b, errno := p.get(t, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, unix.IFNAMSIZ)
				if name != "" {
					name += "\x00"
				}
				if errno != 0 || string(b) != name {
					t.Errorf("%s, %s: SO_BINDTODEVICE is %q, %v", kind.name, what, b, errno)
				}
				b, errno = p.get(t, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, 4)
				if errno != 0 || string(b) != string(u32(int32(index))) {
					t.Errorf("%s, %s: SO_BINDTOIFINDEX is % x, %v", kind.name, what, b, errno)
				}
				if bound {
					if got := p.kernelInt(t, netbsd.SOL_SOCKET, sysproxy.SOBindToDevice); got != int32(index) {
						t.Errorf("%s, %s: the kernel has %d", kind.name, what, got)
					}
				}
			}
			set := func(name int, value []byte, want unix.Errno) {
				t.Helper()
				if errno := p.set(t, unix.SOL_SOCKET, name, value); errno != want {
					t.Errorf("%s: option %d set to %q: %v, want %v", kind.name, name, value, errno, want)
				}
			}
			want("new", "", 0)
			set(unix.SO_BINDTODEVICE, []byte("eth0\x00"), unix.ENODEV) // the host's
			set(unix.SO_BINDTODEVICE, []byte("\x00"), 0)
			set(unix.SO_BINDTODEVICE, nil, 0)
			set(unix.SO_BINDTOIFINDEX, u32(0), 0)
			set(unix.SO_BINDTOIFINDEX, u32(-1), unix.EINVAL)
			if !bound {
				set(unix.SO_BINDTODEVICE, []byte("lo0\x00"), unix.EPERM)
				set(unix.SO_BINDTOIFINDEX, u32(int32(index)), unix.EPERM)
				want("refused", "", 0)
				p.close()
				continue
			}
			set(unix.SO_BINDTOIFINDEX, u32(9999), unix.ENODEV)
			want("none", "", 0)
			set(unix.SO_BINDTODEVICE, []byte("lo0"), 0)
			want("by name", "lo0", index)
			set(unix.SO_BINDTODEVICE, []byte("lo\x00"), 0)
			want("by Linux's name", "lo0", index)
			set(unix.SO_BINDTODEVICE, []byte("nonesuch"), unix.ENODEV)
			want("still", "lo0", index)
			if _, errno := p.get(t, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, 4); errno != unix.EINVAL {
				t.Errorf("%s: into 4 bytes: %v", kind.name, errno)
			}
			// Addresses without a scope are on its link.
			if m := k.Machine(); kind.domain == unix.AF_INET6 {
				sa, errno := p.Address(m, linuxsock.Connect, sockaddr("[fe80::2]:9"))
				if parsed, err := netbsd.ParseSockaddr(m, sa); errno != 0 || err != nil || parsed.ScopeID != uint32(index) {
					t.Errorf("%s: an address without a scope: %v, %v, %v", kind.name, parsed, err, errno)
				}
				if _, errno := p.Address(m, linuxsock.Connect, sockaddr("[fe80::2%"+strconv.Itoa(index+1)+"]:9")); errno != unix.EINVAL {
					t.Errorf("%s: an address on another link: %v", kind.name, errno)
				}
			}
			set(unix.SO_BINDTODEVICE, nil, 0)
			want("no more", "", 0)
			set(unix.SO_BINDTOIFINDEX, u32(int32(index)), 0)
			want("by number", "lo0", index)
			p.close()
		}
	})
}
