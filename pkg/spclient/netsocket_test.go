package spclient_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// isTimeout tells whether an error is a time that ran out, as package net has it.
func isTimeout(err error) bool {
	var ne net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) && errors.As(err, &ne) && ne.Timeout()
}

func TestNetDialErrors(t *testing.T) {
	netKernels(t, func(t *testing.T, url string) {
		ctx, c := testContext(t), dialKernel(t, url)
		ended, cancel := context.WithCancel(ctx)
		cancel()
		for _, tt := range []struct {
			ctx              context.Context
			network, address string
			want             error
			text             string
		}{
			{ctx, "tcp", "127.0.0.1:1", syscall.ECONNREFUSED, "dial tcp 127.0.0.1:1: connect: Connection refused"},
			{ctx, "tcp", "localhost:1", netbsd.ECONNREFUSED, "dial tcp 127.0.0.1:1: connect: Connection refused"},
			{ctx, "tcp6", "localhost:1", netbsd.ECONNREFUSED, "dial tcp6 [::1]:1: connect: Connection refused"},
			{ctx, "tcp4", "[::1]:1", nil, "dial tcp4: address ::1: no suitable address found"},
			{ctx, "tcp", "192.0.2.1:80", netbsd.EADDRNOTAVAIL, "dial tcp 192.0.2.1:80: connect: Can't assign requested address"},
			{ctx, "tcp", "www.example.org:80", nil, "dial tcp: lookup www.example.org: names need a Resolver for the kernel's network"},
			{ctx, "tcp", "127.0.0.1", nil, "dial tcp: address 127.0.0.1: missing port in address"},
			{ctx, "tcp", "127.0.0.1:99999", nil, "dial tcp: address 99999: invalid port"},
			{ctx, "tcp", "127.0.0.1:nosuch", nil, "dial tcp: address tcp/nosuch: unknown port"},
			{ctx, "tcp", "[fe80::1%nosuch0]:80", nil, "dial tcp [fe80::1%nosuch0]:80: address nosuch0: no such interface in the kernel"},
			{ctx, "tcp7", "127.0.0.1:80", nil, "dial tcp7: unknown network tcp7"},
			{ctx, "ip", "127.0.0.1", nil, "dial ip: unknown network ip"},
			{ctx, "ip4:nosuch", "127.0.0.1", nil, "dial ip4:nosuch: unknown network ip4:nosuch"},
			{ctx, "unix", "/tmp/no-such-socket", syscall.ENOENT, ""},
			{ctx, "unix", strings.Repeat("x", 200), nil, ""},
			{ended, "tcp", "127.0.0.1:1", context.Canceled, "dial tcp 127.0.0.1:1: operation was canceled"},
		} {
			nc, err := c.DialContext(tt.ctx, tt.network, tt.address)
			var op *net.OpError
			if err == nil {
				t.Errorf("%s %s: connected", tt.network, tt.address)
				nc.Close()
				continue
			}
			if !errors.As(err, &op) || op.Op != "dial" || op.Net != tt.network {
				t.Errorf("%s %s: %T %v", tt.network, tt.address, err, err)
			}
			if tt.want != nil && !errors.Is(err, tt.want) || tt.text != "" && err.Error() != tt.text {
				t.Errorf("%s %s: %v, want %v, %s", tt.network, tt.address, err, tt.want, tt.text)
			}
		}
	})
}

