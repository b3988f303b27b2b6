package inet

import (
	"encoding/binary"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"rumptools/internal/kernel"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// udpSocket is a UDP socket of either family. UDP is done here and not by the
// engine: NetBSD's ideas of who may share a port, who is given a datagram and
// which errors come back are not the engine's.
type udpSocket struct {
	dgramSocket
	// dual says that an IPv6 socket is for IPv4 as well. It is decided with
	// the local port, under the lock of the table.
	dual bool
}

var (
	_ kernel.Socket = (*udpSocket)(nil)
	_ kernel.Ender  = (*udpSocket)(nil)
)

// Sizes in bytes of the buffers of UDP sockets: the longest datagram to send,
// and forty of 1 KiB to receive.
const udpSendSpace = 9216

func udpRecvSpace(family int32) int32 { return int32(40 * (1024 + sizeofSockaddr(family))) }

// newUDP makes a UDP socket.
func (s *Stack) newUDP(m *netbsd.Machine, family, proto int32) *udpSocket {
	so := &udpSocket{}
	so.initDatagrams(s, m, family, netbsd.SOCK_DGRAM, proto, s.udpParam(family, "sendspace"), s.udpParam(family, "recvspace"))
	s.sockets.add(so)
	return so
}

// Close implements [kernel.File].
func (so *udpSocket) Close() error {
	so.stack.sockets.remove(so)
	so.finish()
	return nil
}

// count counts an event of net.inet.udp.stats or net.inet6.udp6.stats, by
// UDP's names.
func (s *Stack) countUDP(family int32, stat int) {
	if family == netbsd.AF_INET {
		s.sockets.udpStat[stat].Add(1)
		return
	}
	s.sockets.udp6Stat[[netbsd.UDP_NSTATS]int{
		netbsd.UDP_STAT_IPACKETS:    netbsd.UDP6_STAT_IPACKETS,
		netbsd.UDP_STAT_HDROPS:      netbsd.UDP6_STAT_HDROPS,
		netbsd.UDP_STAT_BADSUM:      netbsd.UDP6_STAT_BADSUM,
		netbsd.UDP_STAT_BADLEN:      netbsd.UDP6_STAT_BADLEN,
		netbsd.UDP_STAT_NOPORT:      netbsd.UDP6_STAT_NOPORT,
		netbsd.UDP_STAT_NOPORTBCAST: netbsd.UDP6_STAT_NOPORTMCAST,
		netbsd.UDP_STAT_FULLSOCK:    netbsd.UDP6_STAT_FULLSOCK,
		netbsd.UDP_STAT_PCBHASHMISS: netbsd.UDP6_STAT_PCBCACHEMISS,
		netbsd.UDP_STAT_OPACKETS:    netbsd.UDP6_STAT_OPACKETS,
	}[stat]].Add(1)
}

// udpHandler is given all UDP datagrams for this host. False has the engine
// tell an IPv6 sender that nobody is there.
func (s *Stack) udpHandler(_ stack.TransportEndpointID, pkt *stack.PacketBuffer) bool {
	p := readPacket(pkt)
	p.proto = netbsd.IPPROTO_UDP
	family := int32(netbsd.AF_INET)
	if !p.dst.Is4() {
		family = netbsd.AF_INET6
	}
	s.countUDP(family, netbsd.UDP_STAT_IPACKETS)
	b := p.payload
	if len(b) < header.UDPMinimumSize {
		s.countUDP(family, netbsd.UDP_STAT_HDROPS)
		return true
	}
	n := int(binary.BigEndian.Uint16(b[4:]))
	if n < header.UDPMinimumSize || n > len(b) {
		s.countUDP(family, netbsd.UDP_STAT_BADLEN)
		return true
	}
	b = b[:n]
	sum := binary.BigEndian.Uint16(b[6:])
	p.noSum6 = sum == 0 && family == netbsd.AF_INET6
	if sum != 0 && !pkt.RXChecksumValidated {
		src, _ := netbsd.ExtractScope(p.src)
		dst, _ := netbsd.ExtractScope(p.dst)
		if internetChecksum(netbsd.IPPROTO_UDP, src, dst, b) != 0 {
			s.countUDP(family, netbsd.UDP_STAT_BADSUM)
			return true
		}
	}
	if p.group {
		from, port, data := p.udp()
		if s.udpDeliverGroup(p, from, port, data) == 0 {
			s.countUDP(family, netbsd.UDP_STAT_NOPORTBCAST)
		}
		return true
	}
	if s.udpDeliver(p, nil) {
		return true
	}
	if family == netbsd.AF_INET6 && !s.isLocal(p.src) {
		return false
	}
	s.udpRefuse(p)
	return true
}

// udp is what a datagram's header says, whose length has been checked, and what it carries.
func (p *packet) udp() (from endpoint, port uint16, data []byte) {
	b := p.payload
	return endpoint{p.src, binary.BigEndian.Uint16(b)}, binary.BigEndian.Uint16(b[2:]), b[header.UDPMinimumSize:binary.BigEndian.Uint16(b[4:])]
}

// udpDeliver gives a datagram to the socket that it is for, but for one of them. False says that there is none, and that the sender is
// to be told.
func (s *Stack) udpDeliver(p *packet, without *udpSocket) bool {
	from, port, data := p.udp()
	for {
		so := s.sockets.findUDP(p.nic, from, endpoint{p.dst, port}, without)
		switch {
		case so == nil && p.noSum6:
			s.sockets.udp6Stat[netbsd.UDP6_STAT_NOSUM].Add(1)
			return true
		case so == nil && p.dst.Is4():
			s.countUDP(netbsd.AF_INET, netbsd.UDP_STAT_NOPORT)
			return false
		case so == nil:
			s.countUDP(netbsd.AF_INET6, netbsd.UDP_STAT_NOPORT)
			return false
		case so.input(p, from, data):
			return true
		}
	}
}

// udpRefuse tells the sender of a datagram that nobody is there.
func (s *Stack) udpRefuse(p *packet) {
	switch {
	case p.dst.Is4():
		s.icmpUnreach(p, netbsd.ICMP_UNREACH_PORT)
	case s.mayTell(p):
		// The engine would count those of this host among those that are limited.
		s.net.Stats().ICMP.V6.PacketsSent.DstUnreachable.Increment()
		s.icmp6Quote(p, netbsd.ICMP6_DST_UNREACH, netbsd.ICMP6_DST_UNREACH_NOPORT, 0)
	}
}

// input gives the socket a datagram (udp4_sendup, udp6_sendup). False says that it has just been closed or abandoned, and is
// not to be found any more.
func (so *udpSocket) input(p *packet, from endpoint, data []byte) bool {
	so.mu.Lock()
	if p.dst.Is4() && so.family == netbsd.AF_INET && p.ttl < so.ip4.minTTL {
		so.mu.Unlock()
		return true
	}
	if p.noSum6 && !so.takesNoSum6.Load() {
		so.mu.Unlock()
		so.stack.sockets.udp6Stat[netbsd.UDP6_STAT_NOSUM].Add(1)
		return true
	}
	d := datagram{from: from.sockaddr(so.m, so.family), data: data, packet: p}
	if p.dst.Is4() {
		d.control = so.ip4.controls(&so.socket, p)
	} else {
		d.control = so.ip6.controls(&so.socket, p)
	}
	so.mu.Unlock()
	if so.deliver(d) {
		return true
	}
	so.mu.Lock()
	defer so.mu.Unlock()
	if so.closed || so.abandoned {
		return false
	}
	so.overflowed++
	so.stack.countUDP(so.family, netbsd.UDP_STAT_FULLSOCK)
	return true
}

// abandonTurns is how often abandon looks whether more has come.
const abandonTurns = 10

// abandon has the socket receive nothing any more, for whoever was to read it has gone, though its descriptor is still to be closed. What nobody
// has received, undelivered before that, and what comes from now on goes where it would without the socket, and multicasts, of which all
// have theirs, nowhere. It can still send.
func (so *udpSocket) abandon(undelivered []datagram) {
	list, over := undelivered, false
	for turn := 0; ; turn++ {
		for _, d := range list {
			if p := d.packet; p != nil && !p.group && !so.stack.udpDeliver(p, so) {
				so.stack.udpRefuse(p)
			}
		}
		if over {
			return
		}
		// What came meanwhile is behind these: so the socket is to be found until nothing did.
		list, over = so.stack.sockets.abandonUDP(so, turn == abandonTurns)
	}
}

// udpDeliverGroup gives a datagram that came to a group or a broadcast address
// to all sockets that have its port, up to the first that does not share it.
// It tells how many there were.
func (s *Stack) udpDeliverGroup(p *packet, from endpoint, port uint16, data []byte) int {
	t := &s.sockets
	t.mu.RLock()
	var takers []*udpSocket
	for _, so := range t.udp[port] {
		if !so.matches(p.nic, from, endpoint{p.dst, port}) || !so.takesGroup(p) {
			continue
		}
		takers = append(takers, so)
		so.mu.Lock()
		shares := so.options&(netbsd.SO_REUSEPORT|netbsd.SO_REUSEADDR) != 0
		so.mu.Unlock()
		if !shares {
			break
		}
	}
	t.mu.RUnlock()
	for _, so := range takers {
		so.input(p, from, data)
	}
	return len(takers)
}

// udpError tells the socket that is connected so of an error.
func (s *Stack) udpError(errno netbsd.Errno, local, remote endpoint) {
	t := &s.sockets
	t.mu.RLock()
	var victim *udpSocket
	for _, so := range t.udp[local.port] {
		if so.family == netbsd.AF_INET6 && local.addr.Is4() {
			local.addr, remote.addr = mappedAddr(local.addr), mappedAddr(remote.addr)
		}
		if so.local == local && so.remote == remote {
			victim = so
			break
		}
	}
	t.mu.RUnlock()
	if victim != nil {
		victim.fail(errno)
	}
}

// udpHostError tells all IPv6 sockets that are connected to a host of an
// error.
func (s *Stack) udpHostError(errno netbsd.Errno, host netip.Addr) {
	t := &s.sockets
	t.mu.RLock()
	var victims []*udpSocket
	for _, list := range t.udp {
		for _, so := range list {
			if so.remote.addr == host {
				victims = append(victims, so)
			}
		}
	}
	t.mu.RUnlock()
	for _, so := range victims {
		so.fail(errno)
	}
}

// Write implements [kernel.File].
func (so *udpSocket) Write(p []byte) (int, error) {
	return so.Send(nil, &kernel.Message{Data: p})
}

// Send implements [kernel.Socket].
func (so *udpSocket) Send(_ *kernel.Call, m *kernel.Message) (int, error) {
	so.mu.Lock()
	err := so.sendable(m)
	local, remote, connected := so.local, so.remote, so.connected
	so.mu.Unlock()
	switch {
	case err != nil:
		return 0, err
	case so.family == netbsd.AF_INET && len(m.Control) > 0:
		return 0, netbsd.EINVAL
	}
	if len(m.Name) > 0 {
		if so.family == netbsd.AF_INET6 && saFamily(m.Name) != so.family {
			return 0, netbsd.EAFNOSUPPORT
		}
		if remote, err = so.destination(m.Name); err != nil {
			return 0, err
		}
		if connected {
			return 0, netbsd.EISCONN
		}
		if dst := unmapped(remote.addr); dst.Is4() && !local.addr.IsValid() && !so.stack.isLocal(dst) {
			if _, err := so.sourceFor(remote.addr); err != nil {
				return 0, err
			}
		}
		if local.port == 0 {
			if local, err = so.stack.sockets.bindUDPSocket(so, endpoint{}, true); err != nil {
				return 0, err
			}
		}
	}
	most := netbsd.IP_MAXPACKET - header.UDPMinimumSize
	if unmapped(remote.addr).Is4() {
		most -= header.IPv4MinimumSize
	}
	if len(m.Data) > most {
		return 0, netbsd.EMSGSIZE
	}
	err = so.output(m, local, remote)
	if err != nil {
		return 0, err
	}
	return len(m.Data), nil
}

// output is udp_output and udp6_output.
func (so *udpSocket) output(m *kernel.Message, local, remote endpoint) error {
	b := make([]byte, header.UDPMinimumSize+len(m.Data))
	binary.BigEndian.PutUint16(b, local.port)
	binary.BigEndian.PutUint16(b[2:], remote.port)
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)))
	copy(b[header.UDPMinimumSize:], m.Data)
	dst := unmapped(remote.addr)
	if !dst.Is4() {
		so.stack.countUDP(netbsd.AF_INET6, netbsd.UDP_STAT_OPACKETS)
		off := 6 // of the checksum
		if so.noSum6.Load() {
			off = -1
		}
		return so.send6(netbsd.IPPROTO_UDP, dst, b, off, m)
	}
	so.stack.countUDP(netbsd.AF_INET, netbsd.UDP_STAT_OPACKETS)
	h := ip4Header{proto: netbsd.IPPROTO_UDP, dst: dst}
	if local.addr.IsValid() && !local.addr.IsMulticast() {
		h.src = normal(unmapped(local.addr))
	}
	so.mu.Lock()
	h.discover = so.ip4.discover
	if so.family == netbsd.AF_INET {
		h.ttl, h.tos, h.options = so.ip4.ttl, so.ip4.tos, so.ip4.header
		if so.ip4.via.IsValid() {
			h.dst = so.ip4.via
		}
	} else {
		h.tos, h.ttl = so.ip4.tos, uint8(so.stack.params.get("net.inet.ip.ttl"))
		if so.ip6.hops >= 0 {
			h.ttl = uint8(so.ip6.hops)
		}
	}
	so.mu.Unlock()
	if h.src.IsValid() && !so.stack.isLocal(h.src) && so.stack.isBroadcast(h.src) {
		h.src = netip.Addr{} // bound to receive broadcasts
	}
	return so.send4(h, b, m.Flags)
}

