package inet

import (
	"math"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/tcpip"

	"rumptools/pkg/netbsd"
)

// membership is a group that a socket joined on an interface.
type membership struct {
	nic   tcpip.NICID
	group netip.Addr // without scope
}

// groupSet is the groups that a socket joined. It has a lock of its own, for
// the engine reports to the network when a group is joined or left, and the
// report may come back to the same socket.
type groupSet struct {
	mu   sync.Mutex
	list []membership
	// now is the list for the path of packets, which may not take mu; nil is none.
	now atomic.Pointer[[]membership]
}

// has tells whether a group was joined on an interface. It takes no lock.
func (gs *groupSet) has(g membership) bool {
	list := gs.now.Load()
	return list != nil && slices.Contains(*list, g)
}

// changed is called with mu held.
func (gs *groupSet) changed() {
	list := slices.Clone(gs.list)
	gs.now.Store(&list)
}

// takesGroup tells whether a datagram that came to a group, if it did, is for the socket.
func (so *dgramSocket) takesGroup(p *packet) bool {
	if !p.dst.IsMulticast() {
		return true
	}
	group, _ := netbsd.ExtractScope(p.dst)
	groups, all := &so.groups4, &so.allGroups4
	if !group.Is4() {
		groups, all = &so.groups6, &so.allGroups6
	}
	return all.Load() || groups.has(membership{p.nic, group})
}

// join joins a group on an interface. The engine counts the members.
func (s *Stack) join(g membership) error {
	switch s.net.JoinGroup(engineProto(g.group), g.nic, engineAddr(g.group)).(type) {
	case nil:
		s.members.add(g, 1)
		return nil
	case *tcpip.ErrUnknownNICID:
		return netbsd.EADDRNOTAVAIL
	default:
		return netbsd.ENOBUFS
	}
}

// leave ends a membership. That of an interface which is gone ended with it.
func (s *Stack) leave(g membership) {
	s.members.add(g, -1)
	_ = s.net.LeaveGroup(engineProto(g.group), g.nic, engineAddr(g.group))
}

// add joins a group that was not joined before.
func (gs *groupSet) add(s *Stack, g membership, limit int) error {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if slices.Contains(gs.list, g) {
		return netbsd.EADDRINUSE
	}
	if len(gs.list) >= limit {
		return netbsd.ETOOMANYREFS
	}
	if err := s.join(g); err != nil {
		return err
	}
	gs.list = append(gs.list, g)
	gs.changed()
	return nil
}

// drop leaves the first group that fits; an interface of 0 fits all.
func (gs *groupSet) drop(s *Stack, g membership) error {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	i := slices.IndexFunc(gs.list, func(old membership) bool {
		return old.group == g.group && (g.nic == 0 || g.nic == old.nic)
	})
	if i < 0 {
		return netbsd.EADDRNOTAVAIL
	}
	s.leave(gs.list[i])
	gs.list = slices.Delete(gs.list, i, i+1)
	gs.changed()
	return nil
}

// clear leaves all groups.
func (gs *groupSet) clear(s *Stack) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	for _, g := range gs.list {
		s.leave(g)
	}
	gs.list = nil
	gs.changed()
}

// setMembership joins or leaves a group. The socket's lock is not held.
func (so *socket) setMembership(level, name int32, value []byte) error {
	s := so.stack
	// The numbers are the same for both levels.
	add := name == netbsd.IP_ADD_MEMBERSHIP
	var g membership
	var err error
	if level == netbsd.IPPROTO_IP {
		g, err = s.membership4(so.m, value, add)
	} else {
		g, err = s.membership6(so.m, value, add)
	}
	if err != nil {
		return err
	}
	groups, limit := &so.groups6, math.MaxInt
	if g.group.Is4() {
		groups, limit = &so.groups4, netbsd.IP_MAX_MEMBERSHIPS
	}
	if add {
		return groups.add(s, g, limit)
	}
	return groups.drop(s, g)
}

// setMulticast4 is ip_setmoptions.
func (s *Stack) setMulticast4(m *netbsd.Machine, o *ip4Options, name int32, value []byte) error {
	switch name {
	case netbsd.IP_MULTICAST_IF:
		if len(value) != 4 {
			return netbsd.EINVAL
		}
		a := netip.AddrFrom4([4]byte(value))
		if isAny(a) {
			o.mcastIf, o.mcastIfAddr = 0, netip.Addr{}
			return nil
		}
		nic, byIndex := s.multicastIf(a)
		if nic == 0 {
			return netbsd.EADDRNOTAVAIL
		}
		o.mcastIf, o.mcastIfAddr = nic, netip.Addr{}
		if byIndex {
			o.mcastIfAddr = a
		}
		return nil
	case netbsd.IP_MULTICAST_TTL:
		v, err := optSmall(m, value, netbsd.MAXTTL)
		if err != nil {
			return err
		}
		o.mcastTTL = v
		return nil
	case netbsd.IP_MULTICAST_LOOP:
		v, err := optSmall(m, value, 1)
		if err != nil {
			return err
		}
		o.noMcastLoop = v == 0
		return nil
	}
	return netbsd.EOPNOTSUPP
}

