//go:build amd64 || arm64

package hijack

import (
	"testing"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
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
