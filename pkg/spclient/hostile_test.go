package spclient_test

import (
	"context"
	"errors"
	"io"
	"runtime"
	"slices"
	"testing"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
	"rumptools/pkg/spclient/spclienttest"
	"rumptools/pkg/sysproxy"
)

// The buffers of victim's call.
const (
	victimIn    = 16
	victimOut   = 5000
	victimInOut = 32
)

// victim makes a call that has a buffer of each kind.
func victim(ctx context.Context, c *spclient.Conn) error {
	_, err := c.NewCall(netbsd.SYS_sendto).
		In(make([]byte, victimIn)).Out(make([]byte, victimOut)).InOut(make([]byte, victimInOut)).Do(ctx)
	return err
}

// target is victim's call as the server sees it.
type target struct {
	*spclienttest.Call
	in, out, inOut uint64 // addresses
}

// header sends a header alone.
func (v *target) header(h sysproxy.Header) { v.Write(v.Layout.AppendHeader(nil, h)) }

// frame sends a header with a payload, and its right length.
func (v *target) frame(h sysproxy.Header, payload []byte) {
	h.Len = sysproxy.HeaderLen + uint64(len(payload))
	v.Write(append(v.Layout.AppendHeader(nil, h), payload...))
}

func (v *target) copyIn(addr, n uint64) {
	v.Send(sysproxy.CopyIn{Len: n, Addr: addr}, v.NextReqNo())
}

func (v *target) copyOut(addr uint64, n int) {
	v.Send(sysproxy.CopyOut{Addr: addr, Data: make([]byte, n)}, v.NextReqNo())
}

// An attack is what a server may not do while a call is under way.
type attack struct {
	name string
	do   func(v *target)
}

// lengths are what no frame of a server's can have, and no buffer. No machine's
// word holds more than its largest.
var lengths = []struct {
	name string
	n    uint64
}{
	{"0", 0}, {"1", 1}, {"23", 23}, {"2^31", 1 << 31}, {"2^32-1", 1<<32 - 1}, {"2^63-1", 1<<63 - 1},
	{"2^63", 1 << 63}, {"2^64-24", 1<<64 - 24}, {"2^64-1", 1<<64 - 1},
}

// lengthAttacks are headers of all kinds with impossible lengths, which nothing
// follows: whoever waits for it waits for ever.
func lengthAttacks() (list []attack) {
	for _, kind := range []struct {
		name   string
		header sysproxy.Header
	}{
		{"answer", sysproxy.Header{Class: sysproxy.Resp, Type: sysproxy.TypeSyscall}},
		{"refusal", sysproxy.Header{Class: sysproxy.Error, U: uint32(sysproxy.ErrNoMem)}},
		{"COPYIN", sysproxy.Header{Type: sysproxy.TypeCopyIn}},
		{"COPYINSTR", sysproxy.Header{Type: sysproxy.TypeCopyInStr}},
		{"COPYOUT", sysproxy.Header{Type: sysproxy.TypeCopyOut}},
		{"COPYOUTSTR", sysproxy.Header{Type: sysproxy.TypeCopyOutStr}},
		{"ANONMMAP", sysproxy.Header{Type: sysproxy.TypeAnonMmap}},
		{"RAISE", sysproxy.Header{Type: sysproxy.TypeRaise, U: uint32(netbsd.SIGIO)}},
		{"unknown", sysproxy.Header{Type: 99}},
	} {
		for _, length := range lengths {
			list = append(list, attack{kind.name + " of length " + length.name, func(v *target) {
				h := kind.header
				h.Len = length.n
				if h.Class != sysproxy.Req {
					h.ReqNo = v.ReqNo
				}
				v.header(h)
			}})
		}
	}
	for _, length := range lengths[3:] {
		list = append(list,
			attack{"COPYIN of " + length.name + " bytes", func(v *target) { v.copyIn(v.in, min(length.n, v.Layout.MaxWord())) }},
			attack{"COPYIN of " + length.name + " bytes at the end", func(v *target) {
				v.copyIn(v.in+victimIn, min(length.n, v.Layout.MaxWord()))
			}},
			attack{"COPYOUT that announces " + length.name + " bytes", func(v *target) {
				v.frame(sysproxy.Header{Type: sysproxy.TypeCopyOut}, append(v.Layout.AppendWord(
					v.Layout.AppendWord(nil, min(length.n, v.Layout.MaxWord())), v.out), make([]byte, 8)...))
			}})
	}
	return list
}

