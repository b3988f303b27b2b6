package trace

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// Bounds of what is remembered of a connection. A client or a kernel that goes
// beyond them is shown less well.
const (
	maxCalls  = 1024 // calls under way
	maxCopies = 4096 // unanswered copy requests
	maxEarly  = 8 << 10
)

// Conn is a client's conversation with the kernel. Its methods belong to the
// Tracer that made it, and must not be called after Close.
type Conn struct {
	t    *Tracer
	id   int
	pid  int // of the host's process, 0 if it is not known
	name string
	// once tells whether the client has been a process of the kernel.
	process bool

	machine *netbsd.Machine // nil before the banner
	layout  sysproxy.Layout
	banner  []byte // as far as it has come
	early   []byte // what the client sent before the banner had come
	blind   bool   // the banner was none, or of an unknown machine

	up, down stream // from the client, from the kernel

	calls  []*call // under way, in the order of their start
	copies map[uint64]copyRequest
	memory int // bytes of memory that calls under way hold
	files  fileTable
}

// copyRequest is a request of the kernel's for a client's memory, not yet
// answered.
type copyRequest struct {
	call       *call // nil for ANONMMAP, and when it is not known
	addr, size uint64
	mmap       bool
}

// Bytes takes what has passed on the connection, in either direction.
func (c *Conn) Bytes(at time.Time, fromClient bool, b []byte) {
	c.t.mu.Lock()
	defer c.t.mu.Unlock()
	c.t.begin(at)
	c.bytes(fromClient, b)
	c.t.finish()
}

func (c *Conn) bytes(fromClient bool, b []byte) {
	switch {
	case c.blind:
		c.t.record.bytes(c, fromClient, b)
	case c.machine != nil:
		c.stream(fromClient, b)
	case fromClient:
		// A client may speak before it is greeted, but what it says can't
		// be read before.
		if len(c.early)+len(b) > maxEarly {
			c.undecodable("the client has sent %d bytes before the kernel's banner", len(c.early)+len(b))
			c.t.record.bytes(c, true, b)
			return
		}
		c.early = append(c.early, b...)
	default:
		c.greeting(b)
	}
}

// greeting takes the kernel's first bytes.
func (c *Conn) greeting(b []byte) {
	n := bytes.IndexByte(b, '\n') + 1
	line := n > 0
	if !line {
		n = len(b)
	}
	if len(c.banner)+n > sysproxy.MaxBanner {
		c.banner = append(c.banner, b[:n]...)
		c.undecodable("the kernel has sent %d bytes without a banner", len(c.banner))
		c.t.record.bytes(c, false, b[n:])
		return
	}
	c.banner = append(c.banner, b[:n]...)
	if !line {
		return
	}
	rest := b[n:]
	banner, err := sysproxy.ParseBanner(string(c.banner))
	if err != nil {
		c.undecodable("the kernel has sent %q, which is no banner", c.banner)
		c.t.record.bytes(c, false, rest)
		return
	}
	m, ok := netbsd.MachineByName(banner.Machine)
	if !ok {
		c.undecodable("the kernel's machine %q is not known", banner.Machine)
		c.t.record.bytes(c, false, rest)
		return
	}
	c.machine = m
	c.layout = sysproxy.Layout{Order: m.Order, WordSize: m.WordSize}
	c.up.layout, c.down.layout = c.layout, c.layout
	c.up.spill = func(b []byte) { c.t.record.bytes(c, true, b) }
	c.down.spill = func(b []byte) { c.t.record.bytes(c, false, b) }
	c.t.record.banner(c)
	c.t.greeted(c, banner)
	early := c.early
	c.early = nil
	if len(early) > 0 {
		c.stream(true, early)
	}
	if len(rest) > 0 {
		c.stream(false, rest)
	}
}

// undecodable says that nothing more of the connection can be made out.
func (c *Conn) undecodable(format string, args ...any) {
	c.blind = true
	c.t.note(c, "undecodable: "+fmt.Sprintf(format, args...)+"; it is passed on unseen")
	c.t.record.bytes(c, false, c.banner)
	c.t.record.bytes(c, true, c.early)
	c.early = nil
}

