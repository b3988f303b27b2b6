package spclient_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"rumptools/internal/kernel"
	"rumptools/internal/kernel/inet"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// restartable is a kernel that can be ended and started again at its URL.
type restartable struct {
	t    testing.TB
	path string
	m    *netbsd.Machine
	stop func()
}

func newRestartable(t testing.TB) *restartable {
	dir, err := os.MkdirTemp("", "rump-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	k := &restartable{t: t, path: filepath.Join(dir, "k"), m: netbsd.AMD64}
	k.start()
	t.Cleanup(k.end)
	return k
}

func (r *restartable) url() string { return "unix://" + r.path }

func (r *restartable) start() {
	r.t.Helper()
	l, err := net.Listen("unix", r.path)
	if err != nil {
		r.t.Fatal(err)
	}
	k := kernel.New(kernel.Config{Machine: r.m})
	stack, err := inet.New(inet.Config{Kernel: k})
	if err != nil {
		r.t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		k.Serve(l)
		close(served)
	}()
	r.stop = func() {
		k.Halt(true)
		<-served
		k.Wait()
		stack.Close()
	}
}

func (r *restartable) end() {
	if r.stop != nil {
		r.stop()
		r.stop = nil
	}
}

// endUnder ends the kernel and returns when a connection to it has noticed: until
// then a call is sent, and fails as one that may have happened.
func (r *restartable) endUnder(c *spclient.Conn) {
	r.t.Helper()
	in, _, err := c.Pipe(testContext(r.t))
	if err != nil {
		r.t.Fatal(err)
	}
	lost := make(chan error, 1)
	go func() { _, err := c.Read(context.Background(), in, make([]byte, 1)); lost <- err }()
	r.end()
	if err := <-lost; !errors.Is(err, spclient.ErrLost) {
		r.t.Errorf("a call in a kernel that has ended: %v", err)
	}
}

// retryDial connects with a policy and notes the messages.
func retryDial(t *testing.T, url string, retry spclient.Retry) (*spclient.Conn, *journal[string]) {
	t.Helper()
	said := new(journal[string])
	c, err := spclient.Dial(testContext(t), url, &spclient.Options{
		Retry: retry, Message: func(text string) { said.add(text) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, said
}

const (
	lostMessage = "rump_sp: connection to kernel lost, trying to reconnect ..."
	backMessage = "rump_sp: reconnected!"
)

// TestReconnect restarts the kernel under a client: what it had is gone and says
// so, what was under way may have happened, and all else goes on.
func TestReconnect(t *testing.T) {
	checkLeaks(t)
	for _, retry := range []spclient.Retry{spclient.RetryOnce, spclient.RetryInfinite, 60} {
		t.Run(retry.String(), func(t *testing.T) {
			k := newRestartable(t)
			c, said := retryDial(t, k.url(), retry)
			ctx := testContext(t)
			fd, err := c.Socket(ctx, netbsd.AF_INET, netbsd.SOCK_DGRAM, 0)
			if err != nil {
				t.Fatal(err)
			}
			r, _, err := c.Pipe(ctx)
			if err != nil {
				t.Fatal(err)
			}
			l, err := c.Listen(ctx, "tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			accepted := make(chan error, 1)
			go func() { _, err := l.Accept(); accepted <- err }()
			reading := make(chan error, 1)
			go func() { _, err := c.Read(context.Background(), r, make([]byte, 1)); reading <- err }()
			time.Sleep(20 * time.Millisecond)

			k.end()
			for _, ch := range []chan error{accepted, reading} {
				if err := <-ch; !errors.Is(err, spclient.ErrLost) {
					t.Errorf("a call that was under way: %v", err)
				}
			}
			select {
			case <-c.Done():
				t.Error("it has ended for good")
			default:
			}
			k.start()

			// Ten at a time: one of them reconnects.
			errs := make(chan error, 10)
			for range cap(errs) {
				go func() { _, err := c.Getpid(ctx); errs <- err }()
			}
			for range cap(errs) {
				if err := <-errs; err != nil {
					t.Error(err)
				}
			}
			if got := said.take(); !slices.Equal(got, []string{lostMessage, backMessage}) {
				t.Errorf("messages %q", got)
			}

			// The new process opens the same numbers.
			again, err := c.Socket(ctx, netbsd.AF_INET, netbsd.SOCK_STREAM, 0)
			if err != nil {
				t.Fatal(err)
			}
			if again.Int() != fd.Int() || again == fd {
				t.Errorf("the new descriptor is %v, the old was %v", again, fd)
			}
			for _, call := range []error{
				second(c.Getsockname(ctx, fd)), c.CloseFD(ctx, fd), second(c.Read(ctx, r, make([]byte, 1))),
			} {
				if !errors.Is(call, spclient.ErrStale) || !errors.Is(call, spclient.ErrLost) {
					t.Errorf("a call with an old descriptor: %v", call)
				}
			}
			l.Close()
			if _, err := c.Getsockname(ctx, again); err != nil {
				t.Errorf("the new descriptor: %v", err)
			}

			// Go's sockets are as good as new.
			l, err = c.Listen(ctx, "tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				nc, err := l.Accept()
				if err == nil {
					io.WriteString(nc, "hello")
					nc.Close()
				}
			}()
			nc, err := c.DialContext(ctx, "tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			if b, err := io.ReadAll(nc); string(b) != "hello" || err != nil {
				t.Errorf("%q, %v", b, err)
			}
		})
	}
}

func second[T any](_ T, err error) error { return err }

// TestReconnectFirstByGoSocket has a socket of Go's be what needs the connection.
func TestReconnectFirstByGoSocket(t *testing.T) {
	k := newRestartable(t)
	c, _ := retryDial(t, k.url(), spclient.RetryInfinite)
	k.endUnder(c)
	k.start()
	l, err := c.Listen(testContext(t), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}

// TestReconnectWaits has the kernel come back after a while.
func TestReconnectWaits(t *testing.T) {
	k := newRestartable(t)
	c, said := retryDial(t, k.url(), spclient.RetryInfinite)
	k.endUnder(c)
	ctx := testContext(t)
	// A caller's context is his own.
	short, cancel := context.WithTimeout(ctx, 30*time.Millisecond)
	defer cancel()
	if _, err := c.Getpid(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with a short context: %v", err)
	}
	done := make(chan error, 1)
	go func() { _, err := c.Getpid(ctx); done <- err }()
	time.Sleep(300 * time.Millisecond)
	k.start()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if got := said.take(); !slices.Equal(got, []string{lostMessage, backMessage}) {
		t.Errorf("messages %q", got)
	}
}

// TestReconnectFails has the kernel stay away.
func TestReconnectFails(t *testing.T) {
	for _, test := range []struct {
		retry spclient.Retry
		says  []string
		err   string
	}{
		{spclient.RetryNone, nil, "lost the rump kernel"},
		{spclient.RetryOnce, []string{lostMessage}, "no rump kernel"},
		{1, []string{lostMessage, "rump_sp: reconnect failed, 1 second timeout"}, "no connection within 1 seconds"},
	} {
		t.Run(test.retry.String(), func(t *testing.T) {
			checkLeaks(t)
			k := newRestartable(t)
			c, said := retryDial(t, k.url(), test.retry)
			k.endUnder(c)
			ctx := testContext(t)
			_, err := c.Getpid(ctx)
			if !errors.Is(err, spclient.ErrLost) || !strings.Contains(err.Error(), test.err) {
				t.Errorf("error %v", err)
			}
			if got := said.take(); !slices.Equal(got, test.says) {
				t.Errorf("messages %q", got)
			}
			k.start()
			_, err = c.Getpid(ctx)
			if test.retry == spclient.RetryNone {
				if !errors.Is(err, spclient.ErrLost) || c.Err() == nil {
					t.Errorf("after the restart: %v, %v", err, c.Err())
				}
				<-c.Done()
			} else if err != nil {
				t.Errorf("after the restart: %v", err)
			}
			c.Close()
		})
	}
}

// TestReconnectClose closes while callers wait for the kernel to come back.
func TestReconnectClose(t *testing.T) {
	checkLeaks(t)
	k := newRestartable(t)
	c, _ := retryDial(t, k.url(), spclient.RetryInfinite)
	k.endUnder(c)
	done := make(chan error, 1)
	go func() { _, err := c.Getpid(context.Background()); done <- err }()
	time.Sleep(50 * time.Millisecond)
	c.Close()
	if err := <-done; !errors.Is(err, spclient.ErrClosed) {
		t.Errorf("%v", err)
	}
	<-c.Done()
	if err := c.Err(); !errors.Is(err, spclient.ErrClosed) {
		t.Errorf("%v", err)
	}
}

// TestReconnectOtherMachine has another kernel than before come back.
func TestReconnectOtherMachine(t *testing.T) {
	checkLeaks(t)
	k := newRestartable(t)
	c, _ := retryDial(t, k.url(), spclient.RetryInfinite)
	k.endUnder(c)
	k.m = netbsd.POWERPC
	k.start()
	_, err := c.Getpid(testContext(t))
	if !errors.Is(err, spclient.ErrLost) || !strings.Contains(err.Error(), "powerpc") {
		t.Errorf("%v", err)
	}
	c.Close()
}

func init() {
	children["die"] = func(url string) error {
		c, err := spclient.Dial(context.Background(), url, &spclient.Options{Retry: spclient.RetryDie})
		if err != nil {
			return err
		}
		fmt.Println("ready")
		for {
			// The policy ends this.
			if _, err := c.Getpid(context.Background()); err != nil && !errors.Is(err, spclient.ErrLost) {
				return err
			}
		}
	}
}

// TestReconnectDie ends a program with its kernel.
func TestReconnectDie(t *testing.T) {
	k := newRestartable(t)
	cmd := child(t, "die", k.url())
	var out strings.Builder
	cmd.Stderr = &out
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		skipIfForeign(t, err)
		t.Fatal(err)
	}
	if _, err := stdout.Read(make([]byte, 10)); err != nil {
		t.Error(err)
	}
	k.end()
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.HasPrefix(out.String(), "lost the rump kernel at ") {
		t.Errorf("exit code %d, %q", code, out.String())
	}
}

func TestParseRetry(t *testing.T) {
	for s, want := range map[string]spclient.Retry{
		"": spclient.RetryNone, "0": spclient.RetryNone, "once": spclient.RetryOnce, "inftime": spclient.RetryInfinite,
		"die": spclient.RetryDie, "17": 17,
	} {
		if got, err := spclient.ParseRetry(s); got != want || err != nil {
			t.Errorf("%q: %v, %v", s, got, err)
		}
		t.Setenv(spclient.RetryEnv, s)
		if got, err := spclient.RetryFromEnv(); got != want || err != nil {
			t.Errorf("%s=%q: %v, %v", spclient.RetryEnv, s, got, err)
		}
		if back, err := spclient.ParseRetry(want.String()); back != want || err != nil {
			t.Errorf("%v as text: %v, %v", want, back, err)
		}
	}
	for _, s := range []string{"-1", "ONCE", "1.5", "99999999999", " 1", "forever"} {
		if got, err := spclient.ParseRetry(s); err == nil {
			t.Errorf("%q: %v", s, got)
		}
		t.Setenv(spclient.RetryEnv, s)
		if _, err := spclient.RetryFromEnv(); err == nil || !strings.Contains(err.Error(), spclient.RetryEnv) {
			t.Errorf("%q: %v", s, err)
		}
	}
}
