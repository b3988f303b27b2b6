package lend

import (
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// When both ends of a connection are lent by one pump, what one program writes can go
// straight to the other's socket: the loans are mates. The connection goes on to exist,
// without data: it brings the ends of both directions, in time since they come after the
// data, and resets. A direction becomes direct when nothing of it is under way in the
// connection any more.

// host is a descriptor of the host that two loans use.
type host struct {
	fd    int
	users atomic.Int32
}

func (h *host) drop() {
	if h.users.Add(-1) == 0 {
		unix.Close(h.fd)
	}
}

// mateWait is how long it takes until it is looked again whether a direction can be
// direct, unless something happens before.
const mateWait = time.Millisecond

// direct is what a loan has of its mate.
type direct struct {
	mate atomic.Pointer[Loan]
	// quiet is set while nothing that has come in waits to be written to the program.
	// It is the loan's, for the mate to see.
	quiet atomic.Bool

	on     bool   // the direction from this program to the other
	waits  bool   // it will be looked at again
	rest   []byte // what the other program has no room for
	buf    *[keep]byte
	unread bool // the other program does not read any more
}

// findMate makes l and the loan of the other end mates; p.mu is held.
func (p *Pump) findMate(l *Loan) {
	s, ok := l.stream.(Mated)
	if !ok {
		return
	}
	self, mate := s.Mate()
	if self == nil {
		return
	}
	l.self = self
	if p.mates == nil {
		p.mates = make(map[any]*Loan)
	}
	p.mates[self] = l
	if m := p.mates[mate]; m != nil && m != l {
		l.host.users.Add(1)
		m.host.users.Add(1)
		l.direct.mate.Store(m)
		m.direct.mate.Store(l)
	}
}

// part ends being mates, for who has the loan. What the mate has not taken by then it
// never will, for it has ended.
func (l *Loan) part() {
	d := &l.direct
	m := d.mate.Swap(nil)
	if m == nil {
		return
	}
	d.on, d.rest = false, nil
	if d.buf != nil {
		buffers.Put(d.buf)
		d.buf = nil
	}
	m.host.drop()
	m.tell(mateOver)
}

// tell leaves a loan bits, from another one's.
func (l *Loan) tell(bits uint32) {
	if l.note(bits) {
		l.p.queue(l)
	}
}

// isDirect reports whether the direction to the mate is direct, or can be from now on.
func (l *Loan) isDirect(m *Loan) bool {
	d := &l.direct
	if d.on {
		return true
	}
	// In this order: what is not in one place any more is in the next.
	sent := l.stream.(Mated).Unsent() == 0
	if arrived := !m.stream.Unread() && m.direct.quiet.Load(); !arrived {
		return false // the mate will tell
	}
	if d.on = sent; !sent && !d.waits {
		d.waits = true
		time.AfterFunc(mateWait, func() { l.tell(mateLook) })
	}
	return d.on
}

// across carries what the program wrote to the mate's.
func (l *Loan) across(m *Loan) (n int) {
	d := &l.direct
	for n < turnBytes {
		if len(d.rest) > 0 {
			k, ok := l.push(m, d.rest)
			if d.rest = d.rest[k:]; !ok {
				if l.broken {
					l.drop() // as without a mate
				}
				return n
			}
		}
		if d.buf == nil {
			d.buf = buffers.Get().(*[keep]byte)
		}
		k, e := recvfrom(l.fd, d.buf[:], 0)
		if e == 0 && k > 0 {
			n += k
			d.rest = d.buf[:k]
			continue
		}
		if e == unix.EINTR {
			continue
		}
		buffers.Put(d.buf)
		d.buf, d.rest = nil, nil
		if e != unix.EAGAIN {
			l.upEnded(e)
		}
		return n
	}
	l.note(hostIn)
	return n
}

// push writes to the mate's program. It reports whether nothing of p is left to be
// written.
func (l *Loan) push(m *Loan, p []byte) (n int, ok bool) {
	for n < len(p) && !l.direct.unread {
		k, _, e := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(m.host.fd), uintptr(unsafe.Pointer(&p[n])),
			uintptr(len(p)-n), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		switch e {
		case 0:
			n += int(k)
		case unix.EINTR:
		case unix.EAGAIN:
			l.p.control(unix.EPOLL_CTL_MOD, m.host.fd, m.id, watched|unix.EPOLLOUT)
			return n, false
		default:
			// It has ended its reading, or has gone, of which the connection will
			// tell.
			l.direct.unread = true
			if e == unix.ECONNRESET {
				m.tell(hostErr) // which the host tells once
			}
		}
	}
	return len(p), true
}
