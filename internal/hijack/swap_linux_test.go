//go:build amd64 || arm64

package hijack

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
	"rumptools/internal/hijack/seccomp"
)

// swapsEnv has this test's program be the one whose sockets are replaced.
const swapsEnv = "RUMPTOOLS_TEST_SWAPS"

// Numbers that its socket has beside its own.
const (
	swapKept   = 100
	swapReused = 101
)

func init() {
	if os.Getenv(swapsEnv) == "" {
		return
	}
	fail := func(err error) {
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	fail(err)
	fail(unix.Dup2(s, swapKept))
	fail(unix.Dup2(s, swapReused))
	// Another thread does with a number what it is told.
	go func() {
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			var num int
			_, err := fmt.Sscan(in.Text(), &num)
			fail(err)
			null, err := unix.Open("/dev/null", unix.O_RDWR, 0)
			fail(err)
			fail(unix.Dup2(null, num))
			fmt.Println("done")
		}
	}()
	for range 2 {
		_, _, e := unix.Syscall(unix.SYS_GETSOCKNAME, uintptr(s), 0, 0)
		fmt.Println("answered", int(e))
	}
	os.Exit(0)
}

// A number of a socket that another thread gives to something else, while the socket gets another in its place, is that one's.
func TestSwapReused(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), swapsEnv+"=1")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, told, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdout.Close()
	cmd.Stdout = told
	sup := &supervisor{ctx: t.Context(), say: t.Logf, t: newTargets(), sockets: make(map[uint64]*socket), sockDir: t.TempDir()}
	defer sup.t.close()
	if sup.ends, err = newEnds(sup); err != nil {
		t.Fatal(err)
	}
	defer sup.ends.close()
	sup.l, err = seccomp.Start(cmd, seccomp.Options{}, nil)
	told.Close()
	var se *seccomp.StageError
	if errors.As(err, &se) && se.Op != "exec" {
		t.Skipf("not here: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer sup.l.Close()
	defer cmd.Wait()
	defer cmd.Process.Kill()
	out := bufio.NewScanner(stdout)
	says := func(want string) {
		t.Helper()
		if !out.Scan() || out.Text() != want {
			t.Fatalf("it says %q, want %q", out.Text(), want)
		}
	}
	reuse := func(num int) {
		t.Helper()
		fmt.Fprintln(stdin, num)
		says("done")
	}
	unixSocket := func() int {
		t.Helper()
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		return fd
	}
	receive := func(nr int32) *trap {
		t.Helper()
		c := &trap{s: sup, host: -1}
		for {
			if err := sup.l.Receive(&c.Call); err != nil {
				t.Fatal(err)
			}
			if c.Nr == nr {
				return c
			}
			c.native()
		}
	}
	has := func(num int) string {
		t.Helper()
		link, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", cmd.Process.Pid, num))
		if err != nil {
			t.Fatal(err)
		}
		return link
	}

	call := receive(unix.SYS_SOCKET)
	s := unixSocket()
	x, e := sup.newSocket(s, &linuxsock.Socket{Domain: unix.AF_INET, Type: unix.SOCK_STREAM, Protocol: unix.IPPROTO_TCP}, newLocal)
	if e != 0 {
		t.Fatal(e)
	}
	call.giveFD(s, x, false)
	unix.Close(s)

	call = receive(unix.SYS_GETSOCKNAME)
	num := call.arg(0)
	if !call.find(num) {
		t.Fatal("it has not the socket")
	}
	before := has(num)
	list := spots(call.TID, x.inode)
	if len(list) != 3 {
		t.Fatalf("it has the socket at %v", list)
	}
	reuse(swapReused)
	if err := x.swapAt(call, unixSocket(), list); err != nil {
		t.Fatal(err)
	}
	if now := has(num); now == before || has(swapKept) != now || !strings.HasPrefix(now, "socket:") {
		t.Errorf("%s and %s in the place of %s", now, has(swapKept), before)
	}
	if now := has(swapReused); now != os.DevNull {
		t.Errorf("%s in the place of what another thread has opened", now)
	}
	call.done(0, 0)
	says("answered 0")

	// The number of the call itself is no better.
	call = receive(unix.SYS_GETSOCKNAME)
	if !call.find(num) {
		t.Fatal("it has not the socket")
	}
	list = spots(call.TID, x.inode)
	reuse(num)
	if err := x.swapAt(call, unixSocket(), list); !errors.Is(err, unix.EBADF) {
		t.Errorf("swap: %v, want %v", err, unix.EBADF)
	}
	if now := has(num); now != os.DevNull {
		t.Errorf("%s in the place of what another thread has opened", now)
	}
	call.fail(unix.EBADF)
	says(fmt.Sprint("answered ", int(unix.EBADF)))
}
