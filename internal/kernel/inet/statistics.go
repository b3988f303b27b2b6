package inet

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"

	"rumptools/pkg/netbsd"
)

// statistics are the counters of IP and ARP, by NetBSD's names. They are
// counted where packets come in and go out by a link: the engine counts other
// things under other names.
type statistics struct {
	ip    [netbsd.IP_NSTATS]atomic.Uint64
	ip6   [netbsd.IP6_NSTATS]atomic.Uint64
	icmp6 [netbsd.ICMP6_NSTATS]atomic.Uint64
	arp   [netbsd.ARP_NSTATS]atomic.Uint64
	// rawSent are the packets with a header that a program made which went
	// out. IP_STAT_RAWOUT has those that did not, too.
	rawSent atomic.Uint64
	// unreach are destinations without a route (rts_unreach).
	unreach atomic.Uint64
}

// snoopLen is how much of a packet is looked at, in bytes: IP's header with
// options or a few extension headers, and the type of an ICMP message.
const snoopLen = 128

// received counts a packet that a link gives to the engine: size bytes, of
// which b are the first.
func (s *Stack) received(nic tcpip.NICID, kind tcpip.PacketType, proto tcpip.NetworkProtocolNumber, b []byte, size int) {
	switch proto {
	case ipv4.ProtocolNumber:
		s.received4(nic, b, size)
	case ipv6.ProtocolNumber:
		s.received6(nic, b, size)
	case arp.ProtocolNumber:
		s.receivedARP(kind, b)
	}
}

// received4 counts as ip_input does. It is the engine that puts packets
// together and does not say so: one whose last fragment comes is taken to be
// whole, as it is when fragments come in order and none is lost.
func (s *Stack) received4(nic tcpip.NICID, b []byte, size int) {
	count := func(i int) { s.stats.ip[i].Add(1) }
	count(netbsd.IP_STAT_TOTAL)
	if size < header.IPv4MinimumSize || len(b) < header.IPv4MinimumSize {
		count(netbsd.IP_STAT_TOOSMALL)
		return
	}
	h := header.IPv4(b)
	hlen, total := int(h.HeaderLength()), int(h.TotalLength())
	switch {
	case b[0]>>4 != header.IPv4Version:
		count(netbsd.IP_STAT_BADVERS)
	case hlen < header.IPv4MinimumSize || hlen > len(b):
		count(netbsd.IP_STAT_BADHLEN)
	case !h.IsChecksumValid():
		count(netbsd.IP_STAT_BADSUM)
	case total < hlen:
		count(netbsd.IP_STAT_BADLEN)
	case size < total:
		count(netbsd.IP_STAT_TOOSHORT)
	case !s.takes(nic, h.DestinationAddress()):
		if dst := netipAddr(h.DestinationAddress()); dst.IsMulticast() || !s.params.forwarding4.Load() {
			count(netbsd.IP_STAT_CANTFORWARD)
		}
	case h.More() || h.FragmentOffset() != 0:
		count(netbsd.IP_STAT_FRAGMENTS)
		if !h.More() {
			count(netbsd.IP_STAT_REASSEMBLED)
			count(netbsd.IP_STAT_DELIVERED)
		}
	default:
		count(netbsd.IP_STAT_DELIVERED)
	}
}

// takes tells whether packets that come in by an interface for an address are
// for this host.
func (s *Stack) takes(nic tcpip.NICID, a tcpip.Address) bool {
	dst := netipAddr(a)
	if dst.IsMulticast() {
		in, err := s.net.IsInGroup(nic, a)
		return err == nil && in
	}
	if dst == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return true
	}
	own := *s.own.Load()
	if own[packetAddr(a, nic)] != nil {
		return true
	}
	if dst.Is4() {
		for _, ifp := range own {
			if l, ok := ifp.link.(*etherLink); ok && s.isOwn(l, dst) {
				return true // a broadcast address
			}
		}
	}
	return false
}

