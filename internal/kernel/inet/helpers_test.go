package inet

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"

	"rumptools/pkg/netbsd"
)

func mustAddr(s string) netip.Addr { return netip.MustParseAddr(s) }

// segment is an Ethernet segment in memory.
type segment struct {
	mu    sync.Mutex
	ports map[*port]bool
	// sniff is given each frame.
	sniff func(frame []byte)
}

func newSegment() *segment { return &segment{ports: make(map[*port]bool)} }

// join makes a port of the segment.
func (s *segment) join() *port {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := &port{segment: s, frames: make(chan []byte, 1024), closed: make(chan struct{})}
	s.ports[p] = true
	return p
}

// port is an interface's end of a segment.
type port struct {
	segment *segment
	frames  chan []byte
	once    sync.Once
	closed  chan struct{}
}

func (p *port) Send(frame []byte) error {
	s := p.segment
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sniff != nil {
		s.sniff(append([]byte(nil), frame...))
	}
	for other := range s.ports {
		if other != p {
			select {
			case other.frames <- append([]byte(nil), frame...):
			default:
			}
		}
	}
	return nil
}

func (p *port) Recv(buf []byte) (int, error) {
	select {
	case f := <-p.frames:
		return copy(buf, f), nil
	case <-p.closed:
		return 0, io.EOF
	}
}

func (p *port) Restart() {}

func (p *port) Close() error {
	p.once.Do(func() {
		s := p.segment
		s.mu.Lock()
		delete(s.ports, p)
		s.mu.Unlock()
		close(p.closed)
	})
	return nil
}

// clone makes an interface.
func (s *Stack) clone(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cloneCreate(name)
}

// connect attaches an interface to a bus.
func (s *Stack) connect(name, linkstr string, bus Bus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.ifByName[name].link.(*etherLink)
	l.attachBus(bus)
	l.linkstr = linkstr
}

// setAddr4 gives an interface an address as ifconfig does.
func (s *Stack) setAddr4(name, prefix string) error {
	p := netip.MustParsePrefix(prefix)
	s.mu.Lock()
	defer s.mu.Unlock()
	ifp := s.ifByName[name]
	wasUp := ifp.is(netbsd.IFF_UP)
	err := s.addAddr4(ifp, nil, addr4{addr: p.Addr(), mask: netbsd.Netmask(netbsd.AF_INET, p.Bits())})
	if !wasUp && ifp.is(netbsd.IFF_UP) {
		s.ifUp(ifp)
	}
	return err
}

// setAddr6 gives an interface an address as ifconfig does.
func (s *Stack) setAddr6(name, prefix string) error {
	p := netip.MustParsePrefix(prefix)
	s.mu.Lock()
	defer s.mu.Unlock()
	ifp := s.ifByName[name]
	wasUp := ifp.is(netbsd.IFF_UP)
	lt := netbsd.In6Addrlifetime{Vltime: forever, Pltime: forever}
	ifa, err := s.addAddr6(ifp, nil, addr6{addr: p.Addr(), mask: netbsd.Netmask(netbsd.AF_INET6, p.Bits()), lifetime: lt})
	if err == nil {
		err = s.setPrefix(ifa, lt)
	}
	if !wasUp && ifp.is(netbsd.IFF_UP) {
		s.ifUp(ifp)
	}
	return err
}