// multicast4 is ip_getmoptions.
func (s *Stack) multicast4(o *ip4Options, name int32) ([]byte, error) {
	switch name {
	case netbsd.IP_MULTICAST_IF:
		a := netip.IPv4Unspecified()
		if o.mcastIfAddr.IsValid() {
			a = o.mcastIfAddr
		} else if o.mcastIf != 0 {
			if p := s.primaryAddr4(o.mcastIf); p.IsValid() {
				a = p
			}
		}
		return a.AsSlice(), nil
	case netbsd.IP_MULTICAST_TTL:
		return []byte{o.mcastTTL}, nil
	case netbsd.IP_MULTICAST_LOOP:
		if o.noMcastLoop {
			return []byte{0}, nil
		}
		return []byte{1}, nil
	}
	return nil, netbsd.EOPNOTSUPP
}

// optSmall reads an option's value that is an unsigned char or an unsigned int
// of at most limit (ip_getoptval).
func optSmall(m *netbsd.Machine, value []byte, limit uint32) (uint8, error) {
	var v uint32
	switch len(value) {
	case 1:
		v = uint32(value[0])
	case 4:
		v = m.Order.Uint32(value)
	default:
		return 0, netbsd.EINVAL
	}
	if v > limit {
		return 0, netbsd.EINVAL
	}
	return uint8(v), nil
}

// multicastIf finds the interface that an address names: that with the address,
// or for 0.0.0.0/8 that with the index (RFC 1724, section 3.3).
func (s *Stack) multicastIf(a netip.Addr) (nic tcpip.NICID, byIndex bool) {
	if b := a.As4(); b[0] == 0 {
		nic := tcpip.NICID(b[1])<<16 | tcpip.NICID(b[2])<<8 | tcpip.NICID(b[3])
		if !s.net.HasNIC(nic) {
			return 0, false
		}
		return nic, true
	}
	return s.nicOfAddr(a), false
}

// membership4 reads struct ip_mreq, or struct ipv6_mreq with an IPv4-mapped
// group. An interface of 0 is one for any when a membership ends, else that of
// the route to the group.
func (s *Stack) membership4(m *netbsd.Machine, value []byte, add bool) (membership, error) {
	if len(value) == netbsd.Sizeof(m, netbsd.Ipv6Mreq{}) {
		g, err := s.membership6(m, value, add)
		if err == nil && !g.group.Is4() {
			err = netbsd.EINVAL
		}
		return g, err
	}
	var mreq netbsd.IpMreq
	if err := optStruct(m, value, &mreq); err != nil {
		return membership{}, err
	}
	g := membership{group: netip.AddrFrom4(mreq.Multiaddr)}
	if !g.group.IsMulticast() {
		return g, netbsd.EINVAL
	}
	iface := netip.AddrFrom4(mreq.Interface)
	switch {
	case !isAny(iface):
		if g.nic, _ = s.multicastIf(iface); g.nic == 0 {
			return g, netbsd.EADDRNOTAVAIL
		}
	case add:
		if g.nic = s.routedNIC(g.group); g.nic == 0 {
			return g, netbsd.EADDRNOTAVAIL
		}
	}
	return g, nil
}

// membership6 reads struct ipv6_mreq (ip6_get_membership).
func (s *Stack) membership6(m *netbsd.Machine, value []byte, add bool) (membership, error) {
	var mreq netbsd.Ipv6Mreq
	if err := optStruct(m, value, &mreq); err != nil {
		return membership{}, err
	}
	a := netip.AddrFrom16(mreq.Multiaddr)
	g := membership{group: unmapped(a)}
	if !g.group.IsMulticast() {
		return g, netbsd.EINVAL
	}
	g.group, _ = netbsd.ExtractScope(g.group)
	switch {
	case mreq.Interface != 0:
		if g.nic = tcpip.NICID(mreq.Interface); !s.net.HasNIC(g.nic) {
			return g, netbsd.ENXIO
		}
	case add:
		if g.nic = s.routedNIC(g.group); g.nic == 0 {
			return g, netbsd.EADDRNOTAVAIL
		}
	}
	return g, nil
}
