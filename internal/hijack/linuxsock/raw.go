//go:build linux

package linuxsock

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"rumptools/pkg/netbsd"
)

// Offsets in the header of an IPv4 packet.
const (
	ipTOS      = 1
	ipLen      = 2
	ipOff      = 6
	ipTTL      = 8
	ipProtocol = 9
	ipSrc      = 12
	ipDst      = 16
	ipMinLen   = 20
)

// ToRaw makes the packet that the kernel's raw socket of IPv4 is given for what
// the program sends: always one with a header, because NetBSD would fill in
// another time to live than the socket's options say. What a program sends with
// IP_HDRINCL has one, whose length and fragment offset NetBSD wants in its own
// byte order. src is the address that the socket is bound to, if it is. The
// kernel fills in what is 0: the source and the number of the packet.
func (s *Socket) ToRaw(m *netbsd.Machine, src, dst netip.Addr, out Outgoing, data []byte) ([]byte, unix.Errno) {
	if s.hasHeader() {
		if len(data) < ipMinLen || int(data[0]&15)*4 > len(data) || data[0]&15 < ipMinLen/4 || len(data) > netbsd.IP_MAXPACKET {
			return nil, unix.EINVAL
		}
		packet := append([]byte(nil), data...)
		m.Order.PutUint16(packet[ipLen:], uint16(len(packet)))
		m.Order.PutUint16(packet[ipOff:], binary.BigEndian.Uint16(data[ipOff:]))
		return packet, 0
	}
	options := s.blobs[optionKey{unix.SOL_IP, unix.IP_OPTIONS}]
	n := ipMinLen + len(options) + len(data)
	if n > netbsd.IP_MAXPACKET {
		return nil, unix.EMSGSIZE
	}
	packet := make([]byte, ipMinLen, n)
	packet[0] = 4<<4 | byte((ipMinLen+len(options))/4)
	packet[ipTOS] = byte(s.number(unix.SOL_IP, unix.IP_TOS, 0))
	if out.TOS >= 0 {
		packet[ipTOS] = byte(out.TOS)
	}
	m.Order.PutUint16(packet[ipLen:], uint16(n))
	ttl := s.number(unix.SOL_IP, unix.IP_TTL, defaultTTL)
	if dst.IsMulticast() {
		ttl = s.number(unix.SOL_IP, unix.IP_MULTICAST_TTL, 1)
	}
	packet[ipTTL] = byte(ttl)
	if out.TTL >= 0 {
		packet[ipTTL] = byte(out.TTL)
	}
	packet[ipProtocol] = byte(s.Protocol)
	if out.Source.IsValid() {
		src = out.Source
	}
	if src.Is4() {
		copy(packet[ipSrc:], src.AsSlice())
	}
	if dst.Is4() {
		copy(packet[ipDst:], dst.AsSlice())
	}
	return append(append(packet, options...), data...), 0
}

// hasHeader tells whether what the program sends begins with a header.
func (s *Socket) hasHeader() bool {
	return s.number(unix.SOL_IP, unix.IP_HDRINCL, boolInt(s.isRaw() && s.Protocol == unix.IPPROTO_RAW)) != 0
}

// number is an option of the program's that is a number.
func (s *Socket) number(level, name int, def int32) int32 {
	if v, ok := s.values[optionKey{level, name}]; ok {
		return v
	}
	return def
}

// FromRaw makes what a raw socket of IPv4 receives on Linux of what the
// kernel's has received, in place: NetBSD's header has length and fragment
// offset in the machine's order, and the length without the header. It is false
// for what ICMP_FILTER keeps back.
func (s *Socket) FromRaw(m *netbsd.Machine, packet []byte) bool {
	if len(packet) < ipMinLen {
		return true // of no packet, or cut by the buffer
	}
	header := int(packet[0]&15) * 4
	if s.Protocol == unix.IPPROTO_ICMP && header < len(packet) && !s.WantsICMP(packet[header]) {
		return false
	}
	binary.BigEndian.PutUint16(packet[ipLen:], m.Order.Uint16(packet[ipLen:])+uint16(header))
	binary.BigEndian.PutUint16(packet[ipOff:], m.Order.Uint16(packet[ipOff:]))
	return true
}

// Offsets in an ICMP message, of either version.
const (
	icmpCode     = 1
	icmpChecksum = 2
	icmpID       = 4
	icmpMinLen   = 8
)

// ToPing makes the message that is sent for what a program gives an
// unprivileged ICMP socket: an echo request, whose identifier is the socket's
// own and whose checksum is right, but for that of ICMPv6, which NetBSD fills in.
func (s *Socket) ToPing(id uint16, data []byte) ([]byte, unix.Errno) {
	request := byte(netbsd.ICMP_ECHO)
	if s.Domain == unix.AF_INET6 {
		request = netbsd.ICMP6_ECHO_REQUEST
	}
	if len(data) < icmpMinLen || data[0] != request || data[1] != 0 {
		return nil, unix.EINVAL
	}
	msg := append([]byte(nil), data...)
	binary.BigEndian.PutUint16(msg[icmpID:], id)
	msg[icmpChecksum], msg[icmpChecksum+1] = 0, 0
	if s.Domain == unix.AF_INET {
		binary.BigEndian.PutUint16(msg[icmpChecksum:], checksum(msg))
	}
	return msg, 0
}

// checksum is the Internet checksum of a message whose own is 0 (RFC 1071).
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// FromPing finds in what the kernel's raw socket has received the answer that an
// unprivileged ICMP socket with the identifier id gets: an echo reply without
// the header of IPv4, which tells the time to live, too. The result aliases b.
func (s *Socket) FromPing(id uint16, b []byte) (msg []byte, ttl int, ok bool) {
	reply := byte(netbsd.ICMP6_ECHO_REPLY)
	if s.Domain == unix.AF_INET {
		reply = netbsd.ICMP_ECHOREPLY
		if len(b) < ipMinLen || int(b[0]&15)*4 > len(b) {
			return nil, 0, false
		}
		ttl = int(b[ipTTL])
		b = b[int(b[0]&15)*4:]
	}
	if len(b) < icmpMinLen || b[0] != reply || binary.BigEndian.Uint16(b[icmpID:]) != id {
		return nil, 0, false
	}
	return b, ttl, true
}
