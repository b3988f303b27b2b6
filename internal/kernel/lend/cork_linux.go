package lend

import (
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"rumptools/pkg/sysproxy"
)

// A cork holds back what does not fill a segment while the stream is corked, out of the
// host's socket: there many small writes would leave the program no room for more, long before
// they fill a segment.
type cork struct {
	held []byte // what goes before what is in the host's socket
	buf  *[keep]byte
	push bool // all that is there goes, whatever it fills
	from heldSource

	changes uint32 // of the cork, that who lends has told of by the host's socket
	told    bool   // there have been any, and the descriptor is watched for more
	cleared uint32 // that of them that took the cork off last, if it has not been answered

	since time.Time // when the first of held came, about
	timer *time.Timer
	timed bool // the timer runs. It is not stopped with what it was for, which has mostly gone by then
}

// hold takes so many bytes out of the host's socket, all of which fit. It reports whether it
// could.
func (l *Loan) hold(n int) bool {
	c := &l.cork
	if c.buf == nil {
		c.buf = buffers.Get().(*[keep]byte)
	}
	if len(c.held) == 0 {
		c.since = time.Now()
	}
	at := copy(c.buf[:], c.held)
	n, err := l.src.Read(c.buf[at : at+n])
	c.held = c.buf[:at+n]
	if len(c.held) == 0 {
		c.empty()
	} else if !c.timed {
		c.timed = true
		if c.timer == nil {
			c.timer = time.AfterFunc(corkTime, func() {
				if l.note(corkDue) {
					l.p.queue(l)
				}
			})
		} else {
			c.timer.Reset(corkTime)
		}
	}
	return err == nil
}

// due reports whether what is held has been for long enough. Otherwise it has the timer tell
// when it will have been.
func (c *cork) due() bool {
	c.timed = false
	if len(c.held) == 0 {
		return false
	}
	left := corkTime - time.Since(c.since)
	if left > 0 {
		c.timed = true
		c.timer.Reset(left)
	}
	return left <= 0
}

// empty gives the buffer back.
func (c *cork) empty() {
	if c.buf != nil {
		buffers.Put(c.buf)
		c.buf, c.held = nil, nil
	}
}

func (c *cork) end() {
	c.empty()
	if c.timer != nil {
		c.timer.Stop()
	}
}

// give gives the stream so many bytes of those that are held and in the host's socket, as far as
// it has room.
func (l *Loan) give(n int) (int, error) {
	held := len(l.cork.held)
	if held == 0 {
		l.src.Limit(n)
		return l.stream.Send(&l.src)
	}
	l.src.Limit(max(n-held, 0))
	l.cork.from = heldSource{l, min(n, held)}
	m, err := l.stream.Send(&l.cork.from)
	if len(l.cork.held) == 0 {
		l.cork.empty()
	}
	return m, err
}

// heldSource is what is held, and then what is in the host's socket.
type heldSource struct {
	l    *Loan
	held int // bytes of what is held
}

// Len implements [Source].
func (s *heldSource) Len() int { return s.held + s.l.src.Len() }

// Read implements [Source].
func (s *heldSource) Read(p []byte) (int, error) {
	if s.held == 0 {
		return s.l.src.Read(p)
	}
	c := &s.l.cork
	n := copy(p, c.held[:s.held])
	c.held = c.held[n:]
	s.held -= n
	return n, nil
}

// Who lends can change the cork without a call: SO_RCVLOWAT of the host's socket is 1, and one
// more for each change. To set SO_SNDBUF anew tells of one, for that has the host say that there
// is room. SO_PRIORITY is the answer to one that took the cork off, when what was written before
// is known to go.

// corked reports whether only full segments are to leave.
func (l *Loan) corked() bool { return l.stream.Corked() != (l.cork.changes&1 != 0) }

// lookForCork reports whether the cork has been changed. What is there is to be looked at again
// then: what was written before the change may have come only now, and what is written after
// the last change is seen after that.
func (l *Loan) lookForCork() bool {
	c := &l.cork
	if !l.sawCork() {
		return false
	}
	if !c.told {
		c.told = true
		l.watch(c.watched()) // which tells of a change since
	}
	return true
}

// sawCork looks at the cork, and reports whether it has been changed.
func (l *Loan) sawCork() bool {
	c := &l.cork
	changes, ok := l.corkChanges()
	if !ok {
		return false
	}
	last := c.changes
	c.changes = changes
	cleared := changes // the last that took it off
	if l.corked() {
		cleared--
	}
	if cleared != last {
		c.push, c.cleared = true, cleared
	}
	return true
}

// corkChanges is how often the cork has been changed, if that is not known.
func (l *Loan) corkChanges() (changes uint32, news bool) {
	v, e := hostOption(l.fd, unix.SO_RCVLOWAT)
	changes = uint32(v) - 1
	return changes, e == 0 && changes != l.cork.changes
}

// watched is what the descriptor is watched for.
func (c *cork) watched() uint32 {
	if c.told {
		return watched | unix.EPOLLOUT
	}
	return watched
}

// answer tells that the cork is known to have been taken off.
func (c *cork) answer(fd int) {
	if c.cleared != 0 {
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PRIORITY, sysproxy.CorkAnswer(c.cleared))
		c.cleared = 0
	}
}

// hostOption does not wait, and is not told to the runtime.
func hostOption(fd, name int) (int32, syscall.Errno) {
	var v int32
	n := uint32(4)
	_, _, e := syscall.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, uintptr(name),
		uintptr(unsafe.Pointer(&v)), uintptr(unsafe.Pointer(&n)), 0)
	return v, e
}
