//go:build amd64 || arm64

package hijack

import (
	"bytes"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/procnet"
)

// open is open(2) and its kin, where --procnet has them trapped: files of /proc/net, and
// those that stand for resolv.conf(5) and hosts(5), are answered with a file in memory.
func (t *trap) open() {
	at := t.Args[1]
	if isOpen(int(t.Nr)) {
		at = t.Args[0]
	}
	name, ok := t.pathAt(at)
	if !ok {
		t.native()
		return
	}
	b, ok := t.s.standIn(name)
	if !ok {
		t.native()
		return
	}
	fd, err := unix.MemfdCreate(path.Base(name), unix.MFD_CLOEXEC)
	if err != nil {
		t.fail(errnoOf(err))
		return
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	if _, err := f.WriteAt(b, 0); err != nil {
		t.fail(unix.EIO)
		return
	}
	// Read-only, as the file that it stands for.
	ro, err := unix.Open("/proc/self/fd/"+strconv.Itoa(fd), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.fail(errnoOf(err))
		return
	}
	defer unix.Close(ro)
	if _, err := t.s.l.ReturnFD(&t.Call, ro, t.openFlags()&unix.O_CLOEXEC != 0); err != nil {
		t.fail(errnoOf(err))
	}
}

// openFlags are the flags of the call.
func (t *trap) openFlags() int {
	switch n := int(t.Nr); {
	case isOpen(n):
		return t.arg(1)
	case n == unix.SYS_OPENAT2:
		var how [8]byte
		if t.read(t.Args[2], how[:]) != 0 {
			return 0
		}
		return int(native.Uint64(how[:]))
	}
	return t.arg(2)
}

// pathAt reads a path of the program's. One that is not absolute is of no interest.
func (t *trap) pathAt(addr uint64) (string, bool) {
	const most = 64 // longer ones are not of those that matter
	b := make([]byte, most)
	// It may end just before memory that is not there.
	n := most - int(addr%most)
	if t.read(addr, b[:n]) != 0 {
		return "", false
	}
	if bytes.IndexByte(b[:n], 0) < 0 {
		if n == most || t.read(addr+uint64(n), b[n:]) != 0 {
			return "", false
		}
		n = most
	}
	end := bytes.IndexByte(b[:n], 0)
	if end <= 0 || b[0] != '/' {
		return "", false
	}
	return path.Clean(string(b[:end])), true
}

// standIn is what a program finds in a file.
func (s *supervisor) standIn(name string) ([]byte, bool) {
	for _, f := range s.standIns {
		if f.to == name {
			b, err := os.ReadFile(f.from)
			return b, err == nil
		}
	}
	rest, ok := strings.CutPrefix(name, "/proc/")
	if !ok {
		return nil, false
	}
	// /proc/net/X, /proc/self/net/X, /proc/N/net/X
	if _, after, found := strings.Cut(rest, "/net/"); found {
		rest = "net/" + after
	}
	file, ok := strings.CutPrefix(rest, "net/")
	if !ok {
		return nil, false
	}
	if slices.Contains(ownFiles, file) {
		b, err := s.localSockets()
		return b, err == nil
	}
	b, err := procnet.Read(s.ctx, s.view, s.ownerOf, file)
	return b, err == nil
}
