package inet

import (
	"encoding/binary"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"

	"rumptools/pkg/netbsd"
)

// The engine computes the checksums of TCP and UDP anew in what it forwards. A router is to leave
// them alone, and of a fragment they cannot be computed: the engine would spoil the datagram, with
// later fragments by writing into its data. And of a fragment that it cuts into more it forgets
// where that belongs. So the packet's mark, which the engine passes on, keeps both, and they are put
// back when the packet leaves.

// Parts of a mark: the checksum, the fragment's offset in units of 8 bytes, and flags.
const (
	markOffset = 16
	markUDP    = 1 << 29 // the checksum is UDP's
	markTCP    = 1 << 30 // or TCP's
	markKept   = 1 << 31
)

// transitMark gives the mark of a packet.
func transitMark(proto tcpip.NetworkProtocolNumber, packet []byte) (mark uint32) {
	at, offset, transport := transportOf(proto, packet)
	switch transport {
	case header.TCPProtocolNumber:
		at, mark = at+header.TCPChecksumOffset, markTCP
	case header.UDPProtocolNumber:
		at, mark = at+udpChecksumOffset, markUDP
	}
	if mark != 0 && at+2 <= len(packet) {
		mark |= uint32(binary.BigEndian.Uint16(packet[at:]))
	}
	return mark | markKept | uint32(offset/8)<<markOffset
}

// udpChecksumOffset is where UDP's header has its checksum.
const udpChecksumOffset = 6

// restoreTransit puts back what a mark has into a packet, which may be one that the engine has cut
// out of that of the mark.
func restoreTransit(proto tcpip.NetworkProtocolNumber, packet []byte, mark uint32, cut bool) {
	if mark&markKept == 0 {
		return
	}
	at, offset, _ := transportOf(proto, packet)
	first := int(mark>>markOffset&0x1fff) * 8
	if cut && first > 0 {
		offset += first
		h := header.IPv4(packet)
		h.SetFlagsFragmentOffset(h.Flags(), uint16(offset))
		h.SetChecksum(0)
		h.SetChecksum(^h.CalculateChecksum())
	}
	switch {
	case offset != first:
		return
	case mark&markTCP != 0:
		at += header.TCPChecksumOffset
	case mark&markUDP != 0:
		at += udpChecksumOffset
	default:
		return
	}
	if at+2 <= len(packet) {
		binary.BigEndian.PutUint16(packet[at:], uint16(mark))
	}
}

// transportOf tells where what IP carries begins in a packet, at which offset of the whole that
// is, and what the header says that it is.
func transportOf(proto tcpip.NetworkProtocolNumber, packet []byte) (at, offset int, transport tcpip.TransportProtocolNumber) {
	switch {
	case proto == ipv4.ProtocolNumber && len(packet) >= header.IPv4MinimumSize:
		h := header.IPv4(packet)
		return int(h.HeaderLength()), int(h.FragmentOffset()), h.TransportProtocol()
	case proto == ipv6.ProtocolNumber && len(packet) >= header.IPv6MinimumSize:
		next := packet[6]
		for at = header.IPv6MinimumSize; at+8 <= len(packet); {
			n := 8 * (1 + int(packet[at+1]))
			switch next {
			case netbsd.IPPROTO_HOPOPTS, netbsd.IPPROTO_DSTOPTS, netbsd.IPPROTO_ROUTING:
			case netbsd.IPPROTO_FRAGMENT:
				if offset = int(binary.BigEndian.Uint16(packet[at+2:]) &^ 7); offset > 0 {
					return at + 8, offset, 0 // which the engine leaves alone
				}
				n = 8
			default:
				return at, offset, tcpip.TransportProtocolNumber(next)
			}
			next = packet[at]
			at += n
		}
	}
	return 0, 0, 0
}
