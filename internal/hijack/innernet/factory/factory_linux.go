package factory

import (
	"syscall"
	"unsafe"

	"rumptools/internal/hijack/early"
)

// From linux/if.h, linux/sockios.h, linux/sock_diag.h and others: package unix would be initialized too late.
const (
	iffUp               = 0x1
	netlinkSockDiag     = 4   // NETLINK_SOCK_DIAG
	solNetlink          = 270 // SOL_NETLINK
	addMembership       = 1   // NETLINK_ADD_MEMBERSHIP
	groupInetUDPDestroy = 2   // SKNLGRP_INET_UDP_DESTROY

	keptRoom = 8 << 20 // bytes, of which the host makes twice as many
	diagRoom = 4 << 20
)

func init() {
	fd, _, ok := early.Said(Env, "factory of sockets")
	if !ok {
		return
	}
	up := Up() // what may be done to the namespace, this thread may
	for {
		var kind [1]byte
		n, err := syscall.Read(fd, kind[:])
		if err == syscall.EINTR {
			continue
		}
		if err != nil || n != 1 {
			syscall.Exit(0) // nobody asks any more
		}
		sock, errno := -1, up
		if errno == 0 {
			sock, errno = Make(Kind(kind[0]))
		}
		if errno != 0 {
			e := uint32(errno)
			syscall.Sendmsg(fd, (*[4]byte)(unsafe.Pointer(&e))[:], nil, nil, syscall.MSG_NOSIGNAL)
			continue
		}
		syscall.Sendmsg(fd, []byte{0}, syscall.UnixRights(sock), nil, syscall.MSG_NOSIGNAL)
		syscall.Close(sock)
	}
}

// Up has lo of this thread's network namespace up.
func Up() syscall.Errno {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return err.(syscall.Errno)
	}
	defer syscall.Close(fd)
	ifr := struct { // struct ifreq
		name  [syscall.IFNAMSIZ]byte
		flags int16
		_     [22]byte
	}{name: [syscall.IFNAMSIZ]byte{'l', 'o'}, flags: iffUp}
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), syscall.SIOCSIFFLAGS, uintptr(unsafe.Pointer(&ifr)))
	return errno
}

// Make makes a socket in this thread's network namespace.
func Make(kind Kind) (fd int, errno syscall.Errno) {
	const flags = syscall.SOCK_CLOEXEC
	var err error
	switch kind {
	case UDP:
		if fd, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM|flags, 0); err == nil {
			room(fd, UDPRoom)
		}
	case Kept:
		if fd, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM|syscall.SOCK_NONBLOCK|flags, 0); err == nil {
			room(fd, keptRoom)
		}
	case TCP:
		fd, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|flags, 0)
	case Raw:
		fd, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_RAW|flags, syscall.IPPROTO_RAW)
	case Diag:
		if fd, err = syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_RAW|syscall.SOCK_NONBLOCK|flags, netlinkSockDiag); err == nil {
			room(fd, diagRoom)
			// One without a name is told nothing.
			if err = syscall.Bind(fd, &syscall.SockaddrNetlink{Family: syscall.AF_NETLINK}); err == nil {
				err = syscall.SetsockoptInt(fd, solNetlink, addMembership, groupInetUDPDestroy)
			}
			if err != nil {
				syscall.Close(fd)
			}
		}
	default:
		return -1, syscall.EINVAL
	}
	if err != nil {
		return -1, err.(syscall.Errno)
	}
	return fd, 0
}

// room gives a socket much room to receive, as much as the host allows where it does not allow that.
func room(fd, n int) {
	if syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUFFORCE, n) != nil {
		syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUF, n)
	}
}
