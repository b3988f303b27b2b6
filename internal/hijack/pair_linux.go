//go:build amd64 || arm64

package hijack

import (
	"errors"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
	"rumptools/pkg/sysproxy"
)

// When both ends of a connection are programs of this host in one rumpd, and
// net.inet.tcp.pair says so, their sockets are joined to each other and nobody carries
// anything. The connection is made in the kernel as ever and stays there, silent, for
// names, options and lists.
//
// Who accepts makes a listener M for the one connection; who connects connects its S to
// that. A ticket, a connection of ours, is put into L then, so that the queue of L is the
// host's; accept(2) takes it out and gives the program what M has. So either S has a name
// that nobody else has, its own or that of M, by which its end is seen.

// pairSysctl is what a supervisor knows of the sysctl.
type pairSysctl struct {
	mu     sync.Mutex
	on     bool
	looked time.Time
}

// pairLook is how often the sysctl is asked for, if it is of interest.
const pairLook = time.Second

// pairs tells whether connections are to become pairs.
func (s *supervisor) pairs() bool {
	if !s.conn.CanPair() {
		return false
	}
	p := &s.pairSysctl
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); p.looked.IsZero() || now.Sub(p.looked) > pairLook {
		b, _, err := s.conn.SysctlByName(s.ctx, "net.inet.tcp.pair")
		p.on = err == nil && len(b) == 4 && s.machine.Order.Uint32(b) != 0
		p.looked = now
	}
	return p.on
}

// expectPair says of a socket that is about to be connected that this supervisor will ask
// for a pair, and tells whether it should.
func (s *supervisor) expectPair(ks *spclient.NetSocket) bool {
	return ks.Use(func(fd spclient.FD) error { return s.conn.ExpectPair(s.ctx, fd) }) == nil
}

// expectPairs says of one that is about to listen that offers will be made, should the
// sysctl be set one day.
func (s *supervisor) expectPairs(ks *spclient.NetSocket) {
	if s.conn.CanPair() {
		ks.Use(func(fd spclient.FD) error { return s.conn.ExpectPair(s.ctx, fd) })
	}
}

// pair is a socket that is joined to another program's.
type pair struct {
	x  *socket
	ks *spclient.NetSocket
	// replaced is what the socket's was when S was joined.
	replaced int

	mu sync.Mutex
	// m is the listener of an offer, until the connection is accepted, and then
	// -1; s is what was accepted before the program asked for it, else -1.
	m, s int
	// lingers is a copy of S as long as its close is to be a reset, else -1.
	lingers int

	resetting sync.Mutex // held while it is
}

// offerPair makes a pair of a connection that L has got, if the other end wants to. The
// result is false when it has to be carried.
func (y *socket) offerPair(c *spclient.NetSocket) bool {
	expected, err := y.s.conn.PairExpected(y.s.ctx, c.FD())
	if err != nil || !expected {
		return false
	}
	m, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return false
	}
	p := &pair{x: y, ks: c, m: m, s: -1, lingers: -1}
	path, err := y.s.ends.bind(m, func() { y.pairEnded(p) })
	if err == nil && len(path) <= sysproxy.MaxPairPath {
		err = unix.Listen(m, 1)
	}
	joined := false
	if err == nil {
		joined, err = y.s.conn.OfferPair(y.s.ctx, c.FD(), path)
	}
	unix.Unlink(path)
	if err != nil || !joined {
		unix.Close(m)
		return false
	}
	y.mu.Lock()
	y.pair = p
	y.mu.Unlock()
	if y.issueTicket(0) != nil {
		y.arrival.dequeue()
		y.abandon()
	}
	p.begin()
	return true
}

// accept gives the program's end, of which M has only one.
func (p *pair) accept() (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fd, err := p.s, error(nil)
	if fd < 0 {
		fd, err = p.take()
	}
	p.s = -1
	if p.m >= 0 {
		unix.Close(p.m)
		p.m = -1
	}
	return fd, err
}

