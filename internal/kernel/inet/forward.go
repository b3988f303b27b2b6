package inet

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"rumptools/pkg/netbsd"
)

// intercept looks at a packet that a link is about to give to the engine.
// handled is true when the packet is dealt with: what the engine does not do as
// NetBSD does. transit is true for an IPv4 packet that the engine is to
// forward. It runs on the path of packets.
func (s *Stack) intercept(l *etherLink, proto tcpip.NetworkProtocolNumber, pkt []byte) (handled, transit bool) {
	switch proto {
	case arp.ProtocolNumber:
		l.overhear(pkt)
		return l.answerProxy(pkt), false
	case ipv4.ProtocolNumber:
		return s.interceptTransit4(l, pkt)
	case ipv6.ProtocolNumber:
		return s.interceptTransit6(pkt), false
	}
	return false, false
}

// answerProxy answers an ARP request for a published address (arp -s ...
// pub).
func (l *etherLink) answerProxy(pkt []byte) bool {
	proxies := l.proxies.Load()
	req := header.ARP(pkt)
	if proxies == nil || !req.IsValid() || req.Op() != header.ARPRequest {
		return false
	}
	target, _ := netip.AddrFromSlice(req.ProtocolAddressTarget())
	mac, ok := (*proxies)[target]
	if !ok {
		return false
	}
	frame := make([]byte, header.EthernetMinimumSize+header.ARPSize)
	header.Ethernet(frame).Encode(&header.EthernetFields{
		SrcAddr: *l.mac.Load(), DstAddr: tcpip.LinkAddress(req.HardwareAddressSender()), Type: arp.ProtocolNumber,
	})
	reply := header.ARP(frame[header.EthernetMinimumSize:])
	reply.SetIPv4OverEthernet()
	reply.SetOp(header.ARPReply)
	copy(reply.HardwareAddressSender(), mac)
	copy(reply.ProtocolAddressSender(), req.ProtocolAddressTarget())
	copy(reply.HardwareAddressTarget(), req.HardwareAddressSender())
	copy(reply.ProtocolAddressTarget(), req.ProtocolAddressSender())
	l.output(frame)
	return true
}

// isOwn tells whether an address is an interface's, or a broadcast address of
// one.
func (s *Stack) isOwn(l *etherLink, a netip.Addr) bool {
	if _, ok := (*s.own.Load())[a]; ok {
		return true
	}
	if !a.Is4() {
		return false
	}
	for _, p := range *l.networks.Load() {
		if p.Contains(a) && (a == p.Addr() || a == broadcastOf(p)) {
			return true
		}
	}
	return false
}

// interceptTransit4 refuses IPv4 packets to others that the engine would
// forward wrongly: those with a time to live of 1, which it sends on with 0,
// and those to reject routes and interfaces that are down, of which it does not
// know.
func (s *Stack) interceptTransit4(l *etherLink, pkt []byte) (handled, transit bool) {
	if len(pkt) < header.IPv4MinimumSize || !s.params.forwarding4.Load() {
		return false, false
	}
	h := header.IPv4(pkt)
	dst := netipAddr(h.DestinationAddress())
	if _, own := (*s.own.Load())[dst]; !own && h.IsValid(len(pkt)) && badTCP(h.TransportProtocol(), pkt[h.HeaderLength():h.TotalLength()]) {
		return true, true
	}
	if dst.IsMulticast() || dst == netip.AddrFrom4([4]byte{255, 255, 255, 255}) || s.isOwn(l, dst) ||
		!h.IsValid(len(pkt)) || !h.IsChecksumValid() {
		return false, false
	}
	if h.TTL() <= 1 {
		s.icmpError4(l, pkt, header.ICMPv4TimeExceeded, header.ICMPv4TTLExceeded)
		return true, true
	}
	if rt := s.routes.find(dst); rt != nil && (rt.flags&netbsd.RTF_REJECT != 0 || !s.net.CheckNIC(rt.ifp.NICID)) {
		s.icmpError4(l, pkt, header.ICMPv4DstUnreachable, header.ICMPv4HostUnreachable)
		return true, true
	}
	return false, true
}

// badTCP tells whether a packet for others has a TCP header that says it is longer than
// the packet. NetBSD would forward it; the engine, which computes the checksum of what it
// forwards anew, would end the kernel.
func badTCP(proto tcpip.TransportProtocolNumber, segment []byte) bool {
	return proto == header.TCPProtocolNumber && len(segment) >= header.TCPMinimumSize &&
		int(header.TCP(segment).DataOffset()) > len(segment)
}

