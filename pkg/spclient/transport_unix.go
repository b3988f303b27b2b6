//go:build unix

package spclient

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// fdTransport is a transport over a socket's descriptor. It uses calls for sockets
// alone, which refuse anything else, and waits with the runtime's poller.
type fdTransport struct {
	f   *os.File
	raw syscall.RawConn

	// What read and send are doing. The functions are made once, for a
	// closure that is made for each call would be allocated for each.
	rd struct {
		fn  func(fd uintptr) bool
		p   []byte
		n   int
		err error
	}
	wr struct {
		fn         func(fd uintptr) bool
		head, body []byte
		wait       bool
		n          int
		err        error
	}
}

// newTransport takes a connection over. When it has a descriptor, that is
// replaced with one that is none of 0, 1 and 2 and close-on-exec.
func newTransport(nc net.Conn) (transport, error) {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return netTransport{nc}, nil
	}
	defer nc.Close()
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil, err
	}
	var fd int
	if cerr := raw.Control(func(old uintptr) {
		fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 3)
	}); cerr != nil {
		return nil, cerr
	}
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	// The file's name is what its errors would speak of; none gets out.
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	noSigpipe(fd)
	t := &fdTransport{f: os.NewFile(uintptr(fd), "rump kernel")}
	if t.raw, err = t.f.SyscallConn(); err != nil {
		t.f.Close()
		return nil, err
	}
	t.rd.fn, t.wr.fn = t.receive, t.sendmsg
	return t, nil
}

func (t *fdTransport) read(p []byte) (int, error) {
	t.rd.p = p
	err := t.raw.Read(t.rd.fn)
	n := t.rd.n
	if err == nil {
		err = t.rd.err
	}
	t.rd.p, t.rd.n, t.rd.err = nil, 0, nil
	return n, err
}

// receive returns false to be called again when there is something to read.
func (t *fdTransport) receive(fd uintptr) bool {
	for {
		n, err := recv(int(fd), t.rd.p)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return false
		case err != nil:
			t.rd.err = os.NewSyscallError("recv", err)
		case n == 0:
			t.rd.err = io.EOF
		default:
			t.rd.n = n
		}
		return true
	}
}

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
func (t *fdTransport) sendmsg(fd uintptr) bool {
	for len(t.wr.head)+len(t.wr.body) > 0 {
		var n int
		var err error
		if len(t.wr.body) == 0 {
			n, err = unix.SendmsgN(int(fd), t.wr.head, nil, nil, sendFlags)
		} else {
			n, err = unix.SendmsgBuffers(int(fd), [][]byte{t.wr.head, t.wr.body}, nil, nil, sendFlags)
		}
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

func (t *fdTransport) expire(at time.Time) { t.f.SetReadDeadline(at) }

// close ends the connection in both directions first: a descriptor that another
// process has inherited must not keep it up.
func (t *fdTransport) close() error {
	t.raw.Control(func(fd uintptr) { unix.Shutdown(int(fd), unix.SHUT_RDWR) })
	return t.f.Close()
}

// isNoListener tells whether connecting failed because nobody listens.
func isNoListener(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ECONNREFUSED)
}

// isListenerBusy tells whether connecting to a local socket failed because the
// listener has not accepted others yet.
func isListenerBusy(err error) bool { return errors.Is(err, unix.EAGAIN) }

// isReset tells whether the peer closed a connection in which it had something
// to read.
func isReset(err error) bool { return errors.Is(err, unix.ECONNRESET) }
