// Package replay is a kernel made of a recording, for tests of the tools: it
// answers system calls with what the recorded kernel answered. Calls are
// found by what they ask, not by their order, so that a tool need not make the
// calls that the recorded client made. What that never asked is noted and
// refused.
package replay

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient/spclienttest"
	"rumptools/pkg/sysproxy"
)

// Server serves a recording of a client of an amd64 kernel until the test
// ends.
type Server struct {
	// URL is where it serves.
	URL string

	calls []*call

	mu      sync.Mutex
	missing []string
	nextFD  uint64
}

// Serve starts a server for the length of a test.
func Serve(tb testing.TB, rec *spclienttest.Recording) *Server {
	tb.Helper()
	m := netbsd.AMD64
	list, err := calls(rec, m)
	if err != nil {
		tb.Fatal(err)
	}
	s := &Server{calls: list, nextFD: 3}
	done := func(c *spclienttest.Call) { c.Reply(0, 0) }
	srv := spclienttest.NewServer(tb, "unix", m, func(p *spclienttest.Peer) {
		p.Serve(map[uint32]func(*spclienttest.Call){
			netbsd.SYS_ioctl:      s.ioctl,
			netbsd.SYS___sysctl:   s.sysctl,
			netbsd.SYS___socket30: s.socket,
			netbsd.SYS_close:      done,
		})
	})
	s.URL = srv.URL()
	return s
}

// Missing describes the calls that were made and are not in the recording.
func (s *Server) Missing() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.missing)
}

// Unsent describes the recorded requests to change something that were not
// made.
func (s *Server) Unsent() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []string
	for _, c := range s.calls {
		if c.num != netbsd.SYS_ioctl || c.used != 0 {
			continue
		}
		if cmd := uint32(c.arg(1)); netbsd.IoctlIn(cmd) && !netbsd.IoctlOut(cmd) {
			list = append(list, fmt.Sprintf("%s %x", netbsd.IoctlName(netbsd.AMD64, cmd), c.read(c.arg(2))))
		}
	}
	return list
}

func (s *Server) miss(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.missing = append(s.missing, fmt.Sprintf(format, args...))
}

func (s *Server) socket(c *spclienttest.Call) {
	domain := c.Args.Uint()
	for _, rec := range s.calls {
		if rec.num == c.Num && rec.errno != 0 && uint32(rec.arg(0)) == domain {
			c.Fail(rec.errno)
			return
		}
	}
	s.mu.Lock()
	s.nextFD++
	fd := s.nextFD
	s.mu.Unlock()
	c.Reply(fd, 0)
}

func (s *Server) ioctl(c *spclienttest.Call) {
	c.Args.Int()
	cmd, addr := uint32(c.Args.Word()), c.Args.Ptr()
	var data []byte
	if netbsd.IoctlIn(cmd) {
		data = c.CopyIn(addr, netbsd.IoctlSize(cmd))
	}
	rec := s.findIoctl(cmd, data)
	if rec == nil {
		s.miss("%s %x", netbsd.IoctlName(c.Machine, cmd), data)
		c.Fail(netbsd.ENOTTY)
		return
	}
	offset, hasPointer := pointerIn(cmd)
	for _, out := range rec.out {
		at, b := addr, slices.Clone(out.data)
		if hasPointer {
			// The recorded client's addresses are not this one's.
			theirs := c.Machine.Word(rec.read(rec.arg(2))[offset:])
			ours := c.Machine.Word(data[offset:])
			if out.addr == rec.arg(2) {
				c.Machine.PutWord(b[offset:], ours)
			} else {
				at = ours + out.addr - theirs
			}
		}
		c.CopyOut(at, b)
	}
	if rec.errno != 0 {
		c.Fail(rec.errno)
		return
	}
	c.Reply(0, 0)
}

// pointerIn tells where a request's argument has an address.
func pointerIn(cmd uint32) (offset int, ok bool) {
	i, ok := netbsd.LookupIoctl(netbsd.AMD64, cmd)
	if !ok {
		return 0, false
	}
	switch i {
	case netbsd.SIOCGLINKSTR, netbsd.SIOCSLINKSTR:
		return netbsd.Offsetof(netbsd.AMD64, netbsd.Ifdrv{}, "ifd_data"), true
	case netbsd.SIOCIFGCLONERS:
		return netbsd.Offsetof(netbsd.AMD64, netbsd.IfClonereq{}, "ifcr_buffer"), true
	case netbsd.SIOCGIFMEDIA:
		return netbsd.Offsetof(netbsd.AMD64, netbsd.Ifmediareq{}, "ifm_ulist"), true
	}
	return 0, false
}

