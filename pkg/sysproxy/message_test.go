package sysproxy_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rumptools/pkg/sysproxy"
)

// layouts are all that there can be.
var layouts = []sysproxy.Layout{
	{Order: binary.LittleEndian, WordSize: 8},
	{Order: binary.LittleEndian, WordSize: 4},
	{Order: binary.BigEndian, WordSize: 8},
	{Order: binary.BigEndian, WordSize: 4},
}

func name(l sysproxy.Layout) string { return fmt.Sprintf("%v%d", l.Order, 8*l.WordSize) }

func TestRoundTrip(t *testing.T) {
	const addr = 0xf2345678 // fits a word of any machine
	messages := []struct {
		m     sysproxy.Message
		class sysproxy.Class
		typ   sysproxy.Type
		u     uint32
		// payload in bytes: fixed, and words
		fixed, words int
	}{
		{sysproxy.Guest{Name: "rping"}, sysproxy.Req, sysproxy.TypeHandshake, 0, 6, 0},
		{sysproxy.Guest{Name: "rping", NoNUL: true}, sysproxy.Req, sysproxy.TypeHandshake, 0, 5, 0},
		{sysproxy.Guest{}, sysproxy.Req, sysproxy.TypeHandshake, 0, 1, 0},
		{sysproxy.Guest{NoNUL: true}, sysproxy.Req, sysproxy.TypeHandshake, 0, 0, 0},
		{sysproxy.Guest{Name: "a\x00b"}, sysproxy.Req, sysproxy.TypeHandshake, 0, 4, 0},
		{sysproxy.Exec{Name: "sh"}, sysproxy.Req, sysproxy.TypeHandshake, 3, 3, 0},
		{sysproxy.Fork{Auth: sysproxy.Auth{1, 2, 3, 1<<32 - 1}}, sysproxy.Req, sysproxy.TypeHandshake, 2, 20, 0},
		{sysproxy.Fork{Auth: sysproxy.Auth{4, 3, 2, 1}, Cancel: -1}, sysproxy.Req, sysproxy.TypeHandshake, 2, 20, 0},
		{sysproxy.HandshakeReply{}, sysproxy.Resp, sysproxy.TypeHandshake, 0, 4, 0},
		{sysproxy.HandshakeReply{Errno: 12}, sysproxy.Resp, sysproxy.TypeHandshake, 0, 4, 0},
		{sysproxy.Syscall{Num: 20, Args: []byte{}}, sysproxy.Req, sysproxy.TypeSyscall, 20, 0, 0},
		{sysproxy.Syscall{Num: 1<<32 - 1, Args: []byte("12345678")}, sysproxy.Req, sysproxy.TypeSyscall, 1<<32 - 1, 8, 0},
		{sysproxy.SyscallReply{Errno: -1, Retval: [2]uint64{1, 0xfffffffe}}, sysproxy.Resp, sysproxy.TypeSyscall, 0, 4, 2},
		{sysproxy.CopyIn{Len: 2048, Addr: addr}, sysproxy.Req, sysproxy.TypeCopyIn, 0, 0, 2},
		{sysproxy.CopyInStr{Len: 1024, Addr: addr}, sysproxy.Req, sysproxy.TypeCopyInStr, 0, 0, 2},
		{sysproxy.CopyInReply{Data: []byte("bytes")}, sysproxy.Resp, sysproxy.TypeCopyIn, 0, 5, 0},
		{sysproxy.CopyInReply{Data: []byte{}}, sysproxy.Resp, sysproxy.TypeCopyIn, 0, 0, 0},
		{sysproxy.CopyOut{Addr: addr, Data: []byte("bytes")}, sysproxy.Req, sysproxy.TypeCopyOut, 0, 5, 2},
		{sysproxy.CopyOut{Addr: addr, Data: []byte{}}, sysproxy.Req, sysproxy.TypeCopyOut, 0, 0, 2},
		{sysproxy.CopyOutStr{Addr: addr, Data: []byte("str\x00")}, sysproxy.Req, sysproxy.TypeCopyOutStr, 0, 4, 2},
		{sysproxy.AnonMmap{Len: 4096}, sysproxy.Req, sysproxy.TypeAnonMmap, 0, 0, 1},
		{sysproxy.AnonMmapReply{Addr: addr}, sysproxy.Resp, sysproxy.TypeAnonMmap, 0, 0, 1},
		{sysproxy.Prefork{}, sysproxy.Req, sysproxy.TypePrefork, 0, 0, 0},
		{sysproxy.PreforkReply{Auth: sysproxy.Auth{1, 0, 1 << 31, 7}}, sysproxy.Resp, sysproxy.TypePrefork, 0, 16, 0},
		{sysproxy.Raise{Signo: 13}, sysproxy.Req, sysproxy.TypeRaise, 13, 0, 0},
		{sysproxy.Carry{Num: 6, Args: []byte("12345678")}, sysproxy.Req, sysproxy.TypeCarry, 6, 16, 0},
		{sysproxy.Carry{Num: 98, Args: []byte("12345678"), Flags: sysproxy.CarrySettle}, sysproxy.Req, sysproxy.TypeCarry, 98, 16, 0},
		{sysproxy.Carry{Num: 394, Args: []byte{}, Memory: []sysproxy.Segment{{Addr: 1, Data: []byte("bytes")}}, Flags: sysproxy.CarryDial},
			sysproxy.Req, sysproxy.TypeCarry, 394, 13, 2},
		{sysproxy.Carry{Num: 7, Args: []byte{}, Memory: []sysproxy.Segment{{Addr: addr, Data: []byte("bytes")}, {Addr: 1, Data: []byte{}}}},
			sysproxy.Req, sysproxy.TypeCarry, 7, 13, 4},
		{sysproxy.Post{Num: 6, Args: []byte("12345678")}, sysproxy.Req, sysproxy.TypePost, 6, 8, 0},
		{sysproxy.Lend{FD: -3, Flags: sysproxy.LendSeeded}, sysproxy.Req, sysproxy.TypeLend, 0, 8, 0},
		{sysproxy.LendReply{Errno: 9}, sysproxy.Resp, sysproxy.TypeLend, 0, 12, 0},
		{sysproxy.LendReply{End: sysproxy.LoanFailed, Cause: 54}, sysproxy.Resp, sysproxy.TypeLend, 0, 12, 0},
		{sysproxy.LendDatagrams{FD: 3, Op: sysproxy.LendTakeBack}, sysproxy.Req, sysproxy.TypeLendDatagrams, 0, 8, 0},
		{sysproxy.LendDatagramsReply{End: sysproxy.LoanFailed, Cause: 61}, sysproxy.Resp, sysproxy.TypeLendDatagrams, 0, 12, 0},
		{sysproxy.Pair{FD: 3, Op: sysproxy.PairOffer, Path: "/tmp/x"}, sysproxy.Req, sysproxy.TypePair, 0, 14, 0},
		{sysproxy.PairReply{Errno: 9}, sysproxy.Resp, sysproxy.TypePair, 0, 8, 0},
		{sysproxy.PairReply{Yes: true, Path: "/tmp/x"}, sysproxy.Resp, sysproxy.TypePair, 0, 14, 0},
		{sysproxy.Refusal{Code: sysproxy.ErrInExec}, sysproxy.Error, sysproxy.TypeHandshake, 5, 0, 0},
	}
	for _, l := range layouts {
		for _, tt := range messages {
			t.Run(fmt.Sprintf("%s/%T", name(l), tt.m), func(t *testing.T) {
				const reqno = 0x0123456789abcdef
				before := []byte("before")
				b := tt.m.Append(before, l, reqno)
				if !bytes.HasPrefix(b, before) {
					t.Fatalf("what was in the buffer is gone: %q", b)
				}
				b = b[len(before):]
				payload := tt.fixed + tt.words*l.WordSize
				if tt.typ == sysproxy.TypeSyscall && tt.class == sysproxy.Resp && l.WordSize == 8 {
					payload += 4 // padding
				}
				want := sysproxy.Header{Len: uint64(24 + payload), ReqNo: reqno, Class: tt.class, Type: tt.typ, U: tt.u}
				h, err := l.ParseHeader(b)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, h); diff != "" {
					t.Errorf("header (-want +got):\n%s", diff)
				}
				if h2, err := l.ReadHeader(bytes.NewReader(b)); err != nil || h2 != h {
					t.Errorf("ReadHeader = %v, %v", h2, err)
				}
				if len(b) != 24+payload {
					t.Fatalf("frame has %d bytes, want %d", len(b), 24+payload)
				}
				m, err := l.Decode(h, b[24:])
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tt.m, m); diff != "" {
					t.Errorf("decoded (-want +got):\n%s", diff)
				}
			})
		}
	}
}

