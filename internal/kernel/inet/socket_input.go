package inet

import (
	"encoding/binary"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"rumptools/pkg/netbsd"
)

// packet is a received datagram, as sockets are given it. Several may share
// its bytes, which nobody changes.
type packet struct {
	nic      tcpip.NICID
	src, dst netip.Addr // in the kernel's form
	proto    uint8
	ttl, tos uint8 // hop limit and traffic class
	// group says that it came to a group or to a broadcast address.
	group bool
	// noSum6 says that it is one of UDP's for IPv6 without checksum.
	noSum6 bool
	// header is the IPv4 header with its options.
	header []byte
	// payload is what follows all headers of the network level.
	payload []byte
	// extHeaders are the IPv6 extension headers.
	extHeaders []extHeader
}

// extHeader is an extension header of an IPv6 packet.
type extHeader struct {
	typ  uint8
	data []byte
}

// readPacket copies what a packet of the engine's holds.
func readPacket(pkt *stack.PacketBuffer) *packet {
	p := &packet{nic: pkt.NICID}
	h := pkt.NetworkHeader().Slice()
	transport, data := pkt.TransportHeader().Slice(), pkt.Data()
	b := make([]byte, 0, len(h)+len(transport)+data.Size())
	b = append(b, h...)
	b = append(b, transport...)
	if view := data.AsRange().ToView(); view != nil { // nil when there is none
		b = append(b, view.AsSlice()...)
		view.Release()
	}
	p.header, p.payload = b[:len(h):len(h)], b[len(h):]
	if pkt.NetworkProtocolNumber == header.IPv4ProtocolNumber {
		ip := header.IPv4(p.header)
		p.src, p.dst = netipAddr(ip.SourceAddress()), netipAddr(ip.DestinationAddress())
		p.proto, p.ttl = ip.Protocol(), ip.TTL()
		p.tos, _ = ip.TOS()
		p.group = p.dst.IsMulticast() || pkt.NetworkPacketInfo.LocalAddressBroadcast
		return p
	}
	ip := header.IPv6(p.header)
	p.src, p.dst = packetAddr(ip.SourceAddress(), p.nic), packetAddr(ip.DestinationAddress(), p.nic)
	p.ttl = ip.HopLimit()
	p.tos, _ = ip.TOS()
	p.group = p.dst.IsMulticast()
	p.readExtHeaders(b)
	return p
}

// readExtHeaders finds the extension headers and, behind them, the protocol, in the whole packet. What the engine
// takes for a header besides is the protocol's.
func (p *packet) readExtHeaders(whole []byte) {
	next := p.header[6]
	for b := p.header[header.IPv6MinimumSize:]; len(b) >= 8; {
		n := 8 * (int(b[1]) + 1)
		switch next {
		case netbsd.IPPROTO_FRAGMENT:
			n = 8
		case netbsd.IPPROTO_HOPOPTS, netbsd.IPPROTO_DSTOPTS, netbsd.IPPROTO_ROUTING:
		default:
			p.proto = next
			p.payload = whole[len(p.header)-len(b):]
			return
		}
		if n > len(b) {
			break
		}
		p.extHeaders = append(p.extHeaders, extHeader{next, b[:n:n]})
		next, b = b[0], b[n:]
	}
	p.proto = next
}

// isAtomic tells whether an IPv6 packet came in one piece.
func (p *packet) isAtomic() bool {
	for _, h := range p.extHeaders {
		if h.typ == netbsd.IPPROTO_FRAGMENT {
			return false
		}
	}
	return true
}

// rawForm gives an IPv4 datagram as raw sockets show it: the length in the
// header is in the machine's byte order and without the header itself, the
// fragment offset is in the machine's byte order.
func (p *packet) rawForm(m *netbsd.Machine) []byte {
	b := make([]byte, 0, len(p.header)+len(p.payload))
	b = append(b, p.header...)
	b = append(b, p.payload...)
	m.Order.PutUint16(b[2:], uint16(len(p.payload)))
	m.Order.PutUint16(b[6:], binary.BigEndian.Uint16(p.header[6:]))
	return b
}

// forUs tells whether a packet that the engine shows before it looks at the
// destination is for this host: for one of its addresses, a broadcast address
// or a group that it is in on the interface.
func (s *Stack) forUs(p *packet) bool {
	if s.isLocal(p.dst) {
		return true
	}
	dst, _ := netbsd.ExtractScope(p.dst)
	if dst.IsMulticast() {
		in, err := s.net.IsInGroup(p.nic, engineAddr(dst))
		return err == nil && in
	}
	if !dst.Is4() {
		return false
	}
	addr := engineAddr(dst)
	if addr == header.IPv4Broadcast || s.net.IsSubnetBroadcast(p.nic, header.IPv4ProtocolNumber, addr) {
		p.group = true
		return true
	}
	return false
}
