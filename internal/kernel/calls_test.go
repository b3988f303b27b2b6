package kernel_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"rumptools/internal/kernel"
	"rumptools/internal/kernel/local"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
	"rumptools/pkg/sysproxy"
)

// result is what a call gave: its first register and its error.
func result(r sysproxy.SyscallReply, err error) (int64, error) { return int64(r.Retval[0]), err }

func TestSmallCalls(t *testing.T) {
	onMachines(t, func(t *testing.T, k *kernel.Kernel, url string) {
		local.Register(k)
		m := k.Machine()
		c, ctx := dial(t, url), t.Context()
		r, w := mustPipe(t, c)
		null, err := result(c.NewCall(netbsd.SYS_open).String("/dev/null").Int(netbsd.O_RDWR).Int(0).Do(ctx))
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 64)
		lim := netbsd.Marshal(m, &netbsd.Rlimit{})
		st := make([]byte, netbsd.Sizeof(m, netbsd.Stat{}))
		i32 := func(v int32) []byte { return m.Order.AppendUint32(nil, uint32(v)) }
		for _, tt := range []struct {
			name string
			call *spclient.Call
			want int64
			err  error
		}{
			{"umask", c.NewCall(netbsd.SYS_umask).Int(0o77), 0o22, nil},
			{"umask again", c.NewCall(netbsd.SYS_umask).Int(0), 0o77, nil},
			{"getgroups", c.NewCall(netbsd.SYS_getgroups).Int(0).Ptr(0), 0, nil},
			{"getrlimit", c.NewCall(netbsd.SYS_getrlimit).Int(netbsd.RLIMIT_NOFILE).Out(lim), 0, nil},
			{"getrlimit of nothing", c.NewCall(netbsd.SYS_getrlimit).Int(99).Out(lim), 0, netbsd.EINVAL},
			{"setrlimit", c.NewCall(netbsd.SYS_setrlimit).Int(netbsd.RLIMIT_NOFILE).In(netbsd.Marshal(m, &netbsd.Rlimit{Cur: 2, Max: 1})), 0, netbsd.EINVAL},
			{"pread of a pipe", c.NewCall(netbsd.SYS_pread).Int(r).Out(buf).Word(1).Off(0), 0, netbsd.ESPIPE},
			{"pwrite to a pipe", c.NewCall(netbsd.SYS_pwrite).Int(w).In(buf).Word(1).Off(0), 0, netbsd.ESPIPE},
			{"pwrite to a device", c.NewCall(netbsd.SYS_pwrite).Int(int32(null)).In(buf).Word(7).Off(1 << 40), 7, nil},
			{"pread of a device", c.NewCall(netbsd.SYS_pread).Int(int32(null)).Out(buf).Word(7).Off(1 << 40), 0, nil},
			{"F_GETOWN", c.NewCall(netbsd.SYS_fcntl).Int(r).Int(netbsd.F_GETOWN).Int(0), 0, nil},
			{"F_SETOWN", c.NewCall(netbsd.SYS_fcntl).Int(r).Int(netbsd.F_SETOWN).Int(2), 0, nil},
			{"F_GETOWN again", c.NewCall(netbsd.SYS_fcntl).Int(r).Int(netbsd.F_GETOWN).Int(0), 2, nil},
			{"F_SETOWN to nobody", c.NewCall(netbsd.SYS_fcntl).Int(r).Int(netbsd.F_SETOWN).Int(29999), 0, netbsd.ESRCH},
			{"F_SETOWN to a group", c.NewCall(netbsd.SYS_fcntl).Int(r).Int(netbsd.F_SETOWN).Int(-5), 0, netbsd.EPERM},
			{"F_SETOWN of a device", c.NewCall(netbsd.SYS_fcntl).Int(int32(null)).Int(netbsd.F_SETOWN).Int(0), 0, netbsd.ENOTTY},
			{"FIOSETOWN", c.NewCall(netbsd.SYS_ioctl).Int(w).Word(uint64(netbsd.FIOSETOWN.Cmd(m))).In(i32(29999)), 0, netbsd.ESRCH},
			{"stat of a directory", c.NewCall(netbsd.SYS___stat50).String("/dev").Out(st), 0, nil},
			{"stat of nothing", c.NewCall(netbsd.SYS___stat50).String("/etc/hosts").Out(st), 0, netbsd.ENOENT},
			{"stat below a device", c.NewCall(netbsd.SYS___stat50).String("/dev/null/x").Out(st), 0, netbsd.ENOTDIR},
			{"access", c.NewCall(netbsd.SYS_access).String("/dev/zero").Int(0), 0, nil},
			{"unlink of nothing", c.NewCall(netbsd.SYS_unlink).String("/tmp/sock"), 0, netbsd.ENOENT},
			{"__getcwd", c.NewCall(netbsd.SYS___getcwd).Out(buf[:8]).Word(8), 2, nil},
			{"__getcwd without room", c.NewCall(netbsd.SYS___getcwd).Out(buf[:1]).Word(1), 0, netbsd.ERANGE},
			{"getpgrp", c.NewCall(netbsd.SYS_getpgrp), 0, nil},
			{"F_CLOSEM", c.NewCall(netbsd.SYS_fcntl).Int(w).Int(netbsd.F_CLOSEM).Int(0), 0, nil},
			{"close after that", c.NewCall(netbsd.SYS_close).Int(int32(null)), 0, netbsd.EBADF},
			{"close below that", c.NewCall(netbsd.SYS_close).Int(r), 0, nil},
		} {
			got, err := result(tt.call.Do(ctx))
			if !errors.Is(err, tt.err) || err == nil && got != tt.want {
				t.Errorf("%s: %d, %v; want %d, %v", tt.name, got, err, tt.want, tt.err)
			}
		}
	})
}

