package spclient

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

const (
	// maxTransfer is the most bytes of one call on a stream.
	maxTransfer = 64 << 10
	// maxPacket is the largest message that is received whole.
	maxPacket = 96 << 10
	// answerTime is how long the kernel may take to answer a call that does not
	// wait for anything, when somebody does not want to wait for it any longer.
	answerTime = 5 * time.Second
)

// errOverdue is the error of sockets that have a call for whose answer nobody
// waits any more: what it has read or written is not known.
var errOverdue = errors.New("the kernel did not answer an earlier call in time")

// A netFD is a socket of the kernel's behind a net.Conn, net.Listener or
// net.PacketConn. It is non-blocking in the kernel: each operation tries its
// call and waits, with the session's netpoll, only when that says EAGAIN.
type netFD struct {
	c       *Conn
	s       *session
	fd      FD
	family  int32
	typ     int32
	network string
	laddr   net.Addr
	raddr   net.Addr

	// life is held for reading while a call of the kernel's has the
	// descriptor, never during a wait, and for writing to close it: no call can
	// come to a successor of the same number.
	life   sync.RWMutex
	closed atomic.Bool
	// blocking is that a listener's accept(2) waits in the kernel.
	blocking bool
	stop     callStop

	rd, wr ioSide
}

// A callStop is the context of a socket's calls. They do not wait for anything in
// the kernel, so it ends only when that does not answer.
type callStop struct {
	once sync.Once
	done chan struct{}
}

func (c *callStop) cancel() { c.once.Do(func() { close(c.done) }) }

func (c *callStop) Deadline() (time.Time, bool) { return time.Time{}, false }
func (c *callStop) Done() <-chan struct{}       { return c.done }
func (c *callStop) Value(any) any               { return nil }

func (c *callStop) Err() error {
	select {
	case <-c.done:
		return context.Canceled
	default:
		return nil
	}
}

// newNetFD makes a netFD without a descriptor.
func newNetFD(c *Conn, network string, family, typ int32) *netFD {
	fd := &netFD{c: c, network: network, family: family, typ: typ}
	fd.stop.done = make(chan struct{})
	fd.rd.wake, fd.rd.filter = make(chan struct{}, 1), netbsd.EVFILT_READ
	fd.rd.counts = typ == netbsd.SOCK_STREAM && (family == netbsd.AF_INET || family == netbsd.AF_INET6)
	fd.rd.last.look()
	fd.wr.wake, fd.wr.filter = make(chan struct{}, 1), netbsd.EVFILT_WRITE
	// Who writes seldom waits, and what has been sent makes room all the time.
	fd.wr.once = true
	return fd
}

// belong gives fd its descriptor, which is one of a session's.
func (fd *netFD) belong(s *session, num int32) {
	s.net.init(s.machine)
	fd.s, fd.fd = s, FD{num, s.gen}
}

// socketFlags are those of all sockets: as with package net, they do not survive an
// exec.
const socketFlags = netbsd.SOCK_NONBLOCK | netbsd.SOCK_CLOEXEC | netbsd.SOCK_NOSIGPIPE

// openSocket makes a socket. Should the connection have been lost, and be one that is
// made again, that is now.
func openSocket(ctx context.Context, c *Conn, network string, family, typ, proto int32) (*netFD, error) {
	fd := newNetFD(c, network, family, typ)
	if _, _, err := fd.open(ctx, proto, nil, nil); err != nil {
		return nil, err
	}
	return fd, nil
}

