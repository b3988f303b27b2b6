package local_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// pass sends descriptors with a byte over a socket.
func pass(t *testing.T, c *spclient.Conn, over spclient.FD, fds ...spclient.FD) error {
	t.Helper()
	m := netbsd.AMD64
	var rights []byte
	for _, fd := range fds {
		rights = m.Order.AppendUint32(rights, uint32(fd.Int()))
	}
	_, err := c.Sendmsg(t.Context(), over, &spclient.Message{
		Buffers: [][]byte{[]byte("x")},
		Control: netbsd.AppendCmsg(m, nil, netbsd.SOL_SOCKET, netbsd.SCM_RIGHTS, rights),
	}, 0)
	return err
}

func pair(t *testing.T, c *spclient.Conn, typ int32) (a, b spclient.FD) {
	t.Helper()
	a, b, err := c.Socketpair(t.Context(), netbsd.AF_LOCAL, typ, 0)
	if err != nil {
		t.Fatal(err)
	}
	return a, b
}

// shut closes descriptors.
func shut(t *testing.T, c *spclient.Conn, fds ...spclient.FD) {
	t.Helper()
	for _, fd := range fds {
		if err := c.CloseFD(t.Context(), fd); err != nil {
			t.Fatal(err)
		}
	}
}

// sockets is how many stream sockets there are.
func sockets(t *testing.T, c *spclient.Conn) int {
	t.Helper()
	mib, _, err := c.SysctlNode(t.Context(), "net.local.stream.pcblist")
	if err != nil {
		t.Fatal(err)
	}
	size := netbsd.Sizeof(netbsd.AMD64, netbsd.KinfoPcb{})
	b, err := c.SysctlBytes(t.Context(), append(mib, 0, 0, int32(size), 1<<30))
	if err != nil {
		t.Fatal(err)
	}
	return len(b) / size
}

// Sockets that are in each other's messages only must go.
func TestRightsInCircles(t *testing.T) {
	c := client(t, netbsd.AMD64)
	keptA, keptB := pair(t, c, netbsd.SOCK_STREAM)
	inner, innerPeer := pair(t, c, netbsd.SOCK_STREAM)
	// This one can still be received.
	if err := pass(t, c, keptA, inner); err != nil {
		t.Fatal(err)
	}
	shut(t, c, inner)
	for range 300 {
		a, b := pair(t, c, netbsd.SOCK_STREAM)
		for _, s := range []spclient.FD{a, b} {
			if err := pass(t, c, s, a, b); err != nil {
				t.Fatal(err)
			}
		}
		shut(t, c, a, b)
	}
	// What is left waits for the next collection.
	if n := sockets(t, c); n > 4+2*64 {
		t.Errorf("%d sockets are left of 600", n)
	}
	msg := spclient.Message{Buffers: [][]byte{make([]byte, 8)}, Control: make([]byte, 64)}
	if _, err := c.Recvmsg(t.Context(), keptB, &msg, 0); err != nil {
		t.Fatal(err)
	}
	cms, err := netbsd.ParseCmsgs(netbsd.AMD64, msg.Control)
	if err != nil || len(cms) != 1 {
		t.Fatalf("%+v, %v", cms, err)
	}
	got := c.FD(int32(netbsd.AMD64.Order.Uint32(cms[0].Data)))
	if _, err := c.Write(t.Context(), got, []byte("alive")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 8)
	if n, err := c.Read(t.Context(), innerPeer, buf); string(buf[:n]) != "alive" || err != nil {
		t.Errorf("%q, %v", buf[:n], err)
	}
}

// Descriptors that arrive where nobody takes them are closed, and a socket that
// closes so does not block the others.
func TestRightsNotTaken(t *testing.T) {
	buf := make([]byte, 8)
	for name, drop := range map[string]func(ctx context.Context, c *spclient.Conn, b spclient.FD) error{
		"read": func(ctx context.Context, c *spclient.Conn, b spclient.FD) error {
			_, err := c.Read(ctx, b, buf)
			return err
		},
		"recvfrom": func(ctx context.Context, c *spclient.Conn, b spclient.FD) error {
			_, err := c.NewCall(netbsd.SYS_recvfrom).FD(b).Out(buf).Word(8).Int(0).Ptr(0).Ptr(0).Do(ctx)
			return err
		},
		"recvmsg without room": func(ctx context.Context, c *spclient.Conn, b spclient.FD) error {
			msg := spclient.Message{Buffers: [][]byte{buf}}
			_, err := c.Recvmsg(ctx, b, &msg, 0)
			if err == nil && msg.Flags&netbsd.MSG_CTRUNC == 0 {
				err = errors.New("no MSG_CTRUNC")
			}
			return err
		},
		"shutdown": func(ctx context.Context, c *spclient.Conn, b spclient.FD) error {
			return c.Shutdown(ctx, b, netbsd.SHUT_RD)
		},
		"close": func(ctx context.Context, c *spclient.Conn, b spclient.FD) error { return c.CloseFD(ctx, b) },
	} {
		t.Run(name, func(t *testing.T) {
			c := client(t, netbsd.AMD64)
			a, b := pair(t, c, netbsd.SOCK_STREAM)
			x, y := pair(t, c, netbsd.SOCK_STREAM)
			if err := pass(t, c, a, x, y); err != nil {
				t.Fatal(err)
			}
			shut(t, c, x, y)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if err := drop(ctx, c, b); err != nil {
				t.Fatal(err)
			}
			if n := sockets(t, c); n > 2 {
				t.Errorf("%d sockets, want 2 at most", n)
			}
		})
	}
}

// A kqueue belongs to its process, and a message that could not be sent leaves
// nothing behind.
func TestRightsRefused(t *testing.T) {
	c := client(t, netbsd.AMD64)
	a, b := pair(t, c, netbsd.SOCK_STREAM)
	kq, err := c.Kqueue(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	x, y := pair(t, c, netbsd.SOCK_STREAM)
	if err := pass(t, c, a, x, kq); !errors.Is(err, netbsd.EBADF) {
		t.Errorf("a kqueue: %v", err)
	}
	shut(t, c, b)
	if err := pass(t, c, a, x); !errors.Is(err, netbsd.EPIPE) {
		t.Errorf("to nobody: %v", err)
	}
	shut(t, c, x, y)
	if n := sockets(t, c); n != 1 {
		t.Errorf("%d sockets, want one", n)
	}
}

// Messages without bytes take room, too.
func TestEmptyDatagrams(t *testing.T) {
	for _, typ := range []int32{netbsd.SOCK_DGRAM, netbsd.SOCK_SEQPACKET} {
		c := client(t, netbsd.AMD64)
		a, _ := pair(t, c, typ)
		n := 0
		var err error
		for ; n < 10000 && err == nil; n++ {
			_, err = c.NewCall(netbsd.SYS_sendto).FD(a).Ptr(0).Word(0).Int(netbsd.MSG_DONTWAIT).Ptr(0).Int(0).Do(t.Context())
		}
		if n > 1000 || !errors.Is(err, netbsd.ENOBUFS) && !errors.Is(err, netbsd.EAGAIN) {
			t.Errorf("type %d: %d of them, then %v", typ, n, err)
		}
	}
}
