package inet

import (
	"net/netip"
	"slices"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"rumptools/pkg/netbsd"
)

// forever is a lifetime without end (ND6_INFINITE_LIFETIME).
const forever = 1<<32 - 1

// prefix is an IPv6 prefix that is on an interface's link: struct nd_prefix.
type prefix struct {
	ifp            *Interface
	net            netip.Prefix // in the kernel's form
	onlink, auto   bool
	vltime, pltime uint32
	since          int64 // seconds of uptime
	refs           int
	installed      bool // there is a route to it
}

// addr6 is an IPv6 address that an interface is to have.
type addr6 struct {
	addr     netip.Addr // in the kernel's form
	mask     []byte     // socket address; nil keeps that of an address that is there
	dst      []byte     // of loopback interfaces: the other end
	flags    int32      // IN6_IFF_*
	lifetime netbsd.In6Addrlifetime
}

// in6NotReady are the states in which an address is not used.
const in6NotReady = netbsd.IN6_IFF_TENTATIVE | netbsd.IN6_IFF_DUPLICATED

// addAddr6 gives an interface an address, or new properties to one that it has
// (in6_update_ifa). ifa is nil for a new one. The result is nil when there was
// nothing to add. s.mu is held.
func (s *Stack) addAddr6(ifp *Interface, ifa *ifaddr, a addr6) (*ifaddr, error) {
	var bits int
	switch {
	case a.mask != nil:
		var ok bool
		if bits, ok = saMaskBits(a.mask, netbsd.AF_INET6); !ok || bits == 0 {
			return nil, netbsd.EINVAL
		}
	case ifa == nil:
		return nil, netbsd.EINVAL
	default:
		bits = ifa.bits
	}
	if saFamily(a.dst) == netbsd.AF_INET6 && (!ifp.is(netbsd.IFF_LOOPBACK) || bits != 128) {
		return nil, netbsd.EINVAL
	}
	lt := a.lifetime
	if lt.Pltime > lt.Vltime {
		return nil, netbsd.EINVAL
	}
	isNew := ifa == nil
	if isNew && lt.Vltime == 0 {
		return nil, nil
	}
	if !isNew && a.mask != nil && bits != ifa.bits {
		return nil, netbsd.EINVAL
	}
	if isNew {
		ifa = &ifaddr{ifp: ifp, family: netbsd.AF_INET6, addr: a.addr, bits: bits, sa: sockaddrInet(a.addr)}
		if ifp.is(netbsd.IFF_LOOPBACK) {
			ifa.dst = []byte{}
			if saFamily(a.dst) == netbsd.AF_INET6 {
				ifa.dst = sockaddrInet(netbsd.EmbedScope(saAddr(a.dst), uint32(ifp.Index)))
			}
		}
	}
	if a.mask != nil {
		ifa.mask = cloneSockaddr(a.mask)
	}
	wasTentative := ifa.state&in6NotReady != 0
	ifa.state = a.flags &^ netbsd.IN6_IFF_DUPLICATED
	if (isNew || wasTentative) && s.searches(ifa) {
		ifa.state |= netbsd.IN6_IFF_TENTATIVE
	}
	if a.flags&netbsd.IN6_IFF_DEPRECATED != 0 {
		lt.Pltime = 0
	}
	s.setLifetime(ifa, lt)

	if isNew && ifp.first(netbsd.AF_INET6) == nil {
		if err := s.initAddr(ifp); err != nil {
			return nil, err
		}
	}
	ifa.metric = ifp.metric
	if !isNew {
		s.updateOwn()
		s.engineDeprecate(ifa)
		s.addressChanged(netbsd.RTM_NEWADDR, ifa)
		return ifa, nil
	}
	if bits == 128 && len(ifa.dst) > 0 {
		if err := s.routeInit(netbsd.RTM_ADD, ifa); err != nil {
			return nil, err
		}
		ifa.flags |= ifaRoute
	}
	s.addLocal(ifa)
	if !ifp.is(netbsd.IFF_LOOPBACK) {
		ifa.flags |= netbsd.RTF_CONNECTED
	}
	ifa.entry = ifp.mac()
	ifp.addrs = append(ifp.addrs, ifa)
	s.engineAdd(ifa)
	s.engineDeprecate(ifa)
	if netbsd.HasScope(a.addr) {
		s.restoreNeighbours(ifp)
	}
	s.addMulticastRoute(ifa, netip.MustParsePrefix("ff02::/32"))
	s.addMulticastRoute(ifa, netip.MustParsePrefix("ff01::/32"))
	if ifp.hasDAD() && !s.searches(ifa) {
		// The search for duplicates ends at once.
		s.addressChanged(netbsd.RTM_NEWADDR, ifa)
	}
	return ifa, nil
}

