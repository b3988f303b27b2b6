package lend

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"math"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"rumptools/internal/label"
	"rumptools/internal/sidefile"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// datagrams is what a Loan of datagrams has. What comes for a program that has connected its
// socket, S, goes to S by K, the socket that S is connected to and that is connected to S,
// and what S sends is read from K. Otherwise each datagram goes by a socket that stands for
// its sender, whose name tells of that.
//
// What has come stays in the kernel's socket while S has no room, but for one datagram.
// Room is told by the host, of the one socket that it is waited for with.
type datagrams struct {
	l     *Loan
	s     Datagrams
	peer  []byte // whom K is for, nil without K
	along bool   // control messages come along by K, in a file
	path  string // where S is reached, "" with K

	// With labels S is a UDP socket and K is for whatever comes.
	labels *label.Writer
	table  int
	closed bool // S is, as the host or the client has told
	// last is what was sent last, if anything was (it has a sender then). That it was refused, for S had been closed, the host
	// tells afterwards: by the next call, or by an event.
	last    Datagram
	refused bool

	first Datagram // waits for room in S
	waits bool     // it does
	room  bool     // K is watched for room
	again bool     // it may be tried again: pass has left it
	err   error    // that the loan is to end with: pass may not end it

	number  [6]byte // of the loan, in names
	serial  uint32  // of the newest sender
	senders map[string]*sender
	newest  *sender
	oldest  *sender
	key     []byte // to be used again
}

// sender is a socket of the host's that stands for the sender of datagrams.
type sender struct {
	fd           int
	key          string  // its name without what makes that unique
	newer, older *sender // as they were used
	watched      bool    // it is in the epoll
}

// allSenders is how many there are.
var allSenders atomic.Int32

// NewDatagramLoan makes a loan of a descriptor that leads to a program's socket S: of S's
// path, opened with O_PATH, or of a socket that is connected to S; along says that by the latter control messages
// are sent along (package sidefile). The rest is as in NewLoan.
func (p *Pump) NewDatagramLoan(fd int, along bool, open func(notify func(Events)) (Datagrams, error), ended func(End, error), closed func()) (*Loan, error) {
	l := &Loan{p: p, fd: fd, ended: ended, closed: closed}
	d := &datagrams{l: l, along: along, table: -1}
	l.dg = d
	connected := isLocalDatagram(fd)
	if !connected {
		d.path = fmt.Sprintf("/proc/self/fd/%d", fd)
		d.senders = make(map[string]*sender)
		rand.Read(d.number[:])
		// It is tried, for one who gives a path that leads nowhere is told at once.
		probe, err := d.connect(nil)
		if err != nil {
			return nil, ErrHostDatagrams
		}
		unix.Close(probe)
	}
	l.state.Store(running)
	s, err := open(l.Notify)
	if err != nil {
		return nil, err
	}
	d.s = s
	if connected {
		if d.peer = s.Peer(); d.peer == nil {
			s.Release()
			return nil, netbsd.ENOTCONN
		}
	}
	var events uint32
	if connected {
		events = unix.EPOLLIN
	}
	if err := p.add(l, events); err != nil {
		s.Release()
		return nil, err
	}
	return l, nil
}

// NewLabelledLoan is NewDatagramLoan for a program's socket that is a UDP socket of the host's. parcel is a
// descriptor of a local socket at which a message with those of K and of a table waits.
func (p *Pump) NewLabelledLoan(parcel int, open func(notify func(Events)) (Datagrams, error), ended func(End, error), closed func()) (*Loan, error) {
	k, table, ok := unpack(parcel)
	if !ok {
		return nil, ErrHostDatagrams
	}
	l := &Loan{p: p, fd: k, ended: ended, closed: closed}
	d := &datagrams{l: l, labels: label.NewWriter(table, label.First), table: table}
	l.dg = d
	l.state.Store(running)
	var err error
	if d.s, err = open(l.Notify); err == nil {
		if err = p.add(l, unix.EPOLLIN); err != nil {
			d.s.Release()
		}
	}
	if err != nil {
		unix.Close(k)
		unix.Close(table)
		return nil, err
	}
	unix.Close(parcel)
	return l, nil
}

