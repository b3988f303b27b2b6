//go:build linux

package netlink_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/netlink"
	"rumptools/internal/hijack/netview"
	"rumptools/internal/hijack/netview/netviewtest"
	"rumptools/pkg/netbsd"
)

var native = binary.NativeEndian

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// forMachines runs a test with two kernels on a bus, of each machine.
func forMachines(t *testing.T, f func(t *testing.T, a, b *netviewtest.Kernel)) {
	for _, m := range []*netbsd.Machine{netbsd.AMD64, netbsd.POWERPC} {
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel()
			bus := filepath.Join(t.TempDir(), "bus")
			a, b := netviewtest.Start(t, m), netviewtest.Start(t, netbsd.AMD64)
			a.Ethernet(bus, "1")
			b.Ethernet(bus, "2")
			f(t, a, b)
		})
	}
}

// attr makes an attribute.
func attr(typ uint16, data []byte) []byte {
	b := native.AppendUint16(nil, uint16(4+len(data)))
	b = native.AppendUint16(b, typ)
	b = append(b, data...)
	return append(b, make([]byte, -len(data)&3)...)
}

func attr32(typ uint16, v uint32) []byte { return attr(typ, native.AppendUint32(nil, v)) }

// message makes a request.
func message(typ, flags uint16, seq uint32, parts ...[]byte) []byte {
	body := slices.Concat(parts...)
	b := native.AppendUint32(nil, uint32(16+len(body)))
	b = native.AppendUint16(b, typ)
	b = native.AppendUint16(b, unix.NLM_F_REQUEST|flags)
	b = native.AppendUint32(b, seq)
	b = native.AppendUint32(b, 0)
	return append(b, body...)
}

const portID = 4711

// reply is a message of an answer.
type reply struct {
	syscall.NetlinkMessage
	fixed int // bytes of its structure
}

// attrs are the attributes by type.
func (r reply) attrs(t testing.TB) map[uint16][]byte {
	t.Helper()
	return parseAttrs(t, r.Data[min(r.fixed, len(r.Data)):])
}

func parseAttrs(t testing.TB, b []byte) map[uint16][]byte {
	t.Helper()
	list := map[uint16][]byte{}
	for len(b) > 0 {
		n := 0
		if len(b) >= 4 {
			n = int(native.Uint16(b))
		}
		if n < 4 || n > len(b) {
			t.Fatalf("attribute of %d bytes in %d", n, len(b))
		}
		list[native.Uint16(b[2:])] = b[4:n]
		b = b[min((n+3)&^3, len(b)):]
	}
	return list
}

// sizes are the sizes of the structures of rtnetlink's messages.
var sizes = map[uint16]int{
	unix.RTM_NEWLINK: 16, unix.RTM_DELLINK: 16, unix.RTM_NEWADDR: 8, unix.RTM_DELADDR: 8, unix.RTM_NEWROUTE: 12, unix.RTM_DELROUTE: 12,
	unix.RTM_NEWNEIGH: 12, unix.RTM_DELNEIGH: 12, unix.RTM_NEWRULE: 12,
}

// sizeofDiagMsg is the size of struct inet_diag_msg.
const sizeofDiagMsg = 72

func parse(t testing.TB, datagram []byte) []reply {
	t.Helper()
	msgs, err := syscall.ParseNetlinkMessage(datagram)
	must(t, err)
	var list []reply
	for _, m := range msgs {
		list = append(list, reply{m, sizes[m.Header.Type]})
	}
	return list
}

