package apps

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// iperf3's report, the parts that matter here.
type report struct {
	Error string
	End   struct {
		SumSent, SumReceived, Sum struct {
			Bytes       float64
			Seconds     float64
			BitsPerSec  float64 `json:"bits_per_second"`
			LostPercent float64 `json:"lost_percent"`
		}
	}
}

func (r *report) UnmarshalJSON(text []byte) error {
	var raw struct {
		Error string
		End   map[string]json.RawMessage
	}
	if err := json.Unmarshal(text, &raw); err != nil {
		return err
	}
	r.Error = raw.Error
	for name, to := range map[string]any{"sum_sent": &r.End.SumSent, "sum_received": &r.End.SumReceived, "sum": &r.End.Sum} {
		if part, found := raw.End[name]; found {
			if err := json.Unmarshal(part, to); err != nil {
				return err
			}
		}
	}
	return nil
}

// TestIperf: every stream arrives; how fast is the benchmarks' matter.
func TestIperf(t *testing.T) {
	all(t)
	iperf := find(t, "iperf3")
	for _, addr := range server.addresses() {
		p := port(t)
		s := server.serve(t, "tcp", p, server.command(nil, iperf, "-s", "--forceflush", "-B", addr.String(), "-p", fmt.Sprint(p)))
		tests := 0
		for _, tt := range []struct {
			name string
			args []string
		}{
			{"TCP", nil},
			{"TCP -R", []string{"-R"}},
			{"TCP -P 4", []string{"-P", "4"}},
			{"TCP --bidir", []string{"--bidir"}},
			{"TCP -Z", []string{"-Z"}},
			{"TCP -M, -w, -N", []string{"-w", "200K", "-N"}},
			{"UDP", []string{"-u", "-b", "20M", "-l", "1400"}},
			{"UDP -R", []string{"-u", "-b", "20M", "-l", "1400", "-R"}},
			{"UDP -P 4", []string{"-u", "-b", "2M", "-P", "4"}},
		} {
			t.Run(tt.name+" "+addr.String(), func(t *testing.T) {
				args := append([]string{"-c", addr.String(), "-p", fmt.Sprint(p), "-t", "2", "-J"}, tt.args...)
				for try := 1; ; try++ {
					// For each test it listens anew.
					tests++
					s.says(fmt.Sprintf(`(?s)(Server listening on.*){%d}`, tests))
					server.listens(t, s, "tcp", p)
					r := start(t, client.command(nil, iperf, args...)).finish(limit)
					var report report
					if err := json.Unmarshal([]byte(r.Stdout), &report); err != nil {
						t.Fatalf("%v: %+v", err, r)
					}
					if r.Code != 0 || report.Error != "" {
						t.Fatalf("exit %d, %s", r.Code, report.Error)
					}
					if !strings.HasPrefix(tt.name, "UDP") {
						sum := report.End.SumReceived
						if sum.Bytes == 0 {
							t.Errorf("%+v", report.End)
						}
						t.Logf("%.0f Mbit/s", sum.BitsPerSec/1e6)
						return
					}
					sum := report.End.Sum
					t.Logf("%.0f Mbit/s, %.2f %% lost", sum.BitsPerSec/1e6, sum.LostPercent)
					if sum.Bytes > 0 && sum.LostPercent < 5 {
						return
					}
					// A machine that has other work for a moment loses some, but not always.
					if try == 3 {
						t.Fatalf("%+v", sum)
					}
				}
			})
		}
	}
}

// TestSocat: a server that forks for each connection, over TCP and UDP.
func TestSocat(t *testing.T) {
	socat := find(t, "socat")
	p := port(t)
	server.serve(t, "tcp", p, server.command(nil, socat, fmt.Sprintf("TCP-LISTEN:%d,fork,reuseaddr,bind=%v", p, server.v4), "EXEC:tr a-z A-Z"))
	// The end of what is sent, not of the connection, ends the reader.
	cmd := client.command(nil, socat, "-t", "30", "-", "TCP:"+hostPort(server.v4, p))
	cmd.Stdin = strings.NewReader("hello\n")
	if out := succeeds(t, cmd, limit); out != "HELLO\n" {
		t.Errorf("%q", out)
	}
	if server.v6.IsValid() {
		p := port(t)
		server.serve(t, "tcp", p, server.command(nil, socat, fmt.Sprintf("TCP6-LISTEN:%d,fork,bind=[%v]", p, server.v6), "EXEC:cat"))
		cmd := client.command(nil, socat, "-t", "30", "-", "TCP6:"+hostPort(server.v6, p))
		cmd.Stdin = strings.NewReader("six\n")
		if out := succeeds(t, cmd, limit); out != "six\n" {
			t.Errorf("%q", out)
		}
	}
	p = port(t)
	server.serve(t, "udp", p, server.command(nil, socat, fmt.Sprintf("UDP-RECVFROM:%d,fork,bind=%v", p, server.v4), "EXEC:tr a-z A-Z"))
	for i := range 3 {
		// Nothing tells it that no more comes: it is ended when all has.
		cmd := client.command(nil, socat, "-t", "50", "-", "UDP:"+hostPort(server.v4, p))
		cmd.Stdin = strings.NewReader(fmt.Sprintf("udp %d\n", i))
		c := start(t, cmd)
		c.says(fmt.Sprintf(`^UDP %d\n$`, i))
		c.stop()
	}
	begin := time.Now()
	r := client.run(t, socat, "-u", "/dev/null", "TCP:"+hostPort(server.v4, port(t)))
	if r.Code != 1 || !strings.Contains(r.Stderr, "Connection refused") {
		t.Errorf("%+v", r)
	}
	atOnce(t, "socat's refusal", begin)
}

