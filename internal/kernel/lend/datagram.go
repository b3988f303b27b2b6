package lend

import (
	"errors"

	"rumptools/pkg/netbsd"
)

// Datagrams is a socket for datagrams of the kernel's. Its methods do not wait, and one
// goroutine at a time calls them.
type Datagrams interface {
	// Recv takes the first datagram that has come. Who is notified may call it. It fails with
	// netbsd.EAGAIN when there is none, and with the error that came back for one that was sent.
	Recv() (Datagram, error)
	// Unread gives back the one that Recv gave last.
	Unread(Datagram)
	// Encode makes of control messages what recvmsg(2) gives a program.
	Encode(control []netbsd.Cmsg) []byte
	// Send sends one to whom the socket is connected to.
	Send(data []byte) error
	// Peer is the address of whom it is connected to, or nil.
	Peer() []byte
	// Release ends the loan: nothing more is notified.
	Release()
	// Abandon is called after Release when the program has closed its socket: what the host did not take for
	// it, then what has come and nobody has received, and all that comes from now on goes where it would if the socket
	// were closed. It may take some time.
	Abandon(undelivered []Datagram)
}

// Datagram is one that has come. Nobody changes its parts.
type Datagram struct {
	From    []byte // a sockaddr
	Control []netbsd.Cmsg
	Data    []byte
	Whole   any // what it came in, for Unread and Abandon
}

// Control is how a loan of datagrams ends, too: the next has control messages, for
// which a connected program has no place.
const Control End = 5

// ErrHostDatagrams is why there is no loan of datagrams.
var ErrHostDatagrams = errors.New("neither a connected local socket for datagrams nor the path of one")

// Bounds of loans of datagrams.
const (
	// maxSenders is how many senders a loan keeps a socket of the host's for, and
	// maxAllSenders how many there are before each loan keeps one only.
	maxSenders    = 32
	maxAllSenders = 1024
	// turnDatagram is what a datagram counts of a turn beside its bytes.
	turnDatagram = 4 << 10
	// maxUp is how many datagrams are sent of those that a program has sent before
	// its loan is taken back.
	maxUp = 1024
)
