package trace_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"rumptools/internal/kernel"
	"rumptools/internal/trace"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// served runs a kernel and a proxy before it until the test ends, and returns the
// URL of the proxy.
func served(t *testing.T, m *netbsd.Machine, tr *trace.Tracer) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "trace-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	kl, err := net.Listen("unix", filepath.Join(dir, "k"))
	if err != nil {
		t.Fatal(err)
	}
	k := kernel.New(kernel.Config{Machine: m})
	done := make(chan error, 1)
	go func() { done <- k.Serve(kl) }()
	p, err := trace.NewProxy(tr, "unix://"+filepath.Join(dir, "k"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "p"))
	if err != nil {
		t.Fatal(err)
	}
	go p.Serve(l)
	t.Cleanup(func() {
		l.Close()
		p.Close()
		k.Halt(true)
		if err := <-done; !errors.Is(err, kernel.ErrHalted) {
			t.Errorf("Serve: %v", err)
		}
		k.Wait()
	})
	return "unix://" + filepath.Join(dir, "p")
}

// TestConcurrentCalls: memory is told to be that of the call that it was copied
// for, however many are under way on a connection.
func TestConcurrentCalls(t *testing.T) {
	for _, m := range []*netbsd.Machine{netbsd.AMD64, netbsd.POWERPC, netbsd.I386} {
		t.Run(m.Name, func(t *testing.T) {
			out := new(buffer)
			tr := trace.New(trace.Options{Output: out, Strings: trace.DefaultStrings})
			c, err := spclient.Dial(t.Context(), served(t, m, tr), &spclient.Options{Name: "many"})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			const callers, calls = 32, 25
			var all sync.WaitGroup
			for g := range callers {
				all.Go(func() {
					r, w, err := c.Pipe(t.Context())
					if err != nil {
						t.Error(err)
						return
					}
					for i := range calls {
						text := fmt.Sprintf("caller %d says %d", g, i)
						if n, err := c.Write(t.Context(), w, []byte(text)); n != len(text) || err != nil {
							t.Errorf("write: %d, %v", n, err)
							return
						}
						b := make([]byte, 100)
						if n, err := c.Read(t.Context(), r, b); string(b[:n]) != text || err != nil {
							t.Errorf("read: %q, %v", b[:n], err)
							return
						}
					}
				})
			}
			all.Wait()
			tr.Flush()
			got := out.String()
			if strings.Contains(got, "???") {
				t.Error("something unexpected in the trace")
			}
			for g := range callers {
				for i := range calls {
					text := fmt.Sprintf(`"caller %d says %d"`, g, i)
					// Once written, once read: the other way may be shown in
					// a line that was broken off.
					if n := strings.Count(got, text+", "); n != 2 {
						t.Errorf("%s is shown %d times, want 2", text, n)
					}
				}
			}
			if t.Failed() {
				t.Logf("%.4000s", got)
			}
		})
	}
}
