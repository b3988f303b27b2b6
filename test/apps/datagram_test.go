package apps

import (
	"testing"
)

// TestDatagrams has a program use UDP sockets, on the host and in a kernel: what has been sent
// and received around connect(2) and close(2) is the same.
func TestDatagrams(t *testing.T) {
	if server.kernel == "" {
		t.Skip("compares exec with the host")
	}
	python := find(t, "python3")
	host := start(t, onHost(python, "datagrams.py"))
	there := start(t, server.command(nil, python, "datagrams.py"))
	want := lines(host.finish(2 * limit).Stdout)
	got := lines(there.finish(2 * limit).Stdout)
	if len(want) == 0 || want[len(want)-1] != "datagrams: end" {
		t.Fatalf("on the host: %q", want)
	}
	compare(t, want, got, differences)
}

// TestErrorAtClose: sockets that are closed while an error comes for them hold nothing up, and
// the error is none of the socket's that comes next.
func TestErrorAtClose(t *testing.T) {
	if server.kernel == "" {
		t.Skip("is about exec")
	}
	if out := client.want(t, find(t, "python3"), "udperrors.py"); out != "done\n" {
		t.Errorf("%q", out)
	}
}
