package spclient

import (
	"context"

	"rumptools/pkg/netbsd"
)

// maxSockaddr is room for the longest socket address (sa_len is a byte).
const maxSockaddr = 255

// Socket makes a socket (socket(2)): netbsd.AF_INET, netbsd.SOCK_DGRAM, 0.
func (c *Conn) Socket(ctx context.Context, domain, typ, proto int32) (FD, error) {
	return c.NewCall(netbsd.SYS___socket30).Int(domain).Int(typ).Int(proto).DoFD(ctx)
}

// effect makes a call whose result is that it happened.
func effect(ctx context.Context, call *Call) error {
	_, err := call.Do(ctx)
	return err
}

// count makes a call that returns a number of bytes or things, which is not
// believed if it is more than limit.
func count(ctx context.Context, call *Call, limit int) (int, error) {
	ret, err := call.Do(ctx)
	if err != nil {
		return 0, err
	}
	return int(min(ret.Retval[0], uint64(limit))), nil
}

// Socketpair makes two sockets that are connected (socketpair(2)).
func (c *Conn) Socketpair(ctx context.Context, domain, typ, proto int32) (FD, FD, error) {
	var pair [8]byte
	call := c.NewCall(netbsd.SYS_socketpair).Int(domain).Int(typ).Int(proto).Out(pair[:])
	_, s, err := call.doIn(ctx)
	if err != nil {
		return FD{}, FD{}, err
	}
	order := s.machine.Order
	return FD{int32(order.Uint32(pair[:])), s.gen}, FD{int32(order.Uint32(pair[4:])), s.gen}, nil
}

// Bind gives a socket its address (bind(2)).
func (c *Conn) Bind(ctx context.Context, fd FD, sa []byte) error {
	return effect(ctx, c.NewCall(netbsd.SYS_bind).FD(fd).In(sa).Uint(uint32(len(sa))))
}

// ListenFD makes a socket accept connections (listen(2)).
func (c *Conn) ListenFD(ctx context.Context, fd FD, backlog int32) error {
	return effect(ctx, c.NewCall(netbsd.SYS_listen).FD(fd).Int(backlog))
}

// Shutdown ends one or both directions of a connection (shutdown(2)):
// netbsd.SHUT_RD, SHUT_WR, SHUT_RDWR.
func (c *Conn) Shutdown(ctx context.Context, fd FD, how int32) error {
	return effect(ctx, c.NewCall(netbsd.SYS_shutdown).FD(fd).Int(how))
}

// Connect connects a socket (connect(2)). When ctx can end, the socket is
// non-blocking for as long as it connects; when ctx does end, the socket goes
// on connecting and should be closed.
func (c *Conn) Connect(ctx context.Context, fd FD, sa []byte) (err error) {
	if ctx.Done() == nil {
		return c.connect(ctx, fd, sa)
	}
	was, err := c.setNonblock(ctx, fd, true)
	if err != nil {
		return err
	}
	err = c.connect(ctx, fd, sa)
	if isErrno(err, netbsd.EINPROGRESS) {
		if err = c.WaitWritable(ctx, fd); err == nil {
			err = c.socketError(ctx, fd)
		}
	}
	if !was && ctx.Err() == nil {
		if _, err2 := c.setNonblock(ctx, fd, false); err == nil {
			err = err2
		}
	}
	return err
}

func (c *Conn) connect(ctx context.Context, fd FD, sa []byte) error {
	return effect(ctx, c.NewCall(netbsd.SYS_connect).FD(fd).In(sa).Uint(uint32(len(sa))))
}

// socketError returns and clears the error of a connect that went on in the
// kernel.
func (c *Conn) socketError(ctx context.Context, fd FD) error {
	errno, err := c.GetsockoptInt(ctx, fd, netbsd.SOL_SOCKET, netbsd.SO_ERROR)
	if err == nil && errno != 0 {
		err = &SyscallError{"connect", netbsd.Errno(errno)}
	}
	return err
}

// setNonblock sets or clears O_NONBLOCK and returns whether it was set.
func (c *Conn) setNonblock(ctx context.Context, fd FD, on bool) (was bool, err error) {
	flags, err := c.Fcntl(ctx, fd, netbsd.F_GETFL, 0)
	if err != nil {
		return false, err
	}
	was = flags&netbsd.O_NONBLOCK != 0
	if was != on {
		_, err = c.Fcntl(ctx, fd, netbsd.F_SETFL, flags^netbsd.O_NONBLOCK)
	}
	return was, err
}

