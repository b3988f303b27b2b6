package shmif

import (
	"encoding/binary"
	"sync/atomic"
	"unsafe"
)

// ring is the mapped bus: header and data. Except for lockWord, peek and
// snapshot its methods are for the holder of the lock. What they find may be
// anything at all, since any process can write to the file: every offset and
// length is checked before use, and none is read twice.
type ring struct {
	mem  []byte
	size uint32 // of the data that follow the header
}

// position is the ring's state in its header.
type position struct {
	first, last uint32
	gen         uint64
}

func newRing(mem []byte) ring {
	return ring{mem: mem, size: uint32(len(mem) - headerSize)}
}

func (r ring) word(off int) *uint32 {
	return (*uint32)(unsafe.Pointer(&r.mem[off]))
}

func (r ring) lockWord() *uint32  { return r.word(offLock) }
func (r ring) magic() uint32      { return atomic.LoadUint32(r.word(offMagic)) }
func (r ring) version() uint32    { return atomic.LoadUint32(r.word(offVersion)) }
func (r ring) setMagic(m uint32)  { atomic.StoreUint32(r.word(offMagic), m) }
func (r ring) data() []byte       { return r.mem[headerSize:] }
func (r ring) generation() uint64 { return binary.NativeEndian.Uint64(r.mem[offGeneration:]) }

// peek reads the header without the lock. The parts may not fit each other;
// but when no part has changed since an earlier look, nothing was sent between.
//
// The generation's halves are read one by one because 32-bit machines need not
// have a 64-bit load. Being words of one number in the host's order, they are
// put together as such.
func (r ring) peek() position {
	var g [8]byte
	binary.NativeEndian.PutUint32(g[0:], atomic.LoadUint32(r.word(offGeneration)))
	binary.NativeEndian.PutUint32(g[4:], atomic.LoadUint32(r.word(offGeneration+4)))
	return position{
		first: atomic.LoadUint32(r.word(offFirst)),
		last:  atomic.LoadUint32(r.word(offLast)),
		gen:   binary.NativeEndian.Uint64(g[:]),
	}
}

func (r ring) setPosition(p position) {
	atomic.StoreUint32(r.word(offFirst), p.first)
	binary.NativeEndian.PutUint64(r.mem[offGeneration:], p.gen)
	atomic.StoreUint32(r.word(offLast), p.last)
}

// reset empties the ring as on a fresh bus: one empty packet at 0, whose
// successor will be at packetHeader. first is one past the end, which stands
// for 0 in the round before. The generation grows by two, which tells every
// party, real kernels too, that it has fallen behind and must go to first.
func (r ring) reset() position {
	p := position{first: r.size, last: 0, gen: r.generation() + 2}
	clear(r.data()[:packetHeader])
	r.setPosition(p)
	return p
}

// longest is the length that no packet reaches: real kernels insist that
// packets are shorter than half of the ring.
func (r ring) longest() uint32 { return r.size / 2 }

// advance gives the offset n bytes after off.
func (r ring) advance(off, n uint32) uint32 {
	off += n
	if off >= r.size {
		off -= r.size
	}
	return off
}

// read copies from the ring, across its end if need be. off may be one past
// the end, which is 0 again.
func (r ring) read(off uint32, p []byte) {
	n := copy(p, r.data()[off:])
	copy(p[n:], r.data())
}

// packet is the header of a packet in the ring.
type packet struct {
	len    uint32
	sender uint64
}

// packet reads the header at off, which is at most one past the end.
func (r ring) packet(off uint32) (packet, error) {
	var h [packetHeader]byte
	r.read(off, h[:])
	p := packet{
		len:    binary.NativeEndian.Uint32(h[packetLen:]),
		sender: binary.NativeEndian.Uint64(h[packetSender:]),
	}
	if p.len >= r.longest() {
		return p, errCorrupt
	}
	return p, nil
}

// next gives the offset after the packet at off.
func (r ring) next(off uint32) (uint32, error) {
	p, err := r.packet(off)
	if err != nil {
		return 0, err
	}
	return r.advance(off, packetHeader+p.len), nil
}

