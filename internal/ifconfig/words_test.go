package ifconfig

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rumptools/internal/netdb"
)

func testNames(t testing.TB) *netdb.DB {
	t.Helper()
	dir := t.TempDir()
	for file, text := range map[string]string{
		"hosts":    "10.0.0.9 nine\n10.0.0.8 both\nfd00::8 both\n10.0.0.7 two\n10.0.0.6 two\n",
		"networks": "mynet 255.255.255.0\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return netdb.New(dir)
}

func TestParse(t *testing.T) {
	db := testNames(t)
	for _, c := range []struct{ words, want string }{
		{"shmif0", "shmif0: show"},
		{"shmif0 inet", "shmif0: show inet"},
		{"shmif0 create", "shmif0: create"},
		{"shmif0 create up", "shmif0: create; up"},
		{"shmif0 create inet 10.0.0.1/24", "shmif0: create; replace inet 10.0.0.1 mask 255.255.255.0"},
		{"shmif0 destroy", "shmif0: destroy"},
		{"shmif0 up down -arp arp debug -link0", "shmif0: up; down; -arp; arp; debug; -link0"},
		{"shmif0 mtu 1400 metric -3", "shmif0: mtu 1400; metric -3"},
		{"shmif0 linkstr a/b -linkstr", "shmif0: linkstr a/b; -linkstr"},
		{"shmif0 media NONE", "shmif0: media NONE"},
		{"shmif0 trailers", "shmif0: trailers"},

		{"shmif0 10.0.0.1", "shmif0: replace inet 10.0.0.1"},
		{"shmif0 inet 10.0.0.1/24", "shmif0: replace inet 10.0.0.1 mask 255.255.255.0"},
		{"shmif0 inet 10.0.0.1/0", "shmif0: replace inet 10.0.0.1 mask 255.255.255.255"},
		{"shmif0 10.1 netmask 0xffff0000", "shmif0: replace inet 10.0.0.1 mask 255.255.0.0"},
		{"shmif0 0x0a000001", "shmif0: replace inet 10.0.0.1"},
		{"shmif0 nine netmask mynet", "shmif0: replace inet 10.0.0.9 mask 255.255.255.0"},
		{"shmif0 inet6 both", "shmif0: replace inet6 fd00::8"},
		{"shmif0 10.0.0.1 prefixlen 24 alias", "shmif0: add inet 10.0.0.1 mask 255.255.255.0"},
		{"shmif0 alias 10.0.0.1 broadcast 10.0.0.63 netmask 255.255.255.192 up",
			"shmif0: up; add inet 10.0.0.1 mask 255.255.255.192 broadcast 10.0.0.63"},
		{"shmif0 netmask 255.0.0.0 10.0.0.1 10.255.255.255",
			"shmif0: replace inet 10.0.0.1 mask 255.0.0.0 broadcast 10.255.255.255"},
		{"shmif0 10.0.0.1 255.0.0.0 10.0.0.255", "shmif0: replace inet 10.0.0.1 mask-or-peer 255.0.0.0 broadcast 10.0.0.255"},
		{"gif0 10.0.0.1/24 10.0.0.2", "gif0: replace inet 10.0.0.1 mask 255.255.255.0 mask-or-peer 10.0.0.2"},
		{"shmif0 10.0.0.1/24 netmask 255.255.0.0", "shmif0: replace inet 10.0.0.1 mask 255.255.255.0 mask 255.255.0.0"},
		{"shmif0 10.0.0.1 -alias", "shmif0: remove inet 10.0.0.1"},
		{"shmif0 delete 10.0.0.1", "shmif0: remove inet 10.0.0.1"},
		{"shmif0 delete", "shmif0: remove first inet"},
		{"shmif0 10.0.0.1 preference -7", "shmif0: replace inet 10.0.0.1; preference -7"},

		{"shmif0 fd00::1/64", "shmif0: replace inet6 fd00::1 mask ffff:ffff:ffff:ffff::"},
		{"shmif0 inet6 fd00::1 prefixlen 48 anycast", "shmif0: replace inet6 fd00::1 mask ffff:ffff:ffff:: flags6 0x1"},
		{"shmif0 inet6 fd00::1 deprecated -deprecated anycast", "shmif0: replace inet6 fd00::1 flags6 0x1"},
		{"shmif0 inet6 fd00::/64 eui64 pltime 0x10 vltime 100",
			"shmif0: replace inet6 fd00:: mask ffff:ffff:ffff:ffff:: vltime 100 pltime 16 eui64"},
		{"shmif0 inet6 fe80::5%shmif0 alias", "shmif0: add inet6 fe80::5%shmif0"},
		{"shmif0 inet6 fd00::1 delete", "shmif0: remove inet6 fd00::1"},

		{"shmif0 link 02:00:00:00:00:02 active", "shmif0: add link 02:00:00:00:00:02 active"},
		{"shmif0 link 2:0:0:0:0:a", "shmif0: add link 02:00:00:00:00:0a"},
		{"shmif0 link 02:00:00:00:00:02 -alias", "shmif0: remove link 02:00:00:00:00:02"},

		{"gif0 tunnel 10.0.0.1 10.0.0.2,4789", "gif0: tunnel 10.0.0.1:0 10.0.0.2:4789"},
		{"gif0 deletetunnel", "gif0: deletetunnel"},
		{"vlan0 vlan 3 vlanif shmif0", "vlan0: vlan 3 vlanif shmif0"},
		{"vlan0 vlan 3 up vlanif shmif0", "vlan0: up; vlan 3 vlanif shmif0"},
		{"vlan0 -vlanif shmif0 up", "vlan0: -vlanif; up"},
		{"vlan0 -vlanif", "vlan0: -vlanif"},
	} {
		cmd, err := Parse(strings.Fields(c.words), db)
		if err != nil {
			t.Errorf("%s: %v", c.words, err)
			continue
		}
		if got := cmd.String(); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.words, got, c.want)
		}
	}
}

