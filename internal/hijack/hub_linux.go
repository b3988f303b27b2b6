//go:build amd64 || arm64

package hijack

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"rumptools/internal/seeded"
)

// The hub gives a program's socket S, of AF_UNIX and not connected, its other end: S
// is connected to a listener of ours.
type hub struct {
	mu     sync.Mutex
	fd     int // -1 when there is none
	addr   *unix.SockaddrUnix
	closed bool
}

func newHub(path string) (*hub, error) {
	h := &hub{fd: -1, addr: &unix.SockaddrUnix{Name: path}}
	if err := h.listen(); err != nil {
		return nil, err
	}
	return h, nil
}

func (h *hub) listen() error {
	if h.closed {
		return os.ErrClosed
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	unix.Unlink(h.addr.Name) // of one before
	if err := unix.Bind(fd, h.addr); err != nil {
		unix.Close(fd)
		return &os.PathError{Op: "bind", Path: h.addr.Name, Err: err}
	}
	if err := unix.Listen(fd, 16); err != nil {
		unix.Close(fd)
		return os.NewSyscallError("listen", err)
	}
	h.fd = fd
	return nil
}

func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	h.stop()
}

func (h *hub) stop() {
	if h.fd >= 0 {
		unix.Close(h.fd)
		h.fd = -1
	}
}

// join connects S and returns K, which is non-blocking and has the seed in it. One at a
// time: what is accepted is what was connected.
func (h *hub) join(s int) (k int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fd < 0 {
		if err := h.listen(); err != nil {
			return -1, err
		}
	}
	if err := unix.Connect(s, h.addr); err != nil {
		return -1, err
	}
	for {
		k, _, err = unix.Accept4(h.fd, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		// For want of a descriptor, mostly. What was connected is still there, and would be accepted in the place of
		// the next one: that this one ends resets it.
		h.stop()
	}
	if err == nil {
		err = seeded.Sow(s)
	}
	if err == nil && seeded.Waiting(k) > 0 {
		// Another thread of the program's has written before it was connected for
		// the program: which byte is the seed is not known.
		err = unix.ECONNABORTED
	}
	if err != nil && k >= 0 {
		unix.Close(k)
		k = -1
	}
	return k, err
}
