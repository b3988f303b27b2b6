//go:build linux

package netview

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"rumptools/internal/rtsock"
	"rumptools/pkg/netbsd"
)

// Metrics that Linux gives routes of IPv6: those of addresses, and those that
// somebody adds. NetBSD's have none.
const (
	metricKernel = 256
	MetricUser   = 1024
)

// Route is a route.
type Route struct {
	Dst      netip.Prefix
	Gateway  netip.Addr // not valid for a network that the interface is on
	Index    int        // interface
	Type     uint8      // RTN_*
	Table    uint8      // RT_TABLE_MAIN, or RT_TABLE_LOCAL for what is not unicast
	Protocol uint8      // RTPROT_*
	Scope    uint8      // RT_SCOPE_*
	Metric   uint32
	PrefSrc  netip.Addr // the address to send from, where it is known
	MTU      uint32     // 0 unless it was set

	// As NetBSD has it: without a netmask, and with RTF_GATEWAY.
	host, viaGateway bool
}

// Family is the route's address family, Linux's.
func (r *Route) Family() uint8 { return familyOf(r.Dst.Addr()) }

// familyOf is an address's family, Linux's.
func familyOf(a netip.Addr) uint8 {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// Routes lists the routes of a family, or of both for AF_UNSPEC, IPv4 first.
// The families are Linux's.
func Routes(ctx context.Context, k Kernel, family uint8) ([]Route, error) {
	links, err := Links(ctx, k)
	if err != nil {
		return nil, err
	}
	var list []Route
	for _, f := range families(family) {
		raw, err := rtsock.Routes(ctx, k, int32(f))
		if err != nil {
			return nil, err
		}
		list = append(list, routesOf(k.Machine(), f, raw, links)...)
	}
	return list, nil
}

// families are NetBSD's families for one of Linux's, of which AF_UNSPEC is
// both.
func families(family uint8) []uint8 {
	switch family {
	case unix.AF_INET:
		return []uint8{netbsd.AF_INET}
	case unix.AF_INET6:
		return []uint8{netbsd.AF_INET6}
	}
	return []uint8{netbsd.AF_INET, netbsd.AF_INET6}
}

func routesOf(m *netbsd.Machine, family uint8, raw []rtsock.Route, links []Link) []Route {
	addrs := addrsOf(m, links, family)
	var list []Route
	broadcasts := map[netip.Addr]bool{}
	for i := range raw {
		r, ok := newRoute(m, &raw[i], links, addrs)
		if !ok || family != netbsdFamily(r.Dst.Addr()) || r.toLoopback(links) {
			continue
		}
		if r.Type == unix.RTN_BROADCAST {
			broadcasts[r.Dst.Addr()] = true
		}
		list = append(list, r)
	}
	// The kernel knows broadcast addresses from its interfaces; Linux has
	// routes for them.
	for i := range addrs {
		a := &addrs[i]
		if a.Broadcast.IsValid() && !broadcasts[a.Broadcast] {
			broadcasts[a.Broadcast] = true
			list = append(list, Route{
				Dst: netip.PrefixFrom(a.Broadcast, 32), Index: a.Index, Type: unix.RTN_BROADCAST,
				Table: unix.RT_TABLE_LOCAL, Protocol: unix.RTPROT_KERNEL, Scope: unix.RT_SCOPE_LINK, PrefSrc: a.Prefix.Addr(),
			})
		}
	}
	return list
}

// toLoopback tells whether a route is there for the address that programs are not shown.
func (r *Route) toLoopback(links []Link) bool {
	return r.Protocol == unix.RTPROT_KERNEL && isLoopback(links, r.Index) &&
		(r.Dst == ofLoopback.Masked() || r.Dst == netip.PrefixFrom(ofLoopback.Addr(), 128))
}

func netbsdFamily(a netip.Addr) uint8 {
	if a.Is4() {
		return netbsd.AF_INET
	}
	return netbsd.AF_INET6
}

// newRoute translates a route; false when it is none for Linux: the way to a
// neighbour, or one whose netmask is not a prefix's.
func newRoute(m *netbsd.Machine, raw *rtsock.Route, links []Link, addrs []Addr) (Route, bool) {
	sa, err := netbsd.ParseSockaddr(m, raw.Dst())
	if err != nil || !sa.Addr().IsValid() {
		return Route{}, false
	}
	sa = sa.ExtractScope()
	dst := sa.Addr()
	prefix := netip.PrefixFrom(dst, dst.BitLen())
	if raw.Flags&netbsd.RTF_HOST == 0 {
		mask, err := netbsd.ParseNetmask(sa.Family, raw.Netmask())
		if err != nil {
			return Route{}, false
		}
		p, ok := netbsd.Prefix(dst, mask)
		if !ok {
			return Route{}, false
		}
		prefix = p.Masked()
	}
	gw, err := netbsd.ParseSockaddr(m, raw.Gateway())
	if err != nil {
		gw = netbsd.SA{}
	}
	r := Route{
		Dst: prefix, Index: int(raw.Index), Type: unix.RTN_UNICAST, Table: unix.RT_TABLE_MAIN,
		host: raw.Flags&netbsd.RTF_HOST != 0, viaGateway: raw.Flags&netbsd.RTF_GATEWAY != 0,
	}
	if raw.Rmx.Locks&netbsd.RTV_MTU != 0 && !linkMTU(links, r.Index, raw.Rmx.Mtu) {
		r.MTU = uint32(min(raw.Rmx.Mtu, 1<<32-1))
	}
	switch {
	case raw.Flags&netbsd.RTF_STATIC != 0:
		r.Protocol = unix.RTPROT_STATIC
	case raw.Flags&netbsd.RTF_DYNAMIC != 0:
		r.Protocol = unix.RTPROT_REDIRECT
	case raw.Flags&netbsd.RTF_GATEWAY == 0:
		r.Protocol = unix.RTPROT_KERNEL
	case dst.Is6():
		r.Protocol = unix.RTPROT_RA
	default:
		r.Protocol = unix.RTPROT_BOOT
	}
	if raw.Flags&netbsd.RTF_GATEWAY != 0 && gw.Addr().IsValid() {
		r.Gateway = gw.ExtractScope().Addr()
	}
	owner, own := ownerOf(addrs, sa)
	switch {
	case raw.Flags&netbsd.RTF_LOCAL != 0, raw.Flags&netbsd.RTF_HOST != 0 && raw.Flags&netbsd.RTF_GATEWAY == 0 && own && isLoopback(links, r.Index):
		r.Type, r.Table, r.Protocol, r.Scope = unix.RTN_LOCAL, unix.RT_TABLE_LOCAL, unix.RTPROT_KERNEL, unix.RT_SCOPE_HOST
		r.Gateway = netip.Addr{}
		if own {
			r.Index = owner
		}
		if dst.Is4() {
			r.PrefSrc = dst
		}
	case raw.Flags&netbsd.RTF_LLDATA != 0 && raw.Flags&netbsd.RTF_HOST != 0 && gw.Family == netbsd.AF_LINK:
		return Route{}, false
	case raw.Flags&netbsd.RTF_BROADCAST != 0:
		r.Type, r.Table, r.Scope = unix.RTN_BROADCAST, unix.RT_TABLE_LOCAL, unix.RT_SCOPE_LINK
	case raw.Flags&netbsd.RTF_BLACKHOLE != 0:
		r.Type, r.Gateway = unix.RTN_BLACKHOLE, netip.Addr{}
	case raw.Flags&netbsd.RTF_REJECT != 0:
		r.Type, r.Gateway = unix.RTN_UNREACHABLE, netip.Addr{}
	case dst.Is6() && prefix.Addr().IsMulticast():
		r.Type, r.Table = unix.RTN_MULTICAST, unix.RT_TABLE_LOCAL
	case !r.Gateway.IsValid() && dst.Is4():
		r.Scope = unix.RT_SCOPE_LINK
		for i := range addrs {
			if addrs[i].Index == r.Index && prefix.Contains(addrs[i].Prefix.Addr()) {
				r.PrefSrc = addrs[i].Prefix.Addr()
				break
			}
		}
	}
	if dst.Is6() {
		// Linux's routes of IPv6 have no scope, but a metric.
		r.Scope = unix.RT_SCOPE_UNIVERSE
		switch {
		case r.Type == unix.RTN_LOCAL:
		case r.Protocol == unix.RTPROT_KERNEL:
			r.Metric = metricKernel
		default:
			r.Metric = MetricUser
		}
	}
	r.readTag(m, raw)
	return r, true
}

// ownerOf finds the interface that has an address.
func ownerOf(addrs []Addr, sa netbsd.SA) (int, bool) {
	for i := range addrs {
		a := &addrs[i]
		if a.Prefix.Addr() == sa.Addr() && (sa.ScopeID == 0 || int(sa.ScopeID) == a.Index) {
			return a.Index, true
		}
	}
	return 0, false
}

func isLoopback(links []Link, index int) bool {
	for i := range links {
		if links[i].Index == index {
			return links[i].Loopback()
		}
	}
	return false
}

// linkMTU tells whether an MTU is just the interface's.
func linkMTU(links []Link, index int, mtu uint64) bool {
	for i := range links {
		if links[i].Index == index {
			return links[i].Data.Mtu == mtu
		}
	}
	return false
}

// lookupTime is how long the answer to a look-up may take. The kernel has put
// it into the socket before it answers the request.
const lookupTime = 5 * time.Second

// Lookup finds the route that packets to an address take, as the kernel says
// (RTM_GET of route(4)). index is the interface of a link-local address, else 0.
// The route's destination is the address. The error is ESRCH when there is
// none.
func Lookup(ctx context.Context, k Kernel, dst netip.Addr, index int) (Route, error) {
	links, err := Links(ctx, k)
	if err != nil {
		return Route{}, err
	}
	raw, err := lookup(ctx, k, dst, index)
	if err != nil {
		return Route{}, err
	}
	m := k.Machine()
	addrs := addrsOf(m, links, netbsdFamily(dst))
	// What the answer is about is a whole network, or a neighbour.
	raw.Addrs[netbsd.RTAX_DST] = sockaddr(m, dst, index)
	raw.Flags = raw.Flags&^netbsd.RTF_LLDATA | netbsd.RTF_HOST
	r, ok := newRoute(m, &raw, links, addrs)
	if !ok {
		return Route{}, fmt.Errorf("RTM_GET %v: %w", dst, netbsd.ESRCH)
	}
	switch r.Type {
	case unix.RTN_UNREACHABLE, unix.RTN_BLACKHOLE:
		return r, nil
	case unix.RTN_LOCAL:
		// Packets to oneself go through the loopback interface.
		for i := range links {
			if links[i].Loopback() {
				r.Index = links[i].Index
				break
			}
		}
		r.PrefSrc = dst
		return r, nil
	}
	if r.PrefSrc, err = sourceOf(ctx, k, dst, index); err != nil {
		return Route{}, err
	}
	if !r.PrefSrc.IsValid() {
		if sa, err := netbsd.ParseSockaddr(m, raw.Addrs[netbsd.RTAX_IFA]); err == nil && netbsdFamily(dst) == sa.Family {
			r.PrefSrc = sa.ExtractScope().Addr()
		}
	}
	for i := range addrs {
		if addrs[i].Broadcast == dst && addrs[i].Index == r.Index {
			r.Type, r.Table, r.Scope = unix.RTN_BROADCAST, unix.RT_TABLE_LOCAL, unix.RT_SCOPE_LINK
		}
	}
	if dst.IsMulticast() {
		r.Type = unix.RTN_MULTICAST
	}
	return r, nil
}

// PathMTU gives the MTU in bytes of the path to an address, as far as routers have told, and that of
// the interface that it begins with. See [Lookup] for the rest.
func PathMTU(ctx context.Context, k Kernel, dst netip.Addr, index int) (path, link int, err error) {
	links, err := Links(ctx, k)
	if err != nil {
		return 0, 0, err
	}
	rt, err := lookup(ctx, k, dst, index)
	if err != nil {
		return 0, 0, err
	}
	const most = netbsd.IP_MAXPACKET
	link = most
	for i := range links {
		if links[i].Index == int(rt.Index) {
			link = int(min(links[i].Data.Mtu, most))
		}
	}
	if path = int(min(rt.Rmx.Mtu, most)); path == 0 || path > link {
		path = link
	}
	return path, link, nil
}

// discard is a port to connect to where nothing is sent.
const discard = 9

// sourceOf is the address that the kernel sends from to another: that of a
// socket of UDP that is connected. It is not valid where the kernel refuses.
func sourceOf(ctx context.Context, k Kernel, dst netip.Addr, index int) (netip.Addr, error) {
	m := k.Machine()
	fd, err := k.Socket(ctx, int32(netbsdFamily(dst)), netbsd.SOCK_DGRAM, 0)
	if err != nil {
		return netip.Addr{}, err
	}
	defer closeFD(ctx, k, fd)
	to := netip.AddrPortFrom(dst, discard)
	sa := netbsd.SockaddrIn(to)
	if dst.Is6() {
		scope := uint32(0)
		if netbsd.HasScope(dst) {
			scope = uint32(index)
		}
		sa = netbsd.SockaddrIn6(m, to, scope, 0)
	}
	if err := k.Connect(ctx, fd, sa); refused(err) {
		return netip.Addr{}, nil
	} else if err != nil {
		return netip.Addr{}, err
	}
	b, err := k.Getsockname(ctx, fd)
	if err != nil {
		return netip.Addr{}, err
	}
	from, err := netbsd.ParseSockaddr(m, b)
	if err != nil {
		return netip.Addr{}, err
	}
	return from.ExtractScope().Addr(), nil
}

// sockaddr is an address as routing messages have it.
func sockaddr(m *netbsd.Machine, a netip.Addr, index int) []byte {
	if a.Is6() && netbsd.HasScope(a) {
		return netbsd.SockaddrIn6(m, netip.AddrPortFrom(netbsd.EmbedScope(a, uint32(index)), 0), 0, 0)
	}
	return netbsd.Sockaddr(m, netip.AddrPortFrom(a, 0))
}

func lookup(ctx context.Context, k Kernel, dst netip.Addr, index int) (rtsock.Route, error) {
	m := k.Machine()
	fd, err := k.Socket(ctx, netbsd.PF_ROUTE, netbsd.SOCK_RAW, int32(netbsdFamily(dst)))
	if err != nil {
		return rtsock.Route{}, err
	}
	defer closeFD(ctx, k, fd)
	// An empty address asks for the interface's.
	ifp, err := netbsd.AppendSockaddrDl(m, nil, netbsd.SockaddrDL{})
	if err != nil {
		return rtsock.Route{}, err
	}
	seq := rand.Int32()
	req := netbsd.AppendRtMessage(m, nil, &netbsd.RtMsghdr{Type: netbsd.RTM_GET, Seq: seq, Flags: netbsd.RTF_UP | netbsd.RTF_HOST}, rtsock.Addrs{
		netbsd.RTAX_DST: sockaddr(m, dst, index), netbsd.RTAX_IFP: ifp,
	})
	if _, err := k.Write(ctx, fd, req); err != nil {
		return rtsock.Route{}, fmt.Errorf("RTM_GET %v: %w", dst, err)
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	buf := make([]byte, maxRouteMessage)
	for {
		n, _, err := k.RecvfromWait(ctx, fd, buf, 0)
		if err != nil {
			return rtsock.Route{}, fmt.Errorf("RTM_GET %v: %w", dst, err)
		}
		msg, _, err := netbsd.NextRtMessage(m, buf[:n])
		if err != nil || msg.Rtm == nil || msg.Rtm.Type != netbsd.RTM_GET || msg.Rtm.Seq != seq {
			continue
		}
		if msg.Rtm.Errno != 0 {
			return rtsock.Route{}, fmt.Errorf("RTM_GET %v: %w", dst, netbsd.Errno(msg.Rtm.Errno))
		}
		return rtsock.Route{RtMsghdr: *msg.Rtm, Addrs: msg.Addrs}, nil
	}
}

// maxRouteMessage is the size of the longest message of a routing socket, in
// bytes: a header and nine socket addresses.
const maxRouteMessage = 4096

// NoRoute tells whether an error of [Lookup] says that there is no route.
func NoRoute(err error) bool { return errors.Is(err, netbsd.ESRCH) }