// TestNetcat: a file each way, and that a port is closed or open.
func TestNetcat(t *testing.T) {
	nc := find(t, "nc")
	if out, _ := os.Readlink("/etc/alternatives/nc"); out != "" && !strings.Contains(out, "openbsd") {
		t.Skipf("nc is %s", out)
	}
	dir := tempDir(t)
	file := filepath.Join(dir, "file")
	body := content(t, file, 1_000_000)
	for _, addr := range server.addresses() {
		p := port(t)
		got := filepath.Join(dir, "got")
		out, err := os.Create(got)
		if err != nil {
			t.Fatal(err)
		}
		cmd := server.command(nil, nc, "-lN", addr.String(), fmt.Sprint(p))
		cmd.Stdout = out
		cmd.Stdin = strings.NewReader("answer\n")
		s := server.serve(t, "tcp", p, cmd)
		in, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		send := client.command(nil, nc, "-N", addr.String(), fmt.Sprint(p))
		send.Stdin = in
		if out := succeeds(t, send, limit); out != "answer\n" {
			t.Errorf("%v: %q", addr, out)
		}
		if r := s.finish(limit); r.Code != 0 {
			t.Errorf("%v: %+v", addr, r)
		}
		in.Close()
		out.Close()
		sameFile(t, got, body)
		if r := client.run(t, nc, "-z", addr.String(), fmt.Sprint(p)); r.Code != 1 {
			t.Errorf("closed: %+v", r)
		}
		s = server.serve(t, "tcp", p, server.command(nil, nc, "-lk", addr.String(), fmt.Sprint(p)))
		if r := client.run(t, nc, "-zv", addr.String(), fmt.Sprint(p)); r.Code != 0 || !strings.Contains(r.Stderr, "succeeded") {
			t.Errorf("open: %+v", r)
		}
		s.stop()
	}
	p := port(t)
	s := server.serve(t, "udp", p, server.command(nil, nc, "-lu", server.v4.String(), fmt.Sprint(p)))
	cmd := client.command(nil, nc, "-u", "-q", "1", "-w", "3", server.v4.String(), fmt.Sprint(p))
	cmd.Stdin = strings.NewReader("datagram\n")
	start(t, cmd)
	s.says("datagram")
	// One that knows whom it talks to hears that nobody is there.
	p = port(t)
	cmd = client.command(nil, nc, "-u", "-w", "10", server.v4.String(), fmt.Sprint(p))
	cmd.Stdin = strings.NewReader("nobody\n")
	begin := time.Now()
	start(t, cmd).finish(limit)
	atOnce(t, "nc -u to a closed port", begin)
}

