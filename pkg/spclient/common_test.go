package spclient_test

import (
	"context"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
	"rumptools/pkg/spclient/spclienttest"
)

// testTimeout is the time that nothing takes but a hang.
const testTimeout = time.Minute

// testContext ends after testTimeout.
func testContext(t testing.TB) context.Context {
	ctx, cancel := contextFor(testTimeout)
	t.Cleanup(cancel)
	return ctx
}

func contextFor(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), d)
}

// dial connects to a scripted server and closes the connection with the test.
func dial(t testing.TB, srv *spclienttest.Server, opts *spclient.Options) *spclient.Conn {
	t.Helper()
	c, err := spclient.Dial(testContext(t), srv.URL(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// serve connects to a server that answers calls with functions.
func serve(t testing.TB, m *netbsd.Machine, calls map[uint32]func(*spclienttest.Call)) *spclient.Conn {
	t.Helper()
	return dial(t, spclienttest.NewServer(t, "unix", m, func(p *spclienttest.Peer) { p.Serve(calls) }), nil)
}

// eachMachine runs a test for every machine's layout.
func eachMachine(t *testing.T, f func(*testing.T, *netbsd.Machine)) {
	for _, m := range netbsd.Machines() {
		t.Run(m.Name, func(t *testing.T) { f(t, m) })
	}
}

// checkLeaks fails the test if goroutines or descriptors that were not there
// before are there after it and what it cleans up.
func checkLeaks(t *testing.T) {
	t.Helper()
	goroutines, fds := runtime.NumGoroutine(), countFDs(t)
	t.Cleanup(func() {
		end := time.Now().Add(testTimeout)
		for {
			g, f := runtime.NumGoroutine(), countFDs(t)
			if g <= goroutines && f <= fds {
				return
			}
			if time.Now().After(end) {
				buf := make([]byte, 64<<10)
				t.Errorf("%d goroutines, %d before; %d descriptors, %d before\n%s",
					g, goroutines, f, fds, buf[:runtime.Stack(buf, true)])
				return
			}
			// Goroutines that have done their work may not be gone yet.
			time.Sleep(time.Millisecond)
		}
	})
}

// countFDs returns how many descriptors the process has, as far as the host
// tells.
func countFDs(t *testing.T) (n int) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	for _, e := range entries {
		// Those of the poller come when they are first needed and stay.
		target, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err == nil && !strings.HasPrefix(target, "anon_inode:") {
			n++
		}
	}
	return n
}

// journal notes what a server did.
type journal[T any] struct {
	mu      sync.Mutex
	entries []T
}

// add notes an entry and returns how many there are.
func (j *journal[T]) add(e T) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.entries = append(j.entries, e)
	return len(j.entries)
}

// take returns the entries and forgets them.
func (j *journal[T]) take() []T {
	j.mu.Lock()
	defer j.mu.Unlock()
	entries := j.entries
	j.entries = nil
	return entries
}
