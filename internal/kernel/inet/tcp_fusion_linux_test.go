package inet

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rumptools/internal/kernel"
	"rumptools/internal/kernel/lend"
	"rumptools/internal/seeded"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// lentEnd is one end of a connection that a program has.
type lentEnd struct {
	so      *tcpSocket
	program *os.File
	k       int // the pump's descriptor
	loan    *lend.Loan
	ended   chan lend.End
	changes int32 // of the cork
}

// lendEnd lends a socket.
func lendEnd(t *testing.T, pump *lend.Pump, so kernel.Socket) *lentEnd {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	must(t, seeded.Sow(fds[0]))
	must(t, unix.SetNonblock(fds[0], true))
	e := &lentEnd{so: so.(*tcpSocket), program: os.NewFile(uintptr(fds[0]), ""), k: fds[1], ended: make(chan lend.End, 1)}
	e.loan, err = pump.NewLoan(fds[1], true, e.so.Lend, func(how lend.End, _ error) { e.ended <- how }, func() {})
	must(t, err)
	e.loan.Start()
	t.Cleanup(func() {
		e.program.Close()
		e.loan.Revoke()
		e.so.Close()
	})
	return e
}

// cork sets the cork or takes it off, as who lends does.
func (e *lentEnd) cork() error {
	e.changes++
	return errors.Join(unix.SetsockoptInt(e.k, unix.SOL_SOCKET, unix.SO_RCVLOWAT, int(1+e.changes)),
		unix.SetsockoptInt(e.k, unix.SOL_SOCKET, unix.SO_SNDBUF, 100<<10))
}

// fused is a kernel with a pump.
type fused struct {
	*Stack
	pump *lend.Pump
}

func newFused(t *testing.T) *fused {
	t.Helper()
	pump, err := lend.NewPump()
	must(t, err)
	t.Cleanup(pump.Close)
	return &fused{host(t, newSegment().join(), "10.0.0.1/24"), pump}
}

// ends makes a connection from one own address to another, and lends both ends.
func (f *fused) ends(t *testing.T) (a, b *lentEnd) {
	t.Helper()
	client, server := f.connection(t)
	return lendEnd(t, f.pump, client), lendEnd(t, f.pump, server)
}

func (f *fused) connection(t *testing.T) (client, server kernel.Socket) {
	t.Helper()
	l := listener(t, f.Stack, "10.0.0.1:0", 5)
	defer l.Close()
	client = open(t, f.Stack, netbsd.AF_INET, stream, 0)
	must(t, connect(t, client, name(t, l)))
	server, _ = accept(t, l)
	return client, server
}

// engineBytes is how many bytes have gone through the engine, as who captures on lo0 sees them.
func (f *fused) engineBytes(t *testing.T, do func()) uint64 {
	t.Helper()
	var n atomic.Uint64
	f.lo0.SetTap(func(frame []byte, sent bool) {
		if sent {
			n.Add(uint64(len(frame)))
		}
	})
	defer f.lo0.SetTap(nil)
	do()
	return n.Load()
}

// carry writes p at one end and reads it at the other.
func carry(t *testing.T, from, to *lentEnd, p []byte) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		_, err := from.program.Write(p)
		done <- err
	}()
	got := make([]byte, len(p))
	to.program.SetReadDeadline(time.Now().Add(20 * time.Second))
	if n, err := io.ReadFull(to.program, got); err != nil {
		t.Fatalf("%d bytes of %d: %v", n, len(p), err)
	}
	must(t, <-done)
	if !bytes.Equal(got, p) {
		t.Fatal("other bytes came")
	}
}

// position is how far the engine's sender is.
func (e *lentEnd) position() uint32 {
	_, waiting := nextSegment(e.so.ep)
	mark, ok := e.so.loan.Mark()
	if !ok {
		return 0
	}
	return mark - uint32(waiting)
}

