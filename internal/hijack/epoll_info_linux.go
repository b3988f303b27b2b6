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
