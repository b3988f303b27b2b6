package local

import (
	"bytes"
	"time"

	"rumptools/internal/kernel"
	"rumptools/pkg/netbsd"
)

// packet is what one send put into a socket. On a stream it is a piece, which
// is joined to others but not across control data.
type packet struct {
	data    []byte
	from    []byte // sender's address; datagrams
	control []netbsd.Cmsg
	files   []*kernel.OpenFile
}

// socket is a local socket. All fields but the watchers are guarded by d.mu.
type socket struct {
	kernel.Watchers
	d   *Domain
	typ int32
	id  uint64
	pid int32 // of the process that made it

	path   string // bound name, or ""
	addr   []byte // bound address, or nil
	peer   *socket
	queue  []packet
	queued int // bytes in queue

	rcvbuf, sndbuf int
	rcvTime        time.Duration
	sndTime        time.Duration
	options        int32 // SO_* flags that are kept only

	listening bool
	backlog   int
	accepts   []*socket
	// wasPeer is set once connected: what the end of the peer means.
	wasPeer  bool
	peerAddr []byte // nil when that was not bound
	rshut    bool   // nothing more is received
	wshut    bool   // nothing more can be sent
	closed   bool
	err      error // SO_ERROR
}

func (s *socket) Domain() int32   { return netbsd.AF_LOCAL }
func (s *socket) SockType() int32 { return s.typ }
func (s *socket) Protocol() int32 { return 0 }
func (s *socket) Type() int32     { return kernel.TypeSocket }

// connected reports whether the type makes connections.
func (s *socket) connected() bool { return s.typ != netbsd.SOCK_DGRAM }

func (s *socket) Bind(sa []byte) error {
	p, err := path(sa)
	if err != nil {
		return err
	}
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	if s.path != "" {
		return netbsd.EINVAL
	}
	if s.d.bound[p] != nil {
		return netbsd.EADDRINUSE
	}
	s.path, s.addr = p, bytes.Clone(sa)
	s.d.bound[p] = s
	return nil
}

func (s *socket) Listen(backlog int32) error {
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	switch {
	case !s.connected():
		return netbsd.EOPNOTSUPP
	case s.path == "" || s.peer != nil:
		return netbsd.EINVAL
	}
	s.listening = true
	// NetBSD's limits: none below 0, none above SOMAXCONN, and half as
	// much again before it refuses.
	s.backlog = 3*int(max(0, min(backlog, netbsd.SOMAXCONN)))/2 + 1
	return nil
}

func (s *socket) Connect(sa []byte) error {
	p, err := path(sa)
	if err != nil {
		return err
	}
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	to := s.d.bound[p]
	switch {
	case s.connected() && s.peer != nil:
		return netbsd.EISCONN
	case s.listening:
		return netbsd.EOPNOTSUPP
	case to == nil:
		return netbsd.ENOENT
	case to.typ != s.typ:
		return netbsd.EPROTOTYPE
	case !s.connected():
		s.peer, s.wasPeer, s.peerAddr = to, true, to.addr
		return nil
	case !to.listening || len(to.accepts) >= to.backlog:
		return netbsd.ECONNREFUSED
	}
	end := s.d.newSocket(s.typ, to.pid)
	end.peer, s.peer = s, end
	end.addr, end.peerAddr, s.peerAddr = to.addr, s.addr, to.addr
	end.options = to.options
	to.accepts = append(to.accepts, end)
	to.Wake(kernel.Readable)
	s.Wake(kernel.Changed)
	return nil
}

func (s *socket) ConnectResult() error { return nil }

func (s *socket) Accept() (kernel.Socket, []byte, error) {
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	if !s.listening {
		if !s.connected() {
			return nil, nil, netbsd.EOPNOTSUPP
		}
		return nil, nil, netbsd.EINVAL
	}
	if len(s.accepts) == 0 {
		if s.rshut {
			return nil, nil, netbsd.ECONNABORTED
		}
		return nil, nil, netbsd.EAGAIN
	}
	end := s.accepts[0]
	s.accepts = s.accepts[1:]
	return end, orNone(end.peerAddr), nil
}

func (s *socket) Shutdown(how int32) error {
	if how < netbsd.SHUT_RD || how > netbsd.SHUT_RDWR {
		return netbsd.EINVAL
	}
	var dropped []*kernel.OpenFile
	defer func() { release(dropped) }()
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	if how != netbsd.SHUT_WR {
		s.rshut = true
		dropped = s.d.takeAll(s.queue)
		s.queue, s.queued = nil, 0
		if s.connected() && s.peer != nil {
			s.peer.Wake(kernel.Writable)
		}
	}
	if how != netbsd.SHUT_RD {
		s.wshut = true
		if s.connected() && s.peer != nil {
			s.peer.rshut = true
			s.peer.Wake(kernel.Readable)
		}
	}
	s.Wake(kernel.Changed)
	return nil
}

