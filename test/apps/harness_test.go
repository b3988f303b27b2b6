// Package apps runs programs as Debian ships them on rump kernels' networks, by
// "rumpctl exec". Two kernels on one Ethernet serve: the servers' and the clients'.
//
// What the environment says:
//
//	APPS=all         also the tests that take long or need programs seldom installed
//	APPS_REQUIRED=1  a program that is not installed is a failure; else its tests are skipped
//	APPS_NATIVE=1    the same on the host, without exec: whether the tests themselves are right
//	APPS_SERVER=URL  both ends on this one kernel, which is left as it is found
//	APPS_ADDRESS=A   an address of that kernel; else 127.0.0.1
//	APPS_BYTES=N     how much long transfers carry; else 100,000,000
package apps

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// bin is the directory of our own programs, and of the ones that only tests need.
var bin string

// Where the two ends are.
var server, client = &host{name: "server"}, &host{name: "client"}

var native = os.Getenv("APPS_NATIVE") != ""

// limit is how long anything may take that should take a moment: on a busy machine a
// minute is a moment.
const limit = time.Minute

// host is a network that programs run on: a rump kernel, or the machine's own.
type host struct {
	name   string
	kernel string     // URL; empty: no exec
	v4, v6 netip.Addr // v6 may be invalid: there is none
	wrap   []string   // what exec is run by
}

func (h *host) addresses() []netip.Addr {
	if h.v6.IsValid() {
		return []netip.Addr{h.v4, h.v6}
	}
	return []netip.Addr{h.v4}
}

func TestMain(m *testing.M) {
	if name := os.Getenv(profileEnv); name != "" {
		fmt.Fprintln(os.Stderr, underProfile(name))
		os.Exit(1)
	}
	isolate()
	os.Exit(run(m))
}

// isolate puts the tests into a network namespace of their own, where that is permitted:
// what gets past exec reaches nobody there. The programs see the host's other
// namespaces.
func isolate() {
	// A program that onHost runs, in one more namespace.
	if args := strings.Split(os.Getenv("APPS_RUN"), "\n"); args[0] != "" {
		runtime.LockOSThread()
		err := loopbackUp()
		// A connect that nobody answers asks again after 1, 3 and 7 s, as rumpd's does. Newer hosts begin with some each second.
		os.WriteFile("/proc/sys/net/ipv4/tcp_syn_linear_timeouts", []byte("0"), 0)
		if err == nil {
			// What that takes is not the program's.
			err = unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
		}
		if err == nil {
			err = syscall.Exec(args[0], args, os.Environ())
		}
		fmt.Fprintln(os.Stderr, args[0]+":", err)
		os.Exit(1)
	}
	const marker = "APPS_ISOLATED"
	if strings.HasPrefix(os.Getenv("APPS_SERVER"), "tcp:") {
		return
	}
	if os.Getenv(marker) == "" && os.Geteuid() == 0 {
		runtime.LockOSThread()
		if unix.Unshare(unix.CLONE_NEWNET) == nil {
			os.Setenv(marker, "1")
			err := syscall.Exec("/proc/self/exe", os.Args, os.Environ())
			fmt.Fprintln(os.Stderr, "exec:", err)
			os.Exit(1)
		}
		runtime.UnlockOSThread()
	}
	if os.Getenv(marker) != "" && native {
		if err := loopbackUp(); err != nil {
			fmt.Fprintln(os.Stderr, "lo:", err)
			os.Exit(1)
		}
	}
}

// ownNetwork are the attributes of a process with a network of its own, for which whoever
// is not root needs a user namespace, too.
func ownNetwork() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true, Cloneflags: unix.CLONE_NEWNET}
	if uid, gid := os.Geteuid(), os.Getegid(); uid != 0 {
		attr.Cloneflags |= unix.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}}
		attr.AmbientCaps = []uintptr{unix.CAP_NET_ADMIN}
	}
	return attr
}

// lo0MTU is the MTU in bytes of lo0 of a kernel of 64 bits.
const lo0MTU = 33624

