//go:build amd64 || arm64

package hijack

import (
	"encoding/binary"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// state is what a socket is.
type state int

const (
	fresh      state = iota // as socket(2) made it, or bind(2), or after a connect that failed
	connecting              // a connect goes on
	connected
	broken    // was connected
	completed // was connected, until both directions had ended
	dead      // a connect that went on without the program has failed, or was given up
	listening
	ended // no program holds it any more
)

// condition is what S is, of a stream.
type condition int

const (
	usable   condition = iota // a local socket that can be connected and can listen, or does
	spent                     // one that cannot any more
	deaf                      // it is spent, and has listened in a kernel that is lost
	failing                   // it is spent, and has an error, unless a call of the host's has told that
	speaking                  // a TCP socket of the inner network, which says by itself what TCP says
)

// socket is a socket of the programs'.
type socket struct {
	s       *supervisor
	cookie  uint64
	standIn standIn // S

	// op is held while a call changes the socket. Calls that wait don't have it.
	op sync.Mutex

	// opts has a lock of its own, held while the kernel is asked. What it says
	// the socket is does not change.
	optMu sync.Mutex
	opts  *linuxsock.Socket

	making sync.Mutex // held while ks is made

	mu       sync.Mutex
	state    state
	ks       *spclient.NetSocket // the kernel's, nil before it is needed
	path     string              // where S is reached, "" when it has no name
	held     holder
	inode    uint32 // of S
	tracked  int32  // S, with ends, or 0
	replaced int    // how often the program got another S in its place

	name name
	peer []byte // the address of the other side, Linux's, when it is known

	stream
	datagrams
	k  *kept          // the other end of an S that is not a stream's, nil when there is none
	nl *netlinkSocket // of sockets of AF_NETLINK
}

// stream is what a socket has of a stream, with its mu.
type stream struct {
	condition  condition   // of S
	attempt    *attempt    // the connect that goes on
	untold     *attempt    // one that went on without the program, which has not asked since
	connection *connection // whose bytes are carried
	pair       *pair       // what S is joined to instead
	listener   *listener   // while it listens
	arrival    *arrival    // of a connection that has come by a listener
	roles      role        // all that it has had
}

// holder is a descriptor by which S was last seen.
type holder struct {
	tid uint32
	num int
}

func (x *socket) seen(tid uint32, num int) {
	x.mu.Lock()
	x.held = holder{tid, num}
	x.mu.Unlock()
}

// kindOf tells what a program asks for: the type of the host's socket that stands for it,
// or why it is refused. All that is not named here is.
func kindOf(domain, typ, proto int) (host int, opts *linuxsock.Socket, e unix.Errno) {
	if domain != unix.AF_INET && domain != unix.AF_INET6 {
		return 0, opts, unix.EAFNOSUPPORT
	}
	// Linux looks at the two numbers themselves first, and a raw socket takes any other protocol.
	if typ > unix.SOCK_PACKET || proto < 0 || proto > unix.IPPROTO_MPTCP {
		return 0, opts, unix.EINVAL
	}
	switch typ {
	case unix.SOCK_STREAM:
		// Multipath TCP is asked for first by some, who take TCP then.
		if proto != 0 && proto != unix.IPPROTO_TCP {
			return 0, opts, unix.EPROTONOSUPPORT
		}
		return unix.SOCK_STREAM, &linuxsock.Socket{Domain: domain, Type: typ, Protocol: unix.IPPROTO_TCP}, 0
	case unix.SOCK_DGRAM:
		switch {
		case proto == 0 || proto == unix.IPPROTO_UDP:
			proto = unix.IPPROTO_UDP
		case proto == unix.IPPROTO_ICMP && domain == unix.AF_INET, proto == unix.IPPROTO_ICMPV6 && domain == unix.AF_INET6:
			// For echo requests; in the kernel it is a raw one.
		default:
			return 0, opts, unix.EPROTONOSUPPORT
		}
		return unix.SOCK_DGRAM, &linuxsock.Socket{Domain: domain, Type: typ, Protocol: proto}, 0
	case unix.SOCK_RAW:
		if proto == 0 {
			return 0, opts, unix.EPROTONOSUPPORT
		}
		return unix.SOCK_DGRAM, &linuxsock.Socket{Domain: domain, Type: typ, Protocol: proto}, 0
	}
	return 0, opts, unix.ESOCKTNOSUPPORT
}

// streamBuffer is how much of what a program sends waits in S, in bytes, if the host
// allows it.
const streamBuffer = 512 << 10

// socket is socket(2).
func (t *trap) socket() {
	t.s.giving.RLock()
	defer t.s.giving.RUnlock()
	domain, typ, proto := t.arg(0), t.arg(1), t.arg(2)
	flags := typ & (unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK)
	if typ&^(0xf|flags) != 0 {
		t.fail(unix.EINVAL)
		return
	}
	if domain == unix.AF_NETLINK {
		t.socketNetlink(typ&0xf, proto, flags)
		return
	}
	hostType, opts, e := kindOf(domain, typ&0xf, proto)
	if e != 0 {
		t.s.say("socket(%d, %d, %d): %v", domain, typ&0xf, proto, e)
		t.fail(e)
		return
	}
	fd, stand := -1, newLocal
	if opts.Type == unix.SOCK_DGRAM && opts.Protocol == unix.IPPROTO_UDP {
		if udp, inner := t.s.newInner(flags&unix.SOCK_NONBLOCK != 0); inner != nil {
			fd, stand = udp, inner
		}
	}
	if fd < 0 {
		var err error
		if fd, err = unix.Socket(unix.AF_UNIX, hostType|unix.SOCK_CLOEXEC|flags&unix.SOCK_NONBLOCK, 0); err != nil {
			t.fail(errnoOf(err))
			return
		}
	}
	defer unix.Close(fd)
	x, e := t.s.newSocket(fd, opts, stand)
	if e != 0 {
		t.fail(e)
		return
	}
	if hostType == unix.SOCK_STREAM {
		// The more waits there, the less often who carries it has to be woken.
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, streamBuffer)
	}
	x.standIn.track(fd)
	if opts.Type == unix.SOCK_RAW {
		// It gets what comes from now on, also if nothing is ever done with it.
		if e := x.open(fd); e != 0 {
			x.gone()
			t.fail(e)
			return
		}
	}
	t.giveFD(fd, x, flags&unix.SOCK_CLOEXEC != 0)
}

