package kernel

import (
	"sync"
	"sync/atomic"

	"rumptools/internal/kernel/lend"
	"rumptools/pkg/netbsd"
)

// maxFiles is the descriptors that a process can have (RLIMIT_NOFILE), and
// maxOpenFiles the open files of all processes (kern.maxfiles). Each may hold
// a buffer's worth of memory.
const (
	maxFiles     = 16384
	maxOpenFiles = 65536
)

// OpenFile is an entry of the system's file table (struct file): a file with
// the state that all descriptors for it share.
type OpenFile struct {
	File
	refs  atomic.Int32
	flags atomic.Int32 // O_ACCMODE, O_NONBLOCK, O_APPEND, O_ASYNC
	owner atomic.Int32 // F_SETOWN's process or, negative, process group
	// noSigpipe is SO_NOSIGPIPE; O_NOSIGPIPE has the same effect.
	noSigpipe atomic.Bool
	async     async
	// count is the kernel's number of open files, or nil.
	count *atomic.Int32
}

// newOpenFile makes an entry with one reference, the caller's.
func newOpenFile(f File, flags int32) *OpenFile {
	of := &OpenFile{File: f}
	of.refs.Store(1)
	of.flags.Store(flags)
	return of
}

// openFile makes an entry for a file that a call has made, with one reference.
// When there are too many it closes f and fails with ENFILE.
func (c *Call) openFile(f File, flags int32) (*OpenFile, error) {
	if c.k.nfiles.Add(1) > maxOpenFiles {
		c.k.nfiles.Add(-1)
		f.Close()
		return nil, netbsd.ENFILE
	}
	of := newOpenFile(f, flags)
	of.count = &c.k.nfiles
	return of, nil
}

// hasRoom tells whether the process can have one more file, or why not.
func (c *Call) hasRoom() error {
	if c.k.nfiles.Load() >= maxOpenFiles {
		return netbsd.ENFILE
	}
	t := &c.Proc.fds
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lowest(0) >= maxFiles {
		return netbsd.EMFILE
	}
	return nil
}

func (of *OpenFile) ref() { of.refs.Add(1) }

// unref drops a reference; the last one closes the file.
func (of *OpenFile) unref() error {
	if of.refs.Add(-1) > 0 {
		return nil
	}
	if of.count != nil {
		of.count.Add(-1)
	}
	of.setAsync(nil, false)
	return of.File.Close()
}

// Refs is the number of references to the file: descriptors, calls under way
// and messages that carry it.
func (of *OpenFile) Refs() int { return int(of.refs.Load()) }

// Release drops the reference of a receiver of descriptors who can't take it.
func (of *OpenFile) Release() { of.unref() }

func (of *OpenFile) nonblocking() bool { return of.flags.Load()&netbsd.O_NONBLOCK != 0 }

// setFlags sets the bits of mask to those of v.
func (of *OpenFile) setFlags(mask, v int32) {
	for {
		old := of.flags.Load()
		if of.flags.CompareAndSwap(old, old&^mask|v&mask) {
			return
		}
	}
}

func (of *OpenFile) readable() bool { return of.flags.Load()&netbsd.O_ACCMODE != netbsd.O_WRONLY }
func (of *OpenFile) writable() bool { return of.flags.Load()&netbsd.O_ACCMODE != netbsd.O_RDONLY }

// descriptor is a used slot of a process's table.
type descriptor struct {
	file    *OpenFile
	cloexec bool
	// closed is closed with the descriptor, so that calls that wait on it
	// end.
	closed chan struct{}
	// pollers are told of the end, too.
	pollers Watchers
	// users is how many calls have it.
	users atomic.Int32

	mu    sync.Mutex
	ended bool
	idle  chan struct{} // closed when the last user has gone, if somebody waits for that
	// notes are the kqueues' interests in the descriptor, which end with
	// it.
	notes map[*note]struct{}
	// lent is the newest loan, or nil.
	lent *lend.Loan
}

func newDescriptor(of *OpenFile, cloexec bool) *descriptor {
	return &descriptor{file: of, cloexec: cloexec, closed: make(chan struct{})}
}

// end is called when d is out of its table.
func (d *descriptor) end() error {
	d.mu.Lock()
	d.ended = true
	notes := d.notes
	d.notes = nil
	d.mu.Unlock()
	close(d.closed)
	d.pollers.Wake(Changed)
	for n := range notes {
		n.drop()
	}
	return d.file.unref()
}

// leave is the end of a call's use.
func (d *descriptor) leave() {
	if d.users.Add(-1) > 0 {
		return
	}
	select {
	case <-d.closed:
	default:
		return // nobody waits
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.idle != nil {
		close(d.idle)
		d.idle = nil
	}
}

// unused returns a channel that is closed when no call has d any more, which has ended; nil if
// none has by now.
func (d *descriptor) unused() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.users.Load() == 0 {
		return nil
	}
	if d.idle == nil {
		d.idle = make(chan struct{})
	}
	return d.idle
}

// attach ends n with the descriptor. It reports false when that has ended.
func (d *descriptor) attach(n *note) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ended {
		return false
	}
	if d.notes == nil {
		d.notes = make(map[*note]struct{})
	}
	d.notes[n] = struct{}{}
	return true
}

// detach is the reverse of attach.
func (d *descriptor) detach(n *note) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.notes, n)
}

// fdTable is a process's descriptors.
type fdTable struct {
	mu    sync.Mutex
	slots []*descriptor
	free  int // no slot below is free
}

// held is a descriptor that a call is using: its file stays open until
// release, even when the descriptor is closed.
type held struct {
	*OpenFile
	desc *descriptor
}

