package trace_test

import (
	"strings"
	"testing"
	"time"

	"rumptools/internal/trace"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// conversation is a client and a kernel that say what a test wants.
type conversation struct {
	c     *trace.Conn
	l     sysproxy.Layout
	at    time.Time
	reqno uint64
}

func converse(tr *trace.Tracer, m *netbsd.Machine, pid int, name string) *conversation {
	v := &conversation{l: sysproxy.Layout{Order: m.Order, WordSize: m.WordSize}, at: time.Unix(1e9, 0).UTC()}
	v.c = tr.Open(v.at, pid)
	v.c.Bytes(v.at, false, []byte("RUMPSP-0.4-NetBSD-7.99.34/"+m.Name+"\n"))
	v.client(sysproxy.Guest{Name: name}, 1)
	v.kernel(sysproxy.HandshakeReply{}, 1)
	v.reqno = 1
	return v
}

func (v *conversation) client(m sysproxy.Message, reqno uint64) {
	v.at = v.at.Add(time.Millisecond)
	v.c.Bytes(v.at, true, m.Append(nil, v.l, reqno))
}

func (v *conversation) kernel(m sysproxy.Message, reqno uint64) {
	v.at = v.at.Add(time.Millisecond)
	v.c.Bytes(v.at, false, m.Append(nil, v.l, reqno))
}

// call begins a call and returns its number.
func (v *conversation) call(m *netbsd.Machine, num uint32, args ...uint64) uint64 {
	var a netbsd.Args
	a.Reset(m)
	for _, w := range args {
		a.Word(w)
	}
	v.reqno++
	v.client(sysproxy.Syscall{Num: num, Args: a.Bytes()}, v.reqno)
	return v.reqno
}

// TestBlockedCall: a call that takes long is seen before it ends, with what is
// known of it, and on one line if nothing comes in between.
func TestBlockedCall(t *testing.T) {
	for _, m := range []*netbsd.Machine{netbsd.AMD64, netbsd.POWERPC} {
		var out strings.Builder
		tr := trace.New(trace.Options{Output: &out, Strings: 32, Quiet: true})
		v := converse(tr, m, 7, "prog")
		read := v.call(m, netbsd.SYS_read, 5, 0x1000, 64)
		tr.Tick(v.at.Add(10 * time.Millisecond))
		if got := out.String(); !strings.HasSuffix(got, "= 0\n") {
			t.Errorf("a call that is new: %q", got)
		}
		tr.Tick(v.at.Add(time.Second))
		if got := out.String(); !strings.HasSuffix(got, "\nread(5, ") {
			t.Errorf("a call that is blocked: %q", got)
		}
		v.kernel(sysproxy.CopyOut{Addr: 0x1000, Data: []byte("late")}, 0)
		v.kernel(sysproxy.SyscallReply{Retval: [2]uint64{4, 0}}, read)
		tr.Flush()
		if got := out.String(); !strings.HasSuffix(got, "\nread(5, \"late\", 64)                     = 4\n") {
			t.Errorf("its end: %q", got)
		}
		// Two, of which the older ends last.
		first := v.call(m, netbsd.SYS_read, 5, 0x1000, 64)
		second := v.call(m, netbsd.SYS_write, 6, 0x2000, 3)
		v.kernel(sysproxy.CopyIn{Len: 3, Addr: 0x2000}, 1)
		v.client(sysproxy.CopyInReply{Data: []byte("abc")}, 1)
		tr.Tick(v.at.Add(time.Second))
		v.kernel(sysproxy.SyscallReply{Retval: [2]uint64{3, 0}}, second)
		v.c.EOF(v.at, true)
		v.c.Close(v.at)
		tr.Flush()
		want := "read(5, <unfinished ...>\n" +
			"write(6, \"abc\", 3)                      = 3\n" +
			"<... read resumed> 0x1000, 64)          = ?\n"
		if _, got, _ := strings.Cut(out.String(), "= 4\n"); got != want {
			t.Errorf("two calls:\n%swant\n%s", got, want)
		}
		_ = first
	}
}

// TestHeads: who and when.
func TestHeads(t *testing.T) {
	for _, tt := range []struct {
		clock trace.Clock
		want  string
	}{
		{trace.NoClock, "[pid 8 two] getpid() = 9"},
		{trace.Seconds, "[pid 8 two] 01:46:40 getpid() = 9"},
		{trace.Micros, "[pid 8 two] 01:46:40.003000 getpid() = 9"},
		{trace.SinceUnix, "[pid 8 two] 1000000000.003000 getpid() = 9"},
		{trace.Relative, "[pid 8 two]      0.001000 getpid() = 9"},
	} {
		var out strings.Builder
		tr := trace.New(trace.Options{Output: &out, Clock: tt.clock, Durations: true})
		converse(tr, netbsd.AMD64, 7, "one")
		v := converse(tr, netbsd.AMD64, 8, "two")
		v.kernel(sysproxy.SyscallReply{Retval: [2]uint64{9, 1}}, v.call(netbsd.AMD64, netbsd.SYS_getpid))
		tr.Flush()
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		got := strings.Join(strings.Fields(lines[len(lines)-1]), " ")
		want := strings.Join(strings.Fields(tt.want+" <0.001000>"), " ")
		if got != want {
			t.Errorf("%d: %s, want %s", tt.clock, got, want)
		}
	}
}

// TestLimits: a client that begins calls without end, or a kernel that copies
// without end, is shown to the end.
func TestLimits(t *testing.T) {
	var out strings.Builder
	tr := trace.New(trace.Options{Output: &out, Strings: 4, Quiet: true})
	m := netbsd.AMD64
	v := converse(tr, m, 0, "flood")
	const n = 2000
	for range n {
		v.call(m, netbsd.SYS_read, 3, 0x1000, 1<<40)
	}
	for range n {
		v.kernel(sysproxy.CopyOut{Addr: 0x1000, Data: make([]byte, 4096)}, 0)
		v.kernel(sysproxy.CopyIn{Addr: 0x1000, Len: 4096}, 0)
	}
	v.kernel(sysproxy.SyscallReply{Retval: [2]uint64{1 << 40, 0}}, v.reqno)
	v.c.Close(v.at)
	tr.Flush()
	if got := strings.Count(out.String(), "read(3, "); got != n {
		t.Errorf("%d calls are shown, want %d", got, n)
	}
	if !strings.Contains(out.String(), " = 1099511627776\n") {
		t.Error("the call that ends is not shown")
	}
}
