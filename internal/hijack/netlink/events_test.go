//go:build linux

package netlink_test

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/netlink"
	"rumptools/internal/hijack/netview/netviewtest"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// log keeps events as text.
type log struct {
	t  *testing.T
	mu sync.Mutex
	// came is closed and made anew with each event.
	came   chan struct{}
	events []string
}

func newLog(t *testing.T) *log { return &log{t: t, came: make(chan struct{})} }

func (l *log) put(b []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range parse(l.t, b) {
		if m.Header.Seq != 0 || m.Header.Pid != 0 || m.Header.Flags != 0 {
			l.t.Errorf("event %+v", m.Header)
		}
		l.events = append(l.events, eventText(l.t, m))
	}
	close(l.came)
	l.came = make(chan struct{})
}

// count is how often an event has come.
func (l *log) count(event string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.events {
		if e == event {
			n++
		}
	}
	return n
}

// wait waits for an event that has come.
func (l *log) wait(event string) {
	l.t.Helper()
	deadline := time.After(time.Minute)
	for {
		l.mu.Lock()
		came := l.came
		l.mu.Unlock()
		if l.count(event) > 0 {
			return
		}
		select {
		case <-came:
		case <-deadline:
			l.mu.Lock()
			defer l.mu.Unlock()
			l.t.Fatalf("no %q in %q", event, l.events)
		}
	}
}

func eventText(t *testing.T, m reply) string {
	at := m.attrs(t)
	addr := func(typ uint16) netip.Addr { a, _ := netip.AddrFromSlice(at[typ]); return a }
	switch m.Header.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		return fmt.Sprintf("%s %s up %d change %#x", map[uint16]string{unix.RTM_NEWLINK: "link", unix.RTM_DELLINK: "no link"}[m.Header.Type],
			cstring(at[unix.IFLA_IFNAME]), native.Uint32(m.Data[8:])&unix.IFF_UP, native.Uint32(m.Data[12:])&unix.IFF_UP)
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		return fmt.Sprintf("%s %s/%d", map[uint16]string{unix.RTM_NEWADDR: "addr", unix.RTM_DELADDR: "no addr"}[m.Header.Type], addr(unix.IFA_ADDRESS), m.Data[1])
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		return fmt.Sprintf("%s %s/%d via %s", map[uint16]string{unix.RTM_NEWROUTE: "route", unix.RTM_DELROUTE: "no route"}[m.Header.Type],
			addr(unix.RTA_DST), m.Data[1], addr(unix.RTA_GATEWAY))
	case unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH:
		return fmt.Sprintf("%s %s known %t", map[uint16]string{unix.RTM_NEWNEIGH: "neigh", unix.RTM_DELNEIGH: "no neigh"}[m.Header.Type], addr(unix.NDA_DST),
			at[unix.NDA_LLADDR] != nil)
	}
	return fmt.Sprint("event ", m.Header.Type)
}

func TestEvents(t *testing.T) {
	forMachines(t, func(t *testing.T, a, b *netviewtest.Kernel) {
		s := netlink.New(a, nil)
		all, links := newLog(t), newLog(t)
		must(t, s.Watch(t.Context(), netlink.Groups, all.put))
		must(t, s.Watch(t.Context(), unix.RTMGRP_LINK, links.put))
		a.Configure("shmif1 create")
		all.wait("link shmif1 up 0 change 0x1") // new: all flags have changed
		a.Configure("shmif1 linkstr " + filepath.Join(t.TempDir(), "bus"))
		a.Configure("shmif1 inet 10.0.5.1/24")
		all.wait("addr 10.0.5.1/24")
		all.wait("link shmif1 up 1 change 0x1")
		all.wait("route 10.0.5.0/24 via invalid IP")
		a.Configure("shmif0 inet6 fd05::1/64 alias")
		all.wait("addr fd05::1/64")
		all.wait("route fd05::/64 via invalid IP")
		a.Route(netbsd.RTM_ADD, "192.0.2.0/24", "10.0.5.2", netbsd.RTF_STATIC)
		all.wait("route 192.0.2.0/24 via 10.0.5.2")
		a.Route(netbsd.RTM_DELETE, "192.0.2.0/24", "10.0.5.2", 0)
		all.wait("no route 192.0.2.0/24 via 10.0.5.2")
		a.Configure("shmif1 inet 10.0.5.1 delete")
		all.wait("no addr 10.0.5.1/24")
		a.Configure("shmif1 destroy")
		all.wait("no link shmif1 up 1 change 0x1")
		links.wait("no link shmif1 up 1 change 0x1")
		if n := all.count("link shmif1 up 0 change 0x1"); n != 1 {
			t.Errorf("it has come %d times", n)
		}
		for _, e := range []string{"addr 10.0.5.1/24", "route 10.0.5.0/24 via invalid IP", "addr fd05::1/64"} {
			if links.count(e) != 0 {
				t.Errorf("%q for who wants links only", e)
			}
		}
	})
}

