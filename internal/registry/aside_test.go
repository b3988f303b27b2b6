package registry

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const testLimit = time.Minute

// testKernel listens at a name of a run-time directory of its own and greets.
func testKernel(t *testing.T, name string) (l *net.UnixListener, url, path string) {
	t.Helper()
	run, err := os.MkdirTemp("", "rump-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(run) })
	t.Setenv("XDG_RUNTIME_DIR", run)
	dir, err := Dir()
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(dir, name)
	return listenKernel(t, path), "unix://" + path, path
}

func listenKernel(t *testing.T, path string) *net.UnixListener {
	t.Helper()
	nl, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l := nl.(*net.UnixListener)
	t.Cleanup(func() { l.Close() })
	go greet(l, "RUMPSP-0.4-NetBSD-7.99.34/amd64\n")
	return l
}

// greet greets and ends every client of l.
func greet(l net.Listener, banner string) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		c.Write([]byte(banner))
		c.Close()
	}
}

// says is what who listens at the path greets with.
func says(t *testing.T, path string) string {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(testLimit))
	b := make([]byte, 200)
	n, _ := c.Read(b)
	return string(b[:n])
}

func dirNames(t *testing.T, path string) string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

func TestInterpose(t *testing.T) {
	_, url, path := testKernel(t, "k")
	if err := os.Chmod(path, 0o620); err != nil {
		t.Fatal(err)
	}
	kernel, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	i, err := Interpose(url)
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	go greet(i, "RUMPSP-0.4-NetBSD-7.99.34/i386\n")
	st, err := os.Lstat(path)
	if err != nil || st.Mode() != kernel.Mode() {
		t.Errorf("mode %v, the kernel's %v; %v", st.Mode(), kernel.Mode(), err)
	}
	if got := says(t, path); !strings.Contains(got, "i386") {
		t.Errorf("who connects gets to %q", got)
	}
	if got := says(t, strings.TrimPrefix(i.Kernel(), "unix://")); !strings.Contains(got, "amd64") {
		t.Errorf("the kernel says %q", got)
	}
	// The kernel is looked at, not who stands before it.
	k, err := Probe(t.Context(), "k", url)
	if err != nil || k.State != Running || k.Banner.Machine != "amd64" || !k.Traced {
		t.Errorf("probe: %+v, %v", k, err)
	}
	if names, err := Names(); strings.Join(names, " ") != "k" || err != nil {
		t.Errorf("names: %q, %v", names, err)
	}
	if _, err := Interpose(url); !errors.Is(err, ErrTraced) {
		t.Errorf("a second one: %v", err)
	}
	if err := i.Undo(); err != nil {
		t.Fatal(err)
	}
	if err := i.Undo(); err != nil {
		t.Errorf("undone twice: %v", err)
	}
	if st, err := os.Lstat(path); err != nil || !os.SameFile(st, kernel) {
		t.Errorf("the kernel's socket is not back: %v", err)
	}
	if got := dirNames(t, path); got != "k" {
		t.Errorf("left behind: %s", got)
	}
}