// Accept takes a connection of a listening socket (accept(2)) and returns the
// peer's address. When ctx can end, the listening socket becomes and stays
// non-blocking. The new socket is blocking.
func (c *Conn) Accept(ctx context.Context, fd FD) (FD, []byte, error) {
	if ctx.Done() == nil {
		return c.accept(ctx, fd)
	}
	// It must not block, also when it seems ready: another process may be
	// faster.
	if _, err := c.setNonblock(ctx, fd, true); err != nil {
		return FD{}, nil, err
	}
	for {
		nfd, sa, err := c.accept(ctx, fd)
		if !isErrno(err, netbsd.EAGAIN) {
			return nfd, sa, err
		}
		if err := c.WaitReadable(ctx, fd); err != nil {
			return FD{}, nil, err
		}
	}
}

// accept accepts as paccept(2) does without flags: the new socket does not
// inherit O_NONBLOCK.
func (c *Conn) accept(ctx context.Context, fd FD) (nfd FD, sa []byte, err error) {
	call := c.NewCall(netbsd.SYS_paccept).FD(fd)
	call.outRoom(maxSockaddr)
	call.inOutUint(maxSockaddr)
	call.Ptr(0).Int(0)
	if err = call.run(ctx); err == nil {
		nfd, sa = FD{int32(call.reply.Retval[0]), call.s.gen}, call.lastAddr()
	}
	if err = call.finish(netbsd.SYS_accept, err); err != nil {
		return FD{}, nil, err
	}
	return nfd, sa, nil
}

// u32 is an unsigned int in the kernel's memory.
func (c *Conn) u32(v uint32) (b [4]byte) {
	c.Machine().Order.PutUint32(b[:], v)
	return b
}

// Getsockname returns a socket's address (getsockname(2)).
func (c *Conn) Getsockname(ctx context.Context, fd FD) ([]byte, error) {
	return c.name(ctx, netbsd.SYS_getsockname, fd)
}

// Getpeername returns the address of a socket's peer (getpeername(2)).
func (c *Conn) Getpeername(ctx context.Context, fd FD) ([]byte, error) {
	return c.name(ctx, netbsd.SYS_getpeername, fd)
}

func (c *Conn) name(ctx context.Context, num uint32, fd FD) (sa []byte, err error) {
	call := c.NewCall(num).FD(fd)
	call.outRoom(maxSockaddr)
	call.inOutUint(maxSockaddr)
	if err = call.run(ctx); err == nil {
		sa = call.lastAddr()
	}
	if err = call.finish(num, err); err != nil {
		return nil, err
	}
	return sa, nil
}

// Setsockopt sets a socket's option (setsockopt(2)).
func (c *Conn) Setsockopt(ctx context.Context, fd FD, level, name int32, val []byte) error {
	return effect(ctx, c.NewCall(netbsd.SYS_setsockopt).
		FD(fd).Int(level).Int(name).In(val).Uint(uint32(len(val))))
}

// SetsockoptInt sets an option that is an int.
func (c *Conn) SetsockoptInt(ctx context.Context, fd FD, level, name, val int32) error {
	b := c.u32(uint32(val))
	return c.Setsockopt(ctx, fd, level, name, b[:])
}

// SetsockoptStruct sets an option that is a structure, such as netbsd.Timeval or
// netbsd.IpMreq.
func (c *Conn) SetsockoptStruct(ctx context.Context, fd FD, level, name int32, v any) error {
	return c.Setsockopt(ctx, fd, level, name, netbsd.Marshal(c.Machine(), v))
}

// Getsockopt reads a socket's option into buf and returns its length, which is
// at most that of buf (getsockopt(2)).
func (c *Conn) Getsockopt(ctx context.Context, fd FD, level, name int32, buf []byte) (int, error) {
	length := c.u32(uint32(len(buf)))
	err := effect(ctx, c.NewCall(netbsd.SYS_getsockopt).
		FD(fd).Int(level).Int(name).Out(buf).InOut(length[:]))
	if err != nil {
		return 0, err
	}
	return int(min(c.Machine().Order.Uint32(length[:]), uint32(len(buf)))), nil
}

// GetsockoptInt returns an option that is an int.
func (c *Conn) GetsockoptInt(ctx context.Context, fd FD, level, name int32) (int32, error) {
	var b [4]byte
	n, err := c.Getsockopt(ctx, fd, level, name, b[:])
	switch {
	case err != nil:
		return 0, err
	case n == 1:
		// Some of IP's multicast options are an octet.
		return int32(b[0]), nil
	}
	return int32(c.Machine().Order.Uint32(b[:])), nil
}

// GetsockoptStruct reads an option that is a structure into *v.
func (c *Conn) GetsockoptStruct(ctx context.Context, fd FD, level, name int32, v any) error {
	buf := make([]byte, netbsd.Sizeof(c.Machine(), v))
	n, err := c.Getsockopt(ctx, fd, level, name, buf)
	if err != nil {
		return err
	}
	return netbsd.Unmarshal(c.Machine(), buf[:n], v)
}
