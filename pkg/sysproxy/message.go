package sysproxy

import (
	"fmt"
)

// Message is any frame's content. Append appends the whole frame, header and
// payload, under the request number given.
type Message interface {
	Append(b []byte, l Layout, reqno uint64) []byte
}

// Guest is the handshake of a new process.
type Guest struct {
	// Name is the program's name.
	Name string
	// NoNUL leaves out the byte that ends the name. Real servers accept
	// that; no known client does it.
	NoNUL bool
}

// Exec is the handshake, on the connection of a process that goes on, of the
// program that it now runs.
type Exec Guest

// Auth is the right to be a child of the process that a PREFORK made it for:
// 128 bits.
type Auth [4]uint32

// Fork is the handshake of a child on a connection of its own.
type Fork struct {
	// Auth is the cookie that the parent got.
	Auth Auth
	// Cancel, when not 0, withdraws the cookie instead of using it. The
	// server closes the connection without an answer.
	Cancel int32
}

// HandshakeReply answers a handshake.
type HandshakeReply struct {
	Errno int32 // an errno of the server's, 0 for success
}

// Syscall is a system call.
type Syscall struct {
	Num uint32
	// Args is the argument structure, one slot of the size of register_t
	// an argument.
	Args []byte
}

// SyscallReply is the result of a system call.
type SyscallReply struct {
	Errno int32 // an errno of the server's, 0 for success
	// Retval holds the two registers of the result. On 32-bit machines a
	// 64-bit result is spread over both.
	Retval [2]uint64
	// Pad is the padding between them on LP64 machines. The real server
	// does not clear it.
	Pad uint32
}

// Value64 is a 64-bit result, as lseek(2) has: on a 64-bit machine the first
// register, on a 32-bit one the memory image of the value over both.
func (r SyscallReply) Value64(l Layout) uint64 {
	if l.WordSize == 8 {
		return r.Retval[0]
	}
	var b [8]byte
	l.Order.PutUint32(b[:], uint32(r.Retval[0]))
	l.Order.PutUint32(b[4:], uint32(r.Retval[1]))
	return l.Order.Uint64(b[:])
}

// SetValue64 is the reverse of Value64.
func (r *SyscallReply) SetValue64(l Layout, v uint64) {
	if l.WordSize == 8 {
		r.Retval = [2]uint64{v, 0}
		return
	}
	var b [8]byte
	l.Order.PutUint64(b[:], v)
	r.Retval[0] = uint64(l.Order.Uint32(b[:]))
	r.Retval[1] = uint64(l.Order.Uint32(b[4:]))
}

// CopyIn asks for Len bytes of the client's memory.
type CopyIn struct{ Len, Addr uint64 }

// CopyInStr asks for a string of at most Len bytes, its NUL included.
type CopyInStr struct{ Len, Addr uint64 }

// CopyInReply answers CopyIn with exactly the bytes asked for and CopyInStr
// with the string up to and including its NUL. The protocol has no way to
// refuse: a client that can't answer must close the connection.
type CopyInReply struct{ Data []byte }

// CopyOut writes Data to the client's memory. It is not answered.
type CopyOut struct {
	Addr uint64
	Data []byte
}

// CopyOutStr writes a string with its NUL to the client's memory. It is not
// answered.
type CopyOutStr CopyOut

// AnonMmap asks for Len bytes of fresh memory in the client.
type AnonMmap struct{ Len uint64 }

// AnonMmapReply answers AnonMmap. Addr 0 refuses: the call that needed the
// memory fails with ENOMEM.
type AnonMmapReply struct{ Addr uint64 }

// Prefork asks for a cookie for a child.
type Prefork struct{}

// PreforkReply is the cookie.
type PreforkReply struct{ Auth Auth }

// Raise tells the client to raise a signal. It is not answered, and real
// servers send it with a random request number.
type Raise struct{ Signo uint32 }

// Refusal is an ERROR frame: the request of that number was not carried out.
// Real servers send the type 0 with it, whatever the request was.
type Refusal struct{ Code ErrorCode }

func (l Layout) header(b []byte, reqno uint64, c Class, t Type, u uint32, payload int) []byte {
	return l.AppendHeader(b, Header{
		Len: HeaderLen + uint64(payload), ReqNo: reqno, Class: c, Type: t, U: u,
	})
}

func (m Guest) append(b []byte, l Layout, reqno uint64, kind Handshake) []byte {
	n := len(m.Name)
	if !m.NoNUL {
		n++
	}
	b = l.header(b, reqno, Req, TypeHandshake, uint32(kind), n)
	b = append(b, m.Name...)
	if !m.NoNUL {
		b = append(b, 0)
	}
	return b
}

// Append implements [Message].
func (m Guest) Append(b []byte, l Layout, reqno uint64) []byte {
	return m.append(b, l, reqno, HandshakeGuest)
}

// Append implements [Message].
func (m Exec) Append(b []byte, l Layout, reqno uint64) []byte {
	return Guest(m).append(b, l, reqno, HandshakeExec)
}