// TestFusion: what goes from one program to another does so past the engine, unless it is told
// not to or somebody looks, is counted, and ends as connections do.
func TestFusion(t *testing.T) {
	f := newFused(t)
	const size = 1 << 20
	p := noise(size)
	past := func(t *testing.T, from, to *lentEnd) bool {
		t.Helper()
		before := from.position()
		carry(t, from, to, p)
		through := from.position() - before
		if through != 0 && through != size {
			t.Errorf("%d of %d bytes went through the engine", through, size)
		}
		return through == 0
	}
	t.Run("both ways", func(t *testing.T) {
		a, b := f.ends(t)
		if !past(t, a, b) || !past(t, b, a) {
			t.Error("it went through the engine")
		}
	})
	t.Run("over IPv6", func(t *testing.T) {
		l := listener(t, f.Stack, "[::1]:0", 5)
		defer l.Close()
		client := open(t, f.Stack, netbsd.AF_INET6, stream, 0)
		must(t, connect(t, client, name(t, l)))
		server, _ := accept(t, l)
		a, b := lendEnd(t, f.pump, client), lendEnd(t, f.pump, server)
		if !past(t, a, b) || !past(t, b, a) {
			t.Error("it went through the engine")
		}
	})
	t.Run("what came before is first", func(t *testing.T) {
		client, server := f.connection(t)
		a := lendEnd(t, f.pump, client)
		// More than the server's socket has room for.
		go a.program.Write(p)
		eventually(t, "something has come", func() bool { return server.(*tcpSocket).Poll()&pollRead != 0 })
		b := lendEnd(t, f.pump, server)
		got := make([]byte, size)
		b.program.SetReadDeadline(time.Now().Add(20 * time.Second))
		if n, err := io.ReadFull(b.program, got); err != nil || !bytes.Equal(got, p) {
			t.Fatalf("%d bytes of %d: %v", n, size, err)
		}
		if !past(t, a, b) {
			t.Error("it went through the engine")
		}
	})
	t.Run("not when net.inet.tcp.fusion is 0", func(t *testing.T) {
		a, b := f.ends(t)
		fusion := f.sockets.params.tcp["fusion"]
		fusion.value.Store(0)
		defer fusion.value.Store(1)
		before := f.lo0.counters.obytes.Load()
		carry(t, a, b, p)
		if n := f.lo0.counters.obytes.Load() - before; n < size {
			t.Errorf("lo0 has sent %d bytes", n)
		}
		fusion.value.Store(1)
		if !past(t, a, b) {
			t.Error("it does not go past the engine again")
		}
	})
	t.Run("a tap sees all", func(t *testing.T) {
		a, b := f.ends(t)
		carry(t, a, b, p)
		if n := f.engineBytes(t, func() { carry(t, a, b, p) }); n < size {
			t.Errorf("the tap saw %d bytes of %d", n, size)
		}
		if !past(t, a, b) {
			t.Error("it does not go past the engine again")
		}
	})
	t.Run("not when lo0 is down", func(t *testing.T) {
		a, b := f.ends(t)
		carry(t, a, b, p)
		f.net.DisableNIC(f.lo0.NICID)
		defer f.net.EnableNIC(f.lo0.NICID)
		_, err := a.program.Write([]byte("lost"))
		must(t, err)
		b.program.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		if n, err := b.program.Read(make([]byte, 4)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%d bytes, %v", n, err)
		}
	})
	t.Run("it is counted", func(t *testing.T) {
		a, b := f.ends(t)
		c, tcp, ip := &f.lo0.counters, f.tcpStatistics(), f.ipStatistics()
		before := []uint64{c.opackets.Load(), c.obytes.Load(), c.ipackets.Load(), c.ibytes.Load()}
		carry(t, a, b, p)
		after := []uint64{c.opackets.Load(), c.obytes.Load(), c.ipackets.Load(), c.ibytes.Load()}
		for i, least := range []uint64{size / loopSegment, size, size / loopSegment, size} {
			// A packet's headers are not much, whatever pieces it came in.
			if n := after[i] - before[i]; n < least || n > 2*least+1000 {
				t.Errorf("counter %d: %d more", i, n)
			}
		}
		packets := after[0] - before[0]
		if n := f.tcpStatistics()[netbsd.TCP_STAT_SNDTOTAL] - tcp[netbsd.TCP_STAT_SNDTOTAL]; n != packets {
			t.Errorf("%d segments, %d packets", n, packets)
		}
		if n := f.ipStatistics()[netbsd.IP_STAT_DELIVERED] - ip[netbsd.IP_STAT_DELIVERED]; n != packets {
			t.Errorf("%d packets of IP, %d packets", n, packets)
		}
	})
	t.Run("what nobody reads is in the queues", func(t *testing.T) {
		a, b := f.ends(t)
		a.program.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
		n, err := a.program.Write(make([]byte, 8<<20))
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("%d bytes, %v", n, err)
		}
		// On a busy host the pump may not have got as far yet.
		eventually(t, "something is kept for who does not read", func() bool {
			received, _ := b.so.pcbInfo()
			return received.Rcvq != 0
		})
		sent, _ := a.so.pcbInfo()
		received, _ := b.so.pcbInfo()
		if sent.Sndq < 10000 || sent.Sndq > uint64(n) || received.Rcvq == 0 || received.Rcvq > 1<<20 {
			t.Errorf("of %d bytes: Sndq %d, Rcvq %d", n, sent.Sndq, received.Rcvq)
		}
		if got, err := io.ReadAll(io.LimitReader(b.program, int64(n))); len(got) != n {
			t.Errorf("%d bytes of %d, %v", len(got), n, err)
		}
	})
	t.Run("half closed", func(t *testing.T) {
		a, b := f.ends(t)
		carry(t, a, b, p)
		_, err := a.program.Write(p[:1000])
		must(t, err)
		must(t, shutdown(a.program))
		if got, err := io.ReadAll(b.program); err != nil || !bytes.Equal(got, p[:1000]) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		if !past(t, b, a) {
			t.Error("the other direction goes through the engine")
		}
		must(t, shutdown(b.program))
		for _, e := range []*lentEnd{a, b} {
			if how := <-e.ended; how != lend.Closed {
				t.Errorf("end %d", how)
			}
		}
	})
	t.Run("closed with something unread", func(t *testing.T) {
		a, b := f.ends(t)
		carry(t, a, b, p)
		_, err := a.program.Write([]byte("unread"))
		must(t, err)
		eventually(t, "it has come", func() bool {
			n, err := unix.IoctlGetInt(int(b.program.Fd()), unix.TIOCINQ)
			return err == nil && n == 6
		})
		b.program.Close()
		if how := <-b.ended; how != lend.Dropped {
			t.Errorf("end %d", how)
		}
		if how := <-a.ended; how != lend.Failed {
			t.Errorf("the other's end %d", how)
		}
		if n, err := a.program.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
			t.Errorf("%d bytes, %v", n, err)
		}
	})
	t.Run("closed by one that is sent more than it reads", func(t *testing.T) {
		a, b := f.ends(t)
		failed := make(chan error, 1)
		go func() {
			for {
				if _, err := a.program.Write(p); err != nil {
					failed <- err
					return
				}
			}
		}()
		got := make([]byte, 100000)
		_, err := io.ReadFull(b.program, got)
		must(t, err)
		b.program.Close()
		if err := <-failed; !errors.Is(err, unix.EPIPE) && !errors.Is(err, unix.ECONNRESET) {
			t.Error(err)
		}
		<-a.ended
		<-b.ended
	})
}

