package spclient

import (
	"errors"
	"net"
	"time"
)

// A transport carries a connection's bytes. One goroutine reads and one sends
// at a time.
type transport interface {
	// receive reads what there is to p, and what does not fit there to more,
	// which may be nil. It returns 0 and nil when there is nothing yet, or
	// waits for it if the transport can't do without. At the end it returns
	// io.EOF.
	receive(p, more []byte) (int, error)
	// trySend sends as much of head and body as goes out without waiting.
	trySend(head, body []byte) (int, error)
	// send sends head and body, waiting until at least some of it has gone
	// out.
	send(head, body []byte) (int, error)

	// await waits until receive has something to return, or the watch that
	// was set ends by expire. It may return early.
	await() error
	// watch makes await return when there is something to receive, from now
	// on and once.
	watch() error

	// expire makes await fail from t on, with os.ErrDeadlineExceeded.
	expire(t time.Time)
	// close ends the connection and whoever waits in it.
	close() error
	// check returns errReplaced when the connection's descriptor is not what
	// it was.
	check() error
}

// A directTransport is one whose reading can be waited for without the runtime's
// poller, and so without the switches between threads that it costs.
type directTransport interface {
	transport
	// receiveSoon is receive that waits for a short time, with one of the
	// runtime's processors in its hand.
	receiveSoon(p, more []byte) (int, error)
	// unwatch takes a watch back. An await that it has woken already may
	// return.
	unwatch() error
	// isLocal tells whether the server is in this process.
	isLocal() bool
}

// A rightsTransport is one that can send descriptors of the host's.
type rightsTransport interface {
	transport
	// sendRights is trySend, or send, with a descriptor of the host's, which goes
	// with the first byte and is not closed.
	sendRights(head []byte, file int, wait bool) (int, error)
}

// errReplaced says that the number of the connection's descriptor is no longer
// the connection's.
var errReplaced = errors.New("its descriptor was closed or replaced in this process")

// netTransport is a transport over a connection that has no descriptor.
type netTransport struct{ net.Conn }

func (t netTransport) receive(p, _ []byte) (int, error) { return t.Read(p) }

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

// await leaves the waiting to receive.
func (t netTransport) await() error { return nil }

func (t netTransport) watch() error { return nil }

func (t netTransport) expire(at time.Time) { t.SetReadDeadline(at) }

func (t netTransport) close() error { return t.Close() }

func (t netTransport) check() error { return nil }
