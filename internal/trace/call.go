package trace

import (
	"time"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// callKind tells system calls from the protocol's own requests.
type callKind uint8

const (
	systemCall callKind = iota
	handshake
	prefork
	malformed // a frame that a client does not send
)

// call is a client's request and what has come of it.
type call struct {
	conn  *Conn
	seq   uint64 // of all calls, in the order of their start
	reqno uint64
	kind  callKind
	name  string
	start time.Time

	// Of a system call.
	num    uint32
	info   *netbsd.SyscallInfo // nil for one that NetBSD does not have
	args   []byte              // the argument block
	values []uint64            // of info.Args; fewer when the block is short
	mem    memory

	// text is the arguments of a request that is no system call.
	text []string

	done    bool
	end     time.Time
	lost    bool               // the connection went before the answer
	refused sysproxy.ErrorCode // an ERROR frame was the answer
	errno   netbsd.Errno
	errnum  int32 // as it came
	reply   sysproxy.SyscallReply
	result  string // of a request that is no system call

	cookie *sysproxy.Auth // what a FORK handshake shows
	guest  string         // program's name in a handshake
	files  fileTable      // of a PREFORK, as of its start

	shown bool // passed the filter
	begun bool // a part of it has been written
	given int  // arguments that have been written
}

// failed tells whether the call is known to have failed.
func (c *call) failed() bool {
	return c.done && (c.refused != 0 || c.errnum != 0)
}

// base is the call's name without the marks of its version: "socket" for
// __socket30.
func (c *call) base() string { return baseName(c.name) }

// value is argument i, 0 when it did not come.
func (c *call) value(i int) uint64 {
	if i < 0 || i >= len(c.values) {
		return 0
	}
	return c.values[i]
}

// arg is the value of the argument of that name.
func (c *call) arg(name string) uint64 {
	if c.info == nil {
		return 0
	}
	for i := range c.info.Args {
		if c.info.Args[i].Name == name {
			return c.value(i)
		}
	}
	return 0
}

// region is a part of a client's memory that a call's arguments point to.
type region struct {
	addr, size uint64
	in, out    bool
}

func (r region) has(addr uint64) bool {
	return addr == r.addr || addr-r.addr < r.size && addr > r.addr
}

// maxRegions is how many regions of a call are looked at.
const maxRegions = 64

// regions are the parts of memory that the kernel may copy for the call, as far
// as they are known.
func (c *call) regions() []region {
	if c.info == nil {
		return nil
	}
	m := c.conn.machine
	var rs []region
	add := func(addr, size uint64, in, out bool) {
		if addr != 0 && len(rs) < maxRegions {
			rs = append(rs, region{addr, size, in, out})
		}
	}
	for i := range c.info.Args {
		a := &c.info.Args[i]
		addr := c.value(i)
		if addr == 0 {
			continue
		}
		switch a.Kind {
		case netbsd.ArgPath, netbsd.ArgStr:
			add(addr, netbsd.MAXPATHLEN, true, false)
		case netbsd.ArgIoctl:
			cmd := uint32(c.arg("com"))
			add(addr, uint64(netbsd.IoctlSize(cmd)), netbsd.IoctlIn(cmd), netbsd.IoctlOut(cmd))
			c.ioctlRegions(cmd, addr, add)
		case netbsd.ArgIn, netbsd.ArgOut, netbsd.ArgInOut:
			in, out := a.Kind != netbsd.ArgOut, a.Kind != netbsd.ArgIn
			size := c.argSize(a)
			add(addr, size, in, out)
			switch a.Type {
			case "iovec":
				// What is read into comes out.
				c.iovecRegions(addr, size/uint64(netbsd.Sizeof(m, netbsd.Iovec{})), add)
			case "msghdr":
				c.msghdrRegions(addr, add)
			case "mmsghdr":
				n := uint64(netbsd.Sizeof(m, netbsd.Mmsghdr{}))
				for off := uint64(0); off < size && c.msghdrRegions(addr+off, add) && len(rs) < maxRegions; off += n {
				}
			}
		case netbsd.ArgPtr, netbsd.ArgFcntl:
			add(addr, 1, true, true)
		}
	}
	return rs
}

// argSize is the size in bytes of what an argument points to, as far as it is
// known; 1 if it is not.
func (c *call) argSize(a *netbsd.Arg) uint64 {
	m := c.conn.machine
	elem := uint64(1)
	if a.Type != "" {
		elem = uint64(max(typeSize(m, a.Type), 1))
	}
	switch {
	case a.Count > 0:
		return uint64(a.Count) * elem
	case a.LenArg < 0:
		return elem
	case a.LenIndirect:
		n, ok := c.readLength(a)
		if !ok {
			return elem
		}
		return n
	case a.LenElements:
		// A count that would overflow is no count.
		return min(c.value(a.LenArg), 1<<32) * elem
	default:
		return c.value(a.LenArg)
	}
}

// readLength reads the length that a.LenArg points to: what the kernel has
// written there, else what it has read.
func (c *call) readLength(a *netbsd.Arg) (uint64, bool) {
	size := typeSize(c.conn.machine, c.info.Args[a.LenArg].Type)
	addr := c.value(a.LenArg)
	for _, dir := range []direction{toClient, fromClient} {
		if b := c.mem.read(dir, addr, uint64(size)); size > 0 && len(b) == size {
			return readUint(c.conn.machine, b), true
		}
	}
	return 0, false
}

type addRegion = func(addr, size uint64, in, out bool)

func (c *call) iovecRegions(addr, n uint64, add addRegion) {
	for _, v := range c.iovecs(addr, n) {
		add(uint64(v.Base), uint64(v.Len), true, true)
	}
}

// iovecs are the buffers in an array that the kernel has read.
func (c *call) iovecs(addr, n uint64) []netbsd.Iovec {
	m := c.conn.machine
	size := netbsd.Sizeof(m, netbsd.Iovec{})
	b := c.mem.read(fromClient, addr, min(n, netbsd.UIO_MAXIOV)*uint64(size))
	var vs []netbsd.Iovec
	for ; len(b) >= size; b = b[size:] {
		var v netbsd.Iovec
		if netbsd.Unmarshal(m, b, &v) == nil {
			vs = append(vs, v)
		}
	}
	return vs
}

// msghdrRegions adds what a message's header points to; false when the kernel has
// not read it.
func (c *call) msghdrRegions(addr uint64, add addRegion) bool {
	var h netbsd.Msghdr
	if !c.readStruct(fromClient, addr, &h) {
		return false
	}
	add(uint64(h.Name), uint64(h.Namelen), true, true)
	add(uint64(h.Control), uint64(h.Controllen), true, true)
	if h.Iovlen > 0 {
		size := uint64(netbsd.Sizeof(c.conn.machine, netbsd.Iovec{}))
		add(uint64(h.Iov), uint64(h.Iovlen)*size, true, false)
		c.iovecRegions(uint64(h.Iov), uint64(h.Iovlen), add)
	}
	return true
}

// readStruct reads a structure that was copied.
func (c *call) readStruct(dir direction, addr uint64, v any) bool {
	m := c.conn.machine
	b := c.mem.read(dir, addr, uint64(netbsd.Sizeof(m, v)))
	return netbsd.Unmarshal(m, b, v) == nil
}

func (c *call) ioctlRegions(cmd uint32, addr uint64, add addRegion) {
	m := c.conn.machine
	switch i, _ := netbsd.LookupIoctl(m, cmd); i {
	case nil:
	case netbsd.SIOCGIFCONF:
		var v netbsd.Ifconf
		if c.readStruct(fromClient, addr, &v) {
			add(uint64(v.Buf), uint64(uint32(v.Len)), false, true)
		}
	case netbsd.SIOCGLINKSTR, netbsd.SIOCSLINKSTR, netbsd.SIOCSDRVSPEC, netbsd.SIOCGDRVSPEC:
		var v netbsd.Ifdrv
		if c.readStruct(fromClient, addr, &v) {
			// SIOCGLINKSTR copies out more than it is given room for.
			add(uint64(v.Data), max(uint64(v.Len), netbsd.MAXPATHLEN), true, true)
		}
	case netbsd.SIOCGIFMEDIA:
		var v netbsd.Ifmediareq
		if c.readStruct(fromClient, addr, &v) {
			add(uint64(v.Ulist), 4*uint64(uint32(v.Count)), false, true)
		}
	case netbsd.SIOCIFGCLONERS:
		var v netbsd.IfClonereq
		if c.readStruct(fromClient, addr, &v) {
			add(uint64(v.Buffer), netbsd.IFNAMSIZ*uint64(uint32(v.Count)), false, true)
		}
	case netbsd.BIOCSETF, netbsd.BIOCSTCPF, netbsd.BIOCSUDPF:
		var v netbsd.BpfProgram
		if c.readStruct(fromClient, addr, &v) {
			add(uint64(v.Insns), uint64(v.Len)*uint64(netbsd.Sizeof(m, netbsd.BpfInsn{})), true, false)
		}
	case netbsd.BIOCGDLTLIST:
		var v netbsd.BpfDltlist
		if c.readStruct(fromClient, addr, &v) {
			add(uint64(v.List), 4*uint64(v.Len), false, true)
		}
	case netbsd.KFILTER_BYFILTER, netbsd.KFILTER_BYNAME:
		var v netbsd.KfilterMapping
		if c.readStruct(fromClient, addr, &v) {
			add(uint64(v.Name), uint64(v.Len), true, true)
		}
	case netbsd.SIOCSIFGENERIC, netbsd.SIOCGIFGENERIC:
		var v netbsd.Ifreq
		if c.readStruct(fromClient, addr, &v) {
			add(v.Data(m), 1, true, true)
		}
	}
}

// match tells how well a copy at addr fits the call: 3 when it lies where the
// call has something that has not been copied, 2 where it has been, 1 when the
// call has memory of unknown size before it, 0 not at all.
func (c *call) match(dir direction, addr uint64) int {
	best := 0
	for _, r := range c.regions() {
		if dir == fromClient && !r.in || dir == toClient && !r.out {
			continue
		}
		switch {
		case r.has(addr) && !c.mem.has(dir, addr):
			return 3
		case r.has(addr):
			best = max(best, 2)
		case r.size <= 1 && addr > r.addr && addr-r.addr < maxPiece:
			best = max(best, 1)
		}
	}
	return best
}
