//go:build linux

package linuxsock

import (
	"golang.org/x/sys/unix"

	"rumptools/pkg/netbsd"
)

// Options of SOL_IPV6 that package unix has no names for (<linux/in6.h>).
const (
	ipv6Flowinfo     = 11
	ipv6FlowinfoSend = 33
)

// Source address preferences of IPV6_ADDR_PREFERENCES (RFC 5014).
const (
	preferSrcTmp       = 0x0001
	preferSrcPublic    = 0x0002
	preferSrcPubTmpDef = 0x0100
	preferSrcCOA       = 0x0004
	preferSrcHome      = 0x0400
	preferSrcCGA       = 0x0008
	preferSrcNonCGA    = 0x0800

	preferSrcDefault = preferSrcPubTmpDef | preferSrcHome
)

// ip6Options are the options of the level SOL_IPV6.
var ip6Options = map[int]*option{
	unix.IPV6_V6ONLY: {name: "IPV6_V6ONLY", at: inKernel, set: number(setV6Only),
		get: func(r *request) ([]byte, unix.Errno) { return intValue(boolInt(r.s.v6only)), 0 }},
	unix.IPV6_UNICAST_HOPS: {name: "IPV6_UNICAST_HOPS", at: inKernel, set: number(func(r *request, v int32) unix.Errno {
		if v < -1 || v > 255 {
			return unix.EINVAL
		}
		if errno := r.kernelInt(netbsd.IPPROTO_IPV6, netbsd.IPV6_UNICAST_HOPS, v); errno != 0 {
			return errno
		}
		if v == -1 {
			v = defaultTTL
		}
		return r.store(v)
	}), get: get(defaultTTL)},
	unix.IPV6_TCLASS: {name: "IPV6_TCLASS", at: inKernel, set: number(func(r *request, v int32) unix.Errno {
		if v < -1 || v > 255 {
			return unix.EINVAL
		}
		v = max(v, 0)
		if r.s.isTCP() {
			v &^= ecnMask
		}
		if errno := r.kernelInt(netbsd.IPPROTO_IPV6, netbsd.IPV6_TCLASS, v); errno != 0 {
			return errno
		}
		return r.store(v)
	}), get: get(0)},
	unix.IPV6_DONTFRAG:     {name: "IPV6_DONTFRAG", at: inKernel, get: get(0), set: loose(number(setDontFrag6))},
	unix.IPV6_RECVPKTINFO:  recvPktinfo(recvFlag("IPV6_RECVPKTINFO", netbsd.IPPROTO_IPV6, netbsd.IPV6_RECVPKTINFO)),
	unix.IPV6_RECVHOPLIMIT: recvFlag("IPV6_RECVHOPLIMIT", netbsd.IPPROTO_IPV6, netbsd.IPV6_RECVHOPLIMIT),
	unix.IPV6_RECVTCLASS:   recvFlag("IPV6_RECVTCLASS", netbsd.IPPROTO_IPV6, netbsd.IPV6_RECVTCLASS),
	unix.IPV6_RECVRTHDR:    recvFlag("IPV6_RECVRTHDR", netbsd.IPPROTO_IPV6, netbsd.IPV6_RECVRTHDR),
	unix.IPV6_RECVHOPOPTS:  recvFlag("IPV6_RECVHOPOPTS", netbsd.IPPROTO_IPV6, netbsd.IPV6_RECVHOPOPTS),
	unix.IPV6_RECVDSTOPTS:  recvFlag("IPV6_RECVDSTOPTS", netbsd.IPPROTO_IPV6, netbsd.IPV6_RECVDSTOPTS),
	// The forms of RFC 2292 ask for the same messages under other names,
	// which are given when the newer form is not asked for.
	unix.IPV6_2292PKTINFO:  recvPktinfo(recvFlag("IPV6_2292PKTINFO", netbsd.IPPROTO_IPV6, netbsd.IPV6_RECVPKTINFO)),
	unix.IPV6_2292HOPLIMIT: recvFlag("IPV6_2292HOPLIMIT", netbsd.IPPROTO_IPV6, netbsd.IPV6_RECVHOPLIMIT),
	unix.IPV6_PKTINFO:      {name: "IPV6_PKTINFO", at: inKernel, set: setPktinfo6},

	unix.IPV6_MTU_DISCOVER: {name: "IPV6_MTU_DISCOVER", at: inKernel, set: number(setMTUDiscover6), get: get(unix.IPV6_PMTUDISC_WANT)},
	unix.IPV6_MTU:          {name: "IPV6_MTU", at: inKernel, set: number(setMTU6), get: getMTU},
	unix.IPV6_PATHMTU:      {name: "IPV6_PATHMTU", at: inKernel, get: getPathMTU},
	unix.IPV6_RECVPATHMTU:  notTold("IPV6_RECVPATHMTU"),
	unix.IPV6_RECVERR: {name: "IPV6_RECVERR", why: "the caller keeps the queue of errors, see ErrorQueue",
		set: storeBool, get: get(0)},
	unix.IPV6_RECVERR_RFC4884: {name: "IPV6_RECVERR_RFC4884", at: refused, why: "the messages do not have it", set: onlyOff(unix.ENOPROTOOPT), get: get(0)},
	unix.IPV6_AUTOFLOWLABEL: {name: "IPV6_AUTOFLOWLABEL", at: refused, why: "flow labels are the kernel's",
		set: onlyDefault(1, unix.ENOPROTOOPT), get: get(1)},
	unix.IPV6_ADDR_PREFERENCES: {name: "IPV6_ADDR_PREFERENCES", at: inKernel, set: number(setPreferences),
		get: get(preferSrcDefault)},
	unix.IPV6_MINHOPCOUNT: {name: "IPV6_MINHOPCOUNT", at: refused, why: "NetBSD does not look at it",
		set: number(func(_ *request, v int32) unix.Errno {
			switch {
			case v < 0 || v > 255:
				return unix.EINVAL
			case v > 0:
				return unix.ENOPROTOOPT
			}
			return 0
		}), get: get(0)},
	unix.IPV6_CHECKSUM: (&option{name: "IPV6_CHECKSUM", at: inKernel, set: number(setChecksum6), get: getChecksum6}).
		only((*Socket).isRaw, unix.ENOPROTOOPT),
	unix.IPV6_HDRINCL: (&option{name: "IPV6_HDRINCL", at: refused, why: "NetBSD writes the headers",
		set: onlyOff(unix.ENOPROTOOPT), get: get(0)}).only((*Socket).isRaw, unix.ENOPROTOOPT),

	unix.IPV6_RTHDR:         extensionOption("IPV6_RTHDR"),
	unix.IPV6_HOPOPTS:       extensionOption("IPV6_HOPOPTS"),
	unix.IPV6_DSTOPTS:       extensionOption("IPV6_DSTOPTS"),
	unix.IPV6_RTHDRDSTOPTS:  extensionOption("IPV6_RTHDRDSTOPTS"),
	unix.IPV6_IPSEC_POLICY:  {name: "IPV6_IPSEC_POLICY", at: refused, why: "needs privilege", set: deny(unix.EPERM)},
	unix.IPV6_XFRM_POLICY:   {name: "IPV6_XFRM_POLICY", at: refused, why: "needs privilege", set: deny(unix.EPERM)},
	unix.IPV6_TRANSPARENT:   {name: "IPV6_TRANSPARENT", at: refused, why: "needs privilege", set: onlyOff(unix.EPERM), get: get(0)},
	unix.IPV6_JOIN_ANYCAST:  {name: "IPV6_JOIN_ANYCAST", at: refused, why: "needs privilege", set: deny(unix.EPERM)},
	unix.IPV6_LEAVE_ANYCAST: {name: "IPV6_LEAVE_ANYCAST", at: refused, why: "none was joined", set: deny(unix.ENOENT)},
	unix.IPV6_FREEBIND: {name: "IPV6_FREEBIND", at: refused, why: "NetBSD binds to its own addresses only",
		set: onlyOff(unix.ENOPROTOOPT), get: get(0)},
	unix.IPV6_RECVORIGDSTADDR: {name: "IPV6_RECVORIGDSTADDR", at: refused, why: "NetBSD does not tell it",
		set: onlyOff(unix.ENOPROTOOPT), get: get(0)},
	unix.IPV6_RECVFRAGSIZE: {name: "IPV6_RECVFRAGSIZE", at: refused, why: "NetBSD does not tell it",
		set: onlyOff(unix.ENOPROTOOPT), get: get(0)},
	unix.IPV6_UNICAST_IF: {name: "IPV6_UNICAST_IF", at: refused, why: "NetBSD has no such choice",
		set: func(_ *request, value []byte) unix.Errno {
			switch {
			case len(value) != 4:
				return unix.EINVAL
			case native.Uint32(value) != 0:
				return unix.ENOPROTOOPT
			}
			return 0
		}, get: get(0)},
	ipv6Flowinfo: {name: "IPV6_FLOWINFO", at: refused, why: "NetBSD does not tell it",
		set: onlyOff(unix.ENOPROTOOPT), get: get(0)},
	ipv6FlowinfoSend: {name: "IPV6_FLOWINFO_SEND", at: refused, why: "flow labels are the kernel's",
		set: onlyOff(unix.ENOPROTOOPT), get: get(0)},
}

