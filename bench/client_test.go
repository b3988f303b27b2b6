package bench

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	// rounds is how often a row is measured: ours and C in turn, so that what
	// else the host does meets both.
	rounds = 9
	// roundTime is how long one side of a round should take.
	roundTime = 150 * time.Millisecond
)

// comparisons are what the clients do, with cclient's and goclient's arguments.
var comparisons = []struct {
	what string
	args []string // a number of calls follows
	unit string
	// value is what is shown of the nanoseconds of a call.
	value func(ns float64) float64
	pin   bool // client and server have one CPU
	goes  bool // C has no such thing
}{
	{"null call, one CPU", []string{"null", "1"}, "µs", micros, true, false},
	{"null call", []string{"null", "1"}, "µs", micros, false, false},
	{"64 callers, one CPU", []string{"null", "64"}, "calls/s", perSecond, true, false},
	{"64 callers", []string{"null", "64"}, "calls/s", perSecond, false, false},
	{"sendto of 1,400 bytes, one CPU", []string{"sendto", "1400"}, "µs", micros, true, false},
	{"sendto of 1,400 bytes", []string{"sendto", "1400"}, "µs", micros, false, false},
	{"getsockname, one CPU", []string{"getsockname", "1"}, "µs", micros, true, true},
	{"getsockname", []string{"getsockname", "1"}, "µs", micros, false, true},
	{"bulk TCP, one CPU", []string{"tcp", "65536"}, "Gbit/s", gigabits, true, false},
	{"bulk TCP", []string{"tcp", "65536"}, "Gbit/s", gigabits, false, false},
	{"HTTP, one client, one CPU", []string{"http", "1"}, "req/s", perSecond, true, true},
	{"HTTP, one client", []string{"http", "1"}, "req/s", perSecond, false, true},
	{"HTTP, 16 clients", []string{"http", "16"}, "req/s", perSecond, false, true},
}

// gigabits is of calls that transfer 64 KiB.
func gigabits(ns float64) float64 { return 65536 * 8 / ns }

func micros(ns float64) float64    { return ns / 1e3 }
func perSecond(ns float64) float64 { return 1e9 / ns }

// BenchmarkClients compares package spclient with librumpclient, each in a process
// of its own, on rumpd and on the server whose URL is in BENCH_SERVER. The C
// program's path is in BENCH_CCLIENT; without it only our side is measured.
// It prints a table for each server: medians, the median of the rounds' ratios, and
// the best of the rounds, which other work on the host disturbs least.
func BenchmarkClients(b *testing.B) {
	ours := filepath.Join(b.TempDir(), "goclient")
	if out, err := exec.Command("go", "build", "-o", ours, "./goclient").CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	c := os.Getenv("BENCH_CCLIENT")
	servers := []struct{ name, url string }{{"rumpd", startRumpd(b)}}
	if url := os.Getenv("BENCH_SERVER"); url != "" {
		servers = append(servers, struct{ name, url string }{url, url})
	}
	b.ReportMetric(0, "ns/op")
	for _, srv := range servers {
		var table strings.Builder
		line := func(what string, columns ...any) {
			fmt.Fprintf(&table, "%-32s"+strings.Repeat("%9s", len(columns))+"\n", append([]any{what}, columns...)...)
		}
		fmt.Fprintln(&table, srv.name)
		line("", "", "ours", "C", "ratio", "best:", "ours", "C", "ratio", "allocs")
		for _, cmp := range comparisons {
			row := compare(b, srv.url, ours, c, cmp.args, cmp.pin, !cmp.goes)
			if row == nil {
				continue
			}
			line(cmp.what, cmp.unit,
				number(cmp.value(row.ours.median)), number(cmp.value(row.c.median)), number(row.ratio), "",
				number(cmp.value(row.ours.best)), number(cmp.value(row.c.best)), number(row.ours.best/row.c.best),
				fmt.Sprintf("%.2f", row.allocs))
		}
		fmt.Printf("\n%sratio: ours' time to C's; medians of %d rounds; load average %s\n", &table, rounds, loadAverage())
	}
}

// side is what one program took, in nanoseconds a call.
type side struct{ median, best float64 }

// row is what both took. Without C its numbers are 0.
type row struct {
	ours, c       side
	ratio, allocs float64
}

// compare measures a row. It returns nil when the server can't be bound to a CPU
// and should be.
func compare(b *testing.B, url, ours, c string, args []string, pin, both bool) *row {
	b.Helper()
	var cpu *cpu
	if pin {
		var err error
		if cpu, err = pinServer(url); err != nil {
			b.Logf("%s: not bound to one CPU: %v", url, err)
			return nil
		}
		defer cpu.release()
	}
	// How many calls take roundTime. The first of all are slow.
	calls := 16
	for {
		took, _ := measure(b, cpu, url, ours, args, calls)
		if took > roundTime/4 {
			calls = max(1, int(float64(calls)*float64(roundTime)/float64(took)))
			break
		}
		calls *= 4
	}
	if c == "" {
		both = false
	}
	var r row
	var oursNS, cNS, ratios []float64
	for i := range rounds {
		var o, cc float64
		for j := range 2 {
			if (i+j)%2 == 0 {
				took, allocs := measure(b, cpu, url, ours, args, calls)
				o = float64(took) / float64(calls)
				r.allocs = float64(allocs) / float64(calls)
			} else if both {
				took, _ := measure(b, cpu, url, c, args, calls)
				cc = float64(took) / float64(calls)
			}
		}
		oursNS, cNS, ratios = append(oursNS, o), append(cNS, cc), append(ratios, o/cc)
	}
	r.ours = side{median(oursNS), slices.Min(oursNS)}
	if both {
		r.c = side{median(cNS), slices.Min(cNS)}
		r.ratio = median(ratios)
	}
	return &r
}

func median(v []float64) float64 {
	v = slices.Clone(v)
	slices.Sort(v)
	return v[len(v)/2]
}

// measure runs a client, on the CPU if there is one, and returns what it says.
func measure(b *testing.B, on *cpu, url, program string, args []string, calls int) (took time.Duration, allocs int64) {
	b.Helper()
	cmd := exec.Command(program, slices.Concat(args, []string{strconv.Itoa(calls)})...)
	cmd.Env = append(os.Environ(), "RUMP_SERVER="+url)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := on.start(cmd); err != nil {
		b.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		b.Fatalf("%s: %v: %s", cmd, err, errs.String())
	}
	if _, err := fmt.Sscan(out.String(), &took); err != nil {
		b.Fatalf("%s says %q: %v", cmd, out.String(), err)
	}
	fmt.Sscan(out.String(), &took, &allocs) // C says nothing of allocations
	return took, allocs
}

// number shows a value with three digits, and nothing where nothing was measured.
func number(v float64) string {
	switch {
	case v != v || v <= 0 || v > 1e12:
		return "-"
	case v >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

// loadAverage is what the host says of other work.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown on " + runtime.GOOS
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}

// startRumpd runs rumpd as a process until the benchmark ends.
func startRumpd(b *testing.B) (url string) {
	b.Helper()
	path := filepath.Join(b.TempDir(), "s")
	cmd := exec.Command(program(b, "rumpd"), "-s", "unix://"+path)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
	})
	for range 1000 {
		if _, err := os.Stat(path); err == nil {
			return "unix://" + path
		}
		time.Sleep(10 * time.Millisecond)
	}
	b.Fatal("rumpd does not start")
	return ""
}
