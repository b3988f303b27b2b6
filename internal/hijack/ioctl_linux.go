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
	if (req == unix.SIOCOUTQ || req == unix.SIOCOUTQNSD) && t.outQueue() {
		return
	}
	if req == unix.SIOCOUTQ || !t.isSocket || !linuxsock.IsTrapped(req) {
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

// outQueue is SIOCOUTQ and SIOCOUTQNSD: of a connection what waits in K, for the host would
// count what is left there for good, and in its own measure. It tells whether it has
// answered.
func (t *trap) outQueue() bool {
	var c *connection
	if x := t.sock; x != nil {
		x.mu.Lock()
		c = x.connection
		x.mu.Unlock()
	}
	if c == nil {
		return false
	}
	n := c.k.waiting()
	t.done(0, t.write(t.Args[2], native.AppendUint32(nil, uint32(n))))
	return true
}
