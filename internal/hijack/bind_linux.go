//go:build amd64 || arm64

package hijack

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
	"rumptools/internal/hijack/netview"
	"rumptools/pkg/sysproxy"
)

// bind is bind(2).
func (t *trap) bind() {
	x := t.sock
	x.op.Lock()
	defer x.op.Unlock()
	sa, e := t.sockaddr(t.Args[1], uint32(t.Args[2]))
	if e != 0 {
		t.fail(e)
		return
	}
	addr, e := x.address(linuxsock.Bind, sa)
	if e != 0 {
		t.fail(e)
		return
	}
	asked := x.linuxAddr(addr)
	if e := x.bindAnew(); e != 0 {
		t.fail(e)
		return
	}
	ks, e := x.kernel()
	if e == 0 {
		e = x.listened(asked)
	}
	if e == 0 && x.clashes(asked) {
		// Or with what a program has closed just now.
		x.awaitEnds(portOf(asked))
		if name, err := ks.Getsockname(); x.clashes(asked) && err == nil && portOf(x.linuxAddr(name)) == 0 {
			e = unix.EADDRINUSE
		} // else it has an address, as the kernel is going to say
	}
	if e == 0 {
		if e = linuxsock.Errno(ks.Bind(addr)); e == unix.EADDRINUSE {
			// A program may have closed what has the address just now.
			x.awaitEnds(portOf(asked))
			e = linuxsock.Errno(ks.Bind(addr))
		}
	}
	if e == 0 {
		e = x.standIn.named(t.host)
	}
	if e == 0 {
		// With its port, should the kernel have chosen that.
		if name, err := ks.Getsockname(); err == nil {
			addr = name
		}
		x.mu.Lock()
		x.name.bind(addr, askedFor(asked))
		x.mu.Unlock()
		if x.opts.Type != unix.SOCK_STREAM {
			x.sendsGroupsFrom(ks, addr)
			e = x.receive()
		}
	}
	t.s.changed()
	t.s.say("%d: bind %d %s: %v", t.TID, t.arg(0), describe(sa), e)
	t.done(0, e)
}

// bindAnew is EINVAL when a stream has a port. One that has had a port which Linux chose for it, until it was connected or listened
// no more, may be bound to another address than it has kept.
func (x *socket) bindAnew() unix.Errno {
	if x.opts.Type != unix.SOCK_STREAM {
		return 0 // the kernel says it
	}
	x.shown()
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.name.tenure == bound, x.state == connecting || x.state == connected || x.state == listening,
		x.state == completed && x.peer != nil:
		return unix.EINVAL
	case x.ks != nil && x.name.forNext() != nil:
		x.ks.Close() // it has been bound to that
		x.ks = nil
	}
	x.name.unlock()
	return 0
}

// askedFor is what is a socket's own of an address that it is bound to, which is Linux's: the rest the kernel chooses.
func askedFor(sa []byte) (locked int32) {
	ap, ok := linuxsock.Addr(sa)
	if ok && !ap.Addr().IsUnspecified() {
		locked |= sysproxy.KeepAddress
	}
	if ok && ap.Port() != 0 {
		locked |= sysproxy.KeepPort
	}
	return locked
}

// listened is EADDRINUSE when another socket listens at an address that this one has, or is to
// have, by SO_REUSEADDR: Linux does not allow that, but NetBSD does.
func (x *socket) listened(sa []byte) unix.Errno {
	x.optMu.Lock()
	addr, port := x.opts.SharesPort()
	x.optMu.Unlock()
	ap, ok := linuxsock.Addr(sa)
	if x.opts.Type != unix.SOCK_STREAM || !addr || port || !ok || ap.Port() == 0 {
		return 0
	}
	x.s.ends.catchUp()
	mine := plainAddr(ap)
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		list, err := netview.SocketsAt(x.s.ctx, x.s.view, family, unix.IPPROTO_TCP, mine.Port())
		if err != nil {
			continue // a kernel without IPv6
		}
		for i := range list {
			other := plainAddr(list[i].Local)
			if list[i].State == netview.TCPListen &&
				(other.Addr() == mine.Addr() || !other.Addr().IsValid() || !mine.Addr().IsValid()) &&
				!x.apart(ap, &list[i]) {
				return unix.EADDRINUSE
			}
		}
	}
	return 0
}

// clashes tells whether another socket of the programs' has an address that this one is to have, and they do not both say that
// they share it: NetBSD lets one that says so have an address of a socket that does not where one of the two is any address,
// or is of the other family. Of other supervisors' sockets it is not known what they say.
func (x *socket) clashes(sa []byte) bool {
	ap, ok := linuxsock.Addr(sa)
	if !ok || ap.Port() == 0 || !x.hasPort() {
		return false
	}
	x.optMu.Lock()
	addr, port := x.opts.SharesPort()
	device := x.opts.Device()
	x.optMu.Unlock()
	mine := plainAddr(ap)
	for _, y := range x.s.all() {
		if y == x || y.opts.Type != x.opts.Type || !y.hasPort() {
			continue
		}
		y.mu.Lock()
		name, listens := y.name, y.state == listening
		y.mu.Unlock()
		if name.port() != ap.Port() {
			continue
		}
		their, _ := linuxsock.Addr(y.linuxAddr(name.sa))
		y.optMu.Lock()
		theirAddr, theirPort := y.opts.SharesPort()
		theirDevice := y.opts.Device()
		other := netview.Socket{Family: uint8(y.opts.Domain), Local: their, V6Only: y.opts.V6Only()}
		y.optMu.Unlock()
		theirs := plainAddr(their)
		switch {
		case addr && theirAddr && !listens, port && theirPort:
		case device != 0 && theirDevice != 0 && device != theirDevice:
		case their.Addr().Zone() != ap.Addr().Zone() && their.Addr().Zone() != "" && ap.Addr().Zone() != "":
		case theirs.Addr() != mine.Addr() && theirs.Addr().IsValid() && mine.Addr().IsValid():
		case !x.apart(ap, &other):
			return true
		}
	}
	return false
}

// apart tells whether an address has nothing to do with another socket: one of IPv6 that is for IPv6 only with one of
// IPv4, and the other way round.
func (x *socket) apart(ap netip.AddrPort, other *netview.Socket) bool {
	if x.opts.Domain == unix.AF_INET {
		a := other.Local.Addr()
		return other.Family == unix.AF_INET6 && (other.V6Only || !a.IsUnspecified() && !a.Is4In6())
	}
	return other.Family == unix.AF_INET && (x.opts.V6Only() || !ap.Addr().IsUnspecified() && !ap.Addr().Is4In6())
}
