//go:build amd64 || arm64

package hijack

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// joinedStream makes an S that is connected to a kept K.
func joinedStream(t *testing.T) (s int, k *kept, gone chan struct{}) {
	t.Helper()
	h, err := newHub(filepath.Join(t.TempDir(), "hub"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.close)
	e, err := newEnds(&supervisor{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.close)
	if s, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		t.Fatal(err)
	}
	fd, err := h.join(s)
	if err != nil {
		t.Fatal(err)
	}
	gone = make(chan struct{})
	if k, err = e.keep(fd, func() { close(gone) }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.close)
	return s, k, gone
}

// What the program sends comes, and nothing else; that K is closed is a reset unless it was
// settled.
func TestKept(t *testing.T) {
	for _, settled := range []bool{false, true} {
		s, k, _ := joinedStream(t)
		defer unix.Close(s)
		if n := k.waiting(); n != 0 {
			t.Errorf("%d bytes wait at first", n)
		}
		b := make([]byte, 10)
		for _, text := range []string{"a", "bc", "0123456789"} {
			go func() {
				time.Sleep(time.Millisecond)
				unix.Write(s, []byte(text))
			}()
			for got := ""; got != text; {
				n, err := k.readStream(b)
				if got += string(b[:n]); err != nil || len(got) > len(text) {
					t.Fatalf("read %q and %v, want %q", got, err, text)
				}
			}
			if n := k.waiting(); n != 0 {
				t.Errorf("%d bytes wait", n)
			}
		}
		k.stopReading()
		if n, err := k.readStream(b); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a read that was stopped: %d, %v", n, err)
		}
		k.resumeReading()
		unix.Write(s, []byte("late"))
		if n := k.waiting(); n != 4 {
			t.Errorf("%d bytes wait, not 4", n)
		}
		unix.Shutdown(s, unix.SHUT_WR)
		if n, err := k.readStream(b); string(b[:n]) != "late" || err != nil {
			t.Errorf("read %q, %v", b[:n], err)
		}
		if n, err := k.readStream(b); n != 0 || err != io.EOF {
			t.Errorf("after the end: %d, %v", n, err)
		}
		want := error(unix.ECONNRESET)
		if settled {
			k.settle()
			want = nil
		}
		k.close()
		if n, err := unix.Read(s, b); n > 0 || err != want {
			t.Errorf("settled %v: the program reads %d, %v", settled, n, err)
		}
		if _, err := k.readStream(b); !errors.Is(err, os.ErrClosed) {
			t.Errorf("read of what is closed: %v", err)
		}
	}
}

// A program that closes with data unread, and one that closes in order.
func TestKeptClosed(t *testing.T) {
	for _, unread := range []bool{false, true} {
		s, k, gone := joinedStream(t)
		want := io.EOF
		if unread {
			k.Write([]byte("unread"))
			want = unix.ECONNRESET
		}
		unix.Write(s, []byte("bye"))
		unix.Close(s)
		<-gone
		b := make([]byte, 10)
		if n, err := k.readStream(b); string(b[:n]) != "bye" || err != nil {
			t.Errorf("read %q, %v", b[:n], err)
		}
		if n, err := k.readStream(b); n != 0 || err != want {
			t.Errorf("unread %v: %d, %v", unread, n, err)
		}
	}
}

// An S that is watched can be tracked when nobody has a descriptor of it but the program.
func TestTrackLater(t *testing.T) {
	e, err := newEnds(&supervisor{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.close()
	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	host, err := unix.FcntlInt(uintptr(s), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	id := e.watch(host)
	unix.Close(host)
	if id == 0 {
		t.Fatal("not watched")
	}
	gone := make(chan struct{})
	e.track(id, func() { close(gone) })
	select {
	case <-gone:
		t.Error("it is gone while it is open")
	case <-time.After(lookEach + lookEach/2):
	}
	unix.Close(s)
	select {
	case <-gone:
	case <-time.After(time.Minute):
		t.Error("its end is not noticed")
	}
}

// An S of whose end something else tells is looked at when somebody must know, and not from
// time to time, until nothing else tells.
func TestTrackTold(t *testing.T) {
	e, err := newEnds(&supervisor{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.close()
	track := func() (s int, gone chan struct{}, id int32) {
		s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if id = e.watch(s); id == 0 {
			t.Fatal("not watched")
		}
		gone = make(chan struct{})
		e.trackTold(id, func() { close(gone) })
		return s, gone, id
	}
	isGone := func(gone chan struct{}) bool {
		select {
		case <-gone:
			return true
		default:
			return false
		}
	}
	s, gone, _ := track()
	if e.catchUpAll(); isGone(gone) {
		t.Error("it is gone while it is open")
	}
	unix.Close(s)
	time.Sleep(lookEach + lookEach/2)
	if isGone(gone) {
		t.Error("it was looked at")
	}
	if e.catchUpAll(); !isGone(gone) {
		t.Error("its end was not noticed when somebody had to know")
	}
	s, gone, id := track()
	unix.Close(s)
	e.untold(id)
	select {
	case <-gone:
	case <-time.After(time.Minute):
		t.Error("its end is not noticed when nothing else tells")
	}
}

// Who must know waits for an end that somebody else has noticed and still acts on.
func TestCatchUpWaits(t *testing.T) {
	e, err := newEnds(&supervisor{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.close()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	begun, over := make(chan struct{}), new(atomic.Bool)
	k, err := e.keep(pair[0], func() {
		close(begun)
		time.Sleep(100 * time.Millisecond)
		over.Store(true)
	})
	if err != nil {
		t.Fatal(err)
	}
	defer k.close()
	unix.Close(pair[1])
	<-begun
	if e.catchUpAll(); !over.Load() {
		t.Error("it is not over")
	}
}

// When more sockets with names are closed at a time than inotify has room to tell of, all of their ends are noticed, and
// no other's.
func TestManyEnds(t *testing.T) {
	b, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	if err != nil {
		t.Skip(err)
	}
	room, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || room > 1<<16 {
		t.Skipf("inotify has room for %d, %v", room, err)
	}
	e, err := newEnds(&supervisor{sockDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer e.close()
	var ends atomic.Int32
	bind := func() (s int) {
		s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			_, err = e.bind(s, func() { ends.Add(1) })
		}
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	stays := bind()
	defer unix.Close(stays)
	many := room/2 + 100 // each takes the room of two
	e.reading.Lock()
	for range many {
		unix.Close(bind())
	}
	e.reading.Unlock()
	e.catchUp()
	if n := int(ends.Load()); n != many {
		t.Errorf("%d ends of %d are noticed", n, many)
	}
}
