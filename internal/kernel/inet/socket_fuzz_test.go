package inet

import (
	"bytes"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"rumptools/internal/kernel"
	"rumptools/pkg/netbsd"
)

// FuzzPacket has packets come in, with sockets open that look at all of them.
// With mend the checksums of IPv4 and of ICMP in it are made right, which
// random changes never do.
func FuzzPacket(f *testing.F) {
	s, err := New(Config{Kernel: kernel.New(kernel.Config{})})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(s.Close)
	for _, p := range []string{"net.inet.ip.dad_count", "net.inet6.ip6.dad_count"} {
		if err := s.setParam(p, 0); err != nil {
			f.Fatal(err)
		}
	}
	if err := s.clone("shmif0"); err != nil {
		f.Fatal(err)
	}
	s.connect("shmif0", "bus", newSegment().join())
	if s.setAddr4("shmif0", "10.0.0.1/24") != nil || s.setAddr6("shmif0", "fd00::1/64") != nil {
		f.Fatal("no addresses")
	}
	var sockets []kernel.Socket
	for _, o := range []struct{ family, typ int32 }{
		{inet, netbsd.SOCK_RAW}, {inet6, netbsd.SOCK_RAW}, {inet, dgram}, {inet6, dgram},
	} {
		so, err := s.open(o.family, o.typ, 0)
		if err != nil {
			f.Fatal(err)
		}
		f.Cleanup(func() { so.Close() })
		level, names := int32(netbsd.IPPROTO_IP), []int32{netbsd.IP_RECVDSTADDR, netbsd.IP_RECVIF, netbsd.IP_RECVTTL, netbsd.IP_PKTINFO}
		if o.family == inet6 {
			level = netbsd.IPPROTO_IPV6
			names = []int32{
				netbsd.IPV6_RECVPKTINFO, netbsd.IPV6_RECVHOPLIMIT, netbsd.IPV6_RECVHOPOPTS,
				netbsd.IPV6_RECVDSTOPTS, netbsd.IPV6_RECVRTHDR, netbsd.IPV6_RECVTCLASS,
			}
		}
		for _, name := range names {
			if err := so.SetOption(nil, level, name, intOpt(s.machine, 1)); err != nil {
				f.Fatal(err)
			}
		}
		if o.typ == dgram {
			if err := so.Bind(endpoint{port: 5000}.sockaddr(s.machine, o.family)); err != nil {
				f.Fatal(err)
			}
		}
		sockets = append(sockets, so)
	}
	from4, to4 := mustAddr("10.0.0.2"), mustAddr("10.0.0.1")
	packet4 := func(proto byte, payload []byte, options ...byte) []byte {
		b := make([]byte, 20+len(options), 100)
		(&ip4Header{ttl: 3, proto: proto, src: from4, dst: to4, options: options}).encode(b, len(payload))
		return append(b, payload...)
	}
	packet6 := func(next byte, payload []byte) []byte {
		b := make([]byte, 40, 100)
		b[0], b[4], b[5], b[6], b[7] = 0x60, byte(len(payload)>>8), byte(len(payload)), next, 3
		copy(b[8:], mustAddr("fd00::2").AsSlice())
		copy(b[24:], mustAddr("fd00::1").AsSlice())
		return append(b, payload...)
	}
	udp := []byte{0x13, 0x89, 0x13, 0x88, 0, 10, 0, 0, 'h', 'i'}
	f.Add(packet4(netbsd.IPPROTO_UDP, udp), true)
	f.Add(packet4(netbsd.IPPROTO_UDP, udp, netbsd.IPOPT_RR, 7, 4, 0, 0, 0, 0, 0), true)
	f.Add(packet4(netbsd.IPPROTO_ICMP, echoRequest(netbsd.ICMP_ECHO, 1, 1, nil), netbsd.IPOPT_TS, 12, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0), true)
	f.Add(packet4(netbsd.IPPROTO_ICMP, append([]byte{netbsd.ICMP_UNREACH, 3, 0, 0, 0, 0, 0, 0}, packet4(netbsd.IPPROTO_UDP, udp)...)), true)
	f.Add(packet4(netbsd.IPPROTO_ICMP, []byte{netbsd.ICMP_TSTAMP, 0, 0, 0, 19: 0}), true)
	f.Add(packet4(200, []byte("hello")), true)
	f.Add(packet4(netbsd.IPPROTO_TCP, make([]byte, 20)), true)
	// To others: a header of 60 bytes, of which 20 are there.
	longTCP := append(bytes.Repeat([]byte{0}, 12), 0xf0, 2, 0, 0, 0, 0, 0, 0)
	away4, away6 := packet4(netbsd.IPPROTO_TCP, longTCP), packet6(netbsd.IPPROTO_TCP, longTCP)
	copy(away4[16:], []byte{10, 0, 0, 2})
	copy(away6[24:], mustAddr("fd00::2").AsSlice())
	copy(away6[8:], mustAddr("fd01::2").AsSlice())
	f.Add(away4, true)
	f.Add(away6, false)
	f.Add(packet6(netbsd.IPPROTO_UDP, udp), false)
	f.Add(packet6(netbsd.IPPROTO_ICMPV6, append([]byte{netbsd.ICMP6_DST_UNREACH, 4, 0, 0, 0, 0, 0, 0}, packet6(netbsd.IPPROTO_UDP, udp)...)), true)
	f.Add(packet6(netbsd.IPPROTO_HOPOPTS, append([]byte{200, 0, 1, 4, 0, 0, 0, 0}, "hello"...)), false)
	f.Add(packet6(netbsd.IPPROTO_FRAGMENT, append([]byte{200, 0, 0, 0, 0, 0, 0, 1}, "hello"...)), false)
	f.Add(packet6(netbsd.IPPROTO_DSTOPTS, append([]byte{netbsd.IPPROTO_ROUTING, 0, 1, 4, 0, 0, 0, 0, 200, 0, 0, 0, 0, 0, 0, 0}, "hello"...)), false)

	l := s.ifByName["shmif0"].link.(*etherLink)
	f.Fuzz(func(t *testing.T, b []byte, mend bool) {
		if len(b) == 0 || len(b) > 1500 {
			return
		}
		b = append([]byte(nil), b...)
		proto := tcpip.NetworkProtocolNumber(header.IPv4ProtocolNumber)
		if b[0]>>4 == 6 {
			proto = header.IPv6ProtocolNumber
		}
		if mend {
			mendPacket(b)
		}
		frame := make([]byte, header.EthernetMinimumSize, header.EthernetMinimumSize+len(b))
		header.Ethernet(frame).Encode(&header.EthernetFields{
			SrcAddr: "\x02\x00\x00\x00\x00\x02", DstAddr: *l.mac.Load(), Type: proto,
		})
		l.input(append(frame, b...))
		for _, so := range sockets {
			m := &kernel.Message{Data: make([]byte, 2000)}
			for {
				n, err := so.Recv(nil, m)
				if err == netbsd.EAGAIN {
					break
				}
				// The packet, or an ICMP error about it: one that says
				// that it comes from this host gets the error here, too.
				if most := len(b) + header.IPv6MinimumSize + header.ICMPv6ErrorHeaderSize; err == nil && n > most {
					t.Errorf("%d bytes came of %d", n, len(b))
				}
				for _, c := range m.Control {
					netbsd.AppendCmsg(s.machine, nil, c.Level, c.Type, c.Data)
				}
			}
		}
	})
}

