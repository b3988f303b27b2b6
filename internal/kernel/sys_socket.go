package kernel

import (
	"bytes"
	"runtime"
	"time"

	"rumptools/pkg/netbsd"
)

// maxSockaddr is the longest address that sa_len can hold.
const maxSockaddr = 255

// isSockaddrLen tells whether an address can have so many bytes.
func isSockaddrLen(n int) bool { return n >= 2 && n <= maxSockaddr }

// socketCall is a system call whose first argument is a socket's descriptor, which
// is held while it lasts.
type socketCall func(c *Call, h held, s Socket) (uint64, error)

// onSocket makes it an entry of the table.
func onSocket(call socketCall) func(*Call) (uint64, error) {
	return func(c *Call) (uint64, error) {
		h, err := c.fd()
		if err != nil {
			return 0, err
		}
		defer h.release()
		s, ok := h.File.(Socket)
		if !ok {
			return 0, netbsd.ENOTSOCK
		}
		return call(c, h, s)
	}
}

// sockaddr reads an address of the caller's and puts its length into sa_len,
// as the kernel does for programs that leave it open.
func (c *Call) sockaddr(addr uint64, size uint32) ([]byte, error) {
	if !isSockaddrLen(int(size)) {
		return nil, netbsd.EINVAL
	}
	sa := make([]byte, size)
	if err := c.CopyIn(addr, sa); err != nil {
		return nil, err
	}
	sa[0] = byte(size)
	return sa, nil
}

// putSockaddr gives the caller an address and its length, as much as there is
// room for.
func (c *Call) putSockaddr(addr, lenAddr uint64, sa []byte) error {
	if addr == 0 {
		return nil
	}
	b := make([]byte, 4)
	order := c.k.machine.Order
	if err := c.CopyIn(lenAddr, b); err != nil {
		return err
	}
	room := int32(order.Uint32(b[:]))
	if room < 0 {
		return netbsd.EINVAL
	}
	sa = sa[:min(len(sa), int(room))]
	if err := c.CopyOut(addr, sa); err != nil {
		return err
	}
	order.PutUint32(b, uint32(len(sa)))
	return c.CopyOut(lenAddr, b)
}

const sockFlags = netbsd.SOCK_CLOEXEC | netbsd.SOCK_NONBLOCK | netbsd.SOCK_NOSIGPIPE

// openSocket makes the open file of a new socket and says whether its descriptor
// closes on exec.
func (c *Call) openSocket(s Socket, flags int32) (*OpenFile, bool, error) {
	mode, cloexec := sockMode(flags)
	of, err := c.openFile(s, mode)
	return of, cloexec, err
}

// sockMode gives the mode of a new socket's file and says whether its descriptor
// closes on exec.
func sockMode(flags int32) (int32, bool) {
	mode := int32(netbsd.O_RDWR)
	if flags&netbsd.SOCK_NONBLOCK != 0 {
		mode |= netbsd.O_NONBLOCK
	}
	if flags&netbsd.SOCK_NOSIGPIPE != 0 {
		mode |= netbsd.O_NOSIGPIPE
	}
	return mode, flags&netbsd.SOCK_CLOEXEC != 0
}

func sysSocket(c *Call) (uint64, error) {
	family, typ, proto := c.args.Int(), c.args.Int(), c.args.Int()
	d, err := c.k.Domain(family)
	if err != nil {
		return 0, err
	}
	s, err := d.Socket(c, typ&^sockFlags, proto)
	if err != nil {
		return 0, err
	}
	of, cloexec, err := c.openSocket(s, typ)
	if err != nil {
		return 0, err
	}
	fd, err := c.Proc.fds.add(of, 0, cloexec)
	if err == nil && c.dials {
		c.ret1 = uint64(errnoOf(c.dial(fd)))
	}
	return uint64(fd), err
}

// dial sets the options that came with the call, and connects the new socket.
func (c *Call) dial(fd int32) error {
	h, err := c.Proc.fds.get(fd)
	if err != nil {
		return err // somebody has guessed it, and closed it
	}
	defer h.release()
	s, ok := h.File.(Socket)
	if !ok {
		return netbsd.ENOTSOCK // and put another file there
	}
	for _, piece := range c.memory[1:] {
		if o, ok := c.conn.layout.ParseSocketOption(piece.Data); ok {
			_ = c.setOption(h, s, o.Level, o.Name, o.Value)
		}
	}
	sa := bytes.Clone(c.memory[0].Data)
	sa[0] = byte(len(sa))
	return c.connect(h, s, sa)
}

