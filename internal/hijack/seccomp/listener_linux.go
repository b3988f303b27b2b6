//go:build amd64 || arm64

package seccomp

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Call is a system call that waits for its answer (struct seccomp_notif).
type Call struct {
	ID    uint64
	TID   uint32 // the thread, in the receiver's PID namespace
	flags uint32
	Nr    int32
	Arch  uint32
	IP    uint64
	Args  [6]uint64
}

// response is struct seccomp_notif_resp.
type response struct {
	id    uint64
	val   int64
	error int32
	flags uint32
}

// addfd is struct seccomp_notif_addfd.
type addfd struct {
	id         uint64
	flags      uint32
	srcfd      uint32
	newfd      uint32
	newfdFlags uint32
}

// Numbers of linux/seccomp.h.
const (
	ioctlRecv    = 0xc0502100
	ioctlSend    = 0xc0182101
	ioctlIDValid = 0x40082102
	ioctlAddFD   = 0x40182103
	ioctlFlags   = 0x40082104 // SECCOMP_IOCTL_NOTIF_SET_FLAGS

	flagContinue = 1
	addfdSetFD   = 1
	addfdSend    = 2
	syncWakeUp   = 1 // SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP
)

// Restart, as an error, has a call end as one that a signal has interrupted: it is
// made again, or fails with EINTR, as the signal's handler says (ERESTARTSYS). It
// must only be given to a thread that a signal waits for.
const Restart = unix.Errno(512)

// Listener receives the calls that a filter stops. Its methods may be used by
// several threads.
type Listener struct{ fd int }

// FD is the descriptor, for poll(2): POLLIN when a call waits, POLLHUP when no
// process has the filter any more.
func (l *Listener) FD() int { return l.fd }

// Close gives the listener up; calls that wait fail with ENOSYS, as do later ones.
func (l *Listener) Close() error { return unix.Close(l.fd) }

// ioctl makes a request again that a signal has interrupted: those for which that does
// no harm.
func (l *Listener) ioctl(req uintptr, arg unsafe.Pointer) error {
	for {
		_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(l.fd), req, uintptr(arg))
		switch e {
		case 0:
			return nil
		case unix.EINTR:
			continue
		}
		return e
	}
}

// wakeHere has who waits for a call, and who for its answer, run on the processor of who wakes
// them, and sleeps then: to wake another processor takes longer than most answers, above all in
// a virtual machine. Linux before 6.6 has not got that.
func (l *Listener) wakeHere() {
	unix.Syscall(unix.SYS_IOCTL, uintptr(l.fd), ioctlFlags, syncWakeUp)
}

// Receive waits for a call. It fails with ENOENT when the caller has gone, or, since
// Linux 6.11, when no process has the filter any more; older ones wait on.
func (l *Listener) Receive(c *Call) error {
	*c = Call{} // the kernel wants zeroes
	return l.ioctl(ioctlRecv, unsafe.Pointer(c))
}

// AwaitEnd returns when no process has the filter any more.
func (l *Listener) AwaitEnd() {
	fds := []unix.PollFd{{Fd: int32(l.fd)}}
	for {
		if n, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR || n > 0 && fds[0].Revents != 0 {
			return
		}
	}
}

func (l *Listener) send(r *response) error { return l.ioctl(ioctlSend, unsafe.Pointer(r)) }

// Return answers a call with its result. As with the others, an error (ENOENT) says
// that nobody waits any more.
func (l *Listener) Return(c *Call, val int64) error {
	return l.send(&response{id: c.ID, val: val})
}

// Fail answers a call with an error.
func (l *Listener) Fail(c *Call, e unix.Errno) error {
	return l.send(&response{id: c.ID, error: -int32(e)})
}

// Continue has the host's kernel carry a call out.
func (l *Listener) Continue(c *Call) error {
	return l.send(&response{id: c.ID, flags: flagContinue})
}

// Valid tells whether the caller still waits.
func (l *Listener) Valid(c *Call) bool {
	id := c.ID
	return l.ioctl(ioctlIDValid, unsafe.Pointer(&id)) == nil
}

// ReturnFD answers a call with a copy of a descriptor in the caller's process, as the
// lowest free number, which it returns. It fails with what the caller is to be told,
// EMFILE for example; then the call is not answered yet.
//
// A signal to this thread would have the kernel restart the request after the answer
// has been marked as given, and the call would return 0 without a descriptor. So there
// are none meanwhile.
func (l *Listener) ReturnFD(c *Call, fd int, cloexec bool) (int, error) {
	req := addfd{id: c.ID, flags: addfdSend, srcfd: uint32(fd)}
	if cloexec {
		req.newfdFlags = unix.O_CLOEXEC
	}
	num, e := l.addFD(&req)
	if e != 0 {
		return -1, e
	}
	return num, nil
}

// ReplaceFD puts a copy of a descriptor into the caller's process as num, in the place
// of what that was, without an answer.
func (l *Listener) ReplaceFD(c *Call, fd, num int, cloexec bool) error {
	req := addfd{id: c.ID, flags: addfdSetFD, srcfd: uint32(fd), newfd: uint32(num)}
	if cloexec {
		req.newfdFlags = unix.O_CLOEXEC
	}
	if _, e := l.addFD(&req); e != 0 {
		return e
	}
	return nil
}

// allSignals has all bits set.
var allSignals = func() (set unix.Sigset_t) {
	for i := range set.Val {
		set.Val[i] = ^set.Val[i]
	}
	return set
}()

// addFD makes a request without signals to this thread meanwhile.
func (l *Listener) addFD(req *addfd) (int, unix.Errno) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var was unix.Sigset_t
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &allSignals, &was); err != nil {
		return -1, err.(unix.Errno)
	}
	num, _, e := unix.RawSyscall(unix.SYS_IOCTL, uintptr(l.fd), ioctlAddFD, uintptr(unsafe.Pointer(req)))
	unix.PthreadSigmask(unix.SIG_SETMASK, &was, nil)
	return int(num), e
}
