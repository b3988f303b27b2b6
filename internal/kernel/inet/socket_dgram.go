package inet

import (
	"rumptools/internal/kernel"
	"rumptools/pkg/netbsd"
)

// dgramSocket is what UDP and raw sockets have in common: whole messages with
// their senders' addresses.
type dgramSocket struct {
	socket
	noStream

	// local and remote are the control block's addresses; a raw socket has
	// no ports.
	local, remote endpoint
	queue         []datagram
	size          int // bytes in queue (sb_cc)
	lent          bool
	abandoned     bool // nothing is received any more
	flags
}

// initDatagrams is init of a socket for datagrams.
func (so *dgramSocket) initDatagrams(s *Stack, m *netbsd.Machine, family, typ, proto int32, send, recv int) {
	so.init(s, m, family, typ, proto, send, recv)
	so.allGroups4.Store(true)
	so.allGroups6.Store(true)
}

// datagram is a received message.
type datagram struct {
	from    []byte // sockaddr
	control []netbsd.Cmsg
	data    []byte
	packet  *packet // which it came in, of UDP
}

// size is the bytes that the datagram takes of the buffer: NetBSD counts
// address and control messages as well, and shows it in FIONREAD and kqueue.
func (d *datagram) size(m *netbsd.Machine) int {
	n := len(d.from) + len(d.data)
	for _, c := range d.control {
		n += netbsd.CmsgSpace(m, len(c.Data))
	}
	return n
}

// deliver puts a message into the socket's buffer (sbappendaddr). It tells
// whether there was room.
func (so *dgramSocket) deliver(d datagram) bool {
	so.mu.Lock()
	n := d.size(so.m)
	fits := !so.closed && !so.abandoned && !so.cantRecv && n <= so.rcv.hiwat-so.size
	if fits {
		so.queue = append(so.queue, d)
		so.size += n
	}
	so.mu.Unlock()
	if fits {
		so.Wake(kernel.Readable)
	}
	return fits
}

// fail sets so_error, for an error that came back from the network.
func (so *dgramSocket) fail(err netbsd.Errno) {
	so.mu.Lock()
	so.err = err
	so.mu.Unlock()
	so.Wake(kernel.Changed)
}

// Recv implements [kernel.Socket].
func (so *dgramSocket) Recv(_ *kernel.Call, m *kernel.Message) (int, error) {
	if m.Flags&netbsd.MSG_OOB != 0 {
		return 0, netbsd.EOPNOTSUPP
	}
	m.Name, m.Control, m.Files = nil, nil, nil
	m.Flags &^= netbsd.MSG_EOR
	peek := m.Flags&netbsd.MSG_PEEK != 0
	so.mu.Lock()
	defer so.mu.Unlock()
	if len(so.queue) == 0 {
		switch {
		case so.err != 0 && peek:
			return 0, so.err
		case so.err != 0:
			return 0, so.takeError()
		case so.cantRecv, len(m.Data) == 0:
			return 0, nil
		}
		return 0, netbsd.EAGAIN
	}
	d := &so.queue[0]
	n := copy(m.Data, d.data)
	m.Name, m.Control = d.from, d.control
	if n < len(d.data) {
		m.Flags |= netbsd.MSG_TRUNC
	}
	if !peek {
		so.pop()
	}
	return n, nil
}

// reach is the error that a datagram to the peer would meet before it leaves: there is no route,
// or it is a broadcast and none may be sent.
func (so *dgramSocket) reach() netbsd.Errno {
	s := so.stack
	so.mu.Lock()
	dst := unmapped(so.remote.addr)
	mayBroadcast := so.typ == netbsd.SOCK_RAW || so.options&netbsd.SO_BROADCAST != 0
	nic := so.boundNIC()
	switch {
	case nic != 0 || !dst.IsMulticast():
	case dst.Is4():
		nic = so.ip4.mcastIf
	default:
		nic = so.ip6.mcastIf
	}
	so.mu.Unlock()
	switch {
	case !dst.IsValid(), nic != 0, hasIndex(dst):
		return 0
	case dst.Is4() && s.isBroadcast(dst) && !mayBroadcast:
		return netbsd.EACCES
	}
	t := &s.routes
	t.mu.RLock()
	defer t.mu.RUnlock()
	if rt := t.findLocked(dst); rt == nil || rt.is(netbsd.RTF_REJECT) {
		return netbsd.EHOSTUNREACH
	}
	return 0
}

