//go:build linux

package linuxsock

import (
	"strconv"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/netview"
	"rumptools/internal/rtsock"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// setBindToDevice is SO_BINDTODEVICE, whose value is a name; an empty one is none.
func setBindToDevice(r *request, value []byte) unix.Errno {
	name := netview.Name(netbsd.CString(value[:min(len(value), unix.IFNAMSIZ-1)]))
	if name == "" {
		return bindToDevice(r, 0)
	}
	ifp, errno := findInterface(r.ctx, r.k, func(ifp *rtsock.Interface) bool { return ifp.Name == name })
	if errno != 0 {
		return errno
	}
	return bindToDevice(r, int32(ifp.Index))
}

// setBindToIfindex is SO_BINDTOIFINDEX.
func setBindToIfindex(r *request, v int32) unix.Errno {
	if v < 0 {
		return unix.EINVAL
	}
	return bindToDevice(r, v)
}

// bindToDevice has the kernel bind the socket to an interface. NetBSD's own cannot, which is EPERM as of
// a host where that takes a privilege: for that programs have another way, or a word.
func bindToDevice(r *request, index int32) unix.Errno {
	r.key = deviceKey
	if index == 0 && r.stored(0) == 0 {
		return 0
	}
	switch errno := r.kernelInt(netbsd.SOL_SOCKET, sysproxy.SOBindToDevice, index); errno {
	case 0:
		return r.store(index)
	case unix.ENOPROTOOPT:
		return unix.EPERM
	case unix.ENXIO:
		return unix.ENODEV
	default:
		return errno
	}
}

// deviceKey is where the interface that a socket is bound to is stored.
var deviceKey = optionKey{unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX}

// Device is the index of the interface that the program has bound the socket to, 0 for none.
func (s *Socket) Device() int { return int(s.values[deviceKey]) }

// zone is the scope of addresses that are given without: that of the interface that the socket is bound to, by
// itself or with its address; empty if there is none.
func (s *Socket) zone() string {
	if index := s.Device(); index != 0 {
		return strconv.Itoa(index)
	}
	return s.scope
}

// getBindToDevice tells the interface's name.
func getBindToDevice(r *request) ([]byte, unix.Errno) {
	index := r.s.Device()
	switch {
	case index == 0:
		return nil, 0
	case r.size < unix.IFNAMSIZ:
		return nil, unix.EINVAL
	}
	ifp, errno := findInterface(r.ctx, r.k, func(ifp *rtsock.Interface) bool { return ifp.Index == index })
	if errno != 0 {
		return nil, errno
	}
	return append([]byte(ifp.Name), 0), 0
}
