package test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// traced runs a program under rumpctl trace and returns how it ended and the
// trace.
func traced(t *testing.T, url string, options []string, command ...string) (result, string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "trace")
	args := append([]string{"trace", "-o", file, "--server", url}, options...)
	r := runProgram(t, "", "rumpctl", append(append(args, "--"), command...)...)
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; %+v", err, r)
	}
	return r, string(b)
}

// wantLines checks that a trace has lines that match, in that order.
func wantLines(t *testing.T, trace string, patterns ...string) {
	t.Helper()
	rest := trace
	for _, p := range patterns {
		at := regexp.MustCompile(`(?m)^` + p + `$`).FindStringIndex(rest)
		if at == nil {
			t.Errorf("no line %s where it should be, in\n%s", p, trace)
			return
		}
		rest = rest[at[1]:]
	}
}

// TestTrace traces a ping on kernels of several machines.
func TestTrace(t *testing.T) {
	for _, machine := range []string{"amd64", "i386", "arm", "powerpc", "sparc64"} {
		t.Run(machine, func(t *testing.T) {
			k := startKernel(t, machine)
			r, trace := traced(t, k.URL, nil, "rping", "-c", "1", "127.0.0.1")
			if r.Code != 0 || r.Stderr != "" || !strings.Contains(r.Stdout, "1 packets transmitted, 1 packets received") {
				t.Errorf("ping: %+v", r)
			}
			if strings.Contains(trace, "???") {
				t.Errorf("not all was understood:\n%s", trace)
			}
			wantLines(t, trace,
				`--- RUMPSP-0\.4-NetBSD-7\.99\.34/`+machine+` ---`,
				`HANDSHAKE\(GUEST, "rping"\) += 0`,
				`__socket30\(AF_INET, SOCK_RAW, IPPROTO_ICMP\) = 3`,
				`.*sendto\(3, "E.*"\.\.\., 84, 0, \{sa_family=AF_INET, sin_port=0, sin_addr=127\.0\.0\.1\}, 16.*`,
				`.*recvfrom.*"E.*"\.\.\., \d+, 0, \{sa_family=AF_INET, sin_port=0, sin_addr=127\.0\.0\.1\}, \[.*16\]\) = 84`,
				`\+\+\+ exited with 0 \+\+\+`)
		})
	}
}

// TestTraceTCP traces on a kernel that is reached by TCP.
func TestTraceTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	url := "tcp://" + address + "/"
	cmd := exec.Command(program("rumpd"), "-s", url)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	for deadline := time.Now().Add(limit); ; time.Sleep(5 * time.Millisecond) {
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("rumpd does not serve")
		}
	}
	r, trace := traced(t, url, []string{"-e", "%ioctl", "-q"}, "rifconfig", "lo0")
	if r.Code != 0 || !strings.Contains(r.Stdout, "lo0: flags=") {
		t.Errorf("rifconfig: %+v", r)
	}
	wantLines(t, trace, `ioctl\(\d+, SIOCGIFFLAGS, \{ifr_name="lo0", ifr_flags=IFF_UP\|IFF_LOOPBACK\|IFF_RUNNING\|IFF_MULTICAST\}\) = 0`)
	for _, line := range strings.Split(strings.TrimSpace(trace), "\n") {
		if !strings.HasPrefix(line, "ioctl(") {
			t.Errorf("not an ioctl: %s", line)
		}
	}
}

// TestTraceExit: the tracer ends as the program does.
func TestTraceExit(t *testing.T) {
	k := startKernel(t, "amd64")
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("no program\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		command []string
		code    int
		stderr  string
	}{
		{[]string{"sh", "-c", "exit 7"}, 7, ""},
		{[]string{"sh", "-c", "echo oops >&2; exit 255"}, 255, "oops\n"},
		{[]string{"rping", "-c", "1", "-w", "1", "192.0.2.1"}, 2, "rping: sendto: No route to host\n"},
		{[]string{"/nonexistent/program"}, 127, "rumpctl: trace: /nonexistent/program: no such file or directory\n"},
		{[]string{"nosuchprogram"}, 127, "rumpctl: trace: nosuchprogram: executable file not found in $PATH\n"},
		{[]string{text}, 126, "rumpctl: trace: " + text + ": permission denied\n"},
	} {
		r, trace := traced(t, k.URL, nil, tt.command...)
		if r.Code != tt.code || r.Stderr != tt.stderr && tt.code != 2 {
			t.Errorf("%q: %+v, want %d and %q", tt.command, r, tt.code, tt.stderr)
		}
		if tt.code < 126 || tt.code == 255 {
			wantLines(t, trace, fmt.Sprintf(`\+\+\+ exited with %d \+\+\+`, tt.code))
		}
	}
}

