package sysproxy

import "encoding/binary"

// ByteOrder reads, writes and appends integers; binary.LittleEndian and
// binary.BigEndian are the two there are.
type ByteOrder interface {
	binary.ByteOrder
	binary.AppendByteOrder
}

// Layout is what the wire needs to know of the server's machine.
type Layout struct {
	// Order is the byte order of every integer on the wire.
	Order ByteOrder
	// WordSize is the size in bytes of size_t, of a pointer and of
	// register_t: 8 on LP64 machines, 4 on ILP32.
	WordSize int
}

// Word reads a size_t, pointer or register_t from the start of b, which must
// hold it.
func (l Layout) Word(b []byte) uint64 {
	if l.WordSize == 4 {
		return uint64(l.Order.Uint32(b))
	}
	return l.Order.Uint64(b)
}

// AppendWord appends a size_t, pointer or register_t to b. On a 32-bit
// machine the upper half of v is dropped.
func (l Layout) AppendWord(b []byte, v uint64) []byte {
	if l.WordSize == 4 {
		return l.Order.AppendUint32(b, uint32(v))
	}
	return l.Order.AppendUint64(b, v)
}

// MaxWord is the largest value that a word of this layout holds.
func (l Layout) MaxWord() uint64 {
	if l.WordSize == 4 {
		return 1<<32 - 1
	}
	return 1<<64 - 1
}
