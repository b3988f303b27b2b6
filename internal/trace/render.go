package trace

import (
	"fmt"
	"strconv"
	"strings"

	"rumptools/pkg/netbsd"
)

// argument is an argument of a call as it is shown.
type argument struct {
	name, text string
}

// arguments are a call's arguments.
type arguments struct {
	text []argument
	// known is how many of them, from the first, will not be shown otherwise
	// when the call ends.
	known int
}

// renderer shows a call's arguments.
type renderer struct {
	t *Tracer
	c *call
	m *netbsd.Machine
	// wait is set when something is shown that is not known before the call
	// ends.
	wait bool
}

// arguments shows a call's arguments as far as they are known.
func (t *Tracer) arguments(c *call) arguments {
	var as arguments
	if c.kind != systemCall {
		for _, s := range c.text {
			as.text = append(as.text, argument{"", s})
		}
		as.known = len(as.text)
		return as
	}
	if c.info == nil {
		// Not a call of NetBSD's: its words.
		m := c.conn.machine
		for b := c.args; len(b) >= m.WordSize; b = b[m.WordSize:] {
			as.text = append(as.text, argument{"", fmt.Sprintf("%#x", m.Word(b))})
		}
		as.known = len(as.text)
		return as
	}
	r := &renderer{t: t, c: c, m: c.conn.machine}
	known := true
	for i := range c.info.Args {
		a := &c.info.Args[i]
		if a.Kind == netbsd.ArgPad || c.unused(a) {
			continue
		}
		text := "?"
		if i < len(c.values) {
			text = r.argument(i, a)
		}
		if known = known && (c.done || !r.wait); known {
			as.known++
		}
		as.text = append(as.text, argument{a.Name, text})
	}
	return as
}

// unused tells whether an argument has no meaning, by the others: the mode of
// open(2) without O_CREAT. What is in its place is not shown.
func (c *call) unused(a *netbsd.Arg) bool {
	switch c.num {
	case netbsd.SYS_open:
		return a.Kind == netbsd.ArgMode && c.arg("flags")&netbsd.O_CREAT == 0
	case netbsd.SYS_openat:
		return a.Kind == netbsd.ArgMode && c.arg("oflags")&netbsd.O_CREAT == 0
	case netbsd.SYS_fcntl:
		switch uint32(c.arg("cmd")) {
		case netbsd.F_GETFD, netbsd.F_GETFL, netbsd.F_GETOWN, netbsd.F_CLOSEM, netbsd.F_MAXFD, netbsd.F_GETNOSIGPIPE:
			return a.Kind == netbsd.ArgFcntl
		}
	case netbsd.SYS_ioctl:
		return a.Kind == netbsd.ArgIoctl && uint32(c.arg("com")) & ^uint32(0xffff) == netbsd.IOC_VOID
	}
	return false
}

// later is what is shown of memory that has not been copied: its address. It may
// still be.
func (r *renderer) later(addr uint64) string {
	r.wait = true
	return pointer(addr)
}

func pointer(addr uint64) string {
	if addr == 0 {
		return "NULL"
	}
	return "0x" + strconv.FormatUint(addr, 16)
}

// ended tells whether what the kernel has to copy out has been.
func (r *renderer) ended() bool { return r.c.done || r.c.lost }

func (r *renderer) argument(i int, a *netbsd.Arg) string {
	v := r.c.value(i)
	switch a.Kind {
	case netbsd.ArgFd:
		return r.fd(int32(v))
	case netbsd.ArgMode:
		return octal(v & 0xffffffff)
	case netbsd.ArgSignal:
		return signalText(int32(v))
	case netbsd.ArgClock:
		return netbsd.Clocks.Format(int64(uint32(v)))
	case netbsd.ArgCmd:
		return netbsd.IoctlName(r.m, uint32(v))
	case netbsd.ArgPath, netbsd.ArgStr:
		return r.str(v)
	case netbsd.ArgPtr:
		return pointer(v)
	case netbsd.ArgIoctl:
		return r.ioctl(uint32(r.c.value(i-1)), v)
	case netbsd.ArgFcntl:
		return r.fcntl(v)
	case netbsd.ArgIn, netbsd.ArgOut, netbsd.ArgInOut:
		return r.memory(i, a, v)
	case netbsd.ArgID:
		if uint32(v) == 1<<32-1 {
			return "-1"
		}
	}
	if text, ok := r.named(a, v); ok {
		return text
	}
	if a.Kind.Signed() {
		return strconv.FormatInt(int64(v), 10)
	}
	return strconv.FormatUint(v, 10)
}

