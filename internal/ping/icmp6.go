package ping

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"

	"rumptools/pkg/netbsd"
)

// describe describes an ICMPv6 message that is not a reply to one of our
// requests. It has at least 8 bytes.
func (p *pinger6) describe(b []byte) {
	switch b[0] {
	case netbsd.ICMP6_DST_UNREACH, netbsd.ICMP6_PACKET_TOO_BIG, netbsd.ICMP6_TIME_EXCEEDED, netbsd.ICMP6_PARAM_PROB:
		p.printf("%s\n", describeError6(b))
		p.describeQuoted(b[echoHeaderLen:])
	case netbsd.ICMP6_ECHO_REQUEST:
		p.printf("Echo Request")
	case netbsd.ICMP6_ECHO_REPLY:
		p.printf("Echo Reply")
	case netbsd.ICMP6_MEMBERSHIP_QUERY:
		p.printf("Listener Query")
	case netbsd.ICMP6_MEMBERSHIP_REPORT:
		p.printf("Listener Report")
	case netbsd.ICMP6_MEMBERSHIP_REDUCTION:
		p.printf("Listener Done")
	case netbsd.ND_ROUTER_SOLICIT:
		p.printf("Router Solicitation")
	case netbsd.ND_ROUTER_ADVERT:
		p.printf("Router Advertisement")
	case netbsd.ND_NEIGHBOR_SOLICIT:
		p.printf("Neighbor Solicitation")
	case netbsd.ND_NEIGHBOR_ADVERT:
		p.printf("Neighbor Advertisement")
	case netbsd.ND_REDIRECT:
		p.printf("Redirect\n")
		const target, dst, end = 8, 24, 40
		if len(b) >= end {
			p.printf("Destination: %s New Target: %s", addrAt(b, dst), addrAt(b, target))
		}
	case netbsd.ICMP6_NI_QUERY:
		p.printf("Node Information Query")
		p.nodeInformation(b)
	case netbsd.ICMP6_NI_REPLY:
		p.printf("Node Information Reply")
		p.nodeInformation(b)
	default:
		p.printf("Bad ICMP type: %d", b[0])
	}
}

// addrAt is the IPv6 address at a position.
func addrAt(b []byte, i int) string { return addr6(netip.AddrFrom16([16]byte(b[i : i+16]))) }

var unreachable6 = map[int]string{
	netbsd.ICMP6_DST_UNREACH_NOROUTE:     "No Route to Destination",
	netbsd.ICMP6_DST_UNREACH_ADMIN:       "Destination Administratively Unreachable",
	netbsd.ICMP6_DST_UNREACH_BEYONDSCOPE: "Destination Unreachable Beyond Scope",
	netbsd.ICMP6_DST_UNREACH_ADDR:        "Destination Host Unreachable",
	netbsd.ICMP6_DST_UNREACH_NOPORT:      "Destination Port Unreachable",
}

var timeExceeded6 = map[int]string{
	netbsd.ICMP6_TIME_EXCEED_TRANSIT:    "Time to live exceeded",
	netbsd.ICMP6_TIME_EXCEED_REASSEMBLY: "Frag reassembly time exceeded",
}

var parameterProblem6 = map[int]string{
	netbsd.ICMP6_PARAMPROB_HEADER:     "Erroneous Header",
	netbsd.ICMP6_PARAMPROB_NEXTHEADER: "Unknown Nextheader",
	netbsd.ICMP6_PARAMPROB_OPTION:     "Unrecognized Option",
}

// describeError6 says which error it is.
func describeError6(b []byte) string {
	code, word := int(b[1]), binary.BigEndian.Uint32(b[4:])
	switch b[0] {
	case netbsd.ICMP6_DST_UNREACH:
		return byCode(unreachable6, "Destination Unreachable, Bad Code: %d", code)
	case netbsd.ICMP6_PACKET_TOO_BIG:
		return fmt.Sprintf("Packet too big mtu = %d", int32(word))
	case netbsd.ICMP6_TIME_EXCEEDED:
		return byCode(timeExceeded6, "Time exceeded, Bad Code: %d", code)
	}
	return fmt.Sprintf("Parameter problem: %s pointer = 0x%02x", byCode(parameterProblem6, "Bad code(%d)", code), word)
}

