package seccomp

import "golang.org/x/sys/unix"

const (
	nativeArch  = unix.AUDIT_ARCH_X86_64
	foreignArch = unix.AUDIT_ARCH_I386
	// foreignBit is set in the numbers of x32's system calls.
	foreignBit = 0x40000000
)

var machineRules = []rule{always(unix.SYS_ACCEPT)}

var openCalls = []uint32{unix.SYS_OPEN, unix.SYS_OPENAT, unix.SYS_OPENAT2}

// foreignCalls are i386's that make sockets: socketcall(2), socket(2),
// socketpair(2), io_uring_setup(2) (arch/x86/entry/syscalls/syscall_32.tbl).
var foreignCalls = []uint32{102, 359, 360, 425}
