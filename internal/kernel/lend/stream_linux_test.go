package lend_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"rumptools/internal/kernel/lend"
	"rumptools/pkg/netbsd"
)

// loopSegment is the most that a segment of lo0 carries.
const loopSegment = 1<<16 - 1 - 40

// sizes are around those of all buffers on the way: of what is gathered, kept, moved by a pipe and by a
// segment, carried in a turn, and of the host's.
func sizes() (all []int) {
	for _, n := range []int{0, 1, 4096, lend.Gather, lend.TubeWorth, lend.Keep, loopSegment, lend.TubeSize, lend.HostBuffer + lend.Keep, lend.TurnBytes} {
		for _, size := range []int{n - 1, n, n + 1} {
			if size > 0 {
				all = append(all, size)
			}
		}
	}
	return all
}

// Whatever its size, all that is written comes, in order, in both directions.
func TestSizes(t *testing.T) {
	all := sizes()
	p := noise(all[len(all)-1])
	eachCarrier(t, func(t *testing.T, h *host, a *lent, b end) {
		for _, size := range all {
			carry(t, a, b, p[:size])
			carry(t, b, a, p[:size])
		}
		if other, ok := b.(*lent); ok {
			past := a.stream.passed.Load() + other.stream.passed.Load()
			if (past > 0) == a.stream.engine.Load() {
				t.Errorf("%d bytes have gone past the engine", past)
			}
		}
	})
}

// Pieces of all sizes, both ways at once, read in pieces of others, while it changes by which way they go.
func TestPieces(t *testing.T) {
	const size = 3 << 20
	eachCarrier(t, func(t *testing.T, h *host, a *lent, b end) {
		p := noise(size)
		var all sync.WaitGroup
		defer all.Wait()
		failed := make(chan error, 8)
		stop := make(chan struct{})
		direction := func(from, to end, seed uint64) {
			var flow sync.WaitGroup
			flow.Go(func() {
				rng := rand.New(rand.NewPCG(seed, 1))
				for left := p; len(left) > 0; {
					n, err := from.Write(left[:min(len(left), 1+rng.IntN(1<<rng.IntN(20)))])
					if err != nil {
						failed <- fmt.Errorf("writing: %w", err)
						return
					}
					left = left[n:]
				}
			})
			flow.Go(func() {
				rng := rand.New(rand.NewPCG(seed, 2))
				b := make([]byte, 1<<18)
				for at := 0; at < size; {
					n, err := to.Read(b[:1+rng.IntN(1<<rng.IntN(19))])
					if err != nil || !bytes.Equal(b[:n], p[at:at+n]) {
						failed <- fmt.Errorf("%d bytes behind %d, the same or not: %w", n, at, err)
						return
					}
					at += n
				}
			})
			flow.Wait()
		}
		var streams sync.WaitGroup
		streams.Go(func() { direction(a, b, 1) })
		streams.Go(func() { direction(b, a, 2) })
		if other, ok := b.(*lent); ok {
			// Each time that many bytes have passed, or none can.
			all.Go(func() {
				was := a.stream.engine.Load()
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					a.stream.engine.Store(i%2 == 0)
					other.stream.engine.Store(i%4 < 2)
					a.loan.Notify(lend.Readable | lend.Writable)
					other.loan.Notify(lend.Readable | lend.Writable)
					if i%64 == 0 {
						a.stream.engine.Store(was)
						other.stream.engine.Store(was)
					}
				}
			})
		}
		streams.Wait()
		close(stop)
		select {
		case err := <-failed:
			t.Fatal(err)
		default:
		}
	})
}

// Either end can end its direction first; the other direction goes on, and the loans end with the second.
func TestHalfClose(t *testing.T) {
	p := noise(700000) // more than waits anywhere for a program that does not read
	for _, size := range []int{0, 1, 1000, len(p)} {
		for _, second := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d bytes, the second end first: %v", size, second), func(t *testing.T) {
				eachCarrier(t, func(t *testing.T, h *host, a *lent, b end) {
					halfClose(t, a, b, p[:size], second)
				})
			})
		}
	}
}

