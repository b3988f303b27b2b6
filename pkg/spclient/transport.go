package spclient

import (
	"net"
	"time"
)

// A transport carries a connection's bytes. One goroutine reads and one sends
// at a time.
type transport interface {
	// read waits for bytes and reads what there is. At the end it returns
	// io.EOF.
	read(p []byte) (int, error)
	// trySend sends as much of head and body as goes out without waiting.
	trySend(head, body []byte) (int, error)
	// send sends head and body, waiting until at least some of it has gone
	// out.
	send(head, body []byte) (int, error)
	// expire makes read fail from t on.
	expire(t time.Time)
	// close ends the connection and whoever waits in it.
	close() error
}

// netTransport is a transport over a connection that has no descriptor.
type netTransport struct{ net.Conn }

func (t netTransport) read(p []byte) (int, error) { return t.Read(p) }

// trySend leaves it all to send: whether Write would wait can't be known.
func (t netTransport) trySend(head, body []byte) (int, error) { return 0, nil }

func (t netTransport) send(head, body []byte) (int, error) {
	n, err := t.Write(head)
	if err == nil && len(body) > 0 {
		var m int
		m, err = t.Write(body)
		n += m
	}
	return n, err
}

func (t netTransport) expire(at time.Time) { t.SetReadDeadline(at) }

func (t netTransport) close() error { return t.Close() }
