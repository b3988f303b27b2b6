//go:build amd64 || arm64

package hijack

import (
	"sync/atomic"

	"golang.org/x/sys/unix"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// connection is what a stream has whose bytes are carried between K and the kernel, and from when it has a K for an attempt that
// goes on. Should the socket be connected again, it has another.
type connection struct {
	x  *socket
	ks *spclient.NetSocket
	k  *kept

	carried   atomic.Bool   // there is something to carry
	inOrder   atomic.Bool   // the kernel's socket does not linger, nor reset
	delivered chan struct{} // closed when nothing is left

	// The socket's mu guards these.
	carrier     carrier // nil before it is carried
	closedEarly bool    // by the programs, before there was a carrier
	shut        shut
	heard       bool // the peer had ended its direction before the program shut down reading
	unshown     bool // it broke before it was accepted, and is shown then
}

// shut is what a program has shut down: its own direction, and the other, of which it hears nothing any more.
type shut struct{ write, read bool }

// add adds what shutdown(2) is told.
func (s *shut) add(how int) {
	s.write = s.write || how != unix.SHUT_RD
	s.read = s.read || how != unix.SHUT_WR
}

// A carrier carries a connection's bytes between K and the kernel.
type carrier interface {
	// hungUp is called when no program holds S any more.
	hungUp()
	// setCork is called when TCP_CORK has changed, with the options' lock held. What was
	// written before leaves as if it had not been set, or had been cleared then.
	setCork(on bool)
}

// newConnection makes one of a descriptor, K.
func (x *socket) newConnection(ks *spclient.NetSocket, fd int) *connection {
	c := &connection{x: x, ks: ks, delivered: make(chan struct{})}
	c.k = x.s.ends.keepUnwatched(fd, c.hungUp)
	return c
}

// leave takes from a socket what it has of a connection, of an attempt at one, or as a listener, with x.mu held: it is something
// else from now on, unless no program holds it any more, and S is. The caller closes what it had.
func (x *socket) leave(to state, s condition) had {
	h := had{x.ks, x.connection}
	if x.listener != nil {
		x.listener.room.Broadcast()
	}
	x.ks, x.connection, x.attempt, x.listener = nil, nil, nil, nil
	x.name.end()
	if x.state != ended {
		x.state, x.condition = to, s
	}
	return h
}

// had is what a socket has left, to be closed: the kernel's socket, and what was carried between K and that, or one in a kernel that is
// lost.
type had struct {
	ks *spclient.NetSocket
	c  *connection
}

// close closes what has not been closed yet. The kernel's socket is first: who sees by S that it has ended finds its port free.
func (h had) close() {
	if h.ks != nil {
		h.ks.Close()
	}
	if h.c != nil {
		h.c.closeBoth()
		h.c.deliver()
	}
}

// shuts is for a connection of which the program is about to end directions, as shutdown(2) has them: when both have ended the
// kernel's socket is closed, and the program may still have S, and ask for its name.
func (c *connection) shuts(how int) {
	x, ended := c.x, c.k.hasEnded()
	x.sockname()
	x.mu.Lock()
	if x.state != connected || x.connection != c {
		x.mu.Unlock()
		return
	}
	c.heard = c.heard || ended && !c.shut.read
	c.shut.add(how)
	both := c.shut.write && (c.shut.read || ended)
	x.mu.Unlock()
	if both {
		c.unlinger()
	}
}

// unlinger has the kernel's socket close in good order, whatever SO_LINGER says. A connection both directions of which have ended
// looks like one that its program has closed.
func (c *connection) unlinger() {
	x := c.x
	x.optMu.Lock()
	defer x.optMu.Unlock()
	if on, _ := x.opts.Linger(); !on {
		return
	}
	err := c.ks.Use(func(fd spclient.FD) error {
		return x.s.conn.SetsockoptStruct(x.s.ctx, fd, netbsd.SOL_SOCKET, netbsd.SO_LINGER, &netbsd.Linger{})
	})
	if err == nil {
		c.inOrder.Store(true)
	}
}

// resets tells whether closing the kernel's socket resets the connection.
func (c *connection) resets() bool {
	c.x.optMu.Lock()
	defer c.x.optMu.Unlock()
	on, seconds := c.x.opts.Linger()
	return on && seconds == 0 && !c.inOrder.Load()
}

// begin says that there is something to carry, which carry is about to do.
func (c *connection) begin() {
	c.carried.Store(true)
	c.x.s.carriers.Add(1)
}

// carry has the bytes carried: by the kernel itself if it can, or else by a pump. It comes after begin.
func (c *connection) carry() {
	x := c.x
	defer func() {
		x.mu.Lock()
		carrier, closed := c.carrier, c.closedEarly
		x.mu.Unlock()
		if closed && carrier != nil {
			carrier.hungUp()
		}
	}()
	if x.s.conn.CanLend() && c.lend() {
		return
	}
	if err := c.k.watch(); err != nil {
		x.s.say("watch: %v", err)
		c.reset(errnoOf(err))
		return
	}
	p := &pump{connection: c, upDone: make(chan struct{})}
	x.optMu.Lock()
	p.cork.set = x.opts.Corked()
	c.setCarrier(p)
	x.optMu.Unlock()
	go p.up()
	go p.down()
}

func (c *connection) setCarrier(by carrier) {
	c.x.mu.Lock()
	c.carrier = by
	c.x.mu.Unlock()
}

// hungUp is called when no program holds S any more.
func (c *connection) hungUp() {
	if c.takeUnshown() {
		c.show() // and was never accepted
		return
	}
	x := c.x
	x.mu.Lock()
	carrier := c.carrier
	// What is in K already is still to be carried.
	c.closedEarly = carrier == nil && x.state == connected
	over := carrier == nil && !c.closedEarly
	x.mu.Unlock()
	switch {
	case carrier != nil:
		carrier.hungUp()
	case over:
		x.gone()
	}
}

// mayBeHeld tells whether programs may have S although K has hung up, with the socket's mu held: it has, too, once each direction has
// been shut down.
func (c *connection) mayBeHeld() bool { return c.shut.write && c.x.tracked != 0 }

// peerEnded tells whether the peer has ended its direction, and not only the program that.
func (c *connection) peerEnded() bool {
	ended := c.k.hasEnded()
	c.x.mu.Lock()
	defer c.x.mu.Unlock()
	return c.heard || ended && !c.shut.read
}

// finish closes both sides after all has been said.
func (c *connection) finish() {
	x, ended := c.x, c.peerEnded()
	x.mu.Lock()
	mine := x.connection == c
	held := mine && c.mayBeHeld()
	if held {
		x.leave(completed, spent)
		if ended {
			x.peer = nil // Linux tells it no more once both have ended their directions
		}
	}
	x.mu.Unlock()
	// Not before, or a call that comes meanwhile would find it closed.
	c.ks.Release()
	if held {
		x.retrack()
	}
	c.k.settle()
	if mine && !held {
		c.end()
	} else {
		had{c.ks, c}.close()
	}
}

// end closes what is left of a connection that no program has any more. Who binds its port finds the socket, and waits, until the port
// is free.
func (c *connection) end() {
	c.closeBoth()
	c.x.forget()
	c.deliver()
}

// closeBoth closes the kernel's socket and K.
func (c *connection) closeBoth() {
	c.ks.Close()
	c.k.close()
}

// deliver says that nothing is left to carry.
func (c *connection) deliver() {
	if c.carried.Swap(false) {
		c.x.s.carriers.Add(-1)
		close(c.delivered)
	}
}

// reset has the programs see that the connection broke.
func (c *connection) reset(e unix.Errno) {
	if e == unix.EPIPE || e == 0 {
		e = unix.ECONNRESET
	}
	x := c.x
	// The program may give the connection up at any time: what it is then is not broken.
	x.optMu.Lock()
	x.mu.Lock()
	if x.connection == c {
		x.opts.Pending = e
		if x.state == connected {
			x.state = broken
		}
		// Nobody has accepted it; then it will be shown.
		c.unshown = x.arrival != nil && x.held.tid == 0
	}
	unshown := c.unshown
	x.mu.Unlock()
	x.optMu.Unlock()
	// Or it never is.
	if unshown && (c.k.watch() == nil || !c.takeUnshown()) {
		return
	}
	c.show()
}

// takeUnshown tells whether it is to be shown now that the connection broke before it was accepted.
func (c *connection) takeUnshown() bool {
	c.x.mu.Lock()
	defer c.x.mu.Unlock()
	unshown := c.unshown
	c.unshown = false
	return unshown
}

// show has S show the reset, if that is still this connection's: K is closed while there is something unread in it, which is
// ECONNRESET at the other end. Of a peer that had ended its direction before, TCP tells that end for good, and EPIPE to who
// writes, as an S does whose K is closed with nothing unread.
func (c *connection) show() {
	x, hungUp, after := c.x, c.k.hungUp(), c.peerEnded()
	s := failing
	if after {
		s = spent
		c.k.settle()
	}
	c.k.close()
	x.optMu.Lock()
	x.mu.Lock()
	mine := x.connection == c
	held := !hungUp || c.mayBeHeld()
	was := had{c.ks, c}
	if mine && held {
		was = x.leave(broken, s)
		if after && !c.shut.write {
			x.opts.Pending = unix.EPIPE
		}
	} // else the program has begun again, or has closed it
	x.mu.Unlock()
	x.optMu.Unlock()
	switch {
	case mine && !held:
		c.end()
		return
	case mine:
		x.retrack()
	}
	was.close()
}

// shown waits until S shows that its connection has broken, which is a moment after that is known. Then the socket has nothing of the
// connection.
func (x *socket) shown() {
	x.mu.Lock()
	state, c := x.state, x.connection
	x.mu.Unlock()
	if state == broken && c != nil {
		<-c.delivered
	}
}
