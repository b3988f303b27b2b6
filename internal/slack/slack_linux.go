package slack

import (
	"os"
	"os/exec"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// env holds the timer slack that a process would have had, in nanoseconds, in its environment
// only.
const env = "RUMPTOOLS__SLACK"

// fine is that, 0 in a process that Start has not started.
var fine = func() int {
	n, err := strconv.Atoi(os.Getenv(env))
	os.Unsetenv(env)
	if err != nil {
		return 0
	}
	return n
}()

// Start is cmd.Start of a process with the slack [Coarse], unless it would have more.
func Start(cmd *exec.Cmd) error {
	own, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err != nil || own >= int(Coarse) {
		return cmd.Start()
	}
	cmd.Env = append(cmd.Environ(), env+"="+strconv.Itoa(own))
	return with(int(Coarse), own, cmd)
}

// StartFine is cmd.Start of a process with the slack that this one would have had without
// Start.
func StartFine(cmd *exec.Cmd) error {
	if fine == 0 {
		return cmd.Start()
	}
	return with(fine, int(Coarse), cmd)
}

// with starts a process from a thread with another slack.
func with(slack, own int, cmd *exec.Cmd) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// It is speed only: a process is as good without.
	unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(slack), 0, 0, 0)
	defer unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(own), 0, 0, 0)
	return cmd.Start()
}
