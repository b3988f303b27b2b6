//go:build amd64 || arm64

package stage

import (
	"strconv"
	"syscall"
	"unsafe"

	"rumptools/internal/hijack/early"
)

// From linux/prctl.h, linux/seccomp.h, linux/mount.h and asm-generic/unistd.h: package unix
// would be initialized too late.
const (
	prSetNoNewPrivs      = 38 // PR_SET_NO_NEW_PRIVS
	prCapAmbient         = 47 // PR_CAP_AMBIENT
	prCapAmbientClearAll = 4  // PR_CAP_AMBIENT_CLEAR_ALL

	setModeFilter        = 1      // SECCOMP_SET_MODE_FILTER
	flagNewListener      = 1 << 3 // SECCOMP_FILTER_FLAG_NEW_LISTENER
	flagWaitKillableRecv = 1 << 5 // SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV

	sysPidfdOpen      = 434 // SYS_PIDFD_OPEN
	sysOpenTree       = 428 // SYS_OPEN_TREE
	sysMoveMount      = 429 // SYS_MOVE_MOUNT
	sysMountSetattr   = 442 // SYS_MOUNT_SETATTR
	mountAttrRDOnly   = 0x1 // MOUNT_ATTR_RDONLY
	atEmptyPath       = 0x1000
	openTreeClone     = 1      // OPEN_TREE_CLONE
	atRecursive       = 0x8000 // AT_RECURSIVE
	atSymlinkNofollow = 0x100  // AT_SYMLINK_NOFOLLOW
	moveMountFEmpty   = 0x4    // MOVE_MOUNT_F_EMPTY_PATH
	moveMountTLinks   = 0x10   // MOVE_MOUNT_T_SYMLINKS
)

var atFdcwd = -100 // AT_FDCWD

func init() {
	fd, before, ok := early.Said(Env, "stage of a program's start")
	if !ok {
		return
	}
	standFor(before)
	what, errno := stage(fd)
	// The supervisor tells the user.
	syscall.Write(fd, []byte(what+" "+strconv.Itoa(int(errno))))
	syscall.Exit(126)
}

// standFor has the variables that name a process name this one.
func standFor(pid string) {
	for _, name := range Variables {
		if v, ok := syscall.Getenv(name); !ok || pid == "" || v != pid {
			continue
		}
		syscall.Setenv(name, strconv.Itoa(syscall.Getpid()))
		if _, ok := syscall.Getenv(listenInode); !ok || name != "LISTEN_PID" {
			continue
		}
		if ino, ok := pidfdInode(); ok {
			syscall.Setenv(listenInode, strconv.FormatUint(ino, 10))
		} else {
			syscall.Unsetenv(listenInode)
		}
	}
}

// pidfdInode is that of this process.
func pidfdInode() (uint64, bool) {
	fd, _, errno := syscall.Syscall(sysPidfdOpen, uintptr(syscall.Getpid()), 0, 0)
	if errno != 0 {
		return 0, false
	}
	defer syscall.Close(int(fd))
	var st syscall.Stat_t
	return st.Ino, syscall.Fstat(int(fd), &st) == nil
}

// stage returns only if something fails.
func stage(fd int) (what string, errno syscall.Errno) {
	args, errno := arguments()
	if errno != 0 {
		return "open", errno
	}
	filter, errno := message(fd)
	if errno != 0 {
		return "read", errno
	}
	mounts, errno := message(fd)
	if errno != 0 {
		return "read", errno
	}
	if errno := mountAll(mounts); errno != 0 {
		return "mount", errno
	}
	// What it took to mount is not the program's.
	if errno := prctl(prCapAmbient, prCapAmbientClearAll); errno != 0 && errno != syscall.EINVAL {
		return "prctl", errno
	}
	listener, errno := install(filter)
	if errno != 0 {
		return "seccomp", errno
	}
	if _, err := syscall.Write(fd, []byte("listener "+strconv.Itoa(listener))); err != nil {
		return "write", err.(syscall.Errno)
	}
	if _, errno := message(fd); errno != 0 {
		return "read", errno
	}
	syscall.CloseOnExec(fd)
	err := syscall.Exec(args[1], args[2:], syscall.Environ())
	errno, ok := err.(syscall.Errno)
	if !ok {
		errno = syscall.EINVAL
	}
	return "exec", errno
}

