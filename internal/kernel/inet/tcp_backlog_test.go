package inet

import (
	"bytes"
	"testing"
	"time"

	"rumptools/internal/kernel"
	"rumptools/pkg/netbsd"
)

// TestTCPBacklog: connections beyond the backlog wait in the clients.
func TestTCPBacklog(t *testing.T) {
	s := newStackOf(t, netbsd.AMD64)
	l := listener(t, s, "127.0.0.1:80", 4)
	clients := make(map[string]bool)
	for range 6 {
		clients[string(name(t, dial(t, s, "127.0.0.1:80")))] = true
	}
	eventually(t, "all wait", func() bool { n, _ := l.Pending(); return n >= 6 })
	for range 6 {
		srv, peer := accept(t, l)
		if !clients[string(peer)] {
			t.Errorf("accepted %x, which is none of the clients or was already", peer)
		}
		delete(clients, string(peer))
		srv.Close()
	}
	_, _, err := l.Accept()
	check(t, "accept", err, netbsd.EAGAIN)
}

// TestTCPBacklogIsNetBSD: one and a half times the backlog wait, and one, whether or not somebody
// looks at the listener meanwhile. More are connected when there is room.
func TestTCPBacklogIsNetBSD(t *testing.T) {
	for _, test := range []struct {
		backlog int32
		want    int
	}{{0, 1}, {1, 2}, {2, 4}, {3, 5}} {
		s := newStackOf(t, netbsd.AMD64)
		l := listener(t, s, "127.0.0.1:80", test.backlog)
		var clients []kernel.Socket
		stand := func() (n int) {
			for _, c := range clients {
				if c.Poll()&kernel.Writable != 0 {
					n++
				}
			}
			l.Poll()
			return n
		}
		const more = 2
		for i := range test.want + more {
			c := open(t, s, netbsd.AF_INET, stream, 0)
			clients = append(clients, c)
			check(t, "connect", c.Connect(addr(s, "127.0.0.1:80")), netbsd.EINPROGRESS)
			eventually(t, "it is connected", func() bool { return stand() == min(i+1, test.want) })
		}
		time.Sleep(100 * time.Millisecond)
		if n := stand(); n != test.want {
			t.Errorf("backlog %d: %d are connected, want %d", test.backlog, n, test.want)
		}
		for i, c := range clients[:test.want] {
			if c.(kernel.Settler).Settling() {
				t.Errorf("backlog %d: connection %d does not settle", test.backlog, i)
			}
		}
		listed := make(map[string]bool)
		for _, p := range pcbs(t, s, netbsd.AF_INET, netbsd.IPPROTO_TCP) {
			if bytes.HasPrefix(p.Src[:], addr(s, "127.0.0.1:80")) && p.Tstate == netbsd.TCPS_ESTABLISHED {
				listed[string(p.Dst[:])] = true
			}
		}
		if len(listed) != test.want {
			t.Errorf("backlog %d: %d connections are listed, want %d", test.backlog, len(listed), test.want)
		}
		if n, _ := l.Pending(); n != int64(test.want) || l.Poll()&kernel.Readable == 0 {
			t.Errorf("backlog %d: %d wait, want %d; poll %v", test.backlog, n, test.want, l.Poll())
		}
		// Who takes itself for connected, because the queue was filled between its SYN and its
		// ACK, is accepted with its first data.
		sent := make([]bool, len(clients))
		for range clients {
			eventually(t, "one is accepted", func() bool {
				for i, c := range clients {
					if !sent[i] && c.Poll()&kernel.Writable != 0 {
						sent[i] = true
						send(t, c, []byte("x"), nil)
					}
				}
				c, _, err := l.Accept()
				if err == nil {
					t.Cleanup(func() { c.Close() })
				}
				return err == nil
			})
		}
		if l.Poll()&kernel.Readable != 0 {
			t.Errorf("backlog %d: one more is told", test.backlog)
		}
	}
}

// TestTCPBacklogTaken: what a client has accepted for others counts until they have it, and one
// more than the backlog waits in all.
func TestTCPBacklogTaken(t *testing.T) {
	for _, backlog := range []int32{0, 1, 2, 200} {
		s := newStackOf(t, netbsd.AMD64)
		l := listener(t, s, "127.0.0.1:80", backlog)
		must(t, l.(kernel.TakenCounter).Taken(0))
		connect := func() kernel.Socket {
			c := open(t, s, netbsd.AF_INET, stream, 0)
			check(t, "connect", c.Connect(addr(s, "127.0.0.1:80")), netbsd.EINPROGRESS)
			return c
		}
		waiting := int64(0)
		room := func() {
			t.Helper()
			ready(t, connect(), kernel.Writable)
			waiting++
			// The listener hears of it later.
			eventually(t, "it waits", func() bool { n, _ := l.Pending(); return n == waiting })
		}
		full := func(what string) {
			t.Helper()
			c := connect()
			time.Sleep(50 * time.Millisecond)
			if c.Poll()&kernel.Writable != 0 {
				t.Errorf("backlog %d: %s one more is connected", backlog, what)
			}
			must(t, c.Close())
		}
		for i := range backlog + 1 {
			room()
			if i < max(min(2, backlog), 1) {
				accept(t, l) // and does not pass it on
				waiting--
			}
		}
		full("of what was accepted nothing is passed on:")
		must(t, l.(kernel.TakenCounter).Taken(1))
		room()
		full("one is passed on:")
		if backlog > 1 {
			// No more can have been passed on than were accepted.
			must(t, l.(kernel.TakenCounter).Taken(1000))
			room()
		}
		full("all are passed on:")
	}
	s := newStackOf(t, netbsd.AMD64)
	so := open(t, s, netbsd.AF_INET, stream, 0)
	check(t, "of no listener", so.(kernel.TakenCounter).Taken(0), netbsd.EINVAL)
}

// TestTCPBacklogAborted: connections that were reset before a client could accept them for others have no room of the backlog.
func TestTCPBacklogAborted(t *testing.T) {
	s := newStackOf(t, netbsd.AMD64)
	l := listener(t, s, "127.0.0.1:80", 2)
	must(t, l.(kernel.TakenCounter).Taken(0))
	for range 10 {
		c := dial(t, s, "127.0.0.1:80")
		eventually(t, "it waits", func() bool { n, _ := l.Pending(); return n == 1 })
		must(t, c.SetOption(nil, netbsd.SOL_SOCKET, netbsd.SO_LINGER, append(intOpt(s.machine, 1), intOpt(s.machine, 0)...)))
		must(t, c.Close())
		eventually(t, "it is reset", func() bool {
			so := l.(*tcpSocket)
			so.mu.Lock()
			defer so.mu.Unlock()
			return len(so.queue) == 1 && isOver(so.queue[0].ep)
		})
		_, _, err := l.Accept()
		check(t, "accept", err, netbsd.ECONNABORTED)
	}
	dial(t, s, "127.0.0.1:80")
	accept(t, l)
}
