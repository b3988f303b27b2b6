//go:build linux

package linuxsock

import (
	"golang.org/x/sys/unix"
)

// ErrorControl makes the control message that comes with an error from a socket's queue
// (IP_RECVERR in ip(7), IPV6_RECVERR): struct sock_extended_err and the address of who
// sent the ICMP message, for a buffer of room bytes; and tells whether it was cut. The
// error is taken for one that the destination sent.
func ErrorControl(domain int, errno unix.Errno, to []byte, room int) (b []byte, truncated bool) {
	c := cmsg{level: unix.SOL_IP, typ: unix.IP_RECVERR}
	origin, typ, code := byte(unix.SO_EE_ORIGIN_ICMP), byte(3), icmpCode(errno)
	if domain == unix.AF_INET6 {
		c = cmsg{level: unix.SOL_IPV6, typ: unix.IPV6_RECVERR}
		origin, typ, code = unix.SO_EE_ORIGIN_ICMP6, 1, icmp6Code(errno)
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

// icmpCode is the code of a destination unreachable message (RFC 792).
func icmpCode(errno unix.Errno) byte {
	switch errno {
	case unix.ENETUNREACH:
		return 0
	case unix.EHOSTUNREACH:
		return 1
	case unix.EMSGSIZE:
		return 4
	}
	return 3 // port unreachable
}

// icmp6Code is that of ICMPv6 (RFC 4443).
func icmp6Code(errno unix.Errno) byte {
	switch errno {
	case unix.ENETUNREACH:
		return 0
	case unix.EHOSTUNREACH:
		return 3
	}
	return 4
}
