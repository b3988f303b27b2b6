//go:build amd64 || arm64

package hijack

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// A socket for datagrams gets what the kernel's has, and what it sends without an address is read at K. Most of that the kernel
// does (datagram_loan); here it is done by calls. How S is told from whom a datagram is depends on what S is: see standIn.

// datagrams is what a socket has for datagrams, with its mu.
type datagrams struct {
	asking    sync.Mutex // held while the kernel is asked for one, by calls
	receiving bool
	lending   lending
	pingID    uint16 // of echo requests
	kKey      string // whose datagrams come from K: NetBSD's address
	errors    []errorEntry
	lastSent  []byte // what was sent last, and to whom, if errors are queued
	lastTo    []byte
	remote    []byte // whom it is connected to, NetBSD's address
	shut      shut
	// association counts whom it has been connected to, and to nobody; drained is the one since which
	// all that had come before has been read, draining the one since which so many bytes have been.
	association, drained, draining uint64
	drainedBytes                   int
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
		e = x.standIn.named(host)
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
	go x.deliver(x.ks)
	return 0
}

// deliver gives S what comes from the kernel.
func (x *socket) deliver(ks *spclient.NetSocket) {
	defer func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.receiving = false
	}()
	buf := make([]byte, maxDatagram)
	name, control := make([]byte, 128), make([]byte, 512)
	for {
		switch x.exchange(ks) {
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
			if next := x.successor(ks); next != nil && errors.Is(err, net.ErrClosed) {
				ks = next
				continue
			}
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
		if !x.s.conn.CanLend() {
			linuxsock.Restamp(x.s.machine, m.Control, time.Now())
		}
		if x.rawPacket() {
			x.optMu.Lock()
			m.Control = x.opts.WithIPOptions(x.s.machine, m.Control, data)
			x.optMu.Unlock()
		}
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
		err = x.standIn.put(data, m.Name, m.Control)
		if errors.Is(err, unix.EPERM) {
			// S has been connected meanwhile, and takes it from K only, or was for a moment.
			x.awaitGate()
			err = x.standIn.put(data, m.Name, m.Control)
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

// wanted gives what is to be told by the call that follows, and what is to be called after it.
func (o *onlyPeer) wanted() (w spclient.Wanted, over func()) {
	x := o.x
	x.asking.Lock()
	over = x.asking.Unlock
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
		return spclient.WantControl, over
	case x.kKey == "", x.drained != x.association, x.opts.Type != unix.SOCK_DGRAM, x.ping():
		return spclient.WantSender, over
	}
	o.peer = []byte(x.kKey)
	return spclient.WantData, over
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
	ks, e := x.remade(func() bool { return true })
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

// forward sends what S sends without an address, until K is closed or quit.
func (x *socket) forward(k *kept, quit *atomic.Bool) {
	buf := make([]byte, maxDatagram)
	for {
		n, err := k.Read(buf)
		switch {
		case err == nil, err == io.EOF: // which is how os reads an empty datagram
		case errors.Is(err, os.ErrDeadlineExceeded):
			if quit.Load() {
				return
			}
			x.turnAway(k)
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
		// ENOBUFS is what no later call has.
		if e != 0 && e != unix.ENOBUFS && !(e == unix.ECONNREFUSED && x.hearsErrors()) {
			x.complain(e)
		}
	}
}

// complain tells the program of an error: S is readable, and its next call fails.
func (x *socket) complain(e unix.Errno) {
	x.queueError(e)
	x.standIn.tell(e)
}

// noControl is what a datagram without control messages says.
var noControl = linuxsock.Outgoing{TTL: -1, TOS: -1}

// sendDatagram sends a datagram of the program's. For want of room it is lost, as datagrams may be, and nobody is told but
// who wants errors to be queued: so it is on Linux.
func (x *socket) sendDatagram(data, to []byte, flags int32, out linuxsock.Outgoing) (int, unix.Errno) {
	n, e := x.trySend(data, to, flags, out)
	if e == unix.ENOBUFS && !x.queuesErrors() {
		return len(data), 0
	}
	return n, e
}

// trySend is sendDatagram with the kernel's own errors.
func (x *socket) trySend(data, to []byte, flags int32, out linuxsock.Outgoing) (int, unix.Errno) {
	x.mu.Lock()
	ks, state, name, remote := x.ks, x.state, x.name, x.remote
	x.mu.Unlock()
	if ks == nil {
		return 0, unix.EBADF
	}
	if to == nil && state != connected {
		return 0, unix.EDESTADDRREQ
	}
	x.takePort(ks)
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
		src, _ := linuxsock.Addr(x.linuxAddr(name.sa))
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
		e := x.useErrno(linuxsock.Send, err, receiver)
		otherwise := e == unix.EISCONN || e == unix.ENETUNREACH && linuxsock.IsGroup4(to)
		if !otherwise {
			if e != 0 {
				sent = 0
			}
			return sent, e
		}
	}
	x.optMu.Lock()
	var e unix.Errno
	err := ks.Use(func(fd spclient.FD) error {
		_, e = x.opts.SendDatagram(x.s.ctx, x.s.conn, fd, to, data, flags, out)
		return nil
	})
	x.optMu.Unlock()
	if err != nil {
		e = linuxsock.Errno(err)
	}
	e = x.noRoute(e, receiver)
	if e != 0 {
		sent = 0
	}
	return sent, e
}
