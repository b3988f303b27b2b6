package spclient_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

func init() {
	children["before exec"] = beforeExec
	children["after exec"] = afterExec
}

// execState is what the program after the exec is told of the one before: the
// process's number and three descriptors.
const execState = "SPCLIENT_TEST_EXEC"

// beforeExec opens descriptors, has many callers make calls, and executes
// afterExec in the midst of them.
func beforeExec(url string) error {
	ctx, cancel := contextFor(testTimeout / 5)
	defer cancel()
	c, err := spclient.Dial(ctx, url, &spclient.Options{Name: "before", Dial: smallBuffer})
	if err != nil {
		return err
	}
	pid, err := c.Getpid(ctx)
	if err != nil {
		return err
	}
	kept, err := c.Socket(ctx, netbsd.AF_INET, netbsd.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	shut, err := c.Socket(ctx, netbsd.AF_INET, netbsd.SOCK_DGRAM|netbsd.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	r, w, err := c.Pipe(ctx)
	if err != nil {
		return err
	}
	if _, err := c.Write(ctx, w, []byte("through")); err != nil {
		return err
	}
	// A socket of Go's has the kqueue wait while the exec begins.
	l, err := c.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go l.Accept()
	var calls atomic.Int64
	for g := range 64 {
		go func() {
			p := make([]byte, 17*g)
			for {
				c.Setsockopt(context.Background(), kept, netbsd.SOL_SOCKET, 12345, p)
				calls.Add(1)
			}
		}()
	}
	for calls.Load() < 2000 && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	state := fmt.Sprint(pid, kept.Int(), shut.Int(), r.Int())
	path, argv := self()
	return c.Exec(ctx, path, argv, childEnviron("after exec", url, execState+"="+state))
}

// afterExec is the same process of the kernel's, with another name and without the
// descriptors that were close-on-exec.
func afterExec(url string) error {
	ctx, cancel := contextFor(testTimeout / 5)
	defer cancel()
	if !spclient.Inherited() {
		return errors.New("nothing inherited")
	}
	c, err := spclient.DialInherited(ctx, nil)
	if err != nil {
		return err
	}
	for _, name := range []string{spclient.ExecEnv, spclient.BannerEnv} {
		if v, ok := os.LookupEnv(name); ok {
			return fmt.Errorf("%s is %q", name, v)
		}
	}
	if c.URL() != url {
		return fmt.Errorf("URL %s, want %s", c.URL(), url)
	}
	fd, err := connectionFD()
	if err != nil {
		return err
	}
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		return fmt.Errorf("the connection is not close-on-exec: %#x, %v", flags, err)
	}
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if name, _ := os.Readlink("/proc/self/fd/" + e.Name()); strings.Contains(name, "signalfd") {
			return fmt.Errorf("descriptor %s is %s", e.Name(), name)
		}
	}
	var nums []int32
	for _, f := range strings.Fields(os.Getenv(execState)) {
		n, err := strconv.Atoi(f)
		if err != nil {
			return err
		}
		nums = append(nums, int32(n))
	}
	pid, kept, shut, pipe := nums[0], c.FD(nums[1]), c.FD(nums[2]), c.FD(nums[3])
	if got, err := c.Getpid(ctx); err != nil || got != pid {
		return fmt.Errorf("process %d, %v, want %d", got, err, pid)
	}
	if _, err := c.GetsockoptInt(ctx, kept, netbsd.SOL_SOCKET, netbsd.SO_TYPE); err != nil {
		return err
	}
	if _, err := c.Getsockname(ctx, shut); !errors.Is(err, netbsd.EBADF) {
		return fmt.Errorf("a descriptor that was close-on-exec: %v", err)
	}
	var b [10]byte
	if n, err := c.Read(ctx, pipe, b[:]); err != nil || string(b[:n]) != "through" {
		return fmt.Errorf("read %q, %v", b[:n], err)
	}
	l, err := c.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	l.Close()
	if _, err := spclient.DialInherited(ctx, nil); err != spclient.ErrNotInherited {
		return fmt.Errorf("inherited twice: %v", err)
	}
	return c.Close()
}

// TestExec executes a program in the midst of calls of many goroutines.
func TestExec(t *testing.T) {
	eachKernel(t, func(t *testing.T, url string) {
		for range 2 {
			runChild(t, child(t, "before exec", url))
		}
	})
}

// TestExecFails executes what does not exist: the connection goes on.
func TestExecFails(t *testing.T) {
	c := dialKernel(t, kernelURL(t, netbsd.AMD64))
	ctx := testContext(t)
	l, err := c.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan error, 1)
	go func() {
		nc, err := l.Accept()
		if err == nil {
			nc.Close()
		}
		accepted <- err
	}()
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := c.Getpid(ctx); err != nil {
					t.Error(err)
					return
				}
			}
		}()
	}
	for range 20 {
		err := c.Exec(ctx, "/no/such/program", nil, os.Environ())
		if !errors.Is(err, unix.ENOENT) || !strings.Contains(err.Error(), "exec /no/such/program") {
			t.Errorf("%v", err)
		}
	}
	close(stop)
	wg.Wait()
	nc, err := c.DialContext(ctx, "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
	if err := <-accepted; err != nil {
		t.Error(err)
	}
	l.Close()
}

// TestExecAbandoned has an abandoned call keep the exec from happening: what the
// kernel writes for it would reach the new program.
func TestExecAbandoned(t *testing.T) {
	c := dialKernel(t, kernelURL(t, netbsd.AMD64))
	ctx := testContext(t)
	r, w, err := c.Pipe(ctx)
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := contextFor(20 * time.Millisecond)
	defer cancel()
	if _, err := c.Read(short, r, make([]byte, 10)); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	short2, cancel := contextFor(100 * time.Millisecond)
	defer cancel()
	if err := c.Exec(short2, "/no/such/program", nil, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with an abandoned call: %v", err)
	}
	if _, err := c.Write(ctx, w, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := c.Exec(ctx, "/no/such/program", nil, nil); !errors.Is(err, unix.ENOENT) {
		t.Errorf("without: %v", err)
	}
}
