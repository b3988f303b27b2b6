//go:build !linux

package kernel

import "net"

// links is what the links of a kernel share: nothing.
type links struct{}

func (*links) open(nc net.Conn) link { return netLink{nc} }
