package lend

import (
	"os"
	"runtime"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Pump carries the bytes of loans. Its methods may be called concurrently.
//
// One goroutine waits in epoll_wait(2) for all programs, and takes what they
// write straight to the stream. It does not use the runtime's poller, which would
// wake another goroutine for each event. What a stream notifies of, with its locks
// held, is done by workers. There are as many as there are processors and they stay,
// for a new goroutine's stack would grow each time that it goes down into the engine.
type Pump struct {
	epoll int
	wake  int // an eventfd, to end the waiting

	mu     sync.Mutex
	loans  map[uint64]*Loan
	last   uint64 // the newest loan's number
	closed bool

	tubes tubes

	work struct {
		sync.Mutex
		wanted      sync.Cond
		first, last *Loan // those that wait for a worker
		idle, all   int   // workers
		most        int
		closed      bool
	}
}

// queue leaves a loan to a worker. It does not wait, but for other users of the queue.
func (p *Pump) queue(l *Loan) {
	w := &p.work
	w.Lock()
	defer w.Unlock()
	if w.last == nil {
		w.first = l
	} else {
		w.last.next = l
	}
	w.last = l
	switch {
	case w.idle > 0:
		w.idle--
		w.wanted.Signal()
	case w.all < w.most:
		w.all++
		go p.worker()
	}
}

func (p *Pump) worker() {
	w := &p.work
	w.Lock()
	defer w.Unlock()
	for {
		for w.first == nil {
			if w.closed {
				w.all-- // what is queued yet, by a timer, gets another
				return
			}
			w.idle++
			w.wanted.Wait()
		}
		l := w.first
		if w.first = l.next; w.first == nil {
			w.last = nil
		}
		l.next = nil
		w.Unlock()
		l.run()
		w.Lock()
	}
}

// wakeID is the number of the pump's own event; loans count from 1.
const wakeID = 0

// NewPump makes a pump. It fails when the host lacks descriptors.
func NewPump() (*Pump, error) {
	p := &Pump{loans: make(map[uint64]*Loan)}
	p.work.wanted.L = &p.work
	p.work.most = runtime.GOMAXPROCS(0)
	var err error
	if p.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if p.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		unix.Close(p.epoll)
		return nil, os.NewSyscallError("eventfd", err)
	}
	if err := p.control(unix.EPOLL_CTL_ADD, p.wake, wakeID, unix.EPOLLIN); err != nil {
		unix.Close(p.epoll)
		unix.Close(p.wake)
		return nil, err
	}
	go p.serve()
	return p, nil
}

// Close ends the pump when its last loan has ended.
func (p *Pump) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.wakeUp()
}

func (p *Pump) wakeUp() {
	one := uint64(1)
	unix.Write(p.wake, unsafe.Slice((*byte)(unsafe.Pointer(&one)), 8))
}

// control is epoll_ctl(2), edge-triggered.
func (p *Pump) control(op, fd int, id uint64, events uint32) error {
	ev := unix.EpollEvent{Events: events | unix.EPOLLET, Fd: int32(uint32(id)), Pad: int32(uint32(id >> 32))}
	_, _, e := syscall.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(p.epoll), uintptr(op), uintptr(fd),
		uintptr(unsafe.Pointer(&ev)), 0, 0)
	if e != 0 {
		return os.NewSyscallError("epoll_ctl", e)
	}
	return nil
}

// spins is how often the pump looks for events, with other goroutines' turns
// between, before it waits for them in the host: what it has given to a stream is
// likely to bring the next, and to be woken costs more than to look.
const spins = 2

// serve is the pump's goroutine.
func (p *Pump) serve() {
	var events [128]unix.EpollEvent
	for idle := 0; ; {
		var n int
		if idle < spins {
			r, _, e := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.epoll),
				uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
			if e != 0 {
				r = 0
			}
			if n = int(r); n == 0 {
				idle++
				runtime.Gosched()
				continue
			}
		} else if r, err := unix.EpollWait(p.epoll, events[:], -1); err == nil {
			n = r
		}
		idle = 0
		for i := range n {
			e := &events[i]
			id := uint64(uint32(e.Fd)) | uint64(uint32(e.Pad))<<32
			if id == wakeID {
				if p.finish() {
					return
				}
				continue
			}
			p.mu.Lock()
			l := p.loans[id]
			p.mu.Unlock()
			if l == nil {
				continue
			}
			var bits uint32
			if e.Events&unix.EPOLLIN != 0 {
				bits |= hostIn
			}
			if e.Events&unix.EPOLLOUT != 0 {
				bits |= hostOut
			}
			if e.Events&unix.EPOLLRDHUP != 0 {
				bits |= hostEOF
			}
			if e.Events&unix.EPOLLHUP != 0 {
				bits |= hostHup
			}
			if e.Events&unix.EPOLLERR != 0 {
				bits |= hostErr
			}
			if l.note(bits) {
				l.run()
			}
		}
	}
}

// finish ends the pump if it is to end.
func (p *Pump) finish() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed || len(p.loans) > 0 {
		var n [8]byte
		unix.Read(p.wake, n[:])
		return false
	}
	unix.Close(p.epoll)
	unix.Close(p.wake)
	p.epoll, p.wake = -1, -1
	p.tubes.close()
	p.work.Lock()
	p.work.closed = true
	p.work.idle = 0
	p.work.wanted.Broadcast()
	p.work.Unlock()
	return true
}

// add numbers a loan, and watches its descriptor unless there are no events.
func (p *Pump) add(l *Loan, events uint32) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ErrPump
	}
	p.last++
	l.id = p.last
	p.loans[l.id] = l
	if events == 0 {
		return nil
	}
	err := p.control(unix.EPOLL_CTL_ADD, l.fd, l.id, events)
	if err != nil {
		delete(p.loans, l.id)
	}
	return err
}

// forget takes a loan out.
func (p *Pump) forget(l *Loan) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.loans, l.id)
	if p.closed && len(p.loans) == 0 {
		p.wakeUp()
	}
}
