package shmif

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
)

// smallRing is a fresh bus with a ring of size bytes.
func smallRing(size int) ring {
	r := newRing(make([]byte, headerSize+size))
	r.setPosition(position{first: r.size})
	r.setMagic(Magic)
	return r
}

const otherSender = 7

// send writes a frame as a party with a sender number of its own.
func send(t testing.TB, r ring, frame []byte) {
	t.Helper()
	head := stamp(len(frame), 0, 0, otherSender)
	if _, reset, ok := r.write(r.generation(), &head, frame); reset || !ok {
		t.Fatalf("write of %d bytes: reset %v, ok %v", len(frame), reset, ok)
	}
}

// numbered makes a frame of n bytes that can be told from all others.
func numbered(i uint64, n int) []byte {
	f := make([]byte, n)
	for j := range f {
		f[j] = byte(uint64(j)*37 + i*11 + i>>8)
	}
	binary.NativeEndian.PutUint64(f, i)
	return f
}

func startReader(t testing.TB, r ring) *reader {
	t.Helper()
	d := &reader{sender: 1}
	if err := d.start(r); err != nil {
		t.Fatal(err)
	}
	return d
}

// drain reads until there is nothing, and fails on anything but frames, skips
// and overruns.
func drain(t testing.TB, r ring, d *reader) (frames [][]byte, overruns int) {
	t.Helper()
	var buf [MaxFrame]byte
	for range 4 * r.size {
		switch n, v := d.step(r, buf[:]); v {
		case nothing:
			return frames, overruns
		case received:
			frames = append(frames, bytes.Clone(buf[:n]))
		case overrun:
			overruns++
		case skipped:
		default:
			t.Fatalf("verdict %d at %d, ring %+v", v, d.next, r.peek())
		}
	}
	t.Fatal("reader does not come to an end")
	return nil, 0
}

func TestFreshBusLayout(t *testing.T) {
	t.Parallel()
	r := smallRing(RingSize)
	if RingSize != 1048544 {
		t.Fatalf("ring of %d bytes", RingSize)
	}
	want := make([]byte, headerSize)
	binary.NativeEndian.PutUint32(want[0:], 0xca11d054)
	binary.NativeEndian.PutUint32(want[16:], 1048544)
	if got := r.mem[:headerSize]; !bytes.Equal(got, want) {
		t.Errorf("header\n%x, want\n%x", got, want)
	}

	d := startReader(t, r)
	if f, o := drain(t, r, d); len(f) != 0 || o != 0 {
		t.Errorf("fresh bus gives %d frames, %d overruns", len(f), o)
	}

	frame := numbered(1, 60)
	head := stamp(len(frame), 3, 250000, 0x1122334455667788)
	r.write(0, &head, frame)
	binary.NativeEndian.PutUint32(want[20:], packetHeader) // last; the version is written by system call
	if got := r.mem[:headerSize]; !bytes.Equal(got, want) {
		t.Errorf("header after a frame\n%x, want\n%x", got, want)
	}
	pkt := make([]byte, packetHeader)
	binary.NativeEndian.PutUint32(pkt[0:], 60)
	binary.NativeEndian.PutUint32(pkt[4:], 3)
	binary.NativeEndian.PutUint32(pkt[8:], 250000)
	binary.NativeEndian.PutUint64(pkt[packetHeader-8:], 0x1122334455667788)
	if got := r.data()[packetHeader:][:packetHeader]; !bytes.Equal(got, pkt) {
		t.Errorf("packet header\n%x, want\n%x", got, pkt)
	}
	if got := r.data()[2*packetHeader:][:60]; !bytes.Equal(got, frame) {
		t.Errorf("frame\n%x, want\n%x", got, frame)
	}
	if f, o := drain(t, r, d); len(f) != 1 || o != 0 || !bytes.Equal(f[0], frame) {
		t.Errorf("received %d frames, %d overruns", len(f), o)
	}
}

// checkChain walks the packets from first to last, which must be the newest
// ones of sent.
func checkChain(t *testing.T, r ring, sent [][]byte) {
	t.Helper()
	p, err := r.position()
	if err != nil {
		t.Fatalf("%v: %+v", err, p)
	}
	var chain [][]byte
	off := p.first
	if off == r.size {
		off = 0
	}
	for n := uint32(0); ; n++ {
		pkt, err := r.packet(off)
		if err != nil || n > r.size {
			t.Fatalf("chain from %d to %d breaks at %d", p.first, p.last, off)
		}
		frame := make([]byte, pkt.len)
		r.read(r.advance(off, packetHeader), frame)
		chain = append(chain, frame)
		if off == p.last {
			break
		}
		off, _ = r.next(off)
	}
	if len(chain[0]) == 0 { // of the fresh bus
		chain = chain[1:]
	}
	if len(chain) > len(sent) {
		t.Fatalf("%d frames in the ring, %d sent", len(chain), len(sent))
	}
	for i, want := range sent[len(sent)-len(chain):] {
		if !bytes.Equal(chain[i], want) {
			t.Fatalf("frame %d of %d in the ring is not what was sent", i, len(chain))
		}
	}
	used := 0
	for _, f := range chain {
		used += packetHeader + len(f)
	}
	if p.gen > 1 && used < int(r.size)-2*(packetHeader+MaxFrame) {
		t.Fatalf("only %d of %d bytes in use", used, r.size)
	}
}

