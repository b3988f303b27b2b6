//go:build amd64 || arm64

package hijack

import (
	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// associate is connect(2) for sockets of datagrams.
func (x *socket) associate(host int, sa []byte) unix.Errno {
	// Should what is bound there have been closed just now: it is to refuse.
	x.s.ends.catchUp()
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
	ks, old := x.ks, x.k
	inner, was, limited := x.inner != nil, x.state == connected, x.inner != nil && x.inner.mtu != 0
	x.mu.Unlock()
	switch {
	case !inner:
		x.takeBack()
	case was:
		x.sendRest() // which is for the peer before
	case limited:
		x.takeBack() // there may be another K
	}
	if addr == nil {
		return x.dissociate(host, ks)
	}
	x.mu.Lock()
	before := x.remote
	x.mu.Unlock()
	x.wayToGroups(ks, addr)
	if err := ks.Connect(x.s.ctx, addr); err != nil {
		e = x.useErrno(linuxsock.Connect, err, addr)
	} else {
		e = x.reach(ks)
	}
	if e != 0 {
		// The one before is still the peer, and not for NetBSD.
		x.disconnectKernel(ks)
		if before != nil {
			ks.Connect(x.s.ctx, before)
		}
		return e
	}
	var k *kept
	var name string
	if x.inner != nil {
		e = x.connectInner(host, addr)
	} else {
		k, name, e = x.connectLocal(host, old != nil)
	}
	if e != 0 {
		return e
	}
	peer, err := ks.Getpeername()
	if err != nil {
		peer = addr
	}
	x.mu.Lock()
	x.k, x.kName, x.kKey = k, name, string(peer)
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

// connectLocal connects an S that is a local socket to a new K, and K to S. again tells whether it is connected
// already.
func (x *socket) connectLocal(host int, again bool) (k *kept, name string, e unix.Errno) {
	x.mu.Lock()
	path := x.path
	x.mu.Unlock()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, "", errnoOf(err)
	}
	name, err = autobind(fd)
	if err == nil && again {
		// While S is connected nobody else may send to it.
		disconnect(host)
	}
	if err == nil {
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
	}
	if err == nil {
		err = unix.Connect(host, &unix.SockaddrUnix{Name: name})
	}
	if err != nil {
		unix.Close(fd)
		return nil, "", errnoOf(err)
	}
	// S was turned away from the one before, which is an error of that one only.
	k, err = x.s.ends.keep(fd, func() {})
	return k, name, errnoOf(err)
}

// dissociate is connect(2) to nobody.
func (x *socket) dissociate(host int, ks *spclient.NetSocket) unix.Errno {
	x.mu.Lock()
	k := x.k
	x.k, x.kName, x.kKey, x.remote, x.peer = nil, "", "", nil, nil
	x.association++
	if x.state == connected {
		x.state = bound
	}
	x.mu.Unlock()
	disconnect(host)
	if k != nil {
		k.close()
	}
	x.disconnectKernel(ks)
	return 0
}

// disconnectKernel ends the association of the kernel's socket.
func (x *socket) disconnectKernel(ks *spclient.NetSocket) {
	sa := make([]byte, netbsd.SizeofSockaddrIn)
	sa[0], sa[1] = netbsd.SizeofSockaddrIn, netbsd.AF_UNSPEC
	// NetBSD does it, and says that the address is none.
	ks.Connect(x.s.ctx, sa)
}
