//go:build linux

package linuxsock

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"rumptools/pkg/netbsd"
)

// ICMPError is what a message of ICMP tells of a datagram that was sent (RFC 792, RFC 4443).
type ICMPError struct {
	V6         bool // it is one of ICMPv6
	Type, Code byte
	Info       uint32 // ee_info: the MTU of the next hop, or where the problem is
	Offender   netip.Addr
	TTL        byte // of the packet of ICMP; of ICMPv6 a control message tells the hop limit
	// Protocol is the datagram's, unix.IPPROTO_UDP, or that of an echo request,
	// unix.IPPROTO_ICMP or IPPROTO_ICMPV6, whose identifier stands for From's port.
	Protocol int
	From, To netip.AddrPort
	Data     []byte // what was quoted of it behind the header of Protocol
}

// Lengths and places in headers.
const (
	ipv6Len     = 40
	fragmentLen = 8
	upperLen    = 8 // of UDP, and of an echo request
	icmpQuote   = 8 // where an error quotes the packet
	udpDstPort  = 2
	icmpNextMTU = 6
)

// ParseICMP reads a packet of IPv4 with its header, as raw sockets receive it. It reports false
// when that tells of no error of a datagram.
func ParseICMP(packet []byte) (e ICMPError, ok bool) {
	src, _, proto, msg, ok := ipv4Parts(packet)
	if !ok || proto != unix.IPPROTO_ICMP || len(msg) < icmpQuote {
		return e, false
	}
	e = ICMPError{Type: msg[0], Code: msg[icmpCode], Offender: src, TTL: packet[8]}
	switch e.Type {
	case netbsd.ICMP_UNREACH:
		if e.Code == netbsd.ICMP_UNREACH_NEEDFRAG {
			e.Info = uint32(binary.BigEndian.Uint16(msg[icmpNextMTU:]))
		}
	case netbsd.ICMP_TIMXCEED:
	case netbsd.ICMP_PARAMPROB:
		e.Info = uint32(msg[4])
	default:
		return e, false
	}
	from, to, proto, upper, ok := ipv4Parts(msg[icmpQuote:])
	return e, ok && e.quotes(from, to, proto, upper)
}

// ipv4Parts takes a packet apart. Of one that is quoted the end may be missing, so that its
// lengths are not looked at.
func ipv4Parts(b []byte) (src, dst netip.Addr, proto int, payload []byte, ok bool) {
	if len(b) < ipMinLen || b[0]>>4 != 4 {
		return src, dst, 0, nil, false
	}
	n := int(b[0]&15) * 4
	if n < ipMinLen || n > len(b) {
		return src, dst, 0, nil, false
	}
	return netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:])), int(b[9]), b[n:], true
}

// ParseICMP6 reads a message of ICMPv6, which came from an address. It reports false when that
// tells of no error of a datagram. Of extension headers only a first fragment's is looked behind.
func ParseICMP6(msg []byte, from netip.Addr) (e ICMPError, ok bool) {
	if len(msg) < icmpQuote+ipv6Len {
		return e, false
	}
	e = ICMPError{V6: true, Type: msg[0], Code: msg[icmpCode], Offender: from}
	switch e.Type {
	case netbsd.ICMP6_PACKET_TOO_BIG, netbsd.ICMP6_PARAM_PROB:
		e.Info = binary.BigEndian.Uint32(msg[4:])
	case netbsd.ICMP6_DST_UNREACH, netbsd.ICMP6_TIME_EXCEEDED:
	default:
		return e, false
	}
	b := msg[icmpQuote:]
	if b[0]>>4 != 6 {
		return e, false
	}
	proto, upper := int(b[6]), b[ipv6Len:]
	if proto == unix.IPPROTO_FRAGMENT && len(upper) >= fragmentLen && binary.BigEndian.Uint16(upper[2:])>>3 == 0 {
		proto, upper = int(upper[0]), upper[fragmentLen:]
	}
	return e, e.quotes(netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:])), proto, upper)
}

// quotes fills in what is known of the packet.
func (e *ICMPError) quotes(from, to netip.Addr, proto int, b []byte) bool {
	if len(b) < upperLen {
		return false
	}
	port := func(at int) uint16 { return binary.BigEndian.Uint16(b[at:]) }
	switch e.Protocol = proto; {
	case proto == unix.IPPROTO_UDP:
		e.From, e.To = netip.AddrPortFrom(from, port(0)), netip.AddrPortFrom(to, port(udpDstPort))
	case proto == unix.IPPROTO_ICMP && !e.V6 && b[0] == netbsd.ICMP_ECHO,
		proto == unix.IPPROTO_ICMPV6 && e.V6 && b[0] == netbsd.ICMP6_ECHO_REQUEST:
		e.From, e.To = netip.AddrPortFrom(from, port(icmpID)), netip.AddrPortFrom(to, 0)
	default:
		return false
	}
	e.Data = b[upperLen:]
	return true
}

// unreachErrnos are Linux's errors for ICMP's codes of what cannot be reached.
var unreachErrnos = [...]unix.Errno{
	unix.ENETUNREACH, unix.EHOSTUNREACH, unix.ENOPROTOOPT, unix.ECONNREFUSED, unix.EMSGSIZE, unix.EOPNOTSUPP,
	unix.ENETUNREACH, unix.EHOSTDOWN, unix.ENONET, unix.ENETUNREACH, unix.EHOSTUNREACH, unix.ENETUNREACH,
	unix.EHOSTUNREACH, unix.EHOSTUNREACH, unix.EHOSTUNREACH, unix.EHOSTUNREACH,
}

// unreach6Errnos are those for ICMPv6's.
var unreach6Errnos = [...]unix.Errno{
	unix.ENETUNREACH, unix.EACCES, unix.EHOSTUNREACH, unix.EHOSTUNREACH, unix.ECONNREFUSED, unix.EACCES, unix.EACCES,
}

// Queued is the entry of a queue of errors. Its errno is the one that Linux gives for the message.
func (e *ICMPError) Queued() QueuedError {
	q := QueuedError{Errno: unix.EHOSTUNREACH, Origin: unix.SO_EE_ORIGIN_ICMP, Type: e.Type, Code: e.Code, Info: e.Info, Offender: e.Offender}
	if e.V6 {
		q.Origin = unix.SO_EE_ORIGIN_ICMP6
		switch code := int(e.Code); {
		case e.Type == netbsd.ICMP6_DST_UNREACH && code < len(unreach6Errnos):
			q.Errno = unreach6Errnos[code]
		case e.Type == netbsd.ICMP6_PACKET_TOO_BIG:
			q.Errno = unix.EMSGSIZE
		case e.Type == netbsd.ICMP6_PARAM_PROB:
			q.Errno = unix.EPROTO
		}
		return q
	}
	switch code := int(e.Code); {
	case e.Type == netbsd.ICMP_UNREACH && code < len(unreachErrnos):
		q.Errno = unreachErrnos[code]
	case e.Type == netbsd.ICMP_PARAMPROB:
		q.Errno = unix.EPROTO
	}
	return q
}
