package inet

import (
	"encoding/binary"
	"net/netip"

	"rumptools/internal/kernel"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// rawSocket is a socket of type SOCK_RAW, of either family: raw_ip.c and
// raw_ip6.c.
type rawSocket struct {
	dgramSocket
	// ipProto is the protocol that it sends and, unless 0, receives.
	ipProto uint8
	// prProto is the protocol's number in NetBSD's table, 0 for those that
	// share one entry.
	prProto int32
	// checksum is IPV6_CHECKSUM: where the kernel puts a checksum, and
	// expects one; -1 for nowhere.
	checksum int32
	// filter is ICMP6_FILTER.
	filter netbsd.Icmp6Filter
}

var (
	_ kernel.Socket = (*rawSocket)(nil)
	_ kernel.Ender  = (*rawSocket)(nil)
)

// rawSpace is the size in bytes of the buffers of raw sockets.
const rawSpace = 8192

// icmp6ChecksumOffset is where ICMPv6 has its checksum.
const icmp6ChecksumOffset = 2

// newRaw makes a raw socket.
func (s *Stack) newRaw(m *netbsd.Machine, family, proto, prProto int32) *rawSocket {
	so := &rawSocket{ipProto: uint8(proto), prProto: prProto, checksum: -1}
	so.initDatagrams(s, m, family, netbsd.SOCK_RAW, proto, rawSpace, rawSpace)
	so.filter.PassAll()
	s.sockets.add(so)
	return so
}

// Close implements [kernel.File].
func (so *rawSocket) Close() error {
	so.stack.sockets.remove(so)
	so.finish()
	return nil
}

// Bind implements [kernel.Socket]: only the address counts.
func (so *rawSocket) Bind(sa []byte) error {
	e, err := so.parseName(sa)
	if err == netbsd.EAFNOSUPPORT && so.family == netbsd.AF_INET6 {
		return netbsd.EADDRNOTAVAIL
	}
	if err != nil {
		return err
	}
	if so.family == netbsd.AF_INET6 && e.addr.Is4In6() {
		return netbsd.EADDRNOTAVAIL
	}
	if e.addr.IsValid() {
		if err := so.stack.bindable(e.addr, true); err != nil {
			return err
		}
	}
	so.mu.Lock()
	so.local.addr = e.addr
	so.mu.Unlock()
	return nil
}

// parseName reads a whole address of the socket's family.
func (so *dgramSocket) parseName(sa []byte) (endpoint, error) {
	if len(sa) != sizeofSockaddr(so.family) {
		return endpoint{}, netbsd.EINVAL
	}
	if saFamily(sa) != so.family {
		return endpoint{}, netbsd.EAFNOSUPPORT
	}
	if so.family == netbsd.AF_INET {
		return parseIn(sa)
	}
	return so.stack.parseIn6(so.m, sa)
}

// Connect implements [kernel.Socket]. Another address takes the place of the
// one before; one of another family ends the connection, though it gives
// EAFNOSUPPORT.
func (so *rawSocket) Connect(sa []byte) error {
	so.mu.Lock()
	if so.connected {
		so.connected = false
		so.remote = endpoint{}
	}
	so.mu.Unlock()
	if saFamily(sa) != so.family {
		return netbsd.EAFNOSUPPORT
	}
	var e endpoint
	var err error
	if so.family == netbsd.AF_INET {
		e, err = parseIn(sa)
	} else {
		e, err = so.stack.parseIn6(so.m, sa)
	}
	if err != nil {
		return err
	}
	var local netip.Addr
	if so.family == netbsd.AF_INET6 {
		if local, err = so.source6(e.addr); err != nil {
			return err
		}
	}
	so.mu.Lock()
	if local.IsValid() {
		so.local.addr = local
	}
	so.remote.addr = e.addr
	so.connected = true
	so.mu.Unlock()
	so.Wake(kernel.Writable)
	return nil
}

// source6 gives the address that an IPv6 socket sends to dst with
// (in6_selectsrc): the bound one or that of the route.
func (so *dgramSocket) source6(dst netip.Addr) (netip.Addr, error) {
	so.mu.Lock()
	local, nic := so.local.addr, so.ip6.out.nic
	device := so.boundNIC()
	if nic == 0 && device == 0 && dst.IsMulticast() {
		nic = so.ip6.mcastIf
	}
	so.mu.Unlock()
	if local.IsValid() {
		return local, nil
	}
	if !dst.IsValid() {
		dst = netip.IPv6Loopback()
	}
	r, err := so.stack.findRoute(sendPath{dst: dst, nic: nic, device: device})
	if err == netbsd.ENETDOWN {
		// in6_selectsrc finds no address that can be used, and no route to
		// a network that only the scope tells.
		if err = netbsd.EADDRNOTAVAIL; nic == 0 && netbsd.HasScope(dst) {
			err = netbsd.EHOSTUNREACH
		}
	}
	if err != nil {
		return netip.Addr{}, err
	}
	defer r.Release()
	return packetAddr(r.LocalAddress(), r.NICID()), nil
}

// Write implements [kernel.File].
func (so *rawSocket) Write(p []byte) (int, error) {
	return so.Send(nil, &kernel.Message{Data: p})
}

// Send implements [kernel.Socket].
func (so *rawSocket) Send(_ *kernel.Call, m *kernel.Message) (int, error) {
	so.mu.Lock()
	err := so.sendable(m)
	dst := so.remote.addr
	if err == nil && len(m.Name) > 0 && so.connected {
		err = netbsd.EISCONN
	}
	so.mu.Unlock()
	if err != nil {
		return 0, err
	}
	if so.family == netbsd.AF_INET {
		if len(m.Control) > 0 {
			return 0, netbsd.EINVAL
		}
		if len(m.Name) > 0 {
			e, err := parseIn(m.Name)
			if err != nil {
				return 0, err
			}
			dst = e.addr
		}
		err = so.output4(m, dst)
	} else {
		if len(m.Name) > 0 {
			e, err := so.stack.parseIn6(so.m, m.Name)
			if err != nil {
				return 0, err
			}
			dst = e.addr
		}
		err = so.output6(m, dst)
	}
	if err != nil {
		return 0, err
	}
	return len(m.Data), nil
}

// output4 is rip_output.
func (so *rawSocket) output4(m *kernel.Message, dst netip.Addr) error {
	h := ip4Header{ttl: netbsd.MAXTTL, proto: so.ipProto, dst: dst}
	payload := m.Data
	so.mu.Lock()
	h.src = so.local.addr
	whole, discover := so.ip4.flags&inpHdrIncl != 0, so.ip4.discover
	if !whole {
		h.options = so.ip4.header
		if so.ip4.via.IsValid() {
			h.dst = so.ip4.via
		}
	}
	so.mu.Unlock()
	if whole {
		var err error
		if h, payload, err = so.ownHeader(m.Data); err != nil {
			return err
		}
	}
	h.discover = discover
	if !h.dst.IsValid() {
		h.dst = netip.IPv4Unspecified()
	}
	err := so.send4(h, payload, m.Flags)
	if whole {
		so.stack.stats.ip[netbsd.IP_STAT_RAWOUT].Add(1)
		if err == nil {
			so.stack.stats.rawSent.Add(1)
		}
	}
	return err
}

// ownHeader reads a datagram that a program gives with its header (IP_HDRINCL):
// its length and fragment offset are in the machine's byte order.
func (so *rawSocket) ownHeader(data []byte) (h ip4Header, payload []byte, err error) {
	order := so.m.Order
	if len(data) < 20 || int(order.Uint16(data[2:])) != len(data) {
		return h, nil, netbsd.EINVAL
	}
	hlen := 4 * int(data[0]&15)
	if data[0]>>4 != 4 || hlen < 20 || hlen > len(data) {
		return h, nil, netbsd.EINVAL
	}
	return ip4Header{
		tos: data[1], ttl: data[8], proto: data[9],
		id:      binary.BigEndian.Uint16(data[4:]),
		off:     order.Uint16(data[6:]),
		src:     normal(netip.AddrFrom4([4]byte(data[12:]))),
		dst:     netip.AddrFrom4([4]byte(data[16:])),
		options: data[20:hlen],
	}, data[hlen:], nil
}

// send4 routes and sends an IPv4 datagram of a raw socket's, or of a UDP
// socket's with its checksum still to come: ip_output. flags are MSG_*.
func (so *dgramSocket) send4(h ip4Header, payload []byte, flags int32) error {
	s := so.stack
	p := sendPath{dst: h.dst, device: so.boundNIC()}
	so.mu.Lock()
	multicast := h.dst.IsMulticast() || h.dst == netip.AddrFrom4([4]byte{255, 255, 255, 255})
	p.dontRoute = so.options&netbsd.SO_DONTROUTE != 0 || flags&netbsd.MSG_DONTROUTE != 0
	mayBroadcast := so.typ == netbsd.SOCK_RAW || so.options&netbsd.SO_BROADCAST != 0
	if multicast {
		if p.noLoop = so.ip4.noMcastLoop; p.device == 0 {
			p.nic = so.ip4.mcastIf
		}
		h.ttl = so.ip4.mcastTTL
	} else if p.dontRoute && !so.keepsTTL && flags&sysproxy.MsgKeepTTL == 0 {
		h.ttl = 1
	}
	sum := so.typ == netbsd.SOCK_DGRAM && !so.noSum4.Load()
	so.mu.Unlock()
	r, err := s.findRoute(p)
	if err != nil {
		return err
	}
	defer r.Release()
	if r.IsOutboundBroadcast() && !mayBroadcast {
		return netbsd.EACCES
	}
	if !h.src.IsValid() {
		h.src = netipAddr(r.LocalAddress())
	}
	if h.src.IsMulticast() {
		return netbsd.EADDRNOTAVAIL
	}
	if sum {
		udpChecksum(h.src, h.dst, payload)
	}
	mtu, err := s.write4(r, h, payload)
	if err == netbsd.EMSGSIZE && mtu > 0 && so.typ == netbsd.SOCK_RAW {
		so.mu.Lock()
		so.errorMTU = int32(mtu)
		so.mu.Unlock()
	}
	return err
}

// output6 is rip6_output.
func (so *rawSocket) output6(m *kernel.Message, dst netip.Addr) error {
	so.mu.Lock()
	off := so.checksum
	so.mu.Unlock()
	payload := m.Data
	if so.prProto == netbsd.IPPROTO_ICMPV6 {
		if len(payload) < 4 {
			return netbsd.EINVAL
		}
		off = icmp6ChecksumOffset
	}
	if off >= 0 {
		if len(payload) < int(off)+2 {
			return netbsd.EINVAL
		}
		payload = append([]byte(nil), payload...)
		payload[off], payload[off+1] = 0, 0
	}
	return so.send6(so.ipProto, dst, payload, int(off), m)
}

// send6 routes and sends an IPv6 datagram: ip6_output. The checksum goes where
// off says, unless that is negative.
func (so *dgramSocket) send6(proto uint8, dst netip.Addr, payload []byte, off int, m *kernel.Message) error {
	s := so.stack
	if !dst.IsValid() {
		dst = netip.IPv6Loopback() // :: is this host
	}
	p := sendPath{dst: dst, device: so.boundNIC()}
	so.mu.Lock()
	p.dontRoute = so.options&netbsd.SO_DONTROUTE != 0 || m.Flags&netbsd.MSG_DONTROUTE != 0
	o, src := so.ip6, so.local.addr
	so.mu.Unlock()
	out, err := so.messageOptions(o.out, m.Control)
	if err != nil {
		return err
	}
	p.nic = out.nic
	if p.device != 0 && p.nic != 0 && p.nic != p.device {
		return netbsd.EINVAL
	}
	hops := o.hops
	if dst.IsMulticast() {
		hops, p.noLoop = int32(o.mcastHops), o.noMcastLoop
		if p.nic == 0 && p.device == 0 && !hasIndex(dst) {
			p.nic = o.mcastIf
		}
	}
	switch {
	case out.hopLimit >= 0:
		hops = out.hopLimit
	case hops < 0:
		hops = s.params.get("net.inet6.ip6.hlim")
	}
	if out.nextHop != nil {
		next, err := s.parseIn6(so.m, out.nextHop)
		if err != nil {
			return err
		}
		p.dst = next.addr
	}
	r, err := s.findRoute(p)
	if err != nil {
		return err
	}
	defer r.Release()
	if out.src.IsValid() {
		src = netbsd.EmbedScope(out.src, uint32(r.NICID()))
		if !s.isLocal(src) {
			return netbsd.EADDRNOTAVAIL
		}
	}
	if !src.IsValid() {
		src = netipAddr(r.LocalAddress())
	}
	h := ip6Header{hops: uint8(hops), tclass: uint8(max(out.tclass, 0)), proto: proto, out: &out}
	h.src, _ = netbsd.ExtractScope(src)
	h.dst, _ = netbsd.ExtractScope(dst)
	if off >= 0 {
		sum := internetChecksum(proto, h.src, h.dst, payload)
		if sum == 0 && proto == netbsd.IPPROTO_UDP {
			sum = 0xffff
		}
		binary.BigEndian.PutUint16(payload[off:], sum)
	}
	return s.write6(r, h, payload)
}

// hasIndex tells whether an address names its interface.
func hasIndex(a netip.Addr) bool {
	_, index := netbsd.ExtractScope(a)
	return index != 0
}

// bindable tells whether a socket may have an address: EADDRNOTAVAIL if it is
// nobody's or not ready. broadcast allows broadcast addresses of interfaces.
func (s *Stack) bindable(a netip.Addr, broadcast bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	ifa := s.ifaWithAddr(a, broadcast)
	if ifa == nil {
		return netbsd.EADDRNOTAVAIL
	}
	unfit := int32(netbsd.IN_IFF_NOTREADY | netbsd.IN_IFF_DETACHED)
	if ifa.family == netbsd.AF_INET6 {
		unfit = netbsd.IN6_IFF_ANYCAST | netbsd.IN6_IFF_NOTREADY | netbsd.IN6_IFF_DETACHED
	}
	if ifa.state&unfit != 0 {
		return netbsd.EADDRNOTAVAIL
	}
	return nil
}

// SetOption implements [kernel.Socket].
func (so *rawSocket) SetOption(_ *kernel.Call, level, name int32, value []byte) error {
	if flag := so.flag(level, name); flag != nil {
		return so.setFlag(flag, value)
	}
	switch {
	case level == netbsd.SOL_SOCKET && name == netbsd.SO_NOHEADER:
		return so.setNoHeader(value)
	case level == netbsd.IPPROTO_IP && name == netbsd.IP_HDRINCL && so.family == netbsd.AF_INET:
		v, err := optInt(so.m, value)
		if err != nil {
			return err
		}
		so.optMu.Lock()
		defer so.optMu.Unlock()
		so.mu.Lock()
		defer so.mu.Unlock()
		so.ip4.flags &^= inpHdrIncl
		if v != 0 {
			so.ip4.flags |= inpHdrIncl
		}
		return nil
	case level == netbsd.IPPROTO_IPV6 && name == netbsd.IPV6_CHECKSUM && so.family == netbsd.AF_INET6:
		v, err := optInt(so.m, value)
		if err != nil {
			return err
		}
		if v%2 != 0 || so.prProto == netbsd.IPPROTO_ICMPV6 && v != icmp6ChecksumOffset {
			return netbsd.EINVAL
		}
		so.mu.Lock()
		defer so.mu.Unlock()
		so.checksum = v
		return nil
	case level == netbsd.IPPROTO_ICMPV6 && so.prProto == netbsd.IPPROTO_ICMPV6 && so.family == netbsd.AF_INET6:
		if name != netbsd.ICMP6_FILTER {
			return netbsd.ENOPROTOOPT
		}
		var f netbsd.Icmp6Filter
		if err := optStruct(so.m, value, &f); err != nil {
			return err
		}
		so.mu.Lock()
		defer so.mu.Unlock()
		so.filter = f
		return nil
	}
	return so.setOption(level, name, value, so.isBound)
}

// isBound tells whether bind(2) or connect(2) gave the socket an address; so.mu
// is held.
func (so *dgramSocket) isBound() bool { return so.local != endpoint{} }

// setNoHeader sets SO_NOHEADER, which IPv6 sockets always have.
func (so *rawSocket) setNoHeader(value []byte) error {
	v, err := optInt(so.m, value)
	if err != nil {
		return err
	}
	if so.family == netbsd.AF_INET6 {
		if v == 0 {
			return netbsd.EINVAL
		}
		return nil
	}
	so.optMu.Lock()
	defer so.optMu.Unlock()
	so.mu.Lock()
	defer so.mu.Unlock()
	so.ip4.flags &^= inpNoHeader
	if v != 0 {
		so.ip4.flags &^= inpHdrIncl
		so.ip4.flags |= inpNoHeader
	}
	return nil
}

// Option implements [kernel.Socket].
func (so *rawSocket) Option(_ *kernel.Call, level, name int32, _ int) ([]byte, error) {
	if flag := so.flag(level, name); flag != nil {
		return boolOpt(so.m, flag.Load()), nil
	}
	so.mu.Lock()
	flags, checksum, filter := so.ip4.flags, so.checksum, so.filter
	so.mu.Unlock()
	icmp6 := so.prProto == netbsd.IPPROTO_ICMPV6 && so.family == netbsd.AF_INET6
	switch {
	case level == netbsd.IPPROTO_IP && name == netbsd.IP_HDRINCL && so.family == netbsd.AF_INET:
		return intOpt(so.m, int32(flags&inpHdrIncl)), nil
	case level == netbsd.IPPROTO_IPV6 && name == netbsd.IPV6_CHECKSUM && icmp6:
		return intOpt(so.m, icmp6ChecksumOffset), nil
	case level == netbsd.IPPROTO_IPV6 && name == netbsd.IPV6_CHECKSUM && so.family == netbsd.AF_INET6:
		return intOpt(so.m, checksum), nil
	case level == netbsd.IPPROTO_ICMPV6 && icmp6 && name == netbsd.ICMP6_FILTER:
		return netbsd.Marshal(so.m, &filter), nil
	}
	return so.option(level, name)
}

// input gives a raw socket a datagram if it wants it, which it tells. IPv4
// datagrams come as rawForm makes them.
func (so *rawSocket) input(p *packet, form func() []byte) bool {
	so.mu.Lock()
	wants := so.takesFrom(p.nic) && so.takesGroup(p) && (so.ipProto == 0 || so.ipProto == p.proto) &&
		(!so.local.addr.IsValid() || so.local.addr == p.dst) &&
		(!so.remote.addr.IsValid() || so.remote.addr == p.src)
	d := datagram{from: endpoint{addr: p.src}.sockaddr(so.m, so.family), data: p.payload}
	if wants && so.family == netbsd.AF_INET {
		if so.ip4.flags&inpNoHeader == 0 {
			d.data = form()
		}
		d.control = so.ip4.controls(&so.socket, p)
	}
	if wants && so.family == netbsd.AF_INET6 {
		icmp := p.proto == netbsd.IPPROTO_ICMPV6
		switch {
		case icmp && so.ipProto != p.proto, icmp && !so.filter.WillPass(p.payload[0]):
			wants = false
		case !icmp && so.checksum != -1:
			src, _ := netbsd.ExtractScope(p.src)
			dst, _ := netbsd.ExtractScope(p.dst)
			wants = internetChecksum(p.proto, src, dst, p.payload) == 0
		}
		if wants {
			d.control = so.ip6.controls(&so.socket, p)
		}
	}
	so.mu.Unlock()
	if wants {
		so.deliver(d)
	}
	return wants
}

// rawInput gives a datagram to all raw sockets that want it (rip_input,
// rip6_input), and tells whether any did.
func (s *Stack) rawInput(p *packet) bool {
	family := int32(netbsd.AF_INET)
	if !p.dst.Is4() {
		family = netbsd.AF_INET6
	}
	var whole []byte
	form := func() []byte {
		if whole == nil {
			whole = p.rawForm(s.machine)
		}
		return whole
	}
	any := false
	for _, so := range s.sockets.raw(family) {
		if so.input(p, form) {
			any = true
		}
	}
	return any
}
