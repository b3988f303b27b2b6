package spclient_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
	"rumptools/pkg/sysproxy"
)

// Loans are no calls: more of them than calls may be under way, and calls are made
// meanwhile.
func TestLendMany(t *testing.T) {
	checkLeaks(t)
	url, end, err := serveKernel(netbsd.AMD64)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(end)
	var lim unix.Rlimit
	n := 4200 // above the limit on calls
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil || lim.Cur < uint64(4*n) {
		n = 200
	}
	c := dialKernel(t, url)
	ctx, cancel := context.WithTimeout(t.Context(), 5*testTimeout)
	defer cancel()
	ends := make(chan spclient.LoanEnd, n)
	var programs []int
	connect, done := tcpPairs(t, c)
	defer done()
	for len(programs) < n {
		x, y := connect()
		for _, fd := range []spclient.FD{x, y} {
			pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			err = c.Lend(ctx, fd, pair[1], false, func(e spclient.LoanEnd) { ends <- e })
			unix.Close(pair[1])
			if err != nil {
				t.Fatal(err)
			}
			programs = append(programs, pair[0])
		}
	}
	for i := 0; i < n; i += 97 &^ 1 {
		if _, err := unix.Write(programs[i], []byte("hello")); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 10)
		if m, err := unix.Read(programs[i^1], b); err != nil || string(b[:m]) != "hello" {
			t.Fatalf("loan %d: %q, %v", i, b[:m], err)
		}
	}
	if _, err := c.Getpid(ctx); err != nil {
		t.Error(err)
	}
	for _, fd := range programs {
		unix.Close(fd)
	}
	for range n {
		select {
		case e := <-ends:
			if e.Err != nil || e.How != sysproxy.LoanClosed && e.How != sysproxy.LoanFailed {
				t.Fatalf("%+v", e)
			}
		case <-ctx.Done():
			t.Fatal("loans do not end")
		}
	}
}

// Requests with descriptors go out among others, over a connection that is full most of
// the time, and each has its own.
func TestLendUnderLoad(t *testing.T) {
	url := kernelURL(t, netbsd.AMD64)
	ctx := testContext(t)
	c, err := spclient.Dial(ctx, url, &spclient.Options{Dial: smallBuffer})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	stop := make(chan struct{})
	var callers sync.WaitGroup
	null, err := c.Open(ctx, "/dev/null", netbsd.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 8 {
		callers.Go(func() {
			p := make([]byte, 1+i*2000)
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := c.Write(ctx, null, p); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for j := range 8 {
				x, y := tcpPair(t, c)
				a, b := lend(t, c, x), lend(t, c, y)
				text := fmt.Sprintf("loan %d.%d", i, j)
				a.says(text)
				b.hears(text)
				b.says(text + "!")
				a.hears(text + "!")
				a.Close()
				b.hearsEnd(io.EOF)
				b.Close()
			}
		})
	}
	all.Wait()
	close(stop)
	callers.Wait()
}

// A connection that carries all that it can does not keep others from theirs.
func TestLendFair(t *testing.T) {
	c := dialKernel(t, kernelURL(t, netbsd.AMD64))
	for range 2 {
		x, y := tcpPair(t, c)
		src, dst := lend(t, c, x), lend(t, c, y)
		go io.Copy(io.Discard, struct{ io.Reader }{dst})
		go func() {
			for p := make([]byte, 256<<10); ; {
				if _, err := src.Write(p); err != nil {
					return
				}
			}
		}()
	}
	x, y := tcpPair(t, c)
	a, b := lend(t, c, x), lend(t, c, y)
	for range 50 {
		a.says("ping")
		b.hears("ping")
		b.says("pong")
		a.hears("pong")
	}
}

// Whatever programs do, both loans end when both have closed, and nothing is left.
func TestLendStorm(t *testing.T) {
	checkLeaks(t)
	url, end, err := serveKernel(netbsd.AMD64)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(end)
	c := dialKernel(t, url)
	connect, done := tcpPairs(t, c)
	var all sync.WaitGroup
	for i := range 60 {
		x, y := connect()
		a, b := lend(t, c, x), lend(t, c, y)
		for j, l := range []*lent{a, b} {
			rng := rand.New(rand.NewPCG(uint64(i), uint64(j)))
			all.Go(func() {
				if rng.IntN(4) == 0 {
					c.SetsockoptStruct(testContext(t), l.fd, netbsd.SOL_SOCKET, netbsd.SO_LINGER, &netbsd.Linger{Onoff: 1})
				}
				l.SetDeadline(time.Now().Add(time.Duration(rng.IntN(100)) * time.Millisecond))
				out, n := size(rng), size(rng)
				ends, deaf := rng.IntN(2) == 0, rng.IntN(8) == 0
				var both sync.WaitGroup
				both.Go(func() {
					l.Write(make([]byte, out))
					if ends {
						l.CloseWrite()
					}
				})
				both.Go(func() {
					for p := make([]byte, 4096); n > 0; {
						m, err := l.Read(p)
						if n -= m; err != nil {
							break
						}
					}
					if deaf {
						l.CloseRead()
					}
				})
				both.Wait()
				l.Close()
				l.drop()
				select {
				case e := <-l.end:
					if e.Err != nil {
						t.Errorf("connection %d: %v", i, e.Err)
					}
				case <-time.After(testTimeout):
					t.Errorf("connection %d: the loan does not end", i)
				}
				l.closeFD()
			})
		}
	}
	all.Wait()
	done()
}

// size is a number of bytes of any magnitude up to 4 MiB.
func size(rng *rand.Rand) int { return rng.IntN(1 << rng.IntN(23)) }