func sysSocketpair(c *Call) (uint64, error) {
	family, typ, proto, addr := c.args.Int(), c.args.Int(), c.args.Int(), c.args.Ptr()
	d, err := c.k.Domain(family)
	if err != nil {
		return 0, err
	}
	a, b, err := d.Pair(c, typ&^sockFlags, proto)
	if err != nil {
		return 0, err
	}
	mode, cloexec := sockMode(typ)
	ofa, ofb, err := c.openPair(a, b, mode, mode)
	if err != nil {
		return 0, err
	}
	return 0, c.addPair(ofa, ofb, cloexec, addr)
}

// addPair gives the caller two descriptors, in an array at addr, or no one.
func (c *Call) addPair(a, b *OpenFile, cloexec bool, addr uint64) error {
	t := &c.Proc.fds
	fda, err := t.add(a, 0, cloexec)
	if err != nil {
		b.unref()
		return err
	}
	fdb, err := t.add(b, 0, cloexec)
	if err != nil {
		t.close(fda)
		return err
	}
	order := c.k.machine.Order
	out := order.AppendUint32(order.AppendUint32(nil, uint32(fda)), uint32(fdb))
	if err := c.CopyOut(addr, out); err != nil {
		t.close(fda)
		t.close(fdb)
		return err
	}
	return nil
}

func sysBind(c *Call, _ held, s Socket) (uint64, error) {
	sa, err := c.sockaddr(c.args.Ptr(), c.args.Uint())
	if err != nil {
		return 0, err
	}
	return 0, s.Bind(sa)
}

func sysConnect(c *Call, h held, s Socket) (uint64, error) {
	sa, err := c.sockaddr(c.args.Ptr(), c.args.Uint())
	if err != nil {
		return 0, err
	}
	return 0, c.connect(h, s, sa)
}

// connect connects a socket, and waits for that unless it is not to.
func (c *Call) connect(h held, s Socket, sa []byte) error {
	err := s.Connect(sa)
	if err != netbsd.EINPROGRESS {
		return err
	}
	if h.nonblocking() {
		c.settle(h, s)
		if !c.settles {
			return err // as NetBSD says, whatever has come of it by now
		}
		return s.ConnectResult()
	}
	_, timeout := s.Timeouts()
	return c.wait(h, false, timeout, func() error {
		if err := s.ConnectResult(); err != netbsd.EINPROGRESS {
			return err
		}
		return netbsd.EAGAIN
	})
}

// settleTime is the longest that a connection to this host itself is waited for.
const settleTime = 250 * time.Millisecond

// settleStep is how often it is looked at when nothing has told of a change.
const settleStep = time.Millisecond / 2

// settleTurns is how often others have their turn before it is waited for.
const settleTurns = 4

// settle waits for a [Settler].
func (c *Call) settle(h held, s Socket) {
	st, ok := s.(Settler)
	if !ok {
		return
	}
	// Mostly it is a matter of some goroutines' turns.
	for range settleTurns {
		if !st.Settling() {
			return
		}
		runtime.Gosched()
	}
	// Both ends tell of changes, but only this one is watched.
	for end := time.Now().Add(settleTime); time.Now().Before(end) && c.ctx.Err() == nil; {
		err := c.wait(h, false, settleStep, func() error {
			if st.Settling() {
				return netbsd.EAGAIN
			}
			return nil
		})
		if err != netbsd.EAGAIN {
			return
		}
	}
}

func sysListen(c *Call, _ held, s Socket) (uint64, error) {
	return 0, s.Listen(c.args.Int())
}

func sysAccept(c *Call, h held, s Socket) (uint64, error) {
	addr, lenAddr := c.args.Ptr(), c.args.Ptr()
	return c.accept(h, s, addr, lenAddr, 0, h.nonblocking())
}

// sysPaccept: a client has no signals here, so the mask has no meaning.
func sysPaccept(c *Call, h held, s Socket) (uint64, error) {
	addr, lenAddr := c.args.Ptr(), c.args.Ptr()
	c.args.Ptr()
	return c.accept(h, s, addr, lenAddr, c.args.Int(), false)
}

