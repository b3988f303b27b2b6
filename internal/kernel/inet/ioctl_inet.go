package inet

import (
	"net/netip"

	"rumptools/pkg/netbsd"
)

// in_aliasreq's parts; ifreq's address is where the first is.
const (
	aliasAddr = 16
	aliasDst  = 32
	aliasMask = 48
	aliasEnd  = 64
)

// ioctl4 is in_control: the ioctls of sockets of AF_INET. s.mu is held.
func (s *Stack) ioctl4(ifp *Interface, op *netbsd.Ioctl, data []byte) error {
	switch op {
	case netbsd.SIOCALIFADDR, netbsd.SIOCDLIFADDR, netbsd.SIOCGLIFADDR:
		return s.laddr4(ifp, op, data)
	case netbsd.SIOCGIFADDRPREF, netbsd.SIOCSIFADDRPREF:
		return s.addrPref(ifp, netbsd.AF_INET, op, data)
	case netbsd.SIOCAIFADDR, netbsd.SIOCDIFADDR, netbsd.SIOCGIFALIAS, netbsd.SIOCGIFAFLAG_IN,
		netbsd.SIOCSIFADDR, netbsd.SIOCSIFDSTADDR, netbsd.SIOCSIFNETMASK, netbsd.SIOCSIFBRDADDR,
		netbsd.SIOCGIFADDR, netbsd.SIOCGIFNETMASK, netbsd.SIOCGIFDSTADDR, netbsd.SIOCGIFBRDADDR:
	default:
		return netbsd.ENOTTY
	}
	sa := data[aliasAddr:aliasDst] // begins with length and family
	ifa := ifp.first(netbsd.AF_INET)
	switch op {
	case netbsd.SIOCAIFADDR, netbsd.SIOCDIFADDR, netbsd.SIOCGIFALIAS, netbsd.SIOCGIFAFLAG_IN:
		if sa[1] == netbsd.AF_INET {
			ifa = ifp.find(saAddr(sa))
		}
		if op != netbsd.SIOCAIFADDR && ifa == nil {
			return netbsd.EADDRNOTAVAIL
		}
	case netbsd.SIOCSIFADDR:
	default:
		if ifa == nil {
			return netbsd.EADDRNOTAVAIL
		}
	}
	switch op {
	case netbsd.SIOCAIFADDR:
		return s.aliasAdd4(ifp, ifa, data)
	case netbsd.SIOCSIFADDR:
		addr := saAddr(sa)
		switch {
		case ifa != nil && sa[0] == 0:
			addr = ifa.addr
		case sa[1] != netbsd.AF_INET:
			return netbsd.EAFNOSUPPORT
		}
		return s.addAddr4(ifp, ifa, addr4{addr: addr})
	case netbsd.SIOCDIFADDR:
		s.purgeAddr4(ifa)
	case netbsd.SIOCSIFNETMASK:
		return s.addAddr4(ifp, ifa, addr4{addr: ifa.addr, mask: sockaddrPart(sa)})
	case netbsd.SIOCSIFDSTADDR:
		if sa[1] != netbsd.AF_INET {
			return netbsd.EAFNOSUPPORT
		}
		return netbsd.EINVAL // no interface here is point-to-point
	case netbsd.SIOCGIFDSTADDR:
		return netbsd.EINVAL
	case netbsd.SIOCSIFBRDADDR:
		if !ifp.is(netbsd.IFF_BROADCAST) {
			return netbsd.EINVAL
		}
		ifa.dst = broadcast4(sa)
	case netbsd.SIOCGIFADDR:
		putSockaddr(data, ifa.sa)
	case netbsd.SIOCGIFBRDADDR:
		if !ifp.is(netbsd.IFF_BROADCAST) {
			return netbsd.EINVAL
		}
		putSockaddr(data, ifa.dst)
	case netbsd.SIOCGIFNETMASK:
		mask := make([]byte, netbsd.SizeofSockaddrIn)
		copy(mask, ifa.mask)
		mask[0] = netbsd.SizeofSockaddrIn
		putSockaddr(data, mask)
	case netbsd.SIOCGIFALIAS:
		clear(data[aliasDst:aliasEnd])
		copy(sa, ifa.sa)
		if ifp.is(netbsd.IFF_BROADCAST) {
			copy(data[aliasDst:aliasMask], ifa.dst)
		}
		copy(data[aliasMask:aliasEnd], ifa.mask)
	case netbsd.SIOCGIFAFLAG_IN:
		s.machine.Order.PutUint32(data[netbsd.IFNAMSIZ:], uint32(ifa.state))
	}
	return nil
}

// putSockaddr puts an address into the union of an ifreq or in6_ifreq, whose
// sockaddr_storage is cleared.
func putSockaddr(data, sa []byte) {
	clear(data[netbsd.IFNAMSIZ : netbsd.IFNAMSIZ+netbsd.SizeofSockaddrStorage])
	copy(data[netbsd.IFNAMSIZ:], sa)
}

// broadcast4 is a broadcast address from a request. Its length is not the
// caller's, by which messages about the address would end before it does.
func broadcast4(sa []byte) []byte {
	return sockaddrInet(netip.AddrFrom4([4]byte(sa[4:8])))
}

// sockaddrPart cuts a socket address in a request to the length that it says.
func sockaddrPart(sa []byte) []byte { return sa[:min(int(sa[0]), len(sa))] }

