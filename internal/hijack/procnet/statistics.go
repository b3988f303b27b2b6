//go:build linux

package procnet

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/netview"
	"rumptools/internal/netstat"
	"rumptools/pkg/netbsd"
)

// counters are what NetBSD counts of a protocol, by the names that package
// netstat has for them.
type counters map[string]uint64

// sum adds counters.
func (c counters) sum(names ...string) uint64 {
	var n uint64
	for _, name := range names {
		n += c[name]
	}
	return n
}

// histogram adds all counters of a histogram.
func (c counters) histogram(name string) uint64 {
	var n uint64
	for k, v := range c {
		if strings.HasPrefix(k, name+".") {
			n += v
		}
	}
	return n
}

// counters reads the counters of a protocol; a kernel that keeps none has 0.
func (w *writer) counters(protocol string) (counters, error) {
	s, err := netstat.ReadStatistics(w.ctx, w.kernel, protocol)
	var none netstat.ErrNoStatistics
	if errors.As(err, &none) {
		return counters{}, nil
	}
	if err != nil {
		return nil, err
	}
	return s.Counters, nil
}

// setting reads an integer of the sysctl tree, or what it usually is where the
// kernel has no such node.
func (w *writer) setting(name string, usual uint32) (uint32, error) {
	mib, _, err := w.kernel.SysctlNode(w.ctx, name)
	if err == nil {
		var b []byte
		if b, err = w.kernel.SysctlBytes(w.ctx, mib); err == nil && len(b) >= 4 {
			return w.kernel.Machine().Order.Uint32(b), nil
		}
	}
	if err != nil && !errors.Is(err, netbsd.ENOENT) {
		return 0, err
	}
	return usual, nil
}

// value is a counter with Linux's name.
type value struct {
	name string
	v    any
}

// pair writes counters as two lines: names, and values.
func (w *writer) pair(title string, values []value) {
	w.printf("%s:", title)
	for _, v := range values {
		w.printf(" %s", v.name)
	}
	w.printf("\n%s:", title)
	for _, v := range values {
		w.printf(" %v", v.v)
	}
	w.printf("\n")
}

// icmpTypes are the types of ICMP that have a counter of their own, in Linux's
// order.
var icmpTypes = []struct {
	name string
	typ  int
}{
	{"DestUnreachs", 3}, {"TimeExcds", 11}, {"ParmProbs", 12}, {"SrcQuenchs", 4}, {"Redirects", 5}, {"Echos", 8},
	{"EchoReps", 0}, {"Timestamps", 13}, {"TimestampReps", 14}, {"AddrMasks", 17}, {"AddrMaskReps", 18},
}