// open makes the socket. With an address, sa, and a kernel that does so in the same call it sets
// options, with values in its byte order, and begins to connect: dialed is whether it has, and errno
// connect's.
func (fd *netFD) open(ctx context.Context, proto int32, sa []byte, options func(netbsd.ByteOrder) []SocketOption) (dialed bool, errno netbsd.Errno, err error) {
	defer fd.follow(ctx)()
	for raised := false; ; {
		call := fd.c.NewCall(netbsd.SYS___socket30).Int(fd.family).Int(fd.typ | socketFlags).Int(proto)
		if sa != nil {
			if options := options(call.s.machine.Order); fits(options) {
				call.dials = true
				call.PlaceIn(sa)
				for _, o := range options {
					call.PlaceIn(o.Append(nil, call.s.layout))
				}
			}
		}
		p := &call.s.net
		p.init(call.s.machine)
		err := p.enter(&fd.stop)
		if err != nil {
			call.free()
		} else {
			err = call.run(&fd.stop)
			p.leave()
		}
		if refused(err) {
			if err = sleep(&fd.stop, refusedDelayMin); err == nil {
				continue
			}
			return false, 0, errOverdue
		} else if errors.Is(err, context.Canceled) && fd.stop.Err() != nil {
			return false, 0, errOverdue
		} else if err != nil {
			return false, 0, err
		}
		reply, s := call.reply, call.s
		dialed := call.dials && s.dials
		call.free()
		errno := netbsd.Errno(reply.Errno)
		switch {
		case errno == netbsd.EMFILE && !raised && s.raiseLimit(&fd.stop):
			raised = true
			continue
		case errno != 0:
			return false, 0, sysError("socket", errno)
		}
		fd.belong(s, int32(reply.Retval[0]))
		if dialed {
			errno = netbsd.Errno(reply.Retval[1])
		}
		return dialed, errno, nil
	}
}

// fits tells whether a call can bring options along.
func fits(options []SocketOption) bool {
	n := maxSockaddr
	for i := range options {
		n += dialOptionRoom + len(options[i].Value)
	}
	return len(options) < sysproxy.MaxSegments && n <= maxCarried
}

// dialOptionRoom is more than an option's head needs.
const dialOptionRoom = 16

