package ping

import (
	"strings"
	"time"
)

// jiggle is the row of dots that a flood of IPv4 requests leaves: one more for
// each request, one less for each reply. Dots and backspaces are kept back and
// written together, so that a terminal keeps up, and on a quiet line at once.
type jiggle struct {
	count   int // not yet written: dots, or when negative, backspaces
	written int // since the beginning of the line
	forward bool
	flushed bool
	at      time.Duration // of the latest writing
}

// move adds delta dots. It returns whether it is time to write.
func (j *jiggle) move(delta int, lastTx time.Duration) bool {
	if j.written+j.count+delta < 0 {
		return false // not back into a message
	}
	j.count += delta
	if !j.flushed {
		return true
	}
	turned := delta > 0 != j.forward
	quiet := lastTx - j.at
	return quiet > 200*time.Millisecond || quiet >= 150*time.Millisecond && turned
}

// flush returns what is to be written, with a line's end when there is to be
// one and there is something on the line.
func (j *jiggle) flush(now time.Duration, newline bool) string {
	var s string
	if j.count > 0 {
		s = strings.Repeat(".", j.count)
		j.written += j.count
		j.forward = true
	} else if j.count < 0 {
		s = strings.Repeat("\b", -j.count)
		j.written -= j.count
		j.forward = false
	}
	j.count = 0
	if newline {
		if j.written != 0 {
			s += "\n"
		}
		j.written = 0
		j.forward = false
	}
	j.flushed = true
	j.at = now
	return s
}
