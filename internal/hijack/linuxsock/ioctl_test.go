//go:build linux

package linuxsock_test

import (
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// ifreq makes an argument with an interface's name and what follows it.
func ifreq(name string, union ...byte) []byte {
	b := make([]byte, linuxsock.IoctlSize(unix.SIOCGIFFLAGS))
	copy(b, name)
	copy(b[unix.IFNAMSIZ:], union)
	return b
}

func noWrite(uint64, []byte) unix.Errno { return unix.EFAULT }

// The ioctls of interfaces tell what the kernel has, as Linux's structures have it.
func TestInterfaceIoctls(t *testing.T) {
	each(t, func(t *testing.T, k *spclient.Conn) {
		configure(t, k)
		host, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(host)
		index := func(name string) uint32 {
			out, errno := linuxsock.Ioctl(t.Context(), k, host, unix.SIOCGIFINDEX, ifreq(name), noWrite)
			if errno != 0 {
				t.Fatal(errno)
			}
			return native.Uint32(out[unix.IFNAMSIZ:])
		}
		inet := func(s string) []byte {
			return linuxsock.Sockaddr(netip.AddrPortFrom(netip.MustParseAddr(s), 0), unix.AF_INET)
		}
		u16 := func(v uint16) []byte { return native.AppendUint16(nil, v) }
		u32 := func(v uint32) []byte { return native.AppendUint32(nil, v) }
		const ether = unix.IFF_UP | unix.IFF_BROADCAST | unix.IFF_RUNNING | unix.IFF_MULTICAST
		for _, test := range []struct {
			name string
			req  uint32
			arg  []byte
			want []byte
			err  unix.Errno
		}{
			{"flags", unix.SIOCGIFFLAGS, ifreq("shmif7"), u16(ether), 0},
			{"flags of lo0", unix.SIOCGIFFLAGS, ifreq("lo0"), u16(unix.IFF_UP | unix.IFF_LOOPBACK | unix.IFF_RUNNING | unix.IFF_MULTICAST), 0},
			{"flags of none", unix.SIOCGIFFLAGS, ifreq("eth0"), nil, unix.ENODEV},
			{"flags without a name", unix.SIOCGIFFLAGS, ifreq(""), nil, unix.ENODEV},
			{"flags, long name", unix.SIOCGIFFLAGS, ifreq("0123456789abcdef"), nil, unix.ENODEV},
			{"address", unix.SIOCGIFADDR, ifreq("shmif7"), inet("10.7.0.1"), 0},
			{"address of an alias", unix.SIOCGIFADDR, ifreq("shmif7:1"), inet("10.7.0.1"), 0},
			{"address of lo0", unix.SIOCGIFADDR, ifreq("lo0"), inet("127.0.0.1"), 0},
			{"address of lo", unix.SIOCGIFADDR, ifreq("lo"), inet("127.0.0.1"), 0},
			{"index of lo", unix.SIOCGIFINDEX, ifreq("lo"), u32(index("lo0")), 0},
			{"address of none", unix.SIOCGIFADDR, ifreq("eth0"), nil, unix.ENODEV},
			{"mask", unix.SIOCGIFNETMASK, ifreq("shmif7"), inet("255.255.255.0"), 0},
			{"mask of lo0", unix.SIOCGIFNETMASK, ifreq("lo0"), inet("255.0.0.0"), 0},
			{"broadcast", unix.SIOCGIFBRDADDR, ifreq("shmif7"), inet("10.7.0.255"), 0},
			{"broadcast of the second", unix.SIOCGIFBRDADDR, ifreq("shmif7", inet("10.7.1.1")...), inet("10.7.1.255"), 0},
			{"broadcast of lo0", unix.SIOCGIFBRDADDR, ifreq("lo0"), inet("0.0.0.0"), 0},
			{"peer", unix.SIOCGIFDSTADDR, ifreq("shmif7"), inet("10.7.0.1"), 0},
			{"MTU", unix.SIOCGIFMTU, ifreq("shmif7"), u32(1400), 0},
			{"metric", unix.SIOCGIFMETRIC, ifreq("shmif7"), u32(0), 0},
			{"queue", unix.SIOCGIFTXQLEN, ifreq("shmif7"), u32(256), 0},
			{"name", unix.SIOCGIFNAME, ifreq("", u32(index("shmif7"))...), u32(index("shmif7")), 0},
			{"name of none", unix.SIOCGIFNAME, ifreq("", u32(4711)...), nil, unix.ENODEV},
			{"link of lo0", unix.SIOCGIFHWADDR, ifreq("lo0"), append(u16(unix.ARPHRD_LOOPBACK), 0, 0, 0, 0, 0, 0), 0},
			{"link", unix.SIOCGIFHWADDR, ifreq("shmif7"), u16(unix.ARPHRD_ETHER), 0},
			{"map", unix.SIOCGIFMAP, ifreq("shmif7", 1, 2, 3), make([]byte, 24), 0},
			{"set flags", unix.SIOCSIFFLAGS, nil, nil, unix.EPERM},
			{"add a route", unix.SIOCADDRT, nil, nil, unix.EPERM},
			{"ethtool", unix.SIOCETHTOOL, nil, nil, unix.EOPNOTSUPP},
			{"wireless", 0x8B01, nil, nil, unix.EOPNOTSUPP},
			{"unknown", 0x89cc, nil, nil, unix.ENOTTY},
			{"stamp", unix.SIOCGSTAMP_OLD, make([]byte, 16), nil, unix.ENOENT},
			{"short", unix.SIOCGIFFLAGS, make([]byte, 8), nil, unix.EFAULT},
			{"sent", unix.SIOCOUTQNSD, make([]byte, 4), nil, 0},
		} {
			if !linuxsock.IsTrapped(test.req) {
				t.Errorf("%s is not trapped", test.name)
			}
			out, errno := linuxsock.Ioctl(t.Context(), k, host, test.req, test.arg, noWrite)
			if errno != test.err {
				t.Errorf("%s: %v, want %v", test.name, errno, test.err)
				continue
			}
			if test.want != nil && string(out[unix.IFNAMSIZ:unix.IFNAMSIZ+len(test.want)]) != string(test.want) {
				t.Errorf("%s: % x, want % x", test.name, out[unix.IFNAMSIZ:], test.want)
			}
			if test.req == unix.SIOCGIFNAME && errno == 0 && netbsd.CString(out[:unix.IFNAMSIZ]) != "shmif7" {
				t.Errorf("name is %q", out[:unix.IFNAMSIZ])
			}
		}
	})
}

// SIOCGIFCONF lists the addresses, as many as there is room for.
func TestIfconf(t *testing.T) {
	each(t, func(t *testing.T, k *spclient.Conn) {
		configure(t, k)
		size := linuxsock.IoctlSize(unix.SIOCGIFFLAGS)
		const addr = 0x1234567800
		ifconf := func(room int32, ptr uint64) []byte {
			b := make([]byte, linuxsock.IoctlSize(unix.SIOCGIFCONF))
			native.PutUint32(b, uint32(room))
			if len(b) == 16 {
				native.PutUint64(b[8:], ptr)
			} else {
				native.PutUint32(b[4:], uint32(ptr))
			}
			return b
		}
		all := []string{"lo0 127.0.0.1", "shmif7 10.7.0.1", "shmif7 10.7.1.1"}
		for _, test := range []struct {
			room int32
			ptr  uint64
			want int // entries that are told
		}{{0, 0, 3}, {1000, 0, 3}, {1000, addr, 3}, {int32(3 * size), addr, 3}, {int32(3*size - 1), addr, 2}, {int32(size), addr, 1}, {3, addr, 0}, {0, addr, 0}, {-1, addr, 0}} {
			var got []string
			write := func(to uint64, p []byte) unix.Errno {
				if to != addr&uint64(^uint(0)) {
					t.Errorf("written to %#x", to)
				}
				for ; len(p) >= size; p = p[size:] {
					ap, _ := linuxsock.Addr(p[unix.IFNAMSIZ:])
					got = append(got, fmt.Sprint(netbsd.CString(p[:unix.IFNAMSIZ]), " ", ap.Addr()))
				}
				return 0
			}
			out, errno := linuxsock.Ioctl(t.Context(), k, -1, unix.SIOCGIFCONF, ifconf(test.room, test.ptr), write)
			if errno != 0 {
				t.Fatal(errno)
			}
			if n := int(native.Uint32(out)); n != test.want*size {
				t.Errorf("room %d: %d bytes are told, want %d", test.room, n, test.want*size)
			}
			want := all[:test.want]
			if test.ptr == 0 {
				want = nil
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("room %d: %v, want %v", test.room, got, want)
			}
		}
		if _, errno := linuxsock.Ioctl(t.Context(), k, -1, unix.SIOCGIFCONF, ifconf(1000, addr), noWrite); errno != unix.EFAULT {
			t.Errorf("memory that is not there: %v", errno)
		}
	})
}

// Those who are not root get the error that is given here, natively too.
func TestRefusedIoctlsAreNative(t *testing.T) {
	comparable(t)
	k := dial(t, netbsd.AMD64)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Skip(err)
	}
	defer unix.Close(fd)
	unprivileged(t)
	for _, req := range []uint32{
		unix.SIOCSIFFLAGS, unix.SIOCSIFADDR, unix.SIOCSIFNETMASK, unix.SIOCSIFMTU, unix.SIOCADDRT, unix.SIOCDELRT,
		unix.SIOCSIFHWADDR, unix.SIOCADDMULTI, unix.SIOCSARP, unix.SIOCDARP, unix.SIOCSIFTXQLEN, unix.SIOCSIFNAME,
		unix.SIOCSIFMAP, unix.SIOCDIFADDR, unix.SIOCGIFMEM, unix.SIOCGIFPFLAGS, unix.SIOCGIFMAP, unix.SIOCGIFMETRIC,
		unix.SIOCGIFTXQLEN,
	} {
		arg := ifreq("lo")
		_, _, want := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(req), uintptr(unsafe.Pointer(&arg[0])))
		if _, errno := linuxsock.Ioctl(t.Context(), k, -1, req, append(ifreq("lo0"), make([]byte, 40)...), noWrite); errno != want {
			t.Errorf("%#x: %v, want %v", req, errno, want)
		}
	}
}

