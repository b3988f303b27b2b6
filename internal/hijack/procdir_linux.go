//go:build amd64 || arm64

package hijack

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/procnet"
)

// Programs find at /proc/net a directory of ours. Its files are plain ones, replaced
// when there is something new: soon after programs do something with sockets, but not too
// often as long as nobody reads them, and at least every second if somebody does. So what a program finds may be as old
// as that, but what it has opened is whole.
type procDir struct {
	s     *supervisor
	files *procnet.Reader
	path  string
	link  string // a symbolic link to it, as /proc/net is one

	// mu is held while files are replaced, from when it is asked what is new.
	mu sync.Mutex
	// last is what the files have. To read them would look like a program's opening.
	last map[string]string
	// awaited are those of which nobody knows yet what they have; who opens one waits.
	awaited map[string]*os.File

	dirty atomic.Bool   // something may be new
	wake  chan struct{} // has a value when it is to be looked at soon
	rest  time.Time     // until when it is not, if nobody reads
	used  atomic.Int64  // when a file was last opened, in Unix nanoseconds

	begun  chan struct{} // closed when the program begins
	unseen chan struct{} // closed when nobody is to see any of it
}

const (
	// procSettle is how long a change waits: mostly several come at a time. The first is
	// the program's begin: many have ended by then.
	procSettle = 10 * time.Millisecond
	procOften  = time.Second
	procSeldom = 10 * time.Second
	// procInUse is how long after an opening more are expected.
	procInUse = time.Minute
	// If nobody reads, looking takes a procShare'th of the time, but for what was left of that in the last procBurst. So who
	// begins to read finds what is new: lsof(8) a server that has just begun to listen.
	procShare = 50
	procBurst = 5 * time.Second
)

// hostFiles are those of the host's /proc/net that stay: they are not about the
// Internet.
var hostFiles = []string{"protocols"}

// ownFiles are those that are not about the kernel: local sockets.
var ownFiles = []string{"unix"}

// newProcDir makes the directory. It takes the kernel a while to say all that is in its
// files; as long as it does there are leases on them (F_SETLEASE), so that who opens one at once
// waits, but not longer than this process lives. Where the host gives none the kernel is waited for.
func newProcDir(s *supervisor) (*procDir, error) {
	d := &procDir{
		s: s, files: procnet.NewReader(s.view, s.ownerOf),
		path: filepath.Join(s.dir, "net"), wake: make(chan struct{}, 1),
		last: make(map[string]string), awaited: make(map[string]*os.File), begun: make(chan struct{}), unseen: make(chan struct{}),
	}
	// Programs of any user read it, whatever the umask.
	if err := os.Mkdir(d.path, 0o755); err != nil {
		return nil, err
	}
	if err := os.Chmod(d.path, 0o755); err != nil {
		return nil, err
	}
	d.link = d.path + "-link"
	// Of a container that has all of this mounted it leads to the container's.
	there, err := filepath.Rel("/proc", d.path)
	if err != nil {
		return nil, err
	}
	if err := os.Symlink(there, d.link); err != nil {
		return nil, err
	}
	for _, name := range hostFiles {
		if err := os.Symlink("/proc/self/net/"+name, filepath.Join(d.path, name)); err != nil {
			return nil, err
		}
	}
	leased := true
	for _, name := range append(procnet.Names(), ownFiles...) {
		path := filepath.Join(d.path, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return nil, err
		}
		if err := os.Chmod(filepath.Dir(path), 0o755); err != nil {
			return nil, err
		}
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, fileMode)
		if err != nil {
			return nil, err
		}
		d.awaited[name] = f
		if err := f.Chmod(fileMode); err != nil {
			return nil, err
		}
		leased = lease(f) && leased
	}
	if !leased {
		d.refresh()
	}
	go d.run()
	return d, nil
}

// watch learns of the opening of files.
func (d *procDir) watch() error {
	in, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return os.NewSyscallError("inotify_init1", err)
	}
	opened := os.NewFile(uintptr(in), "inotify")
	if _, err := unix.InotifyAddWatch(in, d.path, unix.IN_OPEN); err != nil {
		opened.Close()
		return os.NewSyscallError("inotify_add_watch", err)
	}
	context.AfterFunc(d.s.ctx, func() { opened.Close() })
	go func() {
		b := make([]byte, 4096)
		for {
			if _, err := opened.Read(b); err != nil {
				return
			}
			d.used.Store(time.Now().UnixNano())
			d.look()
		}
	}()
	return nil
}

// changed says that programs have done something that /proc/net shows.
func (s *supervisor) changed() {
	if s.proc != nil {
		s.proc.dirty.Store(true)
		s.proc.look()
	}
}

func (d *procDir) inUse() bool { return time.Since(time.Unix(0, d.used.Load())) < procInUse }

func (d *procDir) look() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// over tells whether nobody is to see it, any more or at all.
func (d *procDir) over() bool {
	select {
	case <-d.s.ctx.Done():
		return true
	case <-d.unseen:
		return true
	default:
		return false
	}
}

