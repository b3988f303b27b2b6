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

// Again has the calling process be as if it had been started by Start: it executes its program
// again, once. So it is to be called before there is anything that would be lost or done twice.
func Again() {
	own, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err != nil || own >= int(Coarse) || fine != 0 {
		return
	}
	self, err := os.Executable()
	if err != nil {
		return
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(Coarse), 0, 0, 0)
	unix.Exec(self, os.Args, append(os.Environ(), env+"="+strconv.Itoa(own)))
	unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(own), 0, 0, 0)
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
