package inet

import (
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/header/parse"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"rumptools/pkg/netbsd"
)

// refuseReused answers a request for a connection that one in TIME_WAIT is in the way of, and that nobody listens for: with a
// reset, as tcp_input does, which forgets the old connection first. The engine would give the request to a listener, but without
// one drops it, and the peer asks in vain until TIME_WAIT is over. It runs on the path of packets: head is the first bytes of one
// that a link is about to give to the engine, whole copies all of it.
func (s *Stack) refuseReused(nic tcpip.NICID, proto tcpip.NetworkProtocolNumber, head []byte, whole func() *stack.PacketBuffer) {
	id, ok := connectionRequest(proto, head)
	if !ok {
		return
	}
	old, ok := s.net.FindTransportEndpoint(proto, tcp.ProtocolNumber, id, nic).(*tcp.Endpoint)
	if !ok || old.EndpointState() != tcp.StateTimeWait {
		return
	}
	anyone := stack.TransportEndpointID{LocalPort: id.LocalPort, LocalAddress: id.LocalAddress}
	if l, ok := s.net.FindTransportEndpoint(proto, tcp.ProtocolNumber, anyone, nic).(*tcp.Endpoint); ok && l.EndpointState() == tcp.StateListen {
		return
	}
	pkt := whole()
	defer pkt.DecRef()
	pkt.NICID, pkt.NetworkProtocolNumber = nic, proto
	if proto == header.IPv4ProtocolNumber {
		ok = parse.IPv4(pkt)
	} else {
		_, _, _, _, ok = parse.IPv6(pkt)
	}
	if ok && parse.TCP(pkt) {
		s.net.TransportProtocolInstance(tcp.ProtocolNumber).HandleUnknownDestinationPacket(id, pkt)
	}
}

// connectionRequest tells whether a packet, of which b are the first bytes, asks for a connection, and for which.
func connectionRequest(proto tcpip.NetworkProtocolNumber, b []byte) (id stack.TransportEndpointID, ok bool) {
	var segment []byte
	switch {
	case proto == header.IPv4ProtocolNumber && len(b) >= header.IPv4MinimumSize:
		h := header.IPv4(b)
		if h.TransportProtocol() != header.TCPProtocolNumber || h.More() || h.FragmentOffset() != 0 || int(h.HeaderLength()) > len(b) {
			return id, false
		}
		id.LocalAddress, id.RemoteAddress, segment = h.DestinationAddress(), h.SourceAddress(), b[h.HeaderLength():]
	case proto == header.IPv6ProtocolNumber && len(b) >= header.IPv6MinimumSize:
		next, payload, fragment, _, _ := upper(b)
		if next != netbsd.IPPROTO_TCP || fragment {
			return id, false
		}
		h := header.IPv6(b)
		id.LocalAddress, id.RemoteAddress, segment = h.DestinationAddress(), h.SourceAddress(), payload
	}
	if len(segment) < header.TCPMinimumSize {
		return id, false
	}
	h := header.TCP(segment)
	id.LocalPort, id.RemotePort = h.DestinationPort(), h.SourcePort()
	return id, h.Flags()&(header.TCPFlagSyn|header.TCPFlagAck|header.TCPFlagRst) == header.TCPFlagSyn
}
