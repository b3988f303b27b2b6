// Package humanize shortens numbers for people: 12150 becomes 12K. It prints
// what NetBSD's humanize_number(3) prints with the arguments that ifconfig(8)
// and netstat(1) give it.
package humanize

import (
	"fmt"
	"math"
)

// Style says how numbers are shortened.
type Style struct {
	// Width is the most characters that the result may have, as far as the
	// prefixes allow. It must be at least 2.
	Width int
	// Decimal prints one decimal of scaled numbers below 10 (HN_DECIMAL).
	Decimal bool
	// Bytes prints B after numbers that are not scaled (HN_B).
	Bytes bool
}

const prefixes = " KMGTPE"

// Number returns n in powers of 1024, with the prefix K, M, G, T, P or E and
// no blank before it. Halves are rounded up.
func (s Style) Number(n uint64) string {
	// Numbers that 64 signed bits do not hold are none that a kernel counts
	// to; they saturate.
	v := int64(min(n, math.MaxInt64))
	// v is kept in hundredths, so that rounding has something to look at;
	// a number that is too large for that is kept as it is and multiplied
	// after it has been scaled.
	post, room := int64(1), s.Width-1
	if v < math.MaxInt64/100 {
		v *= 100
	} else {
		post, room = 100, room-2
	}
	limit := int64(100)
	for range room {
		limit *= 10
	}
	scale := 0
	for v >= limit-50 && scale < len(prefixes)-1 {
		v /= 1024
		scale++
	}
	v *= post

	unit := ""
	switch {
	case scale > 0:
		unit = prefixes[scale : scale+1]
	case s.Bytes:
		unit = "B"
	}
	if s.Decimal && scale > 0 && v < 995 {
		tenths := (v + 5) / 10
		return fmt.Sprintf("%d.%d%s", tenths/10, tenths%10, unit)
	}
	return fmt.Sprintf("%d%s", (v+50)/100, unit)
}
