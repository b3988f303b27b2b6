//go:build linux

package netview_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/netview"
	"rumptools/internal/hijack/netview/netviewtest"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// counting counts questions about nodes.
type counting struct {
	netview.Kernel
	nodes, queries int
}

func (c *counting) SysctlQuery(ctx context.Context, mib []int32) ([]netbsd.Sysctlnode, error) {
	c.queries++
	return c.Kernel.SysctlQuery(ctx, mib)
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
	// Root, net, net.inet, net.inet.tcp.
	if c.queries != 4 || c.nodes != 0 {
		t.Errorf("%d questions, %d look-ups", c.queries, c.nodes)
	}
	want, _, err := conn.SysctlNode(t.Context(), "net.inet.udp.pcblist")
	must(t, err)
	if mib, node, err := k.SysctlNode(t.Context(), "net.inet.udp.pcblist"); err != nil || !slices.Equal(mib, want) || netbsd.CString(node.Name[:]) != "pcblist" {
		t.Errorf("%v, not %v: %v", mib, want, err)
	}
	if c.queries != 5 {
		t.Errorf("%d questions with what is next to it", c.queries)
	}
	for range 2 {
		if _, _, err := k.SysctlNode(t.Context(), "net.inet.nothing"); !errors.Is(err, netbsd.ENOENT) {
			t.Error(err)
		}
	}
	if c.nodes != 2 {
		t.Errorf("%d look-ups: what is not there may come", c.nodes)
	}
	if _, _, err := k.SysctlNode(t.Context(), "net.inet.ip.ttl.more"); !errors.Is(err, netbsd.ENOENT) {
		t.Errorf("below what has nothing below: %v", err)
	}
	end()
	end, err = netviewtest.Serve(url, netbsd.AMD64)
	must(t, err)
	defer end()
	// The first call may learn that the kernel is another.
	if err := list(); err != nil && !errors.Is(err, spclient.ErrLost) {
		t.Error(err)
	}
	c.nodes, c.queries = 0, 0
	must(t, list())
	must(t, list())
	// The first of the two may have asked for the root already.
	if c.queries < 3 || c.queries > 4 || c.nodes != 0 {
		t.Errorf("%d questions and %d look-ups in the new kernel", c.queries, c.nodes)
	}
}
