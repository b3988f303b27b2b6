//go:build amd64 || arm64

package hijack

import (
	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
	"rumptools/pkg/sysproxy"
)

// role is what a stream has been for, of which newer hosts let it change nothing, also when that has ended: who has connected is
// refused by listen(2), and who has listened by connect(2), with EINVAL.
type role uint8

const (
	client role = 1 << iota // a connection has been asked for, or is a listener's
	server                  // it has listened
)

// plays notes that the socket has a role.
func (x *socket) plays(r role) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.roles |= r
}

// barred tells whether the host would refuse the socket another role, because it has had this one.
func (x *socket) barred(had role) bool {
	x.mu.Lock()
	roles := x.roles
	x.mu.Unlock()
	if roles&had == 0 {
		return false
	}
	net := x.s.innerNet()
	return net != nil && net.RolesLast()
}

// refuseListen is listen(2) of a client: before it is refused the socket has got a port, as any that listens.
func (x *socket) refuseListen() unix.Errno {
	x.mu.Lock()
	name := x.name
	x.mu.Unlock()
	if name.tenure == bound {
		return unix.EINVAL
	}
	ks, e := x.kernel() // which is bound to what is for the next one
	if e == 0 && name.forNext() == nil {
		var addr []byte
		if addr, e = x.address(linuxsock.Bind, x.noAddr()); e == 0 {
			e = linuxsock.Errno(ks.Bind(addr))
		}
	}
	if e != 0 {
		return e
	}
	if sa, err := ks.Getsockname(); err == nil {
		x.mu.Lock()
		x.name.bind(sa, 0)
		x.mu.Unlock()
	}
	return unix.EINVAL
}

// refuseConnect is connect(2) of a server: when it is refused the socket has lost a port that Linux chose, as after any that fails.
func (x *socket) refuseConnect() unix.Errno {
	x.mu.Lock()
	var h had
	if x.name.locked&sysproxy.KeepPort == 0 {
		h = x.leave(x.state, x.condition)
	}
	x.mu.Unlock()
	h.close()
	return unix.EINVAL
}
