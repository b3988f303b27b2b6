package sysproxy

import (
	"errors"
	"fmt"
	"io"
)

// HeaderLen is the size in bytes of a frame's header on every machine
// (struct rsp_hdr).
const HeaderLen = 24

// Class tells requests from their answers (rsp_class).
type Class uint16

// The classes of a frame.
const (
	Req   Class = 0 // a request
	Resp  Class = 1 // the answer to a request, under its number
	Error Class = 2 // the refusal of a request: no payload, the reason in U
)

func (c Class) String() string {
	switch c {
	case Req:
		return "REQ"
	case Resp:
		return "RESP"
	case Error:
		return "ERROR"
	}
	return fmt.Sprintf("class %d", uint16(c))
}

// Type says what a frame is about (rsp_type).
type Type uint16

// The types of a frame. Syscall, Handshake and Prefork are the client's
// requests, the others the server's.
const (
	TypeHandshake  Type = 0
	TypeSyscall    Type = 1
	TypeCopyIn     Type = 2 // read the client's memory
	TypeCopyInStr  Type = 3 // read a string; answered with TypeCopyIn
	TypeCopyOut    Type = 4 // write the client's memory; not answered
	TypeCopyOutStr Type = 5 // write a string; not answered
	TypeAnonMmap   Type = 6 // take anonymous memory in the client
	TypePrefork    Type = 7 // get a cookie for a child
	TypeRaise      Type = 8 // raise a signal in the client; not answered
)

var typeNames = [...]string{
	"HANDSHAKE", "SYSCALL", "COPYIN", "COPYINSTR", "COPYOUT", "COPYOUTSTR",
	"ANONMMAP", "PREFORK", "RAISE",
}

func (t Type) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	switch t {
	case TypeLend:
		return "LEND"
	case TypeLendDatagrams:
		return "LENDDGRAM"
	case TypeCarry:
		return "CARRY"
	case TypePair:
		return "PAIR"
	case TypePost:
		return "POST"
	}
	return fmt.Sprintf("type %d", uint16(t))
}

// Handshake is the kind of a handshake, in a HANDSHAKE request's U.
type Handshake uint32

// The kinds of handshake.
const (
	HandshakeGuest Handshake = 0 // be a new process
	HandshakeAuth  Handshake = 1 // not implemented by any known server
	HandshakeFork  Handshake = 2 // be a child, by the cookie of a PREFORK
	HandshakeExec  Handshake = 3 // be the same process with a new program
)

func (k Handshake) String() string {
	switch k {
	case HandshakeGuest:
		return "GUEST"
	case HandshakeAuth:
		return "AUTH"
	case HandshakeFork:
		return "FORK"
	case HandshakeExec:
		return "EXEC"
	}
	return fmt.Sprintf("handshake %d", uint32(k))
}

// ErrorCode is the reason in an ERROR frame's U (rsp_err). It is a Go error.
type ErrorCode uint32

// The reasons for refusing a request.
const (
	ErrTryAgain         ErrorCode = 1 // no resources now
	ErrAuth             ErrorCode = 2 // first frame was no acceptable handshake; the server closes
	ErrInvalidPrefork   ErrorCode = 3 // unknown, used or cancelled cookie; the server closes
	ErrRforkFailed      ErrorCode = 4 // the process could not be made
	ErrInExec           ErrorCode = 5 // an EXEC handshake is under way; the server closes
	ErrNoMem            ErrorCode = 6 // out of memory
	ErrMalformedRequest ErrorCode = 7 // unknown type or class, or a payload of the wrong size
)

var errorTexts = [...]string{
	ErrTryAgain:         "try again",
	ErrAuth:             "authentication failed",
	ErrInvalidPrefork:   "invalid prefork cookie",
	ErrRforkFailed:      "rfork failed",
	ErrInExec:           "an exec is under way",
	ErrNoMem:            "out of memory",
	ErrMalformedRequest: "malformed request",
}

