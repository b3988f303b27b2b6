package spclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// Options change what [Dial] does.
type Options struct {
	// Name is the name that the kernel shows for this process. By default
	// it is the last part of the program's name.
	Name string

	// Dial connects to the server, in place of a net.Dialer. The network is
	// "unix" or "tcp", and the connection a stream of bytes. One that has a
	// descriptor (a syscall.Conn) is closed, and a copy of its descriptor
	// used in its place; others are used as they are.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// OnRaise is called when the kernel raises a signal in this process:
	// netbsd.SIGPIPE before a call fails with EPIPE, netbsd.SIGIO,
	// netbsd.SIGSYS before one fails with ENOSYS. Signals are NetBSD's. The
	// default does nothing, for the calls' errors tell enough.
	//
	// It is called before answers that came after the signal are seen, and
	// holds up all of them: it must return soon and must not use the
	// connection.
	//
	// [RaiseSignal] delivers the host's signal.
	OnRaise func(signo int32)

	// Retry says what is done when the connection is lost. The default is
	// RetryNone.
	Retry Retry

	// Message is told, in one line without its end, when a lost connection is
	// to be made again, when that is done, and every two minutes between. The
	// default writes to standard error, as NetBSD's client does.
	Message func(text string)
}

// Conn is a connection to a rump kernel, which is a process there with
// descriptors of its own. Its methods may be used by any number of goroutines.
type Conn struct {
	url  sysproxy.URL
	opts Options

	s atomic.Pointer[session] // the last one

	// ctx ends with Close.
	ctx    context.Context
	cancel context.CancelFunc
	// done is closed when the connection has ended for good.
	done chan struct{}

	mu      sync.Mutex
	err     error    // why it ended for good
	attempt *attempt // to reconnect, while there is one
}

// generations numbers the sessions of this process.
var generations atomic.Uint32

// Dial connects to the rump kernel at a URL, unix://PATH or tcp://HOST:PORT/,
// as a new process in it. A relative PATH is one from the directory that is the
// current one now. Options may be nil. The error is a [*DialError].
//
// The context is for connecting only.
func Dial(ctx context.Context, url string, opts *Options) (*Conn, error) {
	return dial(ctx, url, opts, guest)
}

// A greeting attaches a session to a process of the kernel's, as the first thing
// that it does.
type greeting func(ctx context.Context, s *session, name string) error

func dial(ctx context.Context, url string, opts *Options, greet greeting) (*Conn, error) {
	u, err := parseURL(url)
	if err != nil {
		return nil, err
	}
	c := newConn(u, opts)
	s, err := c.dialSession(ctx, greet)
	if err != nil {
		c.cancel()
		return nil, err
	}
	c.install(s)
	return c, nil
}

// parseURL returns a URL with an absolute path that can be dialled.
func parseURL(url string) (sysproxy.URL, error) {
	u, err := sysproxy.ParseURL(url)
	if err != nil {
		return u, &DialError{URL: url, Err: err}
	}
	if dir, err := os.Getwd(); err == nil {
		u = u.Absolute(dir)
	}
	if err := u.CheckDial(); err != nil {
		return u, &DialError{URL: u.String(), Err: err}
	}
	return u, nil
}

func newConn(u sysproxy.URL, opts *Options) *Conn {
	c := &Conn{url: u, done: make(chan struct{})}
	if opts != nil {
		c.opts = *opts
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// session returns the last session, which may have ended.
func (c *Conn) session() *session { return c.s.Load() }

// install makes a session the connection's.
func (c *Conn) install(s *session) {
	c.s.Store(s)
	s.mu.Lock()
	s.ended = c.sessionEnded
	err := s.err
	s.mu.Unlock()
	if err != nil {
		c.sessionEnded(err)
	}
}

// sessionEnded ends the connection with its session unless it may come back.
func (c *Conn) sessionEnded(err error) {
	if !c.mayRenew(err) {
		c.finish(err)
	}
}

// mayRenew tells whether there may be a session after one that ended with err.
func (c *Conn) mayRenew(err error) bool {
	return c.opts.Retry != RetryNone && errors.Is(err, ErrLost)
}

// finish ends the connection for good. Only the first reason counts.
func (c *Conn) finish(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
		c.cancel()
		close(c.done)
	}
}

// dialSession connects and greets. The error is a DialError.
func (c *Conn) dialSession(ctx context.Context, greet greeting) (*session, error) {
	u := c.url
	for try := 1; ; try++ {
		s, err := c.tryDial(ctx, greet)
		switch {
		case err == nil:
			return s, nil
		case ctx.Err() != nil:
			// What its end did to the connection is no news.
			err = ctx.Err()
		case isNoListener(err):
			return nil, &DialError{URL: u.String(), Err: ErrNoKernel, Host: err}
		case err == ErrFull && try < fullTries:
			// A server that is about to end does the same: ask again who it
			// was.
			if sleep(ctx, fullDelay) == nil {
				continue
			}
			err = ctx.Err()
		}
		return nil, &DialError{URL: u.String(), Err: err}
	}
}

// How often, and after what time, a server is asked again that closed the
// connection without a word.
const (
	fullTries = 3
	fullDelay = 10 * time.Millisecond
)

// tryDial connects, reads the banner and greets.
func (c *Conn) tryDial(ctx context.Context, greet greeting) (*session, error) {
	defer holdStdio()()
	tr, err := connect(ctx, c.url, c.opts.Dial)
	if err != nil {
		return nil, err
	}
	// From here on whatever waits ends when the transport is closed.
	stop := context.AfterFunc(ctx, func() { tr.close() })
	s := newSession(c.url.String(), tr, c.opts.OnRaise)
	err = s.readBanner()
	if err != nil {
		stop()
		tr.close()
		return nil, err
	}
	s.start()
	err = greet(ctx, s, programName(c.opts.Name))
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		s.end(err)
		<-s.done
		return nil, err
	}
	return s, nil
}

