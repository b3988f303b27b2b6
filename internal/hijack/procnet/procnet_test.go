//go:build linux

package procnet_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/netview"
	"rumptools/internal/hijack/netview/netviewtest"
	"rumptools/internal/hijack/procnet"
	"rumptools/pkg/netbsd"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// network is a kernel with an Ethernet, routes, a neighbour and sockets: a
// connection to port 80 of another, a listener, a socket of UDP and a raw one.
func network(t *testing.T, m *netbsd.Machine) *netviewtest.Kernel {
	t.Helper()
	bus := filepath.Join(t.TempDir(), "bus")
	a, b := netviewtest.Start(t, m), netviewtest.Start(t, netbsd.AMD64)
	a.Ethernet(bus, "1")
	b.Ethernet(bus, "2")
	a.Route(netbsd.RTM_ADD, "0.0.0.0/0", "10.0.0.2", netbsd.RTF_STATIC)
	a.Route(netbsd.RTM_ADD, "172.16.0.0/12", "127.0.0.1", netbsd.RTF_STATIC|netbsd.RTF_REJECT)
	a.Route(netbsd.RTM_ADD, "::/0", "fd00::2", netbsd.RTF_STATIC)
	for _, addr := range []string{"10.0.0.2:80", "[fd00::2]:80"} {
		l, err := b.Listen(t.Context(), "tcp", addr)
		must(t, err)
		t.Cleanup(func() { l.Close() })
		c, err := a.DialContext(t.Context(), "tcp", addr)
		must(t, err)
		t.Cleanup(func() { c.Close() })
		peer, err := l.Accept()
		must(t, err)
		t.Cleanup(func() { peer.Close() })
		_, err = peer.Write([]byte("12345"))
		must(t, err)
		_, err = c.Read(make([]byte, 1))
		must(t, err)
	}
	for _, addr := range []string{"10.0.0.1:8080", "[fd00::1]:8080"} {
		l, err := a.Listen(t.Context(), "tcp", addr)
		must(t, err)
		t.Cleanup(func() { l.Close() })
		u, err := a.ListenPacket(t.Context(), "udp", addr)
		must(t, err)
		t.Cleanup(func() { u.Close() })
	}
	raw, err := a.Socket(t.Context(), netbsd.AF_INET, netbsd.SOCK_RAW, netbsd.IPPROTO_ICMP)
	must(t, err)
	t.Cleanup(func() { a.CloseFD(t.Context(), raw) })
	return a
}

// forMachines runs a test with a network of each machine.
func forMachines(t *testing.T, f func(t *testing.T, k *netviewtest.Kernel)) {
	for _, m := range []*netbsd.Machine{netbsd.AMD64, netbsd.POWERPC} {
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel()
			f(t, network(t, m))
		})
	}
}

// owner knows the listeners of port 8080.
func owner(s *netview.Socket) netview.Owner {
	if s.Local.Port() == 8080 {
		return netview.Owner{Inode: 4242, UID: 1000}
	}
	return netview.Owner{}
}

