//go:build amd64 || arm64

package hijack

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The host's words for what is in an epoll (ep_show_fdinfo), and nothing else, are read as what they say.
func FuzzParseInEpoll(f *testing.F) {
	f.Add(int32(7), uint32(0x2019), uint64(7), uint64(0x1e), "pos:\t0\n")
	f.Add(int32(0), uint32(unix.EPOLLET|unix.EPOLLIN), ^uint64(0), uint64(1)<<32|5, "tfd: 1 events: 1 data: 1\n")
	f.Add(int32(1<<31-1), uint32(0), uint64(1)<<63, uint64(0), "tfd: x events: 1 data: 1 pos:0 ino:1 sdev:9\n")
	f.Fuzz(func(t *testing.T, num int32, events uint32, data, inode uint64, other string) {
		line := fmt.Sprintf("tfd: %8d events: %8x data: %16x  pos:%d ino:%x sdev:%x\n", num, events, data, 0, inode, 9)
		want := inEpoll{int(num), uint32(inode), unix.EpollEvent{Events: events, Fd: int32(data), Pad: int32(data >> 32)}}
		if got, ok := parseInEpoll(line); !ok || got != want {
			t.Errorf("%q: %+v, %v; want %+v", line, got, ok, want)
		}
		for cut := range line {
			if got, ok := parseInEpoll(line[:cut]); ok && cut <= strings.Index(line, "ino:")+len("ino:") {
				t.Errorf("%q: %+v", line[:cut], got)
			}
		}
		if got, ok := parseInEpoll(other); ok {
			for _, word := range []string{"tfd:", "events:", "data:", "ino:"} {
				if !strings.Contains(other, word) {
					t.Errorf("%q, without %q: %+v", other, word, got)
				}
			}
		}
	})
}

// The host's words for what an inotify watches (inotify_fdinfo), and nothing else, are read as what they say.
func FuzzParseWatch(f *testing.F) {
	f.Add(int32(3), "pos:\t0\n")
	f.Add(int32(1<<31-1), "inotify wd:\n")
	f.Add(int32(0), "inotify wd:-1 ino:1\n")
	f.Fuzz(func(t *testing.T, wd int32, other string) {
		wd &= 1<<31 - 1
		line := fmt.Sprintf("inotify wd:%x ino:%x sdev:%x mask:%x ignored_mask:0 ", wd, 0x9e7e, 0x800013, 0x800)
		if got, ok := parseWatch(line); !ok || got != wd {
			t.Errorf("%q: %d, %v; want %d", line, got, ok, wd)
		}
		for cut := range strings.Index(line, " ino:") {
			if got, ok := parseWatch(line[:cut]); ok {
				t.Errorf("%q: %d", line[:cut], got)
			}
		}
		if got, ok := parseWatch(other); ok && (got < 0 || !strings.HasPrefix(other, "inotify wd:")) {
			t.Errorf("%q: %d", other, got)
		}
	})
}

// The host tells what waits in a local socket, and no longer when it has been received.
func TestWaitingFDs(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	waiting := func() int {
		info, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", pair[1]))
		if err != nil {
			t.Fatal(err)
		}
		return waitingFDs(info)
	}
	if n := waiting(); n != 0 {
		t.Errorf("%d wait, and none was sent", n)
	}
	if err := unix.Sendmsg(pair[0], []byte{0}, unix.UnixRights(pair[0], pair[1]), nil, 0); err != nil {
		t.Fatal(err)
	}
	if n := waiting(); n != 2 {
		t.Errorf("%d wait, want 2", n)
	}
	if _, err := unix.Read(pair[1], make([]byte, 1)); err != nil { // which closes them
		t.Fatal(err)
	}
	if n := waiting(); n != 0 {
		t.Errorf("%d wait, and all were received", n)
	}
}

// The host's words for that (unix_show_fdinfo), and nothing else, are read as what they say.
func FuzzWaitingFDs(f *testing.F) {
	f.Add(uint16(2), "pos:\t0\nflags:\t02\n")
	f.Add(uint16(0), "scm_fds: -1\n")
	f.Add(uint16(65535), "scm_fds: 99999999999999999999\n")
	f.Fuzz(func(t *testing.T, n uint16, other string) {
		if got := waitingFDs(fmt.Appendf(nil, "%s\nscm_fds: %d\n", other, n)); got != int(n) {
			t.Errorf("%q, %d: %d", other, n, got)
		}
		if got := waitingFDs([]byte(other)); got < 0 || got > 0 && !strings.Contains(other, "scm_fds:") {
			t.Errorf("%q: %d", other, got)
		}
	})
}
