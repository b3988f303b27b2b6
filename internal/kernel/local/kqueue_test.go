package local_test

import (
	"errors"
	"testing"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// An EV_CLEAR note of one direction does not fire for the other: data that come
// in say nothing about room, and room that comes says nothing about data.
func TestClearNotes(t *testing.T) {
	c, ctx := client(t, netbsd.AMD64), t.Context()
	a, b := pair(t, c, netbsd.SOCK_STREAM)
	kq, err := c.Kqueue(ctx)
	if err != nil {
		t.Fatal(err)
	}
	// happened gives the filters of the events that there are.
	happened := func(changes ...netbsd.Kevent) (filters []uint32) {
		t.Helper()
		events := make([]netbsd.Kevent, 8)
		n, err := c.Kevent(ctx, kq, changes, events, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, ev := range events[:n] {
			filters = append(filters, ev.Filter)
		}
		return filters
	}
	expect := func(what string, got []uint32, want ...uint32) {
		t.Helper()
		if len(got) != len(want) || len(want) == 1 && got[0] != want[0] {
			t.Errorf("%s: events of the filters %v, want %v", what, got, want)
		}
	}
	note := func(filter uint32) netbsd.Kevent {
		return netbsd.Kevent{Ident: netbsd.Ptr(a.Int()), Filter: filter, Flags: netbsd.EV_ADD | netbsd.EV_CLEAR}
	}
	expect("room at first", happened(note(netbsd.EVFILT_READ), note(netbsd.EVFILT_WRITE)), netbsd.EVFILT_WRITE)
	expect("nothing new", happened())
	buf := make([]byte, 1000)
	for range 3 {
		if _, err := c.Write(ctx, b, buf); err != nil {
			t.Fatal(err)
		}
		expect("data", happened(), netbsd.EVFILT_READ)
	}
	if _, err := c.Read(ctx, a, make([]byte, 3000)); err != nil {
		t.Fatal(err)
	}
	expect("data are read", happened())
	for {
		if _, err := c.Sendmsg(ctx, a, &spclient.Message{Buffers: [][]byte{buf}}, netbsd.MSG_DONTWAIT); err != nil {
			if !errors.Is(err, netbsd.EAGAIN) {
				t.Fatal(err)
			}
			break
		}
	}
	expect("no room", happened())
	if _, err := c.Read(ctx, b, make([]byte, 8192)); err != nil {
		t.Fatal(err)
	}
	expect("room", happened(), netbsd.EVFILT_WRITE)
}

// recvmsg(2) gives back the flags that it was called with, beside its own
// (MSG_USERFLAGS), and a control buffer for no message is none.
func TestMessageFlags(t *testing.T) {
	c, ctx := client(t, netbsd.AMD64), t.Context()
	a, b := pair(t, c, netbsd.SOCK_DGRAM)
	if _, err := c.Write(ctx, a, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	const flags = netbsd.MSG_PEEK | netbsd.MSG_DONTWAIT
	m := spclient.Message{Buffers: [][]byte{make([]byte, 8)}}
	if n, err := c.Recvmsg(ctx, b, &m, flags); n != 5 || err != nil || m.Flags != flags {
		t.Errorf("peek: %d bytes, flags %#x, %v", n, m.Flags, err)
	}
	m = spclient.Message{Buffers: [][]byte{make([]byte, 3)}}
	if n, err := c.Recvmsg(ctx, b, &m, 0); n != 3 || err != nil || m.Flags != netbsd.MSG_TRUNC {
		t.Errorf("cut: %d bytes, flags %#x, %v", n, m.Flags, err)
	}
	short := spclient.Message{Buffers: [][]byte{[]byte("x")}, Control: make([]byte, 8)}
	if _, err := c.Sendmsg(ctx, a, &short, 0); !errors.Is(err, netbsd.EINVAL) {
		t.Errorf("control data shorter than a head: %v", err)
	}
}
