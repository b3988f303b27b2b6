package kernel

import (
	"rumptools/internal/kernel/lend"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// DatagramLender is a socket for datagrams that can be lent: what is sent and received
// comes from and goes to a socket of the host instead of calls.
type DatagramLender interface {
	// LendDatagrams begins a loan. It fails with EBUSY while there is another.
	LendDatagrams(notify func(lend.Events)) (lend.Datagrams, error)
}

// lendDatagrams answers a LENDDGRAM, when the loan has ended.
func (c *conn) lendDatagrams(h sysproxy.Header, payload []byte) bool {
	if !c.link.lends() {
		return c.refuse(h, sysproxy.ErrMalformedRequest)
	}
	m, err := c.layout.ParseLendDatagrams(h, payload)
	if err != nil || m.Op > sysproxy.LendTakeBack {
		closeFile(c.link.takeFile())
		return c.refuse(h, sysproxy.ErrMalformedRequest)
	}
	if m.Op == sysproxy.LendTakeBack {
		reply := sysproxy.LendDatagramsReply{End: sysproxy.LoanRevoked}
		if err := c.takeBack(m.FD); err != nil {
			reply = sysproxy.LendDatagramsReply{Errno: int32(errnoOf(err))}
		}
		return c.send(reply, h.ReqNo, true)
	}
	file := c.link.takeFile()
	if c.execRunning() {
		closeFile(file)
		return c.refuse(h, sysproxy.ErrInExec)
	}
	if err := c.beginDatagramLoan(m.FD, file, h.ReqNo); err != nil {
		closeFile(file)
		return c.send(sysproxy.LendDatagramsReply{Errno: int32(errnoOf(err))}, h.ReqNo, true)
	}
	return true
}

// beginDatagramLoan lends what a descriptor leads to, to the program's socket that file leads
// to. Unless it fails file is the loan's. The loan is the descriptor's: it ends when that
// is closed.
func (c *conn) beginDatagramLoan(fd int32, file int, reqno uint64) error {
	hd, err := c.proc.fds.get(fd)
	if err != nil {
		return err
	}
	defer hd.release()
	s, ok := hd.File.(Socket)
	if !ok {
		return netbsd.ENOTSOCK
	}
	lender, ok := s.(DatagramLender)
	if !ok {
		return netbsd.EOPNOTSUPP
	}
	if file < 0 {
		return netbsd.EBADF
	}
	p, err := c.k.pump.get()
	if err != nil {
		return err
	}
	var loan *lend.Loan
	end := &Watcher{Notify: func() { loan.Revoke() }}
	desc := hd.desc
	ended := func(how lend.End, cause error) {
		m := sysproxy.LendDatagramsReply{End: sysproxy.LoanEnd(how)}
		if how == lend.Failed {
			m.Cause = int32(errnoOf(cause))
		}
		// Not here: who carries datagrams must not wait for a client that does not
		// read.
		go c.send(m, reqno, false)
	}
	loan, err = p.NewDatagramLoan(file, lender.LendDatagrams, ended, func() {
		desc.pollers.Unwatch(end)
		desc.lend(nil)
	})
	switch err {
	case nil:
	case lend.ErrHostDatagrams:
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

// takeBack ends the loan of what a descriptor leads to, if there is one.
func (c *conn) takeBack(fd int32) error {
	hd, err := c.proc.fds.get(fd)
	if err != nil {
		return err
	}
	defer hd.release()
	hd.desc.mu.Lock()
	loan := hd.desc.lent
	hd.desc.mu.Unlock()
	if loan != nil {
		loan.TakeBack()
	}
	return nil
}

// lend keeps the loan of datagrams, for takeBack.
func (d *descriptor) lend(loan *lend.Loan) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lent = loan
}
