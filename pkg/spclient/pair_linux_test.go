package spclient_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"rumptools/internal/netstat"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
	"rumptools/pkg/sysproxy"
)

// pairing is a listener of one client and the sockets of another one, both of which know
// of pairs if that is wanted.
type pairing struct {
	t          *testing.T
	from, to   *spclient.Conn
	l          spclient.FD
	sa         []byte
	knows      bool // the client that connects
	fd, passed spclient.FD
}

func newPairing(t *testing.T, knowsListener, knows bool) *pairing {
	t.Helper()
	url := kernelURL(t, netbsd.AMD64)
	p := &pairing{t: t, from: dialKernel(t, url), to: dialKernel(t, url), knows: knows}
	ctx := testContext(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	p.l, err = p.to.Socket(ctx, netbsd.AF_INET, netbsd.SOCK_STREAM, 0)
	must(err)
	must(p.to.Bind(ctx, p.l, []byte{16, netbsd.AF_INET, 0, 0, 127, 0, 0, 1, 15: 0}))
	if knowsListener {
		must(p.to.ExpectPair(ctx, p.l))
	}
	must(p.to.ListenFD(ctx, p.l, 5))
	p.sa, err = p.to.Getsockname(ctx, p.l)
	must(err)
	p.connect()
	return p
}

// connect makes another connection.
func (p *pairing) connect() {
	p.t.Helper()
	ctx := testContext(p.t)
	fd, err := p.from.Socket(ctx, netbsd.AF_INET, netbsd.SOCK_STREAM, 0)
	if err == nil && p.knows {
		err = p.from.ExpectPair(ctx, fd)
	}
	if err == nil {
		err = p.from.Connect(ctx, fd, p.sa)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	passed, _, err := p.to.Accept(ctx, p.l)
	if err != nil {
		p.t.Fatal(err)
	}
	p.fd, p.passed = fd, passed
}

type offerEnd struct {
	joined bool
	err    error
}

func (p *pairing) offer(path string) <-chan offerEnd {
	end := make(chan offerEnd, 1)
	fd := p.passed
	go func() {
		joined, err := p.to.OfferPair(testContext(p.t), fd, path)
		end <- offerEnd{joined, err}
	}()
	return end
}

// offered makes an offer that is there when it returns.
func (p *pairing) offered(path string) <-chan offerEnd {
	p.t.Helper()
	end := p.offer(path)
	for limit := time.Now().Add(testTimeout); ; time.Sleep(time.Millisecond) {
		ok, err := p.to.PairExpected(testContext(p.t), p.passed)
		if err != nil || time.Now().After(limit) {
			p.t.Fatalf("the offer does not arrive: %v", err)
		}
		if !ok {
			return end
		}
	}
}

func (p *pairing) expected(want bool) {
	p.t.Helper()
	if ok, err := p.to.PairExpected(testContext(p.t), p.passed); err != nil || ok != want {
		p.t.Errorf("expected: %v, %v", ok, err)
	}
}

func (p *pairing) asks(want string) {
	p.t.Helper()
	if path, err := p.from.AskPair(testContext(p.t), p.fd); err != nil || path != want {
		p.t.Errorf("asked: %q, %v; want %q", path, err, want)
	}
}

func (p *pairing) joins(joined, want bool) {
	p.t.Helper()
	if ok, err := p.from.JoinPair(testContext(p.t), p.fd, joined); err != nil || ok != want {
		p.t.Errorf("joined: %v, %v; want %v", ok, err, want)
	}
}

func (p *pairing) offerEnds(end <-chan offerEnd, joined bool) {
	p.t.Helper()
	select {
	case e := <-end:
		if e.err != nil || e.joined != joined {
			p.t.Errorf("the offer ended with %+v, want %v", e, joined)
		}
	case <-time.After(testTimeout):
		p.t.Fatal("the offer has no answer")
	}
}

// shown counts the sockets that lists show as halves of pairs.
func (p *pairing) shown(want int) {
	p.t.Helper()
	list, err := netstat.ListSockets(testContext(p.t), p.from, "tcp", true)
	if err != nil {
		p.t.Fatal(err)
	}
	n := 0
	for i := range list {
		if list[i].Pair {
			n++
		}
	}
	if n != want {
		p.t.Errorf("%d of %d sockets are in pairs, want %d", n, len(list), want)
	}
}

// Both agree, whoever comes first.
func TestPairJoined(t *testing.T) {
	p := newPairing(t, true, true)
	p.expected(true)
	end := p.offered("/tmp/first")
	p.asks("/tmp/first")
	p.shown(0)
	p.joins(true, true)
	p.offerEnds(end, true)
	p.shown(2)
	p.joins(true, false)
	p.expected(false)

	p.connect()
	longest := "/" + strings.Repeat("x", sysproxy.MaxPairPath-1)
	asked := make(chan string, 1)
	fd := p.fd
	go func() {
		path, _ := p.from.AskPair(testContext(t), fd)
		asked <- path
	}()
	end = p.offer(longest)
	if path := <-asked; path == "" {
		// The offer was late, on a busy machine.
		p.offerEnds(end, false)
		return
	} else if path != longest {
		t.Errorf("path %q", path)
	}
	p.joins(true, true)
	p.offerEnds(end, true)
	p.shown(4)
}

// Either side may not know of pairs, or decide otherwise, and nobody waits for it then.
func TestPairRefused(t *testing.T) {
	t.Run("the listener's client does not know", func(t *testing.T) {
		p := newPairing(t, false, true)
		p.asks("")
	})
	t.Run("the other does not", func(t *testing.T) {
		p := newPairing(t, true, false)
		p.expected(false)
		p.offerEnds(p.offer("/tmp/x"), false)
	})
	t.Run("it is too late", func(t *testing.T) {
		p := newPairing(t, true, true)
		p.asks("")
		p.expected(false)
		p.offerEnds(p.offer("/tmp/x"), false)
	})
	t.Run("it is not joined", func(t *testing.T) {
		p := newPairing(t, true, true)
		end := p.offered("/tmp/x")
		p.asks("/tmp/x")
		p.joins(false, false)
		p.offerEnds(end, false)
		p.shown(0)
		p.joins(true, false)
	})
	t.Run("it is closed", func(t *testing.T) {
		p := newPairing(t, true, true)
		end := p.offered("/tmp/x")
		p.from.CloseFD(testContext(t), p.fd)
		p.offerEnds(end, false)
	})
	t.Run("its client is gone", func(t *testing.T) {
		p := newPairing(t, true, true)
		end := p.offered("/tmp/x")
		p.asks("/tmp/x")
		p.from.Close()
		p.offerEnds(end, false)
	})
	t.Run("it is lent", func(t *testing.T) {
		p := newPairing(t, true, true)
		end := p.offered("/tmp/x")
		l := lend(t, p.from, p.fd)
		p.offerEnds(end, false)
		l.Close()
	})
	t.Run("the accepted one is lent", func(t *testing.T) {
		p := newPairing(t, true, true)
		l := lend(t, p.to, p.passed)
		p.asks("")
		l.Close()
	})
	t.Run("who offers waits no longer", func(t *testing.T) {
		p := newPairing(t, true, true)
		ctx, cancel := context.WithCancel(testContext(t))
		end := make(chan error, 1)
		go func() {
			_, err := p.to.OfferPair(ctx, p.passed, "/tmp/x")
			end <- err
		}()
		cancel()
		if err := <-end; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// What makes no sense is refused, and the connection goes on.
func TestPairNonsense(t *testing.T) {
	p := newPairing(t, true, true)
	ctx := testContext(t)
	null, err := p.to.Open(ctx, "/dev/null", netbsd.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	udp, err := p.to.Socket(ctx, netbsd.AF_INET, netbsd.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		fd   spclient.FD
		want error
	}{{p.to.FD(99), netbsd.EBADF}, {null, netbsd.ENOTSOCK}, {udp, netbsd.EOPNOTSUPP}, {spclient.FD{}, spclient.ErrStale}} {
		if _, err := p.to.AskPair(ctx, tt.fd); !errors.Is(err, tt.want) {
			t.Errorf("%v: %v, want %v", tt.fd, err, tt.want)
		}
	}
	var refused sysproxy.ErrorCode
	for _, path := range []string{"", strings.Repeat("x", sysproxy.MaxPairPath+1)} {
		if _, err := p.to.OfferPair(ctx, p.passed, path); !errors.As(err, &refused) {
			t.Errorf("a path of %d bytes: %v", len(path), err)
		}
	}
	// One that has no peer, and a second offer.
	p.offerEnds(func() <-chan offerEnd {
		end := make(chan offerEnd, 1)
		joined, err := p.to.OfferPair(ctx, p.l, "/tmp/x")
		end <- offerEnd{joined, err}
		return end
	}(), false)
	first := p.offered("/tmp/x")
	p.asks("/tmp/x")
	p.offerEnds(p.offer("/tmp/y"), false)
	p.joins(true, true)
	p.offerEnds(first, true)
}

// A server without the extension is not asked.
func TestPairNotOffered(t *testing.T) {
	c := serve(t, netbsd.AMD64, nil)
	if c.CanPair() {
		t.Error("a server without the extension makes pairs")
	}
	if err := c.ExpectPair(testContext(t), c.FD(3)); !errors.Is(err, spclient.ErrNoLoans) {
		t.Error(err)
	}
}