// pop takes the first message out of the buffer; so.mu is held.
func (so *dgramSocket) pop() datagram {
	d := so.queue[0]
	so.size -= d.size(so.m)
	so.queue[0] = datagram{}
	so.queue = so.queue[1:]
	if len(so.queue) == 0 {
		so.queue = nil
	}
	return d
}

// Read implements [kernel.File].
func (so *dgramSocket) Read(p []byte) (int, error) {
	return so.Recv(nil, &kernel.Message{Data: p})
}

// sendable checks what is the same for all messages (sosend); so.mu is held.
func (so *dgramSocket) sendable(m *kernel.Message) error {
	size := 0
	for _, c := range m.Control {
		size += netbsd.CmsgSpace(so.m, len(c.Data))
	}
	switch {
	case so.closed, so.cantSend:
		return netbsd.EPIPE
	case so.err != 0:
		return so.takeError()
	case !so.connected && len(m.Name) == 0:
		return netbsd.EDESTADDRREQ
	case len(m.Data) > so.snd.hiwat, size > so.snd.hiwat:
		return netbsd.EMSGSIZE
	case m.Flags&netbsd.MSG_OOB != 0:
		return netbsd.EOPNOTSUPP
	}
	return nil
}

// Poll implements [kernel.File].
func (so *dgramSocket) Poll() (ev kernel.Events) {
	so.mu.Lock()
	defer so.mu.Unlock()
	if so.size >= so.rcv.lowat || so.cantRecv || so.err != 0 {
		ev |= pollRead
	}
	if so.snd.hiwat >= so.snd.lowat || so.cantSend || so.err != 0 {
		ev |= pollWrite
	}
	return ev
}

// Pending implements [kernel.File]. What is sent leaves at once, so the send
// buffer is always empty.
func (so *dgramSocket) Pending() (read, write int64) {
	so.mu.Lock()
	defer so.mu.Unlock()
	return int64(so.size), int64(so.snd.hiwat)
}

// Ended implements [kernel.Ender].
func (so *dgramSocket) Ended() (read, write bool, err error) {
	so.mu.Lock()
	defer so.mu.Unlock()
	return so.ended()
}

// Ioctl implements [kernel.File].
func (so *dgramSocket) Ioctl(c *kernel.Call, cmd uint32, data []byte) error {
	queued, _ := so.Pending()
	return so.ioctl(c, cmd, data, int(queued), 0)
}

// Shutdown implements [kernel.Socket].
func (so *dgramSocket) Shutdown(how int32) error {
	read, write, err := shutdownHow(how)
	if err != nil {
		return err
	}
	so.mu.Lock()
	if read {
		so.cantRecv = true
		so.queue, so.size = nil, 0
	}
	if write {
		so.cantSend = true
	}
	so.mu.Unlock()
	so.Wake(kernel.Changed)
	return nil
}

// Name implements [kernel.Socket].
func (so *dgramSocket) Name() ([]byte, error) {
	so.mu.Lock()
	defer so.mu.Unlock()
	return so.local.sockaddr(so.m, so.family), nil
}

// Peer implements [kernel.Socket].
func (so *dgramSocket) Peer() ([]byte, error) {
	so.mu.Lock()
	defer so.mu.Unlock()
	if !so.connected {
		return nil, netbsd.ENOTCONN
	}
	return so.remote.sockaddr(so.m, so.family), nil
}

// finish frees what the socket holds when it is closed.
func (so *dgramSocket) finish() {
	so.mu.Lock()
	so.closed, so.cantRecv, so.cantSend = true, true, true
	so.queue, so.size = nil, 0
	so.mu.Unlock()
	so.groups4.clear(so.stack)
	so.groups6.clear(so.stack)
	so.Wake(kernel.Changed)
}

// pcbSeq implements pcb.
func (so *dgramSocket) pcbSeq() uint64 { return so.seq }
