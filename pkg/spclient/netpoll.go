package spclient

import (
	"context"
	"sync"
	"time"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

const (
	// pollSlice is how long a kevent(2) goes on that nobody needs any more: it
	// holds a worker of the kernel's, but somebody may soon wait again.
	pollSlice = time.Second
	// pollEvents is how many events one kevent(2) brings: 4 KiB of them.
	pollEvents = 128
	// maxSocketCalls is how many calls on sockets are under way at a time. They do not
	// wait in the kernel, so that more would not be done sooner; a rump_server has
	// 128 workers, and rumpd refuses more than 4,096 calls.
	maxSocketCalls = 64
	// wakeTimer is the number of the timer that ends a kevent(2) early.
	wakeTimer = 1
)

// A netpoll waits for all sockets of a session with one kqueue in the kernel.
//
// A socket is in the kqueue for reading from the first time on that a call would
// have blocked, and tells of changes only (EV_CLEAR); for writing it is there while
// somebody waits for that (EV_ONESHOT). One goroutine calls kevent(2), and only while
// somebody waits who has not been woken; what happens meanwhile stays in the kqueue.
// So any number of waits take one worker of the kernel's.
type netpoll struct {
	mu sync.Mutex
	kq FD
	// epoch counts kqueues. Registrations with an earlier one are void.
	epoch uint32
	// socks are the sockets that have ever waited, by descriptor.
	socks map[int32]*netFD
	// waiting counts the directions whose waits is set.
	waiting int
	paused  int
	// running says that there is the goroutine that calls kevent(2). It comes and goes
	// with those who wait, and is made without allocations. ended is closed when it has
	// ended, if somebody waits for that.
	running bool
	ended   chan struct{}
	goRun   func() // run
	// linger ends a kevent(2) that nobody needs.
	linger *time.Timer
	// wakeR and wakeW are a pipe that the kqueue watches, to end a kevent(2) early;
	// the zero FD when there is none. wakes counts the bytes in it.
	wakeR, wakeW FD
	wakes        int

	once   sync.Once // for layout and gate
	layout keventLayout
	gate   chan struct{} // has a value for each call under way
	// events and slice, the time of kevent(2), are that goroutine's.
	events []byte
	slice  []byte

	zones zoneCache
}

// init makes what all sockets of a session need.
func (p *netpoll) init(m *netbsd.Machine) {
	p.once.Do(func() {
		p.layout = keventLayoutOf(m)
		p.gate = make(chan struct{}, maxSocketCalls)
	})
}

// do makes a call when not too many others are under way.
func (p *netpoll) do(ctx context.Context, call *Call) (sysproxy.SyscallReply, error) {
	if err := p.enter(ctx); err != nil {
		call.free()
		return sysproxy.SyscallReply{}, err
	}
	defer p.leave()
	return call.do(ctx)
}

func (p *netpoll) enter(ctx context.Context) error {
	select {
	case p.gate <- struct{}{}:
		return nil
	default:
	}
	select {
	case p.gate <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *netpoll) leave() { <-p.gate }

// keventLayout is where the fields of struct kevent are.
type keventLayout struct{ size, ident, filter, flags, fflags, data int }

func keventLayoutOf(m *netbsd.Machine) (l keventLayout) {
	l.size = netbsd.Sizeof(m, netbsd.Kevent{})
	for _, f := range netbsd.Fields(m, netbsd.Kevent{}) {
		switch f.Name {
		case "ident":
			l.ident = f.Offset
		case "filter":
			l.filter = f.Offset
		case "flags":
			l.flags = f.Offset
		case "fflags":
			l.fflags = f.Offset
		case "data":
			l.data = f.Offset
		}
	}
	return l
}

// maxKevent is the size of the largest struct kevent.
const maxKevent = 40

// change makes one change to the kqueue and returns its errno. That the kqueue
// itself is none is an error.
func (s *session) change(ctx context.Context, kq FD, ev netbsd.Kevent) (netbsd.Errno, error) {
	m := s.machine
	l := s.net.layout
	var buf [maxKevent]byte
	b := buf[:l.size]
	m.PutWord(b[l.ident:], uint64(ev.Ident))
	m.Order.PutUint32(b[l.filter:], ev.Filter)
	// With EV_RECEIPT the change's own result is the only event that comes.
	m.Order.PutUint32(b[l.flags:], ev.Flags|netbsd.EV_RECEIPT)
	m.Order.PutUint64(b[l.data:], uint64(ev.Data))
	call := s.newCall(netbsd.SYS___kevent50, sysproxy.TypeSyscall).FD(kq).In(b).Word(1)
	var out [maxKevent]byte
	res := out[:l.size]
	reply, err := s.net.do(ctx, call.Out(res).Word(1).Ptr(0))
	switch {
	case err != nil:
		return 0, err
	case reply.Errno != 0:
		return 0, netbsd.Errno(reply.Errno)
	case reply.Retval[0] == 1 && m.Order.Uint32(res[l.flags:])&netbsd.EV_ERROR != 0:
		return netbsd.Errno(m.Order.Uint64(res[l.data:])), nil
	}
	return 0, nil
}

// kick wakes who waits for w, or will do next.
func (w *ioSide) kick() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// wait waits until a call of fd's in the direction of w may succeed, or there is
// another reason to look: a deadline, or Close. It ends with the session, whose
// error it returns, and without error when done, which may be nil, is closed.
func (fd *netFD) wait(w *ioSide, done <-chan struct{}) error {
	s, p := fd.s, &fd.s.net
	p.mu.Lock()
	p.waiting++
	w.waits, w.err = true, nil
	if p.socks == nil {
		p.socks = make(map[int32]*netFD)
	}
	p.socks[fd.fd.num] = fd
	p.start(s)
	kq, epoch, known := p.kq, p.epoch, w.epoch
	p.mu.Unlock()
	var err error
	// While there is no kqueue its maker wakes everybody when there is.
	if kq.Valid() && (known != epoch || w.once) {
		err = fd.register(w, kq, epoch)
	}
	if err == nil {
		select {
		case <-w.wake:
		case <-done:
		case <-s.done:
			err = s.Err()
		}
	}
	p.mu.Lock()
	if w.waits {
		w.waits = false
		p.waiting--
		p.unneeded(s)
	}
	if err == nil {
		err = w.err
	}
	w.err = nil
	p.mu.Unlock()
	return err
}

// register puts a direction of fd into the kqueue. If fd is ready by now, that
// is an event.
func (fd *netFD) register(w *ioSide, kq FD, epoch uint32) error {
	if err := fd.begin(); err != nil {
		return err
	}
	defer fd.end()
	p := &fd.s.net
	flags := uint32(netbsd.EV_ADD | netbsd.EV_CLEAR)
	if w.once {
		flags = netbsd.EV_ADD | netbsd.EV_ONESHOT
	}
	errno, err := fd.s.change(&fd.stop, kq, netbsd.Kevent{
		Ident: netbsd.Ptr(fd.fd.num), Filter: w.filter, Flags: flags,
	})
	switch {
	case err == netbsd.EBADF:
		// Somebody closed it. The next wait starts anew.
		p.lose(kq)
		w.kick()
		return nil
	case refused(err):
		// Looking again takes a moment.
		time.AfterFunc(refusedDelayMin, w.kick)
		return nil
	case err != nil:
		if errno, ok := err.(netbsd.Errno); ok {
			err = sysError("kevent", errno)
		}
		return fd.callError(err)
	case errno != 0:
		return sysError("kevent", errno)
	}
	p.mu.Lock()
	w.epoch = epoch
	p.mu.Unlock()
	return nil
}

// lose forgets a kqueue that is none any more.
func (p *netpoll) lose(kq FD) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.kq == kq {
		p.kq = FD{}
	}
}

// forget is called when fd is about to be closed.
func (p *netpoll) forget(fd *netFD) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.socks[fd.fd.num] == fd {
		delete(p.socks, fd.fd.num)
	}
}

