package lend

import (
	"errors"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"rumptools/internal/seeded"
	"rumptools/pkg/netbsd"
)

// What a loan is told; see Loan.state.
const (
	running   uint32 = 1 << iota // a goroutine has the loan
	hostIn                       // the program wrote
	hostOut                      // the program read
	hostEOF                      // the program ended its direction
	hostHup                      // both directions ended
	hostErr                      // the program closed with data unread
	streamIn                     // Readable
	streamOut                    // Writable
	streamBad                    // Broken
	revoked                      // Revoke was called
	taken                        // TakeBack was called
	hostGone                     // it was, for a program that has closed its socket
	flush                        // Flush
	corkDue                      // something may have been held back for long enough
	laneIn                       // there is something in the lane
)

// Loan is a stream that a program has.
type Loan struct {
	p      *Pump
	id     uint64
	fd     int
	stream Stream
	ended  func(End, error)
	closed func()
	dg     *datagrams // of a loan of datagrams
	next   *Loan      // the next that waits for a worker; see Pump.work

	// in and out are what goes past the stream, to the program and from it; see lane.
	in, out atomic.Pointer[lane]

	// state has what the loan was told and not yet done. One goroutine at a time
	// has the loan; others leave it what there is to do, so that nobody waits.
	state atomic.Uint32
	turn  atomic.Uint32 // how often that was done
	kept  atomic.Int32  // bytes that the program has no room for

	// What follows is of who has the loan.
	over     bool   // it has ended
	hup, eof bool   // both directions have ended at the program; one has
	broken   bool   // the program closed with data unread
	sent     bool   // the end of the program's direction was told to the stream
	heard    bool   // the end of the other was told to the program
	deaf     bool   // the program does not read any more
	full     bool   // the host's socket is, and will tell of room
	rest     []byte // what it had no room for
	buf      *[keep]byte
	fill     int   // bytes in buf
	tube     *tube // what it had no room for, too. Only one of the two has something
	armed    bool  // the descriptor is watched for room
	src      seeded.Reader
	seeded   bool // the descriptor has a byte that nobody needs
	nonblock bool // its mode is not to wait
	cork     cork
	linger   linger
}

// NewLoan makes a loan of a descriptor of a connected local stream socket of the
// host, whose mode may become not to wait (O_NONBLOCK). seed tells whether the first byte that is there to be read,
// or will be, is a seed (package seeded). open makes the stream, which is to notify the
// loan that it gets, from any goroutine and with any locks held. ended is
// called when the loan has, with the error of [Failed]; closed when the descriptor
// is, which NewLoan takes over unless it fails. Both may be called before Start
// returns, and must not wait.
func (p *Pump) NewLoan(fd int, seed bool, open func(*Loan) (Stream, error), ended func(End, error), closed func()) (*Loan, error) {
	if !isLocalStream(fd) {
		return nil, ErrHost
	}
	// A byte that was sent out of band would be skipped, and poll would tell of it
	// for ever. As large as the host allows: what is written at once is one wake-up
	// of the program.
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_OOBINLINE, 1)
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, hostBuffer) != nil {
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, hostBuffer)
	}
	l := &Loan{p: p, fd: fd, seeded: seed, src: seeded.NewReader(fd, seed), ended: ended, closed: closed}
	l.state.Store(running)
	s, err := open(l)
	if err != nil {
		return nil, err
	}
	l.stream = s
	if err := p.add(l, watched); err != nil {
		s.Release()
		// Who has notified it of what waits for it to be done would wait for ever.
		l.over = true
		l.run()
		return nil, err
	}
	return l, nil
}

// hostBuffer is the size of the host's send buffer that is asked for.
const hostBuffer = 256 << 10

// watched is what a descriptor is watched for, room only when there is none.
const watched = unix.EPOLLIN | unix.EPOLLRDHUP

func isLocalStream(fd int) bool {
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil || domain != unix.AF_UNIX {
		return false
	}
	typ, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil || typ != unix.SOCK_STREAM {
		return false
	}
	_, err = unix.Getpeername(fd)
	return err == nil
}

// Start begins a loan.
func (l *Loan) Start() {
	if l.stream != nil {
		if mate := l.stream.Mate(); mate != nil {
			l.p.fuse(l, mate)
		}
	}
	l.note(streamIn | streamOut | hostIn)
	l.run()
}

// Revoke ends a loan if it has not ended, and has its descriptor closed. It does not
// wait and may be called with any locks held.
func (l *Loan) Revoke() {
	if l.note(revoked) {
		l.p.queue(l)
	}
}

// Queued is about how many bytes wait here for the program to read, and how many that it has
// written have not been taken.
func (l *Loan) Queued() (in, out int) {
	l.p.mu.Lock() // so that the descriptor stays
	defer l.p.mu.Unlock()
	if l.p.loans[l.id] != l {
		return 0, 0
	}
	return int(l.kept.Load()), seeded.Waiting(l.fd)
}

