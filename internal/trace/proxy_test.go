package trace_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"rumptools/internal/trace"
)

// limit is how long anything may take that should take a moment: on a busy
// machine, a minute is a moment.
const limit = time.Minute

// conn is a local or a TCP connection.
type conn interface {
	net.Conn
	CloseRead() error
	CloseWrite() error
}

// buffer is a trace that may be read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// between makes a connection through a proxy: the client's end, the kernel's end
// and the trace.
func between(t *testing.T, network string) (client, kernel conn, out *buffer) {
	t.Helper()
	dir, err := os.MkdirTemp("", "trace-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	address := filepath.Join(dir, "k")
	if network == "tcp" {
		address = "127.0.0.1:0"
	}
	k, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	url := network + "://" + k.Addr().String()
	out = new(buffer)
	tr := trace.New(trace.Options{Output: out, Immediate: true, Strings: trace.DefaultStrings})
	p, err := trace.NewProxy(tr, url)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "p"))
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- p.Serve(l) }()
	c, err := net.Dial("unix", filepath.Join(dir, "p"))
	if err != nil {
		t.Fatal(err)
	}
	kc, err := k.Accept()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []net.Conn{c, kc} {
		c.SetDeadline(time.Now().Add(limit))
	}
	t.Cleanup(func() {
		c.Close()
		kc.Close()
		k.Close()
		l.Close()
		p.Close()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return c.(conn), kc.(conn), out
}

func bothNetworks(t *testing.T, test func(t *testing.T, network string)) {
	for _, network := range []string{"unix", "tcp"} {
		t.Run(network, func(t *testing.T) { test(t, network) })
	}
}

// TestTransparent: what can't be made out arrives as it was sent, in both
// directions at once.
func TestTransparent(t *testing.T) {
	bothNetworks(t, func(t *testing.T, network string) {
		for _, banner := range []string{"", "RUMPSP-0.4-NetBSD-7.99.34/amd64\n", "RUMPSP-0.4-NetBSD-7.99.34/vax\n"} {
			client, kernel, out := between(t, network)
			seed := [32]byte{byte(len(banner))}
			up, down := make([]byte, 3<<20), make([]byte, 3<<20)
			rand.NewChaCha8(seed).Read(up)
			seed[1] = 1
			rand.NewChaCha8(seed).Read(down)
			copy(down, banner)
			var all sync.WaitGroup
			send := func(c conn, b []byte) {
				for len(b) > 0 {
					n := min(1+len(b)/7, len(b))
					if _, err := c.Write(b[:n]); err != nil {
						t.Error(err)
						return
					}
					b = b[n:]
				}
				c.CloseWrite()
			}
			receive := func(c conn, want []byte) {
				got, err := io.ReadAll(c)
				if err != nil || sha256.Sum256(got) != sha256.Sum256(want) {
					t.Errorf("%d bytes of %d arrive, or others: %v", len(got), len(want), err)
				}
			}
			all.Go(func() { send(client, up) })
			all.Go(func() { send(kernel, down) })
			all.Go(func() { receive(kernel, up) })
			all.Go(func() { receive(client, down) })
			all.Wait()
			// Random bytes may be frames; a banner that is none can't be.
			if s := out.String(); !strings.Contains(s, "???") {
				t.Errorf("banner %q: nothing is said:\n%.400s", banner, s)
			}
		}
	})
}

// TestHalfClose: one direction may end before the other.
func TestHalfClose(t *testing.T) {
	bothNetworks(t, func(t *testing.T, network string) {
		for _, kernelFirst := range []bool{false, true} {
			client, kernel, _ := between(t, network)
			first, second := client, kernel
			if kernelFirst {
				first, second = kernel, client
			}
			first.Write([]byte("first"))
			first.CloseWrite()
			if b, err := io.ReadAll(second); string(b) != "first" || err != nil {
				t.Fatalf("%q, %v", b, err)
			}
			for range 3 {
				if _, err := second.Write([]byte("and more")); err != nil {
					t.Fatal(err)
				}
			}
			second.CloseWrite()
			if b, err := io.ReadAll(first); string(b) != "and moreand moreand more" || err != nil {
				t.Fatalf("%q, %v", b, err)
			}
		}
	})
}

// TestKernelCloses: a client learns that nobody reads it any more, and does not
// send for ever.
func TestKernelCloses(t *testing.T) {
	bothNetworks(t, func(t *testing.T, network string) {
		client, kernel, _ := between(t, network)
		kernel.Write([]byte("last"))
		kernel.Close()
		if b, err := io.ReadAll(client); string(b) != "last" || err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Fatalf("%q, %v", b, err)
		}
		err := writeOn(client)
		if !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("write: %v", err)
		}
	})
}