func (l Layout) appendAuth(b []byte, a Auth) []byte {
	for _, w := range a {
		b = l.Order.AppendUint32(b, w)
	}
	return b
}

const (
	authLen  = 16
	forkLen  = authLen + 4
	errnoLen = 4
)

// Append implements [Message].
func (m Fork) Append(b []byte, l Layout, reqno uint64) []byte {
	b = l.header(b, reqno, Req, TypeHandshake, uint32(HandshakeFork), forkLen)
	b = l.appendAuth(b, m.Auth)
	return l.Order.AppendUint32(b, uint32(m.Cancel))
}

// Append implements [Message].
func (m HandshakeReply) Append(b []byte, l Layout, reqno uint64) []byte {
	b = l.header(b, reqno, Resp, TypeHandshake, 0, errnoLen)
	return l.Order.AppendUint32(b, uint32(m.Errno))
}

// Append implements [Message].
func (m Syscall) Append(b []byte, l Layout, reqno uint64) []byte {
	b = l.header(b, reqno, Req, TypeSyscall, m.Num, len(m.Args))
	return append(b, m.Args...)
}

func (l Layout) syscallReplyLen() int {
	if l.WordSize == 4 {
		return errnoLen + 2*4
	}
	return errnoLen + 4 + 2*8
}

// Append implements [Message].
func (m SyscallReply) Append(b []byte, l Layout, reqno uint64) []byte {
	b = l.header(b, reqno, Resp, TypeSyscall, 0, l.syscallReplyLen())
	b = l.Order.AppendUint32(b, uint32(m.Errno))
	if l.WordSize == 8 {
		b = l.Order.AppendUint32(b, m.Pad)
	}
	b = l.AppendWord(b, m.Retval[0])
	return l.AppendWord(b, m.Retval[1])
}

func (l Layout) copyHeader(b []byte, reqno uint64, t Type, size, addr uint64, data []byte) []byte {
	b = l.header(b, reqno, Req, t, 0, 2*l.WordSize+len(data))
	b = l.AppendWord(b, size)
	b = l.AppendWord(b, addr)
	return append(b, data...)
}

// Append implements [Message].
func (m CopyIn) Append(b []byte, l Layout, reqno uint64) []byte {
	return l.copyHeader(b, reqno, TypeCopyIn, m.Len, m.Addr, nil)
}

// Append implements [Message].
func (m CopyInStr) Append(b []byte, l Layout, reqno uint64) []byte {
	return l.copyHeader(b, reqno, TypeCopyInStr, m.Len, m.Addr, nil)
}

// Append implements [Message].
func (m CopyInReply) Append(b []byte, l Layout, reqno uint64) []byte {
	b = l.header(b, reqno, Resp, TypeCopyIn, 0, len(m.Data))
	return append(b, m.Data...)
}

// Append implements [Message].
func (m CopyOut) Append(b []byte, l Layout, reqno uint64) []byte {
	return l.copyHeader(b, reqno, TypeCopyOut, uint64(len(m.Data)), m.Addr, m.Data)
}

// Append implements [Message].
func (m CopyOutStr) Append(b []byte, l Layout, reqno uint64) []byte {
	return l.copyHeader(b, reqno, TypeCopyOutStr, uint64(len(m.Data)), m.Addr, m.Data)
}

// Append implements [Message].
func (m AnonMmap) Append(b []byte, l Layout, reqno uint64) []byte {
	b = l.header(b, reqno, Req, TypeAnonMmap, 0, l.WordSize)
	return l.AppendWord(b, m.Len)
}

// Append implements [Message].
func (m AnonMmapReply) Append(b []byte, l Layout, reqno uint64) []byte {
	b = l.header(b, reqno, Resp, TypeAnonMmap, 0, l.WordSize)
	return l.AppendWord(b, m.Addr)
}

// Append implements [Message].
func (m Prefork) Append(b []byte, l Layout, reqno uint64) []byte {
	return l.header(b, reqno, Req, TypePrefork, 0, 0)
}

// Append implements [Message].
func (m PreforkReply) Append(b []byte, l Layout, reqno uint64) []byte {
	b = l.header(b, reqno, Resp, TypePrefork, 0, authLen)
	return l.appendAuth(b, m.Auth)
}

// Append implements [Message].
func (m Raise) Append(b []byte, l Layout, reqno uint64) []byte {
	return l.header(b, reqno, Req, TypeRaise, m.Signo, 0)
}

// Append implements [Message].
func (m Refusal) Append(b []byte, l Layout, reqno uint64) []byte {
	return l.header(b, reqno, Error, TypeHandshake, uint32(m.Code), 0)
}

// PayloadError is a payload that its message can't have. A server answers it
// with [ErrMalformedRequest].
type PayloadError struct {
	Class Class
	Type  Type
	U     uint32
	Len   int    // bytes of the payload
	Want  string // what it should have been
}

func (e *PayloadError) Error() string {
	return fmt.Sprintf("sysproxy: %s %s (%d) with a payload of %d bytes, want %s",
		e.Class, e.Type, e.U, e.Len, e.Want)
}
