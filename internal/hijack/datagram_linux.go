//go:build amd64 || arm64

package hijack

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// A socket for datagrams is one of the host's that is bound to a path. What comes from
// the kernel is sent to that path, by a socket of the host's for each sender, whose
// name leads to the sender's address; so each datagram has its own. Once the program
// connects S, it and K are connected to each other: what the program sends then
// without an address comes to K.

// maxOrigins is how many senders are kept for one S. Fewer datagrams than that wait in
// S, so that the name of each that does is known.
const maxOrigins = 128

// origin is a sender, for S.
type origin struct {
	file    *os.File // the socket that stands for it
	name    string   // that socket's
	addr    []byte   // Linux's
	control []byte   // NetBSD's control messages that came along
	key     string
}

// origins are the senders of datagrams for one S.
type origins struct {
	byKey  map[string]*origin
	byName map[string]*origin
	order  []*origin
}

func (o *origins) close() {
	for _, from := range o.order {
		from.file.Close()
	}
}

// open makes sure that a socket for datagrams receives.
func (x *socket) open(host int) unix.Errno {
	x.mu.Lock()
	receiving := x.receiving
	x.mu.Unlock()
	if receiving {
		return 0
	}
	x.op.Lock()
	defer x.op.Unlock()
	_, e := x.kernel()
	if e == 0 {
		e = x.named(host)
	}
	if e == 0 {
		e = x.receive()
	}
	return e
}

// receive starts to give S the datagrams that come.
func (x *socket) receive() unix.Errno {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.receiving || x.ks == nil {
		return 0
	}
	x.receiving = true
	go x.deliver(x.ks, x.path)
	return 0
}

// deliver gives S what comes from the kernel.
func (x *socket) deliver(ks *spclient.NetSocket, path string) {
	o := &origins{byKey: make(map[string]*origin), byName: make(map[string]*origin)}
	x.mu.Lock()
	x.origins = o
	x.mu.Unlock()
	defer func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		o.close()
		x.receiving = false
	}()
	buf := make([]byte, maxDatagram)
	name, control := make([]byte, 128), make([]byte, 512)
	for {
		switch x.exchange(ks, path) {
		case anew:
			continue
		case lost:
			if ks = x.again(); ks == nil {
				return
			}
			continue
		case over:
			return
		}
		m := spclient.Message{Name: name, Buffers: [][]byte{buf}, Control: control}
		only := onlyPeer{x: x}
		n, err := ks.Receive(x.s.ctx, &m, only.wanted)
		if only.peer != nil {
			m.Name = only.peer
		}
		if err != nil {
			if errors.Is(err, net.ErrClosed) || x.s.ctx.Err() != nil || x.isEnded() {
				return
			}
			if errors.Is(err, spclient.ErrLost) {
				if ks = x.again(); ks == nil {
					return
				}
				continue
			}
			// An ICMP error.
			if !x.hearsErrors() {
				x.complain(linuxsock.Errno(err))
			}
			continue
		}
		only.received(n)
		data := buf[:n]
		switch {
		case x.ping():
			var mine bool
			if data, _, mine = x.opts.FromPing(x.pingID, data); !mine {
				continue
			}
		case x.rawPacket():
			x.optMu.Lock()
			mine := x.opts.FromRaw(x.s.machine, data)
			x.optMu.Unlock()
			if !mine {
				continue
			}
		}
		err = x.put(o, path, data, m.Name, m.Control)
		if errors.Is(err, unix.EPERM) {
			// S has been connected meanwhile, and takes it from K only, or was for a moment.
			x.awaitGate()
			err = x.put(o, path, data, m.Name, m.Control)
		}
		if err != nil && !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EPERM) {
			return
		}
	}
}

// onlyPeer tells whether datagrams can come from the peer only, so that a kernel that is asked by calls
// need not say from whom they are. So it is once the socket is connected and what had come before is
// read: when there was nothing, or as much has been read as can have waited.
type onlyPeer struct {
	x *socket
	// asked is the association of the call before, which has found nothing if there is another.
	asked uint64
	peer  []byte // NetBSD's address, if it is so
}

