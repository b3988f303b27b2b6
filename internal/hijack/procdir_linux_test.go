//go:build amd64 || arm64

package hijack

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pipesOf makes a directory whose kernel has not said anything yet.
func pipesOf(t *testing.T) (d *procDir, end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	d, err := newProcDir(&supervisor{dir: t.TempDir(), ctx: ctx})
	if err != nil {
		t.Fatal(err)
	}
	return d, cancel
}

// openNow opens a file, which must not wait.
func openNow(t *testing.T, path string) *os.File {
	t.Helper()
	type opened struct {
		f   *os.File
		err error
	}
	done := make(chan opened, 1)
	go func() {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		done <- opened{os.NewFile(uintptr(fd), path), err}
	}()
	select {
	case o := <-done:
		if o.err != nil {
			t.Fatal(o.err)
		}
		t.Cleanup(func() { o.f.Close() })
		return o.f
	case <-time.After(10 * time.Second):
		t.Fatal("open waits")
		return nil
	}
}

func readAll(t *testing.T, f *os.File) string {
	t.Helper()
	done := make(chan string, 1)
	go func() {
		b, _ := io.ReadAll(f)
		done <- string(b)
	}()
	select {
	case s := <-done:
		return s
	case <-time.After(10 * time.Second):
		t.Fatal("read waits")
		return ""
	}
}

// Who reads a file before the kernel has said what is in it does not wait for ever when it will never say that.
func TestProcDirEnds(t *testing.T) {
	for what, end := range map[string]func(*procDir, func()){
		"the supervisor ends": func(_ *procDir, cancel func()) { cancel() },
		"nobody is to see it": func(d *procDir, _ func()) { close(d.unseen) },
	} {
		t.Run(what, func(t *testing.T) {
			d, cancel := pipesOf(t)
			f := openNow(t, filepath.Join(d.path, "tcp"))
			end(d, cancel)
			if s := readAll(t, f); s != "" {
				t.Errorf("it has %q", s)
			}
		})
	}
}

// Who has opened a pipe gets all that is in the file that takes its place, once, however long that is and it takes to
// read it.
func TestProcDirPipes(t *testing.T) {
	d, cancel := pipesOf(t)
	defer cancel()
	long := strings.Repeat("0123456789abcdef", 20000)
	files := map[string]string{"tcp": "short\n", "udp": "", "unix": long}
	pipes, readers := make(map[string]int), make(map[string]*os.File)
	for name := range files {
		path := filepath.Join(d.path, name)
		readers[name] = openNow(t, path)
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		pipes[name] = fd
	}
	// Those that newProcDir has opened.
	close(d.unseen)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		d.endPipes(pipes, files)()
	}()
	for name, f := range readers {
		if name == "tcp" { // it takes its time
			continue
		}
		if s := readAll(t, f); s != files[name] {
			t.Errorf("%s: %d bytes, want %d", name, len(s), len(files[name]))
		}
		f.Close()
	}
	<-ended
	if s := readAll(t, readers["tcp"]); s != files["tcp"] {
		t.Errorf("tcp: %q", s)
	}
}

// What a program does not open is not in use: looking at it takes the supervisor most of its time then.
func TestProcDirUnused(t *testing.T) {
	d, cancel := pipesOf(t)
	defer cancel()
	pipes, files := make(map[string]int), map[string]string{"tcp": "tcp\n", "udp": "udp\n"}
	for name, text := range files {
		fd, err := unix.Open(filepath.Join(d.path, name), unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		pipes[name] = fd
		if err := d.replace(name, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	close(d.unseen) // those that newProcDir has opened are of no use here
	d.endAndWatch(pipes, files)
	time.Sleep(200 * time.Millisecond)
	if d.inUse() {
		t.Error("it is in use, and nobody has opened anything")
	}
	openNow(t, filepath.Join(d.path, "tcp"))
	for end := time.Now().Add(10 * time.Second); !d.inUse(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nobody has noticed that a program opened a file")
		}
	}
}

// Who comes while a pipe is just being ended gets the text once, too, and all of it.
func TestProcDirLate(t *testing.T) {
	d := &procDir{s: &supervisor{ctx: t.Context()}}
	texts := []string{"short\n", strings.Repeat("0123456789abcdef", 20000)}
	var all sync.WaitGroup
	for i := range 200 {
		text := texts[i%2]
		path := filepath.Join(t.TempDir(), "pipe")
		if err := unix.Mkfifo(path, 0o600); err != nil {
			t.Fatal(err)
		}
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, time.Unix(1, 0), time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
		ready := make(chan struct{})
		all.Go(func() {
			// It has come when something was written.
			var st unix.Stat_t
			for first := true; unix.Stat(path, &st) == nil && st.Mtim.Sec == 1; first = false {
				if first {
					close(ready)
				}
			}
			fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				t.Error(err)
				return
			}
			f := os.NewFile(uintptr(fd), path)
			defer f.Close()
			time.Sleep(30 * time.Millisecond) // it takes its time
			if b, err := io.ReadAll(f); err != nil || string(b) != text {
				t.Errorf("%d bytes, %v, want %d", len(b), err, len(text))
			}
		})
		<-ready
		all.Go(d.endPipes(map[string]int{"": fd}, map[string]string{"": text}))
	}
	all.Wait()
}