// addStatic adds a route, "DESTINATION GATEWAY", as route(8) does.
func (s *Stack) addStatic(r string) error {
	dst, gateway, _ := strings.Cut(r, " ")
	info := &routeInfo{flags: netbsd.RTF_GATEWAY | netbsd.RTF_STATIC}
	info.addrs[netbsd.RTAX_GATEWAY] = sockaddrInet(mustAddr(gateway))
	switch {
	case dst == "default":
		info.addrs[netbsd.RTAX_DST] = sockaddrInet(netip.IPv4Unspecified())
		info.addrs[netbsd.RTAX_NETMASK] = []byte{}
	case strings.Contains(dst, "/"):
		p := netip.MustParsePrefix(dst)
		info.addrs[netbsd.RTAX_DST] = sockaddrInet(p.Addr())
		info.addrs[netbsd.RTAX_NETMASK] = netbsd.Netmask(info.addrs[netbsd.RTAX_DST][1], p.Bits())
	default:
		info.flags |= netbsd.RTF_HOST
		info.addrs[netbsd.RTAX_DST] = sockaddrInet(mustAddr(dst))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.routeAdd(info)
	return err
}

// setRetransmit has an interface wait for a time between two ARP requests.
func (s *Stack) setRetransmit(ifp *Interface, d time.Duration) {
	c := nudConfigs()
	c.MaxMulticastProbes, c.RetransmitTimer = arpTries, d
	s.net.SetNUDConfigurations(ifp.NICID, ipv4.ProtocolNumber, c)
}

// setParam sets a sysctl integer.
func (s *Stack) setParam(name string, v int32) error { return s.params.byName[name].set(s, v) }

// learn has an interface learn a neighbour by ARP: it asks for our address.
func (s *Stack) learn(name, neighbour string, mac []byte) {
	s.mu.Lock()
	ifp := s.ifByName[name]
	own := ifp.first(netbsd.AF_INET).addr
	s.mu.Unlock()
	frame := make([]byte, header.EthernetMinimumSize+header.ARPSize)
	header.Ethernet(frame).Encode(&header.EthernetFields{
		SrcAddr: tcpip.LinkAddress(mac), DstAddr: header.EthernetBroadcastAddress, Type: header.ARPProtocolNumber,
	})
	a := header.ARP(frame[header.EthernetMinimumSize:])
	a.SetIPv4OverEthernet()
	a.SetOp(header.ARPRequest)
	copy(a.HardwareAddressSender(), mac)
	copy(a.ProtocolAddressSender(), mustAddr(neighbour).AsSlice())
	copy(a.ProtocolAddressTarget(), own.AsSlice())
	ifp.link.(*etherLink).input(frame)
}

// eventually waits for a condition that other goroutines bring about.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// newQuickStack makes a stack that does not take time to look for duplicates of
// its addresses.
func newQuickStack(t *testing.T) *Stack {
	t.Helper()
	s := newStack(t)
	must(t, s.setParam("net.inet.ip.dad_count", 0))
	must(t, s.setParam("net.inet6.ip6.dad_count", 0))
	return s
}

// host makes a stack with an interface on a bus, that has the addresses.
func host(t *testing.T, bus Bus, addrs ...string) *Stack {
	t.Helper()
	s := newQuickStack(t)
	s.plug(t, "shmif0", bus, addrs...)
	return s
}

// plug makes an interface on a bus.
func (s *Stack) plug(t *testing.T, name string, bus Bus, addrs ...string) {
	t.Helper()
	must(t, s.clone(name))
	s.connect(name, "bus", bus)
	for _, a := range addrs {
		if strings.Contains(a, ":") {
			must(t, s.setAddr6(name, a))
		} else {
			must(t, s.setAddr4(name, a))
		}
	}
}

// echo pings an address with a message of a size and a time to live, and gives
// what comes back: the ICMP message, and the time to live that it has come with.
func (s *Stack) echo(t *testing.T, dst string, size int, ttl int32) (msg []byte, hops byte) {
	t.Helper()
	a := netip.MustParseAddr(dst)
	data := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
	if a.Is4() {
		so := open(t, s, netbsd.AF_INET, netbsd.SOCK_RAW, netbsd.IPPROTO_ICMP)
		defer so.Close()
		req := echoRequest(netbsd.ICMP_ECHO, 77, 1, data)
		if ttl != 255 { // which raw sockets send with
			setInt(t, so, s.machine, netbsd.IPPROTO_IP, netbsd.IP_HDRINCL, 1)
			req = append(make([]byte, 20), req...)
			req[0], req[8], req[9] = 0x45, byte(ttl), netbsd.IPPROTO_ICMP
			s.machine.Order.PutUint16(req[2:], uint16(len(req)))
			copy(req[16:], a.AsSlice())
		}
		send(t, so, req, addr(s, dst+":0"))
		for {
			m := recv(t, so, 1<<16, 0)
			if msg := m.Data[20:]; msg[0] != netbsd.ICMP_ECHO {
				return msg, m.Data[8]
			}
		}
	}
	so := open(t, s, netbsd.AF_INET6, netbsd.SOCK_RAW, netbsd.IPPROTO_ICMPV6)
	defer so.Close()
	setInt(t, so, s.machine, netbsd.IPPROTO_IPV6, netbsd.IPV6_UNICAST_HOPS, ttl)
	setInt(t, so, s.machine, netbsd.IPPROTO_IPV6, netbsd.IPV6_RECVHOPLIMIT, 1)
	setInt(t, so, s.machine, netbsd.SOL_SOCKET, netbsd.SO_RCVBUF, 32768) // for requests to ourselves as well
	to := netbsd.SockaddrIn6(s.machine, netip.AddrPortFrom(a.WithZone(""), 0), s.zone(a), 0)
	send(t, so, echoRequest(netbsd.ICMP6_ECHO_REQUEST, 77, 1, data), to)
	for {
		m := recv(t, so, 1<<16, 0)
		switch m.Data[0] {
		case netbsd.ICMP6_ECHO_REPLY, netbsd.ICMP6_DST_UNREACH, netbsd.ICMP6_TIME_EXCEEDED, netbsd.ICMP6_PACKET_TOO_BIG:
			return m.Data, byte(s.machine.Order.Uint32(m.Control[0].Data))
		}
	}
}

// zone is the number of an address's interface.
func (s *Stack) zone(a netip.Addr) uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ifp := s.ifByName[a.Zone()]; ifp != nil {
		return uint32(ifp.Index)
	}
	return 0
}

// answered expects answers to pings of several sizes.
func (s *Stack) answered(t *testing.T, dst string, sizes ...int) {
	t.Helper()
	for _, size := range sizes {
		msg, _ := s.echo(t, dst, size, 255)
		if msg[0] != netbsd.ICMP_ECHOREPLY && msg[0] != netbsd.ICMP6_ECHO_REPLY || len(msg) != 8+size {
			t.Errorf("ping of %s with %d bytes: %d bytes of type %d", dst, size, len(msg), msg[0])
		}
	}
}

// linkLocalOf gives an interface's link-local address.
func (s *Stack) linkLocalOf(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, _ := netbsd.ExtractScope(s.ifByName[name].linkLocal().addr)
	return a.WithZone(name).String()
}

// noise is n bytes, the same each time, of which no piece is like another.
func noise(n int) []byte {
	p := make([]byte, n)
	rng := rand.NewChaCha8([32]byte{1})
	rng.Read(p)
	return p
}