// setV6Only is IPV6_V6ONLY, which a socket that has a port keeps.
func setV6Only(r *request, v int32) unix.Errno {
	if r.s.isRaw() {
		return unix.EINVAL // its protocol is its port
	}
	if errno := r.kernelInt(netbsd.IPPROTO_IPV6, netbsd.IPV6_V6ONLY, boolInt(v != 0)); errno != 0 {
		return errno
	}
	r.s.v6only = v != 0
	return 0
}

// setPktinfo6 is IPV6_PKTINFO: the address and interface of all that is sent.
func setPktinfo6(r *request, value []byte) unix.Errno {
	if len(value) < unix.SizeofInet6Pktinfo {
		return unix.EINVAL
	}
	m := r.k.Machine()
	info := netbsd.In6Pktinfo{Addr: [16]byte(value), Ifindex: native.Uint32(value[16:])}
	o := kernelOption{level: netbsd.IPPROTO_IPV6, name: netbsd.IPV6_PKTINFO, value: netbsd.Marshal(m, &info)}
	errno := r.toKernel(o)
	if errno == unix.ENXIO {
		return unix.ENODEV
	}
	return errno
}

// setPreferences is IPV6_ADDR_PREFERENCES, of which NetBSD knows temporary and
// public addresses. What is not named has its default.
func setPreferences(r *request, v int32) unix.Errno {
	var result int32
	for _, group := range [][]int32{
		{preferSrcPubTmpDef, preferSrcTmp, preferSrcPublic},
		{preferSrcHome, preferSrcCOA},
		{0, preferSrcCGA, preferSrcNonCGA}, // means nothing, as on Linux
	} {
		choice, named := group[0], 0
		for _, bit := range group {
			if bit != 0 && v&bit != 0 {
				choice = bit
				named++
			}
		}
		if named > 1 {
			return unix.EINVAL
		}
		result |= choice &^ (preferSrcCGA | preferSrcNonCGA)
	}
	prefer := int32(-1) // as the kernel's sysctl says
	switch {
	case result&preferSrcTmp != 0:
		prefer = 1
	case result&preferSrcPublic != 0:
		prefer = 0
	}
	if errno := r.kernelInt(netbsd.IPPROTO_IPV6, netbsd.IPV6_PREFER_TEMPADDR, prefer); errno != 0 {
		return errno
	}
	return r.store(result)
}

