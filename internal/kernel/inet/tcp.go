package inet

import (
	"math"
	"net/netip"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"rumptools/internal/kernel"
	"rumptools/pkg/netbsd"
)

// tcpSocket is a TCP socket of either family over an endpoint of the engine's.
// What NetBSD's users see of a socket is decided here; the engine speaks the
// protocol.
//
// The engine never calls back into the socket but to wake it, so its methods
// may be called with mu held.
type tcpSocket struct {
	socket

	phase tcpPhase
	ep    *tcp.Endpoint
	wq    *waiter.Queue
	entry waiter.Entry

	local, remote endpoint
	// shutRead says that shutdown(2) has ended reading.
	shutRead bool
	// port is the claim to local's port, nil without one.
	port *tcpPort
	// passive says that the connection was a listener's.
	passive bool
	// queued says that nobody has accepted the connection yet.
	queued bool
	// loan is that of the connection, nil without one.
	loan    *loan
	pairing kernel.Pairing
	// connTimer ends an attempt to connect.
	connTimer *time.Timer
	opt       tcpOptions

	// backlog is listen(2)'s, queue the connections of a listener that the
	// engine has handed over.
	backlog int
	queue   []*tcpSocket
	// counts says that the client accepts for others: given connections it has got,
	// of which those have taken so many.
	counts       bool
	given, taken uint32
}

// tcpPhase is how far a socket has come.
type tcpPhase uint8

const (
	tcpIdle       tcpPhase = iota // perhaps bound
	tcpListening                  //
	tcpConnecting                 // an attempt is under way
	tcpConnected                  // a connection stands, or half of it
	tcpGone                       // there is no control block any more
)

var (
	_ kernel.Socket       = (*tcpSocket)(nil)
	_ kernel.Ender        = (*tcpSocket)(nil)
	_ kernel.Lender       = (*tcpSocket)(nil)
	_ kernel.TakenCounter = (*tcpSocket)(nil)
	_ kernel.Pairer       = (*tcpSocket)(nil)
)

// tcpSpace is the size in bytes of a TCP socket's buffers, until more is
// needed.
const tcpSpace = 32 << 10

// tcpTimeWait is how long a closed connection is remembered. NetBSD's is a
// minute; thousands of connections a second would fill the memory that long.
const tcpTimeWait = 10 * time.Second

// tuneTCP gives the engine's TCP NetBSD's defaults.
func (s *Stack) tuneTCP() error {
	timeWait := tcpip.TCPTimeWaitTimeoutOption(tcpTimeWait)
	delay := tcpip.TCPDelayEnabled(true)
	moderate := tcpip.TCPModerateReceiveBufferOption(true)
	// The engine gives half of a receive buffer to its own overhead.
	for _, o := range []tcpip.SettableTransportProtocolOption{
		&timeWait, &delay, &moderate,
		&tcpip.TCPSendBufferSizeRangeOption{Min: 1, Default: tcpSpace, Max: 4 * sbMax},
		&tcpip.TCPReceiveBufferSizeRangeOption{Min: 1, Default: 2 * tcpSpace, Max: 4 * sbMax},
	} {
		if err := s.net.SetTransportProtocolOption(tcp.ProtocolNumber, o); err != nil {
			return engineError(err)
		}
	}
	return nil
}

// newTCP makes a TCP socket.
func (s *Stack) newTCP(m *netbsd.Machine, family, proto int32) (*tcpSocket, error) {
	so := &tcpSocket{}
	so.init(s, m, family, netbsd.SOCK_STREAM, proto, s.tcpParam("sendspace"), s.tcpParam("recvspace"))
	so.opt.init(s)
	if err := so.newEndpoint(); err != nil {
		return nil, err
	}
	s.sockets.add(so)
	return so, nil
}

