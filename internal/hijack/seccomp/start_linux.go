//go:build amd64 || arm64

package seccomp

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/seccomp/stage"
	"rumptools/internal/slack"
)

// A supervisor has its filter installed by a copy of its own program, the stage (package
// stage), that executes the real one then:
//
//	supervisor   starts the stage, with one end of a socket pair
//	stage        installs the filter, writes the listener's number
//	supervisor   copies the listener (pidfd_getfd), writes a byte
//	stage        executes the program, which keeps the filter
//
// No call of the stage's after the filter is one that the filter stops.

// StageError is why a program could not be started under a filter.
type StageError struct {
	// Op is what failed: seccomp, pidfd_getfd, exec …
	Op  string
	Err error
}

func (e *StageError) Error() string { return e.Op + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *StageError) Unwrap() error { return e.Err }

// Pair makes a socket pair of type SOCK_SEQPACKET. The next process that is started inherits the
// second end under its number, and it is to be closed here then. That is no number of a descriptor
// that the program is to inherit, as those of ExtraFiles, which begin at 3, may be.
func Pair() ([2]int, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET, 0)
	if err != nil {
		return pair, os.NewSyscallError("socketpair", err)
	}
	unix.CloseOnExec(pair[0])
	return pair, nil
}

// Start starts a program, whose path, arguments, environment, standard files and attributes are
// cmd's, under a filter, and returns its listener. The program also inherits what this process did,
// under the same numbers. The mounts are made before; cmd's attributes must give it a mount
// namespace for them.
func Start(cmd *exec.Cmd, o Options, mounts []Mount) (*Listener, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	filter, err := o.encode()
	if err != nil {
		return nil, err
	}
	pair, err := Pair()
	if err != nil {
		return nil, err
	}
	ours, theirs := pair[0], pair[1]
	defer unix.Close(ours)
	for _, m := range [][]byte{filter, message(mounts)} {
		if len(m) > stage.MaxMessage {
			err = unix.EMSGSIZE
		} else {
			_, err = unix.Write(ours, m)
		}
		if err != nil {
			unix.Close(theirs)
			return nil, &StageError{"start", err}
		}
	}
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	path := cmd.Path
	cmd.Args = append([]string{os.Args[0], path}, cmd.Args...)
	cmd.Path = self
	told := fmt.Sprintf("%s=%d", stage.Env, theirs)
	if o.InPlaceOf != 0 {
		told += fmt.Sprintf(":%d", o.InPlaceOf)
	}
	cmd.Env = append(cmd.Env, told)
	err = slack.StartFine(cmd)
	unix.Close(theirs)
	if err != nil {
		return nil, &StageError{"start", err}
	}
	l, err := receiveListener(cmd.Process.Pid, ours)
	if err != nil {
		cmd.Process.Kill()
		cmd.Wait()
		if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() && ws.Signal() == unix.SIGSYS {
			return nil, &StageError{"start", ErrKilled}
		}
		return nil, err
	}
	return l, nil
}

// receiveListener does the supervisor's part.
func receiveListener(pid, sock int) (*Listener, error) {
	op, num, err := stageSays(sock)
	switch {
	case err != nil:
		return nil, &StageError{"start", err}
	case op != "listener":
		return nil, &StageError{op, unix.Errno(num)}
	}
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, &StageError{"pidfd_open", err}
	}
	defer unix.Close(pidfd)
	fd, err := unix.PidfdGetfd(pidfd, num, 0)
	if err != nil {
		return nil, &StageError{"pidfd_getfd", err}
	}
	l := &Listener{fd}
	l.wakeHere()
	if err := probeMemory(pid); err != nil {
		l.Close()
		return nil, err
	}
	if _, err := unix.Write(sock, []byte{1}); err != nil {
		l.Close()
		return nil, &StageError{"start", err}
	}
	// Silence is success: the descriptor has been closed by execve(2).
	op, num, err = stageSays(sock)
	if err == nil {
		l.Close()
		return nil, &StageError{op, unix.Errno(num)}
	}
	return l, nil
}

// probeMemory tells whether calls' arguments can be read, and results written. Nothing is
// at address 0; other errors than that say that the memory is out of reach.
func probeMemory(pid int) error {
	b := make([]byte, 1)
	local, remote := []unix.Iovec{{Base: &b[0], Len: 1}}, []unix.RemoteIovec{{Base: 0, Len: 1}}
	if _, err := unix.ProcessVMReadv(pid, local, remote, 0); err != nil && err != unix.EFAULT {
		return &StageError{"process_vm_readv", err}
	}
	if _, err := unix.ProcessVMWritev(pid, local, remote, 0); err != nil && err != unix.EFAULT {
		return &StageError{"process_vm_writev", err}
	}
	return nil
}

// ErrKilled is the cause when the stage has made a call for which a filter that was there
// before kills.
var ErrKilled = errors.New("killed by " + unix.SignalName(unix.SIGSYS))

var errStageGone = errors.New("the process ended before the program began")

func stageSays(sock int) (op string, num int, err error) {
	var b [64]byte
	for {
		n, err := unix.Read(sock, b[:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return "", 0, err
		}
		if n == 0 {
			return "", 0, errStageGone
		}
		if _, err := fmt.Sscanf(string(b[:n]), "%s %d", &op, &num); err != nil {
			return "", 0, err
		}
		return op, num, nil
	}
}
