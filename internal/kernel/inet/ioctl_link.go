package inet

import (
	"slices"

	"rumptools/pkg/netbsd"
)

// ioctlLink is link_control: the ioctls of sockets of AF_LINK, which are about
// link-level addresses. s.mu is held.
func (s *Stack) ioctlLink(ifp *Interface, op *netbsd.Ioctl, data []byte) error {
	switch op {
	case netbsd.SIOCALIFADDR, netbsd.SIOCDLIFADDR, netbsd.SIOCGLIFADDR:
	default:
		return netbsd.ENOTTY
	}
	var req netbsd.IfLaddrreq
	write, err := s.request(data, &req)
	if err != nil {
		return err
	}
	isPrefix := req.Flags&netbsd.IFLR_PREFIX != 0
	mac := dlAddr(req.Addr[:])
	switch {
	case saFamily(req.Addr[:]) != netbsd.AF_LINK, len(mac) != int(ifp.addrlen):
		return netbsd.EINVAL
	case isPrefix && req.Prefixlen != 8*uint32(ifp.addrlen):
		return netbsd.EINVAL
	}
	var ifa *ifaddr
	for _, i := range ifp.addrs {
		if i.family == netbsd.AF_LINK && slices.Equal(i.mac, mac) {
			ifa = i
			break
		}
	}
	switch op {
	case netbsd.SIOCGLIFADDR:
		if !isPrefix {
			ifa = ifp.first(netbsd.AF_LINK)
		}
		if ifa == nil {
			return netbsd.EADDRNOTAVAIL
		}
		req.Flags = 0
		if ifa == ifp.dl {
			req.Flags |= netbsd.IFLR_ACTIVE
		}
		// None is a factory's: shmif makes its own.
		copy(req.Addr[:], ifa.sa)
		write()
	case netbsd.SIOCDLIFADDR:
		switch ifa {
		case nil:
			return netbsd.EADDRNOTAVAIL
		case ifp.dl:
			return netbsd.EBUSY
		}
		ifp.addrs = slices.DeleteFunc(ifp.addrs, func(i *ifaddr) bool { return i == ifa })
		s.addressChanged(netbsd.RTM_DELADDR, ifa)
	case netbsd.SIOCALIFADDR:
		if ifa == nil {
			ifa = s.newLinkAddr(ifp, slices.Clone(mac))
			ifp.addrs = append(ifp.addrs, ifa)
			s.addressChanged(netbsd.RTM_NEWADDR, ifa)
		}
		if ifa != ifp.dl && req.Flags&netbsd.IFLR_ACTIVE != 0 {
			return s.activateLinkAddr(ifp, ifa)
		}
	}
	return nil
}
