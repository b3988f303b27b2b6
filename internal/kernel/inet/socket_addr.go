package inet

import (
	"encoding/binary"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"

	"rumptools/pkg/netbsd"
)

// Sockets keep addresses as NetBSD's control blocks do: in the kernel's form,
// with the interface's index embedded in addresses that need one. The zero
// netip.Addr is an address that is not set; it stands for 0.0.0.0 and ::.

// any tells whether an address is not set.
func isAny(a netip.Addr) bool { return !a.IsValid() || a.IsUnspecified() }

// packetAddr gives an address of a packet that came in on an interface in the
// kernel's form.
func packetAddr(a tcpip.Address, nic tcpip.NICID) netip.Addr {
	return netbsd.EmbedScope(netipAddr(a), uint32(nic))
}

// endpoint is an address and a port, in host order.
type endpoint struct {
	addr netip.Addr
	port uint16
}

// parseIn reads a sockaddr_in. Programs may leave sin_zero off, but not cut
// the address.
func parseIn(sa []byte) (endpoint, error) {
	if saFamily(sa) != netbsd.AF_INET {
		return endpoint{}, netbsd.EAFNOSUPPORT
	}
	if len(sa) < 8 {
		return endpoint{}, netbsd.EINVAL
	}
	return endpoint{normal(saAddr(sa)), binary.BigEndian.Uint16(sa[2:])}, nil
}

// parseIn6 reads a sockaddr_in6 and moves its scope into the address
// (sa6_embedscope). ENXIO is for a scope that is no interface's.
func (s *Stack) parseIn6(m *netbsd.Machine, sa []byte) (endpoint, error) {
	if saFamily(sa) != netbsd.AF_INET6 {
		return endpoint{}, netbsd.EAFNOSUPPORT
	}
	if len(sa) < netbsd.SizeofSockaddrIn6 {
		return endpoint{}, netbsd.EINVAL
	}
	a := saAddr(sa)
	scope := m.Order.Uint32(sa[24:])
	if scope != 0 && netbsd.HasScope(a) {
		if scope > 0xffff || !s.net.HasNIC(tcpip.NICID(scope)) {
			return endpoint{}, netbsd.ENXIO
		}
		a = netbsd.EmbedScope(a, uint32(scope))
	}
	return endpoint{normal(a), binary.BigEndian.Uint16(sa[2:])}, nil
}

// normal gives the zero Addr for an address that is not set.
func normal(a netip.Addr) netip.Addr {
	if isAny(a) {
		return netip.Addr{}
	}
	return a
}

// sockaddr makes the address that programs see: sockaddr_in, or sockaddr_in6
// with the scope beside the address.
func (e endpoint) sockaddr(m *netbsd.Machine, family int32) []byte {
	if family == netbsd.AF_INET {
		sa := make([]byte, netbsd.SizeofSockaddrIn)
		sa[0], sa[1] = netbsd.SizeofSockaddrIn, netbsd.AF_INET
		binary.BigEndian.PutUint16(sa[2:], e.port)
		if e.addr.Is4() {
			copy(sa[4:], e.addr.AsSlice())
		}
		return sa
	}
	sa := e.kernelSockaddr6()
	if a, index := netbsd.ExtractScope(e.addr); index != 0 {
		copy(sa[8:], a.AsSlice())
		m.Order.PutUint32(sa[24:], uint32(index))
	}
	return sa
}

// kernelSockaddr6 makes a sockaddr_in6 with the address in the kernel's form,
// as the socket lists have it.
func (e endpoint) kernelSockaddr6() []byte {
	sa := make([]byte, netbsd.SizeofSockaddrIn6)
	sa[0], sa[1] = netbsd.SizeofSockaddrIn6, netbsd.AF_INET6
	binary.BigEndian.PutUint16(sa[2:], e.port)
	if e.addr.IsValid() {
		a := e.addr.As16() // maps IPv4
		copy(sa[8:], a[:])
	}
	return sa
}

// sizeofSockaddr is the size in bytes of a family's addresses.
func sizeofSockaddr(family int32) int {
	if family == netbsd.AF_INET {
		return netbsd.SizeofSockaddrIn
	}
	return netbsd.SizeofSockaddrIn6
}

// mapped gives the IPv4 address of an IPv4-mapped one, or the IPv6 address
// that stands for an IPv4 one.
func unmapped(a netip.Addr) netip.Addr { return a.Unmap() }

func mappedAddr(a netip.Addr) netip.Addr {
	if a.Is4() {
		return netip.AddrFrom16(a.As16())
	}
	return a
}
