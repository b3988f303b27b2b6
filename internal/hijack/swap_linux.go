//go:build amd64 || arm64

package hijack

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// replace gives the program a new local S in the place of one that is of no use any more, as
// after a connect that failed: on Linux the same socket can be connected again. What another
// process has of the old one stays as it is.
func (x *socket) replace(t *trap) unix.Errno {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = x.swap(t, fd)
	}
	if err != nil {
		return errnoOf(err)
	}
	x.mu.Lock()
	p := x.pair
	x.pair = nil
	x.beginAgain(usable)
	x.mu.Unlock()
	if p != nil {
		p.end()
	}
	return 0
}

// swap gives the program fd in the place of S, whatever numbers that has, and the call that is trapped, too. It closes fd if
// that fails.
func (x *socket) swap(t *trap, fd int) error { return x.swapAt(t, fd, spots(t.TID, x.inode)) }

// swapAt is swap where S was just now.
func (x *socket) swapAt(t *trap, fd int, list []spot) error {
	cookie, inode, err := identify(fd)
	if err != nil {
		unix.Close(fd)
		return err
	}
	hostSettings(t.host, fd)
	// Before another thread of the program finds it.
	x.s.mu.Lock()
	x.s.sockets[cookie] = x
	x.s.mu.Unlock()
	if err := t.replaceFD(fd, t.arg(0), x.inode); err != nil {
		x.s.mu.Lock()
		delete(x.s.sockets, cookie)
		x.s.mu.Unlock()
		unix.Close(fd)
		return err
	}
	list = slices.DeleteFunc(slices.Clone(list), func(at spot) bool {
		if at.num == t.arg(0) {
			return false
		}
		err := t.replaceFD(fd, at.num, x.inode)
		if err != nil {
			t.s.say("%d: descriptor %d stays: %v", t.TID, at.num, err)
		}
		return err != nil
	})
	x.forget() // by the old cookie
	x.mu.Lock()
	x.untrack()
	x.replaced++
	x.cookie, x.inode, x.path = cookie, inode, ""
	x.mu.Unlock()
	x.track(fd)
	// The old S leaves the epolls with its last descriptor.
	unix.Close(t.host)
	t.host = fd
	for _, at := range list {
		t.s.t.putBack(t.TID, fd, at.num, at.marks)
	}
	return nil
}

// replaceFD puts fd in the place of a descriptor of the caller's that is a socket with the inode. Other threads may have closed it
// since it was found, and opened what has its number now, which is EBADF. The host replaces whatever is there: that is looked at
// last of all, with nothing but a moment in between.
func (t *trap) replaceFD(fd, num int, inode uint32) error {
	cloexec := closesOnExec(t.TID, num)
	if link, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", t.TID, num)); link != socketLink(inode) {
		return unix.EBADF
	}
	return t.s.l.ReplaceFD(&t.Call, fd, num, cloexec)
}

// hostSettings gives a socket of the host's what the program has set of another one that is the host's business.
func hostSettings(from, to int) {
	unix.SetNonblock(to, nonblocking(from))
	for _, name := range []int{unix.SO_RCVTIMEO, unix.SO_SNDTIMEO} {
		if tv, err := unix.GetsockoptTimeval(from, unix.SOL_SOCKET, name); err == nil {
			unix.SetsockoptTimeval(to, unix.SOL_SOCKET, name, tv)
		}
	}
	for _, name := range []int{unix.SO_SNDBUF, unix.SO_RCVBUF} {
		if v, err := unix.GetsockoptInt(from, unix.SOL_SOCKET, name); err == nil {
			// The kernel doubles what it is told.
			unix.SetsockoptInt(to, unix.SOL_SOCKET, name, v/2)
		}
	}
}

// closesOnExec tells whether a descriptor of a thread is close-on-exec.
func closesOnExec(tid uint32, num int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%d", tid, num))
	if err != nil {
		return false
	}
	for line := range bytes.Lines(b) {
		if rest, ok := bytes.CutPrefix(line, []byte("flags:")); ok {
			flags, err := strconv.ParseUint(string(bytes.TrimSpace(rest)), 8, 64)
			return err == nil && flags&unix.O_CLOEXEC != 0
		}
	}
	return false
}