// newEndpoint gives the socket a fresh endpoint with its options.
func (so *tcpSocket) newEndpoint() error {
	netProto := tcpip.NetworkProtocolNumber(header.IPv4ProtocolNumber)
	if so.family == netbsd.AF_INET6 {
		netProto = header.IPv6ProtocolNumber
	}
	wq := new(waiter.Queue)
	ep, err := so.stack.net.NewEndpoint(tcp.ProtocolNumber, netProto, wq)
	if err != nil {
		return netbsd.ENOBUFS
	}
	so.attach(ep.(*tcp.Endpoint), wq)
	so.applyOptions()
	return nil
}

// attach has the socket use an endpoint.
func (so *tcpSocket) attach(ep *tcp.Endpoint, wq *waiter.Queue) {
	so.ep, so.wq = ep, wq
	so.entry = waiter.NewFunctionEntry(
		waiter.ReadableEvents|waiter.WritableEvents|waiter.EventErr|waiter.EventHUp|waiter.EventRdHUp,
		func(mask waiter.EventMask) { so.Wake(changes(mask)) })
	wq.EventRegister(&so.entry)
}

// changes is what an endpoint's event means. An end of the connection concerns
// both directions, the peer's end of sending one.
func changes(mask waiter.EventMask) (ev kernel.Events) {
	if mask&(waiter.ReadableEvents|waiter.EventRdHUp) != 0 {
		ev |= kernel.Readable
	}
	if mask&waiter.WritableEvents != 0 {
		ev |= kernel.Writable
	}
	if mask&(waiter.EventErr|waiter.EventHUp) != 0 {
		ev = kernel.Changed
	}
	return ev
}

// sync brings the socket up to date with its endpoint; so.mu is held.
func (so *tcpSocket) sync() tcpView {
	v := lookAt(so.ep)
	if so.phase != tcpConnecting && so.phase != tcpConnected {
		return v
	}
	failed := v.state == tcp.StateError || v.state == tcp.StateClose
	if so.phase == tcpConnecting && !failed {
		switch v.state {
		case tcp.StateConnecting, tcp.StateSynSent, tcp.StateSynRecv:
			return v
		}
		so.phase, so.connected = tcpConnected, true
		so.stopTimer()
	}
	if v.recvClosed || failed {
		so.cantRecv = true
	}
	switch {
	case failed:
		if err := so.ep.LastError(); err != nil && so.err == 0 {
			so.err = tcpErrno(err)
		}
		so.stopTimer()
		so.phase, so.connected, so.cantSend = tcpGone, false, true
	case v.state == tcp.StateTimeWait:
		so.connected, so.cantSend = false, true
	}
	return v
}

func (so *tcpSocket) stopTimer() {
	if so.connTimer != nil {
		so.connTimer.Stop()
		so.connTimer = nil
	}
}

// tcpErrno gives the error of a connection's end.
func tcpErrno(err tcpip.Error) netbsd.Errno {
	switch err.(type) {
	case *tcpip.ErrConnectionRefused, *tcpip.ErrUnknownProtocolOption:
		return netbsd.ECONNREFUSED
	case *tcpip.ErrConnectionReset, *tcpip.ErrConnectionAborted, *tcpip.ErrAborted:
		// The engine says aborted when the reset comes after the peer's
		// own end.
		return netbsd.ECONNRESET
	case *tcpip.ErrTimeout:
		return netbsd.ETIMEDOUT
	case *tcpip.ErrHostDown:
		return netbsd.EHOSTDOWN
	case *tcpip.ErrHostUnreachable, *tcpip.ErrNetworkUnreachable, *tcpip.ErrNoNet, *tcpip.ErrNotSupported:
		return netbsd.EHOSTUNREACH
	case *tcpip.ErrPortInUse:
		return netbsd.EADDRINUSE
	case *tcpip.ErrBadLocalAddress, *tcpip.ErrNoPortAvailable:
		return netbsd.EADDRNOTAVAIL
	case *tcpip.ErrNoBufferSpace:
		return netbsd.ENOBUFS
	}
	return netbsd.EINVAL
}

