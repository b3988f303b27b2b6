package inet

import (
	"testing"
	"time"

	"rumptools/internal/kernel"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// TestTCPOwn: rumpd's own options can be read as they were set, and a listener's
// connections have them.
func TestTCPOwn(t *testing.T) {
	a, b := pair(t)
	l := listener(t, b, "10.0.0.2:80", 5)
	values := map[int32]int32{sysproxy.TCPCork: 1, sysproxy.TCPLinger2: -1, sysproxy.TCPUserTimeout: 12345}
	for name, v := range values {
		if v := getInt(t, l, b.machine, netbsd.IPPROTO_TCP, name); v != 0 {
			t.Errorf("%#x is %d at first", name, v)
		}
		setInt(t, l, b.machine, netbsd.IPPROTO_TCP, name, v)
	}
	check(t, "a negative time", l.SetOption(nil, netbsd.IPPROTO_TCP, sysproxy.TCPUserTimeout, intOpt(b.machine, -1)), netbsd.EINVAL)
	check(t, "a negative time", l.SetOption(nil, netbsd.IPPROTO_TCP, sysproxy.TCPDeferAccept, intOpt(b.machine, -1)), netbsd.EINVAL)
	check(t, "acknowledgements at once", l.SetOption(nil, netbsd.IPPROTO_TCP, sysproxy.TCPQuickAck, intOpt(b.machine, 1)), nil)
	check(t, "and later", l.SetOption(nil, netbsd.IPPROTO_TCP, sysproxy.TCPQuickAck, intOpt(b.machine, 0)), netbsd.ENOPROTOOPT)
	if v := getInt(t, l, b.machine, netbsd.IPPROTO_TCP, sysproxy.TCPQuickAck); v != 1 {
		t.Errorf("TCP_QUICKACK is %d", v)
	}
	check(t, "a short value", l.SetOption(nil, netbsd.IPPROTO_TCP, sysproxy.TCPLinger2, []byte{1}), netbsd.EINVAL)
	dial(t, a, "10.0.0.2:80")
	c, _ := accept(t, l)
	for _, so := range []kernel.Socket{l, c} {
		for name, want := range values {
			if v := getInt(t, so, b.machine, netbsd.IPPROTO_TCP, name); v != want {
				t.Errorf("%#x is %d, want %d", name, v, want)
			}
		}
	}
}

// TestTCPUserTimeout: a peer that does not answer is given up.
func TestTCPUserTimeout(t *testing.T) {
	a, b := pair(t)
	c, _ := connected(t, a, b, "10.0.0.2:80")
	setInt(t, c, a.machine, netbsd.IPPROTO_TCP, sysproxy.TCPUserTimeout, 500)
	b.Close()
	begin := time.Now()
	send(t, c, []byte("hello?"), nil)
	// By itself it would take some ten minutes.
	err := await(t, c, func() error {
		if c.Poll()&kernel.Readable == 0 {
			return netbsd.EAGAIN
		}
		return nil
	})
	must(t, err)
	if v := getInt(t, c, a.machine, netbsd.SOL_SOCKET, netbsd.SO_ERROR); netbsd.Errno(v) != netbsd.ETIMEDOUT {
		t.Errorf("SO_ERROR is %v", netbsd.Errno(v))
	}
	if d := time.Since(begin); d < 400*time.Millisecond {
		t.Errorf("after %v", d)
	}
}

// TestTCPLinger2: a connection that its program has closed waits no longer than that for
// the peer's end.
func TestTCPLinger2(t *testing.T) {
	a, b := pair(t)
	c, srv := connected(t, a, b, "10.0.0.2:80")
	setInt(t, c, a.machine, netbsd.IPPROTO_TCP, sysproxy.TCPLinger2, 1)
	c.Close()
	if got := readAll(t, srv, -1); len(got) != 0 {
		t.Errorf("%q", got)
	}
	count := func() int { return len(a.sockets.list(pcbList{inet, netbsd.IPPROTO_TCP})) }
	for end := time.Now().Add(30 * time.Second); count() > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d sockets are left", count())
		}
	}
}