// take accepts what M has, with p.mu held. The ticket has left room for it, which another thread may use for a moment.
func (p *pair) take() (int, error) {
	if p.m < 0 {
		return -1, unix.ECONNABORTED
	}
	for end := time.Now().Add(acceptTime); ; {
		fd, _, err := unix.Accept4(p.m, unix.SOCK_CLOEXEC)
		switch {
		case err == unix.EINTR:
		case isShort(err) && time.Now().Before(end):
			time.Sleep(acceptLook)
		default:
			return fd, err
		}
	}
}

// joined is what S is joined to, nil when it is not.
func (x *socket) joined() *pair {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.pair
}

// pairMoment is how long a connect to an address of the kernel itself may take although
// the program does not wait: when it is told to wait after all there can be no pair.
const pairMoment = 100 * time.Millisecond

// askPair asks, for a socket that has just been connected, for a path to connect S to, "" if
// there is none.
func (s *supervisor) askPair(ks *spclient.NetSocket) (path string) {
	err := ks.Use(func(fd spclient.FD) (err error) {
		path, err = s.conn.AskPair(s.ctx, fd)
		return err
	})
	if err != nil {
		s.say("pair: %v", err)
	}
	return path
}

// joinPair makes a pair of S and the other end's. The result is false when the connection
// has to be carried.
func (x *socket) joinPair(a *attempt, host int) bool {
	// It gets a name, by which its end will be seen.
	err := error(nil)
	if e := x.standIn.named(host); e != 0 {
		err = e
	}
	if err == nil {
		err = unix.Connect(host, &unix.SockaddrUnix{Name: a.path})
	}
	var joined bool
	err2 := a.ks.Use(func(fd spclient.FD) (err2 error) {
		joined, err2 = x.s.conn.JoinPair(x.s.ctx, fd, err == nil)
		return err2
	})
	if err != nil {
		x.s.say("pair: %v", err)
		return false
	}
	if err2 != nil || !joined {
		// S has gone to where nobody accepts it, which breaks it.
		x.s.say("pair: %v", err2)
	}
	p := &pair{x: x, ks: a.ks, m: -1, s: -1, lingers: -1}
	x.mu.Lock()
	p.replaced = x.replaced
	x.state, x.attempt, x.peer, x.pair = connected, nil, a.peer, p
	path := x.path
	x.mu.Unlock()
	// Nobody is to connect to it.
	unix.Unlink(path)
	x.s.changed()
	p.begin()
	p.lingersNow(host)
	return true
}

// begin waits for what the connection in the kernel has to tell: it has no bytes, and
// its end is told by S; but it may be reset, or lost.
func (p *pair) begin() {
	go func() {
		b := make([]byte, 64)
		for {
			n, err := p.ks.Read(b)
			switch {
			case err == nil && n > 0:
			case errors.Is(err, spclient.ErrLost):
				p.lost()
				return
			case errors.Is(err, netbsd.ECONNRESET):
				p.reset()
				return
			default:
				return
			}
		}
	}()
}

// lost is what comes of the loss of the kernel. A socket that is joined to another one
// cannot show ECONNRESET to both; it shows the end of both directions.
func (p *pair) lost() {
	if p.x.s.ctx.Err() == nil {
		p.breaks(spent, func(fd int) { unix.Shutdown(fd, unix.SHUT_RDWR) })
	}
}

// reset shows a reset by the other end, whose supervisor closes its S when there is
// something unread in that.
func (p *pair) reset() {
	p.breaks(failing, func(fd int) { unix.Sendto(fd, []byte{0}, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, nil) })
}

// breaks has the program see that the connection broke, which S is to show.
func (p *pair) breaks(s condition, show func(fd int)) {
	x := p.x
	x.pend(unix.ECONNRESET)
	x.mu.Lock()
	was := x.leave(broken, s)
	x.mu.Unlock()
	p.withS(show)
	was.close()
}

// withS does something to S. While accept(2) has it nobody does for a moment.
func (p *pair) withS(do func(fd int)) {
	for end := time.Now().Add(acceptTime); ; time.Sleep(acceptLook) {
		if fd, ok := p.borrow(); ok {
			do(fd)
			unix.Close(fd)
			return
		}
		if p.x.isEnded() || p.isReplaced() || time.Now().After(end) {
			return
		}
	}
}

// How long accept(2) may take to take an S, and to give it to the program, and how often it is looked whether it can, or has.
const (
	acceptTime = 5 * time.Second
	acceptLook = 5 * time.Millisecond
)

