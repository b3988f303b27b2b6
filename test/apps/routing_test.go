package apps

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestBird has two routing daemons find each other, which takes sockets that are bound to interfaces, raw ones with multicast
// (OSPF for IPv4 and IPv6) and datagrams that count their hops (BFD), tell each other of a network, and tell the kernels how
// it is reached.
func TestBird(t *testing.T) {
	all(t)
	twoKernels(t)
	bird, birdc, ip, ping := find(t, "bird"), find(t, "birdc"), find(t, "ip"), find(t, "ping")
	dir := tempDir(t)
	routers := make(map[string]*host)
	for i, name := range []string{"left", "right"} {
		h := startKernel(t, name, "--bus", filepath.Join(dir, "bus"),
			"--address", fmt.Sprintf("10.9.0.%d/24", i+1), "--address", fmt.Sprintf("fd09::%d/64", i+1))
		tool(t, "rifconfig", "--server", h.kernel, "shmif1", "create")
		tool(t, "rifconfig", "--server", h.kernel, "shmif1", "linkstr", filepath.Join(dir, name+".bus"))
		tool(t, "rifconfig", "--server", h.kernel, "shmif1", "inet", fmt.Sprintf("10.9.%d.1/24", i+1))
		tool(t, "rifconfig", "--server", h.kernel, "shmif1", "inet6", fmt.Sprintf("fd09:%d::1/64", i+1))
		tool(t, "rifconfig", "--server", h.kernel, "-w", "30")
		tool(t, "rumpctl", "sysctl", "--server", h.kernel, "net.inet.ip.forwarding=1", "net.inet6.ip6.forwarding=1")
		routers[name] = h
	}
	daemons := make(map[string]*process)
	control := func(name string) string { return filepath.Join(dir, name+".ctl") }
	for i, name := range []string{"left", "right"} {
		config := write(t, filepath.Join(dir, name+".conf"), fmt.Sprintf(`
log stderr all;
router id 10.9.0.%d;
protocol device {}
protocol kernel { scan time 1; ipv4 { export filter { if source = RTS_OSPF && net ~ [ 10.9.0.0/24, 10.9.%d.0/24 ] then reject; accept; }; }; }
protocol kernel { scan time 1; ipv6 { export filter { if net ~ [ fd09::/64, fd09:%d::/64 ] then reject; accept; }; }; }
protocol static fixed { ipv4; route 10.99.0.0/16 blackhole; }
protocol ospf v2 four {
	ipv4 { import all; };
	area 0 { interface "shmif0" { hello 1; dead count 4; bfd on; }; interface "shmif1" { stub; }; };
}
protocol ospf v3 six {
	ipv6 { import all; };
	area 0 { interface "shmif0" { hello 1; dead count 4; }; interface "shmif1" { stub; }; };
}
protocol bfd { interface "shmif0"; }
`, i+1, i+1, i+1))
		daemons[name] = start(t, routers[name].command(nil, bird, "-f", "-c", config, "-s", control(name)))
	}
	for name, shows := range map[string]map[string][]string{
		"left": {
			"ospf neighbors four": {`10\.9\.0\.2\s.*Full/.*shmif0`},
			"ospf neighbors six":  {`10\.9\.0\.2\s.*Full/.*shmif0`},
			"bfd sessions":        {`10\.9\.0\.2\s+shmif0\s+Up`},
			"route":               {`10\.9\.2\.0/24[^\n]*\n\s*via 10\.9\.0\.2 on shmif0`, `fd09:2::/64[^\n]*\n\s*via fe80::\S+ on shmif0`},
		},
		"right": {
			"route": {`10\.9\.1\.0/24[^\n]*\n\s*via 10\.9\.0\.1 on shmif0`, `fd09:1::/64[^\n]*\n\s*via fe80::\S+ on shmif0`},
		},
	} {
		for show, patterns := range shows {
			for _, pattern := range patterns {
				untilShown(t, birdc, control(name), show, pattern)
			}
		}
	}
	left := routers["left"]
	routes := func() string { return left.want(t, ip, "route") + left.want(t, ip, "-6", "route") }
	installed := []string{
		"10.9.2.0/24 via 10.9.0.2 dev shmif0 proto bird metric 32", "blackhole 10.99.0.0/16 proto bird metric 32", "\nfd09:2::/64 via fe80::",
	}
	for begin := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		out, missing := routes(), ""
		for _, route := range installed {
			if !strings.Contains(out, route) {
				missing = route
			}
		}
		if missing == "" {
			break
		}
		if time.Since(begin) > limit {
			t.Fatalf("no %q in the kernel:\n%s", missing, out)
		}
	}
	for _, to := range []string{"10.9.2.1", "fd09:2::1"} {
		if r := left.run(t, ping, "-n", "-c", "1", "-W", "5", to); r.Code != 0 {
			t.Errorf("ping %s: exit %d\n%s%s", to, r.Code, r.Stdout, r.Stderr)
		}
	}
	// It knows its own again when it looks: nothing is added twice, and at its end all goes.
	time.Sleep(2 * time.Second)
	daemons["left"].stop()
	if said := daemons["left"].output(); strings.Contains(said, "Netlink") {
		t.Errorf("bird says:\n%s", said)
	}
	if out := routes(); strings.Contains(out, "bird") || strings.Contains(out, "10.9.2.0/24") {
		t.Errorf("bird leaves:\n%s", out)
	}
}