// position reads the header and checks it.
func (r ring) position() (position, error) {
	p := r.peek()
	if p.first > r.size || p.last >= r.size || p.first == p.last {
		return p, errCorrupt
	}
	return p, nil
}

// generationAt gives the generation that a reader at the newest packet has.
// The packet that reaches the end of the ring has already started the next one.
func (r ring) generationAt(p position) (uint64, error) {
	pkt, err := r.packet(p.last)
	if err != nil {
		return 0, err
	}
	if p.last+packetHeader+pkt.len >= r.size {
		return p.gen - 1, nil
	}
	return p.gen, nil
}

// stamp makes a packet header.
func stamp(n int, sec, usec uint32, sender uint64) (h [packetHeader]byte) {
	binary.NativeEndian.PutUint32(h[packetLen:], uint32(n))
	binary.NativeEndian.PutUint32(h[packetSec:], sec)
	binary.NativeEndian.PutUint32(h[packetUsec:], usec)
	binary.NativeEndian.PutUint64(h[packetSender:], sender)
	return h
}

// write adds a packet after the newest one and gives the generation that
// follows. A ring that makes no sense is started anew first, in which case reset
// is true.
//
// Position and contents come out as the real kernel leaves them, but the
// position is written last, so that a party that dies on the way leaves the
// packets that were there. Nothing is sent, and !ok, if the generation is not
// gen any more, the one that the caller knows: then the lock was taken from him.
func (r ring) write(gen uint64, head *[packetHeader]byte, frame []byte) (after uint64, reset, ok bool) {
	p, err := r.put(head, frame)
	if r.generation() != gen {
		return gen, false, false
	}
	if err != nil {
		reset = true
		gen = r.reset().gen
		// The ring is in order now, and both parts fit in, unless
		// somebody writes to it without the lock.
		if p, err = r.put(head, frame); err != nil || r.generation() != gen {
			return gen, true, false
		}
	}
	r.setPosition(p)
	return p.gen, reset, true
}

func (r ring) put(head *[packetHeader]byte, frame []byte) (position, error) {
	p, err := r.position()
	if err != nil {
		return p, err
	}
	if p.last, err = r.next(p.last); err != nil {
		return p, err
	}
	off, wrapped := p.last, false
	for _, part := range [2][]byte{head[:], frame} {
		if off, err = r.putPart(&p, off, part, &wrapped); err != nil {
			return p, err
		}
	}
	if p.first == p.last {
		return p, errCorrupt
	}
	if wrapped {
		p.gen++
	}
	return p, nil
}

// putPart copies b to off, once first has made room, and gives the offset
// after it. wrapped becomes true if b reaches the ring's end, even exactly.
func (r ring) putPart(p *position, off uint32, b []byte, wrapped *bool) (uint32, error) {
	n := min(uint32(len(b)), r.size-off)
	room := n
	if off+n == r.size {
		// A first of one past the end stands for 0, which the next
		// write will overwrite without its number lying there.
		room++
		*wrapped = true
	}
	if err := r.makeRoom(p, off, room); err != nil {
		return 0, err
	}
	copy(r.data()[off:], b[:n])
	if b = b[n:]; len(b) == 0 {
		return (off + n) % r.size, nil
	}
	if err := r.makeRoom(p, 0, uint32(len(b))); err != nil {
		return 0, err
	}
	return uint32(copy(r.data(), b)), nil
}

// makeRoom gives up the oldest packets as long as they begin in the n bytes at
// off, or so shortly before that the header is overwritten. Their lengths must
// be read before that happens, so this comes before the copying.
func (r ring) makeRoom(p *position, off, n uint32) error {
	for steps := uint32(0); off <= p.first+packetHeader && off+n > p.first; steps++ {
		next, err := r.next(p.first)
		if err != nil {
			return err
		}
		if steps > r.size/packetHeader {
			return errCorrupt // going round in circles
		}
		p.first = next
	}
	return nil
}
