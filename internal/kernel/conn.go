package kernel

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"sync"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// Limits on what a client may send and have under way.
const (
	// maxRequest is the longest payload of a client's request: a program's
	// name or a system call's arguments.
	maxRequest = 64 << 10
	// maxStray is the longest answer to nothing that is read past; a
	// longer one ends the connection.
	maxStray = 16 << 20
	// maxCalls is how many calls of one client may be under way. The
	// next gets TRYAGAIN.
	maxCalls = 4096
	// copyChunk is the most that one copy request carries.
	copyChunk = 64 << 10
)

// conn is a client's connection.
//
// At each time one goroutine, the reader, reads its frames. It carries out a
// system call itself, and when the call asks for a copy of the client's memory
// it goes on reading until that comes: a client that makes one call at a time
// is served without a switch between goroutines. A call that has to wait for
// something else first makes another goroutine the reader, and calls that come
// while the reader is busy with one get goroutines of their own.
type conn struct {
	k      *Kernel
	link   link
	r      *bufio.Reader // the reader's
	out    outbox
	layout sysproxy.Layout

	// proc is set by the handshake, from which on only reader and calls
	// use it.
	proc *Proc
	// calls counts calls under way; exec waits for them.
	calls sync.WaitGroup
	// execs counts goroutines of exec.
	execs  sync.WaitGroup
	memory memory // what the calls hold

	inBuf    []byte             // the reader's
	pieces   []sysproxy.Segment // the reader's: to be used again
	spare    *Call              // the reader's: to be used again
	small    *[smallBuffer]byte // the reader's: to be used again, or nil
	ended    bool               // the reader's: nothing more is read
	finished func()             // called when all is over

	mu     sync.Mutex
	nreq   uint64 // the next copy request's number
	copies map[uint64]*copyWait
	gone   bool // the client is: no copy will be answered
	ncalls int
	inExec bool

	// spares is how many goroutines wait at turns to be the reader again, until over
	// is closed.
	spares int
	turns  chan struct{}
	over   chan struct{}

	// ctx is the context of calls; exec replaces it.
	ctx    context.Context
	cancel context.CancelFunc
}

// copyWait is a COPYIN or COPYINSTR that waits for its answer.
type copyWait struct {
	buf   []byte // room for the bytes
	isStr bool   // fewer bytes will do
	n     int    // bytes answered
	err   error  // EFAULT when there was no good answer
	// answered is set with n or err. It is the reader's; when another
	// goroutine waits, done is closed for that.
	answered bool
	done     chan struct{}
}

// finish wakes who waits; the reader calls it.
func (w *copyWait) finish() {
	w.answered = true
	if w.done != nil {
		close(w.done)
	}
}

