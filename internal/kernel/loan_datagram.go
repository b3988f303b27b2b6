package kernel

import (
	"rumptools/internal/kernel/lend"
	"rumptools/pkg/sysproxy"
)

// DatagramLender is a socket for datagrams that can be lent: what is sent and received
// comes from and goes to a socket of the host instead of calls.
type DatagramLender interface {
	// LendDatagrams begins a loan. It fails with EBUSY while there is another.
	LendDatagrams(notify func(lend.Events)) (lend.Datagrams, error)
	// Abandon has the socket receive nothing any more: what has come and nobody has received, and what comes from now on,
	// goes where it would if the socket were closed.
	Abandon()
}

// lendDatagrams answers a LENDDGRAM, when the loan has ended.
func (c *conn) lendDatagrams(h sysproxy.Header, payload []byte) bool {
	if !c.link.lends() {
		return c.refuse(h, sysproxy.ErrMalformedRequest)
	}
	m, err := c.layout.ParseLendDatagrams(h, payload)
	if err != nil || m.Op > sysproxy.LendAbandon {
		closeFile(c.link.takeFile())
		return c.refuse(h, sysproxy.ErrMalformedRequest)
	}
	if m.Op == sysproxy.LendTakeBack || m.Op == sysproxy.LendAbandon {
		reply := sysproxy.LendDatagramsReply{End: sysproxy.LoanRevoked}
		if err := c.takeBack(m.FD, m.Op == sysproxy.LendAbandon); err != nil {
			reply = sysproxy.LendDatagramsReply{Errno: int32(errnoOf(err))}
		}
		return c.send(reply, h.ReqNo, true)
	}
	file := c.link.takeFile()
	if c.execRunning() {
		closeFile(file)
		return c.refuse(h, sysproxy.ErrInExec)
	}
	err = beginLoan(c, m.FD, file, h.ReqNo, lendDatagramsReply, func(p *lend.Pump, s DatagramLender, ended func(lend.End, error), closed func()) (*lend.Loan, error) {
		if m.Op == sysproxy.LendBeginLabels {
			return p.NewLabelledLoan(file, s.LendDatagrams, ended, closed)
		}
		return p.NewDatagramLoan(file, m.Op == sysproxy.LendBeginControl, s.LendDatagrams, ended, closed)
	})
	if err != nil {
		closeFile(file)
		return c.send(lendDatagramsReply(sysproxy.LendReply{Errno: int32(errnoOf(err))}), h.ReqNo, true)
	}
	return true
}

func lendDatagramsReply(r sysproxy.LendReply) sysproxy.Message { return sysproxy.LendDatagramsReply(r) }

// takeBack ends the loan of what a descriptor leads to, if there is one of datagrams. abandon says that the program's end is
// closed.
func (c *conn) takeBack(fd int32, abandon bool) error {
	hd, err := c.proc.fds.get(fd)
	if err != nil {
		return err
	}
	defer hd.release()
	hd.desc.mu.Lock()
	loan := hd.desc.lent
	hd.desc.mu.Unlock()
	lender, ok := hd.File.(DatagramLender)
	switch {
	case !ok:
	case loan != nil:
		loan.TakeBack(abandon)
	case abandon:
		lender.Abandon()
	}
	return nil
}

// lend keeps the loan, for takeBack.
func (d *descriptor) lend(loan *lend.Loan) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lent = loan
}
