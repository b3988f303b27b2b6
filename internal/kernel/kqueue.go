package kernel

import (
	"slices"
	"sync"
	"sync/atomic"
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
// is: file, then kqueue; the kqueue asks files only when it holds no lock but
// changes. One kqueue may be watched by another, but no further: locks would be
// taken in a circle.
type kqueue struct {
	// changes is held by one change of notes at a time.
	changes sync.Mutex

	mu    sync.Mutex
	notes map[noteKey]*note
	// ready are the notes that may have an event, in the order of their
	// notification; dead is how many of them are gone.
	ready    []*note
	dead     int
	watchers Watchers

	// Guarded by nesting:
	inside  int // kqueues that this one watches
	outside int // notes of others that watch it
}

// nesting guards the kqueues' relations to each other.
var nesting sync.Mutex

// nest notes that kq watches inner. It fails with EINVAL when that would be
// more than one level.
func (kq *kqueue) nest(inner *kqueue) error {
	nesting.Lock()
	defer nesting.Unlock()
	if inner == kq || inner.inside > 0 || kq.outside > 0 {
		return netbsd.EINVAL
	}
	kq.inside++
	inner.outside++
	return nil
}

func (kq *kqueue) unnest(inner *kqueue) {
	nesting.Lock()
	defer nesting.Unlock()
	kq.inside--
	inner.outside--
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
	desc  *descriptor
	inner *kqueue // the file when it is one
	watch Watcher
	// count is the kernel's number of timers; nil for files.
	count *atomic.Int32

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
	of, err := c.openFile(kq, netbsd.O_RDWR|flags&netbsd.O_NONBLOCK)
	if err != nil {
		return 0, err
	}
	fd, err := c.Proc.fds.add(of, 0, flags&netbsd.O_CLOEXEC != 0)
	return uint64(fd), err
}

const (
	// maxKevents is the most events of one call.
	maxKevents = 8 << 10
	// changeStep is how many changes are read at a time.
	changeStep = 32
)

func sysKevent(c *Call) (uint64, error)    { return c.kevent((*Call).duration) }
func sysKeventOld(c *Call) (uint64, error) { return c.kevent((*Call).oldDuration) }

// kevent is kevent(2); duration reads its time limit.
func (c *Call) kevent(duration durationFunc) (uint64, error) {
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
		if timeout, err = duration(c, ts); err != nil {
			return 0, err
		}
		limited = true
	}
	nevents = min(nevents, maxKevents)
	out, err := kq.changeAll(c, changes, nchanges, int(nevents))
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
	if err := c.charge(len(out) * 2 * netbsd.Sizeof(m, netbsd.Kevent{})); err != nil {
		return 0, err
	}
	var b []byte
	for i := range out {
		b = netbsd.Append(m, b, &out[i])
	}
	return uint64(len(out)), c.CopyOut(events, b)
}

// changeAll applies a list of changes. What goes wrong with one is an event of
// its own when there is room for it, else the call's error.
func (kq *kqueue) changeAll(c *Call, addr, n uint64, room int) ([]netbsd.Kevent, error) {
	m := c.k.machine
	size := netbsd.Sizeof(m, netbsd.Kevent{})
	// What may come of all changes is counted before.
	if err := c.charge(size * int(min(n, uint64(room)))); err != nil {
		return nil, err
	}
	var out []netbsd.Kevent
	b := make([]byte, size*int(min(n, changeStep)))
	for n > 0 {
		step := min(n, changeStep)
		b = b[:size*int(step)]
		if err := c.CopyIn(addr, b); err != nil {
			return nil, err
		}
		for p := b; len(p) > 0; p = p[size:] {
			var ev netbsd.Kevent
			if err := netbsd.Unmarshal(m, p, &ev); err != nil {
				return nil, netbsd.EFAULT
			}
			ev.Flags &^= netbsd.EV_ERROR | netbsd.EV_EOF
			err := kq.change(c, &ev)
			if err == nil && ev.Flags&netbsd.EV_RECEIPT == 0 {
				continue
			}
			if len(out) == room {
				return nil, err
			}
			ev.Flags, ev.Data = netbsd.EV_ERROR, int64(errnoOf(err))
			out = append(out, ev)
		}
		n, addr = n-step, addr+step*uint64(size)
		if c.ctx.Err() != nil {
			return nil, netbsd.EINTR
		}
	}
	return out, nil
}

