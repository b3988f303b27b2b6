//go:build amd64 || arm64

package seccomp

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/seccomp/stage"
)

// start starts a program, for which this test's own program is the stage, or skips the
// test where that is not permitted.
func start(t *testing.T, cmd *exec.Cmd, mounts []Mount) (*Listener, error) {
	t.Helper()
	l, err := Start(cmd, Options{}, mounts)
	var se *StageError
	if errors.As(err, &se) && (se.Op == "seccomp" || se.Op == "pidfd_getfd" || se.Op == "process_vm_readv") {
		t.Skipf("not here: %v", err)
	}
	return l, err
}

func TestStart(t *testing.T) {
	var out bytes.Buffer
	long := strings.Repeat("long", 20_000)
	cmd := exec.Command("/bin/sh", "-c", `printf '%s|' "$0" "$@"; env | grep -c RUMPTOOLS; exit 3`, "", "a b", "", long)
	cmd.Stdout = &out
	l, err := start(t, cmd, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("%v, want exit status 3", err)
	}
	if want := "|a b||" + long + "|0\n"; out.String() != want {
		t.Errorf("%d bytes %.40q, want %d", out.Len(), out.String(), len(want))
	}
}

// TestStartFails: who starts a program is told what did not work, and nothing stays.
func TestStartFails(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("no program"), 0o700); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]unix.Errno{file + "-not": unix.ENOENT, t.TempDir(): unix.EACCES, file: unix.ENOEXEC} {
		l, err := start(t, &exec.Cmd{Path: path, Args: []string{"x"}}, nil)
		if err == nil {
			l.Close()
		}
		var se *StageError
		if !errors.As(err, &se) || se.Op != "exec" || !errors.Is(err, want) {
			t.Errorf("%s: %v, want exec: %v", path, err, want)
		}
	}
	many := make([]Mount, 1000)
	for i := range many {
		many[i] = Mount{From: strings.Repeat("x", 100), To: "/"}
	}
	if _, err := start(t, exec.Command("/bin/true"), many); !errors.Is(err, unix.EMSGSIZE) {
		t.Errorf("more mounts than there is room for: %v", err)
	}
}

func TestStartMounts(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"from", "to"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(name+"-target", filepath.Join(dir, name+"-link")); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "fixed"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "fixed", "file"), []byte("as it was\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd := exec.Command("/bin/sh", "-c", "cat to; readlink to-link; echo no > fixed/file; cat fixed/file")
	cmd.Dir, cmd.Stdout = dir, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		t.Skip("only root has a mount namespace without more ado")
	}
	l, err := start(t, cmd, []Mount{
		{From: filepath.Join(dir, "from"), To: filepath.Join(dir, "to")},
		{From: filepath.Join(dir, "from-link"), To: filepath.Join(dir, "to-link"), Links: true},
		{From: filepath.Join(dir, "fixed"), To: filepath.Join(dir, "fixed"), ReadOnly: true},
	})
	var se *StageError
	if errors.As(err, &se) && (se.Op == "mount" || se.Op == "start") && !errors.Is(err, unix.EFAULT) {
		t.Skipf("not here: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := cmd.Wait(); err != nil || out.String() != "fromfrom-target\nas it was\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "to")); string(b) != "to" {
		t.Errorf("outside: %q, %v", b, err)
	}
}

// TestStageIsEarly: what the stage is made of must not import what is initialized late.
func TestStageIsEarly(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1", stage.Env+"=none")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 126 {
		t.Fatalf("%v, want exit status 126", err)
	}
	if !bytes.Contains(out, []byte("init syscall @")) || bytes.Contains(out, []byte("init os @")) || bytes.Contains(out, []byte("init time @")) {
		t.Errorf("initialized before it:\n%s", out)
	}
}
