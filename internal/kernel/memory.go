package kernel

import (
	"sync"
	"sync/atomic"

	"rumptools/pkg/netbsd"
)

// A client decides how large the buffers of its calls are, how many calls are
// under way, and for how long: a copy of its memory lasts until it answers. So
// what its calls hold is counted, and a call that would take too much fails
// with ENOMEM.
const (
	clientMemory = 64 << 20  // bytes that one client's calls may hold
	kernelMemory = 512 << 20 // and those of all clients
	// smallBuffer is not counted: what maxCalls calls take of such buffers
	// is bearable.
	smallBuffer = 4 << 10
)

// memory counts the bytes that calls hold.
type memory struct{ used atomic.Int64 }

// take adds n bytes, unless that makes more than limit.
func (m *memory) take(n, limit int64) bool {
	if m.used.Add(n) > limit {
		m.used.Add(-n)
		return false
	}
	return true
}

// buffer makes a buffer that lasts until the call ends, or until release.
func (c *Call) buffer(n int) ([]byte, error) {
	if err := c.charge(n); err != nil {
		return nil, err
	}
	return make([]byte, n), nil
}

// charge counts n bytes as held by the call.
func (c *Call) charge(n int) error {
	if n <= smallBuffer || c.conn == nil {
		return nil
	}
	if !c.conn.memory.take(int64(n), clientMemory) {
		return netbsd.ENOMEM
	}
	if !c.k.memory.take(int64(n), kernelMemory) {
		c.conn.memory.used.Add(-int64(n))
		return netbsd.ENOMEM
	}
	c.charged += int64(n)
	return nil
}

// release gives back n bytes that were charged at once.
func (c *Call) release(n int) {
	if n > smallBuffer {
		c.giveBack(int64(n))
	}
}

func (c *Call) giveBack(n int64) {
	if c.conn != nil && n > 0 {
		c.conn.memory.used.Add(-n)
		c.k.memory.used.Add(-n)
		c.charged -= n
	}
}

// chunks are buffers of ioChunk bytes that one call after the other uses.
var chunks = sync.Pool{New: func() any { return new([ioChunk]byte) }}

// chunk is a buffer for one step of a transfer. Who gets its bytes must not keep
// them.
type chunk struct {
	b     []byte
	large *[ioChunk]byte     // of chunks
	small *[smallBuffer]byte // the connection's
}

// chunk makes a buffer of n bytes. A call that waits for data holds none, and
// takes one at each try.
func (c *Call) chunk(n int) (k chunk, err error) {
	if err := c.charge(n); err != nil {
		return k, err
	}
	switch {
	case n <= smallBuffer && c.reading:
		// The reader's calls have one at a time.
		if k.small = c.conn.small; k.small == nil {
			k.small = new([smallBuffer]byte)
		}
		c.conn.small = nil
		k.b = k.small[:n]
	case n <= smallBuffer || n > ioChunk:
		k.b = make([]byte, n)
	default:
		k.large = chunks.Get().(*[ioChunk]byte)
		k.b = k.large[:n]
	}
	return k, nil
}

// free ends the use of a chunk.
func (c *Call) free(k chunk) {
	switch {
	case k.large != nil:
		chunks.Put(k.large)
	case k.small != nil && c.reading:
		c.conn.small = k.small
	}
	c.release(len(k.b))
}
