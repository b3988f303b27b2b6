package spclient_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// What uses a socket's number does not come to another socket that has it by now.
func TestNetSocketClosed(t *testing.T) {
	c := dialKernel(t, kernelURL(t, netbsd.AMD64))
	ctx := testContext(t)
	s, err := c.NetSocket(ctx, netbsd.AF_INET, netbsd.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	var used spclient.FD
	if err := s.Use(func(fd spclient.FD) error { used = fd; return netbsd.EIO }); !errors.Is(err, netbsd.EIO) {
		t.Errorf("%v", err)
	}
	if sa, err := s.Getsockname(); err != nil || len(sa) == 0 {
		t.Errorf("getsockname: %x, %v", sa, err)
	}
	if _, err := s.Getpeername(); !errors.Is(err, netbsd.ENOTCONN) {
		t.Errorf("getpeername: %v", err)
	}
	s.Close()
	other, err := c.NetSocket(ctx, netbsd.AF_INET, netbsd.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if other.FD() != used {
		t.Fatalf("the next socket is %v, not %v", other.FD(), used)
	}
	if err := s.Use(func(spclient.FD) error { return nil }); !errors.Is(err, net.ErrClosed) {
		t.Errorf("use: %v", err)
	}
	if _, err := s.Getsockname(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("getsockname: %v", err)
	}
	if _, err := s.Recvmsg(ctx, &spclient.Message{Buffers: [][]byte{make([]byte, 10)}}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("recvmsg: %v", err)
	}
}

// Who does not want to know from whom a datagram is need not be told, and may change his mind while
// there is none.
func TestNetSocketReceive(t *testing.T) {
	c := dialKernel(t, kernelURL(t, netbsd.AMD64))
	ctx := testContext(t)
	s, err := c.NetSocket(ctx, netbsd.AF_INET, netbsd.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Bind(netbsd.Sockaddr(c.Machine(), netip.MustParseAddrPort("127.0.0.1:0"))); err != nil {
		t.Fatal(err)
	}
	sa, err := s.Getsockname()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Use(func(fd spclient.FD) error {
		return c.SetsockoptInt(ctx, fd, netbsd.SOL_SOCKET, netbsd.SO_TIMESTAMP, 1)
	}); err != nil {
		t.Fatal(err)
	}
	all := []spclient.Wanted{spclient.WantData, spclient.WantSender, spclient.WantControl}
	for _, first := range all {
		for _, then := range all {
			asked, ended := 0, 0
			over := func() { ended++ }
			m := spclient.Message{Name: make([]byte, 20), Buffers: [][]byte{make([]byte, 10)}, Control: make([]byte, 100)}
			n, err := s.Receive(ctx, &m, func() (spclient.Wanted, func()) {
				if ended != asked {
					t.Errorf("%d of %d calls are told to have ended", ended, asked)
				}
				if asked++; asked > 1 {
					return then, over
				}
				time.AfterFunc(20*time.Millisecond, func() { s.Sendto([]byte("hello"), sa) })
				return first, over
			})
			if err != nil || string(m.Buffers[0][:n]) != "hello" || asked < 2 || ended != asked {
				t.Fatalf("%v, then %v: %q, %v, asked %d times, of which %d ended", first, then, m.Buffers[0][:n], err, asked, ended)
			}
			var sender []byte
			if then >= spclient.WantSender {
				sender = sa
			}
			if !bytes.Equal(m.Name, sender) || (len(m.Control) > 0) != (then == spclient.WantControl) {
				t.Errorf("%v, then %v: from %x, control messages %x", first, then, m.Name, m.Control)
			}
		}
	}
}

// connector makes a listener and a socket to connect to it with.
func connector(t *testing.T, c *spclient.Conn) (l, s *spclient.NetSocket, sa []byte) {
	t.Helper()
	ctx := testContext(t)
	l, err := c.NetSocket(ctx, netbsd.AF_INET, netbsd.SOCK_STREAM, 0)
	if err == nil {
		err = l.Bind(loopback)
	}
	if err == nil {
		err = l.ListenBacklog(5)
	}
	if err == nil {
		sa, err = l.Getsockname()
	}
	if err == nil {
		s, err = c.NetSocket(ctx, netbsd.AF_INET, netbsd.SOCK_STREAM, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.Close()
		s.Close()
	})
	return l, s, sa
}

// An accept waits in the kernel, for a connection or the end of its listener.
func TestNetSocketAccept(t *testing.T) {
	netKernels(t, func(t *testing.T, url string) {
		c := dialKernel(t, url)
		l, s, sa := connector(t, c)
		type accepted struct {
			s   *spclient.NetSocket
			err error
		}
		got := make(chan accepted)
		go func() {
			for {
				s, err := l.Accept()
				got <- accepted{s, err}
				if err != nil {
					return
				}
			}
		}()
		over, err := s.StartConnect(sa)
		if !over && err == nil {
			err = s.Settled(testContext(t))
		}
		if err != nil {
			t.Fatal(err)
		}
		a := <-got
		if a.err != nil {
			t.Fatal(a.err)
		}
		local, err := s.Getsockname()
		if err != nil {
			t.Fatal(err)
		}
		if peer, err := a.s.Getpeername(); err != nil || !bytes.Equal(peer, local) {
			t.Errorf("accepted from %x, not %x: %v", peer, local, err)
		}
		a.s.Close()
		time.Sleep(20 * time.Millisecond) // it waits by now
		start := time.Now()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if a := <-got; !errors.Is(a.err, net.ErrClosed) {
			t.Errorf("accept at close: %v", a.err)
		}
		if d := time.Since(start); d > 4*time.Second {
			t.Errorf("close took %v: it waited for accept", d)
		}
	})
}

// A listener that is accepted from has its address no more when it is closed.
func TestNetSocketListenAgain(t *testing.T) {
	netKernels(t, func(t *testing.T, url string) {
		c := dialKernel(t, url)
		l, _, sa := connector(t, c)
		for range 30 {
			ended := make(chan error)
			go func() {
				_, err := l.Accept()
				ended <- err
			}()
			time.Sleep(time.Millisecond)
			if err := l.Close(); err != nil {
				t.Error(err)
			}
			next, err := c.NetSocket(testContext(t), netbsd.AF_INET, netbsd.SOCK_STREAM, 0)
			if err == nil {
				err = next.Bind(sa)
			}
			if err == nil {
				err = next.ListenBacklog(5)
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := <-ended; !errors.Is(err, net.ErrClosed) {
				t.Errorf("accept: %v", err)
			}
			l = next
		}
		l.Close()
	})
}

// What a listener has accepted for others waits until they have it, where the kernel counts that.
func TestCountTaken(t *testing.T) {
	netKernels(t, func(t *testing.T, url string) {
		ctx, c := testContext(t), dialKernel(t, url)
		l, other, sa := connector(t, c)
		other.Close()
		if !l.CountTaken() {
			if os.Getenv("SPCLIENT_TEST_SERVER") == "" {
				t.Error("rumpd does not count")
			}
			return
		}
		if err := l.ListenBacklog(1); err != nil {
			t.Fatal(err)
		}
		dial := func(connects bool) {
			t.Helper()
			s, over, err := c.DialSocket(ctx, netbsd.AF_INET, netbsd.SOCK_STREAM, 0, nil, sa)
			if s == nil || err != nil {
				t.Fatal(err)
			}
			if !over && connects {
				over = s.Settled(ctx) == nil
			}
			if over != connects {
				t.Errorf("connected %v, want %v", over, connects)
			}
			if !over {
				s.Close()
			}
		}
		dial(true)
		dial(true)
		dial(false)
		if _, err := l.Accept(); err != nil {
			t.Fatal(err)
		}
		dial(false)
		l.Taken(1)
		dial(true)
		dial(false)
		l.Close()
		if l.CountTaken() {
			t.Error("of a closed listener")
		}
	})
}

// Many who run out of descriptors at the same time all get the process's limit raised, where it has
// one.
func TestManySockets(t *testing.T) {
	netKernels(t, func(t *testing.T, url string) {
		c := dialKernel(t, url)
		const goroutines, each = 8, 60
		errs := make(chan error, goroutines)
		for range goroutines {
			go func() {
				for range each {
					s, err := c.NetSocket(t.Context(), netbsd.AF_INET, netbsd.SOCK_DGRAM, 0)
					if err != nil {
						errs <- err
						return
					}
					t.Cleanup(func() { s.Close() })
				}
				errs <- nil
			}()
		}
		for range goroutines {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
	})
}

// A refused connection is over, too.
func TestStartConnectRefused(t *testing.T) {
	netKernels(t, func(t *testing.T, url string) {
		c := dialKernel(t, url)
		l, s, sa := connector(t, c)
		l.Close()
		over, err := s.StartConnect(sa)
		if !over && err == nil {
			err = s.Settled(testContext(t))
		}
		if !errors.Is(err, netbsd.ECONNREFUSED) {
			t.Errorf("over %v: %v", over, err)
		}
	})
}

// What is released is closed soon, also when nothing else is called; and before whatever is
// called later.
func TestRelease(t *testing.T) {
	netKernels(t, func(t *testing.T, url string) {
		ctx, c := testContext(t), dialKernel(t, url)
		for _, calls := range []bool{true, false} {
			l, s, sa := connector(t, c)
			if err := s.Connect(ctx, sa); err != nil {
				t.Fatal(err)
			}
			a, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			num := s.FD()
			s.Release()
			if err := s.Close(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("closed again: %v", err)
			}
			if calls {
				other, err := c.NetSocket(ctx, netbsd.AF_INET, netbsd.SOCK_STREAM, 0)
				if err != nil {
					t.Fatal(err)
				}
				if other.FD() != num {
					t.Errorf("the next socket is %v: %v was not closed before", other.FD(), num)
				}
				other.Close()
			}
			if n, err := a.Read(make([]byte, 1)); n != 0 || err != io.EOF {
				t.Errorf("read at the other end: %d, %v", n, err)
			}
			a.Close()
		}
	})
}
