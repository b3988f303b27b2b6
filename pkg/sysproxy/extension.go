package sysproxy

import "slices"

// Extensions of the protocol, as a [Banner] announces them. A client that uses
// none of them is served as ever, and a server that announces none never sees
// their frames.
const (
	// ExtLend is the request LEND: a descriptor of the client's host becomes the
	// program's end of a socket's stream. It is announced to those only who can
	// use it: over a local connection and of the server's own user.
	ExtLend = "lend"
	// ExtCarry is the request CARRY: a system call that brings memory along, for
	// which the server then need not ask.
	ExtCarry = "carry"
	// ExtPost is the request POST: a system call that is not answered.
	ExtPost = "post"
	// ExtSettle is the flag CarrySettle.
	ExtSettle = "settle"
	// ExtDial is the flag CarryDial.
	ExtDial = "dial"
)

// Post is a system call whose result nobody wants: it is not answered.
type Post Syscall

// Append implements [Message].
func (m Post) Append(b []byte, l Layout, reqno uint64) []byte {
	b = l.header(b, reqno, Req, TypePost, m.Num, len(m.Args))
	return append(b, m.Args...)
}

// Has reports whether the banner announces an extension.
func (b Banner) Has(extension string) bool { return slices.Contains(b.Extensions, extension) }

// The types of the extensions' frames. Far from the protocol's own, so that one
// that NetBSD adds does not meet them.
const (
	TypeLend  Type = 0x4c00 // a client's request: LEND
	TypeCarry Type = 0x4c01 // a client's request: CARRY, answered as SYSCALL
	TypePost  Type = 0x4c04 // a client's request: POST, which is not answered
)

// Lend lends a connected stream socket to the holder of a host descriptor's other
// end. The descriptor comes in an SCM_RIGHTS message with the frame's first byte.
// It is answered when the loan has ended, or could not begin.
type Lend struct {
	FD    int32 // the socket
	Flags LendFlags
}

// LendFlags say more about a loan.
type LendFlags uint32

// LendSeeded: the first byte that the descriptor has to be read, or will have, is nobody's.
// The server drops it, and always leaves another one that it has taken, until the program
// has ended the connection.
const LendSeeded LendFlags = 1

// LoanEnd is how a loan ended.
type LoanEnd uint32

// The ends of a loan.
const (
	// LoanClosed: the program has ended both directions, as by closing its
	// descriptor, and all that it wrote is in the socket's buffer.
	LoanClosed LoanEnd = 1
	// LoanDropped: the program closed its descriptor with data unread, and the
	// server has reset the connection.
	LoanDropped LoanEnd = 2
	// LoanFailed: the connection broke.
	LoanFailed LoanEnd = 3
	// LoanRevoked: the socket's descriptor was closed.
	LoanRevoked LoanEnd = 4
)

// LendReply answers Lend.
type LendReply struct {
	Errno int32   // why the loan could not begin, an errno of the server's, or 0
	End   LoanEnd // if it began
	// Cause is why the connection broke, an errno of the server's, with
	// LoanFailed.
	Cause int32
}

const (
	lendLen      = 8
	lendReplyLen = 12
)

// Append implements [Message].
func (m Lend) Append(b []byte, l Layout, reqno uint64) []byte {
	b = l.header(b, reqno, Req, TypeLend, 0, lendLen)
	b = l.Order.AppendUint32(b, uint32(m.FD))
	return l.Order.AppendUint32(b, uint32(m.Flags))
}

// Append implements [Message].
func (m LendReply) Append(b []byte, l Layout, reqno uint64) []byte {
	b = l.header(b, reqno, Resp, TypeLend, 0, lendReplyLen)
	b = l.Order.AppendUint32(b, uint32(m.Errno))
	b = l.Order.AppendUint32(b, uint32(m.End))
	return l.Order.AppendUint32(b, uint32(m.Cause))
}

// ParseLend reads the payload of a LEND request.
func (l Layout) ParseLend(h Header, payload []byte) (Lend, error) {
	if len(payload) != lendLen {
		return Lend{}, wrongLen(h, payload, lendLen)
	}
	return Lend{int32(l.Order.Uint32(payload)), LendFlags(l.Order.Uint32(payload[4:]))}, nil
}

// ParseLendReply reads the payload of a RESP LEND.
func (l Layout) ParseLendReply(h Header, payload []byte) (LendReply, error) {
	if len(payload) != lendReplyLen {
		return LendReply{}, wrongLen(h, payload, lendReplyLen)
	}
	return LendReply{
		Errno: int32(l.Order.Uint32(payload)),
		End:   LoanEnd(l.Order.Uint32(payload[4:])),
		Cause: int32(l.Order.Uint32(payload[8:])),
	}, nil
}

