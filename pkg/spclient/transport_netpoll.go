//go:build unix && !linux

package spclient

import (
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// fdTransport is a transport over a socket's descriptor. It uses sendmsg and recvmsg
// alone, which refuse files and pipes, compares the socket's identity before
// each, for the number may have become another file's, and waits with the
// runtime's poller.
type fdTransport struct {
	f   *os.File
	fd  int
	id  identity
	raw syscall.RawConn

	// What read and send are doing. The functions are made once, for a
	// closure that is made for each call would be allocated for each.
	rd struct {
		fn   func(fd uintptr) bool
		bufs [2][]byte
		n    int
		err  error
	}
	wr struct {
		fn         func(fd uintptr) bool
		head, body []byte
		wait       bool
		n          int
		err        error
	}
	peek    func(fd uintptr) bool
	peekErr error
}

// newSocketTransport takes a connected socket's descriptor over, which it closes
// when it fails.
func newSocketTransport(fd int) (transport, error) {
	id, err := identify(fd)
	if err == nil {
		err = os.NewSyscallError("fcntl", unix.SetNonblock(fd, true))
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	noSigpipe(fd)
	// The file's name is what its errors would speak of; none gets out.
	t := &fdTransport{f: os.NewFile(uintptr(fd), "rump kernel"), fd: fd, id: id}
	if t.raw, err = t.f.SyscallConn(); err != nil {
		t.f.Close()
		return nil, err
	}
	t.rd.fn, t.wr.fn, t.peek = t.recvmsg, t.sendmsg, t.hasData
	return t, nil
}

// identity is what a descriptor's number stands for.
type identity struct {
	dev, ino uint64
	mode     uint32
}

func identify(fd int) (identity, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return identity{}, os.NewSyscallError("fstat", err)
	}
	return identity{uint64(st.Dev), uint64(st.Ino), uint32(st.Mode)}, nil
}

func (t *fdTransport) check() error {
	var err error
	if cerr := t.raw.Control(func(uintptr) { err = t.same() }); cerr != nil {
		return cerr
	}
	return err
}

// same tells whether the number still is the connection's.
func (t *fdTransport) same() error {
	if id, err := identify(t.fd); err != nil || id != t.id {
		return errReplaced
	}
	return nil
}

func (t *fdTransport) receive(p, more []byte) (int, error) {
	t.rd.bufs = [2][]byte{p, more}
	err := t.raw.Read(t.rd.fn)
	n := t.rd.n
	if err == nil {
		err = t.rd.err
	}
	t.rd.bufs, t.rd.n, t.rd.err = [2][]byte{}, 0, nil
	return n, err
}

// recvmsg never asks to be called again.
func (t *fdTransport) recvmsg(uintptr) bool {
	if t.rd.err = t.same(); t.rd.err != nil {
		return true
	}
	for {
		n, _, _, _, err := unix.RecvmsgBuffers(t.fd, t.rd.bufs[:], nil, unix.MSG_DONTWAIT)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
		case err != nil:
			t.rd.err = os.NewSyscallError("recvmsg", err)
		case n == 0:
			t.rd.err = io.EOF
		default:
			t.rd.n = n
		}
		return true
	}
}

func (t *fdTransport) await() error {
	t.peekErr = nil
	if err := t.raw.Read(t.peek); err != nil {
		return err
	}
	return t.peekErr
}

// hasData returns false to be called again when there is something to read.
func (t *fdTransport) hasData(uintptr) bool {
	if t.peekErr = t.same(); t.peekErr != nil {
		return true
	}
	for {
		var b [1]byte
		_, _, _, _, err := unix.Recvmsg(t.fd, b[:], nil, unix.MSG_PEEK|unix.MSG_DONTWAIT)
		if err != unix.EINTR {
			return err != unix.EAGAIN
		}
	}
}

func (t *fdTransport) watch() error { return nil }

func (t *fdTransport) trySend(head, body []byte) (int, error) { return t.write(head, body, false) }

func (t *fdTransport) send(head, body []byte) (int, error) { return t.write(head, body, true) }

func (t *fdTransport) write(head, body []byte, wait bool) (int, error) {
	t.wr.head, t.wr.body, t.wr.wait = head, body, wait
	t.wr.n, t.wr.err = 0, nil
	err := t.raw.Write(t.wr.fn)
	t.wr.head, t.wr.body = nil, nil
	if err == nil {
		err = t.wr.err
	}
	return t.wr.n, err
}

// sendmsg sends until all is out or the socket is full. It returns false to be
// called again when the socket has room.
func (t *fdTransport) sendmsg(uintptr) bool {
	for len(t.wr.head)+len(t.wr.body) > 0 {
		if t.wr.err = t.same(); t.wr.err != nil {
			return true
		}
		n, err := unix.SendmsgBuffers(t.fd, [][]byte{t.wr.head, t.wr.body}, nil, nil, sendFlags)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return !t.wr.wait || t.wr.n > 0
		case err != nil:
			t.wr.err = os.NewSyscallError("sendmsg", err)
			return true
		}
		t.wr.n += n
		k := min(n, len(t.wr.head))
		t.wr.head = t.wr.head[k:]
		t.wr.body = t.wr.body[n-k:]
	}
	return true
}

// exec executes a program that inherits the socket. It returns only when that
// fails.
func (t *fdTransport) exec(path string, argv, env []string) error {
	var err error
	cerr := t.raw.Control(func(uintptr) {
		if err = t.same(); err == nil {
			err = execWith(t.fd, path, argv, env)
		}
	})
	if err == nil {
		err = cerr
	}
	return err
}

func (t *fdTransport) expire(at time.Time) { t.f.SetReadDeadline(at) }

// close ends the connection in both directions first: a descriptor that another
// process has inherited must not keep it up. It does nothing to a file that has
// got the number of the connection's descriptor.
func (t *fdTransport) close() error {
	var err error
	if t.raw.Control(func(uintptr) {
		if err = t.same(); err == nil {
			unix.Shutdown(t.fd, unix.SHUT_RDWR)
		}
	}) != nil {
		return nil // closed
	}
	if err != nil {
		t.f.SetDeadline(time.Unix(1, 0))
		// Its finalizer would close the other file.
		strangers.add(t.f)
		return nil
	}
	return t.f.Close()
}
