//go:build linux

package linuxsock

import (
	"encoding/binary"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"

	"rumptools/pkg/netbsd"
)

// Sizes in bytes of Linux's socket addresses (<netinet/in.h>).
const (
	sizeofSockaddrIn      = 16
	sizeofSockaddrIn6     = 28
	sizeofSockaddrIn6Old  = 24 // of RFC 2133, without sin6_scope_id
	sizeofSockaddrStorage = 128
)

// native is the byte order of the programs' machine.
var native = binary.NativeEndian

// Family is the family of a socket address of Linux's, AF_UNSPEC when it is too
// short to have one.
func Family(sa []byte) int {
	if len(sa) < 2 {
		return unix.AF_UNSPEC
	}
	return int(native.Uint16(sa))
}

// ToNetBSD translates a socket address of Linux's: AF_INET, AF_INET6, and
// AF_UNSPEC, which ends the association of a datagram socket that connects to
// it. What is too short for its family, or longer than any address, is EINVAL;
// other families are EAFNOSUPPORT. What a certain socket takes for a certain
// call is more special: see [Socket.Address].
func ToNetBSD(m *netbsd.Machine, sa []byte) ([]byte, unix.Errno) {
	if len(sa) < 2 || len(sa) > sizeofSockaddrStorage {
		return nil, unix.EINVAL
	}
	switch native.Uint16(sa) {
	case unix.AF_UNSPEC:
		b := make([]byte, netbsd.SizeofSockaddrIn)
		b[0], b[1] = netbsd.SizeofSockaddrIn, netbsd.AF_UNSPEC
		return b, 0
	case unix.AF_INET:
		if len(sa) < sizeofSockaddrIn {
			return nil, unix.EINVAL
		}
		ap, _ := Addr(sa)
		return netbsd.SockaddrIn(ap), 0
	case unix.AF_INET6:
		if len(sa) < sizeofSockaddrIn6Old {
			return nil, unix.EINVAL
		}
		ap, _ := Addr(sa)
		return netbsd.SockaddrIn6(m, ap, 0, binary.BigEndian.Uint32(sa[4:])), 0
	}
	return nil, unix.EAFNOSUPPORT
}

// FromNetBSD translates a socket address of NetBSD's, which is one of AF_INET
// or AF_INET6; it is nil for others and for what is too short. A scope that is
// embedded in a link-local address becomes sin6_scope_id.
func FromNetBSD(m *netbsd.Machine, sa []byte) []byte {
	parsed, err := netbsd.ParseSockaddr(m, sa)
	if err != nil {
		return nil
	}
	switch parsed.Family {
	case netbsd.AF_INET:
		return Sockaddr(parsed.AddrPort, unix.AF_INET)
	case netbsd.AF_INET6:
		if parsed.ScopeID == 0 {
			parsed = parsed.ExtractScope()
		}
		b := Sockaddr(parsed.AddrPort, unix.AF_INET6)
		binary.BigEndian.PutUint32(b[4:], parsed.Flowinfo)
		native.PutUint32(b[24:], parsed.ScopeID)
		return b
	}
	return nil
}

// Addr reads a socket address of Linux's of AF_INET or AF_INET6. The scope of an
// IPv6 address is its zone, in digits. IPv4-mapped addresses stay what they are.
func Addr(sa []byte) (netip.AddrPort, bool) {
	switch Family(sa) {
	case unix.AF_INET:
		if len(sa) < 8 {
			break
		}
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(sa[4:8])), binary.BigEndian.Uint16(sa[2:])), true
	case unix.AF_INET6:
		if len(sa) < sizeofSockaddrIn6Old {
			break
		}
		addr := netip.AddrFrom16([16]byte(sa[8:24]))
		if len(sa) >= sizeofSockaddrIn6 && !addr.Is4In6() {
			if scope := native.Uint32(sa[24:]); scope != 0 {
				addr = addr.WithZone(strconv.FormatUint(uint64(scope), 10))
			}
		}
		return netip.AddrPortFrom(addr, binary.BigEndian.Uint16(sa[2:])), true
	}
	return netip.AddrPort{}, false
}

