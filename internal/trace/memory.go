package trace

// What is kept of the memory that the kernel copies for a call. A call's memory
// beyond it is shown as if it had not been copied.
const (
	maxPiece  = 16 << 10 // bytes of one copy
	maxPieces = 128      // copies of one call
	maxMemory = 1 << 20  // bytes of all calls under way of one connection
)

// direction is which way memory was copied.
type direction uint8

const (
	fromClient direction = iota // COPYIN, COPYINSTR
	toClient                    // COPYOUT, COPYOUTSTR
)

// piece is a copy of a part of a client's memory.
type piece struct {
	addr uint64
	size uint64 // of the copy; data may be less
	data []byte
	dir  direction
}

// memory is what the kernel has copied of a client's memory for a call.
type memory struct {
	pieces []piece
	bytes  int // of all data
}

// add keeps a copy, of which it takes no more than room bytes, and returns what
// it took.
func (m *memory) add(dir direction, addr, size uint64, data []byte, room int) int {
	if len(m.pieces) >= maxPieces {
		return 0
	}
	data = data[:max(0, min(len(data), maxPiece, room))]
	m.pieces = append(m.pieces, piece{addr, size, append([]byte(nil), data...), dir})
	m.bytes += len(data)
	return len(data)
}

// has tells whether something at addr was copied that way.
func (m *memory) has(dir direction, addr uint64) bool {
	for i := range m.pieces {
		if p := &m.pieces[i]; p.dir == dir && p.addr == addr {
			return true
		}
	}
	return false
}

// read returns what is known of n bytes at addr that were copied that way: all,
// or less when the copies end or were cut. The newest copy of a byte counts.
func (m *memory) read(dir direction, addr, n uint64) []byte {
	var b []byte
	for uint64(len(b)) < n {
		at := addr + uint64(len(b))
		var part []byte
		for i := len(m.pieces) - 1; i >= 0; i-- {
			p := &m.pieces[i]
			if off := at - p.addr; p.dir == dir && at >= p.addr && off < uint64(len(p.data)) {
				part = p.data[off:]
				// A newer copy may begin within an older one.
				for j := i + 1; j < len(m.pieces); j++ {
					q := &m.pieces[j]
					if q.dir == dir && len(q.data) > 0 && q.addr > at && q.addr-at < uint64(len(part)) {
						part = part[:q.addr-at]
					}
				}
				break
			}
		}
		if part == nil {
			break
		}
		if left := n - uint64(len(b)); uint64(len(part)) > left {
			part = part[:left]
		}
		if b == nil && uint64(len(part)) == n {
			return part
		}
		b = append(b, part...)
	}
	return b
}
