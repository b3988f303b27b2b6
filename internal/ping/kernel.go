package ping

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"rumptools/internal/rtsock"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// Open makes the raw socket for the target and the options in a rump kernel.
// The socket lasts as long as the connection.
func Open(ctx context.Context, c *spclient.Conn, o *Options) (Socket, error) {
	if o.ip6() {
		return open6(ctx, c, o)
	}
	return open4(ctx, c, o)
}

// failed names what could not be done in ping(8)'s words, in place of the
// system call, unless there is no kernel any more.
func failed(what string, err error) error {
	if err == nil {
		return nil
	}
	if errno, ok := errors.AsType[netbsd.Errno](err); ok {
		return fmt.Errorf("%s: %w", what, errno)
	}
	return err
}

// rawSocket is what the sockets of both families have in common.
type rawSocket struct {
	c      *spclient.Conn
	fd     spclient.FD
	ifaces *interfaces
	// blocking says that receiving may block in the kernel, for no longer than
	// receiveTimeout. It takes half the calls that waiting with poll(2) does,
	// which shows in the round-trip times.
	blocking bool
}

// receiveTimeout is how long a call may stay in the kernel that nobody waits for
// any more.
const receiveTimeout = time.Second

// setTimeout limits the time that receiving blocks, if the kernel can do that.
func (s *rawSocket) setTimeout(ctx context.Context) error {
	err := s.c.SetsockoptStruct(ctx, s.fd, netbsd.SOL_SOCKET, netbsd.SO_RCVTIMEO,
		&netbsd.Timeval{Sec: int64(receiveTimeout / time.Second)})
	s.blocking = err == nil
	if err != nil && !isErrno(err) {
		return err
	}
	return nil
}

// wait waits for a message where receiving is not to do so. It returns the
// flags to receive with.
func (s *rawSocket) wait(ctx context.Context) (flags int32, err error) {
	if s.blocking {
		return 0, nil
	}
	return netbsd.MSG_DONTWAIT, s.c.WaitReadable(ctx, s.fd)
}

// option is a socket option to be set.
type option struct {
	level, name, value int32
	what               string // that fails
}

func (s *rawSocket) set(ctx context.Context, options ...option) error {
	for _, opt := range options {
		if err := s.c.SetsockoptInt(ctx, s.fd, opt.level, opt.name, opt.value); err != nil {
			return failed(opt.what, err)
		}
	}
	return nil
}

// common sets what is asked for of a socket of either family.
func (s *rawSocket) common(ctx context.Context, o *Options) error {
	var opts []option
	if o.Debug {
		opts = append(opts, option{netbsd.SOL_SOCKET, netbsd.SO_DEBUG, 1, "Can't turn on socket debugging"})
	}
	if o.DontRoute {
		opts = append(opts, option{netbsd.SOL_SOCKET, netbsd.SO_DONTROUTE, 1, "SO_DONTROUTE"})
	}
	if err := s.set(ctx, opts...); err != nil {
		return err
	}
	return s.setTimeout(ctx)
}

// buffers makes room for replies of a whole crowd, and for large packets, as
// far as the kernel grants it.
func (s *rawSocket) buffers(ctx context.Context, size int32) error {
	for {
		err := s.c.SetsockoptInt(ctx, s.fd, netbsd.SOL_SOCKET, netbsd.SO_RCVBUF, size)
		if err == nil {
			break
		}
		if size -= 4096; size <= 0 || !isErrno(err) {
			return failed("Cannot set the receive buffer size", err)
		}
	}
	err := s.c.SetsockoptInt(ctx, s.fd, netbsd.SOL_SOCKET, netbsd.SO_SNDBUF, size)
	if err != nil && !isErrno(err) {
		return err
	}
	return nil // giant requests will fail by themselves
}

// interfaces knows the names and numbers of the kernel's interfaces. They are
// asked for when first needed, and again for a number that is not known yet.
type interfaces struct {
	machine *netbsd.Machine
	list    func(ctx context.Context) (map[int]string, error)

	mu    sync.Mutex
	names map[int]string
}

func newInterfaces(c *spclient.Conn) *interfaces {
	return &interfaces{
		machine: c.Machine(),
		list: func(ctx context.Context) (map[int]string, error) {
			list, err := rtsock.Interfaces(ctx, c)
			if err != nil {
				return nil, failed("interface list", err)
			}
			return rtsock.Names(list), nil
		},
	}
}

// index finds the number of an interface by its name, or the number itself.
func (l *interfaces) index(ctx context.Context, name string) (uint32, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	names, err := l.list(ctx)
	if err != nil {
		return 0, err
	}
	l.names = names
	for i, n := range names {
		if n == name {
			return uint32(i), nil
		}
	}
	if n, err := strconv.ParseUint(name, 10, 16); err == nil && names[int(n)] != "" {
		return uint32(n), nil
	}
	return 0, fmt.Errorf("%s: invalid interface name", name)
}

// name is the name of the interface with a number, or the number.
func (l *interfaces) name(ctx context.Context, index uint32) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	name, known := l.names[int(index)]
	if !known {
		if names, err := l.list(ctx); err == nil {
			l.names = names
			name = names[int(index)]
		}
	}
	if name == "" {
		return strconv.FormatUint(uint64(index), 10)
	}
	return name
}

// zoned gives an address the zone that getnameinfo(3) prints: the name of the
// interface where the address depends on it, else its number.
func (l *interfaces) zoned(ctx context.Context, a netip.Addr, scope uint32) netip.Addr {
	switch {
	case scope == 0 || !a.Is6():
		return a
	case netbsd.HasScope(a):
		return a.WithZone(l.name(ctx, scope))
	}
	return a.WithZone(strconv.FormatUint(uint64(scope), 10))
}

// sockaddr is the address in a sockaddr_in6.
func (l *interfaces) sockaddr(ctx context.Context, b []byte) netip.Addr {
	sa, _ := netbsd.ParseSockaddr(l.machine, b)
	sa = sa.ExtractScope()
	return l.zoned(ctx, sa.Addr(), sa.ScopeID)
}