// searches tells whether the engine looks for duplicates of an IPv6 address:
// not on interfaces that are down, nor when it is told not to; of an anycast
// address there may be many.
func (s *Stack) searches(ifa *ifaddr) bool {
	return ifa.ifp.hasDAD() && s.params.get("net.inet6.ip6.dad_count") > 0 &&
		ifa.state&(netbsd.IN6_IFF_ANYCAST|netbsd.IN6_IFF_NODAD) == 0
}

// setLifetime sets how long an address is preferred and valid, from now on.
func (s *Stack) setLifetime(ifa *ifaddr, lt netbsd.In6Addrlifetime) {
	now := s.uptime()
	lt.Expire, lt.Preferred = 0, 0
	if ifa.timer != nil {
		ifa.timer.Stop()
		ifa.timer = nil
	}
	next := int64(-1)
	if lt.Vltime != forever {
		lt.Expire = now + int64(lt.Vltime)
		next = int64(lt.Vltime)
	}
	if lt.Pltime != forever {
		lt.Preferred = now + int64(lt.Pltime)
		if lt.Pltime > 0 {
			next = int64(lt.Pltime)
		}
	}
	ifa.lifetime = lt
	if next >= 0 {
		ifa.timer = s.after(time.Duration(next)*time.Second, func() { s.ageAddr(ifa) })
	}
}

// ageAddr deprecates an address, or takes it away, when its time is over
// (nd6_timer).
func (s *Stack) ageAddr(ifa *ifaddr) {
	if !slices.Contains(ifa.ifp.addrs, ifa) {
		return
	}
	lt, now := ifa.lifetime, s.uptime()
	if lt.Expire != 0 && lt.Expire <= now {
		s.deleteAddr6(ifa)
		return
	}
	if lt.Preferred != 0 && lt.Preferred <= now && ifa.state&netbsd.IN6_IFF_DEPRECATED == 0 {
		ifa.state |= netbsd.IN6_IFF_DEPRECATED
		s.engineDeprecate(ifa)
		s.addressChanged(netbsd.RTM_NEWADDR, ifa)
	}
	// A little is added since both clocks count whole seconds.
	if lt.Expire != 0 {
		ifa.timer = s.after(time.Duration(lt.Expire-now)*time.Second+time.Second/10, func() { s.ageAddr(ifa) })
	}
}

// engineDeprecate tells the engine whether to prefer other addresses.
func (s *Stack) engineDeprecate(ifa *ifaddr) {
	lifetimes := stack.AddressLifetimes{Deprecated: ifa.state&netbsd.IN6_IFF_DEPRECATED != 0}
	s.net.SetAddressLifetimes(ifa.ifp.NICID, engineAddr(ifa.addr), lifetimes)
}

// addMulticastRoute adds the route that an interface has for a kind of
// multicast addresses once it has an address, unless it is there.
func (s *Stack) addMulticastRoute(ifa *ifaddr, p netip.Prefix) {
	ifp := ifa.ifp
	a := netbsd.EmbedScope(p.Addr(), uint32(ifp.Index))
	p = netip.PrefixFrom(a, p.Bits())
	if rt := s.routes.get(routeKey{p, false}); rt != nil {
		if rt.ifp != ifp {
			s.routes.update(func() { rt.ifa, rt.ifp = ifa, ifp })
		}
		return
	}
	info := &routeInfo{flags: netbsd.RTF_UP | netbsd.RTF_CONNECTED, ifa: ifa}
	info.addrs[netbsd.RTAX_DST], info.addrs[netbsd.RTAX_GATEWAY] = sockaddrInet(a), ifa.sa
	info.addrs[netbsd.RTAX_NETMASK] = netbsd.Netmask(netbsd.AF_INET6, p.Bits())
	s.routeAdd(info)
}

// setPrefix makes the prefix of an address that the user gave known as on-link
// (in6_control's part of SIOCAIFADDR_IN6). s.mu is held.
func (s *Stack) setPrefix(ifa *ifaddr, lt netbsd.In6Addrlifetime) error {
	if ifa.bits == 128 {
		return nil
	}
	pr := s.findPrefix(ifa.ifp, ifa.network())
	if pr == nil {
		pr = &prefix{
			ifp: ifa.ifp, net: ifa.network(), onlink: true,
			vltime: lt.Vltime, pltime: lt.Pltime,
		}
		s.addPrefix6(pr)
	}
	if ifa.prefix == nil {
		ifa.prefix = pr
		pr.refs++
	}
	return nil
}

