package kernel_test

import (
	"errors"
	"testing"
	"time"

	"rumptools/internal/kernel"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// kevents applies changes and collects events without waiting.
func kevents(t *testing.T, c *spclient.Conn, kq spclient.FD, wait time.Duration, changes ...netbsd.Kevent) []netbsd.Kevent {
	t.Helper()
	events := make([]netbsd.Kevent, 8)
	n, err := c.Kevent(t.Context(), kq, changes, events, wait)
	if err != nil {
		t.Fatal(err)
	}
	return events[:n]
}

func TestKqueue(t *testing.T) {
	onMachines(t, func(t *testing.T, _ *kernel.Kernel, url string) {
		c := dial(t, url)
		ctx := t.Context()
		r, w, err := c.Pipe(ctx)
		if err != nil {
			t.Fatal(err)
		}
		kq, err := c.Kqueue(ctx)
		if err != nil {
			t.Fatal(err)
		}
		interest := netbsd.Kevent{
			Ident: netbsd.Ptr(r.Int()), Filter: netbsd.EVFILT_READ, Flags: netbsd.EV_ADD, Udata: 77,
		}
		if ev := kevents(t, c, kq, 0, interest); len(ev) != 0 {
			t.Fatalf("an empty pipe has events: %+v", ev)
		}
		if _, err := c.Write(ctx, w, []byte("abc")); err != nil {
			t.Fatal(err)
		}
		for range 2 { // level-triggered: it stays
			ev := kevents(t, c, kq, time.Second)
			if len(ev) != 1 || ev[0].Ident != interest.Ident || ev[0].Data != 3 || ev[0].Udata != 77 {
				t.Fatalf("three bytes gave %+v", ev)
			}
		}
		if _, err := c.Read(ctx, r, make([]byte, 8)); err != nil {
			t.Fatal(err)
		}
		if ev := kevents(t, c, kq, 0); len(ev) != 0 {
			t.Errorf("after the read: %+v", ev)
		}
		if err := c.CloseFD(ctx, w); err != nil {
			t.Fatal(err)
		}
		ev := kevents(t, c, kq, time.Second)
		if len(ev) != 1 || ev[0].Flags&netbsd.EV_EOF == 0 {
			t.Errorf("a closed writer gave %+v", ev)
		}
		// The note goes with its descriptor.
		if err := c.CloseFD(ctx, r); err != nil {
			t.Fatal(err)
		}
		if ev := kevents(t, c, kq, 0); len(ev) != 0 {
			t.Errorf("a closed descriptor has events: %+v", ev)
		}
		interest.Flags = netbsd.EV_DELETE
		_, err = c.Kevent(ctx, kq, []netbsd.Kevent{interest}, nil, 0)
		if !errors.Is(err, netbsd.EBADF) {
			t.Errorf("delete of a closed descriptor's note: %v", err)
		}
	})
}

func TestKqueueWakes(t *testing.T) {
	_, url := serve(t, kernel.Config{})
	c := dial(t, url)
	ctx := t.Context()
	r, w, err := c.Pipe(ctx)
	if err != nil {
		t.Fatal(err)
	}
	kq, err := c.Kqueue(ctx)
	if err != nil {
		t.Fatal(err)
	}
	kevents(t, c, kq, 0, netbsd.Kevent{
		Ident: netbsd.Ptr(r.Int()), Filter: netbsd.EVFILT_READ, Flags: netbsd.EV_ADD | netbsd.EV_CLEAR,
	})
	for range 100 {
		got := make(chan int)
		go func() { got <- len(kevents(t, c, kq, time.Minute)) }()
		if _, err := c.Write(ctx, w, []byte("x")); err != nil {
			t.Fatal(err)
		}
		if n := <-got; n != 1 {
			t.Fatalf("woke with %d events", n)
		}
		if ev := kevents(t, c, kq, 0); len(ev) != 0 {
			t.Fatalf("EV_CLEAR gave an event twice: %+v", ev)
		}
	}
}

func TestKqueueTimer(t *testing.T) {
	_, url := serve(t, kernel.Config{})
	c := dial(t, url)
	kq, err := c.Kqueue(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	kevents(t, c, kq, 0, netbsd.Kevent{Ident: 1, Filter: netbsd.EVFILT_TIMER, Flags: netbsd.EV_ADD, Data: 1})
	total := int64(0)
	for total < 5 {
		for _, ev := range kevents(t, c, kq, time.Minute) {
			if ev.Data < 1 {
				t.Fatalf("a timer went off %d times", ev.Data)
			}
			total += ev.Data
		}
	}
}

// Kqueues that watch each other must neither deadlock nor recurse.
func TestKqueueCycle(t *testing.T) {
	_, url := serve(t, kernel.Config{})
	c := dial(t, url)
	ctx := t.Context()
	var kqs [2]spclient.FD
	for i := range kqs {
		var err error
		if kqs[i], err = c.Kqueue(ctx); err != nil {
			t.Fatal(err)
		}
	}
	r, w, err := c.Pipe(ctx)
	if err != nil {
		t.Fatal(err)
	}
	add := func(kq, fd spclient.FD) {
		kevents(t, c, kq, 0, netbsd.Kevent{
			Ident: netbsd.Ptr(fd.Int()), Filter: netbsd.EVFILT_READ, Flags: netbsd.EV_ADD,
		})
	}
	add(kqs[0], kqs[1])
	add(kqs[1], kqs[0])
	add(kqs[0], r)
	if _, err := c.Write(ctx, w, []byte("x")); err != nil {
		t.Fatal(err)
	}
	for _, kq := range kqs {
		if ev := kevents(t, c, kq, time.Second); len(ev) == 0 {
			t.Error("no event")
		}
	}
}
