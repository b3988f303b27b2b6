package inet

import (
	"time"

	"rumptools/internal/kernel"
	"rumptools/pkg/netbsd"
)

// linkDomain makes sockets of AF_LINK, which are good for nothing but ioctl(2)
// about link-level addresses.
type linkDomain struct{ s *Stack }

var _ kernel.Domain = linkDomain{}

// Socket implements [kernel.Domain].
func (d linkDomain) Socket(_ *kernel.Call, typ, proto int32) (kernel.Socket, error) {
	if typ != netbsd.SOCK_DGRAM {
		return nil, netbsd.EPROTOTYPE
	}
	if proto != 0 {
		return nil, netbsd.EPROTONOSUPPORT
	}
	return &linkSocket{s: d.s}, nil
}

// Pair implements [kernel.Domain].
func (linkDomain) Pair(*kernel.Call, int32, int32) (a, b kernel.Socket, err error) {
	return nil, nil, netbsd.EOPNOTSUPP
}

// linkSocket is a socket of AF_LINK.
type linkSocket struct {
	kernel.Watchers
	s *Stack
}

var _ kernel.Socket = (*linkSocket)(nil)

// Ioctl implements [kernel.File].
func (so *linkSocket) Ioctl(c *kernel.Call, cmd uint32, data []byte) error {
	return so.s.ioctlInterface(c, netbsd.AF_LINK, cmd, data)
}

// Domain implements [kernel.Socket].
func (*linkSocket) Domain() int32 { return netbsd.AF_LINK }

// SockType implements [kernel.Socket].
func (*linkSocket) SockType() int32 { return netbsd.SOCK_DGRAM }

// Protocol implements [kernel.Socket].
func (*linkSocket) Protocol() int32 { return 0 }

// Type implements [kernel.File].
func (*linkSocket) Type() int32 { return netbsd.DTYPE_SOCKET }

// Stat implements [kernel.File].
func (*linkSocket) Stat() (netbsd.Stat, error) { return netbsd.Stat{Mode: netbsd.S_IFSOCK}, nil }

// Read implements [kernel.File].
func (*linkSocket) Read([]byte) (int, error) { return 0, netbsd.EAGAIN }

// Write implements [kernel.File].
func (*linkSocket) Write([]byte) (int, error) { return 0, netbsd.EOPNOTSUPP }

// Poll implements [kernel.File].
func (*linkSocket) Poll() kernel.Events { return netbsd.POLLOUT | netbsd.POLLWRNORM }

// Pending implements [kernel.File].
func (*linkSocket) Pending() (read, write int64) { return 0, 0 }

// Close implements [kernel.File].
func (*linkSocket) Close() error { return nil }

// Bind implements [kernel.Socket].
func (*linkSocket) Bind([]byte) error { return netbsd.EOPNOTSUPP }

// Connect implements [kernel.Socket].
func (*linkSocket) Connect([]byte) error { return netbsd.EOPNOTSUPP }

// ConnectResult implements [kernel.Socket].
func (*linkSocket) ConnectResult() error { return nil }

// Listen implements [kernel.Socket].
func (*linkSocket) Listen(int32) error { return netbsd.EOPNOTSUPP }

// Accept implements [kernel.Socket].
func (*linkSocket) Accept() (kernel.Socket, []byte, error) { return nil, nil, netbsd.EOPNOTSUPP }

// Shutdown implements [kernel.Socket].
func (*linkSocket) Shutdown(int32) error { return netbsd.EOPNOTSUPP }

// Name implements [kernel.Socket].
func (*linkSocket) Name() ([]byte, error) { return nil, netbsd.EOPNOTSUPP }

// Peer implements [kernel.Socket].
func (*linkSocket) Peer() ([]byte, error) { return nil, netbsd.ENOTCONN }

// SetOption implements [kernel.Socket].
func (*linkSocket) SetOption(*kernel.Call, int32, int32, []byte) error { return netbsd.ENOPROTOOPT }

// Option implements [kernel.Socket].
func (so *linkSocket) Option(_ *kernel.Call, level, name int32, _ int) ([]byte, error) {
	order := so.s.machine.Order
	switch {
	case level == netbsd.SOL_SOCKET && name == netbsd.SO_TYPE:
		return order.AppendUint32(nil, netbsd.SOCK_DGRAM), nil
	case level == netbsd.SOL_SOCKET && name == netbsd.SO_ERROR:
		return order.AppendUint32(nil, 0), nil
	}
	return nil, netbsd.ENOPROTOOPT
}

// Timeouts implements [kernel.Socket].
func (*linkSocket) Timeouts() (recv, send time.Duration) { return 0, 0 }

// Send implements [kernel.Socket].
func (*linkSocket) Send(*kernel.Call, *kernel.Message) (int, error) { return 0, netbsd.EOPNOTSUPP }

// Recv implements [kernel.Socket].
func (*linkSocket) Recv(*kernel.Call, *kernel.Message) (int, error) { return 0, netbsd.EAGAIN }
