package spclient_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"testing"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
	"rumptools/pkg/spclient/spclienttest"
	"rumptools/pkg/sysproxy"
)

// thriftyServer answers getpid, sendto and recvfrom without allocating memory.
func thriftyServer(tb testing.TB) *spclient.Conn {
	l := sysproxy.Layout{Order: binary.LittleEndian, WordSize: 8}
	srv := spclienttest.NewRawServer(tb, "unix", func(nc net.Conn) {
		io.WriteString(nc, spclienttest.BannerOf(netbsd.AMD64))
		in, out := make([]byte, 4096), make([]byte, 0, 4096)
		data := make([]byte, 1400)
		for {
			if _, err := io.ReadFull(nc, in[:sysproxy.HeaderLen]); err != nil {
				return
			}
			h, err := l.ParseHeader(in)
			if err != nil {
				tb.Error(err)
				return
			}
			args := in[:h.Len-sysproxy.HeaderLen]
			if _, err := io.ReadFull(nc, args); err != nil {
				return
			}
			switch {
			case h.Type == sysproxy.TypeHandshake:
				out = sysproxy.HandshakeReply{}.Append(out[:0], l, h.ReqNo)
			case h.U == netbsd.SYS_sendto:
				out = sysproxy.CopyIn{Len: l.Word(args[16:]), Addr: l.Word(args[8:])}.Append(out[:0], l, 0)
				if _, err := nc.Write(out); err != nil {
					return
				}
				if _, err := io.ReadFull(nc, in[:sysproxy.HeaderLen+len(data)]); err != nil {
					return
				}
				out = sysproxy.SyscallReply{Retval: [2]uint64{uint64(len(data))}}.Append(out[:0], l, h.ReqNo)
			case h.U == netbsd.SYS_recvfrom:
				out = sysproxy.CopyOut{Addr: l.Word(args[8:]), Data: data}.Append(out[:0], l, 1)
				out = sysproxy.SyscallReply{Retval: [2]uint64{uint64(len(data))}}.Append(out, l, h.ReqNo)
			default:
				out = sysproxy.SyscallReply{}.Append(out[:0], l, h.ReqNo)
			}
			if _, err := nc.Write(out); err != nil {
				return
			}
		}
	})
	c, err := spclient.Dial(context.Background(), srv.URL(), nil)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { c.Close() })
	return c
}

// hotCalls are the calls that programs make all the time. Making them must leave
// nothing to the garbage collector.
func hotCalls(tb testing.TB) map[string]func() {
	c := thriftyServer(tb)
	ctx, cancel := context.WithCancel(context.Background())
	tb.Cleanup(cancel)
	fd, buf, sa := c.FD(3), make([]byte, 1400), make([]byte, 16)
	check := func(err error) {
		if err != nil {
			tb.Fatal(err)
		}
	}
	return map[string]func(){
		"Getpid":   func() { _, err := c.Getpid(ctx); check(err) },
		"Sendto":   func() { _, err := c.Sendto(ctx, fd, buf, 0, sa); check(err) },
		"Recvfrom": func() { _, _, err := c.Recvfrom(ctx, fd, buf, 0); check(err) },
	}
}

func TestAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for name, call := range hotCalls(t) {
		if n := testing.AllocsPerRun(200, call); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkCall(b *testing.B) {
	for name, call := range hotCalls(b) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				call()
			}
		})
	}
}
