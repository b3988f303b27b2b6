package ping

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// payload is the data of the echo requests.
type payload struct {
	bytes []byte
	// fixed is where the timestamp ends and the part that is the same in
	// every request begins.
	fixed int
}

// newPayload makes data of a size, the first fixed bytes of which are left to
// the timestamp. Without a pattern each byte has its own position as its value.
func newPayload(size, fixed int, pattern []byte) payload {
	d := payload{make([]byte, size), fixed}
	for i := fixed; i < size; i++ {
		if len(pattern) > 0 {
			d.bytes[i] = pattern[(i-fixed)%len(pattern)]
		} else {
			d.bytes[i] = byte(i)
		}
	}
	return d
}

// stamp stores the time since the start of the program, for whoever looks at the
// packets: the replies' times are not taken from there, because what comes
// back from a network is not to be trusted. The format is that of NetBSD's
// tools: a 64-bit timespec as a little-endian machine has it, or where there is no
// room for that, seconds and microseconds of 32 bits in network order.
func (d payload) stamp(t time.Duration) {
	sec, nsec := uint64(t/time.Second), uint64(t%time.Second)
	switch {
	case d.fixed >= 16:
		binary.LittleEndian.PutUint64(d.bytes, sec)
		binary.LittleEndian.PutUint64(d.bytes[8:], nsec)
	case d.fixed >= 8:
		binary.BigEndian.PutUint32(d.bytes, uint32(sec))
		binary.BigEndian.PutUint32(d.bytes[4:], uint32(nsec/1000))
	}
}

// randomize fills the data anew.
func (d payload) randomize() {
	for i := d.fixed; i < len(d.bytes); i++ {
		d.bytes[i] = byte(rand.Uint32())
	}
}

// firstWrong is the position of the first byte of a reply's data that is not as
// sent, or -1. Bytes beyond what was sent, or missing ones, are not looked at.
func (d payload) firstWrong(reply []byte) int {
	for i := d.fixed; i < min(len(reply), len(d.bytes)); i++ {
		if reply[i] != d.bytes[i] {
			return i
		}
	}
	return -1
}

// errPattern says what a pattern is.
var errPattern = errors.New("patterns must be specified with 1-32 hex digits")

// ParsePattern reads the pattern of -p: 1 to 32 hexadecimal digits, two for each
// byte; the last byte may have one only.
func ParsePattern(s string) ([]byte, error) {
	if len(s) == 0 || len(s) > 32 {
		return nil, fmt.Errorf("\"-p %s\": %w", s, errPattern)
	}
	digits := s
	if len(s)%2 == 1 {
		digits = s[:len(s)-1] + "0" + s[len(s)-1:]
	}
	b, err := hex.DecodeString(digits)
	if err != nil {
		return nil, fmt.Errorf("\"-p %s\": %w", s, errPattern)
	}
	return b, nil
}

// announcePattern prints what fills the packets, if the user chose it.
func (p *pinger) announcePattern() {
	if p.Pattern != nil && !p.Quiet {
		p.printf("PATTERN: 0x%x\n", p.Pattern)
	}
}
