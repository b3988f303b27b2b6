package inet

import (
	"net/netip"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"rumptools/pkg/netbsd"
)

// Interface is a network interface: struct ifnet. Its fields are guarded by
// Stack.mu where they are not constant.
type Interface struct {
	// Name is the interface's name, "shmif0". It is constant, as are Index,
	// its number, and NICID, the same number for the engine.
	Name  string
	Index uint16
	NICID tcpip.NICID

	machine  *netbsd.Machine
	typ      uint8 // IFT_*
	addrlen  uint8
	hdrlen   uint8
	dlt      int32
	baudrate uint64
	link     link
	tap      atomic.Pointer[Tap]
	counters counters

	flags      int32 // IFF_*
	mtu        uint32
	metric     int32
	linkState  int32 // LINK_STATE_*
	lastChange time.Time
	addrs      []*ifaddr // in the order of their coming
	dl         *ifaddr   // the active link-level address
	nd         ndInfo
	static     map[netip.Addr]neighbour // neighbours that were entered by hand
}

// Tap is given a copy of each frame that an interface has received for us or
// sent, with the link-level header as the interface's DLT_* has it. It is
// called on the path of packets: it must not block, nor keep the frame.
type Tap func(frame []byte, sent bool)

// SetTap has t see the interface's frames from now on; nil ends that.
func (ifp *Interface) SetTap(t Tap) {
	if t == nil {
		ifp.tap.Store(nil)
		return
	}
	ifp.tap.Store(&t)
}

// counters are what struct if_data counts.
type counters struct {
	ipackets, ierrors, opackets, oerrors, collisions atomic.Uint64
	ibytes, obytes, imcasts, omcasts                 atomic.Uint64
	iqdrops, noproto                                 atomic.Uint64
}

func (c *counters) zero() {
	for _, v := range []*atomic.Uint64{
		&c.ipackets, &c.ierrors, &c.opackets, &c.oerrors, &c.collisions, &c.ibytes,
		&c.obytes, &c.imcasts, &c.omcasts, &c.iqdrops, &c.noproto,
	} {
		v.Store(0)
	}
}

// link is an interface's lower half. Its methods are called with Stack.mu held.
type link interface {
	stack.LinkEndpoint
	// start makes the interface carry frames (if_init): ENXIO when it has
	// nothing to carry them over. It may be started already.
	start() error
	// stop ends that (if_stop).
	stop()
	// setFlags tells the interface's IFF_* flags.
	setFlags(flags int32)
	// setMAC tells the active link-level address.
	setMAC(mac []byte)
	// destroy ends all goroutines of the link.
	destroy()
}

// data makes the interface's if_data.
func (ifp *Interface) data() netbsd.IfData {
	c := &ifp.counters
	return netbsd.IfData{
		Type: ifp.typ, Addrlen: ifp.addrlen, Hdrlen: ifp.hdrlen, LinkState: ifp.linkState,
		Mtu: uint64(ifp.mtu), Metric: uint64(ifp.metric), Baudrate: ifp.baudrate,
		Ipackets: c.ipackets.Load(), Ierrors: c.ierrors.Load(),
		Opackets: c.opackets.Load(), Oerrors: c.oerrors.Load(), Collisions: c.collisions.Load(),
		Ibytes: c.ibytes.Load(), Obytes: c.obytes.Load(),
		Imcasts: c.imcasts.Load(), Omcasts: c.omcasts.Load(),
		Iqdrops: c.iqdrops.Load(), Noproto: c.noproto.Load(),
		Lastchange: netbsd.Timespec{Sec: ifp.lastChange.Unix(), Nsec: netbsd.Long(ifp.lastChange.Nanosecond())},
	}
}

// touch notes that the interface has changed.
func (ifp *Interface) touch() { ifp.lastChange = time.Now() }

// unitName is the name of an interface of a kind with a number.
func unitName(kind string, unit int) string { return kind + strconv.Itoa(unit) }

// newInterface begins an interface.
func (s *Stack) newInterface(kind string, unit int) *Interface {
	return &Interface{Name: unitName(kind, unit), machine: s.machine, nd: newNDInfo()}
}

