package lend_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rumptools/internal/kernel"
	"rumptools/internal/kernel/inet"
	"rumptools/internal/kernel/kerneltest"
	"rumptools/internal/kernel/lend"
	"rumptools/internal/seeded"
	"rumptools/pkg/netbsd"
)

// patience is how long a test waits for what must come. Only a test that fails takes so long.
const patience = 30 * time.Second

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits for what other goroutines bring about and nobody tells of.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// noLeaks has the test fail if goroutines, descriptors, pipes or senders are left when all that it has made from
// now on is gone.
func noLeaks(t testing.TB) {
	t.Helper()
	warmUp()
	goroutines, files := runtime.NumGoroutine(), hostFiles(t)
	t.Cleanup(func() {
		var g, f int
		for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
			g, f = runtime.NumGoroutine(), hostFiles(t)
			if g <= goroutines && f <= files && lend.Senders() == 0 {
				return
			}
			if time.Now().After(deadline) {
				break
			}
		}
		stacks := make([]byte, 1<<16)
		t.Errorf("%d goroutines, %d before; %d descriptors, %d before; %d senders\n%s",
			g, goroutines, f, files, lend.Senders(), stacks[:runtime.Stack(stacks, true)])
	})
}

// warmUp has the runtime make what it keeps: its own epoll.
var warmUp = sync.OnceFunc(func() {
	if r, w, err := os.Pipe(); err == nil {
		r.SetReadDeadline(time.Now())
		r.Read(make([]byte, 1))
		r.Close()
		w.Close()
	}
})

func hostFiles(t testing.TB) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(list)
}

// host is a kernel with a pump.
type host struct {
	t    testing.TB
	k    *kernel.Kernel
	pump *lend.Pump
}

// newHost makes one. All that it has is gone when the test has ended, or the test fails.
func newHost(t testing.TB) *host {
	t.Helper()
	noLeaks(t)
	k := kernel.New(kernel.Config{})
	s, err := inet.New(inet.Config{Kernel: k})
	must(t, err)
	t.Cleanup(s.Close)
	h := &host{t: t, k: k}
	h.pump = newPump(t)
	return h
}

// newPump makes a pump that must have nothing left when the test ends.
func newPump(t testing.TB) *lend.Pump {
	t.Helper()
	pump, err := lend.NewPump()
	must(t, err)
	t.Cleanup(func() {
		pump.Close()
		eventually(t, "the pump ends", pump.Over)
		if all, idle := pump.Tubes(); all != 0 || idle != 0 {
			t.Errorf("%d pipes are left, %d of them idle", all, idle)
		}
	})
	return pump
}

// socket is socket(2).
func (h *host) socket(family, typ, proto int32) kernel.Socket {
	h.t.Helper()
	d, err := h.k.Domain(family)
	must(h.t, err)
	so, err := d.Socket(nil, typ, proto)
	must(h.t, err)
	return so
}

// sockaddr is that of "127.0.0.1:80" or "[::1]:80".
func (h *host) sockaddr(a string) []byte {
	return netbsd.Sockaddr(h.k.Machine(), netip.MustParseAddrPort(a))
}

// listen makes a listener.
func (h *host) listen(a string, backlog int32) kernel.Socket {
	h.t.Helper()
	sa := h.sockaddr(a)
	l := h.socket(int32(sa[1]), netbsd.SOCK_STREAM, 0)
	h.t.Cleanup(func() { l.Close() })
	must(h.t, l.Bind(sa))
	must(h.t, l.Listen(backlog))
	return l
}

// name is getsockname(2).
func (h *host) name(so kernel.Socket) []byte {
	h.t.Helper()
	sa, err := so.Name()
	must(h.t, err)
	return sa
}

// wait is [kerneltest.Await].
func wait(f kernel.File, try func() error) error { return kerneltest.Await(f, patience, try) }

// connect is connect(2) that waits.
func connect(so kernel.Socket, sa []byte) error {
	if err := so.Connect(sa); err != netbsd.EINPROGRESS {
		return err
	}
	return wait(so, so.ConnectResult)
}

