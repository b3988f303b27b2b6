package inet

import (
	"slices"
	"sync"
	"time"

	"rumptools/internal/kernel"
	"rumptools/pkg/netbsd"
)

// routeDomain makes routing sockets: AF_ROUTE.
type routeDomain struct{ s *Stack }

var _ kernel.Domain = routeDomain{}

// Socket implements [kernel.Domain]. The protocol is the address family whose
// messages the socket gets; 0 is all.
func (d routeDomain) Socket(_ *kernel.Call, typ, proto int32) (kernel.Socket, error) {
	if typ != netbsd.SOCK_RAW {
		return nil, netbsd.EPROTOTYPE
	}
	so := &routeSocket{s: d.s, proto: proto, loopback: true, room: routeBuffer}
	d.s.routeSocks.add(so)
	return so, nil
}

// Pair implements [kernel.Domain].
func (routeDomain) Pair(*kernel.Call, int32, int32) (a, b kernel.Socket, err error) {
	return nil, nil, netbsd.EOPNOTSUPP
}

// routeBuffer is the room for messages of a routing socket (RAWRCVQ), and the
// size of the longest that it takes (RAWSNDQ).
const routeBuffer = 8192

// routeSockets is the set of routing sockets.
type routeSockets struct {
	mu    sync.Mutex
	socks []*routeSocket
}

func (rs *routeSockets) add(so *routeSocket) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.socks = append(rs.socks, so)
}

func (rs *routeSockets) remove(so *routeSocket) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.socks = slices.DeleteFunc(rs.socks, func(o *routeSocket) bool { return o == so })
}

// none tells whether nobody listens.
func (rs *routeSockets) none() bool {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	return len(rs.socks) == 0
}

// send gives a message about an address family, 0 for none, to all sockets
// that want it but one.
func (rs *routeSockets) send(msg []byte, family int32, except *routeSocket) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for _, so := range rs.socks {
		if so != except && (so.proto == 0 || so.proto == family) {
			so.put(msg)
		}
	}
}

// routeSocket is a routing socket (route(4)).
type routeSocket struct {
	kernel.Watchers
	s     *Stack
	proto int32

	mu          sync.Mutex
	queue       [][]byte
	queued      int // bytes
	room        int
	loopback    bool // SO_USELOOPBACK: gets the answers to its own messages
	shutRead    bool
	shutWrite   bool
	nosigpipe   int32
	recvTimeout time.Duration
	sendTimeout time.Duration
}

var _ kernel.Socket = (*routeSocket)(nil)

// put appends a message, unless there is no room for it.
func (so *routeSocket) put(msg []byte) {
	so.mu.Lock()
	if so.shutRead || so.queued+len(msg) > so.room {
		so.mu.Unlock()
		return
	}
	so.queue = append(so.queue, slices.Clone(msg))
	so.queued += len(msg)
	so.mu.Unlock()
	so.Wake(kernel.Readable)
}

// Domain implements [kernel.Socket].
func (*routeSocket) Domain() int32 { return netbsd.AF_ROUTE }

// SockType implements [kernel.Socket].
func (*routeSocket) SockType() int32 { return netbsd.SOCK_RAW }

// Protocol implements [kernel.Socket].
func (so *routeSocket) Protocol() int32 { return so.proto }

// Type implements [kernel.File].
func (*routeSocket) Type() int32 { return netbsd.DTYPE_SOCKET }

// Stat implements [kernel.File].
func (*routeSocket) Stat() (netbsd.Stat, error) {
	return netbsd.Stat{Mode: netbsd.S_IFSOCK}, nil
}

// Read implements [kernel.File].
func (so *routeSocket) Read(p []byte) (int, error) {
	m := &kernel.Message{Data: p}
	return so.Recv(nil, m)
}

// Recv implements [kernel.Socket]. What of a message does not fit is lost.
func (so *routeSocket) Recv(_ *kernel.Call, m *kernel.Message) (int, error) {
	if m.Flags&netbsd.MSG_OOB != 0 {
		return 0, netbsd.EOPNOTSUPP
	}
	so.mu.Lock()
	defer so.mu.Unlock()
	if len(so.queue) == 0 {
		if so.shutRead {
			return 0, nil
		}
		return 0, netbsd.EAGAIN
	}
	msg := so.queue[0]
	if m.Flags&netbsd.MSG_PEEK == 0 {
		so.queue = so.queue[1:]
		so.queued -= len(msg)
	}
	n := copy(m.Data, msg)
	m.Flags = 0
	if n < len(msg) {
		m.Flags = netbsd.MSG_TRUNC
	}
	m.Name = routeName()
	return n, nil
}

// routeName is the address that messages of the kernel come from.
func routeName() []byte { return []byte{2, netbsd.AF_ROUTE} }

