package spclient

import (
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// linuxTransport is a transport over a socket's descriptor that is read with
// direct calls of the host's. The runtime's poller does not know the socket, for it
// would wake a thread for each frame. It knows an epoll descriptor in its place,
// which looks at the socket only when that is asked for.
//
// It uses sendmsg and recvmsg alone, which refuse files and pipes, and
// compares the socket's identity before each: the number may have become
// another file's.
type linuxTransport struct {
	fd int
	id identity
	// refs counts who uses fd, and the owner. The last one closes it.
	refs   atomic.Int32
	closed atomic.Bool

	epoll    *os.File
	epollfd  int
	raw      syscall.RawConn
	ready    func(uintptr) bool
	readyErr error

	// What the two directions tell the host: here, so that it is not
	// allocated for each call.
	rd, wr struct {
		msg unix.Msghdr
		iov [2]unix.Iovec
	}
}

// newSocketTransport takes a connected socket's descriptor over, which it closes
// when it fails.
func newSocketTransport(fd int) (_ transport, err error) {
	t := &linuxTransport{fd: fd, epollfd: -1}
	t.refs.Store(1)
	defer func() {
		if err != nil {
			if t.epollfd >= 0 {
				unix.Close(t.epollfd)
			}
			unix.Close(fd)
		}
	}()
	if t.id, err = identify(fd); err != nil {
		return nil, err
	}
	// Who must not wait says so in the call.
	if err := unix.SetNonblock(fd, false); err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	// The shortest time that there is: one tick of the host's clock.
	err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 1})
	if err != nil {
		return nil, os.NewSyscallError("setsockopt", err)
	}
	low, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	t.epollfd, err = dupAbove2(low)
	unix.Close(low)
	if err != nil {
		return nil, err
	}
	err = unix.EpollCtl(t.epollfd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLONESHOT})
	if err != nil {
		return nil, os.NewSyscallError("epoll_ctl", err)
	}
	// What is non-blocking is what package os hands to the poller.
	if err := unix.SetNonblock(t.epollfd, true); err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	t.epoll = os.NewFile(uintptr(t.epollfd), "rump kernel")
	if t.raw, err = t.epoll.SyscallConn(); err == nil {
		// It fails when the poller does not take it.
		err = t.epoll.SetReadDeadline(time.Time{})
	}
	if err != nil {
		t.epoll.Close()
		t.epollfd = -1
		return nil, err
	}
	t.ready = t.fired
	t.rd.msg.Iov, t.wr.msg.Iov = &t.rd.iov[0], &t.wr.iov[0]
	return t, nil
}

// identity is what a descriptor's number stands for: the socket's cookie, which no
// other socket ever gets, or where the host has none its inode.
type identity struct {
	cookie   uint64
	dev, ino uint64
}

func identify(fd int) (id identity, err error) {
	id.cookie, err = cookie(fd)
	if err == nil {
		return id, nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return id, os.NewSyscallError("fstat", err)
	}
	return identity{dev: uint64(st.Dev), ino: st.Ino}, nil
}

func cookie(fd int) (uint64, error) {
	var v uint64
	n := uint32(unsafe.Sizeof(v))
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_COOKIE,
		uintptr(unsafe.Pointer(&v)), uintptr(unsafe.Pointer(&n)), 0)
	if errno != 0 {
		return 0, errno
	}
	return v, nil
}

func (t *linuxTransport) check() error {
	if !t.use() {
		return net.ErrClosed
	}
	defer t.release()
	return t.same()
}

// same tells whether the number still is the connection's.
func (t *linuxTransport) same() error {
	if t.id.cookie != 0 {
		if v, err := cookie(t.fd); err != nil || v != t.id.cookie {
			return errReplaced
		}
		return nil
	}
	if id, err := identify(t.fd); err != nil || id != t.id {
		return errReplaced
	}
	return nil
}

