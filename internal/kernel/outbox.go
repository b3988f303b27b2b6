package kernel

import (
	"sync"

	"rumptools/pkg/sysproxy"
)

const (
	// outLimit is how many bytes may wait behind a write. Who adds to more
	// waits: a client that does not read gets no more than that ahead.
	outLimit = 128 << 10
	// outKept is the largest buffer that is kept for the next time.
	outKept = 64 << 10
	// outDirect is from how many bytes on the data of a copy are written
	// from where they are.
	outDirect = 4 << 10
)

// outbox takes the frames for a client, each whole, and writes what has gathered
// with as few calls of the host as can be: while one goroutine writes, others
// leave it their frames, and the connection's reader writes its own only before it
// waits for more to read.
type outbox struct {
	link link

	mu      sync.Mutex
	done    sync.Cond // a write has ended
	pending []byte    // frames that wait
	spare   []byte    // the buffer that does not
	writing bool
	err     error // the first failure: a frame that went in part makes later ones useless
}

func (o *outbox) init(l link) {
	o.link = l
	o.done.L = &o.mu
}

// begin locks o, with room for frames to be appended to pending.
func (o *outbox) begin() {
	o.mu.Lock()
	for len(o.pending) > outLimit && o.writing {
		o.done.Wait()
	}
	if o.err != nil {
		o.pending = o.pending[:0]
	}
}

// end unlocks o. With flush, or when much has gathered, it writes what is
// pending; a goroutine that writes already takes it over. It reports whether all
// is well so far.
func (o *outbox) end(flush bool) bool {
	if flush || len(o.pending) > outLimit {
		o.write(nil)
	}
	ok := o.err == nil
	o.mu.Unlock()
	return ok
}

// flush writes what is pending.
func (o *outbox) flush() {
	o.mu.Lock()
	o.end(true)
}

// write writes what is pending, and data behind it; o.mu is held but while the
// host writes.
func (o *outbox) write(data []byte) {
	if o.writing && data == nil {
		return
	}
	for o.writing {
		o.done.Wait()
	}
	o.writing = true
	for len(o.pending)+len(data) > 0 && o.err == nil {
		frames := o.pending
		o.pending, o.spare = o.spare[:0], nil
		o.mu.Unlock()
		err := o.link.write(frames, data)
		o.mu.Lock()
		if data = nil; cap(frames) <= outKept {
			o.spare = frames
		}
		if err != nil {
			o.err = err
			o.link.hangup()
		}
	}
	o.writing = false
	o.done.Broadcast()
}

// copyOut is a COPYOUT frame. Long data are written before it returns.
func (o *outbox) copyOut(l sysproxy.Layout, reqno, addr uint64, data []byte) bool {
	o.begin()
	if len(data) < outDirect {
		o.pending = sysproxy.CopyOut{Addr: addr, Data: data}.Append(o.pending, l, reqno)
		return o.end(false)
	}
	// Nobody may add anything between the frame's head and its data.
	for o.writing {
		o.done.Wait()
	}
	o.pending = l.AppendHeader(o.pending, sysproxy.Header{
		Len:   sysproxy.HeaderLen + 2*uint64(l.WordSize) + uint64(len(data)),
		ReqNo: reqno, Class: sysproxy.Req, Type: sysproxy.TypeCopyOut,
	})
	o.pending = l.AppendWord(l.AppendWord(o.pending, uint64(len(data))), addr)
	o.write(data)
	return o.end(false)
}
