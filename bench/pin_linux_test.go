package bench

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"

	"rumptools/pkg/sysproxy"
)

// cpu is a CPU that a server is bound to.
type cpu struct {
	one, all unix.CPUSet
	server   int // its process
}

// pinServer binds all threads of the server at a local URL to the last CPU that
// this process may use; others' work begins at the first.
func pinServer(url string) (*cpu, error) {
	u, err := sysproxy.ParseURL(url)
	if err != nil {
		return nil, err
	}
	c := new(cpu)
	if c.server, err = listener(u); err != nil {
		return nil, err
	}
	if err := unix.SchedGetaffinity(0, &c.all); err != nil {
		return nil, err
	}
	last := -1
	for i := range 1024 { // CPU_SETSIZE
		if c.all.IsSet(i) {
			last = i
		}
	}
	c.one.Set(last)
	return c, c.bind(&c.one)
}

// listener returns the process that listens at a URL.
func listener(u sysproxy.URL) (pid int, err error) {
	if u.Network != "unix" {
		return 0, fmt.Errorf("%s tells of no process", u.Network)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: u.Address}); err != nil {
		return 0, err
	}
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return 0, err
	}
	return int(cred.Pid), nil
}

// bind binds the server's threads. Those that start later are bound as whoever
// starts them.
func (c *cpu) bind(to *unix.CPUSet) error {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", c.server))
	if err != nil {
		return err
	}
	for _, task := range tasks {
		tid, err := strconv.Atoi(filepath.Base(task))
		if err != nil {
			return err
		}
		if err := unix.SchedSetaffinity(tid, to); err != nil && err != unix.ESRCH {
			return fmt.Errorf("thread %d: %w", tid, err)
		}
	}
	return nil
}

// release gives the server all CPUs again.
func (c *cpu) release() { c.bind(&c.all) }

// start starts a program on the CPU; nil is any.
func (c *cpu) start(cmd *exec.Cmd) error {
	if c == nil {
		return cmd.Start()
	}
	// A child is bound as the thread that makes it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.SchedSetaffinity(0, &c.one); err != nil {
		return err
	}
	defer unix.SchedSetaffinity(0, &c.all)
	return cmd.Start()
}
