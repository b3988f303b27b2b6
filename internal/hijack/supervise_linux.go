//go:build amd64 || arm64

package hijack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
	"rumptools/internal/hijack/seccomp"
	"rumptools/internal/owners"
	"rumptools/pkg/spclient"
)

// Options say what a supervisor does.
type Options struct {
	// Dial connects to the kernel.
	Dial func(ctx context.Context) (*spclient.Conn, error)
	// Owners lists whose sockets are in a kernel.
	Owners func(ctx context.Context, url string) ([]owners.Socket, error)
	// TellOwners begins to tell others of those that programs here have.
	TellOwners func(url string, list func() []owners.Socket) (*owners.Teller, error)
	// Args are the program, to be looked for in PATH, and its arguments.
	Args []string
	// Resolv and Hosts are files for resolv.conf(5) and hosts(5), "" for none and
	// for the host's.
	Resolv, Hosts string
	// ProcNet has programs' opens of files in /proc/net answered where no mount
	// namespace is permitted.
	ProcNet bool
	// Families are those whose sockets are the kernel's.
	Families Families
	// Verbose shows on standard error what programs do with sockets.
	Verbose bool
	// Program is what messages begin with.
	Program string
}

// processors is the least number of the runtime's processors. A thread that waits in a call of the
// host keeps one until the monitor takes it away, which with a coarse timer slack is a quarter of
// a millisecond; some here always wait.
const processors = 4

// garbage is how much of it there may be for what is in use, in percent. A supervisor uses little, and each collection takes
// room from the stacks, which the next calls need again.
const garbage = 400

// Supervise is the whole of the supervisor's process, which [Front] has started. It
// returns when no program is left.
func Supervise(ctx context.Context, o *Options) {
	runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), processors))
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbage)
	}
	f, err := newFront()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", o.Program, err)
		os.Exit(1)
	}
	if err := supervise(ctx, o, f); err != nil {
		code := 1
		var missing *missingError
		if errors.As(err, &missing) {
			code = missing.code
		}
		f.tell(report{Failed: err.Error(), Code: code})
	}
}

// missingError is a program that is not there, or cannot be executed, with the exit
// code that shells have for that.
type missingError struct {
	name string
	err  error
	code int
}

func (e *missingError) Error() string {
	err := e.err
	var ee *exec.Error
	if errors.As(err, &ee) {
		err = ee.Err
	}
	return fmt.Sprintf("exec %s: %v", e.name, err)
}

func (e *missingError) Unwrap() error { return e.err }

func missing(name string, err error) error {
	code := 126
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
		code = 127
	}
	return &missingError{name, err, code}
}

func supervise(ctx context.Context, o *Options, f *front) error {
	path, err := exec.LookPath(o.Args[0])
	if err != nil && !errors.Is(err, exec.ErrDot) {
		return missing(o.Args[0], err)
	}
	conn, err := o.Dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	say := func(string, ...any) {}
	if o.Verbose {
		var mu sync.Mutex
		say = func(format string, args ...any) {
			mu.Lock()
			defer mu.Unlock()
			fmt.Fprintf(os.Stderr, o.Program+": exec: "+format+"\n", args...)
		}
	}
	s, err := newSupervisor(conn, say)
	if err != nil {
		return fmt.Errorf("exec: %w", err)
	}
	defer s.close()
	s.listOwners, s.url = o.Owners, owners.Resolve(conn.URL())
	if o.TellOwners != nil {
		teller, err := o.TellOwners(s.url, s.owners)
		if err != nil {
			// Without a run-time directory nobody can ask, and that is all.
			s.say("owners: %v", err)
		} else {
			defer teller.Close()
		}
	}
	// Daemons stay below this process, where it may reach into them.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("exec: %w", os.NewSyscallError("prctl", err))
	}
	if s.standIns, err = s.places(o); err != nil {
		return fmt.Errorf("exec: %w", err)
	}
	command := func() *exec.Cmd {
		cmd := exec.Command(path)
		cmd.Args = o.Args
		cmd.Path = path
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		cmd.Env = os.Environ()
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pgid: f.group}
		return cmd
	}
	filter := seccomp.Options{Ioctls: linuxsock.TrapIoctls, InPlaceOf: f.pid}
	if !o.Families.Inet {
		filter.Host = append(filter.Host, unix.AF_INET)
	}
	if !o.Families.Inet6 {
		filter.Host = append(filter.Host, unix.AF_INET6)
	}
	makeThreads(spareThreads)
	cmd := command()
	if o.ProcNet {
		filter.Opens = true
		s.l, err = seccomp.Start(cmd, filter, nil)
	} else {
		mounts, err2 := s.mounts(o)
		if err2 != nil {
			return fmt.Errorf("exec: %w", err2)
		}
		namespace(cmd.SysProcAttr)
		s.l, err = seccomp.Start(cmd, filter, mounts)
	}
	if notPermitted(err) {
		if o.Resolv != "" || o.Hosts != "" {
			return fmt.Errorf("exec: --resolv and --hosts need a mount namespace, which is not permitted here (%v), or --procnet", err)
		}
		why := err
		if s.proc != nil {
			close(s.proc.unseen)
			s.proc = nil
		}
		cmd = command()
		if s.l, err = seccomp.Start(cmd, filter, nil); err == nil {
			fmt.Fprintf(os.Stderr, "%s: exec: /proc/net and /etc/resolv.conf are the host's: a mount namespace is not permitted here (%v); --procnet does without\n", o.Program, why)
		}
	}
	if err != nil {
		return startError(o.Args[0], err)
	}
	letGo()
	if s.proc != nil {
		close(s.proc.begun)
	}
	// Signals of the terminal are the program's, which has its own ways with them by
	// now; who writes there from the background is not to be stopped.
	signal.Ignore(unix.SIGINT, unix.SIGQUIT, unix.SIGTSTP, unix.SIGTTOU, unix.SIGTTIN, unix.SIGHUP, unix.SIGPIPE)
	if defect := racyKernel(); defect != "" {
		s.say("%s", defect)
	}
	f.tell(report{PID: cmd.Process.Pid})
	var ended sync.Mutex // held while it is not known that the program has ended
	over := false
	go func() {
		f.gone()
		if !o.Verbose {
			letGoOf(unix.Stderr)
		}
		ended.Lock()
		defer ended.Unlock()
		if !over {
			// The front was killed; so would the program have been.
			cmd.Process.Kill()
		}
	}()
	reaped := make(chan struct{})
	go func() {
		defer close(reaped)
		reap(cmd.Process.Pid, func(ws unix.WaitStatus) {
			switch {
			case ws.Stopped():
				f.tell(report{Stopped: int(ws.StopSignal())})
			case ws.Exited(), ws.Signaled():
				ended.Lock()
				over = true
				ended.Unlock()
				s.programEnded()
				st := &Status{Code: ws.ExitStatus()}
				if ws.Signaled() {
					st = &Status{Signal: ws.Signal()}
				}
				f.tell(report{End: st})
			}
		})
	}()
	s.serve()
	s.deliver()
	s.closeInner() // a process, perhaps
	<-reaped
	return nil
}