// loopbackUp brings lo up, as lo0 is.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifreq, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifreq.SetUint32(lo0MTU)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFMTU, ifreq); err != nil {
		return err
	}
	ifreq.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifreq)
}

func run(m *testing.M) (code int) {
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	// What a supervisor leaves behind when it dies is ours to find and end.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fail(err)
	}
	// Short: a kernel's socket is in it. For all: programs give up privileges.
	dir, err := os.MkdirTemp("/tmp", "apps-")
	if err != nil {
		return fail(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		return fail(err)
	}
	bin = filepath.Join(dir, "bin")
	for _, packages := range [][]string{{"../../cmd/..."}, {"./goweb", "./smtpd"}} {
		build := exec.Command("go", append([]string{"build", "-o", bin + "/"}, packages...)...)
		build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
		if out, err := build.CombinedOutput(); err != nil {
			return fail(fmt.Errorf("go build: %v\n%s", err, out))
		}
	}
	os.Setenv("XDG_RUNTIME_DIR", filepath.Join(dir, "run"))
	os.Setenv("TMPDIR", filepath.Join(dir, "tmp"))
	os.Setenv("PATH", bin+":"+os.Getenv("PATH")+":/usr/sbin:/sbin")
	for _, name := range []string{"RUMP_SERVER", "RUMPHIJACK", "RUMPHIJACK_RETRYCONNECT", "http_proxy", "https_proxy", "all_proxy", "no_proxy",
		"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"} {
		os.Unsetenv(name)
	}
	if err := os.Mkdir(os.Getenv("XDG_RUNTIME_DIR"), 0o700); err != nil {
		return fail(err)
	}
	if err := os.Mkdir(os.Getenv("TMPDIR"), 0o777|os.ModeSticky); err != nil {
		return fail(err)
	}
	if err := os.Chmod(os.Getenv("TMPDIR"), 0o777|os.ModeSticky); err != nil {
		return fail(err)
	}
	defer func() {
		if out, err := exec.Command(filepath.Join(bin, "rumpctl"), "halt", "--all").CombinedOutput(); err != nil {
			code = fail(fmt.Errorf("rumpctl halt --all: %v\n%s", err, out))
		}
		awaitDescendants(os.Getpid(), lastTime)
		if left := killDescendants(os.Getpid()); len(left) > 0 {
			code = fail(fmt.Errorf("processes left behind: %s", strings.Join(left, "; ")))
		}
	}()
	loopback4, loopback6 := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")
	switch url := os.Getenv("APPS_SERVER"); {
	case native:
		server.v4, client.v4 = loopback4, loopback4
		if l, err := net.Listen("tcp6", "[::1]:0"); err == nil {
			l.Close()
			server.v6, client.v6 = loopback6, loopback6
		}
	case url != "":
		server.kernel, client.kernel = url, url
		server.v4, server.v6 = loopback4, loopback6
		if addr := os.Getenv("APPS_ADDRESS"); addr != "" {
			if server.v4, err = netip.ParseAddr(addr); err != nil {
				return fail(err)
			}
		}
		client.v4, client.v6 = server.v4, server.v6
	default:
		for i, h := range []*host{server, client} {
			h.v4 = netip.MustParseAddr(fmt.Sprintf("10.0.0.%d", i+1))
			h.v6 = netip.MustParseAddr(fmt.Sprintf("fd72:7074::%d", i+1))
			h.kernel = "unix://" + filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "rump", h.name)
			if err := h.start(); err != nil {
				return fail(err)
			}
		}
	}
	return m.Run()
}

// start starts h's kernel, which tests may end and start again.
func (h *host) start() error {
	out, err := exec.Command(filepath.Join(bin, "rumpctl"), "start", h.name, "--bus", filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "bus"),
		"--address", h.v4.String()+"/24", "--address", h.v6.String()+"/64").CombinedOutput()
	if err != nil {
		return fmt.Errorf("start kernel %s: %v\n%s", h.name, err, out)
	}
	return nil
}

