//go:build amd64 || arm64

package hijack

import (
	"context"
	"time"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
	"rumptools/internal/hijack/netview"
)

// portOf is the port of an address of Linux's.
func portOf(sa []byte) uint16 {
	ap, _ := linuxsock.Addr(sa)
	return ap.Port()
}

// localPort is the port that the socket was bound to, or 0.
func (x *socket) localPort() uint16 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.name.port()
}

// hasPort tells whether it is of TCP or UDP.
func (x *socket) hasPort() bool { return x.nl == nil && x.opts.Type != unix.SOCK_RAW && !x.ping() }

// How long the kernel may take to close a connection that programs have closed. One that ends in good order may do so for long, of a
// peer that does not read, and has its port meanwhile; a reset waits for nothing but a turn on the processor.
const (
	endTime   = time.Second
	resetTime = 5 * time.Second
)

// awaitEnds acts on all that has been closed up to now. Before a stream is to have a port it waits until the kernel has closed the
// connections with that port which programs have closed.
func (x *socket) awaitEnds(port uint16) {
	s := x.s
	s.ends.catchUpAll()
	if x.opts.Type != unix.SOCK_STREAM {
		return
	}
	orderly, cancel := context.WithTimeout(s.ctx, endTime)
	defer cancel()
	reset, cancel := context.WithTimeout(s.ctx, resetTime)
	defer cancel()
	for _, y := range s.all() {
		if y.localPort() != port {
			continue
		}
		if p := y.joined(); p != nil {
			// It is looked for that from time to time.
			p.resetClosed()
		}
		y.mu.Lock()
		c := y.connection
		y.mu.Unlock()
		if c == nil || !c.carried.Load() || !c.k.hungUp() {
			continue
		}
		ctx := orderly
		if c.resets() || c.k.broken() {
			ctx = reset
		}
		select {
		case <-c.delivered:
		case <-ctx.Done():
		}
	}
	// The last packets may be on their way; between two sockets of Linux's they have come when close(2) returns.
	for s.ending(port) {
		select {
		case <-time.After(time.Millisecond):
		case <-orderly.Done():
			return
		}
	}
}

// ending tells whether the kernel has a connection with a port that has ended on this side, and whose peer has not said yet that it
// knows.
func (s *supervisor) ending(port uint16) bool {
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		list, _ := netview.SocketsAt(s.ctx, s.view, family, unix.IPPROTO_TCP, port) // a kernel without IPv6 has none
		for i := range list {
			switch list[i].State {
			case netview.TCPFinWait1, netview.TCPClosing, netview.TCPLastAck:
				return true
			}
		}
	}
	return false
}
