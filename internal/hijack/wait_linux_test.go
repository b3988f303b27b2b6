//go:build amd64 || arm64

package hijack

import (
	"os/exec"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/seccomp"
)

// A call's time may be over while it is tried, in vain.
func TestLate(t *testing.T) {
	ws, err := newWaits(&supervisor{})
	if err != nil {
		t.Fatal(err)
	}
	defer ws.close()
	// Whose signals are looked at.
	sleeper := exec.Command("sleep", "600")
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	defer sleeper.Wait()
	defer sleeper.Process.Kill()
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[1])
	tried, expired := make(chan struct{}), make(chan struct{})
	goOn := make(chan struct{})
	w := &wait{t: &trap{Call: seccomp.Call{TID: uint32(sleeper.Process.Pid)}, host: pipe[0]}}
	var first sync.Once
	w.try = func() bool {
		first.Do(func() { close(tried) })
		<-goOn
		return false
	}
	w.expire = func(int) { close(expired) }
	w.interrupted = func(e unix.Errno, _ int) { t.Errorf("interrupted: %v", e) }
	unix.Write(pipe[1], []byte{1})
	ws.park(w, unix.EPOLLIN, time.Hour)
	<-tried
	ws.expire(w) // as its timer does
	close(goOn)
	select {
	case <-expired:
	case <-time.After(10 * time.Second):
		t.Error("it still waits")
	}
}
