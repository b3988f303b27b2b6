package inet

import (
	"net/netip"

	"rumptools/pkg/netbsd"
)

// routeInfo is a request about a route: struct rt_addrinfo. Addresses that are
// not given are nil; given ones may be empty (a mask of length 0).
type routeInfo struct {
	addrs [netbsd.RTAX_MAX][]byte
	flags int32 // RTF_*
	ifa   *ifaddr
	ifp   *Interface
}

// key is what the request is about: the destination with its mask, if it is
// not a host. ESRCH when there is no such table, EINVAL when the mask has
// holes.
func (info *routeInfo) key() (routeKey, error) {
	dst := info.addrs[netbsd.RTAX_DST]
	a := saAddr(dst)
	if !a.IsValid() {
		return routeKey{}, netbsd.ESRCH
	}
	mask := info.addrs[netbsd.RTAX_NETMASK]
	if mask == nil || info.flags&netbsd.RTF_HOST != 0 {
		return routeKey{netip.PrefixFrom(a, a.BitLen()), true}, nil
	}
	bits, ok := saMaskBits(mask, saFamily(dst))
	if !ok {
		return routeKey{}, netbsd.EINVAL
	}
	return routeKey{netip.PrefixFrom(a, bits).Masked(), false}, nil
}

// routeGet finds the route that a request is about. Without a mask it is the
// one that packets to the destination take, with one exactly that route.
func (s *Stack) routeGet(info *routeInfo) (*route, error) {
	key, err := info.key()
	if err != nil {
		return nil, err
	}
	var rt *route
	if key.host {
		rt = s.routes.find(key.prefix.Addr())
	} else {
		rt = s.routes.get(key)
	}
	if rt == nil {
		return nil, netbsd.ESRCH
	}
	return rt, nil
}

// routeAdd adds a route (RTM_ADD of rtrequest1). s.mu is held.
func (s *Stack) routeAdd(info *routeInfo) (*route, error) {
	key, err := info.key()
	if err != nil {
		return nil, err
	}
	if info.ifa == nil {
		if err := s.routeIfa(info); err != nil {
			return nil, err
		}
	}
	rt := &route{
		key:     key,
		flags:   netbsd.RTF_UP | info.flags,
		gateway: cloneSockaddr(info.addrs[netbsd.RTAX_GATEWAY]),
		tag:     cloneSockaddr(info.addrs[netbsd.RTAX_TAG]),
		ifa:     info.ifa,
		ifp:     info.ifa.ifp,
	}
	if dl := info.addrs[netbsd.RTAX_IFP]; dl != nil {
		if ifa := s.ifaWithNet(dl); ifa != nil {
			rt.ifp = ifa.ifp
		}
	}
	if s.routes.get(key) != nil {
		return nil, netbsd.EEXIST
	}
	s.routeFinish(rt, info.addrs[netbsd.RTAX_NETMASK] != nil)
	s.routes.add(rt)
	s.pushRoutes()
	return rt, nil
}

// routeDelete takes out the route that a request names exactly. s.mu is held.
func (s *Stack) routeDelete(info *routeInfo) (*route, error) {
	key, err := info.key()
	if err != nil {
		return nil, err
	}
	rt := s.routes.get(key)
	if rt == nil {
		return nil, netbsd.ESRCH
	}
	s.routes.delete(rt)
	s.routes.update(func() { rt.flags &^= netbsd.RTF_UP })
	if ifa := rt.ifa; ifa.flags&ifaRoute != 0 && rt.connects(ifa) {
		ifa.flags &^= ifaRoute
	}
	s.pushRoutes()
	return rt, nil
}

// connects tells whether the route is the one to the address's own network
// (rt_ifa_connected).
func (rt *route) connects(ifa *ifaddr) bool {
	if ifa.family == netbsd.AF_LINK {
		return false
	}
	if rt.is(netbsd.RTF_HOST) {
		return saAddr(ifa.dst) == rt.key.prefix.Addr()
	}
	return ifa.network().Addr() == rt.key.prefix.Addr()
}

// routeIfa finds the address, and so the interface, of a route that is to be
// added (rt_getifa). s.mu is held.
func (s *Stack) routeIfa(info *routeInfo) error {
	dst, gateway := info.addrs[netbsd.RTAX_DST], info.addrs[netbsd.RTAX_GATEWAY]
	ifaAddr, ifpAddr := info.addrs[netbsd.RTAX_IFA], info.addrs[netbsd.RTAX_IFP]
	if info.ifp == nil && saFamily(ifpAddr) == netbsd.AF_LINK {
		if ifa := s.ifaWithNet(ifpAddr); ifa != nil {
			info.ifp = ifa.ifp
		}
	}
	if info.ifa == nil && ifaAddr != nil {
		info.ifa = s.ifaWithAddr(saAddr(ifaAddr), true)
	}
	if info.ifa == nil {
		sa := ifaAddr
		if sa == nil {
			sa = gateway
		}
		if sa == nil {
			sa = dst
		}
		switch {
		case info.ifp != nil:
			info.ifa = info.ifp.ifaOfInterface(sa)
		case gateway != nil:
			info.ifa = s.ifaWithRoute(info.flags, dst, gateway)
		default:
			info.ifa = s.ifaWithRoute(info.flags, sa, sa)
		}
	}
	if info.ifa == nil {
		return netbsd.ENETUNREACH
	}
	if info.ifp == nil {
		info.ifp = info.ifa.ifp
	}
	return nil
}

