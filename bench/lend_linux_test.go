package bench

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rumptools/internal/kernel"
	"rumptools/internal/kernel/inet"
	"rumptools/internal/seeded"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// These compare connections of a kernel that are lent to programs, both ends of each,
// with the host's own over its loopback. The programs are processes of their own that
// find their socket as descriptor 3, the same for both.

// roleEnv makes the test's program one of the programs: source, sink, echo or ping, and
// how many milliseconds it works.
const roleEnv = "BENCH_LEND_ROLE"

func init() {
	role := os.Getenv(roleEnv)
	if role == "" {
		return
	}
	var name string
	var ms int
	fmt.Sscan(role, &name, &ms)
	end := time.Now().Add(time.Duration(ms) * time.Millisecond)
	result := int64(0)
	switch name {
	case "source":
		p := make([]byte, 128<<10)
		for time.Now().Before(end) {
			for left := p; len(left) > 0; {
				n, err := unix.Write(3, left)
				if err != nil {
					os.Exit(1)
				}
				left = left[n:]
			}
		}
		unix.Shutdown(3, unix.SHUT_WR)
		unix.Read(3, p)
	case "sink":
		p := make([]byte, 128<<10)
		for start := time.Now(); ; {
			n, err := unix.Read(3, p)
			if n <= 0 || err != nil {
				result = result * int64(time.Second) / int64(time.Since(start))
				break
			}
			result += int64(n)
		}
	case "echo":
		p := make([]byte, 1)
		for {
			if n, err := unix.Read(3, p); n <= 0 || err != nil {
				break
			}
			unix.Write(3, p)
		}
	case "ping":
		p := make([]byte, 1)
		n := int64(0)
		start := time.Now()
		for ; n%16 != 0 || time.Now().Before(end); n++ {
			unix.Write(3, p)
			if m, err := unix.Read(3, p); m <= 0 || err != nil {
				os.Exit(1)
			}
		}
		result = int64(time.Since(start)) / n
	}
	os.Stdout.WriteString(strconv.FormatInt(result, 10))
	os.Exit(0)
}

// roleTime is how long each round lasts.
const roleTime = time.Second

// roles runs two programs with the ends of a connection, for some time, and returns what
// the programs of the role say.
func roles(b *testing.B, socks [][2]*os.File, a, z, want string, d time.Duration) (sum float64) {
	b.Helper()
	type running struct {
		cmd  *exec.Cmd
		role string
		out  chan []byte
	}
	var all []running
	start := func(role string, f *os.File) {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d", roleEnv, role, d.Milliseconds()))
		cmd.ExtraFiles = []*os.File{f}
		cmd.Stderr = os.Stderr
		r, w, err := os.Pipe()
		if err != nil {
			b.Fatal(err)
		}
		cmd.Stdout = w
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		w.Close()
		f.Close()
		out := make(chan []byte, 1)
		go func() {
			buf := make([]byte, 32)
			n, _ := r.Read(buf)
			out <- buf[:n]
			r.Close()
		}()
		all = append(all, running{cmd, role, out})
	}
	for _, s := range socks {
		start(z, s[1])
		start(a, s[0])
	}
	for _, r := range all {
		if err := r.cmd.Wait(); err != nil {
			b.Fatalf("%s: %v", r.role, err)
		}
	}
	for _, r := range all {
		if r.role == want {
			n, err := strconv.ParseFloat(string(<-r.out), 64)
			if err != nil {
				b.Fatalf("%s: %v", r.role, err)
			}
			sum += n
		}
	}
	return sum
}

// hostPair makes a connection over the host's loopback.
func hostPair(b *testing.B) [2]*os.File {
	b.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	x, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	y, err := l.Accept()
	if err != nil {
		b.Fatal(err)
	}
	var fs [2]*os.File
	for i, c := range []net.Conn{x, y} {
		if fs[i], err = c.(*net.TCPConn).File(); err != nil {
			b.Fatal(err)
		}
		unix.SetNonblock(int(fs[i].Fd()), false)
		c.Close()
	}
	return fs
}

// lender makes lent connections.
type lender struct {
	b    *testing.B
	c    *spclient.Conn
	l    spclient.FD
	sa   []byte
	ends chan spclient.LoanEnd
	busy func() int64 // the CPU time that the kernel has had
}

