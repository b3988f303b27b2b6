package netbsd

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
)

// ArgKind is what a system call's argument is.
type ArgKind uint8

// Kinds of arguments.
const (
	ArgInt     ArgKind = iota // int
	ArgUint                   // unsigned int
	ArgLong                   // long, intptr_t
	ArgULong                  // unsigned long
	ArgSize                   // size_t
	ArgSocklen                // socklen_t
	ArgFd                     // int, a descriptor
	ArgPid                    // pid_t
	ArgID                     // uid_t, gid_t or id_t
	ArgMode                   // mode_t
	ArgSignal                 // int, a signal number
	ArgClock                  // clockid_t
	ArgCmd                    // u_long, an ioctl command
	ArgDev                    // dev_t, 64 bits
	ArgOff                    // off_t, 64 bits
	ArgPad                    // a slot without meaning, before an off_t
	ArgPtr                    // an address that the kernel does not read or write through
	ArgPath                   // address of a path name that ends with NUL
	ArgStr                    // address of another string that ends with NUL
	ArgIn                     // address of memory that the kernel reads
	ArgOut                    // address of memory that the kernel writes
	ArgInOut                  // address of memory that the kernel reads and writes
	ArgIoctl                  // ioctl's data: as the command says
	ArgFcntl                  // fcntl's argument: an integer or an address, as the command says
)

var argKindNames = map[string]ArgKind{
	"int": ArgInt, "uint": ArgUint, "long": ArgLong, "ulong": ArgULong,
	"size": ArgSize, "socklen": ArgSocklen, "fd": ArgFd, "pid": ArgPid,
	"id": ArgID, "mode": ArgMode, "sig": ArgSignal, "clock": ArgClock,
	"cmd": ArgCmd, "dev": ArgDev, "off": ArgOff, "pad": ArgPad, "ptr": ArgPtr,
	"path": ArgPath, "str": ArgStr, "in": ArgIn, "out": ArgOut,
	"inout": ArgInOut, "ioctl": ArgIoctl, "fcntl": ArgFcntl,
}

// String returns the kind's name as in the table: "fd", "path", "inout".
func (k ArgKind) String() string {
	for name, kind := range argKindNames {
		if kind == k {
			return name
		}
	}
	return "ArgKind(" + strconv.Itoa(int(k)) + ")"
}

// Arg is an argument of a system call.
type Arg struct {
	// Name is the argument's name in syscalls.master.
	Name string
	Kind ArgKind
	// Type names what an address points to, without "struct": "timespec".
	// It is empty for plain bytes.
	Type string
	// LenArg is the index of the argument that tells the length of what an
	// address points to, or -1.
	LenArg int
	// LenIndirect says that the argument LenArg is the address of the
	// length.
	LenIndirect bool
	// LenElements says that the length counts elements of Type, not bytes.
	LenElements bool
	// Count is the number of elements of Type where it is fixed and more
	// than one, else 0.
	Count int
}

// SyscallInfo describes a system call.
type SyscallInfo struct {
	Num  int
	Name string // as in SYS_Name
	Ret  string // C type of the result: "int", "ssize_t", "off_t"
	Args []Arg
	// Rump says that rump kernels have the call when the component that it
	// belongs to is there; the other calls always give ENOSYS.
	Rump bool
}

// syscallRow is a row of the table. Its signature is a list of arguments
// "KIND NAME", for addresses "KIND NAME:TYPE[LENGTH]", where LENGTH is the
// name of the argument with the length in bytes, NAME* for a number of
// elements, *NAME for the address of a length or N* for N elements.
type syscallRow struct {
	num       int
	name, ret string
	flags     syscallFlags
	signature string
}

type syscallFlags bool

const (
	rump  syscallFlags = true
	other syscallFlags = false
)

var syscalls = sync.OnceValue(func() map[int]*SyscallInfo {
	infos := make(map[int]*SyscallInfo, len(syscallTable))
	for _, row := range syscallTable {
		infos[row.num] = &SyscallInfo{
			Num:  row.num,
			Name: row.name,
			Ret:  row.ret,
			Args: parseSignature(row.signature),
			Rump: bool(row.flags),
		}
	}
	return infos
})

