package inet

import (
	"net/netip"

	"rumptools/pkg/netbsd"
)

// ioctl6 is in6_control: the ioctls of sockets of AF_INET6. s.mu is held.
func (s *Stack) ioctl6(ifp *Interface, op *netbsd.Ioctl, data []byte) error {
	switch op {
	case netbsd.SIOCSIFADDR, netbsd.SIOCSIFDSTADDR, netbsd.SIOCSIFBRDADDR, netbsd.SIOCSIFNETMASK:
		return netbsd.EOPNOTSUPP
	case netbsd.SIOCGIFADDRPREF, netbsd.SIOCSIFADDRPREF:
		return s.addrPref(ifp, netbsd.AF_INET6, op, data)
	case netbsd.SIOCALIFADDR, netbsd.SIOCDLIFADDR, netbsd.SIOCGLIFADDR:
		return s.laddr6(ifp, op, data)
	case netbsd.SIOCSIFADDR_IN6, netbsd.SIOCSIFDSTADDR_IN6, netbsd.SIOCSIFNETMASK_IN6:
		return netbsd.EINVAL
	case netbsd.SIOCAIFADDR_IN6:
		return s.aliasAdd6(ifp, data)
	case netbsd.SIOCGIFADDR_IN6, netbsd.SIOCGIFAFLAG_IN6, netbsd.SIOCGIFNETMASK_IN6, netbsd.SIOCGIFDSTADDR_IN6,
		netbsd.SIOCGIFALIFETIME_IN6, netbsd.SIOCDIFADDR_IN6:
		return s.addrIoctl6(ifp, op, data)
	case netbsd.SIOCGIFSTAT_IN6, netbsd.SIOCGIFSTAT_ICMP6:
		// Counters of IPv6 are kept for all interfaces together.
		clear(data[netbsd.IFNAMSIZ:])
		return nil
	}
	return s.ioctlND(ifp, op, data)
}

// takeAddr6 takes an address out of a request, in the kernel's form, and
// leaves that form in it, as the kernel does.
func (s *Stack) takeAddr6(ifp *Interface, sa []byte) (netip.Addr, error) {
	if sa[1] != netbsd.AF_INET6 {
		return netip.Addr{}, nil
	}
	scope := s.machine.Order.Uint32(sa[24:])
	addr := saAddr(sa)
	if bare, embedded := netbsd.ExtractScope(addr); scope == 0 && embedded != 0 && embedded != uint32(ifp.Index) {
		addr = bare
	}
	switch {
	case scope == 0:
		scope = uint32(ifp.Index)
	case netbsd.HasScope(addr) && s.ifByIndex[uint16(scope)] == nil:
		return netip.Addr{}, netbsd.ENXIO
	}
	if netbsd.HasScope(addr) {
		addr = netbsd.EmbedScope(addr, scope)
		copy(sa[8:24], addr.AsSlice())
		clear(sa[24:28])
	}
	return addr, nil
}

// addrIoctl6 carries out a request about one address.
func (s *Stack) addrIoctl6(ifp *Interface, op *netbsd.Ioctl, data []byte) error {
	sa := data[netbsd.IFNAMSIZ : netbsd.IFNAMSIZ+netbsd.SizeofSockaddrIn6]
	addr, err := s.takeAddr6(ifp, sa)
	if err != nil {
		return err
	}
	var ifa *ifaddr
	if addr.IsValid() {
		ifa = ifp.find(addr)
	}
	if ifa == nil {
		return netbsd.EADDRNOTAVAIL
	}
	union := data[netbsd.IFNAMSIZ:]
	switch op {
	case netbsd.SIOCDIFADDR_IN6:
		if sa[0] != netbsd.SizeofSockaddrIn6 {
			return netbsd.EAFNOSUPPORT
		}
		s.deleteAddr6(ifa)
	case netbsd.SIOCGIFADDR_IN6:
		copy(union, s.userSockaddr6(ifa.addr))
	case netbsd.SIOCGIFDSTADDR_IN6:
		return netbsd.EINVAL // no interface here is point-to-point
	case netbsd.SIOCGIFNETMASK_IN6:
		mask := make([]byte, netbsd.SizeofSockaddrIn6)
		copy(mask, ifa.mask)
		copy(union, mask)
	case netbsd.SIOCGIFAFLAG_IN6:
		s.machine.Order.PutUint32(union, uint32(ifa.state))
	case netbsd.SIOCGIFALIFETIME_IN6:
		lt := ifa.lifetime
		if lt.Expire != 0 {
			lt.Expire = s.wallTime(lt.Expire)
		}
		if lt.Preferred != 0 {
			lt.Preferred = s.wallTime(lt.Preferred)
		}
		copy(union, netbsd.Marshal(s.machine, &lt))
	}
	return nil
}