// ask makes one request and returns the answer's messages, without the end of
// a list; errno is that of the answer.
func ask(t testing.TB, s *netlink.Server, protocol int, req []byte) (list []reply, errno unix.Errno) {
	t.Helper()
	seq := native.Uint32(req[8:])
	dump := native.Uint16(req[6:])&unix.NLM_F_DUMP != 0
	ended := false
	for _, datagram := range s.Request(t.Context(), protocol, portID, req) {
		if len(datagram) > 4096 {
			t.Errorf("datagram of %d bytes", len(datagram))
		}
		for _, m := range parse(t, datagram) {
			if ended {
				t.Errorf("message after the end: %+v", m.Header)
			}
			if m.Header.Seq != seq || m.Header.Pid != portID {
				t.Errorf("answer %d to %d, asked %d", m.Header.Seq, m.Header.Pid, seq)
			}
			switch m.Header.Type {
			case unix.NLMSG_DONE:
				if first := native.Uint16(datagram[4:]); first != unix.NLMSG_DONE {
					t.Errorf("the end is in a datagram that begins with %d", first)
				}
				ended = true
				if len(m.Data) != 4 || native.Uint32(m.Data) != 0 || m.Header.Flags&unix.NLM_F_MULTI == 0 {
					t.Errorf("end: %+v", m)
				}
			case unix.NLMSG_ERROR:
				ended = true
				errno = unix.Errno(-int32(native.Uint32(m.Data)))
				if string(m.Data[4:20]) != string(req[:16]) {
					t.Errorf("error about %x", m.Data[4:])
				}
			default:
				if protocol == unix.NETLINK_SOCK_DIAG {
					m.fixed = sizeofDiagMsg
				}
				if (m.Header.Flags&unix.NLM_F_MULTI != 0) != dump {
					t.Errorf("flags %#x", m.Header.Flags)
				}
				list = append(list, m)
			}
		}
	}
	if dump && !ended {
		t.Error("a list without an end")
	}
	return list, errno
}

// list asks for a list.
func list(t testing.TB, s *netlink.Server, typ uint16, body ...[]byte) []reply {
	t.Helper()
	l, errno := ask(t, s, unix.NETLINK_ROUTE, message(typ, unix.NLM_F_DUMP, 9, body...))
	if errno != 0 {
		t.Fatalf("request %d: %v", typ, errno)
	}
	return l
}

func cstring(b []byte) string { return strings.TrimRight(string(b), "\x00") }

