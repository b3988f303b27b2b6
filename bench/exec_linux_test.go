//go:build amd64 || arm64

package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// BenchmarkExec compares programs under rumpctl exec with the same programs on the host's
// loopback, in turns: x is how many times the host's figure exec's is, a median of rounds.
// Where more is better (streams, datagrams a second, requests) it is how much of the
// host's throughput there is.
//
// In rumpd one kernel serves both ends, in tcp, too, through its TCP (net.inet.tcp.fusion=0), in
// pair without carrying anything (net.inet.tcp.pair), in bus each end has its own, joined by a
// bus, and in real both have that of BENCH_SERVER, which must have 127.0.0.1. Each measurement has its time, not its number of calls, so
// that slow kernels get figures, too.
func BenchmarkExec(b *testing.B) {
	rumpctl := program(b, "rumpctl")
	dir := b.TempDir()
	load := filepath.Join(dir, "execload")
	if out, err := exec.Command("go", "build", "-o", load, "./execload").CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	type ends struct {
		name           string
		server, client string // kernels
		address        string // of the server
	}
	var all []ends
	for _, e := range []struct{ name, set string }{
		{"rumpd", "net.inet.tcp.fusion=1"},
		{"tcp", "net.inet.tcp.fusion=0"},
		{"pair", "net.inet.tcp.pair=1"},
	} {
		kernel := startRumpd(b)
		if out, err := exec.Command(rumpctl, "sysctl", "--server", kernel, e.set).CombinedOutput(); err != nil {
			b.Fatalf("rumpctl sysctl: %v\n%s", err, out)
		}
		all = append(all, ends{e.name, kernel, kernel, "127.0.0.1"})
	}
	two := startBus(b, rumpctl, "10.0.0.1", "10.0.0.2")
	all = append(all, ends{"bus", two[0], two[1], "10.0.0.1"})
	if url := os.Getenv("BENCH_SERVER"); url != "" {
		all = append(all, ends{"real", url, url, "127.0.0.1"})
	}
	for _, e := range all {
		b.Run(e.name, func(b *testing.B) {
			under := func(kernel string, args ...string) []string {
				return append([]string{rumpctl, "exec", "--server", kernel, "--"}, args...)
			}
			compare := func(b *testing.B, onHost, onKernel string, args []string) {
				at := func(address string) []string {
					args := append([]string{load}, args...)
					if i := slices.Index(args, "@"); i >= 0 {
						args[i] = address
					}
					return args
				}
				compareExec(b, func() (float64, error) { return measureLoad(at(onHost)) },
					func() (float64, error) { return measureLoad(under(e.client, at(onKernel)...)) })
			}
			onHost := serveLoad(b, []string{load, "serve", "127.0.0.1:0"})
			onKernel := serveLoad(b, under(e.server, load, "serve", e.address+":0"))
			for _, m := range []struct {
				name string
				args []string // @ is the server's address
			}{
				{"1 stream", []string{"stream", "800", "@", "1"}},
				{"4 streams", []string{"stream", "800", "@", "4"}},
				{"round trip", []string{"rtt", "500", "@"}},
				{"connect, 1 client", []string{"connect", "500", "@", "1"}},
				{"connect, 4 clients", []string{"connect", "500", "@", "4"}},
				{"datagram to and fro", []string{"udp", "500"}},
				{"datagram to and fro, connected", []string{"udp-connected", "500"}},
				{"100 Mbit of datagrams a second", []string{"udp-stream", "800", "100"}},
				{"all datagrams it can", []string{"udp-stream", "800", "0"}},
				{"trapped call", []string{"trapped", "300", "1"}},
				{"trapped call, 4 callers", []string{"trapped", "300", "4"}},
				{"call that is not trapped", []string{"plain", "500"}},
			} {
				if e.name != "rumpd" && e.name != "real" && !slices.Contains(m.args, "@") {
					continue // it is not about connections
				}
				b.Run(m.name, func(b *testing.B) { compare(b, onHost, onKernel, m.args) })
			}
			b.Run("iperf3", func(b *testing.B) {
				benchIperf(b, func(args ...string) []string { return under(e.server, args...) },
					func(args ...string) []string { return under(e.client, args...) }, e.address)
			})
			b.Run("nginx", func(b *testing.B) {
				nginx := debian(b, "nginx")
				onHost, config := configureNginx(b, "127.0.0.1")
				startNginx(b, []string{nginx, "-c", config}, []string{load}, onHost)
				onKernel, config := configureNginx(b, e.address)
				startNginx(b, under(e.server, nginx, "-c", config), under(e.client, load), onKernel)
				for _, m := range []struct{ name, clients, how string }{
					{"1 client", "1", "keep"},
					{"8 clients", "8", "keep"},
					{"1 client, no keep-alive", "1", "close"},
					{"8 clients, no keep-alive", "8", "close"},
				} {
					b.Run(m.name, func(b *testing.B) {
						compare(b, onHost, onKernel, []string{"http", "600", "@", m.clients, "/", m.how})
					})
				}
			})
			if e.name != "rumpd" && e.name != "real" {
				return
			}
			b.Run("start", func(b *testing.B) {
				timed := func(args ...string) func() (float64, error) {
					return func() (float64, error) {
						const starts = 4
						began := time.Now()
						for range starts {
							if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
								return 0, fmt.Errorf("%w: %s", err, out)
							}
						}
						return float64(time.Since(began).Microseconds()) / starts, nil
					}
				}
				compareExec(b, timed("true"), timed(under(e.client, "true")...))
			})
		})
	}
}

