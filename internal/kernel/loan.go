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
	Lend(notify func(lend.Events)) (lend.Stream, error)
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
	b.Extensions = []string{sysproxy.ExtCarry}
	if c.link.lends() {
		b.Extensions = append(b.Extensions, sysproxy.ExtLend, sysproxy.ExtLendDatagrams, sysproxy.ExtPair)
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
	if err != nil {
		closeFile(file)
		return c.refuse(h, sysproxy.ErrMalformedRequest)
	}
	if c.execRunning() {
		closeFile(file)
		return c.refuse(h, sysproxy.ErrInExec)
	}
	if err := c.beginLoan(m.FD, file, h.ReqNo); err != nil {
		closeFile(file)
		return c.send(sysproxy.LendReply{Errno: int32(errnoOf(err))}, h.ReqNo, true)
	}
	return true
}

// beginLoan lends what a descriptor leads to, to the other end of file. Unless it fails
// file is the loan's. The loan is the descriptor's: it ends when that is closed.
func (c *conn) beginLoan(fd int32, file int, reqno uint64) error {
	hd, err := c.proc.fds.get(fd)
	if err != nil {
		return err
	}
	defer hd.release()
	s, ok := hd.File.(Socket)
	if !ok {
		return netbsd.ENOTSOCK
	}
	lender, ok := s.(Lender)
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
		m := sysproxy.LendReply{End: sysproxy.LoanEnd(how)}
		if how == lend.Failed {
			m.Cause = int32(errnoOf(cause))
		}
		// Not here: who carries bytes must not wait for a client that does not
		// read.
		go c.send(m, reqno, false)
	}
	loan, err = p.NewLoan(file, lender.Lend, ended, func() { desc.pollers.Unwatch(end) })
	switch err {
	case nil:
	case lend.ErrHost:
		return netbsd.EINVAL
	case lend.ErrPump:
		return netbsd.EINTR
	default:
		return err
	}
	desc.pollers.Watch(end)
	if hd.closed() {
		loan.Revoke()
	}
	loan.Start()
	return nil
}
