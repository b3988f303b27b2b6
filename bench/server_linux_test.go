package bench

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// These measure the kernel's side of a call: the client is a loop of direct
// host calls in one thread, about as fast as a client can be, and the kernel is
// a process of its own. RUMPD names another program than bin/rumpd, to compare
// with.

// amd64 is the layout that the kernel speaks.
var amd64 = sysproxy.Layout{Order: binary.LittleEndian, WordSize: 8}

// memBase is the address that a caller's memory has.
const memBase = 0x10000

// caller is a client with its memory.
type caller struct {
	tb    testing.TB
	fd    uintptr
	mem   []byte
	in    []byte // received and not handled
	buf   []byte // where in is
	out   []byte
	reqno uint64
}

// startServer runs a kernel, on the CPU that the calling thread is bound to if
// it is, and connects to it.
func startServer(b *testing.B) *rumpd {
	b.Helper()
	name := os.Getenv("RUMPD")
	if name == "" {
		name = program(b, "rumpd")
	}
	path := filepath.Join(b.TempDir(), "s")
	cmd := exec.Command(name, "-s", "unix://"+path)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
	})
	return &rumpd{b, path, cmd.Process.Pid}
}

// rumpd is a running kernel.
type rumpd struct {
	b    *testing.B
	path string
	pid  int
}

func (s *rumpd) connect() *caller { return newCaller(s.b, s.path) }

// busy is the CPU time that the kernel's threads have had.
func (s *rumpd) busy() (ns int64) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", s.pid))
	if err != nil {
		s.b.Fatal(err)
	}
	for _, task := range tasks {
		var on int64
		if text, err := os.ReadFile(task); err == nil {
			fmt.Sscan(string(text), &on)
		}
		ns += on
	}
	return ns
}

// memory is the kernel's resident memory in bytes.
func (s *rumpd) memory() int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", s.pid))
	if err != nil {
		s.b.Fatal(err)
	}
	var size, resident int64
	fmt.Sscan(string(text), &size, &resident)
	return resident * int64(os.Getpagesize())
}

// loop is b.Loop around do. Beside the time it reports the best of slices of
// it, which other work on the host disturbs least, and the kernel's CPU time.
func (s *rumpd) loop(do func()) {
	const slice = 500
	b := s.b
	best := time.Duration(math.MaxInt64)
	start, last, n := s.busy(), time.Now(), 0
	for b.Loop() {
		do()
		if n++; n%slice == 0 {
			now := time.Now()
			best, last = min(best, now.Sub(last)), now
		}
	}
	b.ReportMetric(float64(s.busy()-start)/float64(n), "server-ns/op")
	if n >= slice {
		b.ReportMetric(float64(best.Nanoseconds())/slice, "best-ns/op")
	}
}

// pinned binds the calling thread, and what it starts, to one CPU until the
// benchmark ends.
func pinned(b *testing.B) {
	runtime.LockOSThread()
	var all, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		b.Fatal(err)
	}
	for cpu := range 1024 {
		if all.IsSet(cpu) {
			one.Zero()
			one.Set(cpu) // the last: others' work begins at the first
		}
	}
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		unix.SchedSetaffinity(0, &all)
		runtime.UnlockOSThread()
	})
}

// unpinned leaves the choice to the host.
func unpinned(b *testing.B) {
	runtime.LockOSThread()
	b.Cleanup(runtime.UnlockOSThread)
}

func newCaller(tb testing.TB, path string) *caller {
	tb.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { unix.Close(fd) })
	for n := 0; ; n++ {
		if err = unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err == nil {
			break
		}
		if n == 500 {
			tb.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	c := &caller{tb: tb, fd: uintptr(fd), mem: make([]byte, 1<<20), buf: make([]byte, 256<<10)}
	for b := []byte{0}; b[0] != '\n'; {
		if _, err := unix.Read(fd, b); err != nil {
			tb.Fatal(err)
		}
	}
	c.out = sysproxy.Guest{Name: "bench"}.Append(c.out, amd64, c.next())
	c.flush()
	if h, _ := c.frame(); h.Class != sysproxy.Resp {
		tb.Fatalf("handshake: %+v", h)
	}
	return c
}

func (c *caller) next() uint64 {
	c.reqno++
	return c.reqno
}

// flush sends what was gathered.
func (c *caller) flush() {
	for p := c.out; len(p) > 0; {
		n, _, e := syscall.RawSyscall6(unix.SYS_SENDTO, c.fd, uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), unix.MSG_NOSIGNAL, 0, 0)
		if e != 0 && e != unix.EINTR {
			c.tb.Fatal(os.NewSyscallError("sendto", e))
		}
		if e == 0 {
			p = p[n:]
		}
	}
	c.out = c.out[:0]
}

