package inet

import (
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

// intercept looks at a packet that a link is about to give to the engine, and
// is true when the packet is dealt with: what the engine does not do as NetBSD
// does. It runs on the path of packets.
func (s *Stack) intercept(l *etherLink, proto tcpip.NetworkProtocolNumber, pkt []byte) bool {
	switch proto {
	case arp.ProtocolNumber:
		l.overhear(pkt)
		return l.answerProxy(pkt)
	case ipv4.ProtocolNumber:
		return s.interceptTransit4(l, pkt)
	case ipv6.ProtocolNumber:
		return s.interceptTransit6(pkt)
	}
	return false
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
// and those to reject routes, of which it does not know.
func (s *Stack) interceptTransit4(l *etherLink, pkt []byte) bool {
	if len(pkt) < header.IPv4MinimumSize || !s.params.forwarding4.Load() {
		return false
	}
	h := header.IPv4(pkt)
	dst := netipAddr(h.DestinationAddress())
	if dst.IsMulticast() || dst == netip.AddrFrom4([4]byte{255, 255, 255, 255}) || s.isOwn(l, dst) ||
		!h.IsValid(len(pkt)) || !h.IsChecksumValid() {
		return false
	}
	if h.TTL() <= 1 {
		s.icmpError4(l, pkt, header.ICMPv4TimeExceeded, header.ICMPv4TTLExceeded)
		return true
	}
	if rt := s.routes.find(dst); rt != nil && rt.flags&netbsd.RTF_REJECT != 0 {
		s.icmpError4(l, pkt, header.ICMPv4DstUnreachable, header.ICMPv4HostUnreachable)
		return true
	}
	return false
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

// interceptTransit6 drops IPv6 packets to reject routes, of which the engine
// does not know.
func (s *Stack) interceptTransit6(pkt []byte) bool {
	if len(pkt) < header.IPv6MinimumSize || !s.params.forwarding6.Load() {
		return false
	}
	dst := netipAddr(header.IPv6(pkt).DestinationAddress())
	if dst.IsMulticast() || netbsd.HasScope(dst) {
		return false
	}
	if _, ok := (*s.own.Load())[dst]; ok {
		return false
	}
	rt := s.routes.find(dst)
	return rt != nil && rt.flags&netbsd.RTF_REJECT != 0
}
