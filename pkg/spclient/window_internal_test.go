package spclient

import (
	"math/rand/v2"
	"testing"
)

// TestAddressSpace takes and gives back ranges at random and checks that those in
// use are apart, where they may be, and found, and that none comes back soon.
func TestAddressSpace(t *testing.T) {
	for _, wordSize := range []int{4, 8} {
		a := newAddressSpace(wordSize)
		a.next = a.last - 1<<20 // near the end, for its sake
		rnd := rand.New(rand.NewPCG(1, uint64(wordSize)))
		var used []span
		lastUse := make(map[uint64]int) // of a range's start
		for i := range 30_000 {
			if len(used) > 0 && rnd.IntN(100) < 50 || len(used) > 200 {
				k := rnd.IntN(len(used))
				a.leave(used[k])
				if a.find(used[k].first) != nil {
					t.Fatalf("%#x is found after it was given back", used[k].first)
				}
				used[k] = used[len(used)-1]
				used = used[:len(used)-1]
				continue
			}
			n := uint64(1 + rnd.IntN(8000))
			if rnd.IntN(1000) == 0 {
				n = 1 << (13 + rnd.IntN(14))
			}
			first, end, err := a.take(n)
			if err != nil {
				t.Fatal(err)
			}
			if end-first < n || first < addrFirst || end > a.last || first%rangeSize != 0 {
				t.Fatalf("%d bytes: [%#x, %#x)", n, first, end)
			}
			if before, ok := lastUse[first]; ok && i-before < 1000 {
				t.Fatalf("%#x is used again after %d steps", first, i-before)
			}
			lastUse[first] = i
			s := span{first, end, new(Call)}
			if !a.enter(s) {
				t.Fatalf("[%#x, %#x) is taken", first, end)
			}
			used = append(used, s)
		}
		if len(a.live) != len(used) {
			t.Errorf("%d ranges, want %d", len(a.live), len(used))
		}
		for i := range a.live {
			if i > 0 && a.live[i-1].end > a.live[i].first {
				t.Fatalf("ranges overlap: %+v, %+v", a.live[i-1], a.live[i])
			}
		}
		for _, s := range used {
			for _, addr := range []uint64{s.first, (s.first + s.end) / 2, s.end - 1} {
				if a.find(addr) != s.call {
					t.Fatalf("%#x is not found", addr)
				}
			}
			if a.find(s.end) == s.call || a.find(s.first-1) == s.call {
				t.Fatalf("found outside of [%#x, %#x)", s.first, s.end)
			}
		}
	}
}

// TestAddressSpaceFull fills a 32-bit kernel's addresses.
func TestAddressSpaceFull(t *testing.T) {
	a := newAddressSpace(4)
	if _, _, err := a.take(1 << 30); err == nil {
		t.Error("a quarter of all addresses at once is given")
	}
	var used []span
	for {
		first, end, err := a.take(64 << 20)
		if err != nil {
			break
		}
		s := span{first, end, new(Call)}
		if !a.enter(s) {
			t.Fatal("given twice")
		}
		used = append(used, s)
	}
	if n := len(used); n != (addrLast32-addrFirst)/(64<<20) {
		t.Errorf("%d ranges of 64 MiB", n)
	}
	a.leave(used[3])
	first, _, err := a.take(64 << 20)
	if err != nil || first != used[3].first {
		t.Errorf("the only free range is %#x, got %#x, %v", used[3].first, first, err)
	}
	if a.enter(span{used[5].first + rangeSize, used[5].first + 2*rangeSize, new(Call)}) {
		t.Error("part of a range that is in use is given")
	}
}
