//go:build amd64 || arm64

package hijack

import (
	"rumptools/internal/hijack/linuxsock"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// sendsGroupsFrom has multicasts leave by the interface whose address the socket has been bound to.
func (x *socket) sendsGroupsFrom(ks *spclient.NetSocket, addr []byte) {
	sa, err := netbsd.ParseSockaddr(x.s.machine, addr)
	if err != nil {
		return
	}
	x.optMu.Lock()
	defer x.optMu.Unlock()
	ks.Use(func(fd spclient.FD) error {
		x.opts.Bound(x.s.ctx, x.s.conn, fd, sa.Addr())
		return nil
	})
}

// wayToGroups sees to it that multicasts to an address have a way.
func (x *socket) wayToGroups(ks *spclient.NetSocket, to []byte) {
	if !linuxsock.IsGroup6(to) {
		return
	}
	x.mu.Lock()
	local, _ := linuxsock.Addr(x.linuxAddr(x.name.sa))
	x.mu.Unlock()
	x.optMu.Lock()
	defer x.optMu.Unlock()
	ks.Use(func(fd spclient.FD) error {
		x.opts.WayToGroups(x.s.ctx, x.s.conn, fd, to, local.Addr())
		return nil
	})
}
