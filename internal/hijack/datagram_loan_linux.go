//go:build amd64 || arm64

package hijack

import (
	"errors"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
	"rumptools/pkg/spclient"
	"rumptools/pkg/sysproxy"
)

// Where the kernel can, it exchanges a socket's datagrams with S by itself: it sends to the
// path of an S that is not connected, from sockets whose names tell whom they stand for,
// and has K of one that is. What it cannot do ends the loan, and is done here: to show
// the program an error, after which K is lent again; and what needs more than K, for
// which calls carry the datagrams from then on.

// lending is what a socket for datagrams knows of its loans.
type lending struct {
	// gate is held while K changes, and while it is decided what is lent. It comes
	// before the socket's other locks.
	gate sync.Mutex

	// The socket's mu guards these.
	loan      *datagramLoan // that there is, or nil
	never     bool          // calls carry the datagrams
	abandoned bool          // the kernel's socket receives nothing any more, for S is closed
	forwarded *kept         // K that forward reads
	quit      *atomic.Bool  // tells that to end
	quitted   chan struct{} // closed when it has
}

// datagramLoan is one of them.
type datagramLoan struct {
	ks   *spclient.NetSocket
	k    *kept         // K if it is lent
	done chan struct{} // closed when the loan has ended
	end  spclient.LoanEnd
}

// course is how it goes on with a socket's datagrams.
type course int

const (
	byCalls course = iota // calls receive them
	anew                  // perhaps by a new loan
	lost                  // the kernel is
	over
)

// exchange has the kernel exchange datagrams, until something is to be done about it.
func (x *socket) exchange(ks *spclient.NetSocket) course {
	l, c := x.lendDatagrams(ks)
	if l == nil {
		return c
	}
	<-l.done
	g := &x.lending
	g.gate.Lock()
	defer g.gate.Unlock()
	x.mu.Lock()
	g.loan = nil
	ended := x.state == ended
	x.mu.Unlock()
	if ended || x.s.ctx.Err() != nil {
		return over
	}
	switch l.end.How {
	case sysproxy.LoanClosed:
		x.mu.Lock()
		g.abandoned = true
		x.mu.Unlock()
		return over
	case sysproxy.LoanFailed:
		x.complain(linuxsock.Errno(l.end.Cause))
	case sysproxy.LoanControl:
		x.byCalls()
	case sysproxy.LoanRevoked:
	default:
		if errors.Is(l.end.Err, spclient.ErrLost) {
			return lost
		}
		x.s.say("lend: %v", l.end.Err)
		x.byCalls()
	}
	return anew
}

// lendDatagrams lends the socket, if it can be.
func (x *socket) lendDatagrams(ks *spclient.NetSocket) (*datagramLoan, course) {
	g := &x.lending
	g.gate.Lock()
	defer g.gate.Unlock()
	x.mu.Lock()
	k, never, ended := x.standIn.sendingEnd(), g.never, x.state == ended
	x.mu.Unlock()
	switch {
	case ended:
		return nil, over
	case never, !x.lendable(k):
		x.byCalls()
		return nil, byCalls
	}
	l := &datagramLoan{ks: ks, k: k, done: make(chan struct{})}
	told := func(end spclient.LoanEnd) {
		l.end = end
		close(l.done)
	}
	err := x.standIn.lend(ks, k, told)
	if errors.Is(err, spclient.ErrLost) {
		return nil, lost
	}
	if err != nil {
		x.s.say("lend: %v", err)
		x.byCalls()
		return nil, byCalls
	}
	x.mu.Lock()
	g.loan = l
	x.mu.Unlock()
	return l, anew
}

// lendable tells whether the kernel has the datagrams as the program does, and all that is to
// be known of them.
func (x *socket) lendable(k *kept) bool {
	if x.ping() || x.rawPacket() {
		return false
	}
	x.optMu.Lock()
	defer x.optMu.Unlock()
	return k == nil || !x.opts.ErrorQueue()
}

// byCalls has calls carry the datagrams from now on; the gate is held.
func (x *socket) byCalls() {
	x.mu.Lock()
	defer x.mu.Unlock()
	g := &x.lending
	g.never = true
	if k := x.standIn.sendingEnd(); k != nil && g.forwarded != k {
		g.forwarded, g.quit, g.quitted = k, new(atomic.Bool), make(chan struct{})
		go func(k *kept, quit *atomic.Bool, quitted chan struct{}) {
			defer close(quitted)
			x.forward(k, quit)
		}(k, g.quit, g.quitted)
	}
}

