package spclient

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// Call is a system call that is being built: its arguments, in the order that
// the kernel takes them, and its buffers. It comes from [Conn.NewCall], and is
// used up by [Call.Do], after which it must not be touched. A call that is not
// made costs nothing but its memory.
//
// The methods that add an argument return the call, so that they can be
// chained. A mistake in building, such as a descriptor of another connection,
// is returned by Do.
type Call struct {
	s    *session
	conn *Conn // nil for what makes a connection
	num  uint32
	err  error // of building
	fds  bool  // has descriptors, which are the session's
	// blocks is set when the answer is awaited by intent, short while it may
	// come any moment.
	blocks, short bool
	settles       bool // a connect(2) says what has come of it
	dials         bool // a socket(2) connects, too
	args          netbsd.Args

	// mem holds the bytes of all buffers. Until the call is sent it is the
	// builder's; from then on the reader's, until the call is answered.
	mem      []byte
	segments []segment
	spans    []span
	// addr and room are what is left of the last span.
	addr, room uint64

	reqno uint64
	kind  sysproxy.Type // of the answer
	// sent, when not nil, is called once the kernel gets the call before whatever is sent
	// later.
	sent func()
	// ended, when not nil, is called with the answer, and nobody waits for it.
	ended func(LoanEnd)
	frame []byte // what is sent
	// pieces is where build makes what a call brings along.
	pieces []sysproxy.Segment

	// done gets one value when the call is answered or the connection ends.
	done chan struct{}
	// state, auth, pair, reply, refusal and lost are guarded by the session's
	// lock until done.
	state   callState
	reply   sysproxy.SyscallReply
	auth    sysproxy.Auth
	pair    sysproxy.PairReply
	refusal error
}

type callState uint8

const (
	building  callState = iota
	waiting             // sent
	abandoned           // sent, nobody waits
	answered
	dropped // the connection ended before the answer
)

// errArgs is returned when a call has more arguments than the kernel takes.
var errArgs = errors.New("too many arguments")

// maxPooledMem is the most memory that an unused Call keeps.
const maxPooledMem = 128 << 10

var callPool = sync.Pool{New: func() any { return &Call{done: make(chan struct{}, 1)} }}

// NewCall begins a system call: one of netbsd's SYS_ numbers.
func (c *Conn) NewCall(num uint32) *Call {
	call := c.session().newCall(num, sysproxy.TypeSyscall)
	call.conn = c
	return call
}

func (s *session) newCall(num uint32, kind sysproxy.Type) *Call {
	call := callPool.Get().(*Call)
	call.s, call.num, call.kind = s, num, kind
	call.blocks = mayBlock(num)
	call.args.Reset(s.machine)
	return call
}

// free gives a call's memory to later calls. Nobody else may know the call any
// more.
func (call *Call) free() {
	if cap(call.mem) > maxPooledMem {
		call.mem = nil
	}
	clear(call.segments) // drop the caller's buffers
	clear(call.spans)
	*call = Call{
		done:     call.done,
		mem:      call.mem[:0],
		segments: call.segments[:0],
		spans:    call.spans[:0],
		frame:    call.frame[:0],
		pieces:   call.pieces[:0],
	}
	callPool.Put(call)
}

func (call *Call) fail(err error) {
	if call.err == nil {
		call.err = err
	}
}

// fits tells whether the kernel takes n more bytes of arguments.
func (call *Call) fits(n int) bool {
	if len(call.args.Bytes())+n > netbsd.MaxArgs*call.s.machine.WordSize {
		call.fail(errArgs)
		return false
	}
	return true
}

// Int adds a signed 32-bit argument: int, pid_t.
func (call *Call) Int(v int32) *Call {
	if call.fits(call.s.machine.WordSize) {
		call.args.Int(v)
	}
	return call
}

// Uint adds an unsigned 32-bit argument: u_int, socklen_t, mode_t.
func (call *Call) Uint(v uint32) *Call {
	if call.fits(call.s.machine.WordSize) {
		call.args.Uint(v)
	}
	return call
}

// Word adds an argument of the kernel's word size: size_t, u_long, long. Too
// large a value for it is a mistake.
func (call *Call) Word(v uint64) *Call {
	if v > math.MaxUint32 && call.s.machine.WordSize == 4 {
		call.fail(fmt.Errorf("argument %#x is too large for %s", v, call.s.machine))
	}
	if call.fits(call.s.machine.WordSize) {
		call.args.Word(v)
	}
	return call
}

