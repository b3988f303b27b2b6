package inet

import (
	"net/netip"
	"sync"

	"rumptools/internal/kernel"
	"rumptools/pkg/netbsd"
)

// members counts the sockets that are in groups.
type members struct {
	mu sync.Mutex
	of map[membership]uint32
}

func (c *members) add(g membership, n int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of == nil {
		c.of = make(map[membership]uint32)
	}
	if c.of[g] += uint32(n); c.of[g] == 0 {
		delete(c.of, g)
	}
}

// addGroupSysctls adds the lists of multicast groups, which ifmcstat(8) shows.
func (s *Stack) addGroupSysctls() {
	for parent, family := range map[string]int32{"net.inet": netbsd.AF_INET, "net.inet6": netbsd.AF_INET6} {
		// It has a parameter of its own, so that it is a node.
		s.kernel.AddSysctl(parent, &kernel.Node{
			Name: "multicast", Num: netbsd.CTL_CREATE, Type: netbsd.CTLTYPE_NODE, Desc: "Multicast information",
			Get: func(r *kernel.SysctlRequest) ([]byte, error) { return s.groups(r, family) },
		})
	}
}

// groups is in_multicast_sysctl and in6_multicast_sysctl: the groups of the interface whose number is the parameter, each
// with an address of the interface before it and behind it how often it was joined.
func (s *Stack) groups(r *kernel.SysctlRequest, family int32) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ifp, err := s.ifOfParam(r)
	if err != nil {
		return nil, err
	}
	var order []netip.Addr
	joined := make(map[netip.Addr]uint32)
	join := func(group netip.Addr, n uint32) {
		if joined[group] == 0 {
			order = append(order, group)
		}
		joined[group] += n
	}
	var own netip.Addr
	for _, ifa := range ifp.addrs {
		if ifa.family != family {
			continue
		}
		a, _ := netbsd.ExtractScope(ifa.addr)
		if !own.IsValid() {
			own = ifa.addr
		}
		if family == netbsd.AF_INET {
			if ifa.addr == own {
				join(netip.AddrFrom4([4]byte{224, 0, 0, 1}), 1)
			}
			continue
		}
		b := a.As16()
		// The solicited-node group (RFC 4291, 2.7.1).
		join(netip.AddrFrom16([16]byte{0: 0xff, 1: 2, 11: 1, 12: 0xff, 13: b[13], 14: b[14], 15: b[15]}), 1)
		join(netip.IPv6LinkLocalAllNodes(), 1)
		join(netip.AddrFrom16([16]byte{0: 0xff, 1: 1, 15: 1}), 1)
	}
	s.members.mu.Lock()
	for g, n := range s.members.of {
		if g.nic == ifp.NICID && g.group.Is4() == (family == netbsd.AF_INET) {
			join(g.group, n)
		}
	}
	s.members.mu.Unlock()
	if !own.IsValid() {
		return nil, nil
	}
	var out []byte
	for _, group := range order {
		out = append(out, netbsd.EmbedScope(own, uint32(ifp.Index)).AsSlice()...)
		out = append(out, netbsd.EmbedScope(group, uint32(ifp.Index)).AsSlice()...)
		out = s.machine.Order.AppendUint32(out, joined[group])
	}
	return out, nil
}
