package ping

import (
	"context"
	"net/netip"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// socket6 is a raw ICMPv6 socket.
type socket6 struct {
	rawSocket
	dst     []byte // sockaddr_in6
	source  netip.Addr
	control []byte // control messages of each request
}

func open6(ctx context.Context, c *spclient.Conn, o *Options) (*socket6, error) {
	fd, err := c.Socket(ctx, netbsd.AF_INET6, netbsd.SOCK_RAW, netbsd.IPPROTO_ICMPV6)
	if err != nil {
		return nil, failed("socket", err)
	}
	s := &socket6{rawSocket: rawSocket{c: c, fd: fd, ifaces: newInterfaces(c)}}
	dst, err := s.sockaddr(ctx, o.Addr, 0)
	if err != nil {
		return nil, err
	}
	s.dst = dst
	if o.Source.IsValid() {
		src, err := s.sockaddr(ctx, o.Source, 0)
		if err != nil {
			return nil, err
		}
		if err := c.Bind(ctx, fd, src); err != nil {
			return nil, failed("bind", err)
		}
	}
	if o.Gateway.IsValid() {
		hop, err := s.sockaddr(ctx, o.Gateway, 0)
		if err != nil {
			return nil, err
		}
		if err := c.Setsockopt(ctx, fd, netbsd.IPPROTO_IPV6, netbsd.IPV6_NEXTHOP, hop); err != nil {
			return nil, failed("setsockopt(IPV6_NEXTHOP)", err)
		}
	}
	if err := s.common(ctx, o); err != nil {
		return nil, err
	}
	if err := s.set(ctx, options6(o)...); err != nil {
		return nil, err
	}
	if err := s.filter(ctx, o.Verbose); err != nil {
		return nil, err
	}
	pktinfo, err := s.controls(ctx, o)
	if err != nil {
		return nil, err
	}
	s.source = o.Source
	if !s.source.IsValid() {
		if s.source, err = s.findSource(ctx, o, pktinfo); err != nil {
			return nil, err
		}
	}
	size := int32(48 << 10)
	if o.size() > 8<<10 {
		size = int32(min(o.size()+8<<10, 256<<10))
	}
	if err := s.buffers(ctx, size); err != nil {
		return nil, err
	}
	return s, nil
}

// sockaddr is the sockaddr_in6 of an address, whose zone is resolved in the kernel.
func (s *socket6) sockaddr(ctx context.Context, a netip.Addr, port uint16) ([]byte, error) {
	var scope uint32
	if zone := a.Zone(); zone != "" {
		var err error
		if scope, err = s.ifaces.index(ctx, zone); err != nil {
			return nil, err
		}
	}
	return netbsd.SockaddrIn6(s.c.Machine(), netip.AddrPortFrom(a.WithZone(""), port), scope, 0), nil
}

// options6 are the integer options of the socket.
func options6(o *Options) []option {
	opt := func(name, value int32, text string) option {
		return option{netbsd.IPPROTO_IPV6, name, value, "setsockopt(" + text + ")"}
	}
	opts := []option{
		opt(netbsd.IPV6_RECVPKTINFO, 1, "IPV6_RECVPKTINFO"),
		opt(netbsd.IPV6_RECVHOPLIMIT, 1, "IPV6_RECVHOPLIMIT"),
	}
	if o.DontFrag {
		opts = append(opts, opt(netbsd.IPV6_USE_MIN_MTU, 0, "IPV6_USE_MIN_MTU"),
			opt(netbsd.IPV6_DONTFRAG, 1, "IPV6_DONTFRAG"))
	} else {
		// Large requests go in fragments that every link takes.
		opts = append(opts, opt(netbsd.IPV6_USE_MIN_MTU, 1, "IPV6_USE_MIN_MTU"))
	}
	if o.Addr.IsMulticast() {
		opts = append(opts, opt(netbsd.IPV6_MULTICAST_HOPS, defaultHopLimit, "IPV6_MULTICAST_HOPS"))
		if o.NoLoop {
			opts = append(opts, opt(netbsd.IPV6_MULTICAST_LOOP, 0, "IPV6_MULTICAST_LOOP"))
		}
	}
	if o.TOS != 0 {
		opts = append(opts, opt(netbsd.IPV6_TCLASS, int32(o.TOS), "IPV6_TCLASS"))
	}
	if o.Verbose {
		opts = append(opts, opt(netbsd.IPV6_RECVHOPOPTS, 1, "IPV6_RECVHOPOPTS"),
			opt(netbsd.IPV6_RECVDSTOPTS, 1, "IPV6_RECVDSTOPTS"),
			opt(netbsd.IPV6_RECVRTHDR, 1, "IPV6_RECVRTHDR"))
	}
	return opts
}

// defaultHopLimit is IPV6_DEFHLIM of <netinet/ip6.h>.
const defaultHopLimit = 64

// filter has the kernel deliver echo replies only, or every message.
func (s *socket6) filter(ctx context.Context, verbose bool) error {
	var f netbsd.Icmp6Filter
	if verbose {
		f.PassAll()
	} else {
		f.SetPass(netbsd.ICMP6_ECHO_REPLY)
	}
	return failed("setsockopt(ICMP6_FILTER)",
		s.c.SetsockoptStruct(ctx, s.fd, netbsd.IPPROTO_ICMPV6, netbsd.ICMP6_FILTER, &f))
}

// controls composes the control messages of the requests. It returns the
// in6_pktinfo among them, if there is one.
func (s *socket6) controls(ctx context.Context, o *Options) (pktinfo []byte, err error) {
	m := s.c.Machine()
	if o.Interface != "" {
		index, err := s.ifaces.index(ctx, o.Interface)
		if err != nil {
			return nil, err
		}
		pktinfo = netbsd.Marshal(m, &netbsd.In6Pktinfo{Ifindex: index})
		s.control = netbsd.AppendCmsg(m, s.control, netbsd.IPPROTO_IPV6, netbsd.IPV6_PKTINFO, pktinfo)
	}
	if o.TTL > 0 {
		hops := m.Order.AppendUint32(nil, uint32(o.TTL))
		s.control = netbsd.AppendCmsg(m, s.control, netbsd.IPPROTO_IPV6, netbsd.IPV6_HOPLIMIT, hops)
	}
	return pktinfo, nil
}

// findSource asks the kernel which source address it would choose, by
// connecting a UDP socket. Nothing is sent.
func (s *socket6) findSource(ctx context.Context, o *Options, pktinfo []byte) (netip.Addr, error) {
	const anyPort = 10101
	fd, err := s.c.Socket(ctx, netbsd.AF_INET6, netbsd.SOCK_DGRAM, 0)
	if err != nil {
		return netip.Addr{}, failed("UDP socket", err)
	}
	defer s.c.CloseFD(ctx, fd)
	if pktinfo != nil {
		if err := s.c.Setsockopt(ctx, fd, netbsd.IPPROTO_IPV6, netbsd.IPV6_PKTINFO, pktinfo); err != nil {
			return netip.Addr{}, failed("UDP setsockopt(IPV6_PKTINFO)", err)
		}
	}
	dst, err := s.sockaddr(ctx, o.Addr, anyPort)
	if err != nil {
		return netip.Addr{}, err
	}
	if err := s.c.Connect(ctx, fd, dst); err != nil {
		return netip.Addr{}, failed("UDP connect", err)
	}
	src, err := s.c.Getsockname(ctx, fd)
	if err != nil {
		return netip.Addr{}, failed("getsockname", err)
	}
	return s.ifaces.sockaddr(ctx, src), nil
}

func (s *socket6) Source() netip.Addr { return s.source }

func (s *socket6) Send(ctx context.Context, msg []byte) error {
	_, err := s.c.Sendmsg(ctx, s.fd, &spclient.Message{
		Name: s.dst, Buffers: [][]byte{msg}, Control: s.control,
	}, 0)
	return err
}

func (s *socket6) Recv(ctx context.Context, pkt *Packet) error {
	flags, err := s.wait(ctx)
	if err != nil {
		return err
	}
	msg := &spclient.Message{Buffers: [][]byte{pkt.Data}, Control: make([]byte, 1024)}
	n, err := s.c.Recvmsg(ctx, s.fd, msg, flags)
	if err != nil {
		return err
	}
	pkt.Data = pkt.Data[:n]
	s.ifaces.describe(ctx, pkt, msg.Name, msg.Control)
	return nil
}

// describe notes what the kernel tells of a packet beside its data: the
// sender's sockaddr_in6 and control messages.
func (l *interfaces) describe(ctx context.Context, pkt *Packet, from, control []byte) {
	pkt.From = l.sockaddr(ctx, from)
	// What is whole of the control messages counts, also when the rest was cut.
	cmsgs, _ := netbsd.ParseCmsgs(l.machine, control)
	for _, cm := range cmsgs {
		if cm.Level != netbsd.IPPROTO_IPV6 {
			continue
		}
		switch cm.Type {
		case netbsd.IPV6_HOPLIMIT:
			if len(cm.Data) >= 4 {
				pkt.HopLimit = int(int32(l.machine.Order.Uint32(cm.Data)))
			}
		case netbsd.IPV6_PKTINFO:
			var info netbsd.In6Pktinfo
			if netbsd.Unmarshal(l.machine, cm.Data, &info) == nil {
				pkt.Dst = l.zoned(ctx, netip.AddrFrom16(info.Addr), info.Ifindex)
			}
		case netbsd.IPV6_HOPOPTS:
			pkt.Ext = append(pkt.Ext, ExtHeader{netbsd.IPPROTO_HOPOPTS, cm.Data})
		case netbsd.IPV6_DSTOPTS, netbsd.IPV6_RTHDRDSTOPTS:
			pkt.Ext = append(pkt.Ext, ExtHeader{netbsd.IPPROTO_DSTOPTS, cm.Data})
		case netbsd.IPV6_RTHDR:
			pkt.Ext = append(pkt.Ext, ExtHeader{netbsd.IPPROTO_ROUTING, cm.Data})
		}
	}
}