// Off adds an off_t with the padding that NetBSD's calls have before it.
func (call *Call) Off(v int64) *Call {
	if call.fits(call.s.machine.WordSize + 8) {
		call.args.Off(v)
	}
	return call
}

// Quad adds a 64-bit argument that has no padding before it.
func (call *Call) Quad(v int64) *Call {
	if call.fits(8) {
		call.args.Quad(v)
	}
	return call
}

// FD adds a descriptor.
func (call *Call) FD(fd FD) *Call {
	if fd.gen != call.s.gen {
		call.fail(call.s.stale(fd))
	}
	call.fds = true
	return call.Int(fd.num)
}

// Ptr adds the address of a buffer that one of the Place methods has placed, or
// 0 for none.
func (call *Call) Ptr(p netbsd.Ptr) *Call {
	if call.fits(call.s.machine.WordSize) {
		call.args.Ptr(uint64(p))
	}
	return call
}

// In adds a pointer to bytes that the kernel reads; nil is the null pointer.
// The bytes are copied at once.
func (call *Call) In(p []byte) *Call { return call.Ptr(call.PlaceIn(p)) }

// Out adds a pointer to a buffer that the kernel writes; nil is the null
// pointer. Do copies to p what has been written. Bytes that the kernel left
// out before others that it wrote are zero then, those behind the last that it
// wrote are unchanged.
func (call *Call) Out(p []byte) *Call { return call.Ptr(call.PlaceOut(p)) }

// InOut adds a pointer to a buffer that the kernel reads and writes; nil is the
// null pointer. Do copies to p what has been written.
func (call *Call) InOut(p []byte) *Call { return call.Ptr(call.PlaceInOut(p)) }

// String adds a pointer to a string, with its NUL.
func (call *Call) String(s string) *Call { return call.Ptr(call.PlaceString(s)) }

// PlaceIn gives bytes that the kernel reads a place in the call's window and
// returns their address, for structures that hold pointers. The address of nil
// is 0.
func (call *Call) PlaceIn(p []byte) netbsd.Ptr {
	if p == nil {
		return 0
	}
	g := call.place(len(p), dirIn)
	if g == nil {
		return 0
	}
	copy(call.mem[g.off:], p)
	return netbsd.Ptr(g.addr)
}

// PlaceOut gives a buffer that the kernel writes a place in the call's window;
// see [Call.Out].
func (call *Call) PlaceOut(p []byte) netbsd.Ptr {
	if p == nil {
		return 0
	}
	g := call.place(len(p), dirOut)
	if g == nil {
		return 0
	}
	g.user = p
	return netbsd.Ptr(g.addr)
}

// PlaceInOut gives a buffer that the kernel reads and writes a place in the
// call's window; see [Call.InOut].
func (call *Call) PlaceInOut(p []byte) netbsd.Ptr {
	if p == nil {
		return 0
	}
	g := call.place(len(p), dirIn|dirOut)
	if g == nil {
		return 0
	}
	g.user = p
	copy(call.mem[g.off:], p)
	return netbsd.Ptr(g.addr)
}

// PlaceString gives a string, with its NUL, a place in the call's window.
func (call *Call) PlaceString(s string) netbsd.Ptr {
	g := call.place(len(s)+1, dirIn)
	if g == nil {
		return 0
	}
	copy(call.mem[g.off:], s)
	call.mem[g.off+len(s)] = 0
	return netbsd.Ptr(g.addr)
}

// outRoom adds a pointer to n bytes that the kernel writes and that can be looked
// at after run, before the call is freed.
func (call *Call) outRoom(n int) {
	if g := call.place(n, dirOut); g != nil {
		call.Ptr(netbsd.Ptr(g.addr))
	}
}

// inOutUint adds a pointer to an unsigned int that the kernel reads and writes.
func (call *Call) inOutUint(v uint32) {
	if g := call.place(4, dirIn|dirOut); g != nil {
		call.s.machine.Order.PutUint32(call.mem[g.off:], v)
		call.Ptr(netbsd.Ptr(g.addr))
	}
}