// TestWrapEverywhere lets packets begin at every distance from the ring's end,
// with a reader that keeps up and one that comes late.
func TestWrapEverywhere(t *testing.T) {
	t.Parallel()
	const size, length = 4096, 60
	for distance := 1; distance <= 2*packetHeader+length+1; distance++ {
		r := smallRing(size)
		d, late := startReader(t, r), startReader(t, r)
		var sent, got [][]byte
		put := func(n int) {
			t.Helper()
			f := numbered(uint64(len(sent)), n)
			send(t, r, f)
			sent = append(sent, f)
			checkChain(t, r, sent)
			// Two at a time, to let the reader be behind as well.
			if len(sent)%2 == 0 || n == length {
				frames, overruns := drain(t, r, d)
				if got = append(got, frames...); overruns != 0 {
					t.Fatalf("distance %d: overrun", distance)
				}
			}
		}
		// Fill up to the wanted place.
		at := packetHeader
		for {
			left := size - distance - at
			if left == 0 {
				break
			}
			n := min(left, packetHeader+1000)
			if rest := left - n; rest > 0 && rest < packetHeader+minFrame {
				n -= packetHeader + minFrame
			}
			put(n - packetHeader)
			at += n
		}
		put(length)
		if got := r.peek().last; got != uint32(size-distance) {
			t.Fatalf("distance %d: last %d", distance, got)
		}
		wantGen := uint64(0)
		if distance <= packetHeader+length {
			wantGen = 1 // reached the end, perhaps just so
		}
		if got := r.generation(); got != wantGen {
			t.Errorf("distance %d: generation %d, want %d", distance, got, wantGen)
		}
		// A party that joins now begins with the newest frame only.
		if f, o := drain(t, r, startReader(t, r)); len(f) != 1 || o != 0 || !bytes.Equal(f[0], sent[len(sent)-1]) {
			t.Errorf("distance %d: new party gets %d frames, %d overruns", distance, len(f), o)
		}
		for range 3 {
			put(length)
		}
		if len(got) != len(sent) {
			t.Fatalf("distance %d: %d of %d frames", distance, len(got), len(sent))
		}
		for i := range sent {
			if !bytes.Equal(got[i], sent[i]) {
				t.Fatalf("distance %d: frame %d differs", distance, i)
			}
		}
		// The other reader lost the beginning, and gets the rest whole.
		for range 2 * size / (packetHeader + length) {
			put(length)
		}
		rest, overruns := drain(t, r, late)
		if overruns != 1 || len(rest) == 0 {
			t.Fatalf("distance %d: late reader has %d frames, %d overruns", distance, len(rest), overruns)
		}
		for i, f := range rest {
			if !bytes.Equal(f, sent[len(sent)-len(rest)+i]) {
				t.Fatalf("distance %d: late frame %d differs", distance, i)
			}
		}
	}
}

// TestReaders lets readers of different speed follow a sender. Each must get
// whole frames in order, all of them unless it had an overrun.
func TestReaders(t *testing.T) {
	t.Parallel()
	for seed := range uint64(16) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 0))
			r := smallRing(4000 + rnd.IntN(200))
			type party struct {
				*reader
				every    int
				next     uint64
				overruns int
				missed   bool
			}
			var parties []*party
			for _, every := range []int{1, 2, 3, 5, 8, 13, 40, 300} {
				parties = append(parties, &party{reader: startReader(t, r), every: every})
			}
			var sent [][]byte
			for i := range 2500 {
				f := numbered(uint64(i), minFrame+rnd.IntN(1+rnd.IntN(MaxFrame-minFrame+1)))
				send(t, r, f)
				if sent = append(sent, f); i%16 == 0 {
					checkChain(t, r, sent)
				}
				for _, p := range parties {
					if rnd.IntN(p.every) != 0 {
						continue
					}
					frames, overruns := drain(t, r, p.reader)
					p.overruns += overruns
					for _, f := range frames {
						k := binary.NativeEndian.Uint64(f)
						if k < p.next || k >= uint64(len(sent)) || !bytes.Equal(f, sent[k]) {
							t.Fatalf("reader %d: frame %d, expected %d", p.every, k, p.next)
						}
						if k > p.next && overruns == 0 {
							t.Fatalf("reader %d: %d frames lost without an overrun", p.every, k-p.next)
						}
						p.missed = p.missed || k > p.next
						p.next = k + 1
					}
					if p.next != uint64(len(sent)) {
						t.Fatalf("reader %d: stops at %d of %d", p.every, p.next, len(sent))
					}
				}
			}
			if parties[0].missed || parties[0].overruns != 0 {
				t.Error("the reader that keeps up missed frames")
			}
			if last := parties[len(parties)-1]; !last.missed || last.overruns == 0 {
				t.Error("the slow reader never missed anything")
			}
		})
	}
}

