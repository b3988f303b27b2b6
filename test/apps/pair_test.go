package apps

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"rumptools/pkg/spclient"
)

// pairDifferences are what a program may see besides differences when it is joined to the
// program at the other end of its connection.
var pairDifferences = []difference{
	{"that the other end has gone is seen at once", [][2]string{
		{"basic: poll after the peer's close IN|OUT|RDHUP", "basic: poll after the peer's close IN|OUT|HUP|RDHUP"},
		{"halfclose: the peer's write = 1", "halfclose: the peer's write = EPIPE"},
		{"rights: lost in flight: poll IN|OUT|RDHUP", "rights: lost in flight: poll IN|OUT|HUP|RDHUP"},
	}},
	{"it cannot be reset once it has shut down", [][2]string{
		{"reset: linger 0 after the peer's shutdown: poll IN|OUT|ERR|HUP|RDHUP, recv ECONNRESET", "reset: linger 0 after the peer's shutdown: poll IN|OUT|HUP|RDHUP, recv 0 \"\""},
	}},
	{"the kernel's connection does not know of a reset by unread data", [][2]string{
		{"reset: closed with data unread: getpeername = ENOTCONN", "reset: closed with data unread: getpeername = 0"},
	}},
}

// pairKernel is a kernel of the test's own, whose connections become pairs.
func pairKernel(t *testing.T) *host {
	t.Helper()
	h := ownKernel(t)
	h.setPair(t, "1")
	return h
}

func (h *host) setPair(t *testing.T, value string) {
	t.Helper()
	h.set(t, "net.inet.tcp.pair="+value)
}

// ownKernel is a kernel of the test's own.
func ownKernel(t *testing.T) *host {
	t.Helper()
	twoKernels(t)
	h := &host{name: "own" + strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return -1
	}, t.Name()), v4: netip.MustParseAddr("127.0.0.1"), v6: netip.MustParseAddr("::1")}
	rumpctl := filepath.Join(bin, "rumpctl")
	run := func(args ...string) {
		t.Helper()
		if out, err := exec.Command(rumpctl, args...).CombinedOutput(); err != nil {
			t.Fatalf("rumpctl %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	run("start", h.name)
	t.Cleanup(func() { exec.Command(rumpctl, "halt", h.name).Run() })
	h.kernel = "unix://" + filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "rump", h.name)
	return h
}

// set sets a variable of the kernel.
func (h *host) set(t *testing.T, what string) {
	t.Helper()
	if out, err := exec.Command(filepath.Join(bin, "rumpctl"), "sysctl", "--server", h.name, what).CombinedOutput(); err != nil {
		t.Fatalf("rumpctl sysctl: %v\n%s", err, out)
	}
}

// TestSocketsPair: the transcripts with net.inet.tcp.pair.
func TestSocketsPair(t *testing.T) {
	h := pairKernel(t)
	program := compile(t, "sockets/sockets.c")
	sections := []string{"basic", "halfclose", "reset", "nonblock", "backlog", "accepts", "bulk", "rights", "anew"}
	if os.Getenv("APPS") == "all" {
		sections = append(sections, "timeouts", "dualstack", "options", "mixes", "forks", "exec", "closeall", "emfile", "signals", "jobs", "threads")
	}
	transcripts(t, program, sections, h, slices.Concat(differences, pairDifferences))
}

// TestSocketsTCP: the transcripts when all bytes go through the kernel's TCP.
func TestSocketsTCP(t *testing.T) {
	h := ownKernel(t)
	h.set(t, "net.inet.tcp.fusion=0")
	program := compile(t, "sockets/sockets.c")
	sections := []string{"halfclose", "bothways", "reset", "bulk", "smallbuf"}
	if os.Getenv("APPS") == "all" {
		sections = append(sections, "basic", "nonblock", "timeouts", "options", "mixes", "forks", "rights")
	}
	transcripts(t, program, sections, h, differences)
}

// established are the connections that rnetstat lists.
func established(t *testing.T, h *host) []string {
	t.Helper()
	out, err := exec.Command(filepath.Join(bin, "rnetstat"), "-n", "--server", h.kernel).CombinedOutput()
	if err != nil {
		t.Fatalf("rnetstat: %v\n%s", err, out)
	}
	return regexp.MustCompile(`(?m)^tcp.*ESTABLISHED.*$`).FindAllString(string(out), -1)
}

// waits waits for something to become so.
func waits(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !so(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not yet", what)
		}
	}
}

