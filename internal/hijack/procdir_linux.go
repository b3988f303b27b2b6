//go:build amd64 || arm64

package hijack

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/procnet"
)

// Programs find at /proc/net a directory of ours. Its files are plain ones, replaced
// when there is something new: soon after programs do something with sockets, and at
// least every second as long as somebody reads them. So what a program finds may be as old
// as that, but what it has opened is whole.
type procDir struct {
	s    *supervisor
	path string
	link string // a symbolic link to it, as /proc/net is one

	dirty chan struct{} // has a value when something may be new
	used  atomic.Int64  // when a file was last opened, in Unix nanoseconds
}

const (
	procSettle = 10 * time.Millisecond // changes mostly come several at a time
	procOften  = time.Second
	procSeldom = 10 * time.Second
	// procInUse is how long after an opening more are expected.
	procInUse = time.Minute
)

// hostFiles are those of the host's /proc/net that stay: they are not about the
// Internet.
var hostFiles = []string{"unix", "protocols"}

// newProcDir makes the directory and fills it.
func newProcDir(s *supervisor) (*procDir, error) {
	d := &procDir{s: s, path: filepath.Join(s.dir, "net"), dirty: make(chan struct{}, 1)}
	// The mode of the files lets programs of other users read them.
	if err := os.Mkdir(d.path, 0o755); err != nil {
		return nil, err
	}
	// Whatever the umask.
	if err := os.Chmod(d.path, 0o755); err != nil {
		return nil, err
	}
	d.link = d.path + "-link"
	if err := os.Symlink(d.path, d.link); err != nil {
		return nil, err
	}
	for _, name := range hostFiles {
		if err := os.Symlink("/proc/self/net/"+name, filepath.Join(d.path, name)); err != nil {
			return nil, err
		}
	}
	if err := d.refresh(); err != nil {
		return nil, err
	}
	in, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("inotify_init1", err)
	}
	opened := os.NewFile(uintptr(in), "inotify")
	if _, err := unix.InotifyAddWatch(in, d.path, unix.IN_OPEN); err != nil {
		opened.Close()
		return nil, os.NewSyscallError("inotify_add_watch", err)
	}
	context.AfterFunc(s.ctx, func() { opened.Close() })
	go func() {
		b := make([]byte, 4096)
		for {
			if _, err := opened.Read(b); err != nil {
				return
			}
			d.used.Store(time.Now().UnixNano())
			d.changed()
		}
	}()
	go d.run()
	return d, nil
}

// changed says that programs have done something that /proc/net shows.
func (s *supervisor) changed() {
	if s.proc != nil {
		s.proc.changed()
	}
}

// changed says that something may be new.
func (d *procDir) changed() {
	select {
	case d.dirty <- struct{}{}:
	default:
	}
}

func (d *procDir) run() {
	for {
		period := procSeldom
		if time.Since(time.Unix(0, d.used.Load())) < procInUse {
			period = procOften
		}
		select {
		case <-d.s.ctx.Done():
			return
		case <-d.dirty:
			if period == procSeldom {
				// Nobody reads.
				time.Sleep(procOften)
			}
			time.Sleep(procSettle)
		case <-time.After(period):
		}
		// A kernel that is lost has nothing new to say.
		d.refresh()
	}
}

// refresh replaces the files whose contents are others now.
func (d *procDir) refresh() error {
	for _, name := range procnet.Names() {
		b, err := procnet.Read(d.s.ctx, d.s.conn, d.s.ownerOf, name)
		if err != nil {
			return err
		}
		path := filepath.Join(d.path, name)
		if old, err := os.ReadFile(path); err == nil && string(old) == string(b) {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		tmp := filepath.Join(d.s.dir, "new-"+strings.ReplaceAll(name, "/", "-"))
		if err := os.WriteFile(tmp, b, 0o444); err != nil {
			return err
		}
		if err := os.Chmod(tmp, 0o444); err != nil {
			return err
		}
		if err := os.Rename(tmp, path); err != nil {
			return err
		}
	}
	return nil
}