// pause waits, unless the supervisor ends.
func (d *procDir) pause(t time.Duration) (goOn bool) {
	select {
	case <-d.s.ctx.Done():
		return false
	case <-time.After(t):
		return true
	}
}

func (d *procDir) run() {
	// Its start has the processors for itself: all that is asked for here takes longer.
	select {
	case <-d.s.ctx.Done():
	case <-d.unseen:
	case <-d.begun:
	}
	if !d.over() && d.pause(procSettle) {
		d.refresh()
	}
	d.empty()
	if d.over() {
		return
	}
	if d.watch() != nil {
		d.used.Store(1 << 62) // as if it were read all the time
	}
	for {
		period := procSeldom
		if d.inUse() {
			period = procOften
		}
		select {
		case <-d.s.ctx.Done():
			return
		case <-d.wake:
			if !d.inUse() && !d.rested() {
				return
			}
			d.pause(procSettle)
		case <-time.After(period):
			if !d.dirty.Load() && period == procSeldom {
				// Of local sockets nobody tells.
				d.mu.Lock()
				if b, err := d.s.localSockets(); err == nil {
					d.update("unix", b)
				}
				d.mu.Unlock()
				continue
			}
		}
		d.dirty.Store(false)
		// A kernel that is lost has nothing new to say.
		d.refresh()
	}
}

// rested waits until it is time to look again, or somebody reads. It tells whether the supervisor goes on.
func (d *procDir) rested() (goOn bool) {
	timer := time.NewTimer(time.Until(d.rest))
	defer timer.Stop()
	for !d.inUse() {
		select {
		case <-d.s.ctx.Done():
			return false
		case <-timer.C:
			return true
		case <-d.wake:
		}
	}
	return true
}

// refresh replaces the files whose contents are others now.
func (d *procDir) refresh() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	begin := time.Now()
	defer func() {
		if longest := begin.Add(-procBurst); d.rest.Before(longest) {
			d.rest = longest
		}
		d.rest = d.rest.Add(procShare * time.Since(begin))
	}()
	all, err := d.files.All(d.s.ctx)
	if err != nil {
		return err
	}
	if all["unix"], err = d.s.localSockets(); err != nil {
		return err
	}
	for name, b := range all {
		if err := d.update(name, b); err != nil {
			return err
		}
	}
	return nil
}

// groupsChanged says that a program has joined or left a group: it is seldom done, and may be looked for at once.
func (s *supervisor) groupsChanged() {
	d := s.proc
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, name := range []string{"igmp", "igmp6", "dev_mcast"} {
		if _, ok := d.last[name]; !ok {
			continue // nor does anybody know yet
		}
		if b, err := d.files.Read(s.ctx, name); err == nil {
			d.update(name, b)
		}
	}
}

// update replaces a file if it is another now. d.mu is held.
func (d *procDir) update(name string, b []byte) error {
	if old, ok := d.last[name]; ok && old == string(b) {
		return nil
	}
	var err error
	if f := d.awaited[name]; f != nil {
		delete(d.awaited, name)
		_, err = f.Write(b)
		unlease(f)
	} else {
		err = d.replace(name, b)
	}
	if err != nil {
		return err
	}
	d.last[name] = string(b)
	return nil
}

// localSockets is /proc/net/unix without those that the programs hold for sockets of the kernel's: lsof(8) looks there first.
func (s *supervisor) localSockets() ([]byte, error) {
	b, err := os.ReadFile("/proc/self/net/unix")
	if err != nil {
		return nil, err
	}
	held := make(map[string]bool)
	hold := func(inode uint32) { held[strconv.FormatUint(uint64(inode), 10)] = true }
	for _, o := range s.known() {
		hold(o.Inode)
	}
	for _, x := range s.all() {
		x.mu.Lock()
		hold(x.inode)
		x.mu.Unlock()
	}
	kept := b[:0]
	for line := range bytes.Lines(b) {
		if fields := bytes.Fields(line); len(fields) < 7 || !held[string(fields[6])] {
			kept = append(kept, line...)
		}
	}
	return kept, nil
}

// fileMode has programs of any user read a file.
const fileMode = 0o444

// replace puts a new file in the place of another.
func (d *procDir) replace(name string, b []byte) error {
	tmp := filepath.Join(d.s.dir, "new-"+strings.ReplaceAll(name, "/", "-"))
	if err := os.WriteFile(tmp, b, fileMode); err != nil {
		return err
	}
	if err := os.Chmod(tmp, fileMode); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(d.path, name))
}

// empty has nothing in the files that are still waited for, for want of a kernel to say
// what: who opens one is not to wait for ever.
func (d *procDir) empty() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, f := range d.awaited {
		delete(d.awaited, name)
		unlease(f)
	}
}

// lease has whoever opens a file wait until unlease, and tells whether the host does that. It would tell of it by a signal.
func lease(f *os.File) bool {
	_, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_WRLCK)
	if err == nil {
		unix.FcntlInt(f.Fd(), unix.F_SETOWN, 0)
	}
	return err == nil
}

// unlease lets those go on who have opened a file, and closes it.
func unlease(f *os.File) {
	// A process that is just being started may have a copy.
	unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_UNLCK)
	f.Close()
}
