package inet

import (
	"encoding/binary"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"rumptools/pkg/netbsd"
)

// icmp6Input has raw sockets see ICMPv6 messages, and UDP the errors among
// them, before the engine handles them (icmp6_input). Unlike IPv4's, raw
// sockets see echo requests as well.
func (s *Stack) icmp6Input(pkt *stack.PacketBuffer) {
	p := readPacket(pkt)
	if p.proto != netbsd.IPPROTO_ICMPV6 || !p.isAtomic() || !s.forUs(p) {
		return
	}
	s.icmp6Deliver(p)
}

// icmp6Handler is given echo requests and replies by the engine, of which it answers the former. Those
// that came in fragments have not been seen before; the engine shows no others.
func (s *Stack) icmp6Handler(_ stack.TransportEndpointID, pkt *stack.PacketBuffer) bool {
	if pkt.NetworkProtocolNumber != header.IPv6ProtocolNumber {
		return s.rawHandler(pkt)
	}
	p := readPacket(pkt)
	if !p.isAtomic() {
		s.icmp6Deliver(p)
	}
	if len(p.payload) < icmpMinLen || p.payload[0] != netbsd.ICMP6_ECHO_REQUEST {
		return false
	}
	s.icmp6Reflect(p)
	return true
}

// icmp6Reflect answers an echo request (icmp6_reflect): in fragments that each path takes, since nobody
// would send again what a router found too big.
func (s *Stack) icmp6Reflect(p *packet) {
	reply := append([]byte(nil), p.payload...)
	reply[0] = netbsd.ICMP6_ECHO_REPLY
	s.icmp6Answer(p, reply, &pktOptions{minMTU: 1})
}

// icmp6Answer sends an ICMPv6 message, but for its checksum, back to where p came from.
func (s *Stack) icmp6Answer(p *packet, msg []byte, out *pktOptions) {
	if !p.src.IsValid() || p.src.IsUnspecified() || p.src.IsMulticast() {
		return
	}
	r, err := s.findRoute(sendPath{dst: p.src})
	if err != nil {
		return
	}
	defer r.Release()
	h := ip6Header{hops: uint8(s.params.get("net.inet6.ip6.hlim")), proto: netbsd.IPPROTO_ICMPV6, out: out}
	h.dst, _ = netbsd.ExtractScope(p.src)
	if h.src, _ = netbsd.ExtractScope(p.dst); p.group {
		h.src = netipAddr(r.LocalAddress())
	}
	msg[icmp6ChecksumOffset], msg[icmp6ChecksumOffset+1] = 0, 0
	binary.BigEndian.PutUint16(msg[icmp6ChecksumOffset:], internetChecksum(netbsd.IPPROTO_ICMPV6, h.src, h.dst, msg))
	_ = s.write6(r, h, msg)
}

func (s *Stack) icmp6Deliver(p *packet) {
	src, _ := netbsd.ExtractScope(p.src)
	dst, _ := netbsd.ExtractScope(p.dst)
	if len(p.payload) < icmpMinLen/2 || internetChecksum(netbsd.IPPROTO_ICMPV6, src, dst, p.payload) != 0 {
		return
	}
	s.icmp6Error(p)
	p.proto = netbsd.IPPROTO_ICMPV6
	s.rawInput(p)
}

// icmp6MTU is where a message that a packet is too big has the MTU (icmp6_mtu).
const icmp6MTU = 4

// icmp6Error tells UDP of an ICMPv6 error, and the routing table of a path's MTU.
func (s *Stack) icmp6Error(p *packet) {
	b := p.payload
	errno := icmp6Errno(b[0], b[1])
	tooBig := b[0] == netbsd.ICMP6_PACKET_TOO_BIG
	if errno == 0 && !tooBig || len(b) < icmpMinLen+header.IPv6MinimumSize {
		return
	}
	inner := b[icmpMinLen:]
	next, rest := inner[6], inner[header.IPv6MinimumSize:]
	for next == netbsd.IPPROTO_HOPOPTS || next == netbsd.IPPROTO_DSTOPTS || next == netbsd.IPPROTO_ROUTING {
		if len(rest) < 8 || len(rest) < 8*(int(rest[1])+1) {
			return
		}
		next, rest = rest[0], rest[8*(int(rest[1])+1):]
	}
	local := endpoint{addr: netbsd.EmbedScope(netip.AddrFrom16([16]byte(inner[8:])), uint32(p.nic))}
	remote := endpoint{addr: netbsd.EmbedScope(netip.AddrFrom16([16]byte(inner[24:])), uint32(p.nic))}
	if errno == netbsd.EHOSTDOWN {
		s.udpHostError(errno, remote.addr)
		return
	}
	hasPorts := (next == netbsd.IPPROTO_UDP || next == netbsd.IPPROTO_TCP) && len(rest) >= 4
	if hasPorts {
		local.port, remote.port = binary.BigEndian.Uint16(rest), binary.BigEndian.Uint16(rest[2:])
	}
	switch {
	case tooBig:
		s.tooBig6(next, local, remote, binary.BigEndian.Uint32(b[icmp6MTU:]))
	case hasPorts && next == netbsd.IPPROTO_UDP:
		s.udpError(errno, local, remote)
	}
}

// icmp6Errno gives what an ICMPv6 error means to a socket (inet6ctlerrmap), 0
// for nothing.
func icmp6Errno(typ, code uint8) netbsd.Errno {
	switch typ {
	case netbsd.ICMP6_DST_UNREACH:
		switch code {
		case netbsd.ICMP6_DST_UNREACH_NOROUTE, netbsd.ICMP6_DST_UNREACH_BEYONDSCOPE:
			return netbsd.EHOSTUNREACH
		case netbsd.ICMP6_DST_UNREACH_ADMIN, netbsd.ICMP6_DST_UNREACH_NOPORT:
			return netbsd.ECONNREFUSED
		case netbsd.ICMP6_DST_UNREACH_ADDR:
			return netbsd.EHOSTDOWN
		}
	case netbsd.ICMP6_PARAM_PROB:
		switch code {
		case netbsd.ICMP6_PARAMPROB_NEXTHEADER:
			return netbsd.ECONNREFUSED
		case netbsd.ICMP6_PARAMPROB_HEADER, netbsd.ICMP6_PARAMPROB_OPTION:
			return netbsd.ENOPROTOOPT
		}
	}
	return 0
}
