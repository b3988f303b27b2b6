//go:build amd64 || arm64

package hijack

import (
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient/spclienttest"
)

// A listener whose kernel was lost, and whose address the next one has not got yet, is not made again once it listens no more.
func TestRemadeStops(t *testing.T) {
	tried := make(chan struct{}, 1)
	conn := scripted(t, func(call *spclienttest.Call) {
		switch call.Num {
		case netbsd.SYS___socket30:
			call.Reply(3, 0)
		case netbsd.SYS_bind:
			select {
			case tried <- struct{}{}:
			default:
			}
			call.Fail(netbsd.EADDRNOTAVAIL)
		default:
			call.Reply(0, 0)
		}
	})
	x := &socket{
		s:    &supervisor{ctx: t.Context(), conn: conn, machine: conn.Machine(), say: t.Logf},
		opts: &linuxsock.Socket{Domain: unix.AF_INET, Type: unix.SOCK_STREAM, Protocol: unix.IPPROTO_TCP},
		// As leave makes it.
		name: name{tenure: bound, sa: netbsd.SockaddrIn(netip.MustParseAddrPort("10.0.0.1:80"))},
	}
	remade := make(chan unix.Errno)
	go func() {
		_, e := x.remade((&listener{x: x}).listens)
		remade <- e
	}()
	select {
	case e := <-remade:
		if e != unix.EADDRNOTAVAIL {
			t.Error(e)
		}
	case <-time.After(10 * time.Second):
		t.Error("it is tried again for ever")
	}
	select {
	case <-tried:
	default:
		t.Error("it was not tried")
	}
}

// One that stops while its socket in the next kernel gets the address does not listen there.
func TestRemadeStopped(t *testing.T) {
	var x *socket
	conn := scripted(t, func(call *spclienttest.Call) {
		switch call.Num {
		case netbsd.SYS___socket30:
			call.Reply(3, 0)
			return
		case netbsd.SYS_bind:
			x.mu.Lock()
			x.leave(fresh, spent)
			x.mu.Unlock()
		case netbsd.SYS_listen:
			t.Error("it listens")
		}
		call.Reply(0, 0)
	})
	x = &socket{
		s:    &supervisor{ctx: t.Context(), conn: conn, machine: conn.Machine(), say: t.Logf},
		opts: &linuxsock.Socket{Domain: unix.AF_INET, Type: unix.SOCK_STREAM, Protocol: unix.IPPROTO_TCP},
		name: name{tenure: bound, sa: netbsd.SockaddrIn(netip.MustParseAddrPort("10.0.0.1:80"))},
	}
	l := &listener{x: x, room: sync.NewCond(&x.mu), backlog: 5}
	x.listener = l
	if _, e := l.again(); e == 0 {
		t.Error("it was made again")
	}
}