// wanted gives what is to be told by the call that follows.
func (o *onlyPeer) wanted() spclient.Wanted {
	x := o.x
	x.optMu.Lock()
	control := x.opts.HasControl()
	x.optMu.Unlock()
	x.mu.Lock()
	defer x.mu.Unlock()
	if o.asked == x.association {
		x.drained = o.asked
	}
	if o.asked = x.association; x.drained != o.asked && x.draining != o.asked {
		x.draining, x.drainedBytes = o.asked, 0
	}
	o.peer = nil
	switch {
	case control:
		return spclient.WantControl
	case x.kKey == "", x.drained != x.association, x.opts.Type != unix.SOCK_DGRAM, x.ping():
		return spclient.WantSender
	}
	o.peer = []byte(x.kKey)
	return spclient.WantData
}

// received counts what the call gave.
func (o *onlyPeer) received(n int) {
	x := o.x
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.drained == o.asked || x.draining != o.asked {
		return
	}
	if x.drainedBytes += n; x.drainedBytes >= mostWaiting {
		x.drained = o.asked
	}
}

// mostWaiting is more than can wait in a kernel's socket, in bytes: four times kern.sbmax.
const mostWaiting = 1 << 20

// awaitGate waits until S is connected, or not, if that is about to change.
func (x *socket) awaitGate() {
	x.lending.gate.Lock()
	defer x.lending.gate.Unlock()
}

// again makes the kernel's socket again after the kernel was lost.
func (x *socket) again() *spclient.NetSocket {
	ks, e := x.remade()
	if e != 0 {
		x.complain(e)
		return nil
	}
	x.mu.Lock()
	remote := x.remote
	x.mu.Unlock()
	if remote != nil {
		if err := ks.Connect(x.s.ctx, remote); err != nil {
			x.complain(linuxsock.Errno(err))
		}
	}
	x.mu.Lock()
	x.association++
	x.mu.Unlock()
	return ks
}

func (x *socket) isEnded() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.state == ended
}

// put sends a datagram to S, and waits while S has many.
func (x *socket) put(o *origins, path string, data, from, control []byte) error {
	if x.inner != nil {
		return x.putInner(data, from, control)
	}
	key := string(from) + string(control)
	x.mu.Lock()
	k, kKey := x.k, x.kKey
	sender := o.byKey[key]
	x.mu.Unlock()
	if k != nil && kKey == string(from) {
		if len(control) > 0 {
			return k.writeAlong(data, control)
		}
		_, err := k.Write(data)
		return err
	}
	if sender == nil {
		var err error
		if sender, err = newOrigin(path); err != nil {
			return err
		}
		sender.key, sender.addr, sender.control = key, x.linuxAddr(from), append([]byte(nil), control...)
		x.mu.Lock()
		o.byKey[key], o.byName[sender.name] = sender, sender
		o.order = append(o.order, sender)
		if len(o.order) > maxOrigins {
			old := o.order[0]
			o.order = append(o.order[:0], o.order[1:]...)
			delete(o.byKey, old.key)
			delete(o.byName, old.name)
			old.file.Close()
		}
		x.mu.Unlock()
	}
	_, err := sender.file.Write(data)
	return err
}

// newOrigin makes a socket for a sender, which is connected to S.
func newOrigin(path string) (*origin, error) {
	fd, name, err := connectedTo(path)
	if err != nil {
		return nil, err
	}
	return &origin{file: os.NewFile(uintptr(fd), "origin"), name: name}, nil
}

// connectedTo makes a socket with a name of its own that is connected to S.
func connectedTo(path string) (fd int, name string, err error) {
	if fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
		return -1, "", err
	}
	if name, err = autobind(fd); err == nil {
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
	}
	if err != nil {
		unix.Close(fd)
		return -1, "", err
	}
	return fd, name, nil
}

// autobind has the host give a socket a name that nobody else has.
func autobind(fd int) (string, error) {
	if err := unix.Bind(fd, &unix.SockaddrUnix{}); err != nil {
		return "", err
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return "", err
	}
	return sa.(*unix.SockaddrUnix).Name, nil
}

