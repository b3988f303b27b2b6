package inet

import (
	"rumptools/internal/kernel"
	"rumptools/internal/kernel/lend"
	"rumptools/pkg/netbsd"
)

var (
	_ kernel.DatagramLender = (*udpSocket)(nil)
	_ kernel.DatagramLender = (*rawSocket)(nil)
)

// dgramLoan is a socket whose datagrams somebody else than its calls sends and receives.
// Calls may as well.
type dgramLoan struct {
	so      *dgramSocket
	send    func([]byte) (int, error)
	abandon func(undelivered []datagram)
	w       kernel.Watcher
}

// LendDatagrams implements [kernel.DatagramLender].
func (so *udpSocket) LendDatagrams(notify func(lend.Events)) (lend.Datagrams, error) {
	return so.lend(notify, so.Write, so.abandon)
}

// Abandon implements [kernel.DatagramLender].
func (so *udpSocket) Abandon() { so.abandon(nil) }

// LendDatagrams implements [kernel.DatagramLender].
func (so *rawSocket) LendDatagrams(notify func(lend.Events)) (lend.Datagrams, error) {
	return so.lend(notify, so.Write, func([]datagram) {})
}

// Abandon implements [kernel.DatagramLender]. Whatever comes all raw sockets get: nobody gets more without this one.
func (so *rawSocket) Abandon() {}

func (so *dgramSocket) lend(notify func(lend.Events), send func([]byte) (int, error), abandon func([]datagram)) (lend.Datagrams, error) {
	so.mu.Lock()
	closed, lent := so.closed, so.lent
	so.lent = lent || !closed
	so.mu.Unlock()
	switch {
	case closed:
		return nil, netbsd.EBADF
	case lent:
		return nil, netbsd.EBUSY
	}
	// Not with so.mu, which who is notified takes.
	l := &dgramLoan{so: so, send: send, abandon: abandon}
	l.w = kernel.Watcher{Notify: func() { notify(lend.Readable) }, Events: kernel.Readable}
	so.Watch(&l.w)
	return l, nil
}

// Recv implements [lend.Datagrams].
func (l *dgramLoan) Recv() (lend.Datagram, error) {
	so := l.so
	so.mu.Lock()
	defer so.mu.Unlock()
	if len(so.queue) == 0 {
		if err := so.takeError(); err != nil {
			return lend.Datagram{}, err
		}
		return lend.Datagram{}, netbsd.EAGAIN
	}
	d := so.pop()
	return lend.Datagram{From: d.from, Control: d.control, Data: d.data, Whole: d.packet}, nil
}

// Unread implements [lend.Datagrams]. There is room, unless others have come meanwhile; then
// it is that of one more.
func (l *dgramLoan) Unread(g lend.Datagram) {
	so := l.so
	d := received(g)
	so.mu.Lock()
	if so.closed || so.abandoned || so.cantRecv {
		so.mu.Unlock()
		return
	}
	so.queue = append([]datagram{d}, so.queue...)
	so.size += d.size(so.m)
	so.mu.Unlock()
	so.Wake(kernel.Readable)
}

// received is a datagram that Recv gave.
func received(g lend.Datagram) datagram {
	p, _ := g.Whole.(*packet)
	return datagram{from: g.From, control: g.Control, data: g.Data, packet: p}
}

// Abandon implements [lend.Datagrams].
func (l *dgramLoan) Abandon(undelivered []lend.Datagram) {
	list := make([]datagram, len(undelivered))
	for i, g := range undelivered {
		list[i] = received(g)
	}
	l.abandon(list)
}

// Encode implements [lend.Datagrams].
func (l *dgramLoan) Encode(control []netbsd.Cmsg) (b []byte) {
	for _, c := range control {
		b = netbsd.AppendCmsg(l.so.m, b, c.Level, c.Type, c.Data)
	}
	return b
}

// Send implements [lend.Datagrams].
func (l *dgramLoan) Send(data []byte) error {
	_, err := l.send(data)
	return err
}

// Peer implements [lend.Datagrams].
func (l *dgramLoan) Peer() []byte {
	sa, err := l.so.Peer()
	if err != nil {
		return nil
	}
	return sa
}

// Release implements [lend.Datagrams].
func (l *dgramLoan) Release() {
	l.so.Unwatch(&l.w)
	l.so.mu.Lock()
	defer l.so.mu.Unlock()
	l.so.lent = false
}
