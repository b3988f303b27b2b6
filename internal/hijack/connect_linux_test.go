//go:build amd64 || arm64

package hijack

import (
	"testing"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
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
