//go:build linux

package linuxsock_test

import (
	"bytes"
	"testing"

	"golang.org/x/sys/unix"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
	"rumptools/pkg/sysproxy"
)

// How a socket finds the MTU of its path is the kernel's to know, if it is rumpd; of NetBSD's own it is
// asked what that can do.
func TestMTUOptions(t *testing.T) {
	each(t, func(t *testing.T, k *spclient.Conn) {
		own := true
		for _, test := range []struct {
			kind        string
			level, name int
			values      []int32
			kernelLevel int32
			kernelName  int32
			// On NetBSD's own kernel: the values that are taken, and the option with its value for each.
			taken []int32
			other int32
			has   []int32
		}{
			{"udp4", unix.SOL_IP, unix.IP_MTU_DISCOVER, []int32{0, 1, 2, 3, 4, 5},
				netbsd.IPPROTO_IP, sysproxy.IPMTUDiscover, []int32{0, 1, 5}, 0, nil},
			{"tcp4", unix.SOL_IP, unix.IP_MTU_DISCOVER, []int32{0, 1, 2, 3, 4, 5},
				netbsd.IPPROTO_IP, sysproxy.IPMTUDiscover, []int32{1, 2}, 0, nil},
			{"udp6", unix.SOL_IP, unix.IP_MTU_DISCOVER, []int32{0, 1, 2, 3, 4, 5},
				netbsd.IPPROTO_IP, sysproxy.IPMTUDiscover, []int32{0, 1, 5}, 0, nil},
			{"udp6", unix.SOL_IPV6, unix.IPV6_MTU_DISCOVER, []int32{0, 1, 2, 3, 4, 5},
				netbsd.IPPROTO_IPV6, sysproxy.IPv6MTUDiscover, []int32{0, 1, 2, 3, 4, 5}, netbsd.IPV6_DONTFRAG, []int32{0, 0, 1, 1, 1, 0}},
			{"udp6", unix.SOL_IPV6, unix.IPV6_MTU, []int32{0, 1280, 1500},
				netbsd.IPPROTO_IPV6, sysproxy.IPv6MTU, []int32{0, 1280}, netbsd.IPV6_USE_MIN_MTU, []int32{-1, 1}},
		} {
			p := kindNamed(test.kind).open(t, k)
			for _, v := range test.values {
				errno := p.set(t, test.level, test.name, u32(v))
				if _, err := k.Getsockopt(t.Context(), p.fd, test.kernelLevel, test.kernelName, make([]byte, 4)); err != nil {
					own = false
				}
				at := -1
				for i, taken := range test.taken {
					if taken == v {
						at = i
					}
				}
				switch {
				case !own && at < 0:
					if errno != unix.ENOPROTOOPT {
						t.Errorf("%s, option %d set to %d: %v", test.kind, test.name, v, errno)
					}
					continue
				case errno != 0:
					t.Errorf("%s, option %d set to %d: %v", test.kind, test.name, v, errno)
				case own:
					if got := p.kernelInt(t, test.kernelLevel, test.kernelName); got != v {
						t.Errorf("%s, option %d set to %d: the kernel has %d", test.kind, test.name, v, got)
					}
				case test.other != 0:
					if got := p.kernelInt(t, test.kernelLevel, test.other); got != test.has[at] {
						t.Errorf("%s, option %d set to %d: the kernel's option %d is %d", test.kind, test.name, v, test.other, got)
					}
				}
				if test.name == unix.IPV6_MTU {
					continue // which tells of the path
				}
				if b, errno := p.get(t, test.level, test.name, 4); errno != 0 || !bytes.Equal(b, u32(v)) {
					t.Errorf("%s, option %d set to %d: % x, %v", test.kind, test.name, v, b, errno)
				}
			}
			p.close()
		}
		// IPV6_DONTFRAG and the other are one option there, and none is lost of it.
		p := kindNamed("udp6").open(t, k)
		set := func(name int, v int32) { p.must(t, unix.SOL_IPV6, name, u32(v)) }
		want := func(what string, v int32) {
			t.Helper()
			if got := p.kernelInt(t, netbsd.IPPROTO_IPV6, netbsd.IPV6_DONTFRAG); !own && got != v {
				t.Errorf("%s: the kernel has %d", what, got)
			}
			if p.RefusesTooLong() != (what == "both" || what == "only discovery") {
				t.Errorf("%s: refuses is %v", what, p.RefusesTooLong())
			}
		}
		set(unix.IPV6_DONTFRAG, 1)
		want("only IPV6_DONTFRAG", 1)
		set(unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DO)
		want("both", 1)
		set(unix.IPV6_DONTFRAG, 0)
		want("only discovery", 1)
		set(unix.IPV6_DONTFRAG, 1)
		set(unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_WANT)
		want("only IPV6_DONTFRAG again", 1)
		set(unix.IPV6_DONTFRAG, 0)
		want("none", 0)
	})
}