// arguments are this process's: package os has them later.
func arguments() (args []string, errno syscall.Errno) {
	f, err := syscall.Open("/proc/self/cmdline", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, err.(syscall.Errno)
	}
	defer syscall.Close(f)
	var all []byte
	b := make([]byte, 16<<10)
	for {
		n, err := syscall.Read(f, b)
		switch {
		case err == syscall.EINTR:
			continue
		case err != nil:
			return nil, err.(syscall.Errno)
		case n > 0:
			all = append(all, b[:n]...)
			continue
		}
		break
	}
	for len(all) > 0 {
		var arg string
		arg, all = text(all)
		args = append(args, arg)
	}
	if len(args) < 3 {
		return nil, syscall.EINVAL
	}
	return args, 0
}

// text takes what is before a zero byte.
func text(b []byte) (s string, rest []byte) {
	for i, c := range b {
		if c == 0 {
			return string(b[:i]), b[i+1:]
		}
	}
	return string(b), nil
}

// message reads one.
func message(fd int) ([]byte, syscall.Errno) {
	b := make([]byte, MaxMessage)
	for {
		n, err := syscall.Read(fd, b)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return nil, err.(syscall.Errno)
		case n == 0:
			return nil, syscall.EPIPE // the supervisor has gone
		default:
			return b[:n], 0
		}
	}
}

// mountAll makes mounts in this process's mount namespace, which is no other's. What is
// mounted elsewhere later is still seen.
func mountAll(mounts []byte) syscall.Errno {
	if mounts[0] == 0 {
		return 0 // there are none
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_SLAVE, ""); err != nil {
		return err.(syscall.Errno)
	}
	for len(mounts) > 0 {
		kind := mounts[0]
		from, rest := text(mounts[1:])
		to, rest := text(rest)
		if errno := mount(kind, from, to); errno != 0 && kind != Tree {
			return errno
		}
		mounts = rest
	}
	return 0
}

func mount(kind byte, from, to string) syscall.Errno {
	source, err := syscall.BytePtrFromString(from)
	if err != nil {
		return syscall.EINVAL
	}
	target, err := syscall.BytePtrFromString(to)
	if err != nil {
		return syscall.EINVAL
	}
	flags, moveFlags := uintptr(openTreeClone|syscall.O_CLOEXEC), uintptr(moveMountFEmpty)
	if kind == Link {
		flags |= atSymlinkNofollow
	} else {
		moveFlags |= moveMountTLinks
	}
	if kind == Tree {
		flags |= atRecursive
	}
	fd, _, errno := syscall.Syscall(sysOpenTree, uintptr(atFdcwd), uintptr(unsafe.Pointer(source)), flags)
	if errno != 0 {
		return errno
	}
	defer syscall.Close(int(fd))
	var empty [1]byte
	if kind == ReadOnly {
		attr := struct{ set, clear, propagation, userns uint64 }{set: mountAttrRDOnly} // struct mount_attr
		_, _, errno = syscall.Syscall6(sysMountSetattr, fd, uintptr(unsafe.Pointer(&empty)), uintptr(atEmptyPath),
			uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr), 0)
		if errno != 0 {
			return errno
		}
	}
	_, _, errno = syscall.Syscall6(sysMoveMount, fd, uintptr(unsafe.Pointer(&empty)), uintptr(atFdcwd), uintptr(unsafe.Pointer(target)), moveFlags, 0)
	return errno
}

func prctl(option, arg2 uintptr) syscall.Errno {
	_, _, errno := syscall.RawSyscall6(syscall.SYS_PRCTL, option, arg2, 0, 0, 0, 0)
	return errno
}

// install gives this thread the filter, which execve(2) leaves to the program.
func install(filter []byte) (listener int, errno syscall.Errno) {
	const sizeofSockFilter = 8
	var prog struct { // struct sock_fprog
		len    uint16
		filter *byte
	}
	prog.len, prog.filter = uint16(len(filter)/sizeofSockFilter), &filter[0]
	set := func() (int, syscall.Errno) {
		// Without killable waits a signal that comes between the
		// supervisor's deed and its answer has the call made twice.
		fd, _, errno := syscall.RawSyscall(sysSeccomp, setModeFilter, flagNewListener|flagWaitKillableRecv, uintptr(unsafe.Pointer(&prog)))
		return int(fd), errno
	}
	listener, errno = set()
	if errno == syscall.EACCES {
		// Only who has CAP_SYS_ADMIN may do without.
		if errno := prctl(prSetNoNewPrivs, 1); errno != 0 {
			return -1, errno
		}
		listener, errno = set()
	}
	return listener, errno
}
