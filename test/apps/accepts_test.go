package apps

import (
	"fmt"
	"os"
	"syscall"
	"testing"
)

// TestEMFILE: a connection for which accept(2) had no descriptor ends with its listener.
func TestEMFILE(t *testing.T) { asOnHost(t, "emfile.py") }

// TestShared: a listener that another process has, too, ends for both when one shuts it down, and for who is connected to it.
func TestShared(t *testing.T) { asOnHost(t, "shared.py") }

// TestClosed: what is sent to a peer that has closed just before resets the connection.
func TestClosed(t *testing.T) {
	if os.Getenv("APPS_SERVER") != "" {
		t.Skip("NetBSD's kernel takes what comes until its socket is closed, some milliseconds later")
	}
	beside(t, "closed", nil)
}

// TestRefuses: a listener is gone when it has been closed.
func TestRefuses(t *testing.T) { asOnHost(t, "refuses.py") }

// TestWakes: who waits for what comes to a socket is woken when another thread shuts it down.
func TestWakes(t *testing.T) { asOnHost(t, "wakes.py") }

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

// TestListenLost: a socket whose kernel was lost may listen again in the next one.
func TestListenLost(t *testing.T) {
	twoKernels(t)
	h := startKernel(t, "loses")
	cmd := h.command(nil, find(t, "python3"), "-c", `
import socket
l = socket.create_server(("127.0.0.1", 0))
print("listens", flush=True)
try:
    l.accept()
except OSError as e:
    print("accept:", e, flush=True)
input()
l.listen()
c = socket.create_connection(l.getsockname())
print("accepted", l.accept()[1] == c.getsockname())
`)
	cmd.Env = append(os.Environ(), "RUMPHIJACK_RETRYCONNECT=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, cmd)
	p.says("listens")
	tool(t, "rumpctl", "halt", h.name)
	p.says("accept: .*Invalid argument")
	startKernel(t, h.name)
	in.Write([]byte("\n"))
	p.says("accepted True")
}

// TestFull: who connects while a server has all the kernel's descriptors is accepted when it has some again.
func TestFull(t *testing.T) {
	twoKernels(t)
	var lim syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil || lim.Max < 17000 {
		t.Skipf("a program has %d descriptors, %v, and not as many as the kernel's", lim.Max, err)
	}
	port := port(t)
	cmd := server.command(nil, find(t, "python3"), "full.py", server.v4.String(), fmt.Sprint(port))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, cmd)
	p.says("full: EMFILE")
	c := idle(t, client.command(nil, find(t, "python3"), "-c", `
import socket, sys
with socket.create_connection((sys.argv[1], sys.argv[2])) as c:
    c.send(b"hello")
    print("sent", flush=True)
    input()
`, server.v4.String(), fmt.Sprint(port)))
	c.says("sent")
	in.Write([]byte("\n"))
	p.says("accept: b'hello'")
}
