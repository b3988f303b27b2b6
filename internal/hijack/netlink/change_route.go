//go:build linux

package netlink

import (
	"context"
	"errors"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/netview"
	"rumptools/pkg/netbsd"
)

// routeRequest is a request to add or delete a route.
type routeRequest struct {
	netview.Route
	family uint8
	given  attrs
	table  uint32
	tos    uint8
	onLink bool // RTNH_F_ONLINK: the gateway is there whatever the addresses say
}

func readRoute(r *request) (rt routeRequest, err error) {
	if len(r.body) < unix.SizeofRtMsg {
		return rt, unix.EINVAL
	}
	head, given := r.fixed(unix.SizeofRtMsg)
	rt.given, rt.family, rt.tos, rt.table = given, head[0], head[3], uint32(head[4])
	rt.Protocol, rt.Scope, rt.Type = head[5], head[6], head[7]
	rt.onLink = native.Uint32(head[8:])&unix.RTNH_F_ONLINK != 0
	if given[unix.RTA_TABLE] != nil {
		rt.table = given.uint32(unix.RTA_TABLE)
	}
	if rt.table == unix.RT_TABLE_UNSPEC {
		rt.table = unix.RT_TABLE_MAIN
	}
	dst := netip.IPv4Unspecified()
	switch rt.family {
	case unix.AF_INET:
	case unix.AF_INET6:
		dst = netip.IPv6Unspecified()
	default:
		return rt, unix.EOPNOTSUPP // multicast forwarding, MPLS
	}
	for _, a := range []struct {
		typ uint16
		to  *netip.Addr
	}{{unix.RTA_DST, &dst}, {unix.RTA_GATEWAY, &rt.Gateway}, {unix.RTA_PREFSRC, &rt.PrefSrc}} {
		if b := given[a.typ]; b != nil {
			var ok bool
			if *a.to, ok = addrOf(rt.family, b); !ok {
				return rt, unix.EINVAL
			}
		}
	}
	for _, typ := range []uint16{unix.RTA_OIF, unix.RTA_PRIORITY, unix.RTA_TABLE} {
		if b := given[typ]; b != nil && len(b) < 4 {
			return rt, unix.EINVAL
		}
	}
	rt.Dst = netip.PrefixFrom(dst, int(head[1]))
	if !rt.Dst.IsValid() || rt.family == unix.AF_INET && rt.Dst != rt.Dst.Masked() {
		return rt, unix.EINVAL
	}
	rt.Dst = rt.Dst.Masked()
	if rt.Gateway.IsValid() && rt.Gateway.IsUnspecified() {
		rt.Gateway = netip.Addr{} // as if there were none
	}
	rt.Index, rt.Metric = int(int32(given.uint32(unix.RTA_OIF))), given.uint32(unix.RTA_PRIORITY)
	if head[2] != 0 {
		return rt, unix.EOPNOTSUPP // by where packets come from
	}
	return rt, nil
}

// metrics reads what else the route is given.
func (rt *routeRequest) metrics() error {
	for typ, b := range parseAttrs(rt.given[unix.RTA_METRICS]) {
		switch {
		case typ != unix.RTAX_MTU:
			return unix.EOPNOTSUPP
		case len(b) < 4:
			return unix.EINVAL
		}
		rt.MTU = native.Uint32(b)
	}
	return nil
}

// newRoute is RTM_NEWROUTE.
func (s *Server) newRoute(ctx context.Context, r *request) error {
	rt, err := readRoute(r)
	if err != nil {
		return err
	}
	if err := rt.given.only(unix.RTA_DST, unix.RTA_GATEWAY, unix.RTA_OIF, unix.RTA_PRIORITY, unix.RTA_PREFSRC, unix.RTA_METRICS,
		unix.RTA_TABLE, unix.RTA_CACHEINFO, unix.RTA_PREF); err != nil {
		return err
	}
	if err := rt.metrics(); err != nil {
		return err
	}
	if pref := rt.given[unix.RTA_PREF]; len(pref) > 0 && pref[0] != 0 || rt.table != unix.RT_TABLE_MAIN || rt.tos != 0 {
		return unix.EOPNOTSUPP
	}
	if rt.family == unix.AF_INET6 && rt.Metric == 0 {
		rt.Metric = netview.MetricUser
	}
	s.changing.Lock()
	defer s.changing.Unlock()
	list, err := netview.Routes(ctx, s.kernel, rt.family)
	if err != nil {
		return err
	}
	switch rt.Type {
	case unix.RTN_UNSPEC, unix.RTN_UNICAST:
		rt.Type = unix.RTN_UNICAST
		if err := s.findWay(ctx, &rt, list); err != nil {
			return err
		}
	case unix.RTN_BLACKHOLE, unix.RTN_UNREACHABLE:
		if rt.Gateway.IsValid() || rt.family == unix.AF_INET && rt.Index != 0 {
			return unix.EINVAL
		}
		rt.Index, rt.PrefSrc = 0, netip.Addr{}
	default:
		return unix.EOPNOTSUPP
	}
	create, replace := r.is(unix.NLM_F_CREATE), r.is(unix.NLM_F_REPLACE)
	old := sameNetwork(list, &rt.Route)
	switch {
	case old != nil && (!replace || r.is(unix.NLM_F_EXCL) || old.Metric != rt.Metric):
		// Also where Linux would have both: NetBSD has one route to a network.
		return unix.EEXIST
	case old == nil && !create && (replace || rt.family == unix.AF_INET):
		return unix.ENOENT
	case old == nil:
		err = netview.AddRoute(ctx, s.kernel, &rt.Route)
	default:
		err = netview.ReplaceRoute(ctx, s.kernel, old, &rt.Route)
	}
	if errors.Is(err, netview.ErrNoAddress) {
		return unix.EOPNOTSUPP
	}
	return err
}