// takeBack ends the loan that there is, once all that S has sent is sent. The gate is held,
// without which there is no other.
func (x *socket) takeBack() {
	x.mu.Lock()
	l := x.lending.loan
	x.mu.Unlock()
	if l == nil {
		return
	}
	// It fails when the loan has ended, or does with the connection.
	l.ks.Use(func(fd spclient.FD) error { return x.s.conn.TakeBackDatagrams(x.s.ctx, fd) })
	x.awaitEnd(l)
}

// awaitEnd waits until a loan that was taken back has ended.
func (x *socket) awaitEnd(l *datagramLoan) {
	select {
	case <-l.done:
	case <-x.s.ctx.Done():
	}
}

// abandonDatagrams is takeBack when S is closed, with or without a loan: what comes until the kernel's socket is closed, too, would be
// lost with it, and is to be refused or somebody else's.
func (x *socket) abandonDatagrams() {
	x.mu.Lock()
	g := &x.lending
	l, ks, done := g.loan, x.ks, g.abandoned
	g.abandoned = true
	x.mu.Unlock()
	if ks == nil || done {
		return
	}
	ks.Use(func(fd spclient.FD) error { return x.s.conn.AbandonDatagrams(x.s.ctx, fd) })
	if l != nil {
		x.awaitEnd(l)
	}
}

// tellsErrors is called when options of a socket have changed: of what is sent by a loan
// nobody here knows, as the queue of errors needs it.
func (x *socket) tellsErrors() {
	if !x.queuesErrors() {
		return
	}
	// Who has it lends now, and may not have seen the option.
	x.lending.gate.Lock()
	defer x.lending.gate.Unlock()
	x.mu.Lock()
	l := x.lending.loan
	x.mu.Unlock()
	if l == nil || l.k == nil {
		return
	}
	x.takeBack()
	x.byCalls()
}

// sendsBefore sends what S has sent before an option is set, which is not for that.
func (x *socket) sendsBefore(level, name int) {
	if x.opts.Type == unix.SOCK_STREAM || x.nl != nil || !linuxsock.OfSent(level, name) {
		return
	}
	g := &x.lending
	g.gate.Lock()
	defer g.gate.Unlock()
	x.mu.Lock()
	sends, never := x.state == connected, g.never
	x.mu.Unlock()
	if !sends {
		return // by calls only
	}
	x.sendRest()
	if never {
		x.byCalls()
	}
}

// sendsRest sends what S has sent before it was closed.
func (x *socket) sendsRest() {
	if x.opts.Type == unix.SOCK_STREAM || x.nl != nil {
		return
	}
	x.lending.gate.Lock()
	defer x.lending.gate.Unlock()
	x.abandonDatagrams()
	x.sendRest()
}

// sendRest sends what S has sent up to now. Nobody else sends it any more then; the gate is held.
func (x *socket) sendRest() {
	x.takeBack()
	x.mu.Lock()
	g := &x.lending
	k := x.standIn.sendingEnd()
	forwarded, quit, quitted := k == g.forwarded, g.quit, g.quitted
	x.mu.Unlock()
	if k == nil {
		return
	}
	if forwarded {
		quit.Store(true)
		k.stopReading()
		select {
		case <-quitted:
		case <-x.s.ctx.Done():
		}
		k.resumeReading()
		x.mu.Lock()
		g.forwarded = nil
		x.mu.Unlock()
	}
	// What nobody has come to yet.
	for {
		var b []byte
		err := error(unix.EBADF) // if K is closed
		k.control(func(fd int) {
			var n int
			if n, _, err = unix.Recvfrom(fd, nil, unix.MSG_PEEK|unix.MSG_TRUNC|unix.MSG_DONTWAIT); err == nil {
				b = make([]byte, n)
				_, _, err = unix.Recvfrom(fd, b, unix.MSG_DONTWAIT)
			}
		})
		if err == unix.EINTR || err == unix.ECONNRESET || err == unix.ECONNREFUSED { // that S is closed
			continue
		}
		if err != nil {
			return
		}
		x.sendDatagram(b, nil, 0, noControl)
	}
}
