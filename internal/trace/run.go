package trace

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"rumptools/internal/registry"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// Program is a program to trace.
type Program struct {
	Args                  []string // at least the program
	Stdin, Stdout, Stderr *os.File
}

// Status is how a program ended.
type Status struct {
	Code   int
	Signal syscall.Signal // that killed it, 0 if none did
}

// String is "exited with 1" or "killed by SIGPIPE".
func (s Status) String() string {
	if s.Signal == 0 {
		return fmt.Sprintf("exited with %d", s.Code)
	}
	if sig, ok := netbsd.SignalFromHost(s.Signal); ok {
		return "killed by " + sig.Name()
	}
	return fmt.Sprintf("killed by signal %d", int(s.Signal))
}

// StartError is a program that could not be started.
type StartError struct {
	Program string
	Err     error
}

func (e *StartError) Error() string { return e.Program + ": " + e.Err.Error() }

func (e *StartError) Unwrap() error { return e.Err }

// clientEnv are the variables by which a program and those that it runs find the
// kernel: the URL, and a connection and a URL that an exec has handed on, which
// would lead past the tracer.
const (
	execEnv   = "RUMPCLIENT__EXECFD"
	parsedEnv = "RUMP__PARSEDSERVER"
)

// Run runs a program as a client of the kernel at url and traces it and all that
// it runs, until it has ended and all of its connections are closed. Signals for
// this process that are for the program are passed on to it; those that the
// terminal sends to both it has anyway. After the program's end a signal ends the
// trace of what is left. A context that has ended starts nothing; later it has no
// meaning.
func Run(ctx context.Context, t *Tracer, url string, prog Program) (Status, error) {
	path, err := socketPath()
	if err != nil {
		return Status{}, err
	}
	defer os.RemoveAll(filepath.Dir(path))
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return Status{}, fmt.Errorf("listen %s: %w", path, cause(err))
	}
	defer l.Close()
	p, err := NewProxy(t, url)
	if err != nil {
		return Status{}, err
	}
	defer p.Close()
	go p.Serve(l)
	stop := t.ticking()
	defer stop()

	sigs, done := catch()
	defer done()
	if ctx.Err() != nil {
		return Status{}, ctx.Err()
	}
	t.Command(strings.Join(prog.Args, " "))
	cmd := exec.Command(prog.Args[0], prog.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = prog.Stdin, prog.Stdout, prog.Stderr
	cmd.Env = clientEnvironment(os.Environ(), "unix://"+path)
	if err := cmd.Start(); err != nil {
		return Status{}, &StartError{prog.Args[0], cause(err)}
	}
	pid := cmd.Process.Pid
	t.Own(pid)
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case s := <-sigs:
			if sig := s.(syscall.Signal); forward(sig) {
				cmd.Process.Signal(sig)
			}
			continue
		case err = <-ended:
		}
		break
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return Status{}, err
	}
	st := statusOf(cmd.ProcessState)
	// What it said last is on its way, and it may have just connected.
	awaitTaken(l)
	gone := make(chan struct{})
	go func() {
		p.WaitFor(pid)
		close(gone)
	}()
	left := make(chan struct{})
	go func() {
		p.Wait()
		close(left)
	}()
	select {
	case <-gone:
	case <-sigs:
		p.Close()
	}
	t.Exited(time.Now(), pid, st.String())
	t.Exit(recordedExit(st))
	select {
	case <-left:
	case <-sigs:
		p.Close()
	}
	return st, nil
}

// socketPath makes a private directory and gives the path of a socket in it.
func socketPath() (string, error) {
	for _, parent := range []string{os.TempDir(), "/tmp"} {
		dir, err := os.MkdirTemp(parent, "rumptrace-")
		if err != nil {
			return "", err
		}
		path := filepath.Join(dir, "s")
		if (sysproxy.URL{Network: "unix", Address: path}).CheckDial() == nil {
			return path, nil
		}
		// Too long a path for a socket.
		os.Remove(dir)
	}
	return "", errors.New("no directory for a socket: their paths are too long")
}

// clientEnvironment is an environment in which url is the kernel's.
func clientEnvironment(env []string, url string) []string {
	var kept []string
	for _, v := range env {
		name, _, _ := strings.Cut(v, "=")
		if name != registry.ServerEnv && name != execEnv && name != parsedEnv {
			kept = append(kept, v)
		}
	}
	return append(kept, registry.ServerEnv+"="+url)
}

// catch gives the signals that would end this process. Those that are ignored
// stay so, in the program too.
func catch() (<-chan os.Signal, func()) {
	sigs := make(chan os.Signal, 8)
	for _, sig := range []os.Signal{syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGHUP} {
		if !signal.Ignored(sig) {
			signal.Notify(sigs, sig)
		}
	}
	// The trace may go to a pipe whose reader goes; what is traced goes on. To
	// ignore the signal would make the program ignore it.
	pipe := make(chan os.Signal, 1)
	if !signal.Ignored(syscall.SIGPIPE) {
		signal.Notify(pipe, syscall.SIGPIPE)
	}
	return sigs, func() {
		signal.Stop(sigs)
		signal.Stop(pipe)
	}
}

// forward tells whether a signal has to be passed on: what comes from the
// terminal the program has got itself.
func forward(sig syscall.Signal) bool {
	return sig != syscall.SIGINT && sig != syscall.SIGQUIT || !inForeground()
}

// inForeground tells whether this process is of the group to which the terminal
// sends its signals.
func inForeground() bool {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return false
	}
	defer tty.Close()
	pgrp, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && pgrp == unix.Getpgrp()
}

func statusOf(ps *os.ProcessState) Status {
	if ws, ok := ps.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return Status{Signal: ws.Signal()}
	}
	return Status{Code: ps.ExitCode()}
}

// recordedExit is a status as recordings have it: negative for a signal, by
// NetBSD's number.
func recordedExit(st Status) int {
	if st.Signal == 0 {
		return st.Code
	}
	if sig, ok := netbsd.SignalFromHost(st.Signal); ok {
		return -int(sig)
	}
	return -int(st.Signal)
}

// tickTime is how often a trace is looked after: see [Tracer.Tick].
const tickTime = 50 * time.Millisecond

// ticking looks after a live trace until stop is called.
func (t *Tracer) ticking() (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(tickTime)
		defer tick.Stop()
		for {
			select {
			case now := <-tick.C:
				t.Tick(now)
			case <-quit:
				return
			}
		}
	}()
	return func() {
		close(quit)
		<-done
	}
}

// cause is the innermost error: the packages' own chains name what they did
// again.
func cause(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	var e *exec.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}
