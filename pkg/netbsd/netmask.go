package netbsd

import (
	"fmt"
	"math/bits"
	"net/netip"
)

// addrOffset returns where the address lies in a socket address of the
// family, and its length; 0, 0 for families that have no netmasks.
func addrOffset(family uint8) (offset, length int) {
	switch family {
	case AF_INET:
		return 4, 4
	case AF_INET6:
		return 8, 16
	}
	return 0, 0
}

// Netmask returns the socket address of the netmask of the first n bits, as
// requests take it: a whole sockaddr_in or sockaddr_in6 with its family. It is
// nil when there is no such netmask.
func Netmask(family uint8, n int) []byte {
	offset, length := addrOffset(family)
	if length == 0 || n < 0 || n > 8*length {
		return nil
	}
	size := SizeofSockaddrIn
	if family == AF_INET6 {
		size = SizeofSockaddrIn6
	}
	b := make([]byte, size)
	b[0], b[1] = byte(size), family
	for i := 0; n > 0; i, n = i+1, n-8 {
		b[offset+i] = ^byte(0xff >> min(n, 8))
	}
	return b
}

// RouteNetmask returns the netmask of the first n bits as the kernel keeps it
// in its routing table and shows it in routing messages: no longer than its
// last byte that is not zero, with all bits set where family, port and flow
// are, and of length 0 when no bit is set. The bytes are those before the
// rounding up that [AppendAddrs] does. It is nil when there is no such
// netmask.
func RouteNetmask(family uint8, n int) []byte {
	full := Netmask(family, n)
	if full == nil {
		return nil
	}
	if n == 0 {
		return []byte{0}
	}
	offset, _ := addrOffset(family)
	b := full[:offset+(n+7)/8]
	b[0] = byte(len(b))
	for i := 1; i < offset; i++ {
		b[i] = 0xff
	}
	return b
}

// AddrNetmask returns the netmask of the first n bits as messages about
// addresses (RTM_NEWADDR) have it: with its family, and for AF_INET no longer
// than its last byte that is not zero. It is nil when there is no such netmask.
func AddrNetmask(family uint8, n int) []byte {
	b := Netmask(family, n)
	if family != AF_INET || b == nil {
		return b
	}
	if n == 0 {
		return []byte{0, AF_INET}
	}
	b = b[:4+(n+7)/8]
	b[0] = byte(len(b))
	return b
}

// LinkNetmask returns the netmask that goes with the link-level address of an
// interface in messages about addresses: all bits set where the interface's
// name is in the address.
func LinkNetmask(name string) []byte {
	b := make([]byte, 8+len(name))
	b[0] = byte(len(b))
	for i := range name {
		b[8+i] = 0xff
	}
	return b
}

// ParseNetmask returns the bits of a netmask that goes with an address of the
// family: 4 bytes for AF_INET, 16 for AF_INET6. b is a socket address of any
// length, also as the kernel shows netmasks in routing messages: cut after the
// last byte that is not zero and with any family. It fails for other families,
// and when b is shorter than its first byte tells.
func ParseNetmask(family uint8, b []byte) ([]byte, error) {
	offset, length := addrOffset(family)
	if length == 0 {
		return nil, fmt.Errorf("netbsd: family %d has no netmasks", family)
	}
	mask := make([]byte, length)
	if len(b) == 0 || b[0] == 0 {
		return mask, nil
	}
	if int(b[0]) > len(b) {
		return nil, fmt.Errorf("netbsd: netmask says %d bytes, %d are there", b[0], len(b))
	}
	if b = b[:b[0]]; len(b) > offset {
		copy(mask, b[offset:])
	}
	return mask, nil
}

// PrefixLen returns the number of leading one bits of a netmask; false when
// other bits are set as well.
func PrefixLen(mask []byte) (int, bool) {
	n := 0
	for i, c := range mask {
		n += bits.LeadingZeros8(^c)
		if c == 0xff {
			continue
		}
		if c<<bits.LeadingZeros8(^c) != 0 {
			return n, false
		}
		for _, c := range mask[i+1:] {
			if c != 0 {
				return n, false
			}
		}
		break
	}
	return n, true
}

// Prefix returns the network of an address and its netmask; false when the
// netmask is not one of leading bits or does not go with the address.
func Prefix(addr netip.Addr, mask []byte) (netip.Prefix, bool) {
	n, ok := PrefixLen(mask)
	if !ok || 8*len(mask) != addr.BitLen() {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(addr.WithZone(""), n), true
}
