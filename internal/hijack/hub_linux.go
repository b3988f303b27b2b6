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
	mu   sync.Mutex
	fd   int
	addr *unix.SockaddrUnix
}

func newHub(path string) (*hub, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	h := &hub{fd: fd, addr: &unix.SockaddrUnix{Name: path}}
	if err := unix.Bind(fd, h.addr); err != nil {
		unix.Close(fd)
		return nil, &os.PathError{Op: "bind", Path: path, Err: err}
	}
	if err := unix.Listen(fd, 16); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("listen", err)
	}
	return h, nil
}

func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	unix.Close(h.fd)
	h.fd = -1
}

// join connects S and returns K, which is non-blocking and has the seed in it. One at a
// time: what is accepted is what was connected.
func (h *hub) join(s int) (k int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := unix.Connect(s, h.addr); err != nil {
		return -1, err
	}
	for {
		k, _, err = unix.Accept4(h.fd, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
		if err != unix.EINTR {
			break
		}
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
