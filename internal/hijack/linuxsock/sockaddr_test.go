//go:build linux

package linuxsock_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
	"rumptools/pkg/netbsd"
)

func sockaddr(s string) []byte {
	ap := netip.MustParseAddrPort(s)
	if ap.Addr().Is4() {
		return linuxsock.Sockaddr(ap, unix.AF_INET)
	}
	return linuxsock.Sockaddr(ap, unix.AF_INET6)
}

// withFamily is an address that says that it is of another family.
func withFamily(sa []byte, family uint16) []byte {
	sa = bytes.Clone(sa)
	native.PutUint16(sa, family)
	return sa
}

func TestToNetBSD(t *testing.T) {
	flow := sockaddr("[2001:db8::1]:80")
	binary.BigEndian.PutUint32(flow[4:], 0xabcde)
	for _, m := range netbsd.Machines() {
		for _, test := range []struct {
			name string
			sa   []byte
			want []byte
			err  unix.Errno
		}{
			{"IPv4", sockaddr("10.1.2.3:80"), netbsd.SockaddrIn(netip.MustParseAddrPort("10.1.2.3:80")), 0},
			{"IPv4, longer", append(sockaddr("10.1.2.3:80"), make([]byte, 12)...), netbsd.SockaddrIn(netip.MustParseAddrPort("10.1.2.3:80")), 0},
			{"IPv6", flow, netbsd.SockaddrIn6(m, netip.MustParseAddrPort("[2001:db8::1]:80"), 0, 0xabcde), 0},
			{"IPv6 with scope", sockaddr("[fe80::1%7]:80"), netbsd.SockaddrIn6(m, netip.MustParseAddrPort("[fe80::1]:80"), 7, 0), 0},
			{"IPv6 without room for a scope", sockaddr("[fe80::1%7]:80")[:24], netbsd.SockaddrIn6(m, netip.MustParseAddrPort("[fe80::1]:80"), 0, 0), 0},
			{"IPv4-mapped", sockaddr("[::ffff:10.1.2.3]:80"), netbsd.SockaddrIn6(m, netip.MustParseAddrPort("[::ffff:10.1.2.3]:80"), 0, 0), 0},
			{"none", []byte{0, 0}, append([]byte{16, 0}, make([]byte, 14)...), 0},
			{"nothing", nil, nil, unix.EINVAL},
			{"a byte", []byte{2}, nil, unix.EINVAL},
			{"IPv4, short", sockaddr("10.1.2.3:80")[:15], nil, unix.EINVAL},
			{"IPv6, short", flow[:23], nil, unix.EINVAL},
			{"too long", make([]byte, 129), nil, unix.EINVAL},
			{"local", withFamily(make([]byte, 16), unix.AF_UNIX), nil, unix.EAFNOSUPPORT},
			{"of NetBSD's number for IPv6", withFamily(flow, netbsd.AF_INET6), nil, unix.EAFNOSUPPORT},
		} {
			got, errno := linuxsock.ToNetBSD(m, test.sa)
			if !bytes.Equal(got, test.want) || errno != test.err {
				t.Errorf("%s, %s: % x, %v, want % x, %v", m, test.name, got, errno, test.want, test.err)
			}
			if errno != 0 || len(test.sa) < 16 || linuxsock.Family(test.sa) == unix.AF_UNSPEC {
				continue
			}
			back := linuxsock.FromNetBSD(m, got)
			if n := min(len(back), len(test.sa)); !bytes.Equal(back[:n], test.sa[:n]) {
				t.Errorf("%s, %s: back % x, was % x", m, test.name, back, test.sa)
			}
		}
	}
}

func TestFromNetBSD(t *testing.T) {
	m := netbsd.POWERPC
	embedded := netbsd.SockaddrIn6(m, netip.MustParseAddrPort("[fe80:7::1]:80"), 0, 0)
	if got, want := linuxsock.FromNetBSD(m, embedded), sockaddr("[fe80::1%7]:80"); !bytes.Equal(got, want) {
		t.Errorf("a scope in the address: % x, want % x", got, want)
	}
	for _, sa := range [][]byte{nil, {16}, {16, 2}, {1, 2, 3}, {0, netbsd.AF_LOCAL, 'x', 0}, netbsd.SockaddrIn(netip.AddrPort{})[:6]} {
		if got := linuxsock.FromNetBSD(m, sa); got != nil {
			t.Errorf("% x became % x", sa, got)
		}
	}
}