func (c *Conn) stream(fromClient bool, b []byte) {
	s, who, handle := &c.down, "kernel", c.fromKernel
	if fromClient {
		s, who, handle = &c.up, "client", c.fromClient
	}
	err := s.feed(b, func(f *frame) {
		if !f.cut() {
			c.t.record.frame(c, fromClient, f)
		}
		handle(f)
	})
	if err != nil {
		c.t.note(c, fmt.Sprintf("undecodable: from the %s comes a frame of impossible length; the rest is passed on unseen", who))
	}
}

// EOF takes the end of a direction: no more bytes will come.
func (c *Conn) EOF(at time.Time, fromClient bool) {
	c.t.mu.Lock()
	defer c.t.mu.Unlock()
	c.t.begin(at)
	s, who := &c.down, "kernel"
	if fromClient {
		s, who = &c.up, "client"
	}
	if rest := s.rest(); len(rest) > 0 {
		c.t.note(c, fmt.Sprintf("the %s ends within a frame, after %s", who, framePart(s)))
		if s.seen <= maxFrame && s.hdr.Len <= maxFrame {
			c.t.record.bytes(c, fromClient, rest)
		}
		s.reset()
	}
	if !c.blind && c.machine == nil {
		if fromClient {
			c.t.record.bytes(c, true, c.early)
			c.early = nil
		} else if len(c.banner) > 0 {
			c.undecodable("the kernel has sent %q, which is no banner", c.banner)
		}
	}
	c.t.record.ended(c, fromClient)
	c.t.finish()
}

func framePart(s *stream) string {
	if len(s.raw) < sysproxy.HeaderLen {
		return fmt.Sprintf("%d of the header's %d bytes", len(s.raw), sysproxy.HeaderLen)
	}
	return fmt.Sprintf("%d of %d bytes", s.seen, s.hdr.Len)
}

// Close ends the conversation. Calls without an answer are shown as such.
func (c *Conn) Close(at time.Time) {
	c.t.mu.Lock()
	defer c.t.mu.Unlock()
	c.t.begin(at)
	for len(c.calls) > 0 {
		call := c.calls[0]
		call.lost = true
		c.finishCall(call)
	}
	c.t.closed(c)
	c.t.finish()
}

// fromClient takes a frame of the client's.
func (c *Conn) fromClient(f *frame) {
	switch f.Class {
	case sysproxy.Resp:
		c.answer(f)
		return
	case sysproxy.Req:
		switch f.Type {
		case sysproxy.TypeSyscall:
			c.syscall(f)
			return
		case sysproxy.TypeHandshake:
			if c.handshake(f) {
				return
			}
		case sysproxy.TypePrefork:
			if len(f.payload()) == 0 {
				c.start(&call{kind: prefork, name: "PREFORK", files: c.files.clone()}, f)
				return
			}
		}
	}
	c.start(&call{kind: malformed, name: "MALFORMED", text: []string{
		"class=" + f.Class.String(), "type=" + f.Type.String(),
		fmt.Sprintf("u=%d", f.U), fmt.Sprintf("%d bytes", f.Len),
	}}, f)
}

// start puts a request among those under way.
func (c *Conn) start(call *call, f *frame) {
	if len(c.calls) >= maxCalls {
		// Whoever has so many out is not waiting for the oldest.
		oldest := c.calls[0]
		oldest.lost = true
		c.finishCall(oldest)
	}
	call.conn, call.reqno, call.start = c, f.ReqNo, c.t.now
	c.calls = append(c.calls, call)
	c.t.started(call)
}

func (c *Conn) syscall(f *frame) {
	call := &call{kind: systemCall, num: f.U, name: fmt.Sprintf("syscall_%d", f.U)}
	// The block is good for as long as the frame; calls have at most 80 bytes.
	call.args = append([]byte(nil), f.payload()[:min(len(f.payload()), 128)]...)
	if f.U <= 1<<31-1 {
		if info, ok := netbsd.LookupSyscall(int(f.U)); ok {
			call.info, call.name = info, info.Name
			call.values, _ = info.Values(c.machine, call.args)
		}
	}
	c.start(call, f)
}

