package netbsd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Sizes in bytes of socket addresses.
const (
	SizeofSockaddrIn      = 16
	SizeofSockaddrIn6     = 28
	SizeofSockaddrDl      = 20 // at least: longer when name and address need it
	SizeofSockaddrUn      = 106
	SizeofSockaddrStorage = 128
)

// SA is a socket address in Go's terms.
type SA struct {
	// Family is AF_INET, AF_INET6, AF_LINK, AF_LOCAL or another one.
	Family uint8
	// AddrPort is the address and port of AF_INET and AF_INET6. It has no
	// zone; see ScopeID.
	AddrPort netip.AddrPort
	// Flowinfo is sin6_flowinfo, in host order.
	Flowinfo uint32
	// ScopeID is sin6_scope_id: the index of the interface on which a
	// link-local address is meant, 0 when it is not told or embedded in the
	// address, see [SA.ExtractScope].
	ScopeID uint32
	// DL is the address of AF_LINK.
	DL SockaddrDL
	// Path is the path of AF_LOCAL. It may be empty.
	Path string
	// Data has what follows the family in addresses of other families.
	Data []byte
}

// SockaddrDL is a link-level address (sockaddr_dl, <net/if_dl.h>).
type SockaddrDL struct {
	Index uint16 // interface, 0 when not told
	Type  uint8  // IFT_*
	Name  string // interface, empty when not told
	Addr  []byte // link-level address
	Sel   []byte // selector, hardly ever used
}

// Addr returns the address without its port.
func (sa SA) Addr() netip.Addr { return sa.AddrPort.Addr() }

// Port returns the port, in host order.
func (sa SA) Port() uint16 { return sa.AddrPort.Port() }

// String formats the address for messages: "10.0.0.1:80", "[fe80::1%2]:80",
// "link#2 02:00:00:00:00:01", "/tmp/socket".
func (sa SA) String() string {
	switch sa.Family {
	case AF_INET:
		return sa.AddrPort.String()
	case AF_INET6:
		if sa.ScopeID != 0 {
			return netip.AddrPortFrom(sa.Addr().WithZone(strconv.FormatUint(uint64(sa.ScopeID), 10)), sa.Port()).String()
		}
		return sa.AddrPort.String()
	case AF_LINK:
		return sa.DL.String()
	case AF_LOCAL:
		return sa.Path
	}
	return fmt.Sprintf("family %d % x", sa.Family, sa.Data)
}

// String formats the link-level address for messages: the interface's name,
// or "link#" and its index, and the address in hexadecimal.
func (dl SockaddrDL) String() string {
	var parts []string
	switch {
	case dl.Name != "":
		parts = append(parts, dl.Name)
	case dl.Index != 0:
		parts = append(parts, fmt.Sprintf("link#%d", dl.Index))
	}
	if len(dl.Addr) > 0 {
		parts = append(parts, strings.ReplaceAll(fmt.Sprintf("% x", dl.Addr), " ", ":"))
	}
	return strings.Join(parts, " ")
}

// SockaddrIn returns the 16 bytes of a sockaddr_in, the same on every machine.
// An address that is not valid becomes 0.0.0.0; an IPv4-mapped one is taken
// for IPv4.
func SockaddrIn(ap netip.AddrPort) []byte {
	b := make([]byte, SizeofSockaddrIn)
	b[0], b[1] = SizeofSockaddrIn, AF_INET
	binary.BigEndian.PutUint16(b[2:], ap.Port())
	if addr := ap.Addr().Unmap(); addr.Is4() {
		a := addr.As4()
		copy(b[4:], a[:])
	}
	return b
}

// SockaddrIn6 returns the 28 bytes of a sockaddr_in6. flowinfo is in host
// order. When scopeID is 0 and the address has a numeric zone, that is the
// scope. An address that is not valid becomes ::; an IPv4 one is mapped.
func SockaddrIn6(m *Machine, ap netip.AddrPort, scopeID, flowinfo uint32) []byte {
	b := make([]byte, SizeofSockaddrIn6)
	b[0], b[1] = SizeofSockaddrIn6, AF_INET6
	binary.BigEndian.PutUint16(b[2:], ap.Port())
	binary.BigEndian.PutUint32(b[4:], flowinfo)
	if addr := ap.Addr(); addr.IsValid() {
		a := addr.As16()
		copy(b[8:], a[:])
		if zone, err := strconv.ParseUint(addr.Zone(), 10, 32); err == nil && scopeID == 0 {
			scopeID = uint32(zone)
		}
	}
	m.Order.PutUint32(b[24:], scopeID)
	return b
}

