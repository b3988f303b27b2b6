//go:build linux

package linuxsock

import (
	"context"
	"net/netip"

	"golang.org/x/sys/unix"

	"rumptools/internal/rtsock"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// Sender is what sending datagrams needs of a kernel's client: an
// [spclient.Conn] has it.
type Sender interface {
	Kernel
	Socket(ctx context.Context, domain, typ, proto int32) (spclient.FD, error)
	Bind(ctx context.Context, fd spclient.FD, sa []byte) error
	CloseFD(ctx context.Context, fd spclient.FD) error
	Sendmsg(ctx context.Context, fd spclient.FD, msg *spclient.Message, flags int32) (int, error)
}

var _ Sender = (*spclient.Conn)(nil)

// SendDatagram sends a datagram of a UDP socket's to an address, or to the peer
// that the kernel's socket is connected to when to is nil. to comes from
// [Socket.Address], flags from [Socket.SendFlags] and out from
// [Socket.ToControl]. The kernel's socket should not block.
//
// What NetBSD cannot do with the socket itself is done with a second one of the
// same port, which is there for that datagram only: another source address,
// another destination than that of a connected socket, and a group where all
// addresses are lo0's. What comes to the port at that moment may be lost, as
// datagrams may be.
func (s *Socket) SendDatagram(ctx context.Context, k Sender, fd spclient.FD, to, data []byte, flags int32, out Outgoing) (int, unix.Errno) {
	msg := &spclient.Message{Name: to, Buffers: [][]byte{data}, Control: out.Control}
	r := &request{ctx: ctx, k: k, fd: fd, host: -1, s: s}
	var own netbsd.SA
	if out.Source.IsValid() {
		var errno unix.Errno
		if own, errno = r.bindAny(k); errno != 0 {
			return 0, errno
		}
		if s.sends(ctx, k, own, to, out.Source) {
			out.Source = netip.Addr{}
		}
	}
	var n int
	errno := unix.EISCONN
	if !out.Source.IsValid() {
		errno = r.withHeader(out, to, func() unix.Errno {
			var err error
			n, err = k.Sendmsg(ctx, fd, msg, flags)
			return UseErrno(Send, err)
		})
	}
	if errno == unix.ENETUNREACH && !out.Source.IsValid() {
		out.Source = r.groupSource(to, out.Interface)
		if !out.Source.IsValid() {
			return n, errno
		}
		errno = unix.EISCONN
	}
	if errno != unix.EISCONN || to == nil {
		return n, errno
	}
	if !own.AddrPort.IsValid() {
		if own, errno = r.bindAny(k); errno != 0 {
			return 0, errno
		}
	}
	if out.Source.IsValid() {
		own.AddrPort = netip.AddrPortFrom(out.Source, own.Port())
	}
	errno = r.twin(k, own, func(twin *request) unix.Errno {
		return twin.withHeader(out, to, func() unix.Errno {
			var err error
			n, err = k.Sendmsg(ctx, twin.fd, msg, flags)
			return UseErrno(Send, err)
		})
	})
	return n, errno
}

// bindAny returns the socket's own address, and gives it a port if it has none,
// as sending does.
func (r *request) bindAny(k Sender) (netbsd.SA, unix.Errno) {
	for {
		sa, err := k.Getsockname(r.ctx, r.fd)
		if err != nil {
			return netbsd.SA{}, Errno(err)
		}
		own, err := netbsd.ParseSockaddr(k.Machine(), sa)
		if err != nil {
			return netbsd.SA{}, unix.EIO
		}
		if own.Port() != 0 {
			return own, 0
		}
		if err := k.Bind(r.ctx, r.fd, sa); err != nil {
			return netbsd.SA{}, Errno(err)
		}
	}
}

// sends tells whether the socket sends with a source address anyway: it is bound
// to it, or it is the only one that there is for such a destination.
func (s *Socket) sends(ctx context.Context, k Sender, own netbsd.SA, to []byte, source netip.Addr) bool {
	if own.Addr().Unmap() == source {
		return true
	}
	dst, err := netbsd.ParseSockaddr(k.Machine(), to)
	if err != nil {
		return false
	}
	if source.IsLoopback() {
		return source == dst.Addr().Unmap()
	}
	if dst.Addr().Unmap().IsLoopback() {
		return false
	}
	list, err := rtsock.Interfaces(ctx, k)
	if err != nil {
		return false
	}
	found, others := false, false
	for i := range list {
		for _, a := range addresses4(k.Machine(), &list[i]) {
			found = found || a.addr == source
			others = others || a.addr != source && !a.addr.IsLoopback()
		}
	}
	return found && !others
}

// withHeader has the socket's packets have the time to live and type of service
// of one datagram, and go out where that one is to, for as long as f runs.
func (r *request) withHeader(out Outgoing, to []byte, f func() unix.Errno) unix.Errno {
	m := r.k.Machine()
	multicast := false
	if sa, err := netbsd.ParseSockaddr(m, to); err == nil {
		multicast = sa.Addr().Unmap().IsMulticast()
	}
	number := func(v int32) []byte { return m.Order.AppendUint32(nil, uint32(v)) }
	type change struct {
		name     int32
		to, back []byte
	}
	var changes []change
	mapped := r.s.Domain == unix.AF_INET6 && r.toIPv4(to)
	if r.s.Domain == unix.AF_INET || mapped {
		switch {
		case out.TTL >= 0 && multicast:
			back := byte(r.s.number(unix.SOL_IP, unix.IP_MULTICAST_TTL, 1))
			changes = append(changes, change{netbsd.IP_MULTICAST_TTL, []byte{byte(out.TTL)}, []byte{back}})
		case out.TTL >= 0:
			back := r.s.number(unix.SOL_IP, unix.IP_TTL, defaultTTL)
			changes = append(changes, change{netbsd.IP_TTL, number(int32(out.TTL)), number(back)})
		}
		if out.TOS >= 0 {
			back := r.s.number(unix.SOL_IP, unix.IP_TOS, 0)
			changes = append(changes, change{netbsd.IP_TOS, number(int32(out.TOS)), number(back)})
		}
	}
	if out.Interface != 0 && multicast {
		addr, ok := byIndex(out.Interface)
		if !ok {
			return unix.ENODEV
		}
		changes = append(changes, change{netbsd.IP_MULTICAST_IF, addr[:], r.s.kernelValue(netbsd.IPPROTO_IP, netbsd.IP_MULTICAST_IF, make([]byte, 4))})
	}
	for i, c := range changes {
		if err := r.k.Setsockopt(r.ctx, r.fd, netbsd.IPPROTO_IP, c.name, c.to); err != nil {
			changes = changes[:i]
			if mapped && c.name == netbsd.IP_TOS {
				break // NetBSD's own kernel has it for IPv4 only
			}
			errno := Errno(err)
			if c.name == netbsd.IP_MULTICAST_IF && errno == unix.EADDRNOTAVAIL {
				errno = unix.ENODEV
			}
			f = func() unix.Errno { return errno }
			break
		}
	}
	errno := f()
	for _, c := range changes {
		// It fails when the kernel is lost, which the next call tells.
		r.k.Setsockopt(r.ctx, r.fd, netbsd.IPPROTO_IP, c.name, c.back)
	}
	return errno
}

// toIPv4 tells whether a datagram of a socket of IPv6 goes to an IPv4 address, to the peer if to is nil.
func (r *request) toIPv4(to []byte) bool {
	if to == nil {
		var err error
		if to, err = r.k.Getpeername(r.ctx, r.fd); err != nil {
			return false
		}
	}
	sa, err := netbsd.ParseSockaddr(r.k.Machine(), to)
	return err == nil && sa.Addr().Is4In6()
}

// kernelValue is an option that the kernel's socket was given, or else its
// default.
func (s *Socket) kernelValue(level, name int32, def []byte) []byte {
	for _, o := range s.inKernel {
		if o.level == level && o.name == name {
			return o.value
		}
	}
	return def
}

// twin makes a second socket, with the first one's options, that is bound to an
// address with its port, for as long as f runs.
func (r *request) twin(k Sender, own netbsd.SA, f func(*request) unix.Errno) unix.Errno {
	m := k.Machine()
	domain := int32(netbsd.AF_INET)
	if r.s.Domain == unix.AF_INET6 {
		domain = netbsd.AF_INET6
	}
	fd, err := k.Socket(r.ctx, domain, netbsd.SOCK_DGRAM, netbsd.IPPROTO_UDP)
	if err != nil {
		return Errno(err)
	}
	// Not with a context that may have ended.
	defer k.CloseFD(context.WithoutCancel(r.ctx), fd)
	s := r.s.Clone()
	options := s.inKernel
	s.inKernel = nil
	for _, o := range options {
		// Joining a group tells the network.
		if !o.each {
			s.inKernel = append(s.inKernel, o)
		}
	}
	if errno := s.Prepare(r.ctx, k, fd); errno != 0 {
		return errno
	}
	on, off := m.Order.AppendUint32(nil, 1), m.Order.AppendUint32(nil, 0)
	was := s.kernelValue(netbsd.SOL_SOCKET, netbsd.SO_REUSEPORT, off)
	for _, fd := range []spclient.FD{fd, r.fd} {
		if err := k.Setsockopt(r.ctx, fd, netbsd.SOL_SOCKET, netbsd.SO_REUSEPORT, on); err != nil {
			return Errno(err)
		}
	}
	var sa []byte
	if domain == netbsd.AF_INET {
		sa = netbsd.SockaddrIn(own.AddrPort)
	} else {
		sa = netbsd.SockaddrIn6(m, own.AddrPort, own.ScopeID, 0)
	}
	err = k.Bind(r.ctx, fd, sa)
	k.Setsockopt(context.WithoutCancel(r.ctx), r.fd, netbsd.SOL_SOCKET, netbsd.SO_REUSEPORT, was)
	if err != nil {
		errno := Errno(err)
		if errno == unix.EADDRNOTAVAIL {
			errno = unix.EINVAL // as Linux has it for a source that is not its own
		}
		return errno
	}
	return f(&request{ctx: r.ctx, k: k, fd: fd, host: -1, s: s})
}