// SIOCGARP tells the link-level addresses of neighbours.
func TestArp(t *testing.T) {
	each(t, func(t *testing.T, k *spclient.Conn) {
		if os.Getenv("LINUXSOCK_TEST_SERVER") != "" {
			t.Skip("nobody answers on that kernel's network")
		}
		configure(t, k)
		udp := kindNamed("udp4").open(t, k)
		for _, dst := range []string{"10.7.0.2:9", "10.7.0.3:9"} {
			sa, errno := udp.Address(k.Machine(), linuxsock.Send, linuxsock.Sockaddr(netip.MustParseAddrPort(dst), unix.AF_INET))
			if errno != 0 {
				t.Fatal(errno)
			}
			if _, err := k.Sendto(t.Context(), udp.fd, []byte("x"), 0, sa); err != nil {
				t.Fatal(err)
			}
		}
		ask := func(addr, dev string) ([]byte, unix.Errno) {
			arg := make([]byte, linuxsock.IoctlSize(unix.SIOCGARP))
			copy(arg, linuxsock.Sockaddr(netip.AddrPortFrom(netip.MustParseAddr(addr), 0), unix.AF_INET))
			copy(arg[52:], dev)
			return linuxsock.Ioctl(t.Context(), k, -1, unix.SIOCGARP, arg, noWrite)
		}
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			out, errno := ask("10.7.0.2", "")
			if errno == 0 && native.Uint32(out[32:])&2 != 0 {
				if string(out[18:24]) != string(neighbourMAC) || netbsd.CString(out[52:]) != "shmif7" || native.Uint16(out[16:]) != unix.ARPHRD_ETHER {
					t.Errorf("% x", out)
				}
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("the neighbour never became known")
			}
		}
		for _, test := range []struct {
			addr, dev string
			want      unix.Errno
		}{
			{"10.7.0.2", "shmif7", 0},
			{"10.7.0.2", "lo0", unix.ENXIO},
			{"10.7.0.2", "eth0", unix.ENODEV},
			{"10.7.0.99", "", unix.ENXIO},
		} {
			if _, errno := ask(test.addr, test.dev); errno != test.want {
				t.Errorf("%s on %q: %v, want %v", test.addr, test.dev, errno, test.want)
			}
		}
		arg := make([]byte, linuxsock.IoctlSize(unix.SIOCGARP))
		if _, errno := linuxsock.Ioctl(t.Context(), k, -1, unix.SIOCGARP, arg, noWrite); errno != unix.EPFNOSUPPORT {
			t.Errorf("no family: %v", errno)
		}
	})
}
