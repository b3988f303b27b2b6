package inet

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"rumptools/internal/kernel"
	"rumptools/internal/kernel/local"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient/spclienttest"
	"rumptools/pkg/sysproxy"
)

// recordedPrograms are C programs that were recorded with a real kernel. The
// same calls must give the same errors, results and memory here. Calls from the
// line until on, and those in skip, are not made; differs has the lines of calls
// that end otherwise, and why.
var recordedPrograms = []struct {
	name    string
	without [2]int // first and last line of calls that are not made either
	until   int
	skip    map[uint32]string
	differs map[int]string
}{
	{name: "prog-badptr-in"},
	{name: "prog-badptr-instr"},
	{name: "prog-badptr-out"},
	// From there on it fills buffers of 1024 bytes, which the engine does not
	// make so small.
	{name: "prog-bulk", skip: files, without: [2]int{70, 92}, until: 93},
	{name: "prog-exec"},
	{name: "prog-exit-while-blocked"},
	{name: "prog-fdops", until: 205, differs: map[int]string{
		176: "/dev/null reads what it is given",
	}},
	{name: "prog-fork"},
	{name: "prog-kq"},
	{name: "prog-kqsock", differs: map[int]string{
		71: "the second write does not wait for the first one's acknowledgement, which comes sooner here",
	}},
	{name: "prog-misc", skip: files, differs: map[int]string{
		73:  "ENOENT: a local name goes with its socket",
		165: noUrgent, 169: noUrgent, 172: noUrgent, 177: noUrgent,
	}},
	{name: "prog-passfd"},
	{name: "prog-pollsel", differs: map[int]string{
		105: "EINVAL for 5,000,000 microseconds, of which the real kernel makes 0.7 s",
	}},
	{name: "prog-sigpipe"},
	{name: "prog-sigpipe-handler"},
	{name: "prog-threads"},
	{name: "raw-exec-new-name"},
	{name: "raw-trailing-bytes-in-args"},
	{name: "prog-udp", differs: map[int]string{
		129: "the refusal of what was sent before may come a moment later",
	}},
}

const (
	noUrgent = "the engine has no urgent data"
)

// files are the calls of file systems.
var files = map[uint32]string{
	netbsd.SYS_mkdir: "", netbsd.SYS_rename: "", netbsd.SYS_unlink: "",
}

func TestRecordedPrograms(t *testing.T) {
	recs, err := spclienttest.OpenRecordings("../../../pkg/sysproxy/testdata/recordings.tar.gz")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range recordedPrograms {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			i := slices.IndexFunc(recs, func(r *spclienttest.Recording) bool { return r.Name == tt.name })
			if i < 0 {
				t.Fatal("no such recording")
			}
			k := kernel.New(kernel.Config{})
			local.Register(k)
			s, err := New(Config{Kernel: k, OpenBus: func(string) (Bus, error) { return newSegment().join(), nil }})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			program(t, s)
			p := &programPlayer{
				t: t, l: sysproxy.Layout{Order: netbsd.AMD64.Order, WordSize: 8}, skip: tt.skip, differs: tt.differs, until: tt.until, without: tt.without,
				url: serveProgram(t, k), conns: make(map[int]*programConn),
				cookies: make(map[string][]byte), pids: make(map[uint64]uint64), ports: make(map[string][]byte),
			}
			p.play(recs[i])
		})
	}
}

func serveProgram(t *testing.T, k *kernel.Kernel) string {
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- k.Serve(ln) }()
	t.Cleanup(func() {
		k.Halt(true)
		<-served
		k.Wait()
	})
	return path
}

// programPlayer says what recorded programs said.
type programPlayer struct {
	t       *testing.T
	l       sysproxy.Layout
	url     string
	skip    map[uint32]string
	differs map[int]string
	until   int
	without [2]int
	conns   map[int]*programConn
	// From recorded to ours:
	cookies map[string][]byte
	pids    map[uint64]uint64
	ports   map[string][]byte // of sockets whose port the kernel chose
}