func TestSkipped(t *testing.T) {
	t.Parallel()
	r := smallRing(8192)
	d := startReader(t, r)
	put := func(sender uint64, n int) {
		head := stamp(n, 0, 0, sender)
		if _, _, ok := r.write(r.generation(), &head, make([]byte, n)); !ok {
			t.Fatal("write")
		}
	}
	put(d.sender, 60) // own
	put(2, minFrame-1)
	put(2, MaxFrame+1)
	put(2, minFrame)
	put(2, MaxFrame)
	want := []struct {
		n int
		v verdict
	}{{0, skipped}, {0, skipped}, {0, skipped}, {0, oversized}, {minFrame, received}, {MaxFrame, received}, {0, nothing}, {0, nothing}}
	var buf [MaxFrame]byte
	for i, w := range want {
		if n, v := d.step(r, buf[:]); n != w.n || v != w.v {
			t.Errorf("step %d: %d bytes, verdict %d, want %d, %d", i, n, v, w.n, w.v)
		}
	}
	if !d.idle(r) {
		t.Error("not idle after everything was read")
	}
	put(2, 60)
	if d.idle(r) {
		t.Error("idle after a new frame")
	}
}

// TestCorrupt damages a ring in use. The reader must notice, and both sides must
// come to terms again.
func TestCorrupt(t *testing.T) {
	t.Parallel()
	setWord := func(off int, v uint32) func(ring) {
		return func(r ring) { binary.NativeEndian.PutUint32(r.mem[off:], v) }
	}
	at := func(p func(position) uint32, v uint32) func(ring) {
		return func(r ring) { binary.NativeEndian.PutUint32(r.data()[p(r.peek()):], v) }
	}
	last := func(p position) uint32 { return p.last }
	first := func(p position) uint32 { return p.first }
	for _, test := range []struct {
		name   string
		damage func(ring)
		reader bool // reader must notice
		sender bool // sender must start the ring anew
	}{
		{"last outside", setWord(offLast, 8192), true, true},
		{"last far outside", setWord(offLast, 0xffffffff), true, true},
		{"first outside", setWord(offFirst, 8193), true, true},
		{"first far outside", setWord(offFirst, 0xfffffff0), true, true},
		{"first is last", func(r ring) { p := r.peek(); p.first = p.last; r.setPosition(p) }, true, true},
		{"length of last", at(last, 4096), true, true},
		{"negative length of last", at(last, 0xffffffff), true, true},
		{"length of last reaches first", at(last, 4095), false, false},
		{"length of first", at(first, 0xfffffff0), false, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := smallRing(8192)
			d := startReader(t, r)
			for i := range 200 {
				send(t, r, numbered(uint64(i), 100))
				drain(t, r, d)
			}
			send(t, r, numbered(200, 100))
			test.damage(r)
			var buf [MaxFrame]byte
			noticed := false
			for range 300 {
				_, v := d.step(r, buf[:])
				noticed = noticed || v == corrupt
				if v == nothing {
					break
				}
			}
			if test.reader && !noticed {
				t.Error("reader noticed nothing")
			}
			if _, v := d.step(r, buf[:]); test.reader && v != nothing {
				t.Errorf("reader does not come to rest: %d", v)
			}

			// Go on. After a round everything is as it should be.
			reset := false
			for i := range 400 {
				f := numbered(uint64(1000+i), 100)
				head := stamp(len(f), 0, 0, otherSender)
				_, anew, ok := r.write(r.generation(), &head, f)
				if !ok {
					t.Fatal("write failed")
				}
				reset = reset || anew
				got := 0
				for range 300 {
					n, v := d.step(r, buf[:])
					if v == nothing {
						break
					}
					if v == received && bytes.Equal(buf[:n], f) {
						got++
					}
				}
				if i > 100 && got != 1 {
					t.Fatalf("frame %d received %d times", i, got)
				}
			}
			if test.sender && !reset {
				t.Error("sender did not start the ring anew")
			}
		})
	}
}

// TestResetForOthers: a ring started anew reads well for those who were in it,
// wherever they were, and for those who join.
func TestResetForOthers(t *testing.T) {
	t.Parallel()
	r := smallRing(4096)
	var readers []*reader
	for i := range 100 {
		readers = append(readers, startReader(t, r))
		send(t, r, numbered(uint64(i), 100))
	}
	r.reset()
	readers = append(readers, startReader(t, r))
	f := numbered(1000, 100)
	send(t, r, f)
	if p := r.peek(); p.last != packetHeader || p.first != r.size {
		t.Errorf("position %+v", p)
	}
	for i, d := range readers {
		if frames, _ := drain(t, r, d); len(frames) != 1 || !bytes.Equal(frames[0], f) {
			t.Errorf("reader %d gets %d frames", i, len(frames))
		}
	}
}
