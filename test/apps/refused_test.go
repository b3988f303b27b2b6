package apps

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// pid is the process of h's kernel.
func (h *host) pid(t *testing.T) int {
	t.Helper()
	out, err := exec.Command(filepath.Join(bin, "rumpctl"), "status", "--server", h.kernel).Output()
	m := regexp.MustCompile(`, process (\d+)`).FindSubmatch(out)
	if err != nil || m == nil {
		t.Fatalf("rumpctl status: %v\n%s", err, out)
	}
	pid, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// TestRefusedLater: a refusal that comes while the program waits is the error of what it reads after it has asked for the
// peer in vain, as those do who want to know why. The other kernel sleeps, so that the refusal is late.
func TestRefusedLater(t *testing.T) {
	twoKernels(t)
	bus := filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "refused-bus")
	asks := startKernel(t, "asks", "--bus", bus, "--address", "10.7.0.1/24")
	sleeps := startKernel(t, "sleeps", "--bus", bus, "--address", "10.7.0.2/24")
	pid := sleeps.pid(t)
	// Its address is known then.
	tool(t, "rping", "--server", asks.kernel, "-c", "1", "10.7.0.2")
	syscall.Kill(pid, syscall.SIGSTOP)
	awake := func() { syscall.Kill(pid, syscall.SIGCONT) }
	t.Cleanup(awake)
	p := start(t, asks.command(nil, find(t, "python3"), "-c", `
import errno, os, select, socket
def name(f, *a):
    try:
        return f(*a)
    except OSError as e:
        return errno.errorcode[e.errno]
s = socket.socket()
s.setblocking(False)
second = os.dup(s.fileno())
epoll = select.epoll()
epoll.register(second, select.EPOLLIN | select.EPOLLET)
print(name(s.connect, ("10.7.0.2", 9)), flush=True)
print(len(epoll.poll(10)), name(s.getpeername), name(os.read, second, 1), name(s.recv, 1), s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), flush=True)
print(name(s.connect, ("10.7.0.2", 9)), name(s.send, b"x"))
`))
	p.says("EINPROGRESS")
	time.Sleep(50 * time.Millisecond) // longer than a connect may take that does not wait
	awake()
	if got, want := p.finish(limit).Stdout, "EINPROGRESS\n1 ENOTCONN ECONNREFUSED b'' 0\nECONNABORTED EPIPE\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
