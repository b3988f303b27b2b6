//go:build linux

package linuxsock

import (
	"golang.org/x/sys/unix"

	"rumptools/pkg/netbsd"
)

// ErrorControl makes the control message that comes with an error from a socket's queue
// (IP_RECVERR in ip(7), IPV6_RECVERR): struct sock_extended_err and the address of who
// sent the ICMP message, for a buffer of room bytes; and tells whether it was cut. NetBSD
// tells the error only, which is taken for one that the destination sent.
func ErrorControl(domain int, errno unix.Errno, to []byte, room int) (b []byte, truncated bool) {
	c := cmsg{level: unix.SOL_IP, typ: unix.IP_RECVERR}
	origin := byte(unix.SO_EE_ORIGIN_ICMP)
	typ, code := icmpError(errno)
	if domain == unix.AF_INET6 {
		c.level, c.typ = unix.SOL_IPV6, unix.IPV6_RECVERR
		if ap, ok := Addr(to); !ok || !ap.Addr().Is4In6() {
			origin = unix.SO_EE_ORIGIN_ICMP6
			typ, code = icmp6Error(errno)
		}
	}
	c.data = native.AppendUint32(nil, uint32(errno))
	c.data = append(c.data, origin, typ, code, 0)
	c.data = append(c.data, make([]byte, 8)...) // ee_info, ee_data
	offender := append([]byte(nil), to...)
	if len(offender) >= 4 {
		offender[2], offender[3] = 0, 0 // its port
	}
	c.data = append(c.data, offender...)
	b, whole := putCmsg(nil, room, c)
	return b, !whole
}

// icmpError is the message of ICMP that an error comes from (RFC 792).
func icmpError(errno unix.Errno) (typ, code byte) {
	switch errno {
	case unix.ENETUNREACH:
		return netbsd.ICMP_UNREACH, netbsd.ICMP_UNREACH_NET
	case unix.EHOSTUNREACH:
		return netbsd.ICMP_UNREACH, netbsd.ICMP_UNREACH_HOST
	case unix.EMSGSIZE:
		return netbsd.ICMP_UNREACH, netbsd.ICMP_UNREACH_NEEDFRAG
	}
	return netbsd.ICMP_UNREACH, netbsd.ICMP_UNREACH_PORT
}

// icmp6Error is that of ICMPv6 (RFC 4443).
func icmp6Error(errno unix.Errno) (typ, code byte) {
	switch errno {
	case unix.ENETUNREACH:
		return netbsd.ICMP6_DST_UNREACH, netbsd.ICMP6_DST_UNREACH_NOROUTE
	case unix.EHOSTUNREACH:
		return netbsd.ICMP6_DST_UNREACH, netbsd.ICMP6_DST_UNREACH_ADDR
	case unix.EMSGSIZE:
		return netbsd.ICMP6_PACKET_TOO_BIG, 0
	}
	return netbsd.ICMP6_DST_UNREACH, netbsd.ICMP6_DST_UNREACH_NOPORT
}
