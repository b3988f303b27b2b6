//go:build amd64 || arm64

package hijack

import (
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/ownthread"
	"rumptools/internal/hijack/seccomp"
)

// A thread whose tracer waits for it is sent a signal once, and again when the tracer has done something else meanwhile.
func TestStopFor(t *testing.T) {
	sleeper := exec.Command("sleep", "600")
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	defer sleeper.Wait()
	defer sleeper.Process.Kill()
	pid := sleeper.Process.Pid
	tracer, turns, stops := make(chan int), make(chan bool), make(chan unix.Signal)
	defer close(turns)
	ownthread.Go(func() {
		err := unix.PtraceSeize(pid)
		if err != nil {
			t.Errorf("PTRACE_SEIZE: %v", err)
		}
		tracer <- unix.Gettid()
		for range turns {
			var ws unix.WaitStatus
			for {
				if _, err = unix.Wait4(pid, &ws, unix.WALL, nil); err != unix.EINTR {
					break
				}
			}
			if err != nil || !ws.Stopped() {
				stops <- 0
				continue
			}
			stops <- ws.StopSignal()
			unix.PtraceCont(pid, int(ws.StopSignal()))
		}
	})
	tid := <-tracer
	ws := &waits{traced: make(map[int]traced)}
	w := &wait{t: &trap{Call: seccomp.Call{TID: uint32(pid)}}}
	look := func() { ws.stopFor(w, pid, tid, 0) }
	await := func() {
		t.Helper()
		turns <- true
		for end := time.Now().Add(10 * time.Second); !awaits(tid, pid); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("the tracer is not seen to wait")
			}
		}
	}
	stop := func(want unix.Signal) {
		t.Helper()
		select {
		case got := <-stops:
			if got != want {
				t.Fatalf("the tracer has %v, want %v", got, want)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("the tracer has nothing, want %v", want)
		}
	}
	look()
	await()
	look()
	stop(stopSignal)
	await()
	look()
	// Were there another one, it would come first.
	unix.Kill(pid, unix.SIGWINCH)
	stop(unix.SIGWINCH)
	look()
	await()
	look()
	stop(stopSignal)
	// One that has it blocked is left alone.
	look()
	await()
	ws.stopFor(w, pid, tid, 1<<(stopSignal-1))
	unix.Kill(pid, unix.SIGWINCH)
	stop(unix.SIGWINCH)
}
