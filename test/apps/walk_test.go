package apps

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestWalk has walk.py do the same on the host and under exec: what no section of sockets.c has thought of.
func TestWalk(t *testing.T) {
	if server.kernel == "" {
		t.Skip("compares exec with the host")
	}
	if os.Getenv("APPS_SERVER") != "" {
		t.Skip("the order of what comes of a call is rumpd's")
	}
	const each = 10
	times := 1
	if os.Getenv("APPS") == "all" {
		times = 10
	}
	for _, kind := range []struct {
		name  string
		walks int
	}{{"tcp", 3 * each * times}, {"udp", 6 * each * times}} {
		for first := 0; first < kind.walks; first += each {
			t.Run(fmt.Sprintf("%s %d", kind.name, first), func(t *testing.T) {
				t.Parallel()
				walks(t, kind.name, first, each)
			})
		}
	}
}

func walks(t *testing.T, kind string, first, n int) {
	python := find(t, "python3")
	args := []string{"walk.py", kind, fmt.Sprint(first), fmt.Sprint(first + n)}
	host := start(t, onHost(python, args...)).finish(2 * limit).Stdout
	transcript := filepath.Join(t.TempDir(), "host")
	if err := os.WriteFile(transcript, []byte(host), 0o600); err != nil {
		t.Fatal(err)
	}
	exec := start(t, server.command(nil, python, append(args, transcript)...)).finish(6 * limit).Stdout
	want, got := strings.Split(host, "walk "), strings.Split(exec, "walk ")
	if len(want) != n+2 || len(got) != len(want) {
		t.Fatalf("the host made %d walks, exec %d:\n%s", len(want)-2, len(got)-2, exec)
	}
	for i := range want {
		host, exec := strings.Split(want[i], "\n"), strings.Split(got[i], "\n")
		known := func(host, exec string) (known, over bool) { return false, false }
		if kind == "tcp" {
			known = knownOfStreams
		}
		if at, differs := apart(host, exec, known); differs {
			t.Errorf("walk %s\nhost\t%s\nexec\t%s", strings.Join(host[:at], "\n"), host[at], strings.Join(exec[at:], "\n"))
		}
	}
}

// TestAgain: what is bound to an address again, or connected, after a connection has come to nothing, and what does not read any more.
func TestAgain(t *testing.T) { beside(t, "again", nil) }

var walkCall = regexp.MustCompile(`^(s\d+ (?:send|recv|peek|recvmsg)) \d+ = ([A-Z]+)$`)

// apart finds where a walk under exec leaves that on the host, but for what is known; over tells that what comes next differs, too.
func apart(host, exec []string, known func(host, exec string) (known, over bool)) (at int, differs bool) {
	for at = range host {
		if at == len(exec) {
			return at, true
		}
		if host[at] == exec[at] {
			continue
		}
		switch known, over := known(host[at], exec[at]); {
		case over:
			return 0, false
		case !known:
			return at, true
		}
	}
	return 0, false
}

// knownOfStreams is what rumpctl(1) says of streams.
func knownOfStreams(host, exec string) (known, over bool) {
	if name, ok := strings.CutSuffix(host, " a port"); ok && strings.HasSuffix(exec, " 0") {
		// NetBSD's socket of a connection that was reset, or an attempt that failed, has no name any more.
		h, e := strings.Fields(name), strings.Fields(exec)
		return len(h) == len(e)-1 && slices.Equal(h[:2], e[:2]) && h[1] == "name", false
	}
	h, e := walkCall.FindStringSubmatch(host), walkCall.FindStringSubmatch(exec)
	if h == nil || e == nil || h[1] != e[1] {
		return false, withoutError(host, exec)
	}
	// One that is not connected is a local socket, which says that in its own words.
	known = slices.Contains([]string{"ENOTCONN", "EPIPE"}, h[2]) && slices.Contains([]string{"EINVAL", "ENOTCONN"}, e[2])
	return known, h[2] == "ECONNRESET" && e[2] == "EPIPE"
}

// withoutError tells whether two lines of what poll(2) and FIONREAD say differ only by POLLERR of sockets whose peer has ended its direction
// before the connection was reset.
func withoutError(host, exec string) bool {
	h, e := strings.Fields(host), strings.Fields(exec)
	if !strings.HasPrefix(host, "    ") || len(h) != len(e) {
		return false
	}
	for i := range h {
		if h[i] != e[i] && (!strings.Contains(h[i], "R") || strings.Replace(h[i], "E", "", 1) != e[i]) {
			return false
		}
	}
	return true
}