// TestThereIsAlwaysAWay: clients that connect while places are taken and given
// back never find nobody.
func TestThereIsAlwaysAWay(t *testing.T) {
	_, url, path := testKernel(t, "k")
	stop := make(chan struct{})
	failed := make(chan error, 1)
	go func() {
		defer close(failed)
		for {
			c, err := net.Dial("unix", path)
			if err != nil && !errors.Is(err, syscall.EAGAIN) {
				failed <- err
				return
			}
			if err == nil {
				c.Close()
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	for range 100 {
		i, err := Interpose(url)
		if err != nil {
			t.Fatal(err)
		}
		go greet(i, "x\n")
		if err := i.Undo(); err != nil {
			t.Fatal(err)
		}
		// As its user does: who has found it is still served.
		i.SetDeadline(time.Now().Add(20 * time.Millisecond))
		time.Sleep(20 * time.Millisecond)
		i.Close()
	}
	close(stop)
	if err := <-failed; err != nil {
		t.Errorf("a client: %v", err)
	}
}

// TestRepair: what a tracer leaves behind that dies at any moment.
func TestRepair(t *testing.T) {
	for _, tt := range []struct {
		name string
		// die makes what is left; k is the kernel.
		die   func(t *testing.T, path string, k *net.UnixListener)
		state State
		left  string // in the directory, after
	}{
		{"before it has the place", func(t *testing.T, path string, _ *net.UnixListener) {
			if err := os.Link(path, asidePath(path)); err != nil {
				t.Fatal(err)
			}
		}, Running, "k"},
		{"in its place", func(t *testing.T, path string, _ *net.UnixListener) { dieInPlace(t, path) }, Running, "k"},
		{"and the kernel after it", func(t *testing.T, path string, k *net.UnixListener) {
			dieInPlace(t, path)
			k.SetUnlinkOnClose(false)
			k.Close()
		}, Dead, "k"},
		{"and the kernel takes its name along", func(t *testing.T, path string, k *net.UnixListener) {
			dieInPlace(t, path)
			k.Close()
		}, Dead, ""},
		{"and its socket is removed", func(t *testing.T, path string, _ *net.UnixListener) {
			dieInPlace(t, path)
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}, Running, "k"},
		{"and another kernel takes the name", func(t *testing.T, path string, k *net.UnixListener) {
			dieInPlace(t, path)
			k.Close()
			listenKernel(t, path)
		}, Running, "k"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k, url, path := testKernel(t, "k")
			tt.die(t, path, k)
			names, err := Names()
			if err != nil || strings.Join(names, " ") != "k" {
				t.Errorf("names: %q, %v", names, err)
			}
			// Looking is enough.
			got, err := Probe(t.Context(), "k", url)
			if err != nil || got.State != tt.state || got.Traced {
				t.Errorf("probe: %+v, %v; want %s", got, err, tt.state)
			}
			if left := dirNames(t, path); left != tt.left {
				t.Errorf("left: %q, want %q", left, tt.left)
			}
			if tt.state == Running && !strings.Contains(says(t, path), "amd64") {
				t.Errorf("the kernel can't be reached: %s", says(t, path))
			}
		})
	}
}

// dieInPlace is a tracer that dies in the kernel's place.
func dieInPlace(t *testing.T, path string) {
	t.Helper()
	i, err := Interpose("unix://" + path)
	if err != nil {
		t.Fatal(err)
	}
	i.Close()
}

// TestDialRepairs: who connects to a kernel whose tracer has died gets there.
func TestDialRepairs(t *testing.T) {
	_, url, path := testKernel(t, "k")
	dieInPlace(t, path)
	// The kernel of this test greets and closes: what matters is that it was
	// reached.
	_, err := Dial(t.Context(), "k", "test")
	if err == nil || strings.Contains(err.Error(), "no rump kernel") {
		t.Errorf("dial %s: %v", url, err)
	}
	if got := dirNames(t, path); got != "k" {
		t.Errorf("left: %s", got)
	}
}

// TestUndoLeavesOthersAlone: a kernel that has taken the name meanwhile keeps it.
func TestUndoLeavesOthersAlone(t *testing.T) {
	k, url, path := testKernel(t, "k")
	i, err := Interpose(url)
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	k.Close() // and its name with it
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("the kernel has left its name: %v", err)
	}
	listenKernel(t, path)
	if err := i.Undo(); err != nil {
		t.Errorf("undo: %v", err)
	}
	if got := says(t, path); !strings.Contains(got, "amd64") {
		t.Errorf("the new kernel says %q", got)
	}
	if got := dirNames(t, path); got != "k" {
		t.Errorf("left: %s", got)
	}
}

func TestInterposeMistakes(t *testing.T) {
	k, url, path := testKernel(t, "k")
	long := "unix:///" + strings.Repeat("x", 100)
	for _, tt := range []struct{ url, want string }{
		{"tcp://127.0.0.1:1/", "not a local socket"},
		{url + "x", "no rump kernel at " + url + "x"},
		{long, "too long a path"},
		{"unix:///dev/null", "not a socket"},
		{"udp://x", "not a rump kernel's URL"},
	} {
		if _, err := Interpose(tt.url); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.url, err, tt.want)
		}
	}
	k.SetUnlinkOnClose(false)
	k.Close()
	if _, err := Interpose(url); err == nil || !strings.Contains(err.Error(), "no rump kernel") {
		t.Errorf("a dead kernel: %v", err)
	}
	if got := dirNames(t, path); got != "k" {
		t.Errorf("left: %s", got)
	}
}