func octal(v uint64) string {
	if v == 0 {
		return "0"
	}
	return "0" + strconv.FormatUint(v, 8)
}

func signalText(n int32) string {
	if n > 0 && n < netbsd.NSIG {
		return netbsd.Signal(n).Name()
	}
	return strconv.Itoa(int(n))
}

// fd shows a descriptor.
func (r *renderer) fd(fd int32) string {
	if fd == netbsd.AT_FDCWD && strings.HasSuffix(r.c.base(), "at") {
		return "AT_FDCWD"
	}
	s := strconv.Itoa(int(fd))
	if r.t.o.Descriptors {
		if f := r.c.conn.files[fd].String(); f != "" {
			s += "<" + f + ">"
		}
	}
	return s
}

// String says what the file is: "AF_INET, SOCK_STREAM" or a path.
func (f file) String() string {
	if f.socket {
		return netbsd.AddressFamilies.Format(int64(f.domain)) + ":" + netbsd.SocketTypes.Format(int64(f.typ))
	}
	return f.path
}

// str shows a string that the kernel reads.
func (r *renderer) str(addr uint64) string {
	b := r.c.mem.read(fromClient, addr, netbsd.MAXPATHLEN)
	if addr == 0 || len(b) == 0 {
		return r.later(addr)
	}
	s := netbsd.CString(b)
	// Paths are shown whole, as strace does.
	return quoteBytes([]byte(s))
}

// named shows an argument that has names for its values.
func (r *renderer) named(a *netbsd.Arg, v uint64) (string, bool) {
	c := r.c
	i := int64(v)
	switch c.base() + "." + a.Name {
	case "socket.domain", "socketpair.domain":
		return netbsd.AddressFamilies.Format(i), true
	case "socket.type", "socketpair.type":
		return socketType(uint64(uint32(v))), true
	case "socket.protocol", "socketpair.protocol":
		switch int32(c.arg("domain")) {
		case netbsd.AF_INET, netbsd.AF_INET6:
			return netbsd.IPProtocols.Format(i), true
		}
	case "paccept.flags":
		return netbsd.SocketFlags.Format(uint64(uint32(v))), true
	case "open.flags", "openat.oflags", "fhopen.flags", "mq_open.oflag", "pipe2.flags", "kqueue1.flags", "dup3.flags":
		return openFlags(uint64(uint32(v))), true
	case "sendto.flags", "sendmsg.flags", "sendmmsg.flags", "recvfrom.flags", "recvmsg.flags", "recvmmsg.flags":
		return netbsd.MessageFlags.Format(uint64(uint32(v))), true
	case "shutdown.how":
		return netbsd.ShutdownWays.Format(i), true
	case "setsockopt.level", "getsockopt.level":
		return r.level(int32(v)), true
	case "setsockopt.name", "getsockopt.name":
		return r.option(int32(c.arg("level")), int32(v)), true
	case "fcntl.cmd":
		return netbsd.FcntlCommands.Format(i), true
	case "flock.how":
		return netbsd.LockOperations.Format(uint64(uint32(v))), true
	case "lseek.whence":
		return netbsd.SeekOrigins.Format(i), true
	case "access.flags", "faccessat.amode":
		if v == netbsd.F_OK {
			return "F_OK", true
		}
		return netbsd.AccessChecks.Format(uint64(uint32(v))), true
	case "linkat.flags", "faccessat.flag", "fchmodat.flag", "fchownat.flag", "fstatat.flag", "utimensat.flag", "unlinkat.flag":
		return netbsd.AtFlags.Format(uint64(uint32(v))), true
	case "clock_nanosleep.flags", "timer_settime.flags":
		return netbsd.TimerFlags.Format(uint64(uint32(v))), true
	case "setitimer.which", "getitimer.which":
		return netbsd.IntervalTimers.Format(i), true
	case "getrlimit.which", "setrlimit.which":
		return netbsd.Resources.Format(i), true
	case "reboot.opt":
		return netbsd.RebootFlags.Format(uint64(uint32(v))), true
	case "statvfs1.flags", "fstatvfs1.flags", "getvfsstat.flags":
		switch v {
		case netbsd.ST_WAIT:
			return "ST_WAIT", true
		case netbsd.ST_NOWAIT:
			return "ST_NOWAIT", true
		}
	}
	return "", false
}

