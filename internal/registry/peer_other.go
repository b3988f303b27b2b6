//go:build !linux

package registry

import (
	"context"
	"net"
)

// PeerPID is 0: not every host tells who is at the other end of a socket.
func PeerPID(net.Conn) int { return 0 }

// watchProcess does not wait: there is no process to watch.
func watchProcess(int) func(context.Context) error {
	return func(context.Context) error { return nil }
}