func newConn(k *Kernel, l link) *conn {
	c := &conn{k: k, link: l, layout: k.layout, copies: make(map[uint64]*copyWait)}
	c.turns, c.over = make(chan struct{}, maxSpares), make(chan struct{})
	c.out.init(l, &k.memory)
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// hangup ends the connection from this side.
func (c *conn) hangup() { c.link.hangup() }

// input is what the reader's buffer is filled from: before the reader waits for
// the client it sends what the client may wait for.
type input conn

func (in *input) Read(p []byte) (int, error) {
	in.out.flush()
	return in.link.Read(p)
}

// serve speaks with the client until either goes. done is called then, maybe by
// another goroutine.
func (c *conn) serve(done func()) {
	c.finished = done
	if err := c.link.write([]byte(c.banner().String()+"\n"), nil); err != nil {
		c.finish()
		return
	}
	c.r = bufio.NewReaderSize((*input)(c), 16<<10)
	c.read()
}

// read is the reader's loop: it handles frames until the client goes or breaks
// the protocol, or until a call that it carried out made another goroutine the
// reader.
func (c *conn) read() {
	for {
		call, ok := c.nextCall()
		if !ok {
			c.finish()
			return
		}
		call.reading = true
		c.carryOut(call)
		if !call.reading {
			if !c.awaitTurn() {
				return
			}
			continue
		}
		c.k.yield()
		c.spare = call
		if call.carried != nil {
			if c.inBuf == nil {
				c.inBuf = call.carried[:0]
			}
			c.pieces = call.memory[:0]
		}
	}
}

// handOver makes another goroutine the reader, for the call's has to wait.
func (c *Call) handOver() {
	if c.reading {
		c.reading = false
		c.conn.giveTurn()
	}
}

// maxSpares is how many goroutines of a connection wait to be the reader again. A new one
// would have to make its stack larger, step by step, before a call is done.
const maxSpares = 2

// giveTurn makes another goroutine the reader.
func (c *conn) giveTurn() {
	c.mu.Lock()
	spare := c.spares > 0
	if spare {
		c.spares--
	}
	c.mu.Unlock()
	if spare {
		c.turns <- struct{}{}
	} else {
		go c.read()
	}
}

// awaitTurn waits until the goroutine is to be the reader again. It reports false when that
// will not be.
func (c *conn) awaitTurn() bool {
	c.mu.Lock()
	spare := c.spares < maxSpares
	if spare {
		c.spares++
	}
	c.mu.Unlock()
	if !spare {
		return false
	}
	select {
	case <-c.turns:
		return true
	case <-c.over:
		return false
	}
}

// await is the reader's loop in the middle of a call, until w is answered.
// Calls that come meanwhile get goroutines of their own. It reports whether the
// client is still there.
func (c *conn) await(w *copyWait) bool {
	for !w.answered {
		call, ok := c.nextFrame()
		if !ok {
			return false
		}
		if call != nil {
			go c.carryOut(call)
		}
	}
	return true
}

// nextCall handles frames up to one that is a system call.
func (c *conn) nextCall() (*Call, bool) {
	for {
		if call, ok := c.nextFrame(); call != nil || !ok {
			return call, ok
		}
	}
}

// nextFrame handles one frame. If it is a system call, that is begun and left
// to the caller. It reports false when the connection has ended.
func (c *conn) nextFrame() (*Call, bool) {
	if c.ended {
		return nil, false
	}
	h, ok := c.header()
	if !ok {
		return nil, false
	}
	if h.Class == sysproxy.Resp {
		return nil, c.response(h)
	}
	payload, err := sysproxy.ReadPayload(c.r, h, c.inBuf, maxRequest)
	if err != nil {
		return nil, false
	}
	c.inBuf = payload[:0]
	call, ok := c.request(h, payload)
	if !ok {
		// A breach, unlike a client that goes, ends both directions.
		c.out.drain()
		c.link.hangup()
	}
	return call, ok
}

// header reads a header. It reports false at the end of the stream.
func (c *conn) header() (sysproxy.Header, bool) {
	b, err := c.r.Peek(sysproxy.HeaderLen)
	if err != nil {
		return sysproxy.Header{}, false
	}
	h, err := c.layout.ParseHeader(b)
	c.r.Discard(sysproxy.HeaderLen)
	return h, err == nil
}

// leave is called when the client is gone: calls that wait end with EINTR,
// calls in a copy with EFAULT. Their answers still go out, for the client may
// have closed one side only.
func (c *conn) leave() {
	c.mu.Lock()
	c.gone = true
	for reqno, w := range c.copies {
		w.err = netbsd.EFAULT
		w.finish()
		delete(c.copies, reqno)
	}
	cancel := c.cancel
	c.mu.Unlock()
	cancel()
}

// finish ends the connection when all calls have.
func (c *conn) finish() {
	c.leave()
	close(c.over)
	c.calls.Wait()
	c.execs.Wait()
	c.out.close()
	c.link.close()
	if c.proc != nil {
		c.k.leave(c.proc)
	}
	c.finished()
}

// response takes the answer to a copy request. Answers to nothing are read
// past, as the real server does.
func (c *conn) response(h sysproxy.Header) bool {
	c.mu.Lock()
	w := c.copies[h.ReqNo]
	if w != nil && h.Type == sysproxy.TypeCopyIn {
		delete(c.copies, h.ReqNo)
	} else {
		w = nil
	}
	c.mu.Unlock()
	n, err := h.PayloadLen(maxStray)
	if err != nil {
		n = 0
	}
	if w != nil {
		defer w.finish()
		w.n = min(n, len(w.buf))
		// The real server takes a short answer for a whole one and
		// gives the call what lay behind it in its memory.
		if err != nil || w.n == 0 || w.n < len(w.buf) && !w.isStr {
			w.err = netbsd.EFAULT
		}
		got, rerr := io.ReadFull(c.r, w.buf[:w.n])
		if rerr != nil {
			w.err = netbsd.EFAULT
			return false
		}
		n -= got
	}
	if err != nil {
		return false
	}
	_, err = c.r.Discard(n)
	return err == nil
}

// request handles a frame of the classes REQ and ERROR and of none. It gives
// the call if it is one, and reports whether the connection goes on.
func (c *conn) request(h sysproxy.Header, payload []byte) (*Call, bool) {
	if h.Class != sysproxy.Req {
		return nil, c.refuse(h, sysproxy.ErrMalformedRequest)
	}
	if c.proc == nil {
		return nil, c.firstRequest(h, payload)
	}
	switch h.Type {
	case sysproxy.TypeSyscall:
		return c.begin(h, payload)
	case sysproxy.TypeCarry:
		return c.carry(h, payload)
	case sysproxy.TypePost:
		return c.post(h, payload)
	case sysproxy.TypePrefork:
		return nil, c.prefork(h, payload)
	case sysproxy.TypeHandshake:
		return nil, c.exec(h, payload)
	case sysproxy.TypeLend:
		return nil, c.lend(h, payload)
	case sysproxy.TypeLendDatagrams:
		return nil, c.lendDatagrams(h, payload)
	case sysproxy.TypePair:
		return nil, c.pair(h, payload)
	}
	return nil, c.refuse(h, sysproxy.ErrMalformedRequest)
}

// prefork answers with the cookie for a child.
func (c *conn) prefork(h sysproxy.Header, payload []byte) bool {
	if len(payload) != 0 {
		return c.refuse(h, sysproxy.ErrMalformedRequest)
	}
	if c.execRunning() {
		c.refuse(h, sysproxy.ErrInExec)
		return false
	}
	auth, err := c.k.prefork(c.proc)
	if err != nil {
		return c.refuse(h, sysproxy.ErrRforkFailed)
	}
	return c.send(sysproxy.PreforkReply{Auth: auth}, h.ReqNo, true)
}

// cname is a program's name up to its NUL.
func cname(payload []byte) string {
	name, _, _ := bytes.Cut(payload, []byte{0})
	return string(name)
}

// firstRequest expects a handshake.
func (c *conn) firstRequest(h sysproxy.Header, payload []byte) bool {
	if h.Type != sysproxy.TypeHandshake {
		c.refuse(h, sysproxy.ErrAuth)
		return false
	}
	switch sysproxy.Handshake(h.U) {
	case sysproxy.HandshakeGuest:
		p, err := c.k.newProc(cname(payload))
		if err != nil {
			c.refuse(h, sysproxy.ErrRforkFailed)
			return false
		}
		c.proc = p
	case sysproxy.HandshakeFork:
		m, err := c.layout.ParseFork(h, payload)
		if err != nil {
			c.refuse(h, sysproxy.ErrMalformedRequest)
			return false
		}
		child := c.k.claim(m.Auth)
		if child == nil {
			c.refuse(h, sysproxy.ErrInvalidPrefork)
			return false
		}
		if m.Cancel != 0 {
			c.k.leave(child)
			return false
		}
		c.proc = child
	default:
		c.refuse(h, sysproxy.ErrAuth)
		return false
	}
	c.proc.conn.Store(c)
	return c.send(sysproxy.HandshakeReply{}, h.ReqNo, true)
}

// execRunning reports whether an exec waits for calls to end.
func (c *conn) execRunning() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.inExec
}

