//go:build linux

package linuxsock

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"rumptools/pkg/netbsd"
)

// Origins of errors in struct sock_extended_err (<linux/errqueue.h>).
const (
	eeOriginICMP  = 2
	eeOriginICMP6 = 3
)

// QueuedError makes the control messages with which recvmsg(2) with MSG_ERRQUEUE
// tells an error that the network sent for what went to peer, an address of
// Linux's: IP_RECVERR or IPV6_RECVERR, whose data are a struct
// sock_extended_err and the address of who sent the error. NetBSD tells the
// error's number only, so the ICMP message is the one that it comes from, and
// the sender is taken for the peer. mtu is for EMSGSIZE.
func (s *Socket) QueuedError(e unix.Errno, peer []byte, mtu uint32, room int) (b []byte, truncated bool) {
	level, typ, origin := unix.SOL_IP, unix.IP_RECVERR, byte(eeOriginICMP)
	icmpType, code := byte(netbsd.ICMP_UNREACH), byte(netbsd.ICMP_UNREACH_HOST)
	switch e {
	case unix.ECONNREFUSED:
		code = netbsd.ICMP_UNREACH_PORT
	case unix.ENETUNREACH:
		code = netbsd.ICMP_UNREACH_NET
	case unix.ENOPROTOOPT:
		code = netbsd.ICMP_UNREACH_PROTOCOL
	case unix.EMSGSIZE:
		code = netbsd.ICMP_UNREACH_NEEDFRAG
	}
	if s.Domain == unix.AF_INET6 {
		level, typ = unix.SOL_IPV6, unix.IPV6_RECVERR
		if ap, ok := Addr(peer); !ok || !ap.Addr().Is4In6() {
			origin = eeOriginICMP6
			icmpType, code = netbsd.ICMP6_DST_UNREACH, netbsd.ICMP6_DST_UNREACH_ADDR
			switch e {
			case unix.ECONNREFUSED:
				code = netbsd.ICMP6_DST_UNREACH_NOPORT
			case unix.ENETUNREACH:
				code = netbsd.ICMP6_DST_UNREACH_NOROUTE
			case unix.EMSGSIZE:
				icmpType, code = netbsd.ICMP6_PACKET_TOO_BIG, 0
			}
		}
	}
	if e != unix.EMSGSIZE {
		mtu = 0
	}
	data := native.AppendUint32(nil, uint32(e))
	data = append(data, origin, icmpType, code, 0)
	data = native.AppendUint32(data, mtu)
	data = native.AppendUint32(data, 0)
	if offender := append([]byte(nil), peer...); len(offender) >= 4 {
		binary.BigEndian.PutUint16(offender[2:], 0)
		data = append(data, offender...)
	}
	b, whole := putCmsg(nil, room, cmsg{level, typ, data})
	return b, !whole
}