func TestLinks(t *testing.T) {
	forMachines(t, func(t *testing.T, a, _ *netviewtest.Kernel) {
		s := netlink.New(a, nil)
		var got []string
		for _, m := range list(t, s, unix.RTM_GETLINK, make([]byte, 16), attr32(unix.IFLA_EXT_MASK, 9)) {
			at := m.attrs(t)
			got = append(got, fmt.Sprintf("%d %s type %d flags %#x mtu %d", native.Uint32(m.Data[4:]), cstring(at[unix.IFLA_IFNAME]),
				native.Uint16(m.Data[2:]), native.Uint32(m.Data[8:]), native.Uint32(at[unix.IFLA_MTU])))
			if at[unix.IFLA_STATS64] != nil {
				t.Error("statistics that were not wanted")
			}
		}
		want := []string{"1 lo0 type 772 flags 0x11049 mtu 33624", "2 shmif0 type 1 flags 0x11043 mtu 1500"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		for _, c := range []struct {
			what  string
			body  []byte
			want  string
			errno unix.Errno
		}{
			{"by index", native.AppendUint32(make([]byte, 4), 2), "shmif0", 0},
			{"by name", slices.Concat(make([]byte, 16), attr(unix.IFLA_IFNAME, []byte("lo0\x00"))), "lo0", 0},
			{"by Linux's name", slices.Concat(make([]byte, 16), attr(unix.IFLA_IFNAME, []byte("lo\x00"))), "lo0", 0},
			{"by alternative name", slices.Concat(make([]byte, 16), attr(unix.IFLA_ALT_IFNAME, []byte("shmif0"))), "shmif0", 0},
			{"unknown index", native.AppendUint32(make([]byte, 4), 77), "", unix.ENODEV},
			{"unknown name", slices.Concat(make([]byte, 16), attr(unix.IFLA_IFNAME, []byte("eth0\x00"))), "", unix.ENODEV},
			{"nothing", make([]byte, 16), "", unix.EINVAL},
		} {
			l, errno := ask(t, s, unix.NETLINK_ROUTE, message(unix.RTM_GETLINK, 0, 5, c.body))
			name := ""
			if len(l) == 1 {
				at := l[0].attrs(t)
				name = cstring(at[unix.IFLA_IFNAME])
				if len(at[unix.IFLA_STATS64]) < 184 {
					t.Errorf("%s: statistics of %d bytes", c.what, len(at[unix.IFLA_STATS64]))
				}
			}
			if errno != c.errno || name != c.want {
				t.Errorf("%s: %q, %v", c.what, name, errno)
			}
		}
		if l := list(t, s, unix.RTM_GETLINK, append([]byte{unix.AF_BRIDGE}, make([]byte, 15)...)); len(l) != 0 {
			t.Errorf("%d interfaces of bridges", len(l))
		}
	})
}

// counters are what an interface has counted.
func counters(t *testing.T, s *netlink.Server, name string) (packets, bytes uint64) {
	t.Helper()
	l, errno := ask(t, s, unix.NETLINK_ROUTE, message(unix.RTM_GETLINK, 0, 5, make([]byte, 16), attr(unix.IFLA_IFNAME, []byte(name))))
	if errno != 0 || len(l) != 1 {
		t.Fatal(errno)
	}
	stats := l[0].attrs(t)[unix.IFLA_STATS64]
	return native.Uint64(stats[8:]), native.Uint64(stats[24:])
}

func TestLinkCounters(t *testing.T) {
	forMachines(t, func(t *testing.T, a, b *netviewtest.Kernel) {
		s := netlink.New(a, nil)
		packets, bytes := counters(t, s, "shmif0")
		c, err := a.ListenPacket(t.Context(), "udp4", "10.0.0.1:0")
		must(t, err)
		defer c.Close()
		to, err := b.ListenPacket(t.Context(), "udp4", "10.0.0.2:77")
		must(t, err)
		defer to.Close()
		_, err = c.WriteTo(make([]byte, 1000), to.LocalAddr())
		must(t, err)
		_, _, err = to.ReadFrom(make([]byte, 1000))
		must(t, err)
		p, n := counters(t, s, "shmif0")
		if p <= packets || n < bytes+1000 {
			t.Errorf("%d packets of %d bytes, then %d of %d", packets, bytes, p, n)
		}
	})
}

func TestAddrs(t *testing.T) {
	forMachines(t, func(t *testing.T, a, _ *netviewtest.Kernel) {
		s := netlink.New(a, nil)
		get := func(body ...[]byte) []string {
			var got []string
			for _, m := range list(t, s, unix.RTM_GETADDR, body...) {
				at := m.attrs(t)
				ip, ok := netip.AddrFromSlice(at[unix.IFA_ADDRESS])
				if !ok {
					t.Fatalf("no address: %v", at)
				}
				if ip.IsLinkLocalUnicast() && native.Uint32(m.Data[4:]) == 2 {
					ip = netip.MustParseAddr("fe80::2")
				}
				brd := ""
				if b, ok := at[unix.IFA_BROADCAST]; ok {
					brd = fmt.Sprint(" brd ", netip.AddrFrom4([4]byte(b)))
				}
				if ip.Is4() && (string(at[unix.IFA_LOCAL]) != string(at[unix.IFA_ADDRESS]) || cstring(at[unix.IFA_LABEL]) == "") {
					t.Errorf("%s: local %v, label %q", ip, at[unix.IFA_LOCAL], at[unix.IFA_LABEL])
				}
				if native.Uint32(at[unix.IFA_FLAGS])&unix.IFA_F_PERMANENT == 0 || native.Uint32(at[unix.IFA_CACHEINFO]) != 1<<32-1 {
					t.Errorf("%s: flags %v, lifetimes %v", ip, at[unix.IFA_FLAGS], at[unix.IFA_CACHEINFO])
				}
				got = append(got, fmt.Sprintf("%d %d %s/%d scope %d%s", native.Uint32(m.Data[4:]), m.Data[0], ip, m.Data[1], m.Data[3], brd))
			}
			slices.Sort(got)
			return got
		}
		inet := []string{"1 2 127.0.0.1/8 scope 254", "2 2 10.0.0.1/24 scope 0 brd 10.0.0.255"}
		inet6 := []string{"1 10 ::1/128 scope 254", "2 10 fd00::1/64 scope 0", "2 10 fe80::2/64 scope 253"}
		all := slices.Concat(inet, inet6)
		slices.Sort(all)
		ofTwo := func(family byte) []byte { return native.AppendUint32([]byte{family, 0, 0, 0}, 2) }
		for _, c := range []struct {
			what string
			body []byte
			want []string
		}{
			{"all", make([]byte, 8), all},
			{"with a family only", []byte{unix.AF_UNSPEC}, all},
			{"of IPv4", []byte{unix.AF_INET, 0, 0, 0, 0, 0, 0, 0}, inet},
			{"of IPv6, struct rtgenmsg", []byte{unix.AF_INET6, 0, 0, 0}, inet6},
			{"of an interface", ofTwo(unix.AF_INET), inet[1:]},
		} {
			if diff := cmp.Diff(c.want, get(c.body)); diff != "" {
				t.Errorf("%s: %s", c.what, diff)
			}
		}
		if _, errno := ask(t, s, unix.NETLINK_ROUTE, message(unix.RTM_GETADDR, unix.NLM_F_DUMP, 1, native.AppendUint32(make([]byte, 4), 77))); errno != unix.ENODEV {
			t.Errorf("of no interface: %v", errno)
		}
		l, errno := ask(t, s, unix.NETLINK_ROUTE, message(unix.RTM_GETADDR, 0, 1, []byte{unix.AF_INET6, 0, 0, 0, 0, 0, 0, 0},
			attr(unix.IFA_ADDRESS, netip.MustParseAddr("fd00::1").AsSlice())))
		if errno != 0 || len(l) != 1 {
			t.Errorf("one of IPv6: %v, %v", l, errno)
		}
	})
}

func TestRoutes(t *testing.T) {
	forMachines(t, func(t *testing.T, a, _ *netviewtest.Kernel) {
		s := netlink.New(a, nil)
		a.Route(netbsd.RTM_ADD, "0.0.0.0/0", "10.0.0.2", netbsd.RTF_STATIC)
		a.Route(netbsd.RTM_ADD, "172.16.0.0/12", "127.0.0.1", netbsd.RTF_STATIC|netbsd.RTF_REJECT)
		get := func(body ...[]byte) []string {
			var got []string
			for _, m := range list(t, s, unix.RTM_GETROUTE, body...) {
				at := m.attrs(t)
				dst, ok := netip.AddrFromSlice(at[unix.RTA_DST])
				if !ok && m.Data[1] != 0 {
					t.Errorf("no destination of %d bits", m.Data[1])
				}
				text := fmt.Sprintf("%s/%d table %d proto %d scope %d type %d", dst, m.Data[1], native.Uint32(at[unix.RTA_TABLE]), m.Data[5], m.Data[6], m.Data[7])
				for _, x := range []struct {
					name string
					typ  uint16
				}{{"via", unix.RTA_GATEWAY}, {"src", unix.RTA_PREFSRC}} {
					if ip, ok := netip.AddrFromSlice(at[x.typ]); ok {
						text += fmt.Sprintf(" %s %s", x.name, ip)
					}
				}
				if oif := at[unix.RTA_OIF]; oif != nil {
					text += fmt.Sprint(" dev ", native.Uint32(oif))
				}
				got = append(got, text)
			}
			return got
		}
		main := []string{
			"invalid IP/0 table 254 proto 4 scope 0 type 1 via 10.0.0.2 dev 2",
			"10.0.0.0/24 table 254 proto 2 scope 253 type 1 src 10.0.0.1 dev 2",
			"172.16.0.0/12 table 254 proto 4 scope 0 type 7",
		}
		if diff := cmp.Diff(main, get([]byte{unix.AF_INET, 0, 0, 0, unix.RT_TABLE_MAIN, 0, 0, 0, 0, 0, 0, 0})); diff != "" {
			t.Error(diff)
		}
		// What iproute2 asks since it has strict checking.
		if diff := cmp.Diff(main, get([]byte{unix.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, attr32(unix.RTA_TABLE, unix.RT_TABLE_MAIN))); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(main[:1], get([]byte{unix.AF_INET, 0, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0}, attr32(unix.RTA_OIF, 2))); diff != "" {
			t.Error(diff)
		}
		local := []string{
			"10.0.0.1/32 table 255 proto 2 scope 254 type 2 src 10.0.0.1 dev 2",
			"127.0.0.1/32 table 255 proto 2 scope 254 type 2 src 127.0.0.1 dev 1",
			"10.0.0.255/32 table 255 proto 2 scope 253 type 3 src 10.0.0.1 dev 2",
		}
		if diff := cmp.Diff(local, get([]byte{unix.AF_INET, 0, 0, 0, unix.RT_TABLE_LOCAL, 0, 0, 0, 0, 0, 0, 0})); diff != "" {
			t.Error(diff)
		}
		all := get([]byte{unix.AF_UNSPEC})
		if len(all) < 12 || !slices.Contains(all, "fd00::/64 table 254 proto 2 scope 0 type 1 dev 2") {
			t.Errorf("all: %q", all)
		}
		cached := native.AppendUint32([]byte{unix.AF_INET, 0, 0, 0, 0, 0, 0, 0}, unix.RTM_F_CLONED)
		if l := list(t, s, unix.RTM_GETROUTE, cached); len(l) != 0 {
			t.Errorf("%d routes are remembered", len(l))
		}
	})
}

func TestRouteLookup(t *testing.T) {
	forMachines(t, func(t *testing.T, a, _ *netviewtest.Kernel) {
		s := netlink.New(a, nil)
		a.Route(netbsd.RTM_ADD, "0.0.0.0/0", "10.0.0.2", netbsd.RTF_STATIC)
		a.Route(netbsd.RTM_ADD, "172.16.0.0/12", "127.0.0.1", netbsd.RTF_STATIC|netbsd.RTF_REJECT)
		for _, c := range []struct {
			dst   string
			more  []byte
			flags uint32
			want  string
			errno unix.Errno
		}{
			{"192.0.2.7", nil, 0, "192.0.2.7/32 table 254 type 1 flags 0x200 via 10.0.0.2 src 10.0.0.1 dev 2", 0},
			{"10.0.0.2", nil, unix.RTM_F_LOOKUP_TABLE, "10.0.0.2/32 table 254 type 1 flags 0x200 src 10.0.0.1 dev 2", 0},
			{"10.0.0.1", nil, unix.RTM_F_LOOKUP_TABLE, "10.0.0.1/32 table 255 type 2 flags 0x80000200 src 10.0.0.1 dev 1", 0},
			{"10.0.0.2", attr32(unix.RTA_OIF, 2), 0, "10.0.0.2/32 table 254 type 1 flags 0x200 src 10.0.0.1 dev 2", 0},
			{"10.0.0.2", attr32(unix.RTA_OIF, 1), 0, "", unix.ENETUNREACH},
			{"10.0.0.2", attr(unix.RTA_SRC, []byte{127, 0, 0, 1}), 0, "10.0.0.2/32 table 254 type 1 flags 0x200 dev 2", 0},
			{"10.0.0.2", attr(unix.RTA_SRC, []byte{127, 0, 0, 9}), 0, "", unix.EINVAL},
			{"192.0.2.7", nil, unix.RTM_F_FIB_MATCH, "invalid IP/0 table 254 type 1 flags 0x0 via 10.0.0.2 dev 2", 0},
			{"10.0.0.1", nil, unix.RTM_F_FIB_MATCH, "10.0.0.1/32 table 255 type 2 flags 0x0 src 10.0.0.1 dev 2", 0},
			{"172.16.3.4", nil, 0, "", unix.EHOSTUNREACH},
			{"fd00::2", nil, 0, "fd00::2/128 table 254 type 1 flags 0x0 src fd00::1 dev 2", 0},
			{"2001:db8::1", nil, 0, "", unix.ENETUNREACH},
		} {
			dst := netip.MustParseAddr(c.dst)
			family := byte(unix.AF_INET)
			if dst.Is6() {
				family = unix.AF_INET6
			}
			head := native.AppendUint32([]byte{family, byte(dst.BitLen()), 0, 0, 0, 0, 0, 0}, c.flags)
			l, errno := ask(t, s, unix.NETLINK_ROUTE, message(unix.RTM_GETROUTE, 0, 5, head, attr(unix.RTA_DST, dst.AsSlice()), c.more))
			got := ""
			if len(l) == 1 {
				m := l[0]
				at := m.attrs(t)
				to, _ := netip.AddrFromSlice(at[unix.RTA_DST])
				got = fmt.Sprintf("%s/%d table %d type %d flags %#x", to, m.Data[1], m.Data[4], m.Data[7], native.Uint32(m.Data[8:]))
				if gw, ok := netip.AddrFromSlice(at[unix.RTA_GATEWAY]); ok {
					got += " via " + gw.String()
				}
				if src, ok := netip.AddrFromSlice(at[unix.RTA_PREFSRC]); ok {
					got += " src " + src.String()
				}
				got += fmt.Sprint(" dev ", native.Uint32(at[unix.RTA_OIF]))
			}
			if got != c.want || errno != c.errno {
				t.Errorf("%s: %q, %v; not %q, %v", c.dst, got, errno, c.want, c.errno)
			}
		}
	})
}

func TestNeighbours(t *testing.T) {
	forMachines(t, func(t *testing.T, a, b *netviewtest.Kernel) {
		s := netlink.New(a, nil)
		l, err := b.Listen(t.Context(), "tcp", "10.0.0.2:7")
		must(t, err)
		defer l.Close()
		c, err := a.DialContext(t.Context(), "tcp", "10.0.0.2:7")
		must(t, err)
		defer c.Close()
		links, err := netview.Links(t.Context(), b)
		must(t, err)
		check := func(what string, l []reply) {
			t.Helper()
			if len(l) != 1 {
				t.Fatalf("%s: %d neighbours", what, len(l))
			}
			at := l[0].attrs(t)
			if ip, _ := netip.AddrFromSlice(at[unix.NDA_DST]); ip != netip.MustParseAddr("10.0.0.2") || string(at[unix.NDA_LLADDR]) != string(links[1].Addr) {
				t.Errorf("%s: %s at %x", what, ip, at[unix.NDA_LLADDR])
			}
			if index, state := native.Uint32(l[0].Data[4:]), native.Uint16(l[0].Data[8:]); index != 2 || state != unix.NUD_REACHABLE {
				t.Errorf("%s: interface %d, state %#x", what, index, state)
			}
		}
		head := []byte{unix.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
		check("all", list(t, s, unix.RTM_GETNEIGH, head))
		check("of an interface", list(t, s, unix.RTM_GETNEIGH, head, attr32(unix.NDA_IFINDEX, 2)))
		if l := list(t, s, unix.RTM_GETNEIGH, head, attr32(unix.NDA_IFINDEX, 1)); len(l) != 0 {
			t.Errorf("of another: %d", len(l))
		}
		if l := list(t, s, unix.RTM_GETNEIGH, []byte{unix.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0, 0, unix.NTF_PROXY, 0}); len(l) != 0 {
			t.Errorf("proxies: %d", len(l))
		}
		one := []byte{unix.AF_INET, 0, 0, 0}
		one = append(native.AppendUint32(one, 2), 0, 0, 0, 0)
		r, errno := ask(t, s, unix.NETLINK_ROUTE, message(unix.RTM_GETNEIGH, 0, 1, one, attr(unix.NDA_DST, []byte{10, 0, 0, 2})))
		if errno != 0 {
			t.Fatal(errno)
		}
		check("one", r)
		_, errno = ask(t, s, unix.NETLINK_ROUTE, message(unix.RTM_GETNEIGH, 0, 1, one, attr(unix.NDA_DST, []byte{10, 0, 0, 77})))
		if errno != unix.ENOENT {
			t.Errorf("none: %v", errno)
		}
	})
}

// TestRefusals has the errors of what cannot be done, and acknowledgements.
func TestRefusals(t *testing.T) {
	k := netviewtest.Start(t, netbsd.AMD64)
	s := netlink.New(k, nil)
	for _, c := range []struct {
		what     string
		protocol int
		req      []byte
		want     string
	}{
		{"a change", unix.NETLINK_ROUTE, message(unix.RTM_NEWADDR, unix.NLM_F_ACK, 1, make([]byte, 8)), "-95"},
		{"a deletion", unix.NETLINK_ROUTE, message(unix.RTM_DELLINK, 0, 1, make([]byte, 16)), "-95"},
		{"setting a link", unix.NETLINK_ROUTE, message(unix.RTM_SETLINK, unix.NLM_F_ACK, 1, make([]byte, 16)), "-22"},
		{"what there is not", unix.NETLINK_ROUTE, message(unix.RTM_GETMDB, 0, 1, make([]byte, 16)), "-95"},
		{"an unknown type", unix.NETLINK_ROUTE, message(1000, 0, 1, make([]byte, 16)), "-95"},
		{"no family", unix.NETLINK_ROUTE, message(unix.RTM_GETLINK, unix.NLM_F_DUMP, 1), ""},
		{"no family, acknowledged", unix.NETLINK_ROUTE, message(unix.RTM_GETLINK, unix.NLM_F_ACK, 1), "0"},
		{"NLMSG_NOOP", unix.NETLINK_ROUTE, message(unix.NLMSG_NOOP, 0, 1), ""},
		{"NLMSG_NOOP, acknowledged", unix.NETLINK_ROUTE, message(unix.NLMSG_NOOP, unix.NLM_F_ACK, 1), "0"},
		{"one address of IPv4", unix.NETLINK_ROUTE, message(unix.RTM_GETADDR, 0, 1, []byte{unix.AF_INET, 0, 0, 0, 0, 0, 0, 0}), "-95"},
		{"rules", unix.NETLINK_ROUTE, message(unix.RTM_GETRULE, unix.NLM_F_DUMP, 1, []byte{unix.AF_INET}), "rrr"},
		{"all rules", unix.NETLINK_ROUTE, message(unix.RTM_GETRULE, unix.NLM_F_DUMP, 1, make([]byte, 12)), "rrrrr"},
		{"queues", unix.NETLINK_ROUTE, message(unix.RTM_GETQDISC, unix.NLM_F_DUMP, 1, make([]byte, 20)), "done"},
		{"a list that is acknowledged", unix.NETLINK_ROUTE, message(unix.RTM_GETQDISC, unix.NLM_F_DUMP|unix.NLM_F_ACK, 1, make([]byte, 20)), "done"},
		{"another protocol", unix.NETLINK_GENERIC, message(16, 0, 1, make([]byte, 4)), "-93"},
		{"a short message", unix.NETLINK_ROUTE, make([]byte, 15), ""},
		{"a message that is not whole", unix.NETLINK_ROUTE, message(unix.RTM_GETLINK, unix.NLM_F_DUMP, 1, make([]byte, 16))[:31], ""},
		{"killing a socket", unix.NETLINK_SOCK_DIAG, message(unix.SOCK_DESTROY, 0, 1, make([]byte, 56)), "-1"},
		{"sockets of AF_UNIX", unix.NETLINK_SOCK_DIAG, message(unix.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP, 1, []byte{unix.AF_UNIX}, make([]byte, 23)), "done"},
		{"sockets of AF_VSOCK", unix.NETLINK_SOCK_DIAG, message(unix.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP, 1, []byte{unix.AF_VSOCK}, make([]byte, 23)), "-2"},
		{"a short request", unix.NETLINK_SOCK_DIAG, message(unix.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP, 1, []byte{unix.AF_INET, 6}), "-22"},
		{"sockets of SCTP", unix.NETLINK_SOCK_DIAG, message(unix.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP, 1, []byte{unix.AF_INET, 132}, make([]byte, 54)), "-2"},
	} {
		got := ""
		for _, d := range s.Request(t.Context(), c.protocol, portID, c.req) {
			for _, m := range parse(t, d) {
				switch m.Header.Type {
				case unix.NLMSG_ERROR:
					got += fmt.Sprint(int32(native.Uint32(m.Data)))
				case unix.NLMSG_DONE:
					if got == "" {
						got = "done"
					}
				default:
					got += "r"
				}
			}
		}
		if got != c.want {
			t.Errorf("%s: %q, not %q", c.what, got, c.want)
		}
	}
}

// TestSeveralRequests has a datagram with three requests.
func TestSeveralRequests(t *testing.T) {
	k := netviewtest.Start(t, netbsd.AMD64)
	s := netlink.New(k, nil)
	req := slices.Concat(
		message(unix.RTM_GETLINK, 0, 1, native.AppendUint32(make([]byte, 4), 1)),
		message(unix.RTM_NEWROUTE, 0, 2, []byte{unix.AF_INET, 0, 0}), // 19 bytes, to be filled up
		[]byte{0},
		message(unix.RTM_GETADDR, unix.NLM_F_DUMP, 3, make([]byte, 8)),
	)
	var seqs []uint32
	for _, d := range s.Request(t.Context(), unix.NETLINK_ROUTE, portID, req) {
		for _, m := range parse(t, d) {
			if n := len(seqs); n == 0 || seqs[n-1] != m.Header.Seq {
				seqs = append(seqs, m.Header.Seq)
			}
		}
	}
	if diff := cmp.Diff([]uint32{1, 2, 3}, seqs); diff != "" {
		t.Error(diff)
	}
}

// TestLostKernel has an error for every question when the kernel is gone.
func TestLostKernel(t *testing.T) {
	k := netviewtest.Start(t, netbsd.AMD64)
	s := netlink.New(k, nil)
	k.Close()
	for _, req := range [][]byte{
		message(unix.RTM_GETLINK, unix.NLM_F_DUMP, 1, make([]byte, 16)),
		message(unix.RTM_GETROUTE, unix.NLM_F_DUMP, 1, make([]byte, 12)),
		message(unix.RTM_GETADDR, unix.NLM_F_DUMP, 1, make([]byte, 8)),
	} {
		out := s.Request(t.Context(), unix.NETLINK_ROUTE, portID, req)
		if len(out) != 1 {
			t.Fatalf("%d datagrams", len(out))
		}
		if m := parse(t, out[0]); m[0].Header.Type != unix.NLMSG_ERROR || int32(native.Uint32(m[0].Data)) >= 0 {
			t.Errorf("%+v", m)
		}
	}
	if err := s.Watch(t.Context(), netlink.Groups, func([]byte) {}); err == nil {
		t.Error("a kernel that is gone is watched")
	}
}