// sameNetwork finds the route to the same network that programs can change.
func sameNetwork(list []netview.Route, rt *netview.Route) *netview.Route {
	for i := range list {
		if have := &list[i]; have.Table == unix.RT_TABLE_MAIN && have.Dst == rt.Dst && (!rt.Dst.Addr().IsLinkLocalUnicast() || have.Index == rt.Index) {
			return have
		}
	}
	return nil
}

// findWay finds the interface by which a route leaves, or says why it cannot: NetBSD would also take a router that no
// interface is on a network with.
func (s *Server) findWay(ctx context.Context, rt *routeRequest, list []netview.Route) error {
	links, err := netview.Links(ctx, s.kernel)
	if err != nil {
		return err
	}
	addrs, err := netview.Configured(ctx, s.kernel, rt.family)
	if err != nil {
		return err
	}
	own := func(ip netip.Addr) bool {
		return slices.ContainsFunc(addrs, func(a netview.Addr) bool {
			return a.Prefix.Addr() == ip && (!netbsd.HasScope(ip) || a.Index == rt.Index)
		})
	}
	up := func(index int) bool {
		return slices.ContainsFunc(links, func(l netview.Link) bool { return l.Index == index && l.Up() })
	}
	gw := rt.Gateway
	linkLocal := gw.Is6() && gw.IsLinkLocalUnicast()
	switch {
	case rt.Index != 0 && !slices.ContainsFunc(links, func(l netview.Link) bool { return l.Index == rt.Index }),
		rt.Index == 0 && (!gw.IsValid() || rt.onLink):
		return unix.ENODEV
	case rt.PrefSrc.IsValid() && !own(rt.PrefSrc), linkLocal && rt.Index == 0, gw.Is6() && (gw.IsMulticast() || own(gw)):
		return unix.EINVAL
	case gw.IsValid() && !linkLocal && !rt.onLink:
		return nextHop(rt, list, up)
	case !up(rt.Index):
		return unix.ENETDOWN
	}
	return nil
}

// nextHop looks whether a route's gateway is on a network that an interface is on, and sets the interface.
func nextHop(rt *routeRequest, list []netview.Route, up func(index int) bool) error {
	var best *netview.Route
	for i := range list {
		have := &list[i]
		if have.Dst.Contains(rt.Gateway) && (rt.Index == 0 || have.Index == rt.Index) && up(have.Index) &&
			(best == nil || have.Dst.Bits() > best.Dst.Bits()) {
			best = have
		}
	}
	switch {
	case best == nil || best.Type == unix.RTN_UNREACHABLE || best.Type == unix.RTN_BLACKHOLE || best.Gateway.IsValid():
		if rt.family == unix.AF_INET6 {
			return unix.EHOSTUNREACH
		}
		return unix.ENETUNREACH
	case best.Type != unix.RTN_UNICAST && best.Type != unix.RTN_LOCAL:
		return unix.EINVAL
	}
	rt.Index = best.Index
	return nil
}

// delRoute is RTM_DELROUTE: a route that has all that is given.
func (s *Server) delRoute(ctx context.Context, r *request) error {
	rt, err := readRoute(r)
	if err != nil {
		return err
	}
	switch {
	case rt.table == unix.RT_TABLE_LOCAL:
		return unix.EOPNOTSUPP // NetBSD's kernel keeps these itself
	case rt.table != unix.RT_TABLE_MAIN || rt.tos != 0:
		return unix.ESRCH
	}
	s.changing.Lock()
	defer s.changing.Unlock()
	list, err := netview.Routes(ctx, s.kernel, rt.family)
	if err != nil {
		return err
	}
	v4 := rt.family == unix.AF_INET
	for i := range list {
		have := &list[i]
		switch {
		case have.Table != unix.RT_TABLE_MAIN, have.Dst != rt.Dst,
			rt.Gateway.IsValid() && have.Gateway != rt.Gateway,
			rt.Index != 0 && have.Index != rt.Index && have.Type == unix.RTN_UNICAST,
			rt.Metric != 0 && have.Metric != rt.Metric,
			rt.Protocol != unix.RTPROT_UNSPEC && have.Protocol != rt.Protocol,
			v4 && rt.Type != unix.RTN_UNSPEC && have.Type != rt.Type,
			v4 && rt.Scope != unix.RT_SCOPE_NOWHERE && have.Scope != rt.Scope,
			v4 && rt.PrefSrc.IsValid() && have.PrefSrc != rt.PrefSrc:
			continue
		}
		return netview.DeleteRoute(ctx, s.kernel, have)
	}
	return unix.ESRCH
}