// follow has the calls of fd end some time after ctx, until the function that it
// returns is called.
func (fd *netFD) follow(ctx context.Context) func() {
	if ctx.Done() == nil {
		return func() {}
	}
	var t *time.Timer
	var mu sync.Mutex
	stop := context.AfterFunc(ctx, func() {
		mu.Lock()
		defer mu.Unlock()
		t = time.AfterFunc(answerTime, fd.stop.cancel)
	})
	return func() {
		if stop() {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if t != nil {
			t.Stop()
		}
	}
}

// begin lets the caller use the descriptor in a call, until end.
func (fd *netFD) begin() error {
	fd.life.RLock()
	if fd.closed.Load() {
		fd.life.RUnlock()
		return net.ErrClosed
	}
	return nil
}

func (fd *netFD) end() { fd.life.RUnlock() }

// newCall begins a call whose first argument is the descriptor.
func (fd *netFD) newCall(num uint32) *Call {
	return fd.s.newCall(num, sysproxy.TypeSyscall).FD(fd.fd)
}

// How long to wait before a call is made again that the kernel has not taken.
const (
	refusedDelayMin = time.Millisecond
	refusedDelayMax = 50 * time.Millisecond
)

// refused tells whether a call has not been made, because too many are under way or
// the process executes a program.
func refused(err error) bool {
	return err == error(sysproxy.ErrTryAgain) || err == error(sysproxy.ErrInExec)
}

// call makes a call, again and again while the kernel refuses. The error is an
// Errno when the kernel says one.
func (fd *netFD) call(build func() *Call) (reply sysproxy.SyscallReply, err error) {
	for delay := refusedDelayMin; ; delay = min(2*delay, refusedDelayMax) {
		reply, err = fd.s.net.do(&fd.stop, build())
		if err == nil {
			if reply.Errno != 0 {
				err = netbsd.Errno(reply.Errno)
			}
			return reply, err
		}
		if !refused(err) || fd.closed.Load() {
			return reply, fd.callError(err)
		}
		if err := sleep(&fd.stop, delay); err != nil {
			return reply, fd.callError(err)
		}
	}
}

// callError says why a call has failed that the kernel has not answered.
func (fd *netFD) callError(err error) error {
	switch {
	case errors.Is(err, context.Canceled):
		if fd.closed.Load() {
			return net.ErrClosed
		}
		return errOverdue
	case err == ErrStale:
		if lost := fd.s.Err(); lost != nil {
			return lost
		}
	}
	return err
}

// sysError is the failure of a system call as package net has it.
func sysError(name string, errno netbsd.Errno) error { return os.NewSyscallError(name, errno) }

// wrapErrno says which call failed when err is the kernel's.
func wrapErrno(name string, err error) error {
	if errno, ok := err.(netbsd.Errno); ok {
		return sysError(name, errno)
	}
	return err
}

// control makes a call that has nothing to do with reading and writing.
func (fd *netFD) control(name string, build func() *Call) (sysproxy.SyscallReply, error) {
	if err := fd.begin(); err != nil {
		return sysproxy.SyscallReply{}, err
	}
	defer fd.end()
	reply, err := fd.call(build)
	return reply, wrapErrno(name, err)
}

// connect connects, until ctx ends.
func (fd *netFD) connect(ctx context.Context, sa []byte) error {
	fd.wr.lock.Lock()
	defer fd.wr.lock.Unlock()
	over, err := fd.startConnect(sa)
	if !over {
		err = fd.settle(ctx)
	}
	return err
}

// startConnect begins a connection, and tells whether it is over already, which those of a
// kernel to itself mostly are; wr.lock is held.
func (fd *netFD) startConnect(sa []byte) (over bool, err error) {
	_, err = fd.control("connect", func() *Call {
		call := fd.newCall(netbsd.SYS_connect).In(sa).Uint(uint32(len(sa)))
		call.settles = true
		return call
	})
	errno, ok := errors.AsType[netbsd.Errno](err)
	if err != nil && !ok {
		return true, err
	}
	return fd.began(errno)
}

// began is startConnect after connect(2).
func (fd *netFD) began(errno netbsd.Errno) (over bool, err error) {
	switch {
	case errno == 0:
		return true, nil
	case errno != netbsd.EINPROGRESS && errno != netbsd.EINTR:
		return true, sysError("connect", errno)
	case fd.s.settles:
		return false, nil // it would have said so
	}
	// To ask is one call, to wait for the news three. What went wrong is told there.
	over, _ = fd.made()
	return over, nil
}

// made tells whether a connection that has been begun stands.
func (fd *netFD) made() (bool, error) {
	_, err := fd.name(netbsd.SYS_getpeername, "getpeername")
	if errors.Is(err, netbsd.ENOTCONN) {
		return false, nil
	}
	return err == nil, err
}

// settled waits for a connection that has been begun.
func (fd *netFD) settled(ctx context.Context) error {
	fd.wr.lock.Lock()
	defer fd.wr.lock.Unlock()
	return fd.settle(ctx)
}

func (fd *netFD) settle(ctx context.Context) error {
	for {
		if err := fd.wait(&fd.wr, ctx.Done()); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		errno, err := fd.getsockoptInt(netbsd.SOL_SOCKET, netbsd.SO_ERROR)
		if err != nil {
			return err
		}
		if errno != 0 {
			return sysError("connect", netbsd.Errno(errno))
		}
		// It may have been woken for something else.
		if made, err := fd.made(); made || err != nil {
			return err
		}
	}
}

// accept takes a connection of a listener's.
func (fd *netFD) accept() (*netFD, error) {
	fd.rd.lock.Lock()
	defer fd.rd.lock.Unlock()
	sa := sockaddrBufs.Get().(*sockaddrBuf)
	defer sockaddrBufs.Put(sa)
	length := sa[maxSockaddr+1:][:4]
	order := fd.s.machine.Order
	for raised := false; ; {
		reply, err := fd.transfer(&fd.rd, func() *Call {
			order.PutUint32(length, maxSockaddr)
			return fd.newCall(netbsd.SYS_paccept).Out(sa[:maxSockaddr]).InOut(length).Ptr(0).Int(socketFlags)
		})
		switch {
		case err == netbsd.ECONNABORTED:
			continue // it went before it was taken
		case err == netbsd.EMFILE && !raised && fd.s.raiseLimit(&fd.stop):
			raised = true
			continue
		case err != nil:
			return nil, wrapErrno("accept", err)
		}
		nfd := newNetFD(fd.c, fd.network, fd.family, fd.typ)
		nfd.belong(fd.s, int32(reply.Retval[0]))
		nfd.raddr = nfd.endAddr(sa[:min(order.Uint32(length), maxSockaddr)])
		return nfd, nil
	}
}

// block makes a listener one in the kernel whose accept(2) waits there.
func (fd *netFD) block() error {
	_, err := fd.control("fcntl", func() *Call {
		return fd.newCall(netbsd.SYS_fcntl).Int(netbsd.F_SETFL).Word(0)
	})
	fd.blocking = err == nil
	return err
}

// awaitConn takes a connection of a listener's that waits in the kernel.
func (fd *netFD) awaitConn() (*netFD, error) {
	fd.rd.lock.Lock()
	defer fd.rd.lock.Unlock()
	var sa [maxSockaddr]byte
	var length [4]byte
	order := fd.s.machine.Order
	for raised := false; ; {
		if err := fd.begin(); err != nil {
			return nil, err
		}
		order.PutUint32(length[:], maxSockaddr)
		call := fd.newCall(netbsd.SYS_paccept).Out(sa[:]).InOut(length[:]).Ptr(0).Int(socketFlags)
		// Close need not wait: the kernel ends it then.
		sent := sync.OnceFunc(fd.end)
		call.blocks, call.sent = true, sent
		reply, err := call.do(&fd.stop)
		sent()
		switch errno := netbsd.Errno(reply.Errno); {
		case refused(err):
			if err := sleep(&fd.stop, refusedDelayMin); err != nil {
				return nil, fd.callError(err)
			}
			continue
		case err != nil:
			return nil, fd.callError(err)
		case errno == netbsd.ECONNABORTED, errno == netbsd.EINTR:
			continue
		case errno == netbsd.EMFILE && !raised && fd.s.raiseLimit(&fd.stop):
			raised = true
			continue
		case errno == netbsd.EBADF && fd.closed.Load():
			return nil, net.ErrClosed
		case errno != 0:
			return nil, sysError("accept", errno)
		}
		nfd := newNetFD(fd.c, fd.network, fd.family, fd.typ)
		nfd.belong(fd.s, int32(reply.Retval[0]))
		nfd.raddr = nfd.endAddr(sa[:min(order.Uint32(length[:]), maxSockaddr)])
		return nfd, nil
	}
}

// name returns the socket's address or its peer's.
func (fd *netFD) name(num uint32, what string) ([]byte, error) {
	sa := make([]byte, maxSockaddr)
	var length [4]byte
	order := fd.s.machine.Order
	_, err := fd.control(what, func() *Call {
		order.PutUint32(length[:], maxSockaddr)
		return fd.newCall(num).Out(sa).InOut(length[:])
	})
	return sa[:min(order.Uint32(length[:]), maxSockaddr)], err
}

// learn sets the socket's own address.
func (fd *netFD) learn() error {
	sa, err := fd.name(netbsd.SYS_getsockname, "getsockname")
	if err == nil {
		fd.laddr = fd.endAddr(sa)
	}
	return err
}

func (fd *netFD) bind(sa []byte) error {
	_, err := fd.control("bind", func() *Call {
		return fd.newCall(netbsd.SYS_bind).In(sa).Uint(uint32(len(sa)))
	})
	return err
}

func (fd *netFD) listen(backlog int32) error {
	fd.rd.ones = true // its events tell of connections
	_, err := fd.control("listen", func() *Call { return fd.newCall(netbsd.SYS_listen).Int(backlog) })
	return err
}

func (fd *netFD) shutdown(how int32) error {
	_, err := fd.control("shutdown", func() *Call { return fd.newCall(netbsd.SYS_shutdown).Int(how) })
	// Whoever waits must look, whether or not the kernel tells.
	if how != netbsd.SHUT_WR {
		p := &fd.s.net
		p.mu.Lock()
		fd.rd.last.look()
		p.mu.Unlock()
		fd.rd.kick()
	}
	if how != netbsd.SHUT_RD {
		fd.wr.kick()
	}
	return err
}

func (fd *netFD) setsockopt(level, name int32, val []byte) error {
	_, err := fd.control("setsockopt", func() *Call {
		return fd.newCall(netbsd.SYS_setsockopt).Int(level).Int(name).In(val).Uint(uint32(len(val)))
	})
	return err
}

func (fd *netFD) setsockoptInt(level, name, val int32) error {
	var b [4]byte
	fd.s.machine.Order.PutUint32(b[:], uint32(val))
	return fd.setsockopt(level, name, b[:])
}

func (fd *netFD) getsockoptInt(level, name int32) (int32, error) {
	var val, length [4]byte
	order := fd.s.machine.Order
	_, err := fd.control("getsockopt", func() *Call {
		order.PutUint32(length[:], 4)
		return fd.newCall(netbsd.SYS_getsockopt).Int(level).Int(name).Out(val[:]).InOut(length[:])
	})
	return int32(order.Uint32(val[:])), err
}

// close closes the socket. Operations that are under way end with net.ErrClosed.
func (fd *netFD) close() error { return fd.closeNow(true) }

// closeNow closes the socket, and waits for that if it is to.
func (fd *netFD) closeNow(wait bool) error {
	if fd.closed.Swap(true) {
		return net.ErrClosed
	}
	for _, w := range [...]*ioSide{&fd.rd, &fd.wr} {
		w.kick()
		w.timerMu.Lock()
		if w.timer != nil {
			w.timer.Stop()
			w.timer = nil
		}
		w.timerMu.Unlock()
	}
	if !fd.life.TryLock() {
		// Calls that are under way end soon, or never.
		t := time.AfterFunc(answerTime, fd.stop.cancel)
		fd.life.Lock()
		t.Stop()
	}
	defer fd.life.Unlock()
	fd.s.net.forget(fd)
	watched := fd.s.net.watched(fd)
	if !wait && !watched && fd.postClose() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), answerTime)
	defer cancel()
	// NetBSD's close(2) of what a kqueue watches waits, without letting others have
	// the processor, for a kevent(2) that is looking at it just now: on a kernel
	// with one processor, or with EV_ONESHOT, all of it stops (knote_detach in
	// kern_event.c).
	if watched && fd.s.pausePoll(ctx) == nil {
		defer fd.s.resumePoll()
		if !wait && fd.postClose() {
			return nil
		}
	}
	for {
		reply, err := fd.s.net.do(ctx, fd.newCall(netbsd.SYS_close))
		switch {
		case refused(err):
			if err = sleep(ctx, refusedDelayMin); err == nil {
				continue
			}
		case err == nil && reply.Errno != 0:
			err = sysError("close", netbsd.Errno(reply.Errno))
		case err != nil && fd.s.Err() != nil:
			err = nil // the kernel has closed it
		}
		return err
	}
}

