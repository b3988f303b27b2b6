package inet

import (
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/raw"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"rumptools/internal/kernel"
	"rumptools/pkg/netbsd"
)

// Config is what a Stack is made of.
type Config struct {
	// Kernel is the kernel to whom the address families and sysctl nodes
	// are added.
	Kernel *kernel.Kernel
	// OpenBus opens the bus that a linkstr names. Nil leaves shmif
	// interfaces without buses: ENXIO.
	OpenBus func(path string) (Bus, error)
}

// Stack is the kernel's TCP/IP.
type Stack struct {
	kernel  *kernel.Kernel
	machine *netbsd.Machine
	openBus func(path string) (Bus, error)
	newMAC  func() []byte // of shmif interfaces
	boot    time.Time
	net     *stack.Stack // the engine

	mu         sync.Mutex
	interfaces []*Interface // in the order of their making
	ifByIndex  map[uint16]*Interface
	ifByName   map[string]*Interface
	lastIndex  uint16
	lo0        *Interface
	prefixes   []*prefix // of IPv6
	closed     bool
	pid        int32 // whose call is being carried out; 0 is the kernel

	routes     routeTable
	pushed     map[routeKey]engineRoute
	routeSocks routeSockets
	params     params
	sockets    socketTable
	members    members
	down       downHosts
	stats      statistics
	// own holds the addresses of all interfaces for the path of packets.
	own atomic.Pointer[map[netip.Addr]*Interface]
	// unready holds those of them that may be other hosts' as well.
	unready atomic.Pointer[map[netip.Addr]bool]

	events eventQueue
	worker sync.WaitGroup

	// pathRoutes counts the routes whose MTU a router has told. pathNews counts what routers
	// have told and nobody has looked at yet.
	pathRoutes int
	pathNews   atomic.Int32
}

// New makes a stack that has lo0 with its addresses, and adds the address
// families AF_INET, AF_INET6, AF_ROUTE and AF_LINK and the sysctl nodes of
// "net" to the kernel.
func New(cfg Config) (*Stack, error) {
	s := &Stack{
		kernel:    cfg.Kernel,
		machine:   cfg.Kernel.Machine(),
		openBus:   cfg.OpenBus,
		newMAC:    randomMAC,
		boot:      time.Now().Add(-cfg.Kernel.Uptime()),
		ifByIndex: make(map[uint16]*Interface),
		ifByName:  make(map[string]*Interface),
	}
	s.events.init()
	s.sockets.init()
	s.params.byName = make(map[string]*param)
	for _, p := range newParams() {
		s.params.byName[p.path+"."+p.name] = p
	}
	s.net = stack.New(stack.Options{
		NetworkProtocols: []stack.NetworkProtocolFactory{
			arp.NewProtocol,
			ipv4.NewProtocolWithOptions(ipv4.Options{IGMP: ipv4.IGMPOptions{Enabled: true}}),
			ipv6.NewProtocolWithOptions(ipv6.Options{
				NDPConfigs: ipv6.NDPConfigurations{HandleRAs: ipv6.HandlingRAsDisabled},
				NDPDisp:    ndpEvents{s: s},
				MLD:        ipv6.MLDOptions{Enabled: true},
				DADConfigs: stack.DefaultDADConfigurations(),
			}),
		},
		TransportProtocols: append(rawProtocols(),
			tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6,
		),
		RawFactory: raw.EndpointFactory{},
		NUDConfigs: nudConfigs(),
		NUDDisp:    neighbourEvents{s: s},
	})
	if err := s.net.CreateNIC(nullNIC, nullLink{}); err != nil {
		return nil, engineError(err)
	}
	own := make(map[netip.Addr]*Interface)
	s.own.Store(&own)
	s.unready.Store(new(map[netip.Addr]bool))
	if err := s.installHandlers(); err != nil {
		return nil, err
	}
	if err := s.tuneTCP(); err != nil {
		return nil, err
	}
	for _, p := range s.params.byName {
		if p.apply != nil {
			p.apply(s, p.value.Load()) // as they are, they are good
		}
	}
	s.worker.Add(1)
	go s.handleEvents()

	s.addSysctls()
	s.addDomains()
	s.addStatisticsSysctls()
	s.addGroupSysctls()
	cfg.Kernel.AddDomain(netbsd.AF_ROUTE, routeDomain{s})
	cfg.Kernel.AddDomain(netbsd.AF_LINK, linkDomain{s})
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.createLoop(0); err != nil {
		return nil, err
	}
	return s, nil
}

