package inet

import (
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// Bits of inp_flags (<netinet/in_pcb.h>), as socket lists show them.
const (
	inpRecvOpts    = 0x0001
	inpRecvRetOpts = 0x0002
	inpRecvDstAddr = 0x0004
	inpHdrIncl     = 0x0008
	inpLowPort     = 0x0020
	inpAnonPort    = 0x0040
	inpRecvIf      = 0x0080
	inpNoHeader    = 0x0400
	inpRecvTTL     = 0x0800
	inpPktInfo     = 0x1000
	inpRecvPktInfo = 0x2000
)

// inpOptions are the options of the level IPPROTO_IP that are bits of
// inp_flags.
var inpOptions = map[int32]uint32{
	netbsd.IP_PKTINFO:     inpPktInfo,
	netbsd.IP_RECVOPTS:    inpRecvOpts,
	netbsd.IP_RECVPKTINFO: inpRecvPktInfo,
	netbsd.IP_RECVRETOPTS: inpRecvRetOpts,
	netbsd.IP_RECVDSTADDR: inpRecvDstAddr,
	netbsd.IP_RECVIF:      inpRecvIf,
	netbsd.IP_RECVTTL:     inpRecvTTL,
}

// ip4Options are a socket's options of the level IPPROTO_IP.
type ip4Options struct {
	flags    uint32 // inp*
	tos, ttl uint8
	minTTL   uint8
	recvTOS  bool // sysproxy.IPRecvTOS
	discover discovery
	portAlgo int32
	// header are the IP options of what is sent, and via the first hop of
	// a source route: a datagram's own destination is the route's last.
	header []byte
	via    netip.Addr

	mcastIf     tcpip.NICID // 0: as routed
	mcastIfAddr netip.Addr  // what IP_MULTICAST_IF named it with, 0.0.0.0/8 only
	mcastTTL    uint8
	noMcastLoop bool
}

func (o *ip4Options) init(s *Stack) {
	o.ttl, o.mcastTTL = uint8(s.params.get("net.inet.ip.ttl")), netbsd.IP_DEFAULT_MULTICAST_TTL
}

// maxIPOptLen is the most bytes of IP options.
const maxIPOptLen = 40

// portAlgos are the ways to choose a port that RFC 6056 names; all are random
// here.
const portAlgos = 6

// setIP sets an option of the level IPPROTO_IP in o (ip_ctloutput), but for
// memberships.
func (s *Stack) setIP(m *netbsd.Machine, o *ip4Options, name int32, value []byte) error {
	switch name {
	case netbsd.IP_OPTIONS:
		header, via, err := parseIPOptions(value)
		if err != nil {
			return err
		}
		o.header, o.via = header, via
		return nil
	case netbsd.IP_MULTICAST_IF, netbsd.IP_MULTICAST_TTL, netbsd.IP_MULTICAST_LOOP:
		return s.setMulticast4(m, o, name, value)
	}
	bit, isFlag := inpOptions[name]
	switch name {
	case netbsd.IP_TOS, netbsd.IP_TTL, netbsd.IP_MINTTL, netbsd.IP_PORTRANGE, netbsd.IP_PORTALGO, sysproxy.IPRecvTOS,
		sysproxy.IPMTUDiscover:
	default:
		if !isFlag {
			// IPsec policies among others: there is no IPsec.
			return netbsd.ENOPROTOOPT
		}
	}
	v, err := optInt(m, value)
	if err != nil {
		return err
	}
	switch {
	case isFlag && v != 0:
		o.flags |= bit
	case isFlag:
		o.flags &^= bit
	case name == netbsd.IP_TOS:
		o.tos = uint8(v)
	case name == netbsd.IP_TTL:
		o.ttl = uint8(v)
	case name == netbsd.IP_MINTTL:
		if v <= 0 || v > netbsd.MAXTTL {
			return netbsd.EINVAL
		}
		o.minTTL = uint8(v)
	case name == netbsd.IP_PORTRANGE:
		switch v {
		case netbsd.IP_PORTRANGE_DEFAULT, netbsd.IP_PORTRANGE_HIGH:
			o.flags &^= inpLowPort
		case netbsd.IP_PORTRANGE_LOW:
			o.flags |= inpLowPort
		default:
			return netbsd.EINVAL
		}
	case name == netbsd.IP_PORTALGO:
		if v < 0 || v >= portAlgos {
			return netbsd.EINVAL
		}
		o.portAlgo = v
	case name == sysproxy.IPRecvTOS:
		o.recvTOS = v != 0
	case name == sysproxy.IPMTUDiscover:
		return o.discover.set(v)
	}
	return nil
}

// ipOption gives an option of the level IPPROTO_IP.
func (s *Stack) ipOption(m *netbsd.Machine, o *ip4Options, name int32) ([]byte, error) {
	if bit, ok := inpOptions[name]; ok {
		return boolOpt(m, o.flags&bit != 0), nil
	}
	switch name {
	case netbsd.IP_OPTIONS, netbsd.IP_RETOPTS:
		if o.header == nil {
			return nil, nil
		}
		// As the kernel keeps them: behind the first hop.
		via := netip.IPv4Unspecified()
		if o.via.IsValid() {
			via = o.via
		}
		return append(via.AsSlice(), o.header...), nil
	case netbsd.IP_TOS:
		return intOpt(m, int32(o.tos)), nil
	case netbsd.IP_TTL:
		return intOpt(m, int32(o.ttl)), nil
	case netbsd.IP_MINTTL:
		return intOpt(m, int32(o.minTTL)), nil
	case netbsd.IP_PORTRANGE:
		return boolInt(m, o.flags&inpLowPort != 0, netbsd.IP_PORTRANGE_LOW), nil
	case netbsd.IP_PORTALGO:
		return intOpt(m, o.portAlgo), nil
	case sysproxy.IPRecvTOS:
		return boolOpt(m, o.recvTOS), nil
	case sysproxy.IPMTUDiscover:
		return intOpt(m, int32(o.discover)), nil
	case netbsd.IP_MULTICAST_IF, netbsd.IP_MULTICAST_TTL, netbsd.IP_MULTICAST_LOOP,
		netbsd.IP_ADD_MEMBERSHIP, netbsd.IP_DROP_MEMBERSHIP:
		return s.multicast4(o, name)
	}
	return nil, netbsd.ENOPROTOOPT
}

// boolInt makes an int option that is v or 0.
func boolInt(m *netbsd.Machine, set bool, v int32) []byte {
	if set {
		return intOpt(m, v)
	}
	return intOpt(m, 0)
}

// parseIPOptions checks the IP options that a program gives (ip_pcbopts). A
// source route names its first hop first, which is taken out.
func parseIPOptions(value []byte) (header []byte, via netip.Addr, err error) {
	if len(value)%4 != 0 {
		return nil, via, netbsd.EINVAL
	}
	for rest := value; len(rest) > 0; {
		typ, n := rest[0], 1
		if typ != netbsd.IPOPT_EOL && typ != netbsd.IPOPT_NOP {
			if len(rest) < 2 {
				return nil, via, netbsd.EINVAL
			}
			if n = int(rest[1]); n < 2 || n > len(rest) {
				return nil, via, netbsd.EINVAL
			}
		}
		opt := rest[:n]
		if typ == netbsd.IPOPT_LSRR || typ == netbsd.IPOPT_SSRR {
			if n < 7 {
				return nil, via, netbsd.EINVAL
			}
			via = netip.AddrFrom4([4]byte(opt[3:7]))
			opt = append([]byte{typ, byte(n - 4), opt[2]}, opt[7:]...)
		}
		if len(header)+len(opt) > maxIPOptLen {
			return nil, via, netbsd.EINVAL
		}
		header = append(header, opt...)
		if typ == netbsd.IPOPT_EOL {
			break
		}
		rest = rest[n:]
	}
	for len(header)%4 != 0 {
		header = append(header, netbsd.IPOPT_EOL)
	}
	return header, normal(via), nil
}

// controls makes the control messages that a socket wants with a datagram
// (ip_savecontrol); the socket's lock is held.
func (o *ip4Options) controls(so *socket, p *packet) []netbsd.Cmsg {
	cs := so.controlTime()
	add := func(typ int32, data []byte) {
		cs = append(cs, netbsd.Cmsg{Level: netbsd.IPPROTO_IP, Type: typ, Data: data})
	}
	info := func(a netip.Addr) []byte {
		return netbsd.Marshal(so.m, &netbsd.InPktinfo{Addr: a.As4(), Ifindex: uint32(p.nic)})
	}
	if o.flags&inpRecvDstAddr != 0 {
		add(netbsd.IP_RECVDSTADDR, p.dst.AsSlice())
	}
	if o.flags&inpRecvPktInfo != 0 {
		add(netbsd.IP_RECVPKTINFO, info(p.src))
	}
	if o.flags&inpPktInfo != 0 {
		add(netbsd.IP_PKTINFO, info(p.dst))
	}
	if o.flags&inpRecvIf != 0 {
		// The 8 bytes of a sockaddr_dl that has neither name nor address.
		sdl := make([]byte, 8)
		sdl[0], sdl[1] = 8, netbsd.AF_LINK
		so.m.Order.PutUint16(sdl[2:], uint16(p.nic))
		add(netbsd.IP_RECVIF, sdl)
	}
	if o.flags&inpRecvTTL != 0 {
		add(netbsd.IP_RECVTTL, []byte{p.ttl})
	}
	if o.recvTOS {
		add(netbsd.IP_TOS, []byte{p.tos})
	}
	return cs
}