// findIoctl finds the recorded request that asks the same, one that was not
// answered yet if there is one.
func (s *Server) findIoctl(cmd uint32, data []byte) *call {
	s.mu.Lock()
	defer s.mu.Unlock()
	want := significant(cmd, data)
	var found *call
	for _, c := range s.calls {
		if c.num != netbsd.SYS_ioctl || uint32(c.arg(1)) != cmd || !bytes.Equal(significant(cmd, c.read(c.arg(2))), want) {
			continue
		}
		if found = c; c.used == 0 {
			break
		}
	}
	if found != nil {
		found.used++
	}
	return found
}

// significant returns the bytes of a request that its answer depends on: what
// else is in the recorded ones was left there by the client's stack.
func significant(cmd uint32, data []byte) []byte {
	i, ok := netbsd.LookupIoctl(netbsd.AMD64, cmd)
	if !ok || len(data) < netbsd.IFNAMSIZ {
		return data
	}
	name := []byte(netbsd.CString(data[:netbsd.IFNAMSIZ]) + "\x00")
	sockaddr := func(at int) []byte { return data[at:][:min(int(data[at]), len(data)-at)] }
	switch i {
	case netbsd.SIOCIFGCLONERS:
		return data[:8]
	case netbsd.SIOCSIFFLAGS:
		return append(name, data[16:18]...)
	case netbsd.SIOCSIFMTU, netbsd.SIOCSIFMETRIC:
		return append(name, data[16:20]...)
	case netbsd.SIOCAIFADDR:
		return data
	case netbsd.SIOCAIFADDR_IN6:
		// Without the points in time, which are taken from a clock.
		return slices.Concat(data[:104], data[120:])
	case netbsd.SIOCGLIFADDR, netbsd.SIOCALIFADDR, netbsd.SIOCDLIFADDR:
		return slices.Concat(name, data[16:20], sockaddr(24))
	case netbsd.SIOCGIFADDRPREF:
		return append(name, sockaddr(24)...)
	case netbsd.SIOCGLINKSTR, netbsd.SIOCSLINKSTR:
		return append(name, data[16:24]...)
	}
	// The others that take an address have it after the name.
	if strings.HasSuffix(i.Name, "_IN6") || i == netbsd.SIOCDIFADDR || i == netbsd.SIOCGIFAFLAG_IN {
		return append(name, sockaddr(16)...)
	}
	return name
}

func (s *Server) sysctl(c *spclienttest.Call) {
	nameAddr, nameLen := c.Args.Ptr(), c.Args.Uint()
	oldAddr, oldLenAddr := c.Args.Ptr(), c.Args.Ptr()
	name := mib(c.Machine, c.CopyIn(nameAddr, int(nameLen)*4))
	var room uint64
	if oldLenAddr != 0 {
		room = c.Machine.Word(c.CopyIn(oldLenAddr, c.Machine.WordSize))
	}
	value, errno, ok := s.findSysctl(c.Machine, name)
	if !ok {
		s.miss("sysctl %v", name)
		errno = netbsd.ENOENT
	}
	if errno == 0 && oldAddr != 0 {
		n := min(uint64(len(value)), room)
		if n > 0 {
			c.CopyOut(oldAddr, value[:n])
		}
		if n < uint64(len(value)) {
			errno = netbsd.ENOMEM
		}
	}
	if oldLenAddr != 0 {
		c.CopyOut(oldLenAddr, c.Machine.AppendWord(nil, uint64(len(value))))
	}
	c.Send(sysproxy.SyscallReply{Errno: int32(errno)}, c.ReqNo)
}

// mib reads a path. Those of socket lists end with the size of an entry and
// how many there is room for, which depend on the client.
func mib(m *netbsd.Machine, b []byte) (name []int32) {
	for ; len(b) >= 4; b = b[4:] {
		name = append(name, int32(m.Order.Uint32(b)))
	}
	if len(name) == 8 {
		name = name[:6]
	}
	return name
}

// findSysctl returns the recorded value of a node, whole, or the error that
// asking for it got.
func (s *Server) findSysctl(m *netbsd.Machine, name []int32) (value []byte, errno netbsd.Errno, ok bool) {
	for _, c := range s.calls {
		if c.num != netbsd.SYS___sysctl || !slices.Equal(mib(m, c.read(c.arg(0))), name) {
			continue
		}
		if c.errno != 0 {
			if !ok {
				errno, ok = c.errno, true
			}
			continue
		}
		if c.arg(2) == 0 {
			continue // it asked for the length
		}
		value = nil
		for _, out := range c.out {
			if out.addr != c.arg(3) {
				value = append(value, out.data...)
			}
		}
		errno, ok = 0, true
	}
	return value, errno, ok
}
