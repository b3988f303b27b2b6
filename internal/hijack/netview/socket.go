//go:build linux

package netview

import (
	"context"
	"errors"
	"math"
	"net/netip"

	"golang.org/x/sys/unix"

	"rumptools/internal/netstat"
	"rumptools/pkg/netbsd"
)

// States of sockets (linux/tcp.h, include/net/tcp_states.h). Those of sockets
// without connection are TCPClose, and TCPEstablished with a peer.
const (
	TCPEstablished = 1
	TCPSynSent     = 2
	TCPSynRecv     = 3
	TCPFinWait1    = 4
	TCPFinWait2    = 5
	TCPTimeWait    = 6
	TCPClose       = 7
	TCPCloseWait   = 8
	TCPLastAck     = 9
	TCPListen      = 10
	TCPClosing     = 11
)

// tcpStates are the states by NetBSD's TCPS_*.
var tcpStates = [...]uint8{
	netbsd.TCPS_CLOSED:       TCPClose,
	netbsd.TCPS_LISTEN:       TCPListen,
	netbsd.TCPS_SYN_SENT:     TCPSynSent,
	netbsd.TCPS_SYN_RECEIVED: TCPSynRecv,
	netbsd.TCPS_ESTABLISHED:  TCPEstablished,
	netbsd.TCPS_CLOSE_WAIT:   TCPCloseWait,
	netbsd.TCPS_FIN_WAIT_1:   TCPFinWait1,
	netbsd.TCPS_CLOSING:      TCPClosing,
	netbsd.TCPS_LAST_ACK:     TCPLastAck,
	netbsd.TCPS_FIN_WAIT_2:   TCPFinWait2,
	netbsd.TCPS_TIME_WAIT:    TCPTimeWait,
}

// Flags of control blocks (<netinet/in_pcb.h>, <netinet6/in6_pcb.h>), in
// ki_pflags.
const (
	inpAnonPort  = 0x0040
	in6pAnonPort = 0x4000000
	in6pV6Only   = 0x008000
)

// Socket is a socket of the Internet families.
type Socket struct {
	Family   uint8 // AF_INET or AF_INET6, Linux's
	Protocol uint8 // IPPROTO_TCP, IPPROTO_UDP or IPPROTO_RAW
	// Local and Remote have the unspecified address where there is none.
	// The local port of a raw socket is its protocol, as Linux shows it.
	Local, Remote netip.AddrPort
	Index         int   // interface of link-local addresses
	State         uint8 // TCP*
	// RecvQueue and SendQueue are in bytes.
	RecvQueue, SendQueue uint32
	V6Only               bool
	// Pcb is what the kernel says.
	Pcb netbsd.KinfoPcb
}

// AutoPort tells whether the kernel chose the local port.
func (s *Socket) AutoPort() bool {
	if s.Family == unix.AF_INET6 {
		return s.Pcb.Pflags&in6pAnonPort != 0
	}
	return s.Pcb.Pflags&inpAnonPort != 0
}

// socketLists are the lists of sockets by family and protocol, Linux's.
var socketLists = map[[2]uint8]string{
	{unix.AF_INET, unix.IPPROTO_TCP}:  "net.inet.tcp.pcblist",
	{unix.AF_INET, unix.IPPROTO_UDP}:  "net.inet.udp.pcblist",
	{unix.AF_INET, unix.IPPROTO_RAW}:  "net.inet.raw.pcblist",
	{unix.AF_INET6, unix.IPPROTO_TCP}: "net.inet6.tcp6.pcblist",
	{unix.AF_INET6, unix.IPPROTO_UDP}: "net.inet6.udp6.pcblist",
	{unix.AF_INET6, unix.IPPROTO_RAW}: "net.inet6.raw6.pcblist",
}

// Sockets lists the sockets of a family (AF_INET or AF_INET6, Linux's) and a
// protocol (IPPROTO_TCP, IPPROTO_UDP or IPPROTO_RAW), in the kernel's order.
// A kernel that has no such list has none.
func Sockets(ctx context.Context, k Kernel, family, protocol uint8) ([]Socket, error) {
	return sockets(k, family, protocol, func(name string) ([]netbsd.KinfoPcb, error) { return netstat.Pcbs(ctx, k, name) })
}

// SocketsAt is [Sockets] for those of TCP or UDP that have a local port.
func SocketsAt(ctx context.Context, k Kernel, family, protocol uint8, port uint16) ([]Socket, error) {
	return sockets(k, family, protocol, func(name string) ([]netbsd.KinfoPcb, error) { return netstat.PcbsAt(ctx, k, name, port) })
}

func sockets(k Kernel, family, protocol uint8, read func(name string) ([]netbsd.KinfoPcb, error)) ([]Socket, error) {
	name, ok := socketLists[[2]uint8{family, protocol}]
	if !ok {
		return nil, nil
	}
	pcbs, err := read(name)
	if errors.Is(err, netbsd.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	list := make([]Socket, 0, len(pcbs))
	for i := range pcbs {
		s := newSocket(k.Machine(), family, protocol, &pcbs[i])
		// Linux does not list sockets that nothing can reach yet.
		if protocol != unix.IPPROTO_RAW && s.Local.Port() == 0 || protocol == unix.IPPROTO_TCP && s.State == TCPClose {
			continue
		}
		list = append(list, s)
	}
	return list, nil
}

func newSocket(m *netbsd.Machine, family, protocol uint8, pcb *netbsd.KinfoPcb) Socket {
	s := Socket{
		Family: family, Protocol: protocol, State: TCPClose,
		RecvQueue: uint32(min(pcb.Rcvq, math.MaxUint32)), SendQueue: uint32(min(pcb.Sndq, math.MaxUint32)),
		V6Only: family == unix.AF_INET6 && pcb.Pflags&in6pV6Only != 0,
		Pcb:    *pcb,
	}
	var scope uint32
	s.Local, scope = endpoint(m, family, pcb.Src[:])
	s.Index = int(scope)
	s.Remote, scope = endpoint(m, family, pcb.Dst[:])
	if scope != 0 {
		s.Index = int(scope)
	}
	switch {
	case protocol == unix.IPPROTO_TCP:
		if pcb.Tstate >= 0 && int(pcb.Tstate) < len(tcpStates) {
			s.State = tcpStates[pcb.Tstate]
		}
	case protocol == unix.IPPROTO_RAW:
		s.Local = netip.AddrPortFrom(s.Local.Addr(), uint16(pcb.Protocol))
		if !s.Remote.Addr().IsUnspecified() {
			s.State = TCPEstablished
		}
	case s.Remote.Port() != 0:
		s.State = TCPEstablished
	}
	return s
}

// endpoint reads a socket address, of which the kernel may not have set the
// length and the family.
func endpoint(m *netbsd.Machine, family uint8, b []byte) (netip.AddrPort, uint32) {
	size, af := netbsd.SizeofSockaddrIn, byte(netbsd.AF_INET)
	if family == unix.AF_INET6 {
		size, af = netbsd.SizeofSockaddrIn6, netbsd.AF_INET6
	}
	sized := append([]byte(nil), b[:size]...)
	sized[0], sized[1] = byte(size), af
	sa, err := netbsd.ParseSockaddr(m, sized)
	if err != nil {
		return netip.AddrPort{}, 0 // it has the right length
	}
	sa = sa.ExtractScope()
	return sa.AddrPort, sa.ScopeID
}
