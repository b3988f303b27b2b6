//go:build amd64 || arm64

package hijack

import (
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What a pump holds back: with segments of 100 bytes, how much it releases after each step, and
// what of that is not to wait for acknowledgements.
func TestPumpCork(t *testing.T) {
	const once = 1 << 20 // added to what goes at once
	type step struct {
		do   string // write, set, clear, wait or end
		n    int
		want []int // released, as the pump reads
	}
	for _, test := range []struct {
		name  string
		steps []step
	}{
		{"no cork", []step{{"write", 30, []int{30}}, {"write", 250, []int{250}}}},
		{"pieces", []step{{"set", 0, nil}, {"write", 30, []int{0}}, {"write", 40, []int{0}}, {"clear", 0, []int{once + 70}}, {"write", 5, []int{5}}}},
		{"segments", []step{{"set", 0, nil}, {"write", 30, []int{0}}, {"write", 250, []int{200}}, {"write", 20, []int{100}},
			{"write", 300, []int{300}}, {"clear", 0, nil}, {"write", 5, []int{5}}}},
		{"for too long", []step{{"set", 0, nil}, {"write", 30, []int{0}}, {"wait", 0, []int{once + 30}}, {"write", 20, []int{0}}, {"wait", 0, []int{once + 20}}}},
		{"what was there before", []step{{"unread", 30, nil}, {"set", 0, []int{0}}, {"write", 0, []int{30}}, {"write", 20, []int{0}}}},
		{"cleared and set again before it is read", []step{{"set", 0, nil}, {"unread", 30, nil}, {"clear", 0, nil}, {"set", 0, nil}, {"unread", 50, nil},
			{"write", 0, []int{0, once + 30}}, {"clear", 0, []int{once + 50}}}},
		{"the end", []step{{"set", 0, nil}, {"write", 30, []int{0}}, {"end", 0, []int{30}}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, k, _ := joinedStream(t)
			defer unix.Close(s)
			p := &pump{connection: &connection{k: k}}
			p.cork.segment = 100
			buf := make([]byte, 1000)
			held := 0
			// read is what up does.
			read := func() int {
				n, err := k.readStream(buf[held:])
				held += n
				if errors.Is(err, os.ErrDeadlineExceeded) {
					err = nil
				}
				give, atOnce := p.release(held, err != nil)
				held -= give
				if atOnce && give > 0 {
					return once + give
				}
				return give
			}
			for i, step := range test.steps {
				p.mu.Lock()
				if !p.cork.since.IsZero() {
					// However long the test takes, the time is not over.
					p.cork.since = time.Now().Add(time.Minute)
					p.readUntil(p.cork.since)
				}
				p.mu.Unlock()
				switch step.do {
				case "write", "unread":
					unix.Write(s, make([]byte, step.n))
				case "set", "clear":
					p.setCork(step.do == "set")
				case "wait":
					p.mu.Lock()
					p.cork.since = time.Now().Add(-corkTime)
					p.readUntil(time.Now())
					p.mu.Unlock()
				case "end":
					unix.Shutdown(s, unix.SHUT_WR)
				}
				var got []int
				for range step.want {
					got = append(got, read())
				}
				if !slices.Equal(got, step.want) {
					t.Fatalf("step %d, %s %d: released %d, want %d", i, step.do, step.n, got, step.want)
				}
			}
		})
	}
}
