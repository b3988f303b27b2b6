//go:build linux

package linuxsock

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// ipMulticastOptions are the options of the level SOL_IP that are about
// multicast.
var ipMulticastOptions = map[int]*option{
	unix.IP_MULTICAST_IF: {name: "IP_MULTICAST_IF", at: inKernel, set: setMulticastIf, get: getMulticastIf, isBytes: true},
	unix.IP_MULTICAST_TTL: {name: "IP_MULTICAST_TTL", at: inKernel,
		set: some(number(func(r *request, v int32) unix.Errno {
			if r.s.isTCP() {
				return unix.EINVAL
			}
			if v == -1 {
				v = 1
			}
			if v < 0 || v > 255 {
				return unix.EINVAL
			}
			return r.setOctet(netbsd.IP_MULTICAST_TTL, v)
		})), get: get(1)},
	unix.IP_MULTICAST_LOOP: {name: "IP_MULTICAST_LOOP", at: inKernel,
		set: some(number(func(r *request, v int32) unix.Errno {
			return r.setOctet(netbsd.IP_MULTICAST_LOOP, boolInt(v != 0))
		})), get: get(1)},
	unix.IP_MULTICAST_ALL: {name: "IP_MULTICAST_ALL", at: inKernel,
		set: some(number(func(r *request, v int32) unix.Errno {
			if v != 0 && v != 1 {
				return unix.EINVAL
			}
			if r.s.Domain != unix.AF_INET {
				return r.store(v)
			}
			return r.setMulticastAll(netbsd.IPPROTO_IP, sysproxy.IPMulticastAll, v)
		})),
		get: func(r *request) ([]byte, unix.Errno) {
			return intValue(r.stored(boolInt(r.s.Domain == unix.AF_INET))), 0
		}},
	unix.IP_ADD_MEMBERSHIP:  {name: "IP_ADD_MEMBERSHIP", at: inKernel, set: setMembership4},
	unix.IP_DROP_MEMBERSHIP: {name: "IP_DROP_MEMBERSHIP", at: inKernel, set: setMembership4},
	unix.MCAST_JOIN_GROUP:   {name: "MCAST_JOIN_GROUP", at: inKernel, set: setGroup},
	unix.MCAST_LEAVE_GROUP:  {name: "MCAST_LEAVE_GROUP", at: inKernel, set: setGroup},
}

// ip6MulticastOptions are those of the level SOL_IPV6.
var ip6MulticastOptions = map[int]*option{
	unix.IPV6_MULTICAST_IF: (&option{name: "IPV6_MULTICAST_IF", at: inKernel,
		set: number(func(r *request, v int32) unix.Errno {
			errno := r.kernelInt(netbsd.IPPROTO_IPV6, netbsd.IPV6_MULTICAST_IF, v)
			switch errno {
			case 0:
				r.s.hasGroupWay = false
				return r.store(v)
			case unix.ENXIO:
				return unix.ENODEV
			}
			return errno
		}), get: get(0)}).onlySet(notTCP, unix.ENOPROTOOPT),
	unix.IPV6_MULTICAST_HOPS: (&option{name: "IPV6_MULTICAST_HOPS", at: inKernel,
		set: number(func(r *request, v int32) unix.Errno {
			if v < -1 || v > 255 {
				return unix.EINVAL
			}
			if v == -1 {
				v = 1
			}
			if errno := r.kernelInt(netbsd.IPPROTO_IPV6, netbsd.IPV6_MULTICAST_HOPS, v); errno != 0 {
				return errno
			}
			return r.store(v)
		}), get: get(1)}).onlySet(notTCP, unix.ENOPROTOOPT),
	unix.IPV6_MULTICAST_LOOP: {name: "IPV6_MULTICAST_LOOP", at: inKernel,
		set: number(func(r *request, v int32) unix.Errno {
			if v != 0 && v != 1 {
				return unix.EINVAL
			}
			if errno := r.kernelInt(netbsd.IPPROTO_IPV6, netbsd.IPV6_MULTICAST_LOOP, v); errno != 0 {
				return errno
			}
			return r.store(v)
		}), get: get(1)},
	unix.IPV6_MULTICAST_ALL: {name: "IPV6_MULTICAST_ALL", at: inKernel,
		set: number(func(r *request, v int32) unix.Errno {
			return r.setMulticastAll(netbsd.IPPROTO_IPV6, sysproxy.IPv6MulticastAll, boolInt(v != 0))
		}), get: get(1)},
	unix.IPV6_JOIN_GROUP:   {name: "IPV6_JOIN_GROUP", at: inKernel, set: setMembership6},
	unix.IPV6_LEAVE_GROUP:  {name: "IPV6_LEAVE_GROUP", at: inKernel, set: setMembership6},
	unix.MCAST_JOIN_GROUP:  {name: "MCAST_JOIN_GROUP", at: inKernel, set: setGroup},
	unix.MCAST_LEAVE_GROUP: {name: "MCAST_LEAVE_GROUP", at: inKernel, set: setGroup},
}