// udpChecksum fills in a UDP datagram's checksum.
func udpChecksum(src, dst netip.Addr, b []byte) {
	b[6], b[7] = 0, 0
	sum := internetChecksum(netbsd.IPPROTO_UDP, src, dst, b)
	if sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(b[6:], sum)
}

// destination checks an address to send to or to connect to. 0.0.0.0 is this
// host, 255.255.255.255 the first network that has broadcasts, unless the socket is bound to an
// interface.
func (so *udpSocket) destination(sa []byte) (endpoint, error) {
	e, err := so.parseName(sa)
	switch {
	case err != nil:
		return e, err
	case e.port == 0:
		return e, netbsd.EADDRNOTAVAIL
	}
	s := so.stack
	so.mu.Lock()
	v6only, local := so.ip6.flags&in6pV6Only != 0, so.local.addr
	so.mu.Unlock()
	switch {
	case so.family == netbsd.AF_INET && !e.addr.IsValid():
		if e.addr = s.firstAddr4(false); !e.addr.IsValid() {
			return e, netbsd.EADDRNOTAVAIL
		}
	case so.family == netbsd.AF_INET && e.addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}) && so.boundNIC() == 0:
		if b := s.firstAddr4(true); b.IsValid() {
			e.addr = b
		}
	case !e.addr.IsValid():
		e.addr = netip.IPv6Loopback()
	case e.addr.Is4In6() && (v6only || local.IsValid() && !local.Is4In6()),
		so.family == netbsd.AF_INET6 && !e.addr.Is4In6() && local.Is4In6():
		return e, netbsd.EINVAL
	}
	return e, nil
}

