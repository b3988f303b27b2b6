package lend_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rumptools/internal/kernel"
	"rumptools/internal/kernel/lend"
	"rumptools/internal/seeded"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// Descriptors that cannot be lent to stay who has them.
func TestNoLoan(t *testing.T) {
	h := newHost(t)
	client, server := h.connection()
	lender := client.(kernel.Lender)
	try := func(fd int, so kernel.Lender) error {
		_, err := h.pump.NewLoan(fd, true, so.Lend, func(lend.End, error) { t.Error("it has ended") }, func() { t.Error("it is closed") })
		return err
	}
	hosts := func(domain, typ int) int {
		fd, err := unix.Socket(domain, typ|unix.SOCK_CLOEXEC, 0)
		must(t, err)
		t.Cleanup(func() { unix.Close(fd) })
		return fd
	}
	pair := func(typ int) (fds [2]int) {
		fds, err := unix.Socketpair(unix.AF_UNIX, typ|unix.SOCK_CLOEXEC, 0)
		must(t, err)
		t.Cleanup(func() {
			unix.Close(fds[0])
			unix.Close(fds[1])
		})
		return fds
	}
	var pipe [2]int
	must(t, unix.Pipe2(pipe[:], unix.O_CLOEXEC))
	defer unix.Close(pipe[0])
	defer unix.Close(pipe[1])
	for name, fd := range map[string]int{
		"no descriptor": -1, "a pipe": pipe[0], "a socket that is not connected": hosts(unix.AF_UNIX, unix.SOCK_STREAM),
		"one of the internet": hosts(unix.AF_INET, unix.SOCK_STREAM), "one for datagrams": pair(unix.SOCK_DGRAM)[0],
		"one for packets": pair(unix.SOCK_SEQPACKET)[0],
	} {
		if err := try(fd, lender); err != lend.ErrHost {
			t.Errorf("%s: %v", name, err)
		}
	}
	good := pair(unix.SOCK_STREAM)
	fresh := h.socket(netbsd.AF_INET, netbsd.SOCK_STREAM, 0)
	h.closes(fresh)
	listener := h.listen("127.0.0.1:0", 1)
	closed := h.socket(netbsd.AF_INET, netbsd.SOCK_STREAM, 0)
	closed.Close()
	for _, tt := range []struct {
		so   kernel.Socket
		want error
	}{{fresh, netbsd.ENOTCONN}, {listener, netbsd.ENOTCONN}, {closed, netbsd.EBADF}} {
		if err := try(good[0], tt.so.(kernel.Lender)); err != tt.want {
			t.Errorf("%v, want %v", err, tt.want)
		}
	}
	a := h.lend(client, how{})
	if err := try(good[0], lender); err != netbsd.EBUSY {
		t.Errorf("lent twice: %v", err)
	}
	carry(t, a, called{server}, []byte("that does not disturb the first"))
	if n := h.pump.Loans(); n != 1 {
		t.Errorf("there are %d loans", n)
	}
	for _, fd := range good {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
			t.Errorf("a descriptor that could not be lent to: %v", err)
		}
	}
}

// A loan that is taken back leaves the connection as it is: it can be lent again, and calls can use it.
func TestRevoke(t *testing.T) {
	h := newHost(t)
	client, server := h.connection()
	for range 3 {
		a, b := h.lend(client, how{}), h.lend(server, how{})
		carry(t, a, b, noise(100000))
		a.loan.Revoke()
		a.endsWith(lend.Revoked)
		if n, err := a.Read(make([]byte, 1)); n != 0 || !isReset(err) {
			t.Errorf("%d bytes, %v", n, err)
		}
		a.loan.Revoke() // nothing is left of it
		carry(t, b, called{client}, []byte("by a call"))
		carry(t, called{client}, b, noise(100000))
		b.loan.Revoke()
		b.endsWith(lend.Revoked)
		carry(t, called{client}, called{server}, []byte("by calls"))
	}
}

// A loan ends while bytes go past the engine: they stop there, and none comes twice or out of order.
func TestRevokeInTheMiddle(t *testing.T) {
	h := newHost(t)
	p := noise(4 << 20)
	for i := range 10 {
		a, b := h.ends(how{})
		go a.Write(p)
		got := make([]byte, 1+i*100000)
		reads(t, b, p[:len(got)])
		which, other := a, b
		if i%2 == 0 {
			which, other = b, a
		}
		which.loan.Revoke()
		which.endsWith(lend.Revoked)
		which.so.Close()
		// What is left of the connection is carried to its end.
		n := len(got)
		for n < len(p) {
			m, err := b.Read(got)
			if !bytes.Equal(got[:m], p[n:n+m]) {
				t.Fatalf("other bytes came behind %d", n)
			}
			if n += m; err != nil {
				break
			}
		}
		other.Close()
		<-other.ended
	}
}

