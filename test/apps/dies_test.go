package apps

import (
	"fmt"
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

// TestDies: when the supervisor or the kernel dies, programs see resets, those that wait as
// well, whoever carries the bytes: the kernel has K over a local socket, and over TCP, as
// with NetBSD's kernel, the supervisor carries. What had ended in order before has.
func TestDies(t *testing.T) {
	if native {
		t.Skip("is about exec")
	}
	python := find(t, "python3")
	script, err := filepath.Abs("dies.py")
	if err != nil {
		t.Fatal(err)
	}
	if url := os.Getenv("APPS_SERVER"); url != "" {
		t.Run("supervisor", func(t *testing.T) {
			dies(t, server.command(nil, python, script, server.v4.String()), "supervisor")
		})
		return
	}
	for _, url := range []string{"unix", "tcp"} {
		for _, who := range []string{"supervisor", "kernel"} {
			t.Run(url+"/"+who, func(t *testing.T) {
				where := "unix://" + filepath.Join(tempDir(t), "kernel")
				if url == "tcp" {
					where = "tcp://127.0.0.1:7777/"
				}
				// One of its own, and in a network of their own where lo is up.
				dies(t, onHost("/bin/sh", "-c", fmt.Sprintf("rumpd -s %[1]s & echo kernel $!; "+
					"until rnetstat --server %[1]s >/dev/null 2>&1; do kill -0 $! || exit; sleep 0.1; done; "+
					"exec rumpctl exec --server %[1]s -- %[2]s %[3]s 127.0.0.1", where, python, script)), who)
			})
		}
	}
}

// dies runs a program, kills what it depends on, and checks what it saw.
func dies(t *testing.T, cmd *exec.Cmd, who string) {
	in, tell, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	defer tell.Close()
	cmd.Stdin = in
	p := start(t, cmd)
	pid := map[string]int{}
	pid["supervisor"], _ = strconv.Atoi(p.says(`(?m)^ready (\d+)$`)[1])
	if m := regexp.MustCompile(`(?m)^kernel (\d+)$`).FindStringSubmatch(p.output()); m != nil {
		pid["kernel"], _ = strconv.Atoi(m[1])
		t.Cleanup(func() { syscall.Kill(pid["kernel"], syscall.SIGKILL) })
	}
	if name := commandLine(pid["supervisor"]); !strings.Contains(name, "exec") {
		t.Fatalf("the program's parent is %q", name)
	}
	if err := syscall.Kill(pid[who], syscall.SIGKILL); err != nil {
		t.Fatalf("kill %s: %v", who, err)
	}
	time.Sleep(200 * time.Millisecond)
	tell.Write([]byte("\n"))
	// It outlives its supervisor, and exec.
	for deadline := time.Now().Add(limit); !strings.Contains(p.output(), "done"); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it has not ended:\n%s", p.output())
		}
	}
	accept, again := "ENOSYS", "often"
	if who == "kernel" {
		accept, again = "E[A-Z]+", "seldom" // as RUMPHIJACK_RETRYCONNECT has it
	}
	out := p.output()
	for _, want := range []string{
		"recv, nothing was said: ECONNRESET",
		"recv of the accepted, nothing was said: ECONNRESET",
		"recv: ECONNRESET",
		"recv of the accepted: ECONNRESET",
		"send: (ECONNRESET|EPIPE)",
		`poll: 'IN\|ERR\|HUP ECONNRESET'`,
		"recv after shutdown: ECONNRESET",
		`unread: \(b'before', 'ECONNRESET'\)`,
		`ended before: \(b'', 'EPIPE'\)`,
		"accept: " + accept,
		"accept again and again: '" + again + "'",
		"done 0",
	} {
		if !regexp.MustCompile(`(?m)^` + want + `$`).MatchString(out) {
			t.Errorf("want %s", want)
		}
	}
	if t.Failed() {
		t.Log(out)
	}
}
