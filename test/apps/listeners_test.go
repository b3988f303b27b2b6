package apps

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestListeners: of two sockets that share a port by SO_REUSEADDR one may listen, as on the host.
func TestListeners(t *testing.T) {
	if server.kernel == "" {
		t.Skip("is about exec")
	}
	python := find(t, "python3")
	want := succeeds(t, onHost(python, "listeners.py"), limit)
	if !strings.HasSuffix(want, "\nend\n") {
		t.Fatalf("on the host: %q", want)
	}
	if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(server.want(t, python, "listeners.py"), "\n")); diff != "" {
		t.Error(diff)
	}
}