// giveFD answers with a descriptor for a socket.
func (t *trap) giveFD(fd int, x *socket, cloexec bool) {
	num, err := t.s.l.ReturnFD(&t.Call, fd, cloexec)
	if err != nil {
		x.gone()
		t.fail(errnoOf(err))
		return
	}
	x.seen(t.TID, num)
	t.s.say("%d: socket %d", t.TID, num)
}

// newSocket makes what is known of a socket S; stand makes what S is.
func (s *supervisor) newSocket(fd int, opts *linuxsock.Socket, stand func(*socket) standIn) (*socket, unix.Errno) {
	cookie, inode, err := identify(fd)
	if err != nil {
		return nil, errnoOf(err)
	}
	x := &socket{s: s, cookie: cookie, inode: inode, opts: opts}
	x.pingID = uint16(s.serial.Add(1)*40503 + uint64(os.Getpid()))
	x.standIn = stand(x)
	s.mu.Lock()
	s.sockets[cookie] = x
	s.mu.Unlock()
	return x, 0
}

// identify is what a socket of the host's is known by.
func identify(fd int) (cookie uint64, inode uint32, err error) {
	var st unix.Stat_t
	if cookie, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE); err == nil {
		err = unix.Fstat(fd, &st)
	}
	return cookie, uint32(st.Ino), err
}

// track has the socket end with S, of which nothing else tells.
func (x *socket) track(host int) {
	x.watch(host)
	x.retrack()
}

// watch makes it possible that S is tracked later, when nobody has a descriptor of it.
func (x *socket) watch(host int) {
	id := x.s.ends.watch(host)
	x.mu.Lock()
	x.tracked = id
	x.mu.Unlock()
}

// trackedBy is S's number with ends, or 0.
func (x *socket) trackedBy() int32 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.tracked
}