// TestDNS: dnsmasq answers on each of its addresses, whichever was asked, so it needs
// to know which (IP_PKTINFO); dig asks by UDP and TCP.
func TestDNS(t *testing.T) {
	all(t)
	dnsmasq, dig := find(t, "dnsmasq"), find(t, "dig")
	p := port(t)
	args := []string{"-k", "--log-facility=-", "--log-queries", "-C", "/dev/null", "--no-resolv", "--no-hosts", "--no-poll", "--pid-file=", "-p", fmt.Sprint(p),
		"--address=/name.test/10.9.8.7", "--address=/name.test/fd00:9::7", "--txt-record=long.test," + strings.Repeat(strings.Repeat("x", 200)+",", 19) + "end", "--user=root"}
	server.serve(t, "udp", p, server.command(nil, dnsmasq, args...))
	ask := func(args ...string) string {
		t.Helper()
		return client.want(t, dig, append([]string{"-p", fmt.Sprint(p), "+tries=2", "+time=5"}, args...)...)
	}
	for _, addr := range server.addresses() {
		at := "@" + addr.String()
		for _, how := range []string{"+notcp", "+tcp"} {
			if out := ask(at, how, "+short", "name.test", "A"); out != "10.9.8.7\n" {
				t.Errorf("%s %s: %q", at, how, out)
			}
			if out := ask(at, how, "+short", "name.test", "AAAA"); out != "fd00:9::7\n" {
				t.Errorf("%s %s: %q", at, how, out)
			}
		}
		// Too long for a datagram: it is asked for again by TCP.
		if out := ask(at, "+short", "+bufsize=1232", "long.test", "TXT"); !strings.Contains(out, `"end"`) {
			t.Errorf("%s: %q", at, out)
		}
		if out := ask(at, "other.test"); !regexp.MustCompile(`status: (REFUSED|NXDOMAIN)`).MatchString(out) {
			t.Errorf("%s: %s", at, out)
		}
	}
	begin := time.Now()
	r := client.run(t, dig, "@"+server.v4.String(), "-p", fmt.Sprint(port(t)), "+tries=1", "+time=10", "name.test")
	if r.Code == 0 || !strings.Contains(r.Stdout, "connection refused") {
		t.Errorf("no server: %+v", r)
	}
	atOnce(t, "dig's refusal", begin)
}

// TestResolver: the C library and Go find names through a resolver on the rump network.
func TestResolver(t *testing.T) {
	all(t)
	if native {
		t.Skip("is about exec's flags")
	}
	dnsmasq, curl := find(t, "dnsmasq"), find(t, "curl")
	goweb := filepath.Join(bin, "goweb")
	// The port is not the user's to choose in resolv.conf.
	server.serve(t, "udp", 53, server.command(nil, dnsmasq, "-k", "--log-facility=-", "-C", "/dev/null", "--no-resolv", "--no-hosts", "--no-poll", "--pid-file=",
		"--user=root", fmt.Sprintf("--address=/www.rump.test/%v", server.v4)))
	p := port(t)
	server.serve(t, "tcp", p, server.command(nil, goweb, "serve", hostPort(server.v4, p)))
	resolv := write(t, filepath.Join(tempDir(t), "resolv.conf"), fmt.Sprintf("nameserver %v\noptions timeout:5 attempts:2\n", server.v4))
	url := fmt.Sprintf("http://www.rump.test:%d/", p)
	for _, program := range [][]string{{curl, "-sSf", url}, {goweb, "get", url}} {
		if out := succeeds(t, client.command(flags{"--resolv", resolv}, program[0], program[1:]...), limit); out != "hello /\n" {
			t.Errorf("%s: %q", program[0], out)
		}
	}
	begin := time.Now()
	if r := start(t, client.command(flags{"--resolv", resolv}, curl, "-sS", "http://nobody.rump.example/")).finish(limit); r.Code != 6 {
		t.Errorf("%+v", r)
	}
	atOnce(t, "a name that the resolver doesn't have", begin)
}

// TestChrony: time over UDP, with the kernel's time stamps and the address that was
// asked as control data.
func TestChrony(t *testing.T) {
	all(t)
	chronyd := find(t, "chronyd")
	if os.Geteuid() != 0 {
		t.Skip("chronyd wants root")
	}
	dir := tempDir(t)
	p := port(t)
	conf := write(t, filepath.Join(dir, "server.conf"), fmt.Sprintf("local stratum 3\nallow\nport %d\ncmdport 0\npidfile %s/pid\nbindcmdaddress /\n", p, dir))
	server.serve(t, "udp", p, server.command(nil, chronyd, "-x", "-d", "-U", "-u", "root", "-f", conf))
	for _, addr := range server.addresses() {
		conf := write(t, filepath.Join(dir, "client.conf"), fmt.Sprintf("server %v port %d iburst maxsamples 4\ncmdport 0\nport 0\npidfile %s/client.pid\nbindcmdaddress /\n", addr, p, dir))
		r := start(t, client.command(nil, chronyd, "-x", "-Q", "-t", "50", "-U", "-u", "root", "-f", conf)).finish(limit)
		m := regexp.MustCompile(`System clock wrong by (-?[0-9.]+) seconds`).FindStringSubmatch(r.Stdout + r.Stderr)
		if r.Code != 0 || m == nil {
			t.Errorf("%v: %+v", addr, r)
			continue
		}
		// Both are this machine.
		if !regexp.MustCompile(`^-?0\.[0-4]`).MatchString(m[1]) {
			t.Errorf("%v: the clock is wrong by %s s", addr, m[1])
		}
	}
}
