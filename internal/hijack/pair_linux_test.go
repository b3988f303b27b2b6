//go:build amd64 || arm64

package hijack

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
)

// What is still done to the S of a pair is not done to another one that has taken its place.
func TestPairReplaced(t *testing.T) {
	sup := &supervisor{ctx: t.Context(), say: t.Logf, t: newTargets(), sockets: make(map[uint64]*socket)}
	defer sup.t.close()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	x, e := sup.newSocket(fds[0], &linuxsock.Socket{Domain: unix.AF_INET, Type: unix.SOCK_STREAM, Protocol: unix.IPPROTO_TCP}, newLocal)
	if e != 0 {
		t.Fatal(e)
	}
	x.seen(uint32(os.Getpid()), fds[0])
	p := &pair{x: x, m: -1, s: -1, lingers: -1}
	did := 0
	p.withS(func(int) { did++ })
	if did != 1 {
		t.Fatal("S is not found")
	}
	x.replaced++ // as swap does it
	p.withS(func(int) { did++ })
	if did != 1 {
		t.Error("it was done to another S")
	}
}

// An end of a pair is accepted also if there is no descriptor for it for a moment: its ticket is gone.
func TestPairScarce(t *testing.T) {
	m, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	name, err := autobind(m)
	if err == nil {
		err = unix.Listen(m, 1)
	}
	if err != nil {
		t.Fatal(err)
	}
	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(s)
	if err := unix.Connect(s, &unix.SockaddrUnix{Name: name}); err != nil {
		t.Fatal(err)
	}
	var usual unix.Rlimit
	if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, nil, &usual); err != nil {
		t.Fatal(err)
	}
	p := &pair{m: m, s: -1, lingers: -1}
	if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, &unix.Rlimit{Max: usual.Max}, nil); err != nil {
		t.Fatal(err)
	}
	restored := make(chan error)
	time.AfterFunc(20*time.Millisecond, func() { restored <- unix.Prlimit(0, unix.RLIMIT_NOFILE, &usual, nil) })
	fd, err := p.accept()
	if err := <-restored; err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
}
