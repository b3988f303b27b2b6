//go:build amd64 || arm64

package hijack

import (
	"errors"
	"net"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
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
	case connecting, connected:
		t.fail(unix.EINVAL)
		return
	case listening:
		t.native() // another backlog
		return
	}
	ks, e := x.kernel()
	if e == 0 {
		e = x.named(t.host)
	}
	backlog := max(t.arg(1), 0)
	if e == 0 {
		e = errnoOf(unix.Listen(t.host, backlog))
	}
	if e == 0 {
		e = linuxsock.Errno(ks.ListenBacklog(int32(backlog)))
	}
	if e == 0 {
		x.mu.Lock()
		x.state, x.backlog = listening, backlog
		x.mu.Unlock()
		go x.take(ks, backlog)
	}
	t.s.say("%d: listen %d: %v", t.TID, t.arg(0), e)
	t.done(0, e)
}

// take gives L the connections that the kernel accepts. In a kernel that is connected
// to after that one was lost, the listener is made again.
func (x *socket) take(ks *spclient.NetSocket, backlog int) {
	for {
		c, err := ks.Accept()
		switch {
		case err == nil:
			if !x.publish(c) {
				return
			}
		case errors.Is(err, spclient.ErrLost) && x.s.ctx.Err() == nil:
			var e unix.Errno
			if ks, e = x.kernel(); e == 0 {
				e = linuxsock.Errno(ks.ListenBacklog(int32(backlog)))
			}
			if e != 0 {
				x.s.say("listen again: %v", e)
				x.deafen()
				return
			}
		default:
			return
		}
	}
}

// deafen ends L, whose kernel is lost: who waits in accept(2) or poll(2) is woken.
func (x *socket) deafen() {
	x.mu.Lock()
	x.state = bound
	x.mu.Unlock()
	if l, ok := x.borrow(); ok {
		unix.Shutdown(l, unix.SHUT_RDWR)
		unix.Close(l)
	}
}

// publish puts a connection into L's queue, and waits while that is full. It tells
// whether L still listens.
func (x *socket) publish(c *spclient.NetSocket) bool {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		c.Abort()
		return true
	}
	x.optMu.Lock()
	opts := x.opts.Clone()
	x.optMu.Unlock()
	y := &socket{s: x.s, opts: opts, state: connected, ks: c}
	if ap, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		y.peer = linuxsock.Sockaddr(ap.AddrPort(), x.opts.Domain)
	}
	// The kernel gives it a name that nobody else has: accept(2) tells it.
	key, err := autobind(fd)
	if err != nil {
		unix.Close(fd)
		c.Abort()
		return true
	}
	x.mu.Lock()
	path := x.path
	x.mu.Unlock()
	x.s.offer(key, y)
	for {
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		x.s.take(key)
		unix.Close(fd)
		return false
	}
	unix.SetNonblock(fd, true)
	k, err := x.s.ends.keep(fd, func() {
		x.s.take(key) // if nobody has accepted it
		y.hungUp()
	})
	if err != nil {
		x.s.take(key)
		c.Abort()
		return true
	}
	y.mu.Lock()
	y.k = k
	y.mu.Unlock()
	y.carry(c, k)
	return true
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

// accept is accept(2) and accept4(2).
func (t *trap) accept() {
	x := t.sock
	x.mu.Lock()
	state := x.state
	x.mu.Unlock()
	if state != listening {
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
	timeout, _ := unix.GetsockoptTimeval(t.host, unix.SOL_SOCKET, unix.SO_RCVTIMEO)
	w := &wait{t: t, expire: func() { t.fail(unix.EAGAIN) }}
	w.try = func() bool { return t.tryAccept(w.fd, flags) }
	t.s.waits.park(w, unix.EPOLLIN, duration(timeout))
}

// tryAccept answers with a connection, if there is one.
func (t *trap) tryAccept(l, flags int) bool {
	x := t.sock
	// L may be blocking, and all who accept come through here.
	x.op.Lock()
	fds := []unix.PollFd{{Fd: int32(l), Events: unix.POLLIN}}
	if n, err := unix.Poll(fds, 0); n <= 0 && err == nil {
		x.op.Unlock()
		return false
	}
	fd, sa, err := unix.Accept4(l, unix.SOCK_CLOEXEC|flags&unix.SOCK_NONBLOCK)
	x.op.Unlock()
	if err != nil {
		if err == unix.EAGAIN || err == unix.EINTR {
			return false
		}
		t.fail(errnoOf(err))
		return true
	}
	defer unix.Close(fd)
	var y *socket
	if name, ok := sa.(*unix.SockaddrUnix); ok {
		y = t.s.take(name.Name)
	}
	if y == nil {
		return false // of somebody else, or gone already
	}
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
	if t.Args[1] != 0 {
		if e := t.putSockaddr(t.Args[1], t.Args[2], peer); e != 0 {
			y.gone()
			t.fail(e)
			return true
		}
	}
	num, err := t.s.l.ReturnFD(&t.Call, fd, flags&unix.SOCK_CLOEXEC != 0)
	if err != nil {
		// As the host's, which has taken the connection then.
		y.gone()
		t.fail(errnoOf(err))
		return true
	}
	y.seen(t.TID, num)
	t.release()
	t.s.say("%d: accept %d: %d from %s", t.TID, t.arg(0), num, describe(peer))
	return true
}