// wireFlags are the interface's flags as C's short has them when it becomes an
// int.
func (ifp *Interface) wireFlags() int32 { return int32(int16(ifp.flags)) }

// mac is the active link-level address; it is empty for lo0.
func (ifp *Interface) mac() []byte { return ifp.dl.mac }

// is tells whether all of the flags are set.
func (ifp *Interface) is(flags int32) bool { return ifp.flags&flags == flags }

// hasDAD tells whether duplicates of new addresses are looked for
// (if_do_dad).
func (ifp *Interface) hasDAD() bool {
	return !ifp.is(netbsd.IFF_LOOPBACK) && ifp.is(netbsd.IFF_UP|netbsd.IFF_RUNNING)
}

// find finds an address of the interface.
func (ifp *Interface) find(a netip.Addr) *ifaddr {
	for _, ifa := range ifp.addrs {
		if ifa.family != netbsd.AF_LINK && ifa.addr == a {
			return ifa
		}
	}
	return nil
}

// first finds the interface's first address of a family.
func (ifp *Interface) first(family int32) *ifaddr {
	for _, ifa := range ifp.addrs {
		if ifa.family == family {
			return ifa
		}
	}
	return nil
}

// linkLocal finds the interface's first link-local address; nil when it has
// none.
func (ifp *Interface) linkLocal() *ifaddr {
	for _, ifa := range ifp.addrs {
		if ifa.family == netbsd.AF_INET6 && ifa.addr.IsLinkLocalUnicast() {
			return ifa
		}
	}
	return nil
}

// attach makes an interface known: to the engine, to routing sockets and to
// all else. s.mu is held.
func (s *Stack) attach(ifp *Interface) error {
	index, ok := s.newIndex()
	if !ok {
		return netbsd.ENOMEM
	}
	ifp.Index, ifp.NICID = index, tcpip.NICID(index)
	ifp.touch()
	if err := s.net.CreateNICWithOptions(ifp.NICID, ifp.link, stack.NICOptions{Name: ifp.Name, Disabled: true}); err != nil {
		return engineError(err)
	}
	s.oldGroupProtocols(ifp)
	s.interfaces = append(s.interfaces, ifp)
	s.ifByIndex[index] = ifp
	s.ifByName[ifp.Name] = ifp
	s.lastIndex = index
	s.addInterfaceSysctls(ifp)
	return nil
}

// oldGroupProtocols has the engine announce multicast groups as NetBSD 7 does,
// by MLD 1 and IGMP 2. The engine's MLD 2 besides sends reports without end when
// the interface's MTU is too small for one group.
func (s *Stack) oldGroupProtocols(ifp *Interface) {
	if ep, err := s.net.GetNetworkEndpoint(ifp.NICID, ipv6.ProtocolNumber); err == nil {
		if mld, ok := ep.(ipv6.MLDEndpoint); ok {
			mld.SetMLDVersion(ipv6.MLDVersion1)
		}
	}
	if ep, err := s.net.GetNetworkEndpoint(ifp.NICID, ipv4.ProtocolNumber); err == nil {
		if igmp, ok := ep.(ipv4.IGMPEndpoint); ok {
			igmp.SetIGMPVersion(ipv4.IGMPVersion2)
		}
	}
}

// newIndex finds the next interface's number: the last one again if it is
// free, else the next that is.
func (s *Stack) newIndex() (uint16, bool) {
	index := max(s.lastIndex, 1)
	for range 1 << 16 {
		if s.ifByIndex[index] == nil && index != 0 {
			return index, true
		}
		index++
	}
	return 0, false
}