// inOutWord adds a pointer to a size_t that the kernel reads and writes.
func (call *Call) inOutWord(v uint64) {
	if g := call.place(call.s.machine.WordSize, dirIn|dirOut); g != nil {
		call.s.machine.PutWord(call.mem[g.off:], v)
		call.Ptr(netbsd.Ptr(g.addr))
	}
}

// last returns the memory of the i-th buffer from the end.
func (call *Call) last(i int) []byte {
	g := &call.segments[len(call.segments)-i]
	return call.mem[g.off : g.off+g.n]
}

// lastAddr returns a copy of the socket address in the last but one buffer, whose
// length is the unsigned int in the last one, as the calls that tell addresses
// have them. No address is nil.
func (call *Call) lastAddr() []byte {
	g := &call.segments[len(call.segments)-2]
	n := min(call.s.machine.Order.Uint32(call.last(1)), uint32(g.high))
	if n == 0 {
		return nil
	}
	return append([]byte(nil), call.mem[g.off:g.off+int(n)]...)
}

// place makes room for a buffer of n bytes, whatever was there before, and
// gives it an address. It returns nil when there is none.
func (call *Call) place(n int, dir direction) *segment {
	if n > maxBuffer {
		call.fail(errNoSpace)
		return nil
	}
	size := (uint64(n) + segmentGap + segmentAlign - 1) &^ (segmentAlign - 1)
	if size > call.room {
		call.s.mu.Lock()
		first, end, err := call.s.space.take(size)
		call.s.mu.Unlock()
		if err != nil {
			call.fail(err)
			return nil
		}
		call.spans = append(call.spans, span{first, end, call})
		call.addr, call.room = first, end-first
	}
	off := len(call.mem)
	if need := off + n; need <= cap(call.mem) {
		call.mem = call.mem[:need]
	} else {
		bigger := make([]byte, need, max(need, 2*cap(call.mem), 512))
		copy(bigger, call.mem)
		call.mem = bigger
	}
	call.segments = append(call.segments, segment{addr: call.addr, off: off, n: n, dir: dir})
	call.addr += size
	call.room -= size
	return &call.segments[len(call.segments)-1]
}

// Do makes the call and waits for its answer, or for the end of ctx or of the
// connection. It returns the two registers of the result. The error is a
// [*SyscallError] when the kernel's errno is not 0; the buffers have what the
// kernel wrote then, too.
//
// When ctx ends first the call is abandoned: the error wraps the context's,
// the buffers are unchanged and may be used again, and the call may happen
// yet.
func (call *Call) Do(ctx context.Context) (sysproxy.SyscallReply, error) {
	reply, _, err := call.doIn(ctx)
	return reply, err
}

// DoFD makes the call as [Call.Do] does, for one whose result is a descriptor.
func (call *Call) DoFD(ctx context.Context) (FD, error) {
	reply, s, err := call.doIn(ctx)
	if err != nil {
		return FD{}, err
	}
	return FD{int32(reply.Retval[0]), s.gen}, nil
}

// callError says which call failed, unless it is the connection that did.
func callError(name string, err error) error {
	switch err.(type) {
	case *LostError, *ProtocolError, *ReconnectError:
		return err
	}
	return fmt.Errorf("%s: %w", name, err)
}

// callName returns the name of a system call as programs know it: socket for
// __socket30.
func callName(num uint32) string {
	name := netbsd.SyscallName(int(num))
	if name == "" {
		return "system call " + strconv.FormatUint(uint64(num), 10)
	}
	if public, ok := strings.CutPrefix(name, "__"); ok {
		name = strings.TrimRight(public, "0123456789")
	}
	return name
}

// do is Do with the errno left in the reply and errors without the call's name.
func (call *Call) do(ctx context.Context) (sysproxy.SyscallReply, error) {
	if err := call.run(ctx); err != nil {
		return sysproxy.SyscallReply{}, err
	}
	reply := call.reply
	call.free()
	return reply, nil
}

// doIn is Do that also returns the session that the call was made in.
func (call *Call) doIn(ctx context.Context) (sysproxy.SyscallReply, *session, error) {
	num := call.num
	if err := call.run(ctx); err != nil {
		return sysproxy.SyscallReply{}, nil, callError(callName(num), err)
	}
	reply, s := call.reply, call.s
	call.free()
	if reply.Errno != 0 {
		return reply, s, &SyscallError{callName(num), netbsd.Errno(reply.Errno)}
	}
	return reply, s, nil
}

