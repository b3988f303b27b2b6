package inet

import (
	"errors"
	"io"
	"net/netip"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"rumptools/internal/kernel/lend"
	"rumptools/pkg/netbsd"
)

// loan is a connection that somebody else than the socket's calls reads and writes.
// What is carried goes past the socket, whose state is looked at only when
// something has ended.
type loan struct {
	of     *lend.Loan
	so     *tcpSocket
	ep     *tcp.Endpoint
	entry  waiter.Entry
	out    batchWriter
	drop   dropWriter
	corked atomic.Bool // TCP_CORK is set
	// local and remote are the addresses, those of IPv4 as such.
	local, remote netip.Addr
}

// errDone ends a read.
var errDone = errors.New("done")

// batchWriter writes many pieces at once. The endpoint, which keeps them while it is
// only looked at, is locked until that is done.
type batchWriter struct {
	dst    lend.Sink
	pieces [lend.MaxPieces][]byte
	have   int // pieces
	left   int // bytes until it is time
	n      int // bytes written
}

// Write implements io.Writer.
func (w *batchWriter) Write(p []byte) (int, error) {
	w.pieces[w.have] = p
	w.have++
	w.left -= len(p)
	if w.left > 0 && w.have < len(w.pieces) {
		return len(p), nil
	}
	w.n = w.dst.WriteAll(w.pieces[:w.have])
	return 0, errDone
}

// dropWriter takes so many bytes.
type dropWriter struct{ left int }

// Write implements io.Writer.
func (w *dropWriter) Write(p []byte) (int, error) {
	n := min(len(p), w.left)
	w.left -= n
	if n < len(p) {
		return n, errDone
	}
	return n, nil
}

var _ lend.Stream = (*loan)(nil)

// Lend implements [kernel.Lender]. It fails with ENOTCONN when there is neither a
// connection nor an attempt to make one, and with EBUSY when it is lent.
func (so *tcpSocket) Lend(of *lend.Loan) (lend.Stream, error) {
	so.mu.Lock()
	defer so.mu.Unlock()
	so.sync()
	switch {
	case so.closed:
		return nil, netbsd.EBADF
	case so.phase == tcpListening, so.remote == endpoint{}:
		return nil, netbsd.ENOTCONN
	case so.loan != nil:
		return nil, netbsd.EBUSY
	}
	l := &loan{of: of, so: so, ep: so.ep, local: unmapped(so.local.addr), remote: unmapped(so.remote.addr)}
	l.corked.Store(so.opt.cork != 0)
	so.loan = l
	l.entry = waiter.NewFunctionEntry(
		waiter.ReadableEvents|waiter.WritableEvents|waiter.EventErr|waiter.EventHUp|waiter.EventRdHUp,
		func(mask waiter.EventMask) {
			var ev lend.Events
			if mask&(waiter.ReadableEvents|waiter.EventRdHUp) != 0 {
				ev |= lend.Readable
			}
			if mask&waiter.WritableEvents != 0 {
				ev |= lend.Writable
			}
			if mask&(waiter.EventErr|waiter.EventHUp) != 0 {
				ev |= lend.Broken
			}
			of.Notify(ev)
		})
	so.wq.EventRegister(&l.entry)
	return l, nil
}

// Send implements [lend.Stream]. Atomic, since what is taken from src must not be lost
// to one who writes at the same time. As in sosend, the buffer grows when it is full.
func (l *loan) Send(src lend.Source) (int, error) {
	n, err := l.ep.Write(src, tcpip.WriteOptions{Atomic: true})
	switch err.(type) {
	case nil:
		if src.Len() > 0 {
			l.grow()
		}
		return int(n), nil
	case *tcpip.ErrWouldBlock:
		return 0, netbsd.EAGAIN
	}
	return 0, l.why(err, netbsd.EPIPE)
}

// Corked implements [lend.Stream].
func (l *loan) Corked() bool { return l.corked.Load() }

// Full implements [lend.Stream]. What the endpoint has taken and not sent comes first.
func (l *loan) Full(n int) int {
	segment, waiting := nextSegment(l.ep)
	if segment == 0 {
		return n // not connected yet
	}
	l.so.mu.Lock()
	// Two must fit into the send buffer, or it would never have room for one.
	segment = max(min(segment, l.so.snd.hiwat/2), 1)
	l.so.mu.Unlock()
	return max(n-(waiting+n)%segment, 0)
}

// Push implements [lend.Stream].
func (l *loan) Push() {
	l.so.mu.Lock()
	defer l.so.mu.Unlock()
	if !l.so.opt.noDelay {
		ops := l.ep.SocketOptions()
		ops.SetDelayOption(false)
		ops.SetDelayOption(true)
	}
}