// fill receives until n bytes are there.
func (c *caller) fill(n int) {
	for len(c.in) < n {
		if cap(c.in) < n {
			if n > len(c.buf) {
				c.tb.Fatalf("a frame of %d bytes", n)
			}
			c.in = c.buf[:copy(c.buf, c.in)]
		}
		room := c.in[len(c.in):cap(c.in)]
		got, _, e := syscall.RawSyscall6(unix.SYS_RECVFROM, c.fd, uintptr(unsafe.Pointer(&room[0])), uintptr(len(room)), 0, 0, 0)
		switch {
		case e == 0 && got == 0:
			c.tb.Fatal("the kernel has gone")
		case e == 0:
			c.in = c.in[:len(c.in)+int(got)]
		case e != unix.EINTR:
			c.tb.Fatal(os.NewSyscallError("recvfrom", e))
		}
	}
}

// frame receives a frame. The payload is good until the next.
func (c *caller) frame() (sysproxy.Header, []byte) {
	if len(c.in) == 0 {
		c.in = c.buf[:0]
	}
	c.fill(sysproxy.HeaderLen)
	h, err := amd64.ParseHeader(c.in)
	if err != nil {
		c.tb.Fatal(err)
	}
	c.fill(int(h.Len))
	payload := c.in[sysproxy.HeaderLen:h.Len]
	c.in = c.in[h.Len:]
	return h, payload
}

// begin gathers a call.
func (c *caller) begin(num uint32, args ...uint64) uint64 {
	reqno := c.next()
	c.out = amd64.AppendHeader(c.out, sysproxy.Header{
		Len: sysproxy.HeaderLen + 8*uint64(len(args)), ReqNo: reqno, Type: sysproxy.TypeSyscall, U: num,
	})
	for _, a := range args {
		c.out = amd64.Order.AppendUint64(c.out, a)
	}
	return reqno
}

// reply handles frames up to the answer of a call.
func (c *caller) reply() (reqno uint64, ret uint64, errno netbsd.Errno) {
	if len(c.out) > 0 {
		c.flush()
	}
	for {
		h, payload := c.frame()
		switch {
		case h.Class == sysproxy.Resp && h.Type == sysproxy.TypeSyscall:
			return h.ReqNo, amd64.Order.Uint64(payload[8:]), netbsd.Errno(amd64.Order.Uint32(payload))
		case h.Class == sysproxy.Req && h.Type == sysproxy.TypeCopyIn:
			size, addr := amd64.Order.Uint64(payload), amd64.Order.Uint64(payload[8:])-memBase
			c.out = amd64.AppendHeader(c.out, sysproxy.Header{
				Len: sysproxy.HeaderLen + size, ReqNo: h.ReqNo, Class: sysproxy.Resp, Type: sysproxy.TypeCopyIn,
			})
			c.out = append(c.out, c.mem[addr:addr+size]...)
			c.flush()
		case h.Class == sysproxy.Req && h.Type == sysproxy.TypeCopyOut:
			copy(c.mem[amd64.Order.Uint64(payload[8:])-memBase:], payload[16:])
		default:
			c.tb.Fatalf("unexpected frame %+v", h)
		}
	}
}

// call makes a call.
func (c *caller) call(num uint32, args ...uint64) uint64 {
	c.begin(num, args...)
	_, ret, errno := c.reply()
	if errno != 0 {
		c.tb.Fatalf("system call %d: %v", num, errno)
	}
	return ret
}

// onServer runs a benchmark with both sides on one CPU, and where the host likes.
func onServer(b *testing.B, bench func(b *testing.B, s *rumpd)) {
	for _, where := range []struct {
		name string
		bind func(*testing.B)
	}{{"pinned", pinned}, {"unpinned", unpinned}} {
		b.Run(where.name, func(b *testing.B) {
			where.bind(b)
			bench(b, startServer(b))
		})
	}
}

