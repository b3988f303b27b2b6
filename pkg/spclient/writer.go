package spclient

import (
	"context"
	"sync"
)

const (
	// maxQueued is how many bytes may wait to be sent before callers wait for
	// the server to read.
	maxQueued = 256 << 10
	// maxAnswers is how many before the reader does, which answers copy
	// requests. It is much more than what callers alone can bring about: a server
	// that waits for this client to read must not be waited for.
	maxAnswers = 1 << 20
	// maxSpare is the largest queue buffer that is kept.
	maxSpare = 64 << 10
	// maxRounds is how many times a sender sends what others have left to
	// it before it goes after its own business.
	maxRounds = 4
)

// A writer sends whole frames. Whoever comes when nobody is sending sends
// himself; whoever comes meanwhile leaves his frame to the sender, so that
// several may share one sendmsg. Nobody waits for a server that does not read: a
// frame that has gone out in part is finished by a goroutine of the writer's,
// before any other.
type writer struct {
	tr transport
	// broken is called, once, when sending has failed.
	broken func(error)

	mu sync.Mutex
	// busy is set while somebody sends. Only he takes from the queue.
	busy bool
	// queue holds whole frames, but that the first may have been cut by a
	// partial transfer.
	queue []byte
	spare []byte // an empty buffer to take turns with queue
	// rights are descriptors that go with frames in the queue, in its order.
	rights []rights
	err    error
	// room, when not nil, is closed when the queue has room, or never will.
	room chan struct{}
}

// rights is a descriptor that goes with a frame, and that the writer closes.
type rights struct {
	at   int // where in the queue the frame begins
	file int
}

// wait waits until fewer than limit bytes are queued, or ctx ends.
func (w *writer) wait(ctx context.Context, limit int) error {
	for {
		w.mu.Lock()
		err, full := w.err, len(w.queue) >= limit
		var room chan struct{}
		if full && err == nil {
			if w.room == nil {
				w.room = make(chan struct{})
			}
			room = w.room
		}
		w.mu.Unlock()
		if room == nil {
			return err
		}
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// full tells whether an answer would have to wait for room.
func (w *writer) full() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err == nil && len(w.queue) >= maxAnswers
}

// send sends a frame that is made of head and body, or queues what can't be
// sent now. Neither is used any more when it returns. It returns false when it is
// certain that the server gets nothing of it.
func (w *writer) send(head, body []byte) bool {
	w.mu.Lock()
	if w.busy || w.err != nil {
		ok := w.err == nil
		if ok {
			w.queue = append(append(w.queue, head...), body...)
		}
		w.mu.Unlock()
		return ok
	}
	w.busy = true
	if len(w.queue) > 0 {
		// Of later.
		w.queue = append(append(w.queue, head...), body...)
		defer w.mu.Unlock()
		return w.sendRest()
	}
	w.mu.Unlock()

	n, err := w.tr.trySend(head, body)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.fail(err)
		return n > 0
	}
	if n < len(head)+len(body) {
		// The rest goes before what others have queued since.
		var rest []byte
		if n < len(head) {
			rest = append(append(rest, head[n:]...), body...)
		} else {
			rest = append(rest, body[n-len(head):]...)
		}
		w.prepend(rest)
		go w.flush()
		return true
	}
	return w.sendRest()
}

// later queues a frame until another one is sent, or push is called. It returns false when it
// is not sent any more.
func (w *writer) later(frame []byte) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.queue = append(w.queue, frame...)
	}
	return w.err == nil
}

// push sends what waits for later.
func (w *writer) push() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.busy && w.err == nil && len(w.queue) > 0 {
		w.busy = true
		w.sendRest()
	}
}

// sendRest sends what others have queued meanwhile, for some time; w.mu is held.
func (w *writer) sendRest() bool {
	for round := 0; len(w.queue) > 0; round++ {
		if round == maxRounds || !w.sendQueue(false) {
			go w.flush()
			return true
		}
		if w.err != nil {
			return true
		}
	}
	w.busy = false
	return true
}

// prepend puts bytes before the queue; w.mu is held.
func (w *writer) prepend(b []byte) {
	w.queue = append(b, w.queue...)
	for i := range w.rights {
		w.rights[i].at += len(b)
	}
}

// sendRights is send of a frame with a descriptor, which the writer closes. The
// transport is a rightsTransport.
func (w *writer) sendRights(head []byte, file int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		closeHost(file)
		return false
	}
	w.rights = append(w.rights, rights{len(w.queue), file})
	w.queue = append(w.queue, head...)
	if w.busy {
		return true
	}
	w.busy = true
	return w.sendRest()
}

// sendQueue sends the queue once, up to the next frame with a descriptor, and reports
// whether all of it went out; w.mu is held, but not while it sends.
func (w *writer) sendQueue(wait bool) bool {
	out, with := w.queue, w.rights
	w.queue, w.spare, w.rights = w.spare[:0], nil, nil
	part, file := out, -1
	for _, r := range with {
		if r.at > 0 {
			part = out[:r.at]
			break
		}
		// One goes with the first bytes of a message.
		file = r.file
	}
	w.mu.Unlock()
	var n int
	var err error
	switch {
	case file >= 0:
		n, err = w.tr.(rightsTransport).sendRights(part, file, wait)
	case wait:
		n, err = w.tr.send(part, nil)
	default:
		n, err = w.tr.trySend(part, nil)
	}
	w.mu.Lock()
	if file >= 0 && n > 0 {
		closeHost(file)
		with = with[1:]
	}
	if err != nil || w.err != nil {
		closeRights(with)
		if err != nil {
			w.fail(err)
		}
		return true
	}
	all := n == len(out)
	if !all {
		rest := out[n:]
		for i := range w.rights {
			w.rights[i].at += len(rest)
		}
		for i := range with {
			with[i].at -= n
		}
		w.queue = append(rest, w.queue...)
		w.rights = append(with, w.rights...)
	} else if cap(out) <= maxSpare {
		w.spare = out[:0]
	}
	if w.room != nil && len(w.queue) < maxQueued {
		close(w.room)
		w.room = nil
	}
	return all
}

func closeRights(with []rights) {
	for _, r := range with {
		closeHost(r.file)
	}
}

// idle tells whether every frame has gone out whole.
func (w *writer) idle() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.busy && len(w.queue) == 0
}

// flush sends the queue, waiting for the server to read, until it is empty.
func (w *writer) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.queue) > 0 && w.err == nil {
		w.sendQueue(true)
	}
	w.busy = false
}

// fail notes that sending has failed; w.mu is held.
func (w *writer) fail(err error) {
	if w.err == nil {
		w.stop(err)
		// Not under the lock: it ends up in end.
		go w.broken(err)
	}
}

// end makes every later frame go nowhere.
func (w *writer) end(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.stop(err)
	}
}

func (w *writer) stop(err error) {
	w.err = err
	closeRights(w.rights)
	w.queue, w.spare, w.rights = nil, nil, nil
	if w.room != nil {
		close(w.room)
		w.room = nil
	}
}

// cause returns why sending failed, or err when it has not.
func (w *writer) cause(err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	return err
}
