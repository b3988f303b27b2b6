package inet

import (
	"net/netip"

	"rumptools/pkg/netbsd"
)

// Socket addresses of the kernel's own are kept as the bytes that messages
// carry. IPv6 addresses with a scope are kept in the kernel's form
// (netbsd.EmbedScope), which is also what routing messages show.

// sockaddrInet makes a sockaddr_in or sockaddr_in6, by the kind of address.
func sockaddrInet(a netip.Addr) []byte {
	if a.Is4() {
		return netbsd.SockaddrIn(netip.AddrPortFrom(a, 0))
	}
	// Without a scope ID nothing depends on the machine.
	return netbsd.SockaddrIn6(netbsd.AMD64, netip.AddrPortFrom(a.WithZone(""), 0), 0, 0)
}

// saFamily gives a socket address's family, AF_UNSPEC when it has none.
func saFamily(sa []byte) int32 {
	if len(sa) < 2 {
		return netbsd.AF_UNSPEC
	}
	return int32(sa[1])
}

// saAddr gives the address in a sockaddr_in or sockaddr_in6, which may be cut
// short after its last byte that is not zero. It is the zero Addr for other
// families.
func saAddr(sa []byte) netip.Addr {
	switch saFamily(sa) {
	case netbsd.AF_INET:
		var a [4]byte
		if len(sa) > 4 {
			copy(a[:], sa[4:])
		}
		return netip.AddrFrom4(a)
	case netbsd.AF_INET6:
		var a [16]byte
		if len(sa) > 8 {
			copy(a[:], sa[8:])
		}
		return netip.AddrFrom16(a)
	}
	return netip.Addr{}
}

// saMaskBits gives the prefix length of a network mask for addresses of a
// family; false when the mask has holes. As in the kernel the mask's own
// family is not looked at.
func saMaskBits(mask []byte, family int32) (int, bool) {
	b, err := netbsd.ParseNetmask(uint8(family), mask)
	if err != nil {
		return 0, false
	}
	return netbsd.PrefixLen(b)
}

// dlIndex gives the interface's index in a sockaddr_dl.
func dlIndex(m *netbsd.Machine, sa []byte) uint16 {
	if len(sa) < 4 {
		return 0
	}
	return m.Order.Uint16(sa[2:])
}

// dlAddr gives the link-level address in a sockaddr_dl, empty when the
// structure is damaged.
func dlAddr(sa []byte) []byte {
	if len(sa) < 8 {
		return nil
	}
	from := 8 + int(sa[5])
	to := from + int(sa[6])
	if to > len(sa) {
		return nil
	}
	return sa[from:to]
}
