//go:build amd64 || arm64

package hijack

import (
	"time"

	"golang.org/x/sys/unix"

	"rumptools/internal/seeded"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
	"rumptools/pkg/sysproxy"
)

// A cork has a pump hold back what does not fill a segment (TCP_CORK), where the kernel that has
// the connection cannot. Numbers of bytes count all that the programs have sent.
type cork struct {
	set     bool
	until   uint64    // what comes before that was written without a cork, or before it was taken off
	atOnce  uint64    // what comes before that is not to wait for acknowledgements
	given   uint64    // to the kernel
	since   time.Time // when the first byte that is held came, zero if none is
	timed   bool      // reads end some time
	stopped bool      // the pump ends

	segment int // bytes of a full one, 0 as long as the kernel has not been asked. It is the pump's own
}

// corkTime is how long a byte is held back at most, as on Linux.
const corkTime = 200 * time.Millisecond

func (p *pump) setCork(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := &p.cork
	if c.set == on || c.stopped {
		return
	}
	c.set, c.until = on, p.k.written()
	if !on {
		c.atOnce = c.until
	}
	if c.until > c.given {
		c.timed = true
		p.k.stopReading() // and look
	}
}

// setCork tells the kernel by K, for it has the rest of K to look at anyway, and a call would cost
// a web server most of its time. A call has it look at what was written before, if it might not.
func (l *loan) setCork(on bool) {
	call := false
	if on {
		l.k.control(func(fd int) {
			answer, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PRIORITY)
			cleared := l.changes > 0 || l.corked
			call = err != nil || seeded.Waiting(fd) > 0 || cleared && answer != sysproxy.CorkAnswer(l.changes)
		})
		if call {
			l.look()
		}
	}
	l.changes = (l.changes + 1) & maxChanges
	l.k.control(func(fd int) {
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVLOWAT, 1+int(l.changes))
		if !on {
			// The host says that there is room, if there is.
			call = polled(fd, unix.POLLOUT)&unix.POLLOUT == 0 || !setSendBufferAnew(fd)
		}
	})
	if !on && call {
		l.look()
	}
}

// look has the kernel look at what was written up to now.
func (l *loan) look() {
	v := int32(0)
	if l.corked {
		v = 1
	}
	l.ks.Use(func(fd spclient.FD) error {
		return l.x.s.conn.SetsockoptInt(l.x.s.ctx, fd, netbsd.IPPROTO_TCP, sysproxy.TCPCork, v)
	})
}

// maxChanges is the most changes of a cork that K counts, before it begins again.
const maxChanges = 1<<30 - 1

// setSendBufferAnew gives a socket of the host's the send buffer that it has.
func setSendBufferAnew(fd int) bool {
	size, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF)
	return err == nil && (unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, size/2) == nil ||
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, size/2) == nil)
}

// release decides how many of the held bytes go now, all if no more come; at once tells whether
// they are not to wait for acknowledgements. It has reading end when the others are to go.
func (p *pump) release(held int, all bool) (give int, atOnce bool) {
	p.mu.Lock()
	corked := p.cork.set
	p.mu.Unlock()
	if corked && p.cork.segment == 0 && held > 0 {
		p.cork.segment = p.segment()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	c := &p.cork
	give = held
	atOnce = c.atOnce > c.given
	switch {
	case !c.set || all:
	case !c.since.IsZero() && time.Since(c.since) >= corkTime:
		atOnce = true
	case held > 0:
		free := min(int(max(c.until, c.given)-c.given), held)
		segment := max(c.segment, 1)
		give = free + (held-free)/segment*segment
	}
	c.given += uint64(give)
	switch {
	case give == held:
		if c.since = (time.Time{}); c.timed {
			p.readUntil(time.Time{})
		}
	case give > 0 || c.since.IsZero():
		c.since = time.Now()
		fallthrough
	default:
		p.readUntil(c.since.Add(corkTime))
	}
	return give, atOnce
}

// readUntil bounds the next reads, with p.mu held.
func (p *pump) readUntil(t time.Time) {
	if p.cork.timed = !t.IsZero(); !p.cork.stopped {
		p.k.readUntil(t)
	}
}

// stop ends the pump's reading, and stopped tells whether it has.
func (p *pump) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cork.stopped = true
	p.k.interrupt()
}

func (p *pump) stopped() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cork.stopped
}

// write gives the kernel bytes, which do not wait for acknowledgements if they go at once.
func (p *pump) write(b []byte, atOnce bool) error {
	if atOnce {
		p.delay(0)
		defer p.delay(1)
	}
	_, err := p.ks.Write(b)
	return err
}

// delay sets Nagle's algorithm off or on, unless the program has done without it.
func (p *pump) delay(on int32) {
	p.x.optMu.Lock()
	defer p.x.optMu.Unlock()
	if p.x.opts.NoDelay() {
		return
	}
	p.ks.Use(func(fd spclient.FD) error {
		return p.x.s.conn.SetsockoptInt(p.x.s.ctx, fd, netbsd.IPPROTO_TCP, netbsd.TCP_NODELAY, 1-on)
	})
}

// timestampLength is what the timestamps take of each segment (RFC 7323, with padding).
const timestampLength = 12

// segment asks the kernel how many bytes fill one.
func (p *pump) segment() int {
	size := 0
	p.ks.Use(func(fd spclient.FD) error {
		m := p.x.s.machine
		var info netbsd.TcpInfo
		b := make([]byte, netbsd.Sizeof(m, &info))
		n, err := p.x.s.conn.Getsockopt(p.x.s.ctx, fd, netbsd.IPPROTO_TCP, netbsd.TCP_INFO, b)
		if err != nil {
			return err
		}
		if err := netbsd.Unmarshal(m, b[:n], &info); err != nil {
			return err
		}
		size = int(info.SndMss)
		if info.Options&netbsd.TCPI_OPT_TIMESTAMPS != 0 {
			size -= timestampLength
		}
		return nil
	})
	// Without an answer nothing is held back.
	return min(max(size, 1), pumpSize/2)
}