// snmp has the counters of RFC 1213. What NetBSD does not count is 0.
func (w *writer) snmp() error {
	for _, f := range []func(*writer) error{(*writer).snmpIP, (*writer).snmpICMP, (*writer).snmpTCP, (*writer).snmpUDP} {
		if err := f(w); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) snmpIP() error {
	ip, err := w.counters("ip")
	if err != nil {
		return err
	}
	forwarding, err := w.setting("net.inet.ip.forwarding", 0)
	if err != nil {
		return err
	}
	ttl, err := w.setting("net.inet.ip.ttl", 64)
	if err != nil {
		return err
	}
	mode := 2 // not forwarding
	if forwarding != 0 {
		mode = 1
	}
	sent, forwarded := ip.sum("localout", "rawout"), ip.sum("forward", "fastforward")
	w.pair("Ip", []value{
		{"Forwarding", mode},
		{"DefaultTTL", ttl},
		{"InReceives", ip["total"]},
		{"InHdrErrors", ip.sum("badsum", "toosmall", "tooshort", "toolong", "badhlen", "badlen", "badoptions", "badvers")},
		{"InAddrErrors", ip.sum("cantforward", "badaddr")},
		{"ForwDatagrams", forwarded},
		{"InUnknownProtos", ip["noproto"]},
		{"InDiscards", 0},
		{"InDelivers", ip["delivered"]},
		{"OutRequests", sent},
		{"OutDiscards", ip["odropped"]},
		{"OutNoRoutes", ip["noroute"]},
		{"ReasmTimeout", ip["fragtimeout"]},
		{"ReasmReqds", ip["fragments"]},
		{"ReasmOKs", ip["reassembled"]},
		{"ReasmFails", ip.sum("fragdropped", "rcvmemdrop", "badfrags", "fragtimeout")},
		{"FragOKs", ip["fragmented"]},
		{"FragFails", ip["cantfrag"]},
		{"FragCreates", ip["ofragments"]},
		{"OutTransmits", sent + forwarded},
	})
	return nil
}

func (w *writer) snmpICMP() error {
	icmp, err := w.counters("icmp")
	if err != nil {
		return err
	}
	values := []value{
		{"InMsgs", icmp.histogram("inhist") + icmp.sum("badcode", "tooshort", "checksum", "badlen")},
		{"InErrors", icmp.sum("badcode", "tooshort", "checksum", "badlen")},
		{"InCsumErrors", icmp["checksum"]},
	}
	for _, t := range icmpTypes {
		values = append(values, value{"In" + t.name, icmp[fmt.Sprintf("inhist.%d", t.typ)]})
	}
	values = append(values, value{"OutMsgs", icmp.histogram("outhist")},
		value{"OutErrors", 0}, value{"OutRateLimitGlobal", 0}, value{"OutRateLimitHost", 0})
	for _, t := range icmpTypes {
		values = append(values, value{"Out" + t.name, icmp[fmt.Sprintf("outhist.%d", t.typ)]})
	}
	w.pair("Icmp", values)
	// All types, without those that never came.
	var seen []value
	for _, d := range []struct{ name, histogram string }{{"In", "inhist"}, {"Out", "outhist"}} {
		for typ := range 256 {
			if v := icmp[fmt.Sprintf("%s.%d", d.histogram, typ)]; v != 0 {
				seen = append(seen, value{fmt.Sprintf("%sType%d", d.name, typ), v})
			}
		}
	}
	if len(seen) > 0 {
		w.pair("IcmpMsg", seen)
	}
	return nil
}

// The bounds of NetBSD's retransmission time-out in milliseconds (TCPTV_MIN,
// TCPTV_REXMTMAX of <netinet/tcp_timer.h>).
const (
	minRetransmission = 1000
	maxRetransmission = 64000
)

func (w *writer) snmpTCP() error {
	tcp, err := w.counters("tcp")
	if err != nil {
		return err
	}
	established := 0
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		n, err := w.count(family, unix.IPPROTO_TCP, func(s *netview.Socket) bool {
			return s.State == netview.TCPEstablished || s.State == netview.TCPCloseWait
		})
		if err != nil {
			return err
		}
		established += n
	}
	w.pair("Tcp", []value{
		{"RtoAlgorithm", 1},
		{"RtoMin", minRetransmission},
		{"RtoMax", maxRetransmission},
		{"MaxConn", -1},
		{"ActiveOpens", tcp["connattempt"]},
		{"PassiveOpens", tcp["accepts"]},
		{"AttemptFails", tcp["conndrops"]},
		{"EstabResets", tcp["drops"]},
		{"CurrEstab", established},
		{"InSegs", tcp["rcvtotal"]},
		{"OutSegs", tcp["sndtotal"] - min(tcp["sndtotal"], tcp["sndrexmitpack"])},
		{"RetransSegs", tcp["sndrexmitpack"]},
		{"InErrs", tcp.sum("rcvbadsum", "rcvbadoff", "rcvshort")},
		{"OutRsts", 0},
		{"InCsumErrors", tcp["rcvbadsum"]},
	})
	return nil
}