// TestWrongSizes cuts and lengthens every message that has a fixed size.
func TestWrongSizes(t *testing.T) {
	for _, l := range layouts {
		for _, m := range []sysproxy.Message{
			sysproxy.Fork{}, sysproxy.HandshakeReply{}, sysproxy.SyscallReply{}, sysproxy.CopyIn{},
			sysproxy.CopyInStr{}, sysproxy.CopyOut{}, sysproxy.CopyOutStr{}, sysproxy.AnonMmap{},
			sysproxy.AnonMmapReply{}, sysproxy.Prefork{}, sysproxy.PreforkReply{}, sysproxy.Raise{}, sysproxy.Refusal{},
		} {
			b := m.Append(nil, l, 1)
			h, err := l.ParseHeader(b)
			if err != nil {
				t.Fatal(err)
			}
			for n := range len(b) - sysproxy.HeaderLen + 3 {
				payload := make([]byte, n)
				copy(payload, b[sysproxy.HeaderLen:])
				_, err := l.Decode(h, payload)
				if right := n == len(b)-sysproxy.HeaderLen; right != (err == nil) {
					t.Errorf("%s %T with %d bytes: error %v", name(l), m, n, err)
				}
				var perr *sysproxy.PayloadError
				if err != nil && (!errors.As(err, &perr) || perr.Len != n || perr.Type != h.Type || perr.Class != h.Class) {
					t.Errorf("%s %T with %d bytes: error %#v", name(l), m, n, err)
				}
			}
		}
	}
}