func TestNeighbourEvents(t *testing.T) {
	forMachines(t, func(t *testing.T, a, b *netviewtest.Kernel) {
		s := netlink.New(a, nil)
		l := newLog(t)
		must(t, s.Watch(t.Context(), unix.RTMGRP_NEIGH, l.put))
		u, err := a.ListenPacket(t.Context(), "udp4", "10.0.0.1:0")
		must(t, err)
		defer u.Close()
		to, err := b.ListenPacket(t.Context(), "udp4", "10.0.0.2:7")
		must(t, err)
		defer to.Close()
		_, err = u.WriteTo([]byte("x"), to.LocalAddr())
		must(t, err)
		l.wait("neigh 10.0.0.2 known true")
	})
}

// TestWatchEnds has no events after the end, and watches anew.
func TestWatchEnds(t *testing.T) {
	k := netviewtest.Start(t, netbsd.AMD64)
	s := netlink.New(k, nil)
	for i := range 3 {
		first, second := newLog(t), newLog(t)
		ctx, cancel := context.WithCancel(t.Context())
		ctx2, cancel2 := context.WithCancel(t.Context())
		must(t, s.Watch(ctx, unix.RTMGRP_LINK, first.put))
		must(t, s.Watch(ctx2, unix.RTMGRP_LINK, second.put))
		created := fmt.Sprintf("link shmif%d up 0 change 0x1", 2*i)
		k.Configure(fmt.Sprintf("shmif%d create", 2*i))
		first.wait(created)
		second.wait(created)
		cancel()
		// It takes effect with what comes next, if not before.
		later := fmt.Sprintf("link shmif%d up 0 change 0x1", 2*i+1)
		time.Sleep(50 * time.Millisecond)
		k.Configure(fmt.Sprintf("shmif%d create", 2*i+1))
		second.wait(later)
		if first.count(later) != 0 {
			t.Error("an event after the end")
		}
		cancel2()
	}
	if err := s.Watch(canceled(t), netlink.Groups, func([]byte) {}); err == nil {
		t.Error("a context that has ended watches")
	}
}

func canceled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// TestLostKernelEvents has events for what is different in a kernel that is
// started again.
func TestLostKernelEvents(t *testing.T) {
	url := netviewtest.Path(t)
	end, err := netviewtest.Serve(url, netbsd.AMD64)
	must(t, err)
	k := netviewtest.Dial(t, url, &spclient.Options{Retry: spclient.RetryInfinite, Message: func(string) {}})
	k.Configure("shmif0 create")
	k.Configure("lo0 inet 127.9.9.9/32 alias")
	s := netlink.New(k, nil)
	l := newLog(t)
	must(t, s.Watch(t.Context(), netlink.Groups, l.put))
	end()
	end, err = netviewtest.Serve(url, netbsd.AMD64)
	must(t, err)
	defer end()
	l.wait("no link shmif0 up 0 change 0x1")
	l.wait("no addr 127.9.9.9/32")
	k.Configure("shmif1 create")
	l.wait("link shmif1 up 0 change 0x1")
	if l.count("no link lo0 up 1 change 0x1") != 0 {
		t.Error("what is there again has gone")
	}
}
