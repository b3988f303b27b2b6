package apps

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestListeners: of two sockets that share a port by SO_REUSEADDR one may listen, as on the host.
func TestListeners(t *testing.T) {
	asOnHost(t, "listeners.py")
}

// TestUnread: programs tell what others have not read or accepted yet, as on the host.
func TestUnread(t *testing.T) { asOnHost(t, "unread.py", find(t, "ss"), find(t, "netstat")) }

// TestPorts: who may have the port of another socket is as on the host.
func TestPorts(t *testing.T) { asOnHost(t, "ports.py") }

// TestReused: an end's port may be used again for the same peer, and who asks there is told whether somebody listens, although a
// connection of the same two ends is remembered.
func TestReused(t *testing.T) {
	rounds := "100"
	if os.Getenv("APPS_SERVER") != "" {
		rounds = "3" // NetBSD's kernel may answer the next request only when it comes again, after 6 s
	}
	asOnHost(t, "reused.py", rounds)
}

// asOnHost runs a program of Python's on the host and under exec, which are to print the same.
func asOnHost(t *testing.T, script string, args ...string) {
	t.Helper()
	if server.kernel == "" {
		t.Skip("is about exec")
	}
	server.asOnHost(t, script, args...)
}

func (h *host) asOnHost(t *testing.T, script string, args ...string) {
	t.Helper()
	python := find(t, "python3")
	args = append([]string{script}, args...)
	want := succeeds(t, onHost(python, args...), limit)
	if !strings.HasSuffix(want, "\nend\n") {
		t.Fatalf("on the host: %q", want)
	}
	if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(h.want(t, python, args...), "\n")); diff != "" {
		t.Error(diff)
	}
}

// TestPortsAfterEnd: when a program has ended the kernel has none of its sockets any more, so that the ports are free for who is
// started next, under another exec.
func TestPortsAfterEnd(t *testing.T) {
	if server.kernel == "" {
		t.Skip("is about exec")
	}
	python := find(t, "python3")
	const binds = `
import os, socket
kept = []
for port in range(3000, 3400):
    for kind in socket.SOCK_STREAM, socket.SOCK_DGRAM:
        s = socket.socket(socket.AF_INET, kind)
        s.bind(("127.0.0.1", port))
        if kind == socket.SOCK_STREAM:
            s.listen()
        kept.append(s)
os._exit(0) # which closes all of them at once
`
	for range 3 {
		server.want(t, python, "-c", binds)
		list, err := exec.Command(filepath.Join(bin, "rnetstat"), "--server", server.kernel, "-an").CombinedOutput()
		if err != nil {
			t.Fatalf("rnetstat: %v\n%s", err, list)
		}
		if left := regexp.MustCompile(`(?m)^(tcp|udp) .* 127\.0\.0\.1\.3[0-3]\d\d .*`).FindAll(list, -1); left != nil {
			t.Errorf("%d sockets are left: %s", len(left), left[0])
		}
	}
}
