package trace

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"math/bits"
	"slices"
	"text/tabwriter"
	"time"
)

// Summary counts calls by their names.
type Summary struct {
	calls   map[string]*Counts
	signals uint64
}

// Counts is what is counted of calls of one name.
type Counts struct {
	Name   string
	Calls  uint64
	Errors uint64
	Total  time.Duration
	Max    time.Duration
	times  histogram
}

func newSummary() *Summary { return &Summary{calls: make(map[string]*Counts)} }

// maxNames is how many names are counted apart: a client can call numbers that
// no system has.
const maxNames = 1024

func (s *Summary) add(c *call) {
	name := c.name
	n := s.calls[name]
	if n == nil {
		if len(s.calls) >= maxNames {
			name = "others"
		}
		if n = s.calls[name]; n == nil {
			n = &Counts{Name: name}
			s.calls[name] = n
		}
	}
	d := c.end.Sub(c.start)
	n.Calls++
	if c.failed() {
		n.Errors++
	}
	n.Total += d
	n.Max = max(n.Max, d)
	n.times.add(d)
}

func (s *Summary) clone() *Summary {
	n := &Summary{calls: maps.Clone(s.calls), signals: s.signals}
	for name, c := range n.calls {
		copied := *c
		n.calls[name] = &copied
	}
	return n
}

// Counts are the counts of every name, those that took the longest first.
func (s *Summary) Counts() []*Counts {
	return slices.SortedFunc(maps.Values(s.calls), func(a, b *Counts) int {
		return cmp.Or(cmp.Compare(b.Total, a.Total), cmp.Compare(b.Calls, a.Calls), cmp.Compare(a.Name, b.Name))
	})
}

// Percentile is the time within which p per cent of the calls ended, to within
// a sixteenth.
func (c *Counts) Percentile(p float64) time.Duration {
	return min(c.times.percentile(p, c.Calls), c.Max)
}

// Write writes the summary as a table. Times are in microseconds but for the
// totals.
func (s *Summary) Write(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(tw, "% time\tseconds\tusecs/call\tcalls\terrors\tp50\tp90\tp99\tmax\t  syscall\n")
	var total Counts
	counts := s.Counts()
	for _, c := range counts {
		total.Calls += c.Calls
		total.Errors += c.Errors
		total.Total += c.Total
		total.Max = max(total.Max, c.Max)
		total.times.merge(&c.times)
	}
	for _, c := range counts {
		c.write(tw, total.Total)
	}
	total.Name = "total"
	total.write(tw, total.Total)
	return tw.Flush()
}

func (c *Counts) write(w io.Writer, all time.Duration) {
	share := 0.0
	if all > 0 {
		share = 100 * float64(c.Total) / float64(all)
	}
	mean := time.Duration(0)
	if c.Calls > 0 {
		mean = c.Total / time.Duration(c.Calls)
	}
	errs := ""
	if c.Errors > 0 {
		errs = fmt.Sprint(c.Errors)
	}
	fmt.Fprintf(w, "%.2f\t%.6f\t%d\t%d\t%s\t%d\t%d\t%d\t%d\t  %s\n", share, c.Total.Seconds(), mean.Microseconds(), c.Calls, errs,
		c.Percentile(50).Microseconds(), c.Percentile(90).Microseconds(), c.Percentile(99).Microseconds(), c.Max.Microseconds(), c.Name)
}

// histogram counts times in buckets that are a sixteenth wide, so that a trace of
// any length takes the same memory.
type histogram [64 * 16]uint32

// bucket is the bucket of a time: the position of its highest bit and the four
// bits after it.
func bucket(d time.Duration) int {
	n := uint64(max(d, 0))
	if n < 16 {
		return int(n)
	}
	shift := bits.Len64(n) - 5
	return 16*(shift+1) + int(n>>shift&15)
}

// upper is the longest time in a bucket.
func upper(i int) time.Duration {
	if i < 16 {
		return time.Duration(i)
	}
	shift := i/16 - 1
	return time.Duration((uint64(16+i%16)+1)<<shift - 1)
}

func (h *histogram) add(d time.Duration) {
	if n := &h[bucket(d)]; *n < 1<<32-1 {
		*n++
	}
}

func (h *histogram) merge(o *histogram) {
	for i, n := range o {
		h[i] += min(n, 1<<32-1-h[i])
	}
}

func (h *histogram) percentile(p float64, total uint64) time.Duration {
	if total == 0 {
		return 0
	}
	// The smallest time that this many calls do not exceed.
	want := uint64(p / 100 * float64(total))
	if float64(want) < p/100*float64(total) {
		want++
	}
	var sum uint64
	for i, n := range h {
		if sum += uint64(n); sum >= want && sum > 0 {
			return upper(i)
		}
	}
	return upper(len(h) - 1)
}
