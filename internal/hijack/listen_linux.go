//go:build amd64 || arm64

package hijack

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
	"rumptools/internal/seeded"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
	"rumptools/pkg/sysproxy"
)

// A listener L is one of the host's, too: bound to a path, so that its queue, poll(2)
// and close(2) are the host's own. Connections that the kernel accepts are connected to
// it. Only accept(2) itself is the supervisor's, for the address.

// listener is what a socket has that listens. Should it listen again one day, it has another.
type listener struct {
	x    *socket
	path string // L's

	children atomic.Int32 // connections from L that have not ended

	// The socket's mu guards these.
	room    *sync.Cond          // L has room again, or listens no more
	backlog int                 // of L
	queued  int                 // connections that wait in L
	counts  *spclient.NetSocket // the kernel's socket that counts those, too, else nil
	taken   uint32              // how many the programs have got, of counts
}

// arrival is what a connection has that has come by a listener.
type arrival struct {
	l       *listener
	from    *spclient.NetSocket // the kernel's listener
	counted atomic.Bool         // that it has ended

	// The socket's mu guards these.
	key       string // by which it is offered, "" once it is accepted
	ticket    *kept  // our end of what is in L, if that is not S
	givenBack int    // S while it is given back to L, else -1
}

// listen is listen(2).
func (t *trap) listen() {
	x := t.sock
	x.op.Lock()
	defer x.op.Unlock()
	if x.opts.Type != unix.SOCK_STREAM {
		t.fail(unix.EOPNOTSUPP)
		return
	}
	backlog := min(max(t.arg(1), 0), maxBacklog)
	x.mu.Lock()
	state, l, ks := x.state, x.listener, x.ks
	if l != nil {
		l.backlog = backlog
		l.room.Broadcast()
	}
	x.mu.Unlock()
	switch {
	case state == listening:
		t.done(0, linuxsock.Errno(l.listenKernel(ks)))
		return
	case state != fresh:
		t.fail(unix.EINVAL)
		return
	case x.barred(client):
		t.fail(x.refuseListen())
		return
	}
	x.mu.Lock()
	unusable, name := x.condition != usable, x.name
	x.mu.Unlock()
	if name.tenure == bound {
		// Another may listen since this one was bound.
		if e := x.listened(x.linuxAddr(name.sa)); e != 0 {
			t.fail(e)
			return
		}
	}
	if unusable {
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
	l = &listener{x: x, room: sync.NewCond(&x.mu), backlog: backlog}
	if e == 0 {
		x.s.expectPairs(ks)
		e = linuxsock.Errno(l.listenKernel(ks))
	}
	if e == 0 {
		// Last, for S cannot be had back from that.
		e = errnoOf(unix.Listen(t.host, maxBacklog))
	}
	if e == 0 {
		x.mu.Lock()
		x.state, x.listener = listening, l
		x.roles |= server
		x.name.begin()
		l.path = x.path
		x.mu.Unlock()
		x.s.ends.listener(t.host, heard{x.whenGone(), func() bool { return l.children.Load() > 0 }})
		go l.take(ks)
	}
	t.s.changed()
	t.s.say("%d: listen %d: %v", t.TID, t.arg(0), e)
	t.done(0, e)
}

// stopListening has a socket listen no more, by shutdown(2) or connect(2) to nobody: who waits for connections is woken, and those
// that nobody has accepted are reset. On Linux it is as one that has an address only then, and so the program gets such an S, unless
// another process has L, too. x.op is held.
func (x *socket) stopListening(t *trap) unix.Errno {
	x.sockname() // its port is told afterwards, too
	x.mu.Lock()
	was := x.leave(fresh, spent)
	x.beginAgain(spent)
	x.mu.Unlock()
	was.close()
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

// maxBacklog is the most connections that wait for a listener (net.core.somaxconn).
const maxBacklog = 4096

// listenKernel makes the kernel's socket a listener, or gives it another backlog, and finds out
// whether it counts what waits in L.
func (l *listener) listenKernel(ks *spclient.NetSocket) error {
	x := l.x
	x.mu.Lock()
	counts, backlog := l.counts == ks, l.backlog
	if !counts {
		l.counts = nil // in a kernel that was lost
	}
	x.mu.Unlock()
	if !counts {
		_, inKernel := share(backlog)
		if err := ks.ListenBacklog(inKernel); err != nil || !ks.CountTaken() {
			return err
		}
		x.mu.Lock()
		l.counts, l.taken = ks, 0
		x.mu.Unlock()
	}
	return ks.ListenBacklog(int32(backlog))
}

// most is how many connections wait in L at most, with x.mu held.
func (l *listener) most() int {
	if l.counts != nil {
		return max(l.backlog, 1)
	}
	inL, _ := share(l.backlog)
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
func (l *listener) take(ks *spclient.NetSocket) {
	x := l.x
	for {
		x.mu.Lock()
		for x.listener == l && l.queued >= l.most() {
			l.room.Wait()
		}
		listens := x.listener == l
		x.mu.Unlock()
		if !listens {
			return
		}
		c, err := ks.Accept()
		switch {
		case err == nil:
			if !l.publish(c, ks) {
				return
			}
		case errors.Is(err, spclient.ErrLost) && x.s.ctx.Err() == nil:
			var e unix.Errno
			if ks, e = l.again(); e != 0 {
				x.s.say("listen again: %v", e)
				l.deafen()
				return
			}
		case errors.Is(err, net.ErrClosed) || x.s.ctx.Err() != nil:
			return
		case errors.Is(err, netbsd.ECONNABORTED):
			// Who connected has reset that, mostly.
			time.Sleep(abortPause)
		default:
			// The kernel has no descriptor left for these programs, mostly. Who connects waits.
			x.s.say("accept: %v", err)
			time.Sleep(acceptPause)
		}
	}
}

// again makes the kernel's listener in the place of one that was lost with its kernel.
func (l *listener) again() (*spclient.NetSocket, unix.Errno) {
	x := l.x
	ks, e := x.remade(l.listens)
	if e == 0 && !l.listens() {
		e = unix.EINVAL // what the socket has in the kernel is not for that any more
	}
	if e == 0 {
		x.s.expectPairs(ks)
		e = linuxsock.Errno(l.listenKernel(ks))
	}
	return ks, e
}

// acceptPause is how soon it is tried again to accept a connection that the kernel had nothing left for.
const acceptPause = 100 * time.Millisecond

// abortPause is how soon it is tried again when a connection was over before it could be accepted.
const abortPause = time.Millisecond

// listens tells whether it has not stopped.
func (l *listener) listens() bool {
	l.x.mu.Lock()
	defer l.x.mu.Unlock()
	return l.x.listener == l
}

// enqueue and dequeue count the connections that are in L, if that listens still: enqueue tells.
func (a *arrival) enqueue() bool {
	l, x := a.l, a.l.x
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.listener != l {
		return false
	}
	l.queued++
	l.children.Add(1)
	return true
}

func (a *arrival) dequeue() {
	l, x := a.l, a.l.x
	x.mu.Lock()
	if x.listener != l {
		x.mu.Unlock()
		return
	}
	l.queued--
	l.room.Signal()
	var ks *spclient.NetSocket
	if a.from == l.counts {
		l.taken++
		ks = l.counts
	} // else the kernel that had accepted it is lost
	n := l.taken
	x.mu.Unlock()
	if ks != nil {
		ks.Taken(n)
	}
}

// deafen ends L, whose kernel is lost: who waits in accept(2) or poll(2) is woken.
func (l *listener) deafen() {
	x := l.x
	x.mu.Lock()
	if x.listener != l {
		x.mu.Unlock()
		return
	}
	was := x.leave(fresh, deaf)
	x.mu.Unlock()
	was.close()
	if fd, ok := x.borrow(); ok {
		unix.Shutdown(fd, unix.SHUT_RDWR)
		x.s.empty(fd)
		unix.Close(fd)
	}
}

// publish puts a connection into L's queue, and waits while that is full. It tells
// whether L still listens.
func (l *listener) publish(c, ks *spclient.NetSocket) bool {
	x := l.x
	x.optMu.Lock()
	opts := x.opts.Clone()
	x.optMu.Unlock()
	y := &socket{s: x.s, opts: opts, state: connected, ks: c}
	y.arrival, y.roles = &arrival{l: l, from: ks, givenBack: -1}, client
	x.mu.Lock()
	y.name.locked = x.name.locked & sysproxy.KeepAddress
	x.mu.Unlock()
	y.standIn = newLocal(y)
	if ap, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		y.peer = linuxsock.Sockaddr(ap.AddrPort(), x.opts.Domain)
	}
	if !y.arrival.enqueue() {
		c.Abort()
		return false
	}
	x.s.ends.accepted()
	if !x.s.pairs() {
		return y.publishCarried(c)
	}
	// The other end may take its time; other connections do not wait for it.
	go func() {
		if !y.offerPair(c) {
			y.publishCarried(c)
		}
	}()
	return true
}

// publishCarried puts a connection into L whose bytes are carried between K and the
// kernel. What is put into L is the K.
func (y *socket) publishCarried(ks *spclient.NetSocket) bool {
	// Who accepts it may give it up at once, but not before it is carried.
	y.op.Lock()
	defer y.op.Unlock()
	fd, _, err := y.introduce(0)
	if err != nil {
		y.arrival.dequeue()
		y.abandon()
		// Without a descriptor or a name L listens all the same.
		return !errors.Is(err, errDeaf)
	}
	unix.SetNonblock(fd, true)
	c := y.newConnection(ks, fd)
	y.mu.Lock()
	y.connection = c
	c.begin()
	y.mu.Unlock()
	c.carry()
	y.s.changed()
	return true
}

// errDeaf is why nothing can be put into L: it listens no more.
var errDeaf = errors.New("nobody listens")

// introduce puts a socket of ours into L's queue, and waits while that is full unless the
// flags say otherwise. The kernel gives it a name that nobody else has, key: accept(2) tells
// it, and it leads to y.
func (y *socket) introduce(flags int) (fd int, key string, err error) {
	fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|flags, 0)
	if err != nil {
		return -1, "", err
	}
	if key, err = autobind(fd); err != nil {
		unix.Close(fd)
		return -1, "", err
	}
	y.mu.Lock()
	y.arrival.key = key
	y.mu.Unlock()
	y.s.offer(key, y)
	for {
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: y.arrival.l.path})
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		y.s.take(key)
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
	l, condition := x.listener, x.condition
	x.mu.Unlock()
	if l == nil {
		if condition == deaf {
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
	if t.tryAccept(t.host, flags, t.release) {
		return
	}
	if nonblocking(t.host) {
		t.fail(unix.EAGAIN)
		return
	}
	timeout := hostTimeout(t.host, unix.SO_RCVTIMEO)
	w := &wait{t: t, expire: func(int) { t.fail(unix.EAGAIN) }}
	w.try = func() bool { return t.tryAccept(w.fd, flags, func() { t.s.waits.letGo(w) }) }
	t.s.waits.park(w, unix.EPOLLIN, timeout)
}

// tryAccept answers with a connection, if there is one. Before that the copy of L is let go: the program may close L at once, and
// connect to where it was.
func (t *trap) tryAccept(l, flags int, letGo func()) bool {
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
	cookie, inode, err := identify(fd)
	if err != nil {
		y.drop()
		t.fail(errnoOf(err))
		return true
	}
	y.mu.Lock()
	y.cookie, y.inode = cookie, inode
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
	letGo()
	num, err := t.s.l.ReturnFD(&t.Call, fd, flags&unix.SOCK_CLOEXEC != 0)
	if err != nil {
		if !y.giveBack(fd) {
			y.gone()
		} else {
			fd = -1
		}
		t.fail(errnoOf(err))
		return true
	}
	y.seen(t.TID, num)
	y.mu.Lock()
	c, p := y.connection, y.pair
	y.mu.Unlock()
	if c != nil && c.takeUnshown() {
		c.show()
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
		if accepted := y.redeem(); accepted >= 0 {
			unix.Close(fd)
			// Who had accepted it may have asked for the other.
			unix.SetNonblock(accepted, flags&unix.SOCK_NONBLOCK != 0)
			return y, accepted, nil
		}
		y.arrival.dequeue()
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

// issueTicket puts into L what stands for a connection that has no K there.
func (y *socket) issueTicket(flags int) error {
	fd, key, err := y.introduce(flags)
	if err != nil {
		return err
	}
	ticket, err := y.s.ends.keep(fd, func() {
		// It is void with L.
		if y.s.take(key) != nil {
			y.abandon()
		}
	})
	if err != nil {
		if y.s.take(key) != nil {
			return err
		}
		return nil // it was accepted already
	}
	y.mu.Lock()
	waits := y.arrival.key == key
	if waits {
		y.arrival.ticket = ticket
	}
	y.mu.Unlock()
	if !waits {
		ticket.close()
	}
	return nil
}

// redeem says that what stands for a connection in L has been accepted, or is void. The result is S if it was given back, else -1.
func (y *socket) redeem() (accepted int) {
	a := y.arrival
	y.mu.Lock()
	accepted, ticket := a.givenBack, a.ticket
	a.key, a.ticket, a.givenBack = "", nil, -1
	y.mu.Unlock()
	if ticket != nil {
		ticket.close()
	}
	return accepted
}

// giveBack puts a connection that was accepted, but for which the program has no
// descriptor left, into L again, with a ticket for it.
func (y *socket) giveBack(accepted int) bool {
	y.mu.Lock()
	y.arrival.givenBack = accepted
	y.mu.Unlock()
	if y.issueTicket(unix.SOCK_NONBLOCK) != nil {
		y.redeem()
		return false
	}
	return true
}

// abandon resets a connection that nobody has accepted, be it given back or not.
func (y *socket) abandon() {
	y.mu.Lock()
	ks, p := y.ks, y.pair
	y.mu.Unlock()
	if ks != nil {
		ks.Abort()
	}
	if p != nil {
		// The other end's supervisor is to show that.
		if accepted := y.redeem(); accepted >= 0 {
			go func() {
				awaitByte(accepted)
				unix.Close(accepted)
			}()
		}
	}
	y.gone()
}
