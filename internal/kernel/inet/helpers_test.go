package inet

import (
	"io"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"

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
