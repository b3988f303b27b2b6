package kernel

import (
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A client that makes one call after the other is served best by a thread that
// sleeps in recvfrom(2) between its calls: the runtime's way, an attempt, a
// goroutine put away, epoll_wait(2) in another thread and a second attempt, costs
// three times as much. So a hostLink whose frames come quickly waits directly. Its
// thread keeps one of the runtime's Ps meanwhile, for which reason such waits are
// short, end at the runtime's signals, are few at a time, and leave at least half
// of the Ps alone; and none is begun while other clients are as busy.
//
// The runtime must not watch a descriptor that is read directly, for every frame
// would wake its epoll_wait(2), too. So a link that is to wait directly for the
// first time leaves the runtime for an epoll set of the kernel's own, where its
// descriptor can be taken out of and put back, and the runtime watches that set. A
// link that never was so busy stays with the runtime, which has one goroutine less
// to wake.
const (
	// directWait is how long a direct wait lasts: the host rounds it up to
	// its clock's tick, 1 to 10 ms. It is made with SO_RCVTIMEO since that
	// needs no high-resolution timer, as ppoll(2) does; to set one may take
	// longer than the call.
	directWait = time.Millisecond
	// directTries is how many of them in a row end without a frame before
	// the link waits otherwise: the tick may be near when one begins.
	directTries = 2
	// quickGap is how soon a frame must come to speak for direct waits, and
	// quickFrames is how many such frames must have come in a row.
	quickGap    = time.Millisecond
	quickFrames = 3
)

// directs is how many links of the process wait directly.
var directs atomic.Int32

// maxDirects is how many may: none when there is one P.
func maxDirects() int32 { return int32(runtime.GOMAXPROCS(0) / 2) }

// links is what the links of a kernel share.
type links struct {
	mu     sync.Mutex
	poller *poller // while there are links in its set
	users  int

	// wakes counts frames that were not waited for directly.
	wakes atomic.Uint32
}

// poller watches hostLinks that do not wait directly.
type poller struct {
	file *os.File // the epoll set, watched by the runtime
	fd   int

	mu    sync.Mutex
	links map[uint64]*hostLink
	last  uint64 // the newest link's number
}

// open makes a link of a connection. It takes nc over.
func (ls *links) open(nc net.Conn) link {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return netLink{nc}
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return netLink{nc}
	}
	l := &hostLink{
		nc: nc, raw: rc, shared: ls, limit: maxDirects(),
		readable: make(chan struct{}, 1), writable: make(chan struct{}, 1),
	}
	l.out.send = l.hosted
	if _, ok := nc.(*net.UnixConn); ok {
		rc.Control(func(fd uintptr) { l.rights = isOwn(int(fd)) })
		l.in.recv = l.hostedRecv
	}
	return l
}

// isOwn reports whether a local socket's other end is of this process's user.
func isOwn(fd int) bool {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	return err == nil && int(cred.Uid) == os.Geteuid()
}

// adopt takes the link's descriptor from the runtime. Where that can't be, and
// while a write is under way, it does nothing.
func (l *hostLink) adopt() {
	if !l.writing.TryLock() {
		return
	}
	defer l.writing.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	fd, err := -1, error(nil)
	l.raw.Control(func(old uintptr) {
		if fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 3); err != nil {
			fd = -1
		}
	})
	if fd < 0 {
		return
	}
	l.fd = fd
	tv := unix.NsecToTimeval(directWait.Nanoseconds())
	// Some hosts lack the call by itself (Linux on i386 before 4.3).
	if _, e := recvfrom(fd, nil, unix.MSG_DONTWAIT|unix.MSG_PEEK); e == unix.ENOSYS ||
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv) != nil ||
		!l.shared.add(l) {
		unix.Close(fd)
		return
	}
	unix.SetNonblock(fd, false)
	l.nc.Close()
	l.nc, l.raw = nil, nil
}

// add has a poller watch l; the first link makes it.
func (ls *links) add(l *hostLink) bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.poller == nil {
		p, err := newPoller()
		if err != nil {
			return false
		}
		ls.poller = p
	}
	ls.users++
	l.poller = ls.poller
	l.mask = unix.EPOLLIN | unix.EPOLLRDHUP
	l.poller.mu.Lock()
	l.poller.last++
	l.id = l.poller.last
	l.poller.links[l.id] = l
	l.poller.mu.Unlock()
	if l.update(unix.EPOLL_CTL_ADD) != nil {
		ls.remove(l)
		return false
	}
	return true
}