// tool runs one of our programs.
func tool(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(filepath.Join(bin, name), args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// startKernel starts a rumpd for the test.
func startKernel(t *testing.T, name string, args ...string) *host {
	t.Helper()
	tool(t, "rumpctl", append([]string{"start", name}, args...)...)
	t.Cleanup(func() { exec.Command(filepath.Join(bin, "rumpctl"), "halt", name).Run() })
	return &host{name: name, kernel: "unix://" + filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "rump", name)}
}

// twoKernels skips a test that says nothing natively or on one kernel.
func twoKernels(t *testing.T) {
	t.Helper()
	if native || os.Getenv("APPS_SERVER") != "" {
		t.Skip("needs the two kernels of the tests")
	}
}

// all skips a test of the second tier.
func all(t *testing.T) {
	t.Helper()
	if os.Getenv("APPS") != "all" {
		t.Skip("only with APPS=all")
	}
}

// find is the path of a program of Debian's.
func find(t *testing.T, name string) string {
	t.Helper()
	// What Debian installs, not what precedes it in a developer's PATH.
	for _, dir := range []string{"/usr/bin", "/usr/sbin", "/bin", "/sbin", "/usr/lib/postgresql/*/bin", "/usr/lib/frr"} {
		if paths, _ := filepath.Glob(filepath.Join(dir, name)); len(paths) > 0 {
			return paths[len(paths)-1]
		}
	}
	if os.Getenv("APPS_REQUIRED") != "" {
		t.Fatalf("%s is not installed; test/apps/packages lists the packages", name)
	}
	t.Skipf("%s is not installed", name)
	return ""
}

// tempDir is a directory for the test that all users may enter.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "t-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// nextPort makes ports differ from those that a run before left in TIME_WAIT.
var nextPort = 20000 + os.Getpid()%10000

func port(t *testing.T) int {
	t.Helper()
	for range 1000 {
		nextPort++
		if !native {
			return nextPort
		}
		if l, err := net.Listen("tcp", fmt.Sprintf(":%d", nextPort)); err == nil {
			l.Close()
			return nextPort
		}
	}
	t.Fatal("no free port")
	return 0
}

func hostPort(addr netip.Addr, port int) string {
	return netip.AddrPortFrom(addr, uint16(port)).String()
}

// flags are for rumpctl exec; they are dropped where there is no exec.
type flags []string

// process is a program that runs on a host's network.
type process struct {
	t              *testing.T
	name           string
	cmd            *exec.Cmd
	stdout, stderr string // files
	done           chan struct{}
	err            error // of Wait
}

// command is a program on h's network.
func (h *host) command(f flags, name string, args ...string) *exec.Cmd {
	if h.kernel == "" {
		return exec.Command(name, args...)
	}
	all := append(slices.Clone(h.wrap), filepath.Join(bin, "rumpctl"), "exec", "--server", h.kernel)
	all = append(append(append(all, f...), "--", name), args...)
	return exec.Command(all[0], all[1:]...)
}

// start runs a program until it ends or the test does.
func start(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, done: make(chan struct{}), name: filepath.Base(cmd.Path)}
	for i, arg := range cmd.Args {
		if arg == "--" && p.name == "rumpctl" && i+1 < len(cmd.Args) {
			p.name = filepath.Base(cmd.Args[i+1])
		}
	}
	// Files, not pipes: a daemon that keeps a pipe would make Wait wait.
	dir := tempDir(t)
	p.stdout, p.stderr = filepath.Join(dir, "stdout"), filepath.Join(dir, "stderr")
	for _, out := range []struct {
		path string
		set  bool
		to   func(*os.File)
	}{
		{p.stdout, cmd.Stdout == nil, func(f *os.File) { cmd.Stdout = f }},
		{p.stderr, cmd.Stderr == nil, func(f *os.File) { cmd.Stderr = f }},
	} {
		f, err := os.OpenFile(out.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if out.set {
			out.to(f)
		}
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(p.stop)
	return p
}

// stop ends the program as init would, and its supervisor must end with it.
func (p *process) stop() {
	select {
	case <-p.done:
		return
	default:
	}
	if p.t.Failed() {
		p.t.Logf("%s:\n%s", p.name, p.output())
	}
	p.cmd.Process.Signal(syscall.SIGTERM)
	if p.name == "ssh" {
		// It looks whether one has come, and then waits (OpenSSH 9.2): one that comes between the two is not enough.
		select {
		case <-p.done:
		case <-time.After(5 * time.Second):
			p.cmd.Process.Signal(syscall.SIGTERM)
		}
	}
	select {
	case <-p.done:
	case <-time.After(10 * time.Second):
		p.t.Errorf("%s does not end by SIGTERM:\n%s", p.name, processes(p.cmd.Process.Pid))
		p.kill()
	}
}

// kill ends the program, its descendants and its supervisor.
func (p *process) kill() {
	killDescendants(p.cmd.Process.Pid)
	select {
	case <-p.done:
		return
	case <-time.After(2 * time.Second):
	}
	p.cmd.Process.Kill()
	<-p.done
}

func (p *process) output() string {
	out, _ := os.ReadFile(p.stdout)
	said, _ := os.ReadFile(p.stderr)
	const most = 20000
	text := string(out) + string(said)
	if len(text) > most {
		text = text[:most/2] + "\n[...]\n" + text[len(text)-most/2:]
	}
	return text
}

// says waits until the program has said what pattern matches.
func (p *process) says(pattern string) []string {
	p.t.Helper()
	re := regexp.MustCompile(pattern)
	for deadline := time.Now().Add(limit); ; time.Sleep(20 * time.Millisecond) {
		ended := false
		select {
		case <-p.done:
			ended = true
		default:
		}
		out, _ := os.ReadFile(p.stdout)
		said, _ := os.ReadFile(p.stderr)
		if m := re.FindStringSubmatch(string(out) + string(said)); m != nil {
			return m
		}
		if ended {
			p.t.Fatalf("%s has ended (%v) and did not say %q:\n%s", p.name, p.err, pattern, p.output())
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%s does not say %q:\n%s", p.name, pattern, p.output())
		}
	}
}

// result is how a program ended.
type result struct {
	Stdout, Stderr string
	Code           int // -1: by a signal
	Took           time.Duration
}

// finish waits for a program's end.
func (p *process) finish(within time.Duration) result {
	p.t.Helper()
	begin := time.Now()
	select {
	case <-p.done:
	case <-time.After(within):
		tree := processes(p.cmd.Process.Pid)
		p.kill()
		p.t.Fatalf("%s has not ended after %v: %s\n%s", p.name, within, tree, p.output())
	}
	var exit *exec.ExitError
	if p.err != nil && !errors.As(p.err, &exit) {
		p.t.Fatalf("%s: %v", p.name, p.err)
	}
	out, err := os.ReadFile(p.stdout)
	if err != nil {
		p.t.Fatal(err)
	}
	said, err := os.ReadFile(p.stderr)
	if err != nil {
		p.t.Fatal(err)
	}
	return result{string(out), string(said), p.cmd.ProcessState.ExitCode(), time.Since(begin)}
}

// run runs a program to its end.
func (h *host) run(t *testing.T, name string, args ...string) result {
	t.Helper()
	return start(t, h.command(nil, name, args...)).finish(limit)
}

// want runs a program that must succeed, and is what it printed.
func (h *host) want(t *testing.T, name string, args ...string) string {
	t.Helper()
	return succeeds(t, h.command(nil, name, args...), limit)
}

func succeeds(t *testing.T, cmd *exec.Cmd, within time.Duration) string {
	t.Helper()
	r := start(t, cmd).finish(within)
	if r.Code != 0 {
		t.Fatalf("%s: exit %d\n%s%s", strings.Join(cmd.Args, " "), r.Code, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

// serve runs a server until the test ends, and waits until h's network listens on port.
func (h *host) serve(t *testing.T, proto string, port int, cmd *exec.Cmd) *process {
	t.Helper()
	p := start(t, cmd)
	h.listens(t, p, proto, port)
	return p
}

// listens waits until a socket of h's is bound to port (and, for TCP, listens); under
// exec it is the kernel that is asked, and the host must have no such socket.
func (h *host) listens(t *testing.T, p *process, proto string, port int) {
	t.Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(50 * time.Millisecond) {
		select {
		case <-p.done:
			t.Fatalf("%s has ended: %v\n%s", p.name, p.err, p.output())
		default:
		}
		if h.bound(t, proto, port) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not listen on %s port %d\n%s", p.name, proto, port, p.output())
		}
	}
	if h.kernel != "" && (&host{}).bound(t, proto, port) {
		t.Errorf("%s listens on %s port %d of the host", p.name, proto, port)
	}
}

func (h *host) bound(t *testing.T, proto string, port int) bool {
	t.Helper()
	if h.kernel != "" {
		out, err := exec.Command(filepath.Join(bin, "rnetstat"), "--server", h.kernel, "-an").CombinedOutput()
		if err != nil {
			t.Fatalf("rnetstat: %v\n%s", err, out)
		}
		end := fmt.Sprintf(`\.%d +\S+`, port)
		if proto == "tcp" {
			end += " +LISTEN"
		}
		return regexp.MustCompile(`(?m)^` + proto + `6? +\d+ +\d+ +\S+` + end).Match(out)
	}
	state := map[string]string{"tcp": "0A", "udp": "07"}[proto]
	for _, table := range []string{proto, proto + "6"} {
		out, err := os.ReadFile("/proc/self/net/" + table)
		if err == nil && regexp.MustCompile(fmt.Sprintf(`: [0-9A-F]+:%04X [0-9A-F]+:[0-9A-F]+ %s `, port, state)).Match(out) {
			return true
		}
	}
	return false
}

// children maps processes to their children.
func children() map[int][]int {
	of := make(map[int][]int)
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		// The name, in parentheses, may hold anything.
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		if len(fields) > 1 {
			parent, _ := strconv.Atoi(fields[1])
			of[parent] = append(of[parent], pid)
		}
	}
	return of
}

// lastTime is how long supervisors may take to deliver what programs that have ended have sent.
const lastTime = 15 * time.Second

// awaitDescendants waits until this process has no descendants any more, or the time is over.
func awaitDescendants(pid int, within time.Duration) {
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		for {
			if got, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); err != nil || got <= 0 {
				break
			}
		}
		if len(children()[pid]) == 0 {
			return
		}
	}
}

// killDescendants kills what a process has started, and says what that was.
func killDescendants(pid int) []string {
	var found []string
	// Again, for one that forks meanwhile.
	for range 10 {
		of, n := children(), 0
		var walk func(int)
		walk = func(parent int) {
			for _, child := range of[parent] {
				walk(child)
				name := commandLine(child)
				if syscall.Kill(child, syscall.SIGKILL) == nil && name != "" {
					found = append(found, fmt.Sprintf("%d %s", child, name))
					n++
				}
				if parent == os.Getpid() {
					syscall.Wait4(child, nil, 0, nil)
				}
			}
		}
		walk(pid)
		if n == 0 {
			break
		}
	}
	return found
}

func commandLine(pid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return strings.TrimSpace(strings.ReplaceAll(string(text), "\x00", " "))
}

// processes shows a process and its descendants, with where they wait.
func processes(pid int) string {
	var b strings.Builder
	of := children()
	var walk func(int, string)
	walk = func(pid int, indent string) {
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		state := regexp.MustCompile(`State:\s*(.*)`).FindSubmatch(status)
		waits, _ := os.ReadFile(fmt.Sprintf("/proc/%d/wchan", pid))
		if state != nil {
			fmt.Fprintf(&b, "%s%d [%s, %s] %.200s\n", indent, pid, state[1], waits, commandLine(pid))
		}
		for _, child := range of[pid] {
			walk(child, indent+"  ")
		}
	}
	walk(pid, "  ")
	return b.String()
}

// atOnce fails if what should take a moment was ended by a time-out.
func atOnce(t *testing.T, what string, begin time.Time) {
	t.Helper()
	// A resolver gives up after 5 s, connect after 75.
	if took := time.Since(begin); took > 4*time.Second {
		t.Errorf("%s took %v", what, took)
	}
}

// size is how much a long transfer carries.
func size(t *testing.T) int {
	t.Helper()
	text := os.Getenv("APPS_BYTES")
	if text == "" {
		return 100_000_000
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