func halfClose(t *testing.T, a *lent, b end, p []byte, second bool) {
	t.Helper()
	from, to := end(a), b
	if second {
		from, to = b, a
	}
	carry(t, to, from, []byte("before"))
	done := make(chan error, 1)
	go func() {
		_, err := from.Write(p)
		done <- errors.Join(err, from.closeWrite())
	}()
	readsEnd(t, to, p, io.EOF)
	must(t, <-done)
	select {
	case e := <-a.ended:
		t.Fatalf("the loan has ended (%v) with half of the connection", e)
	default:
	}
	carry(t, to, from, p)
	carry(t, to, from, []byte("the last"))
	must(t, to.closeWrite())
	readsEnd(t, from, nil, io.EOF)
	a.endsWith(lend.Closed)
	if other, ok := b.(*lent); ok {
		other.endsWith(lend.Closed)
	}
	// The descriptors of the pump are closed, and that is an end in order, too.
	readsEnd(t, to, nil, io.EOF)
	readsEnd(t, from, nil, io.EOF)
}

// What a program has written before it closes comes, and an end in order behind it.
func TestCloseDelivers(t *testing.T) {
	p := noise(400000)
	for _, size := range []int{0, 1, lend.Gather, lend.TubeWorth, 100000, len(p)} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			eachCarrier(t, func(t *testing.T, h *host, a *lent, b end) {
				carry(t, b, a, []byte("read"))
				done := make(chan error, 1)
				go func() {
					_, err := a.Write(p[:size])
					done <- errors.Join(err, a.Close())
				}()
				readsEnd(t, b, p[:size], io.EOF)
				must(t, <-done)
				a.endsWith(lend.Closed)
				// What comes in at the last moment resets the connection, about one in hundreds when the other end
				// writes without end, and takes along what has not left.
				if a.stream.lost.Load() {
					t.Error("something may have been kept back")
				}
				if other, ok := b.(*lent); ok {
					must(t, other.Close())
					other.endsWith(lend.Closed)
				}
			})
		})
	}
}

// roomy is what a receive buffer has room for, in which nobody has read anything yet: a reset waits for no reader.
const roomy = 30000

// A program that closes with something unread resets the connection; the other end gets first what it has written
// before.
func TestCloseUnread(t *testing.T) {
	for _, size := range []int{0, 5, roomy} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			eachCarrier(t, func(t *testing.T, h *host, a *lent, b end) {
				p := noise(size)
				must(t, <-writes(b, []byte("unread")))
				eventually(t, "it has come", func() bool { return a.unread() == len("unread") })
				must(t, <-writes(a, p))
				must(t, a.Close())
				a.endsWith(lend.Dropped)
				a.so.Close()
				reads(t, b, p)
				endsReset(t, b)
			})
		})
	}
}

// endsReset expects a reset, which a program without a seed sees as an end.
func endsReset(t *testing.T, b end) {
	t.Helper()
	n, err := b.Read(make([]byte, 1))
	other, ok := b.(*lent)
	seeded := !ok || !other.noSeed
	if n != 0 || isReset(err) != seeded || !seeded && err != io.EOF {
		t.Errorf("%d bytes and %v where a reset was to come", n, err)
	}
	if ok {
		other.endsWith(lend.Failed, netbsd.ECONNRESET)
	}
}

// A program that closes with much unread, of which only some has reached its socket.
func TestCloseUnreadMuch(t *testing.T) {
	p := noise(8 << 20)
	eachCarrier(t, func(t *testing.T, h *host, a *lent, b end) {
		done := writes(b, p)
		reads(t, a, p[:100000])
		must(t, <-writes(a, []byte("the last")))
		must(t, a.Close())
		a.endsWith(lend.Dropped)
		a.so.Close()
		err := <-done
		if err != nil && !errors.Is(err, unix.EPIPE) && !errors.Is(err, netbsd.EPIPE) && !isReset(err) {
			t.Errorf("the writer gets %v", err)
		}
		reads(t, b, []byte("the last"))
		if other, ok := b.(*lent); ok {
			other.endsWith(lend.Failed, netbsd.ECONNRESET, netbsd.EPIPE)
		}
	})
}