// detach forgets an interface with all its addresses and routes. s.mu is held.
func (s *Stack) detach(ifp *Interface) {
	ifp.link.destroy()
	if !ifp.is(netbsd.IFF_LOOPBACK) {
		// The driver takes the interface down before all else does.
		ifp.flags &^= netbsd.IFF_RUNNING
		s.ifDown(ifp)
	}
	s.ifDown(ifp)
	for _, pr := range slices.Clone(s.prefixes) {
		if pr.ifp == ifp {
			s.removePrefix(pr)
		}
	}
	for _, ifa := range slices.Clone(ifp.addrs) {
		switch ifa.family {
		case netbsd.AF_INET:
			s.purgeAddr4(ifa)
		case netbsd.AF_INET6:
			s.purgeAddr6(ifa)
		}
	}
	s.routes.deleteIf(func(rt *route) bool { return rt.ifp == ifp || rt.ifa.ifp == ifp })
	s.pushRoutes()
	s.interfaces = slices.DeleteFunc(s.interfaces, func(i *Interface) bool { return i == ifp })
	delete(s.ifByIndex, ifp.Index)
	delete(s.ifByName, ifp.Name)
	s.removeInterfaceSysctls(ifp)
	s.net.RemoveNIC(ifp.NICID)
	s.announceInterface(ifp, netbsd.IFAN_DEPARTURE)
}

// ifUp is if_up: the interface is marked up, and protocols are told. s.mu is
// held.
func (s *Stack) ifUp(ifp *Interface) {
	ifp.flags |= netbsd.IFF_UP
	ifp.touch()
	ifp.link.setFlags(ifp.flags)
	s.interfaceChanged(ifp)
	s.protocolsUp(ifp)
}

// protocolsUp is what the address families do when an interface comes up.
func (s *Stack) protocolsUp(ifp *Interface) {
	s.syncNIC(ifp)
	s.in6Up(ifp)
}

// ifDown is if_down. s.mu is held.
func (s *Stack) ifDown(ifp *Interface) {
	ifp.flags &^= netbsd.IFF_UP
	ifp.touch()
	ifp.link.setFlags(ifp.flags)
	s.syncNIC(ifp)
	s.interfaceChanged(ifp)
	s.in6Down(ifp)
}

// ifStart is the driver's if_init.
func (s *Stack) ifStart(ifp *Interface) error {
	if err := ifp.link.start(); err != nil {
		return err
	}
	if !ifp.is(netbsd.IFF_LOOPBACK) {
		ifp.flags |= netbsd.IFF_RUNNING
		ifp.link.setFlags(ifp.flags)
	}
	s.syncNIC(ifp)
	return nil
}

// ifStop is the driver's if_stop.
func (s *Stack) ifStop(ifp *Interface) {
	ifp.link.stop()
	ifp.flags &^= netbsd.IFF_RUNNING
	ifp.link.setFlags(ifp.flags)
	s.syncNIC(ifp)
}

// syncNIC enables or disables the interface in the engine as its flags say.
// The engine starts looking for duplicates of IPv6 addresses then.
func (s *Stack) syncNIC(ifp *Interface) {
	if ifp.is(netbsd.IFF_UP | netbsd.IFF_RUNNING) {
		s.net.EnableNIC(ifp.NICID)
		s.restoreNeighbours(ifp)
	} else {
		s.net.DisableNIC(ifp.NICID)
	}
}

// setMTU is SIOCSIFMTU's common part: everything that depends on it.
func (s *Stack) setMTU(ifp *Interface, mtu uint32) {
	ifp.mtu = mtu
	s.net.SetNICMTU(ifp.NICID, engineMTU(mtu))
	s.pushRoutes()
}

// engineMTU is the MTU that the engine is told for one of an interface's: not
// less than IPv4 can work with, since the engine panics when it is to forward
// over such an interface.
func engineMTU(mtu uint32) uint32 { return max(mtu, 68) }

// carries tells whether a route of a family can be used over an interface of
// that MTU. IPv6 cannot below its minimum MTU, where the engine panics on
// forwarding.
func (ifp *Interface) carries(a netip.Addr) bool {
	return a.Is4() || ifp.mtu >= minMTU6
}

// minMTU6 is the least MTU that IPv6 works with (IPV6_MMTU).
const minMTU6 = 1280

// setDAD has the engine look n times for duplicates of an interface's IPv6
// addresses.
func (s *Stack) setDAD(ifp *Interface, n uint8) {
	ep, err := s.net.GetNetworkEndpoint(ifp.NICID, ipv6.ProtocolNumber)
	if err != nil {
		return
	}
	c := stack.DefaultDADConfigurations()
	c.DupAddrDetectTransmits = n
	ep.(interface {
		SetDADConfigurations(stack.DADConfigurations)
	}).SetDADConfigurations(c)
}