// change applies one change (kqueue_register).
func (kq *kqueue) change(c *Call, ev *netbsd.Kevent) error {
	key := noteKey{uint64(ev.Ident), ev.Filter}
	var h held
	switch key.filter {
	case netbsd.EVFILT_READ, netbsd.EVFILT_WRITE:
		if key.ident >= maxFiles {
			return netbsd.EBADF
		}
		var err error
		if h, err = c.Proc.fds.get(int32(key.ident)); err != nil {
			return err
		}
		defer h.release()
	case netbsd.EVFILT_TIMER:
	default:
		return netbsd.EINVAL
	}
	kq.changes.Lock()
	defer kq.changes.Unlock()
	kq.mu.Lock()
	n := kq.notes[key]
	kq.mu.Unlock()
	// Of a descriptor that another process, or this one before, had under
	// the number.
	if n != nil && n.desc != h.desc {
		n.drop()
		n = nil
	}
	switch {
	case n == nil && ev.Flags&netbsd.EV_ADD == 0:
		return netbsd.ENOENT
	case n == nil:
		var err error
		if n, err = kq.add(c, key, h, ev); err != nil {
			return err
		}
	case ev.Flags&netbsd.EV_ADD != 0:
		kq.mu.Lock()
		n.fflags, n.data, n.udata = ev.Fflags, ev.Data, ev.Udata
		kq.mu.Unlock()
	case ev.Flags&netbsd.EV_DELETE != 0:
		n.drop()
		return nil
	}
	kq.mu.Lock()
	switch {
	case ev.Flags&netbsd.EV_DISABLE != 0:
		n.disabled = true
	case ev.Flags&netbsd.EV_ENABLE != 0:
		n.disabled = false
	}
	kq.mu.Unlock()
	n.activate()
	return nil
}

// add makes a new note; kq.changes is held.
func (kq *kqueue) add(c *Call, key noteKey, h held, ev *netbsd.Kevent) (*note, error) {
	n := &note{
		kq: kq, key: key, file: h.OpenFile, desc: h.desc,
		flags:  ev.Flags & (netbsd.EV_ONESHOT | netbsd.EV_CLEAR | netbsd.EV_DISPATCH),
		fflags: ev.Fflags, data: ev.Data, udata: ev.Udata,
		disabled: ev.Flags&netbsd.EV_DISABLE != 0,
	}
	n.watch = Watcher{Notify: n.activate, Events: Readable}
	if key.filter == netbsd.EVFILT_WRITE {
		n.watch.Events = Writable
	}
	if n.file == nil {
		if n.data <= 0 {
			return nil, netbsd.EINVAL
		}
		if c.k.ntimers.Add(1) > maxTimers {
			c.k.ntimers.Add(-1)
			return nil, netbsd.ENOMEM
		}
		n.count = &c.k.ntimers
		n.flags |= netbsd.EV_CLEAR
	} else if inner, ok := n.file.File.(*kqueue); ok {
		if key.filter != netbsd.EVFILT_READ {
			return nil, netbsd.EINVAL
		}
		if err := kq.nest(inner); err != nil {
			return nil, err
		}
		n.inner = inner
	}
	kq.mu.Lock()
	kq.notes[key] = n
	kq.mu.Unlock()
	if n.file == nil {
		n.startTimer()
		return n, nil
	}
	n.file.ref()
	// The descriptor's end is the note's end; without it the note would
	// outlive the descriptor and answer for its successor. It is the last
	// step, so that the end undoes all of them.
	n.file.Watch(&n.watch)
	if !n.desc.attach(n) {
		n.drop()
		return nil, netbsd.EBADF
	}
	// Once watched, the note may have had its one event already.
	if n.isGone() {
		n.desc.detach(n)
	}
	return n, nil
}

func (n *note) isGone() bool {
	n.kq.mu.Lock()
	defer n.kq.mu.Unlock()
	return n.gone
}

// maxTimers is how many timers all kqueues of a kernel have at most, as in
// NetBSD (kq_calloutmax).
const maxTimers = 4096

// maxPeriod is the longest period of a timer; longer ones are as good as that.
const maxPeriod = 1 << 40 // milliseconds: 34 years