// handshake takes a HANDSHAKE request; false when it is none that there is.
func (c *Conn) handshake(f *frame) bool {
	call := &call{kind: handshake, name: "HANDSHAKE"}
	switch kind := sysproxy.Handshake(f.U); kind {
	case sysproxy.HandshakeGuest, sysproxy.HandshakeExec:
		call.guest = netbsd.CString(f.payload())
		call.text = []string{kind.String(), c.t.quote([]byte(call.guest), uint64(len(call.guest)))}
		if c.name == "" {
			c.name = clip(call.guest)
		}
	case sysproxy.HandshakeFork:
		fork, err := c.layout.ParseFork(f.Header, f.payload())
		if err != nil {
			return false
		}
		call.cookie = &fork.Auth
		call.text = []string{kind.String(), "auth=" + cookieText(fork.Auth)}
		if fork.Cancel != 0 {
			call.text = append(call.text, fmt.Sprintf("cancel=%d", fork.Cancel))
			call.cookie = nil
		}
		if parent, ok := c.t.preforks[fork.Auth]; ok && c.name == "" {
			c.name = parent.name
		}
	default:
		call.text = []string{kind.String(), fmt.Sprintf("%d bytes", f.Len)}
	}
	c.start(call, f)
	return true
}

// maxName is how much of a program's name is shown before its calls.
const maxName = 32

// clip makes a program's name fit for the head of a line.
func clip(name string) string {
	name = strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f {
			return '?'
		}
		return r
	}, name)
	return name[:min(len(name), maxName)]
}

func cookieText(a sysproxy.Auth) string {
	return fmt.Sprintf("%08x%08x%08x%08x", a[0], a[1], a[2], a[3])
}

// answer takes an answer of the client's.
func (c *Conn) answer(f *frame) {
	req, ok := c.copies[f.ReqNo]
	if !ok || req.mmap != (f.Type == sysproxy.TypeAnonMmap) {
		c.t.note(c, fmt.Sprintf("the client answers %s request %d, which the kernel has not made", f.Type, f.ReqNo))
		return
	}
	delete(c.copies, f.ReqNo)
	switch {
	case req.mmap:
		text := "?"
		if len(f.payload()) == c.layout.WordSize {
			text = fmt.Sprintf("%#x", c.layout.Word(f.payload()))
		}
		c.t.note(c, fmt.Sprintf("ANONMMAP(%d) = %s", req.size, text))
	case req.call != nil && !req.call.done:
		c.copied(req.call, fromClient, req.addr, uint64(len(f.payload())), f.payload())
	}
}

// copied adds to a call's memory.
func (c *Conn) copied(call *call, dir direction, addr, size uint64, data []byte) {
	c.memory += call.mem.add(dir, addr, size, data, maxMemory-c.memory)
}

// fromKernel takes a frame of the kernel's.
func (c *Conn) fromKernel(f *frame) {
	switch {
	case f.Class == sysproxy.Error:
		c.refusal(f)
	case f.Class == sysproxy.Resp:
		c.reply(f)
	case f.Class == sysproxy.Req && c.request(f):
	default:
		c.t.note(c, fmt.Sprintf("the kernel sends a malformed frame: class %s, type %s, %d bytes", f.Class, f.Type, f.Len))
	}
}

// request takes a request of the kernel's; false when it is none.
func (c *Conn) request(f *frame) bool {
	l, p := c.layout, f.payload()
	switch f.Type {
	case sysproxy.TypeCopyIn, sysproxy.TypeCopyInStr:
		size, addr, err := l.ParseCopyIn(f.Header, p)
		if err != nil {
			return false
		}
		c.expect(f.ReqNo, copyRequest{call: c.owner(fromClient, addr), addr: addr, size: size})
	case sysproxy.TypeCopyOut, sysproxy.TypeCopyOutStr:
		head := 2 * l.WordSize
		if len(p) < head {
			return false
		}
		size, addr := l.Word(p), l.Word(p[l.WordSize:])
		data := p[head:]
		if !f.cut() && size != uint64(len(data)) {
			return false
		}
		if call := c.owner(toClient, addr); call != nil {
			c.copied(call, toClient, addr, size, data)
		} else {
			c.t.note(c, fmt.Sprintf("the kernel copies out %d bytes to %#x, without a call", size, addr))
		}
	case sysproxy.TypeAnonMmap:
		if len(p) != l.WordSize {
			return false
		}
		c.expect(f.ReqNo, copyRequest{size: l.Word(p), mmap: true})
	case sysproxy.TypeRaise:
		if len(p) != 0 {
			return false
		}
		c.t.raised(c, netbsd.Signal(int32(f.U)))
	default:
		return false
	}
	return true
}

