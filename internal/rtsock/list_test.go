package rtsock_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rumptools/internal/replay"
	"rumptools/internal/rtsock"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
	"rumptools/pkg/spclient/spclienttest"
)

// recorded connects to a kernel that answers as the recorded one did.
func recorded(t *testing.T, name string) *spclient.Conn {
	t.Helper()
	list, err := spclienttest.OpenRecordings("testdata/recordings.tar.gz")
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(list, func(r *spclienttest.Recording) bool { return r.Name == name })
	if i < 0 {
		t.Fatalf("no recording %s", name)
	}
	srv := replay.Serve(t, list[i])
	c, err := spclient.Dial(t.Context(), srv.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		if missing := srv.Missing(); len(missing) > 0 {
			t.Errorf("calls that were not recorded: %v", missing)
		}
	})
	return c
}

func describe(m *netbsd.Machine, sa []byte) string {
	if sa == nil {
		return "-"
	}
	parsed, err := netbsd.ParseSockaddr(m, sa)
	if err != nil {
		return err.Error()
	}
	parsed = parsed.ExtractScope()
	parsed.AddrPort = netip.AddrPortFrom(parsed.Addr(), 0)
	return strings.TrimSuffix(parsed.String(), ":0")
}

func TestInterfaces(t *testing.T) {
	k := recorded(t, "netstat-rn-inet")
	list, err := rtsock.Interfaces(t.Context(), k)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, iface := range list {
		got = append(got, fmt.Sprintf("%d %s %#x mtu %d in %d out %d %s", iface.Index, iface.Name, uint16(iface.Flags),
			iface.Data.Mtu, iface.Data.Ipackets, iface.Data.Opackets, describe(k.Machine(), iface.Link)))
		for _, a := range iface.Addresses {
			got = append(got, fmt.Sprintf("  %d %s dst %s", a.Family(), describe(k.Machine(), a.Addr()), describe(k.Machine(), a.Dst())))
		}
	}
	want := []string{
		"1 lo0 0x8049 mtu 33624 in 107 out 107 lo0",
		"  18 lo0 dst -",
		"  24 [::1] dst [::1]",
		"  24 [fe80::1%1] dst netbsd: socket address of 0 bytes",
		"  2 127.0.0.1 dst 127.0.0.1",
		"2 shmif0 0x8843 mtu 1500 in 75 out 96 shmif0 02:00:00:00:00:02",
		"  18 shmif0 b2:a0:fa:ce:b3:7e dst -",
		"  2 10.0.0.1 dst 10.0.0.255",
		"  24 [fe80::b0a0:faff:fece:b37e%2] dst -",
		"  24 [fd00::1] dst -",
		"  18 shmif0 02:00:00:00:00:02 dst -",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[int]string{1: "lo0", 2: "shmif0"}, rtsock.Names(list)); diff != "" {
		t.Error(diff)
	}
}

