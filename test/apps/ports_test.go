package apps

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestPorts: who may have the port of another socket is as on the host.
func TestPorts(t *testing.T) {
	if server.kernel == "" {
		t.Skip("is about exec")
	}
	python := find(t, "python3")
	want := succeeds(t, onHost(python, "ports.py"), limit)
	if !strings.HasSuffix(want, "\nend\n") {
		t.Fatalf("on the host: %q", want)
	}
	if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(server.want(t, python, "ports.py"), "\n")); diff != "" {
		t.Error(diff)
	}
}
