package kernel

import (
	"sync"
	"time"

	"rumptools/pkg/netbsd"
)

// Ender is a file that tells EOF from data: kqueue says it with EV_EOF.
type Ender interface {
	// Ended reports that nothing will be read, and that nothing can be
	// written any more, and the socket's pending error.
	Ended() (read, write bool, err error)
}

// kqueue is a queue of events (kqueue(2)).
//
// A note's file notifies it under the file's own locks, so the order of locks
// is: file, then kqueue; the kqueue asks files only when it holds no lock.
type kqueue struct {
	mu    sync.Mutex
	notes map[noteKey]*note
	// ready are the notes that may have an event, in the order of their
	// notification.
	ready    []*note
	watchers Watchers
}

type noteKey struct {
	ident  uint64
	filter uint32
}

// note is an interest in an event (struct knote).
type note struct {
	kq    *kqueue
	key   noteKey
	file  *OpenFile // nil for timers
	watch Watcher

	// Below is guarded by kq.mu.
	flags    uint32 // EV_ONESHOT, EV_CLEAR, EV_DISPATCH
	fflags   uint32
	data     int64
	udata    netbsd.Ptr
	queued   bool
	disabled bool
	gone     bool
	timer    *time.Timer
	expired  int64
}

func sysKqueue(c *Call) (uint64, error) { return c.newKqueue(0) }

func sysKqueue1(c *Call) (uint64, error) {
	flags := c.args.Int()
	if flags&^(netbsd.O_CLOEXEC|netbsd.O_NONBLOCK|netbsd.O_NOSIGPIPE) != 0 {
		return 0, netbsd.EINVAL
	}
	return c.newKqueue(flags)
}

func (c *Call) newKqueue(flags int32) (uint64, error) {
	kq := &kqueue{notes: make(map[noteKey]*note)}
	of := newOpenFile(kq, netbsd.O_RDWR|flags&netbsd.O_NONBLOCK)
	fd, err := c.Proc.fds.add(of, 0, flags&netbsd.O_CLOEXEC != 0)
	return uint64(fd), err
}

// maxKevents is the most changes or events of one call.
const maxKevents = 64 << 10

func sysKevent(c *Call) (uint64, error) {
	h, err := c.fd()
	if err != nil {
		return 0, err
	}
	defer h.release()
	kq, ok := h.File.(*kqueue)
	if !ok {
		return 0, netbsd.EBADF
	}
	changes, nchanges := c.args.Ptr(), c.args.Word()
	events, nevents := c.args.Ptr(), c.args.Word()
	timeout, limited := time.Duration(0), false
	if ts := c.args.Ptr(); ts != 0 {
		if timeout, err = c.duration(ts); err != nil {
			return 0, err
		}
		limited = true
	}
	if nchanges > maxKevents || nevents > 1<<31 {
		return 0, netbsd.EINVAL
	}
	nevents = min(nevents, maxKevents)
	out, err := kq.change(c, changes, int(nchanges), int(nevents))
	if err != nil {
		return 0, err
	}
	if nevents > 0 && len(out) == 0 {
		out, err = kq.wait(c, h, timeout, limited, int(nevents))
		if err != nil {
			return 0, err
		}
	}
	m := c.k.machine
	var b []byte
	for i := range out {
		b = netbsd.Append(m, b, &out[i])
	}
	return uint64(len(out)), c.CopyOut(events, b)
}

// change applies a list of changes. What goes wrong with one is an event of
// its own when there is room for it, else the call's error.
func (kq *kqueue) change(c *Call, addr uint64, n, room int) ([]netbsd.Kevent, error) {
	if n == 0 {
		return nil, nil
	}
	m := c.k.machine
	size := netbsd.Sizeof(m, netbsd.Kevent{})
	b := make([]byte, size*n)
	if err := c.CopyIn(addr, b); err != nil {
		return nil, err
	}
	var out []netbsd.Kevent
	for i := range n {
		var ev netbsd.Kevent
		if err := netbsd.Unmarshal(m, b[i*size:], &ev); err != nil {
			return nil, netbsd.EFAULT
		}
		ev.Flags &^= netbsd.EV_ERROR | netbsd.EV_EOF
		err := kq.register(c, &ev)
		if err == nil && ev.Flags&netbsd.EV_RECEIPT == 0 {
			continue
		}
		if len(out) == room {
			return nil, err
		}
		ev.Flags, ev.Data = netbsd.EV_ERROR, int64(errnoOf(err))
		out = append(out, ev)
	}
	return out, nil
}

