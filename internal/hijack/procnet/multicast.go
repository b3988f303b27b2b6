//go:build linux

package procnet

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/netview"
)

// groups are the multicast groups that an interface is in because of its
// addresses. Those that programs have joined a NetBSD kernel does not tell of.
func groups(l *netview.Link, addrs []netview.Addr, family uint8) []netip.Addr {
	if l.Flags&unix.IFF_MULTICAST == 0 || !l.Up() {
		return nil
	}
	var list []netip.Addr
	add := func(a netip.Addr) {
		if !slices.Contains(list, a) {
			list = append(list, a)
		}
	}
	for i := range addrs {
		a := &addrs[i]
		ip := a.Prefix.Addr()
		if a.Index != l.Index || ip.Is4() != (family == unix.AF_INET) {
			continue
		}
		if ip.Is4() {
			add(netip.AddrFrom4([4]byte{224, 0, 0, 1}))
			continue
		}
		b := ip.As16()
		// The solicited-node group (RFC 4291, 2.7.1) and all nodes.
		add(netip.AddrFrom16([16]byte{0: 0xff, 1: 2, 11: 1, 12: 0xff, 13: b[13], 14: b[14], 15: b[15]}))
		add(netip.IPv6LinkLocalAllNodes())
		add(netip.MustParseAddr("ff01::1"))
	}
	return list
}

// eachLink calls f with the groups of each interface that has some.
func (w *writer) eachLink(family uint8, f func(l *netview.Link, groups []netip.Addr)) error {
	links, err := netview.Links(w.ctx, w.kernel)
	if err != nil {
		return err
	}
	addrs, err := netview.Addrs(w.ctx, w.kernel, family)
	if err != nil {
		return err
	}
	for i := range links {
		var list []netip.Addr
		if family != unix.AF_INET6 {
			list = groups(&links[i], addrs, unix.AF_INET)
		}
		if family != unix.AF_INET {
			list = append(list, groups(&links[i], addrs, unix.AF_INET6)...)
		}
		if len(list) > 0 {
			f(&links[i], list)
		}
	}
	return nil
}

// igmp has the groups of IPv4.
func (w *writer) igmp() error {
	w.printf("Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n")
	return w.eachLink(unix.AF_INET, func(l *netview.Link, groups []netip.Addr) {
		w.printf("%d\t%-10s: %5d %7s\n", l.Index, l.Name, len(groups), "V3")
		for _, g := range groups {
			w.printf("\t\t\t\t%s %5d %d:%08X\t\t%d\n", hex4(g), 1, 0, 0, 0)
		}
	})
}

// igmp6 has the groups of IPv6.
func (w *writer) igmp6() error {
	return w.eachLink(unix.AF_INET6, func(l *netview.Link, groups []netip.Addr) {
		for _, g := range groups {
			w.printf("%-4d %-15s %s %5d %08X %d\n", l.Index, l.Name, plain6(g), 1, 0, 0)
		}
	})
}

// mcfilter would have the sources that groups are limited to.
func (w *writer) mcfilter() error {
	w.printf("Idx Device        MCA        SRC    INC    EXC\n")
	return nil
}

func (w *writer) mcfilter6() error {
	w.printf("Idx Device                Multicast Address                   Source Address    INC    EXC\n")
	return nil
}

// devMcast has the link-level addresses of groups.
func (w *writer) devMcast() error {
	return w.eachLink(unix.AF_UNSPEC, func(l *netview.Link, groups []netip.Addr) {
		if l.Type != unix.ARPHRD_ETHER {
			return
		}
		seen := map[[6]byte]bool{}
		for _, g := range groups {
			mac := multicastMAC(g)
			// What stays on an interface needs no address.
			if seen[mac] || g.IsInterfaceLocalMulticast() {
				continue
			}
			seen[mac] = true
			w.printf("%-4d %-15s %-5d %-5d %x\n", l.Index, l.Name, 1, 0, mac[:])
		}
	})
}

// multicastMAC is the address that packets to a group are sent to on an
// Ethernet (RFC 1112, RFC 2464).
func multicastMAC(g netip.Addr) [6]byte {
	if g.Is4() {
		b := g.As4()
		return [6]byte{0x01, 0x00, 0x5e, b[1] & 0x7f, b[2], b[3]}
	}
	b := g.As16()
	return [6]byte{0x33, 0x33, b[12], b[13], b[14], b[15]}
}
