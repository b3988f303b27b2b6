//go:build amd64 || arm64

package hijack

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
	"rumptools/pkg/netbsd"
)

// L and the kernel's queue together hold as many connections as Linux's.
func TestShare(t *testing.T) {
	for backlog := range maxBacklog + 1 {
		inL, inKernel := share(backlog)
		if inKernel < 0 || inKernel > netbsd.SOMAXCONN || inL < 1 {
			t.Fatalf("backlog %d: %d in L, the kernel is told %d", backlog, inL, inKernel)
		}
		want := max(backlog+1, 2)
		if all := inL + 3*int(inKernel)/2 + 1; all != want {
			t.Errorf("backlog %d: %d wait, want %d", backlog, all, want)
		}
	}
}

// What waits in the L of a kernel that is lost is not kept.
func TestDeafen(t *testing.T) {
	sup := &supervisor{ctx: t.Context(), say: t.Logf, t: newTargets(), sockets: make(map[uint64]*socket), offered: make(map[string]*socket)}
	defer sup.t.close()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	path := filepath.Join(t.TempDir(), "L")
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, maxBacklog); err != nil {
		t.Fatal(err)
	}
	opts := &linuxsock.Socket{Domain: unix.AF_INET, Type: unix.SOCK_STREAM, Protocol: unix.IPPROTO_TCP}
	x, e := sup.newSocket(fd, opts, newLocal)
	if e != 0 {
		t.Fatal(e)
	}
	x.seen(uint32(os.Getpid()), fd)
	l := &listener{x: x, path: path, room: sync.NewCond(&x.mu), backlog: 5}
	x.state, x.listener = listening, l
	y := &socket{s: sup, opts: opts, state: connected}
	y.arrival, y.standIn = &arrival{l: l, givenBack: -1}, newLocal(y)
	y.arrival.enqueue()
	waits, _, err := y.introduce(0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(waits)
	l.deafen()
	if polled(waits, 0)&unix.POLLHUP == 0 {
		t.Error("it waits")
	}
	if len(sup.offered) > 0 || !y.isEnded() || l.children.Load() != 0 {
		t.Errorf("it is known: %d, ended %v, %d children", len(sup.offered), y.isEnded(), l.children.Load())
	}
	if x.condition != deaf || x.state != fresh {
		t.Errorf("state %d, condition %d", x.state, x.condition)
	}
}