// BenchmarkServerNull is getpid(2), one call at a time.
func BenchmarkServerNull(b *testing.B) {
	onServer(b, func(b *testing.B, srv *rumpd) {
		c := srv.connect()
		srv.loop(func() { c.call(netbsd.SYS_getpid) })
	})
}

// BenchmarkServerClients is getpid(2) of several clients by turns, each one
// call at a time.
func BenchmarkServerClients(b *testing.B) {
	onServer(b, func(b *testing.B, srv *rumpd) {
		var cs [8]*caller
		for i := range cs {
			cs[i] = srv.connect()
		}
		i := 0
		srv.loop(func() {
			cs[i%len(cs)].call(netbsd.SYS_getpid)
			i++
		})
	})
}

// BenchmarkServerConcurrent is getpid(2) with 64 under way.
func BenchmarkServerConcurrent(b *testing.B) {
	onServer(b, func(b *testing.B, srv *rumpd) {
		c := srv.connect()
		for range 64 {
			c.begin(netbsd.SYS_getpid)
		}
		srv.loop(func() {
			// What has come is answered with as many calls before more
			// is waited for.
			if len(c.in) >= sysproxy.HeaderLen {
				h, _ := amd64.ParseHeader(c.in)
				if uint64(len(c.in)) < h.Len {
					c.flush()
				}
			} else if len(c.out) > 0 {
				c.flush()
			}
			h, _ := c.frame()
			if h.Class != sysproxy.Resp {
				b.Fatalf("unexpected frame %+v", h)
			}
			c.begin(netbsd.SYS_getpid)
		})
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
	})
}

// sockaddr puts 127.0.0.1 and a port into the caller's memory.
func (c *caller) sockaddr(off int, port uint16) (addr, size uint64) {
	sa := []byte{16, netbsd.AF_INET, byte(port >> 8), byte(port), 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0}
	copy(c.mem[off:], sa)
	return memBase + uint64(off), 16
}

// BenchmarkServerSendto is sendto(2) of 1,400 bytes to a socket that nobody
// reads.
func BenchmarkServerSendto(b *testing.B) {
	onServer(b, func(b *testing.B, srv *rumpd) {
		c := srv.connect()
		sink := c.call(netbsd.SYS___socket30, netbsd.AF_INET, netbsd.SOCK_DGRAM, 0)
		addr, size := c.sockaddr(0, 9999)
		c.call(netbsd.SYS_bind, sink, addr, size)
		s := c.call(netbsd.SYS___socket30, netbsd.AF_INET, netbsd.SOCK_DGRAM, 0)
		b.SetBytes(1400)
		srv.loop(func() { c.call(netbsd.SYS_sendto, s, memBase+4096, 1400, 0, addr, size) })
	})
}

// BenchmarkServerTCP is what TCP carries over lo0: one write(2) and one read(2)
// of 64 KiB are under way at all times.
func BenchmarkServerTCP(b *testing.B) {
	onServer(b, func(b *testing.B, srv *rumpd) {
		const piece = 64 << 10
		c := srv.connect()
		l := c.call(netbsd.SYS___socket30, netbsd.AF_INET, netbsd.SOCK_STREAM, 0)
		addr, size := c.sockaddr(0, 9998)
		c.call(netbsd.SYS_bind, l, addr, size)
		c.call(netbsd.SYS_listen, l, 1)
		s := c.call(netbsd.SYS___socket30, netbsd.AF_INET, netbsd.SOCK_STREAM, 0)
		c.call(netbsd.SYS_connect, s, addr, size)
		r := c.call(netbsd.SYS_accept, l, 0, 0)
		write := func() uint64 { return c.begin(netbsd.SYS_write, s, memBase+4096, piece) }
		read := func() uint64 { return c.begin(netbsd.SYS_read, r, memBase+4096+piece, piece) }
		b.SetBytes(piece)
		w := write()
		read()
		left := int64(0)
		srv.loop(func() {
			for left += piece; left > 0; {
				reqno, n, errno := c.reply()
				switch {
				case errno != 0 || n == 0:
					b.Fatalf("%d bytes: %v", n, errno)
				case reqno == w:
					w = write()
				default:
					left -= int64(n)
					read()
				}
			}
		})
	})
}
