//go:build linux

package linuxsock

import (
	"golang.org/x/sys/unix"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// udpOptions are the options of the level SOL_UDP.
var udpOptions = map[int]*option{
	unix.UDP_CORK: {name: "UDP_CORK", at: refused, why: "what is sent piece by piece would be many datagrams",
		set: onlyOff(unix.ENOPROTOOPT), get: get(0)},
	unix.UDP_ENCAP:        {name: "UDP_ENCAP", at: refused, why: "there is no IPsec", set: onlyOff(unix.ENOPROTOOPT), get: get(0)},
	unix.UDP_NO_CHECK6_TX: checksum6("UDP_NO_CHECK6_TX", sysproxy.UDPNoCheck6TX),
	unix.UDP_NO_CHECK6_RX: checksum6("UDP_NO_CHECK6_RX", sysproxy.UDPNoCheck6RX),
	unix.UDP_SEGMENT: {name: "UDP_SEGMENT", at: onHost, why: "a UDP socket of the host's cuts what goes by it; others are refused",
		set: number(setSegment), get: get(0)},
	unix.UDP_GRO: remembered("UDP_GRO", "datagrams may be put together, and never are"),
}

// rawOptions are the options of the level SOL_RAW on sockets of IPv4; those of
// IPv6 are at SOL_IPV6 as well.
var rawOptions = map[int]*option{
	unix.ICMP_FILTER: (&option{name: "ICMP_FILTER", why: "NetBSD has no filter: see Socket.WantsICMP",
		set: setICMPFilter, get: getICMPFilter}).only(isICMP, unix.EOPNOTSUPP),
}

// icmp6Options are the options of the level SOL_ICMPV6.
var icmp6Options = map[int]*option{
	unix.ICMPV6_FILTER: (&option{name: "ICMPV6_FILTER", at: inKernel, set: setICMP6Filter, get: getICMP6Filter}).
		only(func(s *Socket) bool { return s.Protocol == unix.IPPROTO_ICMPV6 }, unix.EOPNOTSUPP),
}

// setSegment is UDP_SEGMENT.
func setSegment(r *request, v int32) unix.Errno {
	if v < 0 || v > 0xffff {
		return unix.EINVAL
	}
	if errno := r.hostSet(intValue(v)); errno != 0 && v != 0 {
		return unix.ENOPROTOOPT
	}
	return r.store(v)
}

func isICMP(s *Socket) bool { return s.Domain == unix.AF_INET && s.Protocol == unix.IPPROTO_ICMP }

// noChecksum is an option to send, or to take, what has no checksum. NetBSD's own kernel has none of them: all that it sends has
// checksums, and it drops what has none.
func (r *request) noChecksum(level, name, v int32) unix.Errno {
	v = boolInt(v != 0)
	switch errno := r.kernelInt(level, name, v); errno {
	case 0:
	case unix.EINVAL, unix.ENOPROTOOPT:
		if v != 0 {
			return unix.ENOPROTOOPT
		}
	default:
		return errno
	}
	return r.store(v)
}

// checksum6 is such an option about IPv6.
func checksum6(name string, own int32) *option {
	return &option{name: name, at: inKernel, get: get(0), set: number(func(r *request, v int32) unix.Errno {
		if r.s.Domain != unix.AF_INET6 {
			return r.store(boolInt(v != 0))
		}
		return r.noChecksum(netbsd.IPPROTO_UDP, own, v)
	})}
}

// setICMPFilter is ICMP_FILTER: a bit for each of the first 32 types of
// messages, set for those that are not wanted.
func setICMPFilter(r *request, value []byte) unix.Errno {
	filter := intValue(r.stored(0))
	copy(filter, value) // a shorter one changes what it has
	return r.store(int32(native.Uint32(filter)))
}

func getICMPFilter(r *request) ([]byte, unix.Errno) { return intValue(r.stored(0)), 0 }

// WantsICMP tells whether a raw socket of ICMP wants messages of a type. NetBSD
// does not filter those of IPv4.
func (s *Socket) WantsICMP(typ uint8) bool {
	filter := uint32(s.values[optionKey{unix.SOL_RAW, unix.ICMP_FILTER}])
	return typ >= 32 || filter&(1<<typ) == 0
}

// setICMP6Filter is ICMPV6_FILTER: a bit for each type, set for those that are
// not wanted, where NetBSD's are set for those that are.
func setICMP6Filter(r *request, value []byte) unix.Errno {
	blocked := make([]byte, unix.SizeofICMPv6Filter)
	copy(blocked, r.s.blobs[r.key])
	copy(blocked, value)
	var filter netbsd.Icmp6Filter
	for i := range filter.Filt {
		filter.Filt[i] = ^native.Uint32(blocked[4*i:])
	}
	o := kernelOption{level: netbsd.IPPROTO_ICMPV6, name: netbsd.ICMP6_FILTER, value: netbsd.Marshal(r.k.Machine(), &filter)}
	if errno := r.toKernel(o); errno != 0 {
		return errno
	}
	r.storeBlob(blocked)
	return 0
}

func getICMP6Filter(r *request) ([]byte, unix.Errno) {
	if b := r.s.blobs[r.key]; b != nil {
		return b, 0
	}
	return make([]byte, unix.SizeofICMPv6Filter), 0
}