// Close stops everything. Sockets that are still open are of no use
// afterwards; the caller should have closed them.
func (s *Stack) Close() {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.closed = true
	for _, ifp := range s.interfaces {
		// The engine must not be destroyed while links deliver to it: its
		// lock would be waited for both ways.
		ifp.link.destroy()
	}
	s.mu.Unlock()
	s.events.close()
	s.worker.Wait()
	s.net.Destroy()
}

// uptime is the kernel's monotonic clock in seconds (time_uptime), which is
// never 0.
func (s *Stack) uptime() int64 { return int64(time.Since(s.boot)/time.Second) + 1 }

// wallTime is the time of the clock at a time of the monotonic one.
func (s *Stack) wallTime(uptime int64) int64 { return s.boot.Unix() - 1 + uptime }

// createLoop makes lo with a number. lo0 gets its addresses. s.mu is held.
func (s *Stack) createLoop(unit int) (*Interface, error) {
	ifp := s.newInterface("lo", unit)
	ifp.typ, ifp.dlt, ifp.mtu = netbsd.IFT_LOOP, netbsd.DLT_NULL, loopMTU
	ifp.flags = netbsd.IFF_LOOPBACK | netbsd.IFF_MULTICAST | netbsd.IFF_RUNNING
	ifp.link = newLoopLink(s, ifp)
	if err := s.attach(ifp); err != nil {
		return nil, err
	}
	s.setDAD(ifp, 0)
	ifp.dl = s.newLinkAddr(ifp, nil)
	ifp.addrs = append(ifp.addrs, ifp.dl)
	s.announceInterface(ifp, netbsd.IFAN_ARRIVAL)
	if unit != 0 {
		return ifp, nil
	}
	s.lo0 = ifp
	// As a rump kernel starts: up, IPv6 addresses, then IPv4.
	s.ifUp(ifp)
	if err := s.addLoopback6(ifp); err != nil {
		return nil, err
	}
	loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	mask := netbsd.Netmask(netbsd.AF_INET, 8)
	if err := s.addAddr4(ifp, nil, addr4{addr: loopback, mask: mask}); err != nil {
		return nil, err
	}
	return ifp, nil
}

// createShmif makes shmif with a number. s.mu is held.
func (s *Stack) createShmif(unit int) (*Interface, error) {
	mac := s.newMAC()
	ifp := s.newInterface("shmif", unit)
	ifp.typ, ifp.dlt, ifp.mtu = netbsd.IFT_ETHER, netbsd.DLT_EN10MB, netbsd.ETHERMTU
	ifp.addrlen, ifp.hdrlen = netbsd.ETHER_ADDR_LEN, netbsd.ETHER_HDR_LEN
	ifp.baudrate = 10_000_000
	ifp.flags = netbsd.IFF_BROADCAST | netbsd.IFF_SIMPLEX | netbsd.IFF_MULTICAST
	ifp.link = newEtherLink(s, ifp, mac)
	if err := s.attach(ifp); err != nil {
		return nil, err
	}
	s.setNUD(ifp)
	s.setDAD4(ifp, s.params.get("net.inet.ip.dad_count"))
	s.setDAD(ifp, uint8(s.params.get("net.inet6.ip6.dad_count")))
	ifp.dl = s.newLinkAddr(ifp, mac)
	ifp.addrs = append(ifp.addrs, ifp.dl)
	s.announceInterface(ifp, netbsd.IFAN_ARRIVAL)
	return ifp, nil
}

// randomMAC makes an address as a rump kernel's shmif has it.
func randomMAC() []byte {
	r := rand.Uint32()
	return []byte{0xb2, 0xa0, byte(r), byte(r >> 8), byte(r >> 16), byte(r >> 24)}
}

// engineError maps an error of the engine's that is about interfaces and
// addresses.
func engineError(err tcpip.Error) error {
	switch err.(type) {
	case nil:
		return nil
	case *tcpip.ErrDuplicateAddress, *tcpip.ErrDuplicateNICID:
		return netbsd.EEXIST
	case *tcpip.ErrBadLocalAddress, *tcpip.ErrBadAddress:
		return netbsd.EADDRNOTAVAIL
	case *tcpip.ErrUnknownNICID, *tcpip.ErrUnknownDevice:
		return netbsd.ENXIO
	}
	return netbsd.EINVAL
}
