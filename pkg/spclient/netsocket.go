package spclient

import (
	"context"
	"errors"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// NetSocket is a socket of the Internet families as socket(2) makes it: no option is
// set, and it is neither bound nor connected. It is for those who do with sockets what
// package net has no functions for, a supervisor of other programs for example; its
// waits are cheap, as those of [TCPConn] are. Options and names are had with the
// methods of [Conn] and FD.
//
// Its errors are those of its system calls, as [os.SyscallError], or wrap [ErrLost].
type NetSocket struct{ netConn }

// NetSocket makes a socket: domain is netbsd.AF_INET or AF_INET6, typ SOCK_STREAM,
// SOCK_DGRAM or SOCK_RAW (socket(2)). It is non-blocking in the kernel, unless it listens,
// and must stay so.
func (c *Conn) NetSocket(ctx context.Context, domain, typ, proto int32) (*NetSocket, error) {
	fd, err := openSocket(ctx, c, netSocketNetwork(typ), domain, typ, proto)
	if err != nil {
		return nil, err
	}
	return &NetSocket{netConn{fd}}, nil
}

// netSocketNetwork is what package net calls the network of a type of sockets.
func netSocketNetwork(typ int32) string {
	switch typ {
	case netbsd.SOCK_STREAM:
		return "tcp"
	case netbsd.SOCK_DGRAM:
		return "udp"
	}
	return "ip"
}

// SocketOption is an option that a socket is given (setsockopt(2)), with a value as the kernel's
// machine has it.
type SocketOption = sysproxy.SocketOption

// DialSocket makes a socket as [Conn.NetSocket] does, gives it options, and begins a connection as
// [NetSocket.StartConnect] does; a rumpd does all that in one call. Options that the kernel does not
// take are left out. Without a socket err is why there is none; else over and err are
// StartConnect's.
func (c *Conn) DialSocket(ctx context.Context, domain, typ, proto int32, options []SocketOption, sa []byte) (s *NetSocket, over bool, err error) {
	fd := newNetFD(c, netSocketNetwork(typ), domain, typ)
	dialed, errno, err := fd.open(ctx, proto, sa, func(netbsd.ByteOrder) []SocketOption { return options })
	if err != nil {
		return nil, false, err
	}
	s = &NetSocket{netConn{fd}}
	if dialed {
		over, err = fd.began(errno)
		return s, over, err
	}
	for _, o := range options {
		var errno netbsd.Errno
		if err := fd.setsockopt(o.Level, o.Name, o.Value); err != nil && !errors.As(err, &errno) {
			s.Close()
			return nil, false, err
		}
	}
	over, err = s.StartConnect(sa)
	return s, over, err
}

// Bind gives the socket a sockaddr of the kernel's machine (bind(2)).
func (s *NetSocket) Bind(sa []byte) error { return s.fd.bind(sa) }

// StartConnect begins a connection (connect(2)), and tells whether it is over: then the error is
// what has come of it. Else Settled waits for it. A kernel's connections to itself are mostly
// over at once.
func (s *NetSocket) StartConnect(sa []byte) (over bool, err error) {
	s.fd.wr.lock.Lock()
	defer s.fd.wr.lock.Unlock()
	return s.fd.startConnect(sa)
}

// Connect connects (connect(2)), and waits for that until ctx ends; the kernel goes on
// then, and another Connect waits for the same connection.
func (s *NetSocket) Connect(ctx context.Context, sa []byte) error {
	err := s.fd.connect(ctx, sa)
	if errors.Is(err, netbsd.EALREADY) {
		err = s.fd.settled(ctx)
	}
	return err
}

// Settled waits for a connection that was begun, until ctx ends.
func (s *NetSocket) Settled(ctx context.Context) error { return s.fd.settled(ctx) }

// ListenBacklog makes the socket a listener (listen(2)). In a rumpd it is a blocking one
// then, so that Accept is one call for each connection.
func (s *NetSocket) ListenBacklog(backlog int32) error {
	if err := s.fd.listen(backlog); err != nil {
		return err
	}
	if s.fd.s.posts && !s.fd.blocking {
		return s.fd.block()
	}
	return nil
}

// CountTaken says of a listener that others take what it accepts, and that it counts in its backlog
// until they have, and tells whether the kernel does so: a rumpd does. Then one more connection than the
// backlog may wait in all, as on Linux.
func (s *NetSocket) CountTaken() bool {
	if !s.fd.s.posts {
		return false
	}
	_, err := s.fd.control("fcntl", func() *Call {
		return s.fd.newCall(netbsd.SYS_fcntl).Int(sysproxy.FTaken).Word(0)
	})
	return err == nil
}

// Taken tells how many connections of a listener's others have taken since CountTaken, modulo
// 2^32. The kernel knows some milliseconds later, or with the next call; should it not hear of one
// number, it learns the same from the next.
func (s *NetSocket) Taken(n uint32) {
	s.Use(func(FD) error {
		var args netbsd.Args
		args.Reset(s.fd.s.machine)
		args.Int(s.fd.fd.num)
		args.Int(sysproxy.FTaken)
		args.Word(uint64(n))
		s.fd.s.postLater(netbsd.SYS_fcntl, args.Bytes())
		return nil
	})
}

// Accept waits for a connection of a listener's, until Close; deadlines are not for it. Its
// RemoteAddr is known.
func (s *NetSocket) Accept() (*NetSocket, error) {
	accept := s.fd.accept
	if s.fd.blocking {
		accept = s.fd.awaitConn
	}
	fd, err := accept()
	if err != nil {
		return nil, err
	}
	return &NetSocket{netConn{fd}}, nil
}

// Release closes the socket as Close does, and does not wait for that: it may happen some
// milliseconds later.
func (s *NetSocket) Release() { s.fd.closeNow(false) }

// Shutdown ends one or both directions of a connection (shutdown(2)).
func (s *NetSocket) Shutdown(how int32) error { return s.fd.shutdown(how) }

// Use calls f with the descriptor, whose number is not given to another socket as long as f
// runs: Close waits for it. So f is not to take long. The error is f's, or net.ErrClosed when the
// socket is closed and f was not called.
func (s *NetSocket) Use(f func(fd FD) error) error {
	if err := s.fd.begin(); err != nil {
		return err
	}
	defer s.fd.end()
	return f(s.fd.fd)
}

// Getsockname returns the socket's own address, a sockaddr of the kernel's machine
// (getsockname(2)).
func (s *NetSocket) Getsockname() ([]byte, error) {
	return s.fd.name(netbsd.SYS_getsockname, "getsockname")
}

// Getpeername returns the address that it is connected to (getpeername(2)).
func (s *NetSocket) Getpeername() ([]byte, error) {
	return s.fd.name(netbsd.SYS_getpeername, "getpeername")
}

// Lost tells whether the kernel that the socket was in is lost. Of one that has been
// connected to again it is not a socket.
func (s *NetSocket) Lost() bool { return s.fd.s.Err() != nil }

// Abort closes a connection with a reset.
func (s *NetSocket) Abort() error {
	linger := make([]byte, 8) // struct linger
	s.fd.s.machine.Order.PutUint32(linger, 1)
	if err := s.fd.setsockopt(netbsd.SOL_SOCKET, netbsd.SO_LINGER, linger); err != nil {
		s.fd.close()
		return err
	}
	return s.fd.close()
}

// Sendto sends a datagram (sendto(2)) and waits for room. Without an address it goes to
// whom the socket is connected to.
func (s *NetSocket) Sendto(p, sa []byte) (int, error) { return s.fd.writeTo(p, sa) }

// Recvmsg waits for a datagram and receives it (recvmsg(2)).
func (s *NetSocket) Recvmsg(ctx context.Context, m *Message) (int, error) {
	return s.Receive(ctx, m, func() (Wanted, func()) { return WantControl, func() {} })
}

// Wanted is what is to be told of a datagram beside its data.
type Wanted int

// What is more costs NetBSD's own kernel one crossing more each.
const (
	WantData    Wanted = iota // nothing: recvfrom(2) without an address
	WantSender                // the sender's address: recvfrom(2)
	WantControl               // control messages and flags, too: recvmsg(2)
)

// Receive is Recvmsg that asks before each of its calls, of which all but the last find nothing,
// what is wanted, and tells with over when the call has ended: none takes long. Of a message's buffers only the first is
// used unless that is [WantControl], and what is not wanted is not set.
func (s *NetSocket) Receive(ctx context.Context, m *Message, wanted func() (w Wanted, over func())) (int, error) {
	s.fd.rd.lock.Lock()
	defer s.fd.rd.lock.Unlock()
	control := m.Control
	for {
		var n int
		err := s.Use(func(fd FD) (err error) {
			m.Name, m.Control, m.Flags = nil, nil, 0
			w, over := wanted()
			defer over()
			switch w {
			case WantData:
				n, err = s.fd.c.Recv(ctx, fd, m.Buffers[0], netbsd.MSG_DONTWAIT)
			case WantSender:
				n, m.Name, err = s.fd.c.Recvfrom(ctx, fd, m.Buffers[0], netbsd.MSG_DONTWAIT)
			default:
				m.Control = control
				n, err = s.fd.c.Recvmsg(ctx, fd, m, netbsd.MSG_DONTWAIT)
			}
			return err
		})
		if !isErrno(err, netbsd.EAGAIN) {
			return n, err
		}
		if err := s.fd.wait(&s.fd.rd, ctx.Done()); err != nil {
			return 0, err
		}
		if err := ctx.Err(); err != nil {
			return 0, err
		}
	}
}
