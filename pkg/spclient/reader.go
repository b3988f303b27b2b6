package spclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"rumptools/pkg/sysproxy"
)

// readerSize is the size of a reader's buffer: room for many small frames, of
// which most are.
const readerSize = 16 << 10

// A reader buffers what a transport brings. Frames are taken from it step by
// step, and between two steps whoever has the turn may give it to another.
type reader struct {
	buf  [readerSize]byte
	r, w int
	// any is set when something has come.
	any bool
	// out is the COPYOUT whose data is coming.
	out struct {
		rest []byte   // of the buffer it goes to, what has not come
		seg  *segment // nil when there is none
		end  int      // where in the segment it ends
	}
}

// next returns what is buffered.
func (b *reader) next() []byte { return b.buf[b.r:b.w] }

// room returns the free part of the buffer, which is not empty, for no frame that
// is left in it fills it.
func (b *reader) room() []byte {
	switch {
	case b.r == b.w:
		b.r, b.w = 0, 0
	case b.w > len(b.buf)/2:
		b.w = copy(b.buf[:], b.buf[b.r:b.w])
		b.r = 0
	}
	return b.buf[b.w:]
}

// inFrame tells whether part of a frame is here.
func (b *reader) inFrame() bool { return b.r < b.w || b.out.seg != nil }

// bannerReader reads what comes before the first frame.
type bannerReader struct {
	b  *reader
	tr transport
}

// Read implements io.Reader.
func (r bannerReader) Read(p []byte) (int, error) {
	b := r.b
	for b.r == b.w {
		n, err := r.tr.receive(b.room(), nil)
		if n == 0 && err == nil {
			if err = r.tr.watch(); err == nil {
				err = r.tr.await()
			}
		}
		if err != nil {
			return 0, err
		}
		b.w += n
		b.any = b.any || n > 0
	}
	n := copy(p, b.next())
	b.r += n
	return n, nil
}

// more reads what the transport has, or, when soon is set, may have in a moment.
// It reports whether something came.
func (s *session) more(soon bool) (bool, error) {
	b := &s.in
	p, q := b.room(), []byte(nil)
	if len(b.out.rest) > 0 {
		p, q = b.out.rest, p
	}
	var n int
	var err error
	if soon {
		n, err = s.direct.receiveSoon(p, q)
	} else {
		n, err = s.tr.receive(p, q)
	}
	if err == io.EOF && b.inFrame() {
		err = io.ErrUnexpectedEOF
	}
	if k := min(n, len(b.out.rest)); k > 0 {
		b.out.rest = b.out.rest[k:]
		n -= k
		b.w += n
		return true, err
	}
	b.w += n
	return n > 0, err
}

// violation is what a server may not do.
type violation struct{ err error }

func (v violation) Error() string { return v.err.Error() }

func violated(format string, args ...any) error {
	return violation{fmt.Errorf(format, args...)}
}

// errWouldWait is returned by step when an answer to the server must wait until
// the server reads.
var errWouldWait = errors.New("the server does not read")

// step handles one frame, or the data of one, if enough of it is here, and
// reports whether it was. A caller that reads for itself must not wait for a
// server that does not read.
//
// Every message but COPYOUT is of a known size, and a COPYOUT is compared with
// the call that it is for before its data is read, straight to the call's
// memory: nothing is ever allocated because the server says so.
func (s *session) step(caller bool) (bool, error) {
	b := &s.in
	if b.out.seg != nil {
		n := copy(b.out.rest, b.next())
		b.r += n
		b.out.rest = b.out.rest[n:]
		if len(b.out.rest) > 0 {
			return false, nil
		}
		b.out.seg.high = max(b.out.seg.high, b.out.end)
		b.out.seg, b.out.rest = nil, nil
		return true, nil
	}
	buf := b.next()
	if len(buf) < sysproxy.HeaderLen {
		return false, nil
	}
	h, err := s.layout.ParseHeader(buf)
	if err != nil {
		return false, violation{err}
	}
	n, err := s.payloadLen(h)
	if err != nil {
		return false, violation{err}
	}
	if len(buf) < sysproxy.HeaderLen+n {
		return false, nil
	}
	if caller && h.Class == sysproxy.Req && s.out.full() {
		return false, errWouldWait
	}
	payload := buf[sysproxy.HeaderLen:][:n]
	b.r += sysproxy.HeaderLen + n
	if err := s.handle(h, payload); err != nil {
		return false, err
	}
	return true, nil
}

// payloadLen returns how much of a frame's payload must be here for handle:
// all of it, but that of a COPYOUT without its data.
func (s *session) payloadLen(h sysproxy.Header) (int, error) {
	word := s.layout.WordSize
	switch h.Class {
	case sysproxy.Resp, sysproxy.Error:
		if h.Type == sysproxy.TypePair && h.Class == sysproxy.Resp {
			return h.PayloadLen(maxAnswer + sysproxy.MaxPairPath)
		}
		return h.PayloadLen(maxAnswer)
	case sysproxy.Req:
		switch h.Type {
		case sysproxy.TypeCopyIn, sysproxy.TypeCopyInStr:
			return h.PayloadLen(2 * word)
		case sysproxy.TypeCopyOut, sysproxy.TypeCopyOutStr:
			if h.Len < uint64(sysproxy.HeaderLen+2*word) {
				return 0, fmt.Errorf("%s with a payload of %d bytes", h.Type, h.Len-sysproxy.HeaderLen)
			}
			// A length that no buffer has is not waited for.
			if n := h.Len - uint64(sysproxy.HeaderLen+2*word); n > rangeSize {
				s.mu.Lock()
				longest := s.space.longest()
				s.mu.Unlock()
				if n > uint64(longest) {
					return 0, fmt.Errorf("%s of %d bytes, the longest buffer has %d", h.Type, n, longest)
				}
			}
			return 2 * word, nil
		case sysproxy.TypeAnonMmap:
			return h.PayloadLen(word)
		case sysproxy.TypeRaise:
			return h.PayloadLen(0)
		}
		return 0, fmt.Errorf("request of %s", h.Type)
	}
	return 0, fmt.Errorf("frame of %s", h.Class)
}

