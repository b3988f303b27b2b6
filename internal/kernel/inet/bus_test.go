package inet

import (
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"rumptools/internal/kernel"
	"rumptools/internal/shmif"
)

// TestTwoOnBus has two kernels ping each other over a bus that is a file.
func TestTwoOnBus(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bus")
	openBus := func() Bus {
		b, err := shmif.Open(path)
		must(t, err)
		return b
	}
	watch, err := shmif.Open(path)
	must(t, err)
	var wg sync.WaitGroup
	wg.Add(1)
	var longest, frames int
	go func() {
		defer wg.Done()
		buf := make([]byte, 1<<16)
		for {
			n, err := watch.Recv(buf)
			if err != nil {
				return
			}
			longest = max(longest, n)
			frames++
		}
	}()
	a := host(t, openBus(), "10.0.0.1/24", "fd00::1/64")
	b := host(t, openBus(), "10.0.0.2/24", "fd00::2/64")
	for _, s := range []*Stack{a, b} {
		for _, dst := range []string{"10.0.0.1", "10.0.0.2", "fd00::1", "fd00::2"} {
			s.answered(t, dst, 56, 0, 1472, 1473, 3000, 8000)
		}
		s.answered(t, s.linkLocalOf("shmif0"), 56)
	}
	a.answered(t, b.linkLocalOf("shmif0"), 56, 3000)
	watch.Close()
	wg.Wait()
	if longest > maxFrame || longest < maxFrame-8 || frames < 50 {
		t.Errorf("%d frames, the longest of %d bytes", frames, longest)
	}
	c := &a.ifByName["shmif0"].counters
	if in, out := c.ipackets.Load(), c.opackets.Load(); in < 20 || out < 20 || c.oerrors.Load() != 0 {
		t.Errorf("%d packets in, %d out, %d errors", in, out, c.oerrors.Load())
	}
}

// TestLeaks has no goroutines left when stacks have ended, and none more for
// interfaces that have come and gone.
func TestLeaks(t *testing.T) {
	before := runtime.NumGoroutine()
	seg := newSegment()
	for range 3 {
		s, err := New(Config{Kernel: kernel.New(kernel.Config{})})
		must(t, err)
		for range 20 {
			s.plug(t, "shmif0", seg.join(), "10.0.0.1/24", "fd00::1/64")
			s.plug(t, "shmif1", seg.join(), "10.0.1.1/24")
			s.mu.Lock()
			must(t, s.cloneDestroy("shmif0"))
			must(t, s.cloneDestroy("shmif1"))
			s.mu.Unlock()
		}
		s.plug(t, "shmif0", seg.join(), "10.0.0.1/24", "fd00::1/64")
		s.mu.Lock()
		n, engine, routes := len(s.interfaces), len(s.net.NICInfo()), len(s.routes.sorted())
		s.mu.Unlock()
		if n != 2 || engine != 3 || routes > 25 {
			t.Errorf("%d interfaces, %d of the engine, %d routes", n, engine, routes)
		}
		s.Close()
		s.Close() // does nothing
	}
	eventually(t, "all goroutines have ended", func() bool { return runtime.NumGoroutine() <= before })
	if len(seg.ports) != 0 {
		t.Errorf("%d ports are open", len(seg.ports))
	}
}
