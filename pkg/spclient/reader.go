package spclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"rumptools/pkg/sysproxy"
)

// readerSize is the size of a reader's buffer: room for many small frames, of
// which most are.
const readerSize = 16 << 10

// A reader buffers what a transport brings.
type reader struct {
	tr   transport
	buf  [readerSize]byte
	r, w int
	// any is set when something has come.
	any bool
}

// Read implements io.Reader.
func (b *reader) Read(p []byte) (int, error) {
	if b.r == b.w {
		if len(p) >= len(b.buf) {
			return b.tr.read(p)
		}
		if err := b.fill(1); err != nil {
			return 0, err
		}
	}
	n := copy(p, b.buf[b.r:b.w])
	b.r += n
	return n, nil
}

// fill reads until n bytes, which the buffer must have room for, are there.
func (b *reader) fill(n int) error {
	if b.r == b.w {
		b.r, b.w = 0, 0
	}
	if b.r+n > len(b.buf) {
		b.w = copy(b.buf[:], b.buf[b.r:b.w])
		b.r = 0
	}
	for b.w-b.r < n {
		got, err := b.tr.read(b.buf[b.w:])
		if err != nil {
			return err
		}
		b.w += got
		b.any = true
	}
	return nil
}

// next returns the next n bytes, which are good until the next use of b. At the
// end of a stream the error is io.EOF only when no byte is left.
func (b *reader) next(n int) ([]byte, error) {
	if b.w-b.r < n {
		if err := b.fill(n); err != nil {
			if err == io.EOF && b.w > b.r {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	p := b.buf[b.r : b.r+n]
	b.r += n
	return p, nil
}

// violation is what a server may not do.
type violation struct{ err error }

func (v violation) Error() string { return v.err.Error() }

func violated(format string, args ...any) error {
	return violation{fmt.Errorf(format, args...)}
}

// read handles what the server sends, until the session ends.
func (s *session) read() {
	defer close(s.done)
	for {
		err := s.readFrame()
		if err == nil {
			continue
		}
		var v violation
		if errors.As(err, &v) {
			s.end(&ProtocolError{s.url, v.err})
		} else {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				err = s.out.cause(err)
			}
			s.end(&LostError{s.url, err})
		}
		return
	}
}

// readFrame reads one frame and does what it asks.
//
// Every message but COPYOUT is of a known size, and a COPYOUT is compared with
// the call that it is for before its data is read, straight to the call's
// memory: nothing is ever allocated because the server says so.
func (s *session) readFrame() error {
	b, err := s.in.next(sysproxy.HeaderLen)
	if err != nil {
		return err
	}
	h, err := s.layout.ParseHeader(b)
	if err != nil {
		return violation{err}
	}
	word := s.layout.WordSize
	switch h.Class {
	case sysproxy.Resp, sysproxy.Error:
		payload, err := s.payload(h, maxAnswer)
		if err != nil {
			return err
		}
		if h.Class == sysproxy.Error && len(payload) != 0 {
			return violated("ERROR frame with a payload of %d bytes", len(payload))
		}
		if err := s.answer(h, payload); err != nil {
			return violation{err}
		}
		return nil
	case sysproxy.Req:
		switch h.Type {
		case sysproxy.TypeCopyIn, sysproxy.TypeCopyInStr:
			payload, err := s.payload(h, 2*word)
			if err != nil {
				return err
			}
			n, addr, err := s.layout.ParseCopyIn(h, payload)
			if err != nil {
				return violation{err}
			}
			return s.copyIn(h, addr, n)
		case sysproxy.TypeCopyOut, sysproxy.TypeCopyOutStr:
			return s.copyOut(h)
		case sysproxy.TypeAnonMmap:
			payload, err := s.payload(h, word)
			if err != nil {
				return err
			}
			if len(payload) != word {
				return violated("ANONMMAP with a payload of %d bytes", len(payload))
			}
			// There is no memory for a kernel here. The call that
			// needed it fails with ENOMEM.
			return s.respond(sysproxy.AnonMmapReply{Addr: 0}.Append(nil, s.layout, h.ReqNo), nil)
		case sysproxy.TypeRaise:
			if _, err := s.payload(h, 0); err != nil {
				return err
			}
			if s.onRaise != nil {
				s.onRaise(int32(h.U))
			}
			return nil
		}
		return violated("request of %s", h.Type)
	}
	return violated("frame of %s", h.Class)
}

// maxAnswer is the longest payload of an answer: a system call's result on a
// 64-bit machine.
const maxAnswer = 24

// payload reads the payload of a frame that must not be longer than limit.
func (s *session) payload(h sysproxy.Header, limit int) ([]byte, error) {
	n, err := h.PayloadLen(limit)
	if err != nil {
		return nil, violation{err}
	}
	return s.rest(n)
}

// rest reads n bytes in the middle of a frame.
func (s *session) rest(n int) ([]byte, error) {
	p, err := s.in.next(n)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return p, err
}

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
	if err := s.out.wait(context.Background()); err != nil {
		return err
	}
	s.out.send(head, body)
	return nil
}

// copyOut reads a COPYOUT or COPYOUTSTR, of which only the header has been
// read.
func (s *session) copyOut(h sysproxy.Header) error {
	head := 2 * s.layout.WordSize
	if h.Len < uint64(sysproxy.HeaderLen+head) {
		return violated("%s with a payload of %d bytes", h.Type, h.Len-sysproxy.HeaderLen)
	}
	n := h.Len - uint64(sysproxy.HeaderLen+head)
	if n > rangeSize {
		s.mu.Lock()
		longest := s.space.longest()
		s.mu.Unlock()
		if n > uint64(longest) {
			return violated("%s of %d bytes, the longest buffer has %d", h.Type, n, longest)
		}
	}
	b, err := s.rest(head)
	if err != nil {
		return err
	}
	said, addr, err := s.layout.ParseCopyIn(h, b)
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
	if _, err := io.ReadFull(&s.in, call.mem[g.off+at:g.off+end]); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	g.high = max(g.high, end)
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
