package trace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"rumptools/internal/registry"
	"rumptools/pkg/sysproxy"
)

// Proxy passes on what clients and a kernel say to each other, and shows it to a
// Tracer. Bytes are passed on as they come and as fast as they are taken; a
// direction that ends, or a connection that breaks, does so on the other side.
type Proxy struct {
	tracer *Tracer
	kernel sysproxy.URL

	mu     sync.Mutex
	closed bool
	links  map[*link]struct{}
	idle   *sync.Cond // signalled when a link is gone
}

// NewProxy returns a proxy to the kernel at url.
func NewProxy(t *Tracer, url string) (*Proxy, error) {
	u, err := sysproxy.ParseURL(url)
	if err != nil {
		return nil, err
	}
	p := &Proxy{tracer: t, kernel: u, links: make(map[*link]struct{})}
	p.idle = sync.NewCond(&p.mu)
	return p, nil
}

// Times between tries when there is something to wait for: descriptors, a place
// in the kernel's queue.
const (
	retryShort = 5 * time.Millisecond
	retryLong  = time.Second
)

// Serve takes clients from l until it is closed.
func (p *Proxy) Serve(l net.Listener) error {
	delay := retryShort
	for {
		c, err := l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil
		case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ECONNABORTED),
			errors.Is(err, syscall.ENOBUFS), errors.Is(err, syscall.ENOMEM):
			time.Sleep(delay)
			delay = min(2*delay, retryLong)
			continue
		case err != nil:
			return err
		}
		delay = retryShort
		p.start(c)
	}
}

// start takes a client.
func (p *Proxy) start(c net.Conn) {
	ctx, cancel := context.WithCancel(context.Background())
	l := &link{p: p, client: c.(socket), cancel: cancel, pid: registry.PeerPID(c)}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		cancel()
		c.Close()
		return
	}
	p.links[l] = struct{}{}
	p.mu.Unlock()
	go func() {
		l.run(ctx)
		cancel()
		p.mu.Lock()
		delete(p.links, l)
		p.mu.Unlock()
		p.idle.Broadcast()
	}()
}

// Clients is how many clients are connected.
func (p *Proxy) Clients() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.links)
}

// Wait waits until no client is connected.
func (p *Proxy) Wait() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.links) > 0 {
		p.idle.Wait()
	}
}

// WaitFor waits until the host's process pid has no connection.
func (p *Proxy) WaitFor(pid int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.has(pid) {
		p.idle.Wait()
	}
}

func (p *Proxy) has(pid int) bool {
	for l := range p.links {
		if l.pid == pid {
			return true
		}
	}
	return false
}

// Close cuts off every client and waits until all are gone. No more are taken.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	for l := range p.links {
		l.cut()
	}
	p.mu.Unlock()
	p.Wait()
}

// socket is what local and TCP connections have in common.
type socket interface {
	net.Conn
	CloseRead() error
	CloseWrite() error
	SyscallConn() (syscall.RawConn, error)
}

// link is a client's connection and the one to the kernel that it stands for.
type link struct {
	p      *Proxy
	client socket
	cancel context.CancelFunc
	pid    int // of the client's process, 0 if it is not known

	mu     sync.Mutex
	kernel socket // nil until it is there
	broken bool
}

// cut breaks both connections.
func (l *link) cut() {
	l.cancel()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = true
	l.client.Close()
	if l.kernel != nil {
		l.kernel.Close()
	}
}

// attach sets the connection to the kernel; false when the link has been cut.
func (l *link) attach(k socket) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken {
		k.Close()
		return false
	}
	l.kernel = k
	return true
}

func (l *link) run(ctx context.Context) {
	defer l.client.Close()
	kernel, err := l.p.dial(ctx)
	if err != nil {
		// As a kernel that is full or ending does it: closed without a word.
		if ctx.Err() == nil {
			c := l.p.tracer.Open(time.Now(), l.pid)
			c.Failed(time.Now(), err)
			c.Close(time.Now())
		}
		return
	}
	if !l.attach(kernel) {
		return
	}
	defer kernel.Close()
	conv := l.p.tracer.Open(time.Now(), l.pid)
	var both sync.WaitGroup
	both.Go(func() { l.pump(conv, true, kernel, l.client) })
	both.Go(func() { l.pump(conv, false, l.client, kernel) })
	both.Wait()
	conv.Close(time.Now())
}

// Failed takes note that a client could not be connected to the kernel.
func (c *Conn) Failed(at time.Time, err error) {
	c.t.mu.Lock()
	defer c.t.mu.Unlock()
	c.t.begin(at)
	c.t.note(c, fmt.Sprintf("no connection to the kernel: %v", err))
	c.t.finish()
}

// dial connects to the kernel.
func (p *Proxy) dial(ctx context.Context) (socket, error) {
	for delay := retryShort; ; delay = min(2*delay, retryLong) {
		c, err := new(net.Dialer).DialContext(ctx, p.kernel.Network, p.kernel.Address)
		if err == nil {
			return c.(socket), nil
		}
		// A full queue makes a client wait; a socket that does not block is
		// told so instead.
		if !errors.Is(err, syscall.EAGAIN) && !errors.Is(err, syscall.EMFILE) && !errors.Is(err, syscall.ENFILE) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(delay):
		}
	}
}

// pumpSize is how much is passed on at once.
const pumpSize = 64 << 10

// pump passes on one direction until it ends. Nothing is read before what came
// before has been taken.
func (l *link) pump(conv *Conn, fromClient bool, dst, src socket) {
	buf := make([]byte, pumpSize)
	banner := plainBanner{done: fromClient}
	for {
		n, err := src.Read(buf)
		at := time.Now()
		if b := banner.pass(buf[:n]); len(b) > 0 {
			conv.Bytes(at, fromClient, b)
			if _, werr := dst.Write(b); werr != nil {
				// Who does not take it any more must not be sent more.
				conv.EOF(at, fromClient)
				src.CloseRead()
				return
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			conv.EOF(at, fromClient)
			if hungUp(src) && !fromClient {
				// A kernel that closes does not read either; a client
				// that is told of one direction only would try again and
				// again.
				dst.CloseRead()
			}
			dst.CloseWrite()
			return
		default:
			conv.EOF(at, fromClient)
			l.reset(dst)
			return
		}
	}
}

// reset breaks a connection as the other one was broken.
func (l *link) reset(s socket) {
	if tcp, ok := s.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	s.Close()
}
