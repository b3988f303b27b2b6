package spclient_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// isTimeout tells whether an error is a time that ran out, as package net has it.
func isTimeout(err error) bool {
	var ne net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) && errors.As(err, &ne) && ne.Timeout()
}

// TestAddresses checks what listeners and connections say of their addresses.
func TestAddresses(t *testing.T) {
	netKernels(t, func(t *testing.T, url string) {
		c := dialKernel(t, url)
		for _, tt := range []struct {
			network, listen, dial string
			local, remote         string // of the one that accepts, without ports
		}{
			{"tcp", "127.0.0.1:0", "127.0.0.1", "127.0.0.1", "127.0.0.1"},
			{"tcp", "[::1]:0", "::1", "::1", "::1"},
			{"tcp", ":0", "127.0.0.1", "127.0.0.1", "127.0.0.1"},
			{"tcp", ":0", "::1", "::1", "::1"},
			{"tcp", ":0", "0.0.0.0", "127.0.0.1", "127.0.0.1"},
			{"tcp4", ":0", "127.0.0.1", "127.0.0.1", "127.0.0.1"},
			{"tcp6", ":0", "::1", "::1", "::1"},
			{"tcp", "[fe80::1%lo0]:0", "fe80::1%lo0", "fe80::1%lo0", "fe80::1%lo0"},
			{"tcp", "localhost:0", "localhost", "127.0.0.1", "127.0.0.1"},
		} {
			ctx := testContext(t)
			l, err := c.Listen(ctx, tt.network, tt.listen)
			if err != nil {
				t.Error(err)
				continue
			}
			_, port, err := net.SplitHostPort(l.Addr().String())
			if err != nil || port == "0" {
				t.Errorf("%s %s: listens on %v", tt.network, tt.listen, l.Addr())
			}
			b, err := c.DialContext(ctx, tt.network, net.JoinHostPort(tt.dial, port))
			if err != nil {
				t.Error(err)
				l.Close()
				continue
			}
			a, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			hosts := func(c net.Conn) (local, remote string) {
				local, _, _ = net.SplitHostPort(c.LocalAddr().String())
				remote, _, _ = net.SplitHostPort(c.RemoteAddr().String())
				return local, remote
			}
			local, remote := hosts(a)
			if local != tt.local || remote != tt.remote {
				t.Errorf("%s %s: accepted %s from %s", tt.network, tt.listen, local, remote)
			}
			if a.LocalAddr().String() != b.RemoteAddr().String() || a.RemoteAddr().String() != b.LocalAddr().String() {
				t.Errorf("%s %s: %v-%v, %v-%v", tt.network, tt.listen, a.LocalAddr(), a.RemoteAddr(), b.LocalAddr(), b.RemoteAddr())
			}
			if _, ok := a.RemoteAddr().(*net.TCPAddr); !ok || a.LocalAddr().Network() != "tcp" {
				t.Errorf("addresses are %T of %s", a.RemoteAddr(), a.LocalAddr().Network())
			}
			a.Close()
			b.Close()
			l.Close()
		}
	})
}

// TestHalfClose sends a request to its end, and gets the answer then.
func TestHalfClose(t *testing.T) {
	netKernels(t, func(t *testing.T, url string) {
		c := dialKernel(t, url)
		for _, tt := range []struct{ network, address string }{{"tcp", "127.0.0.1:0"}, {"unix", "/tmp/half-close"}} {
			a, b, l := pipe(t, c, c, tt.network, tt.address)
			go func() {
				// An echo that begins when all has come.
				data, err := io.ReadAll(a)
				if err != nil {
					t.Error(err)
				}
				a.Write(data)
				a.Close()
			}()
			want := bytes.Repeat([]byte("half-close "), 20000)
			if n, err := b.Write(want); n != len(want) || err != nil {
				t.Fatalf("Write = %d, %v", n, err)
			}
			if err := b.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if _, err := b.Write(want[:1]); !errors.Is(err, syscall.EPIPE) {
				t.Errorf("%s: write after CloseWrite: %v", tt.network, err)
			}
			if got, err := io.ReadAll(b); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: %d bytes, %v", tt.network, len(got), err)
			}
			b.Close()
			l.Close()
		}
		a, b, l := pipe(t, c, c, "tcp", "127.0.0.1:0")
		defer l.Close()
		defer a.Close()
		defer b.Close()
		got := make(chan error, 1)
		go func() {
			_, err := a.Read(make([]byte, 1))
			got <- err
		}()
		time.Sleep(20 * time.Millisecond)
		if err := a.(*spclient.TCPConn).CloseRead(); err != nil {
			t.Fatal(err)
		}
		if err := <-got; err != io.EOF {
			t.Errorf("read at CloseRead: %v", err)
		}
	})
}

