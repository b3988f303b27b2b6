//go:build unix

package signals

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The tests send real signals to real processes: the test binary started again
// as one of these programs.
var children = map[string]func(){
	"ack":     childAck,
	"close":   childClose,
	"respect": childRespect,
	"burst":   childBurst,
}

const childEnv = "SIGNALS_TEST_CHILD"

func TestMain(m *testing.M) {
	if name := os.Getenv(childEnv); name != "" {
		children[name]()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// churn starts and ends threads and goroutines for as long as the process
// lives: a goroutine that ends while locked to its thread takes the thread along.
func churn(threads int) *atomic.Int64 {
	var n atomic.Int64
	for range threads {
		go func() {
			for {
				done := make(chan struct{})
				go func() {
					runtime.LockOSThread()
					n.Add(1)
					close(done)
				}()
				<-done
				time.Sleep(time.Millisecond) // leave the machine to others as well
			}
		}()
	}
	for range 4 {
		go func() { // threads in system calls, on which the runtime starts further ones
			for {
				unix.Poll(nil, 1)
			}
		}()
	}
	return &n
}

// childAck writes a line for every signal. SIGTERM ends it.
func childAck() {
	src, err := Open(os.Interrupt, syscall.SIGTERM, Info)
	if err != nil {
		fmt.Println("open:", err)
		return
	}
	threads := churn(4)
	fmt.Println("ready")
	for sig := range src.C() {
		fmt.Println(sig)
		if sig == syscall.SIGTERM {
			fmt.Println("threads", threads.Load())
			return
		}
	}
}

// childClose opens and closes under load, and then waits to be killed.
func childClose() {
	churn(2)
	for range 20 {
		src, err := Open(os.Interrupt, syscall.SIGTERM)
		if err != nil {
			fmt.Println("open:", err)
			return
		}
		if err := src.Close(); err != nil {
			fmt.Println("close:", err)
		}
		if err := src.Close(); err != nil {
			fmt.Println("second close:", err)
		}
	}
	fmt.Println("ready")
	time.Sleep(time.Minute)
	fmt.Println("survived")
}

// childRespect leaves what was ignored alone. SIGTERM ends it.
func childRespect() {
	sigs := NotIgnored(os.Interrupt, syscall.SIGTERM)
	src, err := Open(sigs...)
	if err != nil {
		fmt.Println("open:", err)
		return
	}
	fmt.Println("ready")
	for sig := range src.C() {
		fmt.Println(sig)
		if sig == syscall.SIGTERM {
			return
		}
	}
}

// childBurst does not look at its signals until told so on standard input.
func childBurst() {
	src, err := Open(os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGUSR1)
	if err != nil {
		fmt.Println("open:", err)
		return
	}
	churn(2)
	fmt.Println("ready")
	os.Stdin.Read(make([]byte, 1))
	seen := make(map[os.Signal]bool)
	for len(seen) < 4 {
		sig := <-src.C()
		if !seen[sig] {
			fmt.Println(sig)
		}
		seen[sig] = true
	}
}

// child is a running copy of the test binary.
type child struct {
	t     *testing.T
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string
	err   bytes.Buffer
}

func startChild(t *testing.T, name string, wrap ...string) *child {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	argv := append(wrap, self)
	c := &child{t: t, lines: make(chan string, 1000)}
	c.cmd = exec.Command(argv[0], argv[1:]...)
	// The race detector would sleep for a second at every exit.
	c.cmd.Env = append(os.Environ(), childEnv+"="+name, "GORACE=atexit_sleep_ms=0")
	c.cmd.Stderr = &c.err
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.cmd.Process.Kill() })
	go func() {
		defer close(c.lines)
		for scan := bufio.NewScanner(out); scan.Scan(); {
			c.lines <- scan.Text()
		}
	}()
	c.expect("ready")
	return c
}

func (c *child) signal(sig os.Signal) {
	c.t.Helper()
	if err := c.cmd.Process.Signal(sig); err != nil {
		c.t.Fatalf("sending %v: %v\n%s", sig, err, c.err.String())
	}
}

// next returns the child's next line, "" when its output has ended.
func (c *child) next() string {
	c.t.Helper()
	select {
	case line := <-c.lines:
		return line
	case <-time.After(20 * time.Second):
		c.t.Fatalf("the child says nothing any more\n%s", c.err.String())
		return ""
	}
}

func (c *child) expect(want string) {
	c.t.Helper()
	if got := c.next(); got != want {
		c.t.Fatalf("child says %q, want %q\n%s", got, want, c.err.String())
	}
}

// wait returns the child's status once its output has ended.
func (c *child) wait() syscall.WaitStatus {
	c.t.Helper()
	if line := c.next(); line != "" {
		c.t.Errorf("child says %q, want the end of its output", line)
	}
	c.cmd.Wait()
	return c.cmd.ProcessState.Sys().(syscall.WaitStatus)
}