func TestUnknown(t *testing.T) {
	l := layouts[0]
	for _, h := range []sysproxy.Header{
		{Class: 3}, {Class: 1<<16 - 1}, {Type: 9}, {Type: 1<<16 - 1},
		{Type: sysproxy.TypeHandshake, U: 1}, {Type: sysproxy.TypeHandshake, U: 4},
		{Class: sysproxy.Resp, Type: sysproxy.TypeCopyInStr}, {Class: sysproxy.Resp, Type: sysproxy.TypeCopyOut},
		{Class: sysproxy.Resp, Type: sysproxy.TypeRaise}, {Class: sysproxy.Resp, Type: 9},
	} {
		if m, err := l.Decode(h, nil); err == nil {
			t.Errorf("%+v decodes to %#v", h, m)
		}
	}
}

func TestValue64(t *testing.T) {
	const v = 0x0123456789abcdef
	want := map[string][2]uint64{
		"LittleEndian64": {v, 0}, "BigEndian64": {v, 0},
		"LittleEndian32": {0x89abcdef, 0x01234567}, "BigEndian32": {0x01234567, 0x89abcdef},
	}
	for _, l := range layouts {
		var r sysproxy.SyscallReply
		r.SetValue64(l, v)
		if r.Retval != want[name(l)] {
			t.Errorf("%s: SetValue64 gives %x, want %x", name(l), r.Retval, want[name(l)])
		}
		if got := r.Value64(l); got != v {
			t.Errorf("%s: Value64 = %#x", name(l), got)
		}
	}
}

