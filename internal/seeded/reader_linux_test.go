package seeded

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pair makes S and K, with a seed.
func pair(t *testing.T) (s, k int) {
	t.Helper()
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(p[0]) })
	if err := Sow(p[0]); err != nil {
		t.Fatal(err)
	}
	return p[0], p[1]
}

func say(t *testing.T, s int, p []byte) {
	t.Helper()
	if n, err := unix.Write(s, p); n != len(p) {
		t.Fatalf("wrote %d bytes of %d and %v", n, len(p), err)
	}
}

// take reads all that is there, by so many bytes at most.
func take(t *testing.T, r *Reader, most int) []byte {
	t.Helper()
	var got []byte
	b := make([]byte, most)
	for r.Ready() > 0 {
		n, err := r.Read(b)
		if err != nil || n == 0 {
			t.Fatalf("read %d bytes and %v", n, err)
		}
		got = append(got, b[:n]...)
		if queued(r.fd) == 0 {
			t.Fatal("nothing is left behind")
		}
	}
	return got
}

// Whatever the sizes of writes and reads are, all comes once, in order, and a byte is left at
// all times, so that the end of who reads is a reset.
func TestReader(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		s, k := pair(t)
		r := NewReader(k, true)
		if n := r.Ready(); n != 0 {
			t.Fatalf("%d bytes are there at first", n)
		}
		if e := r.Ended(); e != unix.EAGAIN {
			t.Fatalf("it has ended: %v", e)
		}
		var want, got []byte
		for range 1 + rng.IntN(20) {
			for range rng.IntN(4) {
				p := make([]byte, rng.IntN(1<<rng.IntN(15)))
				for i := range p {
					p[i] = byte(rng.Uint32())
				}
				say(t, s, p)
				want = append(want, p...)
			}
			if rng.IntN(3) > 0 {
				got = append(got, take(t, &r, 1+rng.IntN(1<<rng.IntN(16)))...)
				if n := Waiting(k); n != 0 {
					t.Fatalf("%d bytes wait", n)
				}
				if e := r.Ended(); e != unix.EAGAIN {
					t.Fatalf("it has ended: %v", e)
				}
			}
		}
		unix.Close(k)
		if !bytes.HasPrefix(want, got) {
			t.Fatalf("%d bytes of %d, or others", len(got), len(want))
		}
		if _, err := unix.Read(s, make([]byte, 1)); err != unix.ECONNRESET {
			t.Fatalf("the other end reads %v", err)
		}
	}
}

// The seed may come late, and be all that comes.
func TestSeedLate(t *testing.T) {
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(p[1])
	r := NewReader(p[1], true)
	if n, e := r.Ready(), r.Ended(); n != 0 || e != unix.EAGAIN {
		t.Errorf("before the seed: %d bytes, %v", n, e)
	}
	if err := Sow(p[0]); err != nil {
		t.Fatal(err)
	}
	if n, e := r.Ready(), r.Ended(); n != 0 || e != unix.EAGAIN {
		t.Errorf("with the seed: %d bytes, %v", n, e)
	}
	say(t, p[0], []byte("hello"))
	if got := take(t, &r, 100); string(got) != "hello" {
		t.Errorf("%q", got)
	}
	unix.Close(p[0])
	if e := r.Ended(); e != 0 {
		t.Errorf("closed: %v", e)
	}
}

// Ends are told behind all that came before, and apart from each other.
func TestEnded(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(s, k int)
		want unix.Errno
	}{
		{"shutdown", func(s, _ int) { unix.Shutdown(s, unix.SHUT_WR) }, 0},
		{"close", func(s, _ int) { unix.Close(s) }, 0},
		{"close with data unread", func(s, k int) {
			unix.Write(k, []byte("unread"))
			unix.Close(s)
		}, unix.ECONNRESET},
	} {
		for _, data := range []string{"", "x", "several"} {
			p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
			if err != nil {
				t.Fatal(err)
			}
			Sow(p[0])
			r := NewReader(p[1], true)
			unix.Write(p[0], []byte(data))
			test.end(p[0], p[1])
			if data != "" {
				if e := r.Ended(); e != unix.EBUSY {
					t.Errorf("%s with %q: %v", test.name, data, e)
				}
			}
			if got := take(t, &r, 3); string(got) != data {
				t.Errorf("%s: %q of %q", test.name, got, data)
			}
			if e := r.Ended(); e != test.want {
				t.Errorf("%s after %q: %v, want %v", test.name, data, e, test.want)
			}
			unix.Close(p[1])
		}
	}
}

// With nothing left behind, the end of K is one in order.
func TestDrain(t *testing.T) {
	s, k := pair(t)
	r := NewReader(k, true)
	say(t, s, []byte("all"))
	take(t, &r, 10)
	unix.Shutdown(s, unix.SHUT_WR)
	unix.Shutdown(k, unix.SHUT_WR)
	Drain(k)
	unix.Close(k)
	if n, err := unix.Read(s, make([]byte, 1)); n != 0 || err != nil {
		t.Errorf("read %d and %v", n, err)
	}
	if _, err := unix.Write(s, []byte("x")); err != unix.EPIPE {
		t.Errorf("write: %v", err)
	}
	if v, err := unix.GetsockoptInt(s, unix.SOL_SOCKET, unix.SO_ERROR); v != 0 || err != nil {
		t.Errorf("SO_ERROR is %d, %v", v, err)
	}
}