// So does one that closes before it has been given what has come, whenever that is found.
func TestCloseBeforeItComes(t *testing.T) {
	for _, size := range []int{1, lend.Gather, 100000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			eachCarrier(t, func(t *testing.T, h *host, a *lent, b end) {
				if other, ok := b.(*lent); ok {
					// Past the engine there is nothing between the programs' sockets.
					a.stream.engine.Store(true)
					other.stream.engine.Store(true)
				}
				closes := func() { a.Close() }
				a.stream.first.Store(&closes)
				done := writes(b, noise(size))
				a.endsWith(lend.Dropped)
				a.so.Close()
				if err := <-done; errors.Is(err, netbsd.ECONNRESET) {
					return // a call is told once
				}
				if other, ok := b.(*lent); ok && other.noSeed {
					// What it has written may be unread in the pump's descriptor: a seed as good as any.
					other.endsWith(lend.Failed, netbsd.ECONNRESET, netbsd.EPIPE)
					return
				}
				endsReset(t, b)
			})
		})
	}
}

// SO_LINGER with a time of 0 has closing reset the connection, once what was written before has been sent.
func TestCloseAbrupt(t *testing.T) {
	for _, size := range []int{0, 1, roomy} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			eachCarrier(t, func(t *testing.T, h *host, a *lent, b end) {
				p := noise(size)
				carry(t, b, a, []byte("read"))
				h.linger(a.so)
				must(t, <-writes(a, p))
				must(t, a.Close())
				a.endsWith(lend.Closed)
				a.so.Close() // as the client does
				reads(t, b, p)
				endsReset(t, b)
			})
		})
	}
}

// The same after the program has ended its direction: there is nothing to send any more.
func TestCloseAbruptAfterShutdown(t *testing.T) {
	eachCarrier(t, func(t *testing.T, h *host, a *lent, b end) {
		h.linger(a.so)
		must(t, <-writes(a, []byte("last")))
		must(t, a.closeWrite())
		readsEnd(t, b, []byte("last"), io.EOF)
		must(t, a.Close())
		a.endsWith(lend.Closed)
		a.so.Close()
		if other, ok := b.(*lent); ok {
			other.endsWith(lend.Failed, netbsd.ECONNRESET)
			return
		}
		eventually(t, "the other end is told", func() bool {
			_, err := b.(called).so.Write([]byte("x"))
			return err == netbsd.EPIPE || err == netbsd.ECONNRESET
		})
	})
}

// Who does not read, and is sent more than there is room for, keeps an abrupt end from waiting for ever.
func TestCloseAbruptWithoutRoom(t *testing.T) {
	h := newHost(t)
	client, server := h.connection()
	a := h.lend(client, how{})
	h.linger(client)
	must(t, a.control(func(fd int) {
		for p := make([]byte, 1<<16); ; {
			if _, err := unix.Write(fd, p); err != nil {
				break
			}
		}
	}))
	eventually(t, "there is no room", func() bool { return !a.writable() })
	must(t, a.Close())
	a.endsWith(lend.Closed)
	client.Close()
	_, err := io.Copy(io.Discard, called{server})
	if !isReset(err) {
		t.Errorf("the peer gets %v", err)
	}
}

// A peer that resets the connection: the program gets what has come before, and a reset.
func TestPeerResets(t *testing.T) {
	for _, size := range []int{0, 5, 100000} {
		for _, seed := range []bool{true, false} {
			t.Run(fmt.Sprintf("%d bytes, seeded: %v", size, seed), func(t *testing.T) {
				h := newHost(t)
				client, server := h.connection()
				a := h.lend(client, how{noSeed: !seed})
				p := noise(size)
				must(t, <-writes(called{server}, p))
				eventually(t, "it has come", func() bool { return a.unread() == size })
				h.linger(server)
				server.Close()
				a.endsWith(lend.Failed, netbsd.ECONNRESET)
				if v, err := client.Option(nil, netbsd.SOL_SOCKET, netbsd.SO_ERROR, 4); err != nil || h.k.Machine().Order.Uint32(v) != uint32(netbsd.ECONNRESET) {
					t.Errorf("SO_ERROR is %x, %v", v, err)
				}
				reads(t, a, p)
				if n, err := a.Read(make([]byte, 1)); n != 0 || isReset(err) != seed {
					t.Errorf("%d bytes, %v", n, err)
				}
			})
		}
	}
}