// closeTime is how long the kernel may take to close a socket of a program that has ended.
const closeTime = time.Second

// programEnded closes what the program has left, before anybody is told that it has ended: on Linux a port that it had is free
// then, for who is started next, maybe under another supervisor.
func (s *supervisor) programEnded() {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		s.ends.catchUpAll()
	}()
	for before, left := -1, len(s.all()); left != before; before, left = left, len(s.all()) {
		select {
		case <-closed:
			return
		case <-time.After(closeTime):
		}
	}
	// The kernel does not answer.
}

// reap waits for all children, those that were left to this process among them, and
// tells of the program.
func reap(program int, tell func(unix.WaitStatus)) {
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, unix.WUNTRACED|unix.WALL, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return
		case pid == program:
			tell(ws)
		}
	}
}

// startError explains why a program cannot be supervised.
func startError(name string, err error) error {
	var se *seccomp.StageError
	if !errors.As(err, &se) {
		return missing(name, err)
	}
	reaches := se.Op == "pidfd_open" || se.Op == "pidfd_getfd" || se.Op == "process_vm_readv" || se.Op == "process_vm_writev"
	switch {
	case se.Op == "exec":
		return missing(name, se.Err)
	case se.Op == "seccomp" && errors.Is(se.Err, unix.EBUSY):
		return fmt.Errorf("exec %s: this is under another seccomp supervisor, rumpctl exec perhaps; there can be only one", name)
	case se.Op == "seccomp" && errors.Is(se.Err, unix.EINVAL):
		return fmt.Errorf("exec %s: this host's Linux %s has no seccomp user notification as it is needed, which came with 5.19", name, release())
	case se.Op == "seccomp":
		return fmt.Errorf("exec %s: %w: a container's seccomp profile forbids it, or this kernel is built without; allow seccomp", name, se)
	case errors.Is(err, seccomp.ErrKilled):
		return fmt.Errorf("exec %s: %w: a container's seccomp profile forbids something; allow seccomp", name, se)
	case reaches && yamaScope() >= 2:
		return fmt.Errorf("exec %s: %w: kernel.yama.ptrace_scope is %d%s", name, se, yamaScope(), yamaCure(yamaScope()))
	case reaches:
		return fmt.Errorf("exec %s: %w: a container's seccomp profile, or a security module, forbids it; "+
			"allow pidfd_open, pidfd_getfd, process_vm_readv and process_vm_writev, or add CAP_SYS_PTRACE", name, se)
	}
	return fmt.Errorf("exec %s: %w", name, err)
}

// yamaCure tells who may supervise all the same, and what to change
// (Documentation/admin-guide/LSM/Yama.rst).
func yamaCure(scope int) string {
	if scope == 2 {
		// Who makes a user namespace has all capabilities over it.
		return ", which allows only who has CAP_SYS_PTRACE to supervise; set it to 1 or 0, or permit user namespaces and leave out --procnet"
	}
	return ", which allows nobody to supervise until this host is booted again; set it to 1 or 0 then"
}

// yamaScope is kernel.yama.ptrace_scope, 0 when there is none.
func yamaScope() int {
	b, err := os.ReadFile("/proc/sys/kernel/yama/ptrace_scope")
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return n
}

// racyKernel names a defect of the host's kernel: before Linux 6.18, and in older
// series that have not got its cure, an answer that is given very soon can be lost.
func racyKernel() string {
	var major, minor int
	if n, _ := fmt.Sscanf(release(), "%d.%d", &major, &minor); n != 2 || major > 6 || major == 6 && minor >= 18 {
		return ""
	}
	return "this host runs Linux " + release() + ": before 6.18 a call's answer can be lost when a signal comes at the same moment (SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV)"
}

// release is the version of the host's kernel.
func release() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}
