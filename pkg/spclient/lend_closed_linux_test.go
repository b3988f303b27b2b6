package spclient_test

import (
	"errors"
	"fmt"
	"testing"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
	"rumptools/pkg/sysproxy"
)

// closers lend a socket to an S that can be closed.
var closers = map[string]func(*testing.T, *spclient.Conn) (b *borrower, lend func()){
	"labels": func(t *testing.T, c *spclient.Conn) (*borrower, func()) {
		b := newLabelled(t, c)
		return b.borrower, b.lend
	},
	"path": func(t *testing.T, c *spclient.Conn) (*borrower, func()) {
		b := newBorrower(t, c)
		return b, b.lend
	},
}

// What is sent to a socket whose S has been closed is refused, from the first on.
func TestLendClosedRefuses(t *testing.T) {
	for name, borrow := range closers {
		t.Run(name, func(t *testing.T) {
			checkLeaks(t)
			c := dialKernel(t, kernelURL(t, netbsd.AMD64))
			ctx := testContext(t)
			for range 100 {
				b, lend := borrow(t, c)
				p := newPeer(t, c)
				lend()
				p.says(b.name(), "x")
				b.begins("x")
				if err := c.Connect(ctx, p.fd, b.name()); err != nil {
					t.Fatal(err)
				}
				b.close()
				p.says(nil, "nobody's")
				if _, _, err := c.RecvfromWait(ctx, p.fd, make([]byte, 1), 0); !errors.Is(err, netbsd.ECONNREFUSED) {
					t.Fatalf("the peer hears %v", err)
				}
				b.ended(sysproxy.LoanClosed, 0)
				// It is as if it were closed for good.
				p.says(nil, "nobody's")
				if _, _, err := c.RecvfromWait(ctx, p.fd, make([]byte, 1), 0); !errors.Is(err, netbsd.ECONNREFUSED) {
					t.Fatalf("the peer hears %v then", err)
				}
				for _, fd := range []spclient.FD{b.fd, p.fd} {
					if err := c.CloseFD(ctx, fd); err != nil {
						t.Fatal(err)
					}
				}
			}
			c.Close()
		})
	}
}

// begins waits until a loan has begun, for a datagram that comes by it.
func (b *borrower) begins(want string) {
	b.t.Helper()
	p := make([]byte, 100)
	if n, _, _, err := receive(b.s, p, nil, 0); err != nil || string(p[:n]) != want {
		b.t.Fatalf("%q and %v", p[:max(n, 0)], err)
	}
}

// shares makes a socket, not the peer's, that shares a borrower's address.
func shares(t *testing.T, c *spclient.Conn, b *borrower) *peer {
	t.Helper()
	ctx := testContext(t)
	fd, err := c.Socket(ctx, netbsd.AF_INET, netbsd.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	sa := b.name()
	for _, fd := range []spclient.FD{b.fd, fd} {
		if err := c.SetsockoptInt(ctx, fd, netbsd.SOL_SOCKET, netbsd.SO_REUSEPORT, 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Bind(ctx, fd, sa); err != nil {
		t.Fatal(err)
	}
	return &peer{t, c, fd, sa}
}

// What comes for a socket whose S has been closed is another's that shares its address, all of it and in its order, whoever hears of
// the end first: the kernel, at a datagram, or the client.
func TestLendClosedShared(t *testing.T) {
	const n = 30
	for name, borrow := range closers {
		for _, first := range []string{"kernel", "client", "client, without a loan"} {
			t.Run(name+", "+first, func(t *testing.T) {
				checkLeaks(t)
				c := dialKernel(t, kernelURL(t, netbsd.AMD64))
				ctx := testContext(t)
				for range 10 {
					b, lend := borrow(t, c)
					p, other := newPeer(t, c), shares(t, c, b)
					// One that is connected to the sender comes before others.
					if err := c.Connect(ctx, b.fd, p.sa); err != nil {
						t.Fatal(err)
					}
					if first != "client, without a loan" {
						lend()
						p.says(b.name(), "x")
						b.begins("x")
					}
					b.close()
					abandon := func() {
						if err := c.AbandonDatagrams(ctx, b.fd); err != nil {
							t.Error(err)
						}
					}
					done := make(chan struct{})
					if first == "client" {
						abandon()
					}
					go func() {
						defer close(done)
						for i := range n {
							p.says(other.sa, fmt.Sprint(i))
						}
					}()
					if first == "client, without a loan" {
						abandon()
					}
					<-done
					for i := range n {
						other.hears(fmt.Sprint(i))
					}
					if first != "client, without a loan" {
						b.ended(sysproxy.LoanClosed, 0)
					}
					for _, fd := range []spclient.FD{b.fd, p.fd, other.fd} {
						if err := c.CloseFD(ctx, fd); err != nil {
							t.Fatal(err)
						}
					}
				}
				c.Close()
			})
		}
	}
}

// A socket that nobody has any more still sends what S had sent.
func TestLendClosedSends(t *testing.T) {
	checkLeaks(t)
	c := dialKernel(t, kernelURL(t, netbsd.AMD64))
	ctx := testContext(t)
	b, p := newLabelled(t, c), newPeer(t, c)
	if err := c.Connect(ctx, b.fd, p.sa); err != nil {
		t.Fatal(err)
	}
	b.connectS()
	b.lend()
	name := b.name()
	for i := range 20 {
		b.says(fmt.Sprint(i))
	}
	b.close()
	p.says(name, "nobody's")
	for i := range 20 {
		p.hears(fmt.Sprint(i))
	}
	b.ended(sysproxy.LoanClosed, 0)
	if _, err := c.Sendto(ctx, b.fd, []byte("by a call"), 0, nil); err != nil {
		t.Fatal(err)
	}
	if from := p.hears("by a call"); string(from) != string(name) {
		t.Errorf("from %x, want %x", from, name)
	}
	c.Close()
}
