// Package bench measures what users of the tools feel: how long a call in a
// kernel takes, how large the programs are, how long a ping takes. Ratios of
// one run are worth more than its times.
package bench

import (
	"io"
	"net"
	"path/filepath"
	"testing"

	"rumptools/internal/kernel"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// server runs an embedded kernel in this process and connects to it.
func server(b *testing.B) *spclient.Conn {
	b.Helper()
	path := filepath.Join(b.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		b.Fatal(err)
	}
	k := kernel.New(kernel.Config{})
	go k.Serve(l)
	b.Cleanup(func() { k.Halt(true) })
	c, err := spclient.Dial(b.Context(), "unix://"+path, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	return c
}

// BenchmarkEcho is a byte each way over a local socket, without any protocol:
// what the host takes for a call's two frames.
func BenchmarkEcho(b *testing.B) {
	path := filepath.Join(b.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c})
	}()
	c, err := net.Dial("unix", path)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	var p [1]byte
	for b.Loop() {
		if _, err := c.Write(p[:]); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(c, p[:]); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkNullCall is getpid(2): one frame each way.
func BenchmarkNullCall(b *testing.B) {
	c := server(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.NewCall(netbsd.SYS_getpid).Do(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCopyIn is write(2) of 64 bytes to nowhere: two frames each way.
func BenchmarkCopyIn(b *testing.B) {
	c := server(b)
	p := make([]byte, 64)
	r, err := c.NewCall(netbsd.SYS_open).String("/dev/null").Int(netbsd.O_WRONLY).Int(0).Do(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	null := int32(r.Retval[0])
	b.ReportAllocs()
	for b.Loop() {
		_, err := c.NewCall(netbsd.SYS_write).Int(null).In(p).Word(uint64(len(p))).Do(b.Context())
		if err != nil {
			b.Fatal(err)
		}
	}
}
