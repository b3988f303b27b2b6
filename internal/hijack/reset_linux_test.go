//go:build amd64 || arm64

package hijack

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient/spclienttest"
)

// A connection that the program gives up, for another one, while a reset is being shown leaves that one alone.
func TestResetGivenUp(t *testing.T) {
	conn := scripted(t, func(call *spclienttest.Call) {
		if call.Num == netbsd.SYS___socket30 {
			call.Reply(3, 0)
		} else {
			call.Reply(0, 0)
		}
	})
	for _, when := range []string{"at once", "when it is to be shown"} {
		sup := &supervisor{ctx: t.Context(), conn: conn, machine: conn.Machine(), say: t.Logf, sockets: make(map[uint64]*socket)}
		s, k, _ := joinedStream(t)
		sup.ends = k.ends
		s2, k2, _ := joinedStream(t)
		defer unix.Close(s2)
		x := &socket{
			s: sup, cookie: 1, state: connected,
			opts: &linuxsock.Socket{Domain: unix.AF_INET, Type: unix.SOCK_STREAM, Protocol: unix.IPPROTO_TCP},
		}
		sup.sockets[x.cookie] = x
		ks, e := x.kernel()
		if e != 0 {
			t.Fatal(e)
		}
		old := &connection{x: x, ks: ks, k: k, delivered: make(chan struct{})}
		next := &connection{x: x, k: k2}
		x.connection = old
		old.begin()
		again := func() {
			x.mu.Lock()
			x.beginAgain(usable)
			x.mu.Unlock()
			unix.Close(s) // which another S has replaced
			x.mu.Lock()
			x.state, x.connection, x.ks, x.peer = connected, next, nil, linuxsock.Sockaddr(netip.MustParseAddrPort("10.0.0.1:9"), unix.AF_INET)
			x.mu.Unlock()
		}
		if when == "at once" {
			// As giveUpConnection does it.
			x.mu.Lock()
			was := x.leave(dead, failing)
			x.mu.Unlock()
			was.close()
			again()
			old.reset(unix.ECONNRESET)
		} else {
			x.arrival = &arrival{l: &listener{}} // nobody has accepted it yet
			old.reset(unix.ECONNRESET)
			if !old.takeUnshown() {
				t.Fatal("it was shown to nobody")
			}
			again()
			x.pend(0)
			old.show()
		}
		x.mu.Lock()
		if x.connection != next || x.state != connected || x.name.sa != nil || k2.hungUp() {
			t.Errorf("%s: the next connection: %v, state %d, address % x", when, x.connection == next, x.state, x.name.sa)
		}
		x.mu.Unlock()
		if sup.sockets[x.cookie] != x {
			t.Errorf("%s: the socket is forgotten", when)
		}
		if x.hasError() {
			t.Errorf("%s: it has the other's error", when)
		}
		if k.control(func(int) {}) {
			t.Errorf("%s: the connection that was given up is open", when)
		}
		if n := sup.carriers.Load(); n != 0 {
			t.Errorf("%s: %d connections are carried", when, n)
		}
	}
}
