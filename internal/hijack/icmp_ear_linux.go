//go:build amd64 || arm64

package hijack

import (
	"errors"
	"net"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// icmpEar hears what messages of ICMP tell of datagrams, for the queues of errors: NetBSD tells
// sockets that are not connected nothing of them, and others a number.
type icmpEar struct {
	s  *supervisor
	mu sync.Mutex
	// in are the raw sockets in the kernel, by their families of Linux's.
	in map[int]*spclient.NetSocket
}

// open has errors of a family's datagrams heard, if they are not yet. Those for IPv4 concern
// sockets of IPv6, too.
func (r *icmpEar) open(family int) {
	r.openOne(family)
	if family == unix.AF_INET6 {
		r.openOne(unix.AF_INET)
	}
}

func (r *icmpEar) openOne(family int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ks := r.in[family]; ks != nil && !ks.Lost() {
		return
	}
	domain, proto := int32(netbsd.AF_INET), int32(netbsd.IPPROTO_ICMP)
	if family == unix.AF_INET6 {
		domain, proto = netbsd.AF_INET6, netbsd.IPPROTO_ICMPV6
	}
	ks, err := r.s.conn.NetSocket(r.s.ctx, domain, netbsd.SOCK_RAW, proto)
	if err != nil {
		r.s.say("icmp: %v", err)
		return
	}
	if r.in == nil {
		r.in = make(map[int]*spclient.NetSocket)
	}
	r.in[family] = ks
	if family == unix.AF_INET6 {
		err := ks.Use(func(fd spclient.FD) error {
			return r.s.conn.SetsockoptInt(r.s.ctx, fd, netbsd.IPPROTO_IPV6, netbsd.IPV6_RECVHOPLIMIT, 1)
		})
		if err != nil {
			r.s.say("icmp: %v", err)
		}
	}
	go r.listen(family, ks)
}

// hears tells whether errors of a family's datagrams are heard.
func (r *icmpEar) hears(family int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	ks := r.in[family]
	return ks != nil && !ks.Lost()
}

// listen hears messages until the socket is lost.
func (r *icmpEar) listen(family int, ks *spclient.NetSocket) {
	buf, name, control := make([]byte, maxDatagram), make([]byte, 128), make([]byte, 128)
	for {
		m := spclient.Message{Name: name, Buffers: [][]byte{buf}, Control: control}
		n, err := ks.Recvmsg(r.s.ctx, &m)
		if err != nil {
			if errors.Is(err, net.ErrClosed) || errors.Is(err, spclient.ErrLost) || r.s.ctx.Err() != nil {
				return
			}
			continue // as if a message had been lost
		}
		var e linuxsock.ICMPError
		var ok bool
		if family == unix.AF_INET6 {
			from, _ := linuxsock.Addr(linuxsock.FromNetBSD(r.s.machine, m.Name))
			e, ok = linuxsock.ParseICMP6(buf[:n], from.Addr())
		} else {
			e, ok = linuxsock.ParseICMP(buf[:n])
			m.Control = netbsd.AppendCmsg(r.s.machine, nil, netbsd.IPPROTO_IP, netbsd.IP_RECVTTL, []byte{e.TTL})
		}
		if ok {
			r.s.tellError(&e, m.Control)
		}
	}
}

// tellError tells the socket that sent the datagram; control came with the message.
func (s *supervisor) tellError(e *linuxsock.ICMPError, control []byte) {
	for _, x := range s.all() {
		if x.opts.Type == unix.SOCK_DGRAM && x.nl == nil && x.queuesErrors() && x.sent(e) {
			x.icmpError(e, control)
			return
		}
	}
}

// sent tells whether it is the socket that has sent a datagram.
func (x *socket) sent(e *linuxsock.ICMPError) bool {
	x.mu.Lock()
	ks, peer := x.ks, x.peer
	x.mu.Unlock()
	switch {
	case ks == nil:
		return false
	case x.ping():
		return e.Protocol != unix.IPPROTO_UDP && e.V6 == (x.opts.Domain == unix.AF_INET6) && e.From.Port() == x.pingID
	case e.Protocol != unix.IPPROTO_UDP:
		return false
	}
	name, err := ks.Getsockname()
	if err != nil {
		return false
	}
	same := func(a, b netip.Addr) bool { return a.Unmap().WithZone("") == b.Unmap().WithZone("") }
	local, _ := linuxsock.Addr(x.linuxAddr(name))
	if local.Port() != e.From.Port() || !local.Addr().IsUnspecified() && !same(local.Addr(), e.From.Addr()) {
		return false
	}
	if e.V6 && x.opts.Domain == unix.AF_INET {
		return false
	}
	to, ok := linuxsock.Addr(peer)
	return !ok || to.Port() == e.To.Port() && same(to.Addr(), e.To.Addr())
}

// icmpError queues an error, and tells the program of it.
func (x *socket) icmpError(e *linuxsock.ICMPError, control []byte) {
	q := e.Queued()
	to := e.To
	x.mu.Lock()
	data := append([]byte(nil), e.Data...)
	last, ok := linuxsock.Addr(x.lastTo)
	if ok && last.Addr().Unmap().WithZone("") == to.Addr().Unmap() {
		if last.Port() == to.Port() && len(data) == 0 {
			// NetBSD quotes no more than the header.
			data = append(data, x.lastSent...)
		}
		if zone := last.Addr().Zone(); zone != "" {
			to = netip.AddrPortFrom(to.Addr().WithZone(zone), to.Port())
		}
	}
	x.queue(errorEntry{QueuedError: q, data: data, to: linuxsock.Sockaddr(to, x.opts.Domain), control: append([]byte(nil), control...)})
	x.mu.Unlock()
	x.standIn.tell(q.Errno)
}
