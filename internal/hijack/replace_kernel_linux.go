//go:build amd64 || arm64

package hijack

import (
	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
	"rumptools/pkg/sysproxy"
)

// replaceKernel gives a socket for datagrams another socket of the kernel's in the place of one that is connected, for NetBSD's own kernel
// leaves such a one its port, and not its address. The new one is connected to nobody and has what is to be kept; if that is an address
// without a port, which NetBSD has not, it is bound when it needs a port. The result is nil if that cannot be.
func (x *socket) replaceKernel(old *spclient.NetSocket, keeps int32) *spclient.NetSocket {
	x.making.Lock()
	defer x.making.Unlock()
	var local []byte
	if keeps&sysproxy.KeepPort != 0 {
		var err error
		if local, err = old.Getsockname(); err != nil {
			return nil
		}
	}
	ks, err := x.s.conn.NetSocket(x.s.ctx, x.domain(), x.kernelType(), int32(x.opts.Protocol))
	if err != nil {
		return nil
	}
	if e := x.inPlaceOf(old, ks, local); e != 0 {
		x.s.say("in the place of a socket: %v", e)
		ks.Close()
		return nil
	}
	for x.receiveLast(old) {
	}
	old.Close() // of which deliver hears
	return ks
}

// inPlaceOf makes ks the kernel's socket, with the options that have been set, and bound to local unless that is nil.
func (x *socket) inPlaceOf(old, ks *spclient.NetSocket, local []byte) unix.Errno {
	x.optMu.Lock() // options that are set meanwhile are ks's
	defer x.optMu.Unlock()
	e := x.opts.Prepare(x.s.ctx, x.s.conn, ks.FD())
	if e == 0 && local != nil {
		e = x.takeAddress(ks, old, local)
	}
	if e != 0 {
		return e
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.state == ended {
		return unix.EBADF
	}
	x.ks = ks
	return 0
}

// takeAddress binds a new socket to an address that another has, which is to be closed then. optMu is held.
func (x *socket) takeAddress(ks, from *spclient.NetSocket, local []byte) unix.Errno {
	_, shares := x.opts.SharesPort()
	var was int32
	if shares {
		was = 1
	}
	share := func(ks *spclient.NetSocket, v int32) {
		ks.Use(func(fd spclient.FD) error {
			return x.s.conn.SetsockoptInt(x.s.ctx, fd, netbsd.SOL_SOCKET, netbsd.SO_REUSEPORT, v)
		})
	}
	share(from, 1)
	share(ks, 1)
	e := linuxsock.Errno(ks.Bind(local))
	share(ks, was)
	if e != 0 {
		share(from, was)
	}
	return e
}

// takePort has the kernel's socket get a port, and its address, if it has been left without.
func (x *socket) takePort(ks *spclient.NetSocket) {
	x.mu.Lock()
	name := x.name
	x.mu.Unlock()
	if name.tenure != portless || ks.Bind(name.sa) != nil {
		return
	}
	if sa, err := ks.Getsockname(); err == nil {
		x.mu.Lock()
		x.name.bind(sa, 0)
		x.mu.Unlock()
	}
}

// receiveLast gives S a datagram that has come for a socket of the kernel's that is to be closed, if there is one.
func (x *socket) receiveLast(ks *spclient.NetSocket) bool {
	m := spclient.Message{Name: make([]byte, 128), Buffers: [][]byte{make([]byte, maxDatagram)}, Control: make([]byte, 512)}
	n := 0
	err := ks.Use(func(fd spclient.FD) (err error) {
		n, err = x.s.conn.Recvmsg(x.s.ctx, fd, &m, netbsd.MSG_DONTWAIT)
		return err
	})
	return err == nil && x.standIn.put(m.Buffers[0][:n], m.Name, m.Control) == nil
}

// successor is the kernel's socket in the place of one that has been closed, or nil.
func (x *socket) successor(ks *spclient.NetSocket) *spclient.NetSocket {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.state == ended || x.ks == ks {
		return nil
	}
	return x.ks
}