// attacks are the attacks that need a hand each.
var attacks = []attack{
	{"COPYIN of the null pointer", func(v *target) { v.copyIn(0, 16) }},
	{"COPYIN of the program", func(v *target) { v.copyIn(0x400000, 16) }},
	{"COPYIN of the highest address", func(v *target) { v.copyIn(v.Layout.MaxWord(), 1) }},
	{"COPYIN over the end", func(v *target) { v.copyIn(v.in, victimIn+1) }},
	{"COPYIN behind the end", func(v *target) { v.copyIn(v.in+victimIn+1, 1) }},
	{"COPYIN before the start", func(v *target) { v.copyIn(v.in-1, 2) }},
	{"COPYIN of all memory", func(v *target) { v.copyIn(v.in, v.Layout.MaxWord()) }},
	{"COPYIN up to address 0", func(v *target) { v.copyIn(v.in, v.Layout.MaxWord()-v.in+1) }},
	{"COPYIN of 0 bytes elsewhere", func(v *target) { v.copyIn(0x400000, 0) }},
	{"COPYIN of a buffer to be written", func(v *target) { v.copyIn(v.out, 16) }},
	{"COPYIN over the highest address", func(v *target) { v.copyIn(v.Layout.MaxWord()-7, 16) }},
	{"COPYIN of two buffers", func(v *target) { v.copyIn(v.in, v.out-v.in+1) }},
	{"COPYINSTR elsewhere", func(v *target) { v.Send(sysproxy.CopyInStr{Len: 1024, Addr: 0x400000}, 0) }},
	{"COPYINSTR of the null pointer", func(v *target) { v.Send(sysproxy.CopyInStr{Len: 1024}, 0) }},
	{"COPYINSTR behind the end", func(v *target) { v.Send(sysproxy.CopyInStr{Len: 1, Addr: v.in + victimIn + 1}, 0) }},
	{"COPYINSTR before the start", func(v *target) { v.Send(sysproxy.CopyInStr{Len: 1024, Addr: v.in - 1}, 0) }},
	{"COPYINSTR of a buffer to be written", func(v *target) { v.Send(sysproxy.CopyInStr{Len: 1024, Addr: v.out}, 0) }},
	{"COPYOUT to the null pointer", func(v *target) { v.copyOut(0, 16) }},
	{"COPYOUT to the program", func(v *target) { v.copyOut(0x400000, 16) }},
	{"COPYOUT of 0 bytes elsewhere", func(v *target) { v.copyOut(0x400000, 0) }},
	{"COPYOUT over the end", func(v *target) { v.copyOut(v.out, victimOut+1) }},
	{"COPYOUT behind the end", func(v *target) { v.copyOut(v.out+victimOut+1, 1) }},
	{"COPYOUT to the highest address", func(v *target) { v.copyOut(v.Layout.MaxWord(), 1) }},
	{"COPYOUT over the highest address", func(v *target) { v.copyOut(v.Layout.MaxWord()-7, 16) }},
	{"COPYOUT to two buffers", func(v *target) { v.copyOut(v.out, int(v.inOut-v.out)+1) }},
	{"COPYOUT before the start", func(v *target) { v.copyOut(v.out-1, 2) }},
	{"COPYOUT over the end by 64 KiB", func(v *target) { v.copyOut(v.out, 64<<10) }},
	{"COPYOUT to a buffer to be read", func(v *target) { v.copyOut(v.in, 1) }},
	{"COPYOUTSTR elsewhere", func(v *target) { v.Send(sysproxy.CopyOutStr{Addr: 0x400000, Data: []byte{0}}, 0) }},
	{"COPYOUTSTR over the end", func(v *target) {
		v.Send(sysproxy.CopyOutStr{Addr: v.out + victimOut - 1, Data: []byte{'a', 0}}, 0)
	}},
	{"COPYOUTSTR to a buffer to be read", func(v *target) { v.Send(sysproxy.CopyOutStr{Addr: v.in, Data: []byte{0}}, 0) }},
	{"COPYOUT that announces more than it brings", func(v *target) {
		v.frame(sysproxy.Header{Type: sysproxy.TypeCopyOut},
			append(v.Layout.AppendWord(v.Layout.AppendWord(nil, 8), v.out), 1, 2, 3))
	}},
	{"COPYOUT that announces less than it brings", func(v *target) {
		v.frame(sysproxy.Header{Type: sysproxy.TypeCopyOut},
			append(v.Layout.AppendWord(v.Layout.AppendWord(nil, 1), v.out), 1, 2, 3))
	}},
	{"COPYOUT without an address", func(v *target) {
		v.frame(sysproxy.Header{Type: sysproxy.TypeCopyOut}, v.Layout.AppendWord(nil, 0))
	}},
	{"COPYOUT longer than the longest buffer", func(v *target) {
		v.header(sysproxy.Header{Len: sysproxy.HeaderLen + 2*8 + victimOut + 1, Type: sysproxy.TypeCopyOut})
	}},
	{"COPYIN without an address", func(v *target) {
		v.frame(sysproxy.Header{Type: sysproxy.TypeCopyIn}, v.Layout.AppendWord(nil, 8))
	}},
	{"COPYIN with too much", func(v *target) {
		v.frame(sysproxy.Header{Type: sysproxy.TypeCopyIn}, make([]byte, 2*v.Layout.WordSize+1))
	}},
	{"COPYIN after the answer", func(v *target) { v.Reply(0, 0); v.copyIn(v.in, 1) }},
	{"COPYOUT after the answer", func(v *target) { v.Reply(0, 0); v.copyOut(v.out, 1) }},
	{"COPYOUT after a refusal", func(v *target) { v.Refuse(sysproxy.ErrNoMem); v.copyOut(v.out, 1) }},
	{"COPYINSTR after the answer", func(v *target) { v.Reply(0, 0); v.Send(sysproxy.CopyInStr{Len: 1, Addr: v.in}, 0) }},
	{"answer that is too short", func(v *target) {
		v.frame(sysproxy.Header{ReqNo: v.ReqNo, Class: sysproxy.Resp, Type: sysproxy.TypeSyscall}, make([]byte, 8))
	}},
	{"answer to no request", func(v *target) { v.Send(sysproxy.SyscallReply{}, v.ReqNo+1000) }},
	{"answer to request 0", func(v *target) { v.Send(sysproxy.SyscallReply{}, 0) }},
	{"answer to the last request", func(v *target) { v.Send(sysproxy.SyscallReply{}, 1<<64-1) }},
	{"answer to an old request", func(v *target) { v.Send(sysproxy.HandshakeReply{}, v.ReqNo-1) }},
	{"answer twice", func(v *target) { v.Reply(0, 0); v.Reply(0, 0) }},
	{"refusal after the answer", func(v *target) { v.Reply(0, 0); v.Refuse(sysproxy.ErrNoMem) }},
	{"answer after a refusal", func(v *target) { v.Refuse(sysproxy.ErrNoMem); v.Reply(0, 0) }},
	{"answer of a type that has none", func(v *target) {
		v.frame(sysproxy.Header{ReqNo: v.ReqNo, Class: sysproxy.Resp, Type: sysproxy.TypeRaise}, nil)
	}},
	{"answer of an unknown type", func(v *target) {
		v.frame(sysproxy.Header{ReqNo: v.ReqNo, Class: sysproxy.Resp, Type: 1<<16 - 1}, nil)
	}},
	{"answer of another type", func(v *target) { v.Send(sysproxy.PreforkReply{}, v.ReqNo) }},
	{"answer that no request has", func(v *target) { v.Send(sysproxy.CopyInReply{}, v.ReqNo) }},
	{"refusal of no request", func(v *target) { v.Send(sysproxy.Refusal{Code: sysproxy.ErrNoMem}, v.ReqNo+1000) }},
	{"refusal with a payload", func(v *target) {
		v.frame(sysproxy.Header{ReqNo: v.ReqNo, Class: sysproxy.Error, U: 7}, []byte{1})
	}},
	{"unknown class", func(v *target) { v.header(sysproxy.Header{Len: 24, ReqNo: v.ReqNo, Class: 3}) }},
	{"highest class", func(v *target) { v.header(sysproxy.Header{Len: 24, ReqNo: v.ReqNo, Class: 1<<16 - 1}) }},
	{"highest type", func(v *target) { v.header(sysproxy.Header{Len: 24, Type: 1<<16 - 1}) }},
	{"unknown type", func(v *target) { v.header(sysproxy.Header{Len: 24, Type: 9}) }},
	{"handshake", func(v *target) { v.Send(sysproxy.Guest{Name: "kernel"}, 0) }},
	{"system call", func(v *target) { v.Send(sysproxy.Syscall{Num: 20}, 0) }},
	{"prefork", func(v *target) { v.Send(sysproxy.Prefork{}, 0) }},
	{"RAISE with a payload", func(v *target) { v.frame(sysproxy.Header{Type: sysproxy.TypeRaise, U: 9}, []byte{1}) }},
	{"ANONMMAP without a size", func(v *target) { v.header(sysproxy.Header{Len: 24, Type: sysproxy.TypeAnonMmap}) }},
	{"ANONMMAP with too much", func(v *target) {
		v.frame(sysproxy.Header{Type: sysproxy.TypeAnonMmap}, make([]byte, v.Layout.WordSize+1))
	}},
	{"fork", func(v *target) { v.Send(sysproxy.Fork{}, 0) }},
	{"banner again", func(v *target) { io.WriteString(v.Conn, spclienttest.BannerOf(v.Machine)) }},
	{"text", func(v *target) { io.WriteString(v.Conn, "HTTP/1.1 400 Bad Request\r\n\r\n") }},
}

