package inet

import (
	"slices"

	"rumptools/internal/kernel"
	"rumptools/pkg/netbsd"
)

// inetDomain makes sockets of AF_INET or AF_INET6.
type inetDomain struct {
	s      *Stack
	family int32
	// raw are the protocols that have an entry of their own for raw
	// sockets in the kernel's table; all others share one.
	raw []int32
}

var _ kernel.Domain = inetDomain{}

// domains gives the families of the internet.
func (s *Stack) domains() []inetDomain {
	return []inetDomain{
		{s, netbsd.AF_INET, []int32{
			netbsd.IPPROTO_ICMP, netbsd.IPPROTO_IGMP, netbsd.IPPROTO_IPV4, netbsd.IPPROTO_IPV6,
			netbsd.IPPROTO_PIM, netbsd.IPPROTO_CARP, netbsd.IPPROTO_RAW,
		}},
		{s, netbsd.AF_INET6, []int32{
			netbsd.IPPROTO_ICMPV6, netbsd.IPPROTO_IPV4, netbsd.IPPROTO_IPV6,
			netbsd.IPPROTO_PIM, netbsd.IPPROTO_CARP, netbsd.IPPROTO_RAW,
		}},
	}
}

// addDomains registers the families of the internet and what sysctl(3) shows
// of their sockets. It comes after addSysctls.
func (s *Stack) addDomains() {
	for _, d := range s.domains() {
		s.kernel.AddDomain(d.family, d)
	}
	s.addSocketSysctls()
}

// Socket implements [kernel.Domain], as pffindproto chooses.
func (d inetDomain) Socket(c *kernel.Call, typ, proto int32) (kernel.Socket, error) {
	m := d.s.machine
	switch {
	case typ == netbsd.SOCK_STREAM && (proto == 0 || proto == netbsd.IPPROTO_TCP):
		return d.s.newTCP(m, d.family, netbsd.IPPROTO_TCP)
	case typ == netbsd.SOCK_DGRAM && (proto == 0 || proto == netbsd.IPPROTO_UDP):
		return d.s.newUDP(m, d.family, netbsd.IPPROTO_UDP), nil
	case typ == netbsd.SOCK_RAW && proto == 0:
		// The first raw entry is what is found, but it is asked for no
		// protocol and so takes all.
		return d.s.newRaw(m, d.family, 0, netbsd.IPPROTO_RAW), nil
	case typ == netbsd.SOCK_RAW && slices.Contains(d.raw, proto):
		return d.s.newRaw(m, d.family, proto, proto), nil
	case typ == netbsd.SOCK_RAW:
		return d.s.newRaw(m, d.family, proto, 0), nil
	case proto == 0 && typ != 0:
		return nil, netbsd.EPROTOTYPE
	}
	return nil, netbsd.EPROTONOSUPPORT
}

// Pair implements [kernel.Domain].
func (inetDomain) Pair(*kernel.Call, int32, int32) (a, b kernel.Socket, err error) {
	return nil, nil, netbsd.EOPNOTSUPP
}
