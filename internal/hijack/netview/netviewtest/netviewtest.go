//go:build linux

// Package netviewtest runs embedded kernels with networks for tests of what
// programs are told about them.
package netviewtest

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rumptools/internal/ifconfig"
	"rumptools/internal/kernel"
	"rumptools/internal/kernel/inet"
	"rumptools/internal/rtsock"
	"rumptools/internal/shmif"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// Kernel is a kernel with a client.
type Kernel struct {
	*spclient.Conn
	URL string

	tb testing.TB
}

// Start runs a kernel of a machine until the test ends.
func Start(tb testing.TB, m *netbsd.Machine) *Kernel {
	tb.Helper()
	url := Path(tb)
	end, err := Serve(url, m)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(end)
	return Dial(tb, url, nil)
}

// Path makes a URL for a kernel, in a directory of its own.
func Path(tb testing.TB) (url string) {
	tb.Helper()
	// Not the test's directory: its path may be longer than a local socket's
	// may be.
	dir, err := os.MkdirTemp("", "rump-")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { os.RemoveAll(dir) })
	return "unix://" + filepath.Join(dir, "k")
}

// Serve runs a kernel of a machine at a URL of [Path]'s until end is called.
func Serve(url string, m *netbsd.Machine) (end func(), err error) {
	l, err := net.Listen("unix", strings.TrimPrefix(url, "unix://"))
	if err != nil {
		return nil, err
	}
	k := kernel.New(kernel.Config{Machine: m})
	stack, err := inet.New(inet.Config{Kernel: k, OpenBus: func(path string) (inet.Bus, error) { return shmif.Open(path) }})
	if err != nil {
		l.Close()
		return nil, err
	}
	served := make(chan struct{})
	go func() {
		k.Serve(l)
		close(served)
	}()
	return func() {
		k.Halt(true)
		<-served
		k.Wait()
		stack.Close()
	}, nil
}

// Dial connects to a kernel until the test ends.
func Dial(tb testing.TB, url string, opts *spclient.Options) *Kernel {
	tb.Helper()
	c, err := spclient.Dial(tb.Context(), url, opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { c.Close() })
	return &Kernel{c, url, tb}
}

// Configure does what ifconfig(8) does with words.
func (k *Kernel) Configure(words string) {
	k.tb.Helper()
	if err := ifconfig.Configure(k.tb.Context(), k.Conn, strings.Fields(words)); err != nil {
		k.tb.Fatalf("ifconfig %s: %v", words, err)
	}
}

// Ethernet makes shmif0 with addresses 10.0.0.N/24 and fd00::N/64 on a bus.
func (k *Kernel) Ethernet(bus string, n string) {
	k.tb.Helper()
	// Nobody else has the addresses; to ask takes seconds.
	for _, name := range []string{"net.inet.ip.dad_count", "net.inet6.ip6.dad_count"} {
		mib, _, err := k.SysctlNode(k.tb.Context(), name)
		if err == nil {
			err = k.SysctlSetInt(k.tb.Context(), mib, 0)
		}
		if err != nil {
			k.tb.Fatal(err)
		}
	}
	k.Configure("shmif0 create")
	k.Configure("shmif0 linkstr " + bus)
	k.Configure("shmif0 inet 10.0.0." + n + "/24")
	k.Configure("shmif0 inet6 fd00::" + n + "/64")
	k.Configure("shmif0 up")
	if err := ifconfig.Wait(k.tb.Context(), k.Conn, 30*time.Second, 0); err != nil {
		k.tb.Fatal(err)
	}
}

// Route changes the routing table: typ is RTM_ADD or RTM_DELETE.
func (k *Kernel) Route(typ uint8, dst string, gateway string, flags int32) {
	k.tb.Helper()
	if err := k.route(k.tb.Context(), typ, netip.MustParsePrefix(dst), netip.MustParseAddr(gateway), flags); err != nil {
		k.tb.Fatalf("route to %s: %v", dst, err)
	}
}

func (k *Kernel) route(ctx context.Context, typ uint8, dst netip.Prefix, gateway netip.Addr, flags int32) error {
	fd, err := k.Socket(ctx, netbsd.PF_ROUTE, netbsd.SOCK_RAW, 0)
	if err != nil {
		return err
	}
	defer k.CloseFD(ctx, fd)
	m := k.Machine()
	addrs := rtsock.Addrs{
		netbsd.RTAX_DST:     netbsd.Sockaddr(m, netip.AddrPortFrom(dst.Addr(), 0)),
		netbsd.RTAX_GATEWAY: netbsd.Sockaddr(m, netip.AddrPortFrom(gateway, 0)),
	}
	flags |= netbsd.RTF_UP | netbsd.RTF_GATEWAY
	if dst.IsSingleIP() {
		flags |= netbsd.RTF_HOST
	} else {
		family := uint8(netbsd.AF_INET)
		if dst.Addr().Is6() {
			family = netbsd.AF_INET6
		}
		addrs[netbsd.RTAX_NETMASK] = netbsd.Netmask(family, dst.Bits())
	}
	msg := netbsd.AppendRtMessage(m, nil, &netbsd.RtMsghdr{Type: typ, Flags: flags, Seq: 1}, addrs)
	_, err = k.Write(ctx, fd, msg)
	return err
}