// checksumOffset is where ICMPv6 has its checksum.
const checksumOffset = 2

func setChecksum6(r *request, v int32) unix.Errno {
	if r.s.Protocol == unix.IPPROTO_ICMPV6 {
		if r.key.level == unix.SOL_RAW && v == checksumOffset {
			return 0
		}
		return unix.EINVAL
	}
	if v > 0 && v&1 != 0 {
		return unix.EINVAL
	}
	v = max(v, -1)
	if v == r.stored(-1) {
		return 0
	}
	// NetBSD does not take -1: what was set once stays.
	if errno := r.kernelInt(netbsd.IPPROTO_IPV6, netbsd.IPV6_CHECKSUM, v); errno != 0 {
		return errno
	}
	return r.store(v)
}

func getChecksum6(r *request) ([]byte, unix.Errno) {
	if r.s.Protocol == unix.IPPROTO_ICMPV6 {
		return intValue(checksumOffset), 0
	}
	return intValue(r.stored(-1)), 0
}

// extensionOption is an option that adds an extension header to all that is
// sent.
func extensionOption(name string) *option {
	return &option{name: name, at: refused, why: "needs privilege",
		set: func(r *request, value []byte) unix.Errno {
			if len(value) == 0 && r.key.name == unix.IPV6_RTHDR {
				return 0
			}
			return unix.EPERM
		}, get: empty}
}
