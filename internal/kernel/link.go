package kernel

import (
	"net"
)

// link is the way to a client.
type link interface {
	// Read is for the connection's reader alone. At the end it fails with
	// io.EOF.
	Read(p []byte) (int, error)
	// write writes a, then b, whole. One goroutine at a time calls it or
	// tryWrite.
	write(a, b []byte) error
	// tryWrite writes as much of a, then b, as needs no waiting, which may
	// be nothing, and gives the number of bytes.
	tryWrite(a, b []byte) (int, error)
	// hangup ends both directions: Read and write fail. Anybody may call
	// it at any time.
	hangup()
	// close frees the link, when nobody reads or writes any more.
	close()
	// lends reports whether the client may send descriptors of the host: it is of
	// the same user, on the same host. Then the reader gets them with Read, in the
	// order of the bytes that they came with, and takes the next with takeFile; -1
	// is none.
	lends() bool
	takeFile() int
}

// netLink is a link over any connection.
type netLink struct{ net.Conn }

func (l netLink) write(a, b []byte) error {
	if len(b) == 0 {
		_, err := l.Write(a)
		return err
	}
	both := net.Buffers{a, b}
	_, err := both.WriteTo(l.Conn)
	return err
}

// tryWrite can't tell what needs no waiting.
func (l netLink) tryWrite(a, b []byte) (int, error) { return 0, nil }

func (l netLink) hangup()       { l.Close() }
func (l netLink) close()        { l.Close() }
func (l netLink) lends() bool   { return false }
func (l netLink) takeFile() int { return -1 }
