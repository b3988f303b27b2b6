package kernel

import (
	"math/bits"
	"time"

	"rumptools/pkg/netbsd"
)

// maxPoll is the most descriptors of one poll: all that a process can have.
const maxPoll = maxFiles

// perEntry is about how much memory a descriptor in a poll takes: its entry, its
// watcher and that one's places in sets.
const perEntry = 128

// pollSet waits until one of several files is ready.
type pollSet struct {
	held    []held
	changed chan struct{}
}

// watchAll registers with every file and descriptor.
func (p *pollSet) watchAll(k *Kernel) func() {
	p.changed = make(chan struct{}, 1)
	var ws []*Watcher
	for _, h := range p.held {
		w := &Watcher{Notify: func() { k.wake(p.changed) }}
		h.Watch(w)
		h.desc.pollers.Watch(w)
		ws = append(ws, w)
	}
	return func() {
		for i, h := range p.held {
			h.Unwatch(ws[i])
			h.desc.pollers.Unwatch(ws[i])
		}
	}
}

// add takes a descriptor over. Its close does not wait for this call, which may go on for other
// descriptors.
func (p *pollSet) add(h held) {
	h.take()
	p.held = append(p.held, h)
}

func (p *pollSet) release() {
	for _, h := range p.held {
		h.OpenFile.unref()
	}
}

// pollWait scans until scan finds something, the context ends (EINTR) or,
// with a limit, timeout has passed.
func (c *Call) pollWait(p *pollSet, timeout time.Duration, limited bool, scan func() int) (int, error) {
	n := scan()
	if n > 0 || limited && timeout <= 0 {
		return n, nil
	}
	c.handOver()
	defer p.watchAll(c.k)()
	var expired <-chan time.Time
	if limited {
		t := time.NewTimer(timeout)
		defer t.Stop()
		expired = t.C
	}
	for {
		if n := scan(); n > 0 {
			return n, nil
		}
		select {
		case <-p.changed:
		case <-expired:
			return scan(), nil
		case <-c.ctx.Done():
			return 0, netbsd.EINTR
		}
	}
}

func sysPoll(c *Call) (uint64, error) {
	addr, n, ms := c.args.Ptr(), c.args.Uint(), c.args.Int()
	return c.poll(addr, n, time.Duration(ms)*time.Millisecond, ms >= 0)
}

// sysPollts: the signal mask has no meaning here.
func sysPollts(c *Call) (uint64, error)    { return c.pollts((*Call).duration) }
func sysPolltsOld(c *Call) (uint64, error) { return c.pollts((*Call).oldDuration) }

func (c *Call) pollts(duration durationFunc) (uint64, error) {
	addr, n, ts := c.args.Ptr(), c.args.Uint(), c.args.Ptr()
	if ts == 0 {
		return c.poll(addr, n, 0, false)
	}
	d, err := duration(c, ts)
	if err != nil {
		return 0, err
	}
	return c.poll(addr, n, d, true)
}

const pollAlways = netbsd.POLLERR | netbsd.POLLHUP | netbsd.POLLNVAL

func (c *Call) poll(addr uint64, n uint32, timeout time.Duration, limited bool) (uint64, error) {
	if n > maxPoll {
		return 0, netbsd.EINVAL
	}
	m := c.k.machine
	const size = 8 // struct pollfd on every machine
	type entry struct {
		held
		events Events
		bad    bool
	}
	if err := c.charge(int(n) * perEntry); err != nil {
		return 0, err
	}
	b := make([]byte, size*int(n))
	if err := c.CopyIn(addr, b); err != nil {
		return 0, err
	}
	var set pollSet
	defer set.release()
	entries := make([]entry, n)
	for i := range entries {
		e := &entries[i]
		fd := int32(m.Order.Uint32(b[size*i:]))
		e.events = Events(m.Order.Uint16(b[size*i+4:])) | pollAlways
		if fd < 0 {
			continue
		}
		h, err := c.Proc.fds.get(fd)
		if err != nil {
			e.bad = true
			continue
		}
		e.held = h
		set.add(h)
	}
	found, err := c.pollWait(&set, timeout, limited, func() int {
		found := 0
		for i, e := range entries {
			var r Events
			switch {
			case e.bad:
				r = netbsd.POLLNVAL
			case e.OpenFile == nil:
			case e.closed():
				r = netbsd.POLLNVAL
			default:
				r = e.Poll() & e.events
			}
			if r != 0 {
				found++
			}
			m.Order.PutUint16(b[size*i+6:], uint16(r))
		}
		return found
	})
	if err != nil {
		return 0, err
	}
	return uint64(found), c.CopyOut(addr, b)
}