// Sockaddr returns the bytes of a sockaddr_in or a sockaddr_in6, by the kind
// of the address.
func Sockaddr(m *Machine, ap netip.AddrPort) []byte {
	if ap.Addr().Is4() {
		return SockaddrIn(ap)
	}
	return SockaddrIn6(m, ap, 0, 0)
}

// errTooLong is for addresses that do not fit the byte that tells their
// length.
var errTooLong = errors.New("netbsd: socket address is too long")

// AppendSockaddrDl appends a sockaddr_dl: 20 bytes, or more when name, address
// and selector need more than 12. It fails when they need more than 255
// together.
func AppendSockaddrDl(m *Machine, b []byte, dl SockaddrDL) ([]byte, error) {
	n := len(dl.Name) + len(dl.Addr) + len(dl.Sel)
	size := max(8+n, SizeofSockaddrDl)
	if size > 255 {
		return b, errTooLong
	}
	b = append(b, byte(size), AF_LINK)
	b = m.Order.AppendUint16(b, dl.Index)
	b = append(b, dl.Type, byte(len(dl.Name)), byte(len(dl.Addr)), byte(len(dl.Sel)))
	b = append(b, dl.Name...)
	b = append(b, dl.Addr...)
	b = append(b, dl.Sel...)
	return append(b, make([]byte, size-8-n)...), nil
}

// AppendSockaddrDlCompact appends a sockaddr_dl that is no longer than its
// contents, as the kernel keeps those of interfaces: the 11 bytes of lo0's.
func AppendSockaddrDlCompact(m *Machine, b []byte, dl SockaddrDL) ([]byte, error) {
	n := len(b)
	b, err := AppendSockaddrDl(m, b, dl)
	if err != nil {
		return b, err
	}
	size := 8 + len(dl.Name) + len(dl.Addr) + len(dl.Sel)
	b[n] = byte(size)
	return b[:n+size], nil
}

// SockaddrUn returns a sockaddr_un for a path of at most 104 bytes, as long as
// the path needs: two bytes, the path and its NUL.
func SockaddrUn(path string) ([]byte, error) {
	if len(path) > SizeofSockaddrUn-2 {
		return nil, errTooLong
	}
	b := make([]byte, 0, len(path)+3)
	b = append(b, 0, AF_LOCAL)
	b = append(b, path...)
	if len(b) < SizeofSockaddrUn {
		b = append(b, 0)
	}
	b[0] = byte(len(b))
	return b, nil
}

// Append appends the address in its family's format.
func (sa SA) Append(m *Machine, b []byte) ([]byte, error) {
	switch sa.Family {
	case AF_INET:
		return append(b, SockaddrIn(sa.AddrPort)...), nil
	case AF_INET6:
		return append(b, SockaddrIn6(m, sa.AddrPort, sa.ScopeID, sa.Flowinfo)...), nil
	case AF_LINK:
		return AppendSockaddrDl(m, b, sa.DL)
	case AF_LOCAL:
		un, err := SockaddrUn(sa.Path)
		return append(b, un...), err
	}
	if len(sa.Data) > 253 {
		return b, errTooLong
	}
	b = append(b, byte(2+len(sa.Data)), sa.Family)
	return append(b, sa.Data...), nil
}

