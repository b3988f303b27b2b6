package kernel_test

import (
	"io"
	"math"
	"net"
	"testing"

	"rumptools/internal/kernel"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// caller makes the same call again and again, without allocating anything.
type caller struct {
	nc    net.Conn
	call  []byte // the request
	data  []byte // the answer to a COPYIN, but for its number
	frame []byte
}

// newCaller makes a client of a kernel with /dev/null as descriptor 3, and the
// ends of a pipe as 4 and 5.
func newCaller(t testing.TB) *caller {
	t.Helper()
	path := t.TempDir() + "/s"
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	k := kernel.New(kernel.Config{})
	go k.Serve(l)
	t.Cleanup(func() {
		k.Halt(true)
		k.Wait()
	})
	nc, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	for b := []byte{0}; b[0] != '\n'; {
		if _, err := nc.Read(b); err != nil {
			t.Fatal(err)
		}
	}
	c := &caller{nc: nc, frame: make([]byte, 1<<16)}
	nc.Write(sysproxy.Guest{Name: "caller"}.Append(nil, wire, 1))
	if h := c.next(t); h.Class != sysproxy.Resp {
		t.Fatalf("handshake: %+v", h)
	}
	c.data = sysproxy.CopyInReply{Data: []byte("/dev/null\x00")}.Append(nil, wire, 0)
	c.prepare(netbsd.SYS_open, 0x1000, netbsd.O_RDWR, 0)
	c.do(t)
	c.prepare(netbsd.SYS_pipe)
	c.do(t)
	return c
}

func (c *caller) prepare(num uint32, args ...uint64) {
	c.call = syscallOf(num, args...).Append(nil, wire, 2)
}

// next reads a frame.
func (c *caller) next(t testing.TB) sysproxy.Header {
	if _, err := io.ReadFull(c.nc, c.frame[:sysproxy.HeaderLen]); err != nil {
		t.Fatal(err)
	}
	h, err := wire.ParseHeader(c.frame)
	if err == nil {
		_, err = io.ReadFull(c.nc, c.frame[sysproxy.HeaderLen:h.Len])
	}
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// do makes the call.
func (c *caller) do(t testing.TB) {
	c.nc.Write(c.call)
	for {
		h := c.next(t)
		switch {
		case h.Type == sysproxy.TypeSyscall && h.Class == sysproxy.Resp:
			if e := wire.Order.Uint32(c.frame[sysproxy.HeaderLen:]); e != 0 {
				t.Fatal(netbsd.Errno(e))
			}
			return
		case h.Type == sysproxy.TypeCopyIn || h.Type == sysproxy.TypeCopyInStr:
			wire.Order.PutUint64(c.data[8:], h.ReqNo)
			c.nc.Write(c.data)
		case h.Type != sysproxy.TypeCopyOut:
			t.Fatalf("unexpected frame %+v", h)
		}
	}
}

// allocations are calls, and how often the kernel may allocate for one.
var allocations = []struct {
	name string
	data int // bytes of a COPYIN
	num  uint32
	args []uint64
	most float64
}{
	{"getpid", 0, netbsd.SYS_getpid, nil, 0},
	{"write", 64, netbsd.SYS_write, []uint64{3, 0x1000, 64}, 0},
	{"write-32K", 32 << 10, netbsd.SYS_write, []uint64{3, 0x1000, 32 << 10}, 0},
	{"read", 0, netbsd.SYS_read, []uint64{3, 0x1000, 64}, 0},
	{"clock_gettime", 0, netbsd.SYS___clock_gettime50, []uint64{0, 0x1000}, 2},
	{"fcntl", 0, netbsd.SYS_fcntl, []uint64{4, netbsd.F_GETFL, 0}, 0},
}

// The calls that programs make most allocate nothing.
func TestAllocations(t *testing.T) {
	for _, tt := range allocations {
		t.Run(tt.name, func(t *testing.T) {
			c := newCaller(t)
			c.data = sysproxy.CopyInReply{Data: make([]byte, tt.data)}.Append(nil, wire, 0)
			c.prepare(tt.num, tt.args...)
			// The least of several: others in the process allocate, too,
			// and a collection empties pools.
			least := math.Inf(1)
			for range 5 {
				least = min(least, testing.AllocsPerRun(200, func() { c.do(t) }))
			}
			if least > tt.most {
				t.Errorf("%v allocations, at most %v expected", least, tt.most)
			}
		})
	}
}

// BenchmarkCall shows what the kernel allocates for calls.
func BenchmarkCall(b *testing.B) {
	for _, bb := range allocations {
		b.Run(bb.name, func(b *testing.B) {
			c := newCaller(b)
			c.data = sysproxy.CopyInReply{Data: make([]byte, bb.data)}.Append(nil, wire, 0)
			c.prepare(bb.num, bb.args...)
			b.ReportAllocs()
			for b.Loop() {
				c.do(b)
			}
		})
	}
}