// orNone is an address, or that of a socket that has none.
func orNone(sa []byte) []byte {
	if sa == nil {
		return noAddress
	}
	return sa
}

func (s *socket) Name() ([]byte, error) {
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	return orNone(s.addr), nil
}

func (s *socket) Peer() ([]byte, error) {
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	if s.peer == nil {
		return nil, netbsd.ENOTCONN
	}
	return orNone(s.peerAddr), nil
}

func (s *socket) Timeouts() (recv, send time.Duration) {
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	return s.rcvTime, s.sndTime
}

// maxPackets is how many packets a socket holds for its reader, whatever their
// size: the real kernel has a similar limit on buffers (sb_mbmax).
func (s *socket) maxPackets() int { return max(2, s.rcvbuf/128) }

// Send implements [kernel.Socket].
func (s *socket) Send(_ *kernel.Call, m *kernel.Message) (int, error) {
	var garbage []*kernel.OpenFile
	defer func() { release(garbage) }()
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	if s.wshut {
		return 0, netbsd.EPIPE
	}
	to := s.peer
	if len(m.Name) > 0 {
		if s.connected() {
			if to != nil {
				return 0, netbsd.EISCONN
			}
			return 0, netbsd.EOPNOTSUPP
		}
		if to != nil {
			return 0, netbsd.EISCONN
		}
		p, err := path(m.Name)
		if err != nil {
			return 0, err
		}
		if to = s.d.bound[p]; to == nil {
			return 0, netbsd.ENOENT
		}
		if to.typ != s.typ {
			return 0, netbsd.EPROTOTYPE
		}
	}
	if to == nil {
		switch {
		case !s.connected() && s.wasPeer:
			return 0, netbsd.ECONNREFUSED
		case !s.connected():
			return 0, netbsd.EDESTADDRREQ
		case s.wasPeer:
			return 0, netbsd.EPIPE
		}
		return 0, netbsd.ENOTCONN
	}
	if to.rshut {
		if s.connected() {
			return 0, netbsd.EPIPE
		}
		return 0, netbsd.ENOBUFS
	}
	data := m.Data
	room := to.rcvbuf - to.queued
	switch {
	case len(to.queue) >= to.maxPackets() && s.connected():
		return 0, netbsd.EAGAIN
	case len(to.queue) >= to.maxPackets():
		return 0, netbsd.ENOBUFS
	case s.typ == netbsd.SOCK_STREAM:
		if room <= 0 && len(data) > 0 {
			return 0, netbsd.EAGAIN
		}
		data = data[:min(len(data), room)]
	case len(data) > s.sndbuf:
		return 0, netbsd.EMSGSIZE
	case len(data) > room && s.connected():
		return 0, netbsd.EAGAIN
	case len(data) > room:
		return 0, netbsd.ENOBUFS
	}
	if len(m.Control) > 0 {
		// All but SCM_RIGHTS, whose files are in m.Files.
		return 0, netbsd.EINVAL
	}
	if n := len(m.Files); n > 0 {
		var err error
		if garbage, err = s.d.addRights(n); err != nil {
			return 0, err
		}
	}
	p := packet{data: append([]byte(nil), data...), control: m.Control, files: m.Files}
	if !s.connected() {
		p.from = orNone(s.addr)
	}
	to.put(p)
	return len(data), nil
}

// put queues a packet for s's reader; d.mu is held.
func (s *socket) put(p packet) {
	s.queued += len(p.data)
	if n := len(s.queue); s.typ == netbsd.SOCK_STREAM && n > 0 && len(p.files) == 0 && len(p.control) == 0 {
		last := &s.queue[n-1]
		if len(last.files) == 0 && len(last.control) == 0 {
			last.data = append(last.data, p.data...)
			s.Wake(kernel.Readable)
			return
		}
	}
	if s.typ == netbsd.SOCK_STREAM && len(p.data) == 0 && len(p.files) == 0 {
		return
	}
	s.queue = append(s.queue, p)
	s.Wake(kernel.Readable)
}