// A peer that ends its direction in order and then resets the connection.
func TestPeerResetsAfterItsEnd(t *testing.T) {
	h := newHost(t)
	client, server := h.connection()
	a := h.lend(client, how{})
	must(t, server.Shutdown(netbsd.SHUT_WR))
	readsEnd(t, a, nil, io.EOF)
	h.linger(server)
	server.Close()
	a.endsWith(lend.Failed, netbsd.ECONNRESET)
	if _, err := a.Write([]byte("x")); !errors.Is(err, unix.EPIPE) {
		t.Errorf("the program can write: %v", err)
	}
}

// A program that does not read is told of a reset when it writes.
func TestPeerResetsWhoDoesNotRead(t *testing.T) {
	h := newHost(t)
	client, server := h.connection()
	a := h.lend(client, how{})
	fill := writes(called{server}, make([]byte, 16<<20))
	eventually(t, "there is no room", func() bool { return h.full(called{server}) })
	h.linger(server)
	server.Close()
	if err := <-fill; err == nil {
		t.Error("all has been written to who does not read")
	}
	for {
		if _, err := a.Write(make([]byte, 100)); err != nil {
			if !errors.Is(err, unix.EPIPE) && !isReset(err) {
				t.Error(err)
			}
			break
		}
	}
	a.endsWith(lend.Failed, netbsd.ECONNRESET, netbsd.EPIPE)
}

// full tells whether who writes at an end has to wait. The kernel wakes who waits when half of its buffer is free.
func (h *host) full(e end) bool {
	if e, ok := e.(*lent); ok {
		return !e.writable()
	}
	so := e.(called).so
	size, err := so.Option(nil, netbsd.SOL_SOCKET, netbsd.SO_SNDBUF, 4)
	must(h.t, err)
	_, room := so.Pending()
	return room <= int64(h.k.Machine().Order.Uint32(size)/2)
}

// A slow reader holds the writer back: what is under way is never more than the buffers are, however much is written.
func TestBackPressure(t *testing.T) {
	// The host's socket at either end, the send and the receive buffer of the kernel's, and what the pump keeps.
	const total, most = 16 << 20, 8 << 20
	p := noise(1 << 20)
	eachCarrier(t, func(t *testing.T, h *host, a *lent, b end) {
		// b, which may be called, writes to a.
		var written atomic.Int64
		done := make(chan error, 1)
		go func() {
			for n := 0; n < total; {
				m, err := b.Write(p[n%len(p):][:min(1<<14, len(p)-n%len(p))])
				if err != nil {
					done <- err
					return
				}
				n += m
				written.Add(int64(m))
			}
			done <- b.closeWrite()
		}()
		eventually(t, "the writer is held back", func() bool { return h.full(b) })
		buf := make([]byte, 100000)
		for at := 0; ; {
			if under := written.Load() - int64(at); under > most {
				t.Fatalf("%d bytes are under way", under)
			}
			if in, _ := a.loan.Queued(); in > lend.Keep+lend.TubeSize {
				t.Fatalf("%d bytes are kept", in)
			}
			n, err := a.Read(buf)
			for i := 0; i < n; {
				here := p[(at+i)%len(p):]
				m := min(len(here), n-i)
				if !bytes.Equal(buf[i:i+m], here[:m]) {
					t.Fatalf("other bytes came behind %d", at+i)
				}
				i += m
			}
			if at += n; err != nil {
				if err != io.EOF || at != total {
					t.Fatalf("%v after %d bytes", err, at)
				}
				break
			}
		}
		must(t, <-done)
	})
}