func (w *writer) snmpUDP() error {
	udp, err := w.counters("udp")
	if err != nil {
		return err
	}
	w.pair("Udp", []value{
		{"InDatagrams", udp["delivered"]},
		{"NoPorts", udp["noport"]},
		{"InErrors", udp.sum("hdrops", "badlen", "badsum", "fullsock")},
		{"OutDatagrams", udp["opackets"]},
		{"RcvbufErrors", udp["fullsock"]},
		{"SndbufErrors", 0},
		{"InCsumErrors", udp["badsum"]},
		{"IgnoredMulti", udp["noportbcast"]},
		{"MemErrors", 0},
	})
	w.pair("UdpLite", []value{
		{"InDatagrams", 0}, {"NoPorts", 0}, {"InErrors", 0}, {"OutDatagrams", 0}, {"RcvbufErrors", 0}, {"SndbufErrors", 0},
		{"InCsumErrors", 0}, {"IgnoredMulti", 0}, {"MemErrors", 0},
	})
	return nil
}

// icmp6Types are the types of ICMPv6 that have a counter of their own, in
// Linux's order. Packets that are too big are counted after the first.
var icmp6Types = []struct {
	name string
	typ  int
}{
	{"DestUnreachs", 1}, {"PktTooBigs", 2}, {"TimeExcds", 3}, {"ParmProblems", 4}, {"Echos", 128}, {"EchoReplies", 129},
	{"GroupMembQueries", 130}, {"GroupMembResponses", 131}, {"GroupMembReductions", 132}, {"RouterSolicits", 133},
	{"RouterAdvertisements", 134}, {"NeighborSolicits", 135}, {"NeighborAdvertisements", 136}, {"Redirects", 137},
	{"MLDv2Reports", 143},
}

// snmp6 has the counters of RFC 4293, those of all interfaces together.
func (w *writer) snmp6() error {
	ip, err := w.counters("ip6")
	if err != nil {
		return err
	}
	icmp, err := w.counters("icmp6")
	if err != nil {
		return err
	}
	udp, err := w.counters("udp6")
	if err != nil {
		return err
	}
	sent, forwarded := ip.sum("localout", "rawout"), ip.sum("forward", "fastforward")
	values := []value{
		{"Ip6InReceives", ip["total"]},
		{"Ip6InHdrErrors", ip.sum("toosmall", "badoptions", "badvers", "toomanyhdr")},
		{"Ip6InTooBigErrors", 0},
		{"Ip6InNoRoutes", 0},
		{"Ip6InAddrErrors", ip.sum("cantforward", "badscope")},
		{"Ip6InUnknownProtos", 0},
		{"Ip6InTruncatedPkts", ip["tooshort"]},
		{"Ip6InDiscards", ip["notmember"]},
		{"Ip6InDelivers", ip["delivered"]},
		{"Ip6OutForwDatagrams", forwarded},
		{"Ip6OutRequests", sent},
		{"Ip6OutDiscards", ip["odropped"]},
		{"Ip6OutNoRoutes", ip["noroute"]},
		{"Ip6ReasmTimeout", ip["fragtimeout"]},
		{"Ip6ReasmReqds", ip["fragments"]},
		{"Ip6ReasmOKs", ip["reassembled"]},
		{"Ip6ReasmFails", ip.sum("fragdropped", "fragtimeout", "fragoverflow")},
		{"Ip6FragOKs", ip["fragmented"]},
		{"Ip6FragFails", ip["cantfrag"]},
		{"Ip6FragCreates", ip["ofragments"]},
	}
	for _, name := range []string{
		"InMcastPkts", "OutMcastPkts", "InOctets", "OutOctets", "InMcastOctets", "OutMcastOctets", "InBcastOctets", "OutBcastOctets",
		"InNoECTPkts", "InECT1Pkts", "InECT0Pkts", "InCEPkts",
	} {
		values = append(values, value{"Ip6" + name, 0}) // not counted by family
	}
	values = append(values, value{"Ip6OutTransmits", sent + forwarded})
	errs := icmp.sum("badcode", "tooshort", "checksum", "badlen")
	values = append(values, value{"Icmp6InMsgs", icmp.histogram("inhist") + errs}, value{"Icmp6InErrors", errs},
		value{"Icmp6OutMsgs", icmp.histogram("outhist")}, value{"Icmp6OutErrors", icmp["canterror"]},
		value{"Icmp6InCsumErrors", icmp["checksum"]}, value{"Icmp6OutRateLimitHost", icmp["toofreq"]})
	directions := []struct{ name, histogram string }{{"In", "inhist"}, {"Out", "outhist"}}
	for _, d := range directions {
		for _, t := range icmp6Types {
			values = append(values, value{"Icmp6" + d.name + t.name, icmp[fmt.Sprintf("%s.%d", d.histogram, t.typ)]})
		}
	}
	for _, d := range directions {
		for typ := range 256 {
			if v := icmp[fmt.Sprintf("%s.%d", d.histogram, typ)]; v != 0 {
				values = append(values, value{fmt.Sprintf("Icmp6%sType%d", d.name, typ), v})
			}
		}
	}
	received := udp["ipackets"]
	errs = udp.sum("hdrops", "badlen", "badsum", "nosum", "fullsock")
	values = append(values,
		value{"Udp6InDatagrams", received - min(received, errs+udp.sum("noport", "noportmcast"))},
		value{"Udp6NoPorts", udp["noport"]}, value{"Udp6InErrors", errs}, value{"Udp6OutDatagrams", udp["opackets"]},
		value{"Udp6RcvbufErrors", udp["fullsock"]}, value{"Udp6SndbufErrors", 0}, value{"Udp6InCsumErrors", udp["badsum"]},
		value{"Udp6IgnoredMulti", udp["noportmcast"]}, value{"Udp6MemErrors", 0})
	for _, name := range []string{
		"InDatagrams", "NoPorts", "InErrors", "OutDatagrams", "RcvbufErrors", "SndbufErrors", "InCsumErrors", "MemErrors",
	} {
		values = append(values, value{"UdpLite6" + name, 0})
	}
	for _, v := range values {
		w.printf("%-32s\t%v\n", v.name, v.v)
	}
	return nil
}