// Sockaddr returns a socket address of Linux's, of the family AF_INET (16 bytes)
// or AF_INET6 (28). An IPv4 address is mapped for AF_INET6, and an IPv4-mapped
// one unmapped for AF_INET; one that is not valid, or of IPv6 for AF_INET, is
// the unspecified address. A zone of digits is the scope.
func Sockaddr(ap netip.AddrPort, family int) []byte {
	addr := ap.Addr()
	if family == unix.AF_INET {
		b := make([]byte, sizeofSockaddrIn)
		native.PutUint16(b, unix.AF_INET)
		binary.BigEndian.PutUint16(b[2:], ap.Port())
		if addr = addr.Unmap(); addr.Is4() {
			a := addr.As4()
			copy(b[4:], a[:])
		}
		return b
	}
	b := make([]byte, sizeofSockaddrIn6)
	native.PutUint16(b, unix.AF_INET6)
	binary.BigEndian.PutUint16(b[2:], ap.Port())
	if addr.IsValid() {
		a := addr.As16()
		copy(b[8:], a[:])
		if scope, err := strconv.ParseUint(addr.Zone(), 10, 32); err == nil {
			native.PutUint32(b[24:], uint32(scope))
		}
	}
	return b
}

// Use is what a program gives a socket an address for.
type Use int

// The calls that take addresses.
const (
	Bind    Use = iota // bind(2)
	Connect            // connect(2)
	Send               // sendto(2), sendmsg(2)
)

// discard is the port that stands for port 0 in a connect of a datagram
// socket: resolvers connect so to learn their own address, and NetBSD refuses
// port 0. Nothing is sent to it unless the program sends.
const discard = 9

// Address translates an address that the program gives the socket, as Linux
// takes it: it fails with the error number that Linux has for a socket of this
// kind, IPv4 addresses are mapped for sockets of IPv6, and the unspecified
// address is the loopback one when it is a destination. The result is nil,
// without an error, for AF_UNSPEC that ends an association (Connect), or
// stands for no address (Send).
func (s *Socket) Address(m *netbsd.Machine, use Use, sa []byte) ([]byte, unix.Errno) {
	if len(sa) > sizeofSockaddrStorage {
		return nil, unix.EINVAL
	}
	if use == Connect {
		if len(sa) < 2 {
			return nil, unix.EINVAL
		}
		if Family(sa) == unix.AF_UNSPEC {
			return nil, 0
		}
	}
	var ap netip.AddrPort
	var errno unix.Errno
	if s.Domain == unix.AF_INET {
		ap, errno = s.address4(use, sa)
	} else {
		ap, errno = s.address6(use, sa)
	}
	if errno != 0 || !ap.IsValid() {
		return nil, errno
	}
	addr, port := ap.Addr(), ap.Port()
	if use != Bind {
		switch {
		case addr.Unmap() == netip.IPv4Unspecified():
			addr = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		case addr == netip.IPv6Unspecified():
			addr = netip.IPv6Loopback()
		}
		switch {
		case port != 0:
		case s.isTCP():
			return nil, unix.ECONNREFUSED // nobody can listen there
		case s.isUDP() && use == Send:
			return nil, unix.EINVAL
		case s.isUDP():
			port = discard
		}
	}
	if s.isRaw() {
		port = 0
	}
	ap = netip.AddrPortFrom(addr, port)
	if s.Domain == unix.AF_INET {
		return netbsd.SockaddrIn(ap), 0
	}
	var flowinfo uint32
	if Family(sa) == unix.AF_INET6 {
		flowinfo = binary.BigEndian.Uint32(sa[4:])
	}
	return netbsd.SockaddrIn6(m, ap, 0, flowinfo), 0
}