// handle does what a frame asks.
func (s *session) handle(h sysproxy.Header, payload []byte) error {
	if h.Class != sysproxy.Req {
		if h.Class == sysproxy.Error && len(payload) != 0 {
			return violated("ERROR frame with a payload of %d bytes", len(payload))
		}
		if err := s.answer(h, payload); err != nil {
			return violation{err}
		}
		return nil
	}
	switch h.Type {
	case sysproxy.TypeCopyIn, sysproxy.TypeCopyInStr:
		n, addr, err := s.layout.ParseCopyIn(h, payload)
		if err != nil {
			return violation{err}
		}
		return s.copyIn(h, addr, n)
	case sysproxy.TypeCopyOut, sysproxy.TypeCopyOutStr:
		return s.copyOut(h, payload)
	case sysproxy.TypeAnonMmap:
		if len(payload) != s.layout.WordSize {
			return violated("ANONMMAP with a payload of %d bytes", len(payload))
		}
		// There is no memory for a kernel here. The call that needed it
		// fails with ENOMEM.
		return s.respond(sysproxy.AnonMmapReply{Addr: 0}.Append(nil, s.layout, h.ReqNo), nil)
	case sysproxy.TypeRaise:
		if s.onRaise != nil {
			s.onRaise(int32(h.U))
		}
	}
	return nil
}

// maxAnswer is the longest payload of an answer: a system call's result on a
// 64-bit machine.
const maxAnswer = 24

// copyIn answers a COPYIN or COPYINSTR of n bytes.
func (s *session) copyIn(h sysproxy.Header, addr, n uint64) error {
	str := h.Type == sysproxy.TypeCopyInStr
	want := n
	if str {
		// A string may end long before n.
		want = 0
	}
	s.mu.Lock()
	call, g, err := s.lookup(h, addr, want, dirIn)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	// The call stays, and its memory with it, until the reader, which is
	// here, sees its answer.
	p := call.mem[g.off+int(addr-g.addr) : g.off+g.n]
	end := ""
	if !str {
		p = p[:n]
	} else {
		p = p[:min(uint64(len(p)), n)]
		if i := bytes.IndexByte(p, 0); i >= 0 {
			p = p[:i+1]
		} else if uint64(len(p)) < n {
			// A string that its buffer does not end is ended here: the
			// kernel would go on reading behind it.
			end = "\x00"
		}
	}
	head := s.layout.AppendHeader(s.head[:0], sysproxy.Header{
		Len:   sysproxy.HeaderLen + uint64(len(p)+len(end)),
		ReqNo: h.ReqNo, Class: sysproxy.Resp, Type: sysproxy.TypeCopyIn,
	})
	if end != "" {
		head = append(append(head, p...), end...)
		p = nil
	}
	return s.respond(head, p)
}

// respond sends the answer to a request of the server's. A server that asks
// and does not read what it is told is not read from either.
func (s *session) respond(head, body []byte) error {
	if err := s.out.wait(context.Background(), maxAnswers); err != nil {
		return err
	}
	s.out.send(head, body)
	return nil
}

// copyOut begins a COPYOUT or COPYOUTSTR, of which all but the data is in
// payload.
func (s *session) copyOut(h sysproxy.Header, payload []byte) error {
	n := h.Len - uint64(sysproxy.HeaderLen+len(payload))
	said, addr, err := s.layout.ParseCopyIn(h, payload)
	if err != nil {
		return violation{err}
	}
	if said != n {
		return violated("%s of %d bytes that brings %d", h.Type, said, n)
	}
	s.mu.Lock()
	call, g, err := s.lookup(h, addr, n, dirOut)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	at := int(addr - g.addr)
	end := at + int(n)
	if at > g.high {
		// Bytes that were left out must not show what was there before.
		// What the caller gave to be read is the caller's.
		if g.dir&dirIn == 0 {
			clear(call.mem[g.off+g.high : g.off+at])
		}
	}
	s.in.out.seg, s.in.out.end = g, end
	s.in.out.rest = call.mem[g.off+at : g.off+end]
	return nil
}

// lookup finds the buffer that a copy request is for; s.mu is held.
func (s *session) lookup(h sysproxy.Header, addr, n uint64, dir direction) (*Call, *segment, error) {
	if s.err != nil {
		return nil, nil, s.err
	}
	call := s.space.find(addr)
	if call == nil {
		return nil, nil, violated("%s at %#x, where no call has a buffer", h.Type, addr)
	}
	g := call.segment(addr, n)
	if g == nil {
		return nil, nil, violated("%s of %d bytes at %#x, beyond the buffer", h.Type, n, addr)
	}
	if g.dir&dir == 0 {
		return nil, nil, violated("%s at %#x, a buffer that is not for that", h.Type, addr)
	}
	return call, g, nil
}
