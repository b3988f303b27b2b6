package spclient_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
	"rumptools/pkg/sysproxy"
)

func init() { children["fork"] = forkedChild }

// forkState names the descriptors that a forked child is told of.
const forkState = "SPCLIENT_TEST_FORK"

// forkedChild reads what the parent wrote to a pipe before it closed its ends, and
// answers through another.
func forkedChild(string) error {
	ctx, cancel := contextFor(testTimeout)
	defer cancel()
	c, err := spclient.DialInherited(ctx, nil)
	if err != nil {
		return err
	}
	defer c.Close()
	var in, out int32
	if _, err := fmt.Sscan(os.Getenv(forkState), &in, &out); err != nil {
		return err
	}
	var b [20]byte
	n, err := c.Read(ctx, c.FD(in), b[:])
	if err != nil {
		return err
	}
	_, err = c.Write(ctx, c.FD(out), bytes.ToUpper(b[:n]))
	return err
}

// TestStartChild starts a process that has the parent's descriptors as of then.
func TestStartChild(t *testing.T) {
	eachKernel(t, func(t *testing.T, url string) {
		c := dialKernel(t, url)
		ctx := testContext(t)
		downR, downW, err := c.Pipe(ctx)
		if err != nil {
			t.Fatal(err)
		}
		upR, upW, err := c.Pipe(ctx)
		if err != nil {
			t.Fatal(err)
		}
		cmd := child(t, "fork", url, forkState+"="+fmt.Sprint(downR.Int(), upW.Int()))
		var said bytes.Buffer
		cmd.Stderr = &said
		if err := c.StartChild(ctx, cmd); err != nil {
			skipIfForeign(t, err)
			t.Fatal(err)
		}
		if _, err := c.Write(ctx, downW, []byte("after the fork")); err != nil {
			t.Error(err)
		}
		// The child's copies stay.
		for _, fd := range []spclient.FD{downR, downW, upW} {
			if err := c.CloseFD(ctx, fd); err != nil {
				t.Error(err)
			}
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %s", err, said.String())
		}
		var b [20]byte
		if n, err := c.Read(ctx, upR, b[:]); err != nil || string(b[:n]) != "AFTER THE FORK" {
			t.Errorf("read %q, %v", b[:n], err)
		}
		// The child's end was the last one.
		if n, err := c.Read(ctx, upR, b[:]); err != nil || n != 0 {
			t.Errorf("read %q, %v, want the end", b[:n], err)
		}
	})
}

// TestStartChildFails starts what does not exist: the fork is cancelled, so that no
// descriptor lives on.
func TestStartChildFails(t *testing.T) {
	c := dialKernel(t, kernelURL(t, netbsd.AMD64))
	ctx := testContext(t)
	r, w, err := c.Pipe(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.StartChild(ctx, exec.Command("/no/such/program")); err == nil || !strings.Contains(err.Error(), "/no/such/program") {
		t.Errorf("%v", err)
	}
	if err := c.CloseFD(ctx, w); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(ctx, r, make([]byte, 1)); n != 0 || err != nil {
		t.Errorf("read %d, %v, want the end: a copy of the writing end is open", n, err)
	}
}

// TestForkCookies uses cookies as may and as may not be done.
func TestForkCookies(t *testing.T) {
	eachKernel(t, func(t *testing.T, url string) {
		c := dialKernel(t, url)
		ctx := testContext(t)
		refused := func(what string, k spclient.ForkCookie) {
			t.Helper()
			child, err := spclient.DialFork(ctx, url, k, nil)
			var dial *spclient.DialError
			if !errors.Is(err, sysproxy.ErrInvalidPrefork) || !errors.As(err, &dial) {
				t.Errorf("%s cookie: %v", what, err)
			}
			if err == nil {
				child.Close()
			}
		}
		prefork := func() spclient.ForkCookie {
			t.Helper()
			k, err := c.Prefork(ctx)
			if err != nil {
				t.Fatal(err)
			}
			back, err := spclient.ParseForkCookie(k.String())
			if err != nil || back != k {
				t.Fatalf("%v is %v as text, %v", k, back, err)
			}
			return k
		}

		k := prefork()
		forged := k
		forged[15] ^= 1
		refused("a forged", forged)
		child, err := spclient.DialFork(ctx, url, k, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer child.Close()
		pid, err := c.Getpid(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if cpid, err := child.Getpid(ctx); err != nil || cpid == pid {
			t.Errorf("the child is process %d, %v, the parent too", cpid, err)
		}
		refused("a used", k)

		k = prefork()
		if err := c.CancelFork(ctx, k); err != nil {
			t.Errorf("cancel: %v", err)
		}
		refused("a cancelled", k)
		if err := c.CancelFork(ctx, k); !errors.Is(err, sysproxy.ErrInvalidPrefork) {
			t.Errorf("cancel again: %v", err)
		}

		// A parent that ends at once does not take its child along.
		k = prefork()
		c.Close()
		late, err := spclient.DialFork(ctx, url, k, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer late.Close()
		if _, err := late.Getpid(ctx); err != nil {
			t.Error(err)
		}
		// A child outlives its parent.
		if _, err := child.Getpid(ctx); err != nil {
			t.Error(err)
		}
	})
}

// TestForkEnvironment gives a child what is no cookie.
func TestForkEnvironment(t *testing.T) {
	for _, v := range []string{"x", "00 unix:///tmp/x", strings.Repeat("z", 32) + " unix:///tmp/x", strings.Repeat("0", 32)} {
		t.Setenv(spclient.ForkEnv, v)
		_, err := spclient.DialInherited(testContext(t), nil)
		var dial *spclient.DialError
		if !errors.As(err, &dial) {
			t.Errorf("%q: %v", v, err)
		}
	}
	for _, v := range []string{"x", "1", "1,", "-1,-1", "999,998"} {
		t.Setenv(spclient.ExecEnv, v)
		t.Setenv(spclient.ServerEnv, "unix:///tmp/x")
		_, err := spclient.DialInherited(testContext(t), nil)
		var dial *spclient.DialError
		if !errors.As(err, &dial) {
			t.Errorf("%q: %v", v, err)
		}
	}
}
