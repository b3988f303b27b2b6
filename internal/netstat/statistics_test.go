package netstat

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rumptools/pkg/netbsd"
)

// array is an array of counters as a machine has it.
func array(m *netbsd.Machine, n int, values map[int]uint64) []byte {
	b := make([]byte, 8*n)
	for i, v := range values {
		m.Order.PutUint64(b[8*i:], v)
	}
	return b
}

func TestFill(t *testing.T) {
	for _, c := range []struct {
		text   string
		values []uint64
		want   string
	}{
		{"# packet~s sent", []uint64{0}, "0 packets sent"},
		{"# packet~s sent", []uint64{1}, "1 packet sent"},
		{"# PCB hash miss~es", []uint64{1}, "1 PCB hash miss"},
		{"# PCB hash miss~es", []uint64{2}, "2 PCB hash misses"},
		{"# quer~y with invalid field(s)", []uint64{1}, "1 query with invalid field(s)"},
		{"# quer~y", []uint64{5}, "5 queries"},
		{"# data packet~s (# byte~s)", []uint64{1, 2}, "1 data packet (2 bytes)"},
		{"# 100% #", []uint64{18446744073709551615}, "18446744073709551615 100% #"},
	} {
		if got := fill(c.text, c.values); got != c.want {
			t.Errorf("%s: got %s, want %s", c.text, got, c.want)
		}
	}
}

func TestStatistics(t *testing.T) {
	for _, c := range []struct {
		protocol  string
		n         int
		values    map[int]uint64
		hideZeros bool
		want      string
	}{
		{"ip", netbsd.IP_NSTATS, map[int]uint64{netbsd.IP_STAT_TOTAL: 1, netbsd.IP_STAT_FORWARD: 2}, true,
			"ip:\n\t1 total packet received\n\t2 packets forwarded\n"},
		{"ip", netbsd.IP_NSTATS, map[int]uint64{netbsd.IP_STAT_FASTFORWARD: 1}, true, "ip:\n\t(1 packet fast forwarded)\n"},
		// An older kernel, with fewer counters.
		{"ip", 2, map[int]uint64{1: 3}, true, "ip:\n\t3 bad header checksums\n"},
		{"icmp", netbsd.ICMP_NSTATS, map[int]uint64{netbsd.ICMP_STAT_OUTHIST: 1, netbsd.ICMP_STAT_OUTHIST + 7: 2,
			netbsd.ICMP_STAT_INHIST + 40: 3, netbsd.ICMP_STAT_INHIST + 29: 4}, true,
			"icmp:\n\tOutput histogram:\n\t\techoreply: 1\n\t\tunassigned_7: 2\n" +
				"\tInput histogram:\n\t\treserved_29: 4\n\t\tphoturis: 3\n"},
		{"icmp6", netbsd.ICMP6_NSTATS, map[int]uint64{netbsd.ICMP6_STAT_OUTHIST + 141: 1, netbsd.ICMP6_STAT_OUTERRHIST + 12: 9,
			netbsd.ICMP6_STAT_INHIST + 201: 5}, true,
			"icmp6:\n\tOutput packet histogram:\n\t\t#141: 1\n\tHistogram of error messages to be generated:\n\t\t9 unknown\n"},
		{"ip6", netbsd.IP6_NSTATS, map[int]uint64{
			netbsd.IP6_STAT_NXTHIST: 1, netbsd.IP6_STAT_NXTHIST + 200: 2, netbsd.IP6_STAT_NXTHIST + 201: 3,
			netbsd.IP6_STAT_M2M + 2: 4, netbsd.IP6_STAT_M2M + 9: 5,
			netbsd.IP6_STAT_SOURCES_SAMEIF + 14: 1, netbsd.IP6_STAT_SOURCES_DEPRECATED + 2: 6, netbsd.IP6_STAT_SOURCES_OTHERIF + 3: 7}, true,
			"ip6:\n\tInput packet histogram:\n\t\thop by hop: 1\n\t\tfoo: 2\n\t\t#201: 3\n\tMbuf statistics:\n" +
				"\t\ttwo or more mbuf:\n\t\t\tshmif0 = 4\n\t\t\t#9 = 5\n" +
				"\tsource addresses on an outgoing I/F\n\t\t1 global\n" +
				"\tsource addresses on a non-outgoing I/F\n\t\t7 addresses scope=3\n" +
				"\tdeprecated source addresses\n\t\t6 link-locals\n"},
		{"udp6", netbsd.UDP6_NSTATS, map[int]uint64{netbsd.UDP6_STAT_IPACKETS: 9, netbsd.UDP6_STAT_NOPORT: 4}, false,
			"udp6:\n\t9 datagrams received\n\t0 with incomplete header\n\t0 with bad data length field\n\t0 with bad checksum\n" +
				"\t0 with no checksum\n\t4 dropped due to no socket\n\t0 multicast datagrams dropped due to no socket\n" +
				"\t0 dropped due to full socket buffers\n\t5 delivered\n\t0 datagrams output\n"},
		{"igmp", 0, nil, true, "igmp:\n"},
	} {
		for _, m := range machines {
			k := newKernel(m)
			node := map[string]string{"ip": "net.inet.ip", "icmp": "net.inet.icmp", "icmp6": "net.inet6.icmp6",
				"ip6": "net.inet6.ip6", "udp6": "net.inet6.udp6", "igmp": "net.inet.igmp"}[c.protocol]
			k.nodes[node+".stats"] = array(m, c.n, c.values)
			s, err := ReadStatistics(t.Context(), k, c.protocol)
			if err != nil {
				t.Fatal(err)
			}
			got := output(t, func(b *bytes.Buffer) error { return s.Write(b, c.hideZeros, testNames(t)) })
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s of %s: %s", c.protocol, m, diff)
			}
		}
	}
}