// expect remembers that the client is asked for something.
func (c *Conn) expect(reqno uint64, r copyRequest) {
	if len(c.copies) < maxCopies {
		c.copies[reqno] = r
	}
}

// owner is the call for which the kernel copies memory at addr. The request does
// not tell: it is the call whose arguments point there, else, if there are
// several, the newest.
func (c *Conn) owner(dir direction, addr uint64) *call {
	var owner *call
	best := -1
	for _, call := range c.calls {
		if call.kind != systemCall {
			continue
		}
		if owner == nil && len(c.calls) == 1 {
			return call
		}
		// The newest of those that do not match, the oldest of those that do.
		if n := call.match(dir, addr); n > best || n == 0 && best == 0 {
			owner, best = call, n
		}
	}
	return owner
}

// waiting is the oldest request of that number.
func (c *Conn) waiting(reqno uint64) *call {
	for _, call := range c.calls {
		if call.reqno == reqno {
			return call
		}
	}
	return nil
}

func (c *Conn) refusal(f *frame) {
	code := sysproxy.ErrorCode(f.U)
	if call := c.waiting(f.ReqNo); call != nil && code != 0 {
		call.refused = code
		call.cookie = nil
		c.finishCall(call)
		return
	}
	c.t.note(c, fmt.Sprintf("the kernel refuses request %d, which the client has not made: %v", f.ReqNo, code))
}

// reply takes an answer of the kernel's.
func (c *Conn) reply(f *frame) {
	l, p := c.layout, f.payload()
	call := c.waiting(f.ReqNo)
	ok := false
	switch {
	case call == nil:
	case f.Type == sysproxy.TypeSyscall && call.kind == systemCall:
		r, err := l.ParseSyscallReply(f.Header, p)
		call.reply, call.errnum, ok = r, r.Errno, err == nil
	case f.Type == sysproxy.TypeHandshake && call.kind == handshake:
		r, err := l.ParseHandshakeReply(f.Header, p)
		call.errnum, ok = r.Errno, err == nil
		call.result = "0"
	case f.Type == sysproxy.TypePrefork && call.kind == prefork:
		r, err := l.ParsePreforkReply(f.Header, p)
		call.result, ok = cookieText(r.Auth), err == nil
		if ok {
			c.t.preforked(r.Auth, c, call.files)
		}
	}
	switch {
	case ok:
		call.errno = netbsd.Errno(uint32(call.errnum))
		c.finishCall(call)
	case call == nil:
		c.t.note(c, fmt.Sprintf("the kernel answers %s request %d, which the client has not made", f.Type, f.ReqNo))
	default:
		c.t.note(c, fmt.Sprintf("the kernel answers %s with a malformed frame: type %s, %d bytes", call.name, f.Type, f.Len))
	}
}

// finishCall takes a request from those under way and shows it.
func (c *Conn) finishCall(call *call) {
	for i := range c.calls {
		if c.calls[i] == call {
			c.calls = append(c.calls[:i], c.calls[i+1:]...)
			break
		}
	}
	call.done, call.end = !call.lost, c.t.now
	if call.done && !call.failed() {
		c.succeeded(call)
	}
	c.t.finished(call)
	c.memory -= call.mem.bytes
	call.mem = memory{}
}

// succeeded learns from a request what it has changed.
func (c *Conn) succeeded(call *call) {
	switch call.kind {
	case systemCall:
		c.files.note(call)
		c.t.sysctl.learn(call)
	case handshake:
		c.process = true
		if call.guest != "" {
			c.name = clip(call.guest)
			c.files.exec()
		}
		if call.cookie != nil {
			if parent, ok := c.t.preforks[*call.cookie]; ok {
				c.name, c.files = parent.name, parent.files
				delete(c.t.preforks, *call.cookie)
			}
		}
	}
}