// untilShown waits until a routing daemon shows something.
func untilShown(t *testing.T, birdc, control, show, want string) {
	t.Helper()
	untilSays(t, func() *exec.Cmd {
		return exec.Command(birdc, append([]string{"-s", control, "show"}, strings.Fields(show)...)...)
	}, want)
}

// TestFRR has FRR learn a kernel's network and add routes to it.
func TestFRR(t *testing.T) {
	all(t)
	twoKernels(t)
	zebra, staticd, vtysh, ip := find(t, "zebra"), find(t, "staticd"), find(t, "vtysh"), find(t, "ip")
	frr, err := user.Lookup("frr")
	if err != nil || os.Geteuid() != 0 {
		t.Skip("FRR becomes another user")
	}
	dir := tempDir(t)
	uid, _ := strconv.Atoi(frr.Uid)
	gid, _ := strconv.Atoi(frr.Gid)
	if err := os.Chown(dir, uid, gid); err != nil {
		t.Fatal(err)
	}
	h := startKernel(t, "frr", "--bus", filepath.Join(dir, "bus"), "--address", "10.9.0.1/24", "--address", "fd09::1/64")
	daemon := func(program, config string) *process {
		name := filepath.Base(program)
		file := write(t, filepath.Join(dir, name+".conf"), "log stdout\n"+config)
		if err := os.Chown(file, uid, gid); err != nil {
			t.Fatal(err)
		}
		return start(t, h.command(nil, program, "-f", file, "-z", filepath.Join(dir, "api"), "-i", filepath.Join(dir, name+".pid"),
			"--vty_socket", dir, "-P", "0"))
	}
	first := daemon(zebra, "")
	untilSays(t, func() *exec.Cmd { return exec.Command(vtysh, "--vty_socket", dir, "-c", "show ip route") }, `C>\* 10\.9\.0\.0/24 is directly connected, shmif0`)
	daemon(staticd, "ip route 10.50.0.0/16 10.9.0.2\nip route 10.51.0.0/16 blackhole\nipv6 route fd50::/64 fd09::2\n")
	untilSays(t, func() *exec.Cmd { return h.command(nil, ip, "route") },
		`(?s)10\.50\.0\.0/16 via 10\.9\.0\.2 dev shmif0 proto static metric 20.*blackhole 10\.51\.0\.0/16 proto static metric 20`)
	untilSays(t, func() *exec.Cmd { return h.command(nil, ip, "-6", "route") }, `fd50::/64 via fd09::2 dev shmif0 proto static metric 20`)
	if said := first.output(); strings.Contains(said, "Failed") || strings.Contains(said, "Invalid") {
		t.Errorf("zebra says:\n%s", said)
	}
}

// untilSays runs programs until one says what pattern matches.
func untilSays(t *testing.T, command func() *exec.Cmd, pattern string) {
	t.Helper()
	for begin := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		out, _ := command().CombinedOutput()
		if regexp.MustCompile(pattern).Match(out) {
			return
		}
		if time.Since(begin) > limit {
			t.Fatalf("no %q:\n%s", pattern, out)
		}
	}
}