// run makes the call and copies what the kernel wrote to the caller's buffers.
// When it fails the call is gone; else it is the caller's to look at and to
// free.
func (call *Call) run(ctx context.Context) error {
	if call.err != nil {
		err := call.err
		call.free()
		return err
	}
	call.build()
	if err := call.exchange(ctx); err != nil {
		return err
	}
	for i := range call.segments {
		g := &call.segments[i]
		copy(g.user, call.mem[g.off:g.off+g.high])
	}
	return nil
}

// maxCarried is how many bytes a call brings along, so that the kernel need not ask for
// them. What is longer takes longer than to be asked for.
const maxCarried = 16 << 10

// build makes the frame of a system call for its session.
func (call *Call) build() {
	call.pieces = call.pieces[:0]
	if call.s.carries {
		for i, n := 0, 0; i < len(call.segments); i++ {
			g := &call.segments[i]
			if g.dir&dirIn == 0 || g.n == 0 || n+g.n > maxCarried || len(call.pieces) == sysproxy.MaxSegments {
				continue
			}
			n += g.n
			call.pieces = append(call.pieces, sysproxy.Segment{Addr: g.addr, Data: call.mem[g.off : g.off+g.n]})
		}
	}
	if len(call.pieces) == 0 {
		m := sysproxy.Syscall{Num: call.num, Args: call.args.Bytes()}
		call.frame = m.Append(call.frame[:0], call.s.layout, 0)
		return
	}
	m := sysproxy.Carry{Num: call.num, Args: call.args.Bytes(), Memory: call.pieces}
	switch {
	case call.settles && call.s.settles:
		m.Flags = sysproxy.CarrySettle
	case call.dials && call.s.dials:
		m.Flags = sysproxy.CarryDial
	}
	call.frame = m.Append(call.frame[:0], call.s.layout, 0)
	clear(call.pieces)
}

// finish is the end of a call that was run with this result: it frees the call,
// unless that is gone, and returns Do's error.
func (call *Call) finish(num uint32, err error) error {
	if err != nil {
		return callError(callName(num), err)
	}
	errno := netbsd.Errno(call.reply.Errno)
	call.free()
	if errno != 0 {
		return &SyscallError{callName(num), errno}
	}
	return nil
}

// exchange sends the frame and waits for its answer. When it fails the call
// must not be touched any more.
func (call *Call) exchange(ctx context.Context) error {
	for {
		mine, err := call.start(ctx)
		if err != nil {
			call.free()
			return err
		}
		s := call.s
		sent := s.out.send(call.frame, nil)
		if call.sent != nil {
			call.sent()
		}
		if !sent && s.withdraw(call) {
			// The connection was lost before the call: once that is
			// official, it can be made on another one.
			if mine {
				s.dropTurn()
			}
			continue
		}
		if mine {
			s.readFor(ctx, call)
		}
		select {
		case <-call.done:
		default:
			select {
			case <-call.done:
			case <-ctx.Done():
				if s.abandon(call) {
					return ctx.Err()
				}
				// It was answered in the meantime: what happened
				// is better than what might have.
				<-call.done
			}
		}
		if call.state == dropped {
			// The reader may be in the middle of writing to its memory:
			// it is left to the garbage collector.
			return s.Err()
		}
		if err := call.refusal; err != nil {
			call.free()
			return err
		}
		return nil
	}
}

// start registers the call with its session, or with the one that came after it
// if that was lost, and reports whether the caller is to read the answer.
func (call *Call) start(ctx context.Context) (mine bool, err error) {
	for {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		s := call.s
		if err := s.out.wait(ctx, maxQueued); err != nil {
			if ctx.Err() != nil {
				return false, ctx.Err()
			}
			// Sending has failed. Why the session ends is known soon.
			select {
			case <-s.done:
			case <-ctx.Done():
				return false, ctx.Err()
			}
		}
		mine, err := s.enter(call)
		switch {
		case err == nil:
			return mine, nil
		case err == errHeld:
			if err := s.waitHeld(ctx); err != nil {
				return false, err
			}
		case call.conn == nil:
			return false, err
		default:
			// Unless the connection comes back, this is the error.
			if err := call.conn.renew(ctx, call, err); err != nil {
				return false, err
			}
		}
	}
}
