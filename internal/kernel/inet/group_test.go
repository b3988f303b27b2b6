package inet

import (
	"testing"
	"time"
)

// An MTU that has no room for one group's record must not make the engine
// report groups without end.
func TestSmallMTUIsQuiet(t *testing.T) {
	seg := newSegment()
	listener := seg.join()
	s := host(t, seg.join(), "10.0.0.1/24", "fd00::1/64")
	s.mu.Lock()
	s.setMTU(s.ifByName["shmif0"], 72)
	s.mu.Unlock()
	// Another address is another group: the solicited-node one.
	must(t, s.setAddr6("shmif0", "fd00::2:3/64"))
	frames := make(chan struct{}, 1<<20)
	go func() {
		buf := make([]byte, maxFrame)
		for {
			if _, err := listener.Recv(buf); err != nil {
				return
			}
			frames <- struct{}{}
		}
	}()
	time.Sleep(300 * time.Millisecond)
	listener.Close()
	if n := len(frames); n > 100 {
		t.Errorf("%d frames in 300 ms from a host with nothing to say", n)
	}
}