func TestWord(t *testing.T) {
	for _, l := range layouts {
		for _, v := range []uint64{0, 1, 0x89abcdef, l.MaxWord()} {
			b := l.AppendWord(nil, v)
			if len(b) != l.WordSize || l.Word(b) != v {
				t.Errorf("%s: %#x is % x, which is %#x", name(l), v, b, l.Word(b))
			}
		}
	}
}

func TestReadHeader(t *testing.T) {
	l := layouts[0]
	frame := sysproxy.Prefork{}.Append(nil, l, 7)
	for n := range len(frame) {
		want := io.ErrUnexpectedEOF
		if n == 0 {
			want = io.EOF
		}
		if _, err := l.ReadHeader(bytes.NewReader(frame[:n])); err != want {
			t.Errorf("%d bytes: %v, want %v", n, err, want)
		}
		if _, err := l.ParseHeader(frame[:n]); err != io.ErrUnexpectedEOF {
			t.Errorf("ParseHeader of %d bytes: %v", n, err)
		}
	}
	for n := range uint64(sysproxy.HeaderLen) {
		l.Order.PutUint64(frame, n)
		if _, err := l.ReadHeader(bytes.NewReader(frame)); !errors.Is(err, sysproxy.ErrFrameLength) {
			t.Errorf("length %d: %v", n, err)
		}
	}
}

func TestReadPayload(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789abcdef"), 20<<10)
	h := func(n int) sysproxy.Header { return sysproxy.Header{Len: uint64(sysproxy.HeaderLen + n)} }
	for _, n := range []int{0, 1, 100, 64 << 10, 64<<10 + 1, len(data)} {
		for _, room := range []int{0, 1, 100, 100 << 10, len(data)} {
			buf := make([]byte, room)
			got, err := sysproxy.ReadPayload(bytes.NewReader(data), h(n), buf, len(data))
			if err != nil || !bytes.Equal(got, data[:n]) {
				t.Errorf("%d bytes with room for %d: %d bytes, %v", n, room, len(got), err)
			}
			if n > 0 && n <= room && &got[0] != &buf[0] {
				t.Errorf("%d bytes with room for %d: the room was not used", n, room)
			}
		}
	}
	for _, n := range []int{0, 10, 70 << 10} {
		if _, err := sysproxy.ReadPayload(bytes.NewReader(data[:n]), h(n+1), nil, len(data)); err != io.ErrUnexpectedEOF {
			t.Errorf("end after %d bytes: %v", n, err)
		}
	}
	for _, n := range []uint64{101, 1 << 31, 1 << 62, 1 << 63, 1<<64 - 1} {
		r := bytes.NewReader(data)
		if _, err := sysproxy.ReadPayload(r, sysproxy.Header{Len: n + 24}, nil, 100); !errors.Is(err, sysproxy.ErrFrameLength) {
			t.Errorf("%d bytes, at most 100: %v", n, err)
		}
		if r.Len() != len(data) {
			t.Errorf("%d bytes, at most 100: read %d", n, len(data)-r.Len())
		}
	}
}

// announcer announces more than it sends and counts the memory that a reader
// takes for it.
type announcer struct {
	left, largest int
}

func (a *announcer) Read(p []byte) (int, error) {
	a.largest = max(a.largest, len(p))
	if a.left == 0 {
		return 0, io.EOF
	}
	n := min(len(p), a.left)
	a.left -= n
	return n, nil
}

func TestReadPayloadMemory(t *testing.T) {
	a := &announcer{left: 1000}
	_, err := sysproxy.ReadPayload(a, sysproxy.Header{Len: 1<<30 + 24}, nil, 1<<30)
	if err != io.ErrUnexpectedEOF {
		t.Error(err)
	}
	if a.largest > 64<<10 {
		t.Errorf("asked for %d bytes at once when 1000 came", a.largest)
	}
}

