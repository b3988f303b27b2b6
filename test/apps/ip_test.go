package apps

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// ipScript changes a network in all ways that ip(8) knows and NetBSD's kernel has, and says what came of each step. lo is
// the loopback interface.
const ipScript = `
PATH=$PATH:/usr/sbin:/sbin
try() { if "$@" >/dev/null 2>&1; then echo "$*: done"; else echo "$*: refused"; fi; }
routes() { ip route | sed 's/ *$//'; }
routes6() { ip -6 route | sed "s/ error [0-9-]*//; s/dev $lo /dev lo /; /^fe80/d" | sort; }
addrs() { ip -o addr show dev shmif0 scope global | sed 's/^[0-9]*: //; s/\\.*//; s/ tentative//; s/  */ /g; s/ *$//'; }

try ip addr add 10.0.0.5/24 dev shmif0
try ip addr add 10.0.0.5/24 dev shmif0
try ip addr replace 10.0.0.5/24 dev shmif0
try ip addr add 10.0.0.6/24 brd + dev shmif0
try ip addr add 10.0.0.7/33 dev shmif0
try ip -6 addr add fd00::5/64 dev shmif0
try ip -6 addr add fd00::5/64 dev shmif0
try ip -6 addr add ff02::7/64 dev shmif0
try ip -6 addr add ::/64 dev shmif0
try ip -6 addr add fd00::6/64 dev shmif0 valid_lft 1 preferred_lft 2
addrs
try ip addr del 10.0.0.9/24 dev shmif0
try ip addr del 10.0.0.6/16 dev shmif0
try ip addr del 10.0.0.6/24 dev shmif0
addrs

try ip route add default via 10.0.0.1
try ip route add default via 10.0.0.1
try ip route add default via 10.0.0.2
try ip route replace default via 10.0.0.2
try ip route add 10.7.0.0/16 via 10.9.0.1
try ip route add 10.7.0.0/16 via 10.0.0.1 mtu 1400 metric 7 proto bird src 10.0.0.5
try ip route add 10.7.0.0/16 via 10.0.0.1 src 10.0.0.77
try ip route add blackhole 10.8.0.0/16
try ip route add blackhole 10.8.0.0/16
try ip route add unreachable 10.9.0.0/16 metric 12
try ip route add 10.11.0.0/16 dev shmif0
try ip route add 10.12.0.1 dev shmif0
try ip route add 10.13.0.1/16 dev shmif0
try ip route add 10.13.0.0/16 via 10.0.0.1 dev $lo
try ip route add 10.13.0.0/16 via 10.11.0.1
try ip route add 10.13.0.0/16 via 10.7.0.1
try ip route add 10.14.0.0/16 via 10.50.0.1
try ip route add 10.14.0.0/16 via 10.50.0.1 dev shmif0 onlink
try ip route add 10.15.0.0/16 via 10.0.0.255
try ip route add 10.15.0.0/16 via 10.8.0.1
try ip route add 10.15.0.0/16 via 10.0.0.5
try ip route add 10.15.0.0/16 via 224.0.0.1
try ip route change 10.77.0.0/16 via 10.0.0.1
try ip route change 10.11.0.0/16 via 10.0.0.1
try ip route replace 10.8.0.0/16 via 10.0.0.1
try ip route replace 10.7.0.0/16 dev shmif0 metric 7
try ip route replace 10.78.0.0/16 via 10.0.0.1
routes
try ip route del 10.99.0.0/16
try ip route del 10.78.0.0/16 via 10.0.0.2
try ip route del 10.78.0.0/16 via 10.0.0.1 metric 5
try ip route del 10.78.0.0/16 proto static
try ip route del blackhole 10.78.0.0/16
try ip route del 10.78.0.0/16 via 10.0.0.1 dev shmif0
try ip route del unreachable 10.9.0.0/16
try ip route del 10.12.0.1
routes

try ip -6 route add default via fd00::1
try ip -6 route add default via fd00::1
try ip -6 route add fd01::/64 via fe80::1 dev shmif0
try ip -6 route add fd02::/64 dev shmif0
try ip -6 route add fd03::/64 via fd99::1
try ip -6 route add fd03::/64 via fe80::1
try ip -6 route add fd03::/64 via fd00::5
try ip -6 route add fd03::5/64 via fd00::1 metric 77 proto static mtu 1300
try ip -6 route add blackhole fd04::/64
try ip -6 route add unreachable fd05::/64
try ip -6 route change fd66::/64 via fd00::1
try ip -6 route replace fd02::/64 via fd00::1
routes6
try ip -6 route del fd66::/64
try ip -6 route del fd02::/64 via fd00::9
try ip -6 route del fd02::/64
try ip -6 route del fd04::/64
try ip -6 route del fd03::/64 metric 1
try ip route flush proto boot
try ip -6 route flush proto boot
routes
routes6

try ip link set shmif0 mtu 1400
try ip link set shmif0 mtu 20
ip link show shmif0 | grep -o "mtu [0-9]*"
try ip link set shmif0 down
ip link show shmif0 | grep -o "[<,]UP[,>]" || echo down
try ip route add 10.20.0.0/16 via 10.0.0.1
try ip route add 10.20.0.0/16 dev shmif0
try ip -6 route add fd20::/64 dev shmif0
try ip link set shmif0 up
ip link show shmif0 | grep -o "[<,]UP[,>]" || echo down
try ip addr flush dev shmif0
addrs
routes
echo end
`

