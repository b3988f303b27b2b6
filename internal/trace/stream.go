package trace

import (
	"rumptools/pkg/sysproxy"
)

// maxFrame is the most of a frame that is kept, in bytes with its header. No
// known kernel or client sends so much at once; of longer frames the beginning is
// looked at.
const maxFrame = 128 << 10

// frame is a frame that has passed, or its beginning.
type frame struct {
	sysproxy.Header
	// raw is the frame's bytes, header included, but no more than maxFrame.
	// It is good until the next frame.
	raw []byte
}

func (f *frame) payload() []byte { return f.raw[sysproxy.HeaderLen:] }

// cut tells whether raw is not the whole frame.
func (f *frame) cut() bool { return uint64(len(f.raw)) < f.Len }

// stream takes the bytes of one direction apart into frames.
type stream struct {
	layout sysproxy.Layout
	raw    []byte // of the frame that is passing
	hdr    sysproxy.Header
	seen   uint64 // bytes of the frame that have passed
	bad    bool   // nothing can be made of what comes
	// spill, if set, is given the bytes of a frame that is longer than
	// maxFrame, as they pass, and those after the last frame that could be
	// made out.
	spill func(b []byte)
}

// feed takes the next bytes. Each frame that they complete is given to yield. It
// fails once, at a header that is none; the bytes from there on are lost to it.
func (s *stream) feed(b []byte, yield func(*frame)) error {
	for len(b) > 0 {
		if s.bad {
			s.lose(b)
			return nil
		}
		if len(s.raw) < sysproxy.HeaderLen {
			n := min(sysproxy.HeaderLen-len(s.raw), len(b))
			s.raw = append(s.raw, b[:n]...)
			b = b[n:]
			if len(s.raw) < sysproxy.HeaderLen {
				return nil
			}
			h, err := s.layout.ParseHeader(s.raw)
			if err != nil {
				s.bad = true
				s.lose(s.raw)
				s.lose(b)
				s.raw = nil
				return err
			}
			s.hdr, s.seen = h, sysproxy.HeaderLen
			if h.Len > maxFrame {
				s.lose(s.raw)
			}
		}
		n := uint64(len(b))
		n = min(n, s.hdr.Len-s.seen)
		part := b[:n]
		b = b[n:]
		s.seen += n
		if s.hdr.Len > maxFrame {
			s.lose(part)
		}
		s.raw = append(s.raw, part[:min(len(part), maxFrame-len(s.raw))]...)
		if s.seen == s.hdr.Len {
			yield(&frame{s.hdr, s.raw})
			s.reset()
		}
	}
	return nil
}

// reset makes ready for the next frame. Memory for a long one is not kept: most
// are short.
func (s *stream) reset() {
	if cap(s.raw) > 8<<10 {
		s.raw = nil
	}
	s.raw, s.seen = s.raw[:0], 0
}

func (s *stream) lose(b []byte) {
	if s.spill != nil && len(b) > 0 {
		s.spill(b)
	}
}

// rest is what has come of a frame that is not whole.
func (s *stream) rest() []byte {
	if s.bad {
		return nil
	}
	return s.raw
}
