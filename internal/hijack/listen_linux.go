//go:build amd64 || arm64

package hijack

import (
	"errors"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
	"rumptools/internal/seeded"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// A listener L is one of the host's, too: bound to a path, so that its queue, poll(2)
// and close(2) are the host's own. Connections that the kernel accepts are connected to
// it. Only accept(2) itself is the supervisor's, for the address.

// listen is listen(2).
func (t *trap) listen() {
	x := t.sock
	x.op.Lock()
	defer x.op.Unlock()
	if x.opts.Type != unix.SOCK_STREAM {
		t.fail(unix.EOPNOTSUPP)
		return
	}
	x.mu.Lock()
	state := x.state
	x.mu.Unlock()
	switch state {
	case connecting, connected, broken, dead:
		t.fail(unix.EINVAL)
		return
	case listening:
		// Another backlog.
		backlog := min(max(t.arg(1), 0), maxBacklog)
		x.mu.Lock()
		x.backlog = backlog
		ks := x.ks
		x.room.Broadcast()
		x.mu.Unlock()
		t.done(0, linuxsock.Errno(x.listenKernel(ks, backlog)))
		return
	}
	x.mu.Lock()
	shut, shows, local := x.shut, x.shows, x.local
	x.mu.Unlock()
	if local != nil {
		// Another may listen since this one was bound.
		if e := x.listened(x.linuxAddr(local)); e != 0 {
			t.fail(e)
			return
		}
	}
	if shut || shows {
		// On Linux it may listen again, but a local socket may not, nor is one of the inner network of use.
		if e := x.replace(t); e != 0 {
			t.fail(e)
			return
		}
	}
	ks, e := x.kernel()
	if e == 0 {
		e = x.standIn.named(t.host)
	}
	backlog := min(max(t.arg(1), 0), maxBacklog)
	if e == 0 {
		e = errnoOf(unix.Listen(t.host, maxBacklog))
	}
	if e == 0 {
		x.s.expectPairs(ks)
		e = linuxsock.Errno(x.listenKernel(ks, backlog))
	}
	if e == 0 {
		x.mu.Lock()
		x.state, x.backlog, x.deaf = listening, backlog, false
		x.room = sync.NewCond(&x.mu)
		turn := x.turn
		x.mu.Unlock()
		x.s.ends.listener(t.host, heard{x.whenGone(), func() bool { return x.children.Load() > 0 }})
		go x.take(ks, turn)
	}
	t.s.changed()
	t.s.say("%d: listen %d: %v", t.TID, t.arg(0), e)
	t.done(0, e)
}

// stopListening has a socket listen no more, by shutdown(2) or connect(2) to nobody: who waits for connections is woken, and those
// that nobody has accepted are reset. On Linux it is as one that has an address only then, and so the program gets such an S, unless
// another process has L, too. x.op is held.
func (x *socket) stopListening(t *trap) unix.Errno {
	x.mu.Lock()
	ks := x.ks
	x.ks = nil
	x.deafened()
	x.mu.Unlock()
	if ks != nil {
		ks.Close()
	}
	e := errnoOf(unix.Shutdown(t.host, unix.SHUT_RD))
	if e == 0 {
		x.s.empty(t.host)
		if !x.heldElsewhere(t.TID) {
			x.replace(t) // or listen or connect does
		}
	}
	return e
}

// empty resets what is in the queue of an L that listens no more. It may be another process's for long.
func (s *supervisor) empty(l int) {
	for {
		fd, sa, err := unix.Accept4(l, unix.SOCK_CLOEXEC)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return // which is EINVAL
		}
		if name, ok := sa.(*unix.SockaddrUnix); ok {
			if y := s.take(name.Name); y != nil {
				y.abandon()
			}
		}
		unix.Close(fd)
	}
}

// deafened says that L is of no use any more, with x.mu held.
func (x *socket) deafened() {
	x.state, x.shut, x.queued = bound, true, 0
	x.turn++
	x.room.Broadcast()
}

// maxBacklog is the most connections that wait for a listener (net.core.somaxconn).
const maxBacklog = 4096

// listenKernel makes the kernel's socket a listener, or gives it another backlog, and finds out
// whether it counts what waits in L.
func (x *socket) listenKernel(ks *spclient.NetSocket, backlog int) error {
	x.mu.Lock()
	counts := x.counts == ks
	if !counts {
		x.counts = nil // in a kernel that was lost
	}
	x.mu.Unlock()
	if !counts {
		_, inKernel := share(backlog)
		if err := ks.ListenBacklog(inKernel); err != nil || !ks.CountTaken() {
			return err
		}
		x.mu.Lock()
		x.counts, x.taken = ks, 0
		x.mu.Unlock()
	}
	return ks.ListenBacklog(int32(backlog))
}

