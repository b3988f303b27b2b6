package inet

import (
	"bytes"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"rumptools/pkg/netbsd"
)

// maxFrame is the most bytes of a frame on a bus, its Ethernet header
// included. A longer one would make real kernels there panic.
const maxFrame = netbsd.ETHERMTU + netbsd.ETHER_HDR_LEN

// Bus is an Ethernet segment.
type Bus interface {
	// Send puts a frame on the bus.
	Send(frame []byte) error
	// Recv waits for the next frame of somebody else's and copies it to
	// buf, which takes 1,514 bytes. After Close it fails.
	Recv(buf []byte) (int, error)
	// Restart skips what has been sent so far: the interface was down.
	Restart()
	// Close ends the use of the bus; a waiting Recv returns.
	Close() error
}

// etherLink is the lower half of a shmif interface: Ethernet over a bus. It
// may be without one.
type etherLink struct {
	ifp *Interface
	s   *Stack

	linkstr string // names the bus; Stack.mu guards it

	mtu     atomic.Uint32
	mac     atomic.Pointer[tcpip.LinkAddress]
	running atomic.Bool
	promisc atomic.Bool
	noARP   atomic.Bool // IFF_NOARP: nobody is asked for an address
	// proxies are the addresses that ARP is answered for, with what it
	// says.
	proxies atomic.Pointer[map[netip.Addr]tcpip.LinkAddress]
	// networks are the IPv4 networks that the interface is in, source4 is
	// its first IPv4 address.
	networks atomic.Pointer[[]netip.Prefix]
	source4  atomic.Pointer[netip.Addr]

	mu         sync.RWMutex
	dispatcher stack.NetworkDispatcher
	bus        Bus

	reader sync.WaitGroup
}

var _ link = (*etherLink)(nil)

func newEtherLink(s *Stack, ifp *Interface, mac []byte) *etherLink {
	l := &etherLink{s: s, ifp: ifp}
	l.mtu.Store(ifp.mtu)
	l.setMAC(mac)
	l.networks.Store(new([]netip.Prefix))
	return l
}

// attachBus connects the interface to a bus, which it has none yet.
func (l *etherLink) attachBus(bus Bus) {
	l.mu.Lock()
	l.bus = bus
	l.mu.Unlock()
	l.reader.Add(1)
	go l.read(bus)
}

// detachBus disconnects it. When it returns, nothing is delivered any more.
func (l *etherLink) detachBus() {
	l.mu.Lock()
	bus := l.bus
	l.bus = nil
	l.mu.Unlock()
	if bus != nil {
		bus.Close()
	}
	l.reader.Wait()
}

func (l *etherLink) start() error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.bus == nil {
		return netbsd.ENXIO
	}
	if !l.running.Swap(true) {
		l.bus.Restart()
	}
	return nil
}

func (l *etherLink) stop() { l.running.Store(false) }

func (l *etherLink) setFlags(flags int32) {
	l.promisc.Store(flags&netbsd.IFF_PROMISC != 0)
	l.noARP.Store(flags&netbsd.IFF_NOARP != 0)
}

func (l *etherLink) setMAC(mac []byte) {
	a := tcpip.LinkAddress(mac)
	l.mac.Store(&a)
}

func (l *etherLink) destroy() {
	l.stop()
	l.detachBus()
}

// read takes frames off the bus until it is closed.
func (l *etherLink) read(bus Bus) {
	defer l.reader.Done()
	buf := make([]byte, maxFrame)
	for {
		n, err := bus.Recv(buf)
		if err != nil {
			return
		}
		l.input(buf[:n])
	}
}

