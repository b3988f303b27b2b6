package shmif

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"math/bits"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func newPath(t testing.TB) string { return filepath.Join(t.TempDir(), "bus") }

func openBus(t testing.TB, path string, options ...Option) *Bus {
	t.Helper()
	b, err := Open(path, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// limit is how long a test waits for what must happen.
const limit = 20 * time.Second

// within fails the test if f does not return in time.
func within(t testing.TB, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(limit):
		buf := make([]byte, 1<<16)
		t.Fatalf("%s hangs\n%s", what, buf[:runtime.Stack(buf, true)])
	}
}

// recv gets the next frame, which must come.
func recv(t testing.TB, b *Bus) []byte {
	t.Helper()
	buf := make([]byte, MaxFrame)
	var n int
	var err error
	within(t, "Recv", func() { n, err = b.Recv(buf) })
	if err != nil {
		t.Fatalf("Recv: %v", err)
	}
	return buf[:n]
}

func mustSend(t testing.TB, b *Bus, frame []byte) {
	t.Helper()
	if err := b.Send(frame); err != nil {
		t.Fatal(err)
	}
}

func TestSendRecv(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	a, b := openBus(t, path), openBus(t, path)
	if a.Path() != path || a.Sender() == b.Sender() {
		t.Errorf("path %q, senders %x, %x", a.Path(), a.Sender(), b.Sender())
	}
	for i, n := range []int{minFrame, 60, 61, 1513, MaxFrame} {
		f := numbered(uint64(2*i), n)
		mustSend(t, a, f)
		if got := recv(t, b); !bytes.Equal(got, f) {
			t.Fatalf("%d bytes came as %d others", n, len(got))
		}
		// Now a finds its own frame and b's.
		f = numbered(uint64(2*i+1), n)
		mustSend(t, b, f)
		if got := recv(t, a); !bytes.Equal(got, f) {
			t.Fatalf("%d bytes came back as %d others", n, len(got))
		}
	}
	if s := a.Stats(); s.Sent != 5 || s.Received != 5 || s.Overruns != 0 || s.Resyncs != 0 || s.Resets != 0 {
		t.Errorf("%+v", s)
	}
	if got := recv(t, openBus(t, path)); !bytes.Equal(got, numbered(9, MaxFrame)) {
		t.Error("a new party does not begin with the newest frame")
	}

	// Restart gives the newest frame again, and none of those before.
	mustSend(t, b, numbered(20, 60))
	mustSend(t, b, numbered(21, 60))
	a.Restart()
	if got := recv(t, a); !bytes.Equal(got, numbered(21, 60)) {
		t.Error("Restart does not begin with the newest frame")
	}

	mustSend(t, b, numbered(22, 60))
	if n, err := a.Recv(make([]byte, 20)); n != 20 || err == nil || !errors.Is(err, io.ErrShortBuffer) {
		t.Errorf("short buffer: %d, %v", n, err)
	}
}

// TestRestartWakes restarts a bus on which a receiver already waits.
func TestRestartWakes(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	a, b := openBus(t, path), openBus(t, path)
	mustSend(t, b, numbered(1, 60))
	recv(t, a)
	got := make(chan []byte)
	go func() {
		buf := make([]byte, MaxFrame)
		n, _ := a.Recv(buf)
		got <- buf[:n]
	}()
	a.Restart()
	select {
	case f := <-got:
		if !bytes.Equal(f, numbered(1, 60)) {
			t.Errorf("got %x", f)
		}
	case <-time.After(limit):
		t.Fatal("Recv still waits")
	}
}

// TestFile looks at the bytes of the file as other programs see them.
func TestFile(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	old := syscall.Umask(0o022)
	syscall.Umask(old)
	b := openBus(t, path)
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if fi.Size() != 1<<20 || fi.Mode() != fs.FileMode(0o644&^old) {
		t.Errorf("size %d, mode %v", fi.Size(), fi.Mode())
	}
	word := func(off int) uint32 {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return binary.NativeEndian.Uint32(data[off:])
	}
	check := func(when string, want ...uint32) {
		t.Helper()
		got := []uint32{word(0), word(4), word(16), word(20), word(24), word(28)}
		if !slices.Equal(got, want) {
			t.Errorf("%s: magic, version, first, last, lock, spare are %x, want %x", when, got, want)
		}
	}
	check("fresh", 0xca11d054, 0, 1048544, 0, 0, 0)
	b.Restart()
	check("restarted", 0xca11d054, 0, 1048544, 0, 0, 0)
	mustSend(t, b, numbered(1, 60))
	check("one frame", 0xca11d054, 3, 1048544, packetHeader, 0, 0)
	mustSend(t, b, numbered(2, 60))
	check("two frames", 0xca11d054, 3, 1048544, 2*packetHeader+60, 0, 0)
	if got := word(headerSize + packetHeader); got != 60 {
		t.Errorf("length in the first packet header: %d", got)
	}
}

func TestFrameLengths(t *testing.T) {
	t.Parallel()
	b := openBus(t, newPath(t))
	if err := b.Send(make([]byte, MaxFrame+1)); !errors.Is(err, ErrFrameTooLong) || !errors.Is(err, syscall.EMSGSIZE) {
		t.Errorf("long frame: %v", err)
	}
	if err := b.Send(make([]byte, minFrame-1)); !errors.Is(err, ErrFrameTooShort) {
		t.Errorf("short frame: %v", err)
	}
	n, err := b.SendBatch([][]byte{make([]byte, 60), make([]byte, MaxFrame+1)})
	if n != 0 || !errors.Is(err, ErrFrameTooLong) {
		t.Errorf("batch: %d, %v", n, err)
	}
	want := "send " + b.Path() + ": frame longer than 1514 bytes"
	if err == nil || err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
	if p := b.ring.peek(); p.last != 0 {
		t.Errorf("something was sent: %+v", p)
	}
}

func TestSendBatch(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	a, b := openBus(t, path), openBus(t, path)
	var frames [][]byte
	for i := range 3*batchFrames + 7 {
		frames = append(frames, numbered(uint64(i), 60+i))
	}
	if n, err := a.SendBatch(frames); n != len(frames) || err != nil {
		t.Fatal(n, err)
	}
	if n, err := a.SendBatch(nil); n != 0 || err != nil {
		t.Fatal(n, err)
	}
	for i, f := range frames {
		if got := recv(t, b); !bytes.Equal(got, f) {
			t.Fatalf("frame %d differs", i)
		}
	}
}

// TestConcurrent has many goroutines send and receive through one Bus.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	a, b := openBus(t, path), openBus(t, path)
	const parties, each = 4, 100 // less than the ring holds
	var senders, receivers sync.WaitGroup
	var mu sync.Mutex
	seen := make(map[uint64]int)
	for range parties {
		receivers.Go(func() {
			buf := make([]byte, MaxFrame)
			for {
				n, err := b.Recv(buf)
				if err != nil {
					if !errors.Is(err, net.ErrClosed) {
						t.Error(err)
					}
					return
				}
				k := binary.NativeEndian.Uint64(buf)
				if !bytes.Equal(buf[:n], numbered(k, n)) {
					t.Errorf("frame %d differs", k)
				}
				mu.Lock()
				seen[k]++
				done := len(seen) == parties*each
				mu.Unlock()
				if done {
					b.Close()
				}
			}
		})
	}
	for p := range parties {
		senders.Go(func() {
			for i := range each {
				k := p*each + i
				if err := a.Send(numbered(uint64(k), 60+k%1000)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	within(t, "exchange", func() { senders.Wait(); receivers.Wait() })
	for k, n := range seen {
		if n != 1 {
			t.Errorf("frame %d came %d times", k, n)
		}
	}
}

func TestOverrun(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	a, b := openBus(t, path), openBus(t, path)
	const total = 2000 // almost three rings
	for i := range total {
		mustSend(t, a, numbered(uint64(i), MaxFrame))
	}
	expect := uint64(total - RingSize/(MaxFrame+packetHeader))
	for k := expect; k < total; k++ {
		f := recv(t, b)
		if got := binary.NativeEndian.Uint64(f); got != k || !bytes.Equal(f, numbered(k, MaxFrame)) {
			t.Fatalf("frame %d, want %d", got, k)
		}
	}
	if s := b.Stats(); s.Overruns != 1 || s.Received != total-expect {
		t.Errorf("%+v", s)
	}
}

func TestClose(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	for i := range 50 {
		a, b := openBus(t, path), openBus(t, path)
		var work sync.WaitGroup
		for range 2 {
			work.Go(func() {
				buf := make([]byte, MaxFrame)
				for {
					if _, err := a.Recv(buf); err != nil {
						if !errors.Is(err, net.ErrClosed) {
							t.Errorf("Recv: %v", err)
						}
						return
					}
				}
			})
			work.Go(func() {
				for {
					if err := a.Send(numbered(1, 60)); err != nil {
						if !errors.Is(err, net.ErrClosed) {
							t.Errorf("Send: %v", err)
						}
						return
					}
					if i%2 == 0 {
						runtime.Gosched()
					}
				}
			})
		}
		for range i {
			mustSend(t, b, numbered(2, 200))
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
		within(t, "work after Close", work.Wait)
		if err := a.Close(); err != nil {
			t.Errorf("second Close: %v", err)
		}
		if _, err := a.Recv(nil); err != net.ErrClosed {
			t.Errorf("Recv after Close: %v", err)
		}
		if err := a.Send(make([]byte, 60)); err != net.ErrClosed {
			t.Errorf("Send after Close: %v", err)
		}
		a.Restart()
		a.Stats()
		b.Close()
	}
}

// TestCloseWakes closes a Bus on which nothing happens.
func TestCloseWakes(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"watching", "polling"} {
		b := openBus(t, newPath(t))
		if name == "polling" {
			b.waiter.close()
			b.waiter = poller{pollInterval, b.done}
		}
		done := make(chan error)
		go func() {
			_, err := b.Recv(make([]byte, MaxFrame))
			done <- err
		}()
		b.Close()
		select {
		case err := <-done:
			if err != net.ErrClosed {
				t.Errorf("%s: %v", name, err)
			}
		case <-time.After(limit):
			t.Fatalf("%s: Recv still waits", name)
		}
	}
}

func TestPolling(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	a, b := openBus(t, path), openBus(t, path)
	b.waiter.close()
	b.waiter = poller{pollInterval, b.done}
	for i := range 20 {
		mustSend(t, a, numbered(uint64(i), 60))
		if got := recv(t, b); !bytes.Equal(got, numbered(uint64(i), 60)) {
			t.Fatalf("frame %d differs", i)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	header := func(magic, version uint32, size int) []byte {
		data := make([]byte, size)
		binary.NativeEndian.PutUint32(data, magic)
		binary.NativeEndian.PutUint32(data[4:], version)
		return data
	}
	disk := make([]byte, 4<<20) // a disk image begins with zeros, too
	copy(disk[1<<15:], "CD001")
	for _, test := range []struct {
		name string
		data []byte
		want error
		text string
	}{
		{"text", []byte("#!/bin/sh\necho hello, this is longer than a header\n"), ErrNotBus, "not a shmif bus"},
		{"short text", []byte("hi\n"), ErrNotBus, "not a shmif bus"},
		{"zeros and more", disk, ErrNotBus, "not a shmif bus"},
		{"zeros and more within a bus", disk[:1<<20], ErrNotBus, "not a shmif bus"},
		{"too many zeros", make([]byte, 1<<20+1), ErrNotBus, "not a shmif bus"},
		{"other byte order", header(bits.ReverseBytes32(Magic), 0, FileSize), ErrByteOrder, "shmif bus of a host with the other byte order"},
		{"version", header(Magic, 2, FileSize), ErrVersion, "shmif bus of version 2, not 3"},
	} {
		path := newPath(t)
		if err := os.WriteFile(path, test.data, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Open(path)
		if !errors.Is(err, test.want) || !errors.Is(err, syscall.ENOEXEC) {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if want := "open " + path + ": " + test.text; err.Error() != want {
			t.Errorf("%s: error %q, want %q", test.name, err, want)
		}
		if after, _ := os.ReadFile(path); !bytes.Equal(after, test.data) {
			t.Errorf("%s: the file was changed", test.name)
		}
	}

	dir := t.TempDir()
	if _, err := Open(dir); !errors.Is(err, syscall.EISDIR) {
		t.Errorf("directory: %v", err)
	}
	if _, err := Open(filepath.Join(dir, "no", "such")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no such directory: %v", err)
	}
	if _, err := Open(os.DevNull); !errors.Is(err, ErrNotRegular) {
		t.Errorf("device: %v", err)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(fifo); !errors.Is(err, ErrNotRegular) || !errors.Is(err, syscall.ENOEXEC) {
		t.Errorf("fifo: %v", err)
	}
}

// TestOpenAccepts has what real kernels leave, or are about to fill in.
func TestOpenAccepts(t *testing.T) {
	t.Parallel()
	used := newPath(t)
	a := openBus(t, used)
	mustSend(t, a, numbered(1, 60))
	a.Close()
	data, err := os.ReadFile(used)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		data []byte
		size int64
	}{
		{"empty", nil, FileSize},
		{"zeros", make([]byte, FileSize), FileSize},
		{"short", make([]byte, 100), FileSize},
		{"used", data, FileSize},
		{"used, cut", data[:4096], FileSize},
		{"used, longer", append(bytes.Clone(data), "more"...), FileSize + 4},
	} {
		path := newPath(t)
		if err := os.WriteFile(path, test.data, 0o600); err != nil {
			t.Fatal(err)
		}
		b, err := Open(path)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if strings.HasPrefix(test.name, "used") {
			if got := recv(t, b); !bytes.Equal(got, numbered(1, 60)) {
				t.Errorf("%s: another frame", test.name)
			}
		}
		c := openBus(t, path)
		mustSend(t, b, numbered(2, 60))
		for {
			if got := recv(t, c); bytes.Equal(got, numbered(2, 60)) {
				break
			}
		}
		if fi, _ := os.Stat(path); fi.Size() != test.size {
			t.Errorf("%s: size %d, want %d", test.name, fi.Size(), test.size)
		}
		b.Close()
	}
}

// TestGone takes the file's contents away under a bus in use.
func TestGone(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(string) error{
		"truncated": func(path string) error { return os.Truncate(path, 0) },
		"overwritten": func(path string) error {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = f.WriteString("#!/bin/sh\n")
			return err
		},
	} {
		path := newPath(t)
		b := openBus(t, path)
		done := make(chan error)
		go func() {
			_, err := b.Recv(make([]byte, MaxFrame))
			done <- err
		}()
		if err := spoil(path); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-done:
			if !errors.Is(err, ErrGone) || !strings.HasPrefix(err.Error(), "receive "+path+": ") {
				t.Errorf("%s: Recv: %v", name, err)
			}
		case <-time.After(limit):
			t.Errorf("%s: Recv still waits", name)
		}
		if err := b.Send(numbered(1, 60)); !errors.Is(err, ErrGone) || !errors.Is(err, syscall.EIO) {
			t.Errorf("%s: Send: %v", name, err)
		}
		b.Close()
		if _, err := b.Recv(nil); err != net.ErrClosed {
			t.Errorf("%s: Recv after Close: %v", name, err)
		}
	}
}

// TestCutShort leaves the header of the file but takes the ring's end away.
func TestCutShort(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	a := openBus(t, path)
	if err := os.Truncate(path, int64(os.Getpagesize())); err != nil {
		t.Fatal(err)
	}
	var err error
	for range 200 {
		if err = a.Send(numbered(1, MaxFrame)); err != nil {
			break
		}
	}
	if !errors.Is(err, ErrGone) {
		t.Errorf("Send beyond the file's end: %v", err)
	}
}

// TestScribble lets somebody write nonsense to the bus while it is in use.
// Nobody panics or hangs, and in the end frames get through.
func TestScribble(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	a, b := openBus(t, path, WithLockTimeout(limit)), openBus(t, path)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i := range 300 {
		for k := range 10 {
			mustSend(t, a, numbered(uint64(i*10+k), 60+i))
		}
		var word [4]byte
		binary.NativeEndian.PutUint32(word[:], uint32(i)*2654435761)
		off := []int64{offFirst, offLast, offGeneration, offGeneration + 4, headerSize + int64(i)*333}[i%5]
		f.WriteAt(word[:], off)
	}
	end := numbered(1<<40, 99)
	mustSend(t, a, end)
	within(t, "reading on", func() {
		buf := make([]byte, MaxFrame)
		for {
			n, err := b.Recv(buf)
			if err != nil {
				t.Error(err)
				return
			}
			if bytes.Equal(buf[:n], end) {
				return
			}
		}
	})
	if s := a.Stats(); s.Resets == 0 {
		t.Errorf("sender: %+v", s)
	}
}