// Write implements [kernel.File].
func (so *routeSocket) Write(p []byte) (int, error) { return so.transmit(0, p) }

// Send implements [kernel.Socket].
func (so *routeSocket) Send(c *kernel.Call, m *kernel.Message) (int, error) {
	if m.Flags&netbsd.MSG_OOB != 0 {
		return 0, netbsd.EOPNOTSUPP
	}
	if len(m.Control) > 0 {
		return 0, netbsd.EINVAL
	}
	if len(m.Name) > 0 {
		return 0, netbsd.EISCONN
	}
	return so.transmit(c.Proc.PID, m.Data)
}

// transmit carries out a message and sends the answer to all routing sockets.
func (so *routeSocket) transmit(pid int32, p []byte) (int, error) {
	so.mu.Lock()
	shut, loopback := so.shutWrite, so.loopback
	so.mu.Unlock()
	switch {
	case shut:
		return 0, netbsd.EPIPE
	case len(p) > routeBuffer:
		return 0, netbsd.EMSGSIZE
	case len(p) < 4:
		// Not even a head: it is echoed as it is, and refused.
		so.echo(slices.Clone(p), 0, loopback)
		return 0, netbsd.EINVAL
	}
	so.s.mu.Lock()
	answer, family, err := so.s.routeOutput(pid, p)
	so.echo(answer, family, loopback)
	so.s.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// echo sends an answer; the sender gets it as well unless it has turned that
// off.
func (so *routeSocket) echo(answer []byte, family int32, loopback bool) {
	var except *routeSocket
	if !loopback {
		except = so
	}
	so.s.routeSocks.send(answer, family, except)
}

// Ioctl implements [kernel.File].
func (so *routeSocket) Ioctl(c *kernel.Call, cmd uint32, data []byte) error {
	switch m := so.s.machine; cmd {
	case netbsd.FIONREAD.Cmd(m):
		so.mu.Lock()
		defer so.mu.Unlock()
		m.Order.PutUint32(data, uint32(so.queued))
		return nil
	case netbsd.FIONWRITE.Cmd(m):
		m.Order.PutUint32(data, 0)
		return nil
	case netbsd.FIONSPACE.Cmd(m):
		m.Order.PutUint32(data, routeBuffer)
		return nil
	}
	return so.s.ioctlInterface(c, netbsd.AF_ROUTE, cmd, data)
}

// Poll implements [kernel.File].
func (so *routeSocket) Poll() kernel.Events {
	so.mu.Lock()
	defer so.mu.Unlock()
	e := kernel.Events(netbsd.POLLOUT | netbsd.POLLWRNORM)
	if len(so.queue) > 0 || so.shutRead {
		e |= netbsd.POLLIN | netbsd.POLLRDNORM
	}
	return e
}

// Pending implements [kernel.File].
func (so *routeSocket) Pending() (read, write int64) {
	so.mu.Lock()
	defer so.mu.Unlock()
	return int64(so.queued), routeBuffer
}

// Close implements [kernel.File].
func (so *routeSocket) Close() error {
	so.s.routeSocks.remove(so)
	return nil
}

// Bind implements [kernel.Socket].
func (*routeSocket) Bind([]byte) error { return netbsd.EOPNOTSUPP }

// Connect implements [kernel.Socket].
func (*routeSocket) Connect([]byte) error { return netbsd.EOPNOTSUPP }

// ConnectResult implements [kernel.Socket].
func (*routeSocket) ConnectResult() error { return nil }

// Listen implements [kernel.Socket].
func (*routeSocket) Listen(int32) error { return netbsd.EOPNOTSUPP }

// Accept implements [kernel.Socket].
func (*routeSocket) Accept() (kernel.Socket, []byte, error) { return nil, nil, netbsd.EOPNOTSUPP }

// Shutdown implements [kernel.Socket]. Programs that only want to give orders
// shut the reading side.
func (so *routeSocket) Shutdown(how int32) error {
	so.mu.Lock()
	if how == netbsd.SHUT_RD || how == netbsd.SHUT_RDWR {
		so.shutRead = true
		so.queue, so.queued = nil, 0
	}
	if how == netbsd.SHUT_WR || how == netbsd.SHUT_RDWR {
		so.shutWrite = true
	}
	so.mu.Unlock()
	so.Wake(kernel.Changed)
	return nil
}

// Name implements [kernel.Socket].
func (*routeSocket) Name() ([]byte, error) { return routeName(), nil }

// Peer implements [kernel.Socket].
func (*routeSocket) Peer() ([]byte, error) { return routeName(), nil }

// Timeouts implements [kernel.Socket].
func (so *routeSocket) Timeouts() (recv, send time.Duration) {
	so.mu.Lock()
	defer so.mu.Unlock()
	return so.recvTimeout, so.sendTimeout
}