// TestIP: what ip(8) changes is changed, and what it may not is refused, as on the host.
func TestIP(t *testing.T) {
	twoKernels(t)
	find(t, "ip")
	h := startKernel(t, "ip", "--bus", filepath.Join(tempDir(t), "bus"))
	// Whether another host has an address takes seconds to find.
	tool(t, "rumpctl", "sysctl", "--server", h.kernel, "net.inet.ip.dad_count=0")
	const setup = `
PATH=$PATH:/usr/sbin:/sbin
ip link set lo up && ip link add shmif0 type veth peer name far0 && ip link set far0 up && ip link set shmif0 up || exit 77
lo=lo`
	host := start(t, onHost("/bin/sh", write(t, filepath.Join(tempDir(t), "script"), setup+ipScript))).finish(limit)
	if host.Code == 77 {
		t.Skipf("no such network on the host: %s", host.Stderr)
	}
	want := strings.Split(strings.TrimSpace(host.Stdout), "\n")
	got := strings.Split(strings.TrimSpace(h.want(t, "/bin/sh", "-c", "lo=lo0"+ipScript)), "\n")
	if want[len(want)-1] != "end" {
		t.Fatalf("on the host:\n%s%s", host.Stdout, host.Stderr)
	}
	for i := range got {
		got[i] = strings.Replace(got[i], "dev lo0", "dev lo", 1)
	}
	compare(t, want, got, []difference{
		{"it is not kept that a gateway was not looked for", [][2]string{
			{"10.14.0.0/16 via 10.50.0.1 dev shmif0 onlink", "10.14.0.0/16 via 10.50.0.1 dev shmif0"},
		}},
		{"NetBSD's addresses always have a broadcast address", [][2]string{
			{"shmif0 inet 10.0.0.5/24 scope global shmif0", "shmif0 inet 10.0.0.5/24 brd 10.0.0.255 scope global shmif0"},
		}},
	})
}

// TestIPRefused: what NetBSD has not has one answer.
func TestIPRefused(t *testing.T) {
	twoKernels(t)
	ip := find(t, "ip")
	h := startKernel(t, "ip", "--bus", filepath.Join(tempDir(t), "bus"), "--address", "10.0.0.5/24")
	for _, line := range []string{
		"link add br0 type bridge", "link del shmif0", "link set shmif0 name eth0", "link set shmif0 promisc on",
		"link set shmif0 address 02:00:00:00:00:09", "link set shmif0 txqueuelen 1000",
		"addr add 10.0.0.7/24 dev shmif0 label shmif0:1", "addr add 10.0.0.7/24 dev shmif0 valid_lft 9 preferred_lft 9",
		"addr add 10.0.0.7 peer 10.0.0.8 dev shmif0", "addr add 10.0.0.7/24 dev shmif0 metric 5",
		"route add 10.1.0.0/16 via 10.0.0.1 table 100", "route add prohibit 10.1.0.0/16", "route add throw 10.1.0.0/16",
		"route add 10.1.0.0/16 nexthop via 10.0.0.1 nexthop via 10.0.0.2", "route add 10.1.0.0/16 via 10.0.0.1 tos 4",
		"route add 10.1.0.0/16 via inet6 fd00::1 dev shmif0", "route add 10.1.0.0/16 via 10.0.0.1 rtt 5",
		"-6 route add fd01::/64 dev shmif0 expires 5",
		"rule add from 10.1.0.0/16 table 5", "neigh add 10.0.0.9 lladdr 02:00:00:00:00:09 dev shmif0", "neigh del 10.0.0.9 dev shmif0",
	} {
		if r := h.run(t, ip, strings.Fields(line)...); r.Code != 2 || !strings.Contains(r.Stderr, "Operation not supported") {
			t.Errorf("ip %s: exit %d, %s", line, r.Code, r.Stderr)
		}
	}
}

