package shmif

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestHolderStopped stops a party that has the lock. It is alive and will go on,
// so the lock must stay its own.
func TestHolderStopped(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	b := openBus(t, path, WithRecovery(50*time.Millisecond), WithLockTimeout(60*time.Millisecond))
	p := startParty(t, "hold", path)
	p.say(t, "take it")
	p.expect(t, "held")
	if err := p.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	waitStopped(t, p.Process.Pid)
	want := fmt.Sprintf("process %d, which is stopped", p.Process.Pid)
	within(t, "suspicion", func() {
		for told := 0; told < 5; {
			err := b.Send(numbered(1, 60))
			var locked *LockError
			if !errors.As(err, &locked) {
				t.Errorf("Send: %v", err)
				return
			}
			if strings.Contains(err.Error(), want) && locked.Held >= 50*time.Millisecond {
				told++
			}
		}
	})
	p.Process.Signal(syscall.SIGCONT)
	p.say(t, "release")
	p.expect(t, "lost 0")
	within(t, "Send", func() {
		for b.Send(numbered(1, 60)) != nil {
		}
	})
	if n := b.Stats().LockRecoveries; n != 0 {
		t.Errorf("lock recovered %d times", n)
	}
}

func waitStopped(t *testing.T, pid int) {
	t.Helper()
	within(t, "SIGSTOP", func() {
		for {
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			if err != nil {
				t.Error(err)
				return
			}
			if strings.Contains(string(stat), ") T ") {
				return
			}
			time.Sleep(time.Millisecond)
		}
	})
}

func TestCensus(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	b := openBus(t, path)
	other := openBus(t, newPath(t))
	p := startParty(t, "hold", path)
	p.say(t, "take it")
	p.expect(t, "held")
	pid := fmt.Sprint(p.Process.Pid)
	c := takeCensus(b.base)
	if c == nil {
		t.Fatal("no census")
	}
	for id, th := range c {
		if th.process != pid || !strings.HasPrefix(id, pid+"/") {
			t.Errorf("thread %s of process %s is no party", id, th.process)
		}
	}
	if len(c) == 0 {
		t.Error("no threads found")
	}
	if c := takeCensus(other.base); c == nil || len(c) != 0 {
		t.Errorf("another bus has %d threads", len(c))
	}

	thread := func(state byte, ran time.Duration) census {
		return census{"1/1": {process: "1", state: state, ran: ran}}
	}
	for _, test := range []struct {
		name          string
		after, before census
		want          string
	}{
		{"sleeps", thread('S', 0), nil, ""},
		{"dead", thread('Z', 0), nil, ""},
		{"stopped", thread('T', 0), thread('T', 0), "process 1, which is stopped"},
		{"traced", thread('t', 0), thread('S', 0), "process 1, which is stopped"},
		{"new", thread('R', time.Second), nil, "process 1, which does not get to run"},
		{"starved", thread('R', time.Second), thread('R', time.Second), "process 1, which does not get to run"},
		{"runs", thread('R', time.Second+holderRun), thread('R', time.Second), ""},
		{"ran, then stopped", thread('T', time.Second+holderRun), thread('S', time.Second), ""},
		{"disk", thread('D', 1), thread('D', 0), "process 1, which waits for the disk"},
	} {
		if got := strings.Join(test.after.suspects(test.before), ", "); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}
