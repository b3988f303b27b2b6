package inet

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"time"

	"rumptools/pkg/netbsd"
)

// route is a route of the routing table: struct rtentry. Stack.mu guards its
// changing, routeTable.mu besides those fields that routeTable.find's callers
// use: flags, gateway, ifp, ifa.
type route struct {
	key   routeKey
	flags int32 // RTF_*
	// gateway is a socket address: the next router's, or a sockaddr_dl.
	gateway []byte
	// tag is what the route's maker gave with it (RTA_TAG); nil mostly.
	tag []byte
	// ifp is where packets leave, ifa the address that they leave with.
	ifp *Interface
	ifa *ifaddr
	// rmx are the metrics. Expire is in seconds of uptime.
	rmx netbsd.RtMetrics
	use int32
	// pathTimer ends the MTU that a router has told of; nil mostly.
	pathTimer *time.Timer
}

// routeKey is what a route is for. Two routes to the same prefix may exist,
// one with and one without a mask: to a host, and to a network of one host.
type routeKey struct {
	prefix netip.Prefix // masked; IPv6 in the kernel's form
	host   bool         // has no mask
}

// dst is the route's destination as messages show it.
func (rt *route) dst() []byte { return sockaddrInet(rt.key.prefix.Addr()) }

// mask is the route's mask as messages show it; nil for a host.
func (rt *route) mask() []byte {
	if rt.key.host {
		return nil
	}
	family := uint8(netbsd.AF_INET6)
	if rt.key.prefix.Addr().Is4() {
		family = netbsd.AF_INET
	}
	return netbsd.RouteNetmask(family, rt.key.prefix.Bits())
}

// is tells whether all of the flags are set.
func (rt *route) is(flags int32) bool { return rt.flags&flags == flags }

// compare orders routes as the kernel's tree does: by address, those to a host
// first, then the longer prefix first; IPv4 before IPv6.
func (k routeKey) compare(l routeKey) int {
	if c := k.prefix.Addr().Compare(l.prefix.Addr()); c != 0 {
		return c
	}
	if k.host != l.host {
		if k.host {
			return -1
		}
		return 1
	}
	return cmp.Compare(l.prefix.Bits(), k.prefix.Bits())
}

// routeTable holds the routes of both families. The zero value is empty.
type routeTable struct {
	mu     sync.RWMutex
	routes map[routeKey]*route
	// lengths counts the routes with a mask by their prefix length, so that
	// find tries only those that there are.
	lengths [2][129]int
}

func family2(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

// get finds the route with exactly that key; nil when there is none.
func (t *routeTable) get(key routeKey) *route {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.routes[key]
}

// find finds the route to an address (rtalloc1): to the host itself, else the
// longest prefix; nil when there is none. An IPv6 address is in the kernel's
// form.
func (t *routeTable) find(a netip.Addr) *route {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.findLocked(a)
}

func (t *routeTable) findLocked(a netip.Addr) *route {
	if !a.IsValid() {
		return nil
	}
	if rt := t.routes[routeKey{netip.PrefixFrom(a, a.BitLen()), true}]; rt != nil {
		return rt
	}
	lengths := &t.lengths[family2(a)]
	for bits := a.BitLen(); bits >= 0; bits-- {
		if lengths[bits] == 0 {
			continue
		}
		if rt := t.routes[routeKey{netip.PrefixFrom(a, bits).Masked(), false}]; rt != nil {
			return rt
		}
	}
	return nil
}

// add adds a route; false when there is one with its key.
func (t *routeTable) add(rt *route) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.routes[rt.key] != nil {
		return false
	}
	if t.routes == nil {
		t.routes = make(map[routeKey]*route)
	}
	t.routes[rt.key] = rt
	if !rt.key.host {
		t.lengths[family2(rt.key.prefix.Addr())][rt.key.prefix.Bits()]++
	}
	return true
}

// delete takes a route out.
func (t *routeTable) delete(rt *route) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.routes[rt.key] != rt {
		return
	}
	delete(t.routes, rt.key)
	if !rt.key.host {
		t.lengths[family2(rt.key.prefix.Addr())][rt.key.prefix.Bits()]--
	}
}

// update changes a route under the table's lock.
func (t *routeTable) update(change func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change()
}

// deleteIf takes out all routes that match.
func (t *routeTable) deleteIf(match func(*route) bool) {
	for _, rt := range t.sorted() {
		if match(rt) {
			t.delete(rt)
		}
	}
}

// sorted gives all routes in the kernel's order.
func (t *routeTable) sorted() []*route {
	t.mu.RLock()
	rts := make([]*route, 0, len(t.routes))
	for _, rt := range t.routes {
		rts = append(rts, rt)
	}
	t.mu.RUnlock()
	slices.SortFunc(rts, func(a, b *route) int { return a.key.compare(b.key) })
	return rts
}