// exec makes the process run another program: calls under way are interrupted,
// and when the last has ended, descriptors close and the name changes. Only
// then is it answered.
func (c *conn) exec(h sysproxy.Header, payload []byte) bool {
	if sysproxy.Handshake(h.U) != sysproxy.HandshakeExec || len(payload) == 0 {
		c.refuse(h, sysproxy.ErrMalformedRequest)
		return false
	}
	if c.execRunning() {
		c.refuse(h, sysproxy.ErrInExec)
		return false
	}
	name := cname(payload)
	c.mu.Lock()
	c.inExec = true
	cancel := c.cancel
	c.mu.Unlock()
	cancel()
	c.execs.Add(1)
	go func() {
		defer c.execs.Done()
		c.calls.Wait()
		c.proc.fds.closeOnExec()
		c.proc.setName(name)
		c.mu.Lock()
		if !c.gone {
			c.ctx, c.cancel = context.WithCancel(context.Background())
		}
		c.inExec = false
		c.mu.Unlock()
		c.send(sysproxy.HandshakeReply{}, h.ReqNo, false)
	}()
	return true
}

// carry begins a call that brings memory. The payload is the call's then, until that is
// done.
func (c *conn) carry(h sysproxy.Header, payload []byte) (*Call, bool) {
	m, err := c.layout.ParseCarry(h, payload, c.pieces[:0])
	dials := m.Flags&sysproxy.CarryDial != 0
	if err != nil || dials && !c.dialable(m) {
		return nil, c.refuse(h, sysproxy.ErrMalformedRequest)
	}
	call, ok := c.begin(h, m.Args)
	if call != nil {
		call.carried, call.memory = payload, m.Memory
		call.settles, call.dials = dials || m.Flags&sysproxy.CarrySettle != 0, dials
		c.inBuf, c.pieces = nil, nil
		call.refused = call.charge(len(payload))
	}
	return call, ok
}

