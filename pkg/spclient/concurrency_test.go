package spclient_test

import (
	"bytes"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
	"rumptools/pkg/spclient/spclienttest"
)

// TestConcurrent has many callers with buffers of mixed sizes on one connection,
// whose send buffer is as small as can be, and answers that come in any order. Each
// must get what is his.
func TestConcurrent(t *testing.T) {
	checkLeaks(t)
	callers, calls := 64, 40
	if testing.Short() || raceEnabled {
		calls = 10
	}
	// The kernel's part: turn each byte of the first buffer to the second, in
	// pieces.
	turn := func(c *spclienttest.Call) {
		from, to, n := c.Args.Ptr(), c.Args.Ptr(), int(c.Args.Word())
		for done := 0; done < n; {
			piece := min(n-done, 1+rand.IntN(3000))
			b := c.CopyIn(from+uint64(done), piece)
			if rand.IntN(4) == 0 {
				runtime.Gosched()
			}
			for i := range b {
				b[i] ^= 0xff
			}
			c.CopyOut(to+uint64(done), b)
			done += piece
		}
		c.Reply(uint64(n), 0)
	}
	for _, m := range []*netbsd.Machine{netbsd.AMD64, netbsd.POWERPC} {
		t.Run(m.Name, func(t *testing.T) {
			srv := spclienttest.NewServer(t, "unix", m, func(p *spclienttest.Peer) {
				p.Serve(map[uint32]func(*spclienttest.Call){netbsd.SYS_write: turn})
			})
			c := dial(t, srv, &spclient.Options{Dial: smallBuffer})
			ctx := testContext(t)
			var wg sync.WaitGroup
			for g := range callers {
				wg.Add(1)
				go func() {
					defer wg.Done()
					rnd := rand.New(rand.NewPCG(uint64(g), 0))
					for range calls {
						n := rnd.IntN(300)
						if rnd.IntN(10) == 0 {
							n = rnd.IntN(20_000)
						}
						in, out, want := make([]byte, n), make([]byte, n+1), make([]byte, n+1)
						for i := range in {
							in[i] = byte(rnd.Uint32())
							want[i] = ^in[i]
						}
						ret, err := c.NewCall(netbsd.SYS_write).In(in).Out(out).Word(uint64(n)).Do(ctx)
						if err != nil || ret.Retval[0] != uint64(n) {
							t.Errorf("result %d, %v, want %d", ret.Retval[0], err, n)
							return
						}
						if !bytes.Equal(out, want) {
							t.Errorf("%d bytes came back wrong", n)
							return
						}
					}
				}()
			}
			wg.Wait()
			if c.Err() != nil {
				t.Error(c.Err())
			}
		})
	}
}

// TestBigBuffer moves more than the socket and the reader hold, and more than the
// writer's queue.
func TestBigBuffer(t *testing.T) {
	checkLeaks(t)
	c := serve(t, netbsd.SPARC64, map[uint32]func(*spclienttest.Call){
		netbsd.SYS_write: func(c *spclienttest.Call) {
			from, to, n := c.Args.Ptr(), c.Args.Ptr(), int(c.Args.Word())
			c.CopyOut(to, c.CopyIn(from, n))
			c.Reply(uint64(n), 0)
		},
	})
	in := make([]byte, 8<<20)
	for i := range in {
		in[i] = byte(i * 7 / 3)
	}
	out := make([]byte, len(in))
	_, err := c.NewCall(netbsd.SYS_write).In(in).Out(out).Word(uint64(len(in))).Do(testContext(t))
	if err != nil || !bytes.Equal(in, out) {
		t.Errorf("%v; equal: %v", err, bytes.Equal(in, out))
	}
}
