//go:build amd64 || arm64

package hijack

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/seccomp"
	"rumptools/internal/slack"
)

// Two processes run a program: the front, which the user started, and the supervisor,
// its child, whose child the program is. The front is in the program's process group,
// stops when that stops and ends as it ends, so that shells' job control and exit codes
// are as without it. The supervisor is in a process group of its own, answers for as
// long as any descendant of the program lives, and so outlives the front when the program
// leaves daemons.

// frontEnv holds the supervisor's descriptor to its front, in its environment only.
const frontEnv = "RUMPTOOLS__EXEC"

// A report is what the supervisor tells the front.
type report struct {
	// PID is the program's, told when it has begun.
	PID int `json:"pid,omitempty"`
	// Stopped is the signal that has stopped it.
	Stopped int `json:"stopped,omitempty"`
	// End is how it ended, or never began.
	End *Status `json:"end,omitempty"`
	// Failed are the lines for the user when it has never begun.
	Failed string `json:"failed,omitempty"`
	// Code is the exit code for that.
	Code int `json:"code,omitempty"`
}

// forwarded are the signals that the front passes on to the program. Those of the
// terminal reach it by themselves.
var forwarded = []os.Signal{
	unix.SIGTERM, unix.SIGHUP, unix.SIGUSR1, unix.SIGUSR2, unix.SIGCONT, unix.SIGALRM,
}

// Front runs a copy of this very command as the supervisor and waits for the program.
func Front() (Status, error) {
	self, err := os.Executable()
	if err != nil {
		return Status{}, err
	}
	pair, err := seccomp.Pair()
	if err != nil {
		return Status{}, err
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "supervisor"), pair[1]
	defer ours.Close()
	sigs := make(chan os.Signal, 16)
	signal.Notify(sigs, forwarded...)
	// The program, in the same group, decides what these do.
	tty := make(chan os.Signal, 16)
	for _, sig := range []os.Signal{unix.SIGINT, unix.SIGQUIT} {
		if !signal.Ignored(sig) {
			signal.Notify(tty, sig)
		}
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", frontEnv, theirs))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err = slack.Start(cmd)
	unix.Close(theirs)
	if err != nil {
		return Status{}, err
	}
	letGo()
	reports := make(chan report)
	go func() {
		defer close(reports)
		b := make([]byte, 16<<10)
		for {
			n, err := ours.Read(b)
			if err != nil || n == 0 {
				return
			}
			var r report
			if json.Unmarshal(b[:n], &r) == nil {
				reports <- r
			}
		}
	}()
	pid := 0
	pending := []os.Signal(nil)
	for {
		select {
		case r, ok := <-reports:
			switch {
			case !ok:
				// It died before it told.
				state, err := cmd.Process.Wait()
				if err != nil {
					return Status{}, err
				}
				return Status{}, fmt.Errorf("the supervisor ended: %v", state)
			case r.Failed != "":
				return Status{Code: r.Code}, errors.New(r.Failed)
			case r.PID != 0:
				pid = r.PID
				for _, sig := range pending {
					unix.Kill(pid, sig.(syscall.Signal))
				}
				pending = nil
			case r.Stopped != 0:
				// As the program, so that the shell sees it; but what stopped that
				// may have stopped this process, too, and both have been continued.
				if stopped(pid) {
					unix.Kill(os.Getpid(), unix.SIGSTOP)
				}
			case r.End != nil:
				return *r.End, nil
			}
		case sig := <-sigs:
			if pid == 0 {
				pending = append(pending, sig)
			} else {
				unix.Kill(pid, sig.(syscall.Signal))
			}
		case sig := <-tty:
			// Without a terminal of which this is the foreground it can only
			// have been sent to this process.
			if !foreground() && pid != 0 {
				unix.Kill(pid, sig.(syscall.Signal))
			}
		}
	}
}

// stopped tells whether a process is.
func stopped(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	// The name, in parentheses, may have anything in it.
	_, rest, ok := bytes.Cut(b[bytes.LastIndexByte(b, ')')+1:], []byte(" "))
	return ok && len(rest) > 0 && rest[0] == 'T'
}

// foreground tells whether this process's group is its terminal's foreground.
func foreground() bool {
	fd, err := unix.Open("/dev/tty", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	group, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// front is the supervisor's side.
type front struct {
	mu   sync.Mutex
	file *os.File
	pid  int
	// group is the process group of the front, for the program.
	group int
}

// IsSupervisor tells whether this process is a supervisor, started by [Front].
func IsSupervisor() bool { return os.Getenv(frontEnv) != "" }

func newFront() (*front, error) {
	fd, err := strconv.Atoi(os.Getenv(frontEnv))
	os.Unsetenv(frontEnv)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", frontEnv, err)
	}
	pid := os.Getppid()
	group, err := unix.Getpgid(pid)
	if err != nil {
		return nil, os.NewSyscallError("getpgid", err)
	}
	// With 3 if that is free: a process's start has a pipe, and if its number is 3 it is moved to 4 in
	// the child, where the caller's may be.
	low, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	unix.Close(fd)
	unix.SetNonblock(low, true)
	return &front{file: os.NewFile(uintptr(low), "front"), pid: pid, group: group}, nil
}

func (f *front) tell(r report) {
	b, err := json.Marshal(r)
	if err != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.file.Write(b)
}

// gone returns when the front has ended.
func (f *front) gone() {
	b := make([]byte, 1)
	for {
		if n, err := f.file.Read(b); n == 0 || err != nil {
			return
		}
	}
}
