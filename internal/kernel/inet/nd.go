package inet

import (
	"time"

	"rumptools/internal/kernel"
	"rumptools/pkg/netbsd"
)

// ndInfo is what neighbour discovery keeps of an interface: struct nd_ifinfo.
type ndInfo struct {
	flags         uint32 // ND6_IFF_*
	linkMTU       uint32 // as routers tell; 0 is the interface's own
	hopLimit      uint8
	baseReachable time.Duration
	retrans       time.Duration
}

func newNDInfo() ndInfo {
	return ndInfo{
		flags:         netbsd.ND6_IFF_PERFORMNUD | netbsd.ND6_IFF_ACCEPT_RTADV | netbsd.ND6_IFF_AUTO_LINKLOCAL,
		hopLimit:      64,
		baseReachable: 30 * time.Second,
		retrans:       time.Second,
	}
}

// ioctlND is nd6_ioctl. s.mu is held.
func (s *Stack) ioctlND(ifp *Interface, op *netbsd.Ioctl, data []byte) error {
	switch op {
	case netbsd.SIOCGIFINFO_IN6, netbsd.SIOCSIFINFO_IN6, netbsd.SIOCSIFINFO_FLAGS:
		return s.ioctlNDInfo(ifp, op, data)
	case netbsd.SIOCGNBRINFO_IN6:
		return s.neighbourInfo(ifp, data)
	case netbsd.SIOCSNDFLUSH_IN6, netbsd.SIOCSPFXFLUSH_IN6, netbsd.SIOCSRTRFLUSH_IN6:
		// Only what routers have announced would go.
		return nil
	case netbsd.SIOCGDRLST_IN6:
		clear(data[netbsd.IFNAMSIZ:])
		return nil
	case netbsd.SIOCGDEFIFACE_IN6:
		var req netbsd.In6Ndifreq
		write, err := s.request(data, &req)
		if err != nil {
			return err
		}
		req.Ifindex = 0
		write()
		return nil
	}
	return netbsd.ENOTTY
}

// ioctlNDInfo reads and changes an interface's nd_ifinfo.
func (s *Stack) ioctlNDInfo(ifp *Interface, op *netbsd.Ioctl, data []byte) error {
	var req netbsd.In6Ndireq
	write, err := s.request(data, &req)
	if err != nil {
		return err
	}
	switch op {
	case netbsd.SIOCSIFINFO_IN6:
		if req.Ndi.Linkmtu != 0 {
			if req.Ndi.Linkmtu < minMTU6 || req.Ndi.Linkmtu > ifp.mtu {
				return netbsd.EINVAL
			}
			ifp.nd.linkMTU = req.Ndi.Linkmtu
		}
		if req.Ndi.Basereachable != 0 {
			ifp.nd.baseReachable = time.Duration(req.Ndi.Basereachable) * time.Millisecond
		}
		if req.Ndi.Retrans != 0 {
			ifp.nd.retrans = time.Duration(req.Ndi.Retrans) * time.Millisecond
		}
		if req.Ndi.Chlim != 0 {
			ifp.nd.hopLimit = req.Ndi.Chlim
		}
		ifp.nd.flags = req.Ndi.Flags
	case netbsd.SIOCSIFINFO_FLAGS:
		ifp.nd.flags = req.Ndi.Flags
	}
	req.Ndi = netbsd.NdIfinfo{
		Linkmtu:       ifp.nd.linkMTU,
		Maxmtu:        ifp.mtu,
		Basereachable: uint32(ifp.nd.baseReachable / time.Millisecond),
		Reachable:     uint32(ifp.nd.baseReachable / time.Second),
		Retrans:       uint32(ifp.nd.retrans / time.Millisecond),
		Flags:         ifp.nd.flags,
		Chlim:         ifp.nd.hopLimit,
		Initialized:   1,
	}
	write()
	return nil
}

// neighbourInfo is SIOCGNBRINFO_IN6.
func (s *Stack) neighbourInfo(ifp *Interface, data []byte) error {
	var req netbsd.In6Nbrinfo
	write, err := s.request(data, &req)
	if err != nil {
		return err
	}
	sa := make([]byte, netbsd.SizeofSockaddrIn6)
	sa[0], sa[1] = netbsd.SizeofSockaddrIn6, netbsd.AF_INET6
	copy(sa[8:], req.Addr[:])
	addr, err := s.takeAddr6(ifp, sa)
	if err != nil {
		return err
	}
	n := s.findNeighbour(ifp, addr)
	if n == nil {
		return netbsd.EINVAL
	}
	req.Asked, req.Isrouter, req.State, req.Expire = 0, 0, n.state, 0
	if n.expire != 0 {
		req.Expire = int32(s.wallTime(n.expire))
	}
	write()
	return nil
}

// sysctlPrefixes is net.inet6.icmp6.nd6_prlist: the prefixes that are on a
// link. No router has announced any.
func (s *Stack) sysctlPrefixes(*kernel.SysctlRequest) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []byte
	for _, pr := range s.prefixes {
		p := netbsd.In6Prefix{
			Prefix:    [28]byte(s.userSockaddr6(pr.net.Addr())),
			Prefixlen: uint8(pr.net.Bits()),
			Origin:    netbsd.PR_ORIG_RA,
			Vltime:    pr.vltime,
			Pltime:    pr.pltime,
			Refcnt:    int32(pr.refs),
			IfIndex:   pr.ifp.Index,
		}
		p.SetRaflags(s.machine, pr.onlink, pr.auto)
		if pr.vltime != forever {
			p.Expire = s.wallTime(pr.since + int64(pr.vltime))
		}
		if pr.installed {
			p.Flags |= netbsd.NDPRF_ONLINK
		}
		list = netbsd.Append(s.machine, list, &p)
	}
	return list, nil
}

// sysctlRouters is net.inet6.icmp6.nd6_drlist: the routers that announce
// themselves, to which nobody listens.
func (s *Stack) sysctlRouters(*kernel.SysctlRequest) ([]byte, error) { return nil, nil }
