package inet

import (
	"bytes"
	"slices"

	"rumptools/pkg/netbsd"
)

// routeOutput carries out a message that a process has written to a routing
// socket (route_output). The answer goes to all routing sockets: it is the
// message with what was found or what went wrong. family is that of the
// destination, 0 when there is none. s.mu is held.
func (s *Stack) routeOutput(pid int32, p []byte) (answer []byte, family int32, err error) {
	m := s.machine
	hsize := netbsd.Sizeof(m, netbsd.RtMsghdr{})
	if len(p) < hsize || int(m.Order.Uint16(p)) != len(p) {
		return slices.Clone(p), 0, netbsd.EINVAL
	}
	req := &routeRequest{s: s, msg: slices.Clone(p)}
	if err := netbsd.Unmarshal(m, p, &req.hdr); err != nil {
		return req.msg, 0, netbsd.EINVAL
	}
	if req.hdr.Version != netbsd.RTM_VERSION {
		err = netbsd.EPROTONOSUPPORT
	} else {
		req.hdr.Pid = pid
		s.pid = pid
		err = req.run(p[hsize:])
		s.pid = 0
	}
	if err == nil {
		req.hdr.Flags |= netbsd.RTF_DONE
	} else if errno, ok := err.(netbsd.Errno); ok {
		req.hdr.Errno = int32(errno)
	}
	copy(req.msg, netbsd.Marshal(m, &req.hdr))
	return req.msg, saFamily(req.info.addrs[netbsd.RTAX_DST]), err
}

// routeRequest is a message that is being carried out.
type routeRequest struct {
	s    *Stack
	hdr  netbsd.RtMsghdr
	msg  []byte // becomes the answer
	info routeInfo
}

func (r *routeRequest) run(addrs []byte) error {
	if err := r.parse(addrs); err != nil {
		return err
	}
	dst, gateway := r.info.addrs[netbsd.RTAX_DST], r.info.addrs[netbsd.RTAX_GATEWAY]
	if dst == nil || saFamily(dst) >= netbsd.AF_MAX || gateway != nil && saFamily(gateway) >= netbsd.AF_MAX {
		return netbsd.EINVAL
	}
	switch r.hdr.Type {
	case netbsd.RTM_ADD:
		if gateway == nil {
			return netbsd.EINVAL
		}
		if r.isNeighbour() {
			// If no interface is known to have such a neighbour, it is
			// a route to an interface that is given by name.
			ifp, err := r.neighbourInterface()
			if err != netbsd.ESRCH {
				return r.addNeighbour(ifp, err)
			}
		}
		rt, err := r.s.routeAdd(&r.info)
		if err == nil {
			r.setMetrics(rt)
			r.s.pushRoutes()
		}
		return err
	case netbsd.RTM_DELETE:
		if saFamily(gateway) == netbsd.AF_LINK && r.hdr.Flags&netbsd.RTF_LLDATA != 0 {
			return r.deleteNeighbour()
		}
		rt, err := r.s.routeDelete(&r.info)
		if err == nil {
			r.report(rt)
		}
		return err
	case netbsd.RTM_GET:
		return r.get()
	case netbsd.RTM_CHANGE, netbsd.RTM_LOCK:
		return r.change()
	}
	return netbsd.EOPNOTSUPP
}

// parse takes the message's addresses apart (rt_xaddrs). There must be as many
// as the header says, except that a GET may ask for the interface's addresses
// with bits alone, and nothing after them but padding.
func (r *routeRequest) parse(b []byte) error {
	wanted := uint32(r.hdr.Addrs)
	r.info.flags = r.hdr.Flags
	i := 0
	for ; i < netbsd.RTAX_MAX && len(b) > 0; i++ {
		if wanted&(1<<i) == 0 {
			continue
		}
		n := int(b[0])
		if n > len(b) {
			return netbsd.EINVAL
		}
		sa := b[:n:n]
		r.info.addrs[i] = sa
		round := netbsd.RoundUp(n)
		if round > len(b) {
			// Old programs do not pad a netmask at the end.
			if i == netbsd.RTAX_NETMASK && len(b) == n {
				b = nil
				i++
				break
			}
			return netbsd.EINVAL
		}
		b = b[round:]
	}
	missing := wanted &^ (1<<i - 1)
	if r.hdr.Type == netbsd.RTM_GET {
		missing &^= netbsd.RTA_IFP | netbsd.RTA_IFA
	}
	if missing != 0 || len(b) != 0 {
		return netbsd.EINVAL
	}
	return nil
}

