package trace

import (
	"maps"

	"rumptools/pkg/netbsd"
)

// file is what is known of a descriptor of a client's.
type file struct {
	socket             bool
	domain, typ, proto int32
	// path is what was opened, or what the descriptor is: "pipe".
	path    string
	cloexec bool
}

// fileTable is the descriptors of a client, as far as their making was seen.
type fileTable map[int32]file

// maxFiles is how many descriptors of a client are remembered.
const maxFiles = 4096

func (t fileTable) set(fd int32, f file) {
	if _, ok := t[fd]; ok || len(t) < maxFiles {
		t[fd] = f
	}
}

func (t fileTable) clone() fileTable { return maps.Clone(t) }

// note learns from a call that has succeeded.
func (t fileTable) note(c *call) {
	ret := int32(c.reply.Retval[0])
	fd := int32(c.value(0))
	m := c.conn.machine
	pair := func(addr uint64, f file) {
		if b := c.mem.read(toClient, addr, 8); len(b) == 8 {
			t.set(int32(m.Order.Uint32(b)), f)
			t.set(int32(m.Order.Uint32(b[4:])), f)
		}
	}
	socket := func() file {
		typ := uint32(c.value(1))
		return file{
			socket: true, domain: int32(c.value(0)), proto: int32(c.value(2)),
			typ: int32(typ &^ netbsd.SOCK_FLAGS_MASK), cloexec: typ&netbsd.SOCK_CLOEXEC != 0,
		}
	}
	copied := func(cloexec bool) file {
		f := t[fd]
		f.cloexec = cloexec
		return f
	}
	switch c.num {
	case netbsd.SYS___socket30, netbsd.SYS_compat_30_socket:
		t.set(ret, socket())
	case netbsd.SYS_socketpair:
		pair(c.arg("rsv"), socket())
	case netbsd.SYS_accept:
		t.set(ret, copied(false))
	case netbsd.SYS_paccept:
		t.set(ret, copied(c.arg("flags")&netbsd.SOCK_CLOEXEC != 0))
	case netbsd.SYS_open:
		t.set(ret, file{path: c.readString(c.value(0)), cloexec: c.arg("flags")&netbsd.O_CLOEXEC != 0})
	case netbsd.SYS_openat:
		t.set(ret, file{path: c.readString(c.value(1)), cloexec: c.arg("oflags")&netbsd.O_CLOEXEC != 0})
	case netbsd.SYS_kqueue, netbsd.SYS_kqueue1:
		t.set(ret, file{path: "kqueue", cloexec: c.value(0)&netbsd.O_CLOEXEC != 0})
	case netbsd.SYS_pipe:
		t.set(ret, file{path: "pipe"})
		t.set(int32(c.reply.Retval[1]), file{path: "pipe"})
	case netbsd.SYS_pipe2:
		pair(c.value(0), file{path: "pipe", cloexec: c.arg("flags")&netbsd.O_CLOEXEC != 0})
	case netbsd.SYS_dup:
		t.set(ret, copied(false))
	case netbsd.SYS_dup2:
		if to := int32(c.value(1)); to != fd {
			t.set(to, copied(false))
		}
	case netbsd.SYS_dup3:
		t.set(int32(c.value(1)), copied(c.arg("flags")&netbsd.O_CLOEXEC != 0))
	case netbsd.SYS_fcntl:
		switch uint32(c.value(1)) {
		case netbsd.F_DUPFD:
			t.set(ret, copied(false))
		case netbsd.F_DUPFD_CLOEXEC:
			t.set(ret, copied(true))
		case netbsd.F_SETFD:
			if _, ok := t[fd]; ok {
				t.set(fd, copied(c.value(2)&netbsd.FD_CLOEXEC != 0))
			}
		}
	case netbsd.SYS_recvmsg:
		t.received(c)
	case netbsd.SYS_close:
		delete(t, fd)
	}
}

// received forgets what descriptors were that have been received: they are of
// other files now.
func (t fileTable) received(c *call) {
	var h netbsd.Msghdr
	if !c.readStruct(toClient, c.value(1), &h) || h.Control == 0 {
		return
	}
	m := c.conn.machine
	msgs, _ := netbsd.ParseCmsgs(m, c.mem.read(toClient, uint64(h.Control), uint64(min(h.Controllen, maxPiece))))
	for _, msg := range msgs {
		if msg.Level != netbsd.SOL_SOCKET || msg.Type != netbsd.SCM_RIGHTS {
			continue
		}
		for b := msg.Data; len(b) >= 4; b = b[4:] {
			delete(t, int32(m.Order.Uint32(b)))
		}
	}
}

// exec forgets the descriptors that an exec has closed.
func (t fileTable) exec() {
	maps.DeleteFunc(t, func(_ int32, f file) bool { return f.cloexec })
}

// readString is a string that the kernel has read, without its NUL.
func (c *call) readString(addr uint64) string {
	return netbsd.CString(c.mem.read(fromClient, addr, netbsd.MAXPATHLEN))
}