// attackMemory is more than client and server may allocate in all while one
// attacks the other, which is done by a few frames: what the frames announce is
// far more.
const attackMemory = 2 << 20

// checkMemory fails the test if more than limit bytes are allocated until it
// ends.
func checkMemory(t *testing.T, limit uint64) {
	t.Helper()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	t.Cleanup(func() {
		var after runtime.MemStats
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > limit {
			t.Errorf("%d bytes were allocated, at most %d are expected", n, limit)
		}
	})
}

// TestAttacks checks that each attack ends the connection, and every call with it,
// with the same ProtocolError, takes little memory and leaves nothing behind.
func TestAttacks(t *testing.T) {
	for _, m := range []*netbsd.Machine{netbsd.AMD64, netbsd.POWERPC} {
		for _, tt := range slices.Concat(attacks, lengthAttacks()) {
			t.Run(m.Name+"/"+tt.name, func(t *testing.T) {
				checkLeaks(t)
				checkMemory(t, attackMemory)
				first := make(chan struct{})
				srv := spclienttest.NewServer(t, "unix", m, func(p *spclienttest.Peer) {
					p.Handshake()
					p.NextCall()
					close(first)
					call := p.NextCall()
					v := &target{Call: call}
					v.in, v.out, v.inOut = call.Args.Ptr(), call.Args.Ptr(), call.Args.Ptr()
					tt.do(v)
					p.WaitGone()
				})
				c := dial(t, srv, nil)
				ctx := testContext(t)
				bystander := make(chan error, 1)
				go func() {
					_, err := c.Getpid(ctx)
					bystander <- err
				}()
				<-first
				victimErr := victim(ctx, c)
				err := <-bystander
				checkError(t, err, errProtocol)
				t.Log(err)
				var refused sysproxy.ErrorCode
				if victimErr != nil && victimErr != err && !errors.As(victimErr, &refused) {
					t.Errorf("one call ends with %v, one with %v", err, victimErr)
				}
				checkLine(t, err)
				select {
				case <-c.Done():
				case <-ctx.Done():
					t.Fatal("the connection goes on")
				}
				if c.Err() != err {
					t.Errorf("Err is %v, call's %v", c.Err(), err)
				}
				if _, err2 := c.Getpid(ctx); err2 != err {
					t.Errorf("later call: %v, want %v", err2, err)
				}
			})
		}
	}
}

