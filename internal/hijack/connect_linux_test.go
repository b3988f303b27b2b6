//go:build amd64 || arm64

package hijack

import (
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient/spclienttest"
)

// Who still waits for an attempt that was given up is told that, and not what has come of the next one, which is told to who asks
// for that.
func TestConcludeGivenUp(t *testing.T) {
	x := &socket{
		opts:  &linuxsock.Socket{Domain: unix.AF_INET, Type: unix.SOCK_STREAM, Protocol: unix.IPPROTO_TCP, Pending: unix.ECONNREFUSED},
		state: dead,
	}
	givenUp, next := &attempt{failed: unix.ECONNRESET}, &attempt{err: unix.ECONNREFUSED}
	x.condition, x.untold = failing, next
	if e := x.conclude(givenUp, -1); e != unix.ECONNRESET {
		t.Errorf("of the one that was given up: %v", e)
	}
	if x.untold != next || !x.hasError() {
		t.Error("the news of the next attempt are told")
	}
	if e := x.conclude(next, -1); e != unix.ECONNREFUSED || x.untold != nil || x.hasError() {
		t.Errorf("of the next one: %v, to be told %v, error %v", e, x.untold != nil, x.hasError())
	}
}

// All threads that wait for an attempt have the error of an S that cannot have its other end.
func TestConcludeScarce(t *testing.T) {
	conn := scripted(t, func(call *spclienttest.Call) { call.Reply(3, 0) })
	x := &socket{
		s:    &supervisor{ctx: t.Context(), conn: conn, machine: conn.Machine(), say: t.Logf, hub: &hub{fd: -1, closed: true}},
		opts: &linuxsock.Socket{Domain: unix.AF_INET, Type: unix.SOCK_STREAM, Protocol: unix.IPPROTO_TCP},
	}
	ks, e := x.kernel()
	if e != 0 {
		t.Fatal(e)
	}
	a := &attempt{ks: ks}
	x.state, x.attempt = connecting, a
	first, second := x.conclude(a, -1), x.conclude(a, -1)
	if first == 0 || second != first || x.state != dead || x.ks != nil {
		t.Errorf("%v, %v, state %d", first, second, x.state)
	}
}

// Who sees by S that a connect has failed finds the socket such a one: S shows it last.
func TestFailureShownLast(t *testing.T) {
	var s int
	closes, early := 0, false
	conn := scripted(t, func(call *spclienttest.Call) {
		if call.Num == netbsd.SYS_close {
			closes++
			early = polled(s, 0)&unix.POLLERR != 0
		}
		call.Reply(3, 0)
	})
	sup := &supervisor{ctx: t.Context(), conn: conn, machine: conn.Machine(), say: t.Logf}
	var err error
	if sup.hub, err = newHub(filepath.Join(t.TempDir(), "hub")); err != nil {
		t.Fatal(err)
	}
	defer sup.hub.close()
	if sup.ends, err = newEnds(sup); err != nil {
		t.Fatal(err)
	}
	defer sup.ends.close()
	if s, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(s)
	x := &socket{s: sup, opts: &linuxsock.Socket{Domain: unix.AF_INET, Type: unix.SOCK_STREAM, Protocol: unix.IPPROTO_TCP}}
	ks, e := x.kernel()
	if e != 0 {
		t.Fatal(e)
	}
	a := &attempt{ks: ks}
	x.state, x.attempt = connecting, a
	x.goOn(a, s)
	if a.async == nil || polled(s, unix.POLLOUT) != 0 {
		t.Fatal("it does not go on")
	}
	a.err = unix.ECONNREFUSED
	a.async()
	if closes != 1 || early {
		t.Errorf("the kernel's socket is closed %d times, S shows it before: %v", closes, early)
	}
	if polled(s, 0)&unix.POLLERR == 0 || x.state != dead || x.condition != failing || !x.hasError() {
		t.Errorf("state %d, condition %d, error %v", x.state, x.condition, x.hasError())
	}
}
