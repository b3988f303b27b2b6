//go:build amd64 || arm64

package hijack

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// descendants returns the processes below this one, as names in /proc.
func descendants() []string {
	var all []string
	next := []string{strconv.Itoa(os.Getpid())}
	for len(next) > 0 {
		pid := next[0]
		next = next[1:]
		tasks, err := os.ReadDir("/proc/" + pid + "/task")
		if err != nil {
			continue
		}
		for _, task := range tasks {
			b, err := os.ReadFile("/proc/" + pid + "/task/" + task.Name() + "/children")
			if err != nil {
				continue
			}
			children := strings.Fields(string(b))
			all = append(all, children...)
			next = append(next, children...)
		}
	}
	return all
}

// tryFD takes a copy of a process's descriptor if that is S.
func (x *socket) tryFD(pid, name string) (int, bool) {
	link, err := os.Readlink("/proc/" + pid + "/fd/" + name)
	if err != nil || !strings.HasPrefix(link, "socket:") {
		return -1, false
	}
	tid, err1 := strconv.ParseUint(pid, 10, 32)
	num, err2 := strconv.Atoi(name)
	if err1 != nil || err2 != nil {
		return -1, false
	}
	fd, err := x.s.t.borrow(uint32(tid), num)
	if err != nil {
		return -1, false
	}
	if x.is(fd) {
		return fd, true
	}
	unix.Close(fd)
	return -1, false
}

// socketLink is what a descriptor of a socket is a link to (proc_pid_fd(5)).
func socketLink(inode uint32) string { return fmt.Sprintf("socket:[%d]", inode) }

// namesIn are the names in a directory, in no order.
func namesIn(path string) []string {
	dir, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	return names
}

// holders are descriptors of all sockets that processes below this one have, by what they are links to.
func holders() map[string]holder {
	all := make(map[string]holder)
	for _, pid := range descendants() {
		tid, err := strconv.ParseUint(pid, 10, 32)
		if err != nil {
			continue
		}
		dir := "/proc/" + pid + "/fd/"
		for _, name := range namesIn(dir) {
			link, err1 := os.Readlink(dir + name)
			num, err2 := strconv.Atoi(name)
			if err1 == nil && err2 == nil && strings.HasPrefix(link, "socket:") {
				all[link] = holder{uint32(tid), num}
			}
		}
	}
	return all
}

// heldElsewhere tells whether another process than that of a thread has S, too.
func (x *socket) heldElsewhere(tid uint32) bool {
	mine, err := processOf(tid)
	if err != nil {
		return true
	}
	link := socketLink(x.inode)
	for _, pid := range descendants() {
		if pid == strconv.Itoa(mine) {
			continue
		}
		dir := "/proc/" + pid + "/fd/"
		for _, name := range namesIn(dir) {
			if l, _ := os.Readlink(dir + name); l == link {
				return true
			}
		}
	}
	return false
}

// passes tells whether descriptors that programs have sent each other wait to be received. Which ones the host does not tell.
func (s *supervisor) passes() bool {
	ours := make(map[string]bool)
	for _, x := range s.all() {
		x.mu.Lock()
		ours[socketLink(x.inode)] = true
		x.mu.Unlock()
	}
	for _, pid := range descendants() {
		dir := "/proc/" + pid + "/fd/"
		for _, name := range namesIn(dir) {
			link, err := os.Readlink(dir + name)
			if err != nil || !strings.HasPrefix(link, "socket:") || ours[link] {
				continue
			}
			if info, err := os.ReadFile("/proc/" + pid + "/fdinfo/" + name); err == nil && waitingFDs(info) > 0 {
				return true
			}
		}
	}
	return false
}
