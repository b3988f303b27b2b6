package spclient

import (
	"context"

	"rumptools/pkg/sysproxy"
)

// CanLendDatagrams tells whether [Conn.LendDatagrams] works: the kernel is a rumpd on this
// host that runs as the same user, and the connection to it is a local one.
func (c *Conn) CanLendDatagrams() bool { return c.session().has(sysproxy.ExtLendDatagrams) }

// LendDatagrams gives S, a program's AF_UNIX socket of type SOCK_DGRAM, the datagrams of fd,
// a UDP or raw socket: the kernel itself sends to S what comes for fd. host is one of:
//
//   - A descriptor of the path that S is bound to, opened with O_PATH. Each datagram comes
//     from a socket whose name in the abstract name space tells the sender's address and
//     the control messages (sysproxy.ParseOrigin). Nothing is sent for S.
//   - A descriptor of a socket K that S is connected to and that is connected to S. fd is
//     connected, too. What comes from its peer, and no other, is sent by K, and what S
//     sends is sent to the peer. Control messages have no place: see below.
//
// LendDatagrams makes a copy of host and leaves it to the caller, who must neither read nor
// write K while the loan lasts. While S has no room, datagrams wait in fd's receive buffer,
// and those that it has no room for are lost. Lost are also what S does not take and what
// cannot be sent for want of room. fd may be used by calls meanwhile.
//
// ended is called once, when the loan has ended, by a goroutine of its own. Then the kernel
// has closed its copy of host; until then a loan costs no goroutine.
//
//   - LoanClosed: S is closed.
//   - LoanFailed: sending failed, or an error came back from the network: Cause, which is
//     not fd's SO_ERROR any more. fd can be lent again.
//   - LoanControl: a datagram has come for a connected S with control messages, which is
//     still to be received.
//   - LoanRevoked: fd was closed, or the loan taken back.
//
// With an Err that is a [*SyscallError] the kernel refused (of "lend": EBADF, ENOTSOCK,
// EOPNOTSUPP for a socket that is not for datagrams, ENOTCONN with K for one that is not
// connected, EBUSY for one that is lent, EINVAL for another host descriptor, ENFILE).
//
// An error means that nothing was lent and ended will not be called; [ErrNoLoans] when
// [Conn.CanLendDatagrams] is false. While there are loans [Conn.Exec] fails.
func (c *Conn) LendDatagrams(ctx context.Context, fd FD, host int, ended func(LoanEnd)) error {
	m := sysproxy.LendDatagrams{FD: fd.num, Op: sysproxy.LendBegin}
	return c.loan(ctx, fd, sysproxy.ExtLendDatagrams, sysproxy.TypeLendDatagrams, m, host, ended)
}

// LendDatagramsControl is LendDatagrams of a client that is to have the control messages also
// of datagrams that come by K: a datagram that has some comes with a descriptor, as SCM_RIGHTS, of a file that has
// them as recvmsg(2) gives them. Who receives without room for control messages does not see it. Of a kernel that
// cannot do so it is LendDatagrams.
func (c *Conn) LendDatagramsControl(ctx context.Context, fd FD, host int, ended func(LoanEnd)) error {
	if !c.session().has(sysproxy.ExtLendControl) {
		return c.LendDatagrams(ctx, fd, host, ended)
	}
	m := sysproxy.LendDatagrams{FD: fd.num, Op: sysproxy.LendBeginControl}
	return c.loan(ctx, fd, sysproxy.ExtLendDatagrams, sysproxy.TypeLendDatagrams, m, host, ended)
}

// CanLendLabels tells whether [Conn.LendDatagramsLabelled] works.
func (c *Conn) CanLendLabels() bool { return c.session().has(sysproxy.ExtLendLabels) }

// LendDatagramsLabelled is LendDatagrams to an S that is a UDP socket of IPv4 of the host's, in a network namespace of the
// caller's, where nobody else sends to it. k is of a UDP socket in that namespace that is connected to S. What comes for
// fd is sent by k; what S, once it is connected to k's socket, sends is sent to whom fd is connected to. Each
// datagram has a label by which table, a file in memory of the size of a label's table (internal/label), tells the sender's
// address and the control messages, in the kernel's layout. S is not waited for: what it has no room for is lost.
func (c *Conn) LendDatagramsLabelled(ctx context.Context, fd FD, k, table int, ended func(LoanEnd)) error {
	if !c.CanLendLabels() {
		return callError("lend", ErrNoLoans)
	}
	parcel, err := newParcel(k, table)
	if err != nil {
		return callError("lend", err)
	}
	defer closeHost(parcel)
	m := sysproxy.LendDatagrams{FD: fd.num, Op: sysproxy.LendBeginLabels}
	return c.loan(ctx, fd, sysproxy.ExtLendLabels, sysproxy.TypeLendDatagrams, m, parcel, ended)
}

// TakeBackDatagrams ends the loan of fd if there is one: what S has sent up to now is sent,
// what S had no room for waits in fd, and ended of LendDatagrams is called.
func (c *Conn) TakeBackDatagrams(ctx context.Context, fd FD) error {
	return c.takeBack(ctx, fd, sysproxy.LendTakeBack)
}

// AbandonDatagrams is TakeBackDatagrams when S is closed, of which the kernel hears at its next datagram only. Without a loan,
// too, fd receives nothing any more: what nobody has received, and what comes from now on, goes where it would if fd were
// closed. Of a kernel that cannot do so it is TakeBackDatagrams.
func (c *Conn) AbandonDatagrams(ctx context.Context, fd FD) error {
	if !c.CanLendLabels() {
		return c.takeBack(ctx, fd, sysproxy.LendTakeBack)
	}
	return c.takeBack(ctx, fd, sysproxy.LendAbandon)
}

func (c *Conn) takeBack(ctx context.Context, fd FD, op sysproxy.LendOp) error {
	done := make(chan error, 1)
	m := sysproxy.LendDatagrams{FD: fd.num, Op: op}
	err := c.loan(ctx, fd, sysproxy.ExtLendDatagrams, sysproxy.TypeLendDatagrams, m, -1, func(e LoanEnd) { done <- e.Err })
	if err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return callError("lend", ctx.Err())
	}
}
