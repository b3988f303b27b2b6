package spclienttest_test

import (
	"bytes"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient/spclienttest"
	"rumptools/pkg/sysproxy"
)

// client is a client that a test makes by hand, of amd64.
type client struct {
	t *testing.T
	net.Conn
	l sysproxy.Layout
}

// dialRaw connects and makes no handshake.
func dialRaw(t *testing.T, srv *spclienttest.Server) *client {
	t.Helper()
	u, err := sysproxy.ParseURL(srv.URL())
	if err != nil {
		t.Fatal(err)
	}
	nc, err := net.Dial(u.Network, u.Address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	return &client{t, nc, sysproxy.Layout{Order: netbsd.AMD64.Order, WordSize: 8}}
}

// dialGuest connects and becomes a process.
func dialGuest(t *testing.T, srv *spclienttest.Server) *client {
	t.Helper()
	c := dialRaw(t, srv)
	if _, err := sysproxy.ReadBanner(c); err != nil {
		t.Fatal(err)
	}
	c.send(sysproxy.Guest{Name: "hand"}, 1)
	if m := c.next(); m != (sysproxy.HandshakeReply{}) {
		t.Fatalf("handshake is answered with %#v", m)
	}
	return c
}

func (c *client) send(m sysproxy.Message, reqno uint64) {
	c.t.Helper()
	if _, err := c.Write(m.Append(nil, c.l, reqno)); err != nil {
		c.t.Error(err)
	}
}

func (c *client) next() sysproxy.Message {
	c.t.Helper()
	h, err := c.l.ReadHeader(c)
	if err != nil {
		c.t.Fatal(err)
	}
	payload, err := sysproxy.ReadPayload(c, h, nil, 1<<20)
	if err != nil {
		c.t.Fatal(err)
	}
	m, err := c.l.Decode(h, payload)
	if err != nil {
		c.t.Fatal(err)
	}
	return m
}

// TestComplaints has clients do what none does. The test that has the server must
// hear of it.
func TestComplaints(t *testing.T) {
	serve := func(p *spclienttest.Peer) { p.Serve(nil) }
	asks := func(p *spclienttest.Peer) { p.Handshake(); p.CopyIn(0x1000, 4) }
	for _, tt := range []struct {
		name   string
		script func(*spclienttest.Peer)
		do     func(c *client)
		want   string
	}{
		{"nothing wrong", serve, func(c *client) { c.send(sysproxy.Syscall{Num: 20}, 2); c.next() }, ""},
		{"gone in the middle", asks, func(c *client) { c.next() }, ""},
		{"answer to nothing", serve, func(c *client) { c.send(sysproxy.CopyInReply{}, 7) }, "RESP COPYIN to request 7, which was not made"},
		{"no frame", serve, func(c *client) { c.Write(make([]byte, 24)) }, "impossible frame length"},
		{"half a frame", serve, func(c *client) { c.Write(sysproxy.Syscall{Num: 20}.Append(nil, c.l, 2)[:20]) }, "unexpected EOF"},
		{"no system call", serve, func(c *client) { c.send(sysproxy.Prefork{}, 2) }, "REQ PREFORK, not a system call"},
		{"a short answer", asks, func(c *client) { c.next(); c.send(sysproxy.CopyInReply{Data: []byte("abc")}, 0) }, "COPYIN of 4 bytes with 3"},
		{"an answer of another type", asks, func(c *client) { c.next(); c.send(sysproxy.AnonMmapReply{}, 0) }, "answered a copy request with sysproxy.AnonMmapReply"},
		{"memory without an address", func(p *spclienttest.Peer) { p.Handshake(); p.AnonMmap(1) },
			func(c *client) { c.next(); c.send(sysproxy.CopyInReply{}, 0) }, "answered ANONMMAP with sysproxy.CopyInReply"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tb := &failures{TB: t}
			srv := spclienttest.NewServer(tb, "unix", netbsd.AMD64, tt.script)
			c := dialGuest(t, srv)
			tt.do(c)
			// All that was sent is read before the end of the connection is.
			c.Conn.(*net.UnixConn).CloseWrite()
			io.Copy(io.Discard, c)
			srv.Close()
			got := strings.Join(tb.errs, "\n")
			if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
				t.Errorf("the server says %q, want %q", got, tt.want)
			}
		})
	}
}

// TestNoHandshake begins with something else.
func TestNoHandshake(t *testing.T) {
	tb := &failures{TB: t}
	srv := spclienttest.NewServer(tb, "tcp", netbsd.AMD64, func(p *spclienttest.Peer) { p.Handshake() })
	c := dialRaw(t, srv)
	c.send(sysproxy.Syscall{Num: 20}, 1)
	io.Copy(io.Discard, c)
	srv.Close()
	if len(tb.errs) != 1 || !strings.Contains(tb.errs[0], "began with REQ SYSCALL") {
		t.Errorf("the server says %q", tb.errs)
	}
}

