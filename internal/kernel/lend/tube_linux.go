package lend

import (
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"rumptools/internal/seeded"
)

// tube is a pipe by which much is moved from one program's socket to another's without a copy.
type tube struct {
	r, w int
	left int // bytes in it
}

// tubes are those of a pump.
type tubes struct {
	mu   sync.Mutex
	idle []*tube // empty ones
	all  int
}

const (
	// tubeSize is the size in bytes of a pipe, if the host allows it.
	tubeSize = 256 << 10
	// mostTubes is how many there are at most. A loan has one only while there is something
	// in it, so that those have them that wait for their programs to read.
	mostTubes = 64
	// tubeWorth is from which number of bytes a tube is faster than a buffer.
	tubeWorth = 32 << 10
)

// getTube gives an empty tube, nil when there is none.
func (p *Pump) getTube() *tube {
	ts := &p.tubes
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if n := len(ts.idle); n > 0 {
		t := ts.idle[n-1]
		ts.idle = ts.idle[:n-1]
		return t
	}
	var fds [2]int
	if ts.all == mostTubes || unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK) != nil {
		return nil
	}
	unix.FcntlInt(uintptr(fds[1]), unix.F_SETPIPE_SZ, tubeSize)
	ts.all++
	return &tube{r: fds[0], w: fds[1]}
}

// putTube gives a tube back.
func (p *Pump) putTube(t *tube) {
	ts := &p.tubes
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if t.left == 0 {
		ts.idle = append(ts.idle, t)
		return
	}
	t.close()
	ts.all--
}

func (ts *tubes) close() {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for _, t := range ts.idle {
		t.close()
	}
	ts.all -= len(ts.idle)
	ts.idle = nil
}

func (t *tube) close() {
	unix.Close(t.r)
	unix.Close(t.w)
}

// fillTube moves to a tube what a program has written. It reports false when that cannot be.
func (l *Loan) fillTube(src *seeded.Reader) bool {
	t := l.p.getTube()
	if t == nil {
		return false
	}
	// It is the socket's mode that pour goes by, not the call's.
	l.nonblock = l.nonblock || unix.SetNonblock(l.fd, true) == nil
	if l.nonblock {
		if n, err := src.Splice(t.w, src.Len()); err == nil {
			t.left, l.tube = n, t
			return true
		}
	}
	l.p.putTube(t)
	return false
}

// pour writes what is in the loan's tube to the program. It reports whether nothing is left.
func (l *Loan) pour() bool {
	for t := l.tube; t.left > 0 && !l.full && !l.deaf; {
		n, _, e := syscall.RawSyscall6(unix.SYS_SPLICE, uintptr(t.r), 0, uintptr(l.fd), 0, uintptr(t.left), unix.SPLICE_F_NONBLOCK)
		switch {
		case e == unix.EINTR:
		case e != 0:
			l.refused(e)
		default:
			t.left -= int(n)
		}
	}
	if l.tube.left > 0 && !l.deaf {
		return false
	}
	l.p.putTube(l.tube)
	l.tube = nil
	return true
}
