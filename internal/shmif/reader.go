package shmif

// reader is a party's place in the ring.
type reader struct {
	sender uint64 // our own, whose packets are skipped

	next uint32 // where the next packet's header begins
	gen  uint64 // generation of next: the ring's or one less

	seen   position // when there was nothing to read
	seenOK bool     // seen has been set
	lost   bool     // next means nothing: go to last once seen changes

	tried   position // when resync was of no use
	triedOK bool     // tried has been set
}

// verdict says what a reader's step came upon.
type verdict int

const (
	nothing   verdict = iota // all read
	received                 // a frame
	skipped                  // an own frame, or a packet too short to be one
	oversized                // a frame longer than MaxFrame, skipped
	overrun                  // fell behind; now at the oldest packet
	corrupt                  // the ring makes no sense; now at the newest packet
)

// idle reports, without the lock, that nothing has been sent since the last
// step said nothing.
func (d *reader) idle(r ring) bool {
	return d.seenOK && r.peek() == d.seen
}

// start goes to the newest packet, as a kernel does when its interface is
// attached or initialised: that packet is read again.
func (d *reader) start(r ring) error {
	d.seenOK = false
	p, err := r.position()
	if err == nil {
		d.gen, err = r.generationAt(p)
	}
	if err != nil {
		d.lose(p)
		return err
	}
	d.next, d.lost = p.last, false
	return nil
}

// resync goes to the newest packet. If that was tried already, and nothing has
// been sent since, it gives up until somebody sends; so no damage can keep a
// reader busy.
func (d *reader) resync(r ring, p position) verdict {
	if d.triedOK && d.tried == p {
		d.lose(p)
		return corrupt
	}
	d.tried, d.triedOK = p, true
	d.start(r)
	return corrupt
}

// lose gives up on a ring until its position changes.
func (d *reader) lose(p position) {
	d.lost, d.seen, d.seenOK = true, p, true
}

// step reads the next packet. With received, buf's first n bytes hold the
// frame; buf takes MaxFrame bytes.
func (d *reader) step(r ring, buf []byte) (n int, v verdict) {
	d.seenOK = false
	p, err := r.position()
	if d.lost {
		if d.seen == p {
			d.seenOK = true
			return 0, nothing
		}
		if err = d.start(r); err != nil {
			return 0, corrupt
		}
	}
	if err != nil {
		return 0, d.resync(r, p)
	}
	end, err := r.next(p.last)
	if err != nil {
		return 0, d.resync(r, p)
	}
	if d.gen == p.gen && d.next == end {
		d.seen, d.seenOK = p, true
		return 0, nothing
	}

	ahead, ok := d.ahead(r, p, end)
	if !ok {
		// The oldest packet is of the round before if the packets reach
		// across the ring's end, or just to it. (Real kernels compare with
		// last instead, and then read the oldest packet again and again
		// while the newest one itself lies across the end.)
		d.next, d.gen = p.first, p.gen
		if p.first >= end {
			d.gen--
		}
		if _, ok = d.ahead(r, p, end); !ok {
			return 0, d.resync(r, p)
		}
		return 0, overrun
	}

	pkt, err := r.packet(d.next)
	if err != nil || packetHeader+pkt.len > ahead {
		return 0, d.resync(r, p)
	}
	off := d.next
	if d.next+packetHeader+pkt.len >= r.size {
		d.gen++
	}
	d.next = r.advance(d.next, packetHeader+pkt.len)

	switch {
	case pkt.len > MaxFrame:
		return 0, oversized
	case pkt.len < minFrame || pkt.sender == d.sender:
		return 0, skipped
	}
	r.read(r.advance(off, packetHeader), buf[:pkt.len])
	return int(pkt.len), received
}

// ahead gives the number of bytes from the reader's place to the end of the
// newest packet; !ok if the place is not among the ring's packets, which means
// that the reader was too slow and the ring has gone past it.
//
// The packets lie from first to end, which may be beyond the ring's end. All
// three offsets are moved to one line of two rings' length to compare them. A
// reader one generation behind is in the first ring; one in the current
// generation is in the second, if the packets reach into it.
func (d *reader) ahead(r ring, p position, end uint32) (n uint32, ok bool) {
	behind := p.gen - d.gen
	if behind > 1 {
		return 0, false
	}
	at := d.next
	if p.first >= end {
		end += r.size
		if behind == 0 {
			at += r.size
		}
	} else if behind == 1 {
		return 0, false
	}
	if at < p.first || at > end {
		return 0, false
	}
	return end - at, true
}
