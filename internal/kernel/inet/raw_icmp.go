package inet

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"rumptools/pkg/netbsd"
)

// icmpState is what the kernel's own ICMP keeps.
type icmpState struct {
	// stat are the counters of net.inet.icmp.stats that are counted here;
	// the engine counts the messages that it sends itself.
	stat [netbsd.ICMP_NSTATS]atomic.Uint64
}

// icmpMinLen is the least length of an ICMP message in bytes (ICMP_MINLEN).
const icmpMinLen = 8

// icmpNextMTU is where a message that asks for smaller packets has the MTU of the next hop
// (icmp_nextmtu).
const icmpNextMTU = 6

// rawHook sees packets of a protocol before the engine does: it is how raw
// sockets are given the messages that the engine handles itself.
type rawHook struct {
	input func(*stack.PacketBuffer)
}

// HandlePacket implements [stack.RawTransportEndpoint].
func (h rawHook) HandlePacket(pkt *stack.PacketBuffer) { h.input(pkt) }

// icmpInput is icmp_input: it takes every ICMP message before the engine does,
// and what the kernel does not consume goes to raw sockets. Of what the
// messages tell, this has UDP told; TCP is told by the engine.
func (s *Stack) icmpInput(pkt *stack.PacketBuffer) {
	p := readPacket(pkt)
	if !s.forUs(p) {
		return
	}
	st := &s.sockets.icmp
	count := func(i int) { st.stat[i].Add(1) }
	b := p.payload
	if len(b) < icmpMinLen {
		count(netbsd.ICMP_STAT_TOOSHORT)
		return
	}
	if checksum.Checksum(b, 0) != 0xffff {
		count(netbsd.ICMP_STAT_CHECKSUM)
		return
	}
	p.recordRoute(s)
	typ, code := b[0], b[1]
	if typ <= netbsd.ICMP_MAXTYPE {
		count(netbsd.ICMP_STAT_INHIST + int(typ))
	}
	switch typ {
	case netbsd.ICMP_ECHO:
		if !p.group || s.answersGroups() {
			return // icmpHandler answers it
		}
		count(netbsd.ICMP_STAT_BMCASTECHO)
	case netbsd.ICMP_TSTAMP:
		switch {
		case len(b) < 20:
			count(netbsd.ICMP_STAT_BADLEN)
		case p.group && !s.answersGroups():
			count(netbsd.ICMP_STAT_BMCASTTSTAMP)
		default:
			s.icmpTimestamp(p)
			return
		}
	case netbsd.ICMP_UNREACH, netbsd.ICMP_TIMXCEED, netbsd.ICMP_PARAMPROB, netbsd.ICMP_SOURCEQUENCH:
		errno, known := icmpErrno(typ, code)
		if !known {
			count(netbsd.ICMP_STAT_BADCODE)
			break
		}
		inner := b[icmpMinLen:]
		if len(inner) < header.IPv4MinimumSize || inner[0]&15 < 5 || len(inner) < 4*int(inner[0]&15)+8 {
			count(netbsd.ICMP_STAT_BADLEN)
			return
		}
		dst := netip.AddrFrom4([4]byte(inner[16:]))
		if dst.IsMulticast() {
			count(netbsd.ICMP_STAT_BADCODE)
			break
		}
		local, remote := endpoint{addr: netip.AddrFrom4([4]byte(inner[12:]))}, endpoint{addr: dst}
		if proto := inner[9]; proto == netbsd.IPPROTO_UDP || proto == netbsd.IPPROTO_TCP {
			ports := inner[4*int(inner[0]&15):]
			local.port, remote.port = binary.BigEndian.Uint16(ports), binary.BigEndian.Uint16(ports[2:])
			if errno != 0 && proto == netbsd.IPPROTO_UDP {
				s.udpError(errno, local, remote)
			}
		}
		if errno == netbsd.EMSGSIZE && s.seeksPath4(inner[9], local, remote) {
			s.tooBig4(dst, int(binary.BigEndian.Uint16(b[icmpNextMTU:])), int(binary.BigEndian.Uint16(inner[2:])))
		}
	}
	s.rawInput(p)
}

// answersGroups tells whether echo and timestamp requests to groups and
// broadcast addresses are answered.
func (s *Stack) answersGroups() bool { return s.params.get("net.inet.icmp.bmcastecho") != 0 }

// icmpErrno gives what an ICMP error means to a socket (inetctlerrmap), 0 for
// nothing, and whether its code is known.
func icmpErrno(typ, code uint8) (netbsd.Errno, bool) {
	switch typ {
	case netbsd.ICMP_UNREACH:
		switch code {
		case netbsd.ICMP_UNREACH_PROTOCOL, netbsd.ICMP_UNREACH_PORT:
			return netbsd.ECONNREFUSED, true
		case netbsd.ICMP_UNREACH_NEEDFRAG:
			return netbsd.EMSGSIZE, true
		}
		return netbsd.EHOSTUNREACH, code <= netbsd.ICMP_UNREACH_PREC_CUTOFF
	case netbsd.ICMP_PARAMPROB:
		return netbsd.ENOPROTOOPT, code <= 1
	case netbsd.ICMP_TIMXCEED:
		return 0, code <= 1
	}
	return 0, code == 0
}

