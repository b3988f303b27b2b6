package spclient_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
	"rumptools/pkg/spclient/spclienttest"
	"rumptools/pkg/sysproxy"
)

// fuzzMachines are the layouts that the fuzz targets have servers of.
var fuzzMachines = []*netbsd.Machine{netbsd.AMD64, netbsd.POWERPC, netbsd.I386, netbsd.SPARC64}

// firstAddr is the address of victim's first buffer on a new connection, and
// secondAddr the second's, so that the recorded copies hit something.
const (
	firstAddr  = 0x10000000
	secondAddr = firstAddr + 2*victimIn
)

// recordedAnswers returns what the recorded kernels sent for a system call, from its
// beginning to its answer, as if the call were victim's: one of each kind, with the
// index of the machine in fuzzMachines.
func recordedAnswers(tb testing.TB) (seeds [][]byte, machines []uint8) {
	tb.Helper()
	recs, err := recordings()
	if err != nil {
		tb.Fatal(err)
	}
	const call = 2 // victim's request number
	seen := make(map[string]bool)
	for _, rec := range recs {
		banner, err := sysproxy.ParseBanner(rec.Server)
		if err != nil {
			tb.Fatal(err)
		}
		i := slices.IndexFunc(fuzzMachines, func(m *netbsd.Machine) bool { return m.Name == banner.Machine })
		if i < 0 {
			continue
		}
		l := sysproxy.Layout{Order: fuzzMachines[i].Order, WordSize: fuzzMachines[i].WordSize}
		var frames []byte
		kind := banner.Machine
		for _, e := range rec.Events {
			if e.FromClient || !e.IsFrame() || len(e.Data) > 8<<10 {
				continue
			}
			h, err := l.ParseHeader(e.Data)
			if err != nil {
				continue
			}
			m, err := l.Decode(h, e.Data[sysproxy.HeaderLen:])
			if err != nil {
				continue
			}
			reqno := h.ReqNo
			switch msg := m.(type) {
			case sysproxy.CopyIn:
				m = sysproxy.CopyIn{Len: min(msg.Len, victimIn), Addr: firstAddr}
			case sysproxy.CopyInStr:
				m = sysproxy.CopyInStr{Len: msg.Len, Addr: firstAddr}
			case sysproxy.CopyOut:
				m = sysproxy.CopyOut{Addr: secondAddr, Data: msg.Data[:min(len(msg.Data), victimOut)]}
			case sysproxy.SyscallReply, sysproxy.Refusal, sysproxy.PreforkReply:
				reqno = call
			case sysproxy.HandshakeReply:
				continue // had before
			}
			frames = m.Append(frames, l, reqno)
			kind += fmt.Sprintf(" %v %v", h.Class, h.Type)
			if h.Class == sysproxy.Req {
				continue
			}
			if !seen[kind] {
				seen[kind] = true
				seeds, machines = append(seeds, frames), append(machines, uint8(i))
			}
			frames, kind = nil, banner.Machine
		}
	}
	return seeds, machines
}

// fuzzServer listens for the clients of a fuzz target. Each run gets the next
// connection with accept.
func fuzzServer(f *testing.F) (url string, accept func() (net.Conn, error)) {
	f.Helper()
	path := filepath.Join(f.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { ln.Close() })
	return "unix://" + path, func() (net.Conn, error) {
		ln.(*net.UnixListener).SetDeadline(time.Now().Add(testTimeout))
		return ln.Accept()
	}
}

// hidden hides a connection's descriptor, so that it is used as it is.
func hidden(ctx context.Context, network, address string) (net.Conn, error) {
	nc, err := new(net.Dialer).DialContext(ctx, network, address)
	return struct{ net.Conn }{nc}, err
}

// checkTyped checks that an error is one that a call may have.
func checkTyped(t *testing.T, err error) {
	t.Helper()
	var code sysproxy.ErrorCode
	var errno netbsd.Errno
	var perr *spclient.ProtocolError
	if err != nil && !errors.As(err, &code) && !errors.As(err, &errno) && !errors.As(err, &perr) && !errors.Is(err, spclient.ErrLost) {
		t.Errorf("%#v", err)
	}
}