// start starts the goroutine that calls kevent(2), if it is needed and allowed;
// p.mu is held.
func (p *netpoll) start(s *session) {
	if !p.running && p.waiting > 0 && p.paused == 0 {
		if p.goRun == nil {
			p.goRun = func() { p.run(s) }
		}
		p.running = true
		go p.goRun()
	}
}

// run waits for events for as long as somebody waits for one.
func (p *netpoll) run(s *session) {
	m := s.machine
	l := p.layout
	if p.events == nil {
		p.events = make([]byte, pollEvents*l.size)
		p.slice = netbsd.Marshal(m, netbsd.NewTimespec(pollSlice))
	}
	for {
		p.mu.Lock()
		kq, wakeable := p.kq, p.wakeW.Valid()
		if p.waiting == 0 || p.paused > 0 || s.Err() != nil {
			p.running = false
			if p.ended != nil {
				close(p.ended)
				p.ended = nil
			}
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
		var err error
		if !kq.Valid() {
			err = p.open(s)
		} else {
			call := s.newCall(netbsd.SYS___kevent50, sysproxy.TypeSyscall).FD(kq).Ptr(0).Word(0).
				Out(p.events).Word(pollEvents)
			if wakeable {
				call.Ptr(0) // there is no time for the kernel to ask for
			} else {
				call.In(p.slice)
			}
			var reply sysproxy.SyscallReply
			reply, err = call.do(context.Background())
			if err == nil && reply.Errno != 0 {
				err = netbsd.Errno(reply.Errno)
			}
			if err == nil {
				n := int(min(reply.Retval[0], pollEvents))
				p.dispatch(m, l, p.events[:n*l.size])
			}
		}
		switch err {
		case nil, netbsd.EINTR: // an exec interrupts
		case netbsd.EBADF:
			p.lose(kq)
		default:
			if refused(err) {
				time.Sleep(refusedDelayMin)
				continue
			}
			p.fail(err)
		}
	}
}

// unneeded has kevent(2) be ended in some time if nobody waits now and then; p.mu is
// held. Without a pipe it ends by itself.
func (p *netpoll) unneeded(s *session) {
	if p.waiting > 0 || !p.running || !p.wakeW.Valid() {
		return
	}
	if p.linger != nil {
		p.linger.Reset(pollSlice)
		return
	}
	p.linger = time.AfterFunc(pollSlice, func() {
		p.mu.Lock()
		kq, end := p.kq, p.waiting == 0 && p.running && p.paused == 0
		p.mu.Unlock()
		if end && kq.Valid() {
			ctx, cancel := context.WithTimeout(context.Background(), answerTime)
			defer cancel()
			s.wakePoll(ctx, kq)
		}
	})
}

// open makes the kqueue and has all who wait register with it.
func (p *netpoll) open(s *session) error {
	reply, err := s.newCall(netbsd.SYS_kqueue1, sysproxy.TypeSyscall).
		Int(netbsd.O_CLOEXEC).do(context.Background())
	if err != nil {
		return err
	}
	if reply.Errno != 0 {
		return sysError("kqueue", netbsd.Errno(reply.Errno))
	}
	kq := FD{int32(reply.Retval[0]), s.gen}
	r, w := s.wakePipe(kq)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kq, p.wakeR, p.wakeW, p.wakes = kq, r, w, 0
	p.epoch++
	for _, fd := range p.socks {
		fd.rd.kick()
		fd.wr.kick()
	}
	return nil
}

// dispatch wakes those whom events are for.
func (p *netpoll) dispatch(m *netbsd.Machine, l keventLayout, events []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for ; len(events) >= l.size; events = events[l.size:] {
		fd := p.socks[int32(m.Word(events[l.ident:]))]
		if fd == nil {
			continue
		}
		w := &fd.rd
		switch m.Order.Uint32(events[l.filter:]) {
		case netbsd.EVFILT_READ:
			w.last.tell(int64(m.Order.Uint64(events[l.data:])), m.Order.Uint32(events[l.flags:])&netbsd.EV_EOF != 0)
		case netbsd.EVFILT_WRITE:
			w = &fd.wr
		default:
			continue
		}
		if w.waits {
			// It need not be waited for any more.
			w.waits = false
			p.waiting--
		}
		w.kick()
	}
}

// fail ends all waits with an error.
func (p *netpoll) fail(err error) {
	if errno, ok := err.(netbsd.Errno); ok {
		err = sysError("kevent", errno)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, fd := range p.socks {
		for _, w := range [...]*ioSide{&fd.rd, &fd.wr} {
			w.err = err
			w.kick()
		}
	}
}

// wakePipe makes a pipe that a kqueue watches. Without one, for want of descriptors,
// kevent(2) is ended with a timer, which takes until the kernel's clock ticks.
func (s *session) wakePipe(kq FD) (r, w FD) {
	ctx := context.Background()
	var pair [8]byte
	reply, err := s.newCall(netbsd.SYS_pipe2, sysproxy.TypeSyscall).
		Out(pair[:]).Int(netbsd.O_CLOEXEC | netbsd.O_NONBLOCK).do(ctx)
	if err != nil || reply.Errno != 0 {
		return FD{}, FD{}
	}
	order := s.machine.Order
	r, w = FD{int32(order.Uint32(pair[:])), s.gen}, FD{int32(order.Uint32(pair[4:])), s.gen}
	errno, err := s.change(ctx, kq, netbsd.Kevent{
		Ident: netbsd.Ptr(r.num), Filter: netbsd.EVFILT_READ, Flags: netbsd.EV_ADD | netbsd.EV_CLEAR,
	})
	if err != nil || errno != 0 {
		return FD{}, FD{}
	}
	return r, w
}

// maxWakes is how many bytes the pipe may hold before it is emptied.
const maxWakes = 512

// wakePoll ends the kevent(2) that is under way.
func (s *session) wakePoll(ctx context.Context, kq FD) {
	p := &s.net
	p.mu.Lock()
	r, w := p.wakeR, p.wakeW
	p.wakes++
	full := p.wakes >= maxWakes
	if full {
		p.wakes = 0
	}
	p.mu.Unlock()
	if !w.Valid() {
		s.change(ctx, kq, netbsd.Kevent{
			Ident: wakeTimer, Filter: netbsd.EVFILT_TIMER, Flags: netbsd.EV_ADD | netbsd.EV_ONESHOT, Data: 1,
		})
		return
	}
	if full {
		var buf [2 * maxWakes]byte
		p.insist(ctx, func() *Call {
			return s.newCall(netbsd.SYS_read, sysproxy.TypeSyscall).FD(r).Out(buf[:]).Word(uint64(len(buf)))
		})
	}
	p.insist(ctx, func() *Call { return s.newCall(netbsd.SYS_write, sysproxy.TypeSyscall).FD(w).In([]byte{0}).Word(1) })
}

// insist makes a call, again and again while the kernel refuses, until ctx ends.
func (p *netpoll) insist(ctx context.Context, build func() *Call) {
	for {
		if _, err := p.do(ctx, build()); !refused(err) || sleep(ctx, refusedDelayMin) != nil {
			return
		}
	}
}

// pausePoll has no call of kevent(2) be under way until resumePoll, as an exec
// needs it, which waits for all calls to end, and closing a socket. One that is under
// way is ended. When ctx or the session ends first nothing has changed.
func (s *session) pausePoll(ctx context.Context) error {
	p := &s.net
	p.mu.Lock()
	p.paused++
	first := p.paused == 1
	running, kq := p.running, p.kq
	if running && p.ended == nil {
		p.ended = make(chan struct{})
	}
	ended := p.ended
	p.mu.Unlock()
	if !running {
		return nil
	}
	if first && kq.Valid() {
		s.wakePoll(ctx, kq)
	}
	var err error
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-s.done:
		err = s.Err()
	}
	s.resumePoll()
	return err
}

// watched tells whether the kqueue has ever been told of fd.
func (p *netpoll) watched(fd *netFD) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return fd.rd.epoch != 0 || fd.wr.epoch != 0
}

// resumePoll undoes one pausePoll.
func (s *session) resumePoll() {
	p := &s.net
	p.mu.Lock()
	defer p.mu.Unlock()
	p.paused--
	p.start(s)
}
