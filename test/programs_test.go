// Package test runs the programs as users do: real processes, real sockets.
package test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// bin is the directory of the programs under test.
var bin string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

// run builds the programs as they are released, without cgo: it decides how
// signals are handled.
func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "rumptools-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	bin = filepath.Join(dir, "bin")
	build := exec.Command("go", "build", "-o", bin+string(filepath.Separator), "../cmd/...")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		return 1
	}
	// No kernel of the user's is touched.
	os.Setenv("XDG_RUNTIME_DIR", filepath.Join(dir, "run"))
	os.Setenv("PATH", bin+string(filepath.ListSeparator)+os.Getenv("PATH"))
	os.Unsetenv("RUMP_SERVER")
	return m.Run()
}

// program is a program's path.
func program(name string) string { return filepath.Join(bin, name) }

// limit is how long anything may take that should take a moment: on a busy
// machine, a minute is a moment.
const limit = time.Minute

// kernel is a rumpd that runs for a test.
type kernel struct {
	URL string
	Cmd *exec.Cmd
}

// startKernel runs a rumpd in the foreground until the test ends.
func startKernel(t *testing.T, machine string) *kernel {
	t.Helper()
	// Not t.TempDir: its path may be longer than a local socket's may be.
	dir, err := os.MkdirTemp("", "rump-")
	if err != nil {
		t.Fatal(err)
	}
	sock := filepath.Join(dir, "k")
	k := &kernel{URL: "unix://" + sock}
	k.Cmd = exec.Command(program("rumpd"), "-s", "--machine", machine, k.URL)
	var said bytes.Buffer
	k.Cmd.Stdout, k.Cmd.Stderr = &said, &said
	if err := k.Cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { k.Cmd.Wait(); close(done) }()
	t.Cleanup(func() {
		k.Cmd.Process.Kill()
		<-done
		os.RemoveAll(dir)
		if said.Len() > 0 {
			t.Logf("rumpd said: %s", &said)
		}
	})
	for deadline := time.Now().Add(limit); ; {
		if _, err := os.Stat(sock); err == nil {
			return k
		}
		select {
		case <-done:
			t.Fatalf("rumpd ended: %s", &said)
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatal("rumpd does not serve")
		}
	}
}

// result is how a program ended.
type result struct {
	Stdout, Stderr string
	Code           int
}

// runProgram runs a program with a kernel chosen by environment.
func runProgram(t *testing.T, url, name string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, program(name), args...)
	cmd.Env = os.Environ()
	if url != "" {
		cmd.Env = append(cmd.Env, "RUMP_SERVER="+url)
	}
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if ctx.Err() != nil {
		t.Fatalf("%s %s: still running after %v; so far:\n%s%s", name, strings.Join(args, " "), limit, &out, &errs)
	}
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		t.Fatal(err)
	}
	return result{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// want runs a program that must succeed in silence on standard error.
func want(t *testing.T, url, name string, args ...string) string {
	t.Helper()
	r := runProgram(t, url, name, args...)
	if r.Code != 0 || r.Stderr != "" {
		t.Fatalf("%s %s: exit %d\n%s%s", name, strings.Join(args, " "), r.Code, r.Stdout, r.Stderr)
	}
	return r.Stdout
}
