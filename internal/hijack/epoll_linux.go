//go:build amd64 || arm64

package hijack

import (
	"fmt"
	"math"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/ownthread"
)

// A socket in the place of another is in no epoll(7) that the other was in: the host takes that one out when its last
// descriptor goes, and programs do not know that it has gone.

// spot is a descriptor of a socket in a process.
type spot struct {
	num   int
	marks []mark
}

// mark is a place in an epoll, which is the descriptor epoll of the process.
type mark struct {
	epoll int
	event unix.EpollEvent
}

// spots are the descriptors that a thread's process has of a socket.
func spots(tid uint32, inode uint32) (list []spot) {
	dir := fmt.Sprintf("/proc/%d/fd/", tid)
	link := socketLink(inode)
	var epolls []int
	for _, name := range namesIn(dir) {
		num, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		switch l, _ := os.Readlink(dir + name); l {
		case link:
			list = append(list, spot{num: num})
		case "anon_inode:[eventpoll]":
			epolls = append(epolls, num)
		}
	}
	for _, epoll := range epolls {
		has, err := readEpoll(strconv.Itoa(int(tid)), epoll)
		if err != nil {
			continue
		}
		for _, in := range has {
			for i, at := range list {
				if in.num == at.num && in.inode == inode {
					list[i].marks = append(list[i].marks, mark{epoll, in.event})
				}
			}
		}
	}
	return list
}

// putBack puts a descriptor, fd here and num of the program's, where another was.
func (t *targets) putBack(tid uint32, fd, num int, list []mark) {
	if len(list) == 0 {
		return
	}
	epolls := make([]int, len(list))
	for i, m := range list {
		epoll, err := t.borrow(tid, m.epoll)
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
		// What it has copies of is not to be open any longer than others want, and the thread ends some time later.
		defer unix.CloseRange(0, math.MaxUint32, 0)
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