// A reader without a seed takes all.
func TestReaderPlain(t *testing.T) {
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(p[1])
	r := NewReader(p[1], false)
	say(t, p[0], []byte("hello"))
	b := make([]byte, 10)
	if r.Ready(); r.Len() != 5 {
		t.Errorf("%d bytes", r.Len())
	}
	if n, err := r.Read(b); string(b[:n]) != "hello" || err != nil {
		t.Errorf("%q, %v", b[:n], err)
	}
	if _, err := r.Read(b); !errors.Is(err, io.EOF) {
		t.Errorf("behind what is there: %v", err)
	}
	if n, e := r.Ready(), r.Ended(); n != 0 || e != unix.EAGAIN {
		t.Errorf("%d bytes, %v", n, e)
	}
	unix.Close(p[0])
	if n, e := r.Ready(), r.Ended(); n != 0 || e != 0 {
		t.Errorf("closed: %d bytes, %v", n, e)
	}
}

// What somebody else takes is an error, and no hang.
func TestReaderRobbed(t *testing.T) {
	s, k := pair(t)
	defer unix.Close(k)
	r := NewReader(k, true)
	say(t, s, []byte("hello"))
	r.Ready()
	Drain(k)
	if n, err := r.Read(make([]byte, 10)); n != 0 || err != unix.EAGAIN {
		t.Errorf("read %d and %v", n, err)
	}
}

// TestMinSendBuffer: with it, S can be written for poll(2) although the last byte of the
// longest piece that there is has not been read; with much less it cannot.
func TestMinSendBuffer(t *testing.T) {
	file, err := unix.MemfdCreate("file", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(file)
	if _, err := unix.Write(file, make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		size, write int
		sendfile    bool
		want        bool
	}{
		{MinSendBuffer, 1 << 20, false, true}, {MinSendBuffer, 20_000, false, true}, {MinSendBuffer, 1, false, true},
		{1, 1 << 20, false, false}, {4096, 1 << 20, false, false},
		{MinSendBuffer, 60_000, true, true}, {MinSendBuffer, 64 << 10, true, true}, {MinSendBuffer, 1 << 20, true, true},
		{32 << 10, 64 << 10, true, false},
	} {
		s, k := pair(t)
		if err := unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_SNDBUF, test.size); err != nil {
			t.Fatal(err)
		}
		if v, err := unix.GetsockoptInt(s, unix.SOL_SOCKET, unix.SO_SNDBUF); err != nil || v < 2*test.size {
			t.Skipf("this host's net.core.wmem_max allows SO_SNDBUF %d only: %v", v/2, err)
		}
		r := NewReader(k, true)
		for range 3 {
			for {
				var err error
				if test.sendfile {
					_, err = unix.Sendfile(s, file, new(int64), test.write)
				} else {
					_, err = unix.Write(s, make([]byte, test.write))
				}
				if err != nil {
					break
				}
			}
			take(t, &r, 4096)
		}
		p := []unix.PollFd{{Fd: int32(s), Events: unix.POLLOUT}}
		if n, err := unix.Poll(p, 0); err != nil || n == 1 != test.want {
			t.Errorf("SO_SNDBUF %d, writes of %d bytes (sendfile %v): writable is %v, want %v (%v)", test.size, test.write, test.sendfile, n == 1, test.want, err)
		}
		unix.Close(k)
	}
}

// A stream, written and read at the same time.
func TestReaderStream(t *testing.T) {
	s, k := pair(t)
	defer unix.Close(k)
	const size = 8 << 20
	go func() {
		unix.SetNonblock(s, false)
		p := make([]byte, 65_536)
		n := 0
		for n < size {
			for i := range p {
				p[i] = byte((n + i) % 251)
			}
			unix.Write(s, p)
			n += len(p)
		}
		unix.Shutdown(s, unix.SHUT_WR)
	}()
	r := NewReader(k, true)
	b := make([]byte, 50_000)
	fds := []unix.PollFd{{Fd: int32(k), Events: unix.POLLRDHUP}}
	end := time.Now().Add(time.Minute)
	for at := 0; ; {
		if r.Ready() == 0 {
			switch e := r.Ended(); e {
			case 0:
				if at != size {
					t.Fatalf("%d bytes of %d", at, size)
				}
				return
			case unix.EAGAIN:
				unix.Poll(fds, 1)
			case unix.EBUSY:
			default:
				t.Fatal(e)
			}
			if time.Now().After(end) {
				t.Fatalf("%d bytes and no end", at)
			}
			continue
		}
		n, err := r.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			if b[i] != byte((at+i)%251) {
				t.Fatalf("byte %d is %d", at+i, b[i])
			}
		}
		at += n
	}
}
