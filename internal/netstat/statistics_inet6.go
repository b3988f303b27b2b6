package netstat

import "rumptools/pkg/netbsd"

// ip6Protocol has the counters of IPv6.
var ip6Protocol = protocol{
	name: "ip6",
	node: "net.inet6.ip6.stats",
	items: []item{
		line{1, "# total packet~s received", []counter{{netbsd.IP6_STAT_TOTAL, "total"}}},
		line{1, "# with size smaller than minimum", []counter{{netbsd.IP6_STAT_TOOSMALL, "toosmall"}}},
		line{1, "# with data size < data length", []counter{{netbsd.IP6_STAT_TOOSHORT, "tooshort"}}},
		line{1, "# with bad options", []counter{{netbsd.IP6_STAT_BADOPTIONS, "badoptions"}}},
		line{1, "# with incorrect version number", []counter{{netbsd.IP6_STAT_BADVERS, "badvers"}}},
		line{1, "# fragment~s received", []counter{{netbsd.IP6_STAT_FRAGMENTS, "fragments"}}},
		line{1, "# fragment~s dropped (dup or out of space)", []counter{{netbsd.IP6_STAT_FRAGDROPPED, "fragdropped"}}},
		line{1, "# fragment~s dropped after timeout", []counter{{netbsd.IP6_STAT_FRAGTIMEOUT, "fragtimeout"}}},
		line{1, "# fragment~s that exceeded limit", []counter{{netbsd.IP6_STAT_FRAGOVERFLOW, "fragoverflow"}}},
		line{1, "# packet~s reassembled ok", []counter{{netbsd.IP6_STAT_REASSEMBLED, "reassembled"}}},
		line{1, "# packet~s for this host", []counter{{netbsd.IP6_STAT_DELIVERED, "delivered"}}},
		line{1, "# packet~s forwarded", []counter{{netbsd.IP6_STAT_FORWARD, "forward"}}},
		line{1, "# packet~s fast forwarded", []counter{{netbsd.IP6_STAT_FASTFORWARD, "fastforward"}}},
		line{1, "# fast forward flows", []counter{{netbsd.IP6_STAT_FASTFORWARDFLOWS, "fastforwardflows"}}},
		line{1, "# packet~s not forwardable", []counter{{netbsd.IP6_STAT_CANTFORWARD, "cantforward"}}},
		line{1, "# redirect~s sent", []counter{{netbsd.IP6_STAT_REDIRECTSENT, "redirectsent"}}},
		line{1, "# packet~s sent from this host", []counter{{netbsd.IP6_STAT_LOCALOUT, "localout"}}},
		line{1, "# packet~s sent with fabricated ip header", []counter{{netbsd.IP6_STAT_RAWOUT, "rawout"}}},
		line{1, "# output packet~s dropped due to no bufs, etc.", []counter{{netbsd.IP6_STAT_ODROPPED, "odropped"}}},
		line{1, "# output packet~s discarded due to no route", []counter{{netbsd.IP6_STAT_NOROUTE, "noroute"}}},
		line{1, "# output datagram~s fragmented", []counter{{netbsd.IP6_STAT_FRAGMENTED, "fragmented"}}},
		line{1, "# fragment~s created", []counter{{netbsd.IP6_STAT_OFRAGMENTS, "ofragments"}}},
		line{1, "# datagram~s that can't be fragmented", []counter{{netbsd.IP6_STAT_CANTFRAG, "cantfrag"}}},
		line{1, "# packet~s that violated scope rules", []counter{{netbsd.IP6_STAT_BADSCOPE, "badscope"}}},
		line{1, "# multicast packet~s which we don't join", []counter{{netbsd.IP6_STAT_NOTMEMBER, "notmember"}}},
		histogram{1, "Input packet histogram:", counter{netbsd.IP6_STAT_NXTHIST, "nxthist"}, 256, nextHeaderEntry},
		heading("Mbuf statistics:"),
		line{2, "# one mbuf~s", []counter{{netbsd.IP6_STAT_M1, "m1"}}},
		histogram{2, "two or more mbuf:", counter{netbsd.IP6_STAT_M2M, "m2m"}, mbufInterfaces, mbufEntry},
		line{2, "# one ext mbuf~s", []counter{{netbsd.IP6_STAT_MEXT1, "mext1"}}},
		line{2, "# two or more ext mbuf~s", []counter{{netbsd.IP6_STAT_MEXT2M, "mext2m"}}},
		line{1, "# packet~s whose headers are not continuous", []counter{{netbsd.IP6_STAT_EXTHDRTOOLONG, "exthdrtoolong"}}},
		line{1, "# tunneling packet~s that can't find gif", []counter{{netbsd.IP6_STAT_NOGIF, "nogif"}}},
		line{1, "# packet~s discarded due to too many headers", []counter{{netbsd.IP6_STAT_TOOMANYHDR, "toomanyhdr"}}},
		line{1, "# failure~s of source address selection", []counter{{netbsd.IP6_STAT_SOURCES_NONE, "sources_none"}}},
		histogram{1, "source addresses on an outgoing I/F", counter{netbsd.IP6_STAT_SOURCES_SAMEIF, "sources_sameif"}, 16, scopeEntry},
		histogram{1, "source addresses on a non-outgoing I/F", counter{netbsd.IP6_STAT_SOURCES_OTHERIF, "sources_otherif"}, 16, scopeEntry},
		histogram{1, "source addresses of same scope", counter{netbsd.IP6_STAT_SOURCES_SAMESCOPE, "sources_samescope"}, 16, scopeEntry},
		histogram{1, "source addresses of a different scope", counter{netbsd.IP6_STAT_SOURCES_OTHERSCOPE, "sources_otherscope"}, 16, scopeEntry},
		histogram{1, "deprecated source addresses", counter{netbsd.IP6_STAT_SOURCES_DEPRECATED, "sources_deprecated"}, 16, scopeEntry},
		line{1, "# forward cache hit", []counter{{netbsd.IP6_STAT_FORWARD_CACHEHIT, "forward_cachehit"}}},
		line{1, "# forward cache miss", []counter{{netbsd.IP6_STAT_FORWARD_CACHEMISS, "forward_cachemiss"}}},
	},
}