func (s *Stack) findPrefix(ifp *Interface, p netip.Prefix) *prefix {
	for _, pr := range s.prefixes {
		if pr.ifp == ifp && pr.net == p {
			return pr
		}
	}
	return nil
}

// addPrefix6 enters a prefix, with the route to it. The latest comes first in
// the kernel's list.
func (s *Stack) addPrefix6(pr *prefix) {
	pr.since = s.uptime()
	s.prefixes = slices.Insert(s.prefixes, 0, pr)
	s.installPrefix(pr)
}

// installPrefix adds the route to a prefix, unless another interface has one
// (nd6_prefix_onlink). It leaves with the interface's link-local address, if
// that is ready.
func (s *Stack) installPrefix(pr *prefix) {
	for _, other := range s.prefixes {
		if other != pr && other.installed && other.net == pr.net {
			return
		}
	}
	ifa := pr.ifp.linkLocal()
	if ifa == nil || ifa.state&(in6NotReady|netbsd.IN6_IFF_ANYCAST) != 0 {
		if ifa = pr.ifp.first(netbsd.AF_INET6); ifa == nil {
			return
		}
	}
	info := &routeInfo{flags: netbsd.RTF_UP | ifa.flags, ifa: ifa}
	if pr.ifp.is(netbsd.IFF_LOOPBACK) {
		info.flags &^= netbsd.RTF_CONNECTED
	} else {
		info.flags |= netbsd.RTF_CONNECTED
	}
	info.addrs[netbsd.RTAX_DST], info.addrs[netbsd.RTAX_GATEWAY] = sockaddrInet(pr.net.Addr()), ifa.sa
	info.addrs[netbsd.RTAX_NETMASK] = netbsd.Netmask(netbsd.AF_INET6, pr.net.Bits())
	rt, err := s.routeAdd(info)
	if err != nil {
		return
	}
	pr.installed = true
	s.routeChanged(netbsd.RTM_ADD, rt)
}

// removePrefix forgets a prefix and takes out the route to it, which another
// interface that has the prefix gets (prelist_remove).
func (s *Stack) removePrefix(pr *prefix) {
	s.prefixes = slices.DeleteFunc(s.prefixes, func(p *prefix) bool { return p == pr })
	if !pr.installed {
		return
	}
	var info routeInfo
	info.addrs[netbsd.RTAX_DST] = sockaddrInet(pr.net.Addr())
	info.addrs[netbsd.RTAX_NETMASK] = netbsd.Netmask(netbsd.AF_INET6, pr.net.Bits())
	if rt, err := s.routeDelete(&info); err == nil {
		s.routeChanged(netbsd.RTM_DELETE, rt)
	}
	for _, other := range s.prefixes {
		if !other.installed && other.net == pr.net {
			s.installPrefix(other)
		}
	}
}

// purgeAddr6 takes an address off its interface (in6_purgeaddr). Its prefix
// stays.
func (s *Stack) purgeAddr6(ifa *ifaddr) {
	if ifa.timer != nil {
		ifa.timer.Stop()
	}
	if ifa.flags&ifaRoute != 0 && len(ifa.dst) > 0 && s.routeInit(netbsd.RTM_DELETE, ifa) == nil {
		ifa.flags &^= ifaRoute
	}
	s.removeLocal(ifa)
	s.dropAddr(ifa)
	if ifa.prefix != nil {
		ifa.prefix.refs--
	}
	s.pushRoutes()
}

// deleteAddr6 takes an address off its interface, with its prefix if no other
// address is in it (SIOCDIFADDR_IN6).
func (s *Stack) deleteAddr6(ifa *ifaddr) {
	pr := ifa.prefix
	s.purgeAddr6(ifa)
	if pr != nil && pr.refs == 0 {
		s.removePrefix(pr)
	}
}

// addLoopback6 gives lo0 its addresses ::1 and fe80::1.
func (s *Stack) addLoopback6(ifp *Interface) error {
	loopback := netip.IPv6Loopback()
	_, err := s.addAddr6(ifp, nil, addr6{
		addr: loopback, mask: netbsd.Netmask(netbsd.AF_INET6, 128), dst: sockaddrInet(loopback),
		flags:    netbsd.IN6_IFF_NODAD,
		lifetime: netbsd.In6Addrlifetime{Vltime: forever, Pltime: forever},
	})
	if err != nil {
		return err
	}
	return s.addLinkLocal(ifp)
}