// accept is accept(2) that waits.
func accept(l kernel.Socket) (so kernel.Socket, err error) {
	err = wait(l, func() (err error) {
		so, _, err = l.Accept()
		return err
	})
	return so, err
}

// connection makes the ends of a connection from one own address to another.
func (h *host) connection() (client, server kernel.Socket) {
	h.t.Helper()
	return h.connectionTo("127.0.0.1:0")
}

func (h *host) connectionTo(a string) (client, server kernel.Socket) {
	h.t.Helper()
	l := h.listen(a, 5)
	defer l.Close()
	client = h.socket(l.Domain(), netbsd.SOCK_STREAM, 0)
	h.closes(client)
	must(h.t, connect(client, h.name(l)))
	server, err := accept(l)
	must(h.t, err)
	h.closes(server)
	return client, server
}

// closes closes a socket when the test ends.
func (h *host) closes(so kernel.Socket) { h.t.Cleanup(func() { so.Close() }) }

// linger sets SO_LINGER with a time of 0.
func (h *host) linger(so kernel.Socket) {
	h.t.Helper()
	must(h.t, so.SetOption(nil, netbsd.SOL_SOCKET, netbsd.SO_LINGER, lingerNot(h)))
}

// lingerNot is a struct linger with a time of 0.
func lingerNot(h *host) []byte {
	order := h.k.Machine().Order
	return order.AppendUint32(order.AppendUint32(nil, 1), 0)
}

// setInt sets an option of an int.
func (h *host) setInt(so kernel.Socket, level, name, v int32) {
	h.t.Helper()
	must(h.t, so.SetOption(nil, level, name, h.k.Machine().Order.AppendUint32(nil, uint32(v))))
}

// end is one end of a connection, whose other end is one, too.
type end interface {
	io.ReadWriter
	// closeWrite ends the direction from here.
	closeWrite() error
	close()
}

// called is an end that is read and written by calls.
type called struct{ so kernel.Socket }

func (c called) Read(p []byte) (n int, err error) {
	err = wait(c.so, func() (err error) {
		n, err = c.so.Read(p)
		return err
	})
	if n == 0 && err == nil && len(p) > 0 {
		err = io.EOF
	}
	return n, err
}

func (c called) Write(p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		err = wait(c.so, func() error {
			m, err := c.so.Write(p[n:])
			n += m
			return err
		})
	}
	return n, err
}

func (c called) closeWrite() error { return c.so.Shutdown(netbsd.SHUT_WR) }
func (c called) close()            { c.so.Close() }

// ending is how a loan has ended.
type ending struct {
	how lend.End
	err error
}

// lent is an end that a program has.
type lent struct {
	*os.File
	t      testing.TB
	so     kernel.Socket
	stream *stream
	loan   *lend.Loan
	k      int // the pump's descriptor
	noSeed bool
	ended  chan ending
	closed atomic.Int32 // how often the descriptor has been
	ends   atomic.Int32 // how often the loan has ended
}

// stream is the kernel's, and counts what goes past it; a test can have it say that nothing may.
type stream struct {
	lend.Stream
	passed  atomic.Int64
	engine  atomic.Bool // all goes through it
	release atomic.Int32
	heard   atomic.Bool            // the peer's end
	first   atomic.Pointer[func()] // is called when something has come, before that is carried
	back    atomic.Bool            // something may be kept back (Nagle's algorithm)
	lost    atomic.Bool            // it was when the connection was closed
}

// Send implements [lend.Stream].
func (s *stream) Send(src lend.Source) (int, error) {
	s.back.Store(true)
	return s.Stream.Send(src)
}

// Push implements [lend.Stream].
func (s *stream) Push() {
	s.back.Store(false)
	s.Stream.Push()
}

// Close implements [lend.Stream].
func (s *stream) Close() {
	s.lost.Store(s.back.Load())
	s.Stream.Close()
}