// register applies one change (kqueue_register).
func (kq *kqueue) register(c *Call, ev *netbsd.Kevent) error {
	key := noteKey{uint64(ev.Ident), ev.Filter}
	switch key.filter {
	case netbsd.EVFILT_READ, netbsd.EVFILT_WRITE, netbsd.EVFILT_TIMER:
	default:
		return netbsd.EINVAL
	}
	isFile := key.filter != netbsd.EVFILT_TIMER
	var h held
	if isFile {
		var err error
		if h, err = c.Proc.fds.get(int32(key.ident)); err != nil {
			return err
		}
		defer h.release()
		if h.File == File(kq) {
			return netbsd.EINVAL
		}
	}
	kq.mu.Lock()
	n := kq.notes[key]
	if n == nil && ev.Flags&netbsd.EV_ADD == 0 {
		kq.mu.Unlock()
		return netbsd.ENOENT
	}
	if ev.Flags&netbsd.EV_DELETE != 0 && ev.Flags&netbsd.EV_ADD == 0 {
		kq.mu.Unlock()
		n.drop()
		return nil
	}
	fresh := n == nil
	if fresh {
		n = &note{kq: kq, key: key}
		n.watch.Notify = n.activate
		n.flags = ev.Flags & (netbsd.EV_ONESHOT | netbsd.EV_CLEAR | netbsd.EV_DISPATCH)
		if isFile {
			n.file = h.OpenFile
		}
		kq.notes[key] = n
	}
	if ev.Flags&netbsd.EV_ADD != 0 {
		n.fflags, n.data, n.udata = ev.Fflags, ev.Data, ev.Udata
	}
	switch {
	case ev.Flags&netbsd.EV_DISABLE != 0:
		n.disabled = true
	case ev.Flags&netbsd.EV_ENABLE != 0:
		n.disabled = false
	}
	kq.mu.Unlock()
	switch {
	case fresh && isFile:
		n.file.ref()
		// The descriptor's end is the note's end; without it the note
		// would outlive the descriptor and answer for its successor.
		if !c.Proc.fds.onClose(int32(key.ident), h.OpenFile, n) {
			n.drop()
			return netbsd.EBADF
		}
		n.file.Watch(&n.watch)
	case ev.Flags&netbsd.EV_ADD != 0 && !isFile:
		n.startTimer()
	}
	n.activate()
	return nil
}

// startTimer has n expire every Data milliseconds.
func (n *note) startTimer() {
	n.kq.mu.Lock()
	defer n.kq.mu.Unlock()
	if n.timer != nil {
		n.timer.Stop()
	}
	period := time.Duration(max(n.data, 1)) * time.Millisecond
	n.expired = 0
	var t *time.Timer
	t = time.AfterFunc(period, func() {
		n.kq.mu.Lock()
		stale := n.gone || n.timer != t
		if !stale {
			n.expired++
			if n.flags&netbsd.EV_ONESHOT == 0 {
				t.Reset(period)
			}
		}
		n.kq.mu.Unlock()
		if !stale {
			n.activate()
		}
	})
	n.timer = t
}

// activate queues n: it may have an event. It is called under the locks of
// n's file.
func (n *note) activate() {
	kq := n.kq
	kq.mu.Lock()
	fresh := !n.queued && !n.gone
	if fresh {
		n.queued = true
		kq.ready = append(kq.ready, n)
	}
	kq.mu.Unlock()
	// Without the lock: a kqueue may be in another, and that in this one.
	if fresh {
		kq.watchers.Wake()
	}
}

// drop ends n.
func (n *note) drop() {
	kq := n.kq
	kq.mu.Lock()
	if n.gone {
		kq.mu.Unlock()
		return
	}
	n.gone = true
	delete(kq.notes, n.key)
	if n.timer != nil {
		n.timer.Stop()
	}
	kq.mu.Unlock()
	if n.file != nil {
		n.file.Unwatch(&n.watch)
		n.file.unref()
	}
}

// wait collects events, for at most timeout if there is a limit.
func (kq *kqueue) wait(c *Call, h held, timeout time.Duration, limited bool, room int) ([]netbsd.Kevent, error) {
	if limited && timeout <= 0 || h.nonblocking() {
		return kq.collect(room), nil
	}
	var out []netbsd.Kevent
	err := c.wait(h, false, timeout, func() error {
		if out = kq.collect(room); len(out) == 0 {
			return netbsd.EAGAIN
		}
		return nil
	})
	if err == netbsd.EAGAIN { // the time is over
		err = nil
	}
	return out, err
}