// dialable tells whether a call has what it takes to connect a new socket: an address, and nothing
// but options behind it.
func (c *conn) dialable(m sysproxy.Carry) bool {
	if m.Num != netbsd.SYS___socket30 || len(m.Memory) == 0 || !isSockaddrLen(len(m.Memory[0].Data)) {
		return false
	}
	for _, piece := range m.Memory[1:] {
		if o, ok := c.layout.ParseSocketOption(piece.Data); !ok || len(o.Value) > maxOption {
			return false
		}
	}
	return true
}

// post begins a call that is not answered. Neither can it be refused, so one too many is a
// breach of the protocol, and so is one during an exec.
func (c *conn) post(h sysproxy.Header, args []byte) (*Call, bool) {
	ctx, busy := c.count()
	if busy != 0 {
		return nil, false
	}
	call := c.newCall(h, args, ctx)
	call.mute = true
	return call, true
}

// count counts a call in, and gives its context, or says why there is none.
func (c *conn) count() (context.Context, sysproxy.ErrorCode) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.inExec:
		return nil, sysproxy.ErrInExec
	case c.ncalls >= maxCalls:
		return nil, sysproxy.ErrTryAgain
	}
	c.ncalls++
	c.calls.Add(1)
	return c.ctx, 0
}

// begin counts a system call in, unless there are too many.
func (c *conn) begin(h sysproxy.Header, args []byte) (*Call, bool) {
	ctx, busy := c.count()
	if busy != 0 {
		return nil, c.refuse(h, busy)
	}
	return c.newCall(h, args, ctx), true
}

// newCall makes the reader's next call.
func (c *conn) newCall(h sysproxy.Header, args []byte, ctx context.Context) *Call {
	call := c.spare
	if call == nil {
		call = new(Call)
	}
	c.spare = nil
	*call = Call{Proc: c.proc, k: c.k, conn: c, ctx: ctx, num: h.U, reqno: h.ReqNo}
	// Bytes beyond what any call takes are ignored.
	call.nargs = copy(call.block[:], args)
	call.args = netbsd.NewArgReader(c.k.machine, call.block[:call.nargs])
	return call
}

// carryOut runs a call and answers it.
func (c *conn) carryOut(call *Call) {
	ret, err := call.run()
	m := sysproxy.SyscallReply{Errno: int32(errnoOf(err))}
	if m.Errno == 0 {
		m.Retval = ret
	}
	call.giveBack(call.charged)
	if !call.mute {
		c.reply(m, call.reqno, call.reading && call.after == nil)
	}
	after := call.after
	c.mu.Lock()
	c.ncalls--
	c.mu.Unlock()
	c.calls.Done()
	if after != nil {
		after()
	}
}

