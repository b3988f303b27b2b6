package trace

import (
	"reflect"
	"sync"

	"rumptools/pkg/netbsd"
)

// callNames are the names of system calls without the marks of their versions.
var callNames = sync.OnceValue(func() map[string]bool {
	names := make(map[string]bool)
	for num := range netbsd.SYS_clock_getcpuclockid2 + 1 {
		if info, ok := netbsd.LookupSyscall(num); ok {
			names[baseName(info.Name)] = true
		}
	}
	return names
})

// types are the structures that arguments point to, by their C names.
var types = map[string]reflect.Type{
	"int":         reflect.TypeFor[int32](),
	"u_int":       reflect.TypeFor[uint32](),
	"long":        reflect.TypeFor[netbsd.Long](),
	"socklen_t":   reflect.TypeFor[uint32](),
	"size_t":      reflect.TypeFor[netbsd.SizeT](),
	"intptr_t":    reflect.TypeFor[netbsd.Long](),
	"pid_t":       reflect.TypeFor[int32](),
	"gid_t":       reflect.TypeFor[uint32](),
	"lwpid_t":     reflect.TypeFor[int32](),
	"timer_t":     reflect.TypeFor[int32](),
	"clockid_t":   reflect.TypeFor[int32](),
	"psetid_t":    reflect.TypeFor[int32](),
	"sigset_t":    reflect.TypeFor[[4]uint32](),
	"timespec":    reflect.TypeFor[netbsd.Timespec](),
	"timeval":     reflect.TypeFor[netbsd.Timeval](),
	"timespec50":  reflect.TypeFor[netbsd.Timespec50](),
	"timeval50":   reflect.TypeFor[netbsd.Timeval50](),
	"itimerval":   reflect.TypeFor[netbsd.Itimerval](),
	"itimerspec":  reflect.TypeFor[netbsd.Itimerspec](),
	"rusage":      reflect.TypeFor[netbsd.Rusage](),
	"rlimit":      reflect.TypeFor[netbsd.Rlimit](),
	"iovec":       reflect.TypeFor[netbsd.Iovec](),
	"msghdr":      reflect.TypeFor[netbsd.Msghdr](),
	"mmsghdr":     reflect.TypeFor[netbsd.Mmsghdr](),
	"pollfd":      reflect.TypeFor[netbsd.Pollfd](),
	"kevent":      reflect.TypeFor[netbsd.Kevent](),
	"fd_set":      reflect.TypeFor[netbsd.FdSet](),
	"stat":        reflect.TypeFor[netbsd.Stat](),
	"statvfs":     reflect.TypeFor[netbsd.Statvfs](),
	"flock":       reflect.TypeFor[netbsd.Flock](),
	"sysctlnode":  reflect.TypeFor[netbsd.Sysctlnode](),
	"winsize":     reflect.TypeFor[netbsd.Winsize](),
	"kinfo_proc2": reflect.TypeFor[netbsd.KinfoProc2](),
}

// typeSize is the size in bytes of a C type on the machine, 0 if it is not known.
func typeSize(m *netbsd.Machine, name string) int {
	if t, ok := types[name]; ok {
		return netbsd.Sizeof(m, t)
	}
	return 0
}

// readUint reads an integer of 1, 2, 4 or 8 bytes; others are 0.
func readUint(m *netbsd.Machine, b []byte) uint64 {
	switch len(b) {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(m.Order.Uint16(b))
	case 4:
		return uint64(m.Order.Uint32(b))
	case 8:
		return m.Order.Uint64(b)
	}
	return 0
}
