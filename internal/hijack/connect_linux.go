//go:build amd64 || arm64

package hijack

import (
	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
	"rumptools/pkg/spclient"
)

// connect is connect(2).
func (t *trap) connect() {
	x := t.sock
	sa, e := t.sockaddr(t.Args[1], uint32(t.Args[2]))
	if e != 0 {
		t.fail(e)
		return
	}
	if x.opts.Type != unix.SOCK_STREAM {
		t.done(0, x.associate(t.host, sa))
		return
	}
	x.op.Lock()
	settled, e := x.begin(t.host, sa)
	x.op.Unlock()
	if e != 0 {
		t.s.say("%d: connect %d %s: %v", t.TID, t.arg(0), describe(sa), e)
		t.fail(e)
		return
	}
	select {
	case <-settled:
		// So it is with connections to this kernel itself.
		t.connected()
		return
	default:
	}
	if nonblocking(t.host) {
		// S has its other end already and is not writable until this is over.
		t.s.say("%d: connect %d %s: in progress", t.TID, t.arg(0), describe(sa))
		t.fail(unix.EINPROGRESS)
		return
	}
	timeout, _ := unix.GetsockoptTimeval(t.host, unix.SOL_SOCKET, unix.SO_SNDTIMEO)
	w := &wait{t: t}
	w.try = func() bool {
		select {
		case <-settled:
			t.connected()
			return true
		default:
			return false
		}
	}
	w.expire = func() { t.fail(unix.EINPROGRESS) }
	t.s.waits.park(w, 0, duration(timeout))
	go func() {
		<-settled
		t.s.waits.wake(w)
	}()
}

// connected answers a connect that is over.
func (t *trap) connected() {
	x := t.sock
	x.mu.Lock()
	e := x.result
	x.mu.Unlock()
	if e != 0 {
		x.pend(0) // it is told now
	}
	t.s.say("%d: connect %d: %v", t.TID, t.arg(0), e)
	t.done(0, e)
}

// begin starts a connection, or finds one that has been: the channel is closed when it
// is over.
func (x *socket) begin(host int, sa []byte) (<-chan struct{}, unix.Errno) {
	x.mu.Lock()
	state, settled := x.state, x.settled
	x.mu.Unlock()
	switch state {
	case connecting:
		if nonblocking(host) {
			return nil, unix.EALREADY
		}
		return settled, 0
	case connected:
		return nil, unix.EISCONN
	case listening:
		return nil, unix.EISCONN
	}
	addr, e := x.address(linuxsock.Connect, sa)
	if e != 0 || addr == nil {
		return nil, e
	}
	ks, e := x.kernel()
	if e != 0 {
		return nil, e
	}
	x.mu.Lock()
	again := x.k != nil // a connect failed before
	x.settled = make(chan struct{})
	settled = x.settled
	x.state, x.result = connecting, 0
	x.mu.Unlock()
	x.pend(0)
	if !again {
		if e := x.attach(host); e != 0 {
			x.mu.Lock()
			x.state = fresh
			x.mu.Unlock()
			return nil, e
		}
	}
	unfill := x.fill(host)
	done := make(chan struct{})
	go func() {
		defer close(done)
		e := linuxsock.Errno(ks.Connect(x.s.ctx, addr))
		x.settle(ks, e, sa, unfill)
	}()
	// Connections to the kernel itself, and refusals, need but a moment; whoever
	// does not wait otherwise waits that long.
	if nonblocking(host) {
		select {
		case <-done:
		case <-x.s.ctx.Done():
		case <-afterMoment():
		}
	}
	return settled, 0
}

// attach gives S its other end.
func (x *socket) attach(host int) unix.Errno {
	fd, err := x.s.hub.join(host)
	if err != nil {
		return errnoOf(err)
	}
	k, err := x.s.ends.keep(fd, x.hungUp)
	if err != nil {
		return errnoOf(err)
	}
	x.mu.Lock()
	x.k = k
	x.mu.Unlock()
	return 0
}

// fill makes S not writable, as a socket is that connects: with a send buffer of the
// smallest size two messages of a byte fill it. The result takes them away.
func (x *socket) fill(host int) (unfill func()) {
	size, err := unix.GetsockoptInt(host, unix.SOL_SOCKET, unix.SO_SNDBUF)
	if err != nil {
		return func() {}
	}
	unix.SetsockoptInt(host, unix.SOL_SOCKET, unix.SO_SNDBUF, 1)
	n := 0
	for n < 64 {
		if err := unix.Sendto(host, []byte{0}, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, nil); err != nil {
			break
		}
		n++
	}
	// The kernel doubles what it is told.
	restore := func(fd int) { unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, size/2) }
	dup, err := unix.FcntlInt(uintptr(host), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		restore(host)
		dup = -1
	}
	x.mu.Lock()
	k := x.k
	x.mu.Unlock()
	return func() {
		if dup >= 0 {
			restore(dup)
			unix.Close(dup)
		}
		b := make([]byte, 1)
		for range n {
			k.control(func(fd int) { unix.Read(fd, b) })
		}
	}
}

// settle ends a connect.
func (x *socket) settle(ks *spclient.NetSocket, e unix.Errno, peer []byte, unfill func()) {
	x.mu.Lock()
	if x.state == ended || x.ks != ks {
		x.mu.Unlock()
		unfill()
		return
	}
	x.result = e
	if e == 0 {
		x.state = connected
		x.peer = peer
		if ap, ok := linuxsock.Addr(peer); ok {
			x.peer = linuxsock.Sockaddr(ap, x.opts.Domain)
		}
	} else {
		x.state = fresh
		// NetBSD's socket can be connected again only in part; Linux's can.
		x.ks = nil
	}
	settled := x.settled
	k := x.k
	x.mu.Unlock()
	if e != 0 {
		x.pend(e)
		ks.Close()
	}
	unfill()
	if e == 0 {
		x.carry(ks, k)
	}
	close(settled)
}
