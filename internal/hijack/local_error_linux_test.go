//go:build amd64 || arm64

package hijack

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
)

// TestTurnAway: poll(2) tells of an error of a local socket also when another had come that nobody was told yet.
func TestTurnAway(t *testing.T) {
	sup := &supervisor{ctx: t.Context(), say: t.Logf, t: newTargets()}
	t.Cleanup(sup.t.close)
	e, err := newEnds(sup)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.close)
	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(s)
	path := filepath.Join(t.TempDir(), "s")
	if err := unix.Bind(s, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	fd, name, err := connectedTo(path)
	if err != nil {
		t.Fatal(err)
	}
	k, err := e.keep(fd, func() {})
	if err != nil {
		t.Fatal(err)
	}
	defer k.close()
	if err := unix.Connect(s, &unix.SockaddrUnix{Name: name}); err != nil {
		t.Fatal(err)
	}
	x := &socket{s: sup, path: path, opts: &linuxsock.Socket{Domain: unix.AF_INET, Type: unix.SOCK_DGRAM, Protocol: unix.IPPROTO_UDP}}
	x.held.tid, x.held.num = uint32(os.Getpid()), s
	if x.cookie, err = unix.GetsockoptUint64(s, unix.SOL_SOCKET, unix.SO_COOKIE); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		x.turnAway(k)
		if polled(s, 0)&unix.POLLERR == 0 {
			t.Errorf("after %d errors there is none", i+1)
		}
	}
	if e := hostError(s); e != unix.ECONNRESET || polled(s, 0)&unix.POLLERR != 0 {
		t.Errorf("the error is %v, and then %#x", e, polled(s, 0))
	}
}
