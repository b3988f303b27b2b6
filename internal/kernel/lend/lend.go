// Package lend carries the bytes of connections between the kernel's sockets and
// local stream sockets of the host, whose other ends programs hold. A program so
// has its connection without a call in the kernel for each read and write.
//
// Nothing here waits for a program, for a peer, or for another loan, and a loan
// that has nothing to do costs no goroutine and no buffer.
package lend

import (
	"errors"
	"io"
	"time"
)

// Stream is a connection of the kernel's. Its methods do not wait, and one
// goroutine at a time calls them.
type Stream interface {
	// Send takes from src what there is room for, and gives the number of bytes.
	// Without any room it fails with netbsd.EAGAIN, and when nothing can be sent
	// any more with why.
	Send(src Source) (int, error)
	// Recv writes to dst what has come in, until dst fails; that is no error. It
	// fails with netbsd.EAGAIN when nothing is there, with io.EOF when nothing
	// more will come, and with another error when the connection broke.
	Recv(dst Sink) (int, error)
	// EndSend tells the peer that no more will come (shutdown(2) of the sending
	// half).
	EndSend()
	// Close ends both directions, as Linux does when a program closes its socket: what the program sent still leaves, but the
	// connection is reset if something has come in that Recv has not given, or comes later. A reset drops what Push
	// would have had leave.
	Close()
	// Corked reports whether nothing but full segments is to leave (TCP_CORK).
	Corked() bool
	// Full tells how many of n bytes Send may take so that only full segments leave.
	Full(n int) int
	// Push has leave what Send has taken and keeps back until the peer has acknowledged
	// what left before (Nagle's algorithm).
	Push()
	// Unsent tells whether Send has taken bytes that have not left.
	Unsent() bool
	// Reset ends the connection at once.
	Reset()
	// Err tells why the connection broke, or nil.
	Err() error
	// Unread reports whether something has come in that Recv has not given.
	Unread() bool
	// Abrupt reports whether closing the socket drops what it has to send and
	// resets the connection (SO_LINGER with a time of 0).
	Abrupt() bool
	// Release ends the loan: nothing more is notified.
	Release()

	// Mate is the loan of the connection's other end, nil when that is not lent or not in this
	// kernel.
	Mate() *Loan
	// Passable tells whether bytes may go past the stream, to its mate's program.
	Passable() bool
	// Mark is the end of what Send has taken, if what comes after may go past the stream.
	Mark() (mark uint32, ok bool)
	// Reached tells whether Recv has given all up to the mate's mark.
	Reached(mark uint32) bool
	// Passed tells of n bytes that have come past the stream.
	Passed(n int)
}

// Source is what Send takes bytes from: Len of them are there. Read fails when they are
// not, and then Send does.
type Source interface {
	io.Reader
	Len() int
}

// Sink is what Recv writes to.
type Sink interface {
	// Write may keep p back, and gives the number of bytes that it has taken. It
	// fails when that is not all.
	io.Writer
	// WriteAll writes what has been kept back, and the pieces behind it, as far as
	// there is room. It gives the number of bytes of them.
	WriteAll(pieces [][]byte) int
}

// MaxPieces is the most pieces that WriteAll takes.
const MaxPieces = 16

// Events are what a Stream notifies of. A notification is a hint.
type Events uint32

// What a change is about.
const (
	Readable Events = 1 << iota // something came in, or the peer's end
	Writable                    // there may be room to send
	Broken                      // the connection may have ended
	// Flush: all that the program has written up to now is to leave, for the cork has
	// changed. It alone is notified with no locks held, and has been done when notify
	// returns.
	Flush
)

// End is how a loan ended. The values are those of sysproxy's LoanEnd.
type End uint32

// The ends of a loan.
const (
	Closed  End = 1 // the program ended both directions; all that it sent is the stream's, unless Abrupt
	Dropped End = 2 // the program closed with data unread, and the stream was reset
	Failed  End = 3 // the stream broke
	Revoked End = 4 // by Revoke
)

// Bounds of the memory and the time that a loan takes.
const (
	// keep is the most bytes that wait, out of the stream's receive buffer, for
	// a program that does not read, and the most that a cork holds back. No others are
	// held: what a program writes stays in the host's socket until the stream has room.
	keep = 64 << 10
	// corkTime is how long a cork holds a byte back at most, as Linux's.
	corkTime = 200 * time.Millisecond
	// lingerTime is how long the stream may take to send what the program wrote before it closed,
	// where that resets the connection, and lingerLook how soon it is looked again. The peer's
	// acknowledgements make room, and on the host they are mostly there when the write returns. It
	// is enough to send a segment once more.
	lingerTime = 300 * time.Millisecond
	lingerLook = time.Millisecond
	// turnBytes is about how many bytes are carried before other loans have
	// their turn.
	turnBytes = 512 << 10
	// gather is up to which size what has come in is copied, to be written with
	// one call of the host's.
	gather = 16 << 10
)

// Why there is no loan.
var (
	ErrHost = errors.New("no connected local stream socket")
	ErrPump = errors.New("the pump is closed")
)
