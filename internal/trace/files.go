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
	path string
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
	switch c.num {
	case netbsd.SYS___socket30, netbsd.SYS_compat_30_socket:
		t.set(ret, file{
			socket: true, domain: int32(c.value(0)),
			typ: int32(c.value(1)) &^ (-1 << 28), proto: int32(c.value(2)),
		})
	case netbsd.SYS_socketpair:
		b := c.mem.read(toClient, c.arg("rsv"), 8)
		if len(b) == 8 {
			f := file{socket: true, domain: int32(c.value(0)), typ: int32(c.value(1)) &^ (-1 << 28)}
			t.set(int32(c.conn.machine.Order.Uint32(b)), f)
			t.set(int32(c.conn.machine.Order.Uint32(b[4:])), f)
		}
	case netbsd.SYS_accept, netbsd.SYS_paccept:
		t.set(ret, t[fd])
	case netbsd.SYS_open:
		t.set(ret, file{path: c.readString(c.value(0))})
	case netbsd.SYS_kqueue, netbsd.SYS_kqueue1:
		t.set(ret, file{path: "kqueue"})
	case netbsd.SYS_pipe:
		t.set(ret, file{path: "pipe"})
		t.set(int32(c.reply.Retval[1]), file{path: "pipe"})
	case netbsd.SYS_dup:
		t.set(ret, t[fd])
	case netbsd.SYS_dup2, netbsd.SYS_dup3:
		t.set(int32(c.value(1)), t[fd])
	case netbsd.SYS_fcntl:
		if cmd := c.value(1); cmd == netbsd.F_DUPFD || cmd == netbsd.F_DUPFD_CLOEXEC {
			t.set(ret, t[fd])
		}
	case netbsd.SYS_close:
		delete(t, fd)
	}
}

// readString is a string that the kernel has read, without its NUL.
func (c *call) readString(addr uint64) string {
	return netbsd.CString(c.mem.read(fromClient, addr, netbsd.MAXPATHLEN))
}
