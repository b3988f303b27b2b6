package main

import (
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// beRumpd makes this test's program rumpd.
const beRumpd = "RUMPD_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(beRumpd) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// limit is how long anything may take that should take a moment.
const limit = time.Minute

// rumpd makes a rumpd's command.
func rumpd(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, args...)
	cmd.Env = append(os.Environ(), beRumpd+"=1")
	return cmd
}

// run1 runs one until its first process ends, and gives its exit code and what
// it said.
func run1(t *testing.T, args ...string) (int, string) {
	t.Helper()
	cmd := rumpd(t, args...)
	// The background process keeps standard error until it serves only.
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// halt ends the kernel at url in order.
func halt(t *testing.T, url string) {
	t.Helper()
	c, err := spclient.Dial(t.Context(), url, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.NewCall(netbsd.SYS_reboot).Int(0).Ptr(0).Do(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-c.Done()
}

// eventually waits until something holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not after %v: %s", limit, what)
		}
	}
}

// dial connects to a kernel that is starting.
func dial(t *testing.T, path string) (c *spclient.Conn) {
	t.Helper()
	eventually(t, "serves", func() (ok bool) {
		var err error
		c, err = spclient.Dial(t.Context(), "unix://"+path, nil)
		return err == nil
	})
	return c
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func empty(t *testing.T, dir string) bool {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return len(entries) == 0
}

func TestErrors(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("unix", filepath.Join(dir, "taken"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tcp.Close() })
	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"no URL":         {nil, "rumpd: 0 URLs given, want one\n"},
		"no scheme":      {[]string{"/tmp/x"}, "rumpd: "},
		"other scheme":   {[]string{"http://x/"}, "rumpd: "},
		"unknown option": {[]string{"-Z", "unix://" + dir + "/s"}, "rumpd: unknown shorthand flag: 'Z' in -Z\n"},
		"too long":       {[]string{"unix://" + dir + "/" + strings.Repeat("x", 120)}, "rumpd: "},
		"no directory":   {[]string{"unix://" + dir + "/no/s"}, "rumpd: listen unix://" + dir + "/no/s: no such file or directory\n"},
		"no directory 2": {[]string{"unix://" + file + "/s"}, "rumpd: listen unix://" + file + "/s: not a directory\n"},
		"a file":         {[]string{"unix://" + file}, "rumpd: listen unix://" + file + ": address already in use\n"},
		"a directory":    {[]string{"unix://" + dir}, "rumpd: listen unix://" + dir + ": address already in use\n"},
		"served":         {[]string{"unix://" + dir + "/taken"}, "rumpd: listen unix://" + dir + "/taken: address already in use\n"},
		"served on tcp":  {[]string{"tcp://" + tcp.Addr().String() + "/"}, "rumpd: listen tcp://" + tcp.Addr().String() + "/: address already in use\n"},
		"machine":        {[]string{"--machine", "pdp11", "unix://" + dir + "/s"}, "rumpd: machine pdp11: unknown; there are amd64 aarch64 i386 arm powerpc sparc sparc64\n"},
		"processors":     {[]string{"-c", "0", "unix://" + dir + "/s"}, "rumpd: -c 0: not between 1 and 32\n"},
		"processors 2":   {[]string{"-c", "two", "unix://" + dir + "/s"}, "rumpd: -c two: not a number\n"},
		"memory":         {[]string{"-r", "lots", "unix://" + dir + "/s"}, "rumpd: -r lots: not a size\n"},
		"component":      {[]string{"-l", "rumpnet_x25", "unix://" + dir + "/s"}, "rumpd: component rumpnet_x25: not in this kernel\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, foreground := range []bool{false, true} {
				args := tt.args
				if foreground {
					args = append([]string{"-s"}, args...)
				}
				code, said := run1(t, args...)
				if code != 1 || !strings.HasPrefix(said, tt.want) || strings.Count(said, "\n") != 1 || !strings.HasSuffix(said, "\n") {
					t.Errorf("%q: exit code %d, said %q; want 1 and one line %q", args, code, said, tt.want)
				}
			}
		})
	}
}

func TestBackground(t *testing.T) {
	for name, tt := range map[string]struct {
		network string
		args    []string
		said    string
	}{
		"local":      {"unix", nil, ""},
		"components": {"unix", []string{"-lrumpnet_shmif", "-l", "librumpnet_net.so", "-lrumpdev_bpf"}, "rumpd: component rumpdev_bpf: no packet capture here\n"},
		"tcp":        {"tcp", nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			url := "unix://" + filepath.Join(dir, "s")
			if tt.network == "tcp" {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				url = "tcp://" + l.Addr().String() + "/"
				l.Close()
				t.Setenv("TMPDIR", dir)
			}
			// That it returns at all shows that the kernel lets go of the
			// pipe that is its standard output.
			if code, said := run1(t, append(tt.args, url)...); code != 0 || said != tt.said {
				t.Fatalf("exit code %d, said %q", code, said)
			}
			halt(t, url)
			eventually(t, "nothing is left in the directory", func() bool { return empty(t, dir) })
		})
	}
}

