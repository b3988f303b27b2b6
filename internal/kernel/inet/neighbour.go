package inet

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"rumptools/pkg/netbsd"
)

// Lives of what ARP has learnt, in seconds, until set otherwise
// (net.inet.arp.keep, .down).
const (
	arpKeep = 1200
	arpDown = 20
)

// arpTries is how often ARP asks before a host is held to be down.
const arpTries = 5

// neighbour is an entry of the tables of ARP and NDP: struct llentry.
type neighbour struct {
	addr      netip.Addr // IPv6 in the kernel's form
	mac       []byte     // empty when it is not known
	expire    int64      // seconds of uptime; 0 is never
	static    bool       // entered by hand, or an own address
	published bool       // answered for
	state     int32      // ND6_LLINFO_*
	updated   tcpip.MonotonicTime
}

func nudConfigs() stack.NUDConfigurations { return stack.DefaultNUDConfigurations() }

// setNUD tells the engine how an interface finds its neighbours.
func (s *Stack) setNUD(ifp *Interface) {
	c := nudConfigs()
	c.MaxMulticastProbes = arpTries
	s.net.SetNUDConfigurations(ifp.NICID, ipv4.ProtocolNumber, c)
}

// neighbours gives an interface's entries for a family, in the order of the
// kernel's hash table.
func (s *Stack) neighbours(ifp *Interface, family int32) []neighbour {
	proto := tcpip.NetworkProtocolNumber(ipv4.ProtocolNumber)
	if family == netbsd.AF_INET6 {
		proto = ipv6.ProtocolNumber
	}
	var list []neighbour
	seen := make(map[netip.Addr]bool)
	for _, ifa := range ifp.addrs {
		if ifa.family == family && len(ifa.entry) > 0 {
			list = append(list, neighbour{addr: ifa.addr, mac: ifa.entry, static: true, state: netbsd.ND6_LLINFO_REACHABLE})
			seen[ifa.addr] = true
		}
	}
	for a, n := range ifp.static {
		if (family == netbsd.AF_INET) == a.Is4() && !seen[a] {
			list = append(list, n)
			seen[a] = true
		}
	}
	entries, _ := s.net.Neighbors(ifp.NICID, proto)
	now := s.net.Clock().NowMonotonic()
	for _, e := range entries {
		a := netbsd.EmbedScope(netipAddr(e.Addr), uint32(ifp.Index))
		if seen[a] || e.State == stack.Unknown {
			continue
		}
		n := neighbour{addr: a, state: linkState(e.State), updated: e.UpdatedAt}
		keep := int64(s.params.get("net.inet.arp.keep"))
		switch {
		case len(e.LinkAddr) == 0:
			keep = int64(s.params.get("net.inet.arp.down"))
		case family == netbsd.AF_INET6:
			keep = int64(nudConfigs().BaseReachableTime / time.Second)
		}
		if e.State != stack.Unreachable {
			n.mac = []byte(e.LinkAddr)
		}
		n.expire = s.uptime() - int64(now.Sub(e.UpdatedAt)/time.Second) + keep
		list = append(list, n)
	}
	slices.SortStableFunc(list, func(a, b neighbour) int {
		if c := cmp.Compare(a.bucket(), b.bucket()); c != 0 {
			return c
		}
		return cmp.Compare(b.updated.Sub(a.updated), 0)
	})
	return list
}

// findNeighbour finds an interface's entry for an address; nil when there is
// none.
func (s *Stack) findNeighbour(ifp *Interface, a netip.Addr) *neighbour {
	family := int32(netbsd.AF_INET6)
	if a.Is4() {
		family = netbsd.AF_INET
	}
	for _, n := range s.neighbours(ifp, family) {
		if n.addr == a {
			return &n
		}
	}
	return nil
}