// address4 reads an address for a socket of IPv4.
func (s *Socket) address4(use Use, sa []byte) (netip.AddrPort, unix.Errno) {
	if len(sa) < sizeofSockaddrIn {
		return netip.AddrPort{}, unix.EINVAL
	}
	switch family := Family(sa); {
	case family == unix.AF_INET:
	case family == unix.AF_UNSPEC && use == Bind && native.Uint32(sa[4:]) == 0,
		family == unix.AF_UNSPEC && use == Send && !s.isPing(),
		use == Bind && s.isRaw():
		// Taken for AF_INET, for programs that did not fill it in.
		sa = append([]byte(nil), sa...)
		native.PutUint16(sa, unix.AF_INET)
	default:
		return netip.AddrPort{}, unix.EAFNOSUPPORT
	}
	ap, _ := Addr(sa)
	return ap, 0
}

// address6 reads an address for a socket of IPv6.
func (s *Socket) address6(use Use, sa []byte) (netip.AddrPort, unix.Errno) {
	family := Family(sa)
	if s.Protocol == unix.IPPROTO_UDP && use != Bind && len(sa) >= 2 {
		switch family {
		case unix.AF_INET:
			switch {
			case s.v6only && use == Connect:
				return netip.AddrPort{}, unix.EAFNOSUPPORT
			case s.v6only:
				return netip.AddrPort{}, unix.ENETUNREACH
			case len(sa) < sizeofSockaddrIn:
				return netip.AddrPort{}, unix.EINVAL
			}
			ap, _ := Addr(sa)
			return netip.AddrPortFrom(netip.AddrFrom16(ap.Addr().As16()), ap.Port()), 0
		case unix.AF_INET6:
		case unix.AF_UNSPEC:
			return netip.AddrPort{}, 0
		default:
			if use == Send {
				return netip.AddrPort{}, unix.EINVAL
			}
		}
	}
	if use == Connect && s.isRaw() && family != unix.AF_INET6 {
		return netip.AddrPort{}, unix.EAFNOSUPPORT
	}
	if len(sa) < sizeofSockaddrIn6Old {
		return netip.AddrPort{}, unix.EINVAL
	}
	switch {
	case family == unix.AF_INET6:
	case family == unix.AF_UNSPEC && use == Send && s.isRaw():
		sa = append([]byte(nil), sa...)
		native.PutUint16(sa, unix.AF_INET6)
	case use == Bind && s.isRaw():
		return netip.AddrPort{}, unix.EINVAL
	default:
		return netip.AddrPort{}, unix.EAFNOSUPPORT
	}
	ap, _ := Addr(sa)
	addr := ap.Addr()
	switch {
	case use == Bind && s.v6only && addr.Is4In6():
		return netip.AddrPort{}, unix.EINVAL
	case use == Send && s.isRaw() && ap.Port() != 0 && int(ap.Port()) != s.Protocol:
		return netip.AddrPort{}, unix.EINVAL // the port is the protocol's number
	}
	// Multicasts within a link leave by an interface that need not be in the address.
	group := use != Send && !s.isTCP() && (addr.IsLinkLocalMulticast() || addr.IsInterfaceLocalMulticast())
	if (addr.IsLinkLocalUnicast() || group) && !addr.Is4In6() {
		switch {
		case addr.Zone() != "" && s.Device() != 0 && addr.Zone() != s.zone():
			return netip.AddrPort{}, unix.EINVAL
		case addr.Zone() != "":
			if use == Bind {
				s.scope = addr.Zone()
			}
		case s.zone() != "":
			addr = addr.WithZone(s.zone())
		case group && use == Connect && s.values[optionKey{unix.SOL_IPV6, unix.IPV6_MULTICAST_IF}] != 0:
		case use != Send:
			return netip.AddrPort{}, unix.EINVAL
		}
	}
	if !netbsd.HasScope(addr) {
		// Linux passes a scope over that the address has no use for; NetBSD
		// refuses it.
		addr = addr.WithZone("")
	}
	return netip.AddrPortFrom(addr, ap.Port()), 0
}