// Every signal is reported exactly once: the next one is sent when the one
// before has been acknowledged, and one too many would be a line too many.
func TestEverySignalOnce(t *testing.T) {
	n := 10_000
	if testing.Short() {
		n = 1000
	}
	c := startChild(t, "ack")
	start := time.Now()
	for i := range n {
		c.signal(os.Interrupt)
		c.expect(os.Interrupt.String())
		if i >= 1000 && time.Since(start) > 5*time.Second {
			n = i + 1 // a slow machine, or the race detector
			break
		}
	}
	c.signal(Info)
	c.expect(Info.String())
	c.signal(syscall.SIGTERM)
	c.expect(syscall.SIGTERM.String())
	var threads int
	line := c.next()
	if _, err := fmt.Sscanf(line, "threads %d", &threads); err != nil {
		t.Fatalf("child says %q", line)
	}
	t.Logf("%d signals while %d threads came and went", n, threads)
	if threads < n/100 {
		t.Errorf("only %d threads came and went: the test tests nothing", threads)
	}
	if st := c.wait(); st.ExitStatus() != 0 {
		t.Errorf("child: %v\n%s", c.cmd.ProcessState, c.err.String())
	}
}

// The same signals may merge while nobody looks; different ones all arrive.
func TestDifferentSignals(t *testing.T) {
	for range 20 {
		c := startChild(t, "burst")
		want := map[string]bool{}
		for _, sig := range []syscall.Signal{syscall.SIGUSR1, syscall.SIGINT, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGINT} {
			c.signal(sig)
			want[sig.String()] = true
		}
		c.in.Write([]byte("x"))
		for len(want) > 0 {
			line := c.next()
			if !want[line] {
				t.Fatalf("child says %q, want one of %v\n%s", line, want, c.err.String())
			}
			delete(want, line)
		}
		if st := c.wait(); st.ExitStatus() != 0 {
			t.Errorf("child: %v\n%s", c.cmd.ProcessState, c.err.String())
		}
	}
}

func TestIgnoredAtStart(t *testing.T) {
	ignoring := []string{"/bin/sh", "-c", `trap "" INT; exec "$0"`}
	t.Run("caught", func(t *testing.T) {
		c := startChild(t, "ack", ignoring...)
		for range 100 {
			c.signal(os.Interrupt)
			c.expect(os.Interrupt.String())
		}
	})
	t.Run("respected", func(t *testing.T) {
		c := startChild(t, "respect", ignoring...)
		for range 100 {
			c.signal(os.Interrupt)
		}
		c.signal(syscall.SIGTERM)
		c.expect(syscall.SIGTERM.String())
		if st := c.wait(); st.ExitStatus() != 0 {
			t.Errorf("child: %v", c.cmd.ProcessState)
		}
	})
	t.Run("not ignored", func(t *testing.T) {
		c := startChild(t, "respect")
		c.signal(os.Interrupt)
		c.expect(os.Interrupt.String())
	})
}

func TestCloseRestores(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		c := startChild(t, "close")
		if runtime.GOOS == "linux" {
			checkUnblocked(t, c.cmd.Process.Pid)
		}
		c.signal(sig)
		if st := c.wait(); !st.Signaled() || st.Signal() != sig {
			t.Errorf("%v after Close: %v, want death by the signal", sig, c.cmd.ProcessState)
		}
	}
}

// checkUnblocked looks at the signal masks of all threads of a process.
func checkUnblocked(t *testing.T, pid int) {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/task", pid)
	tasks, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		status, err := os.ReadFile(dir + "/" + task.Name() + "/status")
		if err != nil {
			continue // this thread is gone
		}
		for line := range strings.Lines(string(status)) {
			var mask, ignored uint64
			if n, _ := fmt.Sscanf(line, "SigBlk: %x", &mask); n == 1 {
				// A thread that is being made has everything blocked for a moment.
				if ints := mask & (1<<(syscall.SIGINT-1) | 1<<(syscall.SIGTERM-1)); ints != 0 && mask>>32 == 0 {
					t.Errorf("thread %s: blocked signals %#x after Close", task.Name(), mask)
				}
			}
			if n, _ := fmt.Sscanf(line, "SigIgn: %x", &ignored); n == 1 && ignored&(1<<(syscall.SIGINT-1)) != 0 {
				t.Errorf("thread %s: ignored signals %#x after Close", task.Name(), ignored)
			}
		}
	}
}

func TestOpenNothing(t *testing.T) {
	src, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	select {
	case sig := <-src.C():
		t.Errorf("got %v", sig)
	default:
	}
	if err := src.Close(); err != nil {
		t.Error(err)
	}
}

type noSignal struct{}

func (noSignal) Signal()        {}
func (noSignal) String() string { return "no signal" }

func TestOpenNoSignal(t *testing.T) {
	if runtime.GOOS != "linux" && Info == os.Signal(syscall.SIGQUIT) {
		t.Skip("os/signal takes anything here")
	}
	if src, err := Open(noSignal{}); err == nil {
		src.Close()
		t.Error("Open takes a value that is no signal")
	}
}

func TestNotIgnored(t *testing.T) {
	signal.Ignore(syscall.SIGUSR2)
	defer signal.Reset(syscall.SIGUSR2)
	got := NotIgnored(syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGTERM)
	if fmt.Sprint(got) != fmt.Sprint([]os.Signal{syscall.SIGUSR1, syscall.SIGTERM}) {
		t.Errorf("NotIgnored = %v", got)
	}
}

func TestPendingKeepsEveryKind(t *testing.T) {
	var q pending
	for range 1000 {
		q.add(syscall.SIGINT)
	}
	q.add(syscall.SIGTERM)
	q.add(syscall.SIGTERM)
	if len(q) != maxPending+1 || q[len(q)-1] != os.Signal(syscall.SIGTERM) {
		t.Errorf("%d signals are queued, the last one %v", len(q), q[len(q)-1])
	}
}