// bucket is the number of the kernel's hash chain that the entry is in.
func (n neighbour) bucket() byte {
	b := n.addr.AsSlice()
	b = b[len(b)-4:]
	return (b[0] ^ b[1] ^ b[2] ^ b[3]) & 31
}

// linkState maps the engine's states of a neighbour.
func linkState(state stack.NeighborState) int32 {
	switch state {
	case stack.Incomplete, stack.Unreachable:
		return netbsd.ND6_LLINFO_INCOMPLETE
	case stack.Stale:
		return netbsd.ND6_LLINFO_STALE
	case stack.Delay:
		return netbsd.ND6_LLINFO_DELAY
	case stack.Probe:
		return netbsd.ND6_LLINFO_PROBE
	}
	return netbsd.ND6_LLINFO_REACHABLE
}

// addNeighbour enters a neighbour by hand. expire is a time of the clock in
// seconds, 0 for never; EEXIST when there is one already that was entered so
// or an own address. s.mu is held.
func (s *Stack) addNeighbour(ifp *Interface, a netip.Addr, mac []byte, expire int64, published bool) error {
	if _, ok := ifp.static[a]; ok || ifp.find(a) != nil {
		return netbsd.EEXIST
	}
	n := neighbour{
		addr: a, mac: slices.Clone(mac), static: expire == 0, published: published,
		state: netbsd.ND6_LLINFO_REACHABLE,
	}
	if expire != 0 {
		n.expire = expire
		s.after(time.Until(time.Unix(expire, 0)), func() {
			if ifp.static[a].expire == expire {
				s.deleteNeighbour(ifp, a)
			}
		})
	}
	if ifp.static == nil {
		ifp.static = make(map[netip.Addr]neighbour)
	}
	ifp.static[a] = n
	s.publish(ifp)
	s.restoreNeighbours(ifp)
	if published && a.Is4() {
		s.announceARP(ifp, a, mac)
	}
	return nil
}

// deleteNeighbour takes an entry out; ENOENT when there is none. s.mu is held.
func (s *Stack) deleteNeighbour(ifp *Interface, a netip.Addr) error {
	_, static := ifp.static[a]
	delete(ifp.static, a)
	s.publish(ifp)
	err := s.net.RemoveNeighbor(ifp.NICID, engineProto(a), engineAddr(a))
	if err != nil && !static {
		return netbsd.ENOENT
	}
	return nil
}

// restoreNeighbours tells the engine, which forgets them when an interface
// goes down, the entries made by hand, and our own link-local addresses.
func (s *Stack) restoreNeighbours(ifp *Interface) {
	if len(ifp.mac()) == 0 || !ifp.is(netbsd.IFF_UP|netbsd.IFF_RUNNING) {
		return
	}
	for a, n := range ifp.static {
		s.net.AddStaticNeighbor(ifp.NICID, engineProto(a), engineAddr(a), tcpip.LinkAddress(n.mac))
	}
	for _, ifa := range ifp.addrs {
		if ifa.family == netbsd.AF_INET6 && netbsd.HasScope(ifa.addr) {
			s.net.AddStaticNeighbor(ifp.NICID, ipv6.ProtocolNumber, engineAddr(ifa.addr), tcpip.LinkAddress(ifp.mac()))
		}
	}
}

// publish tells an interface's link for which addresses it answers ARP.
func (s *Stack) publish(ifp *Interface) {
	l, ok := ifp.link.(*etherLink)
	if !ok {
		return
	}
	proxies := make(map[netip.Addr]tcpip.LinkAddress)
	for a, n := range ifp.static {
		if n.published && a.Is4() {
			proxies[a] = tcpip.LinkAddress(n.mac)
		}
	}
	l.proxies.Store(&proxies)
}

// downHosts are the neighbours that ARP has given up on, for a while.
type downHosts struct {
	mu    sync.Mutex
	hosts map[downHost]time.Time // until when
}

type downHost struct {
	nic  tcpip.NICID
	addr tcpip.Address
}