// input takes a frame that came off the bus, as shmif_rcv and ether_input do.
// It does not keep it.
func (l *etherLink) input(frame []byte) {
	if !l.running.Load() || len(frame) < header.EthernetMinimumSize {
		return
	}
	eth := header.Ethernet(frame)
	kind := tcpip.PacketHost
	switch dst := eth.DestinationAddress(); {
	case dst == header.EthernetBroadcastAddress:
		kind = tcpip.PacketBroadcast
	case header.IsMulticastEthernetAddress(dst):
		kind = tcpip.PacketMulticast
	case dst != *l.mac.Load():
		if !l.promisc.Load() {
			return
		}
		kind = tcpip.PacketOtherHost
	}
	c := &l.ifp.counters
	c.ipackets.Add(1)
	if t := l.ifp.tap.Load(); t != nil {
		(*t)(bytes.Clone(frame), false)
	}
	if kind == tcpip.PacketOtherHost {
		return // it was for the tap
	}
	if len(frame) > header.EthernetMinimumSize+int(l.mtu.Load()) {
		return // ETHER_MAX_FRAME
	}
	c.ibytes.Add(uint64(len(frame)))
	if kind != tcpip.PacketHost {
		c.imcasts.Add(1)
	}
	l.deliver(frame, kind)
}

// deliver gives a frame for us to the engine.
func (l *etherLink) deliver(frame []byte, kind tcpip.PacketType) {
	l.mu.RLock()
	d := l.dispatcher
	l.mu.RUnlock()
	if d == nil {
		return
	}
	proto := header.Ethernet(frame).Type()
	packet := frame[header.EthernetMinimumSize:]
	switch proto {
	case ipv4.ProtocolNumber, ipv6.ProtocolNumber, arp.ProtocolNumber:
	default:
		l.ifp.counters.noproto.Add(1)
		return
	}
	l.s.received(l.ifp.NICID, kind, proto, packet[:min(len(packet), snoopLen)], len(packet))
	handled, transit := l.s.intercept(l, proto, packet)
	if handled {
		return
	}
	l.s.forgetTimeWait(l.ifp.NICID, proto, packet[:min(len(packet), snoopLen)])
	view := buffer.NewView(len(frame))
	if transit {
		// While it forwards IPv4 the engine reads a header whose memory it
		// has given back (forwardPacketWithRoute after
		// DeepCopyForForwarding). So much memory it does not use again.
		view = buffer.NewView(buffer.MaxChunkSize + 1)
	}
	view.Write(frame)
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithView(view)})
	defer pkt.DecRef()
	pkt.PktType = kind
	pkt.Mark = transitMark(proto, packet)
	if _, ok := pkt.LinkHeader().Consume(header.EthernetMinimumSize); ok {
		d.DeliverNetworkPacket(proto, pkt)
	}
}

// framePool holds buffers for frames on their way out.
var framePool = sync.Pool{New: func() any {
	b := make([]byte, 0, maxFrame)
	return &b
}}

// WritePackets implements [stack.LinkEndpoint]. Like a network card it loses
// what it cannot send: the engine panics on errors that it does not expect
// when it forwards.
func (l *etherLink) WritePackets(pkts stack.PacketBufferList) (int, tcpip.Error) {
	p := framePool.Get().(*[]byte)
	defer framePool.Put(p)
	for _, pkt := range pkts.AsSlice() {
		setICMPTTL(pkt)
		frame := (*p)[:0]
		for _, b := range pkt.AsSlices() {
			frame = append(frame, b...)
		}
		if len(frame) > header.EthernetMinimumSize {
			packet := frame[header.EthernetMinimumSize:]
			forwarded := pkt.NetworkPacketInfo.IsForwardedPacket // the engine does not say so of what it has cut
			restoreTransit(pkt.NetworkProtocolNumber, packet, pkt.Mark, !forwarded)
			if forwarded && pkt.NetworkProtocolNumber == ipv4.ProtocolNumber {
				l.correctRecordRoute(packet)
			}
			if pkt.NetworkProtocolNumber != arp.ProtocolNumber { // which output counts
				l.s.sent(pkt.NetworkProtocolNumber, packet[:min(len(packet), snoopLen)], pkt.NetworkPacketInfo.IsForwardedPacket)
			}
		}
		l.output(frame)
		*p = frame[:0]
	}
	return pkts.Len(), nil
}