func TestAddrSockaddr(t *testing.T) {
	for _, test := range []struct {
		addr   string
		family int
		want   string
	}{
		{"10.1.2.3:80", unix.AF_INET, "10.1.2.3:80"},
		{"10.1.2.3:80", unix.AF_INET6, "[::ffff:10.1.2.3]:80"},
		{"[::ffff:10.1.2.3]:80", unix.AF_INET, "10.1.2.3:80"},
		{"[::ffff:10.1.2.3]:80", unix.AF_INET6, "[::ffff:10.1.2.3]:80"},
		{"[fe80::1%7]:80", unix.AF_INET6, "[fe80::1%7]:80"},
		{"[fe80::1%eth0]:80", unix.AF_INET6, "[fe80::1]:80"},
		{"[2001:db8::1]:80", unix.AF_INET, "0.0.0.0:80"},
	} {
		sa := linuxsock.Sockaddr(netip.MustParseAddrPort(test.addr), test.family)
		if got, ok := linuxsock.Addr(sa); !ok || got.String() != test.want {
			t.Errorf("%s in family %d: %v, %v, want %s", test.addr, test.family, got, ok, test.want)
		}
	}
	for _, sa := range [][]byte{nil, {0}, sockaddr("1.2.3.4:5")[:7], sockaddr("[::1]:5")[:23], withFamily(make([]byte, 100), unix.AF_UNIX)} {
		if got, ok := linuxsock.Addr(sa); ok {
			t.Errorf("% x: %v", sa, got)
		}
	}
	if sa := linuxsock.Sockaddr(netip.AddrPort{}, unix.AF_INET6); len(sa) != 28 || !bytes.Equal(sa[2:], make([]byte, 26)) {
		t.Errorf("no address: % x", sa)
	}
}

// What addresses sockets take for what is what native sockets take. They are of
// this host, where nobody listens.
func TestAddressIsNative(t *testing.T) {
	comparable(t)
	v4, v6 := sockaddr("127.0.0.1:9"), sockaddr("[::1]:9")
	mapped, local := sockaddr("[::ffff:127.0.0.1]:9"), sockaddr("[fe80::1]:9")
	long := func(sa []byte, n int) []byte { return append(bytes.Clone(sa), make([]byte, n-len(sa))...) }
	addrs := map[string][]byte{
		"IPv4": v4, "IPv6": v6, "IPv4-mapped": mapped, "link-local without scope": local,
		"IPv4, any": sockaddr("0.0.0.0:0"), "IPv6, any": sockaddr("[::]:0"), "IPv4, no port": sockaddr("127.0.0.1:0"), "IPv6, no port": sockaddr("[::1]:0"),
		"IPv6 of RFC 2133": v6[:24], "IPv6, 23": v6[:23], "IPv4, 15": v4[:15], "IPv4, 28": long(v4, 28), "IPv4, 128": long(v4, 128), "129": make([]byte, 129),
		"nothing": {}, "1": {2}, "2": v4[:2],
		"unspecified, 2": {0, 0}, "unspecified, 16": withFamily(v4, 0), "unspecified, 16, any": withFamily(sockaddr("0.0.0.0:0"), 0),
		"unspecified, 28": withFamily(v6, 0), "local, 16": withFamily(v4, unix.AF_UNIX), "local, 28": withFamily(v6, unix.AF_UNIX),
		"another, 16": withFamily(v4, 4711), "another, 28": withFamily(v6, 4711),
	}
	for _, k := range kinds {
		for _, v6only := range []bool{false, true} {
			if v6only && (k.domain != unix.AF_INET6 || k.typ == unix.SOCK_RAW) {
				continue
			}
			t.Run(fmt.Sprint(k.name, " v6only ", v6only), func(t *testing.T) {
				c := dial(t, netbsd.AMD64)
				for name, sa := range addrs {
					for use, call := range map[linuxsock.Use]uintptr{linuxsock.Bind: unix.SYS_BIND, linuxsock.Connect: unix.SYS_CONNECT, linuxsock.Send: unix.SYS_SENDTO} {
						if use == linuxsock.Send && (k.typ == unix.SOCK_STREAM || len(sa) == 0) {
							continue // streams pass addresses over
						}
						if k.name == "raw4" && use == linuxsock.Send {
							continue // its data are a packet
						}
						fd := k.native(t)
						p := k.open(t, c)
						if v6only {
							nativeSet(fd, unix.SOL_IPV6, unix.IPV6_V6ONLY, u32(1))
							p.set(t, unix.SOL_IPV6, unix.IPV6_V6ONLY, u32(1))
						}
						buf := append(bytes.Clone(sa), 0)
						ptr := uintptr(unsafe.Pointer(&buf[0]))
						var want unix.Errno
						if use == linuxsock.Send {
							data := [8]byte{8}
							_, _, want = unix.Syscall6(call, uintptr(fd), uintptr(unsafe.Pointer(&data[0])), 8, 0, ptr, uintptr(len(sa)))
						} else {
							_, _, want = unix.Syscall(call, uintptr(fd), ptr, uintptr(len(sa)))
						}
						unix.Close(fd)
						_, got := p.Address(netbsd.AMD64, use, sa)
						p.close()
						switch want {
						case unix.EINVAL, unix.EAFNOSUPPORT:
						case unix.ECONNREFUSED:
							// Nobody listens at port 9 either, which is not known here.
							if got == 0 {
								want = 0
							}
						case unix.ENETUNREACH:
							if got == 0 {
								want = 0 // the way is the kernel's business
							}
						default:
							want = 0
						}
						if got != want {
							t.Errorf("%s for %d: %v, want %v", name, use, got, want)
						}
					}
				}
			})
		}
	}
}