// TestIPAddressUsable: an address can be bound when ip(8) has ended, though NetBSD looks for seconds whether another
// host has it; watchers are told of it.
func TestIPAddressUsable(t *testing.T) {
	twoKernels(t)
	ip, python := find(t, "ip"), find(t, "python3")
	h := startKernel(t, "ip", "--bus", filepath.Join(tempDir(t), "bus"), "--address", "10.0.0.5/24")
	monitor := start(t, h.command(nil, ip, "-o", "monitor", "address", "route", "link"))
	const bind = "import socket, sys; socket.socket().bind((sys.argv[1], 0))"
	h.want(t, ip, "route", "add", "10.3.0.0/16", "via", "10.0.0.9")
	// It watches by now, or soon.
	for begin := time.Now(); !strings.Contains(monitor.output(), "10.3.0.0/16 via 10.0.0.9 dev shmif0"); time.Sleep(50 * time.Millisecond) {
		if time.Since(begin) > limit {
			t.Fatalf("no event:\n%s", monitor.output())
		}
		h.run(t, ip, "route", "del", "10.3.0.0/16")
		h.want(t, ip, "route", "add", "10.3.0.0/16", "via", "10.0.0.9")
	}
	h.want(t, ip, "addr", "add", "10.0.0.77/24", "dev", "shmif0")
	h.want(t, python, "-c", bind, "10.0.0.77")
	monitor.says(`shmif0 +inet 10\.0\.0\.77/24`)
	h.want(t, ip, "link", "set", "shmif0", "mtu", "1300")
	monitor.says(`shmif0: .*mtu 1300`)
	h.want(t, ip, "link", "set", "shmif0", "down")
	monitor.says(`shmif0: <BROADCAST,MULTICAST> mtu`)
	h.want(t, ip, "link", "set", "shmif0", "up")
	h.want(t, python, "-c", bind, "10.0.0.77")
	h.want(t, ip, "addr", "del", "10.0.0.77/24", "dev", "shmif0")
	monitor.says(`(?m)^Deleted.*shmif0 +inet 10\.0\.0\.77/24`)
	if r := h.run(t, python, "-c", bind, "10.0.0.77"); r.Code == 0 {
		t.Error("an address that was deleted can be bound")
	}
}

// TestIPRouter: a host, a router and another host that are configured by ip(8) reach each other.
func TestIPRouter(t *testing.T) {
	twoKernels(t)
	ip, ping := find(t, "ip"), find(t, "ping")
	dir := tempDir(t)
	left := startKernel(t, "left", "--bus", filepath.Join(dir, "1"))
	right := startKernel(t, "right", "--bus", filepath.Join(dir, "2"))
	router := startKernel(t, "router", "--bus", filepath.Join(dir, "1"))
	tool(t, "rifconfig", "--server", router.kernel, "shmif1", "create")
	tool(t, "rifconfig", "--server", router.kernel, "shmif1", "linkstr", filepath.Join(dir, "2"))
	tool(t, "rumpctl", "sysctl", "--server", router.kernel, "net.inet.ip.forwarding=1", "net.inet6.ip6.forwarding=1")
	for _, h := range []*host{left, right, router} {
		tool(t, "rumpctl", "sysctl", "--server", h.kernel, "net.inet.ip.dad_count=0", "net.inet6.ip6.dad_count=0")
	}
	do := func(h *host, text string) {
		t.Helper()
		for line := range strings.Lines(text) {
			h.want(t, ip, strings.Fields(line)...)
		}
	}
	do(left, `addr add 10.1.0.2/24 dev shmif0
		addr add fd01::2/64 dev shmif0
		route add default via 10.1.0.1
		route add default via fd01::1`)
	do(router, `addr add 10.1.0.1/24 dev shmif0
		addr add 10.2.0.1/24 dev shmif1
		addr add fd01::1/64 dev shmif0
		addr add fd02::1/64 dev shmif1
		link set shmif1 up`)
	do(right, `addr add 10.2.0.2/24 dev shmif0
		addr add fd02::2/64 dev shmif0
		route add 10.1.0.0/24 via 10.2.0.1
		route add fd01::/64 via fd02::1`)
	reaches := func(h *host, to string, code int) {
		t.Helper()
		if r := h.run(t, ping, "-n", "-c", "1", "-W", "5", to); r.Code != code {
			t.Errorf("%s: ping %s: exit %d, want %d\n%s%s", h.name, to, r.Code, code, r.Stdout, r.Stderr)
		}
	}
	for _, to := range []string{"10.2.0.2", "fd02::2"} {
		reaches(left, to, 0)
	}
	do(router, `route add unreachable 10.2.0.2
		route add unreachable fd02::2`)
	for _, to := range []string{"10.2.0.2", "fd02::2"} {
		reaches(left, to, 1)
	}
	do(router, `route del unreachable 10.2.0.2
		route del unreachable fd02::2`)
	do(left, `route replace default via 10.1.0.9
		route add 10.2.0.0/24 via 10.1.0.1`)
	reaches(left, "10.2.0.2", 0)
	do(left, "route replace blackhole 10.2.0.0/24")
	if r := left.run(t, ping, "-n", "-c", "1", "-W", "1", "10.2.0.2"); r.Code == 0 {
		t.Errorf("through a black hole: %s", r.Stdout)
	}
	do(left, "route replace 10.2.0.0/24 via 10.1.0.1")
	reaches(left, "10.2.0.2", 0)
	out := left.want(t, ip, "route", "get", "10.2.0.2")
	if !regexp.MustCompile(`^10\.2\.0\.2 via 10\.1\.0\.1 dev shmif0 src 10\.1\.0\.2`).MatchString(out) {
		t.Errorf("route get: %s", out)
	}
}