// TestTCPSettling: a connect(2) to this host itself does not wait for what a listener has only
// with the first data, nor for one that is full.
func TestTCPSettling(t *testing.T) {
	s := newStackOf(t, netbsd.AMD64)
	settled := func(what string, c kernel.Socket) {
		t.Helper()
		eventually(t, what, func() bool { return !c.(kernel.Settler).Settling() })
	}
	defers := listener(t, s, "127.0.0.1:80", 5)
	setInt(t, defers, s.machine, netbsd.IPPROTO_TCP, sysproxy.TCPDeferAccept, 60)
	c := open(t, s, netbsd.AF_INET, stream, 0)
	must(t, connect(t, c, addr(s, "127.0.0.1:80")))
	settled("a listener that waits for data", c)
	if defers.Poll() != 0 {
		t.Error("it has a connection without data")
	}
	l := listener(t, s, "127.0.0.1:81", 1)
	for range 2 {
		c := open(t, s, netbsd.AF_INET, stream, 0)
		must(t, connect(t, c, addr(s, "127.0.0.1:81")))
		settled("a listener that has room", c)
	}
	eventually(t, "it is full", func() bool { n, _ := l.Pending(); return n == 2 })
	c = open(t, s, netbsd.AF_INET, stream, 0)
	check(t, "connect", c.Connect(addr(s, "127.0.0.1:81")), netbsd.EINPROGRESS)
	if c.(kernel.Settler).Settling() {
		t.Error("a full listener is waited for")
	}
	check(t, "its result", c.ConnectResult(), netbsd.EINPROGRESS)
	// So is one whose only connection is with a client that accepts for others.
	l = listener(t, s, "127.0.0.1:83", 0)
	must(t, l.(kernel.TakenCounter).Taken(0))
	c = open(t, s, netbsd.AF_INET, stream, 0)
	must(t, connect(t, c, addr(s, "127.0.0.1:83")))
	accept(t, l)
	c = open(t, s, netbsd.AF_INET, stream, 0)
	check(t, "connect", c.Connect(addr(s, "127.0.0.1:83")), netbsd.EINPROGRESS)
	if c.(kernel.Settler).Settling() {
		t.Error("a listener with a backlog of 0 is waited for, whose connection was taken by a client")
	}
	// Who is only bound refuses soon.
	so := open(t, s, netbsd.AF_INET, stream, 0)
	must(t, so.Bind(addr(s, "127.0.0.1:82")))
	c = open(t, s, netbsd.AF_INET, stream, 0)
	check(t, "connect", c.Connect(addr(s, "127.0.0.1:82")), netbsd.EINPROGRESS)
	settled("a socket that does not listen", c)
	check(t, "its result", c.ConnectResult(), netbsd.ECONNREFUSED)
}

// TestTCPDeferAccept: a connection waits for its first data, or for the time, before it can be
// accepted.
func TestTCPDeferAccept(t *testing.T) {
	a, b := pair(t)
	for _, test := range []struct {
		name    string
		seconds int32
		data    string
		early   bool // the data come before the time
	}{
		{"with data", 60, "hello", true},
		{"without", 1, "", false},
		{"with data later", 1, "hello", false},
		{"not at all", 0, "", true},
	} {
		l := listener(t, b, "10.0.0.2:0", 5)
		setInt(t, l, b.machine, netbsd.IPPROTO_TCP, sysproxy.TCPDeferAccept, test.seconds)
		if v := getInt(t, l, b.machine, netbsd.IPPROTO_TCP, sysproxy.TCPDeferAccept); v != test.seconds {
			t.Errorf("%s: it is %d", test.name, v)
		}
		began := time.Now()
		c := open(t, a, netbsd.AF_INET, stream, 0)
		must(t, connect(t, c, name(t, l)))
		if test.seconds > 0 {
			for range 10 {
				time.Sleep(20 * time.Millisecond)
				if ev := l.Poll(); ev != 0 && time.Since(began) < time.Second {
					t.Errorf("%s: poll is %v", test.name, ev)
				}
			}
		}
		if test.early && test.data != "" {
			send(t, c, []byte(test.data), nil)
		}
		srv, _ := accept(t, l)
		if d := time.Since(began); test.early && d > 30*time.Second || !test.early && d < time.Second {
			t.Errorf("%s: accepted after %v", test.name, d)
		}
		if !test.early && test.data != "" {
			send(t, c, []byte(test.data), nil)
		}
		if got := readAll(t, srv, len(test.data)); string(got) != test.data {
			t.Errorf("%s: %q", test.name, got)
		}
		send(t, srv, []byte("answer"), nil)
		readAll(t, c, 6)
		l.Close()
		srv.Close()
		c.Close()
	}
}
