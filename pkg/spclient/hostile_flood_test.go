package spclient_test

import (
	"context"
	"errors"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
	"rumptools/pkg/spclient/spclienttest"
	"rumptools/pkg/sysproxy"
)

// floodMemory is more than a flood may make a client keep: its queue (256 KiB) and
// what is on the way.
const floodMemory = 4 << 20

// heapInUse returns what is reachable.
func heapInUse() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestFlood has servers send requests without end while a call is under way, with
// and without reading what the client answers. The client must keep little, give
// its calls up when their contexts say so, and close.
func TestFlood(t *testing.T) {
	const size = 16 << 10
	for _, tt := range []struct {
		name    string
		request func(in, out uint64) sysproxy.Message
		// deaf servers do not read, so that the client must stop to answer,
		// and then to read.
		deaf bool
	}{
		{"COPYIN", func(in, _ uint64) sysproxy.Message { return sysproxy.CopyIn{Len: size, Addr: in} }, true},
		{"COPYIN of 0 bytes", func(in, _ uint64) sysproxy.Message { return sysproxy.CopyIn{Addr: in} }, true},
		{"COPYINSTR", func(in, _ uint64) sysproxy.Message { return sysproxy.CopyInStr{Len: size, Addr: in} }, true},
		{"ANONMMAP", func(_, _ uint64) sysproxy.Message { return sysproxy.AnonMmap{Len: 1 << 62} }, true},
		{"COPYOUT", func(_, out uint64) sysproxy.Message { return sysproxy.CopyOut{Addr: out, Data: make([]byte, size)} }, false},
		{"COPYOUT of 0 bytes", func(_, out uint64) sysproxy.Message { return sysproxy.CopyOut{Addr: out} }, false},
		{"RAISE", func(_, _ uint64) sysproxy.Message { return sysproxy.Raise{Signo: uint32(netbsd.SIGIO)} }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			checkLeaks(t)
			var sent, raised atomic.Int64
			srv := spclienttest.NewServer(t, "unix", netbsd.AMD64, func(p *spclienttest.Peer) {
				p.Handshake()
				call := p.NextCall()
				in, out := call.Args.Ptr(), call.Args.Ptr()
				if tt.deaf {
					p.StopReading()
				}
				p.Flood(p.Encode(tt.request(in, out), 0), func() { sent.Add(1) })
			})
			c := dial(t, srv, &spclient.Options{OnRaise: func(int32) { raised.Add(1) }})
			before := heapInUse()
			ctx, cancel := context.WithCancel(testContext(t))
			defer cancel()
			done := make(chan error, 1)
			in, out := make([]byte, size), make([]byte, size)
			go func() {
				_, err := c.NewCall(netbsd.SYS_write).In(in).Out(out).Do(ctx)
				done <- err
			}()
			// Until the server can't write, or has written much.
			for last := int64(-1); last != sent.Load() && last < 5000 || last == 0; time.Sleep(50 * time.Millisecond) {
				last = sent.Load()
				if ctx.Err() != nil {
					t.Fatalf("%d requests came through", last)
				}
			}
			if grown := heapInUse() - before; grown > floodMemory {
				t.Errorf("%d requests cost %d bytes of memory", sent.Load(), grown)
			}
			// A call that can't be sent, or is not answered, can be given up as
			// well.
			short, cancelShort := context.WithTimeout(ctx, 10*time.Millisecond)
			defer cancelShort()
			if _, err := c.Getpid(short); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("call during the flood: %v", err)
			}
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("call: %v", err)
			}
			// The race detector sees who else touches it.
			clear(out)
			clear(in)
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			if tt.name == "RAISE" && raised.Load() == 0 {
				t.Error("no signal was raised")
			}
		})
	}
}

// TestStall has a server stop within a frame, which need not be the caller's, and
// go on when nobody waits for it any more.
func TestStall(t *testing.T) {
	const size = 1000
	head := sysproxy.HeaderLen + 16
	for _, n := range []int{1, 8, 23, 24, 25, head - 1, head, head + 1, head + size/2, head + size - 1} {
		for name, give := range map[string]func(c *spclient.Conn, cancel context.CancelFunc) error{
			"cancel": func(_ *spclient.Conn, cancel context.CancelFunc) error { cancel(); return context.Canceled },
			"close":  func(c *spclient.Conn, _ context.CancelFunc) error { c.Close(); return spclient.ErrClosed },
		} {
			t.Run(name, func(t *testing.T) {
				checkLeaks(t)
				begun, stalled, goOn := make(chan struct{}), make(chan struct{}), make(chan struct{})
				srv := spclienttest.NewServer(t, "unix", netbsd.AMD64, func(p *spclienttest.Peer) {
					p.Handshake()
					call := p.NextCall()
					call.Args.Ptr()
					b := p.Encode(sysproxy.CopyOut{Addr: call.Args.Ptr(), Data: make([]byte, size)}, 0)
					p.Write(b[:n])
					close(begun)
					other := p.NextCall()
					close(stalled)
					<-goOn
					p.Write(b[n:])
					call.Reply(0, 0)
					other.Reply(41, 0)
					p.NextCall().Reply(42, 0)
					p.WaitGone()
				})
				c := dial(t, srv, nil)
				ctx, cancel := context.WithCancel(testContext(t))
				defer cancel()
				first, second := make(chan error, 1), make(chan error, 1)
				out := make([]byte, size)
				go func() {
					_, err := c.NewCall(netbsd.SYS_read).In([]byte{1}).Out(out).Do(ctx)
					first <- err
				}()
				<-begun
				go func() {
					_, err := c.Getpid(ctx)
					second <- err
				}()
				<-stalled
				want := give(c, cancel)
				for _, call := range []chan error{first, second} {
					if err := <-call; !errors.Is(err, want) {
						t.Errorf("stalled after %d bytes: %v, want %v", n, err, want)
					}
				}
				// The race detector sees who else touches it.
				clear(out)
				close(goOn)
				pid, err := c.Getpid(testContext(t))
				if want == spclient.ErrClosed {
					checkError(t, err, want)
				} else if pid != 42 || err != nil {
					t.Errorf("stalled after %d bytes, next call: %d, %v", n, pid, err)
				}
			})
		}
	}
}