// closed reports whether the descriptor is.
func (h held) closed() bool {
	select {
	case <-h.desc.closed:
		return true
	default:
		return false
	}
}

func (h held) release() {
	h.OpenFile.unref()
	h.desc.leave()
}

// take is release, but that the file's reference is the caller's.
func (h held) take() *OpenFile {
	h.desc.leave()
	return h.OpenFile
}

// get holds the file of a descriptor.
func (t *fdTable) get(fd int32) (held, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := t.at(fd)
	if d == nil {
		return held{}, netbsd.EBADF
	}
	d.file.ref()
	d.users.Add(1)
	return held{d.file, d}, nil
}

func (t *fdTable) at(fd int32) *descriptor {
	if fd < 0 || int(fd) >= len(t.slots) {
		return nil
	}
	return t.slots[fd]
}

// add puts of into the lowest free slot from lowest on, and takes over the
// caller's reference. On failure it drops it.
func (t *fdTable) add(of *OpenFile, lowest int32, cloexec bool) (int32, error) {
	t.mu.Lock()
	fd := t.lowest(int(lowest))
	if fd >= maxFiles {
		t.mu.Unlock()
		of.unref()
		return -1, netbsd.EMFILE
	}
	t.put(int32(fd), newDescriptor(of, cloexec))
	if int(lowest) <= t.free {
		t.free = fd + 1
	}
	t.mu.Unlock()
	return int32(fd), nil
}

// lowest is the lowest free slot from one on, with mu held.
func (t *fdTable) lowest(from int) int {
	fd := max(from, t.free)
	for fd < len(t.slots) && t.slots[fd] != nil {
		fd++
	}
	if from <= t.free {
		t.free = fd
	}
	return fd
}

// minTable is how large a table is at least (NDFILE).
const minTable = 20

// size is how large the table is.
func (t *fdTable) size() int32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return int32(max(minTable, len(t.slots)))
}

// put fills a slot; t.mu is held.
func (t *fdTable) put(fd int32, d *descriptor) {
	for int(fd) >= len(t.slots) {
		t.slots = append(t.slots, nil)
	}
	t.slots[fd] = d
}

// install puts of at fd, closing what was there, and takes over the caller's
// reference.
func (t *fdTable) install(fd int32, of *OpenFile, cloexec bool) {
	t.mu.Lock()
	old := t.at(fd)
	t.put(fd, newDescriptor(of, cloexec))
	t.mu.Unlock()
	if old != nil {
		old.end()
	}
}

// close closes a descriptor, and does not wait for calls that have it.
func (t *fdTable) close(fd int32) error {
	_, err := t.remove(fd)
	return err
}

// remove is close, and gives the descriptor that was closed.
func (t *fdTable) remove(fd int32) (*descriptor, error) {
	t.mu.Lock()
	d := t.at(fd)
	if d == nil {
		t.mu.Unlock()
		return nil, netbsd.EBADF
	}
	t.slots[fd] = nil
	t.free = min(t.free, int(fd))
	t.mu.Unlock()
	return d, d.end()
}

// closeIf closes every descriptor for which pick is true.
func (t *fdTable) closeIf(pick func(*descriptor) bool) {
	t.mu.Lock()
	var gone []*descriptor
	for fd, d := range t.slots {
		if d != nil && pick(d) {
			gone = append(gone, d)
			t.slots[fd] = nil
			t.free = min(t.free, fd)
		}
	}
	t.mu.Unlock()
	endAll(gone)
}

// endAll ends descriptors together: the loans of all before the first socket is closed. Else one
// program of a client that is gone would see the end of a connection to another one of it in
// order, and no reset.
func endAll(gone []*descriptor) {
	for _, d := range gone {
		d.mu.Lock()
		lent := d.lent
		d.mu.Unlock()
		if lent != nil {
			lent.Revoke()
		}
	}
	for _, d := range gone {
		d.end()
	}
}

// closeFrom closes every descriptor from fd on.
func (t *fdTable) closeFrom(fd int32) {
	t.mu.Lock()
	var gone []*descriptor
	for i := int(fd); i < len(t.slots); i++ {
		if d := t.slots[i]; d != nil {
			gone = append(gone, d)
			t.slots[i] = nil
		}
	}
	t.free = min(t.free, int(fd))
	t.mu.Unlock()
	endAll(gone)
}

func (t *fdTable) closeAll() { t.closeIf(func(*descriptor) bool { return true }) }

func (t *fdTable) closeOnExec() { t.closeIf(func(d *descriptor) bool { return d.cloexec }) }

// copyTo fills an empty table with the same files. A kqueue is not inherited
// (kqueue(2)).
func (t *fdTable) copyTo(child *fdTable) {
	t.mu.Lock()
	defer t.mu.Unlock()
	child.slots = make([]*descriptor, len(t.slots))
	for fd, d := range t.slots {
		if d == nil || d.file.Type() == dtypeKqueue {
			continue
		}
		d.file.ref()
		child.slots[fd] = newDescriptor(d.file, d.cloexec)
	}
}

// cloexec tells and sets the close-on-exec flag.
func (t *fdTable) cloexec(fd int32, set func(old bool) bool) (bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := t.at(fd)
	if d == nil {
		return false, netbsd.EBADF
	}
	d.cloexec = set(d.cloexec)
	return d.cloexec, nil
}

// The kinds of files (struct file, f_type).
const (
	dtypeVnode  = 1
	dtypeSocket = 2
	dtypePipe   = 3
	dtypeKqueue = 4
	dtypeMisc   = 5
)

// TypeSocket is the File.Type of every socket (DTYPE_SOCKET).
const TypeSocket = dtypeSocket