func TestParseErrors(t *testing.T) {
	db := testNames(t)
	for _, c := range []struct{ words, want string }{
		{"aninterfacewithalongname", `bad value for interface: "aninterfacewithalongname": expected 1 to 15 bytes`},
		{"shmif0 destroy up", `unexpected word "up" after destroy`},
		{"shmif0 up create", "create must come right after the interface"},
		{"shmif0 up inet 10.0.0.1", "inet: the address family must come before addresses and parameters"},
		{"shmif0 atalk", "atalk: address family not supported"},
		{"shmif0 vhid 3", "vhid: carp(4) is not supported"},
		{"shmif0 -tso4", "-tso4: offload capabilities are not supported"},
		{"shmif0 mediaopt fdx", "mediaopt: details of media are not supported; media takes a type"},
		{"shmif0 ssid x", "ssid: wireless interfaces are not supported"},
		{"shmif0 netmsk 255.0.0.0", `unknown word "netmsk": did you mean netmask?`},
		{"shmif0 pu", `unknown word "pu": did you mean up?`},
		{"shmif0 10.0.0.1/33", `bad value for prefixlen: "33": expected 0 to 32`},
		{"shmif0 10.0.0.1/x", `bad value for address: "10.0.0.1/x": expected a prefix length after /`},
		{"shmif0 10.0.0.256", `bad value for address: "10.0.0.256": expected an address of the family inet or inet6`},
		{"shmif0 inet fd00::1", `bad value for address: "fd00::1": expected an address of the family inet`},
		{"shmif0 inet6 10.0.0.1", `bad value for address: "10.0.0.1": expected an address of the family inet6`},
		{"shmif0 link 02:00:00:00:00:0g", `bad value for address: "02:00:00:00:00:0g": expected a link-level address, as 02:00:00:00:00:01`},
		{"shmif0 link 02: active", `bad value for address: "02:": expected a link-level address, as 02:00:00:00:00:01`},
		{"shmif0 10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4", `unexpected address "10.0.0.4": three are given`},
		{"shmif0 netmask 255.0.0.0", "netmask: no address given"},
		{"shmif0 alias", "alias: no address given"},
		{"shmif0 link delete", "no address given to delete"},
		{"shmif0 alias 10.0.0.1 delete", "delete: only one of alias, -alias and delete can be given, once"},
		{"shmif0 10.0.0.1 netmask ffff::", `bad value for netmask: "ffff::": expected an address of the family inet`},
		{"shmif0 10.0.0.1 netmask nonsense", `bad value for netmask: "nonsense": expected an address or a network's name`},
		{"shmif0 10.0.0.1 broadcast all", `bad value for broadcast: "all": expected an address`},
		{"shmif0 fd00::1 broadcast 10.0.0.255", "broadcast: only for addresses of inet"},
		{"shmif0 10.0.0.1 vltime 3", "vltime: only for addresses of inet6"},
		{"shmif0 10.0.0.1 anycast", "anycast: only for addresses of inet6"},
		{"shmif0 10.0.0.1 active", "active: only for addresses of link"},
		{"shmif0 inet6 fd00::1 eui64", `bad value for address: "fd00::1": expected an address whose lower 64 bits are zero, for eui64`},
		{"shmif0 inet6 fd00::1 pltime 4294967296", `bad value for pltime: "4294967296": expected 0 to 4294967295`},
		{"shmif0 inet6 fd00::1 prefixlen 129", `bad value for prefixlen: "129": expected 0 to 128`},
		{"shmif0 mtu 1500x", `bad value for mtu: "1500x": expected 0 to 2147483647`},
		{"shmif0 metric", "metric: value missing"},
		{"shmif0 preference 3", "preference: no address given"},
		{"shmif0 media fast", `bad value for media: "fast": expected a media type, as none, auto or 100baseTX`},
		{"shmif0 media auto media none", "media is given twice"},
		{"gif0 tunnel 10.0.0.1", "tunnel: value missing"},
		{"gif0 tunnel 10.0.0.1 fd00::1", "source and destination address families do not match"},
		{"gif0 tunnel ff02::1 fd00::1", "tunnel src/dst is multicast"},
		{"gif0 tunnel 10.0.0.1 10.0.0.2,x", `bad value for tunnel: "10.0.0.2,x": expected an address, or ADDRESS,PORT`},
		{"shmif0 vlan 3 vlanif shmif1", "vlan: valid only with vlan(4) interfaces"},
		{"vlan0 vlan 3", "vlan: vlanif must be given as well"},
		{"vlan0 vlanif shmif0", "vlanif: vlan must come before"},
		{"shmif0 two", `unknown word "two": expected an address or one of active alias`},
	} {
		cmd, err := Parse(strings.Fields(c.words), db)
		switch {
		case err == nil:
			t.Errorf("%s: got %s", c.words, cmd)
		case err.Error() != c.want && !(strings.HasPrefix(err.Error(), c.want) && strings.HasSuffix(c.want, "alias")):
			t.Errorf("%s:\n got %s\nwant %s", c.words, err, c.want)
		}
	}
	for _, words := range [][]string{nil, {""}, {"shmif0", ""}, {"shmif0", "linkstr", ""}, {"shmif0", "linkstr", strings.Repeat("x", 1024)}} {
		if cmd, err := Parse(words, db); err == nil {
			t.Errorf("%q: got %s", words, cmd)
		}
	}
}

// FuzzParse: no words make the parser fail otherwise than with one line.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"shmif0", "shmif0 create up", "shmif0 inet 10.0.0.1/24 alias", "shmif0 link 2:0:0:0:0:1 active",
		"shmif0 fd00::1/64 vltime 3 pltime 2 anycast", "vlan0 vlan 3 vlanif shmif0 -vlanif", "gif0 tunnel 1 2,3",
		"shmif0 10.0.0.1 10.0.0.2 netmask 0xff broadcast 1.2", "shmif0 media auto preference 1 linkstr x",
	} {
		f.Add(s)
	}
	db := testNames(f)
	f.Fuzz(func(t *testing.T, line string) {
		cmd, err := Parse(strings.Split(line, " "), db)
		if err != nil {
			if msg := err.Error(); msg == "" || strings.Contains(msg, "\n") {
				t.Errorf("%q: %q", line, msg)
			}
			return
		}
		if cmd.Interface == "" || cmd.String() == "" {
			t.Errorf("%q: %+v", line, cmd)
		}
		if !cmd.changesAddress() && (cmd.address.addr.IsValid() || cmd.address.link != nil) {
			t.Errorf("%q: an address that nothing is done with: %s", line, cmd)
		}
	})
}