// idle is a program whose standard input has nothing and does not end.
func idle(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close() })
	return start(t, cmd)
}

// TestPair: programs of two supervisors are joined, which rnetstat shows, and no bytes of
// theirs go through the kernel; a program without a supervisor is none of them.
func TestPair(t *testing.T) {
	h := pairKernel(t)
	goweb := filepath.Join(bin, "goweb")
	curl := find(t, "curl")
	p := port(t)
	h.setPair(t, "0")
	h.serve(t, "tcp", p, h.command(nil, goweb, "serve", hostPort(h.v4, p)))
	h.setPair(t, "1")
	// The server's supervisor looks once a second.
	time.Sleep(1500 * time.Millisecond)
	url := "http://" + hostPort(h.v4, p) + "/x"
	if out := h.want(t, curl, "-sSf", url, url+"y"); out != "hello /x\nhello /xy\n" {
		t.Errorf("%q", out)
	}
	// nc stays connected.
	nc := idle(t, h.command(nil, find(t, "nc.openbsd"), h.v4.String(), fmt.Sprint(p)))
	waits(t, "connected", func() bool { return len(established(t, h)) == 2 })
	for _, line := range established(t, h) {
		if !strings.HasSuffix(line, "ESTABLISHED pair") {
			t.Errorf("%s", line)
		}
	}
	// It is decided for each connection, also of a listener that was there before.
	h.setPair(t, "0")
	time.Sleep(1500 * time.Millisecond)
	other := idle(t, h.command(nil, find(t, "nc.openbsd"), h.v4.String(), fmt.Sprint(p)))
	waits(t, "connected", func() bool { return len(established(t, h)) == 4 })
	pairs := 0
	for _, line := range established(t, h) {
		if strings.HasSuffix(line, "ESTABLISHED pair") {
			pairs++
		}
	}
	if pairs != 2 {
		t.Errorf("%d halves of pairs: %s", pairs, established(t, h))
	}
	nc.kill()
	other.kill()
	waits(t, "the end", func() bool { return len(established(t, h)) == 0 })
	// A client of another kind.
	c, err := spclient.Dial(t.Context(), h.kernel, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	conn, err := c.DialContext(t.Context(), "tcp", hostPort(h.v4, p))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("GET /plain HTTP/1.0\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4096)
	var answer strings.Builder
	for {
		n, err := conn.Read(b)
		answer.Write(b[:n])
		if err != nil {
			break
		}
	}
	if !strings.HasSuffix(answer.String(), "hello /plain\n") {
		t.Errorf("%q", answer.String())
	}
}

// TestPairPassed: an end that waits for who receives it is not closed.
func TestPairPassed(t *testing.T) { pairKernel(t).asOnHost(t, "passed.py") }

// TestPairEMFILE: one for which accept(2) had no descriptor ends with its listener.
func TestPairEMFILE(t *testing.T) { pairKernel(t).asOnHost(t, "emfile.py") }

// TestPairLost: programs that are joined see the end when their kernel is lost.
func TestPairLost(t *testing.T) {
	all(t)
	h := pairKernel(t)
	p := port(t)
	nc := find(t, "nc.openbsd")
	l := idle(t, h.command(nil, nc, "-l", h.v4.String(), fmt.Sprint(p)))
	waitBound(t, h, p)
	from := idle(t, h.command(nil, nc, h.v4.String(), fmt.Sprint(p)))
	waits(t, "connected", func() bool { return len(established(t, h)) == 2 })
	if out, err := exec.Command(filepath.Join(bin, "rumpctl"), "halt", h.name).CombinedOutput(); err != nil {
		t.Fatalf("halt: %v\n%s", err, out)
	}
	l.finish(limit)
	from.finish(limit)
}
