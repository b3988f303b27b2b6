//go:build linux

package netview_test

import (
	"context"
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/netview"
	"rumptools/internal/hijack/netview/netviewtest"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// counting counts look-ups of nodes.
type counting struct {
	netview.Kernel
	nodes int
}

func (c *counting) SysctlNode(ctx context.Context, name string) ([]int32, netbsd.Sysctlnode, error) {
	c.nodes++
	return c.Kernel.SysctlNode(ctx, name)
}

// TestRemember asks for a node once, and again after the kernel was lost.
func TestRemember(t *testing.T) {
	url := netviewtest.Path(t)
	end, err := netviewtest.Serve(url, netbsd.AMD64)
	must(t, err)
	conn := netviewtest.Dial(t, url, &spclient.Options{Retry: spclient.RetryInfinite, Message: func(string) {}})
	c := &counting{Kernel: conn}
	k := netview.Remember(c)
	list := func() error {
		_, err := netview.Sockets(t.Context(), k, unix.AF_INET, unix.IPPROTO_TCP)
		return err
	}
	for range 3 {
		must(t, list())
	}
	if c.nodes != 1 {
		t.Errorf("%d look-ups", c.nodes)
	}
	for range 2 {
		if _, _, err := k.SysctlNode(t.Context(), "net.inet.nothing"); !errors.Is(err, netbsd.ENOENT) {
			t.Error(err)
		}
	}
	if c.nodes != 3 {
		t.Errorf("%d look-ups: what is not there may come", c.nodes)
	}
	end()
	end, err = netviewtest.Serve(url, netbsd.AMD64)
	must(t, err)
	defer end()
	// The first call may learn that the kernel is another.
	if err := list(); err != nil && !errors.Is(err, spclient.ErrLost) {
		t.Error(err)
	}
	c.nodes = 0
	must(t, list())
	must(t, list())
	if c.nodes != 1 {
		t.Errorf("%d look-ups in the new kernel", c.nodes)
	}
}
