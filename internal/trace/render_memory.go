package trace

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"rumptools/pkg/netbsd"
)

// memory shows what argument i points to.
func (r *renderer) memory(i int, a *netbsd.Arg, addr uint64) string {
	if addr == 0 {
		return "NULL"
	}
	c := r.c
	if a.Kind == netbsd.ArgOut && !r.ended() {
		return r.later(addr)
	}
	switch a.Type {
	case "sockaddr":
		return r.sockaddrArg(a, addr)
	case "socklen_t", "size_t":
		if text, ok := r.lengthArg(i, addr); ok {
			return text
		}
	case "iovec":
		return r.iovecArg(a, addr)
	case "msghdr":
		return r.msghdrArg(addr)
	case "mmsghdr":
		return r.mmsghdrArg(a, addr)
	case "fd_set":
		return r.fdSet(addr, r.inputDirection(a))
	case "":
		switch c.base() {
		case "setsockopt", "getsockopt":
			return r.optionArg(a, addr)
		case "sysctl":
			return r.sysctlArg(a, addr)
		case "getdents":
			return r.dirents(addr)
		}
		return r.bytesArg(a, addr)
	case "int":
		if a.Name == "name" && c.base() == "sysctl" {
			return r.mib(addr)
		}
	}
	return r.typed(a, addr)
}

// inputDirection is from where an argument's memory is shown before the call has
// changed it.
func (r *renderer) inputDirection(a *netbsd.Arg) direction {
	if a.Kind == netbsd.ArgOut {
		return toClient
	}
	return fromClient
}

// bytesArg shows plain bytes.
func (r *renderer) bytesArg(a *netbsd.Arg, addr uint64) string {
	c := r.c
	n := c.argSize(a)
	dir := r.inputDirection(a)
	if dir == toClient {
		if c.failed() || c.lost {
			return pointer(addr)
		}
		// What was copied tells how much there is, and the result does.
		if isCount(c.info.Ret) {
			n = min(n, c.reply.Retval[0])
		} else {
			n = min(n, uint64(len(c.mem.read(dir, addr, n))))
		}
	}
	return r.data(dir, addr, n)
}

// isCount tells whether a result is a number of bytes.
func isCount(ret string) bool { return ret == "ssize_t" }

// data shows n bytes of memory: what a routing socket carries as messages, the
// rest as a string.
func (r *renderer) data(dir direction, addr, n uint64) string {
	if n == 0 {
		return `""`
	}
	b := r.c.mem.read(dir, addr, min(n, maxPiece))
	if len(b) == 0 {
		return r.later(addr)
	}
	if f := r.c.conn.files[int32(r.c.value(0))]; f.socket && f.domain == netbsd.AF_ROUTE && isTransfer(r.c.base()) {
		return r.routeMessages(b)
	}
	return r.t.quote(b, n)
}

var transfers = map[string]bool{
	"read": true, "write": true, "readv": true, "writev": true, "sendto": true, "recvfrom": true, "sendmsg": true, "recvmsg": true,
}

func isTransfer(name string) bool { return transfers[name] }

// sockaddrArg shows a socket address whose length another argument tells.
func (r *renderer) sockaddrArg(a *netbsd.Arg, addr uint64) string {
	c := r.c
	n := c.argSize(a)
	dir := r.inputDirection(a)
	if dir == toClient && (c.failed() || c.lost) {
		return pointer(addr)
	}
	b := c.mem.read(dir, addr, min(n, 256))
	if len(b) == 0 {
		if dir == toClient && c.done {
			// The kernel had none.
			return pointer(addr)
		}
		return r.later(addr)
	}
	return sockaddr(r.m, b)
}