// TestAllowed checks what a server may do, however odd.
func TestAllowed(t *testing.T) {
	for name, do := range map[string]func(v *target){
		"nothing":               func(*target) {},
		"read and write all":    func(v *target) { v.CopyIn(v.in, victimIn); v.CopyOut(v.out, make([]byte, victimOut)) },
		"read and write a part": func(v *target) { v.CopyIn(v.in+3, 5); v.CopyOut(v.out+3, make([]byte, 5)) },
		"the last byte":         func(v *target) { v.CopyIn(v.in+victimIn-1, 1); v.CopyOut(v.out+victimOut-1, make([]byte, 1)) },
		"0 bytes at the end":    func(v *target) { v.CopyIn(v.in+victimIn, 0); v.CopyOut(v.out+victimOut, nil) },
		"both directions":       func(v *target) { v.CopyIn(v.inOut, victimInOut); v.CopyOut(v.inOut, make([]byte, victimInOut)) },
		"many times": func(v *target) {
			for range 1000 {
				v.CopyIn(v.in, victimIn)
				v.CopyOut(v.out, make([]byte, 100))
			}
		},
		"string without end": func(v *target) {
			if s := v.CopyInStr(v.in, victimIn); len(s) != 1 {
				v.TB.Errorf("a string of zeros is %q", s)
			}
		},
		"anonymous memory": func(v *target) {
			answer := v.Ask(sysproxy.AnonMmap{Len: v.Layout.MaxWord()})
			if answer.Message != (sysproxy.AnonMmapReply{Addr: 0}) {
				v.TB.Errorf("answered with %#v", answer.Message)
			}
		},
		"signals": func(v *target) {
			for signo := range uint32(100) {
				v.Send(sysproxy.Raise{Signo: signo}, 1<<63)
			}
		},
	} {
		for _, m := range []*netbsd.Machine{netbsd.AMD64, netbsd.POWERPC} {
			t.Run(m.Name+"/"+name, func(t *testing.T) {
				srv := spclienttest.NewServer(t, "unix", m, func(p *spclienttest.Peer) {
					p.Handshake()
					call := p.NextCall()
					v := &target{Call: call}
					v.in, v.out, v.inOut = call.Args.Ptr(), call.Args.Ptr(), call.Args.Ptr()
					do(v)
					call.Reply(0, 0)
					call = p.NextCall()
					call.Reply(42, 0)
					p.WaitGone()
				})
				c := dial(t, srv, nil)
				if err := victim(testContext(t), c); err != nil {
					t.Error(err)
				}
				if pid, err := c.Getpid(testContext(t)); pid != 42 || err != nil {
					t.Errorf("next call: %d, %v", pid, err)
				}
			})
		}
	}
}