// sleep waits for d, or for the end of ctx, whose error it returns then.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func programName(name string) string {
	if name == "" && len(os.Args) > 0 {
		name = filepath.Base(os.Args[0])
	}
	if name == "" {
		// Real servers do not survive a handshake without a name.
		name = "?"
	}
	return name
}

// Delays between attempts to connect to a local socket whose queue is full.
const (
	busyDelayMin = time.Millisecond
	busyDelayMax = 100 * time.Millisecond
)

// connect makes the connection that carries the session.
func connect(ctx context.Context, u sysproxy.URL, dial func(context.Context, string, string) (net.Conn, error)) (transport, error) {
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	for delay := busyDelayMin; ; delay = min(2*delay, busyDelayMax) {
		nc, err := dial(ctx, u.Network, u.Address)
		if err == nil {
			return newTransport(nc)
		}
		if !isListenerBusy(err) {
			// The address is in the URL already.
			var op *net.OpError
			if errors.As(err, &op) {
				err = op.Err
			}
			return nil, err
		}
		if err := sleep(ctx, delay); err != nil {
			return nil, err
		}
	}
}

func newSession(url string, tr transport, onRaise func(int32)) *session {
	s := &session{
		url:     url,
		onRaise: onRaise,
		tr:      tr,
		done:    make(chan struct{}),
		pending: make(map[uint64]*Call),
		turn:    turnWatcher,
	}
	s.direct, _ = tr.(directTransport)
	s.maxReaders = int32(max(1, runtime.GOMAXPROCS(0)-1))
	if s.direct != nil && s.direct.isLocal() {
		// Who answers needs what the caller would hold.
		s.maxReaders = 0
	}
	s.out.tr = tr
	s.out.broken = s.sendFailed
	return s
}

// readBanner reads what the server says first.
func (s *session) readBanner() error {
	banner, err := sysproxy.ReadBanner(bannerReader{&s.in, s.tr})
	if err != nil {
		if !s.in.any && (err == io.ErrUnexpectedEOF || isReset(err)) {
			err = ErrFull
		}
		return err
	}
	return s.setBanner(banner)
}

// setBanner makes the session one with a kernel that says banner.
func (s *session) setBanner(banner sysproxy.Banner) error {
	s.banner = banner
	var ok bool
	if s.machine, ok = netbsd.MachineByName(banner.Machine); !ok {
		return fmt.Errorf("unknown machine %q", banner.Machine)
	}
	s.layout = sysproxy.Layout{Order: s.machine.Order, WordSize: s.machine.WordSize}
	s.space = newAddressSpace(s.machine.WordSize)
	s.carries = banner.Has(sysproxy.ExtCarry)
	s.posts, s.settles = banner.Has(sysproxy.ExtPost), banner.Has(sysproxy.ExtSettle)
	s.dials = s.carries && banner.Has(sysproxy.ExtDial)
	return nil
}

// start starts the session, whose banner is known.
func (s *session) start() {
	// 0 is the generation of the zero FD.
	for s.gen == 0 {
		s.gen = generations.Add(1)
	}
	go s.read()
}

// guest becomes a new process of the kernel's.
func guest(ctx context.Context, s *session, name string) error {
	return s.handshake(ctx, func(call *Call) {
		call.frame = sysproxy.Guest{Name: name}.Append(call.frame[:0], s.layout, 0)
	})
}

// handshake makes the first request of a session, whose frame put makes.
func (s *session) handshake(ctx context.Context, put func(*Call)) error {
	call := s.newCall(0, sysproxy.TypeHandshake)
	put(call)
	if err := call.exchange(ctx); err != nil {
		return err
	}
	errno := netbsd.Errno(call.reply.Errno)
	call.free()
	if errno != 0 {
		return errno
	}
	return nil
}

// Close ends the connection. The kernel closes the process's descriptors and
// ends its calls. Calls that are under way here return [ErrClosed]. As long as one of
// them is sysctl(3), Close waits for NetBSD's own kernel, for a second at most: that
// kernel may forget what it does for a client that goes, and with that the lock that
// all sysctls need.
func (c *Conn) Close() error {
	c.finish(ErrClosed)
	// Who is reconnecting has seen the end of ctx, or installs before this.
	c.mu.Lock()
	a := c.attempt
	c.mu.Unlock()
	if a != nil {
		<-a.done
	}
	s := c.session()
	s.letSysctlEnd()
	s.end(ErrClosed)
	<-s.done
	return nil
}

// URL returns the server's URL, with an absolute path.
func (c *Conn) URL() string { return c.url.String() }

// Machine returns the kernel's machine. It is the same for the whole life of a
// connection.
func (c *Conn) Machine() *netbsd.Machine { return c.session().machine }

// Banner returns what the server said first.
func (c *Conn) Banner() sysproxy.Banner { return c.session().banner }

// Done returns a channel that is closed when the connection has ended for good:
// it was closed, the server broke the protocol, or the connection was lost and
// [Options].Retry is RetryNone.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err returns why the connection ended for good, a [*LostError], a
// [*ProtocolError] or [ErrClosed], or nil when it has not.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	// The session may have ended just now.
	if err := c.session().Err(); err != nil && !c.mayRenew(err) {
		return err
	}
	return nil
}
