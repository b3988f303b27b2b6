package ifconfig

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"rumptools/internal/rtsock"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// Kernel is what this package needs of a kernel's client; an [spclient.Conn]
// has it.
type Kernel interface {
	rtsock.Kernel
	Socket(ctx context.Context, domain, typ, proto int32) (spclient.FD, error)
	CloseFD(ctx context.Context, fd spclient.FD) error
	IoctlStruct(ctx context.Context, fd spclient.FD, req *netbsd.Ioctl, v any) error
	IoctlPtr(ctx context.Context, fd spclient.FD, req *netbsd.Ioctl, v any, buf []byte, set func(netbsd.Ptr)) error
	ClockGettime(ctx context.Context, clock int32) (netbsd.Timespec, error)
}

// client is a kernel with the sockets that requests to it go through, one for
// each address family.
type client struct {
	Kernel
	sockets map[int32]spclient.FD
}

func newClient(k Kernel) *client { return &client{k, map[int32]spclient.FD{}} }

// close gives the sockets back.
func (c *client) close(ctx context.Context) {
	for _, fd := range c.sockets {
		// Nothing is lost when this fails: the connection's end closes
		// them as well.
		_ = c.CloseFD(ctx, fd)
	}
}

// socket returns a socket of a family, or of any when it is AF_UNSPEC.
func (c *client) socket(ctx context.Context, family int32) (spclient.FD, error) {
	if family == netbsd.AF_UNSPEC {
		for _, fd := range c.sockets {
			return fd, nil
		}
		family = netbsd.AF_INET
	}
	if fd, ok := c.sockets[family]; ok {
		return fd, nil
	}
	fd, err := c.Socket(ctx, family, netbsd.SOCK_DGRAM, 0)
	if err != nil {
		return fd, err
	}
	c.sockets[family] = fd
	return fd, nil
}

// request makes a request through a socket of any family.
func (c *client) request(ctx context.Context, req *netbsd.Ioctl, v any) error {
	return c.requestOf(ctx, netbsd.AF_UNSPEC, req, v)
}

// requestOf makes a request through a socket of a family.
func (c *client) requestOf(ctx context.Context, family int32, req *netbsd.Ioctl, v any) error {
	fd, err := c.socket(ctx, family)
	if err != nil {
		return err
	}
	return named(req, c.IoctlStruct(ctx, fd, req, v))
}

// requestPtr makes a request whose argument points to a buffer.
func (c *client) requestPtr(ctx context.Context, req *netbsd.Ioctl, v any, buf []byte, set func(netbsd.Ptr)) error {
	fd, err := c.socket(ctx, netbsd.AF_UNSPEC)
	if err != nil {
		return err
	}
	return named(req, c.IoctlPtr(ctx, fd, req, v, buf, set))
}

// named gives an error the name of the request that was meant: several have
// the same number.
func named(req *netbsd.Ioctl, err error) error {
	var e *spclient.SyscallError
	if errors.As(err, &e) && e.Call != req.Name {
		return &spclient.SyscallError{Call: req.Name, Errno: e.Errno}
	}
	return err
}

// on gives an error the interface that it is about, as ifconfig(8) does:
// "SIOCGIFFLAGS shmif7: Device not configured".
func on(name string, err error) error {
	var e *spclient.SyscallError
	if errors.As(err, &e) {
		return &spclient.SyscallError{Call: e.Call + " " + name, Errno: e.Errno}
	}
	return err
}

// unsupported tells whether a request failed because the interface or the
// kernel does not know it, or has nothing to say.
func unsupported(err error) bool {
	for _, e := range []netbsd.Errno{netbsd.ENOTTY, netbsd.EINVAL, netbsd.EOPNOTSUPP, netbsd.EADDRNOTAVAIL, netbsd.EAFNOSUPPORT} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// flags asks for an interface's flags, and so whether it is there.
func (c *client) flags(ctx context.Context, name string) (uint16, error) {
	r := netbsd.Ifreq{Name: netbsd.IfName(name)}
	if err := c.request(ctx, netbsd.SIOCGIFFLAGS, &r); err != nil {
		return 0, on(name, err)
	}
	return r.Flags(c.Machine()), nil
}

// isVlan tells whether a name is one of a vlan(4) interface.
func isVlan(name string) bool {
	rest, ok := strings.CutPrefix(name, "vlan")
	return ok && rest != "" && rest[0] >= '0' && rest[0] <= '9'
}

// Cloners lists the kinds of interfaces that can be created, in the kernel's
// order.
func Cloners(ctx context.Context, k Kernel) ([]string, error) {
	c := newClient(k)
	defer c.close(ctx)
	var r netbsd.IfClonereq
	if err := c.request(ctx, netbsd.SIOCIFGCLONERS, &r); err != nil {
		return nil, wrap("SIOCIFGCLONERS for count", err)
	}
	// No kernel has that many; a wrong answer must not take all memory.
	const most = 1 << 12
	if r.Total < 0 || r.Total > most {
		return nil, fmt.Errorf("SIOCIFGCLONERS for count: %d", r.Total)
	}
	if r.Total == 0 {
		return nil, nil
	}
	buf := make([]byte, int(r.Total)*netbsd.IFNAMSIZ)
	r.Count = r.Total
	err := c.requestPtr(ctx, netbsd.SIOCIFGCLONERS, &r, buf, func(p netbsd.Ptr) { r.Buffer = p })
	if err != nil {
		return nil, wrap("SIOCIFGCLONERS for names", err)
	}
	var names []string
	// Some may have gone, or come, since.
	for n := min(int(r.Count), int(r.Total), len(buf)/netbsd.IFNAMSIZ); n > 0; n-- {
		names = append(names, netbsd.CString(buf[:netbsd.IFNAMSIZ]))
		buf = buf[netbsd.IFNAMSIZ:]
	}
	return names, nil
}

// wrap puts what ifconfig(8) says in place of a request's name.
func wrap(what string, err error) error {
	var e *spclient.SyscallError
	if errors.As(err, &e) {
		return &spclient.SyscallError{Call: what, Errno: e.Errno}
	}
	return err
}