// programConn is a connection of a program.
type programConn struct {
	p  *programPlayer
	nc net.Conn
	// replies are frames that are no copy requests.
	replies chan programFrame

	mu   sync.Mutex
	open map[uint64]*programCall // calls under way
	outs memory                  // what the kernel wrote
	// raised and raises are the signals that the kernel raised and should
	// have.
	raised, raises []uint32
	// leaked are descriptors that the real kernel lost.
	leaked int
}

type programFrame struct {
	h       sysproxy.Header
	payload []byte
}

// programCall is a recorded call and all that belongs to it.
type programCall struct {
	line     int
	num      uint32
	args     []byte
	ins      memory // what the client answered
	unheard  memory // what it did not answer
	outs     memory
	replied  int // line
	errno    netbsd.Errno
	retval   [2]uint64
	skipped  bool
	differs  bool
	finished bool
}

// calls takes the recorded calls of all connections apart. Which call a copy is
// for is not said: of several it is the last that began, which the recorded
// programs were made for.
func (p *programPlayer) calls(rec *spclienttest.Recording) map[int]*programCall {
	byLine := make(map[int]*programCall)
	type key struct {
		conn  int
		reqno uint64
	}
	open := make(map[key]*programCall)
	order := make(map[int][]*programCall)
	copies := make(map[key]func(data []byte))
	for _, e := range rec.Events {
		if !e.IsFrame() {
			continue
		}
		h, err := p.l.ParseHeader(e.Data)
		if err != nil {
			p.t.Fatal(err)
		}
		msg, err := p.l.Decode(h, e.Data[sysproxy.HeaderLen:])
		if err != nil {
			p.t.Fatal(err)
		}
		k := key{e.Conn, h.ReqNo}
		current := func() *programCall {
			list := order[e.Conn]
			for i := len(list) - 1; i >= 0; i-- {
				if !list[i].finished {
					return list[i]
				}
			}
			p.t.Fatalf("line %d: a copy for no call", e.Line)
			return nil
		}
		copyIn := func(addr, size uint64) {
			call := current()
			for i := range size {
				call.unheard[addr+i] = 0
			}
			copies[k] = func(data []byte) {
				for i := range size {
					delete(call.unheard, addr+i)
				}
				call.ins.put(addr, data)
			}
		}
		switch m := msg.(type) {
		case sysproxy.Syscall:
			call := &programCall{line: e.Line, num: m.Num, args: m.Args, ins: make(memory), unheard: make(memory), outs: make(memory)}
			_, call.skipped = p.skip[m.Num]
			_, call.differs = p.differs[e.Line]
			if p.until > 0 && e.Line >= p.until || p.without[0] <= e.Line && e.Line <= p.without[1] {
				call.skipped = true
			}
			byLine[e.Line], open[k] = call, call
			order[e.Conn] = append(order[e.Conn], call)
		case sysproxy.CopyIn:
			copyIn(m.Addr, m.Len)
		case sysproxy.CopyInStr:
			copyIn(m.Addr, m.Len)
		case sysproxy.CopyInReply:
			copies[k](m.Data)
		case sysproxy.CopyOut:
			// What a call that waits writes comes late: it goes to the one
			// that has the address among its arguments.
			call := current()
			for _, c := range order[e.Conn] {
				if !c.finished && bytes.Contains(c.args, p.l.Order.AppendUint64(nil, m.Addr)) {
					call = c
				}
			}
			call.outs.put(m.Addr, m.Data)
		case sysproxy.SyscallReply:
			call := open[k]
			call.finished, call.replied = true, e.Line
			call.errno, call.retval = netbsd.Errno(m.Errno), m.Retval
			byLine[e.Line] = call
			delete(open, k)
		}
	}
	return byLine
}

// longestPause is how long a recorded pause of a program is waited for.
const longestPause = 300 * time.Millisecond

