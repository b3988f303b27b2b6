package inet

import (
	"rumptools/pkg/netbsd"
)

// The messages that the kernel sends of its own accord to routing sockets.
// s.mu is held in all of these functions.

// sockaddrs are the addresses of a routing message.
type sockaddrs = [netbsd.RTAX_MAX][]byte

// curpid is the process on whose behalf the kernel acts; 0 is the kernel's
// own.
func (s *Stack) curpid() int32 { return s.pid }

// interfaceChanged sends RTM_IFINFO (rt_ifmsg).
func (s *Stack) interfaceChanged(ifp *Interface) {
	if s.routeSocks.none() {
		return
	}
	hdr := &netbsd.IfMsghdr{Type: netbsd.RTM_IFINFO, Flags: ifp.wireFlags(), Index: ifp.Index, Data: ifp.data()}
	s.routeSocks.send(netbsd.AppendRtMessage(s.machine, nil, hdr, sockaddrs{}), 0, nil)
}

// announceInterface sends RTM_IFANNOUNCE (rt_ifannouncemsg).
func (s *Stack) announceInterface(ifp *Interface, what uint16) {
	if s.routeSocks.none() {
		return
	}
	hdr := &netbsd.IfAnnouncemsghdr{
		Type: netbsd.RTM_IFANNOUNCE, Index: ifp.Index, Name: netbsd.IfName(ifp.Name), What: what,
	}
	s.routeSocks.send(netbsd.AppendRtMessage(s.machine, nil, hdr, sockaddrs{}), 0, nil)
}

// addressChanged sends RTM_NEWADDR, RTM_DELADDR or RTM_CHGADDR (the
// rt_newaddrmsg of these types).
func (s *Stack) addressChanged(typ uint8, ifa *ifaddr) {
	if s.routeSocks.none() {
		return
	}
	s.routeSocks.send(s.addressMessage(typ, ifa, true), ifa.family, nil)
}

// addressMessage makes a message about an address; lists of interfaces have
// them without the interface's own address.
func (s *Stack) addressMessage(typ uint8, ifa *ifaddr, withInterface bool) []byte {
	hdr := &netbsd.IfaMsghdr{Type: typ, Flags: ifa.flags, Metric: ifa.metric, Index: ifa.ifp.Index}
	var sas sockaddrs
	sas[netbsd.RTAX_NETMASK], sas[netbsd.RTAX_IFA], sas[netbsd.RTAX_BRD] = ifa.mask, ifa.sa, ifa.dst
	if withInterface {
		sas[netbsd.RTAX_IFP] = ifa.ifp.dl.sa
	}
	return netbsd.AppendRtMessage(s.machine, nil, hdr, sas)
}

// localRouteAdded sends what rt_newaddrmsg sends with RTM_ADD: the address,
// then the route to it unless that was there.
func (s *Stack) localRouteAdded(ifa *ifaddr, rt *route, err error) {
	s.addressChanged(netbsd.RTM_NEWADDR, ifa)
	if rt == nil || s.routeSocks.none() {
		return
	}
	hdr := &netbsd.RtMsghdr{Type: netbsd.RTM_ADD, Pid: s.curpid(), Index: ifa.ifp.Index, Flags: rt.flags}
	if errno, ok := err.(netbsd.Errno); ok {
		hdr.Errno = int32(errno)
	}
	var sas sockaddrs
	sas[netbsd.RTAX_DST], sas[netbsd.RTAX_GATEWAY], sas[netbsd.RTAX_NETMASK] = rt.dst(), rt.gateway, rt.mask()
	s.routeSocks.send(netbsd.AppendRtMessage(s.machine, nil, hdr, sas), saFamily(sas[netbsd.RTAX_DST]), nil)
}

// routeChanged sends RTM_ADD, RTM_DELETE or RTM_CHANGE about a route that the
// kernel has changed (rt_newmsg).
func (s *Stack) routeChanged(typ uint8, rt *route) {
	var sas sockaddrs
	sas[netbsd.RTAX_DST], sas[netbsd.RTAX_GATEWAY], sas[netbsd.RTAX_NETMASK] = rt.dst(), rt.gateway, rt.mask()
	sas[netbsd.RTAX_IFP], sas[netbsd.RTAX_IFA] = rt.ifp.dl.sa, rt.ifa.sa
	s.routeMessage(typ, sas, rt.flags)
}

// routeMessage sends a message of the kernel's about a route (rt_missmsg).
func (s *Stack) routeMessage(typ uint8, sas sockaddrs, flags int32) {
	if s.routeSocks.none() {
		return
	}
	hdr := &netbsd.RtMsghdr{Type: typ, Pid: s.curpid(), Flags: netbsd.RTF_DONE | flags}
	s.routeSocks.send(netbsd.AppendRtMessage(s.machine, nil, hdr, sas), saFamily(sas[netbsd.RTAX_DST]), nil)
}

// interfaceMessage makes the RTM_IFINFO of lists of interfaces, which has the
// interface's address.
func (s *Stack) interfaceMessage(ifp *Interface) []byte {
	hdr := &netbsd.IfMsghdr{Type: netbsd.RTM_IFINFO, Flags: ifp.wireFlags(), Index: ifp.Index, Data: ifp.data()}
	var sas sockaddrs
	sas[netbsd.RTAX_IFP] = ifp.dl.sa
	return netbsd.AppendRtMessage(s.machine, nil, hdr, sas)
}

// metrics gives a route's metrics as messages show them: the time of expiry
// is the clock's, what is fixed and sent packets are not told.
func (s *Stack) metrics(rt *route) netbsd.RtMetrics {
	rmx := rt.rmx
	rmx.Locks, rmx.Pksent = 0, 0
	if rmx.Expire != 0 {
		rmx.Expire = s.wallTime(rmx.Expire)
	}
	return rmx
}

// dumpMessage makes the RTM_GET of lists of routes.
func (s *Stack) dumpMessage(rt *route) []byte {
	hdr := &netbsd.RtMsghdr{
		Type: netbsd.RTM_GET, Index: rt.ifp.Index, Flags: rt.flags, Use: rt.use, Rmx: s.metrics(rt),
	}
	var sas sockaddrs
	sas[netbsd.RTAX_DST], sas[netbsd.RTAX_GATEWAY], sas[netbsd.RTAX_NETMASK] = rt.dst(), rt.gateway, rt.mask()
	sas[netbsd.RTAX_TAG] = rt.tag
	sas[netbsd.RTAX_IFP], sas[netbsd.RTAX_IFA] = rt.ifp.dl.sa, rt.ifa.sa
	return netbsd.AppendRtMessage(s.machine, nil, hdr, sas)
}