// icmp6Protocol has the counters of ICMPv6.
var icmp6Protocol = protocol{
	name: "icmp6",
	node: "net.inet6.icmp6.stats",
	items: []item{
		line{1, "# call~s to icmp6_error", []counter{{netbsd.ICMP6_STAT_ERROR, "error"}}},
		line{1, "# error~s not generated because old message was icmp6 or so", []counter{{netbsd.ICMP6_STAT_CANTERROR, "canterror"}}},
		line{1, "# error~s not generated because of rate limitation", []counter{{netbsd.ICMP6_STAT_TOOFREQ, "toofreq"}}},
		histogram{1, "Output packet histogram:", counter{netbsd.ICMP6_STAT_OUTHIST, "outhist"}, 256, icmp6Entry},
		line{1, "# message~s with bad code fields", []counter{{netbsd.ICMP6_STAT_BADCODE, "badcode"}}},
		line{1, "# message~s < minimum length", []counter{{netbsd.ICMP6_STAT_TOOSHORT, "tooshort"}}},
		line{1, "# bad checksum~s", []counter{{netbsd.ICMP6_STAT_CHECKSUM, "checksum"}}},
		line{1, "# message~s with bad length", []counter{{netbsd.ICMP6_STAT_BADLEN, "badlen"}}},
		// NetBSD's netstat stops short of the types that are not assigned.
		histogram{1, "Input packet histogram:", counter{netbsd.ICMP6_STAT_INHIST, "inhist"}, 201, icmp6Entry},
		heading("Histogram of error messages to be generated:"),
		line{2, "# no route", []counter{{netbsd.ICMP6_STAT_OUTERRHIST + 0, "outerrhist.0"}}},
		line{2, "# administratively prohibited", []counter{{netbsd.ICMP6_STAT_OUTERRHIST + 1, "outerrhist.1"}}},
		line{2, "# beyond scope", []counter{{netbsd.ICMP6_STAT_OUTERRHIST + 2, "outerrhist.2"}}},
		line{2, "# address unreachable", []counter{{netbsd.ICMP6_STAT_OUTERRHIST + 3, "outerrhist.3"}}},
		line{2, "# port unreachable", []counter{{netbsd.ICMP6_STAT_OUTERRHIST + 4, "outerrhist.4"}}},
		line{2, "# packet too big", []counter{{netbsd.ICMP6_STAT_OUTERRHIST + 5, "outerrhist.5"}}},
		line{2, "# time exceed transit", []counter{{netbsd.ICMP6_STAT_OUTERRHIST + 6, "outerrhist.6"}}},
		line{2, "# time exceed reassembly", []counter{{netbsd.ICMP6_STAT_OUTERRHIST + 7, "outerrhist.7"}}},
		line{2, "# erroneous header field", []counter{{netbsd.ICMP6_STAT_OUTERRHIST + 8, "outerrhist.8"}}},
		line{2, "# unrecognized next header", []counter{{netbsd.ICMP6_STAT_OUTERRHIST + 9, "outerrhist.9"}}},
		line{2, "# unrecognized option", []counter{{netbsd.ICMP6_STAT_OUTERRHIST + 10, "outerrhist.10"}}},
		line{2, "# redirect", []counter{{netbsd.ICMP6_STAT_OUTERRHIST + 11, "outerrhist.11"}}},
		line{2, "# unknown", []counter{{netbsd.ICMP6_STAT_OUTERRHIST + 12, "outerrhist.12"}}},
		line{1, "# message response~s generated", []counter{{netbsd.ICMP6_STAT_REFLECT, "reflect"}}},
		line{1, "# message~s with too many ND options", []counter{{netbsd.ICMP6_STAT_ND_TOOMANYOPT, "nd_toomanyopt"}}},
		line{1, "# message~s with bad ND options", []counter{{netbsd.ICMP6_STAT_ND_BADOPT, "nd_badopt"}}},
		line{1, "# bad neighbor solicitation message~s", []counter{{netbsd.ICMP6_STAT_BADNS, "badns"}}},
		line{1, "# bad neighbor advertisement message~s", []counter{{netbsd.ICMP6_STAT_BADNA, "badna"}}},
		line{1, "# bad router solicitation message~s", []counter{{netbsd.ICMP6_STAT_BADRS, "badrs"}}},
		line{1, "# bad router advertisement message~s", []counter{{netbsd.ICMP6_STAT_BADRA, "badra"}}},
		line{1, "# router advertisement route~s dropped", []counter{{netbsd.ICMP6_STAT_DROPPED_RAROUTE, "dropped_raroute"}}},
		line{1, "# bad redirect message~s", []counter{{netbsd.ICMP6_STAT_BADREDIRECT, "badredirect"}}},
		line{1, "# path MTU change~s", []counter{{netbsd.ICMP6_STAT_PMTUCHG, "pmtuchg"}}},
	},
}