// firstAddr4 gives the first IPv4 address of this host, or the first broadcast
// address.
func (s *Stack) firstAddr4(broadcast bool) netip.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ifp := range s.interfaces {
		ifa := ifp.first(netbsd.AF_INET)
		switch {
		case ifa == nil:
		case !broadcast:
			return ifa.addr
		case ifp.is(netbsd.IFF_BROADCAST) && ifa.dst != nil:
			return saAddr(ifa.dst)
		}
	}
	return netip.Addr{}
}

// Bind implements [kernel.Socket].
func (so *udpSocket) Bind(sa []byte) error {
	so.mu.Lock()
	bound := so.local.port != 0 // an address may be left of one that was bound before
	v6only := so.ip6.flags&in6pV6Only != 0
	so.mu.Unlock()
	if bound {
		return netbsd.EINVAL
	}
	e, err := so.parseName(sa)
	if err != nil {
		return err
	}
	switch {
	case e.addr.Is4In6() && so.family == netbsd.AF_INET6 && v6only:
		return netbsd.EINVAL
	case !e.addr.IsValid(), unmapped(e.addr).IsMulticast(), e.addr.Is4In6() && isAny(unmapped(e.addr)):
	default:
		if err := so.stack.bindable(unmapped(e.addr), true); err != nil {
			return err
		}
	}
	_, err = so.stack.sockets.bindUDPSocket(so, e, false)
	return err
}