// Notify is what the stream calls, with its locks held.
func (l *Loan) Notify(ev Events) {
	if l.dg != nil {
		l.dg.notified()
		return
	}
	var bits uint32
	if ev&Readable != 0 {
		bits |= streamIn
	}
	if ev&Writable != 0 {
		bits |= streamOut
	}
	if ev&Broken != 0 {
		bits |= streamIn | streamOut | streamBad
	}
	if ev&Flush != 0 {
		// The caller waits for it, and a worker would have to be woken.
		if l.note(bits | flush) {
			l.run()
			return
		}
		// Another goroutine is at it, and does this in its next turn at the latest.
		for turn := l.turn.Load(); l.state.Load() != 0 && l.turn.Load()-turn < 2; {
			runtime.Gosched()
		}
		return
	}
	if l.note(bits) {
		l.p.queue(l)
	}
}

// note leaves the loan bits. It reports whether nobody has the loan; then the caller
// has it, and must run it.
func (l *Loan) note(bits uint32) bool {
	for {
		old := l.state.Load()
		if l.state.CompareAndSwap(old, old|bits|running) {
			return old&running == 0
		}
	}
}

// run does what there is to do, for about a turn's bytes, and lets the loan go.
func (l *Loan) run() {
	for left := turnBytes; ; {
		bits := l.state.Swap(running) &^ running
		if bits == 0 {
			if l.state.CompareAndSwap(running, 0) {
				return
			}
			continue
		}
		left -= l.handle(bits)
		l.turn.Add(1)
		if left < 0 {
			// It keeps the loan.
			l.p.queue(l)
			return
		}
	}
}

// handle does what bits ask for and gives about how many bytes that were.
func (l *Loan) handle(bits uint32) (n int) {
	if l.dg != nil {
		return l.dg.handle(bits)
	}
	if bits&revoked != 0 {
		l.end(Revoked, nil)
		return 0
	}
	if l.over {
		return 0
	}
	l.hup = l.hup || bits&hostHup != 0
	l.eof = l.eof || bits&(hostEOF|hostHup) != 0
	l.broken = l.broken || bits&hostErr != 0
	if bits&streamBad != 0 && l.heard {
		// Nothing more is read, which would tell.
		if err := l.stream.Err(); err != nil {
			l.end(Failed, err)
			return 0
		}
	}
	if bits&hostOut != 0 {
		if !l.full && l.armed {
			// Nobody needs to know any more.
			l.armed = false
			l.watch(l.cork.watched())
		}
		l.full = false
	}
	if bits&(streamIn|hostOut|laneIn) != 0 {
		n += l.down(bits&(streamIn|hostOut) != 0)
	}
	if bits&(corkDue|flush) != 0 {
		l.shut() // it is for the loan to look at the cork
		bits |= hostIn
	}
	if bits&corkDue != 0 && l.cork.due() || bits&flush != 0 {
		l.cork.push = true
		bits |= streamOut
	}
	if l.cork.told && bits&hostOut != 0 {
		bits |= hostIn // it may have been changed
	}
	if bits&(hostIn|hostEOF|hostHup|hostErr|streamOut) != 0 && !l.over {
		n += l.up()
	}
	return n
}

// down carries what has come in to the program: what the stream has, if it may have something,
// and then what is in the lane.
func (l *Loan) down(stream bool) (n int) {
	if l.full || l.heard || !l.flush() {
		return 0
	}
	w := l.in.Load()
	if stream || !w.lives() || w.before.Load() {
		if n, stream = l.fromStream(); !stream {
			return n
		}
	}
	if w.lives() {
		n += l.fromLane(w)
	}
	return n
}

// fromStream carries what the stream has to the program. It reports whether that was all, for now.
func (l *Loan) fromStream() (n int, all bool) {
	for n < turnBytes {
		m, err := l.stream.Recv(l)
		n += m
		ok := l.flush()
		switch {
		case !ok:
			return n, false
		case err == nil:
			continue
		case err == netbsd.EAGAIN:
			return n, true
		case err == io.EOF:
			l.heard = true
			unix.Shutdown(l.fd, unix.SHUT_WR)
			if l.sent {
				l.finishUp()
			}
			return n, false
		}
		l.end(Failed, err)
		return n, false
	}
	l.note(streamIn)
	return n, false
}

// errFull stops Recv.
var errFull = errors.New("no room")

