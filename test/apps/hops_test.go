package apps

import (
	"context"
	"net/netip"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"rumptools/internal/rtsock"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// TestTracepath: tracepath(8), whose socket is not connected, hears of each hop by its queue of
// errors: of a router on the way, of the MTU behind it, and of the host at the end, where nobody has the
// port. ping(8) goes by that MTU then.
func TestTracepath(t *testing.T) {
	twoKernels(t)
	tracepath, ping := find(t, "tracepath"), find(t, "ping")
	dir := tempDir(t)
	bus := func(name string) string { return filepath.Join(dir, name) }
	near := startKernel(t, "near", "--bus", bus("1"), "--address", "10.7.1.1/24", "--address", "fd07:1::1/64")
	router := startKernel(t, "router", "--bus", bus("1"), "--address", "10.7.1.2/24", "--address", "fd07:1::2/64")
	far := startKernel(t, "far", "--bus", bus("2"), "--address", "10.7.2.1/24", "--address", "fd07:2::1/64")
	for _, args := range [][]string{
		{"shmif1", "create"},
		{"shmif1", "linkstr", bus("2")},
		{"shmif1", "inet", "10.7.2.2/24"},
		{"shmif1", "inet6", "fd07:2::2/64"},
		{"shmif1", "mtu", "1400"},
	} {
		tool(t, "rifconfig", append([]string{"--server", router.kernel}, args...)...)
	}
	tool(t, "rifconfig", "--server", far.kernel, "shmif0", "mtu", "1400")
	tool(t, "rifconfig", "--server", router.kernel, "-w", "30")
	tool(t, "rumpctl", "sysctl", "--server", router.name, "net.inet6.ip6.forwarding=1")
	near.route(t, "10.7.2.0/24", "10.7.1.2")
	near.route(t, "fd07:2::/64", "fd07:1::2")
	far.route(t, "10.7.1.0/24", "10.7.2.2")
	far.route(t, "fd07:1::/64", "fd07:2::2")
	for _, test := range []struct{ family, to, router string }{
		{"-4", "10.7.2.1", "10.7.1.2"},
		{"-6", "fd07:2::1", "fd07:1::2"},
	} {
		r := start(t, near.command(nil, tracepath, test.family, "-n", test.to)).finish(limit)
		want := regexp.MustCompile(`(?s)\n? 1:  ` + test.router + ` +[0-9.]+ms .*\n 2:  ` + test.to + ` +[0-9.]+ms reached\n +Resume: pmtu 1400 hops 2 back 2`)
		if r.Code != 0 || !want.MatchString(r.Stdout) {
			t.Errorf("%s: exit %d\n%s%s", test.to, r.Code, r.Stdout, r.Stderr)
		}
		// The path's MTU is known now. Who forbids fragments is told so, and others send them.
		r = start(t, near.command(nil, ping, test.family, "-n", "-c", "1", "-W", "1", "-M", "do", "-s", "1400", test.to)).finish(limit)
		if !strings.Contains(r.Stderr, "local error: message too long, mtu") || !strings.Contains(r.Stderr, "1400\n") {
			t.Errorf("ping -M do %s: exit %d\n%s%s", test.to, r.Code, r.Stdout, r.Stderr)
		}
		if test.family == "-4" {
			// An option in the header, which sockets for echo requests tell by IP_RETOPTS.
			r = start(t, near.command(nil, ping, "-R", "-n", "-c", "1", test.to)).finish(limit)
			if route := regexp.MustCompile(`(?s)RR: \t10\.7\.2\.2\n\t10\.7\.2\.1\n.*\t10\.7\.1\.2\n`); r.Code != 0 || !route.MatchString(r.Stdout) {
				t.Errorf("ping -R: exit %d\n%q%s", r.Code, r.Stdout, r.Stderr)
			}
		}
		for _, args := range [][]string{{"-M", "do", "-s", "1300"}, {"-s", "3000"}} {
			args = append([]string{test.family, "-n", "-c", "1", test.to}, args...)
			r = start(t, near.command(nil, ping, args...)).finish(limit)
			if r.Code != 0 || !strings.Contains(r.Stdout, " 1 received,") {
				t.Errorf("ping %v: exit %d\n%s%s", args, r.Code, r.Stdout, r.Stderr)
			}
		}
	}
}

// route adds a route to the kernel.
func (h *host) route(t *testing.T, to, gateway string) {
	t.Helper()
	ctx := t.Context()
	conn, err := spclient.Dial(ctx, h.kernel, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := addRoute(ctx, conn, netip.MustParsePrefix(to), netip.MustParseAddr(gateway)); err != nil {
		t.Fatalf("route to %s: %v", to, err)
	}
}

func addRoute(ctx context.Context, conn *spclient.Conn, to netip.Prefix, gateway netip.Addr) error {
	fd, err := conn.Socket(ctx, netbsd.PF_ROUTE, netbsd.SOCK_RAW, 0)
	if err != nil {
		return err
	}
	m, family := conn.Machine(), uint8(netbsd.AF_INET)
	if to.Addr().Is6() {
		family = netbsd.AF_INET6
	}
	_, err = conn.Write(ctx, fd, netbsd.AppendRtMessage(m, nil,
		&netbsd.RtMsghdr{Type: netbsd.RTM_ADD, Flags: netbsd.RTF_UP | netbsd.RTF_GATEWAY | netbsd.RTF_STATIC, Seq: 1},
		rtsock.Addrs{
			netbsd.RTAX_DST:     netbsd.Sockaddr(m, netip.AddrPortFrom(to.Addr(), 0)),
			netbsd.RTAX_GATEWAY: netbsd.Sockaddr(m, netip.AddrPortFrom(gateway, 0)),
			netbsd.RTAX_NETMASK: netbsd.Netmask(family, to.Bits()),
		}))
	return err
}
