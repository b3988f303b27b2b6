//go:build amd64 || arm64

package hijack

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// newAwaited makes a directory whose kernel has not said anything yet.
func newAwaited(t *testing.T) (d *procDir, end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	d, err := newProcDir(&supervisor{dir: t.TempDir(), ctx: ctx})
	if err != nil {
		t.Fatal(err)
	}
	return d, cancel
}

// hasLease tells whether nobody waits for a file.
func hasLease(f *os.File) bool {
	typ, err := unix.FcntlInt(f.Fd(), unix.F_GETLEASE, 0)
	return err == nil && typ == unix.F_WRLCK
}

// read reads a file of the directory's. If that waits it does so already.
func read(t *testing.T, d *procDir, name string, waits bool) (text <-chan string) {
	t.Helper()
	done := make(chan string, 1)
	go func() {
		b, err := os.ReadFile(filepath.Join(d.path, name))
		if err != nil {
			b = []byte(err.Error())
		}
		done <- string(b)
	}()
	d.mu.Lock()
	f := d.awaited[name]
	d.mu.Unlock()
	for end := time.Now().Add(10 * time.Second); waits && hasLease(f); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nobody waits for " + name)
		}
	}
	return done
}

func wantText(t *testing.T, name string, text <-chan string, want string) {
	t.Helper()
	select {
	case got := <-text:
		if got != want {
			t.Errorf("%s: %d bytes, want %d", name, len(got), len(want))
		}
	case <-time.After(10 * time.Second):
		t.Fatal("who reads " + name + " waits")
	}
}

// Who reads a file before the kernel has said what is in it does not wait for ever when it will never say that.
func TestProcDirEnds(t *testing.T) {
	for what, end := range map[string]func(*procDir, func()){
		"the supervisor ends": func(_ *procDir, cancel func()) { cancel() },
		"nobody is to see it": func(d *procDir, _ func()) { close(d.unseen) },
	} {
		t.Run(what, func(t *testing.T) {
			d, cancel := newAwaited(t)
			text := read(t, d, "tcp", true)
			end(d, cancel)
			wantText(t, "tcp", text, "")
		})
	}
}

// All who have opened a file before the kernel has said what is in it have all of that.
func TestProcDirAwaited(t *testing.T) {
	d, _ := newAwaited(t)
	for name, want := range map[string]string{"tcp": "short\n", "udp": "", "unix": strings.Repeat("0123456789abcdef", 20000)} {
		readers := []<-chan string{read(t, d, name, true), read(t, d, name, true), read(t, d, name, true)}
		d.mu.Lock()
		if err := d.update(name, []byte(want)); err != nil {
			t.Error(err)
		}
		d.mu.Unlock()
		for _, text := range append(readers, read(t, d, name, false)) {
			wantText(t, name, text, want)
		}
	}
}

// What a program does not open is not in use: looking at it takes the supervisor most of its time then.
func TestProcDirUnused(t *testing.T) {
	d, _ := newAwaited(t)
	if err := d.watch(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the file itself, and another in its place
		d.mu.Lock()
		if err := d.update("tcp", time.Now().AppendFormat(nil, time.StampNano)); err != nil {
			t.Error(err)
		}
		d.mu.Unlock()
	}
	time.Sleep(200 * time.Millisecond)
	if d.inUse() {
		t.Error("it is in use, and nobody has opened anything")
	}
	<-read(t, d, "tcp", false)
	for end := time.Now().Add(10 * time.Second); !d.inUse(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nobody has noticed that a program opened a file")
		}
	}
}
