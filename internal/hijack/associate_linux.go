//go:build amd64 || arm64

package hijack

import (
	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
	"rumptools/pkg/sysproxy"
)

// associate is connect(2) for sockets of datagrams.
func (x *socket) associate(host int, sa []byte) unix.Errno {
	// Should what is bound there have been closed just now: it is to refuse.
	x.s.catchUpAt(sa)
	x.lending.gate.Lock()
	defer x.lending.gate.Unlock()
	if e := x.open(host); e != 0 {
		return e
	}
	x.op.Lock()
	defer x.op.Unlock()
	addr, e := x.address(linuxsock.Connect, sa)
	if e != 0 {
		return e
	}
	x.mu.Lock()
	ks := x.ks
	x.mu.Unlock()
	x.standIn.leave()
	if addr == nil {
		return x.dissociate(host, ks)
	}
	x.mu.Lock()
	before, keeps := x.remote, x.name.locked
	x.mu.Unlock()
	if before != nil && keeps&sysproxy.KeepAddress != 0 {
		// NetBSD takes away what is to be its address to the next peer, too.
		ks = x.disconnectKernel(ks, keeps|sysproxy.KeepPort)
	}
	x.takePort(ks)
	x.wayToGroups(ks, addr)
	if err := ks.Connect(x.s.ctx, addr); err != nil {
		e = x.useErrno(linuxsock.Connect, err, addr)
	} else {
		e = x.reach(ks)
	}
	if e != 0 {
		// The one before is still the peer, and not for NetBSD.
		ks = x.disconnectKernel(ks, keeps|sysproxy.KeepPort)
		if before != nil {
			ks.Connect(x.s.ctx, before)
		}
		return e
	}
	k, e := x.standIn.connect(host, addr)
	if e != 0 {
		return e
	}
	peer, err := ks.Getpeername()
	if err != nil {
		peer = addr
	}
	x.mu.Lock()
	old := x.k
	x.k, x.kKey = k, string(peer)
	x.association++
	x.state = connected
	x.remote, x.peer = addr, x.linuxAddr(addr)
	if ap, ok := linuxsock.Addr(sa); ok && ap.Port() == 0 && x.opts.Protocol == unix.IPPROTO_UDP {
		x.peer = nil // nobody, for getpeername(2)
	}
	x.mu.Unlock()
	if old != nil {
		old.close()
	}
	x.mu.Lock()
	never := x.lending.never
	x.mu.Unlock()
	if never {
		x.byCalls()
	}
	return 0
}

// dissociate is connect(2) to nobody. A socket keeps what it was bound to.
func (x *socket) dissociate(host int, ks *spclient.NetSocket) unix.Errno {
	x.mu.Lock()
	k, keeps := x.k, x.name.locked
	x.k, x.kKey, x.remote, x.peer = nil, "", nil, nil
	x.association++
	x.name.dissociate()
	if x.state == connected {
		x.state = fresh
	}
	x.mu.Unlock()
	disconnect(host)
	if k != nil {
		k.close()
	}
	x.disconnectKernel(ks, keeps)
	// Linux has it be bound to no interface either.
	x.withOptions(false, func(fd spclient.FD) unix.Errno {
		if x.opts.Device() == 0 {
			return 0
		}
		return x.opts.Set(x.s.ctx, x.s.conn, fd, host, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, make([]byte, 4))
	})
	return 0
}

// disconnectKernel ends the association of the kernel's socket, whose own address stays as far as it is to (sysproxy.SODissociate).
// The result is the kernel's socket then, which may be another.
func (x *socket) disconnectKernel(ks *spclient.NetSocket, keeps int32) *spclient.NetSocket {
	if x.opts.Type == unix.SOCK_DGRAM && x.opts.Protocol == unix.IPPROTO_UDP {
		if !x.s.noReach.Load() {
			err := ks.Use(func(fd spclient.FD) error {
				return x.s.conn.SetsockoptInt(x.s.ctx, fd, netbsd.SOL_SOCKET, sysproxy.SODissociate, keeps)
			})
			if err == nil {
				return ks
			}
		}
		// NetBSD's own kernel leaves the port, and never the address.
		if keeps != sysproxy.KeepPort {
			if other := x.replaceKernel(ks, keeps); other != nil {
				return other
			}
		}
	}
	sa := make([]byte, netbsd.SizeofSockaddrIn)
	sa[0], sa[1] = netbsd.SizeofSockaddrIn, netbsd.AF_UNSPEC
	// NetBSD does it, and says that the address is none.
	ks.Connect(x.s.ctx, sa)
	return ks
}
