//go:build amd64 || arm64

package hijack

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// targets reaches into the threads of the supervised programs. It keeps their
// pidfds: a pidfd never leads to a later process of the same number.
type targets struct {
	mu     sync.RWMutex
	pidfds map[uint32]pidfd // by thread
}

type pidfd struct {
	fd int
	// process is whose pidfd it is where there are none of threads, else 0.
	process int
}

// getfd takes a copy of the thread's descriptor num.
func (p pidfd) getfd(tid uint32, num int) (int, error) {
	fd, err := unix.PidfdGetfd(p.fd, num, 0)
	// The thread's number may be another process's by now.
	if err == nil && p.process != 0 && unix.Tgkill(p.process, int(tid), 0) == unix.ESRCH {
		unix.Close(fd)
		return -1, unix.ESRCH
	}
	return fd, err
}

// maxPidfds is how many pidfds are kept.
const maxPidfds = 512

func newTargets() *targets { return &targets{pidfds: make(map[uint32]pidfd)} }

func (t *targets) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for tid, p := range t.pidfds {
		unix.Close(p.fd)
		delete(t.pidfds, tid)
	}
}

// openPidfd makes a pidfd of a thread. Before Linux 6.9 there are only those of processes,
// which have the descriptors of all threads but those that went their own way.
func openPidfd(tid uint32) (p pidfd, err error) {
	p.fd, err = unix.PidfdOpen(int(tid), unix.PIDFD_THREAD)
	if err == unix.EINVAL {
		if p.process, err = processOf(tid); err == nil {
			p.fd, err = unix.PidfdOpen(p.process, 0)
		}
	}
	return p, err
}

// borrow returns a copy of the descriptor num of a thread. The caller closes it.
func (t *targets) borrow(tid uint32, num int) (int, error) {
	t.mu.RLock()
	p, known := t.pidfds[tid]
	if known {
		fd, err := p.getfd(tid, num)
		t.mu.RUnlock()
		if err != unix.ESRCH {
			return fd, err
		}
	} else {
		t.mu.RUnlock()
	}
	p, err := openPidfd(tid)
	if err != nil {
		return -1, err
	}
	fd, err := p.getfd(tid, num)
	t.mu.Lock()
	defer t.mu.Unlock()
	if old, ok := t.pidfds[tid]; ok {
		unix.Close(old.fd)
	} else if len(t.pidfds) >= maxPidfds {
		for id, old := range t.pidfds {
			unix.Close(old.fd)
			delete(t.pidfds, id)
			break
		}
	}
	t.pidfds[tid] = p
	return fd, err
}

// processOf returns the process that a thread is of.
func processOf(tid uint32) (int, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", tid))
	if err != nil {
		return 0, unix.ESRCH
	}
	return statusNumber(b, "Tgid:", 10)
}

// statusNumber finds a number in /proc/PID/status.
func statusNumber(b []byte, key string, base int) (int, error) {
	n, err := statusBits(b, key, base)
	return int(n), err
}

func statusBits(b []byte, key string, base int) (uint64, error) {
	field := statusField(b, key)
	if field == nil {
		return 0, unix.ESRCH
	}
	return strconv.ParseUint(string(field), base, 64)
}

// statusField finds what follows a key in /proc/PID/status, nil if it is not there.
func statusField(b []byte, key string) []byte {
	i := bytes.Index(b, []byte("\n"+key))
	if i < 0 {
		return nil
	}
	b = b[i+1+len(key):]
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		b = b[:i]
	}
	return bytes.TrimSpace(b)
}

// readMemory reads all of b at addr of a thread's memory, or fails with EFAULT.
func readMemory(tid uint32, addr uint64, b []byte) error {
	if len(b) == 0 {
		return nil
	}
	n, err := unix.ProcessVMReadv(int(tid),
		[]unix.Iovec{{Base: &b[0], Len: uint64(len(b))}},
		[]unix.RemoteIovec{{Base: uintptr(addr), Len: len(b)}}, 0)
	if err == nil && n != len(b) {
		err = unix.EFAULT
	}
	return err
}

// writeMemory writes all of b, or fails with EFAULT.
func writeMemory(tid uint32, addr uint64, b []byte) error {
	if len(b) == 0 {
		return nil
	}
	n, err := unix.ProcessVMWritev(int(tid),
		[]unix.Iovec{{Base: &b[0], Len: uint64(len(b))}},
		[]unix.RemoteIovec{{Base: uintptr(addr), Len: len(b)}}, 0)
	if err == nil && n != len(b) {
		err = unix.EFAULT
	}
	return err
}
