package spclient

import (
	"errors"
	"slices"
	"sort"
)

// The addresses that buffers get. They need not exist in this process, or
// anywhere. Nothing lies in the first page, for the kernel takes a null
// pointer for none, nor where its arithmetic could go past the end.
const (
	addrFirst  = 0x1000_0000
	addrLast32 = 0xf000_0000
	addrLast64 = 1 << 46

	// rangeSize is how much of the address space a call takes at once: room
	// for the buffers of most calls, so that most need one range. Ranges
	// are a multiple of it. On a 32-bit kernel there are 900,000 of them
	// before an address is used again.
	rangeSize = 4096

	// segmentGap lies between two buffers and after the last, so that an
	// access over a buffer's end never is one to the next.
	segmentGap = 16
	// segmentAlign is the largest alignment that any machine asks for.
	segmentAlign = 16

	// maxBuffer is the longest buffer that a call can have.
	maxBuffer = 1 << 27
)

// errNoSpace is returned when a call's buffers find no room, or one is longer
// than maxBuffer.
var errNoSpace = errors.New("buffers too large for a call")

// A span is a range of addresses that a call under way has.
type span struct {
	first, end uint64
	call       *Call
}

// addressSpace gives out addresses and finds the call that has one. A session's
// lock guards it.
type addressSpace struct {
	last uint64 // end of the usable addresses
	next uint64 // where to look for a range first
	live []span // of calls under way, sorted
}

func newAddressSpace(wordSize int) addressSpace {
	a := addressSpace{last: addrLast64, next: addrFirst}
	if wordSize == 4 {
		a.last = addrLast32
	}
	return a
}

// take returns the start of n unused addresses; n is rounded up to the size of
// ranges. They are given out in turn, so that none is used again soon.
func (a *addressSpace) take(n uint64) (first, end uint64, err error) {
	n = (n + rangeSize - 1) &^ (rangeSize - 1)
	if n > (a.last-addrFirst)/4 {
		return 0, 0, errNoSpace
	}
	first = a.next
	for wraps := 0; ; {
		if first+n > a.last {
			if wraps++; wraps == 2 {
				return 0, 0, errNoSpace
			}
			first = addrFirst
		}
		// The first range under way that ends after first is in the way
		// if it starts before the end.
		i := sort.Search(len(a.live), func(i int) bool { return a.live[i].end > first })
		if i == len(a.live) || a.live[i].first >= first+n {
			break
		}
		first = a.live[i].end
	}
	a.next = first + n
	return first, a.next, nil
}

// enter makes a range the call's. It fails when another call has part of it,
// which takes a call that was built and not made while all other addresses
// were used.
func (a *addressSpace) enter(s span) bool {
	n := len(a.live)
	if n == 0 || a.live[n-1].end <= s.first {
		a.live = append(a.live, s)
		return true
	}
	i := sort.Search(n, func(i int) bool { return a.live[i].end > s.first })
	if a.live[i].first < s.end {
		return false
	}
	a.live = slices.Insert(a.live, i, s)
	return true
}

// leave removes a range that a call had.
func (a *addressSpace) leave(s span) {
	i := sort.Search(len(a.live), func(i int) bool { return a.live[i].end > s.first })
	if i < len(a.live) && a.live[i] == s {
		a.live = slices.Delete(a.live, i, i+1)
	}
}

// find returns the call that has an address, or nil.
func (a *addressSpace) find(addr uint64) *Call {
	i := sort.Search(len(a.live), func(i int) bool { return a.live[i].end > addr })
	if i < len(a.live) && a.live[i].first <= addr {
		return a.live[i].call
	}
	return nil
}

// longest returns the length of the longest buffer that the kernel may write
// now.
func (a *addressSpace) longest() (n int) {
	for _, s := range a.live {
		for i := range s.call.segments {
			if g := &s.call.segments[i]; g.dir&dirOut != 0 {
				n = max(n, g.n)
			}
		}
	}
	return n
}

// direction says what the kernel may do with a buffer.
type direction uint8

const (
	dirIn  direction = 1 // read it
	dirOut direction = 2 // write it
)

// A segment is one buffer of a call.
type segment struct {
	addr   uint64
	off, n int // where in the call's memory
	dir    direction
	// high is how many bytes from the start are to be copied to the
	// caller's buffer: what the kernel has written.
	high int
	// user is the caller's buffer, which gets what the kernel writes.
	user []byte
}

// segment returns the buffer that holds n bytes at addr, or nil.
func (call *Call) segment(addr, n uint64) *segment {
	for i := range call.segments {
		g := &call.segments[i]
		if addr >= g.addr && addr-g.addr <= uint64(g.n) && n <= uint64(g.n)-(addr-g.addr) {
			return g
		}
	}
	return nil
}
