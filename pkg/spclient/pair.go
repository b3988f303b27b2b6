package spclient

import (
	"context"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// CanPair tells whether the kernel lets two of its clients on this host agree on a pair:
// sockets of the host's, connected to each other, for the ends of a connection that is
// made in the kernel and stays there. Who accepts offers a local listener for the one
// connection, who has connected to the kernel's connects to that, too. The kernel's sysctl
// net.inet.tcp.pair says whether that is wanted.
//
// All of the methods fail with [ErrNoLoans] when CanPair is false, and with a
// [*SyscallError] of "pair": EBADF, ENOTSOCK, or EOPNOTSUPP for a socket that is none of
// TCP.
func (c *Conn) CanPair() bool { return c.session().has(sysproxy.ExtPair) }

// ExpectPair says of fd, which is not connected yet, that AskPair will be called when it
// is, unless it is lent or closed; or, if it is going to listen, OfferPair for what it accepts.
func (c *Conn) ExpectPair(ctx context.Context, fd FD) error {
	_, err := c.pairCall(ctx, fd, sysproxy.PairExpect, "")
	return err
}

// PairExpected tells whether the other end of fd, which was accepted, is a socket of the
// same kernel for which ExpectPair was called and nothing else is decided.
func (c *Conn) PairExpected(ctx context.Context, fd FD) (bool, error) {
	m, err := c.pairCall(ctx, fd, sysproxy.PairExpected, "")
	return m.Yes, err
}

// OfferPair offers the other end of fd, which was accepted, the path of a local stream
// socket that listens for it, of at most [sysproxy.MaxPairPath] bytes. It waits until that
// is connected to, or will not be.
func (c *Conn) OfferPair(ctx context.Context, fd FD, path string) (joined bool, err error) {
	m, err := c.pairCall(ctx, fd, sysproxy.PairOffer, path)
	return m.Yes, err
}

// AskPair asks for the path that the other end of fd, which is connected, offers. Without
// a path there is no pair. With one, JoinPair must be called. It waits for an offer for 20
// ms, if there can be one.
func (c *Conn) AskPair(ctx context.Context, fd FD) (path string, err error) {
	m, err := c.pairCall(ctx, fd, sysproxy.PairAsk, "")
	return m.Path, err
}

// JoinPair says whether the path that AskPair had was connected to. It tells whether that
// still was wanted.
func (c *Conn) JoinPair(ctx context.Context, fd FD, joined bool) (bool, error) {
	op := sysproxy.PairRefused
	if joined {
		op = sysproxy.PairJoined
	}
	m, err := c.pairCall(ctx, fd, op, "")
	return m.Yes, err
}

func (c *Conn) pairCall(ctx context.Context, fd FD, op sysproxy.PairOp, path string) (sysproxy.PairReply, error) {
	s := c.session()
	switch {
	case fd.gen != s.gen:
		return sysproxy.PairReply{}, callError("pair", s.stale(fd))
	case !s.has(sysproxy.ExtPair):
		return sysproxy.PairReply{}, callError("pair", ErrNoLoans)
	}
	call := s.newCall(0, sysproxy.TypePair)
	call.conn, call.fds = c, true
	call.blocks = op == sysproxy.PairOffer || op == sysproxy.PairAsk
	call.frame = sysproxy.Pair{FD: fd.num, Op: op, Path: path}.Append(call.frame[:0], s.layout, 0)
	if err := call.exchange(ctx); err != nil {
		return sysproxy.PairReply{}, callError("pair", err)
	}
	m := call.pair
	call.free()
	if m.Errno != 0 {
		return m, &SyscallError{"pair", netbsd.Errno(m.Errno)}
	}
	return m, nil
}