// upper finds the protocol that an IPv6 packet carries: past the extension
// headers that are in b. Its own header is in the first fragment only. A packet
// that is no fragment is first and last.
func upper(b []byte) (proto uint8, payload []byte, fragment, first, last bool) {
	proto, payload, first, last = b[6], b[header.IPv6MinimumSize:], true, true
	for len(payload) >= 8 {
		n := 8 * (1 + int(payload[1]))
		switch proto {
		case netbsd.IPPROTO_HOPOPTS, netbsd.IPPROTO_ROUTING, netbsd.IPPROTO_DSTOPTS:
		case netbsd.IPPROTO_FRAGMENT:
			place := binary.BigEndian.Uint16(payload[2:])
			n, fragment, first, last = 8, true, place&^7 == 0, place&1 == 0
		default:
			return proto, payload, fragment, first, last
		}
		proto, payload = payload[0], payload[min(n, len(payload)):]
		if fragment {
			break
		}
	}
	return proto, payload, fragment, first, last
}

// received6 counts as ip6_input and icmp6_input do.
func (s *Stack) received6(nic tcpip.NICID, b []byte, size int) {
	count := func(i int) { s.stats.ip6[i].Add(1) }
	count(netbsd.IP6_STAT_TOTAL)
	if size < header.IPv6MinimumSize || len(b) < header.IPv6MinimumSize {
		count(netbsd.IP6_STAT_TOOSMALL)
		return
	}
	h := header.IPv6(b)
	if b[0]>>4 != header.IPv6Version {
		count(netbsd.IP6_STAT_BADVERS)
		return
	}
	count(netbsd.IP6_STAT_NXTHIST + int(b[6]))
	if size < header.IPv6MinimumSize+int(h.PayloadLength()) {
		count(netbsd.IP6_STAT_TOOSHORT)
		return
	}
	dst := netipAddr(h.DestinationAddress())
	if !s.takes(nic, h.DestinationAddress()) {
		if dst.IsMulticast() {
			count(netbsd.IP6_STAT_NOTMEMBER)
		}
		if dst.IsMulticast() || !s.params.forwarding6.Load() {
			count(netbsd.IP6_STAT_CANTFORWARD)
		}
		return
	}
	proto, payload, fragment, first, last := upper(b)
	if fragment {
		count(netbsd.IP6_STAT_FRAGMENTS)
		if last {
			count(netbsd.IP6_STAT_REASSEMBLED)
		}
	}
	if last {
		count(netbsd.IP6_STAT_DELIVERED)
	}
	if proto == netbsd.IPPROTO_ICMPV6 && first && len(payload) > 0 {
		s.stats.icmp6[netbsd.ICMP6_STAT_INHIST+int(payload[0])].Add(1)
	}
}

// receivedARP counts as arpintr and in_arpinput do.
func (s *Stack) receivedARP(kind tcpip.PacketType, b []byte) {
	count := func(i int) { s.stats.arp[i].Add(1) }
	count(netbsd.ARP_STAT_RCVTOTAL)
	h := header.ARP(b)
	if !h.IsValid() {
		count(netbsd.ARP_STAT_RCVBADLEN)
		return
	}
	if kind != tcpip.PacketHost {
		count(netbsd.ARP_STAT_RCVMCAST)
	}
	if header.IsMulticastEthernetAddress(tcpip.LinkAddress(h.HardwareAddressSender())) {
		count(netbsd.ARP_STAT_RCVBCASTSHA)
		return
	}
	sender, _ := netip.AddrFromSlice(h.ProtocolAddressSender())
	target, _ := netip.AddrFromSlice(h.ProtocolAddressTarget())
	if sender.IsUnspecified() {
		count(netbsd.ARP_STAT_RCVZEROSPA)
	} else if _, own := (*s.own.Load())[sender]; own {
		count(netbsd.ARP_STAT_RCVLOCALSPA)
		return
	}
	if target.IsUnspecified() {
		count(netbsd.ARP_STAT_RCVZEROTPA)
	}
	switch h.Op() {
	case header.ARPRequest:
		count(netbsd.ARP_STAT_RCVREQUEST)
	case header.ARPReply:
		count(netbsd.ARP_STAT_RCVREPLY)
	}
}