// unpack takes the descriptors out of a parcel.
func unpack(parcel int) (k, table int, ok bool) {
	oob := make([]byte, unix.CmsgSpace(2*4))
	n, oobn, _, _, err := unix.Recvmsg(parcel, make([]byte, 1), oob, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	if err != nil || n != 1 {
		return -1, -1, false
	}
	var files []int
	messages, _ := unix.ParseSocketControlMessage(oob[:oobn])
	for i := range messages {
		got, _ := unix.ParseUnixRights(&messages[i])
		files = append(files, got...)
	}
	if len(files) == 2 && isUDP(files[0]) && label.IsTable(files[1]) {
		return files[0], files[1], true
	}
	for _, fd := range files {
		unix.Close(fd)
	}
	return -1, -1, false
}

// isUDP tells whether a descriptor is of a UDP socket of IPv4 that is connected: to send by it does not wait.
func isUDP(fd int) bool {
	for name, want := range map[int]int{unix.SO_DOMAIN: unix.AF_INET, unix.SO_PROTOCOL: unix.IPPROTO_UDP} {
		if v, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, name); err != nil || v != want {
			return false
		}
	}
	_, err := unix.Getpeername(fd)
	return err == nil
}

// isLocalDatagram tells whether a descriptor is of a local socket for datagrams that is
// connected.
func isLocalDatagram(fd int) bool {
	for name, want := range map[int]int{unix.SO_DOMAIN: unix.AF_UNIX, unix.SO_TYPE: unix.SOCK_DGRAM} {
		if v, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, name); err != nil || v != want {
			return false
		}
	}
	_, err := unix.Getpeername(fd)
	return err == nil
}

// TakeBack ends a loan of datagrams, if it has not ended, once all that the program has sent
// up to now is sent. closed says that the program has closed its socket, which the host may not have told.
func (l *Loan) TakeBack(closed bool) {
	bits := taken
	if closed {
		bits = hostGone
	}
	if l.note(bits) {
		l.run()
	}
}

// handle is Loan.handle.
func (d *datagrams) handle(bits uint32) (n int) {
	l := d.l
	switch {
	case l.over:
		return 0
	case d.err != nil:
		d.end(Failed, d.err)
		return 0
	case d.closed, bits&hostGone != 0:
		d.finish()
		return 0
	case bits&revoked != 0:
		d.end(Revoked, nil)
		return 0
	case bits&taken != 0:
		if d.up(math.MaxInt, maxUp); !l.over {
			d.end(Revoked, nil)
		}
		return 0
	}
	if bits&(hostIn|hostErr|hostHup) != 0 {
		n += d.up(turnBytes, math.MaxInt)
	}
	if bits&(streamIn|streamBad|hostOut) != 0 && !l.over {
		n += d.down(bits&hostOut != 0)
	}
	return n
}

// maxPass is how many datagrams are passed on by who brings them.
const maxPass = 4

// notified is Loan.Notify: something has come. Most often it can be given to the program at once, and by who
// brings it, for a worker that has to be woken would take longer than all the rest.
func (d *datagrams) notified() {
	if d.l.note(streamIn) && !d.pass() {
		d.l.p.queue(d.l)
	}
}

// pass gives the program what has come, with locks held: it does nothing but receive and send. It reports whether
// it has let the loan go; else there is something left for a worker.
func (d *datagrams) pass() bool {
	l := d.l
	if bits := l.state.Swap(running) &^ running; bits != streamIn || l.over {
		l.note(bits)
		return false
	}
	for range maxPass {
		if d.waits {
			break
		}
		g, err := d.s.Recv()
		if err == netbsd.EAGAIN {
			return l.state.CompareAndSwap(running, 0)
		}
		if err != nil {
			d.err = err
			break
		}
		if !d.passOne(&g) {
			d.first, d.waits, d.again = g, true, true
		}
	}
	if d.waits && !d.again {
		return l.state.CompareAndSwap(running, 0) // who has room tells
	}
	l.note(streamIn)
	return false
}

// passOne gives the program a datagram if that is all that there is to do.
func (d *datagrams) passOne(g *Datagram) bool {
	fd := d.l.fd
	switch {
	case d.labels != nil:
		return d.sendLabelled(g)
	case d.peer == nil:
		d.name(g)
		s := d.senders[string(d.key)]
		if s == nil {
			return false
		}
		d.use(s)
		fd = s.fd
	case !bytes.Equal(g.From, d.peer):
		return true // as in put
	case len(g.Control) > 0 && !d.along:
		return false
	}
	for {
		e := d.send(fd, g)
		if e != unix.EINTR && e != unix.ECONNRESET {
			return e == 0
		}
	}
}