// Recv implements [kernel.Socket].
func (s *socket) Recv(_ *kernel.Call, m *kernel.Message) (int, error) {
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	if len(s.queue) == 0 {
		switch {
		case s.err != nil:
			err := s.err
			s.err = nil
			return 0, err
		case s.rshut:
			m.Flags = 0
			return 0, nil
		case s.connected() && s.peer == nil && !s.wasPeer:
			return 0, netbsd.ENOTCONN
		}
		return 0, netbsd.EAGAIN
	}
	peek := m.Flags&netbsd.MSG_PEEK != 0
	m.Flags = 0
	p := &s.queue[0]
	n := copy(m.Data, p.data)
	m.Name = p.from
	m.Control = p.control
	if peek {
		// Descriptors are given to one receiver only.
		if n < len(p.data) && s.typ != netbsd.SOCK_STREAM {
			m.Flags |= netbsd.MSG_TRUNC
		}
		return n, nil
	}
	m.Files, p.control = s.d.takeFiles(p), nil
	if s.typ == netbsd.SOCK_STREAM && n < len(p.data) {
		p.data = p.data[n:]
		s.queued -= n
	} else {
		if n < len(p.data) {
			m.Flags |= netbsd.MSG_TRUNC
		}
		if s.typ == netbsd.SOCK_SEQPACKET {
			m.Flags |= netbsd.MSG_EOR
		}
		s.queued -= len(p.data)
		s.queue = s.queue[1:]
	}
	if s.peer != nil {
		s.peer.Wake(kernel.Writable)
	}
	return n, nil
}

func (s *socket) Read(p []byte) (int, error) {
	m := kernel.Message{Data: p}
	n, err := s.Recv(nil, &m)
	release(m.Files)
	return n, err
}

func (s *socket) Write(p []byte) (int, error) { return s.Send(nil, &kernel.Message{Data: p}) }

func (s *socket) Ioctl(c *kernel.Call, cmd uint32, data []byte) error {
	m := c.Machine()
	switch cmd {
	case netbsd.FIONREAD.Cmd(m):
		read, _ := s.Pending()
		m.Order.PutUint32(data, uint32(read))
		return nil
	case netbsd.FIONWRITE.Cmd(m):
		// What was sent is with its receiver already.
		m.Order.PutUint32(data, 0)
		return nil
	case netbsd.FIONSPACE.Cmd(m):
		_, room := s.Pending()
		m.Order.PutUint32(data, uint32(room))
		return nil
	case netbsd.SIOCATMARK.Cmd(m):
		m.Order.PutUint32(data, 0)
		return nil
	}
	return netbsd.EOPNOTSUPP
}

func (s *socket) Stat() (netbsd.Stat, error) {
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	return netbsd.Stat{Mode: netbsd.S_IFSOCK, Blksize: int32(s.sndbuf)}, nil
}

func (s *socket) Poll() (ev kernel.Events) {
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	if len(s.queue) > 0 || s.rshut || len(s.accepts) > 0 || s.err != nil {
		ev |= netbsd.POLLIN | netbsd.POLLRDNORM
	}
	if s.writable() {
		ev |= netbsd.POLLOUT | netbsd.POLLWRNORM
	}
	return ev
}

// writable reports whether a send would not wait, be it that it fails; d.mu is
// held.
func (s *socket) writable() bool {
	if s.wshut || s.err != nil {
		return true
	}
	if !s.connected() {
		return true
	}
	if s.peer == nil {
		return s.wasPeer
	}
	p := s.peer
	return p.rshut || len(p.queue) < p.maxPackets() && p.rcvbuf-p.queued >= min(p.rcvbuf, 2048)
}

func (s *socket) Pending() (read, write int64) {
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	if s.listening {
		return int64(len(s.accepts)), 0
	}
	read = int64(s.queued)
	if s.typ != netbsd.SOCK_STREAM && len(s.queue) > 0 {
		read = int64(len(s.queue[0].data))
	}
	write = int64(s.sndbuf)
	if s.connected() && s.peer != nil {
		write = int64(max(0, s.peer.rcvbuf-s.peer.queued))
	}
	return read, write
}

// Ended implements [kernel.Ender].
func (s *socket) Ended() (read, write bool, err error) {
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	gone := s.connected() && s.wasPeer && s.peer == nil
	return s.rshut, s.wshut || gone, s.err
}

func (s *socket) Close() error {
	s.d.mu.Lock()
	files := s.d.takeAll(s.close())
	s.d.mu.Unlock()
	release(files)
	return nil
}

// close ends s and gives what nobody received; d.mu is held.
func (s *socket) close() []packet {
	if s.closed {
		return nil
	}
	s.closed = true
	delete(s.d.sockets, s)
	if s.path != "" && s.d.bound[s.path] == s {
		delete(s.d.bound, s.path)
	}
	queue := s.queue
	s.queue, s.queued = nil, 0
	for _, end := range s.accepts {
		queue = append(queue, end.close()...)
	}
	s.accepts = nil
	s.rshut, s.wshut = true, true
	if p := s.peer; p != nil && s.connected() {
		s.peer = nil
		p.peer, p.rshut, p.wasPeer = nil, true, true
		p.Wake(kernel.Changed)
	}
	if !s.connected() {
		for other := range s.d.sockets {
			if other.peer == s {
				other.peer = nil
				other.err = netbsd.ECONNRESET
				other.Wake(kernel.Changed)
			}
		}
	}
	s.Wake(kernel.Changed)
	return queue
}
