//go:build amd64 || arm64

package seccomp

import (
	"encoding/binary"
	"slices"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Offsets in struct seccomp_data (linux/seccomp.h); the machines that this is for
// are little-endian.
const (
	offsetNr   = 0
	offsetArch = 4
	offsetArgs = 16
)

func argLow(n int) bpf.LoadAbsolute { return bpf.LoadAbsolute{Off: uint32(offsetArgs + 8*n), Size: 4} }
func argHigh(n int) bpf.LoadAbsolute {
	return bpf.LoadAbsolute{Off: uint32(offsetArgs + 8*n + 4), Size: 4}
}

// A rule says what is done with one system call: the instructions come to an end at
// the verdict, or fall through, and then the call is allowed.
type rule struct {
	nr   uint32
	code []bpf.Instruction
}

var (
	allow  = bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW}
	notify = bpf.RetConstant{Val: unix.SECCOMP_RET_USER_NOTIF}
)

func errno(e unix.Errno) bpf.RetConstant {
	return bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(e)}
}

// always has a call always answered by the supervisor.
func always(nr uint32) rule { return rule{nr, []bpf.Instruction{notify}} }

// pointerOrFlags has a call answered by the supervisor when an argument is not null, or
// another one has one of the bits set.
func pointerOrFlags(nr uint32, pointer, flags int, mask uint32) rule {
	return rule{nr, []bpf.Instruction{
		argLow(pointer),
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0, SkipTrue: 4},
		argHigh(pointer),
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0, SkipTrue: 2},
		argLow(flags),
		bpf.JumpIf{Cond: bpf.JumpBitsNotSet, Val: mask, SkipTrue: 1},
		notify,
		allow,
	}}
}

// Options are what a filter can do more, and what the program is told.
type Options struct {
	// Ioctls are the requests of ioctl(2) that are to be answered, from the first
	// to the last of each pair.
	Ioctls [][2]uint32
	// Opens has open(2) and its kin answered, too.
	Opens bool
	// Host are address families whose sockets are the host's, besides AF_UNIX.
	Host []uint32
	// InPlaceOf is a process, 0 for none: where it is the one for which variables in the program's environment
	// are meant (stage.Variables), the program is.
	InPlaceOf int
}

// rules are those of the native machine's system calls.
func (o *Options) rules() []rule {
	rules := []rule{
		// Host sockets of AF_UNIX are the program's own business.
		{unix.SYS_SOCKET, o.families()},
		{unix.SYS_SOCKETPAIR, []bpf.Instruction{
			argLow(0),
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.AF_UNIX, SkipFalse: 1},
			allow,
			errno(unix.EOPNOTSUPP),
		}},
		always(unix.SYS_BIND),
		always(unix.SYS_CONNECT),
		always(unix.SYS_LISTEN),
		always(unix.SYS_ACCEPT4),
		always(unix.SYS_GETSOCKNAME),
		always(unix.SYS_GETPEERNAME),
		always(unix.SYS_SHUTDOWN),
		always(unix.SYS_SETSOCKOPT),
		always(unix.SYS_GETSOCKOPT),
		always(unix.SYS_SENDMSG),
		always(unix.SYS_RECVMSG),
		always(unix.SYS_SENDMMSG),
		always(unix.SYS_RECVMMSG),
		pointerOrFlags(unix.SYS_SENDTO, 4, 3, unix.MSG_OOB),
		pointerOrFlags(unix.SYS_RECVFROM, 4, 3, unix.MSG_OOB|unix.MSG_ERRQUEUE|unix.MSG_TRUNC),
		// Sockets made and used through a ring pass by any filter.
		{unix.SYS_IO_URING_SETUP, []bpf.Instruction{errno(unix.ENOSYS)}},
		// A process that is not dumpable is out of an unprivileged
		// supervisor's reach; it is told that it is.
		{unix.SYS_PRCTL, []bpf.Instruction{
			argLow(0),
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.PR_SET_DUMPABLE, SkipFalse: 1},
			errno(0),
			allow,
		}},
	}
	rules = append(rules, machineRules...)
	if len(o.Ioctls) > 0 {
		code := []bpf.Instruction{argLow(1)}
		for i, r := range o.Ioctls {
			code = append(code,
				bpf.JumpIf{Cond: bpf.JumpLessThan, Val: r[0], SkipTrue: 1},
				bpf.JumpIf{Cond: bpf.JumpLessOrEqual, Val: r[1], SkipTrue: uint8(2*(len(o.Ioctls)-i) - 1)})
		}
		rules = append(rules, rule{unix.SYS_IOCTL, append(code, allow, notify)})
	}
	if o.Opens {
		for _, nr := range openCalls {
			rules = append(rules, always(nr))
		}
	}
	return rules
}

