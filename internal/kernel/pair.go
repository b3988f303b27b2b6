package kernel

import (
	"sync"
	"time"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// Two programs of this host that are connected by a socket each of one kernel need not
// have their bytes carried by it: their supervisors can join two sockets of the host's,
// which then are the programs' ends, while the connection stays in the kernel, silent. All
// that the kernel does is to let the two agree. Either side says beforehand that it will
// come, so that nobody waits for one that does not know of pairs.

// Pairer is a socket whose connection can become a pair.
type Pairer interface {
	Socket
	// Pairing is the socket's, of either end.
	Pairing() *Pairing
	// PairMate is the other end of the socket's connection, nil when that is not in
	// this kernel.
	PairMate() Pairer
}

// Pairing is what two clients have agreed on. It is about the connection when its socket
// has been connected, and about connections to come when it listens; an accepted socket's
// has no more than whether its listener's client makes offers. The zero value is that
// nothing is expected.
type Pairing struct {
	mu    sync.Mutex
	stage pairStage
	path  string
	// offered answers the offer, asked the question.
	offered func(joined bool)
	asked   func(path string)
	peer    *Pairing // of the socket for which the offer was made
	timer   *time.Timer
}

type pairStage uint8

const (
	pairNone     pairStage = iota
	pairExpected           // its client will ask, or make offers
	pairOffered            // there is an offer, and no question yet
	pairAsked              // the other way round
	pairTold               // the path was told
	pairJoined
	pairRefused // it was decided otherwise
)

// pairMoment is how long who asks waits for an offer. It is made as soon as the
// connection is accepted by the listener's client, which may wait for its program.
const pairMoment = 20 * time.Millisecond

// Expect says that the socket's client knows of pairs.
func (p *Pairing) Expect() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stage == pairNone {
		p.stage = pairExpected
	}
}

// Inherit is for the connection of a listener.
func (p *Pairing) Inherit(listener *Pairing) {
	if listener.expects() {
		p.Expect()
	}
}

func (p *Pairing) expects() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stage == pairExpected
}

// Joined tells whether the connection is a pair.
func (p *Pairing) Joined() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stage == pairJoined
}

// Refuse decides against a pair unless there is one. It answers who waits.
func (p *Pairing) Refuse() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse()
}

func (p *Pairing) refuse() {
	if p.stage == pairJoined {
		return
	}
	p.stage = pairRefused
	p.stopTimer()
	if p.offered != nil {
		p.offered(false)
		p.offered = nil
	}
	if p.asked != nil {
		p.asked("")
		p.asked = nil
	}
}

func (p *Pairing) stopTimer() {
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
}

// offer has the path of an offer, for the socket whose Pairing is peer, told to who asks
// for it. answer must not wait.
func (p *Pairing) offer(peer *Pairing, path string, answer func(joined bool)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch p.stage {
	case pairExpected:
		p.stage = pairOffered
		p.path, p.peer, p.offered = path, peer, answer
	case pairAsked:
		p.stage = pairTold
		p.peer, p.offered = peer, answer
		p.stopTimer()
		p.asked(path)
		p.asked = nil
	default:
		answer(false)
	}
}

// ask answers with the path of an offer, or "". answer must not wait. mate tells whether
// there can be an offer yet.
func (p *Pairing) ask(mate bool, answer func(path string)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.stage == pairOffered:
		p.stage = pairTold
		answer(p.path)
	case p.stage == pairExpected && mate:
		p.stage, p.asked = pairAsked, answer
		p.timer = time.AfterFunc(pairMoment, func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			if p.stage == pairAsked {
				p.refuse()
			}
		})
	default:
		p.refuse()
		answer("")
	}
}

// join says that the offer was taken, and tells whether there was one.
func (p *Pairing) join() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stage != pairTold {
		return false
	}
	p.stage = pairJoined
	p.peer.mu.Lock()
	p.peer.stage = pairJoined
	p.peer.mu.Unlock()
	p.offered(true)
	p.offered, p.peer = nil, nil
	return true
}

// SettlePair decides against a pair, of a socket that is lent or closed.
func SettlePair(p Pairer) {
	if mine := p.Pairing(); mine.expects() {
		// Who connected to it may wait for an offer.
		if mate := p.PairMate(); mate != nil {
			mate.Pairing().Refuse()
		}
	}
	p.Pairing().Refuse()
}

// pair answers a PAIR, some operations later.
func (c *conn) pair(h sysproxy.Header, payload []byte) bool {
	if !c.link.lends() {
		return c.refuse(h, sysproxy.ErrMalformedRequest)
	}
	m, err := c.layout.ParsePair(h, payload)
	if err != nil || m.Op > sysproxy.PairRefused || (m.Op == sysproxy.PairOffer) != (m.Path != "") {
		return c.refuse(h, sysproxy.ErrMalformedRequest)
	}
	if c.execRunning() {
		return c.refuse(h, sysproxy.ErrInExec)
	}
	// Answers may come from other connections' readers, or with locks held.
	later := func(m sysproxy.PairReply) { go c.send(m, h.ReqNo, false) }
	now := func(m sysproxy.PairReply) bool { return c.send(m, h.ReqNo, true) }
	so, release, err := c.pairer(m.FD)
	if err != nil {
		return now(sysproxy.PairReply{Errno: int32(errnoOf(err))})
	}
	defer release()
	mine := so.Pairing()
	switch m.Op {
	case sysproxy.PairExpect:
		mine.Expect()
	case sysproxy.PairExpected:
		mate := so.PairMate()
		return now(sysproxy.PairReply{Yes: mate != nil && mate.Pairing().mayAsk()})
	case sysproxy.PairOffer:
		mate := so.PairMate()
		if mate == nil {
			break
		}
		mate.Pairing().offer(mine, m.Path, func(joined bool) { later(sysproxy.PairReply{Yes: joined}) })
		return true
	case sysproxy.PairAsk:
		mate := so.PairMate()
		mine.ask(mate != nil && mate.Pairing().expects(), func(path string) {
			later(sysproxy.PairReply{Yes: path != "", Path: path})
		})
		return true
	case sysproxy.PairJoined:
		return now(sysproxy.PairReply{Yes: mine.join()})
	case sysproxy.PairRefused:
		mine.Refuse()
	}
	return now(sysproxy.PairReply{})
}

// mayAsk tells whether the socket's client will ask, or has.
func (p *Pairing) mayAsk() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stage == pairExpected || p.stage == pairAsked
}

// pairer is the socket of a descriptor, which release lets go.
func (c *conn) pairer(fd int32) (_ Pairer, release func(), err error) {
	hd, err := c.proc.fds.get(fd)
	if err != nil {
		return nil, nil, err
	}
	s, ok := hd.File.(Socket)
	if !ok {
		hd.release()
		return nil, nil, netbsd.ENOTSOCK
	}
	p, ok := s.(Pairer)
	if !ok {
		hd.release()
		return nil, nil, netbsd.EOPNOTSUPP
	}
	return p, hd.release, nil
}