// Bind implements [kernel.Socket].
func (so *tcpSocket) Bind(sa []byte) error {
	so.mu.Lock()
	phase, bound, v6only := so.phase, so.isBound(), so.ip6.flags&in6pV6Only != 0
	so.mu.Unlock()
	if phase != tcpIdle || bound || len(sa) != sizeofSockaddr(so.family) {
		return netbsd.EINVAL
	}
	e, err := so.parse(sa)
	if err != nil {
		return err
	}
	switch {
	case e.addr.Is4In6() && so.family == netbsd.AF_INET6 && v6only:
		return netbsd.EINVAL
	case e.addr.IsValid() && !isAny(unmapped(e.addr)):
		if err := so.stack.bindable(unmapped(e.addr), false); err != nil {
			return err
		}
	}
	so.mu.Lock()
	defer so.mu.Unlock()
	if so.phase != tcpIdle || so.isBound() {
		return netbsd.EINVAL
	}
	if e.port == 0 {
		return so.bindAny(e.addr)
	}
	return so.bindTo(e)
}

// bindAny binds the socket to a port that is free; so.mu is held.
func (so *tcpSocket) bindAny(a netip.Addr) error {
	_, ok := so.stack.choosePort(so.family, so.lowPort(), func(port uint16) bool {
		return so.bindTo(endpoint{a, port}) == nil
	})
	if !ok {
		return netbsd.EADDRNOTAVAIL
	}
	so.anonPort = true
	return nil
}

// bindTo binds the socket to a port; so.mu is held.
func (so *tcpSocket) bindTo(e endpoint) error {
	t := &so.stack.sockets
	port, err := t.claimTCP(so.holder(e), so.ep)
	if err != nil {
		return err
	}
	if err := so.bindEndpoint(e, 0); err != nil {
		t.releaseTCP(port)
		return err
	}
	t.updateTCP(port, func() { port.owner = so })
	so.local, so.port = e, port
	return nil
}

// bindEndpoint binds the endpoint, on an interface if nic is not 0.
func (so *tcpSocket) bindEndpoint(e endpoint, nic tcpip.NICID) error {
	addr := tcpip.FullAddress{NIC: nic, Addr: engineAddr(e.addr), Port: e.port}
	if isAny(e.addr) {
		addr.Addr = tcpip.Address{}
	}
	if err := so.ep.Bind(addr); err != nil {
		return tcpErrno(err)
	}
	return nil
}

func (so *tcpSocket) isBound() bool { return so.local != endpoint{} }

func (so *tcpSocket) parse(sa []byte) (endpoint, error) {
	if so.family == netbsd.AF_INET {
		return parseIn(sa)
	}
	return so.stack.parseIn6(so.m, sa)
}

// Listen implements [kernel.Socket].
func (so *tcpSocket) Listen(backlog int32) error {
	so.mu.Lock()
	defer so.mu.Unlock()
	so.sync()
	if so.phase != tcpIdle && so.phase != tcpListening {
		return netbsd.EINVAL
	}
	so.backlog = int(max(backlog, 0))
	if so.port == nil {
		if err := so.bindAny(netip.Addr{}); err != nil {
			return err
		}
	}
	if err := so.ep.Listen(so.room()); err != nil && so.phase != tcpListening {
		return tcpErrno(err)
	}
	so.phase = tcpListening
	so.options |= netbsd.SO_ACCEPTCONN
	return nil
}

// most is how many connections may wait for accept(2), besides the one that the engine always may
// have: half as many again as the backlog, as ever in BSD. A client that accepts for others has some
// of the backlog; so.mu is held.
func (so *tcpSocket) most() int {
	if so.counts {
		return max(min(so.backlog, maxCounted)-int(int32(so.given-so.taken)), 0)
	}
	return 3 * min(so.backlog, netbsd.SOMAXCONN) / 2
}

// maxCounted is the largest backlog of a client that accepts for others: Linux's
// net.core.somaxconn.
const maxCounted = 4096

// room is how many more connections may wait in the engine; drain leaves it the one. There is
// none beside the only one of a client that accepts for others.
func (so *tcpSocket) room() int {
	if so.counts && so.backlog == 0 && len(so.queue)+int(int32(so.given-so.taken)) > 0 {
		return 0
	}
	return max(so.most()+1-len(so.queue), 1)
}