// Shutdown of the reading half: what comes is dropped, whatever it is, and the other direction goes on.
func TestDeaf(t *testing.T) {
	p := noise(3 << 20)
	eachCarrier(t, func(t *testing.T, h *host, a *lent, b end) {
		must(t, a.shutdown(unix.SHUT_RD))
		must(t, <-writes(b, p))
		carry(t, a, b, []byte("still"))
		must(t, b.closeWrite())
		// With both halves ended it is closed, which would reset what has not been dropped yet.
		eventually(t, "it has been heard", a.stream.heard.Load)
		must(t, <-writes(a, []byte("the last")))
		must(t, a.closeWrite())
		readsEnd(t, b, []byte("the last"), io.EOF)
		a.endsWith(lend.Closed)
	})
}

// The same where something waits for room already: the host tells of it when the program has read that.
func TestDeafWhenFull(t *testing.T) {
	p := noise(3 << 20)
	eachCarrier(t, func(t *testing.T, h *host, a *lent, b end) {
		done := writes(b, p)
		eventually(t, "there is no room", func() bool { return h.full(b) })
		must(t, a.shutdown(unix.SHUT_RD))
		if n, err := io.Copy(io.Discard, a); n == int64(len(p)) || err != nil {
			t.Errorf("the program has read %d bytes, %v", n, err)
		}
		must(t, <-done)
		carry(t, a, b, []byte("still"))
	})
}

// A byte out of band is one like others.
func TestOutOfBand(t *testing.T) {
	eachCarrier(t, func(t *testing.T, h *host, a *lent, b end) {
		for _, text := range []string{"a", "b", "c"} {
			must(t, a.control(func(fd int) {
				must(t, unix.Sendto(fd, []byte(text), unix.MSG_OOB, nil))
			}))
		}
		must(t, <-writes(a, []byte("d")))
		reads(t, b, []byte("abcd"))
	})
}

// A loan of a connection that is being made begins with it, and fails with it.
func TestConnecting(t *testing.T) {
	h := newHost(t)
	l := h.listen("127.0.0.1:0", 5)
	for range 20 {
		so := h.socket(netbsd.AF_INET, netbsd.SOCK_STREAM, 0)
		h.closes(so)
		if err := so.Connect(h.name(l)); err != netbsd.EINPROGRESS {
			t.Fatal(err)
		}
		a := h.lend(so, how{})
		must(t, <-writes(a, []byte("early")))
		server, err := accept(l)
		must(t, err)
		b := h.lend(server, how{})
		reads(t, b, []byte("early"))
		carry(t, b, a, []byte("back"))
	}
	l.Close()
	so := h.socket(netbsd.AF_INET, netbsd.SOCK_STREAM, 0)
	h.closes(so)
	free := h.listen("127.0.0.1:0", 1)
	nobody := h.name(free)
	free.Close()
	if err := so.Connect(nobody); err != netbsd.EINPROGRESS {
		t.Fatal(err)
	}
	if a, err := h.tryLend(so, how{}); err == nil {
		a.loan.Start()
		a.endsWith(lend.Failed, netbsd.ECONNREFUSED)
		if n, err := a.Read(make([]byte, 1)); n != 0 || !isReset(err) {
			t.Errorf("%d bytes, %v", n, err)
		}
	} else if err != netbsd.ENOTCONN {
		t.Error(err)
	}
}

// Both families, and between them.
func TestFamilies(t *testing.T) {
	h := newHost(t)
	client, server := h.connectionTo("[::1]:0")
	a, b := h.lend(client, how{}), h.lend(server, how{})
	carry(t, a, b, noise(300000))
	carry(t, b, a, noise(300000))
	if !a.loan.Fused() || a.stream.passed.Load()+b.stream.passed.Load() != 600000 {
		t.Errorf("%d and %d bytes have passed the engine", a.stream.passed.Load(), b.stream.passed.Load())
	}
}