// ParseSockaddr reads a socket address from the start of b. Its length is what
// its first byte tells, and all of b when that is 0, as the kernel takes
// addresses from programs that do not fill it in. It fails when b is shorter
// than the length, or the length too short for the family; netmasks in routing
// messages are to be read with [ParseNetmask]. Nothing in the result aliases
// b.
func ParseSockaddr(m *Machine, b []byte) (SA, error) {
	if len(b) < 2 {
		return SA{}, fmt.Errorf("netbsd: socket address of %d bytes", len(b))
	}
	if n := int(b[0]); n > len(b) {
		return SA{}, fmt.Errorf("netbsd: socket address says %d bytes, %d are there", n, len(b))
	} else if n == 1 {
		return SA{}, errors.New("netbsd: socket address says 1 byte")
	} else if n != 0 {
		b = b[:n]
	}
	sa := SA{Family: b[1]}
	short := func() (SA, error) {
		return SA{}, fmt.Errorf("netbsd: socket address of family %d has only %d bytes", sa.Family, len(b))
	}
	switch sa.Family {
	case AF_INET:
		// The last 8 bytes mean nothing, and routing messages may lack them.
		if len(b) < 8 {
			return short()
		}
		sa.AddrPort = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), binary.BigEndian.Uint16(b[2:]))
	case AF_INET6:
		if len(b) < 24 {
			return short()
		}
		sa.AddrPort = netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[8:24])), binary.BigEndian.Uint16(b[2:]))
		sa.Flowinfo = binary.BigEndian.Uint32(b[4:])
		if len(b) >= SizeofSockaddrIn6 {
			sa.ScopeID = m.Order.Uint32(b[24:])
		}
	case AF_LINK:
		if len(b) < 8 {
			return short()
		}
		nlen, alen, slen := int(b[5]), int(b[6]), int(b[7])
		if 8+nlen+alen+slen > len(b) {
			return short()
		}
		data := append([]byte(nil), b[8:8+nlen+alen+slen]...)
		sa.DL = SockaddrDL{
			Index: m.Order.Uint16(b[2:]),
			Type:  b[4],
			Name:  string(data[:nlen]),
			Addr:  data[nlen : nlen+alen : nlen+alen],
			Sel:   data[nlen+alen:],
		}
	case AF_LOCAL:
		sa.Path = CString(b[2:])
	default:
		sa.Data = append([]byte(nil), b[2:]...)
	}
	return sa, nil
}

// HasScope tells whether an IPv6 address means something only together with
// an interface: link-local unicast (fe80::/10) and interface-local and
// link-local multicast (ff01::/16, ff02::/16 with any flags).
func HasScope(addr netip.Addr) bool {
	if !addr.Is6() || addr.Is4In6() {
		return false
	}
	a := addr.As16()
	switch a[0] {
	case 0xfe:
		return a[1]&0xc0 == 0x80
	case 0xff:
		return a[1]&0x0f == 1 || a[1]&0x0f == 2
	}
	return false
}

// EmbedScope returns the address as the kernel keeps it: the index of the
// interface in bytes 2 and 3 of addresses that have a scope. Routing messages
// and the lists of sysctl have such addresses. Others are returned as they
// are. The index is cut to 16 bits.
func EmbedScope(addr netip.Addr, scopeID uint32) netip.Addr {
	if !HasScope(addr) {
		return addr
	}
	a := addr.As16()
	binary.BigEndian.PutUint16(a[2:], uint16(scopeID))
	return netip.AddrFrom16(a)
}

// ExtractScope takes the index of the interface out of an address as the
// kernel keeps it. It is 0 for addresses without scope.
func ExtractScope(addr netip.Addr) (netip.Addr, uint32) {
	if !HasScope(addr) {
		return addr, 0
	}
	a := addr.As16()
	scopeID := binary.BigEndian.Uint16(a[2:])
	a[2], a[3] = 0, 0
	return netip.AddrFrom16(a).WithZone(addr.Zone()), uint32(scopeID)
}

// ExtractScope returns the address with a scope that is embedded in it moved
// to ScopeID.
func (sa SA) ExtractScope() SA {
	if addr, scopeID := ExtractScope(sa.Addr()); scopeID != 0 {
		sa.AddrPort = netip.AddrPortFrom(addr, sa.Port())
		sa.ScopeID = scopeID
	}
	return sa
}

// EmbedScope returns the address with ScopeID moved into it, as the kernel
// keeps it.
func (sa SA) EmbedScope() SA {
	if sa.ScopeID != 0 && HasScope(sa.Addr()) {
		sa.AddrPort = netip.AddrPortFrom(EmbedScope(sa.Addr(), sa.ScopeID), sa.Port())
		sa.ScopeID = 0
	}
	return sa
}