// running is a program that has been started.
type running struct {
	*exec.Cmd
	stdout, stderr *bufio.Scanner
}

func startProgram(t *testing.T, env []string, name string, args ...string) *running {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, program(name), args...)
	cmd.Env = append(os.Environ(), env...)
	// A signal for it is not for the test, and is not from a terminal.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	errs, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return &running{Cmd: cmd, stdout: bufio.NewScanner(out), stderr: bufio.NewScanner(errs)}
}

// line waits for a line.
func line(t *testing.T, sc *bufio.Scanner, want string) {
	t.Helper()
	for sc.Scan() {
		if strings.Contains(sc.Text(), want) {
			return
		}
	}
	t.Fatalf("no line with %q", want)
}

func (r *running) signal(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := r.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// status is how it has ended.
func (r *running) status(t *testing.T) syscall.WaitStatus {
	t.Helper()
	err := r.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return r.ProcessState.Sys().(syscall.WaitStatus)
}

// TestTraceSignals: signals that are for the program reach it, and one that kills
// it kills the tracer.
func TestTraceSignals(t *testing.T) {
	k := startKernel(t, "amd64")
	for _, sig := range []struct {
		name string
		sig  syscall.Signal
	}{{"TERM", syscall.SIGTERM}, {"INT", syscall.SIGINT}, {"HUP", syscall.SIGHUP}, {"QUIT", syscall.SIGQUIT}} {
		file := filepath.Join(t.TempDir(), "trace")
		p := startProgram(t, nil, "rumpctl", "trace", "-o", file, "--server", k.URL, "--",
			"sh", "-c", `trap 'echo got; exit 3' `+sig.name+`; echo ready; while :; do sleep 0.01; done`)
		line(t, p.stdout, "ready")
		p.signal(t, sig.sig)
		line(t, p.stdout, "got")
		if st := p.status(t); st.ExitStatus() != 3 {
			t.Errorf("%s: %v", sig.name, st)
		}
	}
	p := startProgram(t, nil, "rumpctl", "trace", "--server", k.URL, "--", "sh", "-c", "kill -USR1 $$")
	line(t, p.stderr, "+++ killed by SIGUSR1 +++")
	if st := p.status(t); !st.Signaled() || st.Signal() != syscall.SIGUSR1 {
		t.Errorf("killed by SIGUSR1, the tracer ends with %v", st)
	}
}

// TestTraceTree: all that a program starts is traced, also what outlives it.
func TestTraceTree(t *testing.T) {
	k := startKernel(t, "amd64")
	out := filepath.Join(t.TempDir(), "out")
	r, trace := traced(t, k.URL, nil, "sh", "-c",
		"rifconfig -l; rping -c 3 -i 0.2 127.0.0.1 >"+out+" & while ! grep icmp_seq "+out+"; do sleep 0.01; done 2>/dev/null; exit 4")
	if r.Code != 4 || !strings.Contains(r.Stdout, "lo0\n") {
		t.Errorf("%+v", r)
	}
	if b, err := os.ReadFile(out); err != nil || !strings.Contains(string(b), "3 packets received") {
		t.Errorf("%s, %v", b, err)
	}
	wantLines(t, trace, `HANDSHAKE\(GUEST, "rifconfig"\) += 0`, `\+\+\+ disconnected \+\+\+`,
		`\[pid \d+ rping\] HANDSHAKE\(GUEST, "rping"\) += 0`,
		`\[pid \d+\] \+\+\+ exited with 4 \+\+\+`, `\[pid \d+ rping\] \+\+\+ disconnected \+\+\+`)
}

// TestTraceEnvironment: what an exec has handed on does not lead a program past
// the tracer, and nothing is left behind.
func TestTraceEnvironment(t *testing.T) {
	k := startKernel(t, "amd64")
	tmp := t.TempDir()
	p := startProgram(t, []string{"TMPDIR=" + tmp, "RUMPCLIENT__EXECFD=3,4", "RUMP__PARSEDSERVER=unix:///x"},
		"rumpctl", "trace", "--server", k.URL, "--", "sh", "-c", "env; ls -ld $(dirname ${RUMP_SERVER#unix://})")
	var all []string
	for p.stdout.Scan() {
		all = append(all, p.stdout.Text())
	}
	if st := p.status(t); st != 0 {
		t.Errorf("ended with %v", st)
	}
	said := strings.Join(all, "\n")
	if strings.Contains(said, "EXECFD") || strings.Contains(said, "PARSEDSERVER") {
		t.Errorf("environment:\n%s", said)
	}
	if !regexp.MustCompile(`(?m)^RUMP_SERVER=unix://`+tmp+`/\S+$`).MatchString(said) || !strings.Contains(said, "drwx------") {
		t.Errorf("no private socket:\n%s", said)
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestTraceRecord: a recording that is read is the trace that was shown.
func TestTraceRecord(t *testing.T) {
	k := startKernel(t, "powerpc")
	rec := filepath.Join(t.TempDir(), "rec")
	r, trace := traced(t, k.URL, []string{"--record", rec}, "rnetstat", "-rn")
	if r.Code != 0 {
		t.Fatalf("%+v", r)
	}
	got := want(t, "", "rumpctl", "trace", "--read", rec)
	// The end of the client is the end of the program where its process is
	// known.
	got = strings.Replace(got, "+++ disconnected +++\n", "", 1)
	if got != trace {
		t.Errorf("read:\n%s\nshown:\n%s", got, trace)
	}
	b, err := os.ReadFile(rec)
	if err != nil {
		t.Fatal(err)
	}
	wantLines(t, string(b), `# command: rnetstat -rn`, `# server: RUMPSP-0\.4-NetBSD-7\.99\.34/powerpc`, `\d+\.\d{6} 1 open`,
		`\d+\.\d{6} 1 < [0-9a-f]+  # BANNER`, `\d+\.\d{6} 1 > [0-9a-f]+  # REQ HANDSHAKE GUEST "rnetstat" reqno=1 len=33`,
		`\d+\.\d{6} 1 > [0-9a-f]+  # REQ SYSCALL 202 __sysctl reqno=\d+ len=\d+`, `\d+\.\d{6} 1 eof>`, `# exit: 0`)
}

// TestTraceSummary counts.
func TestTraceSummary(t *testing.T) {
	k := startKernel(t, "amd64")
	r, trace := traced(t, k.URL, []string{"-c"}, "rifconfig", "lo0")
	if r.Code != 0 {
		t.Fatalf("%+v", r)
	}
	wantLines(t, trace, ` *% time +seconds +usecs/call +calls +errors +p50 +p90 +p99 +max +syscall`)
	m := regexp.MustCompile(`(?m)^ *100\.00 +[\d.]+ +\d+ +(\d+) .*total$`).FindStringSubmatch(trace)
	if m == nil {
		t.Fatalf("no total:\n%s", trace)
	}
	sum := 0
	for _, l := range regexp.MustCompile(`(?m)^ *[\d.]+ +[\d.]+ +\d+ +(\d+) .*  (\w+)$`).FindAllStringSubmatch(trace, -1) {
		n, _ := strconv.Atoi(l[1])
		if l[2] != "total" {
			sum += n
		}
	}
	if strconv.Itoa(sum) != m[1] || sum < 10 {
		t.Errorf("%d calls, the total is %s:\n%s", sum, m[1], trace)
	}
}

// TestTraceJSON: every line is an object.
func TestTraceJSON(t *testing.T) {
	k := startKernel(t, "amd64")
	r, trace := traced(t, k.URL, []string{"--json", "-e", "sysctl"}, "rnetstat", "-rn")
	if r.Code != 0 {
		t.Fatalf("%+v", r)
	}
	events := make(map[string]int)
	for _, l := range strings.Split(strings.TrimSpace(trace), "\n") {
		var e struct {
			Time        float64
			Event, Call string
			PID         int
			Args        []struct{ Name, Text string }
			Result      string
		}
		dec := json.NewDecoder(strings.NewReader(l))
		if err := dec.Decode(&e); err != nil {
			t.Fatalf("%s: %v", l, err)
		}
		events[e.Event]++
		if e.Event == "call" && (e.Call != "__sysctl" || len(e.Args) != 6 || e.Result != "0" || e.PID == 0 || e.Time < 1e9) {
			t.Errorf("%+v", e)
		}
	}
	if events["call"] < 2 || events["exit"] != 1 || events["kernel"] != 1 {
		t.Errorf("%v", events)
	}
}

// attached starts a tracer of a named kernel's clients and waits until it stands
// before it.
func attached(t *testing.T, name, file string) *running {
	t.Helper()
	p := startProgram(t, nil, "rumpctl", "trace", "--attach", name, "-o", file)
	for deadline := time.Now().Add(limit); ; time.Sleep(10 * time.Millisecond) {
		if regexp.MustCompile(`(?m)^` + name + ` +traced `).MatchString(want(t, "", "rumpctl", "list")) {
			return p
		}
		if time.Now().After(deadline) {
			t.Fatal("the kernel is not traced")
		}
	}
}

// leftIn is the names in the run-time directory.
func leftIn(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, "rump"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".crash") {
			names = append(names, e.Name())
		}
	}
	return strings.Join(names, " ")
}

func pings(t *testing.T, name string) {
	t.Helper()
	out := want(t, "", "rping", "--server", name, "-c", "1", "127.0.0.1")
	if !strings.Contains(out, "1 packets received") {
		t.Errorf("ping:\n%s", out)
	}
}

// TestTraceAttach: the clients of a running kernel, until a signal.
func TestTraceAttach(t *testing.T) {
	dir := runtimeDir(t)
	want(t, "", "rumpctl", "start", "k", "--machine", "sparc")
	pid := regexp.MustCompile(`(?m)^k +running +(\d+) `).FindStringSubmatch(want(t, "", "rumpctl", "list"))[1]
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		file := filepath.Join(t.TempDir(), "trace")
		p := attached(t, "k", file)
		// What is listed is the kernel's process.
		if !regexp.MustCompile(`(?m)^k +traced +` + pid + ` +sparc `).MatchString(want(t, "", "rumpctl", "list")) {
			t.Errorf("list:\n%s", want(t, "", "rumpctl", "list"))
		}
		r := runProgram(t, "", "rumpctl", "trace", "--attach", "k")
		if r.Code != 1 || r.Stderr != "rumpctl: rump kernel at unix://"+dir+"/rump/k: already traced\n" {
			t.Errorf("a second tracer: %+v", r)
		}
		pings(t, "k")
		p.signal(t, sig)
		if st := p.status(t); st != 0 {
			t.Errorf("%v: ended with %v", sig, st)
		}
		if got := leftIn(t, dir); got != "k" {
			t.Errorf("%v: left: %s", sig, got)
		}
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		wantLines(t, string(b), `.*HANDSHAKE\(GUEST, "rping"\) += 0`, `.*\+\+\+ disconnected \+\+\+`)
		pings(t, "k")
	}
}