// down gives the program what has come. host tells whether the host may have room.
func (d *datagrams) down(host bool) (n int) {
	if d.waits && !host && !d.again {
		return 0
	}
	d.again = false
	if host && d.room {
		// Each datagram that the program takes would tell of room.
		d.room = false
		d.l.watch(unix.EPOLLIN)
	}
	for n < turnBytes {
		if d.l.over {
			return n
		}
		if !d.waits {
			var err error
			if d.first, err = d.s.Recv(); err == netbsd.EAGAIN {
				return n
			} else if err != nil {
				d.end(Failed, err)
				return n
			}
			d.waits = true
		}
		if !d.put(&d.first) {
			return n
		}
		n += len(d.first.Data) + turnDatagram
		d.first, d.waits = Datagram{}, false
	}
	d.l.note(streamIn)
	return n
}

// put gives the program a datagram. It reports whether the datagram is done with.
func (d *datagrams) put(g *Datagram) bool {
	if d.labels != nil {
		if !d.sendLabelled(g) {
			d.finish()
			return false
		}
		return true
	}
	if d.peer != nil {
		switch {
		case !bytes.Equal(g.From, d.peer):
			return true // from before the socket was connected; S takes none from others
		case len(g.Control) > 0 && !d.along:
			d.end(Control, nil)
			return false
		}
		return d.write(d.l.fd, g, func() bool {
			d.room = true
			d.l.watch(unix.EPOLLIN | unix.EPOLLOUT)
			return true
		})
	}
	s := d.sender(g)
	if s == nil {
		return true // it is lost, as datagrams may be
	}
	return d.write(s.fd, g, func() bool {
		op := unix.EPOLL_CTL_ADD
		if s.watched {
			op = unix.EPOLL_CTL_MOD
		}
		s.watched = d.l.p.control(op, s.fd, d.l.id, unix.EPOLLOUT|unix.EPOLLONESHOT) == nil
		return s.watched
	})
}

// write writes a datagram to S, or has room watched for. It reports whether the datagram is
// done with.
func (d *datagrams) write(fd int, g *Datagram, watch func() bool) bool {
	for {
		e := d.send(fd, g)
		switch e {
		case unix.EINTR, unix.ECONNRESET: // K had an error of S's: it is told once
			continue
		case unix.EAGAIN:
			return !watch()
		case unix.ECONNREFUSED, unix.ENOTCONN:
			d.finish()
			return false
		}
		// What S does not take is lost: it has shut down its half, has connected
		// itself to somebody else, or the host has no memory.
		return true
	}
}

// sendLabelled sends a datagram to an S that is a UDP socket. It reports false when that is closed. There is nothing to wait
// for: what S has no room for is lost, as with any UDP socket.
func (d *datagrams) sendLabelled(g *Datagram) bool {
	var control []byte
	if len(g.Control) > 0 {
		control = d.s.Encode(g.Control)
	}
	number, err := d.labels.Label(g.From, control)
	if err != nil {
		return true // it is lost: the host has no memory for the table
	}
	// S is in a network where nothing refuses but a socket that is no more.
	if !d.closed && label.Send(d.l.fd, g.Data, number) == unix.ECONNREFUSED {
		d.closed, d.refused = true, true
	}
	if d.closed {
		return false
	}
	d.last = *g
	return true
}

// send sends a datagram to S, with its control messages if it is by K: else they are in the sender's name.
func (d *datagrams) send(fd int, g *Datagram) syscall.Errno {
	if d.peer != nil && len(g.Control) > 0 {
		err := sidefile.Send(fd, g.Data, d.s.Encode(g.Control))
		e, _ := err.(syscall.Errno)
		return e
	}
	_, e := sendDatagram(fd, g.Data)
	return e
}

// up sends what the program has sent, for about so many bytes of a turn, and at most so many datagrams.
func (d *datagrams) up(turn, most int) (n int) {
	if d.peer == nil && d.labels == nil {
		return 0
	}
	buf := buffers.Get().(*[keep]byte)
	defer buffers.Put(buf)
	for ; n < turn && most > 0; most-- {
		m, e := recvfrom(d.l.fd, buf[:], 0)
		switch e {
		case 0:
		case unix.EINTR, unix.ECONNRESET: // S has been connected anew
			n += turnDatagram
			continue
		case unix.ECONNREFUSED: // S, with labels, is closed
			d.refused = true
			if !d.closed {
				d.finish()
				return n
			}
			n += turnDatagram
			continue
		default:
			return n
		}
		n += m + turnDatagram
		// Without room a datagram is lost.
		if err := d.s.Send(buf[:m]); err != nil && err != netbsd.ENOBUFS && err != netbsd.EAGAIN && !d.closed {
			d.end(Failed, err)
			return n
		}
	}
	d.l.note(hostIn)
	return n
}

