package shmif

import (
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// errClosed is what every operation gives once Close was called.
var errClosed = net.ErrClosed

// Bus is one party on a bus. Its methods may be called concurrently.
type Bus struct {
	path         string
	sender       uint64
	lockTimeout  time.Duration
	recoverAfter time.Duration

	file   *os.File
	waiter waiter
	base   uintptr       // where ring is mapped
	done   chan struct{} // closed by Close

	// mapMu pins the mapping: whoever touches it has a read lock, and Close
	// unmaps with a write lock.
	mapMu  sync.RWMutex
	ring   ring
	closed atomic.Bool
	failed atomic.Pointer[error] // the mapping is of no use any more

	// sendMu lets one sender at a time compete for the bus's lock.
	sendMu sync.Mutex
	single [1][]byte // Send's batch

	// recvMu is held by the one Recv that waits; readMu, never for long, by
	// whoever uses the fields below.
	recvMu  sync.Mutex
	readMu  sync.Mutex
	reader  reader
	queue   queue
	restart bool

	watching  atomic.Bool
	watchers  sync.WaitGroup
	suspicion atomic.Pointer[suspicion]

	polling atomic.Bool
	stats   counters
}

// Path gives the path by which the bus was opened.
func (b *Bus) Path() string { return b.path }

// Sender gives the number by which this party knows its own frames. It was
// chosen at random.
func (b *Bus) Sender() uint64 { return b.sender }

// Close leaves the bus. Recv, Send and everything else that is under way ends
// with net.ErrClosed before Close returns, or without touching the bus again.
// The file stays. Close always succeeds, as often as it is called.
func (b *Bus) Close() error {
	if b.closed.Swap(true) {
		return nil
	}
	close(b.done)
	b.waiter.close()
	b.mapMu.Lock()
	unmap(b.ring.mem)
	b.ring = ring{}
	b.mapMu.Unlock()
	// Nobody can start a watcher any more.
	b.watchers.Wait()
	b.file.Close()
	return nil
}

// pinned calls op while the mapping is sure to stay. Pages that cannot be had,
// because the file was truncated or its file system is full, make the host send
// a signal; here that becomes an error.
func (b *Bus) pinned(op func() error) (err error) {
	b.mapMu.RLock()
	defer b.mapMu.RUnlock()
	if b.closed.Load() {
		return errClosed
	}
	if e := b.failed.Load(); e != nil {
		return *e
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer b.catchFault(&err)
	return op()
}

func (b *Bus) catchFault(err *error) {
	r := recover()
	if r == nil {
		return
	}
	if _, ok := r.(runtime.Error); ok && (b.isOurs(r) || b.isShort()) {
		*err = b.fail(ErrGone)
		return
	}
	panic(r)
}

// isOurs reports whether a fault's address is in the mapping.
func (b *Bus) isOurs(fault any) bool {
	f, ok := fault.(interface{ Addr() uintptr })
	return ok && f.Addr()-b.base < FileSize
}

// isShort reports whether the mapping goes beyond the file's end. Emulators of
// other machines do not always tell a fault's right address.
func (b *Bus) isShort() bool {
	fi, err := b.file.Stat()
	return err == nil && fi.Size() < FileSize
}

// fail ends the use of the mapping with an error that stays.
func (b *Bus) fail(cause error) error {
	b.failed.CompareAndSwap(nil, &cause)
	return *b.failed.Load()
}

// wrap puts operation and object to an error.
func (b *Bus) wrap(op string, err error) error {
	if err == nil || errors.Is(err, errClosed) {
		return err
	}
	return &fs.PathError{Op: op, Path: b.path, Err: err}
}

// started is when this process's uptime began, which packets are stamped with.
var started = time.Now()

// batchFrames is the most frames that are written or read while the lock is
// held.
const batchFrames = 32

// Send puts a frame on the bus, an Ethernet header of 14 bytes and what
// follows, without the check sequence, and wakes the other parties. It does not
// keep frame. Send does not wait for receivers: who is too slow loses frames.
//
// The error is ErrFrameTooLong, ErrFrameTooShort, ErrLocked, ErrGone, or
// net.ErrClosed after Close.
func (b *Bus) Send(frame []byte) error {
	if err := checkFrame(frame); err != nil {
		return b.wrap("send", err)
	}
	budget := b.lockSend()
	defer b.sendMu.Unlock()
	b.single[0] = frame
	_, err := b.send(b.single[:], budget)
	b.single[0] = nil
	return b.wrap("send", err)
}

// SendBatch is Send for several frames, which wakes the other parties only
// once. It gives the number of frames put on the bus, all of them unless there
// is an error. If any frame has a wrong length, none is sent.
func (b *Bus) SendBatch(frames [][]byte) (int, error) {
	for _, f := range frames {
		if err := checkFrame(f); err != nil {
			return 0, b.wrap("send", err)
		}
	}
	budget := b.lockSend()
	defer b.sendMu.Unlock()
	n, err := b.send(frames, budget)
	return n, b.wrap("send", err)
}

func checkFrame(frame []byte) error {
	switch {
	case len(frame) > MaxFrame:
		return ErrFrameTooLong
	case len(frame) < minFrame:
		return ErrFrameTooShort
	}
	return nil
}

// lockSend takes sendMu and gives what is left of the lock timeout.
func (b *Bus) lockSend() time.Duration {
	if b.sendMu.TryLock() {
		return b.lockTimeout
	}
	began := time.Now()
	b.sendMu.Lock()
	return b.lockTimeout - time.Since(began)
}

func (b *Bus) send(frames [][]byte, budget time.Duration) (sent int, err error) {
	for len(frames) > sent && err == nil {
		batch := frames[sent:min(len(frames), sent+batchFrames)]
		n := 0
		err = b.pinned(func() (err error) {
			n, err = b.put(batch, budget)
			return err
		})
		sent += n
	}
	if errors.Is(err, ErrLocked) {
		b.stats.lockTimeouts.Add(uint64(len(frames) - sent))
	}
	if sent > 0 {
		b.stats.sent.Add(uint64(sent))
		b.wakeOthers()
	}
	return sent, err
}

// put writes packets to the ring under the bus's lock.
func (b *Bus) put(frames [][]byte, budget time.Duration) (int, error) {
	up := time.Since(started)
	sec, usec := uint32(up/time.Second), uint32(up%time.Second/time.Microsecond)

	if b.ring.magic() != Magic {
		return 0, b.fail(ErrGone)
	}
	gen, err := b.acquire(budget)
	if err != nil {
		return 0, err
	}
	// Nothing between here and release may wait or take memory.
	sent, resets := 0, uint64(0)
	for _, f := range frames {
		head := stamp(len(f), sec, usec, b.sender)
		var reset, ok bool
		if gen, reset, ok = b.ring.write(gen, &head, f); !ok {
			break // the lock was lost
		}
		if reset {
			resets++
		}
		sent++
	}
	b.release(gen)
	if resets > 0 {
		b.stats.resets.Add(resets)
	}
	if sent < len(frames) {
		return sent, new(LockError)
	}
	return sent, nil
}

// Words that are written to wake those who watch the file.
var (
	versionWord = binary.NativeEndian.AppendUint32(nil, Version)
	magicWord   = binary.NativeEndian.AppendUint32(nil, Magic)
)

// wakeOthers writes the version word, not by the mapping but by a system call,
// which those who watch the file are told about.
func (b *Bus) wakeOthers() {
	// A failure is of no use to the sender: its frame is on the bus, and
	// receivers will see it with the next one.
	b.file.WriteAt(versionWord, offVersion)
}

// wakeAll wakes everybody, this party too, without a frame having been sent. So
// it leaves the version word alone, which is 0 until then, and writes the other
// word that never changes.
func (b *Bus) wakeAll() {
	b.file.WriteAt(magicWord, offMagic)
}

// Recv waits for the next frame of another party and copies it to buf, which
// should have room for MaxFrame bytes; if it is too small, the rest of the
// frame is lost and the error is io.ErrShortBuffer. A Bus begins with the newest
// frame that was on the bus when it was opened, as real kernels do. If it falls
// so far behind that the bus's 1 MiB have gone past, it goes on with the oldest
// frame that is left; Stats counts that.
//
// After Close the error is net.ErrClosed; ErrGone says that the bus is no more.
func (b *Bus) Recv(buf []byte) (int, error) {
	b.recvMu.Lock()
	defer b.recvMu.Unlock()
	for {
		frame, idle, err := b.take(buf)
		if err != nil || frame >= 0 {
			return max(frame, 0), b.wrap("receive", err)
		}
		if !idle {
			continue
		}
		idle, err = b.waiter.wait(heartbeat)
		switch {
		case err == nil && idle:
			b.guardLock()
		case err == nil:
			b.stats.wakeups.Add(1)
		case errors.Is(err, errClosed):
			return 0, errClosed
		default: // the host does not say any more
			b.polling.Store(true)
			b.waiter.close()
			b.waiter = poller{pollInterval, b.done}
		}
	}
}

// take gives the length of the next frame, copied to buf, or -1 if there is
// none; then idle says whether it is of use to wait.
func (b *Bus) take(buf []byte) (n int, idle bool, err error) {
	b.readMu.Lock()
	defer b.readMu.Unlock()
	if b.closed.Load() {
		return -1, false, errClosed
	}
	if b.queue.empty() {
		idle, err = b.fill()
		if err != nil && !errors.Is(err, ErrLocked) {
			return -1, false, err
		}
	}
	if b.queue.empty() {
		return -1, idle, nil
	}
	frame := b.queue.pop()
	b.stats.received.Add(1)
	if n = copy(buf, frame); n < len(frame) {
		return n, false, io.ErrShortBuffer
	}
	return n, false, nil
}

// lockSlice is how long a receiver waits for the bus's lock at a time, so that
// it does not keep readMu for longer.
const lockSlice = 20 * time.Millisecond

// fillSteps is the most packets that are looked at while the lock is held.
const fillSteps = 256

// fill reads packets from the ring to the queue; idle, if there is nothing. The
// caller has readMu.
func (b *Bus) fill() (idle bool, err error) {
	err = b.pinned(func() (err error) {
		idle, err = b.fillPinned()
		return err
	})
	return idle, err
}

func (b *Bus) fillPinned() (idle bool, err error) {
	if b.ring.magic() != Magic {
		return false, b.fail(ErrGone)
	}
	if !b.restart && b.reader.idle(b.ring) {
		return true, nil
	}
	gen, err := b.acquire(lockSlice)
	if err != nil {
		return false, err
	}
	// Nothing between here and release may wait or take memory.
	var seen [corrupt + 1]uint64
	if b.restart {
		b.restart = false
		if b.reader.start(b.ring) != nil {
			seen[corrupt]++
		}
	}
	for range fillSteps {
		room := b.queue.room()
		if room == nil {
			break
		}
		n, v := b.reader.step(b.ring, room)
		seen[v]++
		if v == nothing {
			break
		}
		if v == received {
			b.queue.push(n)
		}
	}
	b.release(gen)
	b.stats.oversized.Add(seen[oversized])
	b.stats.overruns.Add(seen[overrun])
	b.stats.resyncs.Add(seen[corrupt])
	return seen[nothing] > 0, nil
}

// Restart forgets the frames that were not received yet, and goes on with the
// newest one on the bus, received or not. A kernel does this when it brings its
// interface up.
func (b *Bus) Restart() {
	b.readMu.Lock()
	defer b.readMu.Unlock()
	b.queue.clear()
	b.restart = true
	if _, err := b.fill(); err == nil || errors.Is(err, ErrLocked) {
		b.wakeAll() // Recv may be waiting, and does it if the lock was taken
	}
}
