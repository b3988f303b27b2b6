package spclient

import (
	"context"
	"errors"
	"os"
	"syscall"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// ErrNoLoans is the error of [Conn.Lend] when the server does not take loans from
// this process.
var ErrNoLoans = errors.New("the rump kernel takes no descriptors of this host")

// errLent is why there is no exec: the new program would get the answers.
var errLent = errors.New("sockets are lent")

// LoanEnd says how a loan ended: by one of the constants, or with Err when it could not
// begin or the connection to the kernel was lost.
type LoanEnd struct {
	// How is one of sysproxy's LoanClosed, LoanDropped, LoanFailed and LoanRevoked,
	// or 0 when there is an Err.
	How sysproxy.LoanEnd
	// Cause is why the connection broke, with LoanFailed; it still is the socket's
	// SO_ERROR.
	Cause netbsd.Errno
	// Err is a [*SyscallError] when the kernel refused (of "lend": EBADF, ENOTSOCK,
	// EOPNOTSUPP for a socket that is no TCP socket, ENOTCONN, EBUSY for one that
	// is lent, EINVAL for a host descriptor that is no connected local stream
	// socket, ENFILE), a sysproxy.ErrorCode, or the error with which the connection
	// to the kernel ended.
	Err error
}

// CanLend tells whether [Conn.Lend] works: the kernel is a rumpd on this host that runs
// as the same user, and the connection to it is a local one.
func (c *Conn) CanLend() bool { return c.session().has(sysproxy.ExtLend) }

// Lend gives the holder of the other end of host the connection of fd: what comes in is
// written to host, and what is read from host is sent, by the kernel itself. host is a
// descriptor of a connected AF_UNIX stream socket; fd is a TCP socket that is connected
// or connecting. Lend makes a copy of host and leaves it to the caller, who must neither
// read nor write it while the loan lasts. Its send buffer is made larger, its mode is not
// touched.
//
// The program at the other end has a socket as TCP's: it may end either direction with
// shutdown(2), sees the peer's end as end of file once it has read all that came before,
// and is kept waiting while the peer does not read. Data out of band are taken as others.
//
// ended is called once, when the loan has ended, by a goroutine of its own; until then
// a loan costs no goroutine, and is none of the calls that the kernel counts.
//
//   - LoanClosed: the program has closed its descriptor, or both directions have ended,
//     one after the other. What it wrote has been sent or is in the socket's send
//     buffer; after a close it is time to close fd, which goes on sending and acts on
//     SO_LINGER. With a time of 0 there, what the program wrote last has been dropped.
//   - LoanDropped: the program closed its descriptor with data unread. The connection
//     has been reset; fd is to be closed.
//   - LoanFailed: the connection broke, as Cause has it. What had come in before has been
//     written to host as far as there was room.
//   - LoanRevoked: fd was closed.
//
// By then the kernel has closed its copy of host. What the program sees when the caller
// closes host, too, is the end of both directions; or ECONNRESET if something unread is in
// host. With seed it is ECONNRESET unless the loan ended with LoanClosed or LoanDropped, and so
// it is when the caller or the kernel dies: then the caller has sent a byte at the other end
// before the program could, or will have. The kernel drops that one, and leaves the last
// that it took in host until the program has ended the connection. That byte stays in the
// account of the program's socket, whose SO_SNDBUF is not to be less than 208 KiB then:
// poll(2) might not find it writable.
//
// An error means that nothing was lent and ended will not be called; [ErrNoLoans] when
// [Conn.CanLend] is false. While there are loans [Conn.Exec] fails.
func (c *Conn) Lend(ctx context.Context, fd FD, host int, seed bool, ended func(LoanEnd)) error {
	if host < 0 {
		return callError("lend", os.NewSyscallError("fcntl", syscall.EBADF))
	}
	m := sysproxy.Lend{FD: fd.num}
	if seed {
		m.Flags = sysproxy.LendSeeded
	}
	return c.loan(ctx, fd, sysproxy.ExtLend, sysproxy.TypeLend, m, host, ended)
}

// has tells whether the server has an extension for which descriptors are sent.
func (s *session) has(extension string) bool {
	_, ok := s.tr.(rightsTransport)
	return ok && s.banner.Has(extension)
}

// loan sends the request m of an extension, with a copy of host unless that is -1. ended gets
// the answer.
func (c *Conn) loan(ctx context.Context, fd FD, extension string, kind sysproxy.Type, m sysproxy.Message, host int, ended func(LoanEnd)) error {
	err := c.beginLoan(ctx, fd, extension, kind, m, host, ended)
	if err != nil {
		return callError("lend", err)
	}
	return nil
}

func (c *Conn) beginLoan(ctx context.Context, fd FD, extension string, kind sysproxy.Type, m sysproxy.Message, host int, ended func(LoanEnd)) error {
	s := c.session()
	switch {
	case fd.gen != s.gen:
		return s.stale(fd)
	case !s.has(extension):
		return ErrNoLoans
	}
	file := -1
	if host >= 0 {
		var err error
		if file, err = dupAbove2(host); err != nil {
			return err
		}
	}
	call := s.newCall(0, kind)
	call.conn, call.fds, call.ended = c, true, ended
	call.frame = m.Append(nil, s.layout, 0)
	frame := call.frame
	if _, err := call.start(ctx); err != nil {
		if file >= 0 {
			closeHost(file)
		}
		call.free()
		return err
	}
	// From here on the call is the reader's, and gone when it is answered, which may
	// be before this has been sent.
	sent := false
	if file >= 0 {
		sent = s.out.sendRights(frame, file)
	} else {
		sent = s.out.send(frame, nil)
	}
	if sent || !s.withdraw(call) {
		return nil
	}
	call.free()
	select {
	case <-s.done:
		return s.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// loanEnded gives a loan's end to who waits for it; s.mu is held.
func (call *Call) loanEnded(end LoanEnd) {
	ended := call.ended
	if end.Err == nil {
		if call.refusal != nil {
			end = LoanEnd{Err: callError("lend", call.refusal)}
		} else if errno := netbsd.Errno(call.reply.Errno); errno != 0 {
			end = LoanEnd{Err: &SyscallError{"lend", errno}}
		}
	}
	go ended(end)
}