// output sends a frame.
func (l *etherLink) output(frame []byte) {
	c := &l.ifp.counters
	if len(frame) < header.EthernetMinimumSize || len(frame) > maxFrame {
		c.oerrors.Add(1)
		return
	}
	dst := header.Ethernet(frame).DestinationAddress()
	if dst == *l.mac.Load() {
		// Only link-local addresses of our own are reached so; all others
		// go through lo0.
		l.deliver(frame, tcpip.PacketHost)
		return
	}
	if l.noARP.Load() && asks(frame) {
		return
	}
	l.mu.RLock()
	bus := l.bus
	l.mu.RUnlock()
	if bus == nil || !l.running.Load() {
		c.oerrors.Add(1)
		return
	}
	if header.Ethernet(frame).Type() == arp.ProtocolNumber {
		// The engine's, and the kernel's own announcements and answers.
		l.s.sent(arp.ProtocolNumber, frame[header.EthernetMinimumSize:], false)
	}
	c.obytes.Add(uint64(len(frame)))
	if dst != header.EthernetBroadcastAddress && header.IsMulticastEthernetAddress(dst) {
		c.omcasts.Add(1)
	}
	if t := l.ifp.tap.Load(); t != nil {
		(*t)(bytes.Clone(frame), true)
	}
	if err := bus.Send(frame); err != nil {
		c.oerrors.Add(1)
		return
	}
	c.opackets.Add(1)
}

// asks tells whether a frame is an ARP request that is to find a neighbour:
// not one that announces the sender, nor one that looks for duplicates.
func asks(frame []byte) bool {
	if header.Ethernet(frame).Type() != arp.ProtocolNumber {
		return false
	}
	a := header.ARP(frame[header.EthernetMinimumSize:])
	if !a.IsValid() || a.Op() != header.ARPRequest {
		return false
	}
	from := a.ProtocolAddressSender()
	return !bytes.Equal(from, a.ProtocolAddressTarget()) && !bytes.Equal(from, make([]byte, len(from)))
}

// Attach implements [stack.LinkEndpoint].
func (l *etherLink) Attach(d stack.NetworkDispatcher) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dispatcher = d
}

// IsAttached implements [stack.LinkEndpoint].
func (l *etherLink) IsAttached() bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.dispatcher != nil
}

// MTU implements [stack.LinkEndpoint].
func (l *etherLink) MTU() uint32 { return l.mtu.Load() }

// SetMTU implements [stack.LinkEndpoint].
func (l *etherLink) SetMTU(mtu uint32) { l.mtu.Store(mtu) }

// MaxHeaderLength implements [stack.LinkEndpoint].
func (*etherLink) MaxHeaderLength() uint16 { return header.EthernetMinimumSize }

// LinkAddress implements [stack.LinkEndpoint].
func (l *etherLink) LinkAddress() tcpip.LinkAddress { return *l.mac.Load() }

// SetLinkAddress implements [stack.LinkEndpoint].
func (l *etherLink) SetLinkAddress(a tcpip.LinkAddress) { l.mac.Store(&a) }

// Capabilities implements [stack.LinkEndpoint].
func (*etherLink) Capabilities() stack.LinkEndpointCapabilities {
	return stack.CapabilityResolutionRequired
}

// ARPHardwareType implements [stack.LinkEndpoint].
func (*etherLink) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareEther }

// AddHeader implements [stack.LinkEndpoint].
func (*etherLink) AddHeader(pkt *stack.PacketBuffer) {
	eth := header.Ethernet(pkt.LinkHeader().Push(header.EthernetMinimumSize))
	eth.Encode(&header.EthernetFields{
		SrcAddr: pkt.EgressRoute.LocalLinkAddress,
		DstAddr: pkt.EgressRoute.RemoteLinkAddress,
		Type:    pkt.NetworkProtocolNumber,
	})
}

// ParseHeader implements [stack.LinkEndpoint].
func (*etherLink) ParseHeader(pkt *stack.PacketBuffer) bool {
	_, ok := pkt.LinkHeader().Consume(header.EthernetMinimumSize)
	return ok
}

// Wait implements [stack.LinkEndpoint]. The reader ends with detachBus, before
// the engine is asked to forget the interface: while it waits here it holds a
// lock that the reader needs.
func (*etherLink) Wait() {}

// Close implements [stack.LinkEndpoint].
func (*etherLink) Close() {}

// SetOnCloseAction implements [stack.LinkEndpoint].
func (*etherLink) SetOnCloseAction(func()) {}

// hostErrno is the NetBSD error number for a failure of the host's.
func hostErrno(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return netbsd.FromHost(errno)
	}
	return netbsd.EIO
}
