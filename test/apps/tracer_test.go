package apps

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// accepts is a program whose child tells its ID and waits for a connection to a port, whatever signals come that can be
// blocked. It is the child's since who waits for the program, and traces it, would have both the end and the stops.
func accepts(port int) []string {
	return []string{"-c", fmt.Sprintf(`
import os, signal, socket, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
if os.fork():
    sys.exit(os.wait()[1])
s = socket.socket()
s.bind(('', %d))
s.listen()
print('ready', os.getpid(), flush=True)
s.accept()
print('accepted', flush=True)
`, port)}
}

// inAccept waits until a process's call waits.
func inAccept(t *testing.T, pid int) {
	t.Helper()
	waits(t, "the program is in accept", func() bool {
		call, err := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", pid))
		return err == nil && strings.HasPrefix(string(call), strconv.Itoa(unix.SYS_ACCEPT4)+" ")
	})
}

// TestTracerInterrupts: a tracer that stops a program without a signal, as strace(1) does to let go of it, has it stop
// also in a call that waits, which goes on afterwards.
func TestTracerInterrupts(t *testing.T) {
	python := find(t, "python3")
	number := port(t)
	p := start(t, server.command(nil, python, accepts(number)...))
	pid, _ := strconv.Atoi(p.says(`(?m)^ready (\d+)$`)[1])
	inAccept(t, pid)
	// As strace does it again and again.
	for range 3 {
		errs := make(chan error, 1)
		go func() {
			runtime.LockOSThread() // who traces is a thread
			errs <- interrupt(pid)
		}()
		select {
		case err := <-errs:
			if err != nil {
				t.Fatal(err)
			}
		case <-time.After(limit):
			t.Fatalf("it does not stop:\n%s", processes(p.cmd.Process.Pid))
		}
		inAccept(t, pid)
	}
	server.want(t, python, "-c", fmt.Sprintf("import socket; socket.create_connection(('%s', %d))", server.v4, number))
	p.says("(?m)^accepted$")
	if r := p.finish(limit); r.Code != 0 {
		t.Errorf("exit %d\n%s", r.Code, r.Stderr)
	}
}

// interrupt has this thread stop a process, and let go of it.
func interrupt(pid int) error {
	if err := unix.PtraceSeize(pid); err != nil {
		return fmt.Errorf("PTRACE_SEIZE: %w", err)
	}
	if err := unix.PtraceInterrupt(pid); err != nil {
		return fmt.Errorf("PTRACE_INTERRUPT: %w", err)
	}
	var ws unix.WaitStatus
	for {
		if _, err := unix.Wait4(pid, &ws, unix.WALL, nil); err != unix.EINTR {
			if err != nil {
				return fmt.Errorf("wait4: %w", err)
			}
			break
		}
	}
	if !ws.Stopped() || int(ws)>>16 != unix.PTRACE_EVENT_STOP {
		return fmt.Errorf("it has stopped with %#x, which is not PTRACE_EVENT_STOP", int(ws))
	}
	if err := unix.PtraceDetach(pid); err != nil {
		return fmt.Errorf("PTRACE_DETACH: %w", err)
	}
	return nil
}

// TestTracedSupervisor: who traces exec and all below it, and is told to end, lets go of the program while its call waits.
func TestTracedSupervisor(t *testing.T) {
	if native {
		t.Skip("is about exec")
	}
	python, strace := find(t, "python3"), find(t, "strace")
	number := port(t)
	h := *server
	// To a file given by -o it would write, and not be told to end.
	h.wrap = []string{strace, "-f", "-e", "trace=none"}
	p := start(t, h.command(nil, python, accepts(number)...))
	pid, _ := strconv.Atoi(p.says(`(?m)^ready (\d+)$`)[1])
	inAccept(t, pid)
	p.cmd.Process.Signal(syscall.SIGTERM)
	p.finish(limit)
	server.want(t, python, "-c", fmt.Sprintf("import socket; socket.create_connection(('%s', %d))", server.v4, number))
	waits(t, "the program has ended", func() bool { return strings.Contains(p.output(), "accepted") })
}
