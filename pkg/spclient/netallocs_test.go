package spclient_test

import (
	"context"
	"io"
	"net/netip"
	"testing"
	"time"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// hotSockets are operations of sockets that are made all the time, with what is to be
// done before one is measured. The kernel is another process.
func hotSockets(tb testing.TB) map[string]struct{ before, op func() } {
	url := execKernel(tb, netbsd.AMD64)
	c, err := spclient.Dial(context.Background(), url, nil)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { c.Close() })
	check := func(err error) {
		if err != nil {
			tb.Helper()
			tb.Fatal(err)
		}
	}
	a, b, l := pipe(tb, c, c, "tcp", "127.0.0.1:0")
	l.Close()
	p, err := c.ListenPacket(context.Background(), "udp", "127.0.0.1:0")
	check(err)
	u := p.(*spclient.UDPConn)
	to := netip.MustParseAddrPort(p.LocalAddr().String())
	q, err := c.DialContext(context.Background(), "udp", to.String())
	check(err)
	data, buf := make([]byte, 1400), make([]byte, 1400)
	e, f, l2 := pipe(tb, c, c, "tcp", "127.0.0.1:0")
	l2.Close()
	go func() {
		echo := make([]byte, 1400)
		for {
			n, err := e.Read(echo)
			if err != nil {
				return
			}
			e.Write(echo[:n])
		}
	}()
	settle := func() { time.Sleep(time.Millisecond) } // lo0 takes a moment
	return map[string]struct{ before, op func() }{
		"TCP write": {
			func() {},
			func() { _, err := a.Write(data); check(err); _, err = io.ReadFull(b, buf); check(err) },
		},
		"TCP read": {
			func() { _, err := a.Write(data); check(err); settle() },
			func() { _, err := io.ReadFull(b, buf); check(err) },
		},
		"TCP round trip": { // who reads has to wait
			func() {},
			func() { _, err := f.Write(data); check(err); _, err = io.ReadFull(f, buf); check(err) },
		},
		"UDP write": {
			func() {},
			func() { _, err := q.Write(data); check(err); _, _, err = u.ReadFromUDPAddrPort(buf); check(err) },
		},
		"UDP writeto": {
			func() {},
			func() { _, err := u.WriteToUDPAddrPort(data, to); check(err) },
		},
		"UDP read": {
			func() { _, err := u.WriteToUDPAddrPort(data, to); check(err); settle() },
			func() { _, _, err := u.ReadFromUDPAddrPort(buf); check(err) },
		},
	}
}

func TestNetAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for name, hot := range hotSockets(t) {
		n := testing.AllocsPerRun(100, func() { hot.before(); hot.op() })
		if n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkNet(b *testing.B) {
	for name, hot := range hotSockets(b) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				hot.before()
				hot.op()
			}
		})
	}
}