// addLinkLocal gives an interface a link-local address made of its link-level
// one (in6_ifattach_linklocal).
func (s *Stack) addLinkLocal(ifp *Interface) error {
	b := [16]byte{0: 0xfe, 1: 0x80, 15: 1}
	if mac := ifp.mac(); len(mac) == netbsd.ETHER_ADDR_LEN {
		copy(b[8:], []byte{mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]})
	}
	ifa, err := s.addAddr6(ifp, nil, addr6{
		addr:     netbsd.EmbedScope(netip.AddrFrom16(b), uint32(ifp.Index)),
		mask:     netbsd.Netmask(netbsd.AF_INET6, 64),
		lifetime: netbsd.In6Addrlifetime{Vltime: forever, Pltime: forever},
	})
	if err != nil {
		return err
	}
	if s.findPrefix(ifp, ifa.network()) == nil {
		s.addPrefix6(&prefix{ifp: ifp, net: ifa.network(), onlink: true, auto: true, vltime: forever, pltime: forever})
	}
	return nil
}

// in6Up is what IPv6 does when an interface comes up (in6_if_up): it gets a
// link-local address if it has none, and duplicates of addresses are looked
// for.
func (s *Stack) in6Up(ifp *Interface) {
	if ifp.mtu >= minMTU6 && !ifp.is(netbsd.IFF_LOOPBACK) && ifp.linkLocal() == nil && ifp.nd.flags&netbsd.ND6_IFF_AUTO_LINKLOCAL != 0 {
		s.addLinkLocal(ifp)
	}
	if !ifp.is(netbsd.IFF_UP | netbsd.IFF_RUNNING) {
		return
	}
	defer s.updateOwn()
	for _, ifa := range slices.Clone(ifp.addrs) {
		if ifa.state&ifa.detached() == 0 {
			continue
		}
		ifa.state &^= ifa.detached()
		if ifa.family == netbsd.AF_INET6 && s.searches(ifa) {
			// The engine has started when the interface was enabled.
			ifa.state |= netbsd.IN6_IFF_TENTATIVE
			continue
		}
		if ifa.family == netbsd.AF_INET && ifa.probed && s.searches4(ifa) {
			s.engineRemove(ifa)
			s.startDAD4(ifa)
			continue
		}
		s.addressChanged(netbsd.RTM_NEWADDR, ifa)
	}
}

// in6Down is what both families do when an interface goes down: its addresses
// are detached.
func (s *Stack) in6Down(ifp *Interface) {
	defer s.updateOwn()
	for _, family := range []int32{netbsd.AF_INET6, netbsd.AF_INET} {
		for _, ifa := range ifp.addrs {
			if ifa.family != family || ifa.state&ifa.detached() != 0 {
				continue
			}
			if family == netbsd.AF_INET {
				ifa.state &^= netbsd.IN_IFF_TENTATIVE | netbsd.IN_IFF_DUPLICATED
			} else {
				ifa.state &^= in6NotReady
			}
			ifa.state |= ifa.detached()
			s.addressChanged(netbsd.RTM_NEWADDR, ifa)
		}
	}
}

// detached is the flag of addresses of interfaces that are down.
func (ifa *ifaddr) detached() int32 {
	switch ifa.family {
	case netbsd.AF_INET:
		return netbsd.IN_IFF_DETACHED
	case netbsd.AF_INET6:
		return netbsd.IN6_IFF_DETACHED
	}
	return 0
}

// dadDone is told what the search for a duplicate of an address has come to.
func (s *Stack) dadDone(nic tcpip.NICID, a netip.Addr, result stack.DADResult) {
	ifp := s.ifByIndex[uint16(nic)]
	if ifp == nil || ifp.NICID != nic {
		return
	}
	ifa := ifp.find(netbsd.EmbedScope(a, uint32(ifp.Index)))
	if ifa == nil || ifa.state&netbsd.IN6_IFF_TENTATIVE == 0 {
		return
	}
	switch result.(type) {
	case *stack.DADSucceeded:
		ifa.state &^= netbsd.IN6_IFF_TENTATIVE
	case *stack.DADDupAddrDetected:
		ifa.state = ifa.state&^netbsd.IN6_IFF_TENTATIVE | netbsd.IN6_IFF_DUPLICATED
	default:
		return
	}
	s.updateOwn()
	s.addressChanged(netbsd.RTM_NEWADDR, ifa)
}
