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

// A kqueue may watch another, but two that watch each other could deadlock.
func TestKqueueInKqueue(t *testing.T) {
	_, url := serve(t, kernel.Config{})
	c := dial(t, url)
	ctx := t.Context()
	var kqs [3]spclient.FD
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
	add := func(kq, fd spclient.FD) []netbsd.Kevent {
		return kevents(t, c, kq, 0, netbsd.Kevent{
			Ident: netbsd.Ptr(fd.Int()), Filter: netbsd.EVFILT_READ, Flags: netbsd.EV_ADD,
		})
	}
	outer, inner := kqs[0], kqs[1]
	if ev := add(outer, inner); len(ev) != 0 {
		t.Errorf("an empty kqueue gives %+v", ev)
	}
	for name, pair := range map[string][2]spclient.FD{
		"each other": {inner, outer}, "itself": {inner, inner}, "one that is watched": {inner, kqs[2]}, "one that watches": {kqs[2], outer},
	} {
		if ev := add(pair[0], pair[1]); len(ev) != 1 || ev[0].Flags&netbsd.EV_ERROR == 0 || ev[0].Data != int64(netbsd.EINVAL) {
			t.Errorf("%s: %+v, want EINVAL", name, ev)
		}
	}
	if ev := add(inner, r); len(ev) != 0 {
		t.Errorf("an empty pipe gives %+v", ev)
	}
	if _, err := c.Write(ctx, w, []byte("x")); err != nil {
		t.Fatal(err)
	}
	for _, kq := range []spclient.FD{outer, inner, outer} {
		if ev := kevents(t, c, kq, time.Minute); len(ev) != 1 {
			t.Errorf("%d events, want one", len(ev))
		}
	}
	if err := c.CloseFD(ctx, inner); err != nil {
		t.Fatal(err)
	}
	if ev := kevents(t, c, outer, 0); len(ev) != 0 {
		t.Errorf("after the inner one was closed: %+v", ev)
	}
}

// Interests that come and go, with nobody who takes events, must not pile up;
// those in a descriptor end with it.
func TestKqueueChurn(t *testing.T) {
	k, url := serve(t, kernel.Config{})
	c := dial(t, url)
	ctx := t.Context()
	kq, err := c.Kqueue(ctx)
	if err != nil {
		t.Fatal(err)
	}
	r, _, err := c.Pipe(ctx)
	if err != nil {
		t.Fatal(err)
	}
	changes := make([]netbsd.Kevent, 0, 2000)
	for i := range 1000 {
		changes = append(changes,
			netbsd.Kevent{Ident: netbsd.Ptr(r.Int()), Filter: netbsd.EVFILT_READ, Flags: netbsd.EV_ADD},
			netbsd.Kevent{Ident: netbsd.Ptr(i), Filter: netbsd.EVFILT_TIMER, Flags: netbsd.EV_ADD, Data: 1 << 62},
			netbsd.Kevent{Ident: netbsd.Ptr(r.Int()), Filter: netbsd.EVFILT_READ, Flags: netbsd.EV_DELETE},
			netbsd.Kevent{Ident: netbsd.Ptr(i), Filter: netbsd.EVFILT_TIMER, Flags: netbsd.EV_DELETE})
	}
	if ev := kevents(t, c, kq, 0, changes...); len(ev) != 0 {
		t.Fatalf("%+v", ev[0])
	}
	pid, err := c.Getpid(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if queued, notes, timers := kernel.KqueueSizes(k, int32(pid), int32(kq.Int()), int32(r.Int())); queued > 64 || notes != 0 || timers != 0 {
		t.Errorf("%d notes queued, %d with the descriptor, %d timers, after all were deleted", queued, notes, timers)
	}
}