// makeRoom tells the engine, which has listened before, how many may wait in it now; so.mu is held.
func (so *tcpSocket) makeRoom() { _ = so.ep.Listen(so.room()) }

// Taken implements [kernel.TakenCounter].
func (so *tcpSocket) Taken(n uint32) error {
	so.mu.Lock()
	defer so.mu.Unlock()
	if so.phase != tcpListening {
		return netbsd.EINVAL
	}
	if !so.counts {
		so.counts, so.given = true, n
	}
	// What is taken was accepted before.
	so.taken = so.given - uint32(max(int32(so.given-n), 0))
	so.drain()
	so.makeRoom()
	return nil
}

// drain takes over the connections that the engine has finished, but for the last that may
// wait; so.mu is held.
func (so *tcpSocket) drain() { so.drainTo(so.most()) }

// drainTo takes over connections until there are so many.
func (so *tcpSocket) drainTo(most int) {
	if so.phase != tcpListening || so.shutRead {
		return
	}
	before := len(so.queue)
	for len(so.queue) < most {
		ep, wq, err := so.ep.Accept(nil)
		if err != nil {
			break
		}
		so.queue = append(so.queue, so.accepted(ep.(*tcp.Endpoint), wq))
	}
	if len(so.queue) != before {
		so.makeRoom()
	}
}

// waiting is how many connections wait for accept(2), after drain; so.mu is held.
func (so *tcpSocket) waiting() int {
	n := len(so.queue)
	if so.phase == tcpListening && !so.shutRead && so.ep.Readiness(waiter.ReadableEvents) != 0 {
		n++ // the last, which the engine has
	}
	return n
}

// accepted makes the socket of a listener's connection, with the listener's
// options (sonewconn).
func (so *tcpSocket) accepted(ep *tcp.Endpoint, wq *waiter.Queue) *tcpSocket {
	c := &tcpSocket{phase: tcpConnected, opt: so.opt, passive: true, queued: true}
	c.init(so.stack, so.m, so.family, so.typ, so.proto, so.snd.hiwat, so.rcv.hiwat)
	c.snd, c.rcv = so.snd, so.rcv
	c.options = so.options &^ netbsd.SO_ACCEPTCONN
	c.linger, c.pgid = so.linger, so.pgid
	c.rcvTicks, c.sndTicks = so.rcvTicks, so.sndTicks
	c.ip4, c.ip6 = so.ip4, so.ip6
	c.device.Store(so.device.Load())
	c.connected = true
	c.pairing.Inherit(&so.pairing)
	c.attach(ep, wq)
	c.applyOptions()
	c.local = c.address(ep.GetLocalAddress())
	c.remote = c.address(ep.GetRemoteAddress())
	c.hold()
	so.stack.sockets.add(c)
	return c
}

// Accept implements [kernel.Socket].
func (so *tcpSocket) Accept() (kernel.Socket, []byte, error) {
	so.mu.Lock()
	if so.options&netbsd.SO_ACCEPTCONN == 0 {
		so.mu.Unlock()
		return nil, nil, netbsd.EINVAL
	}
	so.drainTo(max(so.most(), 1))
	if len(so.queue) == 0 {
		defer so.mu.Unlock()
		switch {
		case so.err != 0:
			return nil, nil, so.takeError()
		case so.cantRecv, so.closed:
			return nil, nil, netbsd.ECONNABORTED
		}
		return nil, nil, netbsd.EAGAIN
	}
	c := so.queue[0]
	so.queue = append([]*tcpSocket(nil), so.queue[1:]...)
	so.given++
	so.makeRoom()
	so.mu.Unlock()
	c.mu.Lock()
	c.sync()
	c.queued = false
	gone := c.phase == tcpGone
	peer := c.remote.sockaddr(c.m, c.family)
	c.mu.Unlock()
	if gone {
		_ = c.Close()
		// A client that accepts for others does not get it, and so will not say that they have.
		so.mu.Lock()
		so.given--
		so.makeRoom()
		so.mu.Unlock()
		return nil, nil, netbsd.ECONNABORTED
	}
	return c, peer, nil
}

