package trace

import (
	"fmt"
	"strconv"
	"strings"

	"rumptools/pkg/netbsd"
)

// fcntl shows the argument of fcntl(2), which is a number, flags or the address
// of a lock.
func (r *renderer) fcntl(v uint64) string {
	switch uint32(r.c.arg("cmd")) {
	case netbsd.F_GETLK, netbsd.F_SETLK, netbsd.F_SETLKW:
		if v == 0 {
			return "NULL"
		}
		size := uint64(typeSize(r.m, "flock"))
		dir := fromClient
		if uint32(r.c.arg("cmd")) == netbsd.F_GETLK {
			if !r.ended() {
				return r.later(v)
			}
			if len(r.c.mem.read(toClient, v, size)) > 0 {
				dir = toClient
			}
		}
		b := r.c.mem.read(dir, v, size)
		if uint64(len(b)) < size {
			return r.later(v)
		}
		return r.structure(types["flock"], b)
	case netbsd.F_SETFL:
		return openFlags(v & 0xffffffff)
	case netbsd.F_SETFD:
		return netbsd.DescriptorFlags.Format(v & 0xffffffff)
	}
	return strconv.Itoa(int(int32(v)))
}

// dirents shows directory entries.
func (r *renderer) dirents(addr uint64) string {
	c := r.c
	if c.failed() || c.lost {
		return pointer(addr)
	}
	n := c.reply.Retval[0]
	b := c.mem.read(toClient, addr, min(n, maxPiece))
	if n == 0 {
		return "[]"
	}
	if len(b) == 0 {
		return pointer(addr)
	}
	var parts []string
	for len(b) >= 13 {
		if len(parts) == maxElements && !r.t.o.Whole {
			break
		}
		reclen, namlen := int(r.m.Order.Uint16(b[8:])), int(r.m.Order.Uint16(b[10:]))
		if reclen < 14 || reclen > len(b) || 13+namlen > reclen {
			break
		}
		parts = append(parts, fmt.Sprintf("{d_fileno=%d, d_type=%s, d_name=%s}", r.m.Order.Uint64(b),
			netbsd.DirentTypes.Format(int64(b[12])), quoteBytes(b[13:13+namlen])))
		b = b[reclen:]
	}
	if len(b) > 0 || n > maxPiece {
		parts = append(parts, "...")
	}
	return "[" + strings.Join(parts, ", ") + "]"
}
