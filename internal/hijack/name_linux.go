//go:build amd64 || arm64

package hijack

import (
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
	"rumptools/pkg/sysproxy"
)

// name is what a socket is called, its address and port, as far as that is known without the kernel's socket: what getsockname(2) tells
// where that cannot be asked (sockname), what bind(2) goes by, and what the next socket of the kernel's is bound to (forNext). It goes by
// the rules of Linux: what bind(2) has named is locked, and a socket is still called by a port that it has no longer.
type name struct {
	tenure tenure
	sa     []byte // NetBSD's address, nil when it is unnamed
	locked int32  // sysproxy.KeepAddress, KeepPort
}

// tenure is what of its name a socket has.
type tenure int

const (
	unnamed  tenure = iota // there is none, or one that only the kernel's socket knows
	bound                  // all of it, also when there is no socket of the kernel's
	portless               // the address if that is locked. The rest is what a stream is called, or was last, without bind(2)
)

// portAt is where in a sockaddr of either family the port is, and addressAt where what follows it begins.
const (
	portAt    = 2
	addressAt = 4
)

// bind has the name be what bind(2) has come to, which was asked for what is locked.
func (n *name) bind(sa []byte, locked int32) { *n = name{bound, sa, n.locked | locked} }

// port is the port that the socket has been bound to, or 0.
func (n *name) port() uint16 {
	if n.tenure != bound {
		return 0
	}
	return binary.BigEndian.Uint16(n.sa[portAt:])
}

// forNext is what the kernel's next socket is to be bound to, nil when that is nothing.
func (n *name) forNext() []byte {
	switch {
	case n.tenure != portless:
		return n.sa
	case n.locked&sysproxy.KeepAddress != 0:
		return withoutPort(n.sa)
	}
	return nil
}

// begin is that a stream is about to connect, or to listen, under a name that only the kernel's socket knows.
func (n *name) begin() {
	if n.sa = n.forNext(); n.sa == nil {
		n.tenure = unnamed
	}
}

// learn takes note of that name, for when there is nobody to be asked any more.
func (n *name) learn(sa []byte) {
	n.sa = sa
	if n.tenure == unnamed {
		n.tenure = portless
	}
}

// end is that what a stream has begun is over: a port that Linux has chosen is anybody's.
func (n *name) end() {
	if n.tenure == bound && n.locked&sysproxy.KeepPort == 0 {
		n.tenure = portless
	}
}

// disconnect is that a stream is as before it began: it is called by no address that Linux has chosen.
func (n *name) disconnect() {
	if n.sa != nil && n.locked&sysproxy.KeepAddress == 0 {
		n.sa = append(slices.Clone(n.sa[:addressAt]), make([]byte, len(n.sa)-addressAt)...)
	}
}

// unlock is that a stream without a port is being bound. Should that fail it is called by its last port nevertheless.
func (n *name) unlock() {
	n.locked = 0
	n.disconnect()
}

// dissociate is disconnect for a socket for datagrams, of which nothing is told that Linux has chosen.
func (n *name) dissociate() {
	switch {
	case n.locked&sysproxy.KeepPort != 0:
	case n.locked&sysproxy.KeepAddress != 0:
		n.tenure, n.sa = portless, withoutPort(n.sa)
	default:
		*n = name{}
	}
}

func withoutPort(sa []byte) []byte { return slices.Concat(sa[:portAt], []byte{0, 0}, sa[addressAt:]) }

// sockname is what getsockname(2) tells, NetBSD's, nil when there is no name. What a stream is called is known from then on: NetBSD's
// socket of a connection that was reset, or of an attempt that has failed, has no name any more.
func (x *socket) sockname() ([]byte, unix.Errno) {
	x.mu.Lock()
	defer x.mu.Unlock()
	stream := x.opts.Type == unix.SOCK_STREAM
	asks := x.name.tenure != portless // NetBSD's socket has no address without a port
	if stream {
		asks = x.state == connecting || x.state == connected || x.state == listening
	}
	ks := x.ks
	if ks == nil || !asks {
		return x.name.sa, 0
	}
	x.mu.Unlock()
	sa, err := ks.Getsockname()
	x.mu.Lock()
	switch e := linuxsock.Errno(err); {
	case e == unix.EINVAL || e == unix.EBADF: // it is over at this moment
		return x.name.sa, 0
	case e != 0:
		return nil, e
	case stream && x.ks == ks:
		x.name.learn(sa)
	}
	return sa, 0
}