// mendPacket makes the checksums of an IP header and of an ICMP message right.
func mendPacket(b []byte) {
	var payload []byte
	var sum uint16
	if b[0]>>4 == 4 {
		hlen := 4 * int(b[0]&15)
		if hlen < 20 || hlen > len(b) {
			return
		}
		b[10], b[11] = 0, 0
		sum := ^checksum.Checksum(b[:hlen], 0)
		b[10], b[11] = byte(sum>>8), byte(sum)
		if b[9] != netbsd.IPPROTO_ICMP {
			return
		}
		payload = b[hlen:]
	} else {
		if len(b) < 40 || b[6] != netbsd.IPPROTO_ICMPV6 {
			return
		}
		payload = b[40:]
		h := header.IPv6(b)
		sum = header.PseudoHeaderChecksum(header.ICMPv6ProtocolNumber, h.SourceAddress(), h.DestinationAddress(), uint16(len(payload)))
	}
	if len(payload) < 4 {
		return
	}
	payload[2], payload[3] = 0, 0
	sum = ^checksum.Checksum(payload, sum)
	payload[2], payload[3] = byte(sum>>8), byte(sum)
}

// FuzzSend has programs give addresses, options, control messages and whole
// packets that are wrong.
func FuzzSend(f *testing.F) {
	s, err := New(Config{Kernel: kernel.New(kernel.Config{})})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(s.Close)
	to4, to6 := addr(s, "127.0.0.1:9"), addr(s, "[::1]:9")
	for i := range uint8(6) {
		to := to4
		if i%2 == 1 {
			to = to6
		}
		f.Add(i, to, int32(netbsd.IPPROTO_IP), int32(netbsd.IP_OPTIONS), []byte{netbsd.IPOPT_RR, 7, 4, 0, 0, 0, 0, 0}, ip(s, 99, "127.0.0.1", 0, []byte("hello")))
		f.Add(i, to, int32(netbsd.IPPROTO_IP), int32(netbsd.IP_HDRINCL), intOpt(s.machine, 1), ip(s, 99, "127.0.0.1", 0, []byte("hello")))
		f.Add(i, to, int32(netbsd.IPPROTO_IPV6), int32(netbsd.IPV6_RTHDR), []byte{0, 2, 0, 1, 0, 0, 0, 0, 23: 1}, []byte("hello"))
		f.Add(i, to, int32(netbsd.IPPROTO_IPV6), int32(netbsd.IPV6_HOPOPTS), []byte{0, 0, 1, 4, 0, 0, 0, 0}, []byte("hello"))
		f.Add(i, to, int32(netbsd.IPPROTO_IPV6), int32(netbsd.IPV6_2292PKTOPTIONS), []byte{}, []byte("hello"))
		f.Add(i, to, int32(netbsd.IPPROTO_IPV6), int32(netbsd.IPV6_CHECKSUM), intOpt(s.machine, 4), []byte("hello"))
		f.Add(i, to, int32(netbsd.SOL_SOCKET), int32(netbsd.SO_SNDBUF), intOpt(s.machine, 4000), make([]byte, 3000))
	}
	kinds := []struct{ family, typ int32 }{
		{inet, netbsd.SOCK_RAW}, {inet6, netbsd.SOCK_RAW}, {inet, dgram}, {inet6, dgram}, {inet, stream}, {inet6, stream},
	}
	f.Fuzz(func(t *testing.T, kind uint8, to []byte, level, name int32, value, data []byte) {
		if len(to) < 2 || len(to) > 255 {
			return // the kernel lets no others through
		}
		k := kinds[int(kind)%len(kinds)]
		so, err := s.open(k.family, k.typ, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer so.Close()
		so.SetOption(nil, level, name, value)
		so.Option(nil, level, name, 4)
		so.Send(nil, &kernel.Message{Data: data, Name: to, Control: []netbsd.Cmsg{{Level: level, Type: name, Data: value}}})
		so.Send(nil, &kernel.Message{Data: data, Name: to})
		so.Bind(to)
		so.Connect(to)
		so.Name()
		so.Peer()
	})
}
