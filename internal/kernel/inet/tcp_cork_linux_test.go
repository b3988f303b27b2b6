package inet

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"reflect"
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

// segments are the lengths of the TCP segments with data that 10.0.0.1 has sent.
type segments struct {
	mu   sync.Mutex
	seen map[uint32]bool // by sequence number: what is sent again counts once
	all  []int
}

// watch looks at a network until the test ends.
func (s *segments) watch(t *testing.T, p *port) {
	s.seen = make(map[uint32]bool)
	t.Cleanup(func() { p.Close() })
	go func() {
		b := make([]byte, 1<<16)
		for {
			n, err := p.Recv(b)
			if err != nil {
				return
			}
			const ether = 14
			f := b[:n]
			if n < ether+40 || f[12] != 8 || f[13] != 0 || f[ether+9] != netbsd.IPPROTO_TCP || f[ether+15] != 1 {
				continue
			}
			ip := f[ether:][:binary.BigEndian.Uint16(f[ether+2:])]
			tcp := ip[int(ip[0]&15)*4:]
			seq, data := binary.BigEndian.Uint32(tcp[4:]), len(tcp)-int(tcp[12]>>4)*4
			s.mu.Lock()
			if data > 0 && !s.seen[seq] {
				s.seen[seq] = true
				s.all = append(s.all, data)
			}
			s.mu.Unlock()
		}
	}()
}

// take gives what has been seen once those are all bytes.
func (s *segments) take(t *testing.T, bytes int) (all []int) {
	t.Helper()
	eventually(t, "all bytes are seen", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		n := 0
		for _, size := range s.all {
			n += size
		}
		if n == bytes {
			all, s.all = s.all, nil
		}
		return n == bytes
	})
	return all
}

// corked is a connection from 10.0.0.1 that is lent to a program.
type corked struct {
	t         *testing.T
	so, peer  kernel.Socket
	m         *netbsd.Machine
	program   int
	k         int // the pump's end, which it closes
	ended     chan struct{}
	hasClosed bool
	byHost    bool // the cork is told by K
	changes   uint32
}

func newCorked(t *testing.T, pump *lend.Pump, a, b *Stack, cork, byHost bool) *corked {
	t.Helper()
	l := listener(t, b, "10.0.0.2:0", 5)
	so := open(t, a, netbsd.AF_INET, stream, 0)
	if cork {
		setInt(t, so, a.machine, netbsd.IPPROTO_TCP, sysproxy.TCPCork, 1)
	}
	must(t, connect(t, so, name(t, l)))
	peer, _ := accept(t, l)
	l.Close()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	must(t, seeded.Sow(fds[0]))
	c := &corked{t: t, so: so, peer: peer, m: a.machine, program: fds[0], k: fds[1], ended: make(chan struct{}), byHost: byHost}
	loan, err := pump.NewLoan(fds[1], true, so.(kernel.Lender).Lend, func(lend.End, error) { close(c.ended) }, func() {})
	must(t, err)
	loan.Start()
	t.Cleanup(func() {
		c.close()
		loan.Revoke()
		<-c.ended
		so.Close()
		peer.Close()
	})
	return c
}

func (c *corked) close() {
	if !c.hasClosed {
		c.hasClosed = true
		unix.Close(c.program)
	}
}

func (c *corked) set(on int32) {
	c.t.Helper()
	if !c.byHost {
		setInt(c.t, c.so, c.m, netbsd.IPPROTO_TCP, sysproxy.TCPCork, on)
		return
	}
	c.changes++
	must(c.t, unix.SetsockoptInt(c.k, unix.SOL_SOCKET, unix.SO_RCVLOWAT, int(1+c.changes)))
	if on == 0 {
		must(c.t, unix.SetsockoptInt(c.k, unix.SOL_SOCKET, unix.SO_SNDBUF, 100<<10))
		// What is written before that may leave with what was written before.
		eventually(c.t, "the answer", func() bool {
			v, err := unix.GetsockoptInt(c.k, unix.SOL_SOCKET, unix.SO_PRIORITY)
			return err == nil && v == sysproxy.CorkAnswer(c.changes)
		})
	}
}

// write writes pieces, each after the pump has taken those before.
func (c *corked) write(sizes ...int) {
	c.t.Helper()
	for _, size := range sizes {
		if n, err := unix.Write(c.program, make([]byte, size)); n != size {
			c.t.Fatalf("wrote %d of %d bytes: %v", n, size, err)
		}
		eventually(c.t, "the pump has taken it", func() bool { return seeded.Waiting(c.k) == 0 })
	}
}