func parseSignature(signature string) []Arg {
	if signature == "" {
		return nil
	}
	var args []Arg
	lengths := make(map[int]string)
	for i, s := range strings.Split(signature, ", ") {
		kind, rest, _ := strings.Cut(s, " ")
		rest, length, _ := strings.Cut(strings.TrimSuffix(rest, "]"), "[")
		name, typ, _ := strings.Cut(rest, ":")
		k, ok := argKindNames[kind]
		if !ok {
			panic(fmt.Sprintf("netbsd: signature %q: unknown kind %q", signature, kind))
		}
		args = append(args, Arg{Name: name, Kind: k, Type: typ, LenArg: -1})
		if length != "" {
			lengths[i] = length
		}
	}
	for i, length := range lengths {
		a := &args[i]
		length, a.LenIndirect = strings.CutPrefix(length, "*")
		length, a.LenElements = strings.CutSuffix(length, "*")
		if n, err := strconv.Atoi(length); err == nil {
			a.Count = n
			continue
		}
		for j := range args {
			if args[j].Name == length {
				a.LenArg = j
			}
		}
		if a.LenArg < 0 {
			panic(fmt.Sprintf("netbsd: signature %q: no argument %q", signature, length))
		}
	}
	return args
}

// LookupSyscall returns what is known of a system call. The result is shared;
// do not change it.
func LookupSyscall(num int) (*SyscallInfo, bool) {
	info, ok := syscalls()[num]
	return info, ok
}

// SyscallName returns a system call's name as in sys/syscall.h, without SYS_:
// "__socket30". It is empty when there is no such call.
func SyscallName(num int) string {
	if info, ok := LookupSyscall(num); ok {
		return info.Name
	}
	return ""
}

// SyscallByName finds a system call by its name in sys/syscall.h, with or
// without SYS_.
func SyscallByName(name string) (*SyscallInfo, bool) {
	name = strings.TrimPrefix(name, "SYS_")
	for _, info := range syscalls() {
		if info.Name == name {
			return info, true
		}
	}
	return nil, false
}

// ArgSize returns the size in bytes of the call's argument block on the
// machine: what a client sends, and the least that a kernel needs.
func (s *SyscallInfo) ArgSize(m *Machine) int {
	n := 0
	for i := range s.Args {
		n += s.Args[i].size(m)
	}
	return n
}

func (a *Arg) size(m *Machine) int {
	if a.Kind == ArgOff || a.Kind == ArgDev {
		return 8
	}
	return m.WordSize
}

// Signed says whether values of the kind are signed.
func (k ArgKind) Signed() bool {
	switch k {
	case ArgInt, ArgLong, ArgFd, ArgPid, ArgSignal, ArgClock, ArgOff:
		return true
	}
	return false
}

// Values takes the call's arguments from its block b, one value for each of
// s.Args. Signed ones are sign-extended to 64 bits, the others zero-extended;
// ints are cut to 32 bits first, as the kernel does. The values so far and an
// error are returned when b is too short.
func (s *SyscallInfo) Values(m *Machine, b []byte) ([]uint64, error) {
	r := NewArgReader(m, b)
	values := make([]uint64, 0, len(s.Args))
	for i := range s.Args {
		var v uint64
		switch s.Args[i].Kind {
		case ArgInt, ArgFd, ArgPid, ArgSignal, ArgClock:
			v = uint64(int64(r.Int()))
		case ArgUint, ArgSocklen, ArgID, ArgMode:
			v = uint64(r.Uint())
		case ArgLong:
			v = uint64(r.Long())
		case ArgOff, ArgDev:
			v = uint64(r.Quad())
		default:
			v = r.Word()
		}
		if r.Err() != nil {
			return values, fmt.Errorf("netbsd: %s: argument %s: %w", s.Name, s.Args[i].Name, r.Err())
		}
		values = append(values, v)
	}
	return values, nil
}