// cuttable are what a kernel sends while victim's call is under way. Each is sent
// once for every byte at which it can be cut. Those to which the client answers
// are not sent whole.
var cuttable = []struct {
	name   string
	frames func(v *target) []sysproxy.Message
	whole  bool
}{
	{"COPYIN", func(v *target) []sysproxy.Message { return []sysproxy.Message{sysproxy.CopyIn{Len: 3, Addr: v.in}} }, false},
	{"COPYINSTR", func(v *target) []sysproxy.Message { return []sysproxy.Message{sysproxy.CopyInStr{Len: 3, Addr: v.in}} }, false},
	{"ANONMMAP", func(v *target) []sysproxy.Message { return []sysproxy.Message{sysproxy.AnonMmap{Len: 1}} }, false},
	{"answer", func(v *target) []sysproxy.Message {
		return []sysproxy.Message{
			sysproxy.Raise{Signo: uint32(netbsd.SIGPIPE)},
			sysproxy.CopyOut{Addr: v.out, Data: make([]byte, 10)},
			sysproxy.CopyOutStr{Addr: v.out, Data: []byte("string\x00")},
			sysproxy.SyscallReply{},
		}
	}, true},
	{"refusal", func(v *target) []sysproxy.Message {
		return []sysproxy.Message{sysproxy.Refusal{Code: sysproxy.ErrNoMem}}
	}, true},
}