// retrack tracks S again, which has no peer any more.
func (x *socket) retrack() {
	gone := x.whenGone()
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.tracked != 0 && x.state != ended {
		x.s.ends.track(x.tracked, gone)
	}
}

// untrack ends tracking, with x.mu held, while S has a peer or a name.
func (x *socket) untrack() {
	if x.tracked != 0 {
		x.s.ends.untrack(x.tracked)
	}
}

// drop forgets a socket, and ends what is there of it.
func (x *socket) drop() {
	x.sendsRest()
	x.mu.Lock()
	was := x.leave(ended, spent)
	k, path, p := x.k, x.path, x.pair
	x.k, x.pair = nil, nil
	x.untrack()
	x.mu.Unlock()
	if k != nil {
		k.close()
	}
	x.standIn.close()
	was.close()
	if p != nil {
		p.end()
	}
	if x.arrival != nil {
		if accepted := x.redeem(); accepted >= 0 {
			unix.Close(accepted)
		}
	}
	if path != "" {
		unix.Unlink(path)
	}
}

// whenGone is what is called when no program holds S any more, the S of now.
func (x *socket) whenGone() func() {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := x.replaced
	return func() {
		x.mu.Lock()
		other := x.replaced != n
		// A stream that has another end is told of by that, when all that was written
		// has been carried.
		carried := x.connection != nil
		x.mu.Unlock()
		if !other && !carried {
			x.gone()
		}
	}
}

// gone is called when no program holds S any more.
func (x *socket) gone() {
	x.forget()
	x.drop()
}

func (x *socket) forget() {
	x.s.changed()
	a, key := x.arrival, ""
	x.mu.Lock()
	cookie := x.cookie
	if a != nil {
		key = a.key
	}
	x.mu.Unlock()
	x.s.mu.Lock()
	if x.s.sockets[cookie] == x {
		delete(x.s.sockets, cookie)
	}
	// It may have gone with L, if nobody has accepted it.
	if x.s.offered[key] == x {
		delete(x.s.offered, key)
	}
	x.s.mu.Unlock()
	if a != nil && !a.counted.Swap(true) {
		a.l.children.Add(-1)
	}
}

// address translates an address that the program gives the socket.
func (x *socket) address(use linuxsock.Use, sa []byte) ([]byte, unix.Errno) {
	x.optMu.Lock()
	defer x.optMu.Unlock()
	return x.opts.Address(x.s.machine, use, sa)
}

// pend keeps an error for the program's next call, or SO_ERROR.
func (x *socket) pend(e unix.Errno) {
	x.optMu.Lock()
	x.opts.Pending = e
	x.optMu.Unlock()
}

// hasError tells whether an error waits for the program.
func (x *socket) hasError() bool {
	x.optMu.Lock()
	defer x.optMu.Unlock()
	return x.opts.Pending != 0
}

// takeError returns the error that waits for the program.
func (x *socket) takeError() unix.Errno {
	x.optMu.Lock()
	defer x.optMu.Unlock()
	e := x.opts.Pending
	x.opts.Pending = 0
	return e
}

// ping tells whether it is an unprivileged socket for echo requests (icmp(7)).
func (x *socket) ping() bool {
	return x.opts.Type == unix.SOCK_DGRAM && x.opts.Protocol != unix.IPPROTO_UDP && x.nl == nil
}

// rawPacket tells whether what it sends to the kernel, and gets from it, has the header of
// IPv4.
func (x *socket) rawPacket() bool {
	return x.opts.Domain == unix.AF_INET && (x.opts.Type == unix.SOCK_RAW || x.ping())
}

// getsockname is getsockname(2).
func (t *trap) getsockname() {
	x := t.sock
	name, e := x.sockname()
	if e != 0 {
		t.fail(e)
		return
	}
	sa := x.linuxAddr(name)
	switch {
	case sa == nil:
		sa = x.noAddr()
	case x.ping():
		binary.BigEndian.PutUint16(sa[portAt:], x.pingID) // its port
	}
	t.done(0, t.putSockaddr(t.Args[1], t.Args[2], sa))
}

