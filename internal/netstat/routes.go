package netstat

import (
	"bufio"
	"context"
	"fmt"
	"io"

	"rumptools/internal/rtsock"
	"rumptools/pkg/netbsd"
)

// Routes is a snapshot of routing tables.
type Routes struct {
	// List has the routes in the kernel's order: those of an address family
	// after each other.
	List []Route

	text addressText
}

// Route is an entry of a routing table, as JSON has it.
type Route struct {
	Family string `json:"family"` // "inet", "inet6" or a number
	// Destination is an address, or one and the length of its prefix. A
	// link-local one has the interface as its zone.
	Destination string `json:"destination"`
	// Gateway is an address, or an interface's number ("link#2") or name.
	Gateway string `json:"gateway"`
	// Flags are netstat(1)'s letters.
	Flags string `json:"flags"`
	// MTU is 0 when the interface's holds; when it is locked path MTU
	// discovery leaves it alone.
	MTU       uint64   `json:"mtu,omitempty"`
	MTULocked bool     `json:"mtuLocked,omitempty"`
	Interface string   `json:"interface"`
	Metrics   *Metrics `json:"metrics,omitempty"`

	route rtsock.Route
}

// Metrics are a route's parameters for protocols: only those that are not 0.
type Metrics struct {
	Expire   int64  `json:"expire,omitempty"` // seconds since 1970
	Hopcount uint64 `json:"hopcount,omitempty"`
	Recvpipe uint64 `json:"recvpipe,omitempty"` // bytes, as the next two
	Sendpipe uint64 `json:"sendpipe,omitempty"`
	Ssthresh uint64 `json:"ssthresh,omitempty"`
	RTT      uint64 `json:"rtt,omitempty"` // microseconds, as the next
	RTTVar   uint64 `json:"rttvar,omitempty"`
}

// RouteOptions choose routes.
type RouteOptions struct {
	// Family is the address family of the destinations, all when it is
	// AF_UNSPEC.
	Family int32
	// NoLink leaves out the entries of neighbours, which some kernels keep
	// in the routing table.
	NoLink bool
}

// ListRoutes takes a snapshot of the routing tables.
func ListRoutes(ctx context.Context, k Kernel, o RouteOptions) (*Routes, error) {
	list, err := rtsock.Routes(ctx, k, o.Family)
	if err != nil {
		return nil, fmt.Errorf("routing table: %w", err)
	}
	interfaces, err := rtsock.Interfaces(ctx, k)
	if err != nil {
		return nil, fmt.Errorf("interface list: %w", err)
	}
	r := &Routes{text: addressText{
		names: Names{NumericAddresses: true}, machine: k.Machine(), interfaces: rtsock.Names(interfaces),
	}}
	for _, route := range list {
		if o.Family != netbsd.AF_UNSPEC && int32(rtsock.Family(route.Dst())) != o.Family {
			continue
		}
		// The kernel's own addresses have the flag as well; they are no
		// neighbours.
		if o.NoLink && route.Flags&netbsd.RTF_LLDATA != 0 && route.Flags&netbsd.RTF_LOCAL == 0 {
			continue
		}
		r.List = append(r.List, r.route(route))
	}
	return r, nil
}

func (r *Routes) route(route rtsock.Route) Route {
	rmx := route.Rmx
	result := Route{
		Family:      familyName(rtsock.Family(route.Dst())),
		Destination: r.destination(&route),
		Gateway:     r.gateway(&route),
		Flags:       routeFlags(route.Flags),
		MTU:         rmx.Mtu,
		MTULocked:   rmx.Locks&netbsd.RTV_MTU != 0,
		Interface:   r.text.interfaces[int(route.Index)],
		route:       route,
	}
	m := Metrics{rmx.Expire, rmx.Hopcount, rmx.Recvpipe, rmx.Sendpipe, rmx.Ssthresh, rmx.Rtt, rmx.Rttvar}
	if m != (Metrics{}) {
		result.Metrics = &m
	}
	return result
}

func familyName(family uint8) string {
	switch family {
	case netbsd.AF_INET:
		return "inet"
	case netbsd.AF_INET6:
		return "inet6"
	}
	return fmt.Sprint(family)
}

// destination is the whole address with its prefix's length, for programs.
func (r *Routes) destination(route *rtsock.Route) string {
	sa, err := netbsd.ParseSockaddr(r.text.machine, route.Dst())
	if err != nil || !sa.Addr().IsValid() {
		return r.text.host(route.Dst())
	}
	sa = sa.ExtractScope()
	text := sa.Addr().WithZone(r.text.zone(sa.ScopeID)).String()
	if route.Flags&netbsd.RTF_HOST != 0 {
		return text
	}
	mask, err := netbsd.ParseNetmask(sa.Family, route.Netmask())
	if err != nil {
		return text
	}
	n, _ := netbsd.PrefixLen(mask)
	return fmt.Sprintf("%s/%d", text, n)
}

// gateway is the whole address, for programs.
func (r *Routes) gateway(route *rtsock.Route) string {
	sa, err := netbsd.ParseSockaddr(r.text.machine, route.Gateway())
	if err != nil || !sa.Addr().IsValid() {
		return r.text.host(route.Gateway())
	}
	sa = sa.ExtractScope()
	return sa.Addr().WithZone(r.text.zone(sa.ScopeID)).String()
}

