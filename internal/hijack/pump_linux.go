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

// A pump carries by calls.
type pump struct {
	*connection

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

// giveUp resets the connection, unless it has ended.
func (p *pump) giveUp() {
	p.ks.Abort()
	p.finish()
}

// reset is what comes of an error of the kernel's.
func (p *pump) reset(err error) {
	if errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrClosed) || p.x.s.ctx.Err() != nil {
		return
	}
	p.stop()
	<-p.upDone
	p.connection.reset(linuxsock.Errno(err))
}
