package ping

import (
	"math"
	"time"
)

// roundTrips are the statistics of round-trip times, duplicates included.
type roundTrips struct {
	n          int
	min, max   time.Duration
	sum, sumsq float64 // milliseconds
}

func (r *roundTrips) add(d time.Duration) {
	if r.n == 0 || d < r.min {
		r.min = d
	}
	if r.n == 0 || d > r.max {
		r.max = d
	}
	r.n++
	ms := millis(d)
	r.sum += ms
	r.sumsq += ms * ms
}

// average and deviation are in milliseconds; the deviation is that of a sample.
func (r *roundTrips) average() float64 { return r.sum / float64(r.n) }

func (r *roundTrips) deviation() float64 {
	if r.n < 2 {
		return 0
	}
	n, avg := float64(r.n), r.average()
	// Rounding can make the difference of two large numbers negative.
	return math.Sqrt(max(0, (r.sumsq-n*avg*avg)/(n-1)))
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// counts prints the line of statistics that both programs have.
func (p *pinger) counts() {
	p.printf("%d packets transmitted, %d packets received, ", p.transmitted, p.received)
	if p.repeats > 0 {
		p.printf("+%d duplicates, ", p.repeats)
	}
	switch {
	case p.transmitted == 0:
	case p.received > p.transmitted:
		p.printf("-- somebody's duplicating packets!")
	default:
		p.printf("%.1f%% packet loss", float64(p.transmitted-p.received)*100/float64(p.transmitted))
	}
	p.printf("\n")
}
