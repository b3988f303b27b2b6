//go:build amd64 || arm64

package hijack

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// pumpSize is how much is carried at a time.
const pumpSize = 64 << 10

var pumpBuffers = sync.Pool{New: func() any { b := make([]byte, pumpSize); return &b }}

// A carrier carries a connection's bytes between K and the kernel.
type carrier interface {
	// hungUp is called when no program holds S any more.
	hungUp()
	// setCork is called when TCP_CORK has changed, with the options' lock held. What was
	// written before leaves as if it had not been set, or had been cleared then.
	setCork(on bool)
}

// carry has a connection's bytes carried: by the kernel itself if it can, or else by a
// pump.
func (x *socket) carry(ks *spclient.NetSocket, k *kept) {
	x.carried.Store(true)
	x.s.carriers.Add(1)
	defer func() {
		x.mu.Lock()
		c, closed := x.carrier, x.closedEarly
		x.mu.Unlock()
		if closed && c != nil {
			c.hungUp()
		}
	}()
	if x.s.conn.CanLend() && x.lend(ks, k) {
		return
	}
	if err := k.watch(); err != nil {
		x.s.say("watch: %v", err)
		x.reset(ks, k, errnoOf(err))
		return
	}
	p := &pump{x: x, ks: ks, k: k, upDone: make(chan struct{})}
	x.optMu.Lock()
	p.cork.set = x.opts.Corked()
	x.mu.Lock()
	x.carrier = p
	x.mu.Unlock()
	x.optMu.Unlock()
	go p.up()
	go p.down()
}

type pump struct {
	x  *socket
	ks *spclient.NetSocket
	k  *kept

	mu     sync.Mutex
	closed bool // by the programs
	ended  bool // all that they sent has been given to the kernel
	cork   cork
	upDone chan struct{}
}

// up carries what the programs send.
func (p *pump) up() {
	defer close(p.upDone)
	buf := pumpBuffers.Get().(*[]byte)
	defer pumpBuffers.Put(buf)
	held := 0
	for {
		n, err := p.k.readStream((*buf)[held:])
		held += n
		if errors.Is(err, os.ErrDeadlineExceeded) {
			if p.stopped() {
				return
			}
			err = nil // something is held, or the cork has changed
		}
		give, at := p.release(held, err != nil)
		if give > 0 {
			if err := p.write((*buf)[:give], at); err != nil {
				go p.reset(err)
				return
			}
			held = copy(*buf, (*buf)[give:held])
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			p.mu.Lock()
			closed := p.closed || p.k.hungUp()
			p.ended = !closed
			p.mu.Unlock()
			if closed {
				if p.resets() {
					p.drain()
				}
				p.finish()
			} else {
				p.ks.Shutdown(netbsd.SHUT_WR)
			}
			return
		case errors.Is(err, unix.ECONNRESET):
			// Closed with data that nobody has read: TCP resets then.
			p.drain()
			p.ks.Abort()
			p.finish()
			return
		default: // K is closed
			return
		}
	}
}

// down carries what the peer sends.
func (p *pump) down() {
	buf := pumpBuffers.Get().(*[]byte)
	defer pumpBuffers.Put(buf)
	for {
		n, err := p.ks.Read(*buf)
		if n > 0 {
			if _, err := p.k.Write((*buf)[:n]); err != nil {
				return // hungUp knows
			}
		}
		switch {
		case err == nil:
		case err == io.EOF: // and not that of a kernel that is lost
			p.k.shutdownWrite()
			return
		default:
			p.reset(err)
			return
		}
	}
}

// hungUp is called when no program holds S any more.
func (x *socket) hungUp() {
	if broken := x.takeBroken(); broken != nil {
		broken() // and was never accepted
		return
	}
	x.mu.Lock()
	c := x.carrier
	x.mu.Unlock()
	if c != nil {
		c.hungUp()
		return
	}
	x.mu.Lock()
	soon := x.state == connected
	x.closedEarly = soon
	x.mu.Unlock()
	// What is in K already is still to be carried.
	if !soon {
		x.gone()
	}
}

// takeBroken takes what shows the program that the connection broke before it was accepted,
// nil if that is not to be.
func (x *socket) takeBroken() (show func()) {
	x.mu.Lock()
	defer x.mu.Unlock()
	show, x.broken = x.broken, nil
	return show
}

