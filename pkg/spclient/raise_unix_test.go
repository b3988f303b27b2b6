//go:build unix

package spclient_test

import (
	"errors"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"testing"
	"time"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
	"rumptools/pkg/spclient/spclienttest"
)

// TestRaiseSignal has a kernel raise signals that become the host's, and others
// that must not.
func TestRaiseSignal(t *testing.T) {
	raised := []netbsd.Signal{netbsd.SIGPIPE, netbsd.SIGKILL, netbsd.SIGIO, netbsd.SIGSTOP, netbsd.SIGSYS, netbsd.SIGSEGV, 0, 99, netbsd.SIGURG}
	want := []os.Signal{syscall.SIGPIPE, syscall.SIGIO, syscall.SIGURG}
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, syscall.SIGPIPE, syscall.SIGIO)
	defer signal.Stop(ch)
	srv := spclienttest.NewServer(t, "unix", netbsd.POWERPC, func(p *spclienttest.Peer) {
		p.Serve(map[uint32]func(*spclienttest.Call){netbsd.SYS_getpid: func(c *spclienttest.Call) {
			c.Raise(int32(c.Args.Int()))
			c.Reply(1, 0)
		}})
	})
	c := dial(t, srv, &spclient.Options{OnRaise: spclient.RaiseSignal})
	for _, sig := range raised {
		if _, err := c.NewCall(netbsd.SYS_getpid).Int(int32(sig)).Do(testContext(t)); err != nil {
			t.Fatal(err)
		}
		host, ok := sig.Host()
		// The runtime uses SIGURG itself.
		if !ok || sig == netbsd.SIGURG || !slices.Contains(want, os.Signal(host)) {
			continue
		}
		select {
		case got := <-ch:
			if got != host {
				t.Errorf("%v came as %v", sig, got)
			}
		case <-time.After(testTimeout):
			t.Errorf("%v did not come", sig)
		}
	}
}

// TestRaisePipe writes to a pipe that nobody reads: the error always comes, the
// signal to who asked for it, and before the error.
func TestRaisePipe(t *testing.T) {
	for _, m := range []*netbsd.Machine{netbsd.AMD64, netbsd.POWERPC} {
		url := kernelURL(t, m)
		var raised journal[int32]
		for _, opts := range []*spclient.Options{nil, {OnRaise: func(signo int32) { raised.add(signo) }}} {
			c, err := spclient.Dial(testContext(t), url, opts)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			ctx := testContext(t)
			r, w, err := c.Pipe(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.CloseFD(ctx, r); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Write(ctx, w, []byte("x")); !errors.Is(err, netbsd.EPIPE) {
				t.Errorf("%s: write: %v", m, err)
			}
		}
		if got := raised.take(); !slices.Equal(got, []int32{int32(netbsd.SIGPIPE)}) {
			t.Errorf("%s: raised %v", m, got)
		}
	}
}

// TestRaiseIdle has a signal come while nothing is under way.
func TestRaiseIdle(t *testing.T) {
	now := make(chan struct{})
	srv := spclienttest.NewServer(t, "unix", netbsd.AMD64, func(p *spclienttest.Peer) {
		p.Handshake()
		for range 100 {
			p.NextCall().Reply(1, 0)
		}
		<-now
		p.Raise(int32(netbsd.SIGIO))
		p.WaitGone()
	})
	came := make(chan int32, 1)
	c := dial(t, srv, &spclient.Options{OnRaise: func(signo int32) { came <- signo }})
	for range 100 {
		if _, err := c.Getpid(testContext(t)); err != nil {
			t.Fatal(err)
		}
	}
	close(now)
	select {
	case got := <-came:
		if got != int32(netbsd.SIGIO) {
			t.Errorf("signal %d", got)
		}
	case <-time.After(testTimeout):
		t.Error("it did not come")
	}
}