// lengthArg shows a length that the kernel reads and, as a rule, writes again:
// "[16]", or "[128 => 16]" when it has changed.
func (r *renderer) lengthArg(i int, addr uint64) (string, bool) {
	c := r.c
	size := uint64(typeSize(r.m, c.info.Args[i].Type))
	before := c.mem.read(fromClient, addr, size)
	after := c.mem.read(toClient, addr, size)
	if !r.ended() {
		r.wait = true
	}
	switch {
	case uint64(len(before)) == size && uint64(len(after)) == size && string(before) != string(after):
		return fmt.Sprintf("[%d => %d]", readUint(r.m, before), readUint(r.m, after)), true
	case uint64(len(before)) == size:
		return fmt.Sprintf("[%d]", readUint(r.m, before)), true
	case uint64(len(after)) == size:
		return fmt.Sprintf("[%d]", readUint(r.m, after)), true
	}
	return pointer(addr), true
}

// typed shows one or several values of a known type.
func (r *renderer) typed(a *netbsd.Arg, addr uint64) string {
	c := r.c
	size := uint64(typeSize(r.m, a.Type))
	if size == 0 {
		return r.opaque(a, addr)
	}
	count, array := uint64(1), false
	switch {
	case a.Count > 0:
		count, array = uint64(a.Count), true
	case a.LenArg >= 0 && a.LenElements:
		count, array = c.value(a.LenArg), true
	case a.LenArg >= 0:
		count, array = c.argSize(a)/size, true
	}
	dir := r.inputDirection(a)
	if dir == toClient {
		if c.failed() || c.lost {
			return pointer(addr)
		}
		if array && a.Count == 0 && c.info.Ret == "int" {
			// The result is how many there are.
			count = min(count, c.reply.Retval[0])
		}
	}
	if array && count == 0 {
		return "[]"
	}
	b := c.mem.read(dir, addr, min(count, maxPiece/size)*size)
	if uint64(len(b)) < size {
		if dir == toClient && c.done {
			return pointer(addr)
		}
		return r.later(addr)
	}
	if !array {
		return r.value(a.Type, b[:size])
	}
	var parts []string
	for i := uint64(0); i < count; i++ {
		if len(parts) == maxElements && !r.t.o.Whole || uint64(len(b)) < size {
			parts = append(parts, "...")
			break
		}
		text := r.value(a.Type, b[:size])
		if types[a.Type].Kind() != reflect.Struct && a.Type != "sigset_t" {
			text = strings.Trim(text, "[]")
		}
		parts = append(parts, text)
		b = b[size:]
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// opaque shows memory of a type of which only the name is known.
func (r *renderer) opaque(a *netbsd.Arg, addr uint64) string {
	if r.inputDirection(a) == toClient && (r.c.failed() || r.c.lost) {
		return pointer(addr)
	}
	b := r.c.mem.read(r.inputDirection(a), addr, maxPiece)
	if len(b) == 0 {
		return r.later(addr)
	}
	return r.t.quote(b, uint64(len(b)))
}

// value shows a value of a type in types.
func (r *renderer) value(typ string, b []byte) string {
	switch typ {
	case "kevent":
		var v netbsd.Kevent
		if netbsd.Unmarshal(r.m, b, &v) == nil {
			return kevent(&v)
		}
	case "pollfd":
		var v netbsd.Pollfd
		if netbsd.Unmarshal(r.m, b, &v) == nil {
			return fmt.Sprintf("{fd=%s, events=%s}", r.fd(v.Fd), netbsd.PollEvents.Format(uint64(uint16(v.Events))))
		}
	case "sigset_t":
		return r.signalSet(b)
	}
	return r.structure(types[typ], b)
}

func (r *renderer) signalSet(b []byte) string {
	var names []string
	for i := range 4 {
		word := r.m.Order.Uint32(b[4*i:])
		for bit := range 32 {
			if word&(1<<bit) != 0 {
				names = append(names, strings.TrimPrefix(signalText(int32(32*i+bit+1)), "SIG"))
			}
		}
	}
	if len(names) > 64 {
		return "~[]"
	}
	return "[" + strings.Join(names, " ") + "]"
}

func kevent(v *netbsd.Kevent) string {
	ident := strconv.FormatUint(uint64(v.Ident), 10)
	notes := ""
	switch v.Filter {
	case netbsd.EVFILT_VNODE:
		notes = netbsd.VnodeNotes.Format(uint64(v.Fflags))
	case netbsd.EVFILT_PROC:
		notes = netbsd.ProcNotes.Format(uint64(v.Fflags))
	case netbsd.EVFILT_READ, netbsd.EVFILT_WRITE:
		notes = netbsd.ReadNotes.Format(uint64(v.Fflags))
	default:
		notes = fmt.Sprintf("%#x", v.Fflags)
		if v.Fflags == 0 {
			notes = "0"
		}
	}
	if v.Filter == netbsd.EVFILT_SIGNAL {
		ident = signalText(int32(uint32(v.Ident)))
	}
	data := strconv.FormatInt(v.Data, 10)
	if v.Flags&netbsd.EV_ERROR != 0 && v.Data > 0 && v.Data <= int64(netbsd.ELAST) {
		data = netbsd.Errno(v.Data).Name()
	}
	return fmt.Sprintf("{ident=%s, filter=%s, flags=%s, fflags=%s, data=%s, udata=%s}", ident,
		netbsd.KeventFilters.Format(int64(v.Filter)), netbsd.KeventFlags.Format(uint64(v.Flags)), notes, data, udata(v.Udata))
}

func udata(p netbsd.Ptr) string {
	if p == 0 {
		return "0"
	}
	return pointer(uint64(p))
}

// fdSet shows a set of descriptors, as many as the first argument of the call
// says.
func (r *renderer) fdSet(addr uint64, dir direction) string {
	b := r.c.mem.read(dir, addr, 32)
	if len(b) == 0 {
		return r.later(addr)
	}
	return r.fdSetOf(b)
}

func (r *renderer) fdSetOf(b []byte) string {
	var fds []string
	for i := 0; i+4 <= len(b); i += 4 {
		word := r.m.Order.Uint32(b[i:])
		for bit := range 32 {
			if fd := 8*i + bit; word&(1<<bit) != 0 && uint64(fd) < r.c.value(0) {
				fds = append(fds, r.fd(int32(fd)))
			}
		}
	}
	return "[" + strings.Join(fds, " ") + "]"
}

// outcome is what a call has written over its arguments, which are shown as they
// were: " ([{fd=3, revents=POLLIN}])".
func (r *renderer) outcome() string {
	c := r.c
	n := c.reply.Retval[0]
	if n == 0 && (isPoll(&netbsd.SyscallInfo{Name: c.name}) || c.base() == "kevent") {
		return " (Timeout)"
	}
	switch c.base() {
	case "poll", "pollts":
		size := uint64(netbsd.Sizeof(r.m, netbsd.Pollfd{}))
		b := c.mem.read(toClient, c.value(0), min(c.value(1), maxPiece/size)*size)
		var parts []string
		for ; uint64(len(b)) >= size; b = b[size:] {
			var v netbsd.Pollfd
			if netbsd.Unmarshal(r.m, b, &v) == nil && v.Revents != 0 {
				parts = append(parts, fmt.Sprintf("{fd=%s, revents=%s}", r.fd(v.Fd), netbsd.PollEvents.Format(uint64(uint16(v.Revents)))))
			}
		}
		if len(parts) > 0 {
			return " ([" + strings.Join(parts, ", ") + "])"
		}
	case "select", "pselect":
		var parts []string
		for i, name := range []string{"in", "out", "except"} {
			if b := c.mem.read(toClient, c.value(1+i), 32); len(b) > 0 {
				if s := r.fdSetOf(b); s != "[]" {
					parts = append(parts, name+" "+s)
				}
			}
		}
		if len(parts) > 0 {
			return " (" + strings.Join(parts, ", ") + ")"
		}
	}
	return ""
}