// TestCutFrames ends the connection within frames, at every byte.
func TestCutFrames(t *testing.T) {
	for _, m := range []*netbsd.Machine{netbsd.AMD64, netbsd.POWERPC} {
		for _, tt := range cuttable {
			t.Run(m.Name+"/"+tt.name, func(t *testing.T) {
				checkLeaks(t)
				for n, more := 0, true; more; n++ {
					more = cutFrames(t, m, tt.frames, n, tt.whole)
				}
			})
		}
	}
}

// cutFrames ends the connection after n bytes of frames. It returns false when n
// is all that there is to send.
func cutFrames(t *testing.T, m *netbsd.Machine, frames func(v *target) []sysproxy.Message, n int, whole bool) (more bool) {
	var boundary, all bool // where the cut is
	srv := spclienttest.NewServer(t, "unix", m, func(p *spclienttest.Peer) {
		p.Handshake()
		call := p.NextCall()
		v := &target{Call: call}
		v.in, v.out, v.inOut = call.Args.Ptr(), call.Args.Ptr(), call.Args.Ptr()
		var b []byte
		boundary = n == 0
		for _, frame := range frames(v) {
			b = append(b, p.Encode(frame, v.ReqNo)...)
			boundary = boundary || len(b) == n
		}
		all = n == len(b)
		more = n+1 < len(b) || n+1 == len(b) && whole
		p.Write(b[:n])
	})
	c := dial(t, srv, nil)
	err := victim(testContext(t), c)
	if err == nil || errors.Is(err, sysproxy.ErrNoMem) {
		// It has been answered: only what comes later is lost.
		_, err2 := c.Getpid(testContext(t))
		c.Close()
		srv.Close()
		if !all {
			t.Errorf("cut after %d bytes: the call ends with %v", n, err)
		}
		checkError(t, err2, spclient.ErrLost)
		return more
	}
	c.Close()
	srv.Close()
	want := io.ErrUnexpectedEOF
	if boundary {
		want = io.EOF
	}
	var lost *spclient.LostError
	switch {
	case !errors.As(err, &lost), !errors.Is(err, spclient.ErrLost), lost.URL != srv.URL():
		t.Errorf("cut after %d bytes: %v", n, err)
	case lost.Cause != want:
		t.Errorf("cut after %d bytes: cause %v, want %v", n, lost.Cause, want)
	case all:
		t.Errorf("the answer is lost, of which nothing was cut: %v", err)
	}
	return more
}

// TestAttackIdle attacks a client that has no call under way. It need not look
// before its next call, which must not be answered.
func TestAttackIdle(t *testing.T) {
	for _, tt := range slices.Concat(attacks, lengthAttacks(), []attack{
		{"COPYIN", func(v *target) { v.copyIn(v.in, victimIn) }},
		{"COPYINSTR", func(v *target) { v.Send(sysproxy.CopyInStr{Len: 1, Addr: v.in}, 0) }},
		{"COPYOUT", func(v *target) { v.copyOut(v.out, victimOut) }},
		{"COPYOUT of 0 bytes", func(v *target) { v.copyOut(v.out, 0) }},
	}) {
		t.Run(tt.name, func(t *testing.T) {
			checkLeaks(t)
			checkMemory(t, attackMemory)
			answered, attacked := make(chan struct{}), make(chan struct{})
			srv := spclienttest.NewServer(t, "unix", netbsd.AMD64, func(p *spclienttest.Peer) {
				p.Handshake()
				call := p.NextCall()
				v := &target{Call: call}
				v.in, v.out, v.inOut = call.Args.Ptr(), call.Args.Ptr(), call.Args.Ptr()
				call.Reply(0, 0)
				defer p.WaitGone()
				<-answered
				defer close(attacked)
				tt.do(v)
			})
			c := dial(t, srv, nil)
			ctx := testContext(t)
			if err := victim(ctx, c); err != nil {
				t.Fatal(err)
			}
			close(answered)
			<-attacked
			_, err := c.Getpid(ctx)
			checkError(t, err, errProtocol)
			if _, err2 := c.Getpid(ctx); err2 != err || c.Err() != err {
				t.Errorf("one call ends with %v, the next with %v, Err is %v", err, err2, c.Err())
			}
		})
	}
}