// TestTraceAttachKilled: a tracer that is killed is in nobody's way.
func TestTraceAttachKilled(t *testing.T) {
	dir := runtimeDir(t)
	want(t, "", "rumpctl", "start", "k")
	for _, repair := range []func(){
		func() { pings(t, "k") },
		func() {
			if out := want(t, "", "rumpctl", "list"); !regexp.MustCompile(`(?m)^k +running `).MatchString(out) {
				t.Errorf("list:\n%s", out)
			}
		},
		func() { want(t, "", "rumpctl", "status", "k") },
		func() {
			p := attached(t, "k", filepath.Join(t.TempDir(), "trace"))
			p.signal(t, syscall.SIGTERM)
			p.status(t)
		},
		func() {
			r := runProgram(t, "", "rumpctl", "start", "k")
			if r.Code != 1 || !strings.Contains(r.Stderr, "already running") {
				t.Errorf("start: %+v", r)
			}
		},
	} {
		p := attached(t, "k", filepath.Join(t.TempDir(), "trace"))
		p.signal(t, syscall.SIGKILL)
		p.status(t)
		repair()
		if got := leftIn(t, dir); got != "k" {
			t.Errorf("left: %s", got)
		}
	}
	p := attached(t, "k", filepath.Join(t.TempDir(), "trace"))
	p.signal(t, syscall.SIGKILL)
	p.status(t)
	want(t, "", "rumpctl", "halt", "k")
	if out := want(t, "", "rumpctl", "list"); out != "" || leftIn(t, dir) != "" {
		t.Errorf("halted, but:\n%s%s", out, leftIn(t, dir))
	}
}

