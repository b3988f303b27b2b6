package inet

import (
	"rumptools/internal/kernel"
	"rumptools/pkg/netbsd"
)

// addSysctls adds the nodes below "net" that are not sockets'.
func (s *Stack) addSysctls() {
	k := s.kernel
	node := func(path, name string, num int32, desc string) {
		k.AddSysctl(path, &kernel.Node{Name: name, Num: num, Type: netbsd.CTLTYPE_NODE, Desc: desc})
	}
	node("net", "inet", netbsd.PF_INET, "PF_INET related settings")
	node("net.inet", "ip", netbsd.IPPROTO_IP, "IPv4 related settings")
	node("net.inet", "icmp", netbsd.IPPROTO_ICMP, "ICMPv4 related settings")
	node("net.inet", "arp", 1151, "Address Resolution Protocol")
	node("net", "inet6", netbsd.PF_INET6, "PF_INET6 related settings")
	node("net.inet6", "ip6", netbsd.IPPROTO_IPV6, "IPv6 related settings")
	node("net.inet6", "icmp6", netbsd.IPPROTO_ICMPV6, "ICMPv6 related settings")
	for _, p := range s.params.byName {
		p := p
		k.AddSysctl(p.path, kernel.IntFunc(p.name, p.num, p.value.Load, func(v int32) error { return p.set(s, v) }))
	}
	for _, path := range []string{"net.inet.ip", "net.inet6.ip6"} {
		num := int32(21)
		if path == "net.inet6.ip6" {
			num = 42
			k.AddSysctl(path, kernel.String("kame_version", 20, "NetBSD-current"))
			k.AddSysctl(path, kernel.IntFunc("rtadv_numroutes", 44, func() int32 { return 0 }, nil))
		} else {
			k.AddSysctl(path, kernel.Int("hashsize", 1165, 64))
		}
		// Packets are not queued between link and network.
		node(path, "ifq", num, "Protocol input queue controls")
		k.AddSysctl(path+".ifq", kernel.Int("len", 1, 0))
		k.AddSysctl(path+".ifq", kernel.Int("maxlen", 2, 256))
		k.AddSysctl(path+".ifq", kernel.Int("drops", 4, 0))
	}
	k.AddSysctl("net.inet6.icmp6", &kernel.Node{
		Name: "nd6_drlist", Num: 19, Type: netbsd.CTLTYPE_STRUCT, Desc: "Default router list", Get: s.sysctlRouters,
	})
	k.AddSysctl("net.inet6.icmp6", &kernel.Node{
		Name: "nd6_prlist", Num: 20, Type: netbsd.CTLTYPE_STRUCT, Desc: "Prefix list", Get: s.sysctlPrefixes,
	})
	node("net", "route", netbsd.PF_ROUTE, "PF_ROUTE information")
	k.AddSysctl("net.route", &kernel.Node{
		Name: "rtable", Num: 0, Type: netbsd.CTLTYPE_NODE, Desc: "Routing table information", Get: s.sysctlRoute,
	})
	k.AddSysctl("net", &kernel.Node{
		Name: "sdl", Num: 1025, Type: netbsd.CTLTYPE_NODE, Desc: "Get active link-layer address", Get: s.sysctlSdl,
	})
	node("net", "interfaces", 1175, "Per-interface controls")
}

// sysctlSdl is net.sdl: the link-level address of the interface whose number
// follows.
func (s *Stack) sysctlSdl(r *kernel.SysctlRequest) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ifp, err := s.ifOfParam(r)
	if err != nil {
		return nil, err
	}
	return ifp.mac(), nil
}

// ifOfParam is the interface whose number is the only parameter; s.mu is held.
func (s *Stack) ifOfParam(r *kernel.SysctlRequest) (*Interface, error) {
	if len(r.Params) != 1 {
		return nil, netbsd.EINVAL
	}
	ifp := s.ifByIndex[uint16(r.Params[0])]
	if ifp == nil || int32(ifp.Index) != r.Params[0] {
		return nil, netbsd.ENODEV
	}
	return ifp, nil
}

// addInterfaceSysctls adds an interface's nodes below net.interfaces. Frames
// are not queued on the way out either.
func (s *Stack) addInterfaceSysctls(ifp *Interface) {
	const top = "net.interfaces"
	node := func(path, name string) {
		s.kernel.AddSysctl(path, &kernel.Node{Name: name, Num: netbsd.CTL_CREATE, Type: netbsd.CTLTYPE_NODE})
	}
	node(top, ifp.Name)
	path := top + "." + ifp.Name
	if ifp.is(netbsd.IFF_LOOPBACK) {
		node(path, "rcvq")
		s.kernel.AddSysctl(path+".rcvq", kernel.Int("drops", netbsd.CTL_CREATE, 0))
	}
	node(path, "sndq")
	s.kernel.AddSysctl(path+".sndq", kernel.Int("len", netbsd.CTL_CREATE, 0))
	s.kernel.AddSysctl(path+".sndq", kernel.Int("maxlen", netbsd.CTL_CREATE, 256))
	s.kernel.AddSysctl(path+".sndq", kernel.Int("drops", netbsd.CTL_CREATE, 0))
}

// removeInterfaceSysctls takes them out again.
func (s *Stack) removeInterfaceSysctls(ifp *Interface) {
	s.kernel.RemoveSysctl("net.interfaces", ifp.Name)
}
