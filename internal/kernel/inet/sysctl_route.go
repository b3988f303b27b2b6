package inet

import (
	"rumptools/internal/kernel"
	"rumptools/pkg/netbsd"
)

// sysctlRoute is net.route.rtable: the lists of interfaces with their
// addresses, of routes and of neighbours. What follows in the name are the
// address family (0 is all), NET_RT_* and its argument.
func (s *Stack) sysctlRoute(r *kernel.SysctlRequest) ([]byte, error) {
	if len(r.Params) != 3 {
		return nil, netbsd.EINVAL
	}
	// The kernel looks at a byte of the family only.
	family, op, arg := r.Params[0]&0xff, r.Params[1], r.Params[2]
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []byte
	switch op {
	case netbsd.NET_RT_IFLIST:
		list = s.interfaceList(family, arg)
	case netbsd.NET_RT_FLAGS:
		if arg == 0 || arg&netbsd.RTF_LLDATA != 0 {
			if family == netbsd.AF_UNSPEC {
				return nil, netbsd.EINVAL
			}
			list = s.neighbourList(family)
			break
		}
		list = s.routeList(family, func(rt *route) bool { return rt.flags&arg != 0 })
	case netbsd.NET_RT_DUMP:
		list = s.routeList(family, func(*route) bool { return true })
	default:
		return nil, netbsd.EINVAL
	}
	if r.Probe {
		// Room for what may be added until the list is asked for.
		return make([]byte, 11*len(list)/10), nil
	}
	return list, nil
}

// interfaceList is NET_RT_IFLIST: each interface, or the one with a number,
// with its addresses of a family.
func (s *Stack) interfaceList(family, index int32) (list []byte) {
	for _, ifp := range s.interfaces {
		if index != 0 && index != int32(ifp.Index) || len(ifp.addrs) == 0 {
			continue
		}
		list = append(list, s.interfaceMessage(ifp)...)
		for _, ifa := range ifp.addrs {
			if family == netbsd.AF_UNSPEC || family == ifa.family {
				list = append(list, s.addressMessage(netbsd.RTM_NEWADDR, ifa, false)...)
			}
		}
	}
	return list
}

// routeList is NET_RT_DUMP and NET_RT_FLAGS.
func (s *Stack) routeList(family int32, match func(*route) bool) (list []byte) {
	for _, rt := range s.routes.sorted() {
		if family != netbsd.AF_UNSPEC && family != saFamily(rt.dst()) || !match(rt) {
			continue
		}
		list = append(list, s.dumpMessage(rt)...)
	}
	return list
}

// neighbourList is NET_RT_FLAGS with RTF_LLDATA: what ARP or NDP knows. The
// latest interface comes first.
func (s *Stack) neighbourList(family int32) (list []byte) {
	for i := len(s.interfaces) - 1; i >= 0; i-- {
		ifp := s.interfaces[i]
		if ifp.is(netbsd.IFF_LOOPBACK) {
			continue
		}
		for _, n := range s.neighbours(ifp, family) {
			list = append(list, s.neighbourMessage(ifp, &n)...)
		}
	}
	return list
}

// neighbourMessage makes the RTM_GET of lists of neighbours (lltable_dump_entry).
// The kernel leaves most of the header as the memory was.
func (s *Stack) neighbourMessage(ifp *Interface, n *neighbour) []byte {
	hdr := &netbsd.RtMsghdr{
		Type: netbsd.RTM_GET, Index: ifp.Index,
		Flags: netbsd.RTF_UP | netbsd.RTF_HOST | netbsd.RTF_LLDATA,
		Rmx:   netbsd.RtMetrics{Expire: n.expire},
	}
	dst := sockaddrInet(n.addr)
	if n.static {
		hdr.Flags |= netbsd.RTF_STATIC
	}
	if n.published {
		hdr.Flags |= netbsd.RTF_ANNOUNCE
		if n.addr.Is4() {
			s.machine.Order.PutUint16(dst[14:], netbsd.SIN_PROXY)
		}
	}
	var sas sockaddrs
	sas[netbsd.RTAX_DST] = dst
	sas[netbsd.RTAX_GATEWAY] = s.neighbourGateway(ifp, n)
	return netbsd.AppendRtMessage(s.machine, nil, hdr, sas)
}

// neighbourGateway makes the sockaddr_dl of a neighbour: with its address, if
// it is known, and no name. n is nil for one that is not known at all.
func (s *Stack) neighbourGateway(ifp *Interface, n *neighbour) []byte {
	sa := make([]byte, 8+int(ifp.addrlen))
	sa[0], sa[1], sa[4] = byte(len(sa)), netbsd.AF_LINK, ifp.typ
	s.machine.Order.PutUint16(sa[2:], ifp.Index)
	if n != nil && len(n.mac) > 0 {
		sa[6] = byte(copy(sa[8:], n.mac))
	}
	return sa
}
