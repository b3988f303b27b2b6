package netstat

import "rumptools/pkg/netbsd"

// ipProtocol has the counters of IPv4.
var ipProtocol = protocol{
	name: "ip",
	node: "net.inet.ip.stats",
	items: []item{
		line{1, "# total packet~s received", []counter{{netbsd.IP_STAT_TOTAL, "total"}}},
		line{1, "# bad header checksum~s", []counter{{netbsd.IP_STAT_BADSUM, "badsum"}}},
		line{1, "# with size smaller than minimum", []counter{{netbsd.IP_STAT_TOOSMALL, "toosmall"}}},
		line{1, "# with data size < data length", []counter{{netbsd.IP_STAT_TOOSHORT, "tooshort"}}},
		line{1, "# with length > max ip packet size", []counter{{netbsd.IP_STAT_TOOLONG, "toolong"}}},
		line{1, "# with header length < data size", []counter{{netbsd.IP_STAT_BADHLEN, "badhlen"}}},
		line{1, "# with data length < header length", []counter{{netbsd.IP_STAT_BADLEN, "badlen"}}},
		line{1, "# with bad options", []counter{{netbsd.IP_STAT_BADOPTIONS, "badoptions"}}},
		line{1, "# with incorrect version number", []counter{{netbsd.IP_STAT_BADVERS, "badvers"}}},
		line{1, "# fragment~s received", []counter{{netbsd.IP_STAT_FRAGMENTS, "fragments"}}},
		line{1, "# fragment~s dropped (dup or out of space)", []counter{{netbsd.IP_STAT_FRAGDROPPED, "fragdropped"}}},
		line{1, "# fragment~s dropped (out of ipqent)", []counter{{netbsd.IP_STAT_RCVMEMDROP, "rcvmemdrop"}}},
		line{1, "# malformed fragment~s dropped", []counter{{netbsd.IP_STAT_BADFRAGS, "badfrags"}}},
		line{1, "# fragment~s dropped after timeout", []counter{{netbsd.IP_STAT_FRAGTIMEOUT, "fragtimeout"}}},
		line{1, "# packet~s reassembled ok", []counter{{netbsd.IP_STAT_REASSEMBLED, "reassembled"}}},
		line{1, "# packet~s for this host", []counter{{netbsd.IP_STAT_DELIVERED, "delivered"}}},
		line{1, "# packet~s for unknown/unsupported protocol", []counter{{netbsd.IP_STAT_NOPROTO, "noproto"}}},
		optional{line{1, "# packet~s forwarded", []counter{{netbsd.IP_STAT_FORWARD, "forward"}}}, line{0, " (# packet~s fast forwarded)", []counter{{netbsd.IP_STAT_FASTFORWARD, "fastforward"}}}},
		line{1, "# packet~s not forwardable", []counter{{netbsd.IP_STAT_CANTFORWARD, "cantforward"}}},
		line{1, "# redirect~s sent", []counter{{netbsd.IP_STAT_REDIRECTSENT, "redirectsent"}}},
		line{1, "# packet~s no matching gif found", []counter{{netbsd.IP_STAT_NOGIF, "nogif"}}},
		line{1, "# packet~s sent from this host", []counter{{netbsd.IP_STAT_LOCALOUT, "localout"}}},
		line{1, "# packet~s sent with fabricated ip header", []counter{{netbsd.IP_STAT_RAWOUT, "rawout"}}},
		line{1, "# output packet~s dropped due to no bufs, etc.", []counter{{netbsd.IP_STAT_ODROPPED, "odropped"}}},
		line{1, "# output packet~s discarded due to no route", []counter{{netbsd.IP_STAT_NOROUTE, "noroute"}}},
		line{1, "# output datagram~s fragmented", []counter{{netbsd.IP_STAT_FRAGMENTED, "fragmented"}}},
		line{1, "# fragment~s created", []counter{{netbsd.IP_STAT_OFRAGMENTS, "ofragments"}}},
		line{1, "# datagram~s that can't be fragmented", []counter{{netbsd.IP_STAT_CANTFRAG, "cantfrag"}}},
		line{1, "# datagram~s with bad address in header", []counter{{netbsd.IP_STAT_BADADDR, "badaddr"}}},
	},
}