// Shutdown implements [kernel.Socket].
func (so *tcpSocket) Shutdown(how int32) error {
	read, write, err := shutdownHow(how)
	if err != nil {
		return err
	}
	so.mu.Lock()
	so.sync()
	if read {
		if so.phase == tcpConnected && !so.shutRead {
			go so.dropInput()
		}
		so.shutRead, so.cantRecv = true, true
	}
	switch {
	case write && so.phase == tcpGone:
		err = netbsd.EINVAL
	case write && so.phase != tcpConnected:
		// There is nothing to end but the control block.
		so.drop()
	case write:
		so.cantSend = true
		so.ep.Shutdown(tcpip.ShutdownWrite)
	}
	so.mu.Unlock()
	so.Wake(kernel.Changed)
	return err
}

// dropInput drops what comes in until no more does. The engine would not
// acknowledge it if it were told that nobody reads.
func (so *tcpSocket) dropInput() {
	changed := make(chan struct{}, 1)
	w := &kernel.Watcher{Notify: func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}}
	so.Watch(w)
	defer so.Unwatch(w)
	for {
		so.mu.Lock()
		v := so.sync()
		so.discard()
		done := so.closed || v.recvClosed || so.phase == tcpGone
		so.mu.Unlock()
		if done {
			return
		}
		<-changed
	}
}

// discard drops what has come in and not been read: the engine would reset a
// connection that is closed with data unread, which NetBSD does not.
func (so *tcpSocket) discard() {
	for {
		if _, err := so.ep.Read(discarder{}, tcpip.ReadOptions{}); err != nil {
			return
		}
	}
}

type discarder struct{}

// Write implements io.Writer.
func (discarder) Write(p []byte) (int, error) { return len(p), nil }

// Close implements [kernel.File]. A connection goes on in the background until
// both sides have ended it; SO_LINGER does not wait for that, but with a time
// of 0 it resets the connection.
func (so *tcpSocket) Close() error {
	s := so.stack
	kernel.SettlePair(so)
	so.mu.Lock()
	so.sync()
	so.stopTimer()
	queue := so.queue
	so.queue = nil
	so.closed, so.cantRecv, so.cantSend = true, true, true
	so.wq.EventUnregister(&so.entry)
	if so.options&netbsd.SO_LINGER != 0 && so.linger == 0 {
		so.ep.SocketOptions().SetLinger(tcpip.LingerOption{Enabled: true})
	} else if so.phase == tcpConnected {
		so.discard()
	}
	// The engine tells when the connection is over; until then it is shown.
	ep, port := so.ep, so.port
	forget := func() {
		if isOver(ep) {
			s.sockets.remove(so)
			if port != nil {
				s.sockets.releaseTCP(port)
			}
		}
	}
	over := waiter.NewFunctionEntry(math.MaxUint16, func(waiter.EventMask) { forget() })
	so.wq.EventRegister(&over)
	if port != nil {
		s.sockets.updateTCP(port, func() { port.closed = true })
	}
	so.mu.Unlock()

	for _, c := range queue {
		c.ep.Abort()
		_ = c.Close()
	}
	ep.Close()
	so.groups4.clear(s)
	so.groups6.clear(s)
	forget()
	so.Wake(kernel.Changed)
	return nil
}

// isOver tells whether an endpoint has ended.
func isOver(ep *tcp.Endpoint) bool {
	state := ep.EndpointState()
	return state == tcp.StateClose || state == tcp.StateError
}

// Name implements [kernel.Socket].
func (so *tcpSocket) Name() ([]byte, error) {
	so.mu.Lock()
	defer so.mu.Unlock()
	so.sync()
	if so.phase == tcpGone {
		return nil, netbsd.EINVAL
	}
	return so.local.sockaddr(so.m, so.family), nil
}

// Peer implements [kernel.Socket].
func (so *tcpSocket) Peer() ([]byte, error) {
	so.mu.Lock()
	defer so.mu.Unlock()
	so.sync()
	if !so.connected {
		return nil, netbsd.ENOTCONN
	}
	return so.remote.sockaddr(so.m, so.family), nil
}
