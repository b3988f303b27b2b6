package inet

import (
	"sync"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"rumptools/pkg/netbsd"
)

// loopMTU is lo0's MTU (LOMTU): 32 KiB and room for headers, two mbufs' worth.
// loopMaxMTU is the most that it can be set to (LOMTU_MAX).
const (
	loopMTU    = 33624
	loopMaxMTU = 66392
)

// loopLink is lo0's lower half: what is sent comes back at once, on the
// sender's goroutine. Packets of TCP may be longer than the MTU, which its maximum
// segment size is nevertheless of, as on other systems whose interfaces cut segments.
type loopLink struct {
	s   *Stack
	ifp *Interface
	mtu atomic.Uint32

	mu         sync.RWMutex
	dispatcher stack.NetworkDispatcher
}

var _ link = (*loopLink)(nil)

func newLoopLink(s *Stack, ifp *Interface) *loopLink {
	l := &loopLink{s: s, ifp: ifp}
	l.mtu.Store(ifp.mtu)
	return l
}

// Attach implements [stack.LinkEndpoint].
func (l *loopLink) Attach(d stack.NetworkDispatcher) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dispatcher = d
}

// IsAttached implements [stack.LinkEndpoint].
func (l *loopLink) IsAttached() bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.dispatcher != nil
}

// WritePackets implements [stack.LinkEndpoint].
func (l *loopLink) WritePackets(pkts stack.PacketBufferList) (int, tcpip.Error) {
	l.mu.RLock()
	d := l.dispatcher
	l.mu.RUnlock()
	c := &l.ifp.counters
	for _, pkt := range pkts.AsSlice() {
		setICMPTTL(pkt)
		size := uint64(pkt.Size())
		c.opackets.Add(1)
		c.obytes.Add(size)
		// A packet comes in without what the way out has noted in it.
		payload := pkt.ToBuffer()
		// PullUp would copy the data behind the headers.
		var snoop [snoopLen]byte
		n, _ := payload.ReadAt(snoop[:], 0)
		head := snoop[:n]
		in := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: payload})
		l.tap(pkt.NetworkProtocolNumber, in)
		l.s.sent(pkt.NetworkProtocolNumber, head, pkt.NetworkPacketInfo.IsForwardedPacket)
		if d != nil {
			l.s.received(l.ifp.NICID, tcpip.PacketHost, pkt.NetworkProtocolNumber, head, in.Data().Size())
			c.ipackets.Add(1)
			c.ibytes.Add(size)
			if !l.s.isUnready(pkt.NetworkProtocolNumber, head) {
				l.s.forgetTimeWait(l.ifp.NICID, pkt.NetworkProtocolNumber, head)
				d.DeliverNetworkPacket(pkt.NetworkProtocolNumber, in)
			}
		}
		in.DecRef()
	}
	return pkts.Len(), nil
}

// isUnready tells whether a packet is for an own address that is not in use:
// ip_input drops it. The engine, which does not know the address, would forward
// it to lo0 again and again.
func (s *Stack) isUnready(proto tcpip.NetworkProtocolNumber, head []byte) bool {
	unready := *s.unready.Load()
	switch {
	case len(unready) == 0:
	case proto == ipv4.ProtocolNumber && len(head) >= header.IPv4MinimumSize:
		return unready[netipAddr(header.IPv4(head).DestinationAddress())]
	case proto == ipv6.ProtocolNumber && len(head) >= header.IPv6MinimumSize:
		return unready[netipAddr(header.IPv6(head).DestinationAddress())]
	}
	return false
}

// tap shows a packet to the interface's tap with the header of DLT_NULL: the
// address family in the host's order.
func (l *loopLink) tap(proto tcpip.NetworkProtocolNumber, pkt *stack.PacketBuffer) {
	t := l.ifp.tap.Load()
	if t == nil {
		return
	}
	family := uint32(netbsd.AF_INET6)
	if proto == ipv4.ProtocolNumber {
		family = netbsd.AF_INET
	}
	view := pkt.ToView()
	defer view.Release()
	frame := l.ifp.machine.Order.AppendUint32(make([]byte, 0, 4+view.Size()), family)
	(*t)(append(frame, view.AsSlice()...), true)
}

// MTU implements [stack.LinkEndpoint].
func (l *loopLink) MTU() uint32 { return l.mtu.Load() }

// SetMTU implements [stack.LinkEndpoint].
func (l *loopLink) SetMTU(mtu uint32) { l.mtu.Store(mtu) }

// Capabilities implements [stack.LinkEndpoint]. Nothing can damage what never
// leaves: nobody needs checksums.
func (*loopLink) Capabilities() stack.LinkEndpointCapabilities {
	return stack.CapabilityRXChecksumOffload | stack.CapabilityTXChecksumOffload | stack.CapabilityLoopback
}

// loopSegment is the most that TCP hands to lo0 at once, in bytes with headers: what IP's
// lengths can say. Each packet has its price and carries no more for a smaller one, so TCP
// cuts nothing into segments that come back as they are.
const loopSegment = 1<<16 - 1

var _ stack.GSOEndpoint = (*loopLink)(nil)

// SupportedGSO implements [stack.GSOEndpoint].
func (*loopLink) SupportedGSO() stack.SupportedGSO { return stack.HostGSOSupported }

// GSOMaxSize implements [stack.GSOEndpoint].
func (*loopLink) GSOMaxSize() uint32 { return loopSegment }

// ARPHardwareType implements [stack.LinkEndpoint].
func (*loopLink) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareLoopback }

// MaxHeaderLength implements [stack.LinkEndpoint].
func (*loopLink) MaxHeaderLength() uint16 { return 0 }

// LinkAddress implements [stack.LinkEndpoint].
func (*loopLink) LinkAddress() tcpip.LinkAddress { return "" }

// SetLinkAddress implements [stack.LinkEndpoint].
func (*loopLink) SetLinkAddress(tcpip.LinkAddress) {}

// AddHeader implements [stack.LinkEndpoint].
func (*loopLink) AddHeader(*stack.PacketBuffer) {}

// ParseHeader implements [stack.LinkEndpoint].
func (*loopLink) ParseHeader(*stack.PacketBuffer) bool { return true }

// Wait implements [stack.LinkEndpoint].
func (*loopLink) Wait() {}

// Close implements [stack.LinkEndpoint].
func (*loopLink) Close() {}

// SetOnCloseAction implements [stack.LinkEndpoint].
func (*loopLink) SetOnCloseAction(func()) {}

func (*loopLink) start() error   { return nil }
func (*loopLink) stop()          {}
func (*loopLink) setFlags(int32) {}
func (*loopLink) setMAC([]byte)  {}
func (*loopLink) destroy()       {}
