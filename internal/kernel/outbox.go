package kernel

import (
	"net"
	"sync"

	"rumptools/pkg/sysproxy"
)

const (
	// outLimit is how many bytes may wait behind a write. Who adds to more
	// waits: a client that does not read gets no more than that ahead.
	outLimit = 128 << 10
	// outMost is how many bytes may wait before the connection's reader
	// does. It waits sooner when so many clients do not read that what is
	// beyond outLimit takes the kernel's memory (see memory).
	outMost = 4 << 20
	// outStep is in what portions that memory is counted.
	outStep = 256 << 10
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
//
// The reader does not wait for the client to read, since the client may do so only
// when its own frames are read: it needs room for the answers to copy requests. So
// the reader writes what the host takes at once and leaves the rest to another
// goroutine, up to outMost. A call with more to say than fits makes another
// goroutine the reader before it waits.
type outbox struct {
	link   link
	memory *memory // the kernel's

	mu      sync.Mutex
	done    sync.Cond // something was written
	pending []byte    // frames that wait
	spare   []byte    // the buffer that does not
	writing bool
	going   int   // bytes of frames that are being written
	charged int64 // bytes beyond outLimit that memory has counted
	err     error // the first failure: a frame that went in part makes later ones useless
}

func (o *outbox) init(l link, m *memory) {
	o.link, o.memory = l, m
	o.done.L = &o.mu
}

// begin locks o, with room for frames to be appended to pending. The reader gets
// more than others.
func (o *outbox) begin(reader bool) {
	o.mu.Lock()
	o.room(reader)
}

// room waits for room; o.mu is held.
func (o *outbox) room(reader bool) {
	for o.full(reader) {
		o.done.Wait()
	}
	if o.err != nil {
		o.pending = o.pending[:0]
	}
}

// full reports whether there is no room; o.mu is held. When nobody writes, who
// comes will.
func (o *outbox) full(reader bool) bool {
	switch {
	case !o.writing || o.err != nil:
		return false
	case !reader:
		return len(o.pending) > outLimit
	}
	n := len(o.pending) + o.going
	if n > outMost {
		return true
	}
	if int64(n) <= outLimit+o.charged {
		return false
	}
	if !o.memory.take(outStep, kernelMemory) {
		return true
	}
	o.charged += outStep
	return false
}

// end unlocks o. With flush, or when much has gathered, it writes what is
// pending; a goroutine that writes already takes it over. It reports whether all
// is well so far.
func (o *outbox) end(flush, reader bool) bool {
	if (flush || len(o.pending) > outLimit) && !o.writing {
		o.write(nil, reader, nil)
	}
	ok := o.err == nil
	o.mu.Unlock()
	return ok
}

// flush writes what is pending, for the reader.
func (o *outbox) flush() {
	o.mu.Lock()
	o.end(true, true)
}

// write writes what is pending, and data behind it. Nobody else writes; o.mu is
// held but while the host writes. The reader leaves to another goroutine what the
// host does not take at once. With data it is a call's, which makes another
// goroutine the reader then.
func (o *outbox) write(data []byte, reader bool, call *Call) {
	o.writing = true
	for len(o.pending)+len(data) > 0 && o.err == nil {
		frames := o.take()
		o.mu.Unlock()
		n, err := o.link.tryWrite(frames, data)
		o.mu.Lock()
		if err == nil && n < len(frames)+len(data) {
			k := min(n, len(frames))
			if call != nil {
				call.handOver()
				reader = false
			}
			if reader {
				go o.finish(frames, k)
				return
			}
			o.rest(frames[k:], data[n-k:])
		}
		data = nil
		o.wrote(frames, err)
	}
	o.writing = false
	o.done.Broadcast()
}

// finish is the rest of a write of the reader's, and writes what comes meanwhile.
func (o *outbox) finish(frames []byte, n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.rest(frames[n:], nil)
	o.wrote(frames, nil)
	o.write(nil, false, nil)
}

// rest writes frames and data whole, in parts, so that it is known what waits.
func (o *outbox) rest(frames, data []byte) {
	for o.going = len(frames); len(frames)+len(data) > 0 && o.err == nil; {
		part, with := frames, data
		if len(part) > outLimit {
			part, with = part[:outLimit], nil
		}
		o.mu.Unlock()
		err := o.link.write(part, with)
		o.mu.Lock()
		frames = frames[len(part):]
		data = data[len(with):]
		o.wentOut(len(part), err)
	}
}

// take takes the pending frames; o.mu is held, as in the next two.
func (o *outbox) take() []byte {
	frames := o.pending
	o.pending, o.spare = o.spare[:0], nil
	o.going = len(frames)
	return frames
}

// wrote ends the writing of frames that were taken.
func (o *outbox) wrote(frames []byte, err error) {
	if cap(frames) <= outKept {
		o.spare = frames
	}
	o.wentOut(o.going, err)
}

// wentOut notes that n bytes of frames are no longer waited with, and tells those
// who wait for room.
func (o *outbox) wentOut(n int, err error) {
	o.going -= n
	if err != nil && o.err == nil {
		o.err = err
		o.link.hangup()
	}
	if o.charged > 0 && (o.err != nil || o.going+len(o.pending) <= outLimit) {
		o.memory.used.Add(-o.charged)
		o.charged = 0
	}
	o.done.Broadcast()
}

// drain waits until all is written, or can't be.
func (o *outbox) drain() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.writing {
		o.done.Wait()
	}
	o.write(nil, false, nil)
}

// close is drain, and what comes later is not written.
func (o *outbox) close() {
	o.drain()
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.writing {
		o.done.Wait()
	}
	if o.err == nil {
		o.err = net.ErrClosed
	}
	o.pending, o.spare = nil, nil
}

// copyOut is a COPYOUT frame of a call's. Long data are written before it returns.
func (o *outbox) copyOut(call *Call, l sysproxy.Layout, reqno, addr uint64, data []byte) bool {
	long := len(data) >= outDirect
	o.mu.Lock()
	if call.reading && (o.full(true) || long && o.writing) {
		call.handOver()
	}
	o.room(call.reading)
	if !long {
		o.pending = sysproxy.CopyOut{Addr: addr, Data: data}.Append(o.pending, l, reqno)
		return o.end(false, call.reading)
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
	o.write(data, call.reading, call)
	return o.end(false, call.reading)
}
