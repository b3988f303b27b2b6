//go:build amd64 || arm64

package hijack

import (
	"time"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
	"rumptools/pkg/spclient"
)

// attempt is a connect in the kernel.
type attempt struct {
	ks   *spclient.NetSocket
	peer []byte // Linux's address
	path string // of the listener to join S to instead of a K, if there is one

	done chan struct{} // closed when it is over; err is set then
	err  unix.Errno

	// async, under the socket's lock, is called when it is over, for a program that
	// does not wait: S has its other end already.
	async func()
	over  bool
	// size is S's send buffer, as the host tells it, for when S is not filled any more, with the socket's op; 0 if it never was.
	size int

	// failed, under the socket's lock, is why it has failed for S, for want of an end for that or as the program has given it up,
	// whatever comes of it in the kernel.
	failed unix.Errno
}

// How long a connect that does not wait may take nevertheless: those to the kernel itself, and their refusals, mostly take less
// than the first; longer only those whose listener is full, and what runs on a busy host.
const (
	connectMoment    = 2 * time.Millisecond
	connectOwnMoment = 20 * time.Millisecond
)

// connectMoment is how long a connect may take that does not wait.
func (s *supervisor) connectMoment(peer []byte) time.Duration {
	ap, ok := linuxsock.Addr(peer)
	switch {
	case !ok || !s.addresses.Own(s.ctx, s.conn, ap.Addr()):
		return connectMoment
	case s.pairs():
		return pairMoment
	}
	return connectOwnMoment
}

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
	a, e := x.begin(t, sa)
	x.op.Unlock()
	if a == nil {
		t.s.say("%d: connect %d %s: %v", t.TID, t.arg(0), describe(sa), e)
		t.done(0, e)
		return
	}
	if nonblocking(t.host) {
		select {
		case <-a.done:
			if a.err != unix.ECONNREFUSED {
				t.inProgress(a)
				return
			}
			// The peer's answer: nobody has it before connect(2) returns.
			if !t.refused(a) {
				x.goOn(a, t.host)
			}
			t.s.say("%d: connect %d %s: %v, which it will be told", t.TID, t.arg(0), describe(sa), a.err)
			t.fail(unix.EINPROGRESS)
		case <-time.After(t.s.connectMoment(a.peer)):
			x.goOn(a, t.host)
			t.s.say("%d: connect %d %s: in progress", t.TID, t.arg(0), describe(sa))
			t.fail(unix.EINPROGRESS)
		}
		return
	}
	select {
	case <-a.done:
		t.connected(a, t.host)
		return
	default:
	}
	timeout := hostTimeout(t.host, unix.SO_SNDTIMEO)
	w := &wait{t: t}
	w.try = func() bool {
		select {
		case <-a.done:
			t.connected(a, w.fd)
			return true
		default:
			return false
		}
	}
	late := e // of an attempt that was begun before
	if late == 0 {
		late = unix.EINPROGRESS
	}
	// It goes on in the background then; whether the program comes back to it is not
	// known.
	w.expire = func(host int) {
		x.goOn(a, host)
		t.fail(late)
	}
	w.interrupted = func(e unix.Errno, host int) {
		x.goOn(a, host)
		t.fail(e)
	}
	t.s.waits.park(w, 0, timeout)
	go func() {
		<-a.done
		t.s.waits.wake(w)
	}()
}

// inProgress answers a connect that does not wait and is over. It says that it goes on, as Linux
// does of one to the host itself, and poll(2) that it stands.
func (t *trap) inProgress(a *attempt) {
	x := t.sock
	e := x.conclude(a, t.host)
	if e == 0 {
		x.mu.Lock()
		x.untold = a
		x.mu.Unlock()
		// Who has had an edge of epoll(7) before gets another one.
		setSendBufferAnew(t.host)
		e = unix.EINPROGRESS
	}
	t.s.say("%d: connect %d %s: %v", t.TID, t.arg(0), describe(a.peer), e)
	t.fail(e)
}

// awaits tells whether the socket connects by an attempt, and the program waits for what comes of it.
func (x *socket) awaits(a *attempt) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.attempt == a && a.async == nil
}

// conclude is settle, unless somebody else has done that.
func (x *socket) conclude(a *attempt, host int) unix.Errno {
	x.op.Lock()
	defer x.op.Unlock()
	if x.awaits(a) {
		return x.settle(a, host)
	}
	x.mu.Lock()
	e, untold := a.failed, x.untold == a
	if untold {
		x.untold = nil // it went on without the program, which is told now
	}
	x.mu.Unlock()
	if e == 0 {
		e = a.err
	}
	if e != 0 && untold {
		x.takeError()
	}
	return e
}

// connected answers a connect that is over.
func (t *trap) connected(a *attempt, host int) {
	e := t.sock.conclude(a, host)
	t.s.say("%d: connect %d %s: %v", t.TID, t.arg(0), describe(a.peer), e)
	t.done(0, e)
}

