//go:build linux

package netview_test

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/netview"
	"rumptools/internal/hijack/netview/netviewtest"
	"rumptools/pkg/netbsd"
)

// machines differ in byte order and word size.
var machines = []*netbsd.Machine{netbsd.AMD64, netbsd.POWERPC}

// forMachines runs a test with two kernels on a bus, of each machine.
func forMachines(t *testing.T, f func(t *testing.T, a, b *netviewtest.Kernel)) {
	for _, m := range machines {
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

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestLinksAndAddrs(t *testing.T) {
	forMachines(t, func(t *testing.T, a, _ *netviewtest.Kernel) {
		a.Configure("shmif0 inet 10.0.0.9/24 alias")
		a.Configure("shmif1 create")
		links, err := netview.Links(t.Context(), a)
		must(t, err)
		var got []string
		for _, l := range links {
			got = append(got, fmt.Sprintf("%d %s flags %#x type %d mtu %d oper %d address %d broadcast %x", l.Index, l.Name, l.Flags, l.Type,
				l.MTU, l.Oper, len(l.Addr), l.Broadcast))
		}
		want := []string{
			"1 lo0 flags 0x11049 type 772 mtu 33624 oper 0 address 6 broadcast 000000000000",
			"2 shmif0 flags 0x11043 type 1 mtu 1500 oper 0 address 6 broadcast ffffffffffff",
			"3 shmif1 flags 0x1002 type 1 mtu 1500 oper 2 address 6 broadcast ffffffffffff",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		addrs, err := netview.Addrs(t.Context(), a, unix.AF_UNSPEC)
		must(t, err)
		got = nil
		for _, x := range addrs {
			if x.Prefix.Addr().IsLinkLocalUnicast() && x.Label == "shmif0" {
				x.Prefix = netip.MustParsePrefix("fe80::2/64") // random
			}
			got = append(got, fmt.Sprintf("%s %s broadcast %s scope %d flags %#x valid %d", x.Label, x.Prefix, x.Broadcast, x.Scope, x.Flags, int32(x.Valid)))
		}
		want = []string{
			"lo0 127.0.0.1/8 broadcast invalid IP scope 254 flags 0x80 valid -1",
			"shmif0 10.0.0.1/24 broadcast 10.0.0.255 scope 0 flags 0x80 valid -1",
			"shmif0 10.0.0.9/24 broadcast 10.0.0.255 scope 0 flags 0x81 valid -1",
			"lo0 ::1/128 broadcast invalid IP scope 254 flags 0x82 valid -1",
			"shmif0 fe80::2/64 broadcast invalid IP scope 253 flags 0x80 valid -1",
			"shmif0 fd00::1/64 broadcast invalid IP scope 0 flags 0x80 valid -1",
		}
		slices.Sort(got)
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestAddressLifetime(t *testing.T) {
	k := netviewtest.Start(t, netbsd.AMD64)
	k.Ethernet(filepath.Join(t.TempDir(), "bus"), "1")
	k.Configure("shmif0 inet6 fd01::1/64 vltime 1000 pltime 500")
	addrs, err := netview.Addrs(t.Context(), k, unix.AF_INET6)
	must(t, err)
	i := slices.IndexFunc(addrs, func(a netview.Addr) bool { return a.Prefix == netip.MustParsePrefix("fd01::1/64") })
	if i < 0 {
		t.Fatalf("not there: %v", addrs)
	}
	a := addrs[i]
	if a.Valid > 1000 || a.Valid < 900 || a.Preferred > 500 || a.Preferred < 400 || a.Flags&unix.IFA_F_PERMANENT != 0 {
		t.Errorf("valid %d, preferred %d, flags %#x", a.Valid, a.Preferred, a.Flags)
	}
}

func describe(r *netview.Route) string {
	dst := r.Dst.String()
	if r.Dst.Addr().IsLinkLocalUnicast() && r.Dst.IsSingleIP() {
		dst = "fe80::x/128" // random
	}
	return fmt.Sprintf("%s via %s dev %d type %d table %d proto %d scope %d metric %d src %s mtu %d", dst, r.Gateway, r.Index, r.Type, r.Table,
		r.Protocol, r.Scope, r.Metric, r.PrefSrc, r.MTU)
}

func TestRoutes(t *testing.T) {
	forMachines(t, func(t *testing.T, a, _ *netviewtest.Kernel) {
		a.Route(netbsd.RTM_ADD, "0.0.0.0/0", "10.0.0.2", netbsd.RTF_STATIC)
		a.Route(netbsd.RTM_ADD, "172.16.0.0/12", "127.0.0.1", netbsd.RTF_STATIC|netbsd.RTF_REJECT)
		a.Route(netbsd.RTM_ADD, "::/0", "fd00::2", netbsd.RTF_STATIC)
		routes, err := netview.Routes(t.Context(), a, unix.AF_UNSPEC)
		must(t, err)
		var got []string
		for i := range routes {
			got = append(got, describe(&routes[i]))
		}
		const none = "via invalid IP"
		want := []string{
			"0.0.0.0/0 via 10.0.0.2 dev 2 type 1 table 254 proto 4 scope 0 metric 0 src invalid IP mtu 0",
			"10.0.0.0/24 " + none + " dev 2 type 1 table 254 proto 2 scope 253 metric 0 src 10.0.0.1 mtu 0",
			"10.0.0.1/32 " + none + " dev 2 type 2 table 255 proto 2 scope 254 metric 0 src 10.0.0.1 mtu 0",
			"127.0.0.1/32 " + none + " dev 1 type 2 table 255 proto 2 scope 254 metric 0 src 127.0.0.1 mtu 0",
			"172.16.0.0/12 " + none + " dev 1 type 7 table 254 proto 4 scope 0 metric 0 src invalid IP mtu 0",
			"10.0.0.255/32 " + none + " dev 2 type 3 table 255 proto 2 scope 253 metric 0 src 10.0.0.1 mtu 0",
			"::/0 via fd00::2 dev 2 type 1 table 254 proto 4 scope 0 metric 1024 src invalid IP mtu 0",
			"::1/128 " + none + " dev 1 type 2 table 255 proto 2 scope 0 metric 0 src invalid IP mtu 0",
			"fd00::/64 " + none + " dev 2 type 1 table 254 proto 2 scope 0 metric 256 src invalid IP mtu 0",
			"fd00::1/128 " + none + " dev 2 type 2 table 255 proto 2 scope 0 metric 0 src invalid IP mtu 0",
			"fe80::/64 " + none + " dev 2 type 1 table 254 proto 2 scope 0 metric 256 src invalid IP mtu 0",
			"fe80::x/128 " + none + " dev 2 type 2 table 255 proto 2 scope 0 metric 0 src invalid IP mtu 0",
			"ff01::/32 " + none + " dev 1 type 5 table 255 proto 2 scope 0 metric 256 src invalid IP mtu 0",
			"ff01::/32 " + none + " dev 2 type 5 table 255 proto 2 scope 0 metric 256 src invalid IP mtu 0",
			"ff02::/32 " + none + " dev 1 type 5 table 255 proto 2 scope 0 metric 256 src invalid IP mtu 0",
			"ff02::/32 " + none + " dev 2 type 5 table 255 proto 2 scope 0 metric 256 src invalid IP mtu 0",
		}
		slices.Sort(got)
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestLookup(t *testing.T) {
	forMachines(t, func(t *testing.T, a, _ *netviewtest.Kernel) {
		a.Route(netbsd.RTM_ADD, "0.0.0.0/0", "10.0.0.2", netbsd.RTF_STATIC)
		a.Route(netbsd.RTM_ADD, "172.16.0.0/12", "127.0.0.1", netbsd.RTF_STATIC|netbsd.RTF_REJECT)
		for _, c := range []struct {
			dst   string
			index int
			want  string
		}{
			{"10.0.0.2", 0, "10.0.0.2/32 via invalid IP dev 2 type 1 table 254 src 10.0.0.1"},
			{"10.0.0.1", 0, "10.0.0.1/32 via invalid IP dev 1 type 2 table 255 src 10.0.0.1"},
			{"127.0.0.1", 0, "127.0.0.1/32 via invalid IP dev 1 type 2 table 255 src 127.0.0.1"},
			{"10.0.0.255", 0, "10.0.0.255/32 via invalid IP dev 2 type 3 table 255 src 10.0.0.1"},
			{"192.0.2.1", 0, "192.0.2.1/32 via 10.0.0.2 dev 2 type 1 table 254 src 10.0.0.1"},
			{"172.16.1.1", 0, "172.16.1.1/32 via invalid IP dev 1 type 7 table 254"},
			{"fd00::2", 0, "fd00::2/128 via invalid IP dev 2 type 1 table 254 src fd00::1"},
			{"::1", 0, "::1/128 via invalid IP dev 1 type 2 table 255 src ::1"},
			{"fe80::77", 2, "fe80::77/128 via invalid IP dev 2 type 1 table 254 src fe80::"},
		} {
			r, err := netview.Lookup(t.Context(), a, netip.MustParseAddr(c.dst), c.index)
			if err != nil {
				t.Errorf("%s: %v", c.dst, err)
				continue
			}
			got := fmt.Sprintf("%s via %s dev %d type %d table %d src %s", r.Dst, r.Gateway, r.Index, r.Type, r.Table, r.PrefSrc)
			if !strings.HasPrefix(got, c.want) {
				t.Errorf("%s: %s, not %s", c.dst, got, c.want)
			}
		}
		if _, err := netview.Lookup(t.Context(), a, netip.MustParseAddr("2001:db8::1"), 0); !netview.NoRoute(err) {
			t.Errorf("without a route: %v", err)
		}
	})
}

func TestNeighbours(t *testing.T) {
	forMachines(t, func(t *testing.T, a, b *netviewtest.Kernel) {
		for _, addr := range []string{"10.0.0.2:7", "[fd00::2]:7"} {
			l, err := b.Listen(t.Context(), "tcp", addr)
			must(t, err)
			defer l.Close()
			c, err := a.DialContext(t.Context(), "tcp", addr)
			must(t, err)
			defer c.Close()
		}
		list, err := netview.Neighbours(t.Context(), a, unix.AF_UNSPEC)
		must(t, err)
		links, err := netview.Links(t.Context(), b)
		must(t, err)
		found := map[string]bool{}
		for _, n := range list {
			if n.IP.IsLinkLocalUnicast() {
				continue
			}
			found[n.IP.String()] = true
			if n.Index != 2 || n.HardwareAddr.String() != macOf(links, 2) {
				t.Errorf("%s: %s on %d", n.IP, n.HardwareAddr, n.Index)
			}
			if n.State&(unix.NUD_REACHABLE|unix.NUD_STALE|unix.NUD_DELAY|unix.NUD_PROBE) == 0 {
				t.Errorf("%s: state %#x", n.IP, n.State)
			}
		}
		if diff := cmp.Diff(map[string]bool{"10.0.0.2": true, "fd00::2": true}, found); diff != "" {
			t.Error(diff)
		}
	})
}

func macOf(links []netview.Link, index int) string {
	for i := range links {
		if links[i].Index == index {
			return net.HardwareAddr(links[i].Addr).String()
		}
	}
	return ""
}

func TestSockets(t *testing.T) {
	forMachines(t, func(t *testing.T, a, b *netviewtest.Kernel) {
		for _, addr := range []string{"10.0.0.2:80", "[fd00::2]:80"} {
			l, err := b.Listen(t.Context(), "tcp", addr)
			must(t, err)
			defer l.Close()
			c, err := a.DialContext(t.Context(), "tcp", addr)
			must(t, err)
			defer c.Close()
			peer, err := l.Accept()
			must(t, err)
			defer peer.Close()
			_, err = peer.Write([]byte("unread"))
			must(t, err)
			_, err = io.ReadFull(c, make([]byte, 2))
			must(t, err)
		}
		u, err := a.ListenPacket(t.Context(), "udp4", "10.0.0.1:53")
		must(t, err)
		defer u.Close()
		raw, err := a.Socket(t.Context(), netbsd.AF_INET, netbsd.SOCK_RAW, netbsd.IPPROTO_ICMP)
		must(t, err)
		defer a.CloseFD(t.Context(), raw)
		unbound, err := a.Socket(t.Context(), netbsd.AF_INET, netbsd.SOCK_STREAM, 0)
		must(t, err)
		defer a.CloseFD(t.Context(), unbound)
		var got []string
		for _, k := range []*netviewtest.Kernel{a, b} {
			for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
				for _, protocol := range []uint8{unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_RAW} {
					list, err := netview.Sockets(t.Context(), k, family, protocol)
					must(t, err)
					for _, s := range list {
						local, remote := s.Local.String(), s.Remote.String()
						if s.AutoPort() {
							local = s.Local.Addr().String() + ":auto"
						}
						if s.Remote.Port() > 1000 {
							remote = s.Remote.Addr().String() + ":auto"
						}
						got = append(got, fmt.Sprintf("%d %s %s state %d unread %d", s.Protocol, local, remote, s.State, s.RecvQueue))
					}
				}
			}
		}
		want := []string{
			"6 10.0.0.1:auto 10.0.0.2:80 state 1 unread 4",
			"17 10.0.0.1:53 0.0.0.0:0 state 7 unread 0",
			"255 0.0.0.0:1 0.0.0.0:0 state 7 unread 0",
			"6 fd00::1:auto [fd00::2]:80 state 1 unread 4",
			"6 10.0.0.2:80 10.0.0.1:auto state 1 unread 0",
			"6 10.0.0.2:80 0.0.0.0:0 state 10 unread 0",
			"6 [fd00::2]:80 fd00::1:auto state 1 unread 0",
			"6 [fd00::2]:80 [::]:0 state 10 unread 0",
		}
		slices.Sort(got)
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}