// startBus starts two kernels that a bus joins, until the benchmark's end.
func startBus(b *testing.B, rumpctl string, addresses ...string) (urls []string) {
	dir := b.TempDir()
	run := func(args ...string) ([]byte, error) {
		cmd := exec.Command(rumpctl, args...)
		cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+dir)
		return cmd.CombinedOutput()
	}
	b.Cleanup(func() { run("halt", "--all") })
	for i, address := range addresses {
		name := fmt.Sprint("k", i)
		if out, err := run("start", name, "--bus", filepath.Join(dir, "bus"), "--address", address+"/24"); err != nil {
			b.Fatalf("rumpctl start: %v\n%s", err, out)
		}
		urls = append(urls, "unix://"+filepath.Join(dir, "rump", name))
	}
	return urls
}

// debian is the path of a program that Debian installs.
func debian(b *testing.B, name string) string {
	for _, dir := range []string{"/usr/bin", "/usr/sbin"} {
		if path := filepath.Join(dir, name); exec.Command("test", "-x", path).Run() == nil {
			return path
		}
	}
	b.Skipf("%s is not installed", name)
	return ""
}

const nginxConfig = `daemon off;
worker_processes 2;
error_log stderr;
pid DIR/pid;
events {}
http {
	access_log off;
	client_body_temp_path DIR/1;
	proxy_temp_path DIR/2;
	fastcgi_temp_path DIR/3;
	uwsgi_temp_path DIR/4;
	scgi_temp_path DIR/5;
	sendfile on;
	tcp_nopush on;
	keepalive_requests 10000000;
	server {
		listen ADDRESS;
		root DIR;
	}
}
`

// configureNginx writes a configuration with a page of 1 kB, and returns the address that
// is to be served.
func configureNginx(b *testing.B, host string) (address, config string) {
	// Workers of a server that root starts are other users.
	dir, err := os.MkdirTemp("", "bench-nginx-")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		b.Fatal(err)
	}
	address = net.JoinHostPort(host, freePort(b))
	config = filepath.Join(dir, "conf")
	for path, text := range map[string]string{
		config:                           strings.NewReplacer("DIR", dir, "ADDRESS", address).Replace(nginxConfig),
		filepath.Join(dir, "index.html"): strings.Repeat("a page\n", 146),
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	return address, config
}

// startNginx starts nginx until the benchmark's end, and waits until it answers load.
func startNginx(b *testing.B, args, load []string, address string) {
	startAnswering(b, args, func() error {
		_, err := measureLoad(append(slices.Clone(load), "http", "1", address, "1", "/", "close"))
		return err
	})
}

// startAnswering starts a server until the benchmark's end, and waits until asking it succeeds.
func startAnswering(b *testing.B, args []string, ask func() error) {
	var said strings.Builder
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	end := sync.OnceFunc(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	})
	b.Cleanup(end)
	var err error
	for range 100 {
		if err = ask(); err == nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	end()
	b.Fatalf("%s does not answer: %v\n%s", strings.Join(args, " "), err, said.String())
}

// freePort is a port of the host's loopback that nobody has.
func freePort(b *testing.B) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	l.Close()
	return fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
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

// loadTime is how long one measurement may take at most.
const loadTime = time.Minute

// measureLoad runs a client and returns the number that it prints.
func measureLoad(args []string) (float64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), loadTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.WaitDelay = time.Second
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("%s: %w: %s", strings.Join(args, " "), errors.Join(err, ctx.Err()), stderr.String())
	}
	return strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
}
