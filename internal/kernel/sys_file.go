package kernel

import (
	"time"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

const (
	// ioChunk is the most that one call moves at a time; longer transfers
	// of streams go in several steps.
	ioChunk = 64 << 10
	// maxDatagram is more than any datagram can be.
	maxDatagram = 256 << 10
	// iovMax is IOV_MAX.
	iovMax = 1024
	// pathMax is PATH_MAX, the NUL included.
	pathMax = 1024
)

// maxSize is SSIZE_MAX of the machine.
func (c *Call) maxSize() uint64 {
	if c.k.machine.WordSize == 4 {
		return 1<<31 - 1
	}
	return 1<<63 - 1
}

// fd holds the file of the descriptor that is the next argument.
func (c *Call) fd() (held, error) { return c.Proc.fds.get(c.args.Int()) }

// sysClose waits until the calls that have the descriptor, and end now, have let it go, as
// NetBSD's fd_close does: then a listener's port is free, for example.
func sysClose(c *Call) (uint64, error) {
	d, err := c.Proc.fds.remove(c.args.Int())
	if d == nil {
		return 0, err
	}
	if unused := d.unused(); unused != nil {
		c.handOver() // they may ask the client for memory
		select {
		case <-unused:
		case <-c.ctx.Done():
		}
	}
	return 0, err
}

// iovec is a part of the caller's memory.
type iovec struct{ base, size uint64 }

// iovecs reads the caller's array. The sum of the sizes is at most SSIZE_MAX.
func (c *Call) iovecs(addr uint64, n uint64) ([]iovec, uint64, error) {
	if n == 0 || n > iovMax {
		return nil, 0, netbsd.EINVAL
	}
	m := c.k.machine
	size := netbsd.Sizeof(m, netbsd.Iovec{})
	b, err := c.buffer(int(n) * 2 * size)
	if err != nil {
		return nil, 0, err
	}
	b = b[:int(n)*size]
	if err := c.CopyIn(addr, b); err != nil {
		return nil, 0, err
	}
	vec := make([]iovec, n)
	var total uint64
	for i := range vec {
		var iov netbsd.Iovec
		if err := netbsd.Unmarshal(m, b[i*size:], &iov); err != nil {
			return nil, 0, netbsd.EFAULT
		}
		vec[i] = iovec{uint64(iov.Base), uint64(iov.Len)}
		if vec[i].size > c.maxSize() || total+vec[i].size > c.maxSize() {
			return nil, 0, netbsd.EINVAL
		}
		total += vec[i].size
	}
	return vec, total, nil
}

// scatter writes p to the caller's memory.
func (c *Call) scatter(vec []iovec, p []byte) error {
	for _, v := range vec {
		n := min(uint64(len(p)), v.size)
		if err := c.CopyOut(v.base, p[:n]); err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

// gather reads len(p) bytes at offset off of the caller's memory.
func (c *Call) gather(vec []iovec, off uint64, p []byte) error {
	for _, v := range vec {
		if off >= v.size {
			off -= v.size
			continue
		}
		n := min(uint64(len(p)), v.size-off)
		if err := c.CopyIn(v.base+off, p[:n]); err != nil {
			return err
		}
		p, off = p[n:], 0
		if len(p) == 0 {
			break
		}
	}
	return nil
}

func (c *Call) oneIovec() ([]iovec, uint64, error) {
	c.one[0] = iovec{c.args.Ptr(), c.args.Word()}
	v := c.one[:]
	if v[0].size > c.maxSize() {
		return nil, 0, netbsd.EINVAL
	}
	return v, v[0].size, nil
}

func sysRead(c *Call) (uint64, error)  { return c.readFrom((*Call).oneIovec) }
func sysReadv(c *Call) (uint64, error) { return c.readFrom((*Call).argIovecs) }
func sysWrite(c *Call) (uint64, error) { return c.writeTo((*Call).oneIovec) }
func sysWritev(c *Call) (uint64, error) {
	return c.writeTo((*Call).argIovecs)
}

// A position makes no sense with anything here: what is no device has none, and
// the devices ignore it.
func sysPread(c *Call) (uint64, error)   { return c.atPosition((*Call).oneIovec, (*Call).readFrom) }
func sysPreadv(c *Call) (uint64, error)  { return c.atPosition((*Call).argIovecs, (*Call).readFrom) }
func sysPwrite(c *Call) (uint64, error)  { return c.atPosition((*Call).oneIovec, (*Call).writeTo) }
func sysPwritev(c *Call) (uint64, error) { return c.atPosition((*Call).argIovecs, (*Call).writeTo) }

// vecFunc reads the arguments that say which memory a call is about.
type vecFunc func(*Call) ([]iovec, uint64, error)

func (c *Call) atPosition(vecs vecFunc, do func(*Call, vecFunc) (uint64, error)) (uint64, error) {
	args := c.args
	h, err := c.fd()
	if err != nil {
		return 0, err
	}
	seekable := h.Type() == dtypeVnode
	h.release()
	if !seekable {
		return 0, netbsd.ESPIPE
	}
	c.args = args
	return do(c, vecs)
}

func (c *Call) argIovecs() ([]iovec, uint64, error) {
	addr, n := c.args.Ptr(), c.args.Int()
	return c.iovecs(addr, uint64(max(n, 0)))
}

func (c *Call) readFrom(vecs vecFunc) (uint64, error) {
	h, err := c.fd()
	if err != nil {
		return 0, err
	}
	defer h.release()
	if !h.readable() {
		return 0, netbsd.EBADF
	}
	vec, total, err := vecs(c)
	if err != nil {
		return 0, err
	}
	if s, ok := h.File.(Socket); ok {
		m := Message{}
		n, err := c.receive(h, s, vec, total, &m)
		m.dropFiles()
		return n, err
	}
	var buf chunk
	var n int
	err = c.wait(h, h.nonblocking(), 0, func() (err error) {
		if buf, err = c.chunk(int(min(total, ioChunk))); err != nil {
			return err
		}
		if n, err = h.Read(buf.b); err != nil {
			c.free(buf)
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	defer c.free(buf)
	return uint64(n), c.scatter(vec, buf.b[:n])
}

func (c *Call) writeTo(vecs vecFunc) (uint64, error) {
	h, err := c.fd()
	if err != nil {
		return 0, err
	}
	defer h.release()
	if !h.writable() {
		return 0, netbsd.EBADF
	}
	vec, total, err := vecs(c)
	if err != nil {
		return 0, err
	}
	if s, ok := h.File.(Socket); ok {
		return c.transmit(h, s, vec, total, &Message{})
	}
	return c.stream(h, vec, total, 0, func(p []byte) (int, error) { return h.Write(p) })
}

// stream moves total bytes of the caller's memory through write, which takes
// parts and fails with EAGAIN when there is no room. What has gone when an
// error comes is the result, as with any write(2).
func (c *Call) stream(h held, vec []iovec, total uint64, timeout time.Duration, write func([]byte) (int, error)) (uint64, error) {
	buf, err := c.chunk(int(min(total, ioChunk)))
	if err != nil {
		return 0, err
	}
	defer c.free(buf)
	var done uint64
	for first := true; first || done < total; first = false {
		chunk := buf.b[:min(total-done, ioChunk)]
		if err := c.gather(vec, done, chunk); err != nil {
			return partial(done, err)
		}
		for first := true; first || len(chunk) > 0; first = false {
			var n int
			err := c.wait(h, h.nonblocking(), timeout, func() (err error) {
				n, err = write(chunk)
				return err
			})
			done += uint64(n)
			if err != nil {
				c.sigpipe(h, err)
				return partial(done, err)
			}
			chunk = chunk[n:]
		}
	}
	return done, nil
}

// partial is a transfer's result: an error only when nothing was moved, and a
// broken pipe.
func partial(done uint64, err error) (uint64, error) {
	if done > 0 && err != netbsd.EPIPE {
		return done, nil
	}
	return 0, err
}

// sigpipe raises SIGPIPE for a write to nobody, unless the file was made
// without it.
func (c *Call) sigpipe(h held, err error) {
	if err == netbsd.EPIPE && h.flags.Load()&netbsd.O_NOSIGPIPE == 0 && !h.noSigpipe.Load() {
		c.Raise(netbsd.SIGPIPE)
	}
}

func sysOpen(c *Call) (uint64, error) {
	path, flags := c.args.Ptr(), c.args.Int()
	name, err := c.CopyInStr(path, pathMax)
	if err != nil {
		return 0, err
	}
	open, ok := c.k.devices[name]
	if !ok {
		if _, err := c.k.lookup(name); err != nil {
			return 0, err
		}
		// Directories are there but can't be read.
		return 0, netbsd.EOPNOTSUPP
	}
	f, err := open()
	if err != nil {
		return 0, err
	}
	of, err := c.openFile(f, flags&(netbsd.O_ACCMODE|netbsd.O_NONBLOCK|netbsd.O_APPEND))
	if err != nil {
		return 0, err
	}
	fd, err := c.Proc.fds.add(of, 0, flags&netbsd.O_CLOEXEC != 0)
	return uint64(fd), err
}

func sysDup(c *Call) (uint64, error) {
	h, err := c.fd()
	if err != nil {
		return 0, err
	}
	fd, err := c.Proc.fds.add(h.take(), 0, false)
	return uint64(fd), err
}

func sysDup2(c *Call) (uint64, error) { return c.dupTo(c.args.Int(), c.args.Int(), 0) }

func sysDup3(c *Call) (uint64, error) {
	from, to, flags := c.args.Int(), c.args.Int(), c.args.Int()
	if flags&^(netbsd.O_CLOEXEC|netbsd.O_NONBLOCK|netbsd.O_NOSIGPIPE) != 0 {
		return 0, netbsd.EINVAL
	}
	return c.dupTo(from, to, flags)
}

func (c *Call) dupTo(from, to, flags int32) (uint64, error) {
	h, err := c.Proc.fds.get(from)
	if err != nil {
		return 0, err
	}
	if to < 0 || to >= maxFiles {
		h.release()
		return 0, netbsd.EBADF
	}
	h.setFlags(flags&(netbsd.O_NONBLOCK|netbsd.O_NOSIGPIPE), -1)
	if from == to {
		h.release()
		return uint64(to), nil
	}
	c.Proc.fds.install(to, h.take(), flags&netbsd.O_CLOEXEC != 0)
	return uint64(to), nil
}

func sysFcntl(c *Call) (uint64, error) {
	fd, cmd, arg := c.args.Int(), c.args.Int(), c.args.Word()
	t := &c.Proc.fds
	if cmd == netbsd.F_CLOSEM {
		if fd < 0 {
			return 0, netbsd.EBADF
		}
		t.closeFrom(fd)
		return 0, nil
	}
	h, err := t.get(fd)
	if err != nil {
		return 0, err
	}
	keep := func(old bool) bool { return old }
	switch cmd {
	case netbsd.F_DUPFD, netbsd.F_DUPFD_CLOEXEC:
		low := int32(arg)
		if low < 0 || low >= maxFiles {
			h.release()
			return 0, netbsd.EINVAL
		}
		nfd, err := t.add(h.take(), low, cmd == netbsd.F_DUPFD_CLOEXEC)
		return uint64(nfd), err
	}
	defer h.release()
	switch cmd {
	case netbsd.F_GETFD:
		on, err := t.cloexec(fd, keep)
		return boolWord(on), err
	case netbsd.F_SETFD:
		_, err := t.cloexec(fd, func(bool) bool { return arg&netbsd.FD_CLOEXEC != 0 })
		return 0, err
	case netbsd.F_GETFL:
		return uint64(h.flags.Load()), nil
	case netbsd.F_SETFL:
		const settable = netbsd.O_NONBLOCK | netbsd.O_APPEND | netbsd.O_ASYNC
		h.setFlags(settable, int32(arg))
		if h.owned() {
			h.setAsync(c.k, arg&netbsd.O_ASYNC != 0)
		}
		return 0, nil
	case netbsd.F_GETNOSIGPIPE:
		return boolWord(h.flags.Load()&netbsd.O_NOSIGPIPE != 0), nil
	case netbsd.F_SETNOSIGPIPE:
		v := int32(0)
		if arg != 0 {
			v = netbsd.O_NOSIGPIPE
		}
		h.setFlags(netbsd.O_NOSIGPIPE, v)
		return 0, nil
	case netbsd.F_GETOWN:
		if !h.owned() {
			return 0, netbsd.ENOTTY
		}
		return uint64(h.owner.Load()), nil
	case netbsd.F_SETOWN:
		if !h.owned() {
			return 0, netbsd.ENOTTY
		}
		return 0, c.setOwner(h, int32(arg))
	case netbsd.F_MAXFD:
		return uint64(t.highest()), nil
	case sysproxy.FTaken:
		if s, ok := h.File.(TakenCounter); ok {
			return 0, s.Taken(uint32(arg))
		}
	}
	return 0, netbsd.EINVAL
}

func boolWord(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// sysIoctl copies the argument in and out as the command's number says, and
// keeps the commands that concern the descriptor.
func sysIoctl(c *Call) (uint64, error) {
	fd, cmd, addr := c.args.Int(), uint32(c.args.Word()), c.args.Ptr()
	h, err := c.Proc.fds.get(fd)
	if err != nil {
		return 0, err
	}
	defer h.release()
	if netbsd.IoctlSize(cmd) > netbsd.IOCPARM_MAX {
		return 0, netbsd.ENOTTY
	}
	data := make([]byte, netbsd.IoctlSize(cmd))
	if netbsd.IoctlIn(cmd) {
		if err := c.CopyIn(addr, data); err != nil {
			return 0, err
		}
	} else if netbsd.IoctlOut(cmd) && len(data) > 0 && addr == 0 {
		return 0, netbsd.EFAULT
	}
	m := c.k.machine
	on := func() int32 {
		if m.Order.Uint32(data) != 0 {
			return -1
		}
		return 0
	}
	switch cmd {
	case netbsd.FIOCLEX.Cmd(m), netbsd.FIONCLEX.Cmd(m):
		_, err := c.Proc.fds.cloexec(fd, func(bool) bool { return cmd == netbsd.FIOCLEX.Cmd(m) })
		return 0, err
	case netbsd.FIONBIO.Cmd(m):
		h.setFlags(netbsd.O_NONBLOCK, on())
		return 0, nil
	case netbsd.FIOASYNC.Cmd(m):
		h.setFlags(netbsd.O_ASYNC, on())
		if h.owned() {
			h.setAsync(c.k, on() != 0)
		}
		return 0, nil
	}
	if h.owned() {
		switch cmd {
		case netbsd.FIOSETOWN.Cmd(m), netbsd.SIOCSPGRP.Cmd(m):
			return 0, c.setOwner(h, int32(m.Order.Uint32(data)))
		case netbsd.TIOCSPGRP.Cmd(m):
			id := int32(m.Order.Uint32(data))
			if id < 0 {
				return 0, netbsd.EINVAL
			}
			return 0, c.setOwner(h, -id)
		case netbsd.FIOGETOWN.Cmd(m), netbsd.SIOCGPGRP.Cmd(m):
			m.Order.PutUint32(data, uint32(h.owner.Load()))
			return 0, c.CopyOut(addr, data)
		case netbsd.TIOCGPGRP.Cmd(m):
			m.Order.PutUint32(data, uint32(-h.owner.Load()))
			return 0, c.CopyOut(addr, data)
		}
	}
	c.inIoctl = true
	err = h.Ioctl(c, cmd, data)
	c.inIoctl = false
	if err != nil {
		return 0, err
	}
	for _, l := range c.late {
		if err := c.CopyOut(l.addr, l.data); err != nil {
			return 0, err
		}
	}
	if netbsd.IoctlOut(cmd) {
		return 0, c.CopyOut(addr, data)
	}
	return 0, nil
}

// owned reports whether signals about the file can have a receiver.
func (h held) owned() bool {
	switch h.Type() {
	case dtypeSocket, dtypePipe:
		return true
	}
	return false
}

// setOwner is fsetown: id is a process, 0 or, negative, a process group.
// All processes are of group 0 and none can make another.
func (c *Call) setOwner(h held, id int32) error {
	if id < 0 {
		return netbsd.EPERM
	}
	if id > 0 && id != initPID {
		c.k.mu.Lock()
		_, ok := c.k.procs[id]
		c.k.mu.Unlock()
		if !ok {
			return netbsd.ESRCH
		}
	}
	h.owner.Store(id)
	return nil
}

func sysFstat(c *Call) (uint64, error) {
	h, err := c.fd()
	if err != nil {
		return 0, err
	}
	defer h.release()
	st, err := h.Stat()
	if err != nil {
		return 0, err
	}
	return 0, c.copyOutStruct(c.args.Ptr(), &st)
}

// sysLseek: nothing here has a position but the devices, which ignore it.
func sysLseek(c *Call) (uint64, error) {
	h, err := c.fd()
	if err != nil {
		return 0, err
	}
	defer h.release()
	off, whence := c.args.Off(), c.args.Int()
	if h.Type() != dtypeVnode {
		return 0, netbsd.ESPIPE
	}
	if whence < 0 || whence > 2 || off < 0 {
		return 0, netbsd.EINVAL
	}
	c.ret64 = true
	return 0, nil
}

// highest is F_MAXFD: the largest descriptor in use, or -1.
func (t *fdTable) highest() int32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	for fd := len(t.slots) - 1; fd >= 0; fd-- {
		if t.slots[fd] != nil {
			return int32(fd)
		}
	}
	return -1
}