// icmpProtocol has the counters of ICMP.
var icmpProtocol = protocol{
	name: "icmp",
	node: "net.inet.icmp.stats",
	items: []item{
		line{1, "# call~s to icmp_error", []counter{{netbsd.ICMP_STAT_ERROR, "error"}}},
		line{1, "# error~s not generated because old message was icmp", []counter{{netbsd.ICMP_STAT_OLDICMP, "oldicmp"}}},
		histogram{1, "Output histogram:", counter{netbsd.ICMP_STAT_OUTHIST, "outhist"}, icmpTypes, icmpEntry},
		line{1, "# message~s with bad code fields", []counter{{netbsd.ICMP_STAT_BADCODE, "badcode"}}},
		line{1, "# message~s < minimum length", []counter{{netbsd.ICMP_STAT_TOOSHORT, "tooshort"}}},
		line{1, "# bad checksum~s", []counter{{netbsd.ICMP_STAT_CHECKSUM, "checksum"}}},
		line{1, "# message~s with bad length", []counter{{netbsd.ICMP_STAT_BADLEN, "badlen"}}},
		line{1, "# multicast echo request~s ignored", []counter{{netbsd.ICMP_STAT_BMCASTECHO, "bmcastecho"}}},
		line{1, "# multicast timestamp request~s ignored", []counter{{netbsd.ICMP_STAT_BMCASTTSTAMP, "bmcasttstamp"}}},
		histogram{1, "Input histogram:", counter{netbsd.ICMP_STAT_INHIST, "inhist"}, icmpTypes, icmpEntry},
		line{1, "# message response~s generated", []counter{{netbsd.ICMP_STAT_REFLECT, "reflect"}}},
		line{1, "# path MTU change~s", []counter{{netbsd.ICMP_STAT_PMTUCHG, "pmtuchg"}}},
	},
}

// igmpProtocol has the counters of IGMP.
var igmpProtocol = protocol{
	name: "igmp",
	node: "net.inet.igmp.stats",
	items: []item{
		line{1, "# message~s received", []counter{{netbsd.IGMP_STAT_RCV_TOTAL, "rcv_total"}}},
		line{1, "# message~s received with too few bytes", []counter{{netbsd.IGMP_STAT_RCV_TOOSHORT, "rcv_tooshort"}}},
		line{1, "# message~s received with bad checksum", []counter{{netbsd.IGMP_STAT_RCV_BADSUM, "rcv_badsum"}}},
		line{1, "# membership quer~y received", []counter{{netbsd.IGMP_STAT_RCV_QUERIES, "rcv_queries"}}},
		line{1, "# membership quer~y received with invalid field(s)", []counter{{netbsd.IGMP_STAT_RCV_BADQUERIES, "rcv_badqueries"}}},
		line{1, "# membership report~s received", []counter{{netbsd.IGMP_STAT_RCV_REPORTS, "rcv_reports"}}},
		line{1, "# membership report~s received with invalid field(s)", []counter{{netbsd.IGMP_STAT_RCV_BADREPORTS, "rcv_badreports"}}},
		line{1, "# membership report~s received for groups to which we belong", []counter{{netbsd.IGMP_STAT_RCV_OURREPORTS, "rcv_ourreports"}}},
		line{1, "# membership report~s sent", []counter{{netbsd.IGMP_STAT_SND_REPORTS, "snd_reports"}}},
	},
}

// udpProtocol has the counters of UDP over IPv4.
var udpProtocol = protocol{
	name: "udp",
	node: "net.inet.udp.stats",
	items: []item{
		line{1, "# datagram~s received", []counter{{netbsd.UDP_STAT_IPACKETS, "ipackets"}}},
		line{1, "# with incomplete header", []counter{{netbsd.UDP_STAT_HDROPS, "hdrops"}}},
		line{1, "# with bad data length field", []counter{{netbsd.UDP_STAT_BADLEN, "badlen"}}},
		line{1, "# with bad checksum", []counter{{netbsd.UDP_STAT_BADSUM, "badsum"}}},
		line{1, "# dropped due to no socket", []counter{{netbsd.UDP_STAT_NOPORT, "noport"}}},
		line{1, "# broadcast/multicast datagram~s dropped due to no socket", []counter{{netbsd.UDP_STAT_NOPORTBCAST, "noportbcast"}}},
		line{1, "# dropped due to full socket buffers", []counter{{netbsd.UDP_STAT_FULLSOCK, "fullsock"}}},
		difference{"# delivered", netbsd.UDP_STAT_IPACKETS, []int{netbsd.UDP_STAT_HDROPS, netbsd.UDP_STAT_BADLEN, netbsd.UDP_STAT_BADSUM, netbsd.UDP_STAT_NOPORT, netbsd.UDP_STAT_NOPORTBCAST, netbsd.UDP_STAT_FULLSOCK}, "delivered"},
		line{1, "# PCB hash miss~es", []counter{{netbsd.UDP_STAT_PCBHASHMISS, "pcbhashmiss"}}},
		line{1, "# datagram~s output", []counter{{netbsd.UDP_STAT_OPACKETS, "opackets"}}},
	},
}

