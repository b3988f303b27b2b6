package inet

import (
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"

	"golang.org/x/time/rate"

	"rumptools/pkg/netbsd"
)

// params are the integers below net.inet and net.inet6 that can be set.
type params struct {
	byName map[string]*param

	// Those that the path of packets looks at.
	forwarding4, forwarding6 atomic.Bool
	returnData               atomic.Int32
}

// param is an integer of the sysctl tree.
type param struct {
	// path is where it is, "net.inet.ip", and num its number there.
	path, name string
	num        int32
	value      atomic.Int32
	min, max   int32
	// apply has a new value take effect; nil where none is noticed. It may
	// refuse it.
	apply func(s *Stack, v int32) error
}

const maxInt32 = 1<<31 - 1

// boolean is a param that is 0 or 1.
func boolean(path, name string, num, value int32, apply func(s *Stack, v int32) error) *param {
	p := &param{path: path, name: name, num: num, max: 1, apply: apply}
	p.value.Store(value)
	return p
}

// integer is a param of any value from min.
func integer(path, name string, num, value, min, max int32, apply func(s *Stack, v int32) error) *param {
	p := &param{path: path, name: name, num: num, min: min, max: max, apply: apply}
	p.value.Store(value)
	return p
}

// newParams makes all params with the values that a rump kernel starts with.
// Numbers of 0 are chosen by the tree.
func newParams() []*param {
	const ip, icmp, arp, ip6, icmp6 = "net.inet.ip", "net.inet.icmp", "net.inet.arp", "net.inet6.ip6", "net.inet6.icmp6"
	return []*param{
		boolean(ip, "forwarding", 1, 1, (*Stack).setForwarding4),
		boolean(ip, "redirect", 2, 1, nil),
		integer(ip, "ttl", 3, 64, 1, 255, (*Stack).setTTL),
		boolean(ip, "forwsrcrt", 5, 1, nil),
		boolean(ip, "directed-broadcast", 6, 0, nil),
		boolean(ip, "allowsrcrt", 7, 1, nil),
		boolean(ip, "subnetsarelocal", 8, 1, nil),
		boolean(ip, "mtudisc", 9, 1, nil),
		integer(ip, "anonportmin", 10, netbsd.IPPORT_ANONMIN, netbsd.IPPORT_RESERVED, 65535, (*Stack).setPorts),
		integer(ip, "anonportmax", 11, netbsd.IPPORT_ANONMAX, netbsd.IPPORT_RESERVED, 65535, (*Stack).setPorts),
		integer(ip, "mtudisctimeout", 12, 600, 0, maxInt32, nil),
		integer(ip, "maxflows", 13, 256, 0, maxInt32, nil),
		boolean(ip, "hostzerobroadcast", 14, 0, nil),
		integer(ip, "lowportmin", 16, netbsd.IPPORT_RESERVEDMIN, 0, netbsd.IPPORT_RESERVED-1, nil),
		integer(ip, "lowportmax", 17, netbsd.IPPORT_RESERVEDMAX, 0, netbsd.IPPORT_RESERVED-1, nil),
		integer(ip, "maxfragpackets", 18, 200, -1, maxInt32, nil),
		boolean(ip, "checkinterface", 20, 0, nil),
		boolean(ip, "random_id", 22, 0, nil),
		boolean(ip, "do_loopback_cksum", 23, 0, nil),
		integer(ip, "dad_count", 25, 3, 0, 255, (*Stack).setDADCount4),

		boolean(icmp, "maskrepl", 1, 0, nil),
		integer(icmp, "returndatabytes", 3, 8, 8, 512, func(s *Stack, v int32) error {
			s.params.returnData.Store(v)
			return nil
		}),
		integer(icmp, "errppslimit", 4, 100, -1, maxInt32, (*Stack).setICMPLimit),
		boolean(icmp, "rediraccept", 5, 1, nil),
		integer(icmp, "redirtimeout", 6, 600, 0, maxInt32, nil),
		boolean(icmp, "bmcastecho", 8, 0, nil),

		integer(arp, "keep", 1152, arpKeep, 0, maxInt32, nil),
		integer(arp, "down", 1153, arpDown, 0, maxInt32, nil),
		boolean(arp, "log_movements", 1155, 1, nil),
		boolean(arp, "log_permanent_modify", 1156, 1, nil),
		boolean(arp, "log_wrong_iface", 1157, 1, nil),
		boolean(arp, "log_unknown_network", 1158, 1, nil),
		boolean(arp, "debug", 1159, 0, nil),

		boolean(ip6, "forwarding", 1, 0, (*Stack).setForwarding6),
		boolean(ip6, "redirect", 2, 1, nil),
		integer(ip6, "hlim", 3, 64, 1, 255, (*Stack).setHopLimit),
		integer(ip6, "maxfragpackets", 9, 200, -1, maxInt32, nil),
		boolean(ip6, "accept_rtadv", 12, 0, nil),
		boolean(ip6, "keepfaith", 13, 0, nil),
		integer(ip6, "log_interval", 14, 5, 0, maxInt32, nil),
		integer(ip6, "hdrnestlimit", 15, 50, 0, maxInt32, nil),
		integer(ip6, "dad_count", 16, 1, 0, 255, (*Stack).setDADCount),
		boolean(ip6, "auto_flowlabel", 17, 1, nil),
		integer(ip6, "defmcasthlim", 18, 1, 0, 255, nil),
		boolean(ip6, "use_deprecated", 21, 1, nil),
		integer(ip6, "rr_prune", 22, 5, 0, maxInt32, nil),
		boolean(ip6, "v6only", 24, 1, nil),
		integer(ip6, "anonportmin", 28, netbsd.IPPORT_ANONMIN, netbsd.IPPORT_RESERVED, 65535, (*Stack).setPorts),
		integer(ip6, "anonportmax", 29, netbsd.IPPORT_ANONMAX, netbsd.IPPORT_RESERVED, 65535, (*Stack).setPorts),
		integer(ip6, "lowportmin", 30, netbsd.IPPORT_RESERVEDMIN, 0, netbsd.IPPORT_RESERVED-1, nil),
		integer(ip6, "lowportmax", 31, netbsd.IPPORT_RESERVEDMAX, 0, netbsd.IPPORT_RESERVED-1, nil),
		boolean(ip6, "auto_linklocal", 35, 1, nil),
		boolean(ip6, "use_defaultzone", 39, 0, nil),
		integer(ip6, "maxfrags", 41, 200, -1, maxInt32, nil),
		integer(ip6, "rtadv_maxroutes", 43, 100, 0, maxInt32, nil),
		boolean(ip6, "use_tempaddr", 1068, 0, nil),
		boolean(ip6, "prefer_tempaddr", 1069, 0, nil),
		integer(ip6, "temppltime", 1070, 86400, 0, maxInt32, nil),
		integer(ip6, "tempvltime", 1071, 604800, 0, maxInt32, nil),
		boolean(ip6, "mcast_pmtu", 1072, 0, nil),
		integer(ip6, "maxflows", 1073, 256, 0, maxInt32, nil),
		integer(ip6, "hashsize", 1074, 64, 1, maxInt32, nil),
		integer(ip6, "neighborgcthresh", 1079, 2048, 0, maxInt32, nil),
		integer(ip6, "maxifprefixes", 1080, 16, 0, maxInt32, nil),
		integer(ip6, "maxifdefrouters", 1081, 16, 0, maxInt32, nil),
		integer(ip6, "maxdynroutes", 1082, 4096, 0, maxInt32, nil),

		boolean(icmp6, "rediraccept", 2, 1, nil),
		integer(icmp6, "redirtimeout", 3, 600, 0, maxInt32, nil),
		integer(icmp6, "nd6_prune", 6, 1, 0, maxInt32, nil),
		integer(icmp6, "nd6_delay", 8, 5, 0, maxInt32, nil),
		integer(icmp6, "nd6_umaxtries", 9, 3, 0, maxInt32, nil),
		integer(icmp6, "nd6_mmaxtries", 10, 3, 0, maxInt32, nil),
		boolean(icmp6, "nd6_useloopback", 11, 1, nil),
		integer(icmp6, "nodeinfo", 13, 1, 0, maxInt32, nil),
		integer(icmp6, "errppslimit", 14, 100, -1, maxInt32, nil),
		integer(icmp6, "nd6_maxnudhint", 15, 0, 0, maxInt32, nil),
		integer(icmp6, "mtudisc_hiwat", 16, 1280, 0, maxInt32, nil),
		integer(icmp6, "mtudisc_lowat", 17, 256, 0, maxInt32, nil),
		boolean(icmp6, "nd6_debug", 18, 0, nil),
		integer(icmp6, "maxqueuelen", 24, 1, 1, maxInt32, nil),
	}
}