func TestNames(t *testing.T) {
	for want, s := range map[string]fmt.Stringer{
		"REQ": sysproxy.Req, "RESP": sysproxy.Resp, "ERROR": sysproxy.Error, "class 3": sysproxy.Class(3),
		"HANDSHAKE": sysproxy.TypeHandshake, "RAISE": sysproxy.TypeRaise, "type 9": sysproxy.Type(9),
		"GUEST": sysproxy.HandshakeGuest, "EXEC": sysproxy.HandshakeExec, "handshake 4": sysproxy.Handshake(4),
	} {
		if s.String() != want {
			t.Errorf("%#v is %q, want %q", s, s.String(), want)
		}
	}
	for code := sysproxy.ErrorCode(1); code <= 7; code++ {
		if strings.HasPrefix(code.Error(), "sysproxy error") {
			t.Errorf("error code %d has no text", code)
		}
	}
	if got := sysproxy.ErrorCode(99).Error(); got != "sysproxy error 99" {
		t.Errorf("error code 99 is %q", got)
	}
}

// TestAppendAllocates checks that frames are built in the room that is given.
func TestAppendAllocates(t *testing.T) {
	l, buf, args := layouts[0], make([]byte, 0, 4096), make([]byte, 48)
	if n := testing.AllocsPerRun(100, func() {
		buf = sysproxy.Syscall{Num: 133, Args: args}.Append(buf[:0], l, 9)
		buf = sysproxy.CopyInReply{Data: args}.Append(buf[:0], l, 9)
		buf = sysproxy.CopyOut{Addr: 1, Data: args}.Append(buf[:0], l, 9)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzDecode(f *testing.F) {
	recs, err := recordings()
	if err != nil {
		f.Fatal(err)
	}
	// One of each kind is corpus enough.
	seen := make(map[string]bool)
	for _, rec := range recs {
		for _, e := range rec.Events {
			kind, _, _ := strings.Cut(e.Comment, "=")
			if e.Data != nil && e.Comment != "BANNER" && !seen[kind] {
				seen[kind] = true
				f.Add(uint8(0), e.Data)
				f.Add(uint8(3), e.Data)
			}
		}
	}
	for i, l := range layouts {
		for _, m := range []sysproxy.Message{
			sysproxy.Lend{FD: 3}, sysproxy.LendReply{End: sysproxy.LoanClosed},
			sysproxy.LendDatagrams{FD: 3}, sysproxy.LendDatagramsReply{End: sysproxy.LoanControl},
			sysproxy.Carry{Num: 4, Args: make([]byte, 24), Memory: []sysproxy.Segment{{Addr: 0x1000, Data: []byte("bytes")}, {Addr: 0x2000}}},
			sysproxy.Carry{Num: 394, Args: make([]byte, 24), Memory: []sysproxy.Segment{{Data: []byte("address")}}, Flags: sysproxy.CarryDial},
		} {
			f.Add(uint8(i), m.Append(nil, l, 1))
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, b []byte) {
		l := layouts[which%4]
		r := bytes.NewReader(b)
		h, err := l.ReadHeader(r)
		if err != nil {
			return
		}
		if got := l.AppendHeader(nil, h); !bytes.Equal(got, b[:sysproxy.HeaderLen]) {
			t.Errorf("header %x encodes to %x", b[:sysproxy.HeaderLen], got)
		}
		payload, err := sysproxy.ReadPayload(r, h, nil, 1<<16)
		if err != nil {
			return
		}
		if uint64(len(payload)) != h.Len-sysproxy.HeaderLen {
			t.Fatalf("payload of %d bytes, header says %d", len(payload), h.Len-sysproxy.HeaderLen)
		}
		m, err := l.Decode(h, payload)
		if err != nil {
			return
		}
		got := m.Append(nil, l, h.ReqNo)
		h2, err := l.ParseHeader(got)
		if err != nil {
			t.Fatal(err)
		}
		// What a header has and its message does not need is lost.
		if h2.Len != h.Len || h2.ReqNo != h.ReqNo || h2.Class != h.Class || !bytes.Equal(got[24:], payload) {
			t.Errorf("%#v\n got %x\nfrom %x", m, got, b)
		}
	})
}
