//go:build amd64 || arm64

package hijack

import (
	"sync/atomic"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
	"rumptools/pkg/spclient"
	"rumptools/pkg/sysproxy"
)

// A loan is a connection that the kernel carries by itself: it has a copy of K. This
// one's is for the end.
type loan struct {
	*connection

	over atomic.Bool // the kernel has nothing to do any more

	corked  bool   // what TCP_CORK was when it began
	changes uint32 // of TCP_CORK since, with the options' lock held
}

// lend lends K to the kernel, and tells whether it took it.
func (c *connection) lend() bool {
	l, x := &loan{connection: c}, c.x
	x.optMu.Lock()
	if l.corked = x.opts.Corked(); x.opts.HasCork() {
		// The listener may have had another when the kernel's was accepted.
		l.look()
	}
	c.setCarrier(l)
	x.optMu.Unlock()
	err := c.ks.Use(func(fd spclient.FD) error { return x.s.conn.Lend(x.s.ctx, fd, c.k.fd, true, l.ended) })
	if err != nil {
		x.s.say("lend: %v", err)
		c.setCarrier(nil)
	}
	return err == nil
}

// ended is called when the kernel carries no longer.
func (l *loan) ended(end spclient.LoanEnd) {
	switch end.How {
	case sysproxy.LoanClosed:
		// Each direction may have ended by itself, while programs have the socket.
		l.over.Store(true)
		if l.k.hungUp() || l.k.watch() != nil {
			l.finish()
		}
	case sysproxy.LoanDropped:
		l.finish()
	case sysproxy.LoanRevoked:
		l.k.close()
		l.deliver()
	case sysproxy.LoanFailed:
		l.reset(linuxsock.Errno(end.Cause))
	default:
		if l.x.s.ctx.Err() == nil {
			l.reset(unix.ECONNRESET)
		}
	}
}

func (l *loan) hungUp() {
	if l.over.Load() {
		l.finish()
	}
}
