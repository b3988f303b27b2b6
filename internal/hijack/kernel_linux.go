//go:build amd64 || arm64

package hijack

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// kernel returns the kernel's socket, which it makes if there is none yet.
func (x *socket) kernel() (*spclient.NetSocket, unix.Errno) {
	x.making.Lock()
	defer x.making.Unlock()
	x.mu.Lock()
	ks, state, name := x.ks, x.state, x.name.forNext()
	x.mu.Unlock()
	if state == ended {
		return nil, unix.EBADF
	}
	if ks != nil && !ks.Lost() {
		return ks, 0
	}
	ks, err := x.s.conn.NetSocket(x.s.ctx, x.domain(), x.kernelType(), int32(x.opts.Protocol))
	if err != nil {
		return nil, noSocket(err)
	}
	x.optMu.Lock()
	e := x.opts.Prepare(x.s.ctx, x.s.conn, ks.FD())
	x.optMu.Unlock()
	if e != 0 {
		ks.Close()
		return nil, e
	}
	if name != nil {
		// In the place of one that was lost with its kernel, or listened;
		// connections of its may still have the address.
		x.s.conn.SetsockoptInt(x.s.ctx, ks.FD(), netbsd.SOL_SOCKET, netbsd.SO_REUSEADDR, 1)
		if err := ks.Bind(name); err != nil {
			ks.Close()
			return nil, linuxsock.Errno(err)
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.state == ended {
		ks.Close()
		return nil, unix.EBADF
	}
	x.ks = ks
	return ks, 0
}

// domain is the kernel's number of the family, kernelType that of the type.
func (x *socket) domain() int32 {
	if x.opts.Domain == unix.AF_INET6 {
		return netbsd.AF_INET6
	}
	return netbsd.AF_INET
}

func (x *socket) kernelType() int32 {
	switch {
	case x.opts.Type == unix.SOCK_STREAM:
		return netbsd.SOCK_STREAM
	case x.opts.Type == unix.SOCK_DGRAM && !x.ping():
		return netbsd.SOCK_DGRAM
	}
	return netbsd.SOCK_RAW
}

// noSocket is what a program is told when the kernel has no socket for it.
func noSocket(err error) unix.Errno {
	if errors.Is(err, spclient.ErrLost) {
		return unix.ENETDOWN // what is new is not reset
	}
	return linuxsock.Errno(err)
}

// begun is a connection of a socket of the kernel's, as [spclient.NetSocket.StartConnect] has
// begun it.
type begun struct {
	ks   *spclient.NetSocket
	over bool
	err  error
}

// dial makes the kernel's socket and begins its connection, in one call where the kernel has one
// for that. There is no ks when there is a socket already, or something else is to be done before.
func (x *socket) dial(addr []byte) (b begun, e unix.Errno) {
	x.making.Lock()
	defer x.making.Unlock()
	x.mu.Lock()
	simple := x.ks == nil && x.name.forNext() == nil && x.state != ended
	x.mu.Unlock()
	if !simple {
		return begun{}, 0
	}
	x.optMu.Lock()
	options := x.opts.Preparation(x.s.machine)
	x.optMu.Unlock()
	b.ks, b.over, b.err = x.s.conn.DialSocket(x.s.ctx, x.domain(), x.kernelType(), int32(x.opts.Protocol), options, addr)
	if b.ks == nil {
		return begun{}, noSocket(b.err)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.state == ended {
		b.ks.Close()
		return begun{}, unix.EBADF
	}
	x.ks, x.state = b.ks, connecting
	return b, 0
}

// remade is the kernel's socket in the place of one that was lost with its kernel. A
// kernel that has just begun may not have the address yet; it is waited for as long as the socket is wanted.
func (x *socket) remade(wanted func() bool) (*spclient.NetSocket, unix.Errno) {
	for {
		ks, e := x.kernel()
		if e != unix.EADDRNOTAVAIL {
			return ks, e
		}
		select {
		case <-x.s.ctx.Done():
			return nil, e
		case <-time.After(addressTime):
		}
		if !wanted() {
			return nil, e
		}
	}
}

// addressTime is how often an address that is not there is tried again.
const addressTime = 100 * time.Millisecond