// remove is the reverse of add; ls.mu is held. The last link ends the poller.
func (ls *links) remove(l *hostLink) {
	l.poller.mu.Lock()
	delete(l.poller.links, l.id)
	l.poller.mu.Unlock()
	if ls.users--; ls.users == 0 {
		ls.poller.file.Close()
		ls.poller = nil
	}
}

func newPoller() (*poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	// That is what makes os.NewFile have the runtime watch it.
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, err
	}
	p := &poller{file: os.NewFile(uintptr(fd), "epoll"), fd: fd, links: make(map[uint64]*hostLink)}
	rc, err := p.file.SyscallConn()
	if err != nil {
		p.file.Close()
		return nil, err
	}
	go rc.Read(p.collect)
	return p, nil
}

// collect tells links what has happened. It reports false, for the runtime to
// wait; its file's end ends that.
func (p *poller) collect(uintptr) bool {
	var events [64]unix.EpollEvent
	for {
		n, err := unix.EpollWait(p.fd, events[:], 0)
		if err == unix.EINTR {
			continue
		}
		for i := range max(n, 0) {
			e := &events[i]
			p.mu.Lock()
			l := p.links[uint64(uint32(e.Fd))|uint64(uint32(e.Pad))<<32]
			p.mu.Unlock()
			if l == nil {
				continue
			}
			if e.Events&^unix.EPOLLOUT != 0 {
				notify(l.readable)
			}
			if e.Events&(unix.EPOLLOUT|unix.EPOLLERR|unix.EPOLLHUP) != 0 {
				notify(l.writable)
			}
		}
		if n < len(events) {
			return false
		}
	}
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// hostLink is a link over a socket of the host, with direct host calls once it has
// been busy.
type hostLink struct {
	shared *links
	// nc is the connection until adopt; then the rest is.
	nc     net.Conn
	raw    syscall.RawConn
	poller *poller
	id     uint64
	fd     int

	// writing is held by who writes, and over adopt.
	writing sync.Mutex
	out     hostedWrite // of who writes, until adopt

	// rights says that the client may send descriptors. in is a read through a
	// descriptor that the runtime has; files have come and not been taken, and with
	// control they come. All are the reader's.
	rights  bool
	in      hostedRead
	files   []int
	control struct {
		unix.Cmsghdr
		file int32
	}

	// The poller's messages, and hints only.
	readable, writable chan struct{}

	mu     sync.Mutex
	mask   uint32 // what the poller watches for
	closed bool

	// The reader's:
	direct bool   // it waits directly
	quick  int    // quick frames in a row
	seen   uint32 // the poller's wakes at the last wait
	limit  int32  // maxDirects when it was last asked
}

// hostedRead is a read through a descriptor that the runtime has.
type hostedRead struct {
	p    []byte
	n    int
	err  syscall.Errno
	recv func(uintptr) bool // hostedRecv, made once
}

// maxSent is how many descriptors a client may have sent before the requests that they
// belong to are read. One comes with each message, and none is read before the requests
// that came before have been.
const maxSent = 4

// rightsLen is the length of a control message with one descriptor (CMSG_LEN).
const rightsLen = unix.SizeofCmsghdr + 4

func (l *hostLink) lends() bool { return l.rights }

func (l *hostLink) takeFile() int {
	if len(l.files) == 0 {
		return -1
	}
	fd := l.files[0]
	l.files = l.files[:copy(l.files, l.files[1:])]
	return fd
}

// recvmsg is recv for a client that may send descriptors. There is room for one in a
// message; the host closes others.
func (l *hostLink) recvmsg(fd int, p []byte, flags int) (int, syscall.Errno) {
	iov := unix.Iovec{Base: unsafe.SliceData(p)}
	iov.SetLen(len(p))
	h := &l.control
	m := unix.Msghdr{Iov: &iov, Control: (*byte)(unsafe.Pointer(h))}
	m.SetIovlen(1)
	m.SetControllen(rightsLen)
	n, _, e := syscall.RawSyscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&m)),
		uintptr(flags|unix.MSG_CMSG_CLOEXEC))
	if e != 0 {
		return 0, e
	}
	if m.Controllen >= rightsLen && h.Level == unix.SOL_SOCKET && h.Type == unix.SCM_RIGHTS && h.Len == rightsLen {
		if len(l.files) == maxSent {
			unix.Close(int(h.file))
			return 0, unix.EMSGSIZE
		}
		l.files = append(l.files, int(h.file))
	}
	return int(n), 0
}

