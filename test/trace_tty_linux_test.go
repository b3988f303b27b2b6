package test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal opens a pseudo-terminal: the side that types, and the one that a
// program has.
func terminal(t *testing.T) (typing, tty *os.File) {
	t.Helper()
	m, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { m.Close() })
	if err := unix.IoctlSetPointerInt(int(m.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(m.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	s, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return m, s
}

// TestTraceTerminal: a key that interrupts reaches the program once, and the
// tracer goes on until the program ends.
func TestTraceTerminal(t *testing.T) {
	k := startKernel(t, "amd64")
	typing, tty := terminal(t)
	cmd := exec.Command(program("rumpctl"), "trace", "-o", t.TempDir()+"/trace", "--server", k.URL, "--", "sh", "-c",
		`n=0; trap 'n=$((n+1)); echo interrupted $n' INT; echo ready; while test ! -e $0; do sleep 0.01; done; rifconfig -l; echo end $n; exit 5`,
		t.TempDir()+"/stop")
	stop := cmd.Args[len(cmd.Args)-1]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(limit, func() { cmd.Process.Kill() })
	defer timer.Stop()
	tty.Close()
	sc := bufio.NewScanner(typing)
	line(t, sc, "ready")
	for i := 1; i <= 2; i++ {
		if _, err := typing.WriteString("\x03"); err != nil {
			t.Fatal(err)
		}
		line(t, sc, fmt.Sprintf("interrupted %d", i))
	}
	if err := os.WriteFile(stop, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var rest []string
	for sc.Scan() {
		rest = append(rest, strings.TrimSpace(sc.Text()))
	}
	cmd.Wait()
	if got := strings.Join(rest, ","); got != "lo0,end 2" || cmd.ProcessState.ExitCode() != 5 {
		t.Errorf("it says %q and ends with %v", got, cmd.ProcessState)
	}
}
