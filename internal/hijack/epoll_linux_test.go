//go:build amd64 || arm64

package hijack

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// What an epoll has of a descriptor is found, and put back for another file with the same number.
func TestMarks(t *testing.T) {
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
	list := marks(tid, old, uint32(st.Ino))
	if len(list) != len(epolls) {
		t.Fatalf("%d places: %v", len(list), list)
	}
	if none := marks(tid, old, uint32(st.Ino)+1); len(none) != 0 {
		t.Errorf("places of another file: %v", none)
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
	targets.putBack(tid, fd, old, list)
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

func FuzzParseMark(f *testing.F) {
	f.Add("tfd:        7 events:     2019 data:                7  pos:0 ino:1e sdev:9\n")
	f.Add("tfd:        7 events:     2019 data: ffffffffffffffff  pos:0 ino:1e sdev:9\n")
	f.Add("pos:	0\n")
	f.Fuzz(func(t *testing.T, line string) {
		if _, ok := parseMark(line, 7, 0x1e); ok && !strings.Contains(line, "tfd:") {
			t.Errorf("%q is a place", line)
		}
	})
}
