package spclient_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
	"rumptools/pkg/spclient/spclienttest"
	"rumptools/pkg/sysproxy"
)

// carrier greets a client as a server that announces CARRY, and calls serve with each
// request.
func carrier(t *testing.T, serve func(l sysproxy.Layout, nc net.Conn, h sysproxy.Header, payload []byte)) *spclient.Conn {
	t.Helper()
	m := netbsd.AMD64
	l := sysproxy.Layout{Order: m.Order, WordSize: m.WordSize}
	srv := spclienttest.NewRawServer(t, "unix", func(nc net.Conn) {
		b := sysproxy.Banner{Minor: sysproxy.ProtocolMinor, OSType: "NetBSD", OSRelease: "7.99.34", Machine: m.Name,
			Extensions: []string{"other", sysproxy.ExtCarry}}
		io.WriteString(nc, b.String()+"\n")
		for {
			h, err := l.ReadHeader(nc)
			if err != nil {
				return
			}
			payload, err := sysproxy.ReadPayload(nc, h, nil, 1<<20)
			if err != nil {
				return
			}
			if h.Type == sysproxy.TypeHandshake {
				nc.Write(sysproxy.HandshakeReply{}.Append(nil, l, h.ReqNo))
				continue
			}
			serve(l, nc, h, payload)
		}
	})
	return dial(t, srv, nil)
}

// A call brings what the kernel reads, up to a size, and in pieces.
func TestCarry(t *testing.T) {
	var got []sysproxy.Message
	c := carrier(t, func(l sysproxy.Layout, nc net.Conn, h sysproxy.Header, payload []byte) {
		m, err := l.Decode(h, payload)
		if err != nil {
			t.Error(err)
		}
		got = append(got, m)
		nc.Write(sysproxy.SyscallReply{Retval: [2]uint64{7}}.Append(nil, l, h.ReqNo))
	})
	ctx := testContext(t)
	small, large := bytes.Repeat([]byte("s"), 100), bytes.Repeat([]byte("l"), 20<<10)
	room := make([]byte, 50)
	for _, tt := range []struct {
		what string
		call *spclient.Call
		want []string // what is brought
	}{
		{"nothing to bring", c.NewCall(netbsd.SYS_getpid), nil},
		{"room to write to", c.NewCall(netbsd.SYS_read).Int(3).Out(room).Word(50), nil},
		{"no bytes", c.NewCall(netbsd.SYS_write).Int(3).In([]byte{}).Word(0), nil},
		{"bytes", c.NewCall(netbsd.SYS_write).Int(3).In(small).Word(100), []string{string(small)}},
		{"both ways", c.NewCall(netbsd.SYS_ioctl).Int(3).Uint(1).InOut(small), []string{string(small)}},
		{"a string", c.NewCall(netbsd.SYS_open).String("/dev/null").Int(0).Int(0), []string{"/dev/null\x00"}},
		{"two", c.NewCall(netbsd.SYS_sendto).Int(3).In(small).Word(100).Int(0).In(small[:16]).Uint(16), []string{string(small), string(small[:16])}},
		{"too much", c.NewCall(netbsd.SYS_write).Int(3).In(large).Word(20 << 10), nil},
		{"too much and a little", c.NewCall(netbsd.SYS_sendto).Int(3).In(large).Word(20 << 10).Int(0).In(small[:16]).Uint(16), []string{string(small[:16])}},
		{"too much of a little", func() *spclient.Call {
			call := c.NewCall(netbsd.SYS_writev).Int(3)
			for range 100 {
				call.PlaceIn(small)
			}
			return call
		}(), func() (s []string) {
			for range sysproxy.MaxSegments {
				s = append(s, string(small))
			}
			return s
		}()},
	} {
		got = nil
		reply, err := tt.call.Do(ctx)
		if err != nil || reply.Retval[0] != 7 || len(got) != 1 {
			t.Fatalf("%s: %v, %v, %d requests", tt.what, reply, err, len(got))
		}
		switch m := got[0].(type) {
		case sysproxy.Syscall:
			if tt.want != nil {
				t.Errorf("%s: %T", tt.what, m)
			}
		case sysproxy.Carry:
			if len(m.Memory) != len(tt.want) || tt.want == nil {
				t.Fatalf("%s: brings %d pieces, want %d", tt.what, len(m.Memory), len(tt.want))
			}
			for i, p := range m.Memory {
				if string(p.Data) != tt.want[i] || p.Addr == 0 {
					t.Errorf("%s: piece %d is %d bytes at %#x, want %d", tt.what, i, len(p.Data), p.Addr, len(tt.want[i]))
				}
			}
		default:
			t.Errorf("%s: %T", tt.what, m)
		}
	}
}

// A kernel may ask for what was brought, and answers to CARRY itself are none.
func TestCarryAsked(t *testing.T) {
	c := carrier(t, func(l sysproxy.Layout, nc net.Conn, h sysproxy.Header, payload []byte) {
		m, _ := l.Decode(h, payload)
		carry, ok := m.(sysproxy.Carry)
		if !ok {
			nc.Write(l.AppendHeader(nil, sysproxy.Header{Len: sysproxy.HeaderLen, ReqNo: h.ReqNo, Class: sysproxy.Resp, Type: sysproxy.TypeCarry}))
			return
		}
		p := carry.Memory[0]
		nc.Write(sysproxy.CopyIn{Len: uint64(len(p.Data)), Addr: p.Addr}.Append(nil, l, 9))
		ah, err := l.ReadHeader(nc)
		if err != nil {
			return
		}
		answer, _ := sysproxy.ReadPayload(nc, ah, nil, 1<<20)
		if !bytes.Equal(answer, p.Data) {
			t.Errorf("asked for %q: %q", p.Data, answer)
		}
		nc.Write(sysproxy.SyscallReply{}.Append(nil, l, h.ReqNo))
	})
	ctx := testContext(t)
	if _, err := c.NewCall(netbsd.SYS_write).Int(1).In([]byte("hello")).Word(5).Do(ctx); err != nil {
		t.Error(err)
	}
	var perr *spclient.ProtocolError
	if _, err := c.NewCall(netbsd.SYS_getpid).Do(ctx); !errors.As(err, &perr) {
		t.Errorf("a reply to CARRY: %v", err)
	}
}