// TestEndOfStream has the end come together with the last bytes, or a moment later,
// for one who waits.
func TestEndOfStream(t *testing.T) {
	netKernels(t, func(t *testing.T, url string) {
		server, client := dialKernel(t, url), dialKernel(t, url)
		for i := range 30 {
			network, address := "tcp", "127.0.0.1:0"
			if i%2 == 1 {
				network, address = "unix", "/tmp/end-of-stream"
			}
			a, b, l := pipe(t, server, client, network, address)
			got := make(chan string, 1)
			go func() {
				data, err := io.ReadAll(b)
				if err != nil {
					t.Error(err)
				}
				got <- string(data)
			}()
			if i%3 > 0 {
				time.Sleep(time.Millisecond) // it waits by now
			}
			if _, err := a.Write([]byte("last")); err != nil {
				t.Error(err)
			}
			if i%5 == 0 {
				time.Sleep(time.Millisecond)
			}
			a.Close()
			if data := <-got; data != "last" {
				t.Errorf("read %q", data)
			}
			b.Close()
			l.Close()
		}
	})
}

func TestTCPOptions(t *testing.T) {
	netKernels(t, func(t *testing.T, url string) {
		ctx, c := testContext(t), dialKernel(t, url)
		a, b, l := pipe(t, c, c, "tcp", "127.0.0.1:0")
		defer l.Close()
		defer b.Close()
		for _, nc := range []net.Conn{a, b} {
			tc := nc.(*spclient.TCPConn)
			get := func(level, name int32) int32 {
				t.Helper()
				v, err := c.GetsockoptInt(ctx, tc.FD(), level, name)
				if err != nil {
					t.Error(err)
				}
				return v
			}
			// Package net's defaults.
			// NetBSD does not tell the times of probes.
			if get(netbsd.IPPROTO_TCP, netbsd.TCP_NODELAY) == 0 || get(netbsd.SOL_SOCKET, netbsd.SO_KEEPALIVE) == 0 {
				t.Error("defaults are not package net's")
			}
			for _, err := range []error{
				tc.SetNoDelay(false), tc.SetKeepAlive(false), tc.SetKeepAlivePeriod(90 * time.Second), tc.SetLinger(5),
				tc.SetReadBuffer(20000), tc.SetWriteBuffer(20000),
			} {
				if err != nil {
					t.Error(err)
				}
			}
			var linger netbsd.Linger
			if err := c.GetsockoptStruct(ctx, tc.FD(), netbsd.SOL_SOCKET, netbsd.SO_LINGER, &linger); err != nil || linger.Linger != 5 || linger.Onoff == 0 {
				t.Errorf("linger %+v, %v", linger, err)
			}
			if get(netbsd.IPPROTO_TCP, netbsd.TCP_NODELAY) != 0 || get(netbsd.SOL_SOCKET, netbsd.SO_KEEPALIVE) != 0 ||
				get(netbsd.SOL_SOCKET, netbsd.SO_RCVBUF) != 20000 {
				t.Error("options were not set")
			}
			err := tc.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: -1, Count: 3})
			if err != nil || get(netbsd.SOL_SOCKET, netbsd.SO_KEEPALIVE) == 0 {
				t.Errorf("SetKeepAliveConfig: %v", err)
			}
		}
		// A reset.
		if err := a.(*spclient.TCPConn).SetLinger(0); err != nil {
			t.Error(err)
		}
		a.Close()
		if _, err := b.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("read after a reset: %v", err)
		}
		if err := a.(*spclient.TCPConn).SetNoDelay(true); !errors.Is(err, net.ErrClosed) {
			t.Errorf("option of a closed connection: %v", err)
		}
	})
}

