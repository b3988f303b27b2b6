//go:build linux

package netlink

import (
	"context"
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/netview"
	"rumptools/pkg/netbsd"
)

// Flags of looked up routes (RTCF_* of linux/in_route.h), in rtm_flags.
const (
	rtcfBroadcast = 0x10000000
	rtcfMulticast = 0x20000000
	rtcfLocal     = 0x80000000
)

// getRoute is RTM_GETROUTE: all routes, or the one to an address.
func (s *Server) getRoute(ctx context.Context, r *request) error {
	head, filter := r.fixed(unix.SizeofRtMsg)
	family := head[0]
	if !r.dump() {
		return s.lookUpRoute(ctx, r, head, filter)
	}
	var list [][]byte
	var flags uint16
	f := routeFilter{
		table: filter.uint32(unix.RTA_TABLE), protocol: head[5], typ: head[7], index: int(filter.uint32(unix.RTA_OIF)),
	}
	if f.table == 0 {
		f.table = uint32(head[4])
	}
	if f != (routeFilter{}) {
		flags = unix.NLM_F_DUMP_FILTERED
	}
	switch {
	case family != unix.AF_UNSPEC && family != unix.AF_INET && family != unix.AF_INET6:
		// Multicast forwarding and MPLS.
	case native.Uint32(head[8:])&unix.RTM_F_CLONED != 0:
		// Nothing is remembered of what was looked up.
	default:
		routes, err := netview.Routes(ctx, s.kernel, family)
		if err != nil {
			return err
		}
		for i := range routes {
			if rt := &routes[i]; f.wants(rt) {
				list = append(list, routeBody(rt))
			}
		}
	}
	r.answerList(unix.RTM_NEWROUTE, list, flags)
	return nil
}

// routeFilter says which routes are wanted; 0 is any.
type routeFilter struct {
	table         uint32
	protocol, typ uint8
	index         int
}

func (f routeFilter) wants(r *netview.Route) bool {
	return (f.table == 0 || f.table == uint32(r.Table)) && (f.protocol == 0 || f.protocol == r.Protocol) &&
		(f.typ == 0 || f.typ == r.Type) && (f.index == 0 || f.index == r.Index)
}

// routeBody is a struct rtmsg with its attributes.
func routeBody(r *netview.Route) []byte {
	b := make([]byte, 0, 128)
	dst := r.Dst.Addr()
	b = append(b, r.Family(), uint8(r.Dst.Bits()), 0, 0, r.Table, r.Protocol, r.Scope, r.Type)
	b = native.AppendUint32(b, 0)
	b = appendAttr32(b, unix.RTA_TABLE, uint32(r.Table))
	if r.Dst.Bits() > 0 {
		b = appendAttr(b, unix.RTA_DST, dst.AsSlice())
	}
	if r.MTU != 0 {
		b = appendAttr(b, unix.RTA_METRICS, appendAttr32(nil, unix.RTAX_MTU, r.MTU))
	}
	if r.PrefSrc.IsValid() {
		b = appendAttr(b, unix.RTA_PREFSRC, r.PrefSrc.AsSlice())
	}
	if r.Gateway.IsValid() {
		b = appendAttr(b, unix.RTA_GATEWAY, r.Gateway.AsSlice())
	}
	if dst.Is6() || r.Type != unix.RTN_UNREACHABLE && r.Type != unix.RTN_BLACKHOLE {
		b = appendAttr32(b, unix.RTA_OIF, uint32(r.Index))
	}
	if r.Metric != 0 || dst.Is6() {
		b = appendAttr32(b, unix.RTA_PRIORITY, r.Metric)
	}
	if dst.Is6() {
		b = appendAttr(b, unix.RTA_CACHEINFO, cacheInfo(r))
		b = appendAttr8(b, unix.RTA_PREF, 0)
	}
	return b
}

// cacheInfo is a struct rta_cacheinfo: little but the error of what cannot be
// reached.
func cacheInfo(r *netview.Route) []byte {
	b := make([]byte, 32)
	var errno unix.Errno
	switch r.Type {
	case unix.RTN_UNREACHABLE:
		errno = unix.EHOSTUNREACH
	case unix.RTN_BLACKHOLE:
		errno = unix.EINVAL
	}
	native.PutUint32(b[12:], uint32(-int32(errno)))
	return b
}

// lookUpRoute answers with the route to one address, as ip route get wants it.
func (s *Server) lookUpRoute(ctx context.Context, r *request, head []byte, filter attrs) error {
	family := head[0]
	if family != unix.AF_INET && family != unix.AF_INET6 {
		return unix.EOPNOTSUPP
	}
	dst, ok := addrOf(family, filter[unix.RTA_DST])
	if !ok {
		return unix.EINVAL
	}
	var src netip.Addr
	if b, given := filter[unix.RTA_SRC]; given {
		if src, ok = addrOf(family, b); !ok {
			return unix.EINVAL
		}
	}
	// Look-ups tell the way of packets, which is never that of a network.
	flags := native.Uint32(head[8:])
	index := int(filter.uint32(unix.RTA_OIF))
	rt, err := netview.Lookup(ctx, s.kernel, dst, index)
	switch {
	case netview.NoRoute(err), errors.Is(err, netbsd.EHOSTUNREACH):
		return unix.ENETUNREACH
	case err != nil:
		return err
	case rt.Type == unix.RTN_UNREACHABLE:
		return unix.EHOSTUNREACH
	case rt.Type == unix.RTN_BLACKHOLE:
		return unix.EINVAL
	case index != 0 && index != rt.Index && rt.Type != unix.RTN_LOCAL:
		return unix.ENETUNREACH
	}
	if src.IsValid() && src != rt.PrefSrc {
		addrs, err := netview.Addrs(ctx, s.kernel, family)
		if err != nil {
			return err
		}
		own := false
		for i := range addrs {
			own = own || addrs[i].Prefix.Addr() == src
		}
		if !own {
			return unix.EINVAL
		}
	}
	if flags&unix.RTM_F_FIB_MATCH != 0 {
		return s.matchRoute(ctx, r, &rt)
	}
	r.answer(unix.RTM_NEWROUTE, lookupBody(&rt, src, flags))
	return nil
}

