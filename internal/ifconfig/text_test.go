package ifconfig

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rumptools/pkg/netbsd"
)

func TestBits(t *testing.T) {
	for _, c := range []struct {
		bits  bitNames
		value uint64
		width int
		want  string
	}{
		{flagBits, 0, 0, "0x0"},
		{flagBits, 0x8049, 0, "0x8049<UP,LOOPBACK,RUNNING,MULTICAST>"},
		{capabilityBits, 0, 58, "0x0"},
		{capabilityBits, 0x80, 58, "0x80<TSO4>"},
		// As NetBSD prints the capabilities of a wm(4).
		{capabilityBits, 0x7ff80, 58, "0x7ff80<TSO4,IP4CSUM_Rx,IP4CSUM_Tx,TCP4CSUM_Rx>\n" +
			"0x7ff80<TCP4CSUM_Tx,UDP4CSUM_Rx,UDP4CSUM_Tx,TCP6CSUM_Rx>\n" +
			"0x7ff80<TCP6CSUM_Tx,UDP6CSUM_Rx,UDP6CSUM_Tx,TSO6>"},
		{capabilityBits, 0x3f80, 58, "0x3f80<TSO4,IP4CSUM_Rx,IP4CSUM_Tx,TCP4CSUM_Rx,TCP4CSUM_Tx>\n0x3f80<UDP4CSUM_Rx,UDP4CSUM_Tx>"},
		{etherCapabilityBits, 7, 55, "0x7<VLAN_MTU,VLAN_HWTAGGING,JUMBO_MTU>"},
	} {
		if got := strings.Join(c.bits.lines(c.value, c.width), "\n"); got != c.want {
			t.Errorf("%#x: got\n%s\nwant\n%s", c.value, got, c.want)
		}
	}
}

// ptr returns a pointer to a value.
func ptr[T any](v T) *T { return &v }

func TestWriteText(t *testing.T) {
	media := &Media{
		current: netbsd.IFM_ETHER | netbsd.IFM_AUTO,
		active:  netbsd.IFM_ETHER | netbsd.IFM_1000_T | netbsd.IFM_FDX | netbsd.IFM_ETH_RXPAUSE,
		status:  netbsd.IFM_AVALID | netbsd.IFM_ACTIVE,
		supported: []int32{netbsd.IFM_ETHER | netbsd.IFM_NONE, netbsd.IFM_ETHER | netbsd.IFM_10_T | netbsd.IFM_FDX,
			netbsd.IFM_ETHER | netbsd.IFM_AUTO},
	}
	media.fill()
	inet := Address{Family: "inet", addr: netip.MustParseAddr("10.0.0.1"), netmask: 0xffffff00, peer: netip.MustParseAddr("10.0.0.2"), Preference: 4}
	alias := Address{Family: "inet", Alias: true, addr: netip.MustParseAddr("10.0.0.10"), netmask: 0xffffffff,
		broadcast: netip.MustParseAddr("10.0.0.255"), Flags: []string{"tentative"}}
	inet6 := Address{Family: "inet6", addr: netip.MustParseAddr("fe80::1"), zone: "gif0", Scope: 18, PrefixLen: ptr(64),
		peer: netip.IPv6Unspecified(), Flags: []string{"anycast", "deprecated"}}
	mortal := Address{Family: "inet6", addr: netip.MustParseAddr("fd00::1"), PrefixLen: ptr(0)}
	mortal.lifetimes(1010, 0, 1000)
	immortal := Address{Family: "inet6", addr: netip.MustParseAddr("fd00::2"), PrefixLen: ptr(128)}
	immortal.lifetimes(0, 0, 1000)
	late := Address{Family: "inet6", addr: netip.MustParseAddr("fd00::3"), PrefixLen: ptr(128)}
	late.lifetimes(10, 20, 1000)
	list := []Interface{
		{
			Name: "gif0", flags: netbsd.IFF_UP | netbsd.IFF_POINTOPOINT, Metric: 3, MTU: 1280,
			capabilities: 0x180, capEnabled: 0, etherCaps: 5, etherCapEnabled: 1,
			Tunnel: &Tunnel{"inet", "10.1.0.1", "10.1.0.2,99"}, Vlan: &Vlan{3, ""}, Media: media,
			Statistics: Statistics{InputPackets: 1, InputBytes: 1, InputErrors: 2, InputQueueDrops: 1, InputUnknown: 3,
				OutputBytes: 1 << 20, OutputMulticasts: 1, Collisions: 2},
			Addresses: []Address{inet, alias, inet6, {Family: "link", Address: "02:00:00:00:00:01", Active: true}, {Family: "link", Address: "02:00:00:00:00:02"}},
		},
		{Name: "lo0", Addresses: []Address{mortal, immortal, late}},
	}
	var b strings.Builder
	o := TextOptions{Statistics: true, Human: true, Media: true, Lifetimes: true}
	if err := WriteText(&b, list, o); err != nil {
		t.Fatal(err)
	}
	want := `gif0: flags=0x11<UP,POINTOPOINT> metric 3 mtu 1280
	capabilities=180<TSO4,IP4CSUM_Rx>
	enabled=0
	ec_capabilities=5<VLAN_MTU,JUMBO_MTU>
	ec_enabled=1<VLAN_MTU>
	tunnel inet 10.1.0.1 --> 10.1.0.2,99
	vlan: 3 parent: <none>
	address: 02:00:00:00:00:01
	media: Ethernet autoselect (1000baseT full-duplex,rxpause)
	status: active
	supported Ethernet media:
		media none
		media 10baseT mediaopt full-duplex
		media autoselect
	input: 1 packet, 1 byte, 2 errors, 1 queue drop, 3 unknown protocol
	output: 0 packets, 1.0M byte, 1 multicast, 2 collisions
	link 02:00:00:00:00:02
	inet6 fe80::1%gif0 -> :: prefixlen 64 anycast deprecated scopeid 0x12
	inet 10.0.0.1 -> 10.0.0.2 netmask 0xffffff00 preference 4
	inet alias 10.0.0.10 netmask 0xffffffff broadcast 10.0.0.255 tentative preference 0
lo0: flags=0x0
	input: 0 packets, 0 bytes
	output: 0 packets, 0 bytes
	inet6 fd00::1 prefixlen 0 pltime 10 vltime infty
	inet6 fd00::2 prefixlen 128
	inet6 fd00::3 prefixlen 128 pltime 0 vltime 0
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
}
