package inet

import (
	"net/netip"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// The MTU of the path to a host: what a router says is too big makes a route to the host that has
// that MTU, for a time, as NetBSD has it (icmp_mtudisc, icmp6_mtudisc_update). For datagrams over IPv4
// NetBSD does not, since those may always be fragmented. A connection that is told so is the engine's to
// mend; those after it begin with the route.

// discovery is how a socket's datagrams find the MTU of their path, one of sysproxy.PMTUDisc*.
type discovery int32

func (d *discovery) set(v int32) error {
	if v < sysproxy.PMTUDiscDont || v > sysproxy.PMTUDiscOmit {
		return netbsd.EINVAL
	}
	*d = discovery(v)
	return nil
}

// usesPath tells whether what routers have said counts.
func (d discovery) usesPath() bool { return d <= sysproxy.PMTUDiscDo }

// refuses tells whether a datagram that is too long fails.
func (d discovery) refuses() bool {
	return d == sysproxy.PMTUDiscDo || d == sysproxy.PMTUDiscProbe || d == sysproxy.PMTUDiscInterface
}

// marks tells whether a datagram that fits is not to be fragmented by routers.
func (d discovery) marks() bool {
	return d == sysproxy.PMTUDiscWant || d == sysproxy.PMTUDiscDo || d == sysproxy.PMTUDiscProbe
}

// mtu is the most bytes that a packet may have behind its IP header.
func (d discovery) mtu(s *Stack, r *stack.Route) int {
	if !d.usesPath() {
		if ep, err := s.net.GetNetworkEndpoint(r.NICID(), r.NetProto()); err == nil {
			return int(ep.MTU())
		}
	}
	return int(r.MTU())
}

const (
	// leastPathMTU4 is the least MTU that is believed of a path for IPv4 (icmp_mtudisc).
	leastPathMTU4 = 296
	// maxPathNews is how many messages of routers wait to be looked at.
	maxPathNews = 64
)

// plateaus are the MTUs that a path may have whose router does not tell (RFC 1191, 7.1), as far as
// interfaces here have larger ones.
var plateaus = [...]int{1492, 1006, 508, leastPathMTU4}

// seeksPath4 tells whether what has sent a packet of a protocol for IPv4 asks for the MTU of its path: a
// connection, or a socket that is to.
func (s *Stack) seeksPath4(proto uint8, local, remote endpoint) bool {
	seeks := func(so *socket) bool {
		so.mu.Lock()
		defer so.mu.Unlock()
		return so.ip4.discover.marks() && so.ip4.discover.usesPath()
	}
	switch proto {
	case netbsd.IPPROTO_TCP:
		return s.sockets.endTCP(local, remote) != nil
	case netbsd.IPPROTO_UDP:
		if so := s.sockets.findUDP(0, remote, local, nil); so != nil && seeks(&so.socket) {
			return true
		}
	}
	for _, so := range s.sockets.raw(netbsd.AF_INET) {
		if (so.ipProto == proto || so.ipProto == netbsd.IPPROTO_RAW) && seeks(&so.socket) {
			return true
		}
	}
	return false
}

// tooBig4 learns the MTU of the path to a host from ICMP's message about a datagram of total bytes.
func (s *Stack) tooBig4(dst netip.Addr, mtu, total int) {
	for i := 0; mtu == 0 && i < len(plateaus); i++ {
		if plateaus[i] < total {
			mtu = plateaus[i]
		}
	}
	if mtu >= leastPathMTU4 {
		s.learnPathMTU(dst, mtu, true)
	}
}

// tooBig6 learns the MTU of the path to a host from an ICMPv6 message about a packet of a protocol. It
// tells the socket that asks for that.
func (s *Stack) tooBig6(proto uint8, local, remote endpoint, mtu uint32) {
	connected := false
	switch proto {
	case netbsd.IPPROTO_TCP:
		connected = s.sockets.endTCP(local, remote) != nil
	case netbsd.IPPROTO_UDP:
		so := s.sockets.findUDP(0, remote, local, nil)
		if so == nil {
			break
		}
		so.mu.Lock()
		d := so.ip6.out.discover
		connected = so.connected
		so.mu.Unlock()
		if connected && d == sysproxy.PMTUDiscDo {
			so.fail(netbsd.EMSGSIZE)
		}
	}
	// Less than the least is no reason to send less (RFC 8201, 4).
	s.learnPathMTU(remote.addr, int(max(min(mtu, maxInt32), minMTU6)), connected)
}

// learnPathMTU takes it that the path to a host has an MTU. validated says that the packet in
// question is known to be ours. It runs on the path of packets.
func (s *Stack) learnPathMTU(dst netip.Addr, mtu int, validated bool) {
	if !dst.IsValid() || netbsd.HasScope(dst) {
		return
	}
	if s.pathNews.Add(1) > maxPathNews {
		s.pathNews.Add(-1)
		return
	}
	s.events.post(func() {
		s.pathNews.Add(-1)
		s.setPathMTU(dst, uint64(mtu), validated)
	})
}

// setPathMTU gives the route to a host an MTU, for which it makes one. s.mu is held.
func (s *Stack) setPathMTU(dst netip.Addr, mtu uint64, validated bool) {
	rt := s.routes.find(dst)
	if rt == nil || !rt.is(netbsd.RTF_UP|netbsd.RTF_GATEWAY) || rt.flags&(netbsd.RTF_REJECT|netbsd.RTF_BLACKHOLE) != 0 {
		return // hosts of our own networks have no routers before them
	}
	if mtu >= uint64(rt.ifp.mtu) || rt.rmx.Mtu != 0 && mtu > rt.rmx.Mtu || rt.rmx.Locks&netbsd.RTV_MTU != 0 {
		return
	}
	if !rt.key.host {
		most := s.params.get("net.inet6.icmp6.mtudisc_lowat")
		if validated {
			most = s.params.get("net.inet6.icmp6.mtudisc_hiwat")
		}
		if s.pathRoutes >= int(most) {
			return
		}
		info := &routeInfo{flags: netbsd.RTF_GATEWAY | netbsd.RTF_HOST | netbsd.RTF_DYNAMIC, ifa: rt.ifa}
		info.addrs[netbsd.RTAX_DST], info.addrs[netbsd.RTAX_GATEWAY] = sockaddrInet(dst), rt.gateway
		host, err := s.routeAdd(info)
		if err != nil {
			return
		}
		s.routes.update(func() { host.rmx, host.ifp = rt.rmx, rt.ifp })
		rt = host
	}
	if rt.rmx.Mtu != mtu {
		if dst.Is4() {
			s.sockets.icmp.stat[netbsd.ICMP_STAT_PMTUCHG].Add(1)
		} else {
			s.stats.icmp6[netbsd.ICMP6_STAT_PMTUCHG].Add(1)
		}
	}
	s.routes.update(func() { rt.rmx.Mtu = mtu })
	s.pushRoutes()
	if rt.pathTimer != nil && !rt.pathTimer.Stop() {
		return // it is about to end
	}
	if rt.pathTimer == nil {
		s.pathRoutes++
	}
	rt.pathTimer = s.after(time.Duration(s.params.get("net.inet.ip.mtudisctimeout"))*time.Second, func() { s.endPathMTU(rt) })
}

// endPathMTU has a route forget the MTU of the path. s.mu is held.
func (s *Stack) endPathMTU(rt *route) {
	s.pathRoutes--
	rt.pathTimer = nil
	switch {
	case s.routes.get(rt.key) != rt:
		return // deleted meanwhile
	case rt.is(netbsd.RTF_DYNAMIC | netbsd.RTF_HOST):
		s.routes.delete(rt)
		s.routes.update(func() { rt.flags &^= netbsd.RTF_UP })
	case rt.rmx.Locks&netbsd.RTV_MTU == 0:
		s.routes.update(func() { rt.rmx.Mtu = 0 })
	}
	s.pushRoutes()
}