// accept accepts a connection. That the new socket inherits O_NONBLOCK is accept's
// custom; paccept has a flag for it.
func (c *Call) accept(h held, s Socket, addr, lenAddr uint64, flags int32, inherit bool) (uint64, error) {
	var peer []byte
	var conn Socket
	// SO_RCVTIMEO does not count here, as in NetBSD.
	err := c.wait(h, h.nonblocking(), 0, func() (err error) {
		// One for which there would be no descriptor waits on, as on NetBSD.
		if err := c.hasRoom(); err != nil {
			return err
		}
		conn, peer, err = s.Accept()
		return err
	})
	if err != nil {
		return 0, err
	}
	of, cloexec, err := c.openSocket(conn, flags)
	if err != nil {
		return 0, err
	}
	// SIGIO is inherited with its receiver, though O_ASYNC is not.
	of.owner.Store(h.owner.Load())
	if h.isAsync() {
		of.setAsync(c.k, true)
	}
	if inherit {
		of.setFlags(netbsd.O_NONBLOCK, netbsd.O_NONBLOCK)
	}
	fd, err := c.Proc.fds.add(of, 0, cloexec)
	if err != nil {
		return 0, err
	}
	if err := c.putSockaddr(addr, lenAddr, peer); err != nil {
		c.Proc.fds.close(fd)
		return 0, err
	}
	return uint64(fd), nil
}

func sysShutdown(c *Call, _ held, s Socket) (uint64, error) {
	return 0, s.Shutdown(c.args.Int())
}

func sysGetsockname(c *Call, _ held, s Socket) (uint64, error) {
	sa, err := s.Name()
	return 0, c.putName(sa, err)
}

func sysGetpeername(c *Call, _ held, s Socket) (uint64, error) {
	sa, err := s.Peer()
	return 0, c.putName(sa, err)
}

func (c *Call) putName(sa []byte, err error) error {
	if err != nil {
		return err
	}
	addr, lenAddr := c.args.Ptr(), c.args.Ptr()
	return c.putSockaddr(addr, lenAddr, sa)
}

// maxOption is the most bytes of a socket option (MCLBYTES).
const maxOption = 2048

func sysSetsockopt(c *Call, h held, s Socket) (uint64, error) {
	level, name, addr, size := c.args.Int(), c.args.Int(), c.args.Ptr(), c.args.Uint()
	if size > maxOption {
		return 0, netbsd.EINVAL
	}
	var value []byte
	if addr != 0 {
		value = make([]byte, size)
		if err := c.CopyIn(addr, value); err != nil {
			return 0, err
		}
	}
	return 0, c.setOption(h, s, level, name, value)
}

func (c *Call) setOption(h held, s Socket, level, name int32, value []byte) error {
	if err := s.SetOption(c, level, name, value); err != nil {
		return err
	}
	if level == netbsd.SOL_SOCKET && name == netbsd.SO_NOSIGPIPE && len(value) == 4 {
		h.noSigpipe.Store(c.k.machine.Order.Uint32(value) != 0)
	}
	return nil
}

func sysGetsockopt(c *Call, _ held, s Socket) (uint64, error) {
	level, name, addr, lenAddr := c.args.Int(), c.args.Int(), c.args.Ptr(), c.args.Ptr()
	order := c.k.machine.Order
	var b [4]byte
	room := uint32(0)
	if addr != 0 {
		if err := c.CopyIn(lenAddr, b[:]); err != nil {
			return 0, err
		}
		room = order.Uint32(b[:])
	}
	value, err := s.Option(c, level, name, int(min(room, maxOption)))
	if err != nil || addr == 0 {
		return 0, err
	}
	value = value[:min(uint32(len(value)), room)]
	if err := c.CopyOut(addr, value); err != nil {
		return 0, err
	}
	order.PutUint32(b[:], uint32(len(value)))
	return 0, c.CopyOut(lenAddr, b[:])
}

func sysSendto(c *Call, h held, s Socket) (uint64, error) {
	vec, total, err := c.oneIovec()
	if err != nil {
		return 0, err
	}
	m := Message{Flags: c.args.Int()}
	to, tolen := c.args.Ptr(), c.args.Uint()
	if to != 0 {
		if m.Name, err = c.sockaddr(to, tolen); err != nil {
			return 0, err
		}
	}
	return c.transmit(h, s, vec, total, &m)
}

