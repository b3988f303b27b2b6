package inet

import (
	"errors"
	"testing"

	"rumptools/internal/kernel"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// After a connect(2) to this host itself that did not wait, both ends know what
// became of it, as over a real kernel's lo0.
func TestConnectSettles(t *testing.T) {
	s := newStack(t)
	ctx := t.Context()
	c, err := spclient.Dial(ctx, "unix://"+serve(t, s), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	socket := func(typ int32) spclient.FD {
		t.Helper()
		fd, err := c.Socket(ctx, netbsd.AF_INET, netbsd.SOCK_STREAM|typ, 0)
		if err != nil {
			t.Fatal(err)
		}
		return fd
	}
	to, nobody := addr(s, "127.0.0.1:70"), addr(s, "127.0.0.1:71")
	l := socket(netbsd.SOCK_NONBLOCK)
	must(t, c.Bind(ctx, l, to))
	_, err = c.NewCall(netbsd.SYS_listen).FD(l).Int(5).Do(ctx)
	must(t, err)
	accept := func() error {
		r, err := c.NewCall(netbsd.SYS_accept).FD(l).Ptr(0).Ptr(0).Do(ctx)
		if err == nil {
			_, err = c.NewCall(netbsd.SYS_close).Int(int32(r.Retval[0])).Do(ctx)
		}
		return err
	}
	connect := func(fd spclient.FD, sa []byte) error {
		_, err := c.NewCall(netbsd.SYS_connect).FD(fd).In(sa).Uint(uint32(len(sa))).Do(ctx)
		return err
	}
	for range 20 {
		fd := socket(netbsd.SOCK_NONBLOCK)
		if err := connect(fd, to); !errors.Is(err, netbsd.EINPROGRESS) {
			t.Fatalf("connect: %v", err)
		}
		if err := accept(); err != nil {
			t.Errorf("accept: %v", err)
		}
		if err := connect(fd, to); !errors.Is(err, netbsd.EISCONN) {
			t.Errorf("connect again: %v", err)
		}
		must(t, c.CloseFD(ctx, fd))
		fd = socket(netbsd.SOCK_NONBLOCK)
		if err := connect(fd, nobody); !errors.Is(err, netbsd.EINPROGRESS) {
			t.Fatalf("connect to nobody: %v", err)
		}
		if err := connect(fd, nobody); !errors.Is(err, netbsd.EINVAL) {
			t.Errorf("connect to nobody again: %v", err)
		}
		must(t, c.CloseFD(ctx, fd))
	}
	if err := accept(); !errors.Is(err, netbsd.EAGAIN) {
		t.Errorf("accept of nobody: %v", err)
	}
}

var _ kernel.Settler = (*tcpSocket)(nil)