// begin starts a connection, or finds one that was begun before (EALREADY). Without either it is the call's result that it returns.
func (x *socket) begin(t *trap, sa []byte) (*attempt, unix.Errno) {
	if len(sa) < 2 {
		return nil, unix.EINVAL // it has no family
	}
	if linuxsock.Family(sa) == unix.AF_UNSPEC {
		return nil, x.disconnect(t)
	}
	x.mu.Lock()
	state, condition, a := x.state, x.condition, x.attempt
	x.mu.Unlock()
	switch {
	case state == connecting && nonblocking(t.host):
		return nil, unix.EALREADY
	case state == connecting:
		return a, unix.EALREADY
	case state == connected && x.tellOnce():
		return nil, 0
	case state == dead && condition == speaking:
		return nil, x.tellRefusal(t.host)
	case (state == dead || state == broken || state == completed) && x.tellOnce():
		return nil, x.tellFailure(t)
	case state == connected || state == broken || state == completed || state == listening:
		return nil, unix.EISCONN
	}
	addr, e := x.address(linuxsock.Connect, sa)
	switch {
	case e != 0 || addr == nil:
		return nil, e
	case x.barred(server):
		return nil, x.refuseConnect()
	case condition != usable:
		if e := x.replace(t); e != 0 {
			return nil, e
		}
	}
	// Should what listens there have been closed just now.
	x.s.ends.catchUp()
	x.pend(0)
	return x.attemptTo(addr)
}

// attemptTo begins a connect to an address, NetBSD's.
func (x *socket) attemptTo(addr []byte) (a *attempt, e unix.Errno) {
	var b begun
	pairs := x.s.pairs()
	if !pairs {
		if b, e = x.dial(addr); e != 0 {
			return nil, e
		}
	}
	dialed := b.ks != nil
	if !dialed {
		if b.ks, e = x.kernel(); e != 0 {
			return nil, e
		}
	}
	ks := b.ks
	a = &attempt{ks: ks, peer: x.linuxAddr(addr), done: make(chan struct{})}
	x.mu.Lock()
	x.state, x.attempt = connecting, a
	x.name.begin()
	x.mu.Unlock()
	// Mostly it is over at once; for what is not a goroutine waits.
	if !dialed {
		pairs = pairs && x.s.expectPair(ks)
		b.over, b.err = ks.StartConnect(addr)
		if b.over && linuxsock.Errno(b.err) == unix.EADDRINUSE {
			// A program may have closed the connection of the same two ends just now.
			x.awaitEnds(x.localPort())
			b.over, b.err = ks.StartConnect(addr)
		}
	}
	if !b.over {
		x.plays(client)
	}
	finish := func(err error) {
		e := x.useErrno(linuxsock.Connect, err, addr)
		if e == 0 || e == unix.ECONNREFUSED {
			x.plays(client)
		}
		if e == 0 && pairs && x.awaits(a) {
			a.path = x.s.askPair(ks)
		}
		x.mu.Lock()
		a.err, a.over = e, true
		async := a.async
		x.mu.Unlock()
		// Before who waits for it in a later connect(2) goes on.
		if async != nil {
			async()
		}
		close(a.done)
	}
	if b.over && !pairs {
		finish(b.err)
		return a, 0
	}
	go func() {
		if !b.over {
			b.err = ks.Settled(x.s.ctx)
		}
		finish(b.err)
	}()
	return a, 0
}

// tellOnce tells whether a connect went on without the program, which has not called connect(2) again since: the first time that it
// does, it is told.
func (x *socket) tellOnce() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	untold := x.untold != nil
	x.untold = nil
	return untold
}

// tellFailure is the first connect(2) after an attempt that went on without the program and has come to nothing, or whose connection
// has ended meanwhile: it tells that, and then the socket is as a new one.
func (x *socket) tellFailure(t *trap) unix.Errno {
	x.toldByHost(t.host)
	e := x.takeError()
	if e == 0 {
		e = unix.ECONNABORTED
	}
	x.mu.Lock()
	x.state = dead
	x.mu.Unlock()
	if !x.heldElsewhere(t.TID) {
		x.replace(t) // or the next connect does
	}
	return e
}

// settle makes of S what the attempt has come to, with x.op held.
func (x *socket) settle(a *attempt, host int) unix.Errno {
	if a.err != 0 {
		// NetBSD's socket can be connected again only in part; Linux's can.
		x.endAttempt(a, a.err, usable).close()
		return a.err
	}
	if a.path != "" && x.joinPair(a, host) {
		return 0
	}
	c, e := x.attach(host, a.ks)
	if e != 0 {
		x.endAttempt(a, e, failing).close()
		return e
	}
	x.established(a, c, func() {})
	return 0
}

