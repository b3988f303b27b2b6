package innernet

import (
	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/innernet/factory"
)

// RolesLast tells whether the host refuses with EINVAL connect(2) of a TCP socket that has listened, and so listen(2) of one that
// has connected, as newer ones do.
func (n *Net) RolesLast() bool {
	n.roles.Do(func() {
		fd, err := n.make(factory.TCP)
		if err != nil {
			return
		}
		defer unix.Close(fd)
		if unix.Bind(fd, &unix.SockaddrInet4{Addr: nobody.Addr}) == nil && unix.Listen(fd, 1) == nil && Disconnect(fd) == nil {
			n.rolesLast = unix.Connect(fd, &nobody) == unix.EINVAL
		}
	})
	return n.rolesLast
}