// A pump that is closed carries on for the loans that there are, and takes no others.
func TestPumpClose(t *testing.T) {
	h := newHost(t)
	pump := newPump(t)
	client, server := h.connection()
	a, b := h.lend(client, how{pump: pump}), h.lend(server, how{pump: pump})
	more, _ := h.connection()
	pump.Close()
	pump.Close()
	if _, err := h.tryLend(more, how{pump: pump}); err != lend.ErrPump {
		t.Errorf("a loan of a pump that is closed: %v", err)
	}
	carry(t, a, b, noise(1<<20))
	carry(t, b, a, noise(1<<20))
	must(t, a.Close())
	a.endsWith(lend.Closed)
	if pump.Over() {
		t.Error("the pump has ended before its last loan")
	}
	readsEnd(t, b, nil, io.EOF)
	must(t, b.Close())
	b.endsWith(lend.Closed)
	eventually(t, "the pump ends", pump.Over)
	pump.Close()
	if _, err := h.tryLend(more, how{pump: pump}); err != lend.ErrPump {
		t.Errorf("a loan of a pump that has ended: %v", err)
	}
	// The connection that it did not take can be lent by another.
	c := h.lend(more, how{})
	must(t, c.Close())
	c.endsWith(lend.Closed)
}

// What is lent by two pumps goes through the engine.
func TestTwoPumps(t *testing.T) {
	h := newHost(t)
	client, server := h.connection()
	a, b := h.lend(client, how{pump: newPump(t)}), h.lend(server, how{pump: newPump(t)})
	if a.loan.Fused() || b.loan.Fused() {
		t.Error("loans of two pumps are fused")
	}
	carry(t, a, b, noise(1<<20))
	carry(t, b, a, noise(1<<20))
}

// Whatever ends a connection, and if all do at once: every loan ends once (which the harness looks at), and nothing is left.
func TestEndsAtOnce(t *testing.T) {
	h := newHost(t)
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range 60 {
		a, b := h.ends(how{noSeed: i%2 == 0, engine: i%3 == 0})
		p := noise(rng.IntN(200000))
		go a.Write(p)
		go b.Write(p)
		reads(t, b, p[:len(p)/2])
		start := make(chan struct{})
		var all sync.WaitGroup
		for _, end := range rng.Perm(8)[:2+rng.IntN(4)] {
			all.Go(func() {
				<-start
				switch end {
				case 0:
					a.Close()
				case 1:
					b.Close()
				case 2:
					a.loan.Revoke()
				case 3:
					b.loan.Revoke()
				case 4:
					a.so.SetOption(nil, netbsd.SOL_SOCKET, netbsd.SO_LINGER, lingerNot(h)) // or it is reset already
					a.so.Close()
				case 5:
					b.so.Close()
				case 6:
					a.closeWrite()
					b.closeWrite()
				case 7:
					a.loan.Notify(lend.Flush)
					b.loan.Notify(lend.Flush)
				}
			})
		}
		close(start)
		all.Wait()
		a.Close()
		b.Close()
		a.loan.Revoke()
		b.loan.Revoke()
		for _, e := range []*lent{a, b} {
			select {
			case <-e.ended:
			case <-time.After(patience):
				t.Fatal("a loan does not end")
			}
		}
		a.so.Close()
		b.so.Close()
	}
	if n := h.pump.Loans(); n != 0 {
		t.Errorf("%d loans are left", n)
	}
}