// setMetrics sets the metrics that the message gives.
func (r *routeRequest) setMetrics(rt *route) {
	in, out := &r.hdr.Rmx, &rt.rmx
	for _, m := range []struct {
		bit      int32
		from, to *uint64
	}{
		{netbsd.RTV_RPIPE, &in.Recvpipe, &out.Recvpipe},
		{netbsd.RTV_SPIPE, &in.Sendpipe, &out.Sendpipe},
		{netbsd.RTV_SSTHRESH, &in.Ssthresh, &out.Ssthresh},
		{netbsd.RTV_RTT, &in.Rtt, &out.Rtt},
		{netbsd.RTV_RTTVAR, &in.Rttvar, &out.Rttvar},
		{netbsd.RTV_HOPCOUNT, &in.Hopcount, &out.Hopcount},
		{netbsd.RTV_MTU, &in.Mtu, &out.Mtu},
	} {
		if r.hdr.Inits&m.bit != 0 {
			*m.to = *m.from
		}
	}
	if r.hdr.Inits&netbsd.RTV_EXPIRE != 0 {
		out.Expire = 0
		if in.Expire != 0 {
			out.Expire = in.Expire - r.s.wallTime(0)
		}
	}
}

// report makes the answer tell about a route (route_output_report).
func (r *routeRequest) report(rt *route) {
	a := &r.info.addrs
	a[netbsd.RTAX_DST], a[netbsd.RTAX_GATEWAY], a[netbsd.RTAX_NETMASK] = rt.dst(), rt.gateway, rt.mask()
	a[netbsd.RTAX_TAG] = rt.tag
	r.reportAddrs(rt)
}

// reportAddrs makes the answer of the addresses in r.info and a route's
// metrics.
func (r *routeRequest) reportAddrs(rt *route) {
	a := &r.info.addrs
	if r.hdr.Addrs&(netbsd.RTA_IFP|netbsd.RTA_IFA) != 0 {
		a[netbsd.RTAX_IFP], a[netbsd.RTAX_IFA] = rt.ifp.dl.sa, rt.ifa.sa
		a[netbsd.RTAX_BRD] = nil
		r.hdr.Index = rt.ifp.Index
	}
	hdr := r.hdr
	hdr.Flags = rt.flags
	hdr.Rmx = r.s.metrics(rt)
	// What a message does not report stays as the program has sent it.
	hdr.Rmx.Locks, hdr.Rmx.Pksent = r.hdr.Rmx.Locks, r.hdr.Rmx.Pksent
	r.msg = netbsd.AppendRtMessage(r.s.machine, nil, &hdr, *a)
	r.hdr = hdr
}

// get is RTM_GET: a route, or the neighbour that it leads to.
func (r *routeRequest) get() error {
	rt, err := r.s.routeGet(&r.info)
	if err != nil {
		return err
	}
	// arp(8) and ndp(8) ask for neighbours; old ones can be told by a flag
	// that route(8) sets and they do not.
	dst := r.info.addrs[netbsd.RTAX_DST]
	asksNeighbour := r.hdr.Flags&netbsd.RTF_LLDATA != 0 || r.hdr.Flags&netbsd.RTF_UP == 0
	if !asksNeighbour || saAddr(dst) == rt.key.prefix.Addr() {
		r.report(rt)
		return nil
	}
	n := r.s.findNeighbour(rt.ifp, saAddr(dst))
	r.info.addrs[netbsd.RTAX_GATEWAY] = r.s.neighbourGateway(rt.ifp, n)
	r.reportAddrs(rt)
	r.hdr.Flags |= netbsd.RTF_LLDATA
	if n != nil && n.static {
		r.hdr.Flags |= netbsd.RTF_STATIC
	}
	return nil
}

// change is RTM_CHANGE and RTM_LOCK.
func (r *routeRequest) change() error {
	s, a := r.s, &r.info.addrs
	rt, err := s.routeGet(&r.info)
	if err != nil {
		return err
	}
	switch {
	case saAddr(a[netbsd.RTAX_DST]) != rt.key.prefix.Addr():
		return netbsd.ESRCH
	case a[netbsd.RTAX_NETMASK] == nil && !rt.key.host:
		return netbsd.ETOOMANYREFS
	}
	if r.hdr.Type == netbsd.RTM_CHANGE {
		if err := s.routeIfa(&r.info); err != nil {
			return err
		}
		ifa, ifp := s.changedIfa(&r.info, rt)
		s.routes.update(func() {
			if gw := a[netbsd.RTAX_GATEWAY]; gw != nil {
				rt.gateway = cloneSockaddr(gw)
			}
			if tag := a[netbsd.RTAX_TAG]; tag != nil {
				rt.tag = cloneSockaddr(tag)
			}
			if ifa != nil {
				rt.ifa = ifa
			}
			if ifp != nil {
				rt.ifp = ifp
			}
			const preserved = netbsd.RTF_UP | netbsd.RTF_GATEWAY | netbsd.RTF_HOST | netbsd.RTF_DONE | netbsd.RTF_MASK
			rt.flags = r.info.flags&^preserved | rt.flags&preserved
			r.setMetrics(rt)
			s.routeFinish(rt, a[netbsd.RTAX_NETMASK] != nil)
		})
		s.pushRoutes()
	}
	inits := uint64(uint32(r.hdr.Inits))
	rt.rmx.Locks = rt.rmx.Locks&^inits | inits&r.hdr.Rmx.Locks
	return nil
}

