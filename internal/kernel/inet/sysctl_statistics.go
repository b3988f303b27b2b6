package inet

import (
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/tcpip"

	"rumptools/internal/kernel"
	"rumptools/pkg/netbsd"
)

// addStatisticsSysctls adds the nodes that netstat -s shows. It comes after
// the protocols' own nodes.
func (s *Stack) addStatisticsSysctls() {
	s.kernel.AddSysctl("net.inet", &kernel.Node{
		Name: "igmp", Num: netbsd.IPPROTO_IGMP, Type: netbsd.CTLTYPE_NODE, Desc: "Internet Group Management Protocol",
	})
	for _, p := range []struct {
		parent string
		num    int32
		desc   string
		get    func() []uint64
	}{
		{"net.inet.ip", 24, "IP", s.ipStatistics},
		{"net.inet.icmp", 7, "ICMP", s.icmpStatistics},
		{"net.inet.igmp", netbsd.CTL_CREATE, "IGMP", s.igmpStatistics},
		{"net.inet.tcp", 30, "TCP", s.tcpStatistics},
		{"net.inet.udp", 5, "UDP", func() []uint64 { return load(s.sockets.udpStat[:]) }},
		{"net.inet.arp", netbsd.CTL_CREATE, "ARP", func() []uint64 { return load(s.stats.arp[:]) }},
		{"net.inet6.ip6", 6, "IPv6", func() []uint64 { return load(s.stats.ip6[:]) }},
		{"net.inet6.icmp6", 1, "ICMPv6", func() []uint64 { return load(s.stats.icmp6[:]) }},
		{"net.inet6.tcp6", 30, "TCP", s.tcpStatistics},
		{"net.inet6.udp6", 4, "UDPv6", func() []uint64 { return load(s.sockets.udp6Stat[:]) }},
		// badredirect, dynamic and newgateway: redirects are not heeded.
		{"net.route", netbsd.CTL_CREATE, "Routing", func() []uint64 { return []uint64{3: s.stats.unreach.Load(), 4: 0} }},
	} {
		s.kernel.AddSysctl(p.parent, &kernel.Node{
			Name: "stats", Num: p.num, Type: netbsd.CTLTYPE_STRUCT, Desc: p.desc + " statistics",
			Get: func(r *kernel.SysctlRequest) ([]byte, error) {
				var b []byte
				for _, v := range p.get() {
					b = r.Machine().Order.AppendUint64(b, v)
				}
				return b, nil
			},
		})
	}
}

func load(counters []atomic.Uint64) []uint64 {
	list := make([]uint64, len(counters))
	for i := range counters {
		list[i] = counters[i].Load()
	}
	return list
}

// ipStatistics is net.inet.ip.stats. Links do not know which packets have a
// header that a program made.
func (s *Stack) ipStatistics() []uint64 {
	list := load(s.stats.ip[:])
	list[netbsd.IP_STAT_LOCALOUT] -= min(list[netbsd.IP_STAT_LOCALOUT], s.stats.rawSent.Load())
	return list
}

// icmpStatistics is net.inet.icmp.stats: what is counted here, and the errors
// that the engine sends.
func (s *Stack) icmpStatistics() []uint64 {
	list := load(s.sockets.icmp.stat[:])
	sent := s.net.Stats().ICMP.V4.PacketsSent
	for typ, n := range map[int]*tcpip.StatCounter{
		netbsd.ICMP_UNREACH:   sent.DstUnreachable,
		netbsd.ICMP_TIMXCEED:  sent.TimeExceeded,
		netbsd.ICMP_PARAMPROB: sent.ParamProblem,
	} {
		list[netbsd.ICMP_STAT_ERROR] += n.Value()
		list[netbsd.ICMP_STAT_OUTHIST+typ] += n.Value()
	}
	return list
}

// igmpStatistics is net.inet.igmp.stats: what the engine counts.
func (s *Stack) igmpStatistics() []uint64 {
	list := make([]uint64, netbsd.IGMP_NSTATS)
	reports := func(p tcpip.IGMPPacketStats) uint64 {
		return p.V1MembershipReport.Value() + p.V2MembershipReport.Value() + p.V3MembershipReport.Value()
	}
	st := s.net.Stats().IGMP
	in := st.PacketsReceived
	list[netbsd.IGMP_STAT_RCV_TOOSHORT] = in.Invalid.Value()
	list[netbsd.IGMP_STAT_RCV_BADSUM] = in.ChecksumErrors.Value()
	list[netbsd.IGMP_STAT_RCV_QUERIES] = in.MembershipQuery.Value()
	list[netbsd.IGMP_STAT_RCV_REPORTS] = reports(in.IGMPPacketStats)
	list[netbsd.IGMP_STAT_RCV_TOTAL] = in.Invalid.Value() + in.ChecksumErrors.Value() + in.MembershipQuery.Value() +
		in.LeaveGroup.Value() + in.Unrecognized.Value() + reports(in.IGMPPacketStats)
	list[netbsd.IGMP_STAT_SND_REPORTS] = reports(st.PacketsSent.IGMPPacketStats)
	return list
}

// tcpStatistics is net.inet.tcp.stats: what the engine counts.
func (s *Stack) tcpStatistics() []uint64 {
	list := make([]uint64, netbsd.TCP_NSTATS)
	t := s.net.Stats().TCP
	for i, n := range map[int]*tcpip.StatCounter{
		netbsd.TCP_STAT_CONNATTEMPT:   t.ActiveConnectionOpenings,
		netbsd.TCP_STAT_ACCEPTS:       t.PassiveConnectionOpenings,
		netbsd.TCP_STAT_CONNDROPS:     t.FailedConnectionAttempts,
		netbsd.TCP_STAT_DROPS:         t.EstablishedResets,
		netbsd.TCP_STAT_TIMEOUTDROP:   t.EstablishedTimedout,
		netbsd.TCP_STAT_REXMTTIMEO:    t.Timeouts,
		netbsd.TCP_STAT_SNDTOTAL:      t.SegmentsSent,
		netbsd.TCP_STAT_SNDREXMITPACK: t.Retransmits,
		netbsd.TCP_STAT_RCVTOTAL:      t.ValidSegmentsReceived,
		netbsd.TCP_STAT_RCVBADSUM:     t.ChecksumErrors,
		netbsd.TCP_STAT_RCVBADOFF:     t.InvalidSegmentsReceived,
		netbsd.TCP_STAT_SC_OVERFLOWED: t.ListenOverflowSynDrop,
	} {
		list[i] = n.Value()
	}
	list[netbsd.TCP_STAT_RCVTOTAL] += t.InvalidSegmentsReceived.Value() + t.ChecksumErrors.Value()
	list[netbsd.TCP_STAT_CONNECTS] = list[netbsd.TCP_STAT_ACCEPTS] +
		list[netbsd.TCP_STAT_CONNATTEMPT] - min(list[netbsd.TCP_STAT_CONNATTEMPT], list[netbsd.TCP_STAT_CONNDROPS])
	list[netbsd.TCP_STAT_CLOSED] = t.EstablishedClosed.Value() + t.EstablishedResets.Value()
	return list
}
