package inet

import (
	"net/netip"
	"slices"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"rumptools/pkg/netbsd"
)

// addr4 is an IPv4 address that an interface is to have.
type addr4 struct {
	addr netip.Addr
	// mask is the mask's socket address; nil keeps that of an address that
	// is there, and gives a new one that of its class.
	mask []byte
}

// addAddr4 gives an interface an address, or a new mask to ifa, one that it
// has (in_ifinit). s.mu is held.
func (s *Stack) addAddr4(ifp *Interface, ifa *ifaddr, a addr4) error {
	isNew := ifa == nil
	wasRunning := ifp.hasDAD()
	bits := 0
	if a.mask != nil {
		var ok bool
		if bits, ok = saMaskBits(a.mask, netbsd.AF_INET); !ok {
			return netbsd.EINVAL
		}
	} else if isNew {
		bits = classBits(a.addr)
	} else {
		bits = ifa.bits
	}
	if isNew {
		ifa = &ifaddr{ifp: ifp, family: netbsd.AF_INET}
		ifa.mask = []byte{8, netbsd.AF_INET, 0, 0, 0, 0, 0, 0}
		ifa.dst = []byte{0}
		if ifp.is(netbsd.IFF_BROADCAST) {
			ifa.dst = sockaddrInet(netip.IPv4Unspecified())
		}
	} else {
		s.scrubPrefix4(ifa)
		s.engineRemove(ifa)
		if ifa.addr != a.addr {
			s.removeLocal(ifa)
		}
	}
	old := *ifa
	ifa.addr, ifa.bits, ifa.sa = a.addr, bits, sockaddrInet(a.addr)
	if a.mask != nil {
		// What is announced now has the mask untrimmed.
		ifa.mask = cloneSockaddr(a.mask)
	}
	if err := s.initAddr(ifp); err != nil {
		*ifa = old
		if isNew {
			s.addressChanged(netbsd.RTM_DELADDR, ifa)
		}
		return err
	}
	if !ifp.is(netbsd.IFF_LOOPBACK) {
		ifa.flags |= netbsd.RTF_CONNECTED
	}
	if isNew {
		ifp.addrs = append(ifp.addrs, ifa)
	}
	search := wasRunning && old.addr != a.addr && s.searches4(ifa)
	if search {
		// Known to the engine only once nobody else is found to have it.
		ifa.probed = true
		ifa.state |= netbsd.IN_IFF_TENTATIVE
		s.updateOwn()
	} else {
		if !wasRunning {
			ifa.entry = ifp.mac()
		}
		s.engineAdd(ifa)
		s.announceARP(ifp, a.addr, ifp.mac())
	}
	s.addLocal(ifa)

	ifa.mask = trimMask4(ifa.mask, bits)
	ifa.metric = ifp.metric
	switch {
	case ifp.is(netbsd.IFF_BROADCAST):
		ifa.dst = sockaddrInet(broadcastOf(ifa.network()))
	case ifp.is(netbsd.IFF_LOOPBACK):
		ifa.dst = ifa.sa
	}
	err := s.addPrefix4(ifa)
	switch {
	case search:
		s.startDAD4(ifa)
	case wasRunning && old.addr != a.addr:
		// The search for duplicates has ended at once.
		s.addressChanged(netbsd.RTM_NEWADDR, ifa)
	}
	return err
}

// classBits is the prefix length of an address's class, which counts where no
// mask is given.
func classBits(a netip.Addr) int {
	switch b := a.As4(); {
	case b[0] < 128:
		return 8
	case b[0] < 192:
		return 16
	}
	return 24
}

// broadcastOf is the broadcast address of an IPv4 network.
func broadcastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(b)
}

// trimMask4 cuts a mask's socket address after its last byte that is not zero
// (in_socktrim), and sets the bits if the caller gave none.
func trimMask4(mask []byte, bits int) []byte {
	sa := make([]byte, netbsd.SizeofSockaddrIn)
	copy(sa, mask)
	copy(sa[4:8], netbsd.Netmask(netbsd.AF_INET, bits)[4:8])
	if bits == 0 {
		sa[0] = 0
		return sa[:0]
	}
	sa[0] = byte(4 + (bits+7)/8)
	return sa[:sa[0]]
}

// initAddr has the driver take notice of a new address (SIOCINITIFADDR): an
// interface comes up with its first.
func (s *Stack) initAddr(ifp *Interface) error {
	if ifp.is(netbsd.IFF_LOOPBACK) {
		ifp.flags |= netbsd.IFF_UP
		s.syncNIC(ifp)
		return nil
	}
	if ifp.is(netbsd.IFF_UP | netbsd.IFF_RUNNING) {
		return nil
	}
	ifp.flags |= netbsd.IFF_UP
	return s.ifStart(ifp)
}

