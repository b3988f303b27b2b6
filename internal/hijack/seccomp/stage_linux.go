//go:build amd64 || arm64

package seccomp

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// stageEnv holds the stage's descriptor, in the stage's environment only.
const stageEnv = "RUMPTOOLS__STAGE"

// A supervisor has its filter installed by a copy of its own program, the stage, that
// executes the real one then:
//
//	supervisor   starts the stage, with one end of a socket pair
//	stage        installs the filter, writes the listener's number
//	supervisor   copies the listener (pidfd_getfd), writes a byte
//	stage        executes the program, which keeps the filter
//
// No call of the stage's after the filter is one that the filter stops.

// A stage's arguments are its setup, as JSON, the program's path, and the program's
// arguments.
type setup struct {
	Filter Options `json:"filter"`
	Mounts []Mount `json:"mounts,omitempty"`
}

// Stage is to be called first of all in main. In a stage it does not return.
func Stage() {
	said, ok := os.LookupEnv(stageEnv)
	if !ok {
		return
	}
	os.Unsetenv(stageEnv)
	runtime.LockOSThread()
	fmt.Fprintln(os.Stderr, stage(said))
	os.Exit(126)
}

func stage(said string) error {
	fd, err := strconv.Atoi(said)
	if err != nil || len(os.Args) < 4 {
		return fmt.Errorf("%s=%s: no stage of a program's start", stageEnv, said)
	}
	// The supervisor tells the user.
	fail := func(what string, err error) error {
		var e unix.Errno
		errors.As(err, &e)
		unix.Write(fd, fmt.Appendf(nil, "%s %d", what, int(e)))
		os.Exit(126)
		return nil
	}
	var o setup
	if err := json.Unmarshal([]byte(os.Args[1]), &o); err != nil {
		return err
	}
	if len(o.Mounts) > 0 {
		if err := mountAll(o.Mounts); err != nil {
			return fail("mount", err)
		}
	}
	// What it took to mount is not the program's.
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil && err != unix.EINVAL {
		return fail("prctl", err)
	}
	listener, err := install(&o.Filter)
	if err != nil {
		return fail("seccomp", err)
	}
	if _, err := unix.Write(fd, fmt.Appendf(nil, "listener %d", listener)); err != nil {
		return fail("write", err)
	}
	var b [1]byte
	if n, err := unix.Read(fd, b[:]); n != 1 {
		return fail("read", err)
	}
	path, args := os.Args[2], os.Args[3:]
	unix.CloseOnExec(fd)
	return fail("exec", syscall.Exec(path, args, os.Environ()))
}

// install gives this thread the filter, which execve(2) leaves to the program.
func install(o *Options) (int, error) {
	raw, err := o.program()
	if err != nil {
		return -1, err
	}
	code := make([]unix.SockFilter, len(raw))
	for i, ins := range raw {
		code[i] = unix.SockFilter{Code: ins.Op, Jt: ins.Jt, Jf: ins.Jf, K: ins.K}
	}
	prog := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	set := func() (int, unix.Errno) {
		// Without killable waits a signal that comes between the
		// supervisor's deed and its answer has the call made twice.
		const flags = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
		fd, _, e := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&prog)))
		return int(fd), e
	}
	fd, e := set()
	if e == unix.EACCES {
		// Only who has CAP_SYS_ADMIN may do without.
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return -1, err
		}
		fd, e = set()
	}
	runtime.KeepAlive(code)
	if e != 0 {
		return -1, e
	}
	return fd, nil
}

// StageError is why a program could not be started under a filter.
type StageError struct {
	// Op is what failed: seccomp, pidfd_getfd, exec …
	Op  string
	Err error
}

func (e *StageError) Error() string { return e.Op + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *StageError) Unwrap() error { return e.Err }

// Start starts a program, whose path, arguments, environment, files and attributes are
// cmd's, under a filter, and returns its listener. The mounts are made before; cmd's
// attributes must give it a mount namespace for them.
func Start(cmd *exec.Cmd, o Options, mounts []Mount) (*Listener, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	arg, err := json.Marshal(setup{o, mounts})
	if err != nil {
		return nil, err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	ours, theirs := pair[0], os.NewFile(uintptr(pair[1]), "stage")
	defer unix.Close(ours)
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	path := cmd.Path
	cmd.Args = append([]string{os.Args[0], string(arg), path}, cmd.Args...)
	cmd.Path = self
	cmd.ExtraFiles = append(cmd.ExtraFiles, theirs)
	cmd.Env = append(cmd.Env, fmt.Sprintf("%s=%d", stageEnv, 2+len(cmd.ExtraFiles)))
	err = cmd.Start()
	theirs.Close()
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