func (e ErrorCode) Error() string {
	if int(e) < len(errorTexts) && errorTexts[e] != "" {
		return errorTexts[e]
	}
	return fmt.Sprintf("sysproxy error %d", uint32(e))
}

// Header is the head of every frame.
type Header struct {
	// Len is the length in bytes of header and payload.
	Len uint64
	// ReqNo is the requester's number of a request and of its answer.
	// Clients count from 1, a server from 0.
	ReqNo uint64
	Class Class
	Type  Type
	// U is the system call number, the kind of handshake, the signal
	// number or the error code, as Class and Type have it.
	U uint32
}

// ErrFrameLength is returned for a header whose length is shorter than the
// header, or over the reader's limit.
var ErrFrameLength = errors.New("sysproxy: impossible frame length")

// ParseHeader reads a header from the first [HeaderLen] bytes of b. It fails
// with io.ErrUnexpectedEOF when b is shorter, and with ErrFrameLength when the
// frame would be shorter than its header.
func (l Layout) ParseHeader(b []byte) (Header, error) {
	if len(b) < HeaderLen {
		return Header{}, io.ErrUnexpectedEOF
	}
	h := Header{
		Len:   l.Order.Uint64(b),
		ReqNo: l.Order.Uint64(b[8:]),
		Class: Class(l.Order.Uint16(b[16:])),
		Type:  Type(l.Order.Uint16(b[18:])),
		U:     l.Order.Uint32(b[20:]),
	}
	if h.Len < HeaderLen {
		return h, fmt.Errorf("%w: %d bytes", ErrFrameLength, h.Len)
	}
	return h, nil
}

// AppendHeader appends h to b.
func (l Layout) AppendHeader(b []byte, h Header) []byte {
	b = l.Order.AppendUint64(b, h.Len)
	b = l.Order.AppendUint64(b, h.ReqNo)
	b = l.Order.AppendUint16(b, uint16(h.Class))
	b = l.Order.AppendUint16(b, uint16(h.Type))
	return l.Order.AppendUint32(b, h.U)
}

// PayloadLen is the number of bytes that follow the header, or ErrFrameLength
// when they are more than limit.
func (h Header) PayloadLen(limit int) (int, error) {
	if h.Len < HeaderLen || h.Len-HeaderLen > uint64(limit) {
		return 0, fmt.Errorf("%w: %s %s of %d bytes, at most %d expected",
			ErrFrameLength, h.Class, h.Type, h.Len, uint64(limit)+HeaderLen)
	}
	return int(h.Len - HeaderLen), nil
}

// ReadHeader reads a header from r. It returns io.EOF when r ends before the
// first byte, and io.ErrUnexpectedEOF when it ends within the header.
func (l Layout) ReadHeader(r io.Reader) (Header, error) {
	var b [HeaderLen]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return Header{}, err
	}
	return l.ParseHeader(b[:])
}

// payloadStep is the most memory that ReadPayload takes ahead of the bytes
// that have arrived.
const payloadStep = 64 << 10

// ReadPayload reads the payload of h from r, using buf's memory as far as it
// reaches. More than limit bytes are refused with ErrFrameLength before anything
// is read, and memory is taken as the bytes arrive: a peer that announces much
// and sends little costs little.
func ReadPayload(r io.Reader, h Header, buf []byte, limit int) ([]byte, error) {
	n, err := h.PayloadLen(limit)
	if err != nil {
		return nil, err
	}
	buf = buf[:0]
	for len(buf) < n {
		end := n
		if n > cap(buf) {
			end = min(n, len(buf)+payloadStep)
		}
		if end > cap(buf) {
			bigger := make([]byte, len(buf), min(n, max(end, 2*cap(buf))))
			copy(bigger, buf)
			buf = bigger
		}
		start := len(buf)
		buf = buf[:end]
		if _, err := io.ReadFull(r, buf[start:]); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	return buf, nil
}