// get gives a param's value by its full name.
func (ps *params) get(name string) int32 {
	if p := ps.byName[name]; p != nil {
		return p.value.Load()
	}
	return 0
}

// set sets a param: EINVAL when it cannot be so.
func (p *param) set(s *Stack, v int32) error {
	if v < p.min || v > p.max {
		return netbsd.EINVAL
	}
	old := p.value.Swap(v)
	if p.apply != nil {
		if err := p.apply(s, v); err != nil {
			p.value.Store(old)
			return err
		}
	}
	return nil
}

func (s *Stack) setForwarding4(v int32) error {
	s.params.forwarding4.Store(v != 0)
	return engineError(s.net.SetForwardingDefaultAndAllNICs(ipv4.ProtocolNumber, v != 0))
}

func (s *Stack) setForwarding6(v int32) error {
	s.params.forwarding6.Store(v != 0)
	return engineError(s.net.SetForwardingDefaultAndAllNICs(ipv6.ProtocolNumber, v != 0))
}

func (s *Stack) setTTL(v int32) error {
	ttl := tcpip.DefaultTTLOption(v)
	return engineError(s.net.SetNetworkProtocolOption(ipv4.ProtocolNumber, &ttl))
}

func (s *Stack) setHopLimit(v int32) error {
	ttl := tcpip.DefaultTTLOption(v)
	return engineError(s.net.SetNetworkProtocolOption(ipv6.ProtocolNumber, &ttl))
}

// setPorts sets the range of ports that are chosen for sockets. The engine has
// one range for both families: the one set last.
func (s *Stack) setPorts(v int32) error {
	ps := &s.params
	for _, path := range []string{"net.inet.ip", "net.inet6.ip6"} {
		low, high := ps.get(path+".anonportmin"), ps.get(path+".anonportmax")
		if low >= high {
			return netbsd.EINVAL
		}
		if v == low || v == high {
			return engineError(s.net.SetPortRange(uint16(low), uint16(high)))
		}
	}
	return nil
}

// setICMPLimit sets how many ICMP errors are sent in a second; negative is any
// number.
func (s *Stack) setICMPLimit(v int32) error {
	if v < 0 {
		s.net.SetICMPLimit(rate.Inf)
		return nil
	}
	s.net.SetICMPLimit(rate.Limit(v))
	s.net.SetICMPBurst(int(max(v/2, 1)))
	return nil
}

// setDADCount has duplicates of IPv6 addresses looked for so often from now
// on; 0 is never.
func (s *Stack) setDADCount(v int32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ifp := range s.interfaces {
		if !ifp.is(netbsd.IFF_LOOPBACK) {
			s.setDAD(ifp, uint8(v))
		}
	}
	return nil
}
