package apps

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestListeners: of two sockets that share a port by SO_REUSEADDR one may listen, as on the host.
func TestListeners(t *testing.T) {
	asOnHost(t, "listeners.py")
}

// TestPorts: who may have the port of another socket is as on the host.
func TestPorts(t *testing.T) { asOnHost(t, "ports.py") }

// asOnHost runs a program of Python's on the host and under exec, which are to print the same.
func asOnHost(t *testing.T, script string) {
	t.Helper()
	if server.kernel == "" {
		t.Skip("is about exec")
	}
	python := find(t, "python3")
	want := succeeds(t, onHost(python, script), limit)
	if !strings.HasSuffix(want, "\nend\n") {
		t.Fatalf("on the host: %q", want)
	}
	if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(server.want(t, python, script), "\n")); diff != "" {
		t.Error(diff)
	}
}