func TestRoutes(t *testing.T) {
	k := recorded(t, "netstat-rn-inet")
	list, err := rtsock.Routes(t.Context(), k, netbsd.AF_INET)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range list {
		mask, err := netbsd.ParseNetmask(netbsd.AF_INET, r.Netmask())
		if err != nil {
			t.Error(err)
		}
		got = append(got, fmt.Sprintf("%s/%x via %s flags %#x interface %d", describe(k.Machine(), r.Dst()), mask,
			describe(k.Machine(), r.Gateway()), r.Flags, r.Index))
	}
	want := []string{
		"10.0.0.0/ffffff00 via link#2 flags 0x101 interface 2",
		"10.0.0.1/00000000 via link#2 flags 0x40405 interface 1",
		"127.0.0.1/00000000 via lo0 flags 0x40005 interface 1",
		"172.30.0.0/ffff0000 via 99.99.99.99 flags 0x803 interface 2",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestNeighbours(t *testing.T) {
	for _, c := range []struct {
		recording string
		family    int32
		want      []string
	}{
		{"arp-an", netbsd.AF_INET, []string{"10.0.0.2 0 b2:a0:16:5f:c5:be", "10.0.0.1 0 b2:a0:fa:ce:b3:7e"}},
		{"ndp-an", netbsd.AF_INET6, []string{
			"fd00::1 0 b2:a0:fa:ce:b3:7e",
			"fd00::2 0 b2:a0:16:5f:c5:be",
			"fe80::b0a0:16ff:fe5f:c5be 2 b2:a0:16:5f:c5:be",
			"fe80::b0a0:faff:fece:b37e 2 b2:a0:fa:ce:b3:7e",
		}},
	} {
		list, err := rtsock.Neighbours(t.Context(), recorded(t, c.recording), c.family)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, n := range list {
			got = append(got, fmt.Sprintf("%v %d %v", n.IP, n.Scope, n.HardwareAddr))
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", c.recording, diff)
		}
	}
}

// ifList builds the value of net.route with NET_RT_IFLIST as a machine has it.
func ifList(m *netbsd.Machine) []byte {
	link, _ := netbsd.AppendSockaddrDl(m, nil, netbsd.SockaddrDL{Index: 7, Type: netbsd.IFT_ETHER, Name: "shmif0", Addr: []byte{2, 0, 0, 0, 0, 1}})
	ap := netip.MustParseAddrPort("10.0.0.1:0")
	ap6 := netip.AddrPortFrom(netbsd.EmbedScope(netip.MustParseAddr("fe80::1"), 7), 0)
	b := netbsd.AppendRtMessage(m, nil, &netbsd.IfMsghdr{Type: netbsd.RTM_IFINFO, Flags: 0x8843, Index: 7,
		Data: netbsd.IfData{Mtu: 1500, Ibytes: 1 << 33}}, rtsock.Addrs{netbsd.RTAX_IFP: link})
	b = netbsd.AppendRtMessage(m, b, &netbsd.IfaMsghdr{Type: netbsd.RTM_NEWADDR, Index: 7}, rtsock.Addrs{
		netbsd.RTAX_NETMASK: netbsd.AddrNetmask(netbsd.AF_INET, 24),
		netbsd.RTAX_IFA:     netbsd.SockaddrIn(ap),
	})
	return netbsd.AppendRtMessage(m, b, &netbsd.IfaMsghdr{Type: netbsd.RTM_NEWADDR, Index: 7}, rtsock.Addrs{
		netbsd.RTAX_NETMASK: netbsd.Netmask(netbsd.AF_INET6, 64),
		netbsd.RTAX_IFA:     netbsd.SockaddrIn6(m, ap6, 0, 0),
	})
}

func TestMachines(t *testing.T) {
	for _, m := range netbsd.Machines() {
		list, err := rtsock.ParseInterfaces(m, ifList(m))
		if err != nil {
			t.Errorf("%s: %v", m, err)
			continue
		}
		if len(list) != 1 || list[0].Name != "shmif0" || list[0].Index != 7 || list[0].Data.Ibytes != 1<<33 || len(list[0].Addresses) != 2 {
			t.Errorf("%s: %+v", m, list)
			continue
		}
		if got := describe(m, list[0].Addresses[1].Addr()); got != "[fe80::1%7]" {
			t.Errorf("%s: %s", m, got)
		}
	}
}

// constant is a kernel whose every value is the same.
type constant struct {
	m     *netbsd.Machine
	value []byte
}

func (k constant) Machine() *netbsd.Machine                             { return k.m }
func (k constant) SysctlBytes(context.Context, []int32) ([]byte, error) { return k.value, nil }

func TestWrongLists(t *testing.T) {
	m := netbsd.AMD64
	good := ifList(m)
	swapped := slices.Concat(good[176:], good[:176])
	for name, b := range map[string][]byte{
		"cut":             good[:len(good)-1],
		"cut in a header": good[:100],
		"one byte":        good[:1],
		"address first":   swapped,
	} {
		if list, err := rtsock.Interfaces(t.Context(), constant{m, b}); err == nil {
			t.Errorf("%s: got %v", name, list)
		}
	}
	if list, err := rtsock.Interfaces(t.Context(), constant{m, nil}); err != nil || list != nil {
		t.Errorf("got %v, %v for no interfaces", list, err)
	}
}

func FuzzLists(f *testing.F) {
	for i, m := range netbsd.Machines() {
		f.Add(uint8(i), ifList(m))
	}
	f.Fuzz(func(t *testing.T, machine uint8, b []byte) {
		m := netbsd.Machines()[int(machine)%len(netbsd.Machines())]
		k := constant{m, b}
		list, err := rtsock.Interfaces(t.Context(), k)
		if err != nil && list != nil {
			t.Errorf("both a list and %v", err)
		}
		for _, iface := range list {
			for _, a := range iface.Addresses {
				if int(a.Index) != iface.Index {
					t.Errorf("address of interface %d at interface %d", a.Index, iface.Index)
				}
			}
		}
		rtsock.Routes(t.Context(), k, 0)
		neighbours, _ := rtsock.Neighbours(t.Context(), k, netbsd.AF_INET)
		for _, n := range neighbours {
			if !n.IP.IsValid() {
				t.Errorf("neighbour without address: %v", n)
			}
		}
	})
}