// most is how many connections wait in L at most, with x.mu held.
func (x *socket) most() int {
	if x.counts != nil {
		return max(x.backlog, 1)
	}
	inL, _ := share(x.backlog)
	return inL
}

// share divides a backlog between L and a kernel that does not count what waits in L: so many
// connections wait in L at most, and the kernel is told that number. On Linux one more than the
// backlog wait, on NetBSD one and a half times as many as it is told, and one. Each has one at
// least, and so a backlog of 0 two.
func share(backlog int) (inL int, inKernel int32) {
	k := min(max(2*(backlog-backlog/2)-1, 0)/3, netbsd.SOMAXCONN)
	return max(backlog-3*k/2, 1), int32(k)
}

// take gives L the connections that the kernel accepts, as long as it has room. In a
// kernel that is connected to after that one was lost, the listener is made again.
func (x *socket) take(ks *spclient.NetSocket, turn int) {
	for {
		x.mu.Lock()
		for x.listensAs(turn) && x.queued >= x.most() {
			x.room.Wait()
		}
		listens, backlog := x.listensAs(turn), x.backlog
		x.mu.Unlock()
		if !listens {
			return
		}
		c, err := ks.Accept()
		switch {
		case err == nil:
			if !x.publish(c, ks, turn) {
				return
			}
		case errors.Is(err, spclient.ErrLost) && x.s.ctx.Err() == nil:
			var e unix.Errno
			if ks, e = x.remade(func() bool { return x.listens(turn) }); e == 0 {
				x.s.expectPairs(ks)
				e = linuxsock.Errno(x.listenKernel(ks, backlog))
			}
			if e != 0 {
				x.s.say("listen again: %v", e)
				x.deafen(turn)
				return
			}
		case errors.Is(err, net.ErrClosed) || x.s.ctx.Err() != nil:
			return
		default:
			// The kernel has no descriptor left for these programs, mostly. Who connects waits.
			x.s.say("accept: %v", err)
			time.Sleep(acceptPause)
		}
	}
}

// acceptPause is how soon it is tried again to accept a connection that the kernel had nothing left for.
const acceptPause = 100 * time.Millisecond

// waiting is where a connection waits for accept(2), or has waited.
type waiting struct {
	turn int                 // the listener's
	from *spclient.NetSocket // the kernel's listener
	path string              // L's
}

// listensAs tells whether it listens and has not stopped since, with x.mu held.
func (x *socket) listensAs(turn int) bool { return x.state == listening && x.turn == turn }

// listens is listensAs for who does not hold x.mu.
func (x *socket) listens(turn int) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.listensAs(turn)
}

// enqueue and dequeue count the connections that are in L. One that was taken from the kernel for an L before this one is not
// for it: enqueue tells.
func (x *socket) enqueue(y *socket, ks *spclient.NetSocket, turn int) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.listensAs(turn) {
		return false
	}
	x.queued++
	y.waits = waiting{turn, ks, x.path}
	return true
}

func (x *socket) dequeue(y *socket) {
	x.mu.Lock()
	if y.waits.turn != x.turn {
		x.mu.Unlock()
		return // it was in an L before this one
	}
	x.queued--
	x.room.Signal()
	var ks *spclient.NetSocket
	if y.waits.from == x.counts {
		x.taken++
		ks = x.counts
	} // else the kernel that had accepted it is lost
	n := x.taken
	x.mu.Unlock()
	if ks != nil {
		ks.Taken(n)
	}
}

// deafen ends L, whose kernel is lost: who waits in accept(2) or poll(2) is woken.
func (x *socket) deafen(turn int) {
	x.mu.Lock()
	if !x.listensAs(turn) {
		x.mu.Unlock()
		return
	}
	x.deafened()
	x.deaf = true
	x.mu.Unlock()
	if l, ok := x.borrow(); ok {
		unix.Shutdown(l, unix.SHUT_RDWR)
		unix.Close(l)
	}
}