// udp6Protocol has the counters of UDP over IPv6.
var udp6Protocol = protocol{
	name: "udp6",
	node: "net.inet6.udp6.stats",
	items: []item{
		line{1, "# datagram~s received", []counter{{netbsd.UDP6_STAT_IPACKETS, "ipackets"}}},
		line{1, "# with incomplete header", []counter{{netbsd.UDP6_STAT_HDROPS, "hdrops"}}},
		line{1, "# with bad data length field", []counter{{netbsd.UDP6_STAT_BADLEN, "badlen"}}},
		line{1, "# with bad checksum", []counter{{netbsd.UDP6_STAT_BADSUM, "badsum"}}},
		line{1, "# with no checksum", []counter{{netbsd.UDP6_STAT_NOSUM, "nosum"}}},
		line{1, "# dropped due to no socket", []counter{{netbsd.UDP6_STAT_NOPORT, "noport"}}},
		line{1, "# multicast datagram~s dropped due to no socket", []counter{{netbsd.UDP6_STAT_NOPORTMCAST, "noportmcast"}}},
		line{1, "# dropped due to full socket buffers", []counter{{netbsd.UDP6_STAT_FULLSOCK, "fullsock"}}},
		difference{"# delivered", netbsd.UDP6_STAT_IPACKETS, []int{netbsd.UDP6_STAT_HDROPS, netbsd.UDP6_STAT_BADLEN, netbsd.UDP6_STAT_BADSUM, netbsd.UDP6_STAT_NOPORT, netbsd.UDP6_STAT_NOPORTMCAST, netbsd.UDP6_STAT_FULLSOCK}, "delivered"},
		line{1, "# datagram~s output", []counter{{netbsd.UDP6_STAT_OPACKETS, "opackets"}}},
	},
}

// rip6Protocol has the counters of raw IPv6 sockets.
var rip6Protocol = protocol{
	name: "rip6",
	node: "net.inet6.raw6.stats",
	items: []item{
		line{1, "# message~s received", []counter{{netbsd.RIP6_STAT_IPACKETS, "ipackets"}}},
		line{1, "# checksum calculation~s on inbound", []counter{{netbsd.RIP6_STAT_ISUM, "isum"}}},
		line{1, "# message~s with bad checksum", []counter{{netbsd.RIP6_STAT_BADSUM, "badsum"}}},
		line{1, "# message~s dropped due to no socket", []counter{{netbsd.RIP6_STAT_NOSOCK, "nosock"}}},
		line{1, "# multicast message~s dropped due to no socket", []counter{{netbsd.RIP6_STAT_NOSOCKMCAST, "nosockmcast"}}},
		line{1, "# message~s dropped due to full socket buffers", []counter{{netbsd.RIP6_STAT_FULLSOCK, "fullsock"}}},
		difference{"# delivered", netbsd.RIP6_STAT_IPACKETS, []int{netbsd.RIP6_STAT_BADSUM, netbsd.RIP6_STAT_NOSOCK, netbsd.RIP6_STAT_NOSOCKMCAST, netbsd.RIP6_STAT_FULLSOCK}, "delivered"},
		line{1, "# datagram~s output", []counter{{netbsd.RIP6_STAT_OPACKETS, "opackets"}}},
	},
}

// pim6Protocol has the counters of PIM over IPv6 (PIM6_STAT_* of
// <netinet6/pim6_var.h>).
var pim6Protocol = protocol{
	name: "pim6",
	node: "net.inet6.pim6.stats",
	items: []item{
		line{1, "# message~s received", []counter{{0, "rcv_total"}}},
		line{1, "# message~s received with too few bytes", []counter{{1, "rcv_tooshort"}}},
		line{1, "# message~s received with bad checksum", []counter{{2, "rcv_badsum"}}},
		line{1, "# message~s received with bad version", []counter{{3, "rcv_badversion"}}},
		line{1, "# register~s received", []counter{{4, "rcv_registers"}}},
		line{1, "# bad register~s received", []counter{{5, "rcv_badregisters"}}},
		line{1, "# register~s sent", []counter{{6, "snd_registers"}}},
	},
}