// TestBulk sends more than fits anywhere, in writes of many sizes, in both
// directions at a time.
func TestBulk(t *testing.T) {
	netKernels(t, func(t *testing.T, url string) {
		server, client := dialKernel(t, url), dialKernel(t, url)
		data := make([]byte, 3<<20)
		for i := range data {
			data[i] = byte(i * 7 >> 3)
		}
		for _, tt := range []struct{ network, address string }{{"tcp4", "127.0.0.1:0"}, {"tcp6", "[::1]:0"}, {"unix", "/tmp/bulk"}} {
			a, b, l := pipe(t, server, client, tt.network, tt.address)
			var wg sync.WaitGroup
			for _, nc := range []net.Conn{a, b} {
				wg.Add(2)
				go func() {
					defer wg.Done()
					for p, n := data, 1; len(p) > 0; n = n*3 + 1 {
						n = min(n, len(p), 1<<20)
						if m, err := nc.Write(p[:n]); m != n || err != nil {
							t.Errorf("Write of %d = %d, %v", n, m, err)
							return
						}
						p = p[n:]
					}
				}()
				go func() {
					defer wg.Done()
					got := make([]byte, len(data))
					if _, err := io.ReadFull(nc, got); err != nil || !bytes.Equal(got, data) {
						t.Errorf("%s: other data came, %v", tt.network, err)
					}
				}()
			}
			wg.Wait()
			a.Close()
			b.Close()
			l.Close()
		}
	})
}

// TestClose closes what others wait for.
func TestClose(t *testing.T) {
	netKernels(t, func(t *testing.T, url string) {
		ctx, c := testContext(t), dialKernel(t, url)
		a, b, l := pipe(t, c, c, "tcp", "127.0.0.1:0")
		defer b.Close()
		u, err := c.ListenPacket(ctx, "udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 3 {
			for _, wait := range []func() error{
				func() error { _, err := a.Read(make([]byte, 1)); return err },
				func() error { _, err := a.Write(make([]byte, 64<<20)); return err },
				func() error { _, err := l.Accept(); return err },
				func() error { _, _, err := u.ReadFrom(make([]byte, 1)); return err },
			} {
				wg.Add(1)
				go func() {
					defer wg.Done()
					if err := wait(); !errors.Is(err, net.ErrClosed) {
						t.Errorf("ended with %v", err)
					}
				}()
			}
		}
		time.Sleep(50 * time.Millisecond)
		for _, x := range []io.Closer{a, l, u} {
			if err := x.Close(); err != nil {
				t.Error(err)
			}
			if err := x.Close(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("closed again: %v", err)
			}
		}
		wg.Wait()
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("read: %v", err)
		}
		if err := a.SetDeadline(time.Now()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("deadline: %v", err)
		}
	})
}

// TestUnixListener checks that a name can be listened on again.
func TestUnixListener(t *testing.T) {
	netKernels(t, func(t *testing.T, url string) {
		c := dialKernel(t, url)
		for range 2 {
			a, b, l := pipe(t, c, c, "unix", "/tmp/again")
			if l.Addr().String() != "/tmp/again" || l.Addr().Network() != "unix" || b.RemoteAddr().String() != "/tmp/again" {
				t.Errorf("%v, %v", l.Addr(), b.RemoteAddr())
			}
			for _, x := range []io.Closer{a, b, l} {
				if err := x.Close(); err != nil {
					t.Error(err)
				}
			}
		}
	})
}