// TestTraceAttachKernelEnds: the trace ends with the kernel.
func TestTraceAttachKernelEnds(t *testing.T) {
	dir := runtimeDir(t)
	for _, end := range []func(pid int){
		func(int) { want(t, "", "rumpctl", "halt", "k") },
		func(pid int) { syscall.Kill(pid, syscall.SIGTERM) },
		func(pid int) { syscall.Kill(pid, syscall.SIGKILL) },
	} {
		want(t, "", "rumpctl", "start", "k")
		p := attached(t, "k", filepath.Join(t.TempDir(), "trace"))
		pid, err := strconv.Atoi(regexp.MustCompile(`(?m)^k +traced +(\d+) `).FindStringSubmatch(want(t, "", "rumpctl", "list"))[1])
		if err != nil {
			t.Fatal(err)
		}
		end(pid)
		if st := p.status(t); st != 0 {
			t.Errorf("ended with %v", st)
		}
		if left := leftIn(t, dir); left != "" && left != "k" {
			t.Errorf("left: %s", left)
		}
	}
	// The last one was killed and has left its socket, as without a tracer.
	if out := want(t, "", "rumpctl", "list"); !regexp.MustCompile(`(?m)^k +dead `).MatchString(out) {
		t.Errorf("list:\n%s", out)
	}
}

