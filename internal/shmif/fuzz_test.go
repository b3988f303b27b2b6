package shmif

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// FuzzRing gives any contents to reader and sender. Neither may panic or go on
// for ever, and once the sender has written, a reader gets his frame.
func FuzzRing(f *testing.F) {
	const size = 4096
	fresh := smallRing(size).mem
	f.Add(bytes.Clone(fresh), uint32(24), uint64(0), uint16(100))
	used := smallRing(size)
	for i := range 50 {
		send(f, used, numbered(uint64(i), 60+i*20))
	}
	p := used.peek()
	f.Add(bytes.Clone(used.mem), p.first, p.gen-1, uint16(1514))
	f.Add(bytes.Clone(used.mem), p.last, p.gen, uint16(14))
	f.Add([]byte{}, uint32(size), uint64(0), uint16(0))
	f.Add(bytes.Repeat([]byte{0xff}, headerSize+size), uint32(0), uint64(1), uint16(60))

	f.Fuzz(func(t *testing.T, contents []byte, next uint32, gen uint64, n uint16) {
		r := newRing(make([]byte, headerSize+size))
		copy(r.mem, contents)
		var buf [MaxFrame]byte
		rest := func(d *reader) (frames, corruptions int, last []byte) {
			// No packet is shorter than its header; damage may send the
			// reader round once more.
			for range 4 * size / packetHeader {
				n, v := d.step(r, buf[:])
				switch v {
				case nothing:
					if d.idle(r) {
						return frames, corruptions, last
					}
					t.Fatal("nothing, but not idle")
				case received:
					if n < minFrame || n > MaxFrame {
						t.Fatalf("frame of %d bytes", n)
					}
					frames++
					last = bytes.Clone(buf[:n])
				case corrupt:
					corruptions++
				}
			}
			t.Fatal("reader does not come to rest")
			return
		}
		inside := &reader{sender: 1, next: next % (size + 1), gen: gen}
		rest(inside)
		joined := &reader{sender: 1}
		joined.start(r)
		rest(joined)

		frame := numbered(uint64(next), minFrame+int(n)%(MaxFrame-minFrame+1))
		head := stamp(len(frame), 0, 0, otherSender)
		if _, _, ok := r.write(r.generation(), &head, frame); !ok {
			t.Fatal("write failed")
		}
		for name, d := range map[string]*reader{"old": joined, "new": {sender: 1}} {
			if name == "new" {
				if err := d.start(r); err != nil {
					t.Fatal(err)
				}
			}
			frames, _, last := rest(d)
			if frames == 0 || !bytes.Equal(last, frame) {
				t.Errorf("%s reader: %d frames, the last not the one sent", name, frames)
			}
		}
		rest(inside)
		if p, err := r.position(); err != nil {
			t.Errorf("position after write: %+v", p)
		}
	})
}

// FuzzWrite sends frames of any lengths to a fresh ring and reads at any time.
func FuzzWrite(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8})
	f.Fuzz(func(t *testing.T, script []byte) {
		r := smallRing(4096)
		d := startReader(t, r)
		var sent, seen uint64
		for len(script) >= 2 {
			op := binary.LittleEndian.Uint16(script)
			script = script[2:]
			if op&0x8000 == 0 {
				send(t, r, numbered(sent, minFrame+int(op)%(MaxFrame-minFrame+1)))
				sent++
				continue
			}
			frames, overruns := drain(t, r, d)
			for _, f := range frames {
				k := binary.NativeEndian.Uint64(f)
				if k < seen || k > seen && overruns == 0 || !bytes.Equal(f, numbered(k, len(f))) {
					t.Fatalf("frame %d, expected %d, %d overruns", k, seen, overruns)
				}
				seen = k + 1
			}
			if seen != sent {
				t.Fatalf("read up to %d of %d", seen, sent)
			}
		}
	})
}