// getpeername is getpeername(2).
func (t *trap) getpeername() {
	x := t.sock
	x.mu.Lock()
	peer, state := x.peer, x.state
	x.mu.Unlock()
	if state == dead {
		x.showRefused(t)
	}
	if peer == nil || state != connected && state != completed {
		t.fail(unix.ENOTCONN)
		return
	}
	t.done(0, t.putSockaddr(t.Args[1], t.Args[2], peer))
}

// linuxAddr translates an address of the kernel's for this socket.
func (x *socket) linuxAddr(sa []byte) []byte {
	b := linuxsock.FromNetBSD(x.s.machine, sa)
	if b == nil {
		return nil
	}
	if linuxsock.Family(b) != x.opts.Domain {
		if ap, ok := linuxsock.Addr(b); ok {
			b = linuxsock.Sockaddr(ap, x.opts.Domain)
		}
	}
	return b
}

// noAddr is the address of a socket that has none.
func (x *socket) noAddr() []byte {
	if x.opts.Domain == unix.AF_INET6 {
		return append(native.AppendUint16(nil, unix.AF_INET6), make([]byte, 26)...)
	}
	return append(native.AppendUint16(nil, unix.AF_INET), make([]byte, 14)...)
}

// shutdown is shutdown(2): of a connection it is the host's, which the pump sees, and of a UDP socket of the host's.
func (t *trap) shutdown() {
	x := t.sock
	x.op.Lock()
	defer x.op.Unlock()
	x.mu.Lock()
	how, state, condition, c, p := t.arg(1), x.state, x.condition, x.connection, x.pair
	stands := state == connected || state == completed && x.peer != nil
	x.mu.Unlock()
	switch {
	case how < unix.SHUT_RD || how > unix.SHUT_RDWR:
		t.fail(unix.EINVAL)
	case state == listening && how != unix.SHUT_WR:
		t.done(0, x.stopListening(t))
	case state == connecting:
		// Whatever direction: there is nothing yet to end but the attempt.
		e := x.giveUpConnection(t)
		if e == unix.EISCONN {
			e = unix.ENOTCONN
		}
		t.done(0, e)
	case stands || state == listening || condition == speaking || x.standIn.asUDP():
		switch {
		case c != nil:
			c.shuts(how)
		case p != nil && how != unix.SHUT_RD:
			p.ks.Shutdown(netbsd.SHUT_WR)
		}
		x.tellOnce() // it stands, for connect(2), too
		if x.opts.Type != unix.SOCK_STREAM && how != unix.SHUT_RD {
			x.mu.Lock()
			x.shut.add(how)
			x.mu.Unlock()
		}
		t.native()
	default:
		if x.opts.Type == unix.SOCK_STREAM && condition == usable {
			// It wakes who polls all the same, and the next to come of the socket needs another S.
			unix.Shutdown(t.host, how)
			x.mu.Lock()
			x.condition = spent
			x.mu.Unlock()
		}
		t.fail(unix.ENOTCONN)
	}
}

// nonblocking tells whether S is, at this moment.
func nonblocking(host int) bool {
	flags, err := unix.FcntlInt(uintptr(host), unix.F_GETFL, 0)
	return err == nil && flags&unix.O_NONBLOCK != 0
}

// borrow returns a copy of S's descriptor, by one that it was last seen at, or else one
// that is found among all that the programs have.
func (x *socket) borrow() (int, bool) {
	x.mu.Lock()
	held := x.held
	x.mu.Unlock()
	if held.tid != 0 {
		if fd, err := x.s.t.borrow(held.tid, held.num); err == nil {
			if x.is(fd) {
				return fd, true
			}
			unix.Close(fd)
		}
	}
	return x.search()
}

// is tells whether a descriptor is S.
func (x *socket) is(fd int) bool {
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	x.mu.Lock()
	defer x.mu.Unlock()
	return err == nil && cookie == x.cookie
}

// search looks for S among the descriptors of all processes below this one.
func (x *socket) search() (int, bool) {
	for _, pid := range descendants() {
		for _, name := range namesIn("/proc/" + pid + "/fd") {
			if fd, ok := x.tryFD(pid, name); ok {
				return fd, true
			}
		}
	}
	return -1, false
}