func shutdown(f *os.File) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var how error
	return errors.Join(c.Control(func(fd uintptr) { how = unix.Shutdown(int(fd), unix.SHUT_WR) }), how)
}

// TestFusionCork: the cork holds back what goes past the engine, too.
func TestFusionCork(t *testing.T) {
	f := newFused(t)
	a, b := f.ends(t)
	carry(t, a, b, noise(1<<20))
	read := func(wait time.Duration) int {
		b.program.SetReadDeadline(time.Now().Add(wait))
		n, _ := b.program.Read(make([]byte, 1<<16))
		return n
	}
	for i := range 3 {
		must(t, a.cork())
		for range 3 {
			_, err := a.program.Write(make([]byte, 100))
			must(t, err)
			if n := read(20 * time.Millisecond); n != 0 {
				t.Errorf("%d: %d bytes came in spite of the cork", i, n)
			}
		}
		must(t, a.cork())
		if n := read(5 * time.Second); n != 300 {
			t.Errorf("%d: %d bytes came when it was taken off", i, n)
		}
	}
	must(t, a.cork())
	began := time.Now()
	_, err := a.program.Write(make([]byte, 100))
	must(t, err)
	if n, d := read(5*time.Second), time.Since(began); n != 100 || d < 190*time.Millisecond {
		t.Errorf("%d bytes after %v", n, d)
	}
	// By the option it is done when the call is.
	must(t, a.cork())
	carry(t, a, b, noise(1<<20))
	setInt(t, a.so, f.machine, netbsd.IPPROTO_TCP, sysproxy.TCPCork, 1)
	_, err = a.program.Write(make([]byte, 100))
	must(t, err)
	if n := read(20 * time.Millisecond); n != 0 {
		t.Errorf("%d bytes came in spite of the option", n)
	}
	setInt(t, a.so, f.machine, netbsd.IPPROTO_TCP, sysproxy.TCPCork, 0)
	if n := read(5 * time.Second); n != 100 {
		t.Errorf("%d bytes came without the option", n)
	}
}