func TestStatisticsNames(t *testing.T) {
	names := testNames(t)
	for alias, want := range map[string]string{"tcp": "tcp", "TCP": "tcp", "rip6": "rip6", "IP": "ip"} {
		if got, ok := FindProtocol(alias, names); !ok || got != want {
			t.Errorf("%s: got %s, %v", alias, got, ok)
		}
	}
	for _, alias := range []string{"foo", "FOO", "nosuch", ""} {
		if got, ok := FindProtocol(alias, names); ok {
			t.Errorf("%s: got %s", alias, got)
		}
	}
	if got := strings.Join(StatisticsOf("inet6"), " "); got != "ip6 icmp6 tcp6 udp6 pim6 rip6" {
		t.Errorf("got %s", got)
	}
	var none ErrNoStatistics
	k := newKernel(netbsd.AMD64)
	for _, name := range StatisticsOf("") {
		if _, err := ReadStatistics(t.Context(), k, name); !errors.As(err, &none) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ReadStatistics(t.Context(), k, "nosuch"); err == nil || errors.As(err, &none) {
		t.Errorf("got %v", err)
	}
}

func TestRoutingStatistics(t *testing.T) {
	k := newKernel(netbsd.SPARC64)
	k.nodes["net.route.stats"] = array(k.machine, 5, map[int]uint64{0: 1, 3: 36})
	s, err := ReadRoutingStatistics(t.Context(), k)
	if err != nil {
		t.Fatal(err)
	}
	got := output(t, func(b *bytes.Buffer) error { return s.Write(b, false, nil) })
	want := "routing:\n\t1 bad routing redirect\n\t0 dynamically created routes\n\t0 new gateways due to redirects\n" +
		"\t36 destinations found unreachable\n\t0 uses of a wildcard route\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if s.Counters["unreach"] != 36 || len(s.Counters) != 5 {
		t.Errorf("got %v", s.Counters)
	}
}

// TestCounterNames: in JSON every counter has a name of its own.
func TestCounterNames(t *testing.T) {
	for _, name := range StatisticsOf("") {
		k := newKernel(netbsd.AMD64)
		all, _ := ReadStatistics(t.Context(), k, name)
		if all != nil {
			t.Fatal("a kernel without nodes has statistics")
		}
	}
	for _, p := range append(append(inetStatistics, inet6Statistics...), arpStatistics...) {
		seen := map[string]bool{}
		for _, it := range p.items {
			names := map[string]uint64{}
			it.collect(nil, names)
			for n := range names {
				if seen[n] {
					t.Errorf("%s: %s twice", p.name, n)
				}
				seen[n] = true
			}
		}
	}
}
