package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"rumptools/pkg/spclient"
)

// Program is what serves a kernel.
type Program struct {
	// Path is the program; empty is rumpd, from beside this program or
	// else from PATH.
	Path string
	// Machine is given to rumpd's --machine.
	Machine string
	// Args come before the URL.
	Args []string
}

// kernelName is the program that is started unless another is named.
const kernelName = "rumpd"

// foreignComponents are what a real rump_server needs for networking and for
// being reached. Each depends on those before it.
var foreignComponents = []string{
	"-lrumpkern_sysproxy", "-lrumpvfs", "-lrumpdev", "-lrumpnet", "-lrumpnet_net",
	"-lrumpnet_netinet", "-lrumpnet_netinet6", "-lrumpnet_local", "-lrumpnet_shmif",
}

// command is the command line that serves at url.
func (p Program) command(url string) (string, []string, error) {
	if p.Path != "" {
		if p.Machine != "" {
			return "", nil, errors.New("a machine can be chosen for rumpd only")
		}
		path, err := exec.LookPath(p.Path)
		if err != nil {
			return "", nil, fmt.Errorf("start %s: %w", p.Path, cause(err))
		}
		args := append([]string(nil), p.Args...)
		if filepath.Base(path) != kernelName {
			args = append(append([]string(nil), foreignComponents...), args...)
		}
		return path, append(args, url), nil
	}
	args := append([]string(nil), p.Args...)
	if p.Machine != "" {
		args = append(args, "--machine", p.Machine)
	}
	args = append(args, url)
	if self, err := os.Executable(); err == nil {
		if beside := filepath.Join(filepath.Dir(self), kernelName); isProgram(beside) {
			return beside, args, nil
		}
	}
	path, err := exec.LookPath(kernelName)
	if err != nil {
		return "", nil, fmt.Errorf("start %s: not beside rumpctl and not in PATH", kernelName)
	}
	return path, args, nil
}

// Command is the command line that Start runs for the kernel at url.
func (p Program) Command(url string) (string, error) {
	path, args, err := p.command(url)
	return strings.Join(append([]string{path}, args...), " "), err
}

func isProgram(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode().IsRegular() && st.Mode().Perm()&0o111 != 0
}

// cause leaves out what exec.Error repeats.
func cause(err error) error {
	var e *exec.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}

// ErrRunning is returned by Start for a name that is taken.
var ErrRunning = errors.New("already running")

// Start starts a kernel under a name and returns its URL once it serves.
func Start(ctx context.Context, name string, p Program) (string, error) {
	url, err := URL(name)
	if err != nil {
		return "", err
	}
	dir, err := Dir()
	if err != nil {
		return "", err
	}
	unlock, err := lockDir(dir)
	if err != nil {
		return "", err
	}
	defer unlock()
	k, err := probe(ctx, name, url, repairLocked)
	if err != nil {
		return "", err
	}
	if k.State != Dead {
		return "", fmt.Errorf("start %s: %w at %s", name, ErrRunning, url)
	}
	path, args, err := p.command(url)
	if err != nil {
		return "", err
	}
	if err := removeDead(url); err != nil {
		return "", fmt.Errorf("start %s: %w", name, err)
	}
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, path, args...)
	// Not our standard input: the kernel outlives the terminal. Its words
	// come through a file, not a pipe, for it keeps the descriptor.
	log, err := os.CreateTemp("", "rumpctl-start-*")
	if err != nil {
		return "", err
	}
	defer log.Close()
	os.Remove(log.Name())
	cmd.Stdout, cmd.Stderr = log, log
	// A Ctrl-C for us is not for the kernel; what is half-started is ended
	// by the caller.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err = cmd.Run()
	if _, serr := log.Seek(0, 0); serr == nil {
		said.ReadFrom(log)
	}
	if err != nil {
		if ctx.Err() != nil {
			abandonStart(url)
			return "", fmt.Errorf("start %s: %w", name, context.Cause(ctx))
		}
		why := lastLine(said.String())
		if why == "" {
			why = err.Error()
		}
		return "", fmt.Errorf("start %s: %s", name, strings.TrimPrefix(why, kernelName+": "))
	}
	// It may be no kernel at all.
	k, err = probe(ctx, name, url, repairLocked)
	if err == nil && k.State == Dead {
		err = fmt.Errorf("start %s: %s ended in order, and nobody serves at %s", name, path, url)
	}
	return url, err
}

// abandonStart ends a kernel that came up after nobody waited for it any more.
// rumpd notices by itself; a real rump_server goes to the background whoever
// waits.
func abandonStart(url string) {
	ctx, cancel := context.WithTimeout(context.Background(), greetingTime)
	defer cancel()
	if c, err := spclient.Dial(ctx, url, nil); err == nil {
		defer c.Close()
		Halt(ctx, c, 0)
	}
}

// removeDead removes the socket of a kernel that died: the real rump_server
// does not start while it is there.
func removeDead(url string) error {
	path := strings.TrimPrefix(url, "unix://")
	st, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case st.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s is there and no socket", path)
	}
	return os.Remove(path)
}

// lockDir keeps others from starting kernels in dir, so that nobody takes the
// socket of a kernel that is just coming up for a dead one's.
func lockDir(dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("run-time directory: %w", err)
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return func() { f.Close() }, nil
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}
