package label

import (
	"bytes"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// connectedPair are two UDP sockets, the second connected to the first.
func connectedPair(t testing.TB) (program, kept int) {
	t.Helper()
	var fds [2]int
	for i := range fds {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
			t.Fatal(err)
		}
		fds[i] = fd
	}
	sa, err := unix.Getsockname(fds[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Connect(fds[1], sa); err != nil {
		t.Fatal(err)
	}
	if err := Ask(fds[0]); err != nil {
		t.Fatal(err)
	}
	return fds[0], fds[1]
}

func newTable(t testing.TB) int {
	t.Helper()
	table, err := NewTable()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(table) })
	return table
}

// What is said of a datagram is there for who asks, as long as it waits, however many others have come.
func TestLabels(t *testing.T) {
	program, kept := connectedPair(t)
	table := newTable(t)
	if !IsTable(table) || IsTable(program) {
		t.Error("what is a table is none, or the other way round")
	}
	writers := []*Writer{NewWriter(table, First), NewWriter(table, Second)}
	type datagram struct{ data, from, control string }
	var waiting []datagram
	receive := func() {
		t.Helper()
		buf, oob := make([]byte, 100), make([]byte, Room)
		n, oobn, flags, _, err := unix.Recvmsg(program, buf, oob, unix.MSG_DONTWAIT)
		if err != nil || flags&unix.MSG_CTRUNC != 0 {
			t.Fatalf("recvmsg: %v, %#x", err, flags)
		}
		number, ok := Of(oob[:oobn])
		if !ok {
			t.Fatal("no label")
		}
		from, control, cut, ok := Read(table, number)
		got := datagram{string(buf[:n]), string(from), string(control)}
		if want := waiting[0]; got != want || cut || !ok {
			t.Fatalf("%q, %v, %v, want %q", got, cut, ok, want)
		}
		waiting = waiting[1:]
	}
	for i := range 3 * Entries {
		d := datagram{fmt.Sprint(i), "the sender", fmt.Sprint("control of ", i)}
		if i%3 == 0 {
			d.control = "" // one that all of these share
		}
		w := writers[i%2]
		number, err := w.Label([]byte(d.from), []byte(d.control))
		if err != nil {
			t.Fatal(err)
		}
		if e := Send(kept, []byte(d.data), number); e != 0 {
			t.Fatal(e)
		}
		if waiting = append(waiting, d); len(waiting) == 100 {
			receive()
		}
	}
	for len(waiting) > 0 {
		receive()
	}
}

// As many datagrams as can wait keep what was said of them while each new one has something else.
func TestRoom(t *testing.T) {
	program, sender := connectedPair(t)
	if err := unix.SetsockoptInt(program, unix.SOL_SOCKET, unix.SO_RCVBUF, MaxReceiveBuffer); err != nil {
		t.Fatal(err)
	}
	table := newTable(t)
	w := NewWriter(table, Second)
	old, err := w.Label([]byte("old"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range half - kept {
		if _, err := w.Label([]byte("new"), fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	// This has the entry for the last time.
	if again, err := w.Label([]byte("old"), nil); err != nil || again == old {
		t.Errorf("%d, %v: an entry that will soon be written over", again, err)
	} else {
		old = again
	}
	Send(sender, []byte("old"), old)
	for i := range kept {
		number, err := w.Label([]byte("newer"), fmt.Append(nil, i))
		if err != nil {
			t.Fatal(err)
		}
		Send(sender, nil, number)
	}
	if from, _, _, ok := Read(table, old); !ok || string(from) != "old" {
		t.Errorf("%q, %v", from, ok)
	}
	waiting := 0
	for {
		if _, err := unix.Read(program, make([]byte, 100)); err != nil {
			break
		}
		waiting++
		if polled := []unix.PollFd{{Fd: int32(program), Events: unix.POLLIN}}; true {
			if n, _ := unix.Poll(polled, 0); n == 0 {
				break
			}
		}
	}
	if waiting > kept {
		t.Errorf("%d datagrams wait, and %d entries are kept", waiting, kept)
	}
}

// What cannot be said, and what is none.
func TestLimits(t *testing.T) {
	table := newTable(t)
	w := NewWriter(table, First)
	if _, err := w.Label(make([]byte, 256), nil); err == nil {
		t.Error("an address of 256 bytes has a label")
	}
	from := bytes.Repeat([]byte("a"), 28)
	for _, tt := range []struct {
		control int
		cut     bool
	}{{entrySize - headSize - 28, false}, {entrySize - headSize - 27, true}, {5000, true}} {
		number, err := w.Label(from, bytes.Repeat([]byte("c"), tt.control))
		if err != nil {
			t.Fatal(err)
		}
		addr, control, cut, ok := Read(table, number)
		if !ok || cut != tt.cut || !bytes.Equal(addr, from) || !tt.cut && len(control) != tt.control || tt.cut && len(control) != 0 {
			t.Errorf("%d bytes: %q, %d bytes, %v, %v", tt.control, addr, len(control), cut, ok)
		}
	}
	for _, number := range []int{-1, Entries} {
		if _, _, _, ok := Read(table, number); ok {
			t.Errorf("there is an entry %d", number)
		}
	}
	// Whoever shares the table can write anything there.
	for _, head := range [][]byte{{255, 0, 255, 255}, {255, 1, 253, 0}, {0, 9, 0, 2}} {
		if _, err := unix.Pwrite(table, head, 0); err != nil {
			t.Fatal(err)
		}
		Read(table, 0)
	}
	if _, err := unix.Pwrite(table, []byte{0}, Entries*entrySize); err == nil {
		t.Error("the table can be made longer")
	}
}

func FuzzOf(f *testing.F) {
	program, kept := connectedPair(f)
	Send(kept, nil, Entries-1)
	oob := make([]byte, Room)
	_, n, _, _, err := unix.Recvmsg(program, nil, oob, 0)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(oob[:n])
	f.Add(oob[:n-1])
	f.Fuzz(func(t *testing.T, b []byte) {
		if number, ok := Of(b); ok && (number < 0 || number >= Entries) {
			t.Errorf("label %d", number)
		}
	})
}
