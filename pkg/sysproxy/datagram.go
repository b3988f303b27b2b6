package sysproxy

import (
	"bytes"
	"encoding/binary"
)

// ExtLendDatagrams is the request LENDDGRAM: a socket for datagrams exchanges them with a
// socket of the client's host. It is announced as [ExtLend] is.
const ExtLendDatagrams = "lenddgram"

// ExtLendControl is the operation [LendBeginControl] of LENDDGRAM.
const ExtLendControl = "lendctl"

// ExtLendLabels is the operation [LendBeginLabels] of LENDDGRAM.
const ExtLendLabels = "lendlabel"

// TypeLendDatagrams is the type of the request LENDDGRAM and of its answer.
const TypeLendDatagrams Type = 0x4c02

// LendDatagrams lends a socket for datagrams to a socket of the client's host, S, or takes it
// back. The descriptor that leads to S comes in an SCM_RIGHTS message with the frame's
// first byte: of the path that S is bound to, opened with O_PATH, or of a socket that S is
// connected to, and that is connected to S.
//
// It is answered when the loan has ended, or could not begin; with Op LendTakeBack or LendAbandon at once.
type LendDatagrams struct {
	FD int32 // the socket
	Op LendOp
}

// LendOp is what a LENDDGRAM is for.
type LendOp uint32

// The operations.
const (
	LendBegin LendOp = 0
	// LendTakeBack ends the loan that there is, with LoanRevoked, once all that S has
	// sent is. No descriptor comes with it.
	LendTakeBack LendOp = 1
	// LendBeginControl is LendBegin of a client that wants control messages also with a connected S: a datagram
	// that has some comes with a descriptor (SCM_RIGHTS) of a file that they are in, as recvmsg(2) gives them.
	LendBeginControl LendOp = 2
	// LendBeginLabels lends to an S that is a UDP socket of the host's, connected or not. The descriptor is of a local socket
	// at which a message with two others (SCM_RIGHTS) waits: of K, a UDP socket that is connected to S, by which the
	// server sends what comes, and of a table, a file in memory, in which it says from whom a datagram comes and with
	// which control messages. Where in it is the datagram's label, a number in the packet's time to live and type of service.
	LendBeginLabels LendOp = 3
	// LendAbandon is LendTakeBack when S is closed, whether there is a loan or not, which ends with LoanClosed: the socket can
	// still send, but receives nothing any more. What has come for it and nobody has received, and what comes from now on, goes where it
	// would if the socket were closed. It is of [ExtLendLabels].
	LendAbandon LendOp = 4
)

// LoanControl ends a loan of datagrams to a connected S that was begun with LendBegin: control messages came with the next
// datagram, for which there is no place. It is still to be received.
const LoanControl LoanEnd = 5

// LendDatagramsReply answers LendDatagrams. Cause of LoanFailed is the error of the
// socket's, which is no longer its SO_ERROR.
type LendDatagramsReply LendReply

const lendDatagramsLen = 8

// Append implements [Message].
func (m LendDatagrams) Append(b []byte, l Layout, reqno uint64) []byte {
	b = l.header(b, reqno, Req, TypeLendDatagrams, 0, lendDatagramsLen)
	b = l.Order.AppendUint32(b, uint32(m.FD))
	return l.Order.AppendUint32(b, uint32(m.Op))
}

// Append implements [Message].
func (m LendDatagramsReply) Append(b []byte, l Layout, reqno uint64) []byte {
	b = l.header(b, reqno, Resp, TypeLendDatagrams, 0, lendReplyLen)
	b = l.Order.AppendUint32(b, uint32(m.Errno))
	b = l.Order.AppendUint32(b, uint32(m.End))
	return l.Order.AppendUint32(b, uint32(m.Cause))
}

// ParseLendDatagrams reads the payload of a LENDDGRAM request.
func (l Layout) ParseLendDatagrams(h Header, payload []byte) (LendDatagrams, error) {
	if len(payload) != lendDatagramsLen {
		return LendDatagrams{}, wrongLen(h, payload, lendDatagramsLen)
	}
	return LendDatagrams{int32(l.Order.Uint32(payload)), LendOp(l.Order.Uint32(payload[4:]))}, nil
}

// ParseLendDatagramsReply reads the payload of a RESP LENDDGRAM.
func (l Layout) ParseLendDatagramsReply(h Header, payload []byte) (LendDatagramsReply, error) {
	m, err := l.ParseLendReply(h, payload)
	return LendDatagramsReply(m), err
}