func socketType(v uint64) string {
	s := netbsd.SocketTypes.Format(int64(v &^ netbsd.SOCK_FLAGS_MASK))
	if flags := v & netbsd.SOCK_FLAGS_MASK; flags != 0 {
		s += "|" + netbsd.SocketFlags.Format(flags)
	}
	return s
}

func openFlags(v uint64) string {
	mode, ok := netbsd.AccessModes.Name(int64(v & netbsd.O_ACCMODE))
	flags := v &^ netbsd.O_ACCMODE
	if !ok {
		mode, flags = "", v
	}
	switch {
	case mode == "":
		return netbsd.OpenFlags.Format(flags)
	case flags == 0:
		return mode
	}
	return mode + "|" + netbsd.OpenFlags.Format(flags)
}

// result shows what has come of a call.
func (t *Tracer) result(c *call) string {
	switch {
	case c.lost:
		return "?"
	case c.refused != 0:
		return fmt.Sprintf("-1 refused (%v)", c.refused)
	case c.errnum != 0:
		return "-1 " + errnoText(c.errnum)
	case c.kind != systemCall:
		return c.result
	}
	r0, r1 := c.reply.Retval[0], c.reply.Retval[1]
	ret := "int"
	if c.info != nil {
		ret = c.info.Ret
	}
	word := 8 * c.conn.machine.WordSize
	signed := func(v uint64) string { return strconv.FormatInt(int64(v<<(64-word))>>(64-word), 10) }
	switch ret {
	case "off_t", "quad_t":
		return strconv.FormatInt(int64(c.reply.Value64(c.conn.layout)), 10)
	case "ssize_t", "long":
		return signed(r0)
	case "mode_t":
		return octal(r0 & 0xffffffff)
	case "uid_t", "gid_t":
		return strconv.FormatUint(r0&0xffffffff, 10)
	case "void *":
		return pointer(r0)
	}
	s := strconv.Itoa(int(int32(r0)))
	switch c.num {
	case netbsd.SYS_pipe:
		// The pair is in the two registers of the result.
		return fmt.Sprintf("[%s, %d]", s, int32(r1))
	case netbsd.SYS_fcntl:
		return fcntlResult(uint32(c.arg("cmd")), int32(r0))
	}
	r := &renderer{t: t, c: c, m: c.conn.machine}
	return s + r.outcome()
}

// errnoText is an error as it comes: "ENXIO (Device not configured)". Negative
// ones are the kernel's own and do not come out of it as a rule.
func errnoText(n int32) string {
	switch n {
	case -1:
		return "EJUSTRETURN"
	case -3:
		return "ERESTART"
	}
	e := netbsd.Errno(uint32(n))
	return fmt.Sprintf("%s (%s)", e.Name(), e.Error())
}

func fcntlResult(cmd uint32, v int32) string {
	switch cmd {
	case netbsd.F_GETFL:
		return fmt.Sprintf("%#x (%s)", uint32(v), openFlags(uint64(uint32(v))))
	case netbsd.F_GETFD:
		if v != 0 {
			return fmt.Sprintf("%#x (%s)", uint32(v), netbsd.DescriptorFlags.Format(uint64(uint32(v))))
		}
	}
	return strconv.Itoa(int(v))
}
