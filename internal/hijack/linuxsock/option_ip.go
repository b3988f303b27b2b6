//go:build linux

package linuxsock

import (
	"golang.org/x/sys/unix"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// ecnMask are the bits of a type of service that TCP has for itself.
const ecnMask = 3

// defaultTTL is net.ipv4.ip_default_ttl and net.ipv6.conf.default.hop_limit.
const defaultTTL = 64

// ipOptions are the options of the level SOL_IP, which sockets of IPv6 have as
// well, but for raw ones: for IPv4-mapped peers.
var ipOptions = map[int]*option{
	unix.IP_TOS: {name: "IP_TOS", at: inKernel, set: number(setTOS), get: get(0)},
	unix.IP_TTL: {name: "IP_TTL", at: inKernel, set: some(number(setTTL)), get: get(defaultTTL)},
	unix.IP_HDRINCL: (&option{name: "IP_HDRINCL", why: "the kernel's socket always gets a header, see ToRaw",
		set: number(func(r *request, v int32) unix.Errno {
			if !r.s.isRaw() {
				return unix.ENOPROTOOPT
			}
			return r.store(boolInt(v != 0))
		}),
		get: func(r *request) ([]byte, unix.Errno) { return intValue(boolInt(r.s.hasHeader())), 0 }}),
	unix.IP_OPTIONS: {name: "IP_OPTIONS", at: inKernel, set: setIPOptions,
		get: func(r *request) ([]byte, unix.Errno) { return r.s.blobs[r.key], 0 }, isBytes: true},
	unix.IP_RECVOPTS: headerOptions("IP_RECVOPTS"),
	unix.IP_RETOPTS:  headerOptions("IP_RETOPTS"),
	unix.IP_PKTINFO:  recvPktinfo(recvFlag("IP_PKTINFO", netbsd.IPPROTO_IP, netbsd.IP_PKTINFO)),
	unix.IP_RECVTTL:  recvFlag("IP_RECVTTL", netbsd.IPPROTO_IP, netbsd.IP_RECVTTL),
	unix.IP_RECVTOS:  {name: "IP_RECVTOS", at: inKernel, set: number(setRecvTOS), get: get(0)},
	unix.IP_PKTOPTIONS: (&option{name: "IP_PKTOPTIONS", why: "TCP's control messages, of which there are none", get: empty}).
		only((*Socket).isTCP, unix.ENOPROTOOPT),
	unix.IP_MTU_DISCOVER: {name: "IP_MTU_DISCOVER", at: inKernel, set: number(setMTUDiscover), get: get(unix.IP_PMTUDISC_WANT)},
	unix.IP_MTU:          {name: "IP_MTU", at: inKernel, get: getMTU},
	unix.IP_RECVERR: {name: "IP_RECVERR", why: "the caller keeps the queue of errors, see ErrorQueue",
		set: storeBool, get: get(0)},
	unix.IP_RECVERR_RFC4884: {name: "IP_RECVERR_RFC4884", at: refused, why: "the messages do not have it", set: onlyOff(unix.ENOPROTOOPT), get: get(0)},
	unix.IP_FREEBIND: {name: "IP_FREEBIND", at: refused, why: "NetBSD binds to its own addresses only",
		set: some(onlyOff(unix.ENOPROTOOPT)), get: get(0)},
	unix.IP_TRANSPARENT: {name: "IP_TRANSPARENT", at: refused, why: "needs privilege",
		set: some(onlyOff(unix.EPERM)), get: get(0)},
	unix.IP_MINTTL: {name: "IP_MINTTL", at: inKernel, set: some(number(setMinTTL)), get: get(0)},
	unix.IP_NODEFRAG: (&option{name: "IP_NODEFRAG", at: refused, why: "the kernel reassembles all",
		set: onlyOff(unix.ENOPROTOOPT), get: get(0)}).onlySet((*Socket).isRaw, unix.ENOPROTOOPT),
	unix.IP_CHECKSUM: {name: "IP_CHECKSUM", at: refused, why: "NetBSD does not tell it", set: onlyOff(unix.ENOPROTOOPT), get: get(0)},
	unix.IP_BIND_ADDRESS_NO_PORT: {name: "IP_BIND_ADDRESS_NO_PORT", at: refused, why: "NetBSD chooses the port in bind(2)",
		set: onlyOff(unix.ENOPROTOOPT), get: get(0)},
	unix.IP_RECVFRAGSIZE: {name: "IP_RECVFRAGSIZE", at: refused, why: "NetBSD does not tell it",
		set: number(func(r *request, v int32) unix.Errno {
			switch {
			case r.s.isTCP():
				return unix.EINVAL
			case v != 0:
				return unix.ENOPROTOOPT
			}
			return 0
		}), get: get(0)},
	unix.IP_RECVORIGDSTADDR: {name: "IP_RECVORIGDSTADDR", at: refused, why: "NetBSD does not tell it",
		set: onlyOff(unix.ENOPROTOOPT), get: get(0)},
	unix.IP_PASSSEC:      remembered("IP_PASSSEC", "packets have no labels"),
	unix.IP_IPSEC_POLICY: {name: "IP_IPSEC_POLICY", at: refused, why: "needs privilege", set: deny(unix.EPERM)},
	unix.IP_XFRM_POLICY:  {name: "IP_XFRM_POLICY", at: refused, why: "needs privilege", set: deny(unix.EPERM)},
	unix.IP_UNICAST_IF: {name: "IP_UNICAST_IF", at: refused, why: "NetBSD has no such choice",
		set: func(_ *request, value []byte) unix.Errno {
			switch {
			case len(value) != 4:
				return unix.EINVAL
			case native.Uint32(value) != 0:
				return unix.ENOPROTOOPT
			}
			return 0
		}, get: get(0)},
	unix.IP_LOCAL_PORT_RANGE: {name: "IP_LOCAL_PORT_RANGE", at: refused, why: "NetBSD has no such choice",
		set: func(_ *request, value []byte) unix.Errno {
			switch {
			case len(value) != 4:
				return unix.EINVAL
			case native.Uint32(value) != 0:
				return unix.ENOPROTOOPT
			}
			return 0
		}, get: get(0)},
	unix.IP_PROTOCOL: {name: "IP_PROTOCOL", why: "a fact", get: fact(func(s *Socket) int32 {
		// The number is kept as a port is, which only raw sockets have.
		if s.isRaw() {
			return int32(s.Protocol)
		}
		return 0
	})},
}

// notTold is an option that asks for a control message which NetBSD has not. TCP never has it.
func notTold(name string) *option {
	return &option{name: name, at: refused, why: "NetBSD does not tell it; TCP never does", get: get(0),
		set: number(func(r *request, v int32) unix.Errno {
			if v != 0 && !r.s.isTCP() {
				return unix.ENOPROTOOPT
			}
			return r.store(boolInt(v != 0))
		})}
}

// headerOptions is an option that asks for the options in a packet's header. See [Socket.WithIPOptions].
func headerOptions(name string) *option {
	return &option{name: name, why: "raw sockets, which have the header, and those for echo requests tell them; of UDP NetBSD does not, and is refused; TCP never does",
		get: get(0), set: number(func(r *request, v int32) unix.Errno {
			if v != 0 && r.s.isUDP() {
				return unix.ENOPROTOOPT
			}
			return r.store(boolInt(v != 0))
		})}
}

// recvFlag is an option that asks for a control message with each datagram.
// Sockets for streams have none.
func recvFlag(name string, level, kernelName int32) *option {
	return &option{name: name, at: inKernel, get: get(0), set: number(func(r *request, v int32) unix.Errno {
		v = boolInt(v != 0)
		switch {
		case r.s.isTCP():
		case level == netbsd.IPPROTO_IP && r.s.Domain == unix.AF_INET6:
			if errno := r.mapped(kernelName, v); errno != 0 {
				return errno
			}
		default:
			if errno := r.kernelInt(level, kernelName, v); errno != 0 {
				return errno
			}
		}
		return r.store(v)
	})}
}

// mapped is an option of the level IPPROTO_IP of a socket of IPv6, for what it sends to IPv4 and receives from there. NetBSD's
// own kernel has none of them.
func (r *request) mapped(name, v int32) unix.Errno {
	if !r.s.isUDP() {
		return 0
	}
	errno := r.kernelInt(netbsd.IPPROTO_IP, name, v)
	if errno == unix.ENOPROTOOPT || errno == unix.EINVAL {
		return 0
	}
	return errno
}

// recvPktinfo is an option that asks for where a datagram came to, also for one of IPv4 that comes to a socket of IPv6, which
// NetBSD has another option for.
func recvPktinfo(o *option) *option {
	set := o.set
	o.set = func(r *request, value []byte) unix.Errno {
		errno := set(r, value)
		if errno != 0 || r.s.Domain != unix.AF_INET6 {
			return errno
		}
		wanted := r.s.on(unix.SOL_IP, unix.IP_PKTINFO) || r.s.on(unix.SOL_IPV6, unix.IPV6_RECVPKTINFO) || r.s.on(unix.SOL_IPV6, unix.IPV6_2292PKTINFO)
		return r.mapped(netbsd.IP_PKTINFO, boolInt(wanted))
	}
	return o
}

// setRecvTOS is IP_RECVTOS, which NetBSD's own kernel does not have.
func setRecvTOS(r *request, v int32) unix.Errno {
	v = boolInt(v != 0)
	if r.s.Domain == unix.AF_INET6 {
		if errno := r.mapped(sysproxy.IPRecvTOS, v); errno != 0 {
			return errno
		}
		return r.store(v)
	}
	if r.s.isTCP() || v == 0 && !r.s.on(unix.SOL_IP, unix.IP_RECVTOS) {
		return r.store(v) // as with recvFlag
	}
	if errno := r.kernelInt(netbsd.IPPROTO_IP, sysproxy.IPRecvTOS, v); errno != 0 {
		return errno
	}
	return r.store(v)
}

// setTOS is IP_TOS. A socket of IPv6 has one type of service on NetBSD's own kernel, which
// is IPV6_TCLASS.
func setTOS(r *request, v int32) unix.Errno {
	v &= 0xff
	if r.s.isTCP() {
		v &^= ecnMask
	}
	set := r.mapped
	if r.s.Domain == unix.AF_INET {
		set = func(name, v int32) unix.Errno { return r.kernelInt(netbsd.IPPROTO_IP, name, v) }
	}
	if errno := set(netbsd.IP_TOS, v); errno != 0 {
		return errno
	}
	was := r.stored(0)
	r.store(v)
	if v != was {
		r.s.values[optionKey{unix.SOL_SOCKET, unix.SO_PRIORITY}] = tosPriority[v>>1&15]
	}
	return 0
}

// tosPriority are the priorities that go with types of service, by the bits that are not for ECN and the three of IP precedence
// (ip_tos2prio).
var tosPriority = [16]int32{0, 0, 0, 0, 2, 2, 2, 2, 6, 6, 6, 6, 4, 4, 4, 4}

// setTTL is IP_TTL. A socket of IPv6 has one number of hops in NetBSD: that of
// IPV6_UNICAST_HOPS, if it was set.
func setTTL(r *request, v int32) unix.Errno {
	if v == -1 {
		v = defaultTTL
	}
	if v < 1 || v > 255 {
		return unix.EINVAL
	}
	errno := unix.Errno(0)
	if r.s.Domain == unix.AF_INET {
		errno = r.kernelInt(netbsd.IPPROTO_IP, netbsd.IP_TTL, v)
	} else if _, set := r.s.values[optionKey{unix.SOL_IPV6, unix.IPV6_UNICAST_HOPS}]; !set && !r.s.v6only {
		errno = r.kernelInt(netbsd.IPPROTO_IPV6, netbsd.IPV6_UNICAST_HOPS, v)
	}
	if errno != 0 {
		return errno
	}
	return r.store(v)
}

// setMinTTL is IP_MINTTL, for which NetBSD has 1 where Linux has 0, and nothing
// on sockets of IPv6.
func setMinTTL(r *request, v int32) unix.Errno {
	if v < 0 || v > 255 {
		return unix.EINVAL
	}
	if r.s.Domain == unix.AF_INET6 {
		if v != 0 {
			return unix.ENOPROTOOPT
		}
		return 0
	}
	if errno := r.kernelInt(netbsd.IPPROTO_IP, netbsd.IP_MINTTL, max(v, 1)); errno != 0 {
		return errno
	}
	return r.store(v)
}

// maxIPOptions is the most bytes of options that a packet has room for.
const maxIPOptions = 40

func setIPOptions(r *request, value []byte) unix.Errno {
	if len(value) > maxIPOptions {
		return unix.EINVAL
	}
	if r.s.Domain == unix.AF_INET6 {
		if len(value) > 0 {
			return unix.ENOPROTOOPT
		}
		return 0
	}
	// NetBSD wants whole words; Linux fills them up.
	padded := append([]byte(nil), value...)
	for len(padded)%4 != 0 {
		padded = append(padded, netbsd.IPOPT_EOL)
	}
	for i := 0; i < len(padded); {
		switch {
		case padded[i] == netbsd.IPOPT_EOL:
			clear(padded[i:])
			i = len(padded)
		case padded[i] == netbsd.IPOPT_NOP:
			i++
		case i+1 < len(padded) && padded[i+1] >= 2 && isUserOption(padded[i]):
			i += int(padded[i+1])
		default:
			return unix.EINVAL
		}
	}
	o := kernelOption{level: netbsd.IPPROTO_IP, name: netbsd.IP_OPTIONS, value: padded}
	if errno := r.toKernel(o); errno != 0 {
		return errno
	}
	r.storeBlob(padded)
	return 0
}

// isUserOption tells whether an option of a packet needs no privilege.
func isUserOption(typ byte) bool {
	switch typ {
	case netbsd.IPOPT_RR, netbsd.IPOPT_TS, netbsd.IPOPT_LSRR, netbsd.IPOPT_SSRR, ipoptRA:
		return true
	}
	return false
}

// ipoptRA is the router alert option (RFC 2113).
const ipoptRA = 148

// storeBlob remembers a value that is not a number.
func (r *request) storeBlob(value []byte) {
	if r.s.blobs == nil {
		r.s.blobs = make(map[optionKey][]byte)
	}
	r.s.blobs[r.key] = value
}