// describeQuoted says what packet an ICMPv6 error is about: header, extension
// headers, and what is in it.
func (p *pinger6) describeQuoted(b []byte) {
	if len(b) < ipv6HeaderLen {
		p.printf("IP6...\n")
		return
	}
	p.printf("Vr TC  Flow Plen Nxt Hlim\n")
	word := binary.BigEndian.Uint32(b)
	p.printf(" %1x %02x %05x %04x  %02x   %02x\n", word>>28, word>>20&0xff, word&0xfffff,
		binary.BigEndian.Uint16(b[4:]), b[6], b[7])
	p.printf("%s->%s\n", addrAt(b, 8), addrAt(b, 24))

	next := int(b[6])
	b = b[ipv6HeaderLen:]
	for len(b) >= 8 {
		hlen := (int(b[1]) + 1) * 8
		switch next {
		case netbsd.IPPROTO_HOPOPTS:
			p.printf("HBH ")
		case netbsd.IPPROTO_DSTOPTS:
			p.printf("DSTOPT ")
		case netbsd.IPPROTO_FRAGMENT:
			p.printf("FRAG ")
			hlen = 8
		case netbsd.IPPROTO_ROUTING:
			p.printf("RTHDR ")
		case netbsd.IPPROTO_AH:
			p.printf("AH ")
			hlen = (int(b[1]) + 2) * 4
		case netbsd.IPPROTO_ICMPV6:
			p.printf("ICMP6: type = %d, code = %d\n", b[0], b[1])
			return
		case netbsd.IPPROTO_ESP:
			p.printf("ESP\n")
			return
		case netbsd.IPPROTO_TCP, netbsd.IPPROTO_UDP:
			name := map[int]string{netbsd.IPPROTO_TCP: "TCP", netbsd.IPPROTO_UDP: "UDP"}[next]
			p.printf("%s: from port %d, to port %d (decimal)\n", name, binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:]))
			return
		default:
			p.printf("Unknown Header(%d)\n", next)
			return
		}
		if hlen >= len(b) {
			break
		}
		next, b = int(b[0]), b[hlen:]
	}
	p.printf("...\n")
}

// extHeaders shows the extension headers of a packet.
func (p *pinger6) extHeaders(headers []ExtHeader) {
	for _, h := range headers {
		b := h.Data
		if len(b) < 8 {
			continue
		}
		switch h.Proto {
		case netbsd.IPPROTO_HOPOPTS:
			p.printf("  HbH Options: ")
			p.options6(b)
		case netbsd.IPPROTO_DSTOPTS:
			p.printf("  Dst Options: ")
			p.options6(b)
		case netbsd.IPPROTO_ROUTING:
			p.printf("  Routing: ")
			p.routing6(b)
		}
	}
}

// Options of IPv6 (RFC 2460, RFC 2675, RFC 2711).
const (
	ip6optPad1        = 0
	ip6optPadN        = 1
	ip6optRouterAlert = 5
	ip6optJumbo       = 0xc2
)

// options6 shows the options of a hop-by-hop or destination options header.
func (p *pinger6) options6(b []byte) {
	n := (int(b[1]) + 1) * 8
	p.printf("nxt %d, len %d (%d bytes)\n", b[0], b[1], n)
	for b = b[2:min(n, len(b))]; len(b) > 0; {
		if b[0] == ip6optPad1 {
			b = b[1:]
			continue
		}
		if len(b) < 2 || len(b) < 2+int(b[1]) {
			return
		}
		data := b[2 : 2+int(b[1])]
		switch {
		case b[0] == ip6optPadN:
		case b[0] == ip6optJumbo && len(data) >= 4:
			p.printf("    Jumbo Payload Opt: Length %d\n", binary.BigEndian.Uint32(data))
		case b[0] == ip6optRouterAlert && len(data) >= 2:
			p.printf("    Router Alert Opt: Type %d\n", binary.BigEndian.Uint16(data))
		default:
			p.printf("    Received Opt %d len %d\n", b[0], len(data))
		}
		b = b[2+len(data):]
	}
}