// Recv implements [lend.Stream].
func (s *stream) Recv(dst lend.Sink) (int, error) {
	if do := s.first.Load(); do != nil && s.Unread() && s.first.CompareAndSwap(do, nil) {
		(*do)()
	}
	n, err := s.Stream.Recv(dst)
	if err == io.EOF {
		s.heard.Store(true)
	}
	return n, err
}

// Passable implements [lend.Stream].
func (s *stream) Passable() bool { return !s.engine.Load() && s.Stream.Passable() }

// Mark implements [lend.Stream].
func (s *stream) Mark() (uint32, bool) {
	if s.engine.Load() {
		return 0, false
	}
	return s.Stream.Mark()
}

// Passed implements [lend.Stream].
func (s *stream) Passed(n int) {
	s.passed.Add(int64(n))
	s.Stream.Passed(n)
}

// Release implements [lend.Stream].
func (s *stream) Release() {
	s.release.Add(1)
	s.Stream.Release()
}

// how a socket is lent.
type how struct {
	noSeed bool
	engine bool // nothing goes past the stream
	pump   *lend.Pump
}

// lend lends a connection to a program.
func (h *host) lend(so kernel.Socket, how how) *lent {
	h.t.Helper()
	e, err := h.tryLend(so, how)
	must(h.t, err)
	e.loan.Start()
	return e
}

// tryLend makes a loan and does not start it.
func (h *host) tryLend(so kernel.Socket, how how) (*lent, error) {
	h.t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(h.t, err)
	if !how.noSeed {
		must(h.t, seeded.Sow(fds[0]))
	}
	must(h.t, unix.SetNonblock(fds[0], true))
	e := &lent{t: h.t, noSeed: how.noSeed, File: os.NewFile(uintptr(fds[0]), "program"), so: so, k: fds[1], ended: make(chan ending, 1)}
	must(h.t, e.SetDeadline(time.Now().Add(patience)))
	pump := h.pump
	if how.pump != nil {
		pump = how.pump
	}
	lender := so.(kernel.Lender)
	e.loan, err = pump.NewLoan(e.k, !how.noSeed, func(l *lend.Loan) (lend.Stream, error) {
		s, err := lender.Lend(l)
		if err != nil {
			return nil, err
		}
		e.stream = &stream{Stream: s}
		e.stream.engine.Store(how.engine)
		return e.stream, nil
	}, func(how lend.End, err error) {
		e.ends.Add(1)
		select {
		case e.ended <- ending{how, err}:
		default:
		}
	}, func() { e.closed.Add(1) })
	if err != nil {
		e.File.Close()
		unix.Close(e.k)
		return nil, err
	}
	h.t.Cleanup(func() {
		e.File.Close()
		e.loan.Revoke()
		so.Close()
		eventually(h.t, "the loan ends", func() bool { return e.ends.Load() > 0 })
		if n, m, r := e.ends.Load(), e.closed.Load(), e.stream.release.Load(); n != 1 || m != 1 || r != 1 {
			h.t.Errorf("a loan has ended %d times, its descriptor been closed %d times, its stream been released %d times", n, m, r)
		}
	})
	return e, nil
}

func (e *lent) close() { e.File.Close() }

func (e *lent) closeWrite() error { return e.shutdown(unix.SHUT_WR) }

func (e *lent) shutdown(how int) error {
	var err error
	return errors.Join(e.control(func(fd int) { err = unix.Shutdown(fd, how) }), err)
}

// control does something with the program's descriptor, which Fd would have wait.
func (e *lent) control(do func(fd int)) error {
	c, err := e.SyscallConn()
	if err != nil {
		return err
	}
	return c.Control(func(fd uintptr) { do(int(fd)) })
}

// unread is how many bytes the program has not read, of those that have come.
func (e *lent) unread() (n int) {
	e.t.Helper()
	must(e.t, e.control(func(fd int) {
		var err error
		n, err = unix.IoctlGetInt(fd, unix.TIOCINQ)
		must(e.t, err)
	}))
	return n
}

