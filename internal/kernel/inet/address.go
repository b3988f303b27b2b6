package inet

import (
	"net/netip"
	"strings"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"

	"rumptools/pkg/netbsd"
)

// ifaddr is an address of an interface: struct ifaddr with in_ifaddr and
// in6_ifaddr. Stack.mu guards it.
type ifaddr struct {
	ifp    *Interface
	family int32

	// addr and bits are the address and its prefix length, of AF_INET and
	// AF_INET6. IPv6 addresses are in the kernel's form.
	addr netip.Addr
	bits int
	// mac is the address of AF_LINK.
	mac []byte

	// The socket addresses that messages show. mask is as the caller gave
	// it until it is trimmed. dst is the broadcast address of a broadcast
	// interface, else the other end; nil when there is none.
	sa, mask, dst []byte

	flags      int32 // ifa_flags: RTF_CONNECTED, ifaRoute
	metric     int32
	preference int16
	state      int32 // IN_IFF_* or IN6_IFF_*

	// entry is the link-level address that the table of neighbours has for
	// an own address. As in the kernel it is that of the time when the
	// address was given; IPv4 addresses given to an interface that was
	// running have none.
	entry []byte
	// probed says that duplicates of an IPv4 address are looked for each
	// time that the interface comes up.
	probed bool

	lifetime netbsd.In6Addrlifetime // of IPv6, as it was set
	timer    *time.Timer            // of IPv6: until a lifetime ends
	prefix   *prefix                // of IPv6: the prefix the address belongs to
}

// ifaRoute says that the address holds the route to its network (IFA_ROUTE).
const ifaRoute = netbsd.RTF_UP

// network is the prefix that the address is in.
func (ifa *ifaddr) network() netip.Prefix {
	return netip.PrefixFrom(ifa.addr, ifa.bits).Masked()
}

// ifaWithAddr finds an interface's address (ifa_ifwithaddr), with broadcast
// also by the broadcast address.
func (s *Stack) ifaWithAddr(a netip.Addr, broadcast bool) *ifaddr {
	if !a.IsValid() {
		return nil
	}
	for _, ifp := range s.interfaces {
		for _, ifa := range ifp.addrs {
			if ifa.family == netbsd.AF_LINK {
				continue
			}
			if ifa.addr == a {
				return ifa
			}
			if broadcast && ifp.is(netbsd.IFF_BROADCAST) && ifa.family == netbsd.AF_INET && a.Is4() && saAddr(ifa.dst) == a {
				return ifa
			}
		}
	}
	return nil
}

// ifaWithNet finds the interface's address whose network holds a socket
// address, the narrowest of several (ifa_ifwithnet). Of AF_LINK it is that of
// the interface named.
func (s *Stack) ifaWithNet(sa []byte) *ifaddr {
	if saFamily(sa) == netbsd.AF_LINK {
		if ifp := s.interfaceOfDl(sa); ifp != nil {
			return ifp.dl
		}
		return nil
	}
	a := saAddr(sa)
	if !a.IsValid() {
		return nil
	}
	var best *ifaddr
	for _, ifp := range s.interfaces {
		for _, ifa := range ifp.addrs {
			if ifa.family == netbsd.AF_LINK || ifa.mask == nil || !ifa.network().Contains(a) {
				continue
			}
			if best == nil || ifa.bits > best.bits {
				best = ifa
			}
		}
	}
	return best
}

// interfaceOfDl finds the interface that a sockaddr_dl names by its number, or
// by its name at the start of the data: how long it says that the name is does
// not matter to the kernel.
func (s *Stack) interfaceOfDl(sa []byte) *Interface {
	if ifp := s.ifByIndex[dlIndex(s.machine, sa)]; ifp != nil {
		return ifp
	}
	var best *Interface
	for _, ifp := range s.interfaces {
		if len(sa) > 8 && strings.HasPrefix(string(sa[8:]), ifp.Name) && (best == nil || len(ifp.Name) > len(best.Name)) {
			best = ifp
		}
	}
	return best
}

// ifaOfInterface finds the interface's address that suits a socket address
// best (ifaof_ifpforaddr): one in whose network it is, else the last of its
// family.
func (ifp *Interface) ifaOfInterface(sa []byte) *ifaddr {
	a := saAddr(sa)
	var maybe *ifaddr
	for _, ifa := range ifp.addrs {
		if ifa.family != saFamily(sa) {
			continue
		}
		maybe = ifa
		if a.IsValid() && ifa.network().Contains(a) {
			return ifa
		}
	}
	return maybe
}

// newLinkAddr makes a link-level address of an interface (if_dl_create).
func (s *Stack) newLinkAddr(ifp *Interface, mac []byte) *ifaddr {
	sa, err := netbsd.AppendSockaddrDlCompact(s.machine, nil, netbsd.SockaddrDL{
		Index: ifp.Index, Type: ifp.typ, Name: ifp.Name, Addr: mac,
	})
	if err != nil {
		panic("inet: " + err.Error()) // names and addresses are short
	}
	// The mask has ones where the name is, and no family.
	mask := make([]byte, 8+len(ifp.Name))
	mask[0] = byte(len(mask))
	for i := range ifp.Name {
		mask[8+i] = 0xff
	}
	return &ifaddr{ifp: ifp, family: netbsd.AF_LINK, mac: mac, sa: sa, mask: mask}
}

// activateLinkAddr makes one of an interface's link-level addresses the one
// that it uses (if_activate_sadl), and tells the neighbours.
func (s *Stack) activateLinkAddr(ifp *Interface, ifa *ifaddr) error {
	ifp.dl = ifa
	ifp.link.setMAC(ifa.mac)
	s.net.SetNICAddress(ifp.NICID, tcpip.LinkAddress(ifa.mac))
	s.restoreNeighbours(ifp)
	for _, i := range ifp.addrs {
		var info routeInfo
		info.addrs[netbsd.RTAX_DST] = i.sa
		rt, err := s.routeGet(&info)
		if err != nil {
			continue
		}
		if i.family == netbsd.AF_INET {
			s.announceARP(ifp, i.addr, ifa.mac)
		}
		s.routeChanged(netbsd.RTM_CHANGE, rt)
	}
	s.addressChanged(netbsd.RTM_CHGADDR, ifa)
	if ifp.is(netbsd.IFF_RUNNING) {
		return s.ifStart(ifp)
	}
	return nil
}
