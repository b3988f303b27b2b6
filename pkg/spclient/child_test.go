package spclient_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"rumptools/pkg/netbsd"
)

// Tests of what happens to a process run the test binary as that process. The name
// of what it does is in childEnv, and the server's URL in childURL.
const (
	childEnv = "SPCLIENT_TEST_CHILD"
	childURL = "SPCLIENT_TEST_URL"
)

// children are what a child can do. It says what went wrong by its error.
var children = map[string]func(url string) error{}

func TestMain(m *testing.M) {
	name := os.Getenv(childEnv)
	if name == "" {
		os.Exit(m.Run())
	}
	f := children[name]
	if f == nil {
		f = func(string) error { return fmt.Errorf("no child %q", name) }
	}
	if err := f(os.Getenv(childURL)); err != nil {
		// Descriptor 2 may be closed: what is written there must not be lost.
		out := os.Stderr
		if os.Getenv(childResult) != "" {
			out = os.NewFile(3, "result")
		}
		fmt.Fprintf(out, "%s: %v\n", name, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// childResult is set when the child is to write its error to descriptor 3.
const childResult = "SPCLIENT_TEST_RESULT"

// childEnviron returns the environment of a child, with more variables.
func childEnviron(name, url string, more ...string) []string {
	var env []string
	for _, e := range os.Environ() {
		// Of two of a name the first would count.
		if !strings.HasPrefix(e, "SPCLIENT_TEST_") {
			env = append(env, e)
		}
	}
	return append(append(env, childEnv+"="+name, childURL+"="+url), more...)
}

// emulatorEnv has the path of the program that runs the test binary, where that is
// another machine's than the host's: qemu-user. Then it runs children, too.
const emulatorEnv = "TEST_EMULATOR"

// self returns what executes the test binary: a path, and the arguments from the
// first on.
func self() (path string, argv []string) {
	if emulator := os.Getenv(emulatorEnv); emulator != "" {
		return emulator, []string{emulator, os.Args[0]}
	}
	return os.Args[0], []string{os.Args[0]}
}

// selfCommand returns a command that runs the test binary.
func selfCommand(ctx context.Context) *exec.Cmd {
	path, argv := self()
	return exec.CommandContext(ctx, path, argv[1:]...)
}

// child returns a command that runs the test binary as a child.
func child(t *testing.T, name, url string, more ...string) *exec.Cmd {
	t.Helper()
	cmd := selfCommand(testContext(t))
	cmd.Env = childEnviron(name, url, more...)
	return cmd
}

// runChild runs a command made by child and reports what it says.
func runChild(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		skipIfForeign(t, err)
		t.Errorf("%v: %s", err, bytes.TrimSpace(out.Bytes()))
	}
}

// skipIfForeign skips a test that runs the test binary where the host does not run
// it by itself.
func skipIfForeign(t *testing.T, err error) {
	t.Helper()
	if errors.Is(err, syscall.ENOEXEC) {
		t.Skip("the host does not run this machine's programs by itself")
	}
}

// eachKernel runs a test on embedded kernels of every machine, or on the one that
// SPCLIENT_TEST_SERVER names.
func eachKernel(t *testing.T, f func(t *testing.T, url string)) {
	if url := os.Getenv("SPCLIENT_TEST_SERVER"); url != "" {
		t.Run("given", func(t *testing.T) { f(t, url) })
		return
	}
	eachMachine(t, func(t *testing.T, m *netbsd.Machine) { f(t, kernelURL(t, m)) })
}