// Connect implements [kernel.Socket]. An address of another family ends the
// connection, though it gives EAFNOSUPPORT.
func (so *udpSocket) Connect(sa []byte) error {
	s := so.stack
	so.mu.Lock()
	connected := so.connected
	so.mu.Unlock()
	if connected {
		s.sockets.disconnectUDP(so, sysproxy.KeepPort)
	}
	remote, err := so.destination(sa)
	if err != nil {
		return err
	}
	so.mu.Lock()
	src := so.local.addr
	so.mu.Unlock()
	if !src.IsValid() {
		if src, err = so.sourceFor(remote.addr); err != nil {
			return err
		}
	}
	if err := s.sockets.connectUDP(so, src, remote); err != nil {
		return err
	}
	so.Wake(kernel.Writable)
	return nil
}

// sourceFor chooses the local address of a connection. To an IPv4 address there
// need not be a route: sending tells.
func (so *udpSocket) sourceFor(dst netip.Addr) (netip.Addr, error) {
	if !unmapped(dst).Is4() {
		return so.source6(dst)
	}
	to := unmapped(dst)
	so.mu.Lock()
	dontRoute, mcastIf := so.options&netbsd.SO_DONTROUTE != 0, so.ip4.mcastIf
	so.mu.Unlock()
	src, err := so.stack.selectSource4(to, dontRoute, so.boundNIC())
	if err != nil {
		return netip.Addr{}, err
	}
	if to.IsMulticast() && mcastIf != 0 && so.boundNIC() == 0 && so.family == netbsd.AF_INET {
		if src = so.stack.primaryAddr4(mcastIf); !src.IsValid() {
			return netip.Addr{}, netbsd.EADDRNOTAVAIL
		}
	}
	if so.family == netbsd.AF_INET6 {
		src = mappedAddr(src)
	}
	return src, nil
}