// Destinations that mean this host, IPv4 on sockets of IPv6, and what resolvers
// do, have addresses that NetBSD understands.
func TestAddress(t *testing.T) {
	m := netbsd.SPARC64
	for _, test := range []struct {
		kind string
		use  linuxsock.Use
		sa   string
		want string
	}{
		{"tcp4", linuxsock.Connect, "0.0.0.0:80", "127.0.0.1:80"},
		{"tcp6", linuxsock.Connect, "[::]:80", "[::1]:80"},
		{"tcp6", linuxsock.Connect, "[::ffff:0.0.0.0]:80", "[::ffff:127.0.0.1]:80"},
		{"tcp4", linuxsock.Bind, "0.0.0.0:80", "0.0.0.0:80"},
		{"udp6", linuxsock.Connect, "10.0.0.1:53", "[::ffff:10.0.0.1]:53"},
		{"udp6", linuxsock.Send, "10.0.0.1:53", "[::ffff:10.0.0.1]:53"},
		{"udp6", linuxsock.Connect, "0.0.0.0:0", "[::ffff:127.0.0.1]:9"},
		{"udp4", linuxsock.Connect, "10.0.0.1:0", "10.0.0.1:9"},
		{"udp6", linuxsock.Send, "[2001:db8::1%3]:53", "[2001:db8::1]:53"},
		{"udp6", linuxsock.Send, "[fe80::1%3]:53", "[fe80::1%3]:53"},
		{"icmp4", linuxsock.Send, "10.0.0.1:0", "10.0.0.1:0"},
	} {
		k := kindNamed(test.kind)
		s := &linuxsock.Socket{Domain: k.domain, Type: k.typ, Protocol: k.protocol}
		sa, errno := s.Address(m, test.use, sockaddr(test.sa))
		if errno != 0 {
			t.Errorf("%s %s: %v", test.kind, test.sa, errno)
			continue
		}
		parsed, err := netbsd.ParseSockaddr(m, sa)
		if err != nil || parsed.String() != test.want {
			t.Errorf("%s %s: %v, %v, want %s", test.kind, test.sa, parsed, err, test.want)
		}
	}
	s := &linuxsock.Socket{Domain: unix.AF_INET6, Type: unix.SOCK_DGRAM, Protocol: unix.IPPROTO_UDP}
	for _, use := range []linuxsock.Use{linuxsock.Connect, linuxsock.Send} {
		if sa, errno := s.Address(m, use, make([]byte, 16)); sa != nil || errno != 0 {
			t.Errorf("no family for %d: % x, %v", use, sa, errno)
		}
	}
	// A socket that is bound to a link-local address is on its link.
	if _, errno := s.Address(m, linuxsock.Connect, sockaddr("[fe80::2]:9")); errno != unix.EINVAL {
		t.Errorf("connect without a scope: %v", errno)
	}
	if _, errno := s.Address(m, linuxsock.Bind, sockaddr("[fe80::1%3]:9")); errno != 0 {
		t.Error(errno)
	}
	sa, errno := s.Address(m, linuxsock.Connect, sockaddr("[fe80::2]:9"))
	if parsed, err := netbsd.ParseSockaddr(m, sa); errno != 0 || err != nil || parsed.ScopeID != 3 {
		t.Errorf("connect without a scope: %v, %v, %v", parsed, err, errno)
	}
}

func FuzzSockaddr(f *testing.F) {
	f.Add(sockaddr("10.1.2.3:80"))
	f.Add(sockaddr("[fe80::1%7]:80"))
	f.Add(netbsd.SockaddrIn6(netbsd.POWERPC, netip.MustParseAddrPort("[fe80:7::1]:80"), 0, 0))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, sa []byte) {
		before := bytes.Clone(sa)
		for _, m := range machines {
			linuxsock.FromNetBSD(m, sa)
			for _, k := range kinds {
				s := &linuxsock.Socket{Domain: k.domain, Type: k.typ, Protocol: k.protocol}
				for _, use := range []linuxsock.Use{linuxsock.Bind, linuxsock.Connect, linuxsock.Send} {
					out, errno := s.Address(m, use, sa)
					if errno != 0 && out != nil {
						t.Fatalf("% x and %v", out, errno)
					}
					if out != nil {
						if _, err := netbsd.ParseSockaddr(m, out); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
			out, errno := linuxsock.ToNetBSD(m, sa)
			if errno != 0 {
				continue
			}
			// What came out and in again is the same to NetBSD.
			if back := linuxsock.FromNetBSD(m, out); back != nil {
				again, errno := linuxsock.ToNetBSD(m, back)
				parsed, err := netbsd.ParseSockaddr(m, out)
				if errno != 0 || err != nil {
					t.Fatal(errno, err)
				}
				if want, _ := parsed.ExtractScope().Append(m, nil); parsed.ScopeID == 0 && !bytes.Equal(again, want) {
					t.Fatalf("% x became % x", want, again)
				}
			}
		}
		if !bytes.Equal(sa, before) {
			t.Fatal("the address was changed")
		}
	})
}