// publish puts a connection into L's queue, and waits while that is full. It tells
// whether L still listens.
func (x *socket) publish(c, ks *spclient.NetSocket, turn int) bool {
	x.optMu.Lock()
	opts := x.opts.Clone()
	x.optMu.Unlock()
	y := &socket{s: x.s, opts: opts, state: connected, ks: c, accepted: -1, listener: x}
	y.standIn = newLocal(y)
	if ap, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		y.peer = linuxsock.Sockaddr(ap.AddrPort(), x.opts.Domain)
	}
	if !x.enqueue(y, ks, turn) {
		c.Abort()
		return false
	}
	x.children.Add(1)
	x.s.ends.accepted()
	if !x.s.pairs() {
		return x.publishCarried(y, c)
	}
	// The other end may take its time; other connections do not wait for it.
	go func() {
		if !x.offerPair(y, c) {
			x.publishCarried(y, c)
		}
	}()
	return true
}

// publishCarried puts a connection into L whose bytes are carried between K and the
// kernel. What is put into L is the K.
func (x *socket) publishCarried(y *socket, c *spclient.NetSocket) bool {
	fail := func() {
		c.Abort()
		x.dequeue(y)
		y.forget()
	}
	// Who accepts it may give it up at once, but not before it is carried.
	y.op.Lock()
	defer y.op.Unlock()
	fd, _, err := x.introduce(y, 0)
	if err != nil {
		fail()
		// Without a descriptor or a name L listens all the same.
		return !errors.Is(err, errDeaf)
	}
	unix.SetNonblock(fd, true)
	k := x.s.ends.keepUnwatched(fd, y.hungUp)
	y.mu.Lock()
	y.k = k
	y.mu.Unlock()
	y.carry(c, k)
	x.s.changed()
	return true
}

// errDeaf is why nothing can be put into L: it listens no more.
var errDeaf = errors.New("nobody listens")

// introduce puts a socket of ours into L's queue, and waits while that is full unless the
// flags say otherwise. The kernel gives it a name that nobody else has, key: accept(2) tells
// it, and it leads to y.
func (x *socket) introduce(y *socket, flags int) (fd int, key string, err error) {
	fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|flags, 0)
	if err != nil {
		return -1, "", err
	}
	if key, err = autobind(fd); err != nil {
		unix.Close(fd)
		return -1, "", err
	}
	y.mu.Lock()
	y.key = key
	y.mu.Unlock()
	x.s.offer(key, y)
	for {
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: y.waits.path})
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		x.s.take(key)
		unix.Close(fd)
		return -1, "", errDeaf
	}
	return fd, key, nil
}

// offer keeps a connection until it is accepted.
func (s *supervisor) offer(name string, y *socket) {
	s.mu.Lock()
	s.offered[name] = y
	s.mu.Unlock()
}

// take takes it.
func (s *supervisor) take(name string) *socket {
	s.mu.Lock()
	defer s.mu.Unlock()
	y := s.offered[name]
	delete(s.offered, name)
	return y
}

// deafPause is how long accept(2) takes to fail on a listener whose kernel is lost. Such a one is ready for
// good, and many programs try again at once, and log it.
const deafPause = 100 * time.Millisecond

// accept is accept(2) and accept4(2).
func (t *trap) accept() {
	x := t.sock
	x.mu.Lock()
	state, deaf := x.state, x.deaf
	x.mu.Unlock()
	if state != listening {
		if deaf {
			time.AfterFunc(deafPause, func() { t.fail(unix.EINVAL) })
			return
		}
		if x.opts.Type != unix.SOCK_STREAM {
			t.fail(unix.EOPNOTSUPP)
		} else {
			t.fail(unix.EINVAL)
		}
		return
	}
	flags := 0
	if int(t.Nr) == unix.SYS_ACCEPT4 {
		if flags = t.arg(3); flags&^(unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK) != 0 {
			t.fail(unix.EINVAL)
			return
		}
	}
	if t.tryAccept(t.host, flags) {
		return
	}
	if nonblocking(t.host) {
		t.fail(unix.EAGAIN)
		return
	}
	timeout := hostTimeout(t.host, unix.SO_RCVTIMEO)
	w := &wait{t: t, expire: func(int) { t.fail(unix.EAGAIN) }}
	w.try = func() bool { return t.tryAccept(w.fd, flags) }
	t.s.waits.park(w, unix.EPOLLIN, timeout)
}

