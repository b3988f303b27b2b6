package kernel

import (
	"bufio"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// narrowLink is a link whose host takes some bytes at a time, and none while gate
// is held.
type narrowLink struct {
	gate sync.Mutex
	got  []byte // by who writes
	dead chan struct{}
	once sync.Once
	read chan struct{} // Read was called
}

func (l *narrowLink) take(p []byte, n int) []byte {
	n = min(n, len(p))
	l.got = append(l.got, p[:n]...)
	return p[n:]
}

func (l *narrowLink) write(a, b []byte) error {
	l.gate.Lock()
	defer l.gate.Unlock()
	select {
	case <-l.dead:
		return io.ErrClosedPipe
	default:
	}
	l.take(a, len(a))
	l.take(b, len(b))
	return nil
}

func (l *narrowLink) tryWrite(a, b []byte) (int, error) {
	if !l.gate.TryLock() {
		return 0, nil
	}
	defer l.gate.Unlock()
	before, n := len(l.got), rand.IntN(2*(len(a)+len(b)))
	if l.take(a, n); n > len(a) {
		l.take(b, n-len(a))
	}
	return len(l.got) - before, nil
}

func (l *narrowLink) Read([]byte) (int, error) {
	close(l.read)
	<-l.dead
	return 0, io.EOF
}

func (l *narrowLink) hangup() { l.once.Do(func() { close(l.dead) }) }
func (l *narrowLink) close()  {}

func (l *narrowLink) lends() bool   { return false }
func (l *narrowLink) takeFile() int { return -1 }

// narrow makes a connection over a narrowLink.
func narrow(t *testing.T) (*conn, *narrowLink) {
	t.Helper()
	k := New(Config{})
	t.Cleanup(func() {
		k.Halt(true)
		k.Wait()
	})
	l := &narrowLink{dead: make(chan struct{}), read: make(chan struct{})}
	c := newConn(k, l)
	return c, l
}

// heard decodes what a link's host has got, each frame whole.
func heard(t *testing.T, c *conn, l *narrowLink) (frames []sysproxy.Header, data [][]byte) {
	t.Helper()
	r := strings.NewReader(string(l.got))
	for r.Len() > 0 {
		h, err := c.layout.ReadHeader(r)
		if err != nil {
			t.Fatalf("frame %d: %v", len(frames), err)
		}
		p, err := sysproxy.ReadPayload(r, h, nil, 1<<20)
		if err != nil {
			t.Fatalf("frame %d: %v", len(frames), err)
		}
		frames, data = append(frames, h), append(data, p)
	}
	return frames, data
}

// Whoever writes, and however little the host takes at a time: frames are whole,
// and each goroutine's are in order.
func TestOutboxOrder(t *testing.T) {
	c, l := narrow(t)
	const each = 300
	long := make([]byte, 3*outDirect)
	for i := range long {
		long[i] = byte(i)
	}
	var all sync.WaitGroup
	for who := range uint64(5) {
		all.Go(func() {
			reader := who == 0
			for i := range uint64(each) {
				reqno := who<<32 | i
				switch i % 3 {
				case 0:
					c.reply(sysproxy.SyscallReply{}, reqno, reader)
				case 1:
					c.send(sysproxy.Refusal{}, reqno, reader)
				case 2:
					call := &Call{k: c.k, conn: c}
					c.out.copyOut(call, c.layout, reqno, 0x1000, long[:int(i)*len(long)/each])
				}
			}
		})
	}
	all.Wait()
	c.out.close()
	frames, data := heard(t, c, l)
	if len(frames) != 5*each {
		t.Errorf("%d frames of %d", len(frames), 5*each)
	}
	next := make([]uint64, 5)
	for i, h := range frames {
		who, n := h.ReqNo>>32, h.ReqNo&(1<<32-1)
		if next[who] != n {
			t.Fatalf("frame %d of %d comes after %d", n, who, next[who])
		}
		next[who]++
		if n%3 == 2 {
			want := string(long[:int(n)*len(long)/each])
			if !strings.HasSuffix(string(data[i]), want) || len(data[i]) != len(want)+2*c.layout.WordSize {
				t.Fatalf("copy %d of %d is not what was sent", n, who)
			}
		}
	}
	if used := c.k.memory.used.Load(); used != 0 {
		t.Errorf("%d bytes are still counted", used)
	}
}

// The reader adds to outMost bytes without waiting while the client reads
// nothing, but no further, and not beyond outLimit when the kernel's memory is
// short. Then it waits until the client reads. All of it goes out.
func TestOutboxMost(t *testing.T) {
	for _, tt := range []struct {
		name        string
		used        int64
		least, most int
	}{
		{"plenty", 0, outMost, outMost + 2*outLimit},
		{"short", kernelMemory, outLimit, 2 * outLimit},
		{"some", kernelMemory - outStep, outLimit + outStep, 2*outLimit + outStep},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, l := narrow(t)
			c.k.memory.used.Store(tt.used)
			l.gate.Lock()
			m := sysproxy.Guest{Name: strings.Repeat("x", 500)}
			frame := len(m.Append(nil, c.layout, 0))
			total := 2 * tt.most / frame
			sent := make(chan int, total)
			go func() {
				for i := range total {
					c.send(m, uint64(i), true)
					sent <- i
				}
				close(sent)
			}()
			n := 0
			for idle := false; !idle; {
				select {
				case _, ok := <-sent:
					if !ok {
						t.Fatalf("%d bytes and no end", total*frame)
					}
					n++
				case <-time.After(200 * time.Millisecond):
					// It has reached at least what it may, or is slow.
					idle = n*frame >= tt.least
				}
			}
			if n*frame > tt.most {
				t.Errorf("%d bytes wait, want %d at most", n*frame, tt.most)
			}
			l.gate.Unlock()
			for range sent {
			}
			c.out.close()
			frames, _ := heard(t, c, l)
			for i, h := range frames {
				if h.ReqNo != uint64(i) {
					t.Fatalf("frame %d is that of %d", i, h.ReqNo)
				}
			}
			if len(frames) != total {
				t.Errorf("%d frames of %d", len(frames), total)
			}
			if used := c.k.memory.used.Load(); used != tt.used {
				t.Errorf("%d bytes are still counted", used-tt.used)
			}
		})
	}
}

// A call that has more to say than the host takes is the reader no longer when it
// waits for that, and a hangup ends the wait.
func TestOutboxCopyHandsOver(t *testing.T) {
	for _, size := range []int{outDirect - 1, outDirect} {
		c, l := narrow(t)
		ended := make(chan struct{})
		l.gate.Lock()
		c.finished = func() { close(ended) }
		c.r = bufio.NewReader((*input)(c))
		call := &Call{k: c.k, conn: c, reading: true}
		failed := make(chan error)
		go func() {
			for {
				if err := c.copyOut(call, 0x1000, make([]byte, size)); err != nil {
					failed <- err
					return
				}
			}
		}()
		select {
		case err := <-failed:
			t.Fatalf("%d bytes: %v before the hangup", size, err)
		case <-l.read:
		}
		l.hangup()
		l.gate.Unlock()
		if err := <-failed; !errors.Is(err, netbsd.EFAULT) {
			t.Errorf("%d bytes: %v", size, err)
		}
		<-ended
		if call.reading {
			t.Errorf("%d bytes: the call is the reader", size)
		}
	}
}