// TestCork: while TCP_CORK is set only full segments leave. What does not fill one leaves when
// it is cleared, when the program's direction ends, or in the end.
func TestCork(t *testing.T) {
	seg := newSegment()
	a, b := host(t, seg.join(), "10.0.0.1/24"), host(t, seg.join(), "10.0.0.2/24")
	var seen segments
	seen.watch(t, seg.join())
	pump, err := lend.NewPump()
	must(t, err)
	t.Cleanup(pump.Close)
	const full = 1500 - 40 - 40 // the engine leaves room for all options that there may be
	uncork := func(c *corked) { c.set(0) }
	nothing := func(*corked) {}
	tests := []struct {
		name    string
		noDelay int32
		early   bool // it is set before there is a connection
		before  []int
		sizes   []int
		end     func(c *corked)
		want    []int
	}{
		{name: "many pieces", noDelay: 1, sizes: []int{100, 1, 250, 3, 100, 100, 100}, end: uncork, want: []int{654}},
		{name: "many pieces, with Nagle's algorithm", sizes: []int{100, 1, 250, 3, 100, 100, 100}, end: uncork, want: []int{654}},
		{name: "set before there is a connection", noDelay: 1, early: true, sizes: []int{100, 1, 250}, end: uncork, want: []int{351}},
		{name: "more than a segment", noDelay: 1, sizes: []int{250, 3000, 500}, end: uncork, want: []int{full, full, 3750 - 2*full}},
		{name: "more than a segment, with Nagle's algorithm", sizes: []int{250, 3000, 500}, end: uncork, want: []int{full, full, 3750 - 2*full}},
		{name: "full segments do not wait", noDelay: 1, sizes: []int{full, 1000, full - 1000, 2 * full}, end: nothing, want: []int{full, full, full, full}},
		{name: "full segments do not wait for Nagle's algorithm", sizes: []int{full, 1000, full - 1000, 2 * full}, end: nothing, want: []int{full, full, full, full}},
		{name: "what came before does not wait", noDelay: 1, before: []int{10, 20}, sizes: []int{30, 40}, end: uncork, want: []int{10, 20, 70}},
		{name: "the end of the direction", noDelay: 1, sizes: []int{30, 40}, end: func(c *corked) { unix.Shutdown(c.program, unix.SHUT_WR) }, want: []int{70}},
		{name: "close", noDelay: 1, sizes: []int{30, 40}, end: func(c *corked) { c.close() }, want: []int{70}},
		{name: "set and cleared again", noDelay: 1, sizes: []int{30, 40}, end: func(c *corked) {
			c.set(0)
			c.set(1)
			c.write(50, 60)
			c.set(0)
			c.write(1)
			c.write(2)
			c.set(1)
			c.write(3, 4)
			c.set(0)
		}, want: []int{70, 110, 1, 2, 7}},
	}
	run := func(t *testing.T, byHost bool) {
		for _, test := range tests {
			// Under load the time may be over before the test has written all.
			for try := 0; ; try++ {
				c := newCorked(t, pump, a, b, test.early, byHost)
				setInt(t, c.so, c.m, netbsd.IPPROTO_TCP, netbsd.TCP_NODELAY, test.noDelay)
				c.write(test.before...)
				began := time.Now()
				if !test.early {
					c.set(1)
				}
				c.write(test.sizes...)
				test.end(c)
				soon := time.Since(began) < 200*time.Millisecond
				sum := 0
				for _, n := range test.want {
					sum += n
				}
				got := seen.take(t, sum)
				readAll(t, c.peer, sum)
				if reflect.DeepEqual(got, test.want) {
					break
				}
				if soon || try == 20 {
					t.Fatalf("%s: segments of %d bytes, want %d", test.name, got, test.want)
				}
			}
		}
	}
	t.Run("by the option", func(t *testing.T) { run(t, false) })
	t.Run("by K", func(t *testing.T) { run(t, true) })
	t.Run("never cleared", func(t *testing.T) {
		c := newCorked(t, pump, a, b, true, false)
		for range 3 {
			began := time.Now()
			c.write(30, 40)
			readAll(t, c.peer, 70)
			if d := time.Since(began); d < 190*time.Millisecond {
				t.Errorf("it waited for %v only", d)
			}
		}
	})
	// Whatever the moments at which it is set and cleared, all bytes come in order.
	for _, byHost := range []bool{false, true} {
		t.Run(fmt.Sprintf("at random, by K: %v", byHost), func(t *testing.T) {
			c := newCorked(t, pump, a, b, false, byHost)
			rng := rand.New(rand.NewPCG(1, 2))
			var want []byte
			for range 400 {
				p := make([]byte, 1+rng.IntN(1<<rng.IntN(14)))
				for i := range p {
					p[i] = byte(rng.Uint32())
				}
				want = append(want, p...)
			}
			done := make(chan error, 1)
			go func() {
				for left, on := want, int32(0); len(left) > 0; {
					if rng.IntN(2) == 0 {
						on = 1 - on
						var err error
						switch {
						case !byHost:
							err = c.so.SetOption(nil, netbsd.IPPROTO_TCP, sysproxy.TCPCork, intOpt(c.m, on))
						default:
							c.changes++
							err = unix.SetsockoptInt(c.k, unix.SOL_SOCKET, unix.SO_RCVLOWAT, int(1+c.changes))
							if err == nil && on == 0 {
								err = unix.SetsockoptInt(c.k, unix.SOL_SOCKET, unix.SO_SNDBUF, 100<<10)
							}
						}
						if err != nil {
							done <- err
							return
						}
					}
					n, err := unix.Write(c.program, left[:min(len(left), 1+rng.IntN(1<<rng.IntN(13)))])
					if err != nil {
						done <- err
						return
					}
					left = left[n:]
				}
				done <- unix.Shutdown(c.program, unix.SHUT_WR)
			}()
			got := readAll(t, c.peer, -1)
			must(t, <-done)
			if !bytes.Equal(got, want) {
				t.Errorf("%d bytes of %d, or others", len(got), len(want))
			}
		})
	}
	t.Run("more small writes than the program's socket has room for", func(t *testing.T) {
		c := newCorked(t, pump, a, b, true, false)
		began := time.Now()
		const n = 10 * full
		done := make(chan error, 1)
		go func() {
			for range n {
				if _, err := unix.Write(c.program, []byte{1}); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
		readAll(t, c.peer, n)
		must(t, <-done)
		t.Logf("%d writes in %v", n, time.Since(began))
	})
}
