package netstat

import "fmt"

// icmpTypeNames are the names of ICMP's types.
var icmpTypeNames = map[int]string{
	0: "echoreply", 3: "unreach", 4: "sourcequench", 5: "redirect", 6: "althostaddr", 8: "echo",
	9: "routeradvert", 10: "routersolicit", 11: "timxceed", 12: "paramprob", 13: "tstamp", 14: "tstampreply",
	15: "ireq", 16: "ireqreply", 17: "maskreq", 18: "maskreply", 30: "traceroute", 31: "dataconverr",
	32: "mobile_redirect", 33: "ipv6_whereareyou", 34: "ipv6_iamhere", 35: "mobile_regrequest", 36: "mobile_regreply",
	39: "skip", 40: "photuris",
}

// icmpTypes is how many types of ICMP are counted.
const icmpTypes = 41

func icmpEntry(_ *printer, i int, v uint64) string {
	name, ok := icmpTypeNames[i]
	switch {
	case ok:
	case i == 1, i == 2, i == 7:
		name = fmt.Sprintf("unassigned_%d", i)
	default:
		name = fmt.Sprintf("reserved_%d", i)
	}
	return labelled(name, v)
}

// icmp6TypeNames are the names of ICMPv6's types.
var icmp6TypeNames = map[int]string{
	1: "unreach", 2: "packet too big", 3: "time exceed", 4: "parameter problem",
	128: "echo", 129: "echo reply",
	130: "multicast listener query", 131: "multicast listener report", 132: "multicast listener done",
	133: "router solicitation", 134: "router advertisement",
	135: "neighbor solicitation", 136: "neighbor advertisement", 137: "redirect",
	138: "router renumbering", 139: "node information request", 140: "node information reply",
	143: "multicast listener report (v2)",
	144: "home agent discovery request", 145: "home agent discovery reply",
	146: "mobile prefix solicitation", 147: "mobile prefix advertisement",
	151: "multicast router advertisement", 152: "multicast router solicitation", 153: "multicast router termination",
}

func icmp6Entry(_ *printer, i int, v uint64) string {
	if name, ok := icmp6TypeNames[i]; ok {
		return labelled(name, v)
	}
	return labelled(fmt.Sprintf("#%d", i), v)
}

func labelled(name string, v uint64) string { return fmt.Sprintf("%s: %d", name, v) }

// nextHeaderNames are the names of IPv6's next headers; others are those of IP
// protocols.
var nextHeaderNames = map[int]string{
	0: "hop by hop", 1: "ICMP", 2: "IGMP", 4: "IP", 6: "TCP", 17: "UDP", 22: "IDP", 41: "IP6", 43: "routing",
	44: "fragment", 50: "ESP", 51: "AH", 58: "ICMP6", 59: "no next header", 60: "destination option",
	89: "OSPF", 97: "Ethernet", 103: "PIM", 132: "SCTP",
}

func nextHeaderEntry(p *printer, i int, v uint64) string {
	if name, ok := nextHeaderNames[i]; ok {
		return labelled(name, v)
	}
	if name, ok := p.db.ProtocolName(i); ok {
		return labelled(name, v)
	}
	return labelled(fmt.Sprintf("#%d", i), v)
}

// mbufInterfaces is how many interfaces are told apart by mbufEntry.
const mbufInterfaces = 32

// mbufEntry is for packets in several buffers, by the interface that they came
// in through.
func mbufEntry(p *printer, i int, v uint64) string {
	name, ok := p.interfaces[i]
	if !ok {
		name = fmt.Sprintf("#%d", i)
	}
	return fmt.Sprintf("%s = %d", name, v)
}

// scopeEntry is for addresses by their scope.
func scopeEntry(_ *printer, i int, v uint64) string {
	name, ok := map[int]string{1: "node-local", 2: "link-local", 5: "site-local", 14: "global"}[i]
	if !ok {
		return fmt.Sprintf("%d addresses scope=%x", v, i)
	}
	return fill("# "+name+"~s", []uint64{v})
}