func newLender(b *testing.B) *lender {
	b.Helper()
	// In this process it can be profiled.
	path, busy := "", func() int64 { return 0 }
	if os.Getenv("RUMPD") == "inprocess" {
		path = filepath.Join(b.TempDir(), "s")
		serveNet(b, path)
	} else {
		s := startServer(b)
		path, busy = s.path, s.busy
	}
	var c *spclient.Conn
	var err error
	for range 500 {
		if c, err = spclient.Dial(b.Context(), "unix://"+path, nil); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	ctx := b.Context()
	l, err := c.Socket(ctx, netbsd.AF_INET, netbsd.SOCK_STREAM, 0)
	if err != nil {
		b.Fatal(err)
	}
	sa := []byte{16, netbsd.AF_INET, 0x10, 0, 127, 0, 0, 1, 15: 0}
	if err := c.Bind(ctx, l, sa); err != nil {
		b.Fatal(err)
	}
	if err := c.ListenFD(ctx, l, 64); err != nil {
		b.Fatal(err)
	}
	return &lender{b, c, l, sa, make(chan spclient.LoanEnd, 1024), busy}
}

// serveNet runs a kernel with a network in this process.
func serveNet(b *testing.B, path string) {
	ln, err := net.Listen("unix", path)
	if err != nil {
		b.Fatal(err)
	}
	k := kernel.New(kernel.Config{})
	stack, err := inet.New(inet.Config{Kernel: k})
	if err != nil {
		b.Fatal(err)
	}
	go k.Serve(ln)
	b.Cleanup(func() {
		k.Halt(true)
		k.Wait()
		stack.Close()
	})
}

// pair makes a connection. The descriptors in the kernel are closed when the loans end.
func (l *lender) pair() [2]*os.File {
	b, ctx := l.b, context.Background()
	x, err := l.c.Socket(ctx, netbsd.AF_INET, netbsd.SOCK_STREAM, 0)
	if err != nil {
		b.Fatal(err)
	}
	if err := l.c.Connect(ctx, x, l.sa); err != nil {
		b.Fatal(err)
	}
	y, _, err := l.c.Accept(ctx, l.l)
	if err != nil {
		b.Fatal(err)
	}
	return [2]*os.File{l.lend(x), l.lend(y)}
}

func (l *lender) lend(fd spclient.FD) *os.File {
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		l.b.Fatal(err)
	}
	// Where the host allows less, it gives that.
	unix.SetsockoptInt(p[0], unix.SOL_SOCKET, unix.SO_SNDBUF, 512<<10)
	if err := seeded.Sow(p[0]); err != nil {
		l.b.Fatal(err)
	}
	err = l.c.Lend(context.Background(), fd, p[1], true, func(e spclient.LoanEnd) {
		l.c.CloseFD(context.Background(), fd)
		l.ends <- e
	})
	if err != nil {
		l.b.Fatal(err)
	}
	unix.Close(p[1])
	return os.NewFile(uintptr(p[0]), "program")
}

// compareLent reports the medians of some rounds, one of the host's and one of the kernel's
// in turn, and their ratio.
func compareLent(b *testing.B, unit string, host, lent func() float64) {
	const rounds = 5
	var hs, ls, ratios []float64
	for range rounds {
		h, l := host(), lent()
		hs, ls, ratios = append(hs, h), append(ls, l), append(ratios, l/h)
	}
	for b.Loop() {
	}
	median := func(v []float64) float64 {
		slices.Sort(v)
		return v[len(v)/2]
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(hs), "host-"+unit)
	b.ReportMetric(median(ls), "lent-"+unit)
	b.ReportMetric(median(ratios), "ratio")
}

// BenchmarkLentStream is what one connection, and four, carry one way. A program has room
// for 1 MiB to write ahead, as the host's TCP would give it in time.
func BenchmarkLentStream(b *testing.B) {
	for _, n := range []int{1, 4} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			l := newLender(b)
			carry := func(pair func() [2]*os.File) func() float64 {
				return func() float64 {
					var socks [][2]*os.File
					for range n {
						socks = append(socks, pair())
					}
					return roles(b, socks, "source", "sink", "sink", roleTime) * 8 / 1e9
				}
			}
			lent := carry(l.pair)
			bytes, start := 0.0, l.busy()
			compareLent(b, "Gbit/s", carry(func() [2]*os.File { return hostPair(b) }), func() float64 {
				v := lent()
				bytes += v * 1e9 / 8 * roleTime.Seconds()
				return v
			})
			b.ReportMetric(float64(l.busy()-start)/bytes*1024, "server-ns/KiB")
		})
	}
}

// BenchmarkLentRoundTrip is a byte there and back.
func BenchmarkLentRoundTrip(b *testing.B) {
	l := newLender(b)
	trip := func(pair func() [2]*os.File) func() float64 {
		return func() float64 {
			return roles(b, [][2]*os.File{pair()}, "ping", "echo", "ping", roleTime) / 1e3
		}
	}
	lent := trip(l.pair)
	trips, start := 0.0, l.busy()
	compareLent(b, "µs", trip(func() [2]*os.File { return hostPair(b) }), func() float64 {
		v := lent()
		trips += roleTime.Seconds() * 1e6 / v
		return v
	})
	b.ReportMetric(float64(l.busy()-start)/trips, "server-ns/trip")
}

// BenchmarkLentConnections is how many connections are made, lent and closed a second, by
// one client; the host's are made by the same.
func BenchmarkLentConnections(b *testing.B) {
	l := newLender(b)
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	f, err := ln.(*net.TCPListener).File()
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	fd := int(f.Fd())
	unix.SetNonblock(fd, false)
	sa := &unix.SockaddrInet4{Port: ln.Addr().(*net.TCPAddr).Port, Addr: [4]byte{127, 0, 0, 1}}
	rate := func(n int, one func()) float64 {
		start := time.Now()
		for range n {
			one()
		}
		return float64(n) / time.Since(start).Seconds()
	}
	host := func() float64 {
		return rate(3000, func() {
			x, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				b.Fatal(err)
			}
			if err := unix.Connect(x, sa); err != nil {
				b.Fatal(err)
			}
			y, _, err := unix.Accept(fd)
			if err != nil {
				b.Fatal(err)
			}
			unix.Close(x)
			unix.Close(y)
		})
	}
	lent := func() float64 {
		return rate(1000, func() {
			p := l.pair()
			p[0].Close()
			p[1].Close()
			for range p {
				if e := <-l.ends; e.Err != nil {
					b.Fatal(e.Err)
				}
			}
		})
	}
	compareLent(b, "conn/s", host, lent)
}