// collect takes events from the notes that are queued now, each once.
func (kq *kqueue) collect(room int) []netbsd.Kevent {
	var out []netbsd.Kevent
	kq.mu.Lock()
	turn := kq.ready
	kq.ready = nil
	kq.mu.Unlock()
	for i, n := range turn {
		if len(out) == room {
			// The others keep their places before what came since.
			kq.mu.Lock()
			kq.ready = append(turn[i:len(turn):len(turn)], kq.ready...)
			kq.mu.Unlock()
			break
		}
		kq.mu.Lock()
		n.queued = false
		skip := n.gone || n.disabled
		kq.mu.Unlock()
		if skip {
			continue
		}
		ev, ok := n.event()
		if !ok {
			continue
		}
		out = append(out, ev)
		switch {
		case n.flags&netbsd.EV_ONESHOT != 0:
			n.drop()
		case n.flags&netbsd.EV_DISPATCH != 0:
			kq.mu.Lock()
			n.disabled = true
			kq.mu.Unlock()
		case n.flags&netbsd.EV_CLEAR == 0 && n.file != nil:
			// Level-triggered: it stays until nothing is left.
			kq.mu.Lock()
			n.queued = true
			kq.ready = append(kq.ready, n)
			kq.mu.Unlock()
		}
	}
	return out
}

// event is n's event, if it has one now.
func (n *note) event() (netbsd.Kevent, bool) {
	n.kq.mu.Lock()
	ev := netbsd.Kevent{
		Ident: netbsd.Ptr(n.key.ident), Udata: n.udata,
		Filter: n.key.filter, Flags: n.flags | netbsd.EV_ADD,
	}
	lowat := int64(0)
	if n.fflags&netbsd.NOTE_LOWAT != 0 {
		lowat = n.data
	}
	expired := n.expired
	n.expired = 0
	n.kq.mu.Unlock()
	if n.file == nil {
		ev.Data = expired
		return ev, expired > 0
	}
	want := Events(netbsd.POLLIN | netbsd.POLLRDNORM)
	ready, room := n.file.Pending()
	if n.key.filter == netbsd.EVFILT_WRITE {
		want = netbsd.POLLOUT | netbsd.POLLWRNORM
		ready = room
	}
	ev.Data = ready
	if _, nested := n.file.File.(*kqueue); nested {
		// Asking it for events could lead back here without end.
		return ev, ready > 0
	}
	ended := false
	if e, ok := n.file.File.(Ender); ok {
		r, w, err := e.Ended()
		ended = n.key.filter == netbsd.EVFILT_READ && r || n.key.filter == netbsd.EVFILT_WRITE && w
		if ended && err != nil {
			ev.Fflags = uint32(errnoOf(err))
		}
	} else {
		ended = n.file.Poll()&netbsd.POLLHUP != 0
	}
	if ended {
		ev.Flags |= netbsd.EV_EOF
		return ev, true
	}
	return ev, n.file.Poll()&want != 0 && ready >= lowat
}

// Read, Write and the commands make no sense on a kqueue.

func (kq *kqueue) Read([]byte) (int, error)          { return 0, netbsd.ENXIO }
func (kq *kqueue) Write([]byte) (int, error)         { return 0, netbsd.ENXIO }
func (kq *kqueue) Ioctl(*Call, uint32, []byte) error { return netbsd.ENOTTY }
func (kq *kqueue) Watch(w *Watcher)                  { kq.watchers.Watch(w) }
func (kq *kqueue) Unwatch(w *Watcher)                { kq.watchers.Unwatch(w) }
func (kq *kqueue) Type() int32                       { return dtypeKqueue }

func (kq *kqueue) Stat() (netbsd.Stat, error) {
	return netbsd.Stat{Mode: netbsd.S_IFIFO, Blksize: 1, Size: kq.count()}, nil
}

func (kq *kqueue) count() int64 {
	kq.mu.Lock()
	defer kq.mu.Unlock()
	return int64(len(kq.ready))
}

// Poll says readable when a note has an event.
func (kq *kqueue) Poll() Events {
	kq.mu.Lock()
	turn := append([]*note(nil), kq.ready...)
	kq.mu.Unlock()
	for _, n := range turn {
		if n.pending() {
			return netbsd.POLLIN | netbsd.POLLRDNORM
		}
	}
	return 0
}

// pending reports whether n has an event, without taking it.
func (n *note) pending() bool {
	n.kq.mu.Lock()
	idle, expired := n.gone || n.disabled, n.expired
	n.kq.mu.Unlock()
	if idle {
		return false
	}
	if n.file == nil {
		return expired > 0
	}
	_, ok := n.event()
	return ok
}

func (kq *kqueue) Pending() (read, write int64) { return kq.count(), 0 }

func (kq *kqueue) Close() error {
	kq.mu.Lock()
	var all []*note
	for _, n := range kq.notes {
		all = append(all, n)
	}
	kq.mu.Unlock()
	for _, n := range all {
		n.drop()
	}
	return nil
}
