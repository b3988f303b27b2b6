//go:build amd64 || arm64

package hijack

import (
	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
)

// ioctl is ioctl(2) with a request that asks about the network, which a program can make
// of any socket.
func (t *trap) ioctl() {
	req := uint32(t.Args[1])
	if !t.isSocket || !linuxsock.IsTrapped(req) {
		t.native()
		return
	}
	arg := make([]byte, linuxsock.IoctlSize(req))
	if e := t.read(t.Args[2], arg); e != 0 {
		t.fail(e)
		return
	}
	write := func(addr uint64, b []byte) unix.Errno { return t.write(addr, b) }
	out, e := linuxsock.Ioctl(t.s.ctx, t.s.conn, t.host, req, arg, write)
	if e == 0 {
		e = t.write(t.Args[2], out)
	}
	t.s.say("%d: ioctl %d 0x%x: %v", t.TID, t.arg(0), req, e)
	t.done(0, e)
}