// families decides by the first argument of socket(2).
func (o *Options) families() []bpf.Instruction {
	code := []bpf.Instruction{argLow(0)}
	host := append([]uint32{unix.AF_UNIX}, o.Host...)
	for i, family := range host {
		code = append(code, bpf.JumpIf{Cond: bpf.JumpEqual, Val: family, SkipTrue: uint8(len(host) - i)})
	}
	return append(code, notify, allow)
}

// foreignRules are those of the machine whose programs run here beside the native
// ones: they have no sockets rather than the host's.
func foreignRules() []bpf.Instruction {
	if len(foreignCalls) == 0 {
		return nil
	}
	code := []bpf.Instruction{bpf.LoadAbsolute{Off: offsetNr, Size: 4}}
	for i, nr := range foreignCalls {
		code = append(code, bpf.JumpIf{Cond: bpf.JumpEqual, Val: nr, SkipTrue: uint8(len(foreignCalls) - i)})
	}
	return append(code, allow, errno(unix.ENOSYS))
}

// program returns the filter. It decides first what most calls are: below the first
// number that is of interest, or none that is.
func (o *Options) program() ([]bpf.RawInstruction, error) {
	rules := o.rules()
	slices.SortFunc(rules, func(a, b rule) int { return int(a.nr) - int(b.nr) })
	foreign := foreignRules()
	code := []bpf.Instruction{
		bpf.LoadAbsolute{Off: offsetArch, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: nativeArch, SkipTrue: uint8(len(foreign) + 1)},
	}
	if len(foreign) > 0 {
		code[1] = bpf.JumpIf{Cond: bpf.JumpEqual, Val: nativeArch, SkipTrue: uint8(len(foreign) + 2)}
		code = append(code, bpf.JumpIf{Cond: bpf.JumpEqual, Val: foreignArch, SkipFalse: uint8(len(foreign))})
		code = append(code, foreign...)
	}
	// Of a machine that is not known.
	code = append(code, errno(unix.ENOSYS))
	code = append(code, bpf.LoadAbsolute{Off: offsetNr, Size: 4})
	if foreignBit != 0 {
		code = append(code,
			bpf.JumpIf{Cond: bpf.JumpLessThan, Val: foreignBit, SkipTrue: 1},
			errno(unix.ENOSYS))
	}
	code = append(code, search(rules)...)
	return bpf.Assemble(code)
}

// search finds the rule of the number in A by halves: all calls of a program pass it
// that the kernel has not found to be always allowed.
func search(rules []rule) []bpf.Instruction {
	if len(rules) <= 3 {
		var code []bpf.Instruction
		for _, r := range rules {
			code = append(code, bpf.JumpIf{Cond: bpf.JumpEqual, Val: r.nr, SkipFalse: uint8(len(r.code) + 1)})
			code = append(code, r.code...)
			code = append(code, allow)
		}
		return append(code, allow)
	}
	half := len(rules) / 2
	below, above := search(rules[:half]), search(rules[half:])
	code := []bpf.Instruction{
		bpf.JumpIf{Cond: bpf.JumpLessThan, Val: rules[half].nr, SkipTrue: 1},
		bpf.Jump{Skip: uint32(len(below))},
	}
	return append(append(code, below...), above...)
}

// encode assembles the filter for the stage.
func (o *Options) encode() ([]byte, error) {
	raw, err := o.program()
	if err != nil {
		return nil, err
	}
	var b []byte
	for _, ins := range raw { // struct sock_filter
		b = binary.NativeEndian.AppendUint16(b, ins.Op)
		b = binary.NativeEndian.AppendUint32(append(b, ins.Jt, ins.Jf), ins.K)
	}
	return b, nil
}