// readHosted is Read until adopt, for a client that may send descriptors.
func (l *hostLink) readHosted(p []byte) (int, error) {
	in := &l.in
	in.p = p
	err := l.raw.Read(in.recv)
	in.p = nil
	if err != nil {
		return 0, err
	}
	return received(in.n, in.err)
}

// hostedRecv reports false for the runtime to wait for something to read.
func (l *hostLink) hostedRecv(fd uintptr) bool {
	for {
		l.in.n, l.in.err = l.recvmsg(int(fd), l.in.p, unix.MSG_DONTWAIT)
		switch l.in.err {
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return false
		case 0:
			ioReceived(int(fd))
		}
		return true
	}
}

// update changes what the poller watches.
func (l *hostLink) update(op int) error {
	return unix.EpollCtl(l.poller.fd, op, l.fd, &unix.EpollEvent{
		Events: l.mask | unix.EPOLLET, Fd: int32(uint32(l.id)), Pad: int32(uint32(l.id >> 32)),
	})
}

// watch sets and clears bits of what the poller watches for. What is the case
// already is told again.
func (l *hostLink) watch(set, cleared uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mask = l.mask&^cleared | set
	// It can't fail but for want of the host's memory, which an old
	// descriptor does not need.
	l.update(unix.EPOLL_CTL_MOD)
}

// recv is recvmsg(2) or recvfrom(2). The thread keeps its P.
func (l *hostLink) recv(p []byte, flags int) (n int, e syscall.Errno) {
	if l.rights {
		n, e = l.recvmsg(l.fd, p, flags)
	} else {
		n, e = recvfrom(l.fd, p, flags)
	}
	if e == 0 {
		ioReceived(l.fd)
	}
	return n, e
}

func recvfrom(fd int, p []byte, flags int) (int, syscall.Errno) {
	n, _, e := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), uintptr(flags), 0, 0)
	return int(n), e
}

func (l *hostLink) Read(p []byte) (int, error) {
	if l.nc != nil && l.busy() {
		l.adopt()
		if l.nc == nil {
			l.enterDirect()
		} else {
			l.quick = 0
		}
	}
	if l.nc != nil {
		start := time.Now()
		var n int
		var err error
		if l.rights {
			n, err = l.readHosted(p)
		} else {
			n, err = l.nc.Read(p)
		}
		l.waited(start)
		return n, err
	}
	if l.direct && l.others() {
		l.leaveDirect()
	}
	for tries := 0; ; {
		flags := unix.MSG_DONTWAIT
		if l.direct {
			flags = 0
		}
		n, e := l.recv(p, flags)
		switch {
		case e == unix.EINTR:
			// The runtime wants the P, or another goroutine's turn.
			runtime.Gosched()
		case e != unix.EAGAIN:
			return received(n, e)
		case !l.direct:
			l.await()
		default:
			if tries++; tries == directTries {
				l.leaveDirect()
			}
		}
	}
}

// await waits for the poller's message, and for the next time chooses how to
// wait.
func (l *hostLink) await() {
	start := time.Now()
	<-l.readable
	l.waited(start)
	if l.busy() {
		l.enterDirect()
	}
}

// waited notes that a frame has come that was waited for since start.
func (l *hostLink) waited(start time.Time) {
	l.shared.wakes.Add(1)
	if others := l.others(); time.Since(start) < quickGap && !others {
		l.quick++
	} else {
		l.quick = 0
	}
}

// busy reports whether the link's frames speak for direct waits.
func (l *hostLink) busy() bool { return l.quick >= quickFrames && directs.Load() < maxDirects() }

