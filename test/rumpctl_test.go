package test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// runtimeDir gives a test a run-time directory of its own, in which every
// kernel is ended with the test.
func runtimeDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "rump-")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_RUNTIME_DIR", dir)
	t.Cleanup(func() {
		exec.Command(program("rumpctl"), "halt", "--all").Run()
		os.RemoveAll(dir)
	})
	return dir
}

func TestTwoKernelsOnABus(t *testing.T) {
	for _, machine := range []string{"amd64", "i386", "powerpc"} {
		t.Run(machine, func(t *testing.T) {
			dir := runtimeDir(t)
			bus := filepath.Join(dir, "bus")
			want(t, "", "rumpctl", "start", "a", "--bus", bus, "--address", "10.0.0.1/24", "--address", "fd00::1/64", "--machine", machine)
			want(t, "", "rumpctl", "start", "b", "--bus", bus, "--address", "10.0.0.2/24", "--address", "fd00::2/64")
			for _, addr := range []string{"10.0.0.1", "10.0.0.2", "fd00::1", "fd00::2"} {
				out := want(t, "", "rping", "--server", "a", "-c", "2", "-i", "0.05", addr)
				if !strings.Contains(out, "2 packets transmitted, 2 packets received, 0.0% packet loss") {
					t.Errorf("ping %s:\n%s", addr, out)
				}
			}
			out := want(t, "", "rumpctl", "status", "a")
			for _, part := range []string{"/" + machine, "lo0", "shmif0", "10.0.0.1/24", "fd00::1/64"} {
				if !strings.Contains(out, part) {
					t.Errorf("status has no %s:\n%s", part, out)
				}
			}
			want(t, "", "rumpctl", "halt", "a", "b")
			left, err := os.ReadDir(filepath.Join(dir, "rump"))
			if err != nil || len(left) != 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

func TestList(t *testing.T) {
	runtimeDir(t)
	if out := want(t, "", "rumpctl", "list"); out != "" {
		t.Errorf("with no kernel:\n%s", out)
	}
	want(t, "", "rumpctl", "start", "--machine", "powerpc")
	out := want(t, "", "rumpctl", "list")
	if !regexp.MustCompile(`(?m)^default +running +\d+ +powerpc +unix://.*/rump/default$`).MatchString(out) {
		t.Errorf("list:\n%s", out)
	}
	var kernels []struct {
		Name, URL, State, System, Machine string
		PID                               int
	}
	if err := json.Unmarshal([]byte(want(t, "", "rumpctl", "list", "--json")), &kernels); err != nil {
		t.Fatal(err)
	}
	if len(kernels) != 1 || kernels[0].State != "running" || kernels[0].System != "NetBSD 7.99.34" {
		t.Fatalf("%+v", kernels)
	}
	// A stopped kernel is seen as such, a killed one as well, and its name
	// can be used again.
	pid := kernels[0].PID
	stop(t, pid)
	if out := want(t, "", "rumpctl", "list"); !strings.Contains(out, "hung") {
		t.Errorf("stopped:\n%s", out)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(limit); ; time.Sleep(5 * time.Millisecond) {
		if strings.Contains(want(t, "", "rumpctl", "list"), "dead") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a killed kernel is not dead")
		}
	}
	want(t, "", "rumpctl", "start")
	want(t, "", "rumpctl", "halt")
}

// stop stops a process, and waits until all of its threads have: those that run at that moment
// go on for as long as the one which the signal went to has to wait for a processor.
func stop(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	goesOn := regexp.MustCompile(`\) [^T] `) // the state is after the name; see proc_pid_stat(5)
	for deadline := time.Now().Add(limit); ; time.Sleep(time.Millisecond) {
		files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid)) // none but on Linux
		if err != nil {
			t.Fatal(err)
		}
		going := slices.ContainsFunc(files, func(name string) bool {
			b, err := os.ReadFile(name)
			return err != nil || goesOn.Match(b)
		})
		if !going {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("process %d has not stopped", pid)
		}
	}
}

// A kernel that is stopped accepts connections and says nothing: no command waits
// for ever.
func TestHung(t *testing.T) {
	k := startKernel(t, "amd64")
	stop(t, k.Cmd.Process.Pid)
	t.Run("commands", func(t *testing.T) {
		for _, command := range []string{"status", "halt"} {
			t.Run(command, func(t *testing.T) {
				t.Parallel()
				r := runProgram(t, "", "rumpctl", command, "--server", k.URL)
				if want := "rumpctl: rump kernel at " + k.URL + ": no answer in time\n"; r.Code != 1 || r.Stdout != "" || r.Stderr != want {
					t.Errorf("exit %d, %q, %q, want %q", r.Code, r.Stdout, r.Stderr, want)
				}
			})
		}
	})
}

func TestSysctl(t *testing.T) {
	runtimeDir(t)
	for _, machine := range []string{"amd64", "powerpc"} {
		t.Run(machine, func(t *testing.T) {
			want(t, "", "rumpctl", "start", machine, "--machine", machine)
			sysctl := func(args ...string) string {
				t.Helper()
				return want(t, "", "rumpctl", append([]string{"sysctl", "--server", machine}, args...)...)
			}
			if out := sysctl("net.inet.ip.ttl", "kern.ostype"); out != "net.inet.ip.ttl = 64\nkern.ostype = NetBSD\n" {
				t.Errorf("%q", out)
			}
			if out := sysctl("-w", "net.inet.ip.ttl=0x40", "net.inet.ip.ttl=63"); out != "net.inet.ip.ttl: 64 -> 64\nnet.inet.ip.ttl: 64 -> 63\n" {
				t.Errorf("%q", out)
			}
			if out := sysctl("-n", "net.inet.ip.ttl"); out != "63\n" {
				t.Errorf("%q", out)
			}
			if out := sysctl("kern.hostname=long.name"); !strings.HasSuffix(out, " -> long.name\n") {
				t.Errorf("%q", out)
			}
			if out := sysctl("net.inet.ip"); out != sysctl("net.inet.ip.") {
				t.Errorf("with a dot after it: %q", sysctl("net.inet.ip."))
			}
			if out := sysctl("net.inet"); !strings.Contains(out, "net.inet.ip.ttl = 63\n") || !strings.Contains(out, "net.inet.tcp.pair = 0\n") {
				t.Errorf("%s", out)
			}
		})
	}
}

// What could not be written is told of once, whatever should have followed it.
func TestSysctlFullDisk(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	k := startKernel(t, "amd64")
	for _, names := range []string{"net", "net.inet.ip.ttl=63", "-n kern.ostype kern.osrelease"} {
		cmd := exec.Command(program("rumpctl"), append([]string{"sysctl", "--server", k.URL}, strings.Fields(names)...)...)
		var errs strings.Builder
		cmd.Stdout, cmd.Stderr = full, &errs
		cmd.Run()
		if want := "rumpctl: write /dev/stdout: no space left on device\n"; cmd.ProcessState.ExitCode() != 1 || errs.String() != want {
			t.Errorf("sysctl %s: %v, %q, want %q", names, cmd.ProcessState, &errs, want)
		}
	}
}

// Each mistake is one line that names it, exit code 1, and nothing stays.
func TestMistakes(t *testing.T) {
	dir := runtimeDir(t)
	want(t, "", "rumpctl", "start", "taken")
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"no kernel", []string{"status", "nobody"}, `rumpctl: no rump kernel at unix://` + dir + `/rump/nobody: start one with "rumpctl start" or set RUMP_SERVER`},
		{"taken", []string{"start", "taken"}, "rumpctl: start taken: already running at unix://" + dir + "/rump/taken"},
		{"bad name", []string{"start", "a/b"}, "rumpctl: name a/b: has a '/'"},
		{"no bus", []string{"start", "x", "--address", "10.0.0.1/24"}, "rumpctl: start: --address needs an interface"},
		{"bad address", []string{"start", "x", "--bus", dir + "/b", "--address", "10.0.0.1"}, "rumpctl: start: --address 10.0.0.1: not an address"},
		{"bad bus", []string{"start", "x", "--bus", "/dev/null/b"}, "rumpctl: configure shmif0: linkstr /dev/null/b: "},
		{"bad machine", []string{"start", "x", "--machine", "vax"}, "rumpctl: start x: machine vax: unknown; there are amd64 aarch64 "},
		{"bad kernel", []string{"start", "x", "--kernel", "/nonexistent"}, "rumpctl: start /nonexistent: "},
		{"no kernel at all", []string{"start", "x", "--kernel", "true"}, "rumpctl: start x: "},
		{"unknown command", []string{"frobnicate"}, `rumpctl: unknown command "frobnicate"`},
		{"mistyped command", []string{"stat"}, `rumpctl: unknown command "stat"`},
		{"unknown flag", []string{"list", "--frob"}, "rumpctl: unknown flag: --frob"},
		{"no variable", []string{"sysctl", "--server", "taken", "net.inet.ip.nope"}, "rumpctl: sysctl net.inet.ip.nope: No such file or directory"},
		{"bad value", []string{"sysctl", "--server", "taken", "net.inet.ip.ttl=x"}, `rumpctl: sysctl net.inet.ip.ttl: "x" is no integer of 32 bits`},
		{"refused value", []string{"sysctl", "--server", "taken", "net.inet.tcp.pair=2"}, "rumpctl: sysctl net.inet.tcp.pair: Invalid argument"},
		{"constant", []string{"sysctl", "--server", "taken", "kern.ostype=Linux"}, "rumpctl: sysctl kern.ostype: Operation not permitted"},
		{"structure", []string{"sysctl", "--server", "taken", "net.inet.tcp.stats"}, "rumpctl: sysctl net.inet.tcp.stats: a structure, which is not shown"},
		{"no value", []string{"sysctl", "--server", "taken", "-w", "net.inet.ip.ttl"}, "rumpctl: sysctl net.inet.ip.ttl: no value to set"},
		{"bad URL", []string{"status", "--server", "udp://x"}, "rumpctl: not a rump kernel's URL: udp://x"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := runProgram(t, "", "rumpctl", tt.args...)
			if r.Code != 1 || r.Stdout != "" || !strings.HasPrefix(r.Stderr, tt.want) || strings.Count(r.Stderr, "\n") != 1 {
				t.Errorf("exit %d, %q\n got %q\nwant %q...", r.Code, r.Stdout, r.Stderr, tt.want)
			}
		})
	}
	want(t, "", "rumpctl", "halt", "taken")
	left, err := os.ReadDir(filepath.Join(dir, "rump"))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
