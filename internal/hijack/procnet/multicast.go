//go:build linux

package procnet

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/netview"
)

// eachLink calls f with the groups of each interface that has some. Linux lists them by family.
func (w *writer) eachLink(family uint8, f func(l *netview.Link, groups []netview.Group)) error {
	links, err := netview.Links(w.ctx, w.kernel)
	if err != nil {
		return err
	}
	for i := range links {
		l := &links[i]
		if l.Flags&unix.IFF_MULTICAST == 0 || !l.Up() {
			continue
		}
		var list []netview.Group
		for _, of := range []uint8{unix.AF_INET, unix.AF_INET6} {
			if family != unix.AF_UNSPEC && family != of {
				continue
			}
			groups, err := netview.Groups(w.ctx, w.kernel, l, of)
			if err != nil {
				return err
			}
			list = append(list, groups...)
		}
		if len(list) > 0 {
			f(l, list)
		}
	}
	return nil
}

// igmp has the groups of IPv4.
func (w *writer) igmp() error {
	w.printf("Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n")
	return w.eachLink(unix.AF_INET, func(l *netview.Link, groups []netview.Group) {
		w.printf("%d\t%-10s: %5d %7s\n", l.Index, l.Name, len(groups), "V3")
		for _, g := range groups {
			w.printf("\t\t\t\t%s %5d %d:%08X\t\t%d\n", hex4(g.Addr), g.Users, 0, 0, 0)
		}
	})
}

// igmp6 has the groups of IPv6.
func (w *writer) igmp6() error {
	return w.eachLink(unix.AF_INET6, func(l *netview.Link, groups []netview.Group) {
		for _, g := range groups {
			w.printf("%-4d %-15s %s %5d %08X %d\n", l.Index, l.Name, plain6(g.Addr), g.Users, 0, 0)
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
	return w.eachLink(unix.AF_UNSPEC, func(l *netview.Link, groups []netview.Group) {
		if l.Type != unix.ARPHRD_ETHER {
			return
		}
		seen := map[[6]byte]bool{}
		for _, g := range groups {
			mac := multicastMAC(g.Addr)
			// What stays on an interface needs no address.
			if seen[mac] || g.Addr.IsInterfaceLocalMulticast() {
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
