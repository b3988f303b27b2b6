package kernel_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"rumptools/internal/kernel"
	"rumptools/internal/kernel/local"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
	"rumptools/pkg/sysproxy"
)

// wire is the layout of what the hostile clients say.
var wire = sysproxy.Layout{Order: binary.LittleEndian, WordSize: 8}

// hostile is a client that says what it wants.
type hostile struct {
	net.Conn
	r     *bufio.Reader
	reqno uint64
	// lastHeader is of the frame that was heard last.
	lastHeader sysproxy.Header
}

// attack connects a hostile client. greet is whether it begins as others do.
func attack(t *testing.T, url string, greet bool) *hostile {
	t.Helper()
	nc, err := net.Dial("unix", strings.TrimPrefix(url, "unix://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	h := &hostile{Conn: nc, r: bufio.NewReader(nc)}
	if _, err := h.r.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if greet {
		h.say(sysproxy.Guest{Name: "hostile"})
		h.hear(t)
	}
	return h
}

func (h *hostile) say(m sysproxy.Message) error {
	h.reqno++
	_, err := h.Write(m.Append(nil, wire, h.reqno))
	return err
}

// frames makes n copies of a request in one.
func (h *hostile) frames(n int, m sysproxy.Message) (b []byte) {
	for range n {
		h.reqno++
		b = m.Append(b, wire, h.reqno)
	}
	return b
}

// hear reads a frame.
func (h *hostile) hear(t *testing.T) (sysproxy.Header, sysproxy.Message) {
	t.Helper()
	hd, err := wire.ReadHeader(h.r)
	if err != nil {
		t.Fatal(err)
	}
	h.lastHeader = hd
	payload, err := sysproxy.ReadPayload(h.r, hd, nil, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	m, err := wire.Decode(hd, payload)
	if err != nil {
		t.Fatal(err)
	}
	return hd, m
}

func syscallOf(num uint32, args ...uint64) sysproxy.Syscall {
	var a netbsd.Args
	a.Reset(netbsd.AMD64)
	for _, v := range args {
		a.Word(v)
	}
	return sysproxy.Syscall{Num: num, Args: append([]byte(nil), a.Bytes()...)}
}

// target runs a kernel with local sockets. served reports that it serves
// others, new ones too.
func target(t *testing.T) (k *kernel.Kernel, url string, served func()) {
	k, url = serve(t, kernel.Config{})
	local.Register(k)
	old := dial(t, url)
	return k, url, func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if _, err := old.Getpid(ctx); err != nil {
			t.Fatalf("a client that was there is not served: %v", err)
		}
		c, err := spclient.Dial(ctx, url, nil)
		if err != nil {
			t.Fatalf("a new client is not served: %v", err)
		}
		defer c.Close()
		if _, err := c.Getpid(ctx); err != nil {
			t.Fatalf("a new client is not served: %v", err)
		}
	}
}

// alone waits until the hostile clients are gone with all that was theirs, and
// one client is left.
func alone(t *testing.T, k *kernel.Kernel) {
	t.Helper()
	end := time.Now().Add(10 * time.Second)
	for {
		conns, procs, files := k.Sizes()
		if conns == 1 && procs == 1 && files == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d connections, %d processes and %d open files are left", conns, procs, files)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestHostileLengths(t *testing.T) {
	k, url, served := target(t)
	for _, length := range []uint64{0, 1, 23, 25, 64<<10 + 25, 64 << 20, 1 << 31, 1<<32 - 1, 1 << 32, 1 << 63, math.MaxUint64} {
		for class := range sysproxy.Class(4) {
			for _, greet := range []bool{false, true} {
				h := attack(t, url, greet)
				h.Write(wire.AppendHeader(nil, sysproxy.Header{Len: length, ReqNo: 1, Class: class, Type: sysproxy.TypeSyscall}))
				h.Write(make([]byte, 100))
				if length%2 == 0 {
					h.Conn.(*net.UnixConn).CloseWrite()
					io.Copy(io.Discard, h)
				}
				served()
				h.Close()
			}
		}
	}
	alone(t, k)
}

// A conversation is cut at each of its bytes, by a client that goes and by one
// that closes one side only.
func TestHostileCuts(t *testing.T) {
	k, url, served := target(t)
	h := &hostile{}
	talk := h.frames(1, sysproxy.Guest{Name: "cut"})
	talk = append(talk, h.frames(1, syscallOf(netbsd.SYS_pipe))...)
	talk = append(talk, h.frames(1, syscallOf(netbsd.SYS_write, 4, 0x1000, 8))...)
	talk = sysproxy.CopyInReply{Data: []byte("8 bytes.")}.Append(talk, wire, 0)
	talk = append(talk, h.frames(1, sysproxy.Prefork{})...)
	talk = append(talk, h.frames(1, syscallOf(netbsd.SYS_read, 3, 0x1000, 8))...)
	talk = append(talk, h.frames(1, syscallOf(netbsd.SYS_read, 3, 0x1000, 8))...)
	talk = append(talk, h.frames(1, sysproxy.Exec{Name: "cut again"})...)
	for n := range len(talk) + 1 {
		c := attack(t, url, false)
		c.Write(talk[:n])
		if n%2 == 0 {
			c.Conn.(*net.UnixConn).CloseWrite()
			if _, err := io.Copy(io.Discard, c.r); err != nil {
				t.Errorf("cut at %d: %v", n, err)
			}
		}
		c.Close()
		if n%50 == 0 {
			served()
		}
	}
	served()
	// Children that wait to be born keep their files, but not more of them
	// than there may be cookies.
	k.Halt(false)
	k.Wait()
	if conns, procs, files := k.Sizes(); conns+procs+files > 0 {
		t.Errorf("%d connections, %d processes and %d open files are left", conns, procs, files)
	}
}

// A client that makes calls and reads no answer is stopped by its own weight.
func TestHostileReadsNothing(t *testing.T) {
	k, url, served := target(t)
	zero := uint64(3)
	for name, m := range map[string]sysproxy.Message{
		"getpid":  syscallOf(netbsd.SYS_getpid),
		"unknown": syscallOf(9999),
		"read":    syscallOf(netbsd.SYS_read, zero, 0x1000, 64<<10),
		"refused": sysproxy.CopyIn{Len: 1, Addr: 1},
		"prefork": sysproxy.Prefork{},
		"write":   syscallOf(netbsd.SYS_write, zero, 0x1000, 64<<10),
		"blocked": syscallOf(netbsd.SYS_poll, 0, 0, math.MaxUint64),
		"sysctl":  syscallOf(netbsd.SYS___sysctl, 0x1000, 2, 0, 0x1000, 0, 0),
	} {
		t.Run(name, func(t *testing.T) {
			h := attack(t, url, true)
			h.say(syscallOf(netbsd.SYS_open, 0x1000, 0, 0))
			if hd, _ := h.hear(t); hd.Type != sysproxy.TypeCopyInStr {
				t.Fatalf("%+v", hd)
			}
			h.Write(sysproxy.CopyInReply{Data: []byte("/dev/zero\x00")}.Append(nil, wire, 0))
			h.hear(t)
			h.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
			flood := h.frames(1000, m)
			for range 100 {
				if _, err := h.Write(flood); err != nil {
					break
				}
			}
			served()
			h.Close()
			served()
		})
	}
	_ = k
}

// Calls whose copies are never answered hold no more than they may.
func TestHostileAnswersNothing(t *testing.T) {
	k, url, served := target(t)
	h := attack(t, url, true)
	h.say(syscallOf(netbsd.SYS_pipe))
	h.hear(t)
	const calls = 10000
	flood := h.frames(calls, syscallOf(netbsd.SYS_write, 4, 0x1000, 64<<10))
	go h.Write(flood)
	var copies, refused, failed int
	for copies+refused+failed < calls {
		switch hd, m := h.hear(t); m := m.(type) {
		case sysproxy.CopyIn:
			copies++
		case sysproxy.Refusal:
			if m.Code != sysproxy.ErrTryAgain {
				t.Fatalf("refused: %v", m.Code)
			}
			refused++
		case sysproxy.SyscallReply:
			if netbsd.Errno(m.Errno) != netbsd.ENOMEM {
				t.Fatalf("errno %v", netbsd.Errno(m.Errno))
			}
			failed++
		default:
			t.Fatalf("%+v", hd)
		}
	}
	var ms runtime.MemStats
	runtime.ReadMemStats(&ms)
	if ms.HeapAlloc > 300<<20 {
		t.Errorf("%d MiB are held for %d copies", ms.HeapAlloc>>20, copies)
	}
	if copies > 1025 || copies < 500 {
		t.Errorf("%d calls of 64 KiB wait for their copies, want what fits into 64 MiB", copies)
	}
	served()
	// What they hold is given back when they end.
	h.Close()
	alone(t, k)
	h = attack(t, url, true)
	h.say(syscallOf(netbsd.SYS_pipe))
	h.hear(t)
	h.say(syscallOf(netbsd.SYS_write, 4, 0x1000, 64<<10))
	if hd, _ := h.hear(t); hd.Type != sysproxy.TypeCopyIn {
		t.Errorf("after that: %+v", hd)
	}
}

// Arrays and lengths that no program needs.
func TestHostileArguments(t *testing.T) {
	k, url, served := target(t)
	const huge = math.MaxUint64
	for _, args := range [][]uint64{
		{netbsd.SYS_readv, 3, 0x1000, 1 << 31},
		{netbsd.SYS_read, 3, 0x1000, 1<<63 - 1},
		{netbsd.SYS_poll, 0x1000, 1<<32 - 1, 0},
		{netbsd.SYS_poll, 0x1000, 16384, 0},
		{netbsd.SYS___select50, 1<<31 - 1, 0x1000, 0x1000, 0x1000, 0},
		{netbsd.SYS___kevent50, 5, 0x1000, huge, 0x1000, huge, 0},
		{netbsd.SYS___sysctl, 0x1000, 13, 0, 0, 0, 0},
		{netbsd.SYS___sysctl, 0x1000, 2, 0x1000, 0x1000, 0x1000, huge},
		{netbsd.SYS_ioctl, 3, 0xffffffff, 0x1000},
		{netbsd.SYS_setsockopt, 6, netbsd.SOL_SOCKET, netbsd.SO_SNDBUF, 0x1000, huge},
		{netbsd.SYS_getsockopt, 6, netbsd.SOL_SOCKET, netbsd.SO_SNDBUF, 0x1000, 0x1000},
		{netbsd.SYS_sendmsg, 6, 0x1000, 0},
		{netbsd.SYS_recvmsg, 6, 0x1000, netbsd.MSG_DONTWAIT},
		{netbsd.SYS_sendmmsg, 6, 0x1000, huge, 0},
		{netbsd.SYS_recvmmsg, 6, 0x1000, huge, netbsd.MSG_DONTWAIT, 0},
		{netbsd.SYS_sendto, 6, 0x1000, 1<<63 - 1, 0, 0x1000, huge},
		{netbsd.SYS_recvfrom, 6, 0x1000, 1<<63 - 1, netbsd.MSG_DONTWAIT, 0x1000, 0x1000},
		{netbsd.SYS_getsockname, 6, 0x1000, 0x1000},
		{netbsd.SYS_bind, 6, 0x1000, huge},
		{netbsd.SYS_dup2, 3, 1<<31 - 1},
		{netbsd.SYS_fcntl, 3, netbsd.F_DUPFD, 1<<31 - 1},
		{netbsd.SYS___nanosleep50, 0x1000, 0x1000},
		{netbsd.SYS_open, 0x1000, huge, huge},
	} {
		for _, fill := range []byte{0xff, 0x7f, 0, 1} {
			h := attack(t, url, true)
			for _, m := range []sysproxy.Message{
				syscallOf(netbsd.SYS_pipe), syscallOf(netbsd.SYS_kqueue), syscallOf(netbsd.SYS___socket30, netbsd.AF_LOCAL, netbsd.SOCK_DGRAM, 0),
			} {
				h.say(m)
				h.hear(t)
			}
			h.say(syscallOf(uint32(args[0]), args[1:]...))
			// As long as it asks it is answered with the same byte.
			h.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		answers:
			for range 100 {
				hd, err := wire.ReadHeader(h.r)
				if err != nil {
					break
				}
				payload, err := sysproxy.ReadPayload(h.r, hd, nil, 1<<20)
				if err != nil {
					break
				}
				switch hd.Type {
				case sysproxy.TypeCopyIn, sysproxy.TypeCopyInStr:
					n, _, _ := wire.ParseCopyIn(hd, payload)
					data := make([]byte, n)
					for i := range data {
						data[i] = fill
					}
					h.Write(sysproxy.CopyInReply{Data: data}.Append(nil, wire, hd.ReqNo))
				case sysproxy.TypeSyscall:
					break answers
				}
			}
			h.Close()
		}
	}
	served()
	alone(t, k)
}

// Cookies for children that never come must not keep others from having
// children, and nobody guesses one.
func TestHostileCookies(t *testing.T) {
	k, url, served := target(t)
	h := attack(t, url, true)
	var last sysproxy.PreforkReply
	go h.Write(h.frames(5000, sysproxy.Prefork{}))
	for range 5000 {
		_, m := h.hear(t)
		last = m.(sysproxy.PreforkReply)
	}
	if _, procs, _ := k.Sizes(); procs > 140 {
		t.Errorf("%d processes", procs)
	}
	served()
	for name, auth := range map[string]sysproxy.Auth{"nothing": {}, "near": {last.Auth[0] + 1, last.Auth[1], last.Auth[2], last.Auth[3]}} {
		f := attack(t, url, false)
		f.say(sysproxy.Fork{Auth: auth})
		if _, m := f.hear(t); m != (sysproxy.Refusal{Code: sysproxy.ErrInvalidPrefork}) {
			t.Errorf("forged cookie, %s: %+v", name, m)
		}
	}
	f := attack(t, url, false)
	f.say(sysproxy.Fork{Auth: last.Auth})
	if _, m := f.hear(t); m != (sysproxy.HandshakeReply{}) {
		t.Errorf("the last cookie: %+v", m)
	}
}

// While a client does not say what it asks for, the tree of sysctls can be
// read and changed.
func TestHostileSysctl(t *testing.T) {
	k, url, served := target(t)
	h := attack(t, url, true)
	h.say(syscallOf(netbsd.SYS___sysctl, 0x1000, 1, 0x2000, 0, 0x3000, uint64(netbsd.Sizeof(netbsd.AMD64, netbsd.Sysctlnode{}))))
	hd, _ := h.hear(t)
	query := int32(netbsd.CTL_QUERY)
	h.Write(sysproxy.CopyInReply{Data: wire.Order.AppendUint32(nil, uint32(query))}.Append(nil, wire, hd.ReqNo))
	if hd, m := h.hear(t); hd.Type != sysproxy.TypeCopyIn {
		t.Fatalf("%+v, want the question for the node", m)
	}
	done := make(chan struct{})
	go func() {
		k.AddSysctl("kern", kernel.Int("test", netbsd.CTL_CREATE, 1))
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Fatal("the tree is locked")
	}
	served()
}

// EXEC waits for a copy that never comes; the client can still be got rid of,
// and the kernel halted.
func TestHostileExec(t *testing.T) {
	k, url, served := target(t)
	h := attack(t, url, true)
	h.say(syscallOf(netbsd.SYS_pipe))
	h.hear(t)
	h.say(syscallOf(netbsd.SYS_write, 4, 0x1000, 8))
	h.hear(t)
	h.say(sysproxy.Exec{Name: "other"})
	h.say(syscallOf(netbsd.SYS_getpid))
	if _, m := h.hear(t); m != (sysproxy.Refusal{Code: sysproxy.ErrInExec}) {
		t.Errorf("a call in the meantime: %+v", m)
	}
	served()
	h.Close()
	alone(t, k)
	h = attack(t, url, true)
	h.say(syscallOf(netbsd.SYS_pipe))
	h.hear(t)
	h.say(syscallOf(netbsd.SYS_write, 4, 0x1000, 8))
	h.hear(t)
	h.say(sysproxy.Exec{Name: "other"})
	k.Halt(true)
	done := make(chan struct{})
	go func() {
		k.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Fatal("Wait does not return")
	}
}

// Clients past the limit are turned away, and find room when others go.
func TestClientLimit(t *testing.T) {
	_, url := serve(t, kernel.Config{Clients: 3})
	var hs []*hostile
	for range 3 {
		hs = append(hs, attack(t, url, true))
	}
	nc, err := net.Dial("unix", strings.TrimPrefix(url, "unix://"))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if n, err := nc.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("the fourth client reads %d bytes, %v", n, err)
	}
	hs[0].Close()
	for end := time.Now().Add(5 * time.Second); ; {
		c, err := spclient.Dial(t.Context(), url, nil)
		if err == nil {
			c.Close()
			break
		}
		if time.Now().After(end) {
			t.Fatal(fmt.Errorf("no room after one has gone: %w", err))
		}
	}
}
