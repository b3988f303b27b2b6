//go:build amd64 || arm64

package hijack

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// inEpoll is what an epoll has: a file, by the number that its descriptor had when it was added.
type inEpoll struct {
	num   int
	inode uint32
	event unix.EpollEvent
}

// readEpoll tells what an epoll has, by its file in a directory fdinfo.
func readEpoll(process string, epoll int) ([]inEpoll, error) {
	info, err := os.ReadFile(fmt.Sprintf("/proc/%s/fdinfo/%d", process, epoll))
	if err != nil {
		return nil, err
	}
	var list []inEpoll
	for line := range strings.Lines(string(info)) {
		if in, ok := parseInEpoll(line); ok {
			list = append(list, in)
		}
	}
	return list, nil
}

// parseInEpoll reads a line of that file (proc_pid_fdinfo(5)), if it is about a file in the epoll:
//
//	tfd:        7 events:     2019 data:                7  pos:0 ino:1e sdev:9
func parseInEpoll(line string) (in inEpoll, ok bool) {
	f := strings.Fields(line)
	if len(f) < 8 || f[0] != "tfd:" || f[2] != "events:" || f[4] != "data:" {
		return in, false
	}
	hex, found := strings.CutPrefix(f[7], "ino:")
	num, err := strconv.ParseInt(f[1], 10, 32)
	events, err2 := strconv.ParseUint(f[3], 16, 32)
	data, err3 := strconv.ParseUint(f[5], 16, 64)
	inode, err4 := strconv.ParseUint(hex, 16, 64)
	for _, err := range []error{err, err2, err3, err4} {
		if err != nil {
			return in, false
		}
	}
	return inEpoll{
		num: int(num), inode: uint32(inode),
		event: unix.EpollEvent{Events: uint32(events), Fd: int32(data), Pad: int32(data >> 32)},
	}, found
}

// readWatches tells the numbers of what an inotify of this process watches.
func readWatches(inotify int) (map[int32]bool, error) {
	info, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", inotify))
	if err != nil {
		return nil, err
	}
	there := make(map[int32]bool)
	for line := range strings.Lines(string(info)) {
		if !strings.HasPrefix(line, "inotify ") {
			continue
		}
		wd, ok := parseWatch(line)
		if !ok {
			// Who is not in the list is taken to be gone.
			return nil, fmt.Errorf("fdinfo of inotify: %q", line)
		}
		there[wd] = true
	}
	return there, nil
}

// parseWatch reads a line of its file in a directory fdinfo (proc_pid_fdinfo(5)), if it is about something that is watched:
//
//	inotify wd:3 ino:9e7e sdev:800013 mask:800afce ignored_mask:0 fhandle-bytes:8 fhandle-type:1 f_handle:7e9e0000640d1b6d
func parseWatch(line string) (wd int32, ok bool) {
	rest, found := strings.CutPrefix(line, "inotify wd:")
	hex, _, more := strings.Cut(rest, " ")
	n, err := strconv.ParseUint(hex, 16, 31)
	return int32(n), found && more && err == nil
}

// waitingFDs tells how many descriptors wait in messages that a local socket has not received yet, by its file in a directory fdinfo:
//
//	scm_fds: 2
func waitingFDs(info []byte) (n int) {
	for line := range strings.Lines(string(info)) {
		if rest, found := strings.CutPrefix(line, "scm_fds:"); found {
			if waiting, err := strconv.ParseUint(strings.TrimSpace(rest), 10, 31); err == nil {
				n = int(waiting)
			}
		}
	}
	return n
}
