package apps

import (
	"os"
	"testing"
)

// TestEMFILE: a connection for which accept(2) had no descriptor ends with its listener.
func TestEMFILE(t *testing.T) { asOnHost(t, "emfile.py") }

// TestStrangers: a connection that is not the kernel's and has come to where connections wait hides none that is.
func TestStrangers(t *testing.T) {
	twoKernels(t)
	if os.Geteuid() != 0 {
		t.Skip("the place is the supervisor's, which is out of reach from a user namespace")
	}
	if out, want := server.want(t, find(t, "python3"), "strangers.py", server.v4.String()), "accepted True\naccepted True\n"; out != want {
		t.Errorf("%q, want %q", out, want)
	}
}

// TestListenAgain: what was on its way to a listener that was stopped does not count for the next one of the same socket.
func TestListenAgain(t *testing.T) {
	twoKernels(t)
	if os.Geteuid() != 0 {
		t.Skip("the host's queue is made short in a network namespace")
	}
	h := *server
	h.wrap = []string{find(t, "unshare"), "-n", "sh", "-c", `echo 1 >/proc/sys/net/core/somaxconn && exec "$@"`, "sh"}
	if out, want := h.want(t, find(t, "python3"), "listenagain.py", h.v4.String()), "connected True True False\n"; out != want {
		t.Errorf("%q, want %q", out, want)
	}
}