// ifaWithRoute finds the address that a route through a gateway leaves with
// (ifa_ifwithroute).
func (s *Stack) ifaWithRoute(flags int32, dst, gateway []byte) *ifaddr {
	var ifa *ifaddr
	if flags&netbsd.RTF_GATEWAY == 0 {
		// The gateway is an address of the interface to use.
		ifa = s.ifaWithAddr(saAddr(gateway), true)
	}
	if ifa == nil {
		ifa = s.ifaWithNet(gateway)
	}
	if ifa == nil {
		rt := s.routes.find(saAddr(dst))
		if rt == nil {
			return nil
		}
		ifa = rt.ifa
	}
	if ifa.family != saFamily(dst) {
		if better := ifa.ifp.ifaOfInterface(dst); better != nil {
			ifa = better
		}
	}
	return ifa
}

// routeFinish does what the address's ifa_rtrequest does to a new route: for
// routes to the link itself the gateway becomes a sockaddr_dl, and what is for
// ourselves goes to lo0. s.mu is held; the route is not in the table, or
// routes.mu is held too.
func (s *Stack) routeFinish(rt *route, masked bool) {
	ifp := rt.ifa.ifp
	if rt.ifa.family == netbsd.AF_LINK {
		// A route by the interface alone: any address of the
		// destination's family is better.
		if ifa := ifp.ifaOfInterface(rt.dst()); ifa != nil {
			rt.ifa = ifa
		} else {
			return
		}
	}
	switch {
	case ifp.is(netbsd.IFF_LOOPBACK):
		if rt.ifa.first() {
			rt.rmx.Mtu = uint64(s.lo0MTU(ifp))
		}
		return
	case rt.is(netbsd.RTF_GATEWAY):
		return
	}
	a := rt.key.prefix.Addr()
	if a.Is4() && !rt.is(netbsd.RTF_HOST) && masked && rt.key.prefix.Bits() != 32 {
		rt.flags |= netbsd.RTF_CONNECTED
	}
	if rt.flags&(netbsd.RTF_CONNECTED|netbsd.RTF_LOCAL) != 0 {
		rt.gateway = s.linkGateway(ifp)
	}
	if a.Is4() && rt.flags&(netbsd.RTF_CONNECTED|netbsd.RTF_LOCAL) != 0 {
		rt.rmx.Expire = s.uptime()
	}
	if rt.is(netbsd.RTF_CONNECTED) {
		return
	}
	own := ifp.find(a)
	if !rt.is(netbsd.RTF_LOCAL) && own == nil {
		return
	}
	rt.ifp = s.lo0
	if a.Is4() {
		rt.rmx.Expire, rt.rmx.Mtu = 0, 0
		rt.flags |= netbsd.RTF_LOCAL
	}
	if own != nil {
		rt.ifa = own
	}
}

// first tells whether the address is the first of its kind on its interface,
// or IPv4: on loopback interfaces those carry the interface's MTU to their
// routes.
func (ifa *ifaddr) first() bool {
	return ifa.family == netbsd.AF_INET || ifa.ifp.first(ifa.family) == ifa || ifa.ifp.first(ifa.family) == nil
}

// lo0MTU is the MTU of routes through a loopback interface: always lo0's,
// except before lo0 is there.
func (s *Stack) lo0MTU(ifp *Interface) uint32 {
	if s.lo0 != nil {
		ifp = s.lo0
	}
	return ifp.mtu
}

// linkGateway is the gateway of routes to an interface's link: a sockaddr_dl
// with nothing but the interface's number and type. It is as long as one with
// name and address would be.
func (s *Stack) linkGateway(ifp *Interface) []byte {
	n := 8 + len(ifp.Name) + int(ifp.addrlen)
	sa := make([]byte, n)
	sa[0], sa[1], sa[4] = byte(n), netbsd.AF_LINK, ifp.typ
	s.machine.Order.PutUint16(sa[2:], ifp.Index)
	return sa
}

// cloneSockaddr copies a socket address that outlives its message. It keeps
// nil and empty apart.
func cloneSockaddr(sa []byte) []byte {
	if sa == nil {
		return nil
	}
	return append([]byte{}, sa...)
}
