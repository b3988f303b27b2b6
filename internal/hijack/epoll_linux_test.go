//go:build amd64 || arm64

package hijack

import (
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// All descriptors of a socket are found, and what epolls have of them, which is put back for another file with the same number.
func TestSpots(t *testing.T) {
	var pairs [3][2]int
	for i := range pairs {
		p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		pairs[i] = p
		defer unix.Close(p[0])
		defer unix.Close(p[1])
	}
	var epolls [2]int
	for i := range epolls {
		ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		epolls[i] = ep
		defer unix.Close(ep)
	}
	old, other := pairs[0][0], pairs[1][0]
	want := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: -7, Pad: 0x12345678}
	for _, ep := range epolls {
		if err := unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, old, &want); err != nil {
			t.Fatal(err)
		}
		if err := unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, pairs[2][1], &unix.EpollEvent{Events: unix.EPOLLIN, Fd: 1}); err != nil {
			t.Fatal(err)
		}
	}
	var st unix.Stat_t
	if err := unix.Fstat(old, &st); err != nil {
		t.Fatal(err)
	}
	tid := uint32(os.Getpid())
	second, err := unix.FcntlInt(uintptr(old), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(second)
	list := spots(tid, uint32(st.Ino))
	slices.SortFunc(list, func(a, b spot) int { return a.num - b.num })
	if len(list) != 2 || list[0].num != old || list[1].num != second || len(list[0].marks) != len(epolls) || len(list[1].marks) != 0 {
		t.Fatalf("%d and %d are at %+v", old, second, list)
	}
	if none := spots(tid, ^uint32(st.Ino)); len(none) != 0 {
		t.Errorf("another file is at %+v", none)
	}
	// The other file has the number now, and is in no epoll.
	if err := unix.Dup3(other, old, unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	targets := newTargets()
	defer targets.close()
	fd, err := unix.FcntlInt(uintptr(old), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	targets.putBack(tid, fd, old, list[0].marks)
	unix.Close(fd)
	unix.Write(pairs[1][1], []byte("x"))
	for _, ep := range epolls {
		events := make([]unix.EpollEvent, 4)
		n, err := unix.EpollWait(ep, events, 5000)
		if err != nil || n != 1 || events[0].Fd != want.Fd || events[0].Pad != want.Pad {
			t.Errorf("%d events, %v: %+v", n, err, events[:max(n, 0)])
		}
		// By its number, as programs do.
		if err := unix.EpollCtl(ep, unix.EPOLL_CTL_DEL, old, nil); err != nil {
			t.Error(err)
		}
	}
}