// use keeps the descriptor open until release. It returns false when it is
// closed.
func (t *linuxTransport) use() bool {
	if t.closed.Load() {
		return false
	}
	for {
		n := t.refs.Load()
		if n == 0 {
			return false
		}
		if t.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (t *linuxTransport) release() {
	if t.refs.Add(-1) == 0 && t.same() == nil {
		unix.Close(t.fd)
	}
}

func (t *linuxTransport) receive(p, more []byte) (int, error) {
	if !t.use() {
		return 0, net.ErrClosed
	}
	defer t.release()
	return t.recvmsg(p, more, unix.MSG_DONTWAIT)
}

func (t *linuxTransport) receiveSoon(p, more []byte) (int, error) {
	if !t.use() {
		return 0, net.ErrClosed
	}
	defer t.release()
	// The socket blocks, for as long as its SO_RCVTIMEO says. The runtime's
	// signals end that, too, when it wants this thread. To wait with ppoll
	// first would take a timer of high resolution, which costs more than all
	// the rest where the host is a virtual machine.
	return t.recvmsg(p, more, 0)
}

// recvmsg receives without waiting, unless flags lack MSG_DONTWAIT.
func (t *linuxTransport) recvmsg(p, more []byte, flags uintptr) (int, error) {
	if err := t.same(); err != nil {
		return 0, err
	}
	n := setIovecs(&t.rd.msg, &t.rd.iov, p, more)
	for {
		got, _, errno := unix.RawSyscall(unix.SYS_RECVMSG, uintptr(t.fd),
			uintptr(unsafe.Pointer(&t.rd.msg)), flags)
		switch {
		case errno == unix.EINTR && flags != 0:
			continue
		case errno == unix.EAGAIN || errno == unix.EINTR:
			return 0, nil
		case errno != 0:
			return 0, os.NewSyscallError("recvmsg", errno)
		case got == 0 && n > 0:
			return 0, io.EOF
		}
		ioReceived(t.fd)
		return int(got), nil
	}
}

// setIovecs makes msg speak of two buffers and returns how many bytes they have.
func setIovecs(msg *unix.Msghdr, iov *[2]unix.Iovec, p, q []byte) int {
	iov[0].Base = unsafe.SliceData(p)
	iov[0].SetLen(len(p))
	msg.SetIovlen(1)
	if len(q) > 0 {
		iov[1].Base = unsafe.SliceData(q)
		iov[1].SetLen(len(q))
		msg.SetIovlen(2)
	}
	return len(p) + len(q)
}

func (t *linuxTransport) trySend(head, body []byte) (int, error) {
	if !t.use() {
		return 0, net.ErrClosed
	}
	defer t.release()
	return t.sendmsg(head, body)
}

// sendmsg sends until all is out or the socket is full.
func (t *linuxTransport) sendmsg(head, body []byte) (sent int, err error) {
	for len(head)+len(body) > 0 {
		if err := t.same(); err != nil {
			return sent, err
		}
		if len(head) == 0 {
			head, body = body, nil
		}
		setIovecs(&t.wr.msg, &t.wr.iov, head, body)
		ioSends()
		r, _, errno := unix.RawSyscall(unix.SYS_SENDMSG, uintptr(t.fd),
			uintptr(unsafe.Pointer(&t.wr.msg)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		switch {
		case errno == unix.EINTR:
			continue
		case errno == unix.EAGAIN:
			return sent, nil
		case errno != 0:
			return sent, os.NewSyscallError("sendmsg", errno)
		}
		n := int(r)
		sent += n
		k := min(n, len(head))
		head, body = head[k:], body[n-k:]
	}
	return sent, nil
}

func (t *linuxTransport) sendRights(head []byte, file int, wait bool) (int, error) {
	if !t.use() {
		return 0, net.ErrClosed
	}
	defer t.release()
	for {
		if err := t.same(); err != nil {
			return 0, err
		}
		ioSends()
		n, err := unix.SendmsgN(t.fd, head, unix.UnixRights(file), nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		switch {
		case err == nil:
			return n, nil
		case err == unix.EINTR:
		case err != unix.EAGAIN:
			return 0, os.NewSyscallError("sendmsg", err)
		case !wait:
			return 0, nil
		default:
			if err := t.awaitRoom(); err != nil {
				return 0, err
			}
		}
	}
}

// fullPoll is how long a thread waits for room at a time. What ends the wait
// before is room or the socket's end; a descriptor that was replaced does not.
const fullPoll = time.Second

func (t *linuxTransport) send(head, body []byte) (int, error) {
	if !t.use() {
		return 0, net.ErrClosed
	}
	defer t.release()
	for {
		n, err := t.sendmsg(head, body)
		if n > 0 || err != nil {
			return n, err
		}
		if err := t.awaitRoom(); err != nil {
			return 0, err
		}
	}
}

// awaitRoom waits until more may be sent. It may return early.
func (t *linuxTransport) awaitRoom() error {
	pfd := []unix.PollFd{{Fd: int32(t.fd), Events: unix.POLLOUT}}
	if _, err := unix.Poll(pfd, int(fullPoll/time.Millisecond)); err != nil && err != unix.EINTR {
		return os.NewSyscallError("poll", err)
	}
	if t.closed.Load() {
		return net.ErrClosed
	}
	return nil
}

func (t *linuxTransport) await() error {
	if err := t.raw.Read(t.ready); err != nil {
		return err
	}
	return t.readyErr
}

// fired tells whether a watch saw something, and forgets it.
func (t *linuxTransport) fired(epoll uintptr) bool {
	var ev [1]unix.EpollEvent
	for {
		n, err := unix.EpollWait(int(epoll), ev[:], 0)
		switch err {
		case unix.EINTR:
			continue
		case nil:
			return n > 0
		}
		t.readyErr = errReplaced
		return true
	}
}

func (t *linuxTransport) watch() error { return t.observe(unix.EPOLLIN) }

func (t *linuxTransport) unwatch() error { return t.observe(0) }

func (t *linuxTransport) observe(events uint32) error {
	if !t.use() {
		return net.ErrClosed
	}
	defer t.release()
	ev := unix.EpollEvent{Events: events | unix.EPOLLONESHOT}
	_, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(t.epollfd), unix.EPOLL_CTL_MOD, uintptr(t.fd),
		uintptr(unsafe.Pointer(&ev)), 0, 0)
	if errno != 0 {
		return errReplaced
	}
	return nil
}

// exec executes a program that inherits the socket. It returns only when that
// fails.
func (t *linuxTransport) exec(path string, argv, env []string) error {
	if !t.use() {
		return net.ErrClosed
	}
	defer t.release()
	if err := t.same(); err != nil {
		return err
	}
	// NetBSD's client expects a socket that does not block.
	if err := unix.SetNonblock(t.fd, true); err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	defer unix.SetNonblock(t.fd, false)
	return execWith(t.fd, path, argv, env)
}

func (t *linuxTransport) isLocal() bool {
	cred, err := unix.GetsockoptUcred(t.fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	return err == nil && int(cred.Pid) == os.Getpid()
}

func (t *linuxTransport) expire(at time.Time) { t.epoll.SetReadDeadline(at) }

// close ends the connection in both directions first: a descriptor that another
// process has inherited must not keep it up. It does nothing to a file that has
// got the number of one of its descriptors.
func (t *linuxTransport) close() error {
	if t.closed.Swap(true) {
		return nil
	}
	t.epoll.SetReadDeadline(time.Unix(1, 0))
	mine := unix.EpollCtl(t.epollfd, unix.EPOLL_CTL_DEL, t.fd, nil) == nil
	if t.same() == nil {
		unix.Shutdown(t.fd, unix.SHUT_RDWR)
	}
	if mine || isEpoll(t.epollfd) {
		t.epoll.Close()
	} else {
		// Its finalizer would close it.
		strangers.add(t.epoll)
	}
	t.release()
	return nil
}