func TestNetListenErrors(t *testing.T) {
	ctx, c := testContext(t), dialKernel(t, kernelURL(t, netbsd.AMD64))
	l, err := c.Listen(ctx, "tcp", "127.0.0.1:4444")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, tt := range []struct {
		network, address string
		want             error
		text             string
	}{
		{"tcp", "127.0.0.1:4444", syscall.EADDRINUSE, "listen tcp 127.0.0.1:4444: bind: Address already in use"},
		{"tcp", "192.0.2.1:80", syscall.EADDRNOTAVAIL, ""},
		{"tcp", "www.example.org:80", nil, "listen tcp: lookup www.example.org: names need a Resolver for the kernel's network"},
		{"udp", "127.0.0.1:80", nil, "listen udp: unknown network udp"},
		{"unixgram", "/tmp/x", nil, "listen unixgram: unknown network unixgram"},
	} {
		l, err := c.Listen(ctx, tt.network, tt.address)
		if err == nil {
			t.Errorf("%s %s: listens", tt.network, tt.address)
			l.Close()
		} else if tt.want != nil && !errors.Is(err, tt.want) || tt.text != "" && err.Error() != tt.text {
			t.Errorf("%s %s: %v, want %v, %s", tt.network, tt.address, err, tt.want, tt.text)
		}
	}
	if _, err := c.ListenPacket(ctx, "tcp", "127.0.0.1:0"); err == nil {
		t.Error("packets of tcp")
	}
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

func TestLocalAddr(t *testing.T) {
	ctx, c := testContext(t), dialKernel(t, kernelURL(t, netbsd.AMD64))
	l, err := c.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	d := &spclient.Dialer{Conn: c, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5555}}
	nc, err := d.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if nc.LocalAddr().String() != "127.0.0.1:5555" {
		t.Errorf("from %v", nc.LocalAddr())
	}
	d.LocalAddr = &net.UDPAddr{Port: 5555}
	if nc, err := d.Dial("tcp", l.Addr().String()); err == nil {
		nc.Close()
		t.Error("from an address of UDP")
	}
	var seen []string
	d = &spclient.Dialer{Conn: c, Control: func(ctx context.Context, network, address string, fd spclient.FD) error {
		seen = append(seen, network+" "+address)
		return c.SetsockoptInt(ctx, fd, netbsd.SOL_SOCKET, netbsd.SO_RCVBUF, 12345)
	}}
	nc, err = d.DialContext(ctx, "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if len(seen) != 1 || seen[0] != "tcp4 "+l.Addr().String() {
		t.Errorf("control of %q", seen)
	}
	if n, err := c.GetsockoptInt(ctx, nc.(*spclient.TCPConn).FD(), netbsd.SOL_SOCKET, netbsd.SO_RCVBUF); n != 12345 || err != nil {
		t.Errorf("buffer of %d, %v", n, err)
	}
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

func TestUDP(t *testing.T) {
	netKernels(t, func(t *testing.T, url string) {
		ctx, c := testContext(t), dialKernel(t, url)
		for _, tt := range []struct{ network, address, dial string }{
			{"udp", "127.0.0.1:0", "127.0.0.1"},
			{"udp4", ":0", "127.0.0.1"},
			{"udp6", "[::1]:0", "::1"},
			{"udp", ":0", "127.0.0.1"},
			{"udp", ":0", "::1"},
			{"udp", "[fe80::1%lo0]:0", "fe80::1%lo0"},
		} {
			p, err := c.ListenPacket(ctx, tt.network, tt.address)
			if err != nil {
				t.Error(err)
				continue
			}
			u := p.(*spclient.UDPConn)
			_, port, _ := net.SplitHostPort(p.LocalAddr().String())
			to := net.JoinHostPort(tt.dial, port)
			nc, err := c.DialContext(ctx, tt.network, to)
			if err != nil {
				t.Error(err)
				p.Close()
				continue
			}
			buf := make([]byte, 100)
			for _, msg := range []string{"hello", "", "again"} {
				if n, err := nc.Write([]byte(msg)); n != len(msg) || err != nil {
					t.Errorf("Write = %d, %v", n, err)
				}
				n, from, err := u.ReadFrom(buf)
				if err != nil || string(buf[:n]) != msg || from.String() != nc.LocalAddr().String() {
					t.Errorf("ReadFrom = %q from %v, %v, want %q from %v", buf[:n], from, err, msg, nc.LocalAddr())
					continue
				}
				if n, err := u.WriteTo(buf[:n], from); n != len(msg) || err != nil {
					t.Errorf("WriteTo = %d, %v", n, err)
				}
				if n, err := nc.Read(buf); err != nil || string(buf[:n]) != msg {
					t.Errorf("Read = %q, %v", buf[:n], err)
				}
			}
			// Without allocating memory.
			nc.Write([]byte("one more"))
			n, ap, err := u.ReadFromUDPAddrPort(buf[:3])
			if err != nil || string(buf[:n]) != "one" || netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()).String() != nc.LocalAddr().String() {
				t.Errorf("ReadFromUDPAddrPort = %q from %v, %v", buf[:n], ap, err)
			}
			if n, err := u.WriteToUDPAddrPort([]byte("back"), ap); n != 4 || err != nil {
				t.Errorf("WriteToUDPAddrPort = %d, %v", n, err)
			}
			if n, err := nc.Read(buf); err != nil || string(buf[:n]) != "back" {
				t.Errorf("Read = %q, %v", buf[:n], err)
			}
			if _, err := nc.(*spclient.UDPConn).WriteTo(nil, p.LocalAddr()); !errors.Is(err, net.ErrWriteToConnected) {
				t.Errorf("WriteTo of a connected socket: %v", err)
			}
			if _, err := u.WriteTo(nil, &net.TCPAddr{}); err == nil {
				t.Error("WriteTo an address of TCP")
			}
			u.SetReadDeadline(time.Now().Add(30 * time.Millisecond))
			if _, _, err := u.ReadFrom(buf); !isTimeout(err) {
				t.Errorf("nothing came: %v", err)
			}
			// Nobody there: the ICMP error comes back.
			p.Close()
			if _, err := nc.Write([]byte("x")); err != nil {
				t.Error(err)
			}
			nc.SetReadDeadline(time.Now().Add(testTimeout / 2))
			if _, err := nc.Read(buf); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("%s %s: nobody there: %v", tt.network, tt.address, err)
			}
			nc.Close()
		}
	})
}

