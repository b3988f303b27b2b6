package netstat

import (
	"fmt"
	"net/netip"
	"strings"

	"rumptools/pkg/netbsd"
)

// addressText shows addresses of routes and interfaces.
type addressText struct {
	names      Names
	machine    *netbsd.Machine
	interfaces map[int]string // names by number
}

// zone names the interface of a scope.
func (t addressText) zone(scope uint32) string {
	if scope == 0 {
		return ""
	}
	if name, ok := t.interfaces[int(scope)]; ok {
		return name
	}
	return fmt.Sprint(scope)
}

// linkScope takes the number of the interface out of a link-local unicast or
// multicast address. That of an interface-local one (ff01::) stays in it:
// netstat(1) shows it so.
func linkScope(sa netbsd.SA) (netip.Addr, uint32) {
	if a := sa.Addr(); a.IsLinkLocalUnicast() || a.IsLinkLocalMulticast() {
		sa = sa.ExtractScope()
	}
	return sa.Addr(), sa.ScopeID
}

// host shows an address that is not a network's: a host, or a gateway.
func (t addressText) host(b []byte) string {
	if len(b) == 0 {
		return "default"
	}
	sa, err := netbsd.ParseSockaddr(t.machine, b)
	if err != nil {
		return "invalid"
	}
	switch sa.Family {
	case netbsd.AF_INET:
		return t.host4(sa.Addr())
	case netbsd.AF_INET6:
		// netstat(1) loses the interface of hosts on its way.
		a, _ := linkScope(sa)
		if name, ok := t.names.host(a); ok {
			return name
		}
		return a.String()
	case netbsd.AF_LINK:
		return linkText(sa.DL)
	}
	return fmt.Sprintf("(%d) %s", sa.Family, anyText(b))
}

func (t addressText) host4(a netip.Addr) string {
	if a == netip.IPv4Unspecified() {
		return "default"
	}
	if name, ok := t.names.host(a); ok {
		return name
	}
	return a.String()
}

// network shows a network's address and the length of its mask.
func (t addressText) network(b, mask []byte) string {
	sa, err := netbsd.ParseSockaddr(t.machine, b)
	if err != nil {
		return t.host(b)
	}
	switch sa.Family {
	case netbsd.AF_INET:
		return network4(sa.Addr(), mask)
	case netbsd.AF_INET6:
		return t.network6(sa, mask)
	case netbsd.AF_LINK:
		return linkText(sa.DL)
	}
	return fmt.Sprintf("af %d: %s", sa.Family, anyText(b))
}

// network4 shows the bytes of the address that the mask reaches into. A mask
// with holes counts up to its last bit.
func network4(a netip.Addr, netmask []byte) string {
	mask, err := netbsd.ParseNetmask(netbsd.AF_INET, netmask)
	if err != nil {
		mask = make([]byte, 4)
	}
	bits := 0
	for i := range 32 {
		if mask[i/8]&(0x80>>(i%8)) != 0 {
			bits = i + 1
		}
	}
	if bits == 0 && a == netip.IPv4Unspecified() {
		return "default"
	}
	b := a.As4()
	parts := []string{fmt.Sprint(b[0])}
	for i := 1; i < 4 && bits > 8*i; i++ {
		parts = append(parts, fmt.Sprint(b[i]))
	}
	return fmt.Sprintf("%s/%d", strings.Join(parts, "."), bits)
}

// network6 shows the part of the address that the mask covers.
func (t addressText) network6(sa netbsd.SA, netmask []byte) string {
	a, scope := linkScope(sa)
	mask, err := netbsd.ParseNetmask(netbsd.AF_INET6, netmask)
	if err != nil {
		mask = make([]byte, 16)
	}
	bits := 128
	if netmask != nil {
		bits, _ = netbsd.PrefixLen(mask)
		if p, err := a.Prefix(bits); err == nil {
			a = p.Addr()
		}
	}
	if bits == 0 && a == netip.IPv6Unspecified() {
		return "default"
	}
	text := a.WithZone(t.zone(scope)).String()
	if name, ok := t.names.host(a); ok {
		text = name
	}
	return fmt.Sprintf("%s/%d", text, bits)
}

// linkText shows a link-level address: of an Ethernet its six bytes, of others
// what link_ntoa(3) prints.
func linkText(dl netbsd.SockaddrDL) string {
	if dl.Name == "" && len(dl.Addr) == 0 && len(dl.Sel) == 0 {
		return fmt.Sprintf("link#%d", dl.Index)
	}
	if dl.Type == netbsd.IFT_ETHER || dl.Type == netbsd.IFT_CARP {
		var b [6]byte
		copy(b[:], dl.Addr)
		return hexText(b[:])
	}
	text := dl.Name
	if len(dl.Addr) > 0 {
		if text != "" {
			text += ":"
		}
		var parts []string
		for _, b := range dl.Addr {
			parts = append(parts, fmt.Sprintf("%x", b))
		}
		text += strings.Join(parts, ".")
	}
	return text
}

// hexText is bytes with colons between them.
func hexText(b []byte) string { return strings.ReplaceAll(fmt.Sprintf("% x", b), " ", ":") }

// anyText shows the bytes of an address of an unknown family.
func anyText(sa []byte) string {
	const most = 79
	data := sa[min(2, len(sa)):]
	return "Q" + strings.ReplaceAll(fmt.Sprintf("% x", data[:min(most, len(data))]), " ", ".")
}

// addrPort is an address without a port.
func addrPort(a netip.Addr) netip.AddrPort { return netip.AddrPortFrom(a, 0) }