// writeOn writes until that fails, which takes a moment: the host's buffers have room for
// megabytes, and the news has to come back. The error is nil when it does not come.
func writeOn(w io.Writer) error {
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Microsecond) {
		if _, err := w.Write(make([]byte, 4096)); err != nil {
			return err
		}
	}
	return nil
}

// TestClientCloses is the same for the kernel.
func TestClientCloses(t *testing.T) {
	bothNetworks(t, func(t *testing.T, network string) {
		client, kernel, _ := between(t, network)
		client.Close()
		if b, err := io.ReadAll(kernel); len(b) != 0 || err != nil {
			t.Fatalf("%q, %v", b, err)
		}
		if err := writeOn(kernel); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("one can write to nobody: %v", err)
		}
	})
}

// TestBackPressure: a kernel that does not read stops the client before much is
// held for it, and gets everything when it reads.
func TestBackPressure(t *testing.T) {
	bothNetworks(t, func(t *testing.T, network string) {
		client, kernel, _ := between(t, network)
		sent := 0
		chunk := bytes.Repeat([]byte("x"), 32<<10)
		client.SetWriteDeadline(time.Now().Add(2 * time.Second))
		for {
			n, err := client.Write(chunk)
			sent += n
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			// Sockets hold some; a proxy that reads on would take all.
			if sent > 64<<20 {
				t.Fatalf("%d bytes are held for a kernel that does not read", sent)
			}
		}
		client.CloseWrite()
		got, err := io.Copy(io.Discard, kernel)
		if err != nil || got != int64(sent) {
			t.Errorf("%d bytes of %d arrive: %v", got, sent, err)
		}
	})
}

// TestNoKernel: a client of a kernel that is gone is told by the end of the
// connection, and the trace tells why.
func TestNoKernel(t *testing.T) {
	dir := t.TempDir()
	out := new(buffer)
	tr := trace.New(trace.Options{Output: out, Immediate: true})
	p, err := trace.NewProxy(tr, "unix://"+dir+"/nobody")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "p"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go p.Serve(l)
	c, err := net.Dial("unix", filepath.Join(dir, "p"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(limit))
	if b, err := io.ReadAll(c); len(b) != 0 || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	p.Close()
	if s := out.String(); !strings.HasPrefix(s, "??? no connection to the kernel: ") || !strings.Contains(s, "no such file") {
		t.Errorf("trace: %q", s)
	}
}

// TestCloseCutsOff: Close ends connections that nobody else ends, and leaves
// nothing running.
func TestCloseCutsOff(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("connections", func(t *testing.T) {
		for range 20 {
			between(t, "unix")
		}
	})
	for deadline := time.Now().Add(limit); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
}

// TestBrokenOutput: a trace that can't be written is said to be so once, and what
// is traced goes on.
func TestBrokenOutput(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	defer w.Close()
	var errs []error
	tr := trace.New(trace.Options{Output: w, Record: w, Immediate: true, Errors: func(err error) { errs = append(errs, err) }})
	if err := trace.Read(bytes.NewReader(recordings()["prog-misc"]), tr); err != nil {
		t.Fatal(err)
	}
	tr.Flush()
	if len(errs) != 2 || !errors.Is(errs[0], syscall.EPIPE) || !errors.Is(errs[1], syscall.EPIPE) {
		t.Errorf("errors: %v", errs)
	}
}