func (p *programPlayer) play(rec *spclienttest.Recording) {
	t := p.t
	calls := p.calls(rec)
	var last time.Duration
	for _, e := range rec.Events {
		c := p.conns[e.Conn]
		if e.FromClient && e.Kind == spclienttest.Sent && e.At-last > 5*time.Millisecond {
			time.Sleep(min(e.At-last, longestPause))
		}
		last = e.At
		switch {
		case e.Kind == spclienttest.Opened:
			nc, err := net.Dial("unix", p.url)
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			nc.SetDeadline(time.Now().Add(20 * time.Second))
			p.conns[e.Conn] = &programConn{
				p: p, nc: nc, replies: make(chan programFrame, 64),
				open: make(map[uint64]*programCall), outs: make(memory),
			}
		case e.Kind == spclienttest.Ended && e.FromClient:
			c.nc.(*net.UnixConn).CloseWrite()
		case e.Kind == spclienttest.Ended:
			if f, ok := <-c.replies; ok {
				t.Errorf("line %d: %+v, want the end", e.Line, f.h)
			}
		case !e.IsFrame():
			// The banner, with whatever extensions.
			if _, err := sysproxy.ReadBanner(c.nc); err != nil {
				t.Fatalf("line %d: %v", e.Line, err)
			}
			go c.read()
		default:
			h, err := p.l.ParseHeader(e.Data)
			if err != nil {
				t.Fatal(err)
			}
			c.frame(e, h, calls[e.Line])
		}
	}
}

// frame plays a recorded frame: it says what the client said, and reads up to
// what the kernel answered.
func (c *programConn) frame(e spclienttest.Event, h sysproxy.Header, call *programCall) {
	t := c.p.t
	switch {
	case e.FromClient && h.Class == sysproxy.Req:
		for ; c.leaked > 0; c.leaked-- {
			c.nc.Write(sysproxy.Syscall{Num: netbsd.SYS_dup, Args: make([]byte, 8)}.Append(nil, c.p.l, 1<<40))
			c.next()
		}
		if call != nil {
			if call.skipped {
				return
			}
			c.mu.Lock()
			c.open[h.ReqNo] = call
			c.mu.Unlock()
		}
		data := e.Data
		for recorded, ours := range c.p.cookies {
			data = bytes.ReplaceAll(data, []byte(recorded), ours)
		}
		if _, err := c.nc.Write(data); err != nil {
			t.Fatalf("line %d: %v", e.Line, err)
		}
	case e.FromClient: // an answer, which is given when it is asked for
	case h.Class == sysproxy.Req && h.Type == sysproxy.TypeRaise:
		c.raises = append(c.raises, h.U)
	case h.Class == sysproxy.Req:
	case call != nil:
		if !call.skipped {
			c.until(h.ReqNo)
		}
	default:
		got, payload := c.next()
		if got.Class != h.Class || got.Type != h.Type || got.ReqNo != h.ReqNo || got.U != h.U {
			t.Fatalf("line %d: %+v, want %+v", e.Line, got, h)
		}
		if h.Type == sysproxy.TypePrefork {
			c.p.cookies[string(e.Data[sysproxy.HeaderLen:])] = payload
		}
	}
}

// read reads frames until the kernel closes, and answers copy requests.
func (c *programConn) read() {
	t, l := c.p.t, c.p.l
	defer close(c.replies)
	for {
		h, err := l.ReadHeader(c.nc)
		if err != nil {
			if err != io.EOF && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
			return
		}
		payload, err := sysproxy.ReadPayload(c.nc, h, nil, 1<<20)
		if err != nil {
			t.Error(err)
			return
		}
		msg, err := l.Decode(h, payload)
		if err != nil {
			t.Error(err)
			return
		}
		c.mu.Lock()
		switch m := msg.(type) {
		case sysproxy.CopyIn:
			c.answer(h, m.Addr, m.Len, false)
		case sysproxy.CopyInStr:
			c.answer(h, m.Addr, m.Len, true)
		case sysproxy.CopyOut:
			c.outs.put(m.Addr, m.Data)
		case sysproxy.Raise:
			c.raised = append(c.raised, m.Signo)
		default:
			c.replies <- programFrame{h, payload}
		}
		c.mu.Unlock()
	}
}