// writable is what poll(2) tells the program.
func (e *lent) writable() (yes bool) {
	e.t.Helper()
	must(e.t, e.control(func(fd int) {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		n, err := unix.Poll(p, 0)
		yes = err == nil && n == 1 && p[0].Revents&unix.POLLOUT != 0
	}))
	return yes
}

// endsWith waits for the loan's end.
func (e *lent) endsWith(want lend.End, errs ...error) {
	e.t.Helper()
	select {
	case got := <-e.ended:
		ok := got.how == want && (got.err == nil && len(errs) == 0)
		for _, err := range errs {
			ok = ok || got.how == want && got.err == err
		}
		if !ok {
			e.t.Errorf("the loan ended with %d and %v, want %d and %v", got.how, got.err, want, errs)
		}
	case <-time.After(patience):
		e.t.Fatal("the loan does not end")
	}
}

// carrier is a way by which bytes go from one end of a connection to the other.
type carrier struct {
	name string
	make func(h *host) (a *lent, b end)
}

// carriers are all of them. The first end is always a program's.
var carriers = []carrier{
	{"past the engine", func(h *host) (*lent, end) {
		a, b := h.ends(how{})
		return a, b
	}},
	{"past the engine, without seeds", func(h *host) (*lent, end) {
		a, b := h.ends(how{noSeed: true})
		return a, b
	}},
	{"through the engine", func(h *host) (*lent, end) {
		a, b := h.ends(how{engine: true})
		return a, b
	}},
	{"through the engine, without seeds", func(h *host) (*lent, end) {
		a, b := h.ends(how{engine: true, noSeed: true})
		return a, b
	}},
	{"to calls", func(h *host) (*lent, end) {
		client, server := h.connection()
		return h.lend(client, how{}), called{server}
	}},
	{"to calls, without seeds", func(h *host) (*lent, end) {
		client, server := h.connection()
		return h.lend(server, how{noSeed: true}), called{client}
	}},
}

// ends lends both ends of a connection.
func (h *host) ends(how how) (a, b *lent) {
	h.t.Helper()
	client, server := h.connection()
	return h.lend(client, how), h.lend(server, how)
}

// eachCarrier runs a test with each of the ways.
func eachCarrier(t *testing.T, test func(t *testing.T, h *host, a *lent, b end)) {
	for _, c := range carriers {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t)
			a, b := c.make(h)
			test(t, h, a, b)
		})
	}
}

// noise is n bytes of which no piece is like another.
func noise(n int) []byte {
	p := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(p)
	return p
}

// writes writes from a goroutine, and tells how that went.
func writes(e io.Writer, p []byte) <-chan error {
	done := make(chan error, 1)
	go func() {
		n, err := e.Write(p)
		if err != nil {
			err = fmt.Errorf("wrote %d of %d bytes: %w", n, len(p), err)
		}
		done <- err
	}()
	return done
}

// reads expects exactly these bytes.
func reads(t testing.TB, e io.Reader, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(e, got); err != nil {
		t.Fatalf("read %d bytes of %d: %v", n, len(want), err)
	}
	if !bytes.Equal(got, want) {
		t.Fatal("other bytes came")
	}
}

// readsEnd expects these bytes and then an end: io.EOF, or an error.
func readsEnd(t testing.TB, e io.Reader, want []byte, end error) {
	t.Helper()
	reads(t, e, want)
	n, err := e.Read(make([]byte, 1))
	if n != 0 || !errors.Is(err, end) {
		t.Errorf("%d bytes and %v where %v was to come", n, err, end)
	}
}

// carry writes at one end and reads at the other.
func carry(t testing.TB, from io.Writer, to io.Reader, p []byte) {
	t.Helper()
	done := writes(from, p)
	reads(t, to, p)
	must(t, <-done)
}

// isReset tells whether an end is that of a connection that was reset, for programs and for calls.
func isReset(err error) bool {
	return errors.Is(err, unix.ECONNRESET) || errors.Is(err, netbsd.ECONNRESET)
}
