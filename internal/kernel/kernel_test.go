package kernel_test

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"testing"
	"time"

	"rumptools/internal/kernel"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// machines are those that every test of layouts runs on: both byte orders and
// word sizes, and i386, which aligns differently.
var machines = []*netbsd.Machine{netbsd.AMD64, netbsd.I386, netbsd.POWERPC, netbsd.SPARC64}

// onMachines runs a test against a kernel of each machine.
func onMachines(t *testing.T, test func(t *testing.T, k *kernel.Kernel, url string)) {
	for _, m := range machines {
		t.Run(m.Name, func(t *testing.T) {
			k, url := serve(t, kernel.Config{Machine: m})
			test(t, k, url)
		})
	}
}

// serve runs a kernel until the test ends.
func serve(t *testing.T, cfg kernel.Config) (*kernel.Kernel, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	k := kernel.New(cfg)
	done := make(chan error, 1)
	go func() { done <- k.Serve(l) }()
	t.Cleanup(func() {
		k.Halt(true)
		if err := <-done; !errors.Is(err, kernel.ErrHalted) {
			t.Errorf("Serve: %v", err)
		}
		k.Wait()
	})
	return k, "unix://" + path
}

func dial(t *testing.T, url string) *spclient.Conn {
	t.Helper()
	c, err := spclient.Dial(t.Context(), url, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// call makes a system call with integer arguments.
func call(t *testing.T, c *spclient.Conn, num uint32, args ...int32) ([2]uint64, error) {
	t.Helper()
	k := c.NewCall(num)
	for _, a := range args {
		k.Int(a)
	}
	r, err := k.Do(t.Context())
	return r.Retval, err
}

func mustPipe(t *testing.T, c *spclient.Conn) (r, w int32) {
	t.Helper()
	fds, err := call(t, c, netbsd.SYS_pipe)
	if err != nil {
		t.Fatal(err)
	}
	return int32(fds[0]), int32(fds[1])
}

func write(t *testing.T, c *spclient.Conn, fd int32, p string) error {
	t.Helper()
	_, err := c.NewCall(netbsd.SYS_write).Int(fd).In([]byte(p)).Word(uint64(len(p))).Do(t.Context())
	return err
}

func read(t *testing.T, ctx context.Context, c *spclient.Conn, fd int32, n int) (string, error) {
	t.Helper()
	buf := make([]byte, n)
	r, err := c.NewCall(netbsd.SYS_read).Int(fd).Out(buf).Word(uint64(n)).Do(ctx)
	if err != nil {
		return "", err
	}
	return string(buf[:r.Retval[0]]), nil
}

func TestPipe(t *testing.T) {
	onMachines(t, func(t *testing.T, _ *kernel.Kernel, url string) {
		c := dial(t, url)
		if pid, err := call(t, c, netbsd.SYS_getpid); err != nil || pid != [2]uint64{2, 1} {
			t.Errorf("getpid: %v, %v; want 2 and its parent 1", pid, err)
		}
		r, w := mustPipe(t, c)
		if r != 3 || w != 4 {
			t.Errorf("pipe: %d, %d; want 3 and 4, after the console", r, w)
		}
		if err := write(t, c, w, "hello"); err != nil {
			t.Error(err)
		}
		if got, err := read(t, t.Context(), c, r, 64); got != "hello" || err != nil {
			t.Errorf("read %q, %v", got, err)
		}
		if _, err := call(t, c, netbsd.SYS_close, w); err != nil {
			t.Error(err)
		}
		if got, err := read(t, t.Context(), c, r, 64); got != "" || err != nil {
			t.Errorf("at the end: %q, %v", got, err)
		}
	})
}

func TestBlockedReadEnds(t *testing.T) {
	_, url := serve(t, kernel.Config{})
	c := dial(t, url)
	r, w := mustPipe(t, c)
	got := make(chan string, 1)
	go func() {
		s, err := read(t, context.Background(), c, r, 64)
		if err != nil {
			s = err.Error()
		}
		got <- s
	}()
	// Other calls go on meanwhile.
	for range 100 {
		if _, err := call(t, c, netbsd.SYS_getpid); err != nil {
			t.Fatal(err)
		}
	}
	if err := write(t, c, w, "x"); err != nil {
		t.Fatal(err)
	}
	if s := <-got; s != "x" {
		t.Errorf("read %q", s)
	}
}

func TestCloseEndsBlockedRead(t *testing.T) {
	_, url := serve(t, kernel.Config{})
	c := dial(t, url)
	r, _ := mustPipe(t, c)
	got := make(chan error, 1)
	go func() {
		_, err := read(t, context.Background(), c, r, 64)
		got <- err
	}()
	select {
	case err := <-got:
		t.Fatalf("an empty pipe gave %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	if _, err := call(t, c, netbsd.SYS_close, r); err != nil {
		t.Fatal(err)
	}
	if err := <-got; !errors.Is(err, netbsd.EBADF) {
		t.Errorf("read of a closed descriptor: %v", err)
	}
}

// A close does not wait for a select that goes on for another descriptor, nor for copies.
func TestCloseWaitsForUsersOnly(t *testing.T) {
	_, url := serve(t, kernel.Config{})
	c := dial(t, url)
	r, _ := mustPipe(t, c)
	r2, w2 := mustPipe(t, c)
	for _, op := range []func() ([2]uint64, error){
		func() ([2]uint64, error) { return call(t, c, netbsd.SYS_dup, r) },
		func() ([2]uint64, error) { return call(t, c, netbsd.SYS_fcntl, r, netbsd.F_DUPFD, 0) },
		func() ([2]uint64, error) { return call(t, c, netbsd.SYS_dup2, r, 20) },
	} {
		if _, err := op(); err != nil {
			t.Fatal(err)
		}
	}
	got := make(chan error, 1)
	go func() {
		set := make([]byte, 32)
		set[0] = 1<<r | 1<<r2
		_, err := c.NewCall(netbsd.SYS___select50).Int(10).InOut(set).Ptr(0).Ptr(0).Ptr(0).Do(context.Background())
		got <- err
	}()
	time.Sleep(20 * time.Millisecond) // it waits by now
	if _, err := call(t, c, netbsd.SYS_close, r); err != nil {
		t.Fatal(err)
	}
	if err := write(t, c, w2, "x"); err != nil {
		t.Fatal(err)
	}
	<-got
}

func TestHaltEndsCalls(t *testing.T) {
	k, url := serve(t, kernel.Config{})
	c := dial(t, url)
	r, _ := mustPipe(t, c)
	got := make(chan error, 1)
	go func() {
		_, err := read(t, context.Background(), c, r, 64)
		got <- err
	}()
	if _, err := call(t, c, netbsd.SYS_getpid); err != nil {
		t.Fatal(err)
	}
	k.Halt(true)
	if err := <-got; !errors.Is(err, spclient.ErrLost) && !errors.Is(err, netbsd.EINTR) {
		t.Errorf("read when the kernel halted: %v", err)
	}
}

func TestReboot(t *testing.T) {
	for _, tt := range []struct {
		name  string
		howto int32
		exits bool
	}{
		{"reboot", 0, true},
		{"halt", netbsd.RB_HALT, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k, url := serve(t, kernel.Config{})
			c := dial(t, url)
			if _, err := call(t, c, netbsd.SYS_reboot, tt.howto, 0); err != nil {
				t.Errorf("the answer did not come: %v", err)
			}
			<-k.Stopped()
			<-c.Done()
			select {
			case <-k.Exited():
				if !tt.exits {
					t.Error("RB_HALT ended the process")
				}
			case <-time.After(10 * time.Millisecond):
				if tt.exits {
					t.Error("the process goes on")
				}
			}
		})
	}
}
