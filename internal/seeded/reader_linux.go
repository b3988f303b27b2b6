package seeded

import (
	"io"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// MinSendBuffer is the least SO_SNDBUF, as setsockopt(2) takes it, in bytes, with which S
// becomes writable for poll(2) while a stale byte is in K. That keeps all that came with it
// in one piece in S's account, and the host says that S can be written when the account is at
// most a quarter of the size, which is twice SO_SNDBUF. Where pages have 4 KiB a piece is at most
// 37 KiB of what was written, or 17 pages that sendfile(2) or splice(2) has put there; hosts
// before Linux 6.5 put such pages behind what was written last, which makes 104 KiB. That is just
// what net.core.wmem_max allows by default.
const MinSendBuffer = 208 << 10

// Sow sends the seed at s, which is S.
func Sow(s int) error { return unix.Sendto(s, []byte{0}, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, nil) }

// Waiting is how many bytes that S sent wait in k, which is K and has a seed or a stale
// byte.
func Waiting(k int) int { return max(queued(k)-1, 0) }

// Drain takes out all that is in k: the stale byte, when nothing else has been left.
func Drain(k int) {
	var b [64]byte
	for {
		if n, e := recv(k, b[:], 0); e != unix.EINTR && (e != 0 || n == 0) {
			return
		}
	}
}

// Reader reads from K, and does not wait. One goroutine at a time uses it.
type Reader struct {
	fd    int
	have  int  // bytes that are known to be there, without the stale one
	keeps bool // that there is always a byte left
	stale int  // 1 while the first byte is stale, or will be the seed
	junk  byte // where it goes
}

// NewReader makes a reader of K. seeded tells whether the first byte that is there, or comes,
// is a seed; without one nothing is left behind.
func NewReader(k int, seeded bool) Reader {
	r := Reader{fd: k, keeps: seeded}
	if seeded {
		r.stale = 1
	}
	return r
}

// Ready asks how many bytes are there.
func (r *Reader) Ready() int {
	r.have = max(queued(r.fd)-r.stale, 0)
	return r.have
}

// Len is how many bytes are left of those that Ready told of.
func (r *Reader) Len() int { return r.have }

// Limit has Read take no more than n of the bytes that Ready told of.
func (r *Reader) Limit(n int) { r.have = min(r.have, n) }

// Ended is asked when nothing is there: 0 is the end, EAGAIN that there is none, EBUSY that
// there is something now, ECONNRESET that S was closed with something unread in it.
func (r *Reader) Ended() syscall.Errno {
	var b [1]byte
	n, e := recv(r.fd, b[:], unix.MSG_PEEK)
	switch {
	case e == unix.EINTR, n > 0 && r.stale == 0:
		return unix.EBUSY
	case e != 0 || n == 0:
		return e
	}
	// What closes S tells of it in two steps, and holds a lock that recv(2) has had:
	// poll(2) does not see the first without the second.
	events := poll(r.fd)
	switch {
	case r.Ready() > 0:
		return unix.EBUSY
	case events&unix.POLLERR != 0:
		return unix.ECONNRESET
	case events&(unix.POLLRDHUP|unix.POLLHUP) != 0:
		return 0
	}
	return unix.EAGAIN
}

// Read implements io.Reader, for what Ready told of. It fails if that has gone: somebody
// else reads, too.
func (r *Reader) Read(p []byte) (int, error) {
	p = p[:min(len(p), r.have)]
	if len(p) == 0 {
		if r.have == 0 {
			return 0, io.EOF
		}
		return 0, nil
	}
	// The last byte that is known of is taken and stays.
	last := r.keeps && len(p) == r.have
	most := len(p)
	if last {
		most--
	}
	for most+r.stale > 0 {
		n, e := r.take(p[:most])
		switch {
		case e == unix.EINTR:
			continue
		case e != 0:
			return 0, e
		case n == 0:
			return 0, io.ErrUnexpectedEOF
		}
		n -= r.stale
		r.stale = 0
		if n < most && n > 0 || !last {
			if n == 0 {
				continue // it stops before some bytes, such as those out of band
			}
			r.have -= n
			return n, nil
		}
		if n == most {
			break
		}
	}
	for {
		n, e := recv(r.fd, p[most:], unix.MSG_PEEK)
		switch {
		case e == unix.EINTR:
			continue
		case e != 0:
			return 0, e
		case n == 0:
			return 0, io.ErrUnexpectedEOF
		}
		r.stale = 1
		r.have -= len(p)
		return len(p), nil
	}
}

// Splice moves bytes that Ready told of into a pipe without a copy, at most n and never all of
// them, for the last that is taken stays. It gives their number, and fails as Read does.
func (r *Reader) Splice(pipe, n int) (int, error) {
	for r.stale > 0 {
		if _, e := r.take(nil); e != 0 && e != unix.EINTR {
			return 0, e
		} else if e == 0 {
			r.stale = 0
		}
	}
	for {
		m, _, e := syscall.RawSyscall6(unix.SYS_SPLICE, uintptr(r.fd), 0, uintptr(pipe), 0, uintptr(min(n, r.have-1)), unix.SPLICE_F_NONBLOCK)
		switch {
		case e == unix.EINTR:
			continue
		case e != 0:
			return 0, e
		case m == 0:
			return 0, io.ErrUnexpectedEOF
		}
		r.have -= int(m)
		return int(m), nil
	}
}

// take reads the stale byte, if there is one, and then into p.
func (r *Reader) take(p []byte) (int, syscall.Errno) {
	if r.stale == 0 {
		return recv(r.fd, p, 0)
	}
	iov := [2]unix.Iovec{{Base: &r.junk}, {Base: unsafe.SliceData(p)}}
	iov[0].SetLen(1)
	iov[1].SetLen(len(p))
	m := unix.Msghdr{Iov: &iov[0]}
	m.SetIovlen(len(iov))
	n, _, e := syscall.RawSyscall(unix.SYS_RECVMSG, uintptr(r.fd), uintptr(unsafe.Pointer(&m)), unix.MSG_DONTWAIT)
	return int(n), e
}

// The host's calls do not wait, and are not told to the runtime.

func recv(fd int, p []byte, flags int) (int, syscall.Errno) {
	n, _, e := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))),
		uintptr(len(p)), uintptr(flags|unix.MSG_DONTWAIT), 0, 0)
	return int(n), e
}

func queued(fd int) int {
	var n int32
	syscall.RawSyscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCINQ, uintptr(unsafe.Pointer(&n)))
	return int(n)
}

func poll(fd int) int16 {
	p := unix.PollFd{Fd: int32(fd), Events: unix.POLLRDHUP}
	var now unix.Timespec
	syscall.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 1, uintptr(unsafe.Pointer(&now)), 0, 0, 0)
	return p.Revents
}
