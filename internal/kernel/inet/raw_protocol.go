package inet

import (
	"encoding/binary"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/waiter"

	"rumptools/pkg/netbsd"
)

// rawProtocol is a transport protocol that the engine knows nothing about. It
// is there so that the engine reassembles the protocol's datagrams and gives
// them to raw sockets, instead of refusing them.
type rawProtocol struct {
	number tcpip.TransportProtocolNumber
}

// rawProtocols makes one for each protocol that the engine has not of its own:
// they are for stack.Options.
func rawProtocols() []stack.TransportProtocolFactory {
	var fs []stack.TransportProtocolFactory
	for n := range tcpip.TransportProtocolNumber(256) {
		switch n {
		case header.TCPProtocolNumber, header.UDPProtocolNumber, header.ICMPv4ProtocolNumber, header.ICMPv6ProtocolNumber:
		default:
			fs = append(fs, func(*stack.Stack) stack.TransportProtocol { return rawProtocol{n} })
		}
	}
	return fs
}

// Number implements [stack.TransportProtocol].
func (p rawProtocol) Number() tcpip.TransportProtocolNumber { return p.number }

// NewEndpoint implements [stack.TransportProtocol]: there are none.
func (rawProtocol) NewEndpoint(tcpip.NetworkProtocolNumber, *waiter.Queue) (tcpip.Endpoint, tcpip.Error) {
	return nil, &tcpip.ErrNotSupported{}
}

// NewRawEndpoint implements [stack.TransportProtocol]: there are none.
func (rawProtocol) NewRawEndpoint(tcpip.NetworkProtocolNumber, *waiter.Queue) (tcpip.Endpoint, tcpip.Error) {
	return nil, &tcpip.ErrNotSupported{}
}

// MinimumPacketSize implements [stack.TransportProtocol].
func (rawProtocol) MinimumPacketSize() int { return 0 }

// ParsePorts implements [stack.TransportProtocol].
func (rawProtocol) ParsePorts([]byte) (src, dst uint16, err tcpip.Error) { return 0, 0, nil }

// HandleUnknownDestinationPacket implements [stack.TransportProtocol]. The
// handler has seen the packet.
func (rawProtocol) HandleUnknownDestinationPacket(stack.TransportEndpointID, *stack.PacketBuffer) stack.UnknownDestinationPacketDisposition {
	return stack.UnknownDestinationPacketHandled
}

// SetOption implements [stack.TransportProtocol].
func (rawProtocol) SetOption(tcpip.SettableTransportProtocolOption) tcpip.Error {
	return &tcpip.ErrUnknownProtocolOption{}
}

// Option implements [stack.TransportProtocol].
func (rawProtocol) Option(tcpip.GettableTransportProtocolOption) tcpip.Error {
	return &tcpip.ErrUnknownProtocolOption{}
}

// Close implements [stack.TransportProtocol].
func (rawProtocol) Close() {}

// Wait implements [stack.TransportProtocol].
func (rawProtocol) Wait() {}

// Pause implements [stack.TransportProtocol].
func (rawProtocol) Pause() {}

// Resume implements [stack.TransportProtocol].
func (rawProtocol) Resume() {}

// Restore implements [stack.TransportProtocol].
func (rawProtocol) Restore() {}

// Parse implements [stack.TransportProtocol]. The engine drops packets that
// have no transport header at all, so the first byte is one. It must not be
// longer than a fragment: the engine would read the IP header of a reassembled
// datagram after its memory has been given back.
func (p rawProtocol) Parse(pkt *stack.PacketBuffer) bool {
	_, ok := pkt.TransportHeader().Consume(min(pkt.Data().Size(), 1))
	pkt.TransportProtocolNumber = p.number
	return ok
}