// routing6 shows a routing header.
func (p *pinger6) routing6(b []byte) {
	p.printf("nxt %d, len %d (%d bytes), type %d, ", b[0], b[1], (int(b[1])+1)*8, b[2])
	// Of type 0 the segments are addresses; their number is told by the length.
	if b[2] != netbsd.IPV6_RTHDR_TYPE_0 || b[1]%2 != 0 {
		p.printf("segments unknown, %d left\n", b[3])
		return
	}
	p.printf("%d segments, %d left\n", b[1]/2, b[3])
	addrs := b[8:]
	for i := 0; i < int(b[1]/2) && len(addrs) >= 16; i++ {
		p.printf("   [%d]%s\n", i, addrAt(addrs, 0))
		addrs = addrs[16:]
	}
}

// Node information messages (RFC 4620).
const (
	nodeInfoHeaderLen = 16
	niTypeNoop        = 0
	niTypeSupported   = 1
	niTypeName        = 2
	niTypeAddress     = 3
	niTypeIPv4Address = 4
)

var nodeInfoTypes = map[int]string{
	niTypeNoop:        "NOOP",
	niTypeSupported:   "Supported qtypes",
	niTypeName:        "DNS name",
	niTypeAddress:     "nodeaddr",
	niTypeIPv4Address: "IPv4 nodeaddr",
}

var nodeInfoResults = map[int]string{
	netbsd.ICMP6_NI_SUCCESS: "Success",
	netbsd.ICMP6_NI_REFUSED: "Refused",
	netbsd.ICMP6_NI_UNKNOWN: "Unknown",
}

// nodeInformation shows what a node information message asks or tells.
func (p *pinger6) nodeInformation(b []byte) {
	if len(b) < nodeInfoHeaderLen {
		return
	}
	p.printf(", %s", cmp.Or(nodeInfoTypes[int(binary.BigEndian.Uint16(b[8:]))], "unknown qtype"))
	code := int(b[1])
	if b[0] == netbsd.ICMP6_NI_REPLY {
		p.printf(", %s", cmp.Or(nodeInfoResults[code], "invalid"))
		return
	}
	subject := b[nodeInfoHeaderLen:]
	switch code {
	case netbsd.ICMP6_NI_SUBJ_IPV6:
		if len(subject) == 16 {
			p.printf(", subject=IPv6 address(%s)", addrAt(subject, 0))
		} else {
			p.printf(", oldfqdn")
		}
	case netbsd.ICMP6_NI_SUBJ_FQDN:
		if len(subject) == 0 {
			p.printf(", no subject")
		} else {
			p.printf(", subject=DNS label(%s)", dnsName(subject))
		}
	case netbsd.ICMP6_NI_SUBJ_IPV4:
		if len(subject) == 4 {
			p.printf(", subject=IPv4 address(%s)", netip.AddrFrom4([4]byte(subject)))
		} else {
			p.printf(", invalid")
		}
	default:
		p.printf(", invalid")
	}
}

// dnsName reads a domain name in the format of messages, without compression.
func dnsName(b []byte) string {
	var name []byte
	for len(b) > 0 {
		n := int(b[0])
		if n == 0 {
			return string(append(name, '.'))
		}
		if n > 63 || len(b) < 1+n {
			break
		}
		if len(name) > 0 {
			name = append(name, '.')
		}
		for _, c := range b[1 : 1+n] {
			if c > ' ' && c < 0x7f {
				name = append(name, c)
			} else {
				name = fmt.Appendf(name, "\\%03o", c)
			}
		}
		b = b[1+n:]
	}
	return "invalid"
}
