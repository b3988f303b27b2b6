package spclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
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
	OnRaise func(signo int32)
}

// Conn is a connection to a rump kernel, which is a process there with
// descriptors of its own. Its methods may be used by any number of goroutines.
type Conn struct {
	s *session
}

// generations numbers the sessions of this process.
var generations atomic.Uint32

// Dial connects to the rump kernel at a URL, unix://PATH or tcp://HOST:PORT/,
// as a new process in it. A relative PATH is one from the directory that is the
// current one now. Options may be nil. The error is a [*DialError].
//
// The context is for connecting only.
func Dial(ctx context.Context, url string, opts *Options) (*Conn, error) {
	if opts == nil {
		opts = &Options{}
	}
	u, err := sysproxy.ParseURL(url)
	if err != nil {
		return nil, &DialError{URL: url, Err: err}
	}
	if dir, err := os.Getwd(); err == nil {
		u = u.Absolute(dir)
	}
	if err := u.CheckDial(); err != nil {
		return nil, &DialError{URL: u.String(), Err: err}
	}
	for try := 1; ; try++ {
		s, err := dialSession(ctx, u, opts)
		switch {
		case err == nil:
			return &Conn{s: s}, nil
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

// dialSession connects, reads the banner and makes the handshake.
func dialSession(ctx context.Context, u sysproxy.URL, opts *Options) (*session, error) {
	tr, err := connect(ctx, u, opts.Dial)
	if err != nil {
		return nil, err
	}
	// From here on whatever waits ends when the transport is closed.
	stop := context.AfterFunc(ctx, func() { tr.close() })
	s, err := newSession(u.String(), tr, opts)
	if err != nil {
		stop()
		tr.close()
		return nil, err
	}
	err = s.handshake(ctx, programName(opts.Name))
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

// newSession reads the banner and starts the session. When it fails, the
// transport is the caller's to close.
func newSession(url string, tr transport, opts *Options) (*session, error) {
	s := &session{
		url:     url,
		onRaise: opts.OnRaise,
		tr:      tr,
		done:    make(chan struct{}),
		pending: make(map[uint64]*Call),
	}
	s.in.tr = tr
	s.out.tr = tr
	s.out.broken = s.sendFailed
	var err error
	if s.banner, err = sysproxy.ReadBanner(&s.in); err != nil {
		if !s.in.any && (err == io.ErrUnexpectedEOF || isReset(err)) {
			err = ErrFull
		}
		return nil, err
	}
	var ok bool
	if s.machine, ok = netbsd.MachineByName(s.banner.Machine); !ok {
		return nil, fmt.Errorf("unknown machine %q", s.banner.Machine)
	}
	s.layout = sysproxy.Layout{Order: s.machine.Order, WordSize: s.machine.WordSize}
	s.space = newAddressSpace(s.machine.WordSize)
	// 0 is the generation of the zero FD.
	for s.gen == 0 {
		s.gen = generations.Add(1)
	}
	go s.read()
	return s, nil
}

// handshake becomes a new process of the kernel's.
func (s *session) handshake(ctx context.Context, name string) error {
	call := s.newCall(0, sysproxy.TypeHandshake)
	call.frame = sysproxy.Guest{Name: name}.Append(call.frame[:0], s.layout, 0)
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
// ends its calls. Calls that are under way here return [ErrClosed].
func (c *Conn) Close() error {
	c.s.end(ErrClosed)
	<-c.s.done
	return nil
}

// URL returns the server's URL, with an absolute path.
func (c *Conn) URL() string { return c.s.url }

// Machine returns the kernel's machine.
func (c *Conn) Machine() *netbsd.Machine { return c.s.machine }

// Banner returns what the server said first.
func (c *Conn) Banner() sysproxy.Banner { return c.s.banner }

// Done returns a channel that is closed when the connection has ended: it was
// lost or closed, or the server broke the protocol.
func (c *Conn) Done() <-chan struct{} { return c.s.done }

// Err returns why the connection ended, a [*LostError], a [*ProtocolError] or
// [ErrClosed], or nil when it has not.
func (c *Conn) Err() error { return c.s.Err() }