// setMulticastAll is IP_MULTICAST_ALL or IPV6_MULTICAST_ALL, with the kernel's option for it. NetBSD's own kernel
// gives a socket what comes to any group that somebody has joined.
func (r *request) setMulticastAll(level, name, v int32) unix.Errno {
	if !r.s.isTCP() {
		errno := r.kernelInt(level, name, v)
		if errno == unix.ENOPROTOOPT && v == 1 {
			errno = 0
		}
		if errno != 0 {
			return errno
		}
	}
	return r.store(v)
}

func notTCP(s *Socket) bool { return !s.isTCP() }

// onlySet is only for setsockopt(2).
func (o *option) onlySet(is func(*Socket) bool, errno unix.Errno) *option {
	get := o.get
	o.only(is, errno).get = get
	return o
}

// setOctet gives the kernel's socket an option of multicast, which is an octet
// there.
func (r *request) setOctet(kernelName, v int32) unix.Errno {
	o := kernelOption{level: netbsd.IPPROTO_IP, name: kernelName, value: []byte{byte(v)}}
	if errno := r.toKernel(o); errno != 0 {
		return errno
	}
	return r.store(v)
}

// byIndex is the address that names the interface of a number to NetBSD (RFC
// 1724, section 3.3). There is none for numbers of more than 24 bits.
func byIndex(index uint32) ([4]byte, bool) {
	return [4]byte{0, byte(index >> 16), byte(index >> 8), byte(index)}, index < 1<<24
}

// setMulticastIf is IP_MULTICAST_IF, which takes an address, an ip_mreq or an
// ip_mreqn.
func setMulticastIf(r *request, value []byte) unix.Errno {
	if r.s.isTCP() {
		return unix.EINVAL
	}
	var addr [4]byte
	var index uint32
	switch {
	case len(value) >= unix.SizeofIPMreqn:
		addr, index = [4]byte(value[4:8]), native.Uint32(value[8:])
	case len(value) >= unix.SizeofIPMreq:
		addr = [4]byte(value[4:8])
	case len(value) >= 4:
		addr = [4]byte(value)
	default:
		return unix.EINVAL
	}
	kernelAddr := addr
	if addr == [4]byte{} && r.s.groupsFrom.IsValid() {
		kernelAddr = r.s.groupsFrom.As4()
	}
	if index != 0 {
		var ok bool
		if kernelAddr, ok = byIndex(index); !ok {
			return unix.EADDRNOTAVAIL
		}
	}
	o := kernelOption{level: netbsd.IPPROTO_IP, name: netbsd.IP_MULTICAST_IF, value: kernelAddr[:]}
	if errno := r.toKernel(o); errno != 0 {
		return errno
	}
	r.storeBlob(addr[:])
	return 0
}

func getMulticastIf(r *request) ([]byte, unix.Errno) {
	if addr := r.s.blobs[r.key]; addr != nil {
		return addr, 0
	}
	return make([]byte, 4), 0
}

// setMembership4 is IP_ADD_MEMBERSHIP and IP_DROP_MEMBERSHIP, which take an
// ip_mreq or an ip_mreqn.
func setMembership4(r *request, value []byte) unix.Errno {
	if r.s.isTCP() {
		return unix.EPROTO
	}
	if len(value) < unix.SizeofIPMreq {
		return unix.EINVAL
	}
	mreq := netbsd.IpMreq{Multiaddr: [4]byte(value), Interface: [4]byte(value[4:])}
	if len(value) >= unix.SizeofIPMreqn {
		if index := native.Uint32(value[8:]); index != 0 {
			var ok bool
			if mreq.Interface, ok = byIndex(index); !ok {
				return unix.ENODEV
			}
		}
	}
	return r.membership4(mreq, r.key.name == unix.IP_ADD_MEMBERSHIP)
}