// installHandlers has the engine give packets to the sockets of this package.
func (s *Stack) installHandlers() error {
	for n := range tcpip.TransportProtocolNumber(256) {
		switch n {
		case header.TCPProtocolNumber:
		case header.UDPProtocolNumber:
			s.net.SetTransportProtocolHandler(n, s.udpHandler)
		case header.ICMPv4ProtocolNumber:
			s.net.SetTransportProtocolHandler(n, s.icmpHandler)
		case header.ICMPv6ProtocolNumber:
			s.net.SetTransportProtocolHandler(n, s.icmp6Handler)
		default:
			s.net.SetTransportProtocolHandler(n, func(_ stack.TransportEndpointID, pkt *stack.PacketBuffer) bool {
				return s.rawHandler(pkt)
			})
		}
	}
	// What the engine keeps to itself: ICMP, IGMP and ICMPv6, also behind a
	// hop-by-hop header, as multicast listener reports have it.
	for _, h := range []struct {
		net   tcpip.NetworkProtocolNumber
		proto tcpip.TransportProtocolNumber
		input func(*stack.PacketBuffer)
	}{
		{header.IPv4ProtocolNumber, header.ICMPv4ProtocolNumber, s.icmpInput},
		{header.IPv4ProtocolNumber, header.IGMPProtocolNumber, s.igmpInput},
		{header.IPv6ProtocolNumber, header.ICMPv6ProtocolNumber, s.icmp6Input},
		{header.IPv6ProtocolNumber, netbsd.IPPROTO_HOPOPTS, s.icmp6Input},
	} {
		if err := s.net.RegisterRawTransportEndpoint(h.net, h.proto, &rawHook{h.input}); err != nil {
			return engineError(err)
		}
	}
	return nil
}

// igmpInput has raw sockets see IGMP messages.
func (s *Stack) igmpInput(pkt *stack.PacketBuffer) {
	if p := readPacket(pkt); s.forUs(p) {
		s.rawInput(p)
	}
}

// rawHandler gives raw sockets a datagram for this host of a protocol that
// nobody else handles. If none wants it the sender is told so.
func (s *Stack) rawHandler(pkt *stack.PacketBuffer) bool {
	p := readPacket(pkt)
	if s.rawInput(p) || p.group || p.proto == netbsd.IPPROTO_NONE {
		return true
	}
	if p.dst.Is4() {
		s.icmpUnreach(p, netbsd.ICMP_UNREACH_PROTOCOL)
	} else {
		s.icmp6ParamProblem(p)
	}
	return true
}

// mayTell tells whether an error may be sent to who sent p. The limit (errppslimit) is for the network; to leave a socket of this
// host's without an answer keeps a program waiting, on Linux's loopback, too, nobody is.
func (s *Stack) mayTell(p *packet) bool { return s.isLocal(p.src) || s.net.AllowICMPMessage() }

// icmpUnreach sends an ICMP message that says why p was not delivered.
func (s *Stack) icmpUnreach(p *packet, code uint8) {
	if !p.src.IsValid() || p.src.IsUnspecified() || p.src.IsMulticast() || !s.mayTell(p) {
		return
	}
	st := &s.sockets.icmp
	st.stat[netbsd.ICMP_STAT_ERROR].Add(1)
	st.stat[netbsd.ICMP_STAT_OUTHIST+netbsd.ICMP_UNREACH].Add(1)
	b := make([]byte, icmpMinLen)
	b[0], b[1] = netbsd.ICMP_UNREACH, code
	b = append(b, p.header...)
	b = append(b, p.payload[:min(int(s.params.returnData.Load()), len(p.payload))]...)
	binary.BigEndian.PutUint16(b[2:], ^checksum.Checksum(b, 0))
	r, err := s.findRoute(sendPath{dst: p.src})
	if err != nil {
		return
	}
	defer r.Release()
	_, _ = s.write4(r, ip4Header{ttl: netbsd.MAXTTL, proto: netbsd.IPPROTO_ICMP, src: p.dst, dst: p.src}, b)
}

// icmp6ParamProblem sends the ICMPv6 message that says that p's protocol is
// unknown.
func (s *Stack) icmp6ParamProblem(p *packet) {
	if !s.mayTell(p) {
		return
	}
	where := byte(6) // the next header's number
	if n := len(p.extHeaders); n > 0 {
		where = byte(len(p.header) - len(p.extHeaders[n-1].data))
	}
	s.icmp6Quote(p, netbsd.ICMP6_PARAM_PROB, netbsd.ICMP6_PARAMPROB_NEXTHEADER, where)
}

// icmp6Quote sends an ICMPv6 error to who sent p, with as much of p as goes into a packet.
func (s *Stack) icmp6Quote(p *packet, typ, code, pointer byte) {
	b := make([]byte, icmpMinLen, minMTU6)
	b[0], b[1], b[7] = typ, code, pointer
	whole := append(append([]byte(nil), p.header...), p.payload...)
	b = append(b, whole[:min(len(whole), minMTU6-header.IPv6MinimumSize-icmpMinLen)]...)
	s.icmp6Answer(p, b, nil)
}
