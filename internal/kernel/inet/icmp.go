package inet

import (
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// icmpTTL is the time to live of what icmp_reflect sends: answers, which should
// come back from wherever a question has come (MAXTTL).
const icmpTTL = 255

// setICMPTTL gives an ICMP answer of our own that is on its way out the time to
// live that NetBSD gives it.
func setICMPTTL(pkt *stack.PacketBuffer) {
	if pkt.NetworkProtocolNumber != ipv4.ProtocolNumber || pkt.NetworkPacketInfo.IsForwardedPacket {
		return
	}
	ip := header.IPv4(pkt.NetworkHeader().Slice())
	if len(ip) < header.IPv4MinimumSize || ip.TransportProtocol() != header.ICMPv4ProtocolNumber ||
		ip.FragmentOffset() != 0 || ip.TTL() == icmpTTL {
		return
	}
	icmp := pkt.TransportHeader().Slice()
	if len(icmp) == 0 {
		var ok bool
		if icmp, ok = pkt.Data().PullUp(1); !ok {
			return
		}
	}
	switch header.ICMPv4Type(icmp[0]) {
	case header.ICMPv4EchoReply, header.ICMPv4DstUnreachable, header.ICMPv4TimeExceeded,
		header.ICMPv4ParamProblem, header.ICMPv4TimestampReply:
		ip.SetTTL(icmpTTL)
		ip.SetChecksum(0)
		ip.SetChecksum(^ip.CalculateChecksum())
	}
}
