package apps

import (
	"os"
	"strings"
	"testing"
)

// TestAddrconfig: getaddrinfo(3) with AI_ADDRCONFIG, which asks for the host's addresses, finds IPv4 and IPv6 on a kernel
// that has no address but the loopback interface's.
func TestAddrconfig(t *testing.T) {
	python := find(t, "python3")
	h := &host{}
	if !native {
		h = startKernel(t, "alone")
	}
	const program = `
import socket
for name in '127.0.0.1', '::1', '10.0.0.9':
    print(*sorted({a[4][0] for a in socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)}))
print(open('/proc/net/if_inet6').read(), end='')
`
	want := "127.0.0.1\n::1\n10.0.0.9\n00000000000000000000000000000001 01 80 10 "
	if out := h.want(t, python, "-c", program); len(out) < len(want) || out[:len(want)] != want {
		t.Errorf("%s", out)
	}
	if out := h.want(t, find(t, "ip"), "-6", "-o", "addr", "show"); len(lines(out)) != 1 {
		t.Errorf("%s", out)
	}
}

// TestLo: programs know the loopback interface as lo without asking, and containers set it up.
func TestLo(t *testing.T) {
	if native {
		t.Skip("it is called lo there")
	}
	for _, args := range [][]string{
		{"ip", "-o", "link", "show", "lo"}, {"ip", "-o", "addr", "show", "dev", "lo"}, {"ip", "-o", "link", "show"},
	} {
		if out := server.want(t, find(t, args[0]), args[1:]...); !strings.Contains(out, "lo0") {
			t.Errorf("%q: %s", args, out)
		}
	}
	server.want(t, find(t, "ip"), "link", "set", "lo", "up")
	server.want(t, find(t, "ip"), "addr", "add", "127.0.0.1/8", "dev", "lo")

	// bubblewrap gives lo its address and sets it up, and wants the answers to be its process's.
	bwrap := []string{find(t, "bwrap"), "--unshare-user", "--unshare-net", "--dev-bind", "/", "/"}
	if r := (&host{}).run(t, bwrap[0], append(bwrap[1:], "true")...); r.Code != 0 {
		t.Skipf("not on this host either: %s", r.Stderr)
	}
	const program = `
import os, socket
print(socket.if_nametoindex('lo') == socket.if_nametoindex('lo0'))
routes = []
for i in range(2):
    routes.append(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0))
    routes[i].bind((0, 0))
    print(routes[i].getsockname()[0] == os.getpid())
`
	if out := server.want(t, bwrap[0], append(bwrap[1:], "--unshare-pid", find(t, "python3"), "-c", program)...); out != "True\nTrue\nFalse\n" {
		t.Errorf("%s", out)
	}
}

// TestProcNetAtOnce: all who read /proc/net as soon as they can, several at a time, find what is in it.
func TestProcNetAtOnce(t *testing.T) {
	if server.kernel == "" {
		t.Skip("is about exec")
	}
	const script = "for i in 1 2 3 4; do grep -c lo0: /proc/net/dev & done; wait"
	if out := server.want(t, find(t, "sh"), "-c", script); out != strings.Repeat("1\n", 4) {
		t.Errorf("%s", out)
	}
}

// TestGroupsShown: the groups that a program has joined are in /proc/net, as soon as it has, until it leaves them.
func TestGroupsShown(t *testing.T) {
	if server.kernel == "" {
		t.Skip("is about exec")
	}
	const program = `
import socket, struct
def show():
    lines = [line.split()[0] for line in open('/proc/net/igmp') if 'FE0000E0' in line]
    return lines + [line.split()[2] for line in open('/proc/net/igmp6') if line.split()[2].endswith('0114')]
s, s6 = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
print(show())
mreq = socket.inet_aton('224.0.0.254') + socket.inet_aton('127.0.0.1')
mreq6 = socket.inet_pton(socket.AF_INET6, 'ff01::114') + struct.pack('=I', socket.if_nametoindex('lo'))
s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, mreq)
s6.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, mreq6)
print(show())
s.setsockopt(socket.IPPROTO_IP, socket.IP_DROP_MEMBERSHIP, mreq)
s6.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_LEAVE_GROUP, mreq6)
print(show())
`
	want := "[]\n['FE0000E0', 'ff010000000000000000000000000114']\n[]\n"
	if os.Getenv("APPS_SERVER") != "" {
		want = strings.Replace(want, "'FE0000E0', ", "", 1) // NetBSD's own kernel does not tell of IPv4's
	}
	if out := server.want(t, find(t, "python3"), "-c", program); out != want {
		t.Errorf("%s", out)
	}
}
