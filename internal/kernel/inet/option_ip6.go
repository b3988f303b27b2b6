package inet

import (
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// Bits of in6p_flags (<netinet6/in6_pcb.h>), as socket lists show them.
const (
	in6pV6Only   = 0x008000
	in6pPktInfo  = 0x010000
	in6pHopLimit = 0x020000
	in6pHopOpts  = 0x040000
	in6pDstOpts  = 0x080000
	in6pRthdr    = 0x100000
	in6pRthdrDst = 0x200000
	in6pTclass   = 0x400000
	in6pHighPort = 0x1000000
	in6pLowPort  = 0x2000000
	in6pAnonPort = 0x4000000
	in6pFaith    = 0x8000000
	in6pRFC2292  = 0x40000000
	in6pMTU      = 0x80000000
)

// in6pOptions are the options of RFC 3542 that are bits of in6p_flags. A
// socket that used one of RFC 2292 refuses them.
var in6pOptions = map[int32]uint32{
	netbsd.IPV6_RECVPKTINFO:      in6pPktInfo,
	netbsd.IPV6_RECVHOPLIMIT:     in6pHopLimit,
	netbsd.IPV6_RECVHOPOPTS:      in6pHopOpts,
	netbsd.IPV6_RECVDSTOPTS:      in6pDstOpts,
	netbsd.IPV6_RECVRTHDRDSTOPTS: in6pRthdrDst,
	netbsd.IPV6_RECVRTHDR:        in6pRthdr,
	netbsd.IPV6_RECVTCLASS:       in6pTclass,
}

// in6pOptions2292 are those of RFC 2292.
var in6pOptions2292 = map[int32]uint32{
	netbsd.IPV6_2292PKTINFO:  in6pPktInfo,
	netbsd.IPV6_2292HOPLIMIT: in6pHopLimit,
	netbsd.IPV6_2292HOPOPTS:  in6pHopOpts,
	netbsd.IPV6_2292DSTOPTS:  in6pDstOpts | in6pRthdrDst,
	netbsd.IPV6_2292RTHDR:    in6pRthdr,
}

// ip6Options are a socket's options of the level IPPROTO_IPV6.
type ip6Options struct {
	flags    uint32 // in6p*
	hops     int32  // IPV6_UNICAST_HOPS, -1: the default
	portAlgo int32
	// out are the sticky options of what is sent.
	out pktOptions

	mcastIf     tcpip.NICID // 0: as routed
	mcastHops   uint8
	noMcastLoop bool
}

func (o *ip6Options) init(s *Stack) {
	if s.params.get("net.inet6.ip6.v6only") != 0 {
		o.flags = in6pV6Only
	}
	o.hops = -1
	o.out.init()
	o.mcastHops = uint8(s.params.get("net.inet6.ip6.defmcasthlim"))
}

// pktOptions are options of a message (struct ip6_pktopts).
type pktOptions struct {
	src      netip.Addr  // IPV6_PKTINFO
	nic      tcpip.NICID // IPV6_PKTINFO, 0: as routed
	pktInfo  bool
	hopLimit int32 // -1: not set
	tclass   int32 // -1: not set
	minMTU   int32 // IPV6_USE_MIN_MTU
	tempAddr int32 // IPV6_PREFER_TEMPADDR
	dontFrag bool
	discover discovery // sysproxy.IPv6MTUDiscover
	longest  int32     // sysproxy.IPv6MTU, 0: not set
	hbh      []byte    // extension headers, as given
	dst1     []byte
	rthdr    []byte
	dst2     []byte
	nextHop  []byte // sockaddr
}

func (o *pktOptions) init() { o.hopLimit, o.tclass, o.minMTU, o.tempAddr = -1, -1, -1, -1 }

// setIP6 sets an option of the level IPPROTO_IPV6 in o (ip6_ctloutput), but for
// memberships. bound tells whether the socket has an address.
func (so *socket) setIP6(o *ip6Options, name int32, value []byte, bound bool) error {
	m := so.m
	setFlag := func(bit uint32, v int32) {
		if v != 0 {
			o.flags |= bit
		} else {
			o.flags &^= bit
		}
	}
	if bit, ok := in6pOptions2292[name]; ok {
		v, err := optInt(m, value)
		if err != nil {
			return err
		}
		o.flags |= in6pRFC2292
		setFlag(bit, v)
		return nil
	}
	if bit, ok := in6pOptions[name]; ok {
		v, err := optInt(m, value)
		if err != nil {
			return err
		}
		if o.flags&in6pRFC2292 != 0 {
			return netbsd.EINVAL
		}
		setFlag(bit, v)
		return nil
	}
	switch name {
	case netbsd.IPV6_UNICAST_HOPS, netbsd.IPV6_FAITH, netbsd.IPV6_RECVPATHMTU, netbsd.IPV6_V6ONLY,
		netbsd.IPV6_PORTRANGE, netbsd.IPV6_PORTALGO, netbsd.IPV6_HOPLIMIT:
		v, err := optInt(m, value)
		if err != nil {
			return err
		}
		return so.setIP6Int(o, name, v, bound)
	case netbsd.IPV6_2292PKTOPTIONS:
		return so.setPktOptions2292(o, value)
	case netbsd.IPV6_PKTINFO, netbsd.IPV6_HOPOPTS, netbsd.IPV6_RTHDR, netbsd.IPV6_DSTOPTS,
		netbsd.IPV6_RTHDRDSTOPTS, netbsd.IPV6_NEXTHOP:
		if o.flags&in6pRFC2292 != 0 {
			return netbsd.EINVAL
		}
		return so.setPktOption(&o.out, name, value, true)
	case netbsd.IPV6_OTCLASS, netbsd.IPV6_TCLASS, netbsd.IPV6_DONTFRAG, netbsd.IPV6_USE_MIN_MTU,
		netbsd.IPV6_PREFER_TEMPADDR, sysproxy.IPv6MTUDiscover, sysproxy.IPv6MTU:
		return so.setPktOption(&o.out, name, value, true)
	case netbsd.IPV6_MULTICAST_IF, netbsd.IPV6_MULTICAST_HOPS, netbsd.IPV6_MULTICAST_LOOP:
		return so.setMulticast6(o, name, value)
	}
	// IPsec policies among others: there is no IPsec.
	return netbsd.ENOPROTOOPT
}

// setIP6Int sets the options that are ints of a meaning of their own.
func (so *socket) setIP6Int(o *ip6Options, name, v int32, bound bool) error {
	setFlag := func(bit uint32) {
		if v != 0 {
			o.flags |= bit
		} else {
			o.flags &^= bit
		}
	}
	switch name {
	case netbsd.IPV6_UNICAST_HOPS:
		if v < -1 || v > 255 {
			return netbsd.EINVAL
		}
		o.hops = v
	case netbsd.IPV6_HOPLIMIT:
		// It is for single messages only.
		if o.flags&in6pRFC2292 != 0 {
			return netbsd.EINVAL
		}
		return netbsd.ENOPROTOOPT
	case netbsd.IPV6_FAITH:
		setFlag(in6pFaith)
	case netbsd.IPV6_RECVPATHMTU:
		if so.typ != netbsd.SOCK_STREAM {
			setFlag(in6pMTU)
		}
	case netbsd.IPV6_V6ONLY:
		if bound {
			return netbsd.EINVAL
		}
		setFlag(in6pV6Only)
	case netbsd.IPV6_PORTRANGE:
		o.flags &^= in6pLowPort | in6pHighPort
		switch v {
		case netbsd.IPV6_PORTRANGE_DEFAULT:
		case netbsd.IPV6_PORTRANGE_HIGH:
			o.flags |= in6pHighPort
		case netbsd.IPV6_PORTRANGE_LOW:
			o.flags |= in6pLowPort
		default:
			return netbsd.EINVAL
		}
	case netbsd.IPV6_PORTALGO:
		if v < 0 || v >= portAlgos {
			return netbsd.EINVAL
		}
		o.portAlgo = v
	}
	return nil
}

// ip6Option gives an option of the level IPPROTO_IPV6.
func (so *socket) ip6Option(o *ip6Options, name int32) ([]byte, error) {
	m := so.m
	if bit, ok := in6pOptions[name]; ok {
		return boolOpt(m, o.flags&bit != 0), nil
	}
	if bit, ok := in6pOptions2292[name]; ok {
		return boolOpt(m, o.flags&bit != 0), nil
	}
	switch name {
	case netbsd.IPV6_2292PKTOPTIONS:
		return nil, nil
	case netbsd.IPV6_UNICAST_HOPS:
		return intOpt(m, o.hops), nil
	case netbsd.IPV6_FAITH:
		return boolOpt(m, o.flags&in6pFaith != 0), nil
	case netbsd.IPV6_RECVPATHMTU:
		return boolOpt(m, o.flags&in6pMTU != 0), nil
	case netbsd.IPV6_V6ONLY:
		return boolOpt(m, o.flags&in6pV6Only != 0), nil
	case netbsd.IPV6_PORTRANGE:
		switch {
		case o.flags&in6pHighPort != 0:
			return intOpt(m, netbsd.IPV6_PORTRANGE_HIGH), nil
		case o.flags&in6pLowPort != 0:
			return intOpt(m, netbsd.IPV6_PORTRANGE_LOW), nil
		}
		return intOpt(m, netbsd.IPV6_PORTRANGE_DEFAULT), nil
	case netbsd.IPV6_PORTALGO:
		return intOpt(m, o.portAlgo), nil
	case netbsd.IPV6_MULTICAST_IF:
		return intOpt(m, int32(o.mcastIf)), nil
	case netbsd.IPV6_MULTICAST_HOPS:
		return intOpt(m, int32(o.mcastHops)), nil
	case netbsd.IPV6_MULTICAST_LOOP:
		return boolOpt(m, !o.noMcastLoop), nil
	case netbsd.IPV6_JOIN_GROUP, netbsd.IPV6_LEAVE_GROUP:
		return nil, netbsd.EOPNOTSUPP
	}
	return so.pktOption(&o.out, name)
}

// pktOption gives a sticky option (ip6_getpcbopt).
func (so *socket) pktOption(o *pktOptions, name int32) ([]byte, error) {
	m := so.m
	switch name {
	case netbsd.IPV6_PKTINFO:
		var info netbsd.In6Pktinfo
		if o.pktInfo {
			info.Ifindex = uint32(o.nic)
			if o.src.IsValid() {
				info.Addr = o.src.As16()
			}
		}
		return netbsd.Marshal(m, &info), nil
	case netbsd.IPV6_OTCLASS:
		return nil, netbsd.EINVAL // as the kernel has it
	case netbsd.IPV6_TCLASS:
		return intOpt(m, max(o.tclass, 0)), nil
	case netbsd.IPV6_HOPOPTS:
		return o.hbh, nil
	case netbsd.IPV6_RTHDR:
		return o.rthdr, nil
	case netbsd.IPV6_RTHDRDSTOPTS:
		return o.dst1, nil
	case netbsd.IPV6_DSTOPTS:
		return o.dst2, nil
	case netbsd.IPV6_NEXTHOP:
		return o.nextHop, nil
	case netbsd.IPV6_USE_MIN_MTU:
		return intOpt(m, o.minMTU), nil
	case netbsd.IPV6_DONTFRAG:
		return boolOpt(m, o.dontFrag), nil
	case netbsd.IPV6_PREFER_TEMPADDR:
		return intOpt(m, o.tempAddr), nil
	case sysproxy.IPv6MTUDiscover:
		return intOpt(m, int32(o.discover)), nil
	case sysproxy.IPv6MTU:
		return intOpt(m, o.longest), nil
	}
	return nil, netbsd.ENOPROTOOPT
}

// setMulticast6 is ip6_setmoptions without memberships.
func (so *socket) setMulticast6(o *ip6Options, name int32, value []byte) error {
	v, err := optInt(so.m, value)
	if err != nil {
		return err
	}
	switch name {
	case netbsd.IPV6_MULTICAST_IF:
		if v != 0 && !so.stack.net.HasNIC(tcpip.NICID(v)) {
			return netbsd.ENXIO
		}
		o.mcastIf = tcpip.NICID(v)
	case netbsd.IPV6_MULTICAST_HOPS:
		switch {
		case v < -1 || v > 255:
			return netbsd.EINVAL
		case v == -1:
			v = so.stack.params.get("net.inet6.ip6.defmcasthlim")
		}
		o.mcastHops = uint8(v)
	case netbsd.IPV6_MULTICAST_LOOP:
		if v != 0 && v != 1 {
			return netbsd.EINVAL
		}
		o.noMcastLoop = v == 0
	}
	return nil
}

// setPktOption sets an option of messages (ip6_setpktopt): for all that are
// sent from now on if it is sticky, else for one.
func (so *socket) setPktOption(o *pktOptions, name int32, value []byte, sticky bool) error {
	m := so.m
	asInt := func(low, high int32) (int32, error) {
		v, err := optInt(m, value)
		if err == nil && (v < low || v > high) {
			err = netbsd.EINVAL
		}
		return v, err
	}
	switch name {
	case netbsd.IPV6_PKTINFO, netbsd.IPV6_2292PKTINFO:
		return so.setPktInfo(o, value, sticky)
	case netbsd.IPV6_HOPLIMIT, netbsd.IPV6_2292HOPLIMIT:
		if sticky && name == netbsd.IPV6_HOPLIMIT {
			return netbsd.ENOPROTOOPT
		}
		v, err := asInt(-1, 255)
		if err != nil {
			return err
		}
		o.hopLimit = v
	case netbsd.IPV6_OTCLASS:
		if len(value) != 1 {
			return netbsd.EINVAL
		}
		o.tclass = int32(value[0])
	case netbsd.IPV6_TCLASS:
		v, err := asInt(-1, 255)
		if err != nil {
			return err
		}
		o.tclass = v
	case netbsd.IPV6_USE_MIN_MTU:
		v, err := asInt(-1, 1)
		if err != nil {
			return err
		}
		o.minMTU = v
	case sysproxy.IPv6MTUDiscover:
		v, err := optInt(m, value)
		if err != nil {
			return err
		}
		return o.discover.set(v)
	case sysproxy.IPv6MTU:
		v, err := asInt(0, maxInt32)
		if err != nil || v != 0 && v < minMTU6 {
			return netbsd.EINVAL
		}
		o.longest = v
	case netbsd.IPV6_PREFER_TEMPADDR:
		v, err := asInt(-1, 1)
		if err != nil {
			return err
		}
		o.tempAddr = v
	case netbsd.IPV6_DONTFRAG:
		v, err := optInt(m, value)
		if err != nil {
			return err
		}
		o.dontFrag = v != 0 && so.typ != netbsd.SOCK_STREAM
	case netbsd.IPV6_NEXTHOP, netbsd.IPV6_2292NEXTHOP:
		if len(value) == 0 {
			o.nextHop = nil
			return nil
		}
		if len(value) < 16 || len(value) < int(value[0]) {
			return netbsd.EINVAL
		}
		e, err := so.stack.parseIn6(m, value)
		if err != nil {
			return err
		}
		if isAny(e.addr) || e.addr.IsMulticast() {
			return netbsd.EINVAL
		}
		o.nextHop = value[:value[0]]
	case netbsd.IPV6_HOPOPTS, netbsd.IPV6_2292HOPOPTS:
		return setExtHeader(&o.hbh, value)
	case netbsd.IPV6_RTHDRDSTOPTS:
		return setExtHeader(&o.dst1, value)
	case netbsd.IPV6_DSTOPTS:
		return setExtHeader(&o.dst2, value)
	case netbsd.IPV6_2292DSTOPTS:
		// It stands before the routing header that comes after it.
		if o.rthdr == nil {
			return setExtHeader(&o.dst1, value)
		}
		return setExtHeader(&o.dst2, value)
	case netbsd.IPV6_RTHDR, netbsd.IPV6_2292RTHDR:
		// Only type 0 is known, of whole addresses that are all to come.
		if len(value) > 0 && (len(value) < 8 || value[2] != netbsd.IPV6_RTHDR_TYPE_0 ||
			value[1] == 0 || value[1]%2 != 0 || value[1]/2 != value[3]) {
			return netbsd.EINVAL
		}
		return setExtHeader(&o.rthdr, value)
	default:
		return netbsd.ENOPROTOOPT
	}
	return nil
}

// setExtHeader sets or, with no value, removes an extension header, whose
// second byte counts its length in units of 8 bytes after the first.
func setExtHeader(h *[]byte, value []byte) error {
	if len(value) == 0 {
		*h = nil
		return nil
	}
	if len(value) < 2 || len(value) != 8*(int(value[1])+1) {
		return netbsd.EINVAL
	}
	*h = append([]byte(nil), value...)
	return nil
}

func (so *socket) setPktInfo(o *pktOptions, value []byte, sticky bool) error {
	var info netbsd.In6Pktinfo
	if err := optStruct(so.m, value, &info); err != nil {
		return err
	}
	src := normal(netip.AddrFrom16(info.Addr))
	if info.Ifindex == 0 && !src.IsValid() {
		o.pktInfo, o.src, o.nic = false, src, 0
		return nil
	}
	if sticky && so.typ == netbsd.SOCK_STREAM && src.IsValid() {
		return netbsd.EINVAL
	}
	if info.Ifindex != 0 && !so.stack.net.HasNIC(tcpip.NICID(info.Ifindex)) {
		return netbsd.ENXIO
	}
	o.pktInfo, o.src, o.nic = true, src, tcpip.NICID(info.Ifindex)
	return nil
}

// setPktOptions2292 sets all sticky options at once, from control messages;
// without any it clears them.
func (so *socket) setPktOptions2292(o *ip6Options, value []byte) error {
	var out pktOptions
	out.init()
	cs, err := netbsd.ParseCmsgs(so.m, value)
	if err != nil {
		return netbsd.EINVAL
	}
	for _, c := range cs {
		if c.Level != netbsd.IPPROTO_IPV6 {
			continue
		}
		if !is2292(c.Type) {
			return netbsd.ENOPROTOOPT
		}
		if err := so.setPktOption(&out, c.Type, c.Data, true); err != nil {
			return err
		}
	}
	o.out = out
	return nil
}

// is2292 tells whether a control message's type is one of RFC 2292.
func is2292(typ int32) bool {
	return typ >= netbsd.IPV6_2292PKTINFO && typ <= netbsd.IPV6_2292RTHDR
}

// messageOptions gives the options of one message: the sticky ones, out, and
// what its control messages say (ip6_setpktopts).
func (so *socket) messageOptions(out pktOptions, control []netbsd.Cmsg) (pktOptions, error) {
	for _, c := range control {
		if c.Level != netbsd.IPPROTO_IPV6 {
			continue
		}
		if err := so.setPktOption(&out, c.Type, c.Data, false); err != nil {
			return out, err
		}
	}
	return out, nil
}

// controls makes the control messages that a socket wants with a datagram
// (ip6_savecontrol); so.mu is held.
func (o *ip6Options) controls(so *socket, p *packet) []netbsd.Cmsg {
	cs := so.controlTime()
	add := func(typ, typ2292 int32, data []byte) {
		if o.flags&in6pRFC2292 != 0 {
			typ = typ2292
		}
		cs = append(cs, netbsd.Cmsg{Level: netbsd.IPPROTO_IPV6, Type: typ, Data: data})
	}
	if o.flags&in6pPktInfo != 0 {
		dst, _ := netbsd.ExtractScope(p.dst)
		add(netbsd.IPV6_PKTINFO, netbsd.IPV6_2292PKTINFO,
			netbsd.Marshal(so.m, &netbsd.In6Pktinfo{Addr: dst.As16(), Ifindex: uint32(p.nic)}))
	}
	if o.flags&in6pHopLimit != 0 {
		add(netbsd.IPV6_HOPLIMIT, netbsd.IPV6_2292HOPLIMIT, intOpt(so.m, int32(p.ttl)))
	}
	if o.flags&in6pTclass != 0 {
		add(netbsd.IPV6_TCLASS, netbsd.IPV6_TCLASS, intOpt(so.m, int32(p.tos)))
	}
	for _, h := range p.extHeaders {
		switch {
		case h.typ == netbsd.IPPROTO_HOPOPTS && o.flags&in6pHopOpts != 0:
			add(netbsd.IPV6_HOPOPTS, netbsd.IPV6_2292HOPOPTS, h.data)
		case h.typ == netbsd.IPPROTO_DSTOPTS && o.flags&in6pDstOpts != 0:
			add(netbsd.IPV6_DSTOPTS, netbsd.IPV6_2292DSTOPTS, h.data)
		case h.typ == netbsd.IPPROTO_ROUTING && o.flags&in6pRthdr != 0:
			add(netbsd.IPV6_RTHDR, netbsd.IPV6_2292RTHDR, h.data)
		}
	}
	return cs
}
