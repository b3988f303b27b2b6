package local_test

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"testing"
	"time"

	"rumptools/internal/kernel"
	"rumptools/internal/kernel/local"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// client is a process in a kernel with local sockets.
func client(t *testing.T, m *netbsd.Machine) *spclient.Conn {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	k := kernel.New(kernel.Config{Machine: m})
	local.Register(k)
	go k.Serve(l)
	t.Cleanup(func() { k.Halt(true); k.Wait() })
	c, err := spclient.Dial(t.Context(), "unix://"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func sun(path string) []byte {
	sa := append([]byte{0, netbsd.AF_LOCAL}, path...)
	sa = append(sa, 0)
	sa[0] = byte(len(sa))
	return sa
}

var machines = []*netbsd.Machine{netbsd.AMD64, netbsd.I386, netbsd.POWERPC}

func TestStream(t *testing.T) {
	for _, m := range machines {
		t.Run(m.Name, func(t *testing.T) {
			c, ctx := client(t, m), t.Context()
			ls, err := c.Socket(ctx, netbsd.AF_LOCAL, netbsd.SOCK_STREAM, 0)
			if err != nil {
				t.Fatal(err)
			}
			s, err := c.Socket(ctx, netbsd.AF_LOCAL, netbsd.SOCK_STREAM, 0)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Connect(ctx, s, sun("/x")); !errors.Is(err, netbsd.ENOENT) {
				t.Errorf("connect to no one: %v", err)
			}
			if err := c.Bind(ctx, ls, sun("/x")); err != nil {
				t.Fatal(err)
			}
			if err := c.Connect(ctx, s, sun("/x")); !errors.Is(err, netbsd.ECONNREFUSED) {
				t.Errorf("connect to one who does not listen: %v", err)
			}
			if err := c.ListenFD(ctx, ls, 1); err != nil {
				t.Fatal(err)
			}
			if err := c.Connect(ctx, s, sun("/x")); err != nil {
				t.Fatal(err)
			}
			end, _, err := c.Accept(ctx, ls)
			if err != nil {
				t.Fatal(err)
			}
			if name, err := c.Getpeername(ctx, s); err != nil || string(name[2:]) != "/x\x00" {
				t.Errorf("getpeername: %q, %v", name, err)
			}
			if _, err := c.Write(ctx, s, []byte("hello")); err != nil {
				t.Fatal(err)
			}
			if err := c.Shutdown(ctx, s, netbsd.SHUT_WR); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 16)
			if n, err := c.Read(ctx, end, buf); string(buf[:n]) != "hello" || err != nil {
				t.Errorf("read %q, %v", buf[:n], err)
			}
			if n, err := c.Read(ctx, end, buf); n != 0 || err != nil {
				t.Errorf("after shutdown: %d, %v", n, err)
			}
			if err := c.CloseFD(ctx, end); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Write(ctx, s, []byte("x")); !errors.Is(err, netbsd.EPIPE) {
				t.Errorf("write to no one: %v", err)
			}
		})
	}
}

// A writer waits for its reader, and nothing is lost or reordered.
func TestStreamFlow(t *testing.T) {
	c, ctx := client(t, nil), t.Context()
	a, b, err := c.Socketpair(ctx, netbsd.AF_LOCAL, netbsd.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	const total = 1 << 20
	go func() {
		p := make([]byte, 5000)
		for sent := 0; sent < total; {
			for i := range p {
				p[i] = byte(sent + i)
			}
			n, err := c.Write(context.Background(), a, p[:min(len(p), total-sent)])
			if err != nil {
				t.Errorf("write: %v", err)
				break
			}
			sent += n
		}
		c.CloseFD(context.Background(), a)
	}()
	buf := make([]byte, 3000)
	got := 0
	for {
		n, err := c.Read(ctx, b, buf)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			break
		}
		for i, v := range buf[:n] {
			if v != byte(got+i) {
				t.Fatalf("byte %d is %d", got+i, v)
			}
		}
		got += n
	}
	if got != total {
		t.Errorf("got %d bytes of %d", got, total)
	}
}

func TestDatagrams(t *testing.T) {
	c, ctx := client(t, netbsd.POWERPC), t.Context()
	var fds [2]spclient.FD
	for i, name := range []string{"/a", "/b"} {
		fd, err := c.Socket(ctx, netbsd.AF_LOCAL, netbsd.SOCK_DGRAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Bind(ctx, fd, sun(name)); err != nil {
			t.Fatal(err)
		}
		fds[i] = fd
	}
	if _, err := c.Sendto(ctx, fds[0], []byte("one"), 0, sun("/b")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Sendto(ctx, fds[0], []byte("second"), 0, sun("/b")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4)
	n, from, err := c.Recvfrom(ctx, fds[1], buf, 0)
	if string(buf[:n]) != "one" || string(from) != string(sun("/a")) || err != nil {
		t.Errorf("got %q from %q, %v", buf[:n], from, err)
	}
	n, _, err = c.Recvfrom(ctx, fds[1], buf, 0)
	if string(buf[:n]) != "seco" || err != nil {
		t.Errorf("a cut datagram: %q, %v", buf[:n], err)
	}
	_, _, err = c.Recvfrom(ctx, fds[1], buf, netbsd.MSG_DONTWAIT)
	if !errors.Is(err, netbsd.EAGAIN) {
		t.Errorf("the rest of a datagram stayed: %v", err)
	}
	if _, err := c.Sendto(ctx, fds[0], []byte("x"), 0, sun("/c")); !errors.Is(err, netbsd.ENOENT) {
		t.Errorf("send to no one: %v", err)
	}
	if err := c.Bind(ctx, fds[0], sun("/z")); !errors.Is(err, netbsd.EINVAL) {
		t.Errorf("second bind: %v", err)
	}
}

func TestRights(t *testing.T) {
	for _, m := range machines {
		t.Run(m.Name, func(t *testing.T) {
			c, ctx := client(t, m), t.Context()
			a, b, err := c.Socketpair(ctx, netbsd.AF_LOCAL, netbsd.SOCK_STREAM, 0)
			if err != nil {
				t.Fatal(err)
			}
			r, w, err := c.Pipe(ctx)
			if err != nil {
				t.Fatal(err)
			}
			rights := m.Order.AppendUint32(nil, uint32(w.Int()))
			_, err = c.Sendmsg(ctx, a, &spclient.Message{
				Buffers: [][]byte{[]byte("x")},
				Control: netbsd.AppendCmsg(m, nil, netbsd.SOL_SOCKET, netbsd.SCM_RIGHTS, rights),
			}, 0)
			if err != nil {
				t.Fatal(err)
			}
			// The sender's own descriptor may go: the file is on its way.
			if err := c.CloseFD(ctx, w); err != nil {
				t.Fatal(err)
			}
			msg := spclient.Message{Buffers: [][]byte{make([]byte, 8)}, Control: make([]byte, 64)}
			n, err := c.Recvmsg(ctx, b, &msg, 0)
			if n != 1 || err != nil {
				t.Fatalf("recvmsg: %d, %v", n, err)
			}
			cms, err := netbsd.ParseCmsgs(m, msg.Control)
			if err != nil || len(cms) != 1 || cms[0].Type != netbsd.SCM_RIGHTS {
				t.Fatalf("control %+v, %v", cms, err)
			}
			fd := c.FD(int32(m.Order.Uint32(cms[0].Data)))
			if _, err := c.Write(ctx, fd, []byte("via")); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 8)
			if n, err := c.Read(ctx, r, buf); string(buf[:n]) != "via" || err != nil {
				t.Errorf("through the passed descriptor: %q, %v", buf[:n], err)
			}
		})
	}
}

func TestPcblist(t *testing.T) {
	for _, m := range machines {
		t.Run(m.Name, func(t *testing.T) {
			c, ctx := client(t, m), t.Context()
			fd, err := c.Socket(ctx, netbsd.AF_LOCAL, netbsd.SOCK_STREAM, 0)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Bind(ctx, fd, sun("/sock")); err != nil {
				t.Fatal(err)
			}
			mib, _, err := c.SysctlNode(ctx, "net.local.stream.pcblist")
			if err != nil {
				t.Fatal(err)
			}
			size := netbsd.Sizeof(m, netbsd.KinfoPcb{})
			// netstat(1) gives no size when it asks how much room to have.
			room, err := c.Sysctl(ctx, append(mib[:len(mib):len(mib)], 0, 0, 0, 0), nil, nil)
			if err != nil || room < size {
				t.Fatalf("room for %d bytes, %v", room, err)
			}
			b, err := c.SysctlBytes(ctx, append(mib, 0, 0, int32(size), 1<<30))
			if err != nil || len(b) != size {
				t.Fatalf("%d bytes, %v", len(b), err)
			}
			var p netbsd.KinfoPcb
			if err := netbsd.Unmarshal(m, b, &p); err != nil {
				t.Fatal(err)
			}
			if p.Type != netbsd.SOCK_STREAM || netbsd.CString(p.Src[2:]) != "/sock" {
				t.Errorf("%+v", p)
			}
		})
	}
}

func TestReceiveTimeout(t *testing.T) {
	c, ctx := client(t, netbsd.I386), t.Context()
	a, _, err := c.Socketpair(ctx, netbsd.AF_LOCAL, netbsd.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	tv := netbsd.Timeval{Usec: 20000}
	if err := c.SetsockoptStruct(ctx, a, netbsd.SOL_SOCKET, netbsd.SO_RCVTIMEO, &tv); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	_, err = c.Read(ctx, a, make([]byte, 1))
	if !errors.Is(err, netbsd.EAGAIN) || time.Since(start) < 20*time.Millisecond {
		t.Errorf("after %v: %v", time.Since(start), err)
	}
}
