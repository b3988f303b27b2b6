package slack

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A process started coarsely starts one finely: this test's own program, which tells of both.
func TestMain(m *testing.M) {
	if os.Getenv("SLACK_TEST") == "" {
		os.Exit(m.Run())
	}
	if os.Getenv("SLACK_TEST") == "exec" {
		Again()
	}
	tell()
	if os.Getenv("SLACK_TEST") == "start" {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), "SLACK_TEST=once")
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := StartFine(cmd); err != nil {
			panic(err)
		}
		cmd.Wait()
	}
}

func tell() {
	n, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err != nil {
		panic(err)
	}
	println(n, os.Getenv(env))
}

func TestStart(t *testing.T) {
	own, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err != nil {
		t.Skip(err)
	}
	if own >= int(Coarse) {
		t.Skipf("the slack is %d ns here", own)
	}
	var out bytes.Buffer
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "SLACK_TEST=start")
	cmd.Stderr = &out
	if err := Start(cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if got := strings.Fields(out.String()); len(got) != 2 || got[0] != "200000" || got[1] != "50000" && own == 50000 {
		t.Errorf("the processes had %q", out.String())
	}
	for range 20 {
		if n, _ := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0); n != own {
			t.Errorf("this thread has %d by now, not %d", n, own)
		}
	}
}

func TestAgain(t *testing.T) {
	own, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err != nil {
		t.Skip(err)
	}
	if own >= int(Coarse) {
		t.Skipf("the slack is %d ns here", own)
	}
	cmd := exec.Command("/proc/self/exe", "an argument")
	cmd.Env = append(os.Environ(), "SLACK_TEST=exec")
	out, err := cmd.CombinedOutput()
	if got := strings.TrimSpace(string(out)); err != nil || got != "200000" {
		t.Errorf("the process had %q, %v", got, err)
	}
}