// aliasAdd4 is SIOCAIFADDR: a new address, or a new mask or broadcast address
// for one that is there.
func (s *Stack) aliasAdd4(ifp *Interface, ifa *ifaddr, data []byte) error {
	sa := data[aliasAddr:aliasDst]
	addr := saAddr(sa)
	hostIsNew := ifa == nil || ifa.addr != addr
	if ifa != nil && sa[0] == 0 {
		addr, hostIsNew = ifa.addr, false
	} else if sa[1] != netbsd.AF_INET {
		return netbsd.EAFNOSUPPORT
	}
	var mask []byte
	if data[aliasMask] != 0 {
		mask = sockaddrPart(data[aliasMask:aliasEnd])
	}
	if hostIsNew || mask != nil {
		if err := s.addAddr4(ifp, ifa, addr4{addr: addr, mask: mask}); err != nil {
			return err
		}
	}
	if brd := data[aliasDst:aliasMask]; ifp.is(netbsd.IFF_BROADCAST) && brd[1] == netbsd.AF_INET {
		if ifa = ifp.find(addr); ifa != nil {
			ifa.dst = broadcast4(brd)
		}
	}
	return nil
}

// laddr4 is in_lifaddr_ioctl: the ioctls that take any address family, for
// IPv4.
func (s *Stack) laddr4(ifp *Interface, op *netbsd.Ioctl, data []byte) error {
	var req netbsd.IfLaddrreq
	write, err := s.request(data, &req)
	if err != nil {
		return err
	}
	isPrefix := req.Flags&netbsd.IFLR_PREFIX != 0
	if err := checkLaddr(&req, op, netbsd.AF_INET, netbsd.SizeofSockaddrIn); err != nil {
		return err
	}
	if req.Prefixlen > 32 {
		return netbsd.EINVAL
	}
	if op == netbsd.SIOCALIFADDR {
		if isPrefix {
			return netbsd.EINVAL
		}
		alias := make([]byte, aliasEnd)
		copy(alias, data[:netbsd.IFNAMSIZ])
		copy(alias[aliasAddr:aliasDst], req.Addr[:])
		if req.Dstaddr[1] != 0 {
			copy(alias[aliasDst:aliasMask], req.Dstaddr[:])
		}
		copy(alias[aliasMask:], netbsd.Netmask(netbsd.AF_INET, int(req.Prefixlen)))
		return s.ioctl4(ifp, netbsd.SIOCAIFADDR, alias)
	}
	ifa, err := findLaddr(ifp, &req, op, netbsd.AF_INET)
	if err != nil {
		return err
	}
	if op == netbsd.SIOCDLIFADDR {
		s.purgeAddr4(ifa)
		return nil
	}
	copy(req.Addr[:], ifa.sa)
	req.Dstaddr = [128]byte{}
	req.Prefixlen, req.Flags = uint32(ifa.bits), 0
	write()
	return nil
}

// checkLaddr looks at the addresses of an if_laddrreq. Only asking for the
// first address needs none.
func checkLaddr(req *netbsd.IfLaddrreq, op *netbsd.Ioctl, family, size byte) error {
	if op == netbsd.SIOCGLIFADDR && req.Flags&netbsd.IFLR_PREFIX == 0 {
		return nil
	}
	if req.Addr[1] != family || req.Addr[0] != size {
		return netbsd.EINVAL
	}
	if req.Dstaddr[1] != 0 && req.Dstaddr[1] != family || req.Dstaddr[0] != 0 && req.Dstaddr[0] != size {
		return netbsd.EINVAL
	}
	return nil
}

// findLaddr finds the address that an if_laddrreq means: the first in a
// prefix, the first of all, or for deleting the very same.
func findLaddr(ifp *Interface, req *netbsd.IfLaddrreq, op *netbsd.Ioctl, family int32) (*ifaddr, error) {
	addr := saAddr(req.Addr[:])
	p := netip.Prefix{}
	switch {
	case req.Flags&netbsd.IFLR_PREFIX != 0:
		if p = netip.PrefixFrom(addr, int(req.Prefixlen)); p.Masked() != p {
			return nil, netbsd.EINVAL
		}
	case op == netbsd.SIOCDLIFADDR:
		p = netip.PrefixFrom(addr, addr.BitLen())
	}
	for _, ifa := range ifp.addrs {
		if ifa.family != family {
			continue
		}
		bare, _ := netbsd.ExtractScope(ifa.addr)
		if !p.IsValid() || p.Contains(bare) {
			return ifa, nil
		}
	}
	return nil, netbsd.EADDRNOTAVAIL
}

// addrPref is SIOCGIFADDRPREF and SIOCSIFADDRPREF: how much an address is
// preferred to others.
func (s *Stack) addrPref(ifp *Interface, family int32, op *netbsd.Ioctl, data []byte) error {
	var req netbsd.IfAddrprefreq
	write, err := s.request(data, &req)
	if err != nil {
		return err
	}
	size := byte(netbsd.SizeofSockaddrIn)
	if family == netbsd.AF_INET6 {
		size = netbsd.SizeofSockaddrIn6
	}
	if saFamily(req.Addr[:]) != family || req.Addr[0] != size {
		return netbsd.EINVAL
	}
	ifa := ifp.find(netbsd.EmbedScope(saAddr(req.Addr[:]), uint32(ifp.Index)))
	if ifa == nil {
		return netbsd.EADDRNOTAVAIL
	}
	if op == netbsd.SIOCSIFADDRPREF {
		ifa.preference = req.Preference
		return nil
	}
	copy(req.Addr[:], ifa.sa)
	req.Preference = ifa.preference
	write()
	return nil
}
