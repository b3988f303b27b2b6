package inet

import (
	"encoding/binary"
	"net/netip"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// sendPath says where a datagram goes.
type sendPath struct {
	// dst is in the kernel's form.
	dst netip.Addr
	// nic is the interface that it must leave by; 0 is the routed one.
	nic tcpip.NICID
	// device is the interface that the socket is bound to, for nic 0.
	device tcpip.NICID
	// dontRoute has it leave by the interface whose network dst is in.
	dontRoute bool
	// noLoop keeps a multicast from members on this host.
	noLoop bool
}

// findRoute finds the engine's route for a path, which the caller releases. The
// route's own local address is what NetBSD would choose; datagrams may have
// another one, since the kernel lets any address of the host leave by any
// interface. It runs on the path of packets, unless p.dontRoute is set.
func (s *Stack) findRoute(p sendPath) (*stack.Route, error) {
	if p.nic == 0 {
		p.nic = p.device
	}
	nic := p.nic
	dst, scope := netbsd.ExtractScope(p.dst)
	if nic == 0 {
		nic = tcpip.NICID(scope)
	} else if scope == 0 && !dst.IsMulticast() {
		// The interface that is asked for says which network a link-local
		// address is in.
		p.dst = netbsd.EmbedScope(dst, uint32(nic))
	}
	if p.dontRoute && !dst.IsMulticast() {
		s.mu.Lock()
		ifa := s.ifaWithNet(sockaddrInet(p.dst))
		s.mu.Unlock()
		if ifa == nil || p.device != 0 && p.device != ifa.ifp.NICID && !s.isLocal(p.dst) {
			return nil, netbsd.ENETUNREACH
		}
		nic = ifa.ifp.NICID
		if s.isLocal(p.dst) {
			nic = 0
		}
	} else if p.nic == 0 || !dst.IsMulticast() {
		if err := s.outputError(p.dst, p.device); err != nil {
			return nil, err
		}
	}
	r, err := s.net.FindRoute(nic, tcpip.Address{}, engineAddr(dst), engineProto(dst), !p.noLoop)
	switch err.(type) {
	case nil:
		if nic == 0 || r.NICID() == nic || s.isLocal(p.dst) {
			return r, nil
		}
		// A router's packets may leave by any interface, in the engine's mind.
		r.Release()
	case *tcpip.ErrBadLocalAddress:
		return nil, netbsd.EADDRNOTAVAIL
	}
	switch {
	case nic == 0:
		s.countUnreachable(dst)
		return nil, netbsd.EHOSTUNREACH
	case !s.net.CheckNIC(nic):
		return nil, netbsd.ENETDOWN
	case dst.IsMulticast():
		return nil, netbsd.ENETUNREACH
	}
	return nil, netbsd.EHOSTUNREACH
}

// selectSource4 is in_selectsrc: which address a socket that has none gets to send
// to dst from. It is that of the interface that a route leads to, unless that is
// lo0; else the one whose network dst is in, or else the first that is not lo0's.
// A socket that is bound to a device has one of that's. If there is none it is EADDRNOTAVAIL. Whether
// a packet would leave is another matter: see findRoute.
func (s *Stack) selectSource4(dst netip.Addr, dontRoute bool, device tcpip.NICID) (netip.Addr, error) {
	if s.isLocal(dst) {
		return dst, nil
	}
	if device != 0 {
		return s.addr4On(device, dst)
	}
	if !dontRoute {
		if ifa := s.routedAddr(dst); ifa != nil && ifa.family == netbsd.AF_INET {
			return ifa.addr, nil
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if ifa := s.ifaWithNet(sockaddrInet(dst)); ifa != nil {
		return ifa.addr, nil
	}
	for _, ifp := range s.interfaces {
		if ifa := ifp.first(netbsd.AF_INET); ifa != nil && !ifp.is(netbsd.IFF_LOOPBACK) {
			return ifa.addr, nil
		}
	}
	return netip.Addr{}, netbsd.EADDRNOTAVAIL
}

// routedAddr is the address of the route to dst, unless that leads to lo0.
func (s *Stack) routedAddr(dst netip.Addr) *ifaddr {
	t := &s.routes
	t.mu.RLock()
	defer t.mu.RUnlock()
	if rt := t.findLocked(dst); rt != nil && !rt.ifp.is(netbsd.IFF_LOOPBACK) {
		return rt.ifa
	}
	return nil
}

// countUnreachable counts a destination that there is no route to.
func (s *Stack) countUnreachable(dst netip.Addr) {
	s.stats.unreach.Add(1)
	if dst.Is4() {
		s.stats.ip[netbsd.IP_STAT_NOROUTE].Add(1)
	} else {
		s.stats.ip6[netbsd.IP6_STAT_NOROUTE].Add(1)
	}
}

// routedNIC is the interface that packets to an address leave by, 0 if there is
// none.
func (s *Stack) routedNIC(dst netip.Addr) tcpip.NICID {
	t := &s.routes
	t.mu.RLock()
	defer t.mu.RUnlock()
	if rt := t.findLocked(dst); rt != nil {
		return rt.ifp.NICID
	}
	return 0
}

// isLocal tells whether an address, in the kernel's form, is one of ours.
// Broadcast addresses are none.
func (s *Stack) isLocal(a netip.Addr) bool {
	return (*s.own.Load())[a] != nil
}

// nicOfAddr is the interface with an address; 0 if there is none.
func (s *Stack) nicOfAddr(a netip.Addr) tcpip.NICID {
	if ifp := (*s.own.Load())[a]; ifp != nil {
		return ifp.NICID
	}
	return 0
}

// isBroadcast tells whether an IPv4 address is a broadcast address of one of
// our interfaces.
func (s *Stack) isBroadcast(a netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	ifa := s.ifaWithAddr(a, true)
	return ifa != nil && ifa.addr != a
}

// primaryAddr4 is an interface's first IPv4 address.
func (s *Stack) primaryAddr4(nic tcpip.NICID) netip.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ifp := s.ifByIndex[uint16(nic)]; ifp != nil {
		if ifa := ifp.first(netbsd.AF_INET); ifa != nil {
			return ifa.addr
		}
	}
	return netip.Addr{}
}

// writeError maps an error of the engine's that a sent packet met.
func writeError(err tcpip.Error) error {
	switch err.(type) {
	case nil:
		return nil
	case *tcpip.ErrNoBufferSpace:
		return netbsd.ENOBUFS
	case *tcpip.ErrMessageTooLong:
		return netbsd.EMSGSIZE
	case *tcpip.ErrInvalidEndpointState, *tcpip.ErrClosedForSend, *tcpip.ErrUnknownNICID:
		return netbsd.ENETDOWN
	case *tcpip.ErrBadLocalAddress:
		return netbsd.EADDRNOTAVAIL
	case *tcpip.ErrBroadcastDisabled:
		return netbsd.EACCES
	case *tcpip.ErrHostUnreachable, *tcpip.ErrNetworkUnreachable:
		return netbsd.EHOSTUNREACH
	}
	return netbsd.EINVAL
}

// ip4Header is what a sender decides of an IPv4 header.
type ip4Header struct {
	tos, ttl, proto uint8
	id              uint16 // 0: chosen
	off             uint16 // IP_DF and the like
	src, dst        netip.Addr
	options         []byte // a multiple of 4 bytes
	discover        discovery
}

// encode writes the header for a datagram with n bytes of payload to the start
// of b, which is long enough, without checksum.
func (h *ip4Header) encode(b []byte, n int) int {
	hlen := header.IPv4MinimumSize + len(h.options)
	b[0] = 4<<4 | byte(hlen/4)
	b[1] = h.tos
	binary.BigEndian.PutUint16(b[2:], uint16(hlen+n))
	binary.BigEndian.PutUint16(b[4:], h.id)
	binary.BigEndian.PutUint16(b[6:], h.off)
	b[8], b[9], b[10], b[11] = h.ttl, h.proto, 0, 0
	copy(b[12:16], h.src.AsSlice())
	copy(b[16:20], h.dst.AsSlice())
	copy(b[20:], h.options)
	return hlen
}

// write4 sends an IPv4 datagram, in fragments if need be. On EMSGSIZE mtu is
// what it was too long for.
func (s *Stack) write4(r *stack.Route, h ip4Header, payload []byte) (mtu int, err error) {
	hlen := header.IPv4MinimumSize + len(h.options)
	total := hlen + len(payload)
	if total > netbsd.IP_MAXPACKET {
		return 0, netbsd.EMSGSIZE
	}
	mtu = h.discover.mtu(s, r) + header.IPv4MinimumSize
	if total <= mtu {
		if h.discover.marks() {
			h.off |= netbsd.IP_DF
		}
		return mtu, s.write4Packet(r, h, payload)
	}
	// Broadcasts are not fragmented.
	if h.off&netbsd.IP_DF != 0 || h.discover.refuses() || r.IsOutboundBroadcast() {
		return mtu, netbsd.EMSGSIZE
	}
	size := (mtu - hlen) &^ 7
	if size < 8 {
		return mtu, netbsd.EMSGSIZE
	}
	if h.id == 0 {
		h.id = s.newIPID()
	}
	rest := h.fragment()
	last := h.off & netbsd.IP_MF // of a fragment that is fragmented again
	for off := 0; off < len(payload); off += size {
		f := h
		if off > 0 {
			f = rest
		}
		part := payload[off:]
		f.off |= netbsd.IP_MF
		if len(part) <= size {
			f.off = f.off&^netbsd.IP_MF | last
		} else {
			part = part[:size]
		}
		f.off += uint16(off / 8)
		if err := s.write4Packet(r, f, part); err != nil {
			return mtu, err
		}
	}
	return mtu, nil
}

// fragment gives the header of the fragments after the first: with those
// options only that are meant for all (ip_optcopy).
func (h ip4Header) fragment() ip4Header {
	var opts []byte
	for rest := h.options; len(rest) > 0 && rest[0] != netbsd.IPOPT_EOL; {
		n := 1
		if rest[0] != netbsd.IPOPT_NOP {
			if len(rest) < 2 || int(rest[1]) < 2 || int(rest[1]) > len(rest) {
				break
			}
			n = int(rest[1])
		}
		if rest[0] == netbsd.IPOPT_NOP || rest[0]&0x80 != 0 {
			opts = append(opts, rest[:n]...)
		}
		rest = rest[n:]
	}
	for len(opts)%4 != 0 {
		opts = append(opts, netbsd.IPOPT_EOL)
	}
	h.options = opts
	return h
}

// newIPID gives a datagram's identification; never 0, for which the engine
// would choose one.
func (s *Stack) newIPID() uint16 {
	for {
		if id := uint16(s.sockets.ipID.Add(1)); id != 0 {
			return id
		}
	}
}

func (s *Stack) write4Packet(r *stack.Route, h ip4Header, payload []byte) error {
	hlen := header.IPv4MinimumSize + len(h.options)
	v := buffer.NewViewSize(hlen + len(payload))
	b := v.AsSlice()
	h.encode(b, len(payload))
	copy(b[hlen:], payload)
	return writePacket(r, v)
}

// writePacket sends a packet that is complete but for the checksum of an IPv4
// header. It takes v over.
func writePacket(r *stack.Route, v *buffer.View) error {
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{
		ReserveHeaderBytes: int(r.MaxHeaderLength()),
		Payload:            buffer.MakeWithView(v),
	})
	defer pkt.DecRef()
	return writeError(r.WriteHeaderIncludedPacket(pkt))
}

// ip6Header is what a sender decides of an IPv6 header.
type ip6Header struct {
	tclass, hops, proto uint8
	src, dst            netip.Addr // without scope
	out                 *pktOptions
}

// write6 sends an IPv6 datagram, in fragments if need be.
func (s *Stack) write6(r *stack.Route, h ip6Header, payload []byte) error {
	type ext struct {
		typ  uint8
		data []byte
	}
	var exts []ext
	add := func(typ uint8, data []byte) {
		if data != nil {
			exts = append(exts, ext{typ, data})
		}
	}
	whole := 0 // how many of exts each fragment has
	if o := h.out; o != nil {
		add(netbsd.IPPROTO_HOPOPTS, o.hbh)
		if o.rthdr != nil {
			add(netbsd.IPPROTO_DSTOPTS, o.dst1)
			rthdr := append([]byte(nil), o.rthdr...)
			h.dst = sourceRoute6(rthdr, h.dst)
			add(netbsd.IPPROTO_ROUTING, rthdr)
		}
		whole = len(exts)
		add(netbsd.IPPROTO_DSTOPTS, o.dst2)
	}
	head := header.IPv6MinimumSize // bytes of what each fragment has
	n := len(payload)
	for i, e := range exts {
		n += len(e.data)
		if i < whole {
			head += len(e.data)
		}
	}
	if n > netbsd.IP_MAXPACKET {
		return netbsd.EMSGSIZE
	}
	v := buffer.NewViewSize(header.IPv6MinimumSize + n)
	b := v.AsSlice()
	binary.BigEndian.PutUint32(b, 6<<28|uint32(h.tclass)<<20)
	binary.BigEndian.PutUint16(b[4:], uint16(n))
	next := &b[6]
	b[7] = h.hops
	src, dst := h.src.As16(), h.dst.As16()
	copy(b[8:], src[:])
	copy(b[24:], dst[:])
	at, nextAfterHead := header.IPv6MinimumSize, next
	for i, e := range exts {
		*next = e.typ
		copy(b[at:], e.data)
		next = &b[at]
		at += len(e.data)
		if i < whole {
			nextAfterHead = next
		}
	}
	*next = h.proto
	copy(b[at:], payload)
	mtu, refuses := h.mtu(s, r)
	switch {
	case n <= mtu:
		return writePacket(r, v)
	case refuses:
		v.Release()
		return netbsd.EMSGSIZE
	}
	defer v.Release()
	return s.writeFragments6(r, b, head, nextAfterHead, mtu+header.IPv6MinimumSize)
}

// mtu is the most bytes that may follow the IP header, and whether it fails when there are
// more (ip6_output).
func (h *ip6Header) mtu(s *Stack, r *stack.Route) (mtu int, refuses bool) {
	o := h.out
	if o == nil {
		return int(r.MTU()), false
	}
	d := o.discover
	if o.dontFrag && !d.refuses() {
		d = sysproxy.PMTUDiscProbe // IPV6_DONTFRAG goes by the interface's MTU
	}
	mtu = d.mtu(s, r)
	if !o.dontFrag && (o.minMTU == 1 || o.minMTU < 0 && h.dst.IsMulticast()) {
		mtu = min(mtu, minMTU6-header.IPv6MinimumSize)
	}
	if o.longest > 0 {
		mtu = min(mtu, int(o.longest)-header.IPv6MinimumSize)
	}
	return mtu, d.refuses()
}

// writeFragments6 sends a packet in fragments of at most mtu bytes, each of which has its first head
// bytes; next is where these say what follows.
func (s *Stack) writeFragments6(r *stack.Route, packet []byte, head int, next *byte, mtu int) error {
	size := (mtu - head - header.IPv6FragmentHeaderSize) &^ 7
	if size < 8 {
		return netbsd.EMSGSIZE
	}
	fragment := [header.IPv6FragmentHeaderSize]byte{0: *next}
	*next = netbsd.IPPROTO_FRAGMENT
	binary.BigEndian.PutUint32(fragment[4:], s.sockets.ipID.Add(1))
	data := packet[head:]
	for off := 0; off < len(data); off += size {
		part := data[off:]
		at := uint16(off)
		if len(part) > size {
			part = part[:size]
			at |= 1 // more
		}
		binary.BigEndian.PutUint16(fragment[2:], at)
		v := buffer.NewViewSize(head + len(fragment) + len(part))
		b := v.AsSlice()
		copy(b, packet[:head])
		copy(b[head:], fragment[:])
		copy(b[head+len(fragment):], part)
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)-header.IPv6MinimumSize))
		if err := writePacket(r, v); err != nil {
			return err
		}
	}
	return nil
}

// sourceRoute6 has a routing header of type 0 end at dst; the result is the
// first address of the route, where the packet goes now.
func sourceRoute6(rthdr []byte, dst netip.Addr) netip.Addr {
	addrs := rthdr[8:]
	first := netip.AddrFrom16([16]byte(addrs))
	copy(addrs, addrs[16:])
	last := dst.As16()
	copy(addrs[len(addrs)-16:], last[:])
	return first
}

// internetChecksum is the checksum of data that has a pseudo-header in front,
// with its own checksum field zero.
func internetChecksum(proto uint8, src, dst netip.Addr, data []byte) uint16 {
	sum := header.PseudoHeaderChecksum(tcpip.TransportProtocolNumber(proto), engineAddr(src), engineAddr(dst), uint16(len(data)))
	return ^checksum.Checksum(data, sum)
}