// next gives the next frame that is no copy request.
func (c *programConn) next() (sysproxy.Header, []byte) {
	c.p.t.Helper()
	f, ok := <-c.replies
	if !ok {
		c.p.t.Fatalf("the kernel closed with %v under way", c.names())
	}
	return f.h, f.payload
}

// answer gives the kernel what the recorded one got.
func (c *programConn) answer(h sysproxy.Header, addr, size uint64, str bool) {
	for _, call := range c.open {
		if _, ok := call.unheard[addr]; ok {
			return
		}
		data := call.ins.take(addr)
		if len(data) == 0 || uint64(len(data)) < size && !str {
			continue
		}
		data = data[:min(size, uint64(len(data)))]
		for recorded, ours := range c.p.ports {
			if len(data) >= 8 && string(data[1:4]) == recorded {
				copy(data[2:4], ours)
			}
		}
		c.nc.Write(sysproxy.CopyInReply{Data: data}.Append(nil, c.p.l, h.ReqNo))
		return
	}
	// The real kernel finds some errors before it reads; that it does not
	// matters to nobody.
	if !slices.ContainsFunc(slices.Collect(maps.Values(c.open)), func(call *programCall) bool { return call.errno != 0 || call.differs }) {
		c.p.t.Errorf("the kernel reads %d bytes at %#x, which it did not in %v", size, addr, c.names())
	}
	c.nc.Write(sysproxy.CopyInReply{Data: make([]byte, size)}.Append(nil, c.p.l, h.ReqNo))
}

func (c *programConn) names() (names []string) {
	for _, call := range c.open {
		names = append(names, call.String())
	}
	return names
}

func (call *programCall) String() string {
	s := fmt.Sprintf("line %d: %s", call.line, netbsd.SyscallName(int(call.num)))
	if call.num == netbsd.SYS_ioctl && len(call.args) >= 16 {
		s += " " + netbsd.IoctlName(netbsd.AMD64, uint32(netbsd.AMD64.Order.Uint64(call.args[8:])))
	}
	return s
}

// until reads answers to calls up to that of one.
func (c *programConn) until(reqno uint64) {
	t := c.p.t
	t.Helper()
	for c.open[reqno] != nil {
		h, payload := c.next()
		call := c.open[h.ReqNo]
		if call == nil {
			t.Fatalf("an answer to request %d, which is not under way: %v", h.ReqNo, c.names())
		}
		reply, err := c.p.l.ParseSyscallReply(h, payload)
		if err != nil {
			t.Fatal(err)
		}
		c.mu.Lock()
		delete(c.open, h.ReqNo)
		c.compare(call, reply)
		c.mu.Unlock()
	}
}

func (c *programConn) compare(call *programCall, reply sysproxy.SyscallReply) {
	t, p := c.p.t, c.p
	t.Helper()
	if why, ok := p.differs[call.line]; ok {
		t.Logf("%v: %s: errno %v, result %v", call, why, netbsd.Errno(reply.Errno), reply.Retval)
		clear(c.outs)
		return
	}
	if call.errno == netbsd.EFAULT && (call.num == netbsd.SYS_pipe2 || call.num == netbsd.SYS_socketpair) {
		// The real kernel keeps the two descriptors that it could not tell.
		c.leaked += 2
	}
	if netbsd.Errno(reply.Errno) != call.errno {
		t.Errorf("%v: errno %v, want %v", call, netbsd.Errno(reply.Errno), call.errno)
		clear(c.outs)
		return
	}
	if !slices.Equal(c.raised, c.raises) {
		t.Errorf("%v: signals %v, want %v", call, c.raised, c.raises)
	}
	c.raised, c.raises = nil, nil
	if call.errno == 0 {
		got, want := reply.Retval, call.retval
		switch call.num {
		case netbsd.SYS_getpid:
			if ours, ok := p.pids[want[0]]; !ok {
				p.pids[want[0]] = got[0]
			} else if got[0] != ours {
				t.Errorf("%v: process %d is now %d", call, ours, got[0])
			}
			want[0] = got[0]
		case netbsd.SYS_pipe:
		default:
			// Nobody looks at the second register, and the kernel leaves
			// in it what was there.
			got[1], want[1] = 0, 0
		}
		if got != want {
			t.Errorf("%v: result %v, want %v", call, got, want)
		}
	}
	for _, addr := range starts(call.outs) {
		want := call.outs.take(addr)
		got := c.outs.take(addr)
		got = got[:min(len(got), len(want))]
		for i := range got {
			delete(c.outs, addr+uint64(i))
		}
		if g, w := p.mask(call, addr, got, want), p.mask(call, addr, want, want); g != w {
			t.Errorf("%v: at %#x\n got %s\nwant %s", call, addr, g, w)
		}
	}
	if len(c.open) == 0 {
		for _, addr := range starts(c.outs) {
			t.Errorf("%v: writes to %#x: %x", call, addr, c.outs.take(addr))
		}
		clear(c.outs)
	}
}