// icmpHandler answers echo requests instead of the engine, as NetBSD does: with
// the highest TTL, and without limit.
func (s *Stack) icmpHandler(_ stack.TransportEndpointID, pkt *stack.PacketBuffer) bool {
	if pkt.NetworkProtocolNumber != header.IPv4ProtocolNumber {
		return s.rawHandler(pkt)
	}
	p := readPacket(pkt)
	if len(p.payload) < icmpMinLen || p.payload[0] != netbsd.ICMP_ECHO {
		return true
	}
	if p.group && !s.answersGroups() || checksum.Checksum(p.payload, 0) != 0xffff {
		return true
	}
	reply := append([]byte(nil), p.payload...)
	reply[0] = netbsd.ICMP_ECHOREPLY
	s.icmpReflect(p, reply)
	return true
}

// icmpTimestamp answers a timestamp request.
func (s *Stack) icmpTimestamp(p *packet) {
	reply := append([]byte(nil), p.payload...)
	reply[0] = netbsd.ICMP_TSTAMPREPLY
	now := s.net.Clock().Now().UTC()
	ms := uint32(now.Sub(now.Truncate(24*time.Hour)) / time.Millisecond)
	binary.BigEndian.PutUint32(reply[12:], ms)
	binary.BigEndian.PutUint32(reply[16:], ms)
	s.icmpReflect(p, reply)
}

// icmpReflect sends an answer back to where p came from (icmp_reflect). IP
// options go back too, but for source routes.
func (s *Stack) icmpReflect(p *packet, reply []byte) {
	if !p.src.IsValid() || p.src.IsUnspecified() || p.src.IsMulticast() {
		return
	}
	st := &s.sockets.icmp
	st.stat[netbsd.ICMP_STAT_REFLECT].Add(1)
	st.stat[netbsd.ICMP_STAT_OUTHIST+int(reply[0])].Add(1)
	reply[2], reply[3] = 0, 0
	binary.BigEndian.PutUint16(reply[2:], ^checksum.Checksum(reply, 0))
	r, err := s.findRoute(sendPath{dst: p.src})
	if err != nil {
		return
	}
	defer r.Release()
	h := ip4Header{tos: p.tos, ttl: netbsd.MAXTTL, proto: netbsd.IPPROTO_ICMP, src: p.dst, dst: p.src}
	if p.group {
		h.src = netipAddr(r.LocalAddress())
	}
	eachIPOption(p.header, func(opt []byte) {
		if opt[0] != netbsd.IPOPT_LSRR && opt[0] != netbsd.IPOPT_SSRR {
			h.options = append(h.options, opt...)
		}
	})
	for len(h.options)%4 != 0 {
		h.options = append(h.options, netbsd.IPOPT_EOL)
	}
	_, _ = s.write4(r, h, reply)
}

// eachIPOption calls f with each option of an IPv4 header. f may change it.
func eachIPOption(h []byte, f func(opt []byte)) {
	for rest := h[header.IPv4MinimumSize:]; len(rest) > 0 && rest[0] != netbsd.IPOPT_EOL; {
		n := 1
		if rest[0] != netbsd.IPOPT_NOP {
			if len(rest) < 2 || rest[1] < 2 || int(rest[1]) > len(rest) {
				return
			}
			n = int(rest[1])
		}
		f(rest[:n])
		rest = rest[n:]
	}
}

// recordRoute adds this host to the options that record a packet's route and
// times: what ip_dooptions does to a packet before protocols see it. The
// engine does it afterwards, and only for itself.
func (p *packet) recordRoute(s *Stack) {
	if len(p.header) == header.IPv4MinimumSize || !s.isLocal(p.dst) {
		return
	}
	own := p.dst.AsSlice()
	eachIPOption(p.header, func(opt []byte) {
		if len(opt) < 4 {
			return
		}
		at := int(opt[2]) - 1 // counts from 1
		switch opt[0] {
		case netbsd.IPOPT_RR:
			if at >= 3 && at+4 <= len(opt) {
				copy(opt[at:], own)
				opt[2] += 4
			}
		case netbsd.IPOPT_TS:
			p.stamp(s, opt, at, own)
		}
	})
}

// stamp adds the time to a timestamp option.
func (p *packet) stamp(s *Stack, opt []byte, at int, own []byte) {
	if at < 4 || at+4 > len(opt) {
		if opt[3]>>4 < 15 {
			opt[3] += 1 << 4 // overflow
		}
		return
	}
	switch opt[3] & 15 {
	case netbsd.IPOPT_TS_TSONLY:
	case netbsd.IPOPT_TS_TSANDADDR:
		if at+8 > len(opt) {
			return
		}
		copy(opt[at:], own)
		at += 4
		opt[2] += 4
	case netbsd.IPOPT_TS_PRESPEC:
		if at+8 > len(opt) || string(opt[at:at+4]) != string(own) {
			return
		}
		at += 4
		opt[2] += 4
	default:
		return
	}
	now := s.net.Clock().Now().UTC()
	binary.BigEndian.PutUint32(opt[at:], uint32(now.Sub(now.Truncate(24*time.Hour))/time.Millisecond))
	opt[2] += 4
}