// SetOption implements [kernel.Socket].
func (so *udpSocket) SetOption(_ *kernel.Call, level, name int32, value []byte) error {
	if flag := so.flag(level, name); flag != nil {
		return so.setFlag(flag, value)
	}
	if level == netbsd.SOL_SOCKET && name == sysproxy.SODissociate {
		v, err := optInt(so.m, value)
		if err == nil {
			so.stack.sockets.disconnectUDP(so, v)
		}
		return err
	}
	if level == netbsd.IPPROTO_UDP {
		if so.family != netbsd.AF_INET {
			return netbsd.EINVAL
		}
		if name != netbsd.UDP_ENCAP {
			return netbsd.ENOPROTOOPT
		}
		// IPsec over UDP, which nobody speaks here.
		v, err := optInt(so.m, value)
		if err == nil && v != 0 {
			err = netbsd.EINVAL
		}
		return err
	}
	return so.setOption(level, name, value, so.isBound)
}

// Option implements [kernel.Socket].
func (so *udpSocket) Option(_ *kernel.Call, level, name int32, _ int) ([]byte, error) {
	if flag := so.flag(level, name); flag != nil {
		return boolOpt(so.m, flag.Load()), nil
	}
	if level == netbsd.SOL_SOCKET && name == sysproxy.SOReach {
		return intOpt(so.m, int32(so.reach())), nil
	}
	if level == netbsd.IPPROTO_UDP {
		return nil, netbsd.EINVAL
	}
	return so.option(level, name)
}