// origin returns the address, Linux's, and the control messages, NetBSD's, of a datagram
// that S received from a socket of ours.
// cut tells whether there were more of these.
func (x *socket) origin(from unix.Sockaddr) (addr, control []byte, cut bool) {
	un, ok := from.(*unix.SockaddrUnix)
	if !ok {
		return x.noAddr(), nil, false
	}
	if addr, control, cut, ok := x.lentOrigin(un.Name); ok {
		return x.linuxAddr(addr), control, cut
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.k != nil && un.Name == x.kName {
		return x.peer, nil, false
	}
	if x.origins != nil {
		if o := x.origins.byName[un.Name]; o != nil {
			return o.addr, o.control, false
		}
	}
	return x.noAddr(), nil, false
}

// kernelOrigin returns the sender's address and the control messages, both NetBSD's, of a
// datagram that S, which is not connected, received from a socket of ours or of the kernel's.
func (x *socket) kernelOrigin(from unix.Sockaddr) (addr, control []byte, ok bool) {
	un, ok := from.(*unix.SockaddrUnix)
	if !ok {
		return nil, nil, false
	}
	if addr, control, _, ok := x.lentOrigin(un.Name); ok {
		return addr, control, true
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	o := x.origins.byName[un.Name]
	if o == nil {
		return nil, nil, false
	}
	return []byte(o.key[:len(o.key)-len(o.control)]), o.control, true
}

// complain tells the program of an error: S is readable, and its next call fails.
func (x *socket) complain(e unix.Errno) {
	if e == unix.EMSGSIZE && x.inner == nil && x.refusesTooLong() && !x.queuesErrors() {
		// S could have a reset only, which says that all is over. Who looks for the MTU of
		// a path takes a datagram that is lost for one that was too long.
		x.s.say("%v", e)
		return
	}
	x.queueError(e)
	x.tell(e)
}

// tell makes an error the program's next: S is readable, and a call fails.
func (x *socket) tell(e unix.Errno) {
	if x.inner != nil {
		x.fail(e)
		return
	}
	x.pend(e)
	x.show()
}

// refusesTooLong tells whether datagrams that are too long are to fail.
func (x *socket) refusesTooLong() bool {
	x.optMu.Lock()
	defer x.optMu.Unlock()
	return x.opts.RefusesTooLong()
}

// show makes the error that waits one of S's, too, as far as it can be.
func (x *socket) show() {
	x.mu.Lock()
	k, path, forwarded := x.k, x.path, x.k == x.lending.forwarded
	x.mu.Unlock()
	switch {
	case k == nil:
		if x.queuesErrors() {
			go x.turnFrom(path) // the caller may have the gate
		}
	case forwarded:
		k.stopReading() // forward goes on in turnAway
	default:
		x.turnAway(k, path)
	}
}

// turnAway makes the error that waits one of S's, too, for poll(2) and for calls that
// are the host's own: K turns away from S while it holds a datagram of S's, which is
// ECONNRESET there. What S has sent before is not lost.
func (x *socket) turnAway(k *kept, path string) {
	s, found := x.borrow()
	if found {
		defer unix.Close(s)
	}
	var rest [][]byte
	k.control(func(fd int) {
		for {
			b := make([]byte, maxDatagram)
			n, _, err := unix.Recvfrom(fd, b, unix.MSG_DONTWAIT)
			if err != nil {
				break
			}
			rest = append(rest, b[:n])
		}
		if found {
			unix.Sendto(s, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, nil)
		}
		disconnect(fd)
		unix.Connect(fd, &unix.SockaddrUnix{Name: path})
	})
	k.resumeReading()
	for _, b := range rest {
		x.sendDatagram(b, nil, 0, noControl)
	}
}

// turnFrom is turnAway for an S that is not connected: it is for a moment, to a socket that
// turns away from it. What has come to S, which would be lost with that, is put there again.
func (x *socket) turnFrom(path string) {
	x.lending.gate.Lock()
	defer x.lending.gate.Unlock()
	x.mu.Lock()
	k, origins := x.k, x.origins
	x.mu.Unlock()
	s, found := x.borrow()
	if !found {
		return
	}
	defer unix.Close(s)
	if k != nil || origins == nil || !x.hasError() {
		return
	}
	// Nobody else may send to S now.
	x.takeBack()
	fd, name, err := connectedTo(path)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if unix.Connect(s, &unix.SockaddrUnix{Name: name}) != nil {
		return
	}
	type datagram struct{ data, from, control []byte }
	var came []datagram
	for {
		b := make([]byte, maxDatagram)
		n, from, err := unix.Recvfrom(s, b, unix.MSG_DONTWAIT)
		if err == unix.EINTR || err == unix.ECONNRESET { // of the error before
			continue
		}
		if err != nil {
			break
		}
		if from, control, ok := x.kernelOrigin(from); ok {
			came = append(came, datagram{b[:n], from, control})
		}
	}
	if x.hasError() { // the program has not been told meanwhile
		unix.Sendto(s, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, nil)
		disconnect(fd)
	}
	disconnect(s)
	for _, d := range came {
		x.put(origins, path, d.data, d.from, d.control)
	}
}

// associate is connect(2) for sockets of datagrams.
func (x *socket) associate(host int, sa []byte) unix.Errno {
	// Should what is bound there have been closed just now: it is to refuse.
	x.s.ends.catchUp()
	x.lending.gate.Lock()
	defer x.lending.gate.Unlock()
	if e := x.open(host); e != 0 {
		return e
	}
	x.op.Lock()
	defer x.op.Unlock()
	addr, e := x.address(linuxsock.Connect, sa)
	if e != 0 {
		return e
	}
	x.mu.Lock()
	ks, old := x.ks, x.k
	inner, was, limited := x.inner != nil, x.state == connected, x.inner != nil && x.inner.mtu != 0
	x.mu.Unlock()
	switch {
	case !inner:
		x.takeBack()
	case was:
		x.sendRest() // which is for the peer before
	case limited:
		x.takeBack() // there may be another K
	}
	if addr == nil {
		return x.dissociate(host, ks)
	}
	x.mu.Lock()
	before := x.remote
	x.mu.Unlock()
	x.wayToGroups(ks, addr)
	if err := ks.Connect(x.s.ctx, addr); err != nil {
		e = x.useErrno(linuxsock.Connect, err, addr)
	} else {
		e = x.reach(ks)
	}
	if e != 0 {
		// The one before is still the peer, and not for NetBSD.
		x.disconnectKernel(ks)
		if before != nil {
			ks.Connect(x.s.ctx, before)
		}
		return e
	}
	var k *kept
	var name string
	if x.inner != nil {
		e = x.connectInner(host, addr)
	} else {
		k, name, e = x.connectLocal(host, old != nil)
	}
	if e != 0 {
		return e
	}
	peer, err := ks.Getpeername()
	if err != nil {
		peer = addr
	}
	x.mu.Lock()
	x.k, x.kName, x.kKey = k, name, string(peer)
	x.association++
	x.state = connected
	x.remote, x.peer = addr, x.linuxAddr(addr)
	if ap, ok := linuxsock.Addr(sa); ok && ap.Port() == 0 && x.opts.Protocol == unix.IPPROTO_UDP {
		x.peer = nil // nobody, for getpeername(2)
	}
	x.mu.Unlock()
	if old != nil {
		old.close()
	}
	x.mu.Lock()
	never := x.lending.never
	x.mu.Unlock()
	if never {
		x.byCalls()
	}
	return 0
}

// connectLocal connects an S that is a local socket to a new K, and K to S. again tells whether it is connected
// already.
func (x *socket) connectLocal(host int, again bool) (k *kept, name string, e unix.Errno) {
	x.mu.Lock()
	path := x.path
	x.mu.Unlock()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, "", errnoOf(err)
	}
	name, err = autobind(fd)
	if err == nil && again {
		// While S is connected nobody else may send to it.
		disconnect(host)
	}
	if err == nil {
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
	}
	if err == nil {
		err = unix.Connect(host, &unix.SockaddrUnix{Name: name})
	}
	if err != nil {
		unix.Close(fd)
		return nil, "", errnoOf(err)
	}
	// S was turned away from the one before, which is an error of that one only.
	k, err = x.s.ends.keep(fd, func() {})
	return k, name, errnoOf(err)
}

// dissociate is connect(2) to nobody.
func (x *socket) dissociate(host int, ks *spclient.NetSocket) unix.Errno {
	x.mu.Lock()
	k := x.k
	x.k, x.kName, x.kKey, x.remote, x.peer = nil, "", "", nil, nil
	x.association++
	if x.state == connected {
		x.state = bound
	}
	x.mu.Unlock()
	disconnect(host)
	if k != nil {
		k.close()
	}
	x.disconnectKernel(ks)
	return 0
}

// disconnectKernel ends the association of the kernel's socket.
func (x *socket) disconnectKernel(ks *spclient.NetSocket) {
	sa := make([]byte, netbsd.SizeofSockaddrIn)
	sa[0], sa[1] = netbsd.SizeofSockaddrIn, netbsd.AF_UNSPEC
	// NetBSD does it, and says that the address is none.
	ks.Connect(x.s.ctx, sa)
}

// forward sends what S sends without an address, until K is closed or quit.
func (x *socket) forward(k *kept, path string, quit *atomic.Bool) {
	buf := make([]byte, maxDatagram)
	for {
		n, err := k.Read(buf)
		switch {
		case err == nil, err == io.EOF: // which is how os reads an empty datagram
		case errors.Is(err, os.ErrDeadlineExceeded):
			if quit.Load() {
				return
			}
			x.turnAway(k, path)
			if quit.Load() {
				return // told meanwhile, which turnAway has undone
			}
			continue
		case errors.Is(err, unix.ECONNRESET):
			continue // S has been connected to another K
		default:
			return
		}
		_, e := x.sendDatagram(buf[:n], nil, 0, noControl)
		if e == unix.ECONNREFUSED && x.hearsErrors() {
			// It is an earlier datagram's, which has been heard of.
			_, e = x.sendDatagram(buf[:n], nil, 0, noControl)
		}
		if e != 0 && !(e == unix.ECONNREFUSED && x.hearsErrors()) {
			x.complain(e)
		}
	}
}

// noControl is what a datagram without control messages says.
var noControl = linuxsock.Outgoing{TTL: -1, TOS: -1}

// sendDatagram sends a datagram of the program's.
func (x *socket) sendDatagram(data, to []byte, flags int32, out linuxsock.Outgoing) (int, unix.Errno) {
	x.mu.Lock()
	ks, state, local, remote := x.ks, x.state, x.local, x.remote
	x.mu.Unlock()
	if ks == nil {
		return 0, unix.EBADF
	}
	if to == nil && state != connected {
		return 0, unix.EDESTADDRREQ
	}
	receiver := to
	if to == nil {
		receiver = remote
	} else if state == connected && bytes.Equal(to, remote) {
		// To NetBSD an address is wrong with a socket that is connected, also that of its peer.
		to = nil
	}
	x.remember(data, to)
	x.wayToGroups(ks, to)
	sent := len(data)
	if x.ping() {
		var e unix.Errno
		x.optMu.Lock()
		data, e = x.opts.ToPing(x.pingID, data)
		x.optMu.Unlock()
		if e != 0 {
			return 0, e
		}
	}
	if x.rawPacket() {
		dst, _ := linuxsock.Addr(x.linuxAddr(receiver))
		var src netip.AddrPort
		if local != nil {
			src, _ = linuxsock.Addr(x.linuxAddr(local))
		}
		x.optMu.Lock()
		packet, e := x.opts.ToRaw(x.s.machine, src.Addr(), dst.Addr(), out, data)
		x.optMu.Unlock()
		if e != 0 {
			return 0, e
		}
		if _, err := ks.Sendto(packet, to); err != nil {
			return 0, x.useErrno(linuxsock.Send, err, receiver)
		}
		return sent, 0
	}
	if out.Plain() && out.Control == nil && flags&netbsd.MSG_DONTROUTE == 0 {
		_, err := ks.Sendto(data, to)
		if e := x.useErrno(linuxsock.Send, err, receiver); e != unix.EISCONN {
			if e != 0 {
				sent = 0
			}
			return sent, e
		}
	}
	x.optMu.Lock()
	defer x.optMu.Unlock()
	var e unix.Errno
	err := ks.Use(func(fd spclient.FD) error {
		_, e = x.opts.SendDatagram(x.s.ctx, x.s.conn, fd, to, data, flags, out)
		return nil
	})
	if err != nil {
		e = linuxsock.Errno(err)
	}
	if e != 0 {
		sent = 0
	}
	return sent, e
}