// setCork tells a loan of TCP_CORK, which may be what it was. What was written before leaves. It is
// called with no locks held.
func (l *loan) setCork(on bool) {
	if !on {
		l.corked.Store(false)
	}
	l.of.Notify(lend.Flush)
	if on {
		l.corked.Store(true)
	}
}

// grow gives the send buffer more room, up to what its kind may have.
func (l *loan) grow() {
	so := l.so
	most := so.stack.tcpParam("sendbuf_max")
	so.mu.Lock()
	defer so.mu.Unlock()
	if so.opt.autoSend && so.snd.hiwat < most && !so.closed {
		so.snd.hiwat = min(so.snd.hiwat+so.stack.tcpParam("sendbuf_inc"), most)
		so.ep.SocketOptions().SetSendBufferSize(int64(so.snd.hiwat), true)
	}
}

// batch is how much has to have come in to be worth two reads.
const batch = 48 << 10

// Recv implements [lend.Stream]. Much is written at once, while it is only looked at,
// and then read: a program that is woken for each segment is woken often.
func (l *loan) Recv(dst lend.Sink) (int, error) {
	if have := lookAt(l.ep).received; have >= batch {
		l.out.dst, l.out.left = dst, have
		l.ep.Read(&l.out, tcpip.ReadOptions{Peek: true})
		n := l.out.n
		l.out = batchWriter{}
		if n > 0 {
			l.drop.left = n
			l.ep.Read(&l.drop, tcpip.ReadOptions{})
			l.ep.ModerateRecvBuf(n)
			return n, nil
		}
		// The rest that dst kept back has no room, or the connection has ended.
	}
	res, err := l.ep.Read(dst, tcpip.ReadOptions{})
	switch err.(type) {
	case nil:
		l.ep.ModerateRecvBuf(res.Count)
		return res.Count, nil
	case *tcpip.ErrWouldBlock:
		return 0, netbsd.EAGAIN
	case *tcpip.ErrBadBuffer: // dst has no room
		return 0, netbsd.EAGAIN
	case *tcpip.ErrClosedForReceive:
		if err := l.Err(); err != nil {
			return 0, err
		}
		return 0, io.EOF
	case *tcpip.ErrNotConnected:
		if l.begins() {
			return 0, netbsd.EAGAIN
		}
	}
	return 0, l.why(err, netbsd.ECONNRESET)
}

// begins tells whether the connection is being made, or has been made at this moment.
func (l *loan) begins() bool {
	l.so.mu.Lock()
	defer l.so.mu.Unlock()
	l.so.sync()
	return l.so.phase == tcpConnecting || l.so.phase == tcpConnected
}

// why gives the reason for which the connection broke, or what the engine says, or
// def.
func (l *loan) why(said tcpip.Error, def netbsd.Errno) error {
	l.so.broke(said)
	if err := l.Err(); err != nil {
		return err
	}
	if errno := tcpErrno(said); errno != netbsd.EINVAL {
		return errno
	}
	return def
}

// Err implements [lend.Stream]. The error stays for SO_ERROR.
func (l *loan) Err() error {
	l.so.mu.Lock()
	defer l.so.mu.Unlock()
	l.so.sync()
	if l.so.err != 0 {
		return l.so.err
	}
	return nil
}

// EndSend implements [lend.Stream].
func (l *loan) EndSend() { _ = l.so.Shutdown(netbsd.SHUT_WR) }

// Close implements [lend.Stream]. The socket is closed by its client, soon, and until then nobody looks at it.
func (l *loan) Close() { l.ep.Close() }

// Unsent implements [lend.Stream]. To the kernel itself nothing has been sent that has not arrived, for the
// receiver may have no room for segments that it is to look at, and a reset is none.
func (l *loan) Unsent() bool {
	if l.so.stack.isLocal(l.remote) {
		return lookAt(l.ep).unsent > 0
	}
	_, waiting := nextSegment(l.ep)
	return waiting > 0
}

// Reset implements [lend.Stream].
func (l *loan) Reset() { l.ep.Abort() }

// Unread implements [lend.Stream].
func (l *loan) Unread() bool { return lookAt(l.ep).received > 0 }

// Abrupt implements [lend.Stream].
func (l *loan) Abrupt() bool {
	l.so.mu.Lock()
	defer l.so.mu.Unlock()
	return l.so.options&netbsd.SO_LINGER != 0 && l.so.linger == 0
}

// Release implements [lend.Stream].
func (l *loan) Release() {
	l.so.wq.EventUnregister(&l.entry)
	l.so.mu.Lock()
	defer l.so.mu.Unlock()
	l.so.loan = nil
}
