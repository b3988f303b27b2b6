package inet

import (
	"slices"
	"testing"

	"rumptools/internal/kernel"
	"rumptools/pkg/netbsd"
)

// since gives the counters that have grown.
func since(before, after []uint64) map[int]uint64 {
	grown := make(map[int]uint64)
	for i := range after {
		if n := after[i] - before[i]; n != 0 {
			grown[i] = n
		}
	}
	return grown
}

// TestStatistics counts pings, as netstat -s of a real kernel shows them.
func TestStatistics(t *testing.T) {
	seg := newSegment()
	a := host(t, seg.join(), "10.0.0.1/24", "fd00::1/64")
	b := host(t, seg.join(), "10.0.0.2/24", "fd00::2/64")
	if n := a.stats.arp[netbsd.ARP_STAT_SENDREQUEST].Load(); n != 1 {
		t.Errorf("an address was announced by %d requests", n)
	}
	a.answered(t, "fd00::2", 8) // and finds its neighbour
	ip, ip6, icmp, icmp6, arp := b.ipStatistics(), load(b.stats.ip6[:]), b.icmpStatistics(), load(b.stats.icmp6[:]), load(b.stats.arp[:])
	a.answered(t, "10.0.0.2", 56, 3000)
	a.answered(t, "fd00::2", 8)
	shared := []int{netbsd.IP_STAT_TOTAL, netbsd.IP_STAT_DELIVERED, netbsd.IP_STAT_LOCALOUT}
	for _, tt := range []struct {
		name        string
		before, now []uint64
		want        map[int]uint64
	}{
		{"ip", ip, b.ipStatistics(), map[int]uint64{
			netbsd.IP_STAT_TOTAL: 4, netbsd.IP_STAT_FRAGMENTS: 3, netbsd.IP_STAT_REASSEMBLED: 1, netbsd.IP_STAT_DELIVERED: 2,
			netbsd.IP_STAT_LOCALOUT: 2, netbsd.IP_STAT_FRAGMENTED: 1, netbsd.IP_STAT_OFRAGMENTS: 2,
		}},
		{"icmp", icmp, b.icmpStatistics(), map[int]uint64{
			netbsd.ICMP_STAT_REFLECT: 2, netbsd.ICMP_STAT_OUTHIST + netbsd.ICMP_ECHOREPLY: 2,
			netbsd.ICMP_STAT_INHIST + netbsd.ICMP_ECHO: 2,
		}},
		{"ip6", ip6, load(b.stats.ip6[:]), map[int]uint64{
			netbsd.IP6_STAT_TOTAL: 1, netbsd.IP6_STAT_DELIVERED: 1, netbsd.IP6_STAT_LOCALOUT: 1,
			netbsd.IP6_STAT_NXTHIST + netbsd.IPPROTO_ICMPV6: 1,
		}},
		{"icmp6", icmp6, load(b.stats.icmp6[:]), map[int]uint64{
			netbsd.ICMP6_STAT_REFLECT: 1, netbsd.ICMP6_STAT_OUTHIST + netbsd.ICMP6_ECHO_REPLY: 1,
			netbsd.ICMP6_STAT_INHIST + netbsd.ICMP6_ECHO_REQUEST: 1,
		}},
		{"arp", arp, load(b.stats.arp[:]), map[int]uint64{
			netbsd.ARP_STAT_RCVTOTAL: 1, netbsd.ARP_STAT_RCVREQUEST: 1, netbsd.ARP_STAT_RCVMCAST: 1,
			netbsd.ARP_STAT_SNDTOTAL: 1, netbsd.ARP_STAT_SNDREPLY: 1,
		}},
	} {
		got := since(tt.before, tt.now)
		for i, want := range tt.want {
			// Announcements of groups may come in between.
			if n := got[i]; n < want || n > want && !(tt.name == "ip" && slices.Contains(shared, i)) && tt.name != "ip6" {
				t.Errorf("%s: counter %d: %d, want %d", tt.name, i, n, want)
			}
		}
	}

	// A router delivers nothing of what it sends on, a host not what is others'.
	right := newSegment()
	b.plug(t, "shmif1", right.join(), "10.0.1.2/24")
	c := host(t, right.join(), "10.0.1.3/24")
	must(t, a.addStatic("10.0.1.0/24 10.0.0.2"))
	must(t, c.addStatic("10.0.0.0/24 10.0.1.2"))
	ip = b.ipStatistics()
	a.answered(t, "10.0.1.3", 56)
	if got := since(ip, b.ipStatistics()); got[netbsd.IP_STAT_FORWARD] != 2 || got[netbsd.IP_STAT_DELIVERED] > 1 {
		t.Errorf("router: %v", got)
	}
	for _, tt := range []struct {
		addr string
		want bool
	}{
		{"10.0.0.2", true}, {"10.0.1.2", true}, {"10.0.0.255", true}, {"255.255.255.255", true}, {"224.0.0.1", true},
		{"fd00::2", true}, {"ff02::1", true}, {"10.0.0.3", false}, {"224.0.0.9", false}, {"fd00::3", false},
		{b.linkLocalOf("shmif0"), true}, {"fe80::77%shmif0", false},
	} {
		if got := b.takes(b.ifByName["shmif0"].NICID, engineAddr(mustAddr(tt.addr).WithZone(""))); got != tt.want {
			t.Errorf("takes %s: %v", tt.addr, got)
		}
	}

	noroute, unreach := a.ipStatistics()[netbsd.IP_STAT_NOROUTE], a.stats.unreach.Load()
	so := open(t, a, netbsd.AF_INET, netbsd.SOCK_RAW, netbsd.IPPROTO_ICMP)
	_, err := so.Send(nil, &kernel.Message{Data: echoRequest(netbsd.ICMP_ECHO, 1, 1, nil), Name: addr(a, "192.168.7.7:0")})
	check(t, "send", err, netbsd.EHOSTUNREACH)
	if a.ipStatistics()[netbsd.IP_STAT_NOROUTE] != noroute+1 || a.stats.unreach.Load() != unreach+1 {
		t.Error("no route is not counted")
	}
}