// fdSetBits is the number of descriptors that one word of an fd_set holds.
const fdSetBits = 32

// Select has its time limit as a timeval, pselect as a timespec.
func sysSelect(c *Call) (uint64, error)     { return c.doSelect((*Call).microDuration) }
func sysSelectOld(c *Call) (uint64, error)  { return c.doSelect((*Call).oldMicroDuration) }
func sysPselect(c *Call) (uint64, error)    { return c.doSelect((*Call).duration) }
func sysPselectOld(c *Call) (uint64, error) { return c.doSelect((*Call).oldDuration) }

func (c *Call) doSelect(duration durationFunc) (uint64, error) {
	nd := c.args.Int()
	addrs := [3]uint64{c.args.Ptr(), c.args.Ptr(), c.args.Ptr()}
	tvp := c.args.Ptr()
	if nd < 0 {
		return 0, netbsd.EINVAL
	}
	// As in NetBSD, what lies beyond the table of descriptors is not looked at.
	nd = min(nd, c.Proc.fds.size())
	var timeout time.Duration
	if tvp != 0 {
		var err error
		if timeout, err = duration(c, tvp); err != nil {
			return 0, err
		}
	}
	m := c.k.machine
	words := (int(nd) + fdSetBits - 1) / fdSetBits
	// What each set asks for (selpoll of the real kernel).
	asks := [3]Events{
		netbsd.POLLIN | netbsd.POLLRDNORM | netbsd.POLLHUP | netbsd.POLLERR,
		netbsd.POLLOUT | netbsd.POLLWRNORM | netbsd.POLLHUP | netbsd.POLLERR,
		netbsd.POLLPRI | netbsd.POLLRDBAND,
	}
	type entry struct {
		held
		set int
		fd  int32
	}
	if err := c.charge(len(addrs) * int(nd) * perEntry); err != nil {
		return 0, err
	}
	var entries []entry
	closed := false
	var set pollSet
	defer set.release()
	for i, addr := range addrs {
		if addr == 0 {
			continue
		}
		b := make([]byte, 4*words)
		if err := c.CopyIn(addr, b); err != nil {
			return 0, err
		}
		for w := range words {
			for word := m.Order.Uint32(b[4*w:]); word != 0; word &= word - 1 {
				fd := int32(w*fdSetBits + bits.TrailingZeros32(word))
				if fd >= nd {
					break
				}
				h, err := c.Proc.fds.get(fd)
				if err != nil {
					return 0, err
				}
				set.add(h)
				entries = append(entries, entry{h, i, fd})
			}
		}
	}
	out := [3][]byte{make([]byte, 4*words), make([]byte, 4*words), make([]byte, 4*words)}
	found, err := c.pollWait(&set, timeout, tvp != 0, func() int {
		found := 0
		for i := range out {
			clear(out[i])
		}
		for _, e := range entries {
			closed = closed || e.closed()
			if closed || e.Poll()&asks[e.set] != 0 {
				word := out[e.set][e.fd/fdSetBits*4:]
				m.Order.PutUint32(word, m.Order.Uint32(word)|1<<(e.fd%fdSetBits))
				found++
			}
		}
		return found
	})
	if err == nil && closed {
		err = netbsd.EBADF
	}
	if err != nil {
		return 0, err
	}
	for i, addr := range addrs {
		if addr != 0 {
			if err := c.CopyOut(addr, out[i]); err != nil {
				return 0, err
			}
		}
	}
	return uint64(found), nil
}
