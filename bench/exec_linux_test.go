//go:build amd64 || arm64

package bench

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// BenchmarkExec compares programs under rumpctl exec with the same programs on the host's
// loopback, in turns: x is how many times the host's time it takes (of streams: how much
// of the host's throughput there is), a median of rounds. One rumpd serves both ends;
// with BENCH_SERVER that kernel does, too, which must have 127.0.0.1.
func BenchmarkExec(b *testing.B) {
	rumpctl := program(b, "rumpctl")
	dir := b.TempDir()
	load := filepath.Join(dir, "execload")
	if out, err := exec.Command("go", "build", "-o", load, "./execload").CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	kernels := []string{startRumpd(b)}
	names := []string{"rumpd"}
	if url := os.Getenv("BENCH_SERVER"); url != "" {
		kernels, names = append(kernels, url), append(names, "real")
	}
	for i, kernel := range kernels {
		b.Run(names[i], func(b *testing.B) {
			under := func(args ...string) []string {
				return append([]string{rumpctl, "exec", "--server", kernel, "--", load}, args...)
			}
			host := func(args ...string) []string { return append([]string{load}, args...) }
			onHost, onKernel := serveLoad(b, host("serve", "127.0.0.1:0")), serveLoad(b, under("serve", "127.0.0.1:0"))
			for _, m := range []struct {
				name string
				args []string // @ is the server's address
				more bool     // more is better
			}{
				{"1 stream", []string{"stream", "@", "800", "1"}, true},
				{"4 streams", []string{"stream", "@", "800", "4"}, true},
				{"round trip", []string{"rtt", "@", "3000"}, false},
				{"connect, 1 client", []string{"connect", "@", "300", "1"}, false},
				{"connect, 4 clients", []string{"connect", "@", "100", "4"}, false},
				{"datagram to and fro", []string{"udp", "500"}, false},
				{"datagram to and fro, connected", []string{"udp-connected", "2000"}, false},
				{"100 Mbit of datagrams a second", []string{"udp-stream", "800", "100"}, true},
				{"all datagrams it can", []string{"udp-stream", "800", "0"}, true},
				{"trapped call", []string{"trapped", "3000", "1"}, false},
				{"trapped call, 4 callers", []string{"trapped", "1000", "4"}, false},
				{"call that is not trapped", []string{"plain", "2000000"}, false},
			} {
				b.Run(m.name, func(b *testing.B) {
					at := func(args []string, address string) []string {
						args = slices.Clone(args)
						if i := slices.Index(args, "@"); i >= 0 {
							args[i] = address
						}
						return args
					}
					compareExec(b, func() (float64, error) { return measureLoad(host(at(m.args, onHost)...)) },
						func() (float64, error) { return measureLoad(under(at(m.args, onKernel)...)) })
				})
			}
			b.Run("start", func(b *testing.B) {
				timed := func(args ...string) func() (float64, error) {
					return func() (float64, error) {
						began := time.Now()
						err := exec.Command(args[0], args[1:]...).Run()
						return float64(time.Since(began).Microseconds()), err
					}
				}
				compareExec(b, timed("true"), timed(rumpctl, "exec", "--server", kernel, "--", "true"))
			})
		})
	}
}

// rounds of each measurement.
const execRounds = 5

// compareExec runs two measurements in turns and reports the medians.
func compareExec(b *testing.B, host, under func() (float64, error)) {
	var h, u, ratios []float64
	for range execRounds {
		x, err := host()
		if err != nil {
			b.Fatalf("on the host: %v", err)
		}
		y, err := under()
		if err != nil {
			b.Fatalf("under exec: %v", err)
		}
		h, u, ratios = append(h, x), append(u, y), append(ratios, y/x)
	}
	median := func(list []float64) float64 {
		slices.Sort(list)
		return list[len(list)/2]
	}
	b.ReportMetric(median(h), "host")
	b.ReportMetric(median(u), "exec")
	b.ReportMetric(median(ratios), "x")
	b.ReportMetric(0, "ns/op")
}

// serveLoad starts a server until the benchmark's end and returns its address.
func serveLoad(b *testing.B, args []string) string {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		cmd.Process.Signal(os.Kill)
		cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatalf("%s: %v", strings.Join(args, " "), err)
	}
	return strings.TrimSpace(line)
}

// measureLoad runs a client and returns the number that it prints.
func measureLoad(args []string) (float64, error) {
	cmd := exec.Command(args[0], args[1:]...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("%v: %s", err, stderr.String())
	}
	return strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
}