// TestLargeDatagrams sends the largest messages of UDP, which are fragments on lo0.
func TestLargeDatagrams(t *testing.T) {
	ctx, c := testContext(t), dialKernel(t, kernelURL(t, netbsd.POWERPC))
	u, err := c.ListenPacket(ctx, "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	nc, err := c.DialContext(ctx, "udp", u.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := u.(*spclient.UDPConn).SetReadBuffer(100000); err != nil {
		t.Error(err)
	}
	if err := nc.(*spclient.UDPConn).SetWriteBuffer(100000); err != nil {
		t.Error(err)
	}
	buf := make([]byte, 70000)
	for _, n := range []int{1472, 1473, 9000, 9216, 40000} {
		want := bytes.Repeat([]byte{byte(n)}, n)
		if m, err := nc.Write(want); m != n || err != nil {
			t.Errorf("Write of %d = %d, %v", n, m, err)
			continue
		}
		u.SetReadDeadline(time.Now().Add(testTimeout / 2))
		if m, _, err := u.ReadFrom(buf); err != nil || !bytes.Equal(buf[:m], want) {
			t.Errorf("%d of %d bytes, %v", m, n, err)
		}
	}
	if _, err := nc.Write(make([]byte, 70000)); !errors.Is(err, syscall.EMSGSIZE) {
		t.Errorf("Write of 70,000: %v", err)
	}
}