// A program that is started by another may have none of the descriptors that
// all have.
func TestNoDescriptors(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	url := "unix://" + filepath.Join(dir, "s")
	cmd := rumpd(t, url)
	cmd.Args = []string{"sh", "-c", `exec "$0" "$@" <&- >&- 2>&-`, cmd.Path, url}
	cmd.Path = sh
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	halt(t, url)
	eventually(t, "nothing is left in the directory", func() bool { return empty(t, dir) })
}

func TestStaleSocket(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	// Several take it over at once: one serves, the others say that it does.
	const n = 4
	codes := make(chan int, n)
	for range n {
		go func() {
			code, _ := run1(t, "unix://"+path)
			codes <- code
		}()
	}
	sum := 0
	for range n {
		sum += <-codes
	}
	if sum != n-1 {
		t.Errorf("%d of %d serve at one socket", n-sum, n)
	}
	halt(t, "unix://"+path)
	eventually(t, "nothing is left in the directory", func() bool { return empty(t, dir) })
}

func TestUnwritable(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may write everywhere")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	url := "unix://" + filepath.Join(dir, "s")
	if code, said := run1(t, url); code != 1 || said != "rumpd: listen "+url+": permission denied\n" {
		t.Errorf("exit code %d, said %q", code, said)
	}
}

// Signals end the kernel in order, whenever they come.
func TestSignals(t *testing.T) {
	for _, foreground := range []bool{true, false} {
		for i, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGTERM, syscall.SIGTERM, syscall.SIGTERM, syscall.SIGTERM} {
			dir := t.TempDir()
			path := filepath.Join(dir, "s")
			args := []string{"unix://" + path}
			if foreground {
				args = append([]string{"-s"}, args...)
			}
			cmd := rumpd(t, args...)
			var said bytes.Buffer
			cmd.Stderr = &said
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if i < 3 && foreground {
				eventually(t, "serves", func() bool { return exists(path) })
			} else {
				time.Sleep(time.Duration(i) * 5 * time.Millisecond)
			}
			cmd.Process.Signal(sig)
			cmd.Wait()
			if i < 3 && foreground && cmd.ProcessState.ExitCode() != 0 {
				t.Errorf("%v: %v, said %q", sig, cmd.ProcessState, &said)
			}
			if !foreground && cmd.ProcessState.Success() {
				// It came too late: the kernel serves.
				halt(t, args[0])
			}
			eventually(t, "nothing is left in the directory", func() bool { return empty(t, dir) })
		}
	}
}

// A signal that was ignored when the kernel was started does not end it.
func TestIgnoredSignal(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip(err)
	}
	path := filepath.Join(t.TempDir(), "s")
	cmd := rumpd(t)
	cmd.Args = []string{"sh", "-c", `trap "" HUP; exec "$0" "$@"`, cmd.Path, "-s", "unix://" + path}
	cmd.Path = sh
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := dial(t, path)
	cmd.Process.Signal(syscall.SIGHUP)
	if _, err := c.Getpid(t.Context()); err != nil {
		t.Errorf("after SIGHUP: %v", err)
	}
	c.Close()
	cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// A console that nobody reads, and one whose reader has gone, neither end the
// kernel nor keep it.
func TestConsole(t *testing.T) {
	for _, gone := range []bool{false, true} {
		path := filepath.Join(t.TempDir(), "s")
		cmd := rumpd(t, "-s", "unix://"+path)
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stdout = w
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		w.Close()
		if gone {
			r.Close()
		}
		c := dial(t, path)
		wrote := make(chan error, 1)
		go func() {
			_, err := c.Write(t.Context(), c.FD(1), make([]byte, 1<<20))
			wrote <- err
		}()
		if gone {
			if err := <-wrote; err == nil {
				t.Error("a write to nobody succeeded")
			}
		}
		other, err := spclient.Dial(t.Context(), "unix://"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := other.Getpid(t.Context()); err != nil {
			t.Error(err)
		}
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); gone && code != 0 || code < 0 {
			t.Errorf("reader gone %v: %v", gone, cmd.ProcessState)
		}
		r.Close()
		c.Close()
		other.Close()
	}
}

// The last words of a kernel in the background are found beside its socket.
func TestCrash(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	url := "unix://" + path
	if code, said := run1(t, url); code != 0 {
		t.Fatalf("exit code %d, said %q", code, said)
	}
	c, err := spclient.Dial(t.Context(), url, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	pid := serverPID(t, path)
	// The runtime takes it for a failure of the program's own.
	syscall.Kill(pid, syscall.SIGABRT)
	<-c.Done()
	eventually(t, "the report is there", func() bool {
		b, _ := os.ReadFile(path + ".crash")
		return bytes.Contains(b, []byte("SIGABRT")) && bytes.Contains(b, []byte("goroutine"))
	})
	// The next kernel takes the socket over and keeps the report.
	if code, said := run1(t, url); code != 0 {
		t.Fatalf("exit code %d, said %q", code, said)
	}
	halt(t, url)
	eventually(t, "the socket is gone", func() bool { return !exists(path) })
	if !exists(path + ".crash") {
		t.Error("the report is gone")
	}
}