// badTCP6 is badTCP of an IPv6 packet.
func badTCP6(next uint8, b []byte) bool {
	for {
		n := 8 // of a fragment header
		switch next {
		case netbsd.IPPROTO_HOPOPTS, netbsd.IPPROTO_ROUTING, netbsd.IPPROTO_DSTOPTS:
			if len(b) < 2 {
				return false
			}
			n = 8 * (1 + int(b[1]))
		case netbsd.IPPROTO_FRAGMENT:
		default:
			return badTCP(tcpip.TransportProtocolNumber(next), b)
		}
		if len(b) < n {
			return false
		}
		next, b = b[0], b[n:]
	}
}

// icmpError4 answers a packet with an ICMP error (icmp_error), from the
// address of the interface that it came in by. Nothing is answered to
// fragments, errors, and what does not come from one host.
func (s *Stack) icmpError4(l *etherLink, pkt []byte, typ header.ICMPv4Type, code header.ICMPv4Code) {
	h := header.IPv4(pkt)
	src := netipAddr(h.SourceAddress())
	hlen := int(h.HeaderLength())
	if h.FragmentOffset() != 0 || src.IsMulticast() || src.IsUnspecified() || src.IsLoopback() || s.isOwn(l, src) {
		return
	}
	if h.TransportProtocol() == header.ICMPv4ProtocolNumber && len(pkt) >= hlen+header.ICMPv4MinimumSize {
		switch header.ICMPv4(pkt[hlen:]).Type() {
		case header.ICMPv4Echo, header.ICMPv4EchoReply, header.ICMPv4Timestamp, header.ICMPv4TimestampReply,
			header.ICMPv4InfoRequest, header.ICMPv4InfoReply:
		default:
			return
		}
	}
	if !s.net.AllowICMPMessage() {
		s.net.Stats().ICMP.V4.PacketsSent.RateLimited.Increment()
		return
	}
	var local tcpip.Address
	if from := l.source4.Load(); from != nil {
		local = engineAddr(*from)
	}
	r, err := s.net.FindRoute(0, local, h.SourceAddress(), ipv4.ProtocolNumber, false)
	if err != nil {
		return
	}
	defer r.Release()
	// The header and returndatabytes of what follows it.
	quote := pkt[:min(int(h.TotalLength()), hlen+int(s.params.returnData.Load()))]
	msg := make([]byte, header.ICMPv4MinimumSize+len(quote))
	icmp := header.ICMPv4(msg)
	icmp.SetType(typ)
	icmp.SetCode(code)
	copy(msg[header.ICMPv4MinimumSize:], quote)
	icmp.SetChecksum(^checksum.Checksum(msg, 0))
	out := stack.NewPacketBuffer(stack.PacketBufferOptions{
		ReserveHeaderBytes: int(r.MaxHeaderLength()),
		Payload:            buffer.MakeWithData(msg),
	})
	defer out.DecRef()
	out.TransportProtocolNumber = header.ICMPv4ProtocolNumber
	if r.WritePacket(stack.NetworkHeaderParams{Protocol: header.ICMPv4ProtocolNumber, TTL: 255}, out) != nil {
		return
	}
	sent := s.net.Stats().ICMP.V4.PacketsSent
	if typ == header.ICMPv4TimeExceeded {
		sent.TimeExceeded.Increment()
	} else {
		sent.DstUnreachable.Increment()
	}
}