// sent counts a packet that a link is given, of which b are the first bytes.
func (s *Stack) sent(proto tcpip.NetworkProtocolNumber, b []byte, forwarded bool) {
	switch {
	case proto == ipv4.ProtocolNumber && len(b) >= header.IPv4MinimumSize:
		h := header.IPv4(b)
		s.sent4(forwarded, h.More() || h.FragmentOffset() != 0, h.FragmentOffset() == 0)
	case proto == ipv6.ProtocolNumber && len(b) >= header.IPv6MinimumSize:
		up, payload, fragment, first, _ := upper(b)
		s.sent6(forwarded, fragment, first)
		if !forwarded && up == netbsd.IPPROTO_ICMPV6 && first && len(payload) > 1 {
			s.sentICMP6(payload[0], payload[1])
		}
	case proto == arp.ProtocolNumber && header.ARP(b).IsValid():
		s.stats.arp[netbsd.ARP_STAT_SNDTOTAL].Add(1)
		if header.ARP(b).Op() == header.ARPRequest {
			s.stats.arp[netbsd.ARP_STAT_SENDREQUEST].Add(1)
		} else {
			s.stats.arp[netbsd.ARP_STAT_SNDREPLY].Add(1)
		}
	}
}

// sent4 counts as ip_output and ip_forward do: what is sent in fragments is one
// packet, and its first fragment was not created. A router's fragments are told
// from those of hosts before it by nothing, and count as packets forwarded.
func (s *Stack) sent4(forwarded, fragment, first bool) {
	st := &s.stats.ip
	switch {
	case forwarded:
		st[netbsd.IP_STAT_FORWARD].Add(1)
	case !first:
		st[netbsd.IP_STAT_OFRAGMENTS].Add(1)
	default:
		st[netbsd.IP_STAT_LOCALOUT].Add(1)
		if fragment {
			st[netbsd.IP_STAT_FRAGMENTED].Add(1)
		}
	}
}

// sent6 counts as ip6_output and ip6_forward do: the first fragment is one of
// those that are created.
func (s *Stack) sent6(forwarded, fragment, first bool) {
	st := &s.stats.ip6
	if forwarded {
		st[netbsd.IP6_STAT_FORWARD].Add(1)
		return
	}
	if first {
		st[netbsd.IP6_STAT_LOCALOUT].Add(1)
	}
	if fragment {
		st[netbsd.IP6_STAT_OFRAGMENTS].Add(1)
		if first {
			st[netbsd.IP6_STAT_FRAGMENTED].Add(1)
		}
	}
}

// sentICMP6 counts as icmp6_error, icmp6_reflect and rip6_output do.
func (s *Stack) sentICMP6(typ, code uint8) {
	st := &s.stats.icmp6
	st[netbsd.ICMP6_STAT_OUTHIST+int(typ)].Add(1)
	if typ == netbsd.ICMP6_ECHO_REPLY {
		st[netbsd.ICMP6_STAT_REFLECT].Add(1)
	}
	if typ >= netbsd.ICMP6_ECHO_REQUEST {
		return
	}
	st[netbsd.ICMP6_STAT_ERROR].Add(1)
	// The places of the errors in their histogram (struct icmp6errstat).
	const tooBig, exceeded, parameter, unknown = 5, 6, 8, 11
	at := unknown
	switch c := int(code); {
	case typ == netbsd.ICMP6_DST_UNREACH && c < tooBig:
		at = c
	case typ == netbsd.ICMP6_PACKET_TOO_BIG:
		at = tooBig
	case typ == netbsd.ICMP6_TIME_EXCEEDED && c < 2:
		at = exceeded + c
	case typ == netbsd.ICMP6_PARAM_PROB && c < 3:
		at = parameter + c
	}
	st[netbsd.ICMP6_STAT_OUTERRHIST+at].Add(1)
}