// established begins to carry. S becomes writable, with ready, when all calls know that
// it is connected.
func (x *socket) established(a *attempt, c *connection, ready func()) {
	x.mu.Lock()
	gone := x.state == ended
	if gone {
		defer ready()
	} else {
		x.state, x.attempt, x.peer, x.connection = connected, nil, a.peer, c
		c.begin() // who is told so may close it at once
		x.untrack()
	}
	x.mu.Unlock()
	if gone {
		had{c.ks, c}.close()
		return
	}
	ready()
	c.carry()
	x.s.changed()
}

// goOn has a connect go on without the program, whose S is not writable until it is over
// and tells then what has come of it.
func (x *socket) goOn(a *attempt, host int) {
	x.op.Lock()
	defer x.op.Unlock()
	if !x.awaits(a) {
		return
	}
	c, e := x.attach(host, a.ks)
	if e == 0 {
		if e = errnoOf(c.k.watch()); e != 0 {
			c.k.close()
		}
	}
	x.mu.Lock()
	x.untold = a
	if e == 0 {
		x.connection = c
		x.untrack()
	}
	x.mu.Unlock()
	if e != 0 {
		x.failAttempt(a, host, e)
		return
	}
	unfill, restore := x.fill(a, host, c.k)
	tell := func() {
		x.mu.Lock()
		givenUp := x.attempt != a
		x.mu.Unlock()
		if givenUp {
			return
		}
		if a.err == 0 {
			x.established(a, c, unfill)
			return
		}
		x.pend(a.err)
		// What it was filled with is unread: S is broken, for poll(2) and all
		// calls, before it can be written.
		x.endAttempt(a, a.err, spent).close()
		x.mu.Lock()
		x.condition = failing // and not before, for who asks whether S still has the error
		x.mu.Unlock()
		x.retrack()
		restore()
	}
	x.mu.Lock()
	over := a.over
	a.async = func() {
		// Before the program, which may have seen some of it, can do anything else to S.
		x.op.Lock()
		defer x.op.Unlock()
		tell()
	}
	x.mu.Unlock()
	if over {
		tell()
	}
}

// failAttempt ends a connect that is to go on and has no end by which to tell S what comes of it: it has failed, which S is to show.
// x.op is held.
func (x *socket) failAttempt(a *attempt, host int, e unix.Errno) {
	x.s.say("connect %s: %v", describe(a.peer), e)
	condition := failing
	if polled(host, 0)&unix.POLLERR == 0 {
		// It has not been connected to anything whose end it would tell.
		unix.Shutdown(host, unix.SHUT_RDWR)
		condition = spent
	}
	x.pend(e)
	x.endAttempt(a, e, condition).close()
}

// endAttempt ends an attempt that has failed, or is given up, with x.op held: S shows that as its condition says, and is as a new one
// if it is usable. All who wait for it are told.
func (x *socket) endAttempt(a *attempt, e unix.Errno, s condition) had {
	x.mu.Lock()
	defer x.mu.Unlock()
	a.failed = e
	was := x.leave(dead, s)
	if s == usable {
		x.beginAgain(s)
	}
	return was
}

// attach gives S its other end.
func (x *socket) attach(host int, ks *spclient.NetSocket) (*connection, unix.Errno) {
	fd, err := x.s.hub.join(host)
	if err != nil {
		return nil, errnoOf(err)
	}
	return x.newConnection(ks, fd), 0
}

// fill makes S not writable, as a socket is that connects: with a send buffer of the
// smallest size some messages of a byte fill it, of which one is the seed. unfill takes so
// many away that one is left, restore only gives the buffer its size again.
func (x *socket) fill(a *attempt, host int, k *kept) (unfill, restore func()) {
	size, err := unix.GetsockoptInt(host, unix.SOL_SOCKET, unix.SO_SNDBUF)
	if err != nil {
		return func() {}, func() {}
	}
	a.size = size
	unix.SetsockoptInt(host, unix.SOL_SOCKET, unix.SO_SNDBUF, 1)
	n := 0
	for n < 64 && unix.Sendto(host, []byte{0}, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, nil) == nil {
		n++
	}
	restore = func() {
		if x.isEnded() {
			return
		}
		// A copy that is kept meanwhile would keep S, and the connect, when the program gives it up.
		if s, found := x.borrow(); found {
			setSendBuffer(s, a.size)
			unix.Close(s)
		}
	}
	unfill = func() {
		restore()
		b := make([]byte, 1)
		for range n {
			k.control(func(fd int) { unix.Read(fd, b) })
		}
	}
	return unfill, restore
}

// setSendBuffer gives a socket of the host's a send buffer of the size that the host tells of one, which is the double of what it is told.
func setSendBuffer(fd, size int) { unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, size/2) }

// beginAgain makes it what it was before it was connected or listened, with x.mu held: nothing of that is to act on what it will be.
// S is one that has not done that.
func (x *socket) beginAgain(s condition) {
	if x.state == broken && x.connection != nil {
		// Who has yet to show that closes it.
		x.leave(fresh, s).c.deliver()
	}
	x.state, x.condition, x.peer, x.untold = fresh, s, nil, nil
	x.name.disconnect()
}