// finish ends the loan of a program that has closed S, which has the kernel abandon its socket. What S has sent
// before comes first.
func (d *datagrams) finish() {
	d.closed = true
	d.up(math.MaxInt, maxUp)
	d.end(Closed, nil)
}

// sender gives the socket that stands for a datagram's sender, or nil when there can be
// none.
func (d *datagrams) sender(g *Datagram) *sender {
	o := d.name(g)
	if s := d.senders[string(d.key)]; s != nil {
		d.use(s)
		return s
	}
	most := maxSenders
	if allSenders.Load() >= maxAllSenders {
		most = 1
	}
	for len(d.senders) >= most {
		d.drop(d.oldest)
	}
	for {
		fd, err := d.connect(&o)
		if err == nil {
			s := &sender{fd: fd, key: string(d.key)}
			allSenders.Add(1)
			d.senders[s.key] = s
			d.use(s)
			return s
		}
		switch err {
		case unix.EADDRINUSE: // the next has another name
		case unix.ECONNREFUSED:
			d.end(Closed, nil)
			return nil
		default:
			// Perhaps there are no descriptors left.
			if d.oldest == nil {
				return nil
			}
			d.drop(d.oldest)
		}
	}
}

// name makes key what the name of a datagram's sender is without what makes that unique.
func (d *datagrams) name(g *Datagram) sysproxy.Origin {
	o := sysproxy.Origin{From: g.From}
	if len(g.Control) > 0 {
		o.Control = make([]sysproxy.Control, len(g.Control))
		for i, c := range g.Control {
			o.Control[i] = sysproxy.Control(c)
		}
	}
	var none [10]byte
	d.key = o.AppendName(d.key[:0], none[:])
	return o
}

// connect makes a socket that is connected to S, with a name if it stands for somebody.
func (d *datagrams) connect(o *sysproxy.Origin) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, err
	}
	if o != nil {
		d.serial++
		serial := sysproxy.NameSerial(d.number, d.serial)
		err = unix.Bind(fd, &unix.SockaddrUnix{Name: "@" + string(o.AppendName(nil, serial[:]))})
	}
	if err == nil {
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: d.path})
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// use makes a sender the newest.
func (d *datagrams) use(s *sender) {
	if d.newest == s {
		return
	}
	d.unlink(s)
	if s.older = d.newest; s.older != nil {
		s.older.newer = s
	} else {
		d.oldest = s
	}
	d.newest = s
}

// unlink takes a sender out of the order, if it is in.
func (d *datagrams) unlink(s *sender) {
	if s.newer != nil {
		s.newer.older = s.older
	} else if d.newest == s {
		d.newest = s.older
	}
	if s.older != nil {
		s.older.newer = s.newer
	} else if d.oldest == s {
		d.oldest = s.newer
	}
	s.newer, s.older = nil, nil
}

// drop closes a sender. What it has sent and S has not read keeps its name.
func (d *datagrams) drop(s *sender) {
	d.unlink(s)
	delete(d.senders, s.key)
	unix.Close(s.fd)
	allSenders.Add(-1)
}

// end ends the loan.
func (d *datagrams) end(how End, err error) {
	l := d.l
	if l.over {
		return
	}
	l.over = true
	var undelivered []Datagram
	if how == Closed {
		if d.refused && d.last.From != nil {
			undelivered = append(undelivered, d.last)
		}
		if d.waits {
			undelivered = append(undelivered, d.first)
		}
	} else if d.waits {
		d.s.Unread(d.first)
	}
	d.first, d.waits, d.last = Datagram{}, false, Datagram{}
	d.s.Release()
	if how == Closed {
		d.s.Abandon(undelivered)
	}
	for d.oldest != nil {
		d.drop(d.oldest)
	}
	if d.peer != nil || d.labels != nil {
		l.p.control(unix.EPOLL_CTL_DEL, l.fd, l.id, 0)
	}
	if d.table >= 0 {
		unix.Close(d.table)
	}
	l.p.forget(l)
	l.release()
	l.ended(how, err)
}

func sendDatagram(fd int, p []byte) (int, syscall.Errno) {
	n, _, e := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))),
		uintptr(len(p)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	return int(n), e
}