// lines are the lines of a file.
func lines(t testing.TB, k *netviewtest.Kernel, name string) []string {
	t.Helper()
	b, err := procnet.Read(t.Context(), k, owner, name)
	must(t, err)
	text := string(b)
	if text == "" {
		return nil
	}
	if !strings.HasSuffix(text, "\n") {
		t.Errorf("%s: the last line has no end", name)
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

// TestHeadings has the headings of the host's own files.
func TestHeadings(t *testing.T) {
	k := netviewtest.Start(t, netbsd.AMD64)
	without := []string{"anycast6", "dev_mcast", "if_inet6", "igmp6", "ipv6_route", "snmp6", "sockstat", "sockstat6", "netstat", "snmp"}
	for _, name := range procnet.Names() {
		b, err := os.ReadFile("/proc/net/" + name)
		if err != nil || slices.Contains(without, name) {
			continue
		}
		want, _, _ := strings.Cut(string(b), "\n")
		if got := lines(t, k, name)[0]; got != want {
			t.Errorf("%s:\n%q, the host has\n%q", name, got, want)
		}
	}
	if _, err := procnet.Read(t.Context(), k, nil, "no"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// TestAll has the same files together as one by one.
func TestAll(t *testing.T) {
	forMachines(t, func(t *testing.T, k *netviewtest.Kernel) {
		r := procnet.NewReader(k, owner)
		all, err := r.All(t.Context())
		must(t, err)
		if len(all) != len(procnet.Names()) {
			t.Errorf("%d files", len(all))
		}
		for _, name := range procnet.Names() {
			// Counters, and states of neighbours, change.
			if slices.Contains([]string{"arp", "dev", "netstat", "snmp", "snmp6"}, name) {
				continue
			}
			one, err := r.Read(t.Context(), name)
			must(t, err)
			if diff := cmp.Diff(string(one), string(all[name])); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		}
		// A second time it is what there is then.
		k.Configure("shmif3 create")
		all, err = r.All(t.Context())
		must(t, err)
		if !strings.Contains(string(all["dev"]), "shmif3:") {
			t.Errorf("%s", all["dev"])
		}
	})
}

// socketLine reads a line as programs do.
func socketLine(t *testing.T, line string) (local, remote string, state int, send, recv uint32, uid, inode int) {
	t.Helper()
	var n, timer, when, retransmitted, timeout int
	if _, err := fmt.Sscanf(line, "%d: %s %s %x %x:%x %x:%x %x %d %d %d", &n, &local, &remote, &state, &send, &recv, &timer, &when,
		&retransmitted, &uid, &timeout, &inode); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return local, remote, state, send, recv, uid, inode
}

// swap is an address as a little-endian machine shows it.
func swap(s string) string {
	b := netip.MustParseAddr(s).AsSlice()
	for i := 0; i < len(b); i += 4 {
		slices.Reverse(b[i : i+4])
	}
	return fmt.Sprintf("%X", b)
}

func TestSockets(t *testing.T) {
	if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 {
		t.Skip("a big-endian machine")
	}
	forMachines(t, func(t *testing.T, k *netviewtest.Kernel) {
		any6 := strings.Repeat("0", 32)
		for name, want := range map[string][]string{
			"tcp": {
				swap("10.0.0.1") + ":PORT " + swap("10.0.0.2") + ":0050 1 send 0 recv 4 uid 0 inode 0",
				swap("10.0.0.1") + ":1F90 00000000:0000 10 send 0 recv 0 uid 1000 inode 4242",
			},
			"tcp6": {
				swap("fd00::1") + ":PORT " + swap("fd00::2") + ":0050 1 send 0 recv 4 uid 0 inode 0",
				swap("fd00::1") + ":1F90 " + any6 + ":0000 10 send 0 recv 0 uid 1000 inode 4242",
			},
			"udp":      {swap("10.0.0.1") + ":1F90 00000000:0000 7 send 0 recv 0 uid 1000 inode 4242"},
			"udp6":     {swap("fd00::1") + ":1F90 " + any6 + ":0000 7 send 0 recv 0 uid 1000 inode 4242"},
			"raw":      {"00000000:0001 00000000:0000 7 send 0 recv 0 uid 0 inode 0"},
			"raw6":     nil,
			"icmp":     nil,
			"udplite":  nil,
			"icmp6":    nil,
			"udplite6": nil,
		} {
			var got []string
			heading := ""
			for i, l := range lines(t, k, name) {
				if i == 0 {
					heading = l
					continue
				}
				if strings.HasSuffix(heading, " ") && len(l) != len(heading) {
					t.Errorf("%s: lines of %d and %d bytes", name, len(heading), len(l))
				}
				local, remote, state, send, recv, uid, inode := socketLine(t, l)
				if strings.HasSuffix(remote, ":0050") {
					local = local[:len(local)-4] + "PORT"
				}
				got = append(got, fmt.Sprintf("%s %s %d send %d recv %d uid %d inode %d", local, remote, state, send, recv, uid, inode))
			}
			slices.Sort(got)
			slices.Sort(want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		}
		want := []string{
			"sockets: used 7", "TCP: inuse 2 orphan 0 tw 0 alloc 4 mem 0", "UDP: inuse 1 mem 0", "UDPLITE: inuse 0", "RAW: inuse 1",
			"FRAG: inuse 0 memory 0",
		}
		if diff := cmp.Diff(want, lines(t, k, "sockstat")); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff("TCP6: inuse 2", lines(t, k, "sockstat6")[0]); diff != "" {
			t.Error(diff)
		}
	})
}

// TestHostLines compares a line about a listening socket with the host's own.
func TestHostLines(t *testing.T) {
	k := network(t, netbsd.AMD64)
	for _, c := range []struct {
		name        string
		family, typ int
		sa          unix.Sockaddr
	}{
		{"tcp", unix.AF_INET, unix.SOCK_STREAM, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}},
		{"tcp6", unix.AF_INET6, unix.SOCK_STREAM, &unix.SockaddrInet6{Addr: [16]byte{15: 1}}},
		{"udp", unix.AF_INET, unix.SOCK_DGRAM, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}},
		{"udp6", unix.AF_INET6, unix.SOCK_DGRAM, &unix.SockaddrInet6{Addr: [16]byte{15: 1}}},
	} {
		fd, err := unix.Socket(c.family, c.typ, 0)
		if err == nil {
			defer unix.Close(fd)
			err = unix.Bind(fd, c.sa)
		}
		if err == nil && c.typ == unix.SOCK_STREAM {
			err = unix.Listen(fd, 1)
		}
		b, readErr := os.ReadFile("/proc/self/net/" + c.name)
		if err != nil || readErr != nil {
			t.Logf("%s: none here: %v, %v", c.name, err, readErr)
			continue
		}
		var st unix.Stat_t
		must(t, unix.Fstat(fd, &st))
		theirs := ""
		for _, l := range strings.Split(string(b), "\n") {
			if f := strings.Fields(l); len(f) > 9 && f[9] == fmt.Sprint(st.Ino) {
				theirs = l
			}
		}
		if theirs == "" {
			t.Logf("%s: the host does not show it", c.name)
			continue
		}
		ours := ""
		for _, l := range lines(t, k, c.name)[1:] {
			if strings.Fields(l)[9] == "4242" {
				ours = l
			}
		}
		if c.family == unix.AF_INET && len(ours) != len(theirs) {
			t.Errorf("%s: %d bytes, the host has %d", c.name, len(ours), len(theirs))
		}
		our, their := strings.Fields(ours), strings.Fields(theirs)
		if len(our) != len(their) {
			t.Errorf("%s: %d fields, the host has %d:\n%s\n%s", c.name, len(our), len(their), ours, theirs)
			continue
		}
		for i := 1; i < 9; i++ {
			// Users and numbers of slots have no fixed width.
			if i != 7 && len(our[i]) != len(their[i]) {
				t.Errorf("%s: field %d: %q, the host has %q", c.name, i, our[i], their[i])
			}
		}
		if a, b := strings.Index(ours, our[9]), strings.Index(theirs, their[9]); a != b && len(our[0]) == len(their[0]) {
			t.Errorf("%s: inode at %d, the host has it at %d:\n%s\n%s", c.name, a, b, ours, theirs)
		}
	}
}

func TestTables(t *testing.T) {
	if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 {
		t.Skip("a big-endian machine")
	}
	forMachines(t, func(t *testing.T, k *netviewtest.Kernel) {
		for name, want := range map[string][]string{
			"route": {
				"shmif0\t00000000\t0200000A\t0003\t0\t0\t0\t00000000\t0\t0\t0",
				"shmif0\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0",
				"*\t000010AC\t00000000\t0201\t0\t0\t0\t0000F0FF\t0\t0\t0",
			},
			"dev": {
				" face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed",
				"   lo0: ...", "shmif0: ...",
			},
		} {
			var got []string
			for _, l := range lines(t, k, name)[1:] {
				if i := strings.Index(l, ": "); name == "dev" && i >= 0 {
					if n := len(strings.Fields(l)); n != 17 {
						t.Errorf("%d fields: %s", n, l)
					}
					l = l[:i] + ": ..."
				}
				if name == "route" && len(l) != 127 {
					t.Errorf("%d bytes: %q", len(l), l)
				}
				got = append(got, strings.TrimRight(l, " "))
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		}
		inet6 := lines(t, k, "if_inet6")
		for _, want := range []string{
			"00000000000000000000000000000001 01 80 10 82      lo0",
			"fd000000000000000000000000000001 02 40 00 80   shmif0",
		} {
			if !slices.Contains(inet6, want) {
				t.Errorf("if_inet6: no %q in %q", want, inet6)
			}
		}
		none := strings.Repeat("0", 32)
		routes := lines(t, k, "ipv6_route")
		for _, want := range []string{
			none + " 00 " + none + " 00 fd000000000000000000000000000002 00000400 00000001 00000000 00000003   shmif0",
			"fd000000000000000000000000000000 40 " + none + " 00 " + none + " 00000100 00000001 00000000 00000001   shmif0",
			"00000000000000000000000000000001 80 " + none + " 00 " + none + " 00000000 00000001 00000000 80200001      lo0",
		} {
			if !slices.Contains(routes, want) {
				t.Errorf("ipv6_route: no %q in %q", want, routes)
			}
		}
		fib := lines(t, k, "fib_trie")
		want := []string{
			"Main:", "  +-- 0.0.0.0/0 2 0 1", "     |-- 0.0.0.0", "        /0 universe UNICAST", "     |-- 10.0.0.0", "        /24 link UNICAST",
			"     |-- 172.16.0.0", "        /12 universe UNREACHABLE",
			"Local:", "  +-- 0.0.0.0/0 2 0 1", "     |-- 10.0.0.1", "        /32 host LOCAL", "     |-- 10.0.0.255", "        /32 link BROADCAST",
			"     |-- 127.0.0.1", "        /32 host LOCAL",
		}
		if diff := cmp.Diff(want, fib); diff != "" {
			t.Errorf("fib_trie: %s", diff)
		}
		arp := lines(t, k, "arp")
		if len(arp) != 2 || !strings.HasPrefix(arp[1], "10.0.0.2         0x1         0x2         b2:a0:") || !strings.HasSuffix(arp[1], "     *        shmif0") {
			t.Errorf("arp: %q", arp)
		}
		if igmp := lines(t, k, "igmp"); len(igmp) != 5 || igmp[3] != "2\tshmif0    :     1      V3" || !strings.HasPrefix(igmp[4], "\t\t\t\t010000E0 ") {
			t.Errorf("igmp: %q", igmp)
		}
		if m := lines(t, k, "dev_mcast"); !slices.Contains(m, "2    shmif0          1     0     01005e000001") || !slices.Contains(m, "2    shmif0          1     0     3333ff000001") {
			t.Errorf("dev_mcast: %q", m)
		}
	})
}

// table reads a file of pairs of lines.
func table(t *testing.T, lines []string) (titles []string, values map[string]string, names map[string][]string) {
	t.Helper()
	values, names = map[string]string{}, map[string][]string{}
	for i := 0; i+1 < len(lines); i += 2 {
		a, b := strings.Fields(lines[i]), strings.Fields(lines[i+1])
		if len(a) != len(b) || a[0] != b[0] {
			t.Fatalf("%q\n%q", lines[i], lines[i+1])
		}
		title := strings.TrimSuffix(a[0], ":")
		titles = append(titles, title)
		names[title] = a[1:]
		for j := 1; j < len(a); j++ {
			values[title+a[j]] = b[j]
		}
	}
	return titles, values, names
}

// subsequence tells whether the elements of a are in b in the same order.
func subsequence(a, b []string) bool {
	for _, x := range b {
		if len(a) > 0 && a[0] == x {
			a = a[1:]
		}
	}
	return len(a) == 0
}

func TestStatistics(t *testing.T) {
	forMachines(t, func(t *testing.T, k *netviewtest.Kernel) {
		_, values, names := table(t, lines(t, k, "snmp"))
		for name, want := range map[string]string{
			"IpForwarding": "1", "IpDefaultTTL": "64", "TcpActiveOpens": "2", "TcpCurrEstab": "2", "TcpMaxConn": "-1", "UdpOutDatagrams": "0",
		} {
			if name == "IpForwarding" {
				// As the kernel is set: 1 is forwarding, 2 is not.
				mib, _, err := k.SysctlNode(t.Context(), "net.inet.ip.forwarding")
				must(t, err)
				v, err := k.SysctlInt(t.Context(), mib)
				must(t, err)
				if v == 0 {
					want = "2"
				}
			}
			if values[name] != want {
				t.Errorf("%s %s, not %s", name, values[name], want)
			}
		}
		for _, name := range []string{"IpInReceives", "IpInDelivers", "IpOutRequests", "TcpInSegs", "TcpOutSegs"} {
			if values[name] == "" || values[name] == "0" {
				t.Errorf("%s %q", name, values[name])
			}
		}
		if b, err := os.ReadFile("/proc/net/snmp"); err == nil {
			_, _, theirs := table(t, strings.Split(strings.TrimSpace(string(b)), "\n"))
			for _, title := range []string{"Ip", "Icmp", "Tcp", "Udp", "UdpLite"} {
				if !subsequence(theirs[title], names[title]) && !subsequence(names[title], theirs[title]) {
					t.Errorf("%s:\n%q, the host has\n%q", title, names[title], theirs[title])
				}
			}
		}
		titles, _, _ := table(t, lines(t, k, "netstat"))
		if diff := cmp.Diff([]string{"TcpExt", "IpExt"}, titles); diff != "" {
			t.Error(diff)
		}
		var names6 []string
		for _, l := range lines(t, k, "snmp6") {
			if len(l) < 34 || l[32] != '\t' {
				t.Fatalf("%q", l)
			}
			f := strings.Fields(l)
			names6 = append(names6, f[0])
			if f[0] == "Ip6OutRequests" && f[1] == "0" {
				t.Error(l)
			}
		}
		if b, err := os.ReadFile("/proc/net/snmp6"); err == nil {
			var theirs []string
			for _, l := range strings.Split(strings.TrimSpace(string(b)), "\n") {
				if name := strings.Fields(l)[0]; !strings.Contains(name, "Type") {
					theirs = append(theirs, name)
				}
			}
			ours := slices.DeleteFunc(names6, func(s string) bool { return strings.Contains(s, "Type") })
			if !subsequence(theirs, ours) && !subsequence(ours, theirs) {
				t.Errorf("%q, the host has\n%q", ours, theirs)
			}
		}
	})
}

// TestPrograms has net-tools read the files, in a mount namespace where they
// are in the place of the host's: below the number of the shell, which is the program's.
func TestPrograms(t *testing.T) {
	k := network(t, netbsd.AMD64)
	dir := t.TempDir()
	for _, name := range procnet.Names() {
		b, err := procnet.Read(t.Context(), k, owner, name)
		must(t, err)
		must(t, os.WriteFile(filepath.Join(dir, name), b, 0o644))
	}
	// The kernel lets no mount stay on a file there.
	const script = "mount --bind \"$1\" /proc/$$/net && shift && exec \"$@\""
	inNamespace := func(program string, args ...string) (string, error) {
		cmd := exec.Command("sh", append([]string{"-c", script, "sh", dir, program}, args...)...)
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := inNamespace("true"); err != nil {
		t.Skipf("no mount namespaces here: %v: %s", err, out)
	}
	for _, c := range []struct {
		program string
		args    []string
		want    []string // words of a line
	}{
		{"netstat", []string{"-tan"}, []string{"tcp 4 0 10.0.0.1:PORT 10.0.0.2:80 ESTABLISHED", "tcp 0 0 10.0.0.1:8080 0.0.0.0:* LISTEN",
			"tcp6 0 0 fd00::1:8080 :::* LISTEN"}},
		{"netstat", []string{"-uanw"}, []string{"udp 0 0 10.0.0.1:8080 0.0.0.0:*", "udp6 0 0 fd00::1:8080 :::*", "raw 0 0 0.0.0.0:1 0.0.0.0:* 7"}},
		{"netstat", []string{"-rn"}, []string{"0.0.0.0 10.0.0.2 0.0.0.0 UG 0 0 0 shmif0", "10.0.0.0 0.0.0.0 255.255.255.0 U 0 0 0 shmif0",
			"172.16.0.0 - 255.240.0.0 ! - - - -"}},
		{"route", []string{"-6", "-n"}, []string{"::/0 fd00::2 UG 1024 1 0 shmif0", "fd00::/64 :: U 256 1 0 shmif0"}},
		{"arp", []string{"-an"}, []string{"? (10.0.0.2) at MAC [ether] on shmif0"}},
		{"netstat", []string{"-s"}, []string{"2 active connection openings", "2 connections established"}},
	} {
		path, err := exec.LookPath(c.program)
		if err != nil {
			t.Logf("no %s here", c.program)
			continue
		}
		out, err := inNamespace(path, c.args...)
		if err != nil {
			t.Errorf("%s %s: %v: %s", c.program, strings.Join(c.args, " "), err, out)
			continue
		}
		var got []string
		for _, l := range strings.Split(out, "\n") {
			f := strings.Fields(l)
			for i := range f {
				switch {
				case strings.HasPrefix(f[i], "10.0.0.1:") && f[i] != "10.0.0.1:8080":
					f[i] = "10.0.0.1:PORT"
				case strings.Count(f[i], ":") == 5 && strings.HasPrefix(f[i], "b2:a0:"):
					f[i] = "MAC"
				}
			}
			got = append(got, strings.Join(f, " "))
		}
		for _, want := range c.want {
			if !slices.Contains(got, want) {
				t.Errorf("%s %s: no %q in\n%s", c.program, strings.Join(c.args, " "), want, out)
			}
		}
	}
}