// firstDynamicPort is where ports begin that the kernel chooses.
const firstDynamicPort = 49152

// mask gives what must be the same each time of what the kernel wrote. It
// learns the ports that the kernel chose.
func (p *programPlayer) mask(call *programCall, addr uint64, data, recorded []byte) string {
	switch call.num {
	case netbsd.SYS___clock_gettime50, netbsd.SYS___gettimeofday50:
		return fmt.Sprint(len(data))
	}
	if len(data) != len(recorded) {
		return fmt.Sprintf("%x", data)
	}
	data = bytes.Clone(data)
	order := netbsd.AMD64.Order
	arg := func(i int) uint64 { return order.Uint64(call.args[8*i:]) }
	switch {
	case call.num == netbsd.SYS_getrlimit:
		return "a limit"
	case call.num == netbsd.SYS___stat50 || call.num == netbsd.SYS___fstat50:
		return fmt.Sprint(order.Uint32(data[8:]) & netbsd.S_IFMT)
	case call.num == netbsd.SYS_getsockopt && len(data) == netbsd.Sizeof(netbsd.AMD64, netbsd.TcpInfo{}):
		return fmt.Sprint(data[0]) // the state
	case call.num == netbsd.SYS_getsockopt && arg(1) == 0 && arg(2) == netbsd.LOCAL_PEEREID:
		clear(data[:4])
	case call.num == netbsd.SYS_getsockopt && len(data) == netbsd.Sizeof(netbsd.AMD64, netbsd.Timeval{}):
		clear(data[12:])
	case call.num == netbsd.SYS___kevent50:
		size := netbsd.Sizeof(netbsd.AMD64, netbsd.Kevent{})
		for b := data; len(b) >= size; b = b[size:] {
			var ev netbsd.Kevent
			if netbsd.Unmarshal(netbsd.AMD64, b, &ev) == nil && ev.Filter == netbsd.EVFILT_TIMER {
				ev.Data = min(ev.Data, 1)
				copy(b, netbsd.Marshal(netbsd.AMD64, &ev))
			}
		}
	case (call.num == netbsd.SYS_sendmmsg || call.num == netbsd.SYS_recvmmsg) && len(data) >= 56:
		// Of what was sent the flags are the kernel's own.
		for b := data; len(b) >= 56; b = b[56:] {
			clear(b[40:48])
			clear(b[52:56])
		}
	case call.num == netbsd.SYS_recvmsg && len(data) >= 16 && order.Uint32(data) >= 16 && order.Uint32(data) <= 64:
		for b := data; len(b) >= 16; {
			n := int(order.Uint32(b))
			clear(b[12:16])
			clear(b[min(n, len(b)):min((n+7)&^7, len(b))])
			b = b[min((n+7)&^7, len(b)):]
		}
	}
	if len(data) >= 4 && (recorded[1] == netbsd.AF_INET || recorded[1] == netbsd.AF_INET6) && int(recorded[0]) >= 16 {
		if port := int(recorded[2])<<8 | int(recorded[3]); port >= firstDynamicPort {
			if !bytes.Equal(data[2:4], recorded[2:4]) {
				p.ports[string(recorded[1:4])] = bytes.Clone(data[2:4])
			}
			data[2], data[3] = 0, 0
		}
	}
	return fmt.Sprintf("%x", data)
}
