package inet

import (
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"rumptools/pkg/netbsd"
)

// engineRoute is a route as the engine was told it.
type engineRoute struct {
	dst     tcpip.Subnet
	gateway tcpip.Address
	nic     tcpip.NICID
	source  tcpip.Address
	mtu     uint32
}

// pushRoutes tells the engine what has changed in the routing table. s.mu is
// held.
func (s *Stack) pushRoutes() {
	s.routes.mu.RLock()
	want := make(map[routeKey]engineRoute, len(s.routes.routes))
	for key, rt := range s.routes.routes {
		if er, ok := s.engineRoute(rt); ok {
			want[key] = er
		}
	}
	s.routes.mu.RUnlock()
	for key, er := range s.pushed {
		if want[key] == er {
			continue
		}
		s.net.RemoveRoutes(func(r tcpip.Route) bool {
			return r.Destination == er.dst && r.NIC == er.nic && r.Gateway == er.gateway
		})
	}
	for key, er := range want {
		if s.pushed[key] != er {
			s.net.AddRoute(tcpip.Route{
				Destination: er.dst, Gateway: er.gateway, NIC: er.nic, SourceHint: er.source, MTU: er.mtu,
			})
		}
	}
	s.pushed = want
}

// engineRoute gives what the engine is told of a route; false when it can make
// no use of it. routes.mu is held.
func (s *Stack) engineRoute(rt *route) (engineRoute, bool) {
	a := rt.key.prefix.Addr()
	switch {
	case !rt.is(netbsd.RTF_UP), netbsd.HasScope(a), rt.ifa.family == netbsd.AF_LINK:
		// Addresses with a scope are reached by the interface they name.
		return engineRoute{}, false
	case !rt.key.host && s.routes.routes[routeKey{rt.key.prefix, true}] != nil && rt.key.prefix.IsSingleIP():
		// A route to the host itself is there besides.
		return engineRoute{}, false
	}
	er := engineRoute{
		dst:    engineSubnet(rt.key.prefix),
		nic:    rt.ifp.NICID,
		source: engineAddr(rt.ifa.addr),
	}
	if rt.flags&(netbsd.RTF_REJECT|netbsd.RTF_BLACKHOLE) != 0 {
		er.nic = nullNIC
		return er, true
	}
	if !rt.ifp.carries(a) {
		return engineRoute{}, false
	}
	if rt.is(netbsd.RTF_GATEWAY) {
		gw := saAddr(rt.gateway)
		if !gw.IsValid() || gw.Is4() != a.Is4() {
			return engineRoute{}, false
		}
		er.gateway = engineAddr(gw)
	}
	if mtu := rt.rmx.Mtu; mtu >= header.IPv4MinimumMTU && mtu < uint64(rt.ifp.mtu) && (a.Is4() || mtu >= minMTU6) {
		er.mtu = uint32(mtu)
	}
	return er, true
}

// outputError says why a packet to an address would not leave: EHOSTUNREACH
// when no route leads there, what a reject route says, ENETDOWN when the
// interface is down, EHOSTDOWN when the next hop does not answer to ARP. It is
// nil when it would leave, or vanish in a black hole. An IPv6 address is in
// the kernel's form; one with a scope needs no route. For a packet that must leave by
// device only routes that lead there tell. It counts the use of the route.
func (s *Stack) outputError(dst netip.Addr, device tcpip.NICID) error {
	if scoped, index := netbsd.ExtractScope(dst); index != 0 {
		return s.neighbourError(tcpip.NICID(index), scoped)
	}
	if dst.IsMulticast() && dst.Is6() {
		return nil
	}
	s.routes.mu.Lock()
	rt := s.routes.findLocked(dst)
	if device != 0 && (rt == nil || rt.ifp.NICID != device) {
		s.routes.mu.Unlock()
		return nil
	}
	if rt == nil {
		s.routes.mu.Unlock()
		s.countUnreachable(dst)
		return netbsd.EHOSTUNREACH
	}
	rt.use++
	flags, gateway, ifp := rt.flags, rt.gateway, rt.ifp
	s.routes.mu.Unlock()
	switch {
	case flags&netbsd.RTF_REJECT != 0 && flags&netbsd.RTF_HOST != 0:
		return netbsd.EHOSTUNREACH
	case flags&netbsd.RTF_REJECT != 0:
		return netbsd.ENETUNREACH
	case flags&netbsd.RTF_BLACKHOLE != 0:
		return nil
	case !s.net.CheckNIC(ifp.NICID):
		return netbsd.ENETDOWN
	}
	hop := dst
	if flags&netbsd.RTF_GATEWAY != 0 {
		hop = saAddr(gateway)
	}
	hop, _ = netbsd.ExtractScope(hop)
	if l, ok := ifp.link.(*etherLink); ok && hop.Is4() && l.noARP.Load() && !s.reaches(l, hop) {
		return netbsd.ENOTSUP
	}
	return s.neighbourError(ifp.NICID, hop)
}

// nullNIC is the number of an interface that only the engine knows: reject
// routes and black holes lead there. No real one has a number so high.
const nullNIC tcpip.NICID = 1 << 20

// nullLink swallows everything.
type nullLink struct{}

var _ stack.LinkEndpoint = nullLink{}

func (nullLink) WritePackets(pkts stack.PacketBufferList) (int, tcpip.Error) { return pkts.Len(), nil }
func (nullLink) MTU() uint32                                                 { return loopMTU }
func (nullLink) SetMTU(uint32)                                               {}
func (nullLink) MaxHeaderLength() uint16                                     { return 0 }
func (nullLink) LinkAddress() tcpip.LinkAddress                              { return "" }
func (nullLink) SetLinkAddress(tcpip.LinkAddress)                            {}
func (nullLink) Capabilities() stack.LinkEndpointCapabilities                { return 0 }
func (nullLink) Attach(stack.NetworkDispatcher)                              {}
func (nullLink) IsAttached() bool                                            { return true }
func (nullLink) Wait()                                                       {}
func (nullLink) ARPHardwareType() header.ARPHardwareType                     { return header.ARPHardwareNone }
func (nullLink) AddHeader(*stack.PacketBuffer)                               {}
func (nullLink) ParseHeader(*stack.PacketBuffer) bool                        { return true }
func (nullLink) Close()                                                      {}
func (nullLink) SetOnCloseAction(func())                                     {}