// startTimer has n expire every Data milliseconds.
func (n *note) startTimer() {
	n.kq.mu.Lock()
	defer n.kq.mu.Unlock()
	period := time.Duration(min(n.data, maxPeriod)) * time.Millisecond
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
	fresh := n.enqueue()
	kq.mu.Unlock()
	if fresh {
		kq.watchers.Wake(Readable)
	}
}

// enqueue puts n at the end of the queue unless it is there or gone; kq.mu is
// held.
func (n *note) enqueue() bool {
	if n.queued || n.gone {
		return false
	}
	n.queued = true
	n.kq.ready = append(n.kq.ready, n)
	return true
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
	if kq.notes[n.key] == n {
		delete(kq.notes, n.key)
	}
	if n.timer != nil {
		n.timer.Stop()
	}
	if n.queued {
		// Notes that come and go with nobody collecting must not pile up.
		if kq.dead++; kq.dead > 16 && kq.dead > len(kq.ready)/2 {
			kq.ready = slices.DeleteFunc(kq.ready, func(n *note) bool { return n.gone })
			kq.dead = 0
		}
	}
	kq.mu.Unlock()
	if n.count != nil {
		n.count.Add(-1)
	}
	if n.inner != nil {
		kq.unnest(n.inner)
	}
	if n.file != nil {
		n.desc.detach(n)
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
	kq.ready, kq.dead = nil, 0
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
		ev, ok := n.event(true)
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
		case n.flags&netbsd.EV_CLEAR == 0:
			// Level-triggered: it stays until nothing is left.
			kq.mu.Lock()
			n.enqueue()
			kq.mu.Unlock()
		}
	}
	return out
}

// event is n's event, if it has one now; take is whether a timer's count starts
// anew.
func (n *note) event(take bool) (netbsd.Kevent, bool) {
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
	if take {
		n.expired = 0
	}
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
	if n.inner != nil {
		return ev, ready > 0
	}
	ended, failed := false, false
	if e, ok := n.file.File.(Ender); ok {
		r, w, err := e.Ended()
		ended = n.key.filter == netbsd.EVFILT_READ && r || n.key.filter == netbsd.EVFILT_WRITE && w
		if ended && err != nil {
			ev.Fflags = uint32(errnoOf(err))
		}
		failed = err != nil
	} else {
		ended = n.file.Poll()&netbsd.POLLHUP != 0
	}
	if ended {
		ev.Flags |= netbsd.EV_EOF
		return ev, true
	}
	// An error that waits is an event whatever there is to read or write
	// (filt_soread in uipc_socket.c).
	return ev, n.file.Poll()&want != 0 && (ready >= lowat || failed)
}

// Read and Write make no sense on a kqueue.

func (kq *kqueue) Read([]byte) (int, error)  { return 0, netbsd.ENXIO }
func (kq *kqueue) Write([]byte) (int, error) { return 0, netbsd.ENXIO }
func (kq *kqueue) Watch(w *Watcher)          { kq.watchers.Watch(w) }
func (kq *kqueue) Unwatch(w *Watcher)        { kq.watchers.Unwatch(w) }
func (kq *kqueue) Type() int32               { return dtypeKqueue }

func (kq *kqueue) Stat() (netbsd.Stat, error) {
	return netbsd.Stat{Mode: netbsd.S_IFIFO, Blksize: 1, Size: kq.count()}, nil
}

// count is how many notes have an event.
func (kq *kqueue) count() (n int64) {
	kq.mu.Lock()
	turn := slices.Clone(kq.ready)
	kq.mu.Unlock()
	for _, note := range turn {
		if note.pending() {
			n++
		}
	}
	return n
}

// Poll says readable when a note has an event.
func (kq *kqueue) Poll() Events {
	kq.mu.Lock()
	turn := slices.Clone(kq.ready)
	kq.mu.Unlock()
	if slices.ContainsFunc(turn, (*note).pending) {
		return netbsd.POLLIN | netbsd.POLLRDNORM
	}
	return 0
}

// pending reports whether n has an event, without taking it.
func (n *note) pending() bool {
	n.kq.mu.Lock()
	idle := n.gone || n.disabled
	n.kq.mu.Unlock()
	if idle {
		return false
	}
	_, ok := n.event(false)
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