// TestAttackAbandoned attacks in the name of a call that has been abandoned, of
// which the window is there yet.
func TestAttackAbandoned(t *testing.T) {
	for _, tt := range slices.Concat(attacks, lengthAttacks()) {
		t.Run(tt.name, func(t *testing.T) {
			checkLeaks(t)
			checkMemory(t, attackMemory)
			begun, abandoned := make(chan struct{}), make(chan struct{})
			srv := spclienttest.NewServer(t, "unix", netbsd.AMD64, func(p *spclienttest.Peer) {
				p.Handshake()
				call := p.NextCall()
				close(begun)
				<-abandoned
				p.NextCall()
				v := &target{Call: call}
				v.in, v.out, v.inOut = call.Args.Ptr(), call.Args.Ptr(), call.Args.Ptr()
				// What is late is dropped, and ends nothing.
				v.copyOut(v.out, victimOut)
				tt.do(v)
				p.WaitGone()
			})
			c := dial(t, srv, nil)
			ctx, cancel := context.WithCancel(testContext(t))
			go func() {
				<-begun
				cancel()
			}()
			if err := victim(ctx, c); !errors.Is(err, context.Canceled) {
				t.Errorf("abandoned call: %v", err)
			}
			close(abandoned)
			_, err := c.Getpid(testContext(t))
			checkError(t, err, errProtocol)
		})
	}
}

// TestHostilePrefork has servers answer a PREFORK with what is no cookie. None may
// be taken for one.
func TestHostilePrefork(t *testing.T) {
	send := func(m sysproxy.Message) func(*spclienttest.Peer, uint64) {
		return func(p *spclienttest.Peer, reqno uint64) { p.Send(m, reqno) }
	}
	payload := func(n int) func(*spclienttest.Peer, uint64) {
		return func(p *spclienttest.Peer, reqno uint64) {
			p.Write(append(p.Layout.AppendHeader(nil, sysproxy.Header{
				Len: sysproxy.HeaderLen + uint64(n), ReqNo: reqno, Class: sysproxy.Resp, Type: sysproxy.TypePrefork,
			}), make([]byte, n)...))
		}
	}
	for _, tt := range []struct {
		name string
		do   func(p *spclienttest.Peer, reqno uint64)
		want error
	}{
		{"no cookie", payload(0), errProtocol},
		{"short cookie", payload(15), errProtocol},
		{"long cookie", payload(17), errProtocol},
		{"cookie of 2^31 bytes", func(p *spclienttest.Peer, reqno uint64) {
			p.Write(p.Layout.AppendHeader(nil, sysproxy.Header{Len: 1 << 31, ReqNo: reqno, Class: sysproxy.Resp, Type: sysproxy.TypePrefork}))
		}, errProtocol},
		{"cookie for nobody", func(p *spclienttest.Peer, reqno uint64) { p.Send(sysproxy.PreforkReply{}, reqno+1000) }, errProtocol},
		{"system call's answer", send(sysproxy.SyscallReply{}), errProtocol},
		{"handshake's answer", send(sysproxy.HandshakeReply{}), errProtocol},
		{"refusal", send(sysproxy.Refusal{Code: sysproxy.ErrRforkFailed}), sysproxy.ErrRforkFailed},
		{"end", func(p *spclienttest.Peer, _ uint64) { p.Hangup() }, spclient.ErrLost},
	} {
		t.Run(tt.name, func(t *testing.T) {
			checkLeaks(t)
			checkMemory(t, attackMemory)
			srv := spclienttest.NewServer(t, "unix", netbsd.AMD64, func(p *spclienttest.Peer) {
				p.Handshake()
				f := p.NextRequest()
				if f.Message != (sysproxy.Prefork{}) {
					t.Errorf("client sent %#v", f.Message)
				}
				tt.do(p, f.Header.ReqNo)
				p.WaitGone()
			})
			c := dial(t, srv, nil)
			cookie, err := c.Prefork(testContext(t))
			if err == nil {
				t.Fatalf("cookie %x", cookie)
			}
			checkError(t, err, tt.want)
			checkLine(t, err)
		})
	}
}