// The calls of programs for releases before NetBSD 6, whose times are longs.
func TestOldCalls(t *testing.T) {
	onMachines(t, func(t *testing.T, k *kernel.Kernel, url string) {
		m := k.Machine()
		c, ctx := dial(t, url), t.Context()
		r, w := mustPipe(t, c)
		if err := write(t, c, w, "x"); err != nil {
			t.Fatal(err)
		}
		tv := netbsd.Marshal(m, &netbsd.Timeval50{Sec: 1000})
		ts := netbsd.Marshal(m, &netbsd.Timespec50{Sec: 1000})
		bad := netbsd.Marshal(m, &netbsd.Timespec50{Sec: 0, Nsec: 1e9})
		set := m.Order.AppendUint32(nil, 1<<r|1<<w)
		poll := m.Order.AppendUint16(m.Order.AppendUint16(m.Order.AppendUint32(nil, uint32(r)), netbsd.POLLIN), 0)
		for _, tt := range []struct {
			name string
			call *spclient.Call
			want int64
			err  error
		}{
			{"select", c.NewCall(netbsd.SYS_compat_50_select).Int(20).InOut(set).Ptr(0).Ptr(0).In(tv), 1, nil},
			{"pselect", c.NewCall(netbsd.SYS___pselect50).Int(20).Ptr(0).InOut(set).Ptr(0).In(netbsd.Marshal(m, &netbsd.Timespec{Sec: 1000})).Ptr(0), 0, nil},
			{"pollts", c.NewCall(netbsd.SYS_compat_50_pollts).InOut(poll).Uint(1).In(ts).Ptr(0), 1, nil},
			{"pollts, bad time", c.NewCall(netbsd.SYS_compat_50_pollts).InOut(poll).Uint(1).In(bad).Ptr(0), 0, netbsd.EINVAL},
		} {
			short, cancel := context.WithTimeout(ctx, 20*time.Second)
			if tt.name == "pselect" {
				set = m.Order.AppendUint32(set[:0], 1<<w)
				tt.want = 1
			}
			got, err := result(tt.call.Do(short))
			cancel()
			if !errors.Is(err, tt.err) || err == nil && got != tt.want {
				t.Errorf("%s: %d, %v; want %d, %v", tt.name, got, err, tt.want, tt.err)
			}
		}
	})
}

