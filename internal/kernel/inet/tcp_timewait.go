package inet

import (
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"rumptools/pkg/netbsd"
)

// forgetTimeWait ends what is left of a connection, which its program has closed, when another one of the same two ends is asked
// for, as tcp_input does. The engine itself only gives the request to a listener, if it is past what the old connection has
// received: where nobody listens, or so much came that the new sequence numbers are not past it, it drops the request, and the
// peer asks in vain until TIME_WAIT is over. It runs on the path of packets: head is the first bytes of one that a link is about
// to give to the engine.
func (s *Stack) forgetTimeWait(nic tcpip.NICID, proto tcpip.NetworkProtocolNumber, head []byte) {
	id, ok := connectionRequest(proto, head)
	if !ok {
		return
	}
	old, ok := s.net.FindTransportEndpoint(proto, tcp.ProtocolNumber, id, nic).(*tcp.Endpoint)
	if ok && old.EndpointState() == tcp.StateTimeWait && s.sockets.closedTCP(id.LocalPort, old) {
		// To the peer, which waits for another number, the reset that this sends says nothing.
		old.Abort()
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
