//go:build amd64 || arm64

package seccomp

import (
	"encoding/binary"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// decide runs the filter on a call. The machine of package bpf reads words in network
// byte order, so that is how the call is laid out for it.
func decide(t *testing.T, vm *bpf.VM, arch, nr uint32, args ...uint64) uint32 {
	t.Helper()
	data := make([]byte, offsetArgs+6*8)
	binary.BigEndian.PutUint32(data[offsetNr:], nr)
	binary.BigEndian.PutUint32(data[offsetArch:], arch)
	for i, arg := range args {
		binary.BigEndian.PutUint32(data[offsetArgs+8*i:], uint32(arg))
		binary.BigEndian.PutUint32(data[offsetArgs+8*i+4:], uint32(arg>>32))
	}
	verdict, err := vm.Run(data)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(verdict)
}

func newVM(t *testing.T, o *Options) *bpf.VM {
	t.Helper()
	raw, err := o.program()
	if err != nil {
		t.Fatal(err)
	}
	if len(raw) > 4096 { // BPF_MAXINSNS
		t.Fatalf("%d instructions", len(raw))
	}
	code, ok := bpf.Disassemble(raw)
	if !ok {
		t.Fatal("an instruction that is none")
	}
	vm, err := bpf.NewVM(code)
	if err != nil {
		t.Fatal(err)
	}
	return vm
}

func TestFilter(t *testing.T) {
	const (
		yes    = uint32(unix.SECCOMP_RET_ALLOW)
		ask    = uint32(unix.SECCOMP_RET_USER_NOTIF)
		denied = uint32(unix.SECCOMP_RET_ERRNO)
	)
	plain := newVM(t, &Options{Ioctls: [][2]uint32{{0x8906, 0x89ff}, {0x8b00, 0x8bff}}})
	host6 := newVM(t, &Options{Host: []uint32{unix.AF_INET6}})
	opens := newVM(t, &Options{Opens: true})
	for _, tt := range []struct {
		name string
		vm   *bpf.VM
		nr   uint32
		args []uint64
		want uint32
	}{
		{"read", plain, unix.SYS_READ, nil, yes},
		{"write", plain, unix.SYS_WRITE, nil, yes},
		{"close", plain, unix.SYS_CLOSE, nil, yes},
		{"execve", plain, unix.SYS_EXECVE, nil, yes},
		{"socket of AF_UNIX", plain, unix.SYS_SOCKET, []uint64{unix.AF_UNIX, unix.SOCK_STREAM}, yes},
		{"socket of AF_INET", plain, unix.SYS_SOCKET, []uint64{unix.AF_INET, unix.SOCK_STREAM}, ask},
		{"socket of AF_INET6", plain, unix.SYS_SOCKET, []uint64{unix.AF_INET6, unix.SOCK_DGRAM}, ask},
		{"socket of AF_NETLINK", plain, unix.SYS_SOCKET, []uint64{unix.AF_NETLINK, unix.SOCK_RAW}, ask},
		{"socket of AF_PACKET", plain, unix.SYS_SOCKET, []uint64{unix.AF_PACKET, unix.SOCK_RAW}, ask},
		{"socket of AF_INET6, which is the host's", host6, unix.SYS_SOCKET, []uint64{unix.AF_INET6}, yes},
		{"socket of AF_INET, which is not", host6, unix.SYS_SOCKET, []uint64{unix.AF_INET}, ask},
		{"socketpair of AF_UNIX", plain, unix.SYS_SOCKETPAIR, []uint64{unix.AF_UNIX}, yes},
		{"socketpair of AF_TIPC", plain, unix.SYS_SOCKETPAIR, []uint64{unix.AF_TIPC}, denied | uint32(unix.EOPNOTSUPP)},
		{"connect", plain, unix.SYS_CONNECT, nil, ask},
		{"accept4", plain, unix.SYS_ACCEPT4, nil, ask},
		{"send", plain, unix.SYS_SENDTO, []uint64{3, 1, 1, 0, 0, 0}, yes},
		{"send of urgent data", plain, unix.SYS_SENDTO, []uint64{3, 1, 1, unix.MSG_OOB, 0, 0}, ask},
		{"sendto", plain, unix.SYS_SENDTO, []uint64{3, 1, 1, 0, 0x1000, 16}, ask},
		{"sendto, above 4 GiB", plain, unix.SYS_SENDTO, []uint64{3, 1, 1, 0, 1 << 32, 16}, ask},
		{"recv", plain, unix.SYS_RECVFROM, []uint64{3, 1, 1, unix.MSG_DONTWAIT, 0, 0}, yes},
		{"recv of errors", plain, unix.SYS_RECVFROM, []uint64{3, 1, 1, unix.MSG_ERRQUEUE, 0, 0}, ask},
		{"recvfrom", plain, unix.SYS_RECVFROM, []uint64{3, 1, 1, 0, 0x7fff00000000, 1}, ask},
		{"recvmsg", plain, unix.SYS_RECVMSG, nil, ask},
		{"sendmmsg", plain, unix.SYS_SENDMMSG, nil, ask},
		{"setsockopt", plain, unix.SYS_SETSOCKOPT, []uint64{3, unix.IPPROTO_TCP, unix.TCP_NODELAY, 0x1000, 4}, ask},
		{"io_uring_setup", plain, unix.SYS_IO_URING_SETUP, nil, denied | uint32(unix.ENOSYS)},
		{"prctl(PR_SET_DUMPABLE)", plain, unix.SYS_PRCTL, []uint64{unix.PR_SET_DUMPABLE, 0}, denied},
		{"prctl(PR_SET_NAME)", plain, unix.SYS_PRCTL, []uint64{unix.PR_SET_NAME, 0}, yes},
		{"ioctl of a terminal", plain, unix.SYS_IOCTL, []uint64{0, unix.TCGETS}, yes},
		{"ioctl below", plain, unix.SYS_IOCTL, []uint64{0, 0x8905}, yes},
		{"ioctl, the first", plain, unix.SYS_IOCTL, []uint64{0, 0x8906}, ask},
		{"ioctl, the last", plain, unix.SYS_IOCTL, []uint64{0, 0x89ff}, ask},
		{"ioctl above", plain, unix.SYS_IOCTL, []uint64{0, 0x8a00}, yes},
		{"ioctl of the second range", plain, unix.SYS_IOCTL, []uint64{0, 0x8b15}, ask},
		{"FIONREAD", plain, unix.SYS_IOCTL, []uint64{0, 0x541b}, yes},
		{"openat", plain, unix.SYS_OPENAT, nil, yes},
		{"openat, with Opens", opens, unix.SYS_OPENAT, nil, ask},
		{"a call of the future", plain, 1000, nil, yes},
	} {
		if got := decide(t, tt.vm, nativeArch, tt.nr, tt.args...); got != tt.want {
			t.Errorf("%s: %#x, want %#x", tt.name, got, tt.want)
		}
	}
	// Programs of the other machine have no sockets.
	for _, nr := range foreignCalls {
		if got := decide(t, plain, foreignArch, nr, unix.AF_INET); got != denied|uint32(unix.ENOSYS) {
			t.Errorf("call %d of the other machine: %#x", nr, got)
		}
	}
	if got := decide(t, plain, foreignArch, 1); got != yes {
		t.Errorf("exit of the other machine: %#x", got)
	}
	if got := decide(t, plain, unix.AUDIT_ARCH_S390X, 1); got != denied|uint32(unix.ENOSYS) {
		t.Errorf("a machine that cannot be: %#x", got)
	}
	if foreignBit != 0 {
		if got := decide(t, plain, nativeArch, foreignBit|unix.SYS_SOCKET, unix.AF_INET); got != denied|uint32(unix.ENOSYS) {
			t.Errorf("x32: %#x", got)
		}
	}
}

// TestFilterIsShort bounds what most calls pay: read(2) passes few instructions.
func TestFilterIsShort(t *testing.T) {
	raw, err := (&Options{Ioctls: [][2]uint32{{0x8906, 0x89ff}}}).program()
	if err != nil {
		t.Fatal(err)
	}
	if len(raw) > 300 {
		t.Errorf("%d instructions", len(raw))
	}
}