// purgeAddr4 takes an address off its interface (in_purgeaddr).
func (s *Stack) purgeAddr4(ifa *ifaddr) {
	s.scrubPrefix4(ifa)
	s.removeLocal(ifa)
	s.dropAddr(ifa)
	s.pushRoutes()
}

// dropAddr takes an address off its interface's list and the engine's. Routes
// that leave with it stay, as in NetBSD.
func (s *Stack) dropAddr(ifa *ifaddr) {
	ifp := ifa.ifp
	ifp.addrs = slices.DeleteFunc(ifp.addrs, func(i *ifaddr) bool { return i == ifa })
	s.engineRemove(ifa)
}

// addLocal adds the route to an own address through lo0 and announces both
// (rt_ifa_addlocal).
func (s *Stack) addLocal(ifa *ifaddr) {
	if rt := s.routes.find(ifa.addr); ifa.addr.IsUnspecified() || rt != nil && rt.is(netbsd.RTF_HOST) && rt.ifp.is(netbsd.IFF_LOOPBACK) {
		s.addressChanged(netbsd.RTM_NEWADDR, ifa)
		return
	}
	info := &routeInfo{flags: netbsd.RTF_HOST | netbsd.RTF_LOCAL, ifa: ifa}
	if !ifa.ifp.is(netbsd.IFF_LOOPBACK) {
		info.flags |= netbsd.RTF_LLDATA
	}
	info.addrs[netbsd.RTAX_DST] = ifa.sa
	info.addrs[netbsd.RTAX_GATEWAY] = ifa.ifp.dl.sa
	rt, err := s.routeAdd(info)
	s.localRouteAdded(ifa, rt, err)
}

// removeLocal takes out the route to an own address and announces that the
// address is gone (in_ifremlocal, rt_ifa_remlocal). When another interface has
// the same address, that takes the route over.
func (s *Stack) removeLocal(ifa *ifaddr) {
	var other *ifaddr
	for _, ifp := range s.interfaces {
		if i := ifp.find(ifa.addr); i != nil && ifp != ifa.ifp {
			other = i
		}
	}
	rt := s.routes.find(ifa.addr)
	if rt == nil || !rt.is(netbsd.RTF_HOST) || !rt.ifp.is(netbsd.IFF_LOOPBACK) {
		s.addressChanged(netbsd.RTM_DELADDR, ifa)
		return
	}
	if other != nil {
		s.routes.update(func() { rt.ifa = other })
		s.routeChanged(netbsd.RTM_CHANGE, rt)
		return
	}
	var info routeInfo
	info.addrs[netbsd.RTAX_DST], info.addrs[netbsd.RTAX_GATEWAY] = rt.dst(), rt.gateway
	info.addrs[netbsd.RTAX_NETMASK] = rt.mask()
	info.flags = rt.flags
	if _, err := s.routeDelete(&info); err == nil {
		s.routeMessage(netbsd.RTM_DELETE, info.addrs, info.flags)
	}
	s.addressChanged(netbsd.RTM_DELADDR, ifa)
}

// prefixAddr4 is the destination of an address's connected route. Routes are
// compared by it without the mask, as the kernel does.
func (ifa *ifaddr) prefixAddr4() netip.Addr {
	if ifa.ifp.is(netbsd.IFF_LOOPBACK) {
		return ifa.addr
	}
	return ifa.network().Addr()
}

// addrs4 gives the IPv4 addresses of all interfaces.
func (s *Stack) addrs4() (ifas []*ifaddr) {
	for _, ifp := range s.interfaces {
		for _, ifa := range ifp.addrs {
			if ifa.family == netbsd.AF_INET {
				ifas = append(ifas, ifa)
			}
		}
	}
	return ifas
}

// addPrefix4 adds the route to an address's network, unless another address
// holds one (in_addprefix).
func (s *Stack) addPrefix4(ifa *ifaddr) error {
	for _, i := range s.addrs4() {
		if i.flags&ifaRoute != 0 && i.prefixAddr4() == ifa.prefixAddr4() {
			return nil
		}
	}
	switch err := s.routeInit(netbsd.RTM_ADD, ifa); err {
	case nil:
		ifa.flags |= ifaRoute
		return nil
	case netbsd.EEXIST:
		return nil
	default:
		return err
	}
}

// scrubPrefix4 takes out the route to an address's network if the address
// holds it. Another address in the network gets it (in_scrubprefix).
func (s *Stack) scrubPrefix4(ifa *ifaddr) {
	if ifa.flags&ifaRoute == 0 {
		return
	}
	s.routeInit(netbsd.RTM_DELETE, ifa)
	ifa.flags &^= ifaRoute
	for _, i := range s.addrs4() {
		if i != ifa && i.flags&ifaRoute == 0 && i.prefixAddr4() == ifa.prefixAddr4() {
			if s.routeInit(netbsd.RTM_ADD, i) == nil {
				i.flags |= ifaRoute
			}
			return
		}
	}
}

