//go:build amd64 || arm64

package hijack

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/ownthread"
)

// A socket in the place of another is in no epoll(7) that the other was in: the host takes that one out when its last
// descriptor goes, and programs do not know that it has gone.

// mark is a place in an epoll, which is the descriptor num of the program's.
type mark struct {
	num   int
	event unix.EpollEvent
}

// marks are the places that a descriptor has in the epolls of its process.
func marks(tid uint32, num int, inode uint32) (list []mark) {
	dir := fmt.Sprintf("/proc/%d/fd", tid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	for _, entry := range entries {
		if link, err := os.Readlink(dir + "/" + entry.Name()); err != nil || link != "anon_inode:[eventpoll]" {
			continue
		}
		epoll, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		info, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%d", tid, epoll))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(info)) {
			if m, ok := parseMark(line, num, inode); ok {
				m.num = epoll
				list = append(list, m)
			}
		}
	}
	return list
}

// parseMark reads a line of an epoll's fdinfo (proc_pid_fdinfo(5)), if it is about a descriptor:
//
//	tfd:        7 events:     2019 data:                7  pos:0 ino:1e sdev:9
func parseMark(line string, num int, inode uint32) (m mark, ok bool) {
	f := strings.Fields(line)
	if len(f) < 8 || f[0] != "tfd:" || f[1] != strconv.Itoa(num) || f[2] != "events:" || f[4] != "data:" {
		return m, false
	}
	ino, found := strings.CutPrefix(f[7], "ino:")
	if n, err := strconv.ParseUint(ino, 16, 64); !found || err != nil || uint32(n) != inode {
		return m, false
	}
	events, err := strconv.ParseUint(f[3], 16, 32)
	if err != nil {
		return m, false
	}
	data, err := strconv.ParseUint(f[5], 16, 64)
	if err != nil {
		return m, false
	}
	m.event = unix.EpollEvent{Events: uint32(events), Fd: int32(data), Pad: int32(data >> 32)}
	return m, true
}

// putBack puts a descriptor, fd here and num of the program's, where another was.
func (t *targets) putBack(tid uint32, fd, num int, list []mark) {
	if len(list) == 0 {
		return
	}
	epolls := make([]int, len(list))
	for i, m := range list {
		epoll, err := t.borrow(tid, m.num)
		if err == nil {
			defer unix.Close(epoll)
		} else {
			epoll = -1
		}
		epolls[i] = epoll
	}
	done := make(chan struct{})
	// An epoll knows a file together with its number, which is to be the program's. So this is done by a thread with a
	// table of descriptors of its own, which ends with it.
	ownthread.Go(func() {
		defer close(done)
		if unix.Unshare(unix.CLONE_FILES) != nil {
			return
		}
		// What has the number here may be one of the epolls.
		for i := range epolls {
			if fd, err := unix.FcntlInt(uintptr(epolls[i]), unix.F_DUPFD_CLOEXEC, num+1); err == nil {
				epolls[i] = fd
			} else {
				epolls[i] = -1
			}
		}
		if fd != num && unix.Dup3(fd, num, unix.O_CLOEXEC) != nil {
			return
		}
		for i := range list {
			unix.EpollCtl(epolls[i], unix.EPOLL_CTL_ADD, num, &list[i].event)
		}
	})
	<-done
}
