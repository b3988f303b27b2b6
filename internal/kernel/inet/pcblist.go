package inet

import (
	"hash/maphash"

	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"rumptools/internal/kernel"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// States of a control block (<netinet/in_pcb_hdr.h>).
const (
	inpAttached  = 0
	inpBound     = 1
	inpConnected = 2
)

// Flags of a TCP control block (<netinet/tcp_var.h>), as socket lists show
// them.
const (
	tfNewFlags         = 0x00a0 // TF_REQ_SCALE | TF_REQ_TSTMP
	tfEstablishedFlags = 0x09e0 // and TF_RCVD_SCALE | TF_RCVD_TSTMP | TF_WILL_SACK
	tfSackPermit       = 0x0200 // the peer can do so, said its answer
)

// tcpState gives NetBSD's number of a state.
func tcpState(state tcp.EndpointState) int32 {
	switch state {
	case tcp.StateListen:
		return netbsd.TCPS_LISTEN
	case tcp.StateConnecting, tcp.StateSynSent:
		return netbsd.TCPS_SYN_SENT
	case tcp.StateSynRecv:
		return netbsd.TCPS_SYN_RECEIVED
	case tcp.StateEstablished:
		return netbsd.TCPS_ESTABLISHED
	case tcp.StateCloseWait:
		return netbsd.TCPS_CLOSE_WAIT
	case tcp.StateFinWait1:
		return netbsd.TCPS_FIN_WAIT_1
	case tcp.StateClosing:
		return netbsd.TCPS_CLOSING
	case tcp.StateLastAck:
		return netbsd.TCPS_LAST_ACK
	case tcp.StateFinWait2:
		return netbsd.TCPS_FIN_WAIT_2
	case tcp.StateTimeWait:
		return netbsd.TCPS_TIME_WAIT
	}
	return netbsd.TCPS_CLOSED
}

// pcblist is sysctl_inpcblist. The parameters are what to list, an argument of
// that, the size of an element and how many there is room for. NetBSD lists all
// whatever the first two are; here [sysproxy.PcbLocalPort] means something.
func (s *Stack) pcblist(r *kernel.SysctlRequest, which pcbList) ([]byte, error) {
	if len(r.Params) != 4 {
		return nil, netbsd.EINVAL
	}
	m := s.machine
	size := netbsd.Sizeof(m, netbsd.KinfoPcb{})
	sockets := func() []pcb { return s.sockets.list(which) }
	if r.Params[0] == sysproxy.PcbLocalPort && which.proto != netbsd.IPPROTO_RAW {
		sockets = func() []pcb { return s.sockets.listPort(which, uint16(r.Params[1])) }
	}
	// What waits at a listener has a socket once it is taken over, and only then is in the list.
	for _, p := range sockets() {
		if so, ok := p.(*tcpSocket); ok {
			so.mu.Lock()
			so.drain()
			so.mu.Unlock()
		}
	}
	list := sockets()
	var out []byte
	if r.Probe {
		// Room for sockets that are made in the meantime.
		return make([]byte, (len(list)+netbsd.PCB_SLOP)*size), nil
	}
	if int(r.Params[2]) != size {
		return nil, netbsd.EINVAL
	}
	for _, p := range list {
		info, ok := p.pcbInfo()
		if !ok {
			continue
		}
		if so, ok := p.(*tcpSocket); ok {
			if last, ok := so.lastWaiting(info); ok {
				out = netbsd.Append(m, out, &last)
			}
		}
		out = netbsd.Append(m, out, &info)
	}
	return out, nil
}

// lastWaiting describes the connection that a full listener, which info describes, has in the
// engine yet.
func (so *tcpSocket) lastWaiting(info netbsd.KinfoPcb) (netbsd.KinfoPcb, bool) {
	so.mu.Lock()
	full, own := so.waiting() > len(so.queue), so.local
	so.mu.Unlock()
	if !full {
		return info, false
	}
	// Without the lock: endpoints have theirs.
	for _, te := range so.stack.net.RegisteredEndpoints() {
		ep, ok := te.(*tcp.Endpoint)
		if !ok {
			continue
		}
		v := lookAt(ep)
		if v.state != tcp.StateEstablished && v.state != tcp.StateCloseWait {
			continue
		}
		local, remote := so.address(ep.GetLocalAddress()), so.address(ep.GetRemoteAddress())
		if local.port != own.port || own.addr != local.addr && !own.addr.IsUnspecified() ||
			so.stack.sockets.hasTCP(local, remote) {
			continue
		}
		so.mu.Lock()
		defer so.mu.Unlock()
		last := so.kinfo(local, remote, netbsd.IPPROTO_TCP)
		last.Pcbaddr, last.Ppcbaddr, last.Sockaddr = so.kernelAddr(3), so.kernelAddr(4), so.kernelAddr(5)
		last.Tstate, last.Tflags = tcpState(v.state), info.Tflags&^tfNewFlags|tfEstablishedFlags
		last.Sostate = netbsd.SS_ISCONNECTED | netbsd.SS_NOFDREF
		last.Rcvq = uint64(v.received)
		return last, true
	}
	return info, false
}

// kernelAddr makes up an address of a kernel object: the same for the same
// object, different for others. Programs compare them and show them.
func kernelAddr(seq uint64, kind uint8) uint64 {
	return 0xffff800000000000 | maphash.Comparable(addrSeed, [2]uint64{seq, uint64(kind)})&0x7ffffffffff0
}

var addrSeed = maphash.MakeSeed()

// kinfo fills in what is the same for all sockets; so.mu is held. proto is the
// protocol's number in NetBSD's table.
func (so *socket) kinfo(local, remote endpoint, proto int32) netbsd.KinfoPcb {
	info := netbsd.KinfoPcb{
		Pcbaddr:  so.kernelAddr(0),
		Sockaddr: so.kernelAddr(1),
		Family:   uint32(so.family),
		Type:     uint32(so.typ),
		Protocol: uint32(proto),
		Sostate:  so.state(),
	}
	put := func(room []byte, e endpoint) {
		if so.family == netbsd.AF_INET {
			copy(room, e.sockaddr(so.m, so.family))
		} else {
			copy(room, e.kernelSockaddr6())
		}
	}
	put(info.Src[:], local)
	if remote != (endpoint{}) {
		put(info.Dst[:], remote)
		info.Prstate = inpConnected
	} else if local.port != 0 {
		info.Prstate = inpBound
	}
	if so.family == netbsd.AF_INET {
		info.Pflags = so.ip4.flags
		if so.anonPort {
			info.Pflags |= inpAnonPort
		}
	} else {
		info.Pflags = so.ip6.flags
		if so.anonPort {
			info.Pflags |= in6pAnonPort
		}
	}
	return info
}

// kernelAddr makes up an address that fits the machine's pointers.
func (so *socket) kernelAddr(kind uint8) uint64 {
	a := kernelAddr(so.seq, kind)
	if so.m.WordSize == 4 {
		return 0x80000000 | a&0x7fffffff
	}
	return a
}

// pcbPort implements pcb.
func (so *dgramSocket) pcbPort() uint16 {
	so.mu.Lock()
	defer so.mu.Unlock()
	return so.local.port
}

// pcbInfo implements pcb.
func (so *rawSocket) pcbInfo() (netbsd.KinfoPcb, bool) {
	so.mu.Lock()
	defer so.mu.Unlock()
	info := so.kinfo(so.local, so.remote, so.prProto)
	// Raw control blocks have no states, so their peers are not shown.
	info.Prstate, info.Dst = inpAttached, [264]byte{}
	info.Rcvq = uint64(so.size)
	return info, true
}

// pcbList implements pcb.
func (so *rawSocket) pcbList() pcbList { return pcbList{so.family, netbsd.IPPROTO_RAW} }

// pcbInfo implements pcb.
func (so *udpSocket) pcbInfo() (netbsd.KinfoPcb, bool) {
	so.mu.Lock()
	defer so.mu.Unlock()
	info := so.kinfo(so.local, so.remote, netbsd.IPPROTO_UDP)
	info.Rcvq = uint64(so.size)
	return info, true
}

// pcbList implements pcb.
func (so *udpSocket) pcbList() pcbList { return pcbList{so.family, netbsd.IPPROTO_UDP} }

// pcbPort implements pcb.
func (so *tcpSocket) pcbPort() uint16 {
	so.mu.Lock()
	defer so.mu.Unlock()
	return so.local.port
}

// pcbInfo implements pcb.
func (so *tcpSocket) pcbInfo() (netbsd.KinfoPcb, bool) {
	so.mu.Lock()
	defer so.mu.Unlock()
	v := so.sync()
	if so.phase == tcpGone || so.closed && isOver(so.ep) {
		return netbsd.KinfoPcb{}, false
	}
	info := so.kinfo(so.local, so.remote, netbsd.IPPROTO_TCP)
	info.Ppcbaddr = so.kernelAddr(2)
	info.Tstate, info.Tflags = tcpState(v.state), tfNewFlags
	info.Rcvq, info.Sndq = uint64(so.unread(v)), uint64(v.unsent)
	if so.loan != nil {
		in, out := so.loan.of.Queued()
		info.Rcvq += uint64(in)
		info.Sndq += uint64(out)
	}
	if so.phase == tcpConnected {
		info.Tflags = tfEstablishedFlags
		if !so.passive {
			info.Tflags |= tfSackPermit
		}
	}
	if so.opt.noDelay {
		info.Tflags |= tfNoDelay
	}
	if so.pairing.Joined() {
		info.Tflags |= sysproxy.PcbPair
	}
	if so.closed || so.queued {
		info.Sostate |= netbsd.SS_NOFDREF
	}
	switch {
	case v.state == tcp.StateTimeWait:
		info.Sostate |= netbsd.SS_ISDISCONNECTED
	case so.closed:
		info.Sostate |= netbsd.SS_ISDISCONNECTING
	case so.phase == tcpConnecting:
		info.Sostate |= netbsd.SS_ISCONNECTING
	}
	return info, true
}

// pcbList implements pcb.
func (so *tcpSocket) pcbList() pcbList { return pcbList{so.family, netbsd.IPPROTO_TCP} }

// pcbSeq implements pcb.
func (so *tcpSocket) pcbSeq() uint64 { return so.seq }