// interceptTransit6 refuses IPv6 packets to others as ip6_forward does. The
// engine knows neither reject routes nor interfaces that are down, and does not
// say to which size packets must keep.
func (s *Stack) interceptTransit6(pkt []byte) bool {
	if len(pkt) < header.IPv6MinimumSize || !s.params.forwarding6.Load() {
		return false
	}
	h := header.IPv6(pkt)
	src, dst := netipAddr(h.SourceAddress()), netipAddr(h.DestinationAddress())
	if _, own := (*s.own.Load())[dst]; !own && h.IsValid(len(pkt)) && badTCP6(h.NextHeader(), pkt[header.IPv6MinimumSize:][:h.PayloadLength()]) {
		return true
	}
	if dst.IsMulticast() || netbsd.HasScope(dst) || netbsd.HasScope(src) || h.HopLimit() <= 1 || !h.IsValid(len(pkt)) {
		return false
	}
	if _, ok := (*s.own.Load())[dst]; ok {
		return false
	}
	// A router takes one from the hop limit before it looks further.
	refuse := func(typ, code uint8, param uint32) bool {
		quote := bytes.Clone(pkt[:header.IPv6MinimumSize+int(h.PayloadLength())])
		header.IPv6(quote).SetHopLimit(h.HopLimit() - 1)
		s.icmpError6(quote, typ, code, param)
		return true
	}
	rt := s.routes.find(dst)
	if rt == nil {
		return refuse(netbsd.ICMP6_DST_UNREACH, netbsd.ICMP6_DST_UNREACH_NOROUTE, 0)
	}
	if rt.flags&netbsd.RTF_REJECT != 0 {
		return true
	}
	if !s.net.CheckNIC(rt.ifp.NICID) {
		return refuse(netbsd.ICMP6_DST_UNREACH, netbsd.ICMP6_DST_UNREACH_ADDR, 0)
	}
	if mtu := rt.ifp.link.MTU(); header.IPv6MinimumSize+uint32(h.PayloadLength()) > mtu {
		return refuse(netbsd.ICMP6_PACKET_TOO_BIG, 0, mtu)
	}
	return false
}

// icmpError6 answers a packet with an ICMPv6 error (icmp6_error). Nothing is
// answered to errors and to what does not come from one host.
func (s *Stack) icmpError6(quote []byte, typ, code uint8, param uint32) {
	h := header.IPv6(quote)
	src := netipAddr(h.SourceAddress())
	if src.IsMulticast() || src.IsUnspecified() || src.IsLoopback() {
		return
	}
	if up, payload, _, first, _ := upper(quote); up == netbsd.IPPROTO_ICMPV6 && first &&
		(len(payload) == 0 || payload[0] < netbsd.ICMP6_ECHO_REQUEST || payload[0] == netbsd.ND_REDIRECT) {
		return
	}
	if !s.net.AllowICMPMessage() {
		s.stats.icmp6[netbsd.ICMP6_STAT_TOOFREQ].Add(1)
		return
	}
	r, err := s.findRoute(sendPath{dst: src})
	if err != nil {
		return
	}
	defer r.Release()
	out := ip6Header{
		hops: uint8(s.params.get("net.inet6.ip6.hlim")), proto: netbsd.IPPROTO_ICMPV6,
		src: netipAddr(r.LocalAddress()), dst: src,
	}
	b := make([]byte, icmpMinLen, minMTU6)
	b[0], b[1] = typ, code
	binary.BigEndian.PutUint32(b[4:], param)
	b = append(b, quote[:min(len(quote), minMTU6-header.IPv6MinimumSize-icmpMinLen)]...)
	binary.BigEndian.PutUint16(b[2:], internetChecksum(netbsd.IPPROTO_ICMPV6, out.src, out.dst, b))
	_ = s.write6(r, out, b)
}

// correctRecordRoute has a packet that is forwarded carry the address of the
// interface that it leaves by in the option that records its route
// (ip_dooptions). The engine records the one of the interface it came in by.
func (l *etherLink) correctRecordRoute(pkt []byte) {
	h := header.IPv4(pkt)
	leaves := l.source4.Load()
	if leaves == nil || len(pkt) < header.IPv4MinimumSize || int(h.HeaderLength()) > len(pkt) {
		return
	}
	for opts := []byte(h.Options()); len(opts) > 0 && opts[0] != netbsd.IPOPT_EOL; {
		if opts[0] == netbsd.IPOPT_NOP {
			opts = opts[1:]
			continue
		}
		if len(opts) < 3 || opts[1] < 3 || int(opts[1]) > len(opts) {
			return
		}
		// The pointer is to the place after the last address, from 1.
		if end := int(opts[2]) - 1; opts[0] == netbsd.IPOPT_RR && end >= 7 && end <= int(opts[1]) {
			last, _ := netip.AddrFromSlice(opts[end-4 : end])
			if _, own := (*l.s.own.Load())[last]; own {
				copy(opts[end-4:end], leaves.AsSlice())
				h.SetChecksum(0)
				h.SetChecksum(^h.CalculateChecksum())
			}
		}
		opts = opts[opts[1]:]
	}
}
