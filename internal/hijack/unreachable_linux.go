//go:build amd64 || arm64

package hijack

import (
	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
	"rumptools/internal/hijack/netview"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
	"rumptools/pkg/sysproxy"
)

// useErrno is [linuxsock.UseErrno] of a call that was given an address of NetBSD's. That no route leads there is
// EHOSTUNREACH on NetBSD, as that a router or the host itself does not know; on Linux it is ENETUNREACH.
func (x *socket) useErrno(use linuxsock.Use, err error, to []byte) unix.Errno {
	return x.noRoute(linuxsock.UseErrno(use, err), to)
}

// noRoute is the error of a call that was given an address, or ENETUNREACH in its place, see useErrno.
func (x *socket) noRoute(e unix.Errno, to []byte) unix.Errno {
	if e != unix.EHOSTUNREACH {
		return e
	}
	sa, err := netbsd.ParseSockaddr(x.s.machine, to)
	if err != nil {
		return e
	}
	sa = sa.ExtractScope()
	if _, err := netview.Lookup(x.s.ctx, x.s.view, sa.Addr().Unmap().WithZone(""), int(sa.ScopeID)); netview.NoRoute(err) {
		return unix.ENETUNREACH
	}
	return e
}

// reach is what keeps datagrams from the peer that a socket has just been connected to, which Linux says then and
// NetBSD when one is sent. NetBSD's own kernel cannot be asked.
func (x *socket) reach(ks *spclient.NetSocket) unix.Errno {
	if x.s.noReach.Load() {
		return 0
	}
	var b [4]byte
	err := ks.Use(func(fd spclient.FD) error {
		_, err := x.s.conn.Getsockopt(x.s.ctx, fd, netbsd.SOL_SOCKET, sysproxy.SOReach, b[:])
		return err
	})
	if err != nil {
		if linuxsock.Errno(err) == unix.ENOPROTOOPT {
			x.s.noReach.Store(x.opts.Protocol == unix.IPPROTO_UDP)
		}
		return 0
	}
	switch errno := netbsd.Errno(x.s.machine.Order.Uint32(b[:])); errno {
	case 0:
		return 0
	case netbsd.EHOSTUNREACH:
		return unix.ENETUNREACH
	default:
		return linuxsock.Errno(errno)
	}
}