// Many connections at once, more of which move much than there are pipes for.
func TestMany(t *testing.T) {
	const connections = lend.MostTubes + 36
	h := newHost(t)
	p := noise(1 << 20)
	var ready, all sync.WaitGroup
	ready.Add(connections)
	for i := range connections {
		a, b := h.ends(how{noSeed: i%5 == 0})
		all.Go(func() {
			// Nobody reads before all have written what their sockets take, so that each wants a pipe.
			n := lend.TubeSize + i*997
			done := writes(a, p[:n])
			back := writes(b, p[:1+i*31])
			eventually(t, "something has come", func() bool { return b.unread() > 0 })
			ready.Done()
			ready.Wait()
			for _, d := range []struct {
				e    *lent
				want []byte
			}{{b, p[:n]}, {a, p[:1+i*31]}} {
				got := make([]byte, len(d.want))
				if _, err := io.ReadFull(d.e, got); err != nil || string(got) != string(d.want) {
					t.Errorf("connection %d: %v, or other bytes", i, err)
				}
			}
			if err := errors.Join(<-done, <-back); err != nil {
				t.Error(err)
			}
			switch i % 3 {
			case 0:
				a.closeWrite()
				b.closeWrite()
			case 1:
				a.Close()
				b.Close()
			case 2:
				b.loan.Revoke()
				b.so.Close()
				a.Close()
			}
			<-a.ended
			<-b.ended
		})
	}
	all.Wait()
	if all, _ := h.pump.Tubes(); all > lend.MostTubes {
		t.Errorf("there are %d pipes", all)
	}
}

// A program that closes its half of a full pipe leaves none behind that has something in it.
func TestPipesAreEmptied(t *testing.T) {
	h := newHost(t)
	for range 2 * lend.MostTubes {
		a, b := h.ends(how{})
		must(t, a.control(func(fd int) {
			for p := make([]byte, 1<<18); ; {
				if _, err := unix.Write(fd, p); err != nil {
					break
				}
			}
		}))
		eventually(t, "something has come", func() bool { return b.unread() > 0 })
		must(t, b.Close())
		must(t, a.Close())
		<-a.ended
		<-b.ended
		a.so.Close()
		b.so.Close()
	}
	a, b := h.ends(how{})
	carry(t, a, b, noise(4<<20))
	if all, idle := h.pump.Tubes(); all != idle || all == 0 {
		t.Errorf("of %d pipes %d are idle, with nothing under way", all, idle)
	}
}

// A listener that is closed resets the connections that nobody has accepted, also those whose other ends are lent.
func TestListenerCloses(t *testing.T) {
	h := newHost(t)
	l := h.listen("127.0.0.1:0", 64)
	name := h.name(l)
	var waiting []*lent
	for range 40 {
		so := h.socket(netbsd.AF_INET, netbsd.SOCK_STREAM, 0)
		h.closes(so)
		must(t, connect(so, name))
		a := h.lend(so, how{})
		must(t, <-writes(a, noise(1000)))
		waiting = append(waiting, a)
	}
	accepted, err := accept(l)
	must(t, err)
	b := h.lend(accepted, how{})
	l.Close()
	// The one that was accepted goes on.
	reads(t, b, noise(1000))
	carry(t, b, waiting[0], noise(100000))
	for _, a := range waiting[1:] {
		if n, err := a.Read(make([]byte, 1)); n != 0 || !isReset(err) {
			t.Errorf("%d bytes, %v", n, err)
		}
		a.endsWith(lend.Failed, netbsd.ECONNRESET)
	}
	so := h.socket(netbsd.AF_INET, netbsd.SOCK_STREAM, 0)
	h.closes(so)
	if err := connect(so, name); err != netbsd.ECONNREFUSED {
		t.Errorf("to a listener that is closed: %v", err)
	}
}

// cork changes the cork, as who lends does: by the host's socket.
func (e *lent) cork(change int) error {
	return errors.Join(unix.SetsockoptInt(e.k, unix.SOL_SOCKET, unix.SO_RCVLOWAT, 1+change),
		unix.SetsockoptInt(e.k, unix.SOL_SOCKET, unix.SO_SNDBUF, 100<<10))
}

// answered reports whether the pump has answered a change of the cork.
func (e *lent) answered(change int) bool {
	v, err := unix.GetsockoptInt(e.k, unix.SOL_SOCKET, unix.SO_PRIORITY)
	return err == nil && v == sysproxy.CorkAnswer(uint32(change))
}