// set notes that a host is down, or no longer.
func (d *downHosts) set(h downHost, down bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !down {
		delete(d.hosts, h)
		return
	}
	now := time.Now()
	for h, until := range d.hosts {
		if now.After(until) {
			delete(d.hosts, h)
		}
	}
	if d.hosts == nil {
		d.hosts = make(map[downHost]time.Time)
	}
	d.hosts[h] = now.Add(arpDown * time.Second)
}

func (d *downHosts) has(h downHost) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	until, ok := d.hosts[h]
	return ok && time.Now().Before(until)
}

// neighbourError is EHOSTDOWN when ARP has lately given up on the next hop.
func (s *Stack) neighbourError(nic tcpip.NICID, hop netip.Addr) error {
	if hop.Is4() && s.down.has(downHost{nic, engineAddr(hop)}) {
		return netbsd.EHOSTDOWN
	}
	return nil
}

// reaches tells whether a link can send to an IPv4 address without asking for
// it by ARP.
func (s *Stack) reaches(l *etherLink, hop netip.Addr) bool {
	if hop.IsMulticast() || hop == netip.AddrFrom4([4]byte{255, 255, 255, 255}) || s.isOwn(l, hop) {
		return true
	}
	entries, _ := s.net.Neighbors(l.ifp.NICID, ipv4.ProtocolNumber)
	return slices.ContainsFunc(entries, func(e stack.NeighborEntry) bool {
		return e.Addr == engineAddr(hop) && len(e.LinkAddr) > 0
	})
}

// overhear has an ARP message of a host that is known change its hardware
// address, whoever the message is for, as RFC 826 and in_arpinput have it. The
// engine looks only at requests for its own addresses, and holds to the address
// that it has when a reply gives another: a host that came back with a new one
// would be out of reach for as long as the old one is thought good.
func (l *etherLink) overhear(msg header.ARP) {
	if !msg.IsValid() {
		return
	}
	sender, _ := netip.AddrFromSlice(msg.ProtocolAddressSender())
	mac := tcpip.LinkAddress(msg.HardwareAddressSender())
	if sender.IsUnspecified() || header.IsMulticastEthernetAddress(mac) || l.s.isOwn(l, sender) {
		return
	}
	l.mu.RLock()
	nic, ok := l.dispatcher.(interface {
		HandleNeighborProbe(tcpip.NetworkProtocolNumber, tcpip.Address, tcpip.LinkAddress) tcpip.Error
	})
	l.mu.RUnlock()
	if !ok {
		return
	}
	entries, _ := l.s.net.Neighbors(l.ifp.NICID, ipv4.ProtocolNumber)
	if slices.ContainsFunc(entries, func(e stack.NeighborEntry) bool {
		return e.Addr == engineAddr(sender) && len(e.LinkAddr) > 0 && e.LinkAddr != mac
	}) {
		nic.HandleNeighborProbe(ipv4.ProtocolNumber, engineAddr(sender), mac)
	}
}

// neighbourEvents takes the engine's news about neighbours.
type neighbourEvents struct{ s *Stack }

var _ stack.NUDDispatcher = neighbourEvents{}

// OnNeighborAdded implements [stack.NUDDispatcher].
func (neighbourEvents) OnNeighborAdded(tcpip.NICID, stack.NeighborEntry) {}

// OnNeighborChanged implements [stack.NUDDispatcher].
func (e neighbourEvents) OnNeighborChanged(nic tcpip.NICID, n stack.NeighborEntry) {
	if n.State != stack.Incomplete {
		e.s.down.set(downHost{nic, n.Addr}, n.State == stack.Unreachable)
	}
}

// OnNeighborRemoved implements [stack.NUDDispatcher].
func (e neighbourEvents) OnNeighborRemoved(nic tcpip.NICID, n stack.NeighborEntry) {
	e.s.down.set(downHost{nic, n.Addr}, false)
}