// Write implements io.Writer for Recv. Small pieces are gathered.
func (l *Loan) Write(p []byte) (int, error) {
	switch {
	case l.deaf:
		return len(p), nil
	case l.full:
		return 0, errFull
	case len(p) < gather:
		if l.fill+len(p) > keep && !l.flush() {
			return 0, errFull
		}
		l.takeBuffer()
		l.fill += copy(l.buf[l.fill:], p)
		l.rest = l.buf[:l.fill]
		return len(p), nil
	}
	n := l.WriteAll([][]byte{p})
	if n < len(p) && !l.deaf {
		return n, errFull
	}
	return len(p), nil
}

var buffers = sync.Pool{New: func() any { return new([keep]byte) }}

// flush writes the rest. It reports whether there is none any more.
func (l *Loan) flush() bool {
	done := l.flushAll()
	left := len(l.rest)
	if l.tube != nil {
		left += l.tube.left
	}
	l.kept.Store(int32(left))
	return done
}

func (l *Loan) flushAll() bool {
	if l.tube != nil && !l.pour() {
		return false
	}
	if len(l.rest) > 0 {
		l.rest = l.rest[l.write([][]byte{l.rest}):]
		if len(l.rest) > 0 && !l.deaf {
			return false
		}
	}
	if l.buf != nil {
		buffers.Put(l.buf)
		l.buf, l.fill, l.rest = nil, 0, nil
	}
	return true
}

// WriteAll implements [Sink].
func (l *Loan) WriteAll(pieces [][]byte) (n int) {
	if l.deaf {
		for _, p := range pieces {
			n += len(p)
		}
		return n
	}
	var all [MaxPieces + 1][]byte
	kept := len(l.rest)
	n = l.write(append(append(all[:0], l.rest), pieces...))
	k := min(n, kept)
	l.rest = l.rest[k:]
	if k == kept {
		l.flush() // gives the buffer back
	}
	return n - k
}

// write writes to the program what there is room for.
func (l *Loan) write(pieces [][]byte) (n int) {
	var iov [MaxPieces + 1]unix.Iovec
	left := 0
	for i, p := range pieces {
		iov[i].Base = unsafe.SliceData(p)
		iov[i].SetLen(len(p))
		left += len(p)
	}
	for v := iov[:len(pieces)]; left > 0 && !l.full && !l.deaf; {
		m, e := sendmsg(l.fd, v)
		switch e {
		case 0:
			n += m
			left -= m
			for left > 0 && m >= int(v[0].Len) {
				m -= int(v[0].Len)
				v = v[1:]
			}
			if left > 0 && m > 0 {
				v[0].Base = (*byte)(unsafe.Add(unsafe.Pointer(v[0].Base), m))
				v[0].SetLen(int(v[0].Len) - m)
			}
		case unix.EINTR:
		default:
			l.refused(e)
		}
	}
	return n
}

// refused is told why the host's socket has not taken what was written.
func (l *Loan) refused(e syscall.Errno) {
	if e != unix.EAGAIN {
		// The program has ended its reading, or has gone; ECONNRESET is told once.
		l.deaf = true
		l.broken = l.broken || e == unix.ECONNRESET
		// One that has gone leaves this unread. One that has ended its reading wants no more.
		l.look()
		l.broken = l.broken || l.hup && !l.heard
		return
	}
	l.full = true
	if !l.armed {
		// Asked for now, it is told even if it is there already.
		l.armed = true
		l.watch(l.cork.watched() | unix.EPOLLOUT)
	}
}

// watch changes what the descriptor is watched for.
func (l *Loan) watch(events uint32) { l.p.control(unix.EPOLL_CTL_MOD, l.fd, l.id, events) }

// look asks the host whether both directions have ended.
func (l *Loan) look() {
	pfd := []unix.PollFd{{Fd: int32(l.fd)}}
	_, err := unix.Poll(pfd, 0)
	for err == unix.EINTR {
		_, err = unix.Poll(pfd, 0)
	}
	if err == nil && pfd[0].Revents&unix.POLLHUP != 0 {
		l.hup = true
		l.note(hostHup) // there is something to do about it
	}
}

