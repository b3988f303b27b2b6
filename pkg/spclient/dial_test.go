package spclient_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
	"rumptools/pkg/spclient/spclienttest"
	"rumptools/pkg/sysproxy"
)

func TestDial(t *testing.T) {
	checkLeaks(t)
	eachMachine(t, func(t *testing.T, m *netbsd.Machine) {
		for _, network := range []string{"unix", "tcp"} {
			names := make(chan string, 1)
			srv := spclienttest.NewServer(t, network, m, func(p *spclienttest.Peer) {
				names <- p.Handshake()
				p.WaitGone()
			})
			c := dial(t, srv, &spclient.Options{Name: "prog"})
			if name := <-names; name != "prog" {
				t.Errorf("%s: server sees program %q", network, name)
			}
			if c.Machine() != m {
				t.Errorf("%s: machine %v, want %v", network, c.Machine(), m)
			}
			if c.URL() != srv.URL() {
				t.Errorf("URL %q, want %q", c.URL(), srv.URL())
			}
			want := sysproxy.Banner{Major: 0, Minor: 4, OSType: "NetBSD", OSRelease: "7.99.34", Machine: m.Name}
			if got := c.Banner(); got.String() != want.String() {
				t.Errorf("banner %v, want %v", got, want)
			}
			if c.Err() != nil {
				t.Errorf("error %v", c.Err())
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			<-c.Done()
			if !errors.Is(c.Err(), spclient.ErrClosed) {
				t.Errorf("after Close: %v", c.Err())
			}
			if _, err := c.Getpid(testContext(t)); !errors.Is(err, spclient.ErrClosed) {
				t.Errorf("call after Close: %v", err)
			}
			if err := c.Close(); err != nil {
				t.Errorf("second Close: %v", err)
			}
			srv.Close()
		}
	})
}

func TestDialDefaultName(t *testing.T) {
	names := make(chan string, 1)
	srv := spclienttest.NewServer(t, "unix", netbsd.AMD64, func(p *spclienttest.Peer) {
		names <- p.Handshake()
		p.WaitGone()
	})
	dial(t, srv, nil)
	if name := <-names; name != filepath.Base(os.Args[0]) {
		t.Errorf("program is %q, want %q", name, filepath.Base(os.Args[0]))
	}
}

// TestDialRelative checks that a relative path is one from the directory in which
// Dial was called.
func TestDialRelative(t *testing.T) {
	srv := spclienttest.NewServer(t, "unix", netbsd.AMD64, func(p *spclienttest.Peer) {
		p.Handshake()
		p.WaitGone()
	})
	path := strings.TrimPrefix(srv.URL(), "unix://")
	t.Chdir(filepath.Dir(path))
	c, err := spclient.Dial(testContext(t), "unix://"+filepath.Base(path), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if c.URL() != srv.URL() {
		t.Errorf("URL %q, want %q", c.URL(), srv.URL())
	}
}

func TestDialErrors(t *testing.T) {
	checkLeaks(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	// A socket that nobody listens at any more.
	dead, err := net.Listen("unix", filepath.Join(dir, "dead"))
	if err != nil {
		t.Fatal(err)
	}
	dead.(*net.UnixListener).SetUnlinkOnClose(false)
	dead.Close()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tcp.Close()
	says := func(s string) string {
		return spclienttest.NewRawServer(t, "unix", func(nc net.Conn) {
			io.WriteString(nc, s)
		}).URL()
	}
	refuses := func(m sysproxy.Message) string {
		return spclienttest.NewServer(t, "unix", netbsd.POWERPC, func(p *spclienttest.Peer) {
			p.Write([]byte(spclienttest.BannerOf(p.Machine)))
			p.Send(m, p.NextRequest().Header.ReqNo)
		}).URL()
	}
	// It reads the handshake, or the connection would be reset.
	lost := spclienttest.NewServer(t, "unix", netbsd.AMD64, func(p *spclienttest.Peer) {
		p.Write([]byte(spclienttest.BannerOf(p.Machine)))
		p.NextRequest()
	}).URL()
	for _, tt := range []struct {
		name, url string
		want      error
		text      string
	}{
		{"nothing there", "unix://" + dir + "/none", spclient.ErrNoKernel, "no rump kernel at unix://" + dir + "/none"},
		{"nobody listens", "unix://" + dir + "/dead", spclient.ErrNoKernel, "no rump kernel at unix://" + dir + "/dead"},
		{"no socket", "unix://" + file, spclient.ErrNoKernel, "no rump kernel at unix://" + file},
		{"no such directory", "unix://" + dir + "/no/where", spclient.ErrNoKernel, ""},
		{"TCP", "tcp://" + tcp.Addr().String() + "/", spclient.ErrNoKernel, "no rump kernel at tcp://" + tcp.Addr().String() + "/"},
		{"directory is a file", "unix://" + file + "/sock", errNotDir, "rump kernel at unix://" + file + "/sock: connect: not a directory"},
		{"no URL", "somewhere", sysproxy.ErrURL, "not a rump kernel's URL: somewhere: want unix://PATH or tcp://HOST:PORT/"},
		{"long path", "unix:///" + strings.Repeat("x", 200), sysproxy.ErrURL, ""},
		{"wildcard", "tcp://0.0.0.0:1/", sysproxy.ErrURL, ""},
		{"closed at once", says(""), spclient.ErrFull, ""},
		{"closed in the banner", says("RUMPSP-0.4"), io.ErrUnexpectedEOF, ""},
		{"other protocol", says("SSH-2.0-x\n"), sysproxy.ErrBanner, ""},
		{"endless banner", says(strings.Repeat("RUMPSP-0.4-", 100)), sysproxy.ErrBanner, ""},
		{"binary banner", says("\x00\x01\x02\xff\n"), sysproxy.ErrBanner, ""},
		{"version", says("RUMPSP-9.9-NetBSD-99/amd64\n"), sysproxy.ErrVersion, ""},
		{"unknown machine", says("RUMPSP-0.4-NetBSD-7/pdp11\n"), errAny, ""},
		{"closed before the handshake", lost, spclient.ErrLost, "lost the rump kernel at " + lost + ": it closed the connection"},
		{"refused", refuses(sysproxy.Refusal{Code: sysproxy.ErrAuth}), sysproxy.ErrAuth, ""},
		{"failed", refuses(sysproxy.HandshakeReply{Errno: int32(netbsd.ENOMEM)}), netbsd.ENOMEM, ""},
		{"wrong answer", refuses(sysproxy.SyscallReply{}), errProtocol, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := spclient.Dial(testContext(t), tt.url, nil)
			if err == nil {
				c.Close()
				t.Fatal("connected")
			}
			checkError(t, err, tt.want)
			var derr *spclient.DialError
			if !errors.As(err, &derr) {
				t.Errorf("%#v is no DialError", err)
			}
			if errors.Is(err, spclient.ErrNoKernel) != (tt.want == spclient.ErrNoKernel) {
				t.Errorf("%v: ErrNoKernel: %v", err, errors.Is(err, spclient.ErrNoKernel))
			}
			if tt.text != "" && err.Error() != tt.text {
				t.Errorf("error is\n%s\nwant\n%s", err, tt.text)
			}
		})
	}
}

var (
	errAny      = errors.New("any error")
	errProtocol = errors.New("any ProtocolError")
)

func checkError(t *testing.T, err, want error) {
	t.Helper()
	switch want {
	case errAny:
		if err == nil {
			t.Error("no error")
		}
	case errProtocol:
		var perr *spclient.ProtocolError
		if !errors.As(err, &perr) {
			t.Errorf("%v, want a ProtocolError", err)
		}
	default:
		if !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
}

// TestDialContext ends the context of a Dial at every step that a server can
// hold up.
func TestDialContext(t *testing.T) {
	checkLeaks(t)
	for name, says := range map[string]string{
		"banner": "", "half a banner": "RUMPSP-0.4-", "handshake": "RUMPSP-0.4-NetBSD-7.99.34/amd64\n",
	} {
		t.Run(name, func(t *testing.T) {
			hold := make(chan struct{})
			srv := spclienttest.NewRawServer(t, "unix", func(nc net.Conn) {
				io.WriteString(nc, says)
				<-hold
			})
			defer close(hold)
			ctx, cancel := context.WithCancel(context.Background())
			time.AfterFunc(20*time.Millisecond, cancel)
			_, err := spclient.Dial(ctx, srv.URL(), nil)
			if !errors.Is(err, context.Canceled) {
				t.Errorf("error %v, want %v", err, context.Canceled)
			}
			var derr *spclient.DialError
			if !errors.As(err, &derr) {
				t.Errorf("%#v is no DialError", err)
			}
		})
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := spclient.Dial(ctx, "unix:///nowhere", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("ended before: %v", err)
	}
	// The context is not for what comes after.
	srv := spclienttest.NewServer(t, "unix", netbsd.AMD64, func(p *spclienttest.Peer) {
		p.Serve(map[uint32]func(*spclienttest.Call){netbsd.SYS_getpid: func(c *spclienttest.Call) { c.Reply(7, 1) }})
	})
	ctx, cancel = context.WithCancel(context.Background())
	c, err := spclient.Dial(ctx, srv.URL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cancel()
	if pid, err := c.Getpid(testContext(t)); pid != 7 || err != nil {
		t.Errorf("Getpid = %d, %v", pid, err)
	}
}

// TestDialOption connects over something that has no descriptor.
func TestDialOption(t *testing.T) {
	checkLeaks(t)
	srv := spclienttest.NewServer(t, "unix", netbsd.SPARC64, func(p *spclienttest.Peer) {
		p.Serve(map[uint32]func(*spclienttest.Call){
			netbsd.SYS_write: func(c *spclienttest.Call) {
				c.Args.Int()
				addr, n := c.Args.Ptr(), c.Args.Word()
				c.CopyIn(addr, int(n))
				c.Reply(n, 0)
			},
		})
	})
	var network, address string
	c := dial(t, srv, &spclient.Options{Dial: func(ctx context.Context, n, a string) (net.Conn, error) {
		network, address = n, a
		nc, err := net.Dial(n, a)
		return struct{ net.Conn }{nc}, err // hides the descriptor
	}})
	if network+"://"+address != srv.URL() {
		t.Errorf("dialled %s %s, want %s", network, address, srv.URL())
	}
	p := make([]byte, 100<<10)
	if n, err := c.Write(testContext(t), c.FD(1), p); n != len(p) || err != nil {
		t.Errorf("Write = %d, %v", n, err)
	}
}

// TestDialDying connects to a server that ends: it closes what it is asked, and
// then nobody listens any more.
func TestDialDying(t *testing.T) {
	checkLeaks(t)
	dir, err := os.MkdirTemp("", "sp")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ln, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		nc, err := ln.Accept()
		ln.Close()
		if err == nil {
			nc.Close()
		}
	}()
	_, err = spclient.Dial(testContext(t), "unix://"+filepath.Join(dir, "s"), nil)
	if !errors.Is(err, spclient.ErrNoKernel) {
		t.Errorf("error %v", err)
	}
	<-done
}