// TestTraceAttachLetsGo: clients that are connected when the trace is to end go
// on until they end themselves, or are cut off by another signal.
func TestTraceAttachLetsGo(t *testing.T) {
	dir := runtimeDir(t)
	want(t, "", "rumpctl", "start", "k")
	for _, again := range []bool{false, true} {
		p := attached(t, "k", filepath.Join(t.TempDir(), "trace"))
		ping := startProgram(t, nil, "rping", "--server", "k", "127.0.0.1")
		line(t, ping.stdout, "icmp_seq=0")
		p.signal(t, syscall.SIGTERM)
		line(t, p.stderr, "1 client is still connected through the trace; interrupt again to cut it off")
		if got := leftIn(t, dir); got != "k" {
			t.Errorf("left: %s", got)
		}
		line(t, ping.stdout, "icmp_seq=")
		if again {
			p.signal(t, syscall.SIGTERM)
			if st := p.status(t); st != 0 {
				t.Errorf("ended with %v", st)
			}
			line(t, ping.stderr, "lost")
			ping.status(t)
		} else {
			ping.signal(t, syscall.SIGINT)
			if st := ping.status(t); st != 0 {
				t.Errorf("ping ended with %v", st)
			}
			if st := p.status(t); st != 0 {
				t.Errorf("ended with %v", st)
			}
		}
	}
}

// TestTraceMistakes: each is one line, and exit code 1.
func TestTraceMistakes(t *testing.T) {
	dir := runtimeDir(t)
	bad := filepath.Join(dir, "bad")
	if err := os.WriteFile(bad, []byte("0.1 1 > zz\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args []string
		want string
	}{
		{nil, "rumpctl: trace: give a program, --attach or --read"},
		{[]string{"--attach", "k", "--", "true"}, "rumpctl: trace: a program, --attach and --read exclude each other"},
		{[]string{"--attach", "k"}, "rumpctl: no rump kernel at unix://" + dir + "/rump/k"},
		{[]string{"--attach", "tcp://127.0.0.1:1/"}, "rumpctl: tcp://127.0.0.1:1/: not a local socket"},
		{[]string{"--server", "k", "--", "true"}, "rumpctl: no rump kernel at unix://" + dir + "/rump/k: start one with"},
		{[]string{"--read", dir + "/none"}, "rumpctl: trace: open " + dir + "/none: no such file"},
		{[]string{"--read", bad}, "rumpctl: trace: " + bad + ": line 1: bytes that are not hexadecimal"},
		{[]string{"-e", "trace=nosuch", "--read", bad}, `rumpctl: trace: -e "nosuch": no such system call`},
		{[]string{"-e", "%nosuch", "--read", bad}, "rumpctl: trace: -e %nosuch: no such class; there are %clock"},
		{[]string{"-e", "signal=all", "--read", bad}, "rumpctl: trace: -e signal=all: only trace= is known"},
		{[]string{"-o", "/nonexistent/x", "--read", bad}, "rumpctl: trace: open /nonexistent/x: no such file"},
		{[]string{"-Zz", "--read", bad}, "rumpctl: trace: -Z and -z exclude each other"},
		{[]string{"-s", "-1", "--read", bad}, "rumpctl: trace: -s -1: not a number of bytes"},
		{[]string{"-s", "ten", "--read", bad}, "rumpctl: -s ten: not a number\n"},
	} {
		r := runProgram(t, "", "rumpctl", append([]string{"trace"}, tt.args...)...)
		if r.Code != 1 || r.Stdout != "" || !strings.HasPrefix(r.Stderr, tt.want) || strings.Count(r.Stderr, "\n") != 1 {
			t.Errorf("%q: exit %d, %q\n got %q\nwant %q...", tt.args, r.Code, r.Stdout, r.Stderr, tt.want)
		}
	}
}

// TestTraceFullDisk: a trace that can't be written does not stop the program.
func TestTraceFullDisk(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("no /dev/full")
	}
	k := startKernel(t, "amd64")
	var out, errs bytes.Buffer
	cmd := exec.Command(program("rumpctl"), "trace", "-o", "/dev/full", "--server", k.URL, "--", "rifconfig", "-l")
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || out.String() != "lo0\n" || errs.String() != "rumpctl: trace: write /dev/full: no space left on device\n" {
		t.Errorf("%v, %q, %q", err, &out, &errs)
	}
}
