//go:build linux

package linuxsock

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"rumptools/pkg/netbsd"
)

// QueuedError is an error in a socket's queue (IP_RECVERR in ip(7), IPV6_RECVERR): what struct
// sock_extended_err says, and the address of who sent the ICMP message.
type QueuedError struct {
	Errno              unix.Errno
	Origin, Type, Code byte
	Info               uint32
	Offender           netip.Addr
}

// GuessedError is the entry for an error of which NetBSD has told no more than its number. It is
// taken for one that the destination sent, which is an address of Linux's.
func GuessedError(domain int, errno unix.Errno, to []byte) QueuedError {
	ap, ok := Addr(to)
	q := QueuedError{Errno: errno, Origin: unix.SO_EE_ORIGIN_ICMP, Offender: ap.Addr()}
	if domain == unix.AF_INET6 && !(ok && ap.Addr().Is4In6()) {
		q.Origin = unix.SO_EE_ORIGIN_ICMP6
		q.Type, q.Code = icmp6Error(errno)
	} else {
		q.Type, q.Code = icmpError(errno)
	}
	return q
}

// ErrorControl appends the control message that comes with an error to b, for a buffer of room
// bytes, and tells whether it was cut.
func ErrorControl(b []byte, domain int, e QueuedError, room int) (_ []byte, truncated bool) {
	c := cmsg{level: unix.SOL_IP, typ: unix.IP_RECVERR}
	if domain == unix.AF_INET6 {
		c.level, c.typ = unix.SOL_IPV6, unix.IPV6_RECVERR
	}
	c.data = native.AppendUint32(nil, uint32(e.Errno))
	c.data = append(c.data, e.Origin, e.Type, e.Code, 0)
	c.data = native.AppendUint32(c.data, e.Info)
	c.data = native.AppendUint32(c.data, 0) // ee_data
	offender := Sockaddr(netip.AddrPortFrom(e.Offender, 0), domain)
	if !e.Offender.IsValid() {
		clear(offender) // it is this host
	}
	c.data = append(c.data, offender...)
	b, whole := putCmsg(b, room, c)
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