// changedIfa finds the address and interface that a changed route leaves with
// (route_output_get_ifa); nil where nothing changes.
func (s *Stack) changedIfa(info *routeInfo, rt *route) (*ifaddr, *Interface) {
	a := &info.addrs
	if dl := a[netbsd.RTAX_IFP]; dl != nil {
		if ifa := s.ifaWithNet(dl); ifa != nil {
			ifp := ifa.ifp
			switch {
			case a[netbsd.RTAX_IFA] != nil:
				if ifa := s.ifaWithAddr(saAddr(a[netbsd.RTAX_IFA]), true); ifa != nil {
					return ifa, ifp
				}
				return ifp.ifaOfInterface(a[netbsd.RTAX_IFA]), ifp
			case a[netbsd.RTAX_GATEWAY] != nil:
				return ifp.ifaOfInterface(a[netbsd.RTAX_GATEWAY]), ifp
			}
			return nil, ifp
		}
	}
	var ifa *ifaddr
	if sa := a[netbsd.RTAX_IFA]; sa != nil {
		ifa = s.ifaWithAddr(saAddr(sa), true)
	}
	if gw := a[netbsd.RTAX_GATEWAY]; ifa == nil && gw != nil {
		ifa = s.ifaWithRoute(rt.flags, rt.dst(), gw)
	}
	if ifa == nil {
		return nil, nil
	}
	return ifa, ifa.ifp
}

// isNeighbour tells whether an RTM_ADD is about a neighbour: it gives a
// link-level address, not merely an interface.
func (r *routeRequest) isNeighbour() bool {
	gw := r.info.addrs[netbsd.RTAX_GATEWAY]
	return saFamily(gw) == netbsd.AF_LINK && len(gw) >= 8 && !bytes.Equal(gw[5:8], []byte{0, 0, 0})
}

// neighbourInterface finds the interface that an RTM_ADD or RTM_DELETE of a
// neighbour means. Programs that do not tell mean the one that a route leads
// to; so do those that want it answered for.
func (r *routeRequest) neighbourInterface() (*Interface, error) {
	s, m := r.s, r.s.machine
	index := dlIndex(m, r.info.addrs[netbsd.RTAX_GATEWAY])
	proxy := false
	if dst := r.info.addrs[netbsd.RTAX_DST]; saFamily(dst) == netbsd.AF_INET {
		var sin netbsd.RawSockaddrInarp
		if netbsd.Unmarshal(m, dst, &sin) == nil {
			proxy = sin.Other&netbsd.SIN_PROXY != 0
		}
	}
	if r.hdr.Type == netbsd.RTM_ADD && (index == 0 || proxy) {
		rt, err := s.routeGet(&r.info)
		if err != nil {
			return nil, err
		}
		index = dlIndex(m, rt.gateway)
	}
	ifp := s.ifByIndex[index]
	if ifp == nil || len(ifp.mac()) == 0 {
		return nil, netbsd.EINVAL
	}
	return ifp, nil
}

func (r *routeRequest) addNeighbour(ifp *Interface, err error) error {
	a := saAddr(r.info.addrs[netbsd.RTAX_DST])
	switch {
	case err != nil:
		return err
	case !a.IsValid():
		return netbsd.EAFNOSUPPORT
	}
	mac := dlAddr(r.info.addrs[netbsd.RTAX_GATEWAY])
	if len(mac) < int(ifp.addrlen) {
		return netbsd.EINVAL
	}
	return r.s.addNeighbour(ifp, a, mac[:ifp.addrlen], r.hdr.Rmx.Expire, r.hdr.Flags&netbsd.RTF_ANNOUNCE != 0)
}

func (r *routeRequest) deleteNeighbour() error {
	a := saAddr(r.info.addrs[netbsd.RTAX_DST])
	ifp, err := r.neighbourInterface()
	switch {
	case err != nil:
		return err
	case !a.IsValid():
		return netbsd.EAFNOSUPPORT
	}
	return r.s.deleteNeighbour(ifp, a)
}