// Origin is what the name of the host's socket that sends a datagram to S tells of it.
type Origin struct {
	From    []byte    // the sender's address, a sockaddr of the server's
	Control []Control // the control messages that came along
	// Cut says that there were more of these than a name has room for.
	Cut bool
}

// Control is a control message.
type Control struct {
	Level, Type int32
	Data        []byte // in the server's layout
}

// A name in the abstract name space (unix(7)) has at most this many bytes after its first
// one, which is 0.
const maxName = 107

// Of these, one is taken so that the others have none that is 0, at which many take a name
// for ended.
const maxPlain = maxName - 1

// The parts of a name: what it is, whose it is, the address and its length, and the
// control messages with three bytes before their data.
const (
	nameMark   = 0x4c
	nameCut    = 1 // a bit of the second byte, of which the others are 0
	nameSerial = 10
	nameHead   = 2 + nameSerial + 1
	controlLen = 3

	levelSocket = 0xffff // SOL_SOCKET, of which a byte has 0xff
)

// AppendName appends a name that tells of o: the bytes after the first, which is 0. serial,
// of which ten bytes count, makes it unlike others. Control messages that there is no room
// for are left out, which the name tells; without room for the address there is no name,
// and b comes back.
func (o *Origin) AppendName(b []byte, serial []byte) []byte {
	if nameHead+len(o.From) > maxPlain {
		return b
	}
	var room [maxPlain]byte
	p := append(room[:0], nameMark, 0)
	p = append(p, serial[:nameSerial]...)
	p = append(p, byte(len(o.From)))
	p = append(p, o.From...)
	cut := o.Cut
	for i := range o.Control {
		c := &o.Control[i]
		level := c.Level
		if level == levelSocket {
			level = 0xff
		} else if level < 0 || level >= 0xff {
			cut = true
			continue
		}
		if c.Type < 0 || c.Type > 0xff || len(p)+controlLen+len(c.Data) > maxPlain {
			cut = true
			continue
		}
		p = append(p, byte(level), byte(c.Type), byte(len(c.Data)))
		p = append(p, c.Data...)
	}
	if cut {
		p[1] |= nameCut
	}
	// Each 0, and one behind the last byte, becomes how far the one before it was: the
	// bytes between them stay (consistent overhead byte stuffing).
	for rest, last := p, false; !last; {
		var part []byte
		part, rest, last = cutZero(rest)
		b = append(b, byte(len(part)+1))
		b = append(b, part...)
	}
	return b
}

// cutZero cuts at the first 0, and tells when there is none.
func cutZero(p []byte) (before, after []byte, last bool) {
	before, after, found := bytes.Cut(p, []byte{0})
	return before, after, !found
}

// ParseOrigin reads a name, without its first byte. It tells whether it is one.
func ParseOrigin(name string) (Origin, bool) {
	var room [maxPlain]byte
	p := room[:0]
	if len(name) == 0 || len(name) > maxName {
		return Origin{}, false
	}
	for {
		n := int(name[0])
		if n == 0 || n > len(name) {
			return Origin{}, false
		}
		p = append(p, name[1:n]...)
		if name = name[n:]; name == "" {
			break
		}
		p = append(p, 0)
	}
	if len(p) < nameHead || p[0] != nameMark || p[1]&^nameCut != 0 {
		return Origin{}, false
	}
	o := Origin{Cut: p[1]&nameCut != 0}
	n := int(p[nameHead-1])
	rest := append([]byte(nil), p[nameHead:]...)
	if n > len(rest) {
		return Origin{}, false
	}
	o.From, rest = rest[:n:n], rest[n:]
	for len(rest) > 0 {
		if len(rest) < controlLen || len(rest)-controlLen < int(rest[2]) {
			return Origin{}, false
		}
		c := Control{Level: int32(rest[0]), Type: int32(rest[1])}
		if c.Level == 0xff {
			c.Level = levelSocket
		}
		end := controlLen + int(rest[2])
		c.Data, rest = rest[controlLen:end:end], rest[end:]
		o.Control = append(o.Control, c)
	}
	return o, true
}

// NameSerial makes the serial of a name of the number of a loan and one of the sender.
func NameSerial(loan [6]byte, sender uint32) (serial [10]byte) {
	copy(serial[:], loan[:])
	binary.BigEndian.PutUint32(serial[6:], sender)
	return serial
}
