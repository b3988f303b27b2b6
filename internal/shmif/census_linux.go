package shmif

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// holderRun is more processor time than a party needs to give the lock back,
// by a factor of a hundred or so.
const holderRun = 2 * time.Millisecond

// census tells, for each thread of the other processes that have the bus mapped,
// what it is doing. It is nil if /proc cannot tell.
type census map[string]thread

type thread struct {
	process string
	state   byte          // as in /proc/PID/stat
	ran     time.Duration // processor time used so far
}

// takeCensus looks up the processes that map the file that is mapped at base.
// This process is left out: a goroutine that holds the lock cannot be stopped
// for seconds while this one runs.
func takeCensus(base uintptr) census {
	identity := mappingIdentity(base)
	if identity == nil {
		return nil
	}
	processes, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	c := make(census)
	self := strconv.Itoa(os.Getpid())
	for _, p := range processes {
		pid := p.Name()
		if pid[0] < '0' || pid[0] > '9' || pid == self {
			continue
		}
		maps, err := os.ReadFile(filepath.Join("/proc", pid, "maps"))
		if err != nil || !bytes.Contains(maps, identity) {
			continue // ended, hidden, or no party
		}
		c.addProcess(pid)
	}
	return c
}

// mappingIdentity gives the part of a line of /proc/PID/maps that names device
// and inode of the file mapped at base. Those from stat(2) may differ (btrfs,
// overlayfs).
func mappingIdentity(base uintptr) []byte {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return nil
	}
	start := fmt.Appendf(nil, "%x-", base)
	for line := range bytes.Lines(maps) {
		// 7f1fe0000000-7f1fe0100000 rw-s 00000000 00:1c 12345   /path
		if bytes.HasPrefix(bytes.TrimLeft(line, "0"), start) {
			if f := bytes.Fields(line); len(f) >= 5 {
				return fmt.Appendf(nil, " %s %s ", f[3], f[4])
			}
		}
	}
	return nil
}

func (c census) addProcess(pid string) {
	tasks, _ := filepath.Glob(filepath.Join("/proc", pid, "task", "*"))
	for _, dir := range tasks {
		stat, err := os.ReadFile(filepath.Join(dir, "stat"))
		if err != nil {
			continue // ended
		}
		// The second field is the name in parentheses, and may hold any.
		i := bytes.LastIndexByte(stat, ')')
		if i < 0 || i+2 >= len(stat) {
			continue
		}
		t := thread{process: pid, state: stat[i+2]}
		if s, err := os.ReadFile(filepath.Join(dir, "schedstat")); err == nil {
			ran, _, _ := strings.Cut(string(s), " ")
			ns, _ := strconv.ParseInt(ran, 10, 64)
			t.ran = time.Duration(ns)
		}
		c[filepath.Join(pid, filepath.Base(dir))] = t
	}
}

// suspects names the processes with a thread that may be holding the lock: one
// that neither sleeps nor has run for long since an earlier census, which was
// taken when the lock was already stuck.
func (c census) suspects(earlier census) []string {
	var list []string
	for id, t := range c {
		var what string
		switch t.state {
		case 'S', 'I', 'Z', 'X':
			continue
		case 'T', 't':
			what = "which is stopped"
		case 'R':
			what = "which does not get to run"
		default:
			what = "which waits for the disk"
		}
		if old, ok := earlier[id]; ok && t.ran-old.ran >= holderRun {
			continue
		}
		s := fmt.Sprintf("process %s, %s", t.process, what)
		if !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	slices.Sort(list)
	return list
}
