package bench

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"rumptools/pkg/netbsd"
)

// BenchmarkServerIdle makes TCP connections over lo0 that lie idle, both ends in
// one kqueue of the client's, and then has one of them speak: what connections
// cost, and whether the idle ones are in an event's way.
func BenchmarkServerIdle(b *testing.B) {
	for _, pairs := range []int{10, 1000, 8000} {
		b.Run(fmt.Sprint(pairs), func(b *testing.B) { idle(b, pairs) })
	}
}

func idle(b *testing.B, pairs int) {
	unpinned(b)
	srv := startServer(b)
	c := srv.connect()
	before := srv.memory()
	start := time.Now()
	l := c.call(netbsd.SYS___socket30, netbsd.AF_INET, netbsd.SOCK_STREAM, 0)
	addr, size := c.sockaddr(0, 9997)
	c.call(netbsd.SYS_bind, l, addr, size)
	c.call(netbsd.SYS_listen, l, 128)
	kq := c.call(netbsd.SYS_kqueue)
	const changes, events = 4096, 8192
	watch := func(fd uint64) {
		ev := netbsd.Kevent{
			Ident: netbsd.Ptr(fd), Filter: netbsd.EVFILT_READ, Flags: netbsd.EV_ADD | netbsd.EV_CLEAR,
		}
		copy(c.mem[changes:], netbsd.Marshal(netbsd.AMD64, &ev))
		c.call(netbsd.SYS___kevent50, kq, memBase+changes, 1, 0, 0, 0)
	}
	var ends [2]uint64
	for range pairs {
		s := c.call(netbsd.SYS___socket30, netbsd.AF_INET, netbsd.SOCK_STREAM, 0)
		c.call(netbsd.SYS_connect, s, addr, size)
		ends = [2]uint64{s, c.call(netbsd.SYS_accept, l, 0, 0)}
		watch(ends[0])
		watch(ends[1])
	}
	made := time.Since(start)
	grown := srv.memory() - before
	b.ResetTimer()
	srv.loop(func() {
		c.call(netbsd.SYS_write, ends[0], memBase, 1)
		if n := c.call(netbsd.SYS___kevent50, kq, 0, 0, memBase+events, 8, 0); n != 1 {
			b.Fatalf("%d events", n)
		}
		if fd := binary.LittleEndian.Uint64(c.mem[events:]); fd != ends[1] {
			b.Fatalf("an event of descriptor %d, want %d", fd, ends[1])
		}
		c.call(netbsd.SYS_read, ends[1], memBase, 1)
	})
	b.ReportMetric(float64(made.Microseconds())/float64(pairs), "µs/connection")
	b.ReportMetric(float64(grown)/float64(2*pairs), "bytes/socket")
}
