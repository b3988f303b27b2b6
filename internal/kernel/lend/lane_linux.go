package lend

import (
	"sync"
	"sync/atomic"
)

// lane is one direction of a connection both ends of which the pump has lent: what from's program
// writes is written to to's program, past the streams.
//
// While it is open to's goroutine reads what from's program writes, with mu held, and holds it
// back as from's cork asks for; otherwise from's goroutine does. from opens it. Either closes it, from
// then waiting until a read that has begun is over.
type lane struct {
	from, to *Loan

	mu sync.Mutex // held to change state, and by to while it reads
	// before says that there may be bytes in the streams that come before those of the lane, up
	// to mark.
	before atomic.Bool
	mark   uint32
	state  atomic.Uint32
}

// States of a lane.
const (
	laneShut uint32 = iota // bytes go by the streams
	laneOpen
	laneDead // one of the loans has ended, or from could not be read
)

// fuse gives two loans of one connection lanes, if neither has ended.
func (p *Pump) fuse(a, b *Loan) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.loans[a.id] != a || p.loans[b.id] != b || a.out.Load().lives() {
		return
	}
	for _, ends := range [2][2]*Loan{{a, b}, {b, a}} {
		l := &lane{from: ends[0], to: ends[1]}
		l.from.out.Store(l)
		l.to.in.Store(l)
	}
}

func (w *lane) lives() bool { return w != nil && w.state.Load() != laneDead }

// set changes the state of a lane that lives.
func (w *lane) set(state uint32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.state.Load() != laneDead {
		w.state.Store(state)
	}
}

// pass leaves what the program has written to the lane, which it opens if that may be. It reports
// false when it is the loan's to read.
func (l *Loan) pass() bool {
	w := l.out.Load()
	switch {
	case !w.lives():
		return false
	case l.sent || l.eof || l.broken:
		l.shut() // the end goes by the stream
		return false
	case w.state.Load() != laneOpen && !l.open(w):
		return false
	}
	if w.to.note(laneIn) {
		w.to.run()
	}
	return true
}

// open opens the lane, if that may be.
func (l *Loan) open(w *lane) bool {
	if c := &l.cork; c.push || len(c.held) > 0 || !c.told && l.lookForCork() {
		return false
	}
	// Who reads the lane would shut it again for as much, and nobody would carry anything.
	if l.corked() && l.src.Ready() >= tubeWorth {
		return false
	}
	mark, ok := l.stream.Mark()
	if !ok {
		return false
	}
	w.mark = mark
	w.before.Store(true)
	w.set(laneOpen)
	return true
}

// shut takes the lane back, if it is open.
func (l *Loan) shut() {
	if w := l.out.Load(); w.lives() && w.state.Load() == laneOpen {
		w.set(laneShut)
	}
}

// fromLane carries what is there in the lane to the program, which has nothing in the stream.
func (l *Loan) fromLane(w *lane) (n int) {
	for more := true; more; {
		if n >= turnBytes {
			l.note(laneIn)
			return n
		}
		var m int
		if m, more = l.readLane(w); m == 0 {
			return n
		}
		n += m
		l.stream.Passed(m)
		if !l.flush() {
			return n
		}
	}
	return n
}

// readLane takes bytes from the lane, which are to be flushed, and reports whether there are more
// that it has not been told of.
func (l *Loan) readLane(w *lane) (n int, more bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.state.Load() != laneOpen {
		return 0, false
	}
	if w.before.Load() {
		if !l.stream.Reached(w.mark) {
			return 0, false // it is told when they come
		}
		w.before.Store(false)
	}
	n, state := l.take(w.from)
	if state != laneOpen {
		w.state.Store(state)
		if w.from.note(hostIn) {
			w.from.p.queue(w.from)
		}
		return 0, false
	}
	return n, len(w.from.cork.held) > 0 || w.from.src.Len() > 0
}

// take takes of what from's program has written what is to be flushed now, and gives what the
// lane's state is to be. from sees to the rest if that is not open.
func (l *Loan) take(from *Loan) (n int, state uint32) {
	if !l.stream.Passable() {
		return 0, laneShut
	}
	c := &from.cork
	here := from.src.Ready()
	if !c.told {
		if _, news := from.corkChanges(); news {
			return 0, laneShut
		}
	}
	for c.told && from.sawCork() {
		here = from.src.Ready()
	}
	c.answer(from.fd)
	have := len(c.held) + here
	switch {
	case have == 0:
		c.push = false
		return 0, laneOpen
	case !c.push && from.corked():
		if have >= tubeWorth {
			return 0, laneShut // which fills segments
		}
		if here > 0 && !from.hold(here) {
			return 0, laneDead
		}
		return 0, laneOpen
	case len(c.held) > 0:
		l.takeBuffer()
		n = copy(l.buf[:], c.held) // which is no longer
		c.empty()
	case have >= tubeWorth && !l.deaf && l.fillTube(&from.src):
		n = l.tube.left
		c.push = c.push && n < have
		return n, laneOpen
	default:
		l.takeBuffer()
		var err error
		if n, err = from.src.Read(l.buf[:]); err != nil {
			return 0, laneDead
		}
	}
	l.fill, l.rest = n, l.buf[:n]
	c.push = c.push && n < have
	return n, laneOpen
}

func (l *Loan) takeBuffer() {
	if l.buf == nil {
		l.buf = buffers.Get().(*[keep]byte)
	}
}

// unread tells whether there is something in a lane that is open.
func (w *lane) unread() bool {
	if !w.lives() {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state.Load() == laneOpen && (len(w.from.cork.held) > 0 || w.from.src.Ready() > 0)
}

// unfuse ends the lanes of a loan that has ended.
func (l *Loan) unfuse() {
	if w := l.out.Load(); w.lives() {
		w.set(laneDead)
	}
	if w := l.in.Load(); w.lives() {
		w.set(laneDead)
		if w.from.note(hostIn) {
			w.from.p.queue(w.from)
		}
	}
}