// A descriptor that is closed while others poll it says so.
func TestCloseEndsPoll(t *testing.T) {
	_, url := serve(t, kernel.Config{})
	c := dial(t, url)
	m := netbsd.AMD64
	r, _ := mustPipe(t, c)
	poll := m.Order.AppendUint16(m.Order.AppendUint16(m.Order.AppendUint32(nil, uint32(r)), netbsd.POLLIN), 0)
	type answer struct {
		n   int64
		err error
	}
	got := make(chan answer, 1)
	go func() {
		n, err := result(c.NewCall(netbsd.SYS_poll).InOut(poll).Uint(1).Int(60000).Do(t.Context()))
		got <- answer{n, err}
	}()
	select {
	case a := <-got:
		t.Fatalf("an empty pipe gave %+v", a)
	case <-time.After(20 * time.Millisecond):
	}
	if _, err := call(t, c, netbsd.SYS_close, r); err != nil {
		t.Fatal(err)
	}
	a := <-got
	if a.n != 1 || a.err != nil || m.Order.Uint16(poll[6:]) != netbsd.POLLNVAL {
		t.Errorf("%+v, revents %#x; want POLLNVAL", a, m.Order.Uint16(poll[6:]))
	}
}

// A time of zero seconds would say that there is none.
func TestMonotonicClock(t *testing.T) {
	onMachines(t, func(t *testing.T, k *kernel.Kernel, url string) {
		c := dial(t, url)
		const monotonic = 3
		b := make([]byte, netbsd.Sizeof(k.Machine(), netbsd.Timespec{}))
		if _, err := c.NewCall(netbsd.SYS___clock_gettime50).Int(monotonic).Out(b).Do(t.Context()); err != nil {
			t.Fatal(err)
		}
		var ts netbsd.Timespec
		if err := netbsd.Unmarshal(k.Machine(), b, &ts); err != nil || ts.Sec < 1 || ts.Sec > 100 {
			t.Errorf("the clock of a new kernel shows %+v, %v", ts, err)
		}
	})
}

// TestAcceptWithoutRoom: a connection for which there is no descriptor waits until there is one.
func TestAcceptWithoutRoom(t *testing.T) {
	k, url := serve(t, kernel.Config{})
	local.Register(k)
	sa, err := netbsd.SockaddrUn("/tmp/full")
	if err != nil {
		t.Fatal(err)
	}
	socket := func(c *spclient.Conn) int32 {
		t.Helper()
		fds, err := call(t, c, netbsd.SYS___socket30, netbsd.AF_LOCAL, netbsd.SOCK_STREAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		return int32(fds[0])
	}
	c, other := dial(t, url), dial(t, url)
	l, from := socket(c), socket(other)
	if _, err := c.NewCall(netbsd.SYS_bind).Int(l).In(sa).Uint(uint32(len(sa))).Do(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := call(t, c, netbsd.SYS_listen, l, 5); err != nil {
		t.Fatal(err)
	}
	var last uint64
	for err = nil; err == nil; {
		var fds [2]uint64
		if fds, err = call(t, c, netbsd.SYS_fcntl, l, netbsd.F_DUPFD, 0); err == nil {
			last = fds[0]
		}
	}
	if !errors.Is(err, netbsd.EMFILE) {
		t.Fatal(err)
	}
	if _, err := other.NewCall(netbsd.SYS_connect).Int(from).In(sa).Uint(uint32(len(sa))).Do(t.Context()); err != nil {
		t.Fatal(err)
	}
	accept := func() (int64, error) {
		return result(c.NewCall(netbsd.SYS_accept).Int(l).Ptr(0).Ptr(0).Do(t.Context()))
	}
	for range 2 {
		if _, err := accept(); !errors.Is(err, netbsd.EMFILE) {
			t.Errorf("accept: %v, want %v", err, netbsd.EMFILE)
		}
	}
	if _, err := call(t, c, netbsd.SYS_close, int32(last)); err != nil {
		t.Fatal(err)
	}
	fd, err := accept()
	if err != nil {
		t.Fatal(err)
	}
	if err := write(t, other, from, "hello"); err != nil {
		t.Fatal(err)
	}
	if s, err := read(t, t.Context(), c, int32(fd), 9); s != "hello" || err != nil {
		t.Errorf("%q, %v", s, err)
	}
}