// Carry is a system call with memory of the client's. What the server needs beyond that
// it asks for, as ever; what it writes it writes with COPYOUT.
type Carry struct {
	Num    uint32
	Args   []byte // as of [Syscall]
	Memory []Segment
	Flags  CarryFlags
}

// CarryFlags say more about a call. On the wire they are in the word with the number of pieces.
type CarryFlags uint32

// CarrySettle: a connect(2) that does not wait says what has come of it by now, and
// EINPROGRESS only if that is not known.
const CarrySettle CarryFlags = 1 << 31

// CarryDial: a socket(2) whose pieces of memory are the address that it is connected to, as with
// CarrySettle, and options that are set before, each a [SocketOption]. The second register of
// the result is connect's errno, or 0.
const CarryDial CarryFlags = 1 << 30

const carryFlags = CarrySettle | CarryDial

// SocketOption is an option that is set on a new socket (setsockopt(2)). One that cannot be set is
// left out.
type SocketOption struct {
	Level, Name int32
	Value       []byte
}

const socketOptionLen = 4 + 4

// Append appends the option as a piece of memory has it.
func (o SocketOption) Append(b []byte, l Layout) []byte {
	b = l.Order.AppendUint32(b, uint32(o.Level))
	b = l.Order.AppendUint32(b, uint32(o.Name))
	return append(b, o.Value...)
}

// ParseSocketOption reads an option. It reports false for what is none.
func (l Layout) ParseSocketOption(b []byte) (SocketOption, bool) {
	if len(b) < socketOptionLen {
		return SocketOption{}, false
	}
	return SocketOption{int32(l.Order.Uint32(b)), int32(l.Order.Uint32(b[4:])), b[socketOptionLen:]}, true
}

// Segment is a piece of the client's memory.
type Segment struct {
	Addr uint64
	Data []byte
}

// MaxSegments is the most pieces of memory that a call brings.
const MaxSegments = 64

// carryLen is the part of fixed length: how many bytes of arguments and how many
// pieces follow. Behind the arguments come address and length of all pieces, a word
// each, and then their bytes.
const carryLen = 4 + 4

// Append implements [Message].
func (m Carry) Append(b []byte, l Layout, reqno uint64) []byte {
	n := carryLen + len(m.Args)
	for i := range m.Memory {
		n += 2*l.WordSize + len(m.Memory[i].Data)
	}
	b = l.header(b, reqno, Req, TypeCarry, m.Num, n)
	b = l.Order.AppendUint32(b, uint32(len(m.Args)))
	b = l.Order.AppendUint32(b, uint32(len(m.Memory))|uint32(m.Flags))
	b = append(b, m.Args...)
	for i := range m.Memory {
		b = l.AppendWord(b, m.Memory[i].Addr)
		b = l.AppendWord(b, uint64(len(m.Memory[i].Data)))
	}
	for i := range m.Memory {
		b = append(b, m.Memory[i].Data...)
	}
	return b
}

// ParseCarry reads the payload of a CARRY request. The pieces are appended to memory,
// and point into payload.
func (l Layout) ParseCarry(h Header, payload []byte, memory []Segment) (Carry, error) {
	bad := func(want string) (Carry, error) {
		return Carry{}, &PayloadError{h.Class, h.Type, h.U, len(payload), want}
	}
	if len(payload) < carryLen {
		return bad("8 bytes and more")
	}
	args, count := uint64(l.Order.Uint32(payload)), uint64(l.Order.Uint32(payload[4:]))
	flags := CarryFlags(count) & carryFlags
	count &^= uint64(carryFlags)
	rest := payload[carryLen:]
	if count > MaxSegments {
		return bad("64 pieces of memory at most")
	}
	heads := count * 2 * uint64(l.WordSize)
	if args > uint64(len(rest)) || heads > uint64(len(rest))-args {
		return bad("the arguments and pieces announced")
	}
	m := Carry{Num: h.U, Args: rest[:args:args], Memory: memory, Flags: flags}
	head, data := rest[args:args+heads], rest[args+heads:]
	for range count {
		addr, n := l.Word(head), l.Word(head[l.WordSize:])
		head = head[2*l.WordSize:]
		if n > uint64(len(data)) {
			return bad("the pieces announced")
		}
		m.Memory = append(m.Memory, Segment{addr, data[:n:n]})
		data = data[n:]
	}
	if len(data) > 0 {
		return bad("no more than the pieces announced")
	}
	return m, nil
}
