//go:build linux

package linuxsock

import (
	"golang.org/x/sys/unix"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// MSG_ flags of Linux's that NetBSD has, too.
var msgFlags = []struct {
	linux  int
	netbsd int32
}{
	{unix.MSG_PEEK, netbsd.MSG_PEEK},
	{unix.MSG_DONTROUTE, netbsd.MSG_DONTROUTE | sysproxy.MsgKeepTTL}, // see setDontRoute
	{unix.MSG_DONTWAIT, netbsd.MSG_DONTWAIT},
	{unix.MSG_EOR, netbsd.MSG_EOR},
	{unix.MSG_WAITALL, netbsd.MSG_WAITALL},
	{unix.MSG_NOSIGNAL, netbsd.MSG_NOSIGNAL},
}

func toMsgFlags(flags, allowed int) int32 {
	var result int32
	for _, f := range msgFlags {
		if flags&allowed&f.linux != 0 {
			result |= f.netbsd
		}
	}
	return result
}

// SendFlags translates the flags of sendmsg(2) and its kin. Urgent data and
// data in the first segment (MSG_FASTOPEN) are EOPNOTSUPP, and so is MSG_MORE
// for datagrams, which the kernel would send one by one; for streams it is but a
// hint. What else NetBSD does not know is left out.
func (s *Socket) SendFlags(flags int) (int32, unix.Errno) {
	if flags&(unix.MSG_OOB|unix.MSG_FASTOPEN) != 0 || flags&unix.MSG_MORE != 0 && !s.isTCP() {
		return 0, unix.EOPNOTSUPP
	}
	return toMsgFlags(flags, unix.MSG_DONTROUTE|unix.MSG_DONTWAIT|unix.MSG_EOR|unix.MSG_NOSIGNAL), 0
}

// RecvFlags translates the flags of recvmsg(2) and its kin. Urgent data are
// EOPNOTSUPP. MSG_TRUNC, with which Linux returns a datagram's whole length,
// and MSG_ERRQUEUE are for the caller.
func (s *Socket) RecvFlags(flags int) (int32, unix.Errno) {
	if flags&unix.MSG_OOB != 0 {
		return 0, unix.EOPNOTSUPP
	}
	return toMsgFlags(flags, unix.MSG_PEEK|unix.MSG_DONTWAIT|unix.MSG_WAITALL), 0
}

// MsgFlags translates what NetBSD's recvmsg(2) says in msg_flags.
func MsgFlags(flags int32) int {
	result := 0
	for _, f := range []struct {
		netbsd int32
		linux  int
	}{
		{netbsd.MSG_TRUNC, unix.MSG_TRUNC},
		{netbsd.MSG_CTRUNC, unix.MSG_CTRUNC},
		{netbsd.MSG_EOR, unix.MSG_EOR},
		{netbsd.MSG_OOB, unix.MSG_OOB},
	} {
		if flags&f.netbsd != 0 {
			result |= f.linux
		}
	}
	return result
}
