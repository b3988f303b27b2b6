package inet

import (
	"strings"

	"rumptools/internal/kernel"
	"rumptools/pkg/netbsd"
)

// ioctlInterface carries out an interface ioctl made on a socket of an address
// family. data is the argument, and takes the result. Commands that are not
// about interfaces give ENOTTY.
func (s *Stack) ioctlInterface(c *kernel.Call, family int32, cmd uint32, data []byte) error {
	op, ok := netbsd.LookupIoctl(s.machine, cmd)
	if !ok || op.Group != 'i' {
		if cmd>>8&0xff == 'i' && len(data) >= netbsd.IFNAMSIZ {
			return s.unknownIoctl(family, data)
		}
		return netbsd.ENOTTY
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pid = c.Proc.PID
	defer func() { s.pid = 0 }()
	switch op {
	case netbsd.SIOCGIFCONF:
		return s.ifconf(c, data)
	case netbsd.SIOCINITIFADDR:
		return netbsd.EPERM
	case netbsd.SIOCIFCREATE:
		return s.cloneCreate(requestName(data))
	case netbsd.SIOCIFDESTROY:
		return s.cloneDestroy(requestName(data))
	case netbsd.SIOCIFGCLONERS:
		return s.listCloners(c, data)
	}
	ifp := s.ifByName[requestName(data)]
	if ifp == nil {
		return netbsd.ENXIO
	}
	wasUp := ifp.is(netbsd.IFF_UP)
	err := s.ioctlDriver(c, ifp, op, data)
	if err == netbsd.ENOTTY {
		err = s.ioctlProtocol(ifp, family, op, data)
	}
	if !wasUp && ifp.is(netbsd.IFF_UP) {
		// Once more, now that the interface may be running.
		s.ifUp(ifp)
	}
	return err
}

// unknownIoctl answers a command that nobody knows.
func (s *Stack) unknownIoctl(family int32, data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ifByName[requestName(data)] == nil {
		return netbsd.ENXIO
	}
	if family == netbsd.AF_ROUTE {
		return netbsd.EOPNOTSUPP
	}
	return netbsd.ENOTTY
}

// requestName is the interface's name, with which all requests begin.
func requestName(data []byte) string {
	if len(data) < netbsd.IFNAMSIZ {
		return ""
	}
	return netbsd.CString(data[:netbsd.IFNAMSIZ])
}

// ioctlProtocol is what the socket's address family does for an interface
// (pr_ioctl).
func (s *Stack) ioctlProtocol(ifp *Interface, family int32, op *netbsd.Ioctl, data []byte) error {
	switch family {
	case netbsd.AF_INET:
		return s.ioctl4(ifp, op, data)
	case netbsd.AF_INET6:
		return s.ioctl6(ifp, op, data)
	case netbsd.AF_LINK:
		return s.ioctlLink(ifp, op, data)
	}
	return netbsd.EOPNOTSUPP
}

// request reads a request's argument into v, a pointer to its structure; the
// result writes v back.
func (s *Stack) request(data []byte, v any) (writeBack func(), err error) {
	if err := netbsd.Unmarshal(s.machine, data, v); err != nil {
		return nil, netbsd.EINVAL
	}
	return func() { copy(data, netbsd.Marshal(s.machine, v)) }, nil
}

// ioctlDriver is the interface's own part (if_ioctl): that of the kind of
// interface, then what all have in common.
func (s *Stack) ioctlDriver(c *kernel.Call, ifp *Interface, op *netbsd.Ioctl, data []byte) error {
	ether, isEther := ifp.link.(*etherLink)
	switch {
	case op == netbsd.SIOCSIFMTU:
		return s.ioctlMTU(ifp, data)
	case op == netbsd.SIOCGLINKSTR && isEther:
		return s.getLinkstr(c, ether, data)
	case op == netbsd.SIOCSLINKSTR && isEther:
		return s.setLinkstr(c, ifp, ether, data)
	case op == netbsd.SIOCADDMULTI || op == netbsd.SIOCDELMULTI:
		return s.ioctlMulti(ifp, op, data)
	case op == netbsd.SIOCSIFFLAGS:
		return s.ioctlFlags(ifp, data)
	case op == netbsd.SIOCGETHERCAP && isEther:
		var req netbsd.Eccapreq
		write, err := s.request(data, &req)
		if err != nil {
			return err
		}
		req.Capabilities, req.Capenable = 0, 0
		write()
		return nil
	case op == netbsd.SIOCALIFADDR && isEther:
		var req netbsd.IfLaddrreq
		if _, err := s.request(data, &req); err != nil {
			return err
		}
		if sa := req.Addr[:]; saFamily(sa) == netbsd.AF_LINK {
			if mac := dlAddr(sa); len(mac) < netbsd.ETHER_ADDR_LEN || mac[0]&1 != 0 || isZero(mac[:netbsd.ETHER_ADDR_LEN]) {
				return netbsd.EINVAL
			}
		}
		return netbsd.ENOTTY
	}
	return s.ioctlCommon(ifp, op, data)
}

func isZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// ioctlCommon is ifioctl_common.
func (s *Stack) ioctlCommon(ifp *Interface, op *netbsd.Ioctl, data []byte) error {
	order := s.machine.Order
	union := data[netbsd.IFNAMSIZ:]
	switch op {
	case netbsd.SIOCGIFFLAGS:
		order.PutUint16(union, uint16(ifp.flags))
	case netbsd.SIOCGIFMETRIC:
		order.PutUint32(union, uint32(ifp.metric))
	case netbsd.SIOCSIFMETRIC:
		ifp.metric = int32(order.Uint32(union))
	case netbsd.SIOCGIFMTU:
		order.PutUint32(union, ifp.mtu)
	case netbsd.SIOCGIFDLT:
		order.PutUint32(union, uint32(ifp.dlt))
	case netbsd.SIOCGIFINDEX:
		order.PutUint32(union, uint32(ifp.Index))
	case netbsd.SIOCGIFCAP:
		clear(union)
	case netbsd.SIOCSIFCAP:
		var req netbsd.Ifcapreq
		if _, err := s.request(data, &req); err != nil {
			return err
		}
		if req.Capenable != 0 {
			return netbsd.EINVAL
		}
	case netbsd.SIOCGIFDATA, netbsd.SIOCZIFDATA:
		req := netbsd.Ifdatareq{Name: [netbsd.IFNAMSIZ]byte(data[:netbsd.IFNAMSIZ]), Data: ifp.data()}
		copy(data, netbsd.Marshal(s.machine, &req))
		if op == netbsd.SIOCZIFDATA {
			ifp.counters.zero()
			ifp.touch()
		}
	default:
		return netbsd.ENOTTY
	}
	return nil
}

// ioctlFlags is SIOCSIFFLAGS.
func (s *Stack) ioctlFlags(ifp *Interface, data []byte) error {
	flags := int32(s.machine.Order.Uint16(data[netbsd.IFNAMSIZ:]))
	switch {
	case ifp.is(netbsd.IFF_UP) && flags&netbsd.IFF_UP == 0:
		s.ifDown(ifp)
	case !ifp.is(netbsd.IFF_UP) && flags&netbsd.IFF_UP != 0:
		s.ifUp(ifp)
	}
	ifp.flags = ifp.flags&netbsd.IFF_CANTCHANGE | flags&^netbsd.IFF_CANTCHANGE
	ifp.link.setFlags(ifp.flags)
	if ifp.is(netbsd.IFF_LOOPBACK) {
		s.syncNIC(ifp)
		return nil
	}
	switch {
	case !ifp.is(netbsd.IFF_UP) && ifp.is(netbsd.IFF_RUNNING):
		s.ifStop(ifp)
	case ifp.is(netbsd.IFF_UP):
		return s.ifStart(ifp)
	}
	return nil
}

// ioctlMTU is SIOCSIFMTU.
func (s *Stack) ioctlMTU(ifp *Interface, data []byte) error {
	mtu := s.machine.Order.Uint32(data[netbsd.IFNAMSIZ:])
	if ifp.is(netbsd.IFF_LOOPBACK) {
		if mtu > loopMaxMTU {
			return netbsd.EINVAL
		}
		if mtu != ifp.mtu {
			s.setMTU(ifp, mtu)
		}
		return nil
	}
	if int32(mtu) < netbsd.ETHERMIN || mtu > netbsd.ETHERMTU {
		return netbsd.EINVAL
	}
	if mtu == ifp.mtu {
		return nil
	}
	s.setMTU(ifp, mtu)
	if ifp.is(netbsd.IFF_UP) {
		return s.ifStart(ifp)
	}
	return nil
}

// ioctlMulti is SIOCADDMULTI and SIOCDELMULTI. Frames to any group are taken,
// so that there is nothing to do but to look at the address.
func (s *Stack) ioctlMulti(ifp *Interface, op *netbsd.Ioctl, data []byte) error {
	var req netbsd.Ifreq
	if _, err := s.request(data, &req); err != nil {
		return err
	}
	sa := req.Addr()
	switch saFamily(sa) {
	case netbsd.AF_INET:
		if !ifp.is(netbsd.IFF_LOOPBACK) && !saAddr(sa).IsMulticast() {
			return netbsd.EINVAL
		}
		return nil
	case netbsd.AF_INET6:
		if !ifp.is(netbsd.IFF_LOOPBACK) && !saAddr(sa).IsMulticast() && !saAddr(sa).IsUnspecified() {
			return netbsd.EINVAL
		}
		return nil
	case netbsd.AF_UNSPEC:
		if ifp.is(netbsd.IFF_LOOPBACK) {
			break
		}
		if len(sa) < 3 || sa[2]&1 == 0 {
			return netbsd.EINVAL
		}
		return nil
	}
	return netbsd.EAFNOSUPPORT
}

// ifconf is SIOCGIFCONF: an ifreq for each address of each interface. Without
// a buffer it tells the size of all.
func (s *Stack) ifconf(c *kernel.Call, data []byte) error {
	var req netbsd.Ifconf
	write, err := s.request(data, &req)
	if err != nil {
		return err
	}
	var list []byte
	for _, ifp := range s.interfaces {
		ifr := netbsd.Ifreq{Name: netbsd.IfName(ifp.Name)}
		for _, ifa := range ifp.addrs {
			ifr.SetAddr(ifa.sa)
			list = netbsd.Append(s.machine, list, &ifr)
		}
		if len(ifp.addrs) == 0 {
			list = netbsd.Append(s.machine, list, &ifr)
		}
	}
	if req.Buf != 0 {
		size := netbsd.Sizeof(s.machine, netbsd.Ifreq{})
		list = list[:min(len(list), max(int(req.Len), 0)/size*size)]
		if err := c.CopyOut(uint64(req.Buf), list); err != nil {
			return err
		}
	}
	req.Len = int32(len(list))
	write()
	return nil
}

// getLinkstr is SIOCGLINKSTR.
func (s *Stack) getLinkstr(c *kernel.Call, l *etherLink, data []byte) error {
	var req netbsd.Ifdrv
	write, err := s.request(data, &req)
	if err != nil {
		return err
	}
	if l.linkstr == "" {
		return netbsd.ENOENT
	}
	room := uint64(req.Len)
	req.Len = netbsd.SizeT(len(l.linkstr) + 1)
	switch req.Cmd {
	case netbsd.IFLINKSTR_QUERYLEN:
	case 0:
		str := append([]byte(l.linkstr), 0)
		if err := c.CopyOut(uint64(req.Data), str[:min(uint64(len(str)), room)]); err != nil {
			return err
		}
	default:
		return netbsd.EINVAL
	}
	write()
	return nil
}

// setLinkstr is SIOCSLINKSTR: it connects an interface that is down to a bus,
// or disconnects it.
func (s *Stack) setLinkstr(c *kernel.Call, ifp *Interface, l *etherLink, data []byte) error {
	if ifp.is(netbsd.IFF_UP) {
		return netbsd.EBUSY
	}
	var req netbsd.Ifdrv
	if _, err := s.request(data, &req); err != nil {
		return err
	}
	switch {
	case req.Cmd == netbsd.IFLINKSTR_UNSET:
		l.detachBus()
		l.linkstr = ""
		return nil
	case req.Cmd != 0:
		return netbsd.EINVAL
	case l.linkstr != "":
		return netbsd.EBUSY
	case req.Len > netbsd.MAXPATHLEN:
		return netbsd.E2BIG
	case req.Len < 1:
		return netbsd.EINVAL
	}
	// The client's answer may take for ever: others go on meanwhile, and
	// what held before may hold no more.
	s.mu.Unlock()
	path, err := c.CopyInStr(uint64(req.Data), int(req.Len))
	s.mu.Lock()
	s.pid = c.Proc.PID
	switch {
	case err != nil:
		return err
	case s.ifByName[ifp.Name] != ifp:
		return netbsd.ENXIO
	case ifp.is(netbsd.IFF_UP) || l.linkstr != "":
		return netbsd.EBUSY
	}
	if path == "" || strings.ContainsRune(path, 0) {
		return netbsd.ENOENT
	}
	if s.openBus == nil {
		return netbsd.ENXIO
	}
	bus, err := s.openBus(path)
	if err != nil {
		return hostErrno(err)
	}
	l.attachBus(bus)
	l.linkstr = path
	return nil
}
