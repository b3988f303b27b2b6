package spclient

import (
	"context"

	"rumptools/pkg/netbsd"
)

// Sendto sends a message to an address, or to the connected peer when sa is nil
// (sendto(2)). It returns the number of bytes sent, and blocks in the kernel
// while a socket that blocks has no room; see [Conn.SendtoWait].
func (c *Conn) Sendto(ctx context.Context, fd FD, p []byte, flags int32, sa []byte) (int, error) {
	return count(ctx, c.NewCall(netbsd.SYS_sendto).
		FD(fd).In(p).Word(uint64(len(p))).Int(flags).In(sa).Uint(uint32(len(sa))), len(p))
}

// SendtoWait is Sendto that waits for room with poll(2).
func (c *Conn) SendtoWait(ctx context.Context, fd FD, p []byte, flags int32, sa []byte) (n int, err error) {
	err = c.retry(ctx, fd, netbsd.POLLOUT, flags, func(flags int32) error {
		n, err = c.Sendto(ctx, fd, p, flags, sa)
		return err
	})
	return n, err
}

// Recvfrom receives a message, or some bytes of a stream, and the address of its
// sender, which is nil when the socket has none to tell (recvfrom(2)). At the
// end of a stream it returns 0. It blocks in the kernel while nothing is there;
// see [Conn.RecvfromWait].
func (c *Conn) Recvfrom(ctx context.Context, fd FD, p []byte, flags int32) (n int, sa []byte, err error) {
	call := c.NewCall(netbsd.SYS_recvfrom).FD(fd).Out(p).Word(uint64(len(p))).Int(flags)
	call.outRoom(maxSockaddr)
	call.inOutUint(maxSockaddr)
	if err = call.run(ctx); err == nil {
		n, sa = int(min(call.reply.Retval[0], uint64(len(p)))), call.lastAddr()
	}
	if err = call.finish(netbsd.SYS_recvfrom, err); err != nil {
		return 0, nil, err
	}
	return n, sa, nil
}

// Recv is Recvfrom without the sender's address, which costs a kernel less: NetBSD's own copies in
// how long the address may be.
func (c *Conn) Recv(ctx context.Context, fd FD, p []byte, flags int32) (int, error) {
	call := c.NewCall(netbsd.SYS_recvfrom).FD(fd).Out(p).Word(uint64(len(p))).Int(flags).Word(0).Word(0)
	return count(ctx, call, len(p))
}

// RecvfromWait is Recvfrom that waits for a message with poll(2).
func (c *Conn) RecvfromWait(ctx context.Context, fd FD, p []byte, flags int32) (n int, sa []byte, err error) {
	err = c.retry(ctx, fd, netbsd.POLLIN, flags, func(flags int32) error {
		n, sa, err = c.Recvfrom(ctx, fd, p, flags)
		return err
	})
	return n, sa, err
}

// retry makes a call that does not block until it need not.
func (c *Conn) retry(ctx context.Context, fd FD, events int16, flags int32, f func(flags int32) error) error {
	if flags&netbsd.MSG_DONTWAIT != 0 {
		return f(flags)
	}
	for {
		err := f(flags | netbsd.MSG_DONTWAIT)
		if !isErrno(err, netbsd.EAGAIN) {
			return err
		}
		if err := c.waitFor(ctx, fd, events); err != nil {
			return err
		}
	}
}

// Message is what sendmsg(2) and recvmsg(2) exchange.
type Message struct {
	// Name is the peer's address. To receive it, it need not be set.
	Name []byte
	// Buffers are the data, or where it goes.
	Buffers [][]byte
	// Control holds control messages, or the room for them; see
	// netbsd.AppendCmsg and netbsd.ParseCmsgs.
	Control []byte
	// Flags are what the kernel says of a received message: netbsd.MSG_TRUNC,
	// MSG_CTRUNC, MSG_EOR and the like.
	Flags int32
}

// place puts the message and all that it points to into the call's window and
// returns the msghdr's address.
func (msg *Message) place(call *Call, m *netbsd.Machine, name []byte, receive bool, hdr []byte) netbsd.Ptr {
	put, putHdr := call.PlaceIn, call.PlaceIn
	if receive {
		put, putHdr = call.PlaceOut, call.PlaceInOut
	}
	h := netbsd.Msghdr{
		Name: put(name), Namelen: uint32(len(name)),
		Control: put(msg.Control), Controllen: uint32(len(msg.Control)),
		Iovlen: int32(len(msg.Buffers)),
	}
	if len(msg.Buffers) > 0 {
		var iov []byte
		for _, b := range msg.Buffers {
			iov = netbsd.Append(m, iov, &netbsd.Iovec{Base: put(b), Len: netbsd.SizeT(len(b))})
		}
		h.Iov = call.PlaceIn(iov)
	}
	netbsd.Append(m, hdr[:0], &h)
	return putHdr(hdr)
}

func (msg *Message) size() (n int) {
	for _, b := range msg.Buffers {
		n += len(b)
	}
	return n
}

// Sendmsg sends a message (sendmsg(2)) and returns the number of bytes of data
// that were sent.
func (c *Conn) Sendmsg(ctx context.Context, fd FD, msg *Message, flags int32) (int, error) {
	m := c.Machine()
	hdr := make([]byte, netbsd.Sizeof(m, netbsd.Msghdr{}))
	call := c.NewCall(netbsd.SYS_sendmsg).FD(fd)
	call.Ptr(msg.place(call, m, msg.Name, false, hdr)).Int(flags)
	return count(ctx, call, msg.size())
}

// Recvmsg receives a message (recvmsg(2)) and returns the number of bytes of
// data. It sets Name and Flags, and cuts Control to what is there.
func (c *Conn) Recvmsg(ctx context.Context, fd FD, msg *Message, flags int32) (int, error) {
	m := c.Machine()
	hdr := make([]byte, netbsd.Sizeof(m, netbsd.Msghdr{}))
	name := make([]byte, maxSockaddr)
	call := c.NewCall(netbsd.SYS_recvmsg).FD(fd)
	call.Ptr(msg.place(call, m, name, true, hdr)).Int(flags)
	n, err := count(ctx, call, msg.size())
	if err != nil {
		return 0, err
	}
	var h netbsd.Msghdr
	if err := netbsd.Unmarshal(m, hdr, &h); err != nil {
		return 0, err
	}
	msg.Name = nil
	if h.Namelen > 0 {
		msg.Name = name[:min(h.Namelen, maxSockaddr)]
	}
	msg.Control = msg.Control[:min(h.Controllen, uint32(len(msg.Control)))]
	msg.Flags = h.Flags
	return n, nil
}

// SendmsgWait is Sendmsg that waits for room with poll(2).
func (c *Conn) SendmsgWait(ctx context.Context, fd FD, msg *Message, flags int32) (n int, err error) {
	err = c.retry(ctx, fd, netbsd.POLLOUT, flags, func(flags int32) error {
		n, err = c.Sendmsg(ctx, fd, msg, flags)
		return err
	})
	return n, err
}

// RecvmsgWait is Recvmsg that waits for a message with poll(2).
func (c *Conn) RecvmsgWait(ctx context.Context, fd FD, msg *Message, flags int32) (n int, err error) {
	err = c.retry(ctx, fd, netbsd.POLLIN, flags, func(flags int32) error {
		n, err = c.Recvmsg(ctx, fd, msg, flags)
		return err
	})
	return n, err
}