// TestKernelLost loses the kernel while all kinds of operations wait.
func TestKernelLost(t *testing.T) {
	url, end, err := serveKernel(netbsd.AMD64)
	if err != nil {
		t.Fatal(err)
	}
	ended := sync.OnceFunc(end)
	defer ended()
	c := dialKernel(t, url)
	a, b, l := pipe(t, c, c, "tcp", "127.0.0.1:0")
	var wg sync.WaitGroup
	for _, wait := range []func() error{
		func() error { _, err := a.Read(make([]byte, 1)); return err },
		func() error { _, err := a.Write(make([]byte, 64<<20)); return err },
		func() error { _, err := l.Accept(); return err },
	} {
		wg.Add(1)
		go func() {
			defer wg.Done()
			err := wait()
			var op *net.OpError
			if !errors.Is(err, spclient.ErrLost) || !errors.As(err, &op) {
				t.Errorf("ended with %v", err)
			}
		}()
	}
	time.Sleep(50 * time.Millisecond)
	ended()
	wg.Wait()
	if _, err := b.Read(make([]byte, 1)); !errors.Is(err, spclient.ErrLost) {
		t.Errorf("read: %v", err)
	}
	if _, err := c.DialContext(testContext(t), "tcp", "127.0.0.1:1"); !errors.Is(err, spclient.ErrLost) {
		t.Errorf("dial: %v", err)
	}
	for _, x := range []io.Closer{a, b, l} {
		if err := x.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
}

// TestNetConn makes connections of descriptors.
func TestNetConn(t *testing.T) {
	netKernels(t, func(t *testing.T, url string) {
		ctx, c := testContext(t), dialKernel(t, url)
		x, y, err := c.Socketpair(ctx, netbsd.AF_LOCAL, netbsd.SOCK_STREAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		a, err := c.NetConn(ctx, x)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		b, err := c.NetConn(ctx, y)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		go a.Write([]byte("pair"))
		buf := make([]byte, 4)
		if _, err := io.ReadFull(b, buf); err != nil || string(buf) != "pair" {
			t.Errorf("%q, %v", buf, err)
		}
		b.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		if _, err := b.Read(buf); !isTimeout(err) {
			t.Errorf("nothing there: %v", err)
		}
		fd, err := c.Socket(ctx, netbsd.AF_INET, netbsd.SOCK_STREAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Bind(ctx, fd, loopback); err != nil {
			t.Fatal(err)
		}
		if err := c.ListenFD(ctx, fd, 5); err != nil {
			t.Fatal(err)
		}
		l, err := c.NetListener(ctx, fd)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		nc, err := c.DialContext(ctx, "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		ac, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer ac.Close()
		if ac.RemoteAddr().String() != nc.LocalAddr().String() {
			t.Errorf("accepted %v, of %v", ac.RemoteAddr(), nc.LocalAddr())
		}
		r, _, err := c.Pipe(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.NetConn(ctx, r); !errors.Is(err, netbsd.ENOTSOCK) {
			t.Errorf("connection of a pipe: %v", err)
		}
		if _, err := c.NetConn(ctx, spclient.FD{}); !errors.Is(err, spclient.ErrStale) {
			t.Errorf("connection of nothing: %v", err)
		}
	})
}

// TestInterfaces checks the list against what the kernel says otherwise.
func TestInterfaces(t *testing.T) {
	netKernels(t, func(t *testing.T, url string) {
		ctx, c := testContext(t), dialKernel(t, url)
		list, err := c.Interfaces(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range list {
			if i.Name != "lo0" {
				continue
			}
			if i.Index <= 0 || i.MTU < 1500 || i.Flags&net.FlagLoopback == 0 || i.Flags&net.FlagUp == 0 ||
				!slices.Contains(i.Addrs, netip.MustParsePrefix("127.0.0.1/8")) ||
				!slices.Contains(i.Addrs, netip.MustParsePrefix("::1/128")) ||
				!slices.Contains(i.Addrs, netip.MustParsePrefix("fe80::1/64")) {
				t.Errorf("%+v", i)
			}
			return
		}
		t.Errorf("no lo0 in %+v", list)
	})
}
