package seccomp

import "golang.org/x/sys/unix"

const (
	nativeArch  = unix.AUDIT_ARCH_AARCH64
	foreignArch = unix.AUDIT_ARCH_ARM
	foreignBit  = 0
)

var machineRules = []rule{always(unix.SYS_ACCEPT)}

var openCalls = []uint32{unix.SYS_OPENAT, unix.SYS_OPENAT2}

// foreignCalls are arm's that make sockets: socketcall(2), socket(2),
// socketpair(2), io_uring_setup(2) (arch/arm/tools/syscall.tbl).
var foreignCalls = []uint32{102, 281, 288, 425}
