//go:build amd64 || arm64

package hijack

import "golang.org/x/sys/unix"

// associate is connect(2) for sockets of datagrams.
func (x *socket) associate(host int, sa []byte) unix.Errno { return unix.EAFNOSUPPORT }

// receive starts to give S the datagrams that come.
func (x *socket) receive() unix.Errno { return unix.EAFNOSUPPORT }