// transmit sends total bytes of the caller's memory as m.
func (c *Call) transmit(h held, s Socket, vec []iovec, total uint64, m *Message) (uint64, error) {
	nonblock := h.nonblocking() || m.Flags&(netbsd.MSG_DONTWAIT|netbsd.MSG_NBIO) != 0
	_, timeout := s.Timeouts()
	raise := func(err error) {
		if m.Flags&netbsd.MSG_NOSIGNAL == 0 {
			c.sigpipe(h, err)
		}
	}
	// Nobody is asked for data that can't go anywhere.
	if e, ok := s.(Ender); ok {
		if _, ended, _ := e.Ended(); ended {
			raise(netbsd.EPIPE)
			return 0, netbsd.EPIPE
		}
	}
	stream := s.SockType() == netbsd.SOCK_STREAM
	size := total
	if stream {
		size = min(total, ioChunk)
	} else if size > maxDatagram {
		return 0, netbsd.EMSGSIZE
	}
	var buf []byte
	if stream {
		k, err := c.chunk(int(size))
		if err != nil {
			return 0, err
		}
		defer c.free(k)
		buf = k.b
	} else {
		// A datagram may be on its way when the call has ended.
		var err error
		if buf, err = c.buffer(int(size)); err != nil {
			return 0, err
		}
		defer c.release(len(buf))
	}
	var done uint64
	for first := true; first || done < total; first = false {
		m.Data = buf[:min(total-done, size)]
		if err := c.gather(vec, done, m.Data); err != nil {
			return partial(done, err)
		}
		for first := true; first || len(m.Data) > 0; first = false {
			var n int
			err := c.wait(h, nonblock, timeout, func() (err error) {
				n, err = s.Send(c, m)
				return err
			})
			done += uint64(n)
			if err != nil {
				raise(err)
				return partial(done, err)
			}
			if !stream {
				return done, nil
			}
			m.Data = m.Data[n:]
			m.Control, m.Files = nil, nil
		}
	}
	return done, nil
}

func sysRecvfrom(c *Call, h held, s Socket) (uint64, error) {
	vec, total, err := c.oneIovec()
	if err != nil {
		return 0, err
	}
	m := Message{Flags: c.args.Int()}
	from, fromLen := c.args.Ptr(), c.args.Ptr()
	n, err := c.receive(h, s, vec, total, &m)
	m.dropFiles()
	if err != nil {
		return 0, err
	}
	return n, c.putSockaddr(from, fromLen, m.Name)
}

// receive takes a message of at most total bytes into the caller's memory. A
// stream gives what is there, with MSG_WAITALL all that was asked for, but not
// across control messages. The caller owns m.Files, even when receive fails.
func (c *Call) receive(h held, s Socket, vec []iovec, total uint64, m *Message) (uint64, error) {
	flags := m.Flags
	nonblock := h.nonblocking() || flags&(netbsd.MSG_DONTWAIT|netbsd.MSG_NBIO) != 0
	stream := s.SockType() == netbsd.SOCK_STREAM
	all := stream && flags&netbsd.MSG_WAITALL != 0 && flags&netbsd.MSG_PEEK == 0
	timeout, _ := s.Timeouts()
	room := min(total, maxDatagram)
	if stream {
		room = min(total, ioChunk)
	}
	var done uint64
	for {
		size := int(min(room, total-done))
		var n int
		var buf chunk
		err := c.wait(h, nonblock, timeout, func() (err error) {
			if buf, err = c.chunk(size); err != nil {
				return err
			}
			m.Data, m.Flags = buf.b, flags
			if n, err = s.Recv(c, m); err != nil {
				c.free(buf)
			}
			return err
		})
		if err == nil {
			err = c.scatter(skip(vec, done), m.Data[:min(n, size)])
			c.free(buf)
		}
		m.Data = nil
		if err != nil {
			if done > 0 {
				err = nil
			}
			return done, err
		}
		done += uint64(n)
		if !all || n == 0 || done >= total || len(m.Files) > 0 || len(m.Control) > 0 {
			return done, nil
		}
	}
}

// skip is what of vec lies behind its first n bytes.
func skip(vec []iovec, n uint64) []iovec {
	for len(vec) > 0 && n >= vec[0].size {
		n -= vec[0].size
		vec = vec[1:]
	}
	if n == 0 || len(vec) == 0 {
		return vec
	}
	rest := append([]iovec(nil), vec...)
	rest[0].base += n
	rest[0].size -= n
	return rest
}