// routeFlagLetters are the letters of RTF_* flags, in the order in which they
// are shown.
var routeFlagLetters = []struct {
	flag   int32
	letter byte
}{
	{netbsd.RTF_UP, 'U'},
	{netbsd.RTF_GATEWAY, 'G'},
	{netbsd.RTF_HOST, 'H'},
	{netbsd.RTF_REJECT, 'R'},
	{netbsd.RTF_BLACKHOLE, 'B'},
	{netbsd.RTF_DYNAMIC, 'D'},
	{netbsd.RTF_MODIFIED, 'M'},
	{netbsd.RTF_DONE, 'd'},
	{netbsd.RTF_MASK, 'm'},
	{netbsd.RTF_CONNECTED, 'C'},
	{netbsd.RTF_STATIC, 'S'},
	{netbsd.RTF_PROTO1, '1'},
	{netbsd.RTF_PROTO2, '2'},
	{netbsd.RTF_ANNOUNCE, 'p'},
	{netbsd.RTF_LOCAL, 'l'},
	{netbsd.RTF_BROADCAST, 'b'},
}

func routeFlags(flags int32) string {
	var letters []byte
	for _, f := range routeFlagLetters {
		if flags&f.flag != 0 {
			letters = append(letters, f.letter)
		}
	}
	return string(letters)
}

// Write prints the routing tables as netstat -r does.
func (r *Routes) Write(w io.Writer, names Names) error {
	b := bufio.NewWriter(w)
	text := r.text
	text.names = names
	b.WriteString("Routing tables\n")
	family := -1
	for i := range r.List {
		route := &r.List[i].route
		dst := rtsock.Family(route.Dst())
		dstWidth, gatewayWidth := routeWidths(dst, names.NumericAddresses)
		if int(dst) != family {
			family = int(dst)
			fmt.Fprintf(b, "\n%s:\n", familyTitle(dst))
			fmt.Fprintf(b, "%-*s %-*s %-6s %6s %8s %6s %s\n",
				dstWidth, "Destination", gatewayWidth, "Gateway", "Flags", "Refs", "Use", "Mtu", "Interface")
		}
		destination := text.destination(route)
		gateway := text.host(route.Gateway())
		if !names.NumericAddresses {
			destination, gateway = cut(destination, dstWidth), cut(gateway, gatewayWidth)
		}
		mtu, locked := "-", " "
		if route.Rmx.Mtu != 0 {
			mtu = fmt.Sprint(route.Rmx.Mtu)
		}
		if route.Rmx.Locks&netbsd.RTV_MTU != 0 {
			locked = "L"
		}
		fmt.Fprintf(b, "%-*s %-*s %-6.6s %6s %8s %6s%s %.16s\n", dstWidth, destination, gatewayWidth, gateway,
			routeFlags(route.Flags), "-", "-", mtu, locked, text.interfaces[int(route.Index)])
		if names.Verbose {
			writeMetrics(b, &route.Rmx)
		}
	}
	return b.Flush()
}

// destination shows a route's destination as netstat(1) does.
func (t addressText) destination(route *rtsock.Route) string {
	dst := route.Dst()
	if route.Flags&netbsd.RTF_HOST != 0 || route.Netmask() == nil && rtsock.Family(dst) != netbsd.AF_INET6 {
		return t.host(dst)
	}
	return t.network(dst, route.Netmask())
}

// routeWidths are those of the columns of destinations and gateways: IPv6
// addresses get more room, except where names are shown.
func routeWidths(family uint8, numeric bool) (dst, gateway int) {
	if family == netbsd.AF_INET6 && numeric {
		return 39, 30
	}
	return 18, 18
}

func familyTitle(family uint8) string {
	switch family {
	case netbsd.AF_INET:
		return "Internet"
	case netbsd.AF_INET6:
		return "Internet6"
	case netbsd.AF_APPLETALK:
		return "AppleTalk"
	case netbsd.AF_MPLS:
		return "MPLS"
	}
	return fmt.Sprintf("Protocol Family %d", family)
}

// writeMetrics prints what routes tell protocols; an L is after those that are
// locked.
func writeMetrics(b *bufio.Writer, m *netbsd.RtMetrics) {
	lock := func(bit uint64) byte {
		if m.Locks&bit != 0 {
			return 'L'
		}
		return ' '
	}
	fmt.Fprintf(b, "\texpire   %10d%c  recvpipe %10d%c  sendpipe %10d%c\n", m.Expire, lock(netbsd.RTV_EXPIRE),
		m.Recvpipe, lock(netbsd.RTV_RPIPE), m.Sendpipe, lock(netbsd.RTV_SPIPE))
	fmt.Fprintf(b, "\tssthresh %10d%c  rtt      %10d%c  rttvar   %10d%c\n", m.Ssthresh, lock(netbsd.RTV_SSTHRESH),
		m.Rtt, lock(netbsd.RTV_RTT), m.Rttvar, lock(netbsd.RTV_RTTVAR))
	fmt.Fprintf(b, "\thopcount %10d%c\n", m.Hopcount, lock(netbsd.RTV_HOPCOUNT))
}