func TestUnixDatagrams(t *testing.T) {
	netKernels(t, func(t *testing.T, url string) {
		ctx, c := testContext(t), dialKernel(t, url)
		for _, name := range []string{"/tmp/gram-a", "/tmp/gram-b"} {
			// As in package net, these stay where there are file systems.
			defer c.NewCall(netbsd.SYS_unlink).String(name).Do(ctx)
		}
		a, err := c.ListenPacket(ctx, "unixgram", "/tmp/gram-a")
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		b, err := c.ListenPacket(ctx, "unixgram", "/tmp/gram-b")
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		buf := make([]byte, 100)
		if _, err := b.WriteTo([]byte("hello"), a.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		n, from, err := a.ReadFrom(buf)
		if err != nil || string(buf[:n]) != "hello" || from == nil || from.String() != "/tmp/gram-b" {
			t.Errorf("%q from %v, %v", buf[:n], from, err)
		}
		nc, err := c.DialContext(ctx, "unixgram", "/tmp/gram-a")
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if _, err := nc.Write([]byte("nameless")); err != nil {
			t.Error(err)
		}
		n, from, err = a.ReadFrom(buf)
		if err != nil || string(buf[:n]) != "nameless" || from != nil {
			t.Errorf("%q from %v, %v", buf[:n], from, err)
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

// TestDialTimeout connects to where nobody answers: a listener whose queue is full.
func TestDialTimeout(t *testing.T) {
	ctx, c := testContext(t), dialKernel(t, kernelURL(t, netbsd.AMD64))
	l, err := (&spclient.ListenConfig{Conn: c, Backlog: 1}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	d := &spclient.Dialer{Conn: c, Timeout: 300 * time.Millisecond}
	for range 20 {
		var nc net.Conn
		if nc, err = d.Dial("tcp", l.Addr().String()); err != nil {
			break
		}
		defer nc.Close()
	}
	var op *net.OpError
	if !isTimeout(err) || !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &op) || op.Addr.String() != l.Addr().String() {
		t.Errorf("with the queue full: %v", err)
	}
	// The same port of another address takes connections: it gets its turn soon.
	_, port, _ := net.SplitHostPort(l.Addr().String())
	six, err := c.Listen(ctx, "tcp", "[::1]:"+port)
	if err != nil {
		t.Fatal(err)
	}
	defer six.Close()
	hosts, err := spclient.ParseHosts(strings.NewReader("127.0.0.1 both\n::1 both\n"))
	if err != nil {
		t.Fatal(err)
	}
	d = &spclient.Dialer{Conn: c, Resolver: &spclient.Resolver{Conn: c, Hosts: hosts}}
	nc, err := d.DialContext(ctx, "tcp", "both:"+port)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if nc.RemoteAddr().String() != six.Addr().String() {
		t.Errorf("connected to %v", nc.RemoteAddr())
	}
	l.(*spclient.TCPListener).SetDeadline(time.Now().Add(-time.Second))
	if _, err := l.Accept(); !isTimeout(err) {
		t.Errorf("accept: %v", err)
	}
}

// TestRaw pings over raw sockets of both versions of IP.
func TestRaw(t *testing.T) {
	netKernels(t, func(t *testing.T, url string) {
		ctx, c := testContext(t), dialKernel(t, url)
		for _, tt := range []struct {
			network, listen, to string
			proto               int
			request, reply      icmp.Type
		}{
			{"ip4:icmp", "0.0.0.0", "127.0.0.1", netbsd.IPPROTO_ICMP, ipv4.ICMPTypeEcho, ipv4.ICMPTypeEchoReply},
			{"ip4:1", "127.0.0.1", "127.0.0.1", netbsd.IPPROTO_ICMP, ipv4.ICMPTypeEcho, ipv4.ICMPTypeEchoReply},
			{"ip:icmp", "127.0.0.1", "127.0.0.1", netbsd.IPPROTO_ICMP, ipv4.ICMPTypeEcho, ipv4.ICMPTypeEchoReply},
			{"ip6:ipv6-icmp", "::", "::1", netbsd.IPPROTO_ICMPV6, ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply},
			{"ip6:58", "fe80::1%lo0", "fe80::1%lo0", netbsd.IPPROTO_ICMPV6, ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply},
		} {
			p, err := c.ListenPacket(ctx, tt.network, tt.listen)
			if err != nil {
				t.Error(err)
				continue
			}
			addr := netip.MustParseAddr(tt.to)
			to := &net.IPAddr{IP: addr.AsSlice(), Zone: addr.Zone()}
			data := bytes.Repeat([]byte("data"), 100)
			m := icmp.Message{Type: tt.request, Body: &icmp.Echo{ID: 77, Seq: 3, Data: data}}
			b, err := m.Marshal(nil)
			if err != nil {
				t.Fatal(err)
			}
			// isReply tells whether a message is the answer.
			isReply := func(b []byte) bool {
				m, err := icmp.ParseMessage(tt.proto, b)
				if err != nil {
					t.Errorf("%s: %v", tt.network, err)
					return true
				}
				echo, ok := m.Body.(*icmp.Echo)
				return ok && m.Type == tt.reply && echo.ID == 77 && echo.Seq == 3 && bytes.Equal(echo.Data, data)
			}
			if n, err := p.WriteTo(b, to); n != len(b) || err != nil {
				t.Errorf("%s: WriteTo = %d, %v", tt.network, n, err)
			}
			buf := make([]byte, 2000)
			p.SetReadDeadline(time.Now().Add(testTimeout / 2))
			for {
				n, from, err := p.ReadFrom(buf)
				if err != nil {
					t.Errorf("%s: %v", tt.network, err)
					break
				}
				if isReply(buf[:n]) {
					if from.String() != tt.to {
						t.Errorf("%s: from %v", tt.network, from)
					}
					break
				}
			}
			p.Close()

			// A connection: its packets have the header that they had on the wire.
			nc, err := c.DialContext(ctx, tt.network, tt.to)
			if err != nil {
				t.Error(err)
				continue
			}
			if n, err := nc.Write(b); n != len(b) || err != nil {
				t.Errorf("%s: Write = %d, %v", tt.network, n, err)
			}
			nc.SetReadDeadline(time.Now().Add(testTimeout / 2))
			for {
				n, err := nc.Read(buf)
				if err != nil {
					t.Errorf("%s: %v", tt.network, err)
					break
				}
				payload := buf[:n]
				if tt.proto == netbsd.IPPROTO_ICMP {
					total, offset := binary.BigEndian.Uint16(buf[2:]), binary.BigEndian.Uint16(buf[6:])
					if buf[0] != 0x45 || int(total) != n || offset&0x3fff != 0 || buf[9] != netbsd.IPPROTO_ICMP {
						t.Errorf("%s: header % x of %d bytes", tt.network, buf[:20], n)
					}
					payload = buf[20:n]
				}
				if isReply(payload) {
					break
				}
			}
			nc.Close()
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
