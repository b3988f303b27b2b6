package kernel

import (
	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// sysent is an entry of the system call table.
type sysent struct {
	// args are the kinds of the arguments, a letter each: w takes one
	// slot; o is an off_t with the padding before it.
	args string
	call func(c *Call) (uint64, error)
}

// slots is the size in bytes of the argument structure.
func (s *sysent) slots(m *netbsd.Machine) int {
	n := 0
	for _, kind := range s.args {
		switch {
		case kind == 'o' && m.WordSize == 4:
			n += 3
		case kind == 'o':
			n += 2
		default:
			n++
		}
	}
	return n * m.WordSize
}

// run carries out the call.
func (c *Call) run() (ret [2]uint64, err error) {
	s, ok := sysents[c.num]
	if !ok {
		return ret, netbsd.ENOSYS
	}
	if c.refused != nil {
		return ret, c.refused
	}
	// The real kernel reads on behind its buffer here.
	if c.nargs < s.slots(c.k.machine) {
		return ret, netbsd.EFAULT
	}
	ret[0], err = s.call(c)
	ret[1] = c.ret1
	if c.ret64 {
		var r sysproxy.SyscallReply
		r.SetValue64(c.k.layout, ret[0])
		ret = r.Retval
	}
	return ret, err
}

// sysents is the system call table: syscalls.master's numbers. Old versions of
// a call are those that programs of the last ten years make.
var sysents map[uint32]*sysent

func init() {
	sysents = map[uint32]*sysent{
		netbsd.SYS_read:   {"www", sysRead},
		netbsd.SYS_write:  {"www", sysWrite},
		netbsd.SYS_readv:  {"www", sysReadv},
		netbsd.SYS_writev: {"www", sysWritev},
		netbsd.SYS_open:   {"www", sysOpen},
		netbsd.SYS_close:  {"w", sysClose},
		netbsd.SYS_dup:    {"w", sysDup},
		netbsd.SYS_dup2:   {"ww", sysDup2},
		netbsd.SYS_dup3:   {"www", sysDup3},
		netbsd.SYS_fcntl:  {"www", sysFcntl},
		netbsd.SYS_ioctl:  {"www", sysIoctl},
		netbsd.SYS_lseek:  {"wow", sysLseek},
		netbsd.SYS_pipe:   {"", sysPipe},
		netbsd.SYS_pipe2:  {"ww", sysPipe2},

		netbsd.SYS_pread:   {"wwwo", sysPread},
		netbsd.SYS_pwrite:  {"wwwo", sysPwrite},
		netbsd.SYS_preadv:  {"wwwo", sysPreadv},
		netbsd.SYS_pwritev: {"wwwo", sysPwritev},

		netbsd.SYS___fstat50: {"ww", sysFstat},
		netbsd.SYS___stat50:  {"ww", sysStat},
		netbsd.SYS___lstat50: {"ww", sysStat},
		netbsd.SYS_access:    {"ww", sysAccess},
		netbsd.SYS_unlink:    {"w", sysUnlink},
		netbsd.SYS___getcwd:  {"ww", sysGetcwd},

		netbsd.SYS_getpid:    {"", sysGetpid},
		netbsd.SYS_getppid:   {"", sysGetppid},
		netbsd.SYS_getuid:    {"", sysRoot},
		netbsd.SYS_geteuid:   {"", sysRoot},
		netbsd.SYS_getgid:    {"", sysRoot},
		netbsd.SYS_getegid:   {"", sysRoot},
		netbsd.SYS_issetugid: {"", sysRoot},
		netbsd.SYS_setuid:    {"w", sysSetID},
		netbsd.SYS_seteuid:   {"w", sysSetID},
		netbsd.SYS_setgid:    {"w", sysSetID},
		netbsd.SYS_setegid:   {"w", sysSetID},
		netbsd.SYS_getgroups: {"ww", sysRoot},
		netbsd.SYS_getpgrp:   {"", sysRoot},
		netbsd.SYS_getpgid:   {"w", sysRoot},
		netbsd.SYS_getsid:    {"w", sysRoot},
		netbsd.SYS_umask:     {"w", sysUmask},
		netbsd.SYS_getrlimit: {"ww", sysGetrlimit},
		netbsd.SYS_setrlimit: {"ww", sysSetrlimit},

		netbsd.SYS_reboot: {"ww", sysReboot},

		netbsd.SYS___gettimeofday50:  {"ww", sysGettimeofday},
		netbsd.SYS___clock_gettime50: {"ww", sysClockGettime},
		netbsd.SYS___clock_getres50:  {"ww", sysClockGetres},
		netbsd.SYS___nanosleep50:     {"ww", sysNanosleep},
		netbsd.SYS_clock_nanosleep:   {"wwww", sysClockNanosleep},

		netbsd.SYS___socket30:  {"www", sysSocket},
		netbsd.SYS_socketpair:  {"wwww", sysSocketpair},
		netbsd.SYS_bind:        {"www", onSocket(sysBind)},
		netbsd.SYS_connect:     {"www", onSocket(sysConnect)},
		netbsd.SYS_listen:      {"ww", onSocket(sysListen)},
		netbsd.SYS_accept:      {"www", onSocket(sysAccept)},
		netbsd.SYS_paccept:     {"wwwww", onSocket(sysPaccept)},
		netbsd.SYS_shutdown:    {"ww", onSocket(sysShutdown)},
		netbsd.SYS_getsockname: {"www", onSocket(sysGetsockname)},
		netbsd.SYS_getpeername: {"www", onSocket(sysGetpeername)},
		netbsd.SYS_setsockopt:  {"wwwww", onSocket(sysSetsockopt)},
		netbsd.SYS_getsockopt:  {"wwwww", onSocket(sysGetsockopt)},
		netbsd.SYS_sendto:      {"wwwwww", onSocket(sysSendto)},
		netbsd.SYS_recvfrom:    {"wwwwww", onSocket(sysRecvfrom)},
		netbsd.SYS_sendmsg:     {"www", onSocket(sysSendmsg)},
		netbsd.SYS_recvmsg:     {"www", onSocket(sysRecvmsg)},
		netbsd.SYS_sendmmsg:    {"wwww", onSocket(sysSendmmsg)},
		netbsd.SYS_recvmmsg:    {"wwwww", onSocket(sysRecvmmsg)},

		netbsd.SYS_poll:        {"www", sysPoll},
		netbsd.SYS___pollts50:  {"wwww", sysPollts},
		netbsd.SYS___select50:  {"wwwww", sysSelect},
		netbsd.SYS___pselect50: {"wwwwww", sysPselect},

		netbsd.SYS_kqueue:     {"", sysKqueue},
		netbsd.SYS_kqueue1:    {"w", sysKqueue1},
		netbsd.SYS___kevent50: {"wwwwww", sysKevent},

		// As programs for releases before 6.0 know them.
		netbsd.SYS_compat_50_select:  {"wwwww", sysSelectOld},
		netbsd.SYS_compat_50_pselect: {"wwwwww", sysPselectOld},
		netbsd.SYS_compat_50_pollts:  {"wwww", sysPolltsOld},
		netbsd.SYS_compat_50_kevent:  {"wwwwww", sysKeventOld},

		netbsd.SYS___sysctl: {"wwwwww", sysSysctl},
	}
}