func (p *pump) hungUp() {
	p.mu.Lock()
	p.closed = true
	ended := p.ended
	p.mu.Unlock()
	if ended {
		p.finish()
	} else if p.resets() || p.k.broken() {
		// A peer that does not read is not waited for.
		time.AfterFunc(lingerTime, p.giveUp)
	}
}

// lingerTime is how long the kernel may take to send what was written before a close that resets. On
// the host that has left with the write.
const lingerTime = 300 * time.Millisecond

// resets tells whether closing the kernel's socket resets the connection.
func (p *pump) resets() bool {
	p.x.optMu.Lock()
	defer p.x.optMu.Unlock()
	on, seconds := p.x.opts.Linger()
	return on && seconds == 0
}

// drain waits until the kernel has sent all, before a close that would drop the rest.
func (p *pump) drain() {
	p.delay(0)
	p.ks.Sendto(nil, nil) // NetBSD's kernel looks at that only when something is sent
	for wait, end := time.Millisecond, time.Now().Add(lingerTime); time.Now().Before(end); wait *= 2 {
		left := int32(0)
		err := p.ks.Use(func(fd spclient.FD) error {
			return p.x.s.conn.IoctlStruct(p.x.s.ctx, fd, netbsd.FIONWRITE, &left)
		})
		if err != nil || left == 0 {
			return
		}
		time.Sleep(wait)
	}
}

func (p *pump) finish() { p.x.finish(p.ks, p.k) }

// giveUp resets the connection, unless it has ended.
func (p *pump) giveUp() {
	p.ks.Abort()
	p.finish()
}

// finish closes both sides after all has been said.
func (x *socket) finish(ks *spclient.NetSocket, k *kept) {
	ks.Release()
	held := x.mayBeHeld()
	x.mu.Lock()
	mine := x.k == k
	if held && mine {
		x.state, x.over, x.ks, x.k = broken, true, nil, nil
	}
	x.mu.Unlock()
	switch {
	case !mine:
	case held:
		x.retrack()
	default:
		x.forget()
	}
	k.settle()
	k.close()
	if mine {
		x.delivered()
	}
}

// mayBeHeld tells whether programs may have S although K has hung up: it has, too, once each direction has been shut down.
func (x *socket) mayBeHeld() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.shutWrite && x.tracked != 0
}

// has tells whether its connection is still that of K, and has not been given up.
func (x *socket) has(k *kept) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.k == k
}

// delivered says that nothing is left to carry.
func (x *socket) delivered() {
	if x.carried.Swap(false) {
		x.s.carriers.Add(-1)
	}
}

// reset is what comes of an error of the kernel's.
func (p *pump) reset(err error) {
	if errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrClosed) || p.x.s.ctx.Err() != nil {
		return
	}
	p.stop()
	<-p.upDone
	p.x.reset(p.ks, p.k, linuxsock.Errno(err))
}

// reset has the programs see that the connection broke: K is closed while there is
// something unread in it, which is ECONNRESET at the other end.
func (x *socket) reset(ks *spclient.NetSocket, k *kept, e unix.Errno) {
	if e == unix.EPIPE || e == 0 {
		e = unix.ECONNRESET
	}
	var lastName []byte
	if name, err := ks.Getsockname(); err == nil {
		lastName = x.linuxAddr(name)
	}
	show := func() {
		x.mu.Lock()
		mine := x.k == k
		if mine {
			x.ks, x.k = nil, nil
		}
		x.mu.Unlock()
		switch {
		case !mine: // the program has begun again
		case k.hungUp() && !x.mayBeHeld():
			x.forget()
		default:
			x.retrack()
		}
		k.close()
		ks.Close()
		if mine {
			x.delivered()
		}
	}
	// The program may give the connection up at any time: what it is then is not broken.
	x.optMu.Lock()
	x.mu.Lock()
	if x.k != k {
		x.mu.Unlock()
		x.optMu.Unlock()
		k.close()
		ks.Close()
		return
	}
	x.opts.Pending = e
	if lastName != nil {
		x.lastName = lastName
	}
	if x.state == connected {
		x.state = broken
	}
	if x.arrival != nil && x.held.tid == 0 {
		// Nobody has accepted it; then it will be shown.
		x.broken = show
		show = nil
	}
	x.mu.Unlock()
	x.optMu.Unlock()
	if show == nil {
		// Or it never is.
		if k.watch() == nil {
			return
		}
		show = x.takeBroken()
	}
	if show != nil {
		show()
	}
}
