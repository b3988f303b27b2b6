package test

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Nobody reads what rping writes, so that it hangs there. The second interrupt
// ends it all the same.
func TestPingStuckOutput(t *testing.T) {
	k := startKernel(t, "amd64")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := exec.Command(program("rping"), "-i", "0.0001", "127.0.0.1")
	cmd.Env = append(os.Environ(), "RUMP_SERVER="+k.URL)
	cmd.Stdout = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	done := make(chan struct{})
	go func() { cmd.Wait(); close(done) }()
	defer cmd.Process.Kill()

	// The pipe is full when nothing is added to it for a while.
	for before, since := 0, time.Now(); before == 0 || time.Since(since) < 300*time.Millisecond; {
		n, err := unix.IoctlGetInt(int(r.Fd()), unix.TIOCINQ)
		if err != nil {
			t.Fatal(err)
		}
		if n != before {
			before, since = n, time.Now()
		}
		time.Sleep(10 * time.Millisecond)
	}
	cmd.Process.Signal(syscall.SIGINT)
	time.Sleep(10 * time.Millisecond) // two at once count as one
	for end := time.Now().Add(limit); time.Now().Before(end); {
		cmd.Process.Signal(syscall.SIGINT)
		select {
		case <-done:
			if cmd.ProcessState.ExitCode() != 1 {
				t.Errorf("rping: %v", cmd.ProcessState)
			}
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
	t.Error("rping does not end")
}