// TestFusionChanges: whatever happens, and when, all bytes come, in order.
func TestFusionChanges(t *testing.T) {
	f := newFused(t)
	fusion := f.sockets.params.tcp["fusion"]
	quit := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		defer f.lo0.SetTap(nil)
		defer fusion.value.Store(1)
		rng := rand.New(rand.NewPCG(3, 4))
		for {
			select {
			case <-quit:
				return
			case <-time.After(time.Duration(rng.IntN(1000)) * time.Microsecond):
			}
			switch rng.IntN(4) {
			case 0:
				fusion.value.Store(0)
			case 1:
				f.lo0.SetTap(func([]byte, bool) {})
			default:
				fusion.value.Store(1)
				f.lo0.SetTap(nil)
			}
		}
	}()
	defer func() {
		close(quit)
		<-stopped
	}()
	t.Run("streams", func(t *testing.T) {
		for i := range uint64(4) {
			a, b := f.ends(t)
			for j, ends := range [][2]*lentEnd{{a, b}, {b, a}} {
				t.Run("", func(t *testing.T) {
					t.Parallel()
					changing(t, ends[0], ends[1], rand.New(rand.NewPCG(i, uint64(j))))
				})
			}
		}
	})
}

// changing sends bytes from one end to another until it ends that direction.
func changing(t *testing.T, from, to *lentEnd, rng *rand.Rand) {
	p := noise(16 << 20)
	done := make(chan error, 1)
	go func() {
		for left := p; len(left) > 0; {
			if rng.IntN(20) == 0 {
				if err := from.cork(); err != nil {
					done <- err
					return
				}
			}
			if rng.IntN(50) == 0 {
				time.Sleep(time.Duration(rng.IntN(300)) * time.Microsecond)
			}
			n, err := from.program.Write(left[:min(len(left), 1+rng.IntN(1<<rng.IntN(19)))])
			if err != nil {
				done <- err
				return
			}
			left = left[n:]
		}
		done <- shutdown(from.program)
	}()
	slow := rand.New(rand.NewPCG(5, 6))
	b := make([]byte, 1<<18)
	for at := 0; ; {
		to.program.SetReadDeadline(time.Now().Add(30 * time.Second))
		n, err := to.program.Read(b[:1+slow.IntN(len(b))])
		if at+n > len(p) || !bytes.Equal(b[:n], p[at:at+n]) {
			t.Fatalf("other bytes came, after %d", at)
		}
		at += n
		if err == io.EOF && at == len(p) {
			break
		}
		if err != nil {
			t.Fatalf("after %d bytes: %v", at, err)
		}
		if slow.IntN(50) == 0 {
			time.Sleep(time.Duration(slow.IntN(1000)) * time.Microsecond)
		}
	}
	must(t, <-done)
}
