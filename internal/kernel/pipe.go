package kernel

import (
	"sync"

	"rumptools/pkg/netbsd"
)

// pipeSize is how many bytes a pipe holds (PIPE_SIZE); pipeAtomic is how many
// are written whole or not at all (PIPE_BUF).
const (
	pipeSize   = 16384
	pipeAtomic = 512
)

// pipe is what both ends share.
type pipe struct {
	mu      sync.Mutex
	data    []byte
	readers Watchers
	writers Watchers
	rclosed bool
	wclosed bool
}

// pipeReader and pipeWriter are the ends of a pipe.
type (
	pipeReader struct{ p *pipe }
	pipeWriter struct{ p *pipe }
)

func newPipe() (*pipeReader, *pipeWriter) {
	p := new(pipe)
	return &pipeReader{p}, &pipeWriter{p}
}

func (r *pipeReader) Read(b []byte) (int, error) {
	p := r.p
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.data) == 0 && len(b) > 0 {
		if p.wclosed {
			return 0, nil
		}
		return 0, netbsd.EAGAIN
	}
	n := copy(b, p.data)
	p.data = append(p.data[:0], p.data[n:]...)
	p.writers.Wake(Writable)
	return n, nil
}

func (r *pipeReader) Write([]byte) (int, error) { return 0, netbsd.EBADF }
func (w *pipeWriter) Read([]byte) (int, error)  { return 0, netbsd.EBADF }

func (w *pipeWriter) Write(b []byte) (int, error) {
	p := w.p
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rclosed {
		return 0, netbsd.EPIPE
	}
	if len(b) == 0 {
		return 0, nil
	}
	room := pipeSize - len(p.data)
	if room == 0 || room < len(b) && len(b) <= pipeAtomic {
		return 0, netbsd.EAGAIN
	}
	n := min(room, len(b))
	p.data = append(p.data, b[:n]...)
	p.readers.Wake(Readable)
	return n, nil
}

// ioctl is the commands of both ends: how much there is to read, how much was
// written that nobody has read, and how much can be.
func ioctlPipe(c *Call, cmd uint32, data []byte, unread, unsent, room int64) error {
	m := c.Machine()
	n := room
	switch cmd {
	case netbsd.FIONREAD.Cmd(m):
		n = unread
	case netbsd.FIONWRITE.Cmd(m):
		n = unsent
	case netbsd.FIONSPACE.Cmd(m):
	default:
		return netbsd.ENOTTY
	}
	m.Order.PutUint32(data, uint32(n))
	return nil
}

func (r *pipeReader) Ioctl(c *Call, cmd uint32, data []byte) error {
	n, _ := r.Pending()
	return ioctlPipe(c, cmd, data, n, 0, 0)
}

func (w *pipeWriter) Ioctl(c *Call, cmd uint32, data []byte) error {
	_, room := w.Pending()
	return ioctlPipe(c, cmd, data, 0, pipeSize-room, room)
}

func (p *pipe) stat() (netbsd.Stat, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return netbsd.Stat{Mode: netbsd.S_IFIFO | 0o600, Nlink: 1, Size: int64(len(p.data)), Blksize: pageSize}, nil
}

func (r *pipeReader) Stat() (netbsd.Stat, error) { return r.p.stat() }
func (w *pipeWriter) Stat() (netbsd.Stat, error) { return w.p.stat() }

func (r *pipeReader) Poll() (ev Events) {
	r.p.mu.Lock()
	defer r.p.mu.Unlock()
	if len(r.p.data) > 0 || r.p.wclosed {
		ev |= netbsd.POLLIN | netbsd.POLLRDNORM
	}
	if r.p.wclosed {
		ev |= netbsd.POLLHUP
	}
	return ev
}

func (w *pipeWriter) Poll() (ev Events) {
	w.p.mu.Lock()
	defer w.p.mu.Unlock()
	if w.p.rclosed {
		return netbsd.POLLHUP
	}
	if pipeSize-len(w.p.data) >= pipeAtomic {
		ev |= netbsd.POLLOUT | netbsd.POLLWRNORM
	}
	return ev
}

func (r *pipeReader) Pending() (read, write int64) {
	r.p.mu.Lock()
	defer r.p.mu.Unlock()
	return int64(len(r.p.data)), 0
}

func (w *pipeWriter) Pending() (read, write int64) {
	w.p.mu.Lock()
	defer w.p.mu.Unlock()
	return 0, int64(pipeSize - len(w.p.data))
}

func (r *pipeReader) Watch(w *Watcher)    { r.p.readers.Watch(w) }
func (r *pipeReader) Unwatch(w *Watcher)  { r.p.readers.Unwatch(w) }
func (w *pipeWriter) Watch(wt *Watcher)   { w.p.writers.Watch(wt) }
func (w *pipeWriter) Unwatch(wt *Watcher) { w.p.writers.Unwatch(wt) }
func (r *pipeReader) Type() int32         { return dtypePipe }
func (w *pipeWriter) Type() int32         { return dtypePipe }

func (r *pipeReader) Close() error {
	r.p.mu.Lock()
	defer r.p.mu.Unlock()
	r.p.rclosed = true
	r.p.data = nil
	r.p.writers.Wake(Changed)
	return nil
}

func (w *pipeWriter) Close() error {
	w.p.mu.Lock()
	defer w.p.mu.Unlock()
	w.p.wclosed = true
	w.p.readers.Wake(Changed)
	return nil
}

func sysPipe(c *Call) (uint64, error) {
	r, w := newPipe()
	t := &c.Proc.fds
	rf, wf, err := c.openPair(r, w, netbsd.O_RDONLY, netbsd.O_WRONLY)
	if err != nil {
		return 0, err
	}
	rfd, err := t.add(rf, 0, false)
	if err != nil {
		wf.unref()
		return 0, err
	}
	wfd, err := t.add(wf, 0, false)
	if err != nil {
		t.close(rfd)
		return 0, err
	}
	c.ret1 = uint64(wfd)
	return uint64(rfd), nil
}

// openPair is openFile for two files: both are opened or both closed.
func (c *Call) openPair(a, b File, aflags, bflags int32) (ofa, ofb *OpenFile, err error) {
	ofa, err = c.openFile(a, aflags)
	if err != nil {
		b.Close()
		return nil, nil, err
	}
	ofb, err = c.openFile(b, bflags)
	if err != nil {
		ofa.unref()
		return nil, nil, err
	}
	return ofa, ofb, nil
}

func sysPipe2(c *Call) (uint64, error) {
	addr, flags := c.args.Ptr(), c.args.Int()
	if flags&^(netbsd.O_CLOEXEC|netbsd.O_NONBLOCK|netbsd.O_NOSIGPIPE) != 0 {
		return 0, netbsd.EINVAL
	}
	r, w := newPipe()
	rf, wf, err := c.openPair(r, w, netbsd.O_RDONLY|flags, netbsd.O_WRONLY|flags)
	if err != nil {
		return 0, err
	}
	return 0, c.addPair(rf, wf, flags&netbsd.O_CLOEXEC != 0, addr)
}