// tryAccept answers with a connection, if there is one.
func (t *trap) tryAccept(l, flags int) bool {
	x := t.sock
	if !t.s.l.Valid(&t.Call) {
		return true // its thread is gone, and the connection is for another
	}
	y, fd, err := t.nextAccepted(l, flags)
	switch {
	case err == unix.EAGAIN:
		return false
	case err != nil:
		t.fail(errnoOf(err))
		return true
	}
	t.s.giving.RLock()
	defer t.s.giving.RUnlock()
	defer func() { unix.Close(fd) }()
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	var st unix.Stat_t
	if err == nil {
		err = unix.Fstat(fd, &st)
	}
	if err != nil {
		y.drop()
		t.fail(errnoOf(err))
		return true
	}
	y.mu.Lock()
	y.cookie, y.inode = cookie, uint32(st.Ino)
	peer := y.peer
	y.mu.Unlock()
	t.s.mu.Lock()
	t.s.sockets[cookie] = y
	t.s.mu.Unlock()
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, streamBuffer)
	y.optMu.Lock()
	y.opts.PrepareHost(fd)
	y.optMu.Unlock()
	if t.Args[1] != 0 {
		if e := t.putSockaddr(t.Args[1], t.Args[2], peer); e != 0 {
			y.gone()
			t.fail(e)
			return true
		}
	}
	num, err := t.s.l.ReturnFD(&t.Call, fd, flags&unix.SOCK_CLOEXEC != 0)
	if err != nil {
		if !x.giveBack(y, fd) {
			y.gone()
		} else {
			fd = -1
		}
		t.fail(errnoOf(err))
		return true
	}
	y.seen(t.TID, num)
	y.mu.Lock()
	broken, p := y.broken, y.pair
	y.broken = nil
	y.mu.Unlock()
	if broken != nil {
		broken()
	}
	if p != nil {
		p.lingersNow(fd)
	}
	t.release()
	t.s.say("%d: accept %d: %d from %s", t.TID, t.arg(0), num, describe(peer))
	return true
}

// nextAccepted takes a connection out of L, which is EAGAIN when none waits. What is nobody's is left out: those behind it are not
// told of once more.
func (t *trap) nextAccepted(l, flags int) (y *socket, fd int, err error) {
	x := t.sock
	for {
		// L may be blocking, and all who accept come through here.
		x.op.Lock()
		if polled(l, unix.POLLIN) == 0 {
			x.op.Unlock()
			return nil, -1, unix.EAGAIN
		}
		fd, sa, err := unix.Accept4(l, unix.SOCK_CLOEXEC|flags&unix.SOCK_NONBLOCK)
		x.op.Unlock()
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, -1, err
		}
		if name, ok := sa.(*unix.SockaddrUnix); ok {
			y = t.s.take(name.Name)
		}
		if y == nil {
			unix.Close(fd) // of somebody else
			continue
		}
		if accepted := y.givenBack(); accepted >= 0 {
			unix.Close(fd)
			// Who had accepted it may have asked for the other.
			unix.SetNonblock(accepted, flags&unix.SOCK_NONBLOCK != 0)
			return y, accepted, nil
		}
		x.dequeue(y)
		p := y.joined()
		if p == nil {
			seeded.Sow(fd)
			y.watch(fd)
			return y, fd, nil
		}
		// It was a ticket.
		unix.Close(fd)
		if fd, err = p.accept(); err != nil {
			y.gone()
			continue
		}
		if flags&unix.SOCK_NONBLOCK != 0 {
			unix.SetNonblock(fd, true)
		}
		return y, fd, nil
	}
}

// giveBack puts a connection that was accepted, but for which the program has no
// descriptor left, into L again, with a ticket for it.
func (x *socket) giveBack(y *socket, accepted int) bool {
	y.mu.Lock()
	y.accepted = accepted
	y.mu.Unlock()
	fd, key, err := x.introduce(y, unix.SOCK_NONBLOCK)
	if err != nil {
		y.givenBack()
		return false
	}
	ticket, err := x.s.ends.keep(fd, func() {
		// The ticket is void with L.
		if x.s.take(key) != nil {
			y.abandon()
		}
	})
	if err != nil {
		if x.s.take(key) != nil {
			y.givenBack()
			return false
		}
		return true // it was accepted already
	}
	y.mu.Lock()
	waits := y.accepted >= 0 && y.key == key
	if waits {
		y.ticket = ticket
	}
	y.mu.Unlock()
	if !waits {
		ticket.close()
	}
	return true
}

// givenBack takes what was given back to L, or -1.
func (y *socket) givenBack() (accepted int) {
	y.mu.Lock()
	accepted, ticket := y.accepted, y.ticket
	y.accepted, y.ticket = -1, nil
	y.mu.Unlock()
	if ticket != nil {
		ticket.close()
	}
	return accepted
}

// abandon resets a connection that nobody has accepted, be it given back or not.
func (y *socket) abandon() {
	accepted := y.givenBack()
	y.mu.Lock()
	ks := y.ks
	y.mu.Unlock()
	if ks != nil {
		ks.Abort()
	}
	y.gone()
	if accepted >= 0 {
		unix.Close(accepted)
	}
}
