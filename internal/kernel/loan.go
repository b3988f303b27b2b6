package kernel

import (
	"sync"

	"rumptools/internal/kernel/lend"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// Lender is a socket whose connection can be lent: what is read and written comes
// from and goes to a socket of the host instead of calls.
type Lender interface {
	// Lend begins a loan. It fails with ENOTCONN without a connection, and EBUSY
	// while there is another loan.
	Lend(*lend.Loan) (lend.Stream, error)
}

// pump is the kernel's pump, which the first loan makes.
type pump struct {
	mu     sync.Mutex
	p      *lend.Pump
	closed bool
}

// get gives the pump.
func (p *pump) get() (*lend.Pump, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.p != nil:
		return p.p, nil
	case p.closed:
		return nil, netbsd.EINTR
	}
	var err error
	if p.p, err = lend.NewPump(); err != nil {
		return nil, netbsd.ENFILE
	}
	return p.p, nil
}

// close has the pump end with its last loan.
func (p *pump) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	if p.p != nil {
		p.p.Close()
	}
}

// banner is what the client is greeted with: with the extensions that it may use.
func (c *conn) banner() sysproxy.Banner {
	b := c.k.banner
	b.Extensions = []string{sysproxy.ExtCarry, sysproxy.ExtSettle, sysproxy.ExtDial, sysproxy.ExtPost}
	if c.link.lends() {
		b.Extensions = append(b.Extensions, sysproxy.ExtLend, sysproxy.ExtLendDatagrams, sysproxy.ExtLendControl, sysproxy.ExtLendLabels, sysproxy.ExtPair)
	}
	return b
}

// lend answers a LEND, when the loan has ended.
func (c *conn) lend(h sysproxy.Header, payload []byte) bool {
	if !c.link.lends() {
		return c.refuse(h, sysproxy.ErrMalformedRequest)
	}
	file := c.link.takeFile()
	m, err := c.layout.ParseLend(h, payload)
	if err != nil || m.Flags&^sysproxy.LendSeeded != 0 {
		closeFile(file)
		return c.refuse(h, sysproxy.ErrMalformedRequest)
	}
	if c.execRunning() {
		closeFile(file)
		return c.refuse(h, sysproxy.ErrInExec)
	}
	err = beginLoan(c, m.FD, file, h.ReqNo, lendReply, func(p *lend.Pump, s Lender, ended func(lend.End, error), closed func()) (*lend.Loan, error) {
		return p.NewLoan(file, m.Flags&sysproxy.LendSeeded != 0, s.Lend, ended, closed)
	})
	if err != nil {
		closeFile(file)
		return c.send(lendReply(sysproxy.LendReply{Errno: int32(errnoOf(err))}), h.ReqNo, true)
	}
	return true
}

func lendReply(r sysproxy.LendReply) sysproxy.Message { return r }

// beginLoan lends what a descriptor leads to, an L, to the program's socket that file leads
// to: begin makes the loan, and reply an answer of the request's kind. Unless beginLoan
// fails file is the loan's. The loan is the descriptor's: it ends when that is closed.
func beginLoan[L any](c *conn, fd int32, file int, reqno uint64, reply func(sysproxy.LendReply) sysproxy.Message,
	begin func(p *lend.Pump, s L, ended func(lend.End, error), closed func()) (*lend.Loan, error)) error {
	hd, err := c.proc.fds.get(fd)
	if err != nil {
		return err
	}
	defer hd.release()
	s, ok := hd.File.(Socket)
	if !ok {
		return netbsd.ENOTSOCK
	}
	lender, ok := s.(L)
	if !ok {
		return netbsd.EOPNOTSUPP
	}
	if file < 0 {
		return netbsd.EBADF
	}
	if p, ok := s.(Pairer); ok {
		SettlePair(p)
	}
	p, err := c.k.pump.get()
	if err != nil {
		return err
	}
	var loan *lend.Loan
	end := &Watcher{Notify: func() { loan.Revoke() }}
	desc := hd.desc
	ended := func(how lend.End, cause error) {
		r := sysproxy.LendReply{End: sysproxy.LoanEnd(how)}
		if how == lend.Failed {
			r.Cause = int32(errnoOf(cause))
		}
		// Not here: who carries bytes must not wait for a client that does not
		// read.
		go c.send(reply(r), reqno, false)
	}
	loan, err = begin(p, lender, ended, func() {
		desc.pollers.Unwatch(end)
		desc.lend(nil)
	})
	switch err {
	case nil:
	case lend.ErrHost, lend.ErrHostDatagrams:
		return netbsd.EINVAL
	case lend.ErrPump:
		return netbsd.EINTR
	default:
		return err
	}
	desc.lend(loan)
	desc.pollers.Watch(end)
	if hd.closed() {
		loan.Revoke()
	}
	loan.Start()
	return nil
}