// up carries what the program wrote to the stream.
func (l *Loan) up() (n int) {
	abrupt := l.hup && l.stream.Abrupt()
	if abrupt && l.sent {
		l.reset()
		return 0
	}
	if l.pass() {
		return 0
	}
	for n < turnBytes && !l.sent {
		here := l.src.Ready()
		for l.lookForCork() {
			here = l.src.Ready()
		}
		l.cork.answer(l.fd)
		have := len(l.cork.held) + here
		give, corked := have, l.corked()
		if corked && have > 0 && !l.cork.push && !l.eof && !l.broken {
			if give = l.stream.Full(have); give == 0 && have <= keep {
				if here > 0 && l.hold(here) {
					continue
				}
			} else if give == 0 {
				give = have
			}
		}
		if give == 0 {
			l.cork.push = l.cork.push && have > 0
			if l.seeded && !l.eof && !l.broken {
				return n // of an end the pump would have been told
			}
			switch e := l.src.Ended(); e {
			case unix.EAGAIN:
			case 0, unix.ECONNRESET:
				l.eof, l.broken = true, l.broken || e != 0
				if have > 0 {
					continue
				}
				l.upEnded(e)
			default:
				// There is more.
				continue
			}
			return n
		}
		m, err := l.give(give)
		n += m
		if err == nil && (corked || l.cork.push || abrupt || l.broken) {
			l.stream.Push()
		}
		switch {
		case err == nil && m >= have && !l.eof && !l.broken:
			// What comes after that is told.
			l.cork.push = false
			return n
		case err == nil:
		case err == netbsd.EAGAIN:
			if abrupt || l.broken {
				l.reset()
			}
			return n
		default:
			// What came before is the program's yet.
			if l.down(true); !l.over {
				l.end(Failed, err)
			}
			return n
		}
	}
	if l.sent {
		l.finishUp()
		return n
	}
	l.note(hostIn)
	return n
}

// upEnded is told what the host says at the end of what the program wrote.
func (l *Loan) upEnded(e syscall.Errno) {
	if e != 0 {
		l.reset()
		return
	}
	if !l.hup {
		l.look()
	}
	if l.hup && l.stream.Abrupt() {
		l.reset()
	} else {
		l.finishUp()
	}
}

// finishUp tells the stream of the end of the program's direction, and ends the loan
// when that was the last, or the program has closed. A host socket both halves of
// which have ended looks as if it were closed at the other end.
func (l *Loan) finishUp() {
	if l.hup && !l.heard && (len(l.rest) > 0 || l.tube != nil || l.stream.Unread() || l.in.Load().unread()) {
		l.broken = true
	}
	if l.hup && l.broken {
		l.reset()
		return
	}
	switch {
	case l.hup:
		// What comes in at this moment resets the connection, as it does on Linux, but there all has left by then
		// that the program has written.
		l.stream.Push()
		l.stream.Close()
	case !l.sent:
		l.stream.EndSend()
	}
	l.sent = true
	if l.hup || l.heard {
		l.end(Closed, nil)
	}
}

// linger is how a reset waits for the stream.
type linger struct {
	timer *time.Timer
	until time.Time
}

// reset ends the loan of a program that has closed with data unread, or abruptly. Before that the
// stream sends what the program wrote: then reset is called again.
func (l *Loan) reset() {
	g := &l.linger
	if l.stream.Unsent() || l.src.Ready() > 0 || len(l.cork.held) > 0 {
		switch now := time.Now(); {
		case g.timer == nil:
			g.until = now.Add(lingerTime)
			g.timer = time.AfterFunc(lingerLook, func() {
				if l.note(hostIn) {
					l.p.queue(l)
				}
			})
			return
		case now.Before(g.until):
			g.timer.Reset(max(lingerLook, (lingerTime-g.until.Sub(now))/4))
			return
		}
	}
	if l.broken {
		l.stream.Reset()
		l.end(Dropped, nil)
	} else {
		l.end(Closed, nil) // closing the socket resets
	}
}

// end ends the loan. The program sees it as a reset, unless it ended the connection itself.
func (l *Loan) end(how End, err error) {
	if l.over {
		return
	}
	l.over = true
	l.stream.Release()
	l.p.control(unix.EPOLL_CTL_DEL, l.fd, l.id, 0)
	l.p.forget(l)
	l.unfuse()
	if l.buf != nil {
		buffers.Put(l.buf)
		l.buf, l.rest = nil, nil
	}
	l.cork.end()
	if l.linger.timer != nil {
		l.linger.timer.Stop()
	}
	if l.tube != nil {
		l.p.putTube(l.tube)
		l.tube = nil
	}
	if l.seeded && (how == Closed || how == Dropped) {
		seeded.Drain(l.fd)
	}
	l.release()
	l.ended(how, err)
}

// release closes the descriptor.
func (l *Loan) release() {
	if l.fd >= 0 {
		unix.Close(l.fd)
		l.fd = -1
		l.closed()
	}
}

func recvfrom(fd int, p []byte, flags int) (int, syscall.Errno) {
	n, _, e := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))),
		uintptr(len(p)), uintptr(flags|unix.MSG_DONTWAIT), 0, 0)
	return int(n), e
}

func sendmsg(fd int, v []unix.Iovec) (int, syscall.Errno) {
	const flags = unix.MSG_DONTWAIT | unix.MSG_NOSIGNAL
	if len(v) == 1 {
		n, _, e := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(v[0].Base)),
			uintptr(v[0].Len), flags, 0, 0)
		return int(n), e
	}
	m := unix.Msghdr{Iov: &v[0]}
	m.SetIovlen(len(v))
	n, _, e := syscall.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&m)), flags)
	return int(n), e
}
