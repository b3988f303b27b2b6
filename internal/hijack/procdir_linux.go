//go:build amd64 || arm64

package hijack

import (
	"bytes"
	"context"
	"maps"
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
// files; as long as it does they are pipes, so that who reads one at once waits. Their other
// ends are open from the beginning: should this process die, who reads has the end, where who
// opens would wait for ever.
func newProcDir(s *supervisor) (*procDir, error) {
	d := &procDir{
		s: s, files: procnet.NewReader(s.view, s.ownerOf),
		path: filepath.Join(s.dir, "net"), wake: make(chan struct{}, 1),
		last: make(map[string]string), begun: make(chan struct{}), unseen: make(chan struct{}),
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
	pipes := make(map[string]int)
	for _, name := range append(procnet.Names(), ownFiles...) {
		path := filepath.Join(d.path, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return nil, err
		}
		if err := os.Chmod(filepath.Dir(path), 0o755); err != nil {
			return nil, err
		}
		// Whoever is not root must be its writer, too.
		if err := unix.Mkfifo(path, 0o644); err != nil {
			return nil, &os.PathError{Op: "mkfifo", Path: path, Err: err}
		}
		if err := os.Chmod(path, 0o644); err != nil {
			return nil, err
		}
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, &os.PathError{Op: "open", Path: path, Err: err}
		}
		pipes[name] = fd
	}
	go d.run(pipes)
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

func (d *procDir) run(pipes map[string]int) {
	// Its start has the processors for itself: all that is asked for here takes longer.
	select {
	case <-d.s.ctx.Done():
	case <-d.unseen:
	case <-d.begun:
	}
	if d.over() || !d.pause(procSettle) {
		for _, fd := range pipes {
			unix.Close(fd)
		}
		return
	}
	if d.refresh() != nil {
		d.empty()
	}
	d.mu.Lock()
	files := maps.Clone(d.last)
	d.mu.Unlock()
	d.endAndWatch(pipes, files)
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
			continue // it is still a pipe
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
	if err := d.replace(name, b); err != nil {
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

// replace puts a new file in the place of another, or of a pipe.
func (d *procDir) replace(name string, b []byte) error {
	tmp := filepath.Join(d.s.dir, "new-"+strings.ReplaceAll(name, "/", "-"))
	if err := os.WriteFile(tmp, b, 0o444); err != nil {
		return err
	}
	if err := os.Chmod(tmp, 0o444); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(d.path, name))
}

// empty has nothing in the files that are still pipes, for want of a kernel to say
// what: who opens one is not to wait for ever.
func (d *procDir) empty() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, name := range append(procnet.Names(), ownFiles...) {
		if _, ok := d.last[name]; !ok {
			d.replace(name, nil)
		}
	}
}

// endAndWatch ends the pipes, whose files have taken their places, and learns from now on of the opening of those.
func (d *procDir) endAndWatch(pipes map[string]int, files map[string]string) {
	// First, for this opens them, which is no use of them.
	serveLate := d.endPipes(pipes, files)
	go serveLate()
	if d.watch() != nil {
		d.used.Store(1 << 62) // as if it were read all the time
	}
}

// ending is a pipe whose file has taken its place.
type ending struct {
	path int // opened with O_PATH, or -1
	w    int // our end as long as nobody has come, else -1
	text string
	in   int // how much of the text is in the pipe
}

// endPipes gives those who have opened a pipe what is in the file that has taken its
// place, and the end. Who has found it just before may come later, and is for serveLate.
func (d *procDir) endPipes(pipes map[string]int, files map[string]string) (serveLate func()) {
	var all []*ending
	for name, fd := range pipes {
		e := &ending{path: -1, text: files[name]}
		if path, err := reopen(fd, unix.O_PATH); err == nil {
			e.path = path
		}
		w, err := reopen(fd, unix.O_WRONLY|unix.O_NONBLOCK)
		// It is in the pipe before this end is closed, whoever comes meanwhile.
		n, _ := unix.Write(fd, []byte(e.text))
		unix.Close(fd)
		if err == nil {
			e.w, e.in = w, max(n, 0)
			e.serve()
		} else {
			e.w = -1
		}
		all = append(all, e)
	}
	return func() {
		for _, pause := range []time.Duration{time.Millisecond, 10 * time.Millisecond, 100 * time.Millisecond, time.Second} {
			if !d.pause(pause) {
				break
			}
			for _, e := range all {
				e.serve()
			}
		}
		for _, e := range all {
			e.close()
		}
	}
}

// serve ends a pipe for those who have come.
func (e *ending) serve() {
	if e.w < 0 {
		if e.path < 0 {
			return
		}
		// Who waits for it to be opened has the end. It may also be one who had it all, and has not come to the end yet.
		if w, err := reopen(e.path, unix.O_WRONLY|unix.O_NONBLOCK); err == nil {
			unix.Close(w)
		}
		return
	}
	left, err := unix.IoctlGetInt(e.w, unix.TIOCINQ)
	switch {
	case polled(e.w, 0)&unix.POLLERR == 0:
		go writePipe(e.w, e.text[e.in:])
	case err == nil && left == e.in:
		// Nobody yet. It stays open with what is in it: were it closed, one who comes just then would have that, and would not
		// be known to have it.
		return
	default:
		unix.Close(e.w) // and has gone again
	}
	e.w = -1
}

// close gives the pipe up. Who comes just now has what is in it.
func (e *ending) close() {
	for _, fd := range []int{e.w, e.path} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// reopen opens once more what a descriptor is.
func reopen(fd, flags int) (int, error) {
	return unix.Open("/proc/self/fd/"+strconv.Itoa(fd), flags|unix.O_CLOEXEC, 0)
}

// writePipe gives a pipe's readers something, and the end. A reader that does not read, or goes, ends it.
func writePipe(w int, text string) {
	unix.SetNonblock(w, false)
	f := os.NewFile(uintptr(w), "pipe")
	defer f.Close()
	f.WriteString(text)
}
