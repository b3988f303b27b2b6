package apps

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
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
		for _, args := range [][]string{{"-M", "do", "-s", "1300"}, {"-s", "3000"}} {
			args = append([]string{test.family, "-n", "-c", "1", test.to}, args...)
			r = start(t, near.command(nil, ping, args...)).finish(limit)
			if r.Code != 0 || !strings.Contains(r.Stdout, " 1 received,") {
				t.Errorf("ping %v: exit %d\n%s%s", args, r.Code, r.Stdout, r.Stderr)
			}
		}
	}
}

// tool runs one of our programs.
func tool(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(filepath.Join(bin, name), args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// startKernel starts a rumpd for the test.
func startKernel(t *testing.T, name string, args ...string) *host {
	t.Helper()
	tool(t, "rumpctl", append([]string{"start", name}, args...)...)
	t.Cleanup(func() { exec.Command(filepath.Join(bin, "rumpctl"), "halt", name).Run() })
	return &host{name: name, kernel: "unix://" + filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "rump", name)}
}

// TestBindToDevice: a program that wants an interface, with SO_BINDTODEVICE, has that one and no other.
func TestBindToDevice(t *testing.T) {
	twoKernels(t)
	ping, curl, socat := find(t, "ping"), find(t, "curl"), find(t, "socat")
	dir := tempDir(t)
	here := startKernel(t, "here", "--bus", filepath.Join(dir, "1"), "--address", "10.8.1.1/24")
	first := startKernel(t, "first", "--bus", filepath.Join(dir, "1"), "--address", "10.8.1.2/24")
	second := startKernel(t, "second", "--bus", filepath.Join(dir, "2"), "--address", "10.8.2.2/24")
	tool(t, "rifconfig", "--server", here.kernel, "shmif1", "create")
	tool(t, "rifconfig", "--server", here.kernel, "shmif1", "linkstr", filepath.Join(dir, "2"))
	tool(t, "rifconfig", "--server", here.kernel, "shmif1", "inet", "10.8.2.1/24")
	tool(t, "rifconfig", "--server", here.kernel, "-w", "30")

	for _, test := range []struct {
		ifname, to, want string
		code             int
	}{
		{"shmif0", "10.8.1.2", " 1 received,", 0},
		{"shmif1", "10.8.2.2", " 1 received,", 0},
		{"shmif0", "10.8.2.2", " 0 received,", 1},
		{"nonesuch0", "10.8.1.2", "nonesuch0", 2},
	} {
		r := start(t, here.command(nil, ping, "-n", "-c", "1", "-W", "5", "-I", test.ifname, test.to)).finish(limit)
		if r.Code != test.code || !strings.Contains(r.Stdout+r.Stderr, test.want) {
			t.Errorf("ping -I %s %s: exit %d\n%s%s", test.ifname, test.to, r.Code, r.Stdout, r.Stderr)
		}
	}

	p, answer := port(t), filepath.Join(dir, "answer")
	write(t, answer, "HTTP/1.0 200 OK\r\n\r\nby shmif1")
	here.serve(t, "tcp", p, here.command(nil, socat, fmt.Sprintf("TCP-LISTEN:%d,fork,so-bindtodevice=shmif1", p),
		"SYSTEM:cat "+answer))
	if got := second.want(t, curl, "-sS", "--interface", "shmif0", fmt.Sprintf("http://10.8.2.1:%d/", p)); got != "by shmif1" {
		t.Errorf("curl by the second interface: %q", got)
	}
	if r := first.run(t, curl, "-sS", fmt.Sprintf("http://10.8.1.1:%d/", p)); r.Code != 7 {
		t.Errorf("curl by the first interface: exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
}

// TestAddressEvent: when netlink tells a program of a new address it can be bound, though NetBSD looks for three seconds
// whether another host has it.
func TestAddressEvent(t *testing.T) {
	twoKernels(t)
	python := find(t, "python3")
	h := startKernel(t, "event", "--bus", filepath.Join(tempDir(t), "bus"), "--address", "10.60.0.1/24")
	tool(t, "rifconfig", "--server", h.kernel, "-w", "30")
	const program = `
import socket, struct
r = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
r.bind((0, 0x10)) # RTMGRP_IPV4_IFADDR
print('ready', flush=True)
length, kind = struct.unpack_from('=IH', r.recv(9999))
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).bind(('10.60.0.78', 0))
print('bound after', kind, flush=True)
`
	p := start(t, h.command(nil, python, "-c", program))
	p.says("(?m)^ready$")
	tool(t, "rifconfig", "--server", h.kernel, "shmif0", "inet", "10.60.0.78/24", "alias")
	p.says("(?m)^bound after 20$")
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