// routeInit adds or deletes the route to an address's network and announces it
// (rtinit).
func (s *Stack) routeInit(req uint8, ifa *ifaddr) error {
	info := &routeInfo{flags: netbsd.RTF_UP | ifa.flags, ifa: ifa}
	info.addrs[netbsd.RTAX_DST], info.addrs[netbsd.RTAX_GATEWAY] = ifa.sa, ifa.sa
	info.addrs[netbsd.RTAX_NETMASK] = ifa.mask
	if ifa.ifp.is(netbsd.IFF_LOOPBACK) {
		info.flags |= netbsd.RTF_HOST
	}
	if req == netbsd.RTM_ADD {
		rt, err := s.routeAdd(info)
		if err == nil {
			s.routeChanged(req, rt)
		}
		return err
	}
	key, err := info.key()
	if err != nil {
		return err
	}
	if rt := s.routes.get(key); rt != nil && rt.ifa != ifa {
		return netbsd.ENETUNREACH
	}
	rt, err := s.routeDelete(info)
	if err == nil {
		s.routeChanged(req, rt)
	}
	return err
}

// engineAdd gives the engine an address: on its interface, and for what is
// turned around on lo0. Those with a scope are not needed there.
func (s *Stack) engineAdd(ifa *ifaddr) {
	pa := tcpip.ProtocolAddress{
		Protocol:          engineProto(ifa.addr),
		AddressWithPrefix: tcpip.AddressWithPrefix{Address: engineAddr(ifa.addr), PrefixLen: ifa.bits},
	}
	s.net.AddProtocolAddress(ifa.ifp.NICID, pa, stack.AddressProperties{})
	if s.lo0 != nil && ifa.ifp != s.lo0 && !netbsd.HasScope(ifa.addr) {
		pa.AddressWithPrefix.PrefixLen = ifa.addr.BitLen()
		s.net.AddProtocolAddress(s.lo0.NICID, pa, stack.AddressProperties{})
	}
	s.updateOwn()
}

// engineRemove takes an address out of the engine again.
func (s *Stack) engineRemove(ifa *ifaddr) {
	s.net.RemoveAddress(ifa.ifp.NICID, engineAddr(ifa.addr))
	if ifa.ifp != s.lo0 && !netbsd.HasScope(ifa.addr) {
		shared := false
		for _, ifp := range s.interfaces {
			i := ifp.find(ifa.addr)
			shared = shared || i != nil && i != ifa
		}
		if !shared {
			s.net.RemoveAddress(s.lo0.NICID, engineAddr(ifa.addr))
		}
	}
	s.updateOwn()
}

// unready are the flags of an address that is not used yet, or not to be used.
func (ifa *ifaddr) unready() int32 {
	if ifa.family == netbsd.AF_INET {
		return netbsd.IN_IFF_TENTATIVE | netbsd.IN_IFF_DUPLICATED
	}
	return in6NotReady
}

// updateOwn tells the path of packets which addresses there are, and in what
// state.
func (s *Stack) updateOwn() {
	own, unready := make(map[netip.Addr]*Interface), make(map[netip.Addr]bool)
	for _, ifp := range s.interfaces {
		var networks []netip.Prefix
		var source *netip.Addr
		for _, ifa := range ifp.addrs {
			switch ifa.family {
			case netbsd.AF_INET:
				networks = append(networks, ifa.network())
				if source == nil {
					a := ifa.addr
					source = &a
				}
				fallthrough
			case netbsd.AF_INET6:
				own[ifa.addr] = ifp
				if ifa.state&ifa.unready() != 0 {
					unready[ifa.addr] = true
				}
			}
		}
		if l, ok := ifp.link.(*etherLink); ok {
			l.networks.Store(&networks)
			l.source4.Store(source)
		}
	}
	s.own.Store(&own)
	s.unready.Store(&unready)
}

// announceARP sends a gratuitous ARP request for an own address, so that
// others correct what they know (arprequest in arp_ifinit).
func (s *Stack) announceARP(ifp *Interface, a netip.Addr, mac []byte) {
	l, ok := ifp.link.(*etherLink)
	if !ok || a.IsUnspecified() {
		return
	}
	frame := make([]byte, header.EthernetMinimumSize+header.ARPSize)
	header.Ethernet(frame).Encode(&header.EthernetFields{
		SrcAddr: tcpip.LinkAddress(ifp.mac()), DstAddr: header.EthernetBroadcastAddress, Type: header.ARPProtocolNumber,
	})
	arp := header.ARP(frame[header.EthernetMinimumSize:])
	arp.SetIPv4OverEthernet()
	arp.SetOp(header.ARPRequest)
	copy(arp.HardwareAddressSender(), mac)
	copy(arp.ProtocolAddressSender(), a.AsSlice())
	copy(arp.ProtocolAddressTarget(), a.AsSlice())
	l.output(frame)
}