// membership4 joins or leaves a group of IPv4.
func (r *request) membership4(mreq netbsd.IpMreq, join bool) unix.Errno {
	if !netip.AddrFrom4(mreq.Multiaddr).IsMulticast() {
		if join {
			return unix.EINVAL
		}
		return unix.EADDRNOTAVAIL
	}
	return r.member(join, netbsd.IPPROTO_IP, netbsd.IP_ADD_MEMBERSHIP, netbsd.IP_DROP_MEMBERSHIP,
		netbsd.Marshal(r.k.Machine(), &mreq))
}

// setMembership6 is IPV6_JOIN_GROUP and IPV6_LEAVE_GROUP, which take an
// ipv6_mreq.
func setMembership6(r *request, value []byte) unix.Errno {
	if len(value) < unix.SizeofIPv6Mreq {
		return unix.EINVAL
	}
	if r.s.isTCP() {
		return unix.EPROTO
	}
	mreq := netbsd.Ipv6Mreq{Multiaddr: [16]byte(value), Interface: native.Uint32(value[16:])}
	return r.membership6(mreq, r.key.name == unix.IPV6_JOIN_GROUP)
}

// membership6 joins or leaves a group of IPv6.
func (r *request) membership6(mreq netbsd.Ipv6Mreq, join bool) unix.Errno {
	if a := netip.AddrFrom16(mreq.Multiaddr); !a.IsMulticast() || a.Is4In6() {
		if join {
			return unix.EINVAL
		}
		return unix.EADDRNOTAVAIL
	}
	member := func(index uint32) unix.Errno {
		mreq.Interface = index
		return r.member(join, netbsd.IPPROTO_IPV6, netbsd.IPV6_JOIN_GROUP, netbsd.IPV6_LEAVE_GROUP,
			netbsd.Marshal(r.k.Machine(), &mreq))
	}
	index := mreq.Interface
	errno := member(index)
	if index == 0 && (errno == unix.ENODEV || errno == unix.EADDRNOTAVAIL) {
		// No route leads to the group.
		if index, e := r.groupInterface(netip.Addr{}); e == 0 {
			errno = member(uint32(index))
		}
	}
	return errno
}

// setGroup is MCAST_JOIN_GROUP and MCAST_LEAVE_GROUP (RFC 3678), which take a
// group_req: the number of an interface and, aligned as a long, an address of
// the level's family.
func setGroup(r *request, value []byte) unix.Errno {
	if len(value) < longSize+sizeofSockaddrStorage {
		return unix.EINVAL
	}
	if r.s.isTCP() {
		return unix.EPROTO
	}
	index, sa := native.Uint32(value), value[longSize:]
	join := r.key.name == unix.MCAST_JOIN_GROUP
	ap, _ := Addr(sa)
	switch {
	case r.key.level == unix.SOL_IP && Family(sa) == unix.AF_INET:
		mreq := netbsd.IpMreq{Multiaddr: ap.Addr().As4()}
		if index != 0 {
			var ok bool
			if mreq.Interface, ok = byIndex(index); !ok {
				return unix.ENODEV
			}
		}
		return r.membership4(mreq, join)
	case r.key.level == unix.SOL_IPV6 && Family(sa) == unix.AF_INET6:
		return r.membership6(netbsd.Ipv6Mreq{Multiaddr: ap.Addr().As16(), Interface: index}, join)
	}
	if r.key.level == unix.SOL_IP {
		return unix.EINVAL
	}
	return unix.EADDRNOTAVAIL
}

// member joins or leaves a group in the kernel. A group that was left is not
// joined again by a socket that takes this one's place.
func (r *request) member(join bool, level, add, drop int32, value []byte) unix.Errno {
	o := kernelOption{level: level, name: add, value: value, each: true}
	isJoin := func(old kernelOption) bool {
		return old.level == level && old.name == add && slices.Equal(old.value, value)
	}
	if !join {
		if !r.fd.Valid() && !slices.ContainsFunc(r.s.inKernel, isJoin) {
			return unix.EADDRNOTAVAIL
		}
		if r.fd.Valid() {
			if err := r.k.Setsockopt(r.ctx, r.fd, level, drop, value); err != nil {
				return memberErrno(Errno(err), false)
			}
		}
		r.s.inKernel = slices.DeleteFunc(r.s.inKernel, isJoin)
		return 0
	}
	return memberErrno(r.toKernel(o), true)
}

// memberErrno is Linux's error for one of NetBSD's: for an interface that is not
// there, above all.
func memberErrno(errno unix.Errno, join bool) unix.Errno {
	switch {
	case errno == unix.ENXIO, errno == unix.EADDRNOTAVAIL && join:
		return unix.ENODEV
	case errno == unix.ETOOMANYREFS:
		return unix.ENOBUFS
	}
	return errno
}
