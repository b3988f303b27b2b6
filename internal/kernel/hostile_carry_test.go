package kernel_test

import (
	"bytes"
	"math"
	"runtime"
	"testing"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// carryOf is a call that brings memory.
func carryOf(num uint32, memory []sysproxy.Segment, args ...uint64) sysproxy.Carry {
	m := syscallOf(num, args...)
	return sysproxy.Carry{Num: num, Args: m.Args, Memory: memory}
}

// What a call brings is not asked for, and what it does not bring is.
func TestCarry(t *testing.T) {
	k, url, served := target(t)
	h := attack(t, url, true)
	call := func(m sysproxy.Message) sysproxy.Message {
		t.Helper()
		h.say(m)
		_, got := h.hear(t)
		return got
	}
	reply := func(m sysproxy.Message, want uint64, errno netbsd.Errno) {
		t.Helper()
		r, ok := call(m).(sysproxy.SyscallReply)
		if !ok || r.Retval[0] != want || netbsd.Errno(r.Errno) != errno {
			t.Errorf("%+v: %+v, want %d and %v", m, r, want, errno)
		}
	}
	zero := []byte("/dev/zero\x00")
	reply(carryOf(netbsd.SYS_open, []sysproxy.Segment{{Addr: 0x1000, Data: zero}}, 0x1000, 0, 0), 3, 0)
	// From the middle of a piece on.
	reply(carryOf(netbsd.SYS_open, []sysproxy.Segment{{Addr: 0x1000, Data: append([]byte("xx"), zero...)}}, 0x1002, 0, 0), 4, 0)
	reply(carryOf(netbsd.SYS_close, nil, 4), 0, 0)
	// The first of two that have it counts.
	reply(carryOf(netbsd.SYS_open, []sysproxy.Segment{{Addr: 0x1000, Data: zero}, {Addr: 0x0fff, Data: bytes.Repeat([]byte("x"), 20)}}, 0x1000, 0, 0), 4, 0)
	reply(carryOf(netbsd.SYS_close, nil, 4), 0, 0)
	reply(carryOf(netbsd.SYS_open, []sysproxy.Segment{{Addr: 0x1000, Data: bytes.Repeat([]byte("x"), 1024)}}, 0x1000, 0, 0), 0, netbsd.ENAMETOOLONG)
	// The null pointer is none, whatever is said to be there.
	reply(carryOf(netbsd.SYS_open, []sysproxy.Segment{{Addr: 0, Data: zero}}, 0, 0, 0), 0, netbsd.EFAULT)
	// At the end of the address space.
	reply(carryOf(netbsd.SYS_open, []sysproxy.Segment{{Addr: math.MaxUint64 - 4, Data: zero}}, math.MaxUint64-4, 0, 0), 4, 0)
	reply(carryOf(netbsd.SYS_close, nil, 4), 0, 0)
	// Asked for: nothing of it is here, or not enough.
	for _, memory := range [][]sysproxy.Segment{
		nil,
		{{Addr: 0x1000}},
		{{Addr: 0x2000, Data: zero}},
		{{Addr: 0x0ff0, Data: make([]byte, 16)}},
		{{Addr: 0x1001, Data: zero}},
		{{Addr: 0x1000, Data: []byte("/dev/nul")}},
	} {
		if m, ok := call(carryOf(netbsd.SYS_open, memory, 0x1000, 0, 0)).(sysproxy.CopyInStr); !ok || m.Addr != 0x1000 {
			t.Fatalf("%+v: %+v", memory, m)
		}
		hd := h.lastHeader
		h.Write(sysproxy.CopyInReply{Data: zero}.Append(nil, wire, hd.ReqNo))
		h.hear(t)
		reply(carryOf(netbsd.SYS_close, nil, 4), 0, 0)
	}
	// Calls that wait keep what they brought while others come.
	reply(carryOf(netbsd.SYS_pipe, nil), 4, 0)
	h.say(syscallOf(netbsd.SYS_read, 4, 0x1000, 100))
	text := bytes.Repeat([]byte("0123456789"), 10)
	reply2 := func() {
		for range 3 {
			hd, m := h.hear(t)
			switch m := m.(type) {
			case sysproxy.CopyOut:
				if !bytes.Equal(m.Data, text) {
					t.Errorf("%d: %q", hd.ReqNo, m.Data)
				}
			case sysproxy.SyscallReply:
				if m.Retval[0] != 100 {
					t.Errorf("%+v", m)
				}
			}
		}
	}
	h.say(carryOf(netbsd.SYS_write, []sysproxy.Segment{{Addr: 0x5000, Data: text}}, 5, 0x5000, 100))
	reply2()
	served()
	h.Close()
	alone(t, k)
}

// Payloads that lie are refused, and nothing else happens.
func TestHostileCarry(t *testing.T) {
	k, url, served := target(t)
	h := attack(t, url, true)
	good := carryOf(netbsd.SYS_open, []sysproxy.Segment{{Addr: 0x1000, Data: []byte("/dev/zero\x00")}}, 0x1000, 0, 0).Append(nil, wire, 7)
	// The lengths of the arguments, of the list of pieces, and of the piece.
	for _, at := range []int{sysproxy.HeaderLen, sysproxy.HeaderLen + 4, sysproxy.HeaderLen + 8 + 24 + 8} {
		for _, v := range []uint32{0, 2, 23, 25, 65, 1 << 31, math.MaxUint32} {
			b := bytes.Clone(good)
			wire.Order.PutUint32(b[at:], v)
			h.Write(b)
			if hd, m := h.hear(t); m != (sysproxy.Refusal{Code: sysproxy.ErrMalformedRequest}) {
				t.Errorf("%d at %d: %+v, %+v", v, at, hd, m)
			}
		}
	}
	served()
	h.Close()
	alone(t, k)
}

// What calls bring is counted as what they are sent is.
func TestHostileCarryMemory(t *testing.T) {
	k, url, served := target(t)
	h := attack(t, url, true)
	h.say(syscallOf(netbsd.SYS_pipe))
	h.hear(t)
	const calls = 4000
	// Each waits for ever, in a read that brings what it does not need.
	junk := []sysproxy.Segment{{Addr: 0x100000, Data: make([]byte, 60<<10)}}
	go func() {
		frame := carryOf(netbsd.SYS_read, junk, 3, 0x1000, 1)
		for range calls {
			h.say(frame)
		}
		h.say(syscallOf(netbsd.SYS_getpid))
	}()
	failed := 0
	for {
		_, m := h.hear(t)
		r, ok := m.(sysproxy.SyscallReply)
		if !ok {
			t.Fatalf("%+v", m)
		}
		if r.Errno == 0 {
			break
		}
		if netbsd.Errno(r.Errno) != netbsd.ENOMEM {
			t.Fatalf("errno %v", netbsd.Errno(r.Errno))
		}
		failed++
	}
	if held := calls - failed; held > 64<<20/(60<<10)+1 || held < 500 {
		t.Errorf("%d calls that bring 60 KiB wait, want what fits into 64 MiB", held)
	}
	var ms runtime.MemStats
	runtime.ReadMemStats(&ms)
	if ms.HeapAlloc > 300<<20 {
		t.Errorf("%d MiB are held", ms.HeapAlloc>>20)
	}
	served()
	h.Close()
	alone(t, k)
}
