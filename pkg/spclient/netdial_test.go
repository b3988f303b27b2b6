package spclient_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

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