// TestRequests makes each request of a server's that has a method.
func TestRequests(t *testing.T) {
	srv := spclienttest.NewServer(t, "unix", netbsd.AMD64, func(p *spclienttest.Peer) {
		p.Handshake()
		p.CopyOutStr(0x1000, "text")
		p.Raise(int32(netbsd.SIGIO))
		if addr := p.AnonMmap(100); addr != 0x7000 {
			t.Errorf("memory at %#x", addr)
		}
		if b := p.CopyInStr(0x2000, 100); string(b) != "name\x00" {
			t.Errorf("string %q", b)
		}
		p.NextCall().Refuse(sysproxy.ErrNoMem)
		p.WaitGone()
	})
	c := dialGuest(t, srv)
	if m, ok := c.next().(sysproxy.CopyOutStr); !ok || m.Addr != 0x1000 || string(m.Data) != "text\x00" {
		t.Errorf("string %+v", m)
	}
	if m := c.next(); m != (sysproxy.Raise{Signo: 23}) {
		t.Errorf("signal %#v", m)
	}
	if m := c.next(); m != (sysproxy.AnonMmap{Len: 100}) {
		t.Errorf("memory %#v", m)
	}
	c.send(sysproxy.AnonMmapReply{Addr: 0x7000}, 2)
	if m := c.next(); m != (sysproxy.CopyInStr{Len: 100, Addr: 0x2000}) {
		t.Errorf("string %#v", m)
	}
	c.send(sysproxy.CopyInReply{Data: []byte("name\x00")}, 3)
	c.send(sysproxy.Syscall{Num: 20}, 2)
	if m := c.next(); m != (sysproxy.Refusal{Code: sysproxy.ErrNoMem}) {
		t.Errorf("refusal %#v", m)
	}
}

// TestStopReading checks that a server that does not read stops who writes to it,
// and finds all of it later.
func TestStopReading(t *testing.T) {
	const calls = 3000
	deaf, hear := make(chan struct{}), make(chan struct{})
	srv := spclienttest.NewServer(t, "unix", netbsd.AMD64, func(p *spclienttest.Peer) {
		p.Handshake()
		p.StopReading()
		close(deaf)
		<-hear
		p.ResumeReading()
		for i := range calls {
			if call := p.NextCall(); call.Num != uint32(i) {
				t.Errorf("call %d is number %d", i, call.Num)
			}
		}
		p.Raise(1)
		p.WaitGone()
	})
	c := dialGuest(t, srv)
	<-deaf
	var written atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range uint32(calls) {
			c.send(sysproxy.Syscall{Num: i, Args: make([]byte, 4000)}, uint64(i)+2)
			written.Add(1)
		}
	}()
	for last := int64(-1); last != written.Load() || last == 0; time.Sleep(50 * time.Millisecond) {
		last = written.Load()
	}
	if written.Load() == calls {
		t.Errorf("%d frames went to a server that does not read", calls)
	}
	close(hear)
	<-done
	if m := c.next(); m != (sysproxy.Raise{Signo: 1}) {
		t.Errorf("at the end %#v", m)
	}
}

// TestFloodEnds ends floods: by the client's going and by the server's end, while
// the client reads and while it does not.
func TestFloodEnds(t *testing.T) {
	for _, deaf := range []bool{false, true} {
		for _, who := range []string{"client", "server"} {
			t.Run(who, func(t *testing.T) {
				var sent atomic.Int64
				srv := spclienttest.NewServer(t, "unix", netbsd.AMD64, func(p *spclienttest.Peer) {
					p.Handshake()
					if deaf {
						p.StopReading()
					}
					p.Flood(p.Encode(sysproxy.Raise{Signo: 1}, 0), func() { sent.Add(1) })
				})
				c := dialGuest(t, srv)
				for range 100 {
					if m := c.next(); m != (sysproxy.Raise{Signo: 1}) {
						t.Fatalf("flood of %#v", m)
					}
				}
				if who == "client" {
					c.Close()
				}
				srv.Close() // waits for the script
				if sent.Load() < 100 {
					t.Errorf("%d frames were sent", sent.Load())
				}
			})
		}
	}
}

// TestTrickle checks that nothing comes between bytes that come one by one.
func TestTrickle(t *testing.T) {
	const text = "one by one"
	srv := spclienttest.NewServer(t, "unix", netbsd.AMD64, func(p *spclienttest.Peer) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range 20 {
				p.Write([]byte("...."))
				time.Sleep(time.Millisecond)
			}
		}()
		p.Trickle([]byte(text), time.Millisecond)
		<-done
	})
	b, err := io.ReadAll(dialRaw(t, srv))
	if err != nil || len(b) != 80+len(text) || !bytes.Contains(b, []byte(text)) {
		t.Errorf("%q, %v", b, err)
	}
}

// TestURL has servers take each other's place.
func TestURL(t *testing.T) {
	for _, network := range []string{"unix", "tcp"} {
		serve := func(p *spclienttest.Peer) { p.Serve(nil) }
		first := spclienttest.NewServer(t, network, netbsd.AMD64, serve)
		first.Close()
		second := spclienttest.NewServer(t, first.URL(), netbsd.AMD64, serve)
		if second.URL() != first.URL() {
			t.Errorf("URL %s, want %s", second.URL(), first.URL())
		}
		dialGuest(t, second)
	}
}
