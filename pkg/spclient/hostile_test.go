package spclient_test

import (
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

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

// attacks are what a server may not do while a call is under way.
var attacks = []struct {
	name string
	do   func(v *target)
}{
	{"COPYIN of the null pointer", func(v *target) { v.copyIn(0, 16) }},
	{"COPYIN of the program", func(v *target) { v.copyIn(0x400000, 16) }},
	{"COPYIN of the highest address", func(v *target) { v.copyIn(v.Layout.MaxWord(), 1) }},
	{"COPYIN over the end", func(v *target) { v.copyIn(v.in, victimIn+1) }},
	{"COPYIN behind the end", func(v *target) { v.copyIn(v.in+victimIn+1, 1) }},
	{"COPYIN before the start", func(v *target) { v.copyIn(v.in-1, 2) }},
	{"COPYIN of 2^31 bytes", func(v *target) { v.copyIn(v.in, 1<<31) }},
	{"COPYIN of 2^63 bytes", func(v *target) { v.copyIn(v.in, min(1<<63, v.Layout.MaxWord())) }},
	{"COPYIN of all memory", func(v *target) { v.copyIn(v.in, v.Layout.MaxWord()) }},
	{"COPYIN up to address 0", func(v *target) { v.copyIn(v.in, v.Layout.MaxWord()-v.in+1) }},
	{"COPYIN of 0 bytes elsewhere", func(v *target) { v.copyIn(0x400000, 0) }},
	{"COPYIN of a buffer to be written", func(v *target) { v.copyIn(v.out, 16) }},
	{"COPYIN of two buffers", func(v *target) { v.copyIn(v.in, v.out-v.in+1) }},
	{"COPYINSTR elsewhere", func(v *target) { v.Send(sysproxy.CopyInStr{Len: 1024, Addr: 0x400000}, 0) }},
	{"COPYINSTR of a buffer to be written", func(v *target) { v.Send(sysproxy.CopyInStr{Len: 1024, Addr: v.out}, 0) }},
	{"COPYOUT to the null pointer", func(v *target) { v.copyOut(0, 16) }},
	{"COPYOUT to the program", func(v *target) { v.copyOut(0x400000, 16) }},
	{"COPYOUT of 0 bytes elsewhere", func(v *target) { v.copyOut(0x400000, 0) }},
	{"COPYOUT over the end", func(v *target) { v.copyOut(v.out, victimOut+1) }},
	{"COPYOUT before the start", func(v *target) { v.copyOut(v.out-1, 2) }},
	{"COPYOUT over the end by 64 KiB", func(v *target) { v.copyOut(v.out, 64<<10) }},
	{"COPYOUT to a buffer to be read", func(v *target) { v.copyOut(v.in, 1) }},
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
	{"COPYOUT without end", func(v *target) {
		v.header(sysproxy.Header{Len: 1 << 63, Type: sysproxy.TypeCopyOut})
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
	{"length 0", func(v *target) { v.header(sysproxy.Header{Len: 0, Class: sysproxy.Resp, Type: sysproxy.TypeSyscall}) }},
	{"length 23", func(v *target) { v.header(sysproxy.Header{Len: 23, Type: sysproxy.TypeRaise}) }},
	{"answer of 2^31 bytes", func(v *target) {
		v.header(sysproxy.Header{Len: 1 << 31, ReqNo: v.ReqNo, Class: sysproxy.Resp, Type: sysproxy.TypeSyscall})
	}},
	{"answer of 2^64-1 bytes", func(v *target) {
		v.header(sysproxy.Header{Len: 1<<64 - 1, ReqNo: v.ReqNo, Class: sysproxy.Resp, Type: sysproxy.TypeSyscall})
	}},
	{"answer that is too short", func(v *target) {
		v.frame(sysproxy.Header{ReqNo: v.ReqNo, Class: sysproxy.Resp, Type: sysproxy.TypeSyscall}, make([]byte, 8))
	}},
	{"answer to no request", func(v *target) { v.Send(sysproxy.SyscallReply{}, v.ReqNo+1) }},
	{"answer to request 0", func(v *target) { v.Send(sysproxy.SyscallReply{}, 0) }},
	{"answer to an old request", func(v *target) { v.Send(sysproxy.HandshakeReply{}, v.ReqNo-1) }},
	{"answer twice", func(v *target) { v.Reply(0, 0); v.Reply(0, 0) }},
	{"answer of another type", func(v *target) { v.Send(sysproxy.PreforkReply{}, v.ReqNo) }},
	{"answer that no request has", func(v *target) { v.Send(sysproxy.CopyInReply{}, v.ReqNo) }},
	{"refusal of no request", func(v *target) { v.Send(sysproxy.Refusal{Code: sysproxy.ErrNoMem}, v.ReqNo+1) }},
	{"refusal with a payload", func(v *target) {
		v.frame(sysproxy.Header{ReqNo: v.ReqNo, Class: sysproxy.Error, U: 7}, []byte{1})
	}},
	{"unknown class", func(v *target) { v.header(sysproxy.Header{Len: 24, ReqNo: v.ReqNo, Class: 3}) }},
	{"unknown type", func(v *target) { v.header(sysproxy.Header{Len: 24, Type: 9}) }},
	{"handshake", func(v *target) { v.Send(sysproxy.Guest{Name: "kernel"}, 0) }},
	{"system call", func(v *target) { v.Send(sysproxy.Syscall{Num: 20}, 0) }},
	{"prefork", func(v *target) { v.Send(sysproxy.Prefork{}, 0) }},
	{"RAISE with a payload", func(v *target) { v.frame(sysproxy.Header{Type: sysproxy.TypeRaise, U: 9}, []byte{1}) }},
	{"ANONMMAP without a size", func(v *target) { v.header(sysproxy.Header{Len: 24, Type: sysproxy.TypeAnonMmap}) }},
	{"text", func(v *target) { io.WriteString(v.Conn, "HTTP/1.1 400 Bad Request\r\n\r\n") }},
}

// TestAttacks checks that each attack ends the connection, and every call with it,
// with the same ProtocolError, and leaves nothing behind.
func TestAttacks(t *testing.T) {
	if len(attacks) < 30 {
		t.Errorf("%d attacks", len(attacks))
	}
	for _, m := range []*netbsd.Machine{netbsd.AMD64, netbsd.POWERPC} {
		for _, tt := range attacks {
			t.Run(m.Name+"/"+tt.name, func(t *testing.T) {
				checkLeaks(t)
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
				if victimErr != nil && victimErr != err {
					t.Errorf("one call ends with %v, one with %v", err, victimErr)
				}
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

// TestCutFrames ends the connection within a frame, at every byte.
func TestCutFrames(t *testing.T) {
	checkLeaks(t)
	l := sysproxy.Layout{Order: netbsd.AMD64.Order, WordSize: 8}
	// The call's second buffer has the address that is put into the frame.
	frame := sysproxy.CopyOut{Data: make([]byte, 10)}.Append(nil, l, 0)
	frame = sysproxy.SyscallReply{}.Append(frame, l, 2)
	for n := range frame {
		srv := spclienttest.NewServer(t, "unix", netbsd.AMD64, func(p *spclienttest.Peer) {
			p.Handshake()
			call := p.NextCall()
			call.Args.Ptr()
			b := append([]byte(nil), frame...)
			l.Order.PutUint64(b[32:], call.Args.Ptr())
			p.Write(b[:n])
		})
		c := dial(t, srv, nil)
		err := victim(testContext(t), c)
		var lost *spclient.LostError
		if !errors.As(err, &lost) || !errors.Is(err, spclient.ErrLost) || lost.URL != srv.URL() {
			t.Errorf("cut after %d bytes: %v", n, err)
			continue
		}
		want := io.ErrUnexpectedEOF
		if n == 0 || n == 24+16+10 {
			want = io.EOF
		}
		if lost.Cause != want {
			t.Errorf("cut after %d bytes: cause %v, want %v", n, lost.Cause, want)
		}
	}
}

// TestFlood has the server ask for memory without end, and not read what it
// gets. The client must stop to answer, keep little, and give its calls up when
// their contexts say so.
func TestFlood(t *testing.T) {
	checkLeaks(t)
	const size = 64 << 10
	var asked atomic.Int64
	srv := spclienttest.NewRawServer(t, "unix", func(nc net.Conn) {
		l := sysproxy.Layout{Order: netbsd.AMD64.Order, WordSize: 8}
		io.WriteString(nc, spclienttest.BannerOf(netbsd.AMD64))
		var b [24 + 8]byte
		h, _ := l.ReadHeader(nc)
		io.CopyN(io.Discard, nc, int64(h.Len)-24)
		nc.Write(sysproxy.HandshakeReply{}.Append(nil, l, h.ReqNo))
		io.ReadFull(nc, b[:])
		request := sysproxy.CopyIn{Len: size, Addr: l.Word(b[24:])}.Append(nil, l, 0)
		for {
			if _, err := nc.Write(request); err != nil {
				return
			}
			asked.Add(1)
		}
	})
	c := dial(t, srv, nil)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	ctx, cancel := context.WithCancel(testContext(t))
	done := make(chan error, 1)
	go func() {
		_, err := c.NewCall(netbsd.SYS_write).In(make([]byte, size)).Do(ctx)
		done <- err
	}()
	// Until the server, which is not read from any more, can't write.
	for last := int64(-1); last != asked.Load() || last == 0; time.Sleep(50 * time.Millisecond) {
		last = asked.Load()
	}
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 4<<20 {
		t.Errorf("%d requests for %d bytes cost %d bytes of memory", asked.Load(), size, grown)
	}
	// A call that can't be sent can be given up as well.
	short, cancelShort := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancelShort()
	if _, err := c.Getpid(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("call that waits to be sent: %v", err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("call: %v", err)
	}
	c.Close()
}