// userSockaddr6 makes the sockaddr_in6 that programs see: with the scope's ID
// instead of the kernel's form.
func (s *Stack) userSockaddr6(a netip.Addr) []byte {
	bare, scope := netbsd.ExtractScope(a)
	return netbsd.SockaddrIn6(s.machine, netip.AddrPortFrom(bare, 0), scope, 0)
}

// aliasAdd6 is SIOCAIFADDR_IN6.
func (s *Stack) aliasAdd6(ifp *Interface, data []byte) error {
	var req netbsd.In6Aliasreq
	if _, err := s.request(data, &req); err != nil {
		return err
	}
	if req.Addr[1] != netbsd.AF_INET6 || req.Addr[0] != netbsd.SizeofSockaddrIn6 {
		return netbsd.EAFNOSUPPORT
	}
	addr, err := s.takeAddr6(ifp, req.Addr[:])
	if err != nil {
		return err
	}
	const readOnly = netbsd.IN6_IFF_DUPLICATED | netbsd.IN6_IFF_DETACHED | netbsd.IN6_IFF_TENTATIVE |
		netbsd.IN6_IFF_NODAD | netbsd.IN6_IFF_AUTOCONF
	if req.Flags&readOnly != 0 || addr.IsUnspecified() || addr.IsMulticast() {
		return netbsd.EINVAL
	}
	a := addr6{addr: addr, flags: req.Flags, lifetime: req.Lifetime}
	if req.Prefixmask[0] > netbsd.SizeofSockaddrIn6 {
		return netbsd.EINVAL
	} else if req.Prefixmask[0] != 0 {
		a.mask = sockaddrPart(req.Prefixmask[:])
	}
	if req.Dstaddr[1] == netbsd.AF_INET6 {
		a.dst = req.Dstaddr[:]
	}
	ifa, err := s.addAddr6(ifp, ifp.find(addr), a)
	if err != nil || ifa == nil {
		return err
	}
	return s.setPrefix(ifa, req.Lifetime)
}

// laddr6 is in6_lifaddr_ioctl: the ioctls that take any address family, for
// IPv6.
func (s *Stack) laddr6(ifp *Interface, op *netbsd.Ioctl, data []byte) error {
	var req netbsd.IfLaddrreq
	write, err := s.request(data, &req)
	if err != nil {
		return err
	}
	if err := checkLaddr(&req, op, netbsd.AF_INET6, netbsd.SizeofSockaddrIn6); err != nil {
		return err
	}
	if req.Prefixlen > 128 {
		return netbsd.EINVAL
	}
	if op == netbsd.SIOCALIFADDR {
		return s.laddrAdd6(ifp, &req)
	}
	ifa, err := findLaddr(ifp, &req, op, netbsd.AF_INET6)
	if err != nil {
		return err
	}
	if op == netbsd.SIOCDLIFADDR {
		s.deleteAddr6(ifa)
		return nil
	}
	copy(req.Addr[:], s.userSockaddr6(ifa.addr))
	req.Dstaddr = [128]byte{}
	req.Prefixlen, req.Flags = uint32(ifa.bits), uint32(ifa.state)
	write()
	return nil
}

// laddrAdd6 is SIOCALIFADDR: an address, or a prefix whose host part is that
// of the link-local address.
func (s *Stack) laddrAdd6(ifp *Interface, req *netbsd.IfLaddrreq) error {
	alias := netbsd.In6Aliasreq{
		Name:     req.Name,
		Addr:     [28]byte(req.Addr[:28]),
		Flags:    int32(req.Flags &^ netbsd.IFLR_PREFIX),
		Lifetime: netbsd.In6Addrlifetime{Vltime: forever, Pltime: forever},
	}
	copy(alias.Prefixmask[:], netbsd.Netmask(netbsd.AF_INET6, int(req.Prefixlen)))
	if req.Dstaddr[1] != 0 {
		copy(alias.Dstaddr[:], req.Dstaddr[:])
	}
	if req.Flags&netbsd.IFLR_PREFIX != 0 {
		host := ifp.linkLocal()
		switch {
		case host == nil:
			return netbsd.EADDRNOTAVAIL
		case req.Prefixlen > 64 || !isZero(alias.Addr[16:24]):
			return netbsd.EINVAL
		}
		copy(alias.Addr[16:24], host.addr.AsSlice()[8:])
	}
	return s.aliasAdd6(ifp, netbsd.Marshal(s.machine, &alias))
}
