package ping

import (
	"context"
	"net/netip"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// socket4 is a raw ICMP socket whose user writes the IP header, the only way to
// set the DF bit and IP options for one program.
type socket4 struct {
	rawSocket
	dst    []byte // where requests go first: sockaddr_in
	source netip.Addr
	header []byte // of each request, without ip_len
}

func open4(ctx context.Context, c *spclient.Conn, o *Options) (*socket4, error) {
	fd, err := c.Socket(ctx, netbsd.AF_INET, netbsd.SOCK_RAW, netbsd.IPPROTO_ICMP)
	if err != nil {
		return nil, failed("Cannot create socket", err)
	}
	s := &socket4{rawSocket: rawSocket{c: c, fd: fd}, source: o.Source}
	first := o.Addr
	if o.Gateway.IsValid() {
		first = o.Gateway
	}
	s.dst = netbsd.SockaddrIn(netip.AddrPortFrom(first, 0))
	s.header = header4(c.Machine(), o, first)

	if err := s.common(ctx, o); err != nil {
		return nil, err
	}
	if err := s.set(ctx, option{netbsd.IPPROTO_IP, netbsd.IP_HDRINCL, 1, "Can't set special IP header"}); err != nil {
		return nil, err
	}
	if err := s.multicast(ctx, o); err != nil {
		return nil, err
	}
	if err := s.buffers(ctx, 65535); err != nil {
		return nil, err
	}
	return s, nil
}

// multicast sets what the IP header does not say.
func (s *socket4) multicast(ctx context.Context, o *Options) error {
	octet := func(name int32, v byte, what string) error {
		return failed(what, s.c.Setsockopt(ctx, s.fd, netbsd.IPPROTO_IP, name, []byte{v}))
	}
	group := o.Addr.IsMulticast()
	if group && o.NoLoop {
		if err := octet(netbsd.IP_MULTICAST_LOOP, 0, "Can't disable multicast loopback"); err != nil {
			return err
		}
	}
	if group && o.TTL > 0 {
		if err := octet(netbsd.IP_MULTICAST_TTL, byte(o.TTL), "Can't set multicast time-to-live"); err != nil {
			return err
		}
	}
	if o.Source.IsValid() {
		what := "Can't set source interface/address"
		if group {
			what = "Can't set multicast source interface"
		}
		addr := o.Source.As4()
		return failed(what, s.c.Setsockopt(ctx, s.fd, netbsd.IPPROTO_IP, netbsd.IP_MULTICAST_IF, addr[:]))
	}
	return nil
}

// header4 composes the IP header of the requests. NetBSD takes ip_len and ip_off
// in its own byte order there (raw_ip.c), and fills in the identification, the
// checksum and, when it is 0, the source address. ip_len is set for each request.
func header4(m *netbsd.Machine, o *Options, first netip.Addr) []byte {
	opts := ipOptions(o)
	h := make([]byte, ipv4HeaderLen, ipv4HeaderLen+len(opts))
	h[0] = 4<<4 | byte(ipv4HeaderLen+len(opts))/4
	h[1] = o.TOS
	if o.DontFrag {
		m.Order.PutUint16(h[6:], netbsd.IP_DF)
	}
	h[8] = netbsd.MAXTTL
	if o.TTL > 0 {
		h[8] = byte(o.TTL)
	}
	h[9] = netbsd.IPPROTO_ICMP
	if o.Source.IsValid() {
		src := o.Source.As4()
		copy(h[12:], src[:])
	}
	dst := first.As4()
	copy(h[16:], dst[:])
	return append(h, opts...)
}

// ipOptions composes the IP options: a loose source route to the target, and a
// record route that takes all the room there is.
func ipOptions(o *Options) []byte {
	n := optionsLen(o)
	opts := make([]byte, 0, n)
	if o.Gateway.IsValid() {
		addr := o.Addr.As4()
		opts = append(opts, netbsd.IPOPT_LSRR, sourceRouteLen-1, netbsd.IPOPT_MINOFF)
		opts = append(opts, addr[:]...)
		opts = append(opts, netbsd.IPOPT_NOP)
	}
	if o.RecordRoute {
		opts = append(opts, netbsd.IPOPT_RR, byte(maxIPOptLen-1-len(opts)), netbsd.IPOPT_MINOFF)
	}
	return opts[:n] // the rest is 0: room for addresses, end of options
}

func (s *socket4) Source() netip.Addr { return s.source }

func (s *socket4) Send(ctx context.Context, msg []byte) error {
	b := make([]byte, 0, len(s.header)+len(msg))
	b = append(append(b, s.header...), msg...)
	s.c.Machine().Order.PutUint16(b[2:], uint16(len(b)))
	_, err := s.c.Sendto(ctx, s.fd, b, 0, s.dst)
	return err
}

func (s *socket4) Recv(ctx context.Context, pkt *Packet) error {
	flags, err := s.wait(ctx)
	if err != nil {
		return err
	}
	n, from, err := s.c.Recvfrom(ctx, s.fd, pkt.Data, flags)
	if err != nil {
		return err
	}
	pkt.Data = pkt.Data[:n]
	sa, _ := netbsd.ParseSockaddr(s.c.Machine(), from)
	pkt.From = sa.Addr()
	return nil
}
