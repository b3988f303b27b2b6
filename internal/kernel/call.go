package kernel

import (
	"bytes"
	"context"
	"runtime"
	"time"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// Call is a system call under way.
type Call struct {
	// Proc is the caller.
	Proc *Proc

	k    *Kernel
	conn *conn
	ctx  context.Context
	num  uint32
	args netbsd.ArgReader
	// block holds the arguments, nargs bytes of them.
	block [(netbsd.MaxArgs + 2) * 8]byte
	nargs int
	// carried is what came with the call, and memory the pieces of the caller's memory
	// in it. refused is why there is no room for that.
	carried []byte
	memory  []sysproxy.Segment
	refused error
	// charged is the memory that the call holds (see buffer).
	charged int64
	copy    copyWait // the copy under way
	one     [1]iovec // memory that one argument tells
	// late are copies to the caller that go out when its ioctl has
	// returned; inIoctl is whether it has not.
	late    []lateCopy
	inIoctl bool
	// ret1 is the second register of the result; ret64 makes the first
	// one a 64-bit result.
	ret1  uint64
	ret64 bool
	reqno uint64
	// reading is whether the call's goroutine is its connection's reader.
	reading bool
	// settles is that the caller wants to know what has come of a connect(2) that does not
	// wait.
	settles bool
	// dials is that a socket(2) connects, too.
	dials bool
	// mute is that nobody wants the answer.
	mute bool
	// after is done when the call has been answered.
	after func()
}

// lateCopy is a copy to the caller that has not gone out.
type lateCopy struct {
	addr uint64
	data []byte
}

// Machine is the kernel's machine.
func (c *Call) Machine() *netbsd.Machine { return c.k.machine }

// Kernel is the kernel that the call is made in.
func (c *Call) Kernel() *Kernel { return c.k }

// Context ends when the call should end with EINTR: its client is gone, or
// executes another program.
func (c *Call) Context() context.Context { return c.ctx }

// CopyIn reads len(p) bytes of the caller's memory. It fails with EFAULT, for a
// null pointer without asking the client.
func (c *Call) CopyIn(addr uint64, p []byte) error {
	if len(p) == 0 {
		return nil
	}
	if addr == 0 || c.conn == nil {
		return netbsd.EFAULT
	}
	if b := c.brought(addr); len(b) >= len(p) {
		copy(p, b)
		return nil
	}
	return c.conn.copyIn(c, addr, p)
}

// brought is what the caller has brought along of its memory from addr on, up to the
// end of a piece; nil when it has not.
func (c *Call) brought(addr uint64) []byte {
	for i := range c.memory {
		m := &c.memory[i]
		if off := addr - m.Addr; off < uint64(len(m.Data)) {
			return m.Data[off:]
		}
	}
	return nil
}

// CopyInStr reads a string of the caller's of less than limit bytes. A longer
// one gives ENAMETOOLONG.
func (c *Call) CopyInStr(addr uint64, limit int) (string, error) {
	if addr == 0 || c.conn == nil {
		return "", netbsd.EFAULT
	}
	if b := c.brought(addr); b != nil {
		b = b[:min(len(b), limit)]
		if i := bytes.IndexByte(b, 0); i >= 0 {
			return string(b[:i]), nil
		}
		if len(b) == limit {
			return "", netbsd.ENAMETOOLONG
		}
	}
	return c.conn.copyInStr(c, addr, limit)
}

// CopyOut writes p to the caller's memory. Nobody says whether it arrived.
// Within [File.Ioctl] it only notes what to write: a device may hold locks that
// a caller which does not read must not keep held. For the same reason nobody
// should hold a lock over CopyIn and CopyInStr.
func (c *Call) CopyOut(addr uint64, p []byte) error {
	if len(p) == 0 {
		return nil
	}
	if addr == 0 || c.conn == nil {
		return netbsd.EFAULT
	}
	if c.inIoctl {
		c.late = append(c.late, lateCopy{addr, bytes.Clone(p)})
		return nil
	}
	return c.conn.copyOut(c, addr, p)
}

// Raise raises a signal in the caller.
func (c *Call) Raise(sig netbsd.Signal) {
	if c.conn != nil {
		c.conn.raise(uint32(sig), c.reading)
	}
}

// copyInStruct reads a structure of the caller's into v, a pointer.
func (c *Call) copyInStruct(addr uint64, v any) error {
	b := make([]byte, netbsd.Sizeof(c.k.machine, v))
	if err := c.CopyIn(addr, b); err != nil {
		return err
	}
	return netbsd.Unmarshal(c.k.machine, b, v)
}

// copyOutStruct writes a structure to the caller.
func (c *Call) copyOutStruct(addr uint64, v any) error {
	return c.CopyOut(addr, netbsd.Marshal(c.k.machine, v))
}

// wake tells a call that waits.
func (k *Kernel) wake(changed chan<- struct{}) {
	select {
	case changed <- struct{}{}:
		k.woken.Store(true)
	default:
	}
}

// yield lets calls go on that have been woken. A reader whose client has always something more
// to do would keep them waiting, until another thread has taken them from its P.
func (k *Kernel) yield() {
	if k.woken.Load() && k.woken.Swap(false) {
		runtime.Gosched()
	}
}

// wait tries until try gives something else than EAGAIN. Between tries it
// waits for a change of h's file, but no longer than timeout (0: for ever;
// then EAGAIN is the result, as NetBSD's SO_RCVTIMEO has it), the call's
// context (EINTR) or the descriptor's life (EBADF). With nonblock it tries
// once.
func (c *Call) wait(h held, nonblock bool, timeout time.Duration, try func() error) error {
	err := try()
	if err != netbsd.EAGAIN || nonblock {
		return err
	}
	c.handOver()
	changed := make(chan struct{}, 1)
	w := &Watcher{Notify: func() { c.k.wake(changed) }}
	h.Watch(w)
	defer h.Unwatch(w)
	var expired <-chan time.Time
	if timeout > 0 {
		t := time.NewTimer(timeout)
		defer t.Stop()
		expired = t.C
	}
	for {
		if err := try(); err != netbsd.EAGAIN {
			return err
		}
		select {
		case <-changed:
		case <-c.ctx.Done():
			return netbsd.EINTR
		case <-h.desc.closed:
			return netbsd.EBADF
		case <-expired:
			return netbsd.EAGAIN
		}
	}
}