// borrow gives a copy of S, be it accepted or not yet.
func (p *pair) borrow() (int, bool) {
	p.mu.Lock()
	if p.m >= 0 && p.s < 0 {
		if fd, err := p.take(); err == nil {
			p.s = fd
		}
	}
	if p.s >= 0 {
		fd, err := unix.FcntlInt(uintptr(p.s), unix.F_DUPFD_CLOEXEC, 0)
		p.mu.Unlock()
		return fd, err == nil
	}
	p.mu.Unlock()
	fd, ok := p.x.borrow()
	if ok && p.isReplaced() {
		unix.Close(fd)
		return -1, false
	}
	return fd, ok
}

// isReplaced tells whether another S is in the place of the one that was joined.
func (p *pair) isReplaced() bool {
	p.x.mu.Lock()
	defer p.x.mu.Unlock()
	return p.x.replaced != p.replaced
}

// lingerLook is how soon, and lingerLooks how often at most, it is looked whether
// programs have closed a socket whose close is to be a reset.
const (
	lingerLook  = 2 * time.Millisecond
	lingerLooks = 50 * time.Millisecond
	// lingerWait is how long the other end's supervisor has to show the reset.
	lingerWait = 10 * time.Second
)

// lingersNow acts on SO_LINGER as it is now: with a time of 0 the close of S is a reset,
// which the host does only if something is unread. So S is kept, and looked for among
// the programs' descriptors.
func (p *pair) lingersNow(host int) {
	x := p.x
	x.optMu.Lock()
	on, seconds := x.opts.Linger()
	x.optMu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	switch resets := on && seconds == 0; {
	case resets && p.lingers < 0:
		fd, err := unix.FcntlInt(uintptr(host), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return
		}
		p.lingers = fd
		go p.linger(fd)
	case !resets && p.lingers >= 0:
		unix.Close(p.lingers)
		p.lingers = -1
	}
}

func (p *pair) linger(fd int) {
	for wait := lingerLook; ; wait = min(2*wait, lingerLooks) {
		select {
		case <-time.After(wait):
		case <-p.x.s.ctx.Done():
			return
		}
		p.mu.Lock()
		over := p.lingers != fd
		p.mu.Unlock()
		if over {
			return
		}
		if p.resetClosed() {
			break
		}
	}
	awaitByte(fd)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lingers == fd {
		unix.Close(fd)
		p.lingers = -1
	}
}

// awaitByte waits until something is unread in an S whose close is to be a reset.
func awaitByte(fd int) {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for end := time.Now().Add(lingerWait); ; {
		left := time.Until(end)
		if n, err := unix.Poll(fds, max(int(left.Milliseconds()), 0)); err != unix.EINTR || n > 0 || left <= 0 {
			return
		}
	}
}

// resetClosed resets the connection, and tells whether it has, if programs have closed an S whose close is to do that.
func (p *pair) resetClosed() bool {
	p.resetting.Lock()
	defer p.resetting.Unlock()
	p.mu.Lock()
	lingers := p.lingers >= 0
	p.mu.Unlock()
	if !lingers || p.x.isHeld() {
		return false
	}
	p.ks.Close() // which resets
	p.x.forget() // its port is anybody's, whatever is still to be shown to the other end
	return true
}

// isHeld tells whether a program has S, or may get it by a message that nobody has received yet.
func (x *socket) isHeld() bool {
	has := func() bool {
		fd, ok := x.borrow()
		if ok {
			unix.Close(fd)
		}
		return ok
	}
	// Or it was just received.
	return has() || x.s.passes() || has()
}

// pairEnded is called when nobody holds S any more, or M when there is none.
func (y *socket) pairEnded(p *pair) {
	y.mu.Lock()
	mine := y.pair == p
	y.mu.Unlock()
	if mine {
		y.gone()
	}
}

// end ends what is left of a pair. If nobody has accepted it the end of M resets the other end.
func (p *pair) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, fd := range []*int{&p.m, &p.s, &p.lingers} {
		if *fd >= 0 {
			unix.Close(*fd)
			*fd = -1
		}
	}
}