// netstat has counters that are Linux's own: those of them that NetBSD has,
// too. Programs find them by name.
func (w *writer) netstat() error {
	tcp, err := w.counters("tcp")
	if err != nil {
		return err
	}
	links, err := netview.Links(w.ctx, w.kernel)
	if err != nil {
		return err
	}
	w.pair("TcpExt", []value{
		{"SyncookiesSent", 0},
		{"SyncookiesRecv", 0},
		{"SyncookiesFailed", 0},
		{"EmbryonicRsts", tcp["sc_reset"]},
		{"TW", 0},
		{"PAWSEstab", tcp["pawsdrop"]},
		{"BeyondWindow", tcp["rcvpackafterwin"]},
		{"DelayedACKs", tcp["delack"]},
		{"ListenOverflows", tcp.sum("sc_overflowed", "sc_bucketoverflow")},
		{"ListenDrops", tcp.sum("sc_overflowed", "sc_bucketoverflow", "sc_dropped", "sc_aborted")},
		{"TCPHPHits", tcp["preddat"]},
		{"TCPPureAcks", tcp["rcvackpack"] - min(tcp["rcvackpack"], tcp["predack"])},
		{"TCPHPAcks", tcp["predack"]},
		{"TCPTimeouts", tcp["rexmttimeo"]},
		{"TCPAbortOnTimeout", tcp.sum("timeoutdrop", "persistdrops", "keepdrops")},
		{"TCPOFOQueue", tcp["rcvoopack"]},
		{"TCPWinProbe", tcp["sndprobe"]},
		{"TCPKeepAlive", tcp["keepprobe"]},
		{"TCPOrigDataSent", tcp["sndpack"]},
		{"TCPDelivered", tcp["rcvackpack"]},
		{"TCPMD5Failure", tcp["badsig"]},
	})
	var in, out, multicast, multicastOut uint64
	for i := range links {
		d := &links[i].Data
		in, out = in+d.Ibytes, out+d.Obytes
		multicast, multicastOut = multicast+d.Imcasts, multicastOut+d.Omcasts
	}
	// Of both families, and with the headers of links.
	w.pair("IpExt", []value{
		{"InNoRoutes", 0},
		{"InTruncatedPkts", 0},
		{"InMcastPkts", multicast},
		{"OutMcastPkts", multicastOut},
		{"InBcastPkts", 0},
		{"OutBcastPkts", 0},
		{"InOctets", in},
		{"OutOctets", out},
	})
	return nil
}