func received(n int, e syscall.Errno) (int, error) {
	switch {
	case e != 0:
		return 0, os.NewSyscallError("recvfrom", e)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// others reports whether other links were busy since it was last asked: more of
// them than there are Ps left to serve them.
func (l *hostLink) others() bool {
	wakes := l.shared.wakes.Load()
	n := wakes - l.seen
	l.seen = wakes
	if !l.direct {
		n-- // the link's own
	}
	return int32(n) > l.limit
}

// enterDirect begins to wait directly unless too many do. The number of Ps may
// have changed since the last time.
func (l *hostLink) enterDirect() {
	l.limit = maxDirects()
	if directs.Add(1) > l.limit {
		directs.Add(-1)
		return
	}
	l.direct = true
	l.watch(0, unix.EPOLLIN|unix.EPOLLRDHUP)
}

func (l *hostLink) leaveDirect() {
	l.direct, l.quick = false, 0
	directs.Add(-1)
	l.watch(unix.EPOLLIN|unix.EPOLLRDHUP, 0)
}

func (l *hostLink) write(a, b []byte) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.nc != nil {
		_, err := l.writeHosted(a, b, true)
		return err
	}
	for len(a)+len(b) > 0 {
		n, e := sendmsg(l.fd, a, b)
		switch e {
		case 0:
			k := min(n, len(a))
			a, b = a[k:], b[n-k:]
		case unix.EINTR:
		case unix.EAGAIN:
			l.watch(unix.EPOLLOUT, 0)
			<-l.writable
			l.watch(0, unix.EPOLLOUT)
		default:
			return os.NewSyscallError("sendmsg", e)
		}
	}
	return nil
}

func (l *hostLink) tryWrite(a, b []byte) (int, error) {
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.nc != nil {
		return l.writeHosted(a, b, false)
	}
	for {
		n, e := sendmsg(l.fd, a, b)
		switch e {
		case 0:
			return n, nil
		case unix.EINTR:
		case unix.EAGAIN:
			return 0, nil
		default:
			return 0, os.NewSyscallError("sendmsg", e)
		}
	}
}

// hostedWrite is a write through a descriptor that the runtime has.
type hostedWrite struct {
	a, b []byte             // what is left
	wait bool               // for room
	err  syscall.Errno      // of the host
	send func(uintptr) bool // hosted, made once
}

// writeHosted is write, or tryWrite without wait, until adopt.
func (l *hostLink) writeHosted(a, b []byte, wait bool) (int, error) {
	w := &l.out
	w.a, w.b, w.wait, w.err = a, b, wait, 0
	err := l.raw.Write(w.send)
	n := len(a) + len(b) - len(w.a) - len(w.b)
	w.a, w.b = nil, nil
	if w.err != 0 {
		err = os.NewSyscallError("writev", w.err)
	}
	return n, err
}

// hosted writes what there is room for. It reports false for the runtime to wait
// for more.
func (l *hostLink) hosted(fd uintptr) bool {
	w := &l.out
	for len(w.a)+len(w.b) > 0 {
		n, e := writev(int(fd), w.a, w.b)
		switch e {
		case 0:
			k := min(n, len(w.a))
			w.a, w.b = w.a[k:], w.b[n-k:]
		case unix.EINTR:
		case unix.EAGAIN:
			return !w.wait
		default:
			w.err = e
			return true
		}
	}
	return true
}

// writev is writev(2), which every host has, to a descriptor that does not wait.
func writev(fd int, a, b []byte) (int, syscall.Errno) {
	ioSends()
	iov := [2]unix.Iovec{{Base: unsafe.SliceData(a)}, {Base: unsafe.SliceData(b)}}
	iov[0].SetLen(len(a))
	iov[1].SetLen(len(b))
	n, _, e := syscall.RawSyscall(unix.SYS_WRITEV, uintptr(fd), uintptr(unsafe.Pointer(&iov[0])), uintptr(len(iov)))
	return int(n), e
}

// sendmsg is sendmsg(2) of as much of a and b as there is room for.
func sendmsg(fd int, a, b []byte) (int, syscall.Errno) {
	const flags = unix.MSG_DONTWAIT | unix.MSG_NOSIGNAL
	ioSends()
	if len(b) == 0 {
		n, _, e := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(fd),
			uintptr(unsafe.Pointer(unsafe.SliceData(a))), uintptr(len(a)), flags, 0, 0)
		return int(n), e
	}
	iov := [2]unix.Iovec{{Base: unsafe.SliceData(a)}, {Base: unsafe.SliceData(b)}}
	iov[0].SetLen(len(a))
	iov[1].SetLen(len(b))
	m := unix.Msghdr{Iov: &iov[0]}
	m.SetIovlen(len(iov))
	n, _, e := syscall.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&m)), flags)
	return int(n), e
}

func (l *hostLink) hangup() {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.nc != nil:
		l.nc.Close()
	case !l.closed:
		unix.Shutdown(l.fd, unix.SHUT_RDWR)
	}
}

func (l *hostLink) close() {
	for _, fd := range l.files {
		unix.Close(fd)
	}
	l.files = nil
	if l.nc != nil {
		l.nc.Close()
		return
	}
	if l.direct {
		l.direct = false
		directs.Add(-1)
	}
	l.mu.Lock()
	l.closed = true
	unix.EpollCtl(l.poller.fd, unix.EPOLL_CTL_DEL, l.fd, nil)
	unix.Close(l.fd)
	l.mu.Unlock()
	l.shared.mu.Lock()
	l.shared.remove(l)
	l.shared.mu.Unlock()
}
