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
	pidfds map[uint32]int
}

// maxPidfds is how many pidfds are kept.
const maxPidfds = 512

func newTargets() *targets { return &targets{pidfds: make(map[uint32]int)} }

func (t *targets) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for tid, fd := range t.pidfds {
		unix.Close(fd)
		delete(t.pidfds, tid)
	}
}

// open makes a pidfd of a thread. Before Linux 6.9 there are only those of processes,
// which have the descriptors of all threads but those that went their own way.
func (t *targets) open(tid uint32) (int, error) {
	fd, err := unix.PidfdOpen(int(tid), unix.PIDFD_THREAD)
	if err == unix.EINVAL {
		var pid int
		if pid, err = processOf(tid); err == nil {
			fd, err = unix.PidfdOpen(pid, 0)
		}
	}
	return fd, err
}

// borrow returns a copy of the descriptor num of a thread. The caller closes it.
func (t *targets) borrow(tid uint32, num int) (int, error) {
	t.mu.RLock()
	pidfd, known := t.pidfds[tid]
	if known {
		fd, err := unix.PidfdGetfd(pidfd, num, 0)
		t.mu.RUnlock()
		if err != unix.ESRCH {
			return fd, err
		}
	} else {
		t.mu.RUnlock()
	}
	pidfd, err := t.open(tid)
	if err != nil {
		return -1, err
	}
	fd, err := unix.PidfdGetfd(pidfd, num, 0)
	t.mu.Lock()
	defer t.mu.Unlock()
	if old, ok := t.pidfds[tid]; ok {
		unix.Close(old)
	} else if len(t.pidfds) >= maxPidfds {
		for id, old := range t.pidfds {
			unix.Close(old)
			delete(t.pidfds, id)
			break
		}
	}
	t.pidfds[tid] = pidfd
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
	i := bytes.Index(b, []byte("\n"+key))
	if i < 0 {
		return 0, unix.ESRCH
	}
	b = b[i+1+len(key):]
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		b = b[:i]
	}
	return strconv.ParseUint(string(bytes.TrimSpace(b)), base, 64)
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