// What is written with the cork on leaves when it is taken off, when the direction ends, when there is too much, or in
// the end.
func TestCork(t *testing.T) {
	eachCarrier(t, func(t *testing.T, h *host, a *lent, b end) {
		p := noise(300000)
		change := 0
		for _, size := range []int{1, 100, 30000, loopSegment + 1, 2*loopSegment + 5, 300000} {
			change++
			must(t, a.cork(change))
			done := writes(a, p[:size])
			must(t, <-writes(b, []byte("x"))) // the other direction has none
			reads(t, a, []byte("x"))
			if size > lend.TubeSize {
				reads(t, b, p[:size])
				must(t, <-done)
				change++
				must(t, a.cork(change))
				continue
			}
			must(t, <-done)
			change++
			must(t, a.cork(change))
			eventually(t, "the answer", func() bool { return a.answered(change) })
			reads(t, b, p[:size])
		}
		// By the option, which returns when all has left.
		for range 3 {
			h.setInt(a.so, netbsd.IPPROTO_TCP, sysproxy.TCPCork, 1)
			for i := range 10 {
				must(t, <-writes(a, p[i*100:][:100]))
			}
			h.setInt(a.so, netbsd.IPPROTO_TCP, sysproxy.TCPCork, 0)
			if n := seeded.Waiting(a.k); n > 0 && !a.noSeed {
				t.Errorf("%d bytes have not been taken", n)
			}
			reads(t, b, p[:1000])
		}
		// Nobody takes it off.
		h.setInt(a.so, netbsd.IPPROTO_TCP, sysproxy.TCPCork, 1)
		must(t, <-writes(a, []byte("late")))
		reads(t, b, []byte("late"))
		must(t, <-writes(a, []byte("the last")))
		must(t, a.closeWrite())
		readsEnd(t, b, []byte("the last"), io.EOF)
	})
}

// A program that closes leaves nothing in the cork.
func TestCorkAtClose(t *testing.T) {
	eachCarrier(t, func(t *testing.T, h *host, a *lent, b end) {
		h.setInt(a.so, netbsd.IPPROTO_TCP, sysproxy.TCPCork, 1)
		must(t, <-writes(a, noise(1000)))
		must(t, <-writes(a, noise(1000)))
		must(t, a.Close())
		a.endsWith(lend.Closed)
		a.so.Close()
		readsEnd(t, b, append(noise(1000), noise(1000)...), io.EOF)
	})
}

// Notifications that mean nothing, at any time, do nothing.
func TestHints(t *testing.T) {
	h := newHost(t)
	a, b := h.ends(how{})
	stop := make(chan struct{})
	var all sync.WaitGroup
	for _, e := range []*lent{a, b} {
		all.Go(func() {
			for i := lend.Events(1); ; i++ {
				select {
				case <-stop:
					return
				default:
					e.loan.Notify(i & (lend.Readable | lend.Writable | lend.Broken))
					if i%64 == 0 {
						e.loan.Notify(lend.Flush)
					}
					e.loan.Queued()
				}
			}
		})
	}
	carry(t, a, b, noise(1<<20))
	carry(t, b, a, noise(1<<20))
	must(t, a.closeWrite())
	readsEnd(t, b, nil, io.EOF)
	must(t, b.closeWrite())
	a.endsWith(lend.Closed)
	b.endsWith(lend.Closed)
	close(stop)
	all.Wait()
	if in, out := a.loan.Queued(); in != 0 || out != 0 {
		t.Errorf("%d and %d bytes wait in a loan that has ended", in, out)
	}
}

// Who changes the cork of a connection while a loan of it fails does not wait for that.
func TestFlushWithoutLoan(t *testing.T) {
	h := newHost(t)
	pump := newPump(t)
	pump.Close()
	client, _ := h.connection()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	flushed := make(chan struct{})
	_, err = pump.NewLoan(pair[1], false, func(l *lend.Loan) (lend.Stream, error) {
		go func() {
			l.Notify(lend.Flush)
			close(flushed)
		}()
		return client.(kernel.Lender).Lend(l)
	}, func(lend.End, error) { t.Error("it has ended") }, func() { t.Error("it is closed") })
	if err != lend.ErrPump {
		t.Error(err)
	}
	select {
	case <-flushed:
	case <-time.After(patience):
		t.Fatal("who waits for what has been written does so for ever")
	}
}

// What notifies a loan that has ended, as a timer may, is done with, also when the pump has ended.
func TestHintsAfterTheEnd(t *testing.T) {
	h := newHost(t)
	a, b := h.ends(how{})
	carry(t, a, b, noise(1000))
	must(t, a.Close())
	must(t, b.Close())
	a.endsWith(lend.Closed)
	b.endsWith(lend.Closed)
	h.pump.Close()
	eventually(t, "the pump ends", h.pump.Over)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 4 * runtime.GOMAXPROCS(0) {
			a.loan.Notify(lend.Readable)
			a.loan.Notify(lend.Flush)
		}
	}()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("a notification is not done with")
	}
}