// postClose has the socket closed in the kernel together with the next call that is made, or
// soon. It reports whether that will be.
func (fd *netFD) postClose() bool {
	var args netbsd.Args
	args.Reset(fd.s.machine)
	args.Int(fd.fd.num)
	return fd.s.postLater(netbsd.SYS_close, args.Bytes())
}

// raiseLimit raises the number of descriptors that this process can have in the
// kernel to the most that it can be, and tells whether a call that found too many may be
// made again. A rump_server's processes start with 128.
func (s *session) raiseLimit(ctx context.Context) bool {
	m := s.machine
	buf := make([]byte, netbsd.Sizeof(m, netbsd.Rlimit{}))
	reply, err := s.newCall(netbsd.SYS_getrlimit, sysproxy.TypeSyscall).
		Int(netbsd.RLIMIT_NOFILE).Out(buf).do(ctx)
	var lim netbsd.Rlimit
	if err != nil || reply.Errno != 0 || netbsd.Unmarshal(m, buf, &lim) != nil {
		return false
	}
	if lim.Cur >= lim.Max {
		return s.raised.Load() // by somebody else, since the caller's call failed
	}
	s.raised.Store(true)
	lim.Cur = lim.Max
	reply, err = s.newCall(netbsd.SYS_setrlimit, sysproxy.TypeSyscall).
		Int(netbsd.RLIMIT_NOFILE).In(netbsd.Marshal(m, &lim)).do(ctx)
	return err == nil && reply.Errno == 0
}

// wraps tells whether an error is one of several of the kernel's.
func wraps(err error, errnos ...netbsd.Errno) bool {
	var e netbsd.Errno
	return errors.As(err, &e) && slices.Contains(errnos, e)
}