// addrOf reads an address of a family.
func addrOf(family uint8, b []byte) (netip.Addr, bool) {
	a, ok := netip.AddrFromSlice(b)
	if !ok || a.Is4() != (family == unix.AF_INET) {
		return netip.Addr{}, false
	}
	return a, true
}

// matchRoute answers with the entry of the table that a look-up found.
func (s *Server) matchRoute(ctx context.Context, r *request, found *netview.Route) error {
	routes, err := netview.Routes(ctx, s.kernel, found.Family())
	if err != nil {
		return err
	}
	var best *netview.Route
	for i := range routes {
		rt := &routes[i]
		if rt.Dst.Contains(found.Dst.Addr()) && (rt.Index == found.Index || found.Type == unix.RTN_LOCAL) &&
			(best == nil || rt.Dst.Bits() > best.Dst.Bits()) {
			best = rt
		}
	}
	if best == nil {
		return unix.ENETUNREACH
	}
	r.answer(unix.RTM_NEWROUTE, routeBody(best))
	return nil
}

// lookupBody is a struct rtmsg with its attributes for the way to one address.
func lookupBody(r *netview.Route, src netip.Addr, flags uint32) []byte {
	dst := r.Dst.Addr()
	bits := uint8(dst.BitLen())
	srcBits := uint8(0)
	if src.IsValid() {
		srcBits = bits
	}
	table := uint8(unix.RT_TABLE_MAIN)
	if flags&unix.RTM_F_LOOKUP_TABLE != 0 {
		table = r.Table
	}
	b := make([]byte, 0, 128)
	if dst.Is4() {
		result := uint32(unix.RTM_F_CLONED)
		switch r.Type {
		case unix.RTN_LOCAL:
			result |= rtcfLocal
		case unix.RTN_BROADCAST:
			result |= rtcfBroadcast
		case unix.RTN_MULTICAST:
			result |= rtcfMulticast
		}
		b = append(b, unix.AF_INET, bits, srcBits, 0, table, unix.RTPROT_UNSPEC, unix.RT_SCOPE_UNIVERSE, r.Type)
		b = native.AppendUint32(b, result)
	} else {
		b = append(b, unix.AF_INET6, bits, srcBits, 0, table, r.Protocol, unix.RT_SCOPE_UNIVERSE, r.Type)
		b = native.AppendUint32(b, 0)
	}
	b = appendAttr32(b, unix.RTA_TABLE, uint32(table))
	b = appendAttr(b, unix.RTA_DST, dst.AsSlice())
	if src.IsValid() {
		b = appendAttr(b, unix.RTA_SRC, src.AsSlice())
	}
	b = appendAttr32(b, unix.RTA_OIF, uint32(r.Index))
	if from := r.PrefSrc; from.IsValid() && !src.IsValid() {
		b = appendAttr(b, unix.RTA_PREFSRC, from.AsSlice())
	}
	if r.Gateway.IsValid() {
		b = appendAttr(b, unix.RTA_GATEWAY, r.Gateway.AsSlice())
	}
	if dst.Is4() {
		b = appendAttr32(b, unix.RTA_UID, 0)
		b = appendAttr(b, unix.RTA_CACHEINFO, make([]byte, 32))
		return b
	}
	b = appendAttr32(b, unix.RTA_PRIORITY, r.Metric)
	b = appendAttr(b, unix.RTA_CACHEINFO, make([]byte, 32))
	return appendAttr8(b, unix.RTA_PREF, 0)
}

// Attributes and actions of rules (linux/fib_rules.h).
const (
	fraPriority         = 6
	fraSuppressPrefixes = 14
	fraTable            = 15
	fraProtocol         = 21
	actionToTable       = 1
)

// getRule is RTM_GETRULE: the rules that every host starts with. The kernel
// has one table of routes, of which Linux's are parts.
func (s *Server) getRule(_ context.Context, r *request) error {
	if !r.dump() {
		return unix.EOPNOTSUPP
	}
	var list [][]byte
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		if asked := r.body[0]; asked != unix.AF_UNSPEC && asked != family {
			continue
		}
		for _, rule := range []struct {
			priority uint32
			table    uint8
		}{{0, unix.RT_TABLE_LOCAL}, {32766, unix.RT_TABLE_MAIN}, {32767, unix.RT_TABLE_DEFAULT}} {
			if family == unix.AF_INET6 && rule.table == unix.RT_TABLE_DEFAULT {
				continue // it has no such table
			}
			// struct fib_rule_hdr
			b := []byte{family, 0, 0, 0, rule.table, 0, 0, actionToTable, 0, 0, 0, 0}
			b = appendAttr32(b, fraTable, uint32(rule.table))
			b = appendAttr32(b, fraSuppressPrefixes, ^uint32(0))
			b = appendAttr8(b, fraProtocol, unix.RTPROT_KERNEL)
			if rule.priority != 0 {
				b = appendAttr32(b, fraPriority, rule.priority)
			}
			list = append(list, b)
		}
	}
	r.answerList(unix.RTM_NEWRULE, list, 0)
	return nil
}