// FuzzServer lets a client that has a call under way listen to anything, on a
// descriptor and on a connection that has none. It must get an answer or a typed
// error, and so must the next call. The corpus is what real kernels sent.
func FuzzServer(f *testing.F) {
	seeds, machines := recordedAnswers(f)
	if len(seeds) < 20 {
		f.Fatalf("%d kinds of answers in the recordings", len(seeds))
	}
	for i, seed := range seeds {
		f.Add(machines[i], false, seed)
	}
	l := sysproxy.Layout{Order: netbsd.AMD64.Order, WordSize: 8}
	f.Add(uint8(0), true, sysproxy.SyscallReply{}.Append(sysproxy.CopyOut{Addr: secondAddr + 32, Data: []byte("data")}.Append(
		sysproxy.CopyIn{Len: victimIn, Addr: firstAddr}.Append(nil, l, 0), l, 1), l, 2))
	f.Add(uint8(0), true, sysproxy.CopyInStr{Len: 10, Addr: firstAddr}.Append(sysproxy.AnonMmap{Len: 1}.Append(
		sysproxy.Raise{Signo: 1}.Append(sysproxy.Refusal{Code: 7}.Append(nil, l, 2), l, 0), l, 0), l, 0))
	// Two calls' answers.
	f.Add(uint8(0), false, sysproxy.SyscallReply{}.Append(sysproxy.SyscallReply{}.Append(nil, l, 2), l, 3))
	url, accept := fuzzServer(f)
	f.Fuzz(func(t *testing.T, which uint8, hide bool, b []byte) {
		m := fuzzMachines[int(which)%len(fuzzMachines)]
		l := sysproxy.Layout{Order: m.Order, WordSize: m.WordSize}
		served := make(chan struct{})
		go func() {
			defer close(served)
			server, err := accept()
			if err != nil {
				t.Error(err)
				return
			}
			defer server.Close()
			io.WriteString(server, spclienttest.BannerOf(m))
			for i := range 2 {
				h, err := l.ReadHeader(server)
				if err != nil {
					return
				}
				if _, err := sysproxy.ReadPayload(server, h, nil, 1<<10); err != nil {
					return
				}
				if i == 0 {
					server.Write(sysproxy.HandshakeReply{}.Append(nil, l, h.ReqNo))
				}
			}
			answers := make(chan struct{})
			go func() { // what the client answers
				defer close(answers)
				io.Copy(io.Discard, server)
			}()
			server.Write(b)
			server.(*net.UnixConn).CloseWrite()
			<-answers
		}()
		opts := &spclient.Options{}
		if hide {
			opts.Dial = hidden
		}
		ctx := testContext(t)
		c, err := spclient.Dial(ctx, url, opts)
		if err != nil {
			t.Fatal(err)
		}
		checkTyped(t, victim(ctx, c))
		_, err = c.Getpid(ctx)
		checkTyped(t, err)
		c.Close()
		<-served
	})
}

// FuzzDial lets a client that connects listen to anything. The corpus is what real
// kernels said first.
func FuzzDial(f *testing.F) {
	recs, err := recordings()
	if err != nil {
		f.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, rec := range recs {
		var first []byte
		frames := 0
		for _, e := range rec.Events {
			if e.Kind == spclienttest.Sent && !e.FromClient && e.Conn == 1 && frames < 2 {
				first = append(first, e.Data...)
				frames++
			}
		}
		if !seen[string(first)] {
			seen[string(first)] = true
			f.Add(first)
		}
	}
	for _, m := range fuzzMachines {
		l := sysproxy.Layout{Order: m.Order, WordSize: m.WordSize}
		f.Add(sysproxy.HandshakeReply{}.Append([]byte(spclienttest.BannerOf(m)), l, 1))
		f.Add(sysproxy.Refusal{Code: sysproxy.ErrAuth}.Append([]byte(spclienttest.BannerOf(m)), l, 1))
	}
	url, accept := fuzzServer(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		if !strings.Contains(string(b), "\n") && len(b) < sysproxy.MaxBanner {
			b = append(b, '\n') // else it is a server that dies, which Dial asks again
		}
		served := make(chan struct{})
		go func() {
			defer close(served)
			server, err := accept()
			if err != nil {
				t.Error(err)
				return
			}
			defer server.Close()
			server.Write(b)
			server.(*net.UnixConn).CloseWrite()
			io.Copy(io.Discard, server)
		}()
		ctx := testContext(t)
		c, err := spclient.Dial(ctx, url, nil)
		if err != nil {
			var derr *spclient.DialError
			if !errors.As(err, &derr) || ctx.Err() != nil {
				t.Errorf("%#v", err)
			}
			checkLine(t, err)
		} else {
			_, err = c.Getpid(ctx)
			checkTyped(t, err)
			c.Close()
		}
		<-served
	})
}
