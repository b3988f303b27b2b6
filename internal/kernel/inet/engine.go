package inet

import (
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"

	"rumptools/pkg/netbsd"
)

// engineAddr gives an address in the engine's form. The scope of an address in
// the kernel's form is lost: the engine is told the interface besides.
func engineAddr(a netip.Addr) tcpip.Address {
	if !a.IsValid() {
		return tcpip.Address{}
	}
	a, _ = netbsd.ExtractScope(a)
	return tcpip.AddrFromSlice(a.AsSlice())
}

// netipAddr gives an address of the engine's, without scope; the zero Addr when
// it is not set.
func netipAddr(a tcpip.Address) netip.Addr {
	addr, _ := netip.AddrFromSlice(a.AsSlice())
	return addr
}

// engineProto gives the network protocol of an address.
func engineProto(a netip.Addr) tcpip.NetworkProtocolNumber {
	if a.Is4() {
		return ipv4.ProtocolNumber
	}
	return ipv6.ProtocolNumber
}

// engineSubnet gives a prefix in the engine's form.
func engineSubnet(p netip.Prefix) tcpip.Subnet {
	return tcpip.AddressWithPrefix{Address: engineAddr(p.Addr()), PrefixLen: p.Bits()}.Subnet()
}
