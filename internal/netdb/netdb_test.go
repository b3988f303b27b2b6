package netdb

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func testDB(t *testing.T) *DB {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"hosts": "127.0.0.1\tlocalhost\n::1 localhost ip6-localhost # comment\n" +
			"10.0.0.2 b.example.org B\n10.0.0.2 other\nnonsense x\n10.0.0.3\n",
		"networks":  "loopback 127\nlab 10.0.1.0 rig\nbad 1.2.3.4.5\nworse 300\n",
		"services":  "http 80/tcp www\nhttp-alt 8080/tcp\nmdns 5353/udp\nsecond 80/tcp\n",
		"protocols": "# all\nip 0 IP\nicmp 1 ICMP\ntcp 6 TCP\nospf 89 OSPFIGP\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return New(dir)
}

func TestLookups(t *testing.T) {
	db := testDB(t)
	name := func(s string, ok bool) string {
		if !ok {
			return "-"
		}
		return s
	}
	for _, c := range []struct{ got, want string }{
		{name(db.HostName(netip.MustParseAddr("127.0.0.1"))), "localhost"},
		{name(db.HostName(netip.MustParseAddr("::1"))), "localhost"},
		{name(db.HostName(netip.MustParseAddr("::ffff:10.0.0.2"))), "b.example.org"},
		{name(db.HostName(netip.MustParseAddr("10.0.0.3"))), "-"},
		{name(db.ServiceName(80, "tcp")), "http"},
		{name(db.ServiceName(80, "udp")), "-"},
		{name(db.ServiceName(5353, "udp")), "mdns"},
		{name(db.ProtocolName(89)), "ospf"},
		{name(db.ProtocolAlias("ICMP")), "icmp"},
		{name(db.ProtocolAlias("icmp")), "icmp"},
		{name(db.ProtocolAlias("nosuch")), "-"},
	} {
		if c.got != c.want {
			t.Errorf("got %s, want %s", c.got, c.want)
		}
	}
	if got := db.HostAddrs("LOCALHOST"); !slices.Equal(got, []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")}) {
		t.Errorf("localhost is %v", got)
	}
	if got := db.HostAddrs("b"); len(got) != 1 {
		t.Errorf("b is %v", got)
	}
	if got, ok := db.NetworkAddr("loopback"); !ok || got != netip.MustParseAddr("127.0.0.0") {
		t.Errorf("loopback is %v, %v", got, ok)
	}
	if got, ok := db.NetworkAddr("bad"); ok {
		t.Errorf("bad is %v", got)
	}
	if got, ok := db.NetworkAddr("rig"); !ok || got != netip.MustParseAddr("10.0.1.0") {
		t.Errorf("rig is %v, %v", got, ok)
	}
}

func TestNothing(t *testing.T) {
	for _, db := range []*DB{{}, New("/nosuch")} {
		if name, ok := db.HostName(netip.MustParseAddr("127.0.0.1")); ok {
			t.Errorf("got %q", name)
		}
		if name, ok := db.ServiceName(80, "tcp"); ok {
			t.Errorf("got %q", name)
		}
	}
}