// reply is send for the answer to a call. As in copies, the message is appended
// as what it is: as a [sysproxy.Message] it would be allocated.
func (c *conn) reply(m sysproxy.SyscallReply, reqno uint64, reading bool) bool {
	c.out.begin(reading)
	c.out.pending = m.Append(c.out.pending, c.layout, reqno)
	return c.out.end(!reading, reading)
}

// errnoOf is the errno for an error of a system call. Other errors than
// netbsd's would be this kernel's mistake; EIO says so without ending it.
func errnoOf(err error) netbsd.Errno {
	if err == nil {
		return 0
	}
	var e netbsd.Errno
	if errors.As(err, &e) {
		return e
	}
	return netbsd.EIO
}

// refuse answers with an ERROR frame, for the reader.
func (c *conn) refuse(h sysproxy.Header, code sysproxy.ErrorCode) bool {
	return c.send(sysproxy.Refusal{Code: code}, h.ReqNo, true)
}

// send sends a frame; reader is whether the connection's reader does. It reports
// whether the connection is still good for writing.
func (c *conn) send(m sysproxy.Message, reqno uint64, reader bool) bool {
	c.out.begin(reader)
	c.out.pending = m.Append(c.out.pending, c.layout, reqno)
	return c.out.end(true, reader)
}

// copyRequest asks the client for memory and waits for it.
func (c *conn) copyRequest(call *Call, addr uint64, buf []byte, isStr bool) (n int, err error) {
	w := &call.copy
	*w = copyWait{buf: buf, isStr: isStr}
	if !call.reading {
		w.done = make(chan struct{})
	}
	c.mu.Lock()
	if c.gone {
		c.mu.Unlock()
		return 0, netbsd.EFAULT
	}
	reqno := c.nreq
	c.nreq++
	c.copies[reqno] = w
	c.mu.Unlock()
	c.out.begin(call.reading)
	if isStr {
		c.out.pending = sysproxy.CopyInStr{Len: uint64(len(buf)), Addr: addr}.Append(c.out.pending, c.layout, reqno)
	} else {
		c.out.pending = sysproxy.CopyIn{Len: uint64(len(buf)), Addr: addr}.Append(c.out.pending, c.layout, reqno)
	}
	c.out.end(!call.reading, call.reading)
	// No context here: the client owes an answer, and a late one would
	// find nobody. A client that goes ends the wait.
	if !call.reading {
		<-w.done
	} else if !c.await(w) {
		c.ended = true
		c.leave()
	}
	return w.n, w.err
}

func (c *conn) copyIn(call *Call, addr uint64, p []byte) error {
	for len(p) > 0 {
		n := min(len(p), copyChunk)
		if _, err := c.copyRequest(call, addr, p[:n], false); err != nil {
			return err
		}
		p, addr = p[n:], addr+uint64(n)
	}
	return nil
}

func (c *conn) copyInStr(call *Call, addr uint64, limit int) (string, error) {
	buf := make([]byte, limit) // at most pathMax
	n, err := c.copyRequest(call, addr, buf, true)
	if err != nil {
		return "", err
	}
	i := bytes.IndexByte(buf[:n], 0)
	if i < 0 {
		return "", netbsd.ENAMETOOLONG
	}
	return string(buf[:i]), nil
}

// copyOut writes to the client's memory. The numbers are of the same count as
// those of the requests that are answered.
func (c *conn) copyOut(call *Call, addr uint64, p []byte) error {
	for len(p) > 0 {
		n := min(len(p), copyChunk)
		c.mu.Lock()
		reqno := c.nreq
		c.nreq++
		c.mu.Unlock()
		if !c.out.copyOut(call, c.layout, reqno, addr, p[:n]) {
			return netbsd.EFAULT
		}
		p, addr = p[n:], addr+uint64(n)
	}
	return nil
}

func (c *conn) raise(sig uint32, reader bool) { c.send(sysproxy.Raise{Signo: sig}, 0, reader) }