// carpProtocol has the counters of carp(4) (CARP_STAT_* of <netinet/ip_carp.h>).
var carpProtocol = protocol{
	name: "carp",
	node: "net.inet.carp.stats",
	items: []item{
		line{1, "# packet~s received (IPv4)", []counter{{0, "ipackets"}}},
		line{1, "# packet~s received (IPv6)", []counter{{1, "ipackets6"}}},
		line{2, "# packet~s discarded for bad interface", []counter{{2, "badif"}}},
		line{2, "# packet~s discarded for wrong TTL", []counter{{3, "badttl"}}},
		line{2, "# packet~s shorter than header", []counter{{4, "hdrops"}}},
		line{2, "# packet~s discarded for bad checksum", []counter{{5, "badsum"}}},
		line{2, "# packet~s discarded with a bad version", []counter{{6, "badver"}}},
		line{2, "# discarded because packet was too short", []counter{{7, "badlen"}}},
		line{2, "# packet~s discarded for bad authentication", []counter{{8, "badauth"}}},
		line{2, "# packet~s discarded for bad vhid", []counter{{9, "badvhid"}}},
		line{2, "# packet~s discarded because of a bad address list", []counter{{10, "badaddrs"}}},
		line{1, "# packet~s sent (IPv4)", []counter{{11, "opackets"}}},
		line{1, "# packet~s sent (IPv6)", []counter{{12, "opackets6"}}},
		line{2, "# send failed due to mbuf memory error", []counter{{13, "onomem"}}},
	},
}

// arpProtocol has the counters of ARP.
var arpProtocol = protocol{
	name: "arp",
	node: "net.inet.arp.stats",
	items: []item{
		line{1, "# packet~s sent", []counter{{netbsd.ARP_STAT_SNDTOTAL, "sndtotal"}}},
		line{2, "# reply packet~s", []counter{{netbsd.ARP_STAT_SNDREPLY, "sndreply"}}},
		line{2, "# request packet~s", []counter{{netbsd.ARP_STAT_SENDREQUEST, "sendrequest"}}},
		line{1, "# packet~s received", []counter{{netbsd.ARP_STAT_RCVTOTAL, "rcvtotal"}}},
		line{2, "# reply packet~s", []counter{{netbsd.ARP_STAT_RCVREPLY, "rcvreply"}}},
		line{2, "# valid request packet~s", []counter{{netbsd.ARP_STAT_RCVREQUEST, "rcvrequest"}}},
		line{2, "# broadcast/multicast packet~s", []counter{{netbsd.ARP_STAT_RCVMCAST, "rcvmcast"}}},
		line{2, "# packet~s with unknown protocol type", []counter{{netbsd.ARP_STAT_RCVBADPROTO, "rcvbadproto"}}},
		line{2, "# packet~s with bad (short) length", []counter{{netbsd.ARP_STAT_RCVBADLEN, "rcvbadlen"}}},
		line{2, "# packet~s with null target IP address", []counter{{netbsd.ARP_STAT_RCVZEROTPA, "rcvzerotpa"}}},
		line{2, "# packet~s with null source IP address", []counter{{netbsd.ARP_STAT_RCVZEROSPA, "rcvzerospa"}}},
		line{2, "# could not be mapped to an interface", []counter{{netbsd.ARP_STAT_RCVNOINT, "rcvnoint"}}},
		line{2, "# packet~s sourced from a local hardware address", []counter{{netbsd.ARP_STAT_RCVLOCALSHA, "rcvlocalsha"}}},
		line{2, "# packet~s with a broadcast source hardware address", []counter{{netbsd.ARP_STAT_RCVBCASTSHA, "rcvbcastsha"}}},
		line{2, "# duplicate~s for a local IP address", []counter{{netbsd.ARP_STAT_RCVLOCALSPA, "rcvlocalspa"}}},
		line{2, "# attempt~s to overwrite a static entry", []counter{{netbsd.ARP_STAT_RCVOVERPERM, "rcvoverperm"}}},
		line{2, "# packet~s received on wrong interface", []counter{{netbsd.ARP_STAT_RCVOVERINT, "rcvoverint"}}},
		line{2, "# entry~s overwritten", []counter{{netbsd.ARP_STAT_RCVOVER, "rcvover"}}},
		line{2, "# change~s in hardware address length", []counter{{netbsd.ARP_STAT_RCVLENCHG, "rcvlenchg"}}},
		line{1, "# packet~s deferred pending ARP resolution", []counter{{netbsd.ARP_STAT_DFRTOTAL, "dfrtotal"}}},
		line{2, "# sent", []counter{{netbsd.ARP_STAT_DFRSENT, "dfrsent"}}},
		line{2, "# dropped", []counter{{netbsd.ARP_STAT_DFRDROPPED, "dfrdropped"}}},
		line{1, "# failure~s to allocate llinfo", []counter{{netbsd.ARP_STAT_ALLOCFAIL, "allocfail"}}},
	},
}
