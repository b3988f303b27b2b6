package apps

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// difference is what a program may see that is not as on the host: lines of the host's
// transcript, and what stands in their places. Lines of IPv6 are compared as those of
// IPv4 are. rumpctl(1) lists the reasons.
type difference struct {
	why   string
	lines [][2]string
}

var differences = []difference{
	{"an unconnected socket's errors are a local socket's", [][2]string{
		{"fresh: tcp: recv MSG_DONTWAIT = ENOTCONN", "fresh: tcp: recv MSG_DONTWAIT = EINVAL"},
		{"fresh: tcp: send = EPIPE", "fresh: tcp: send = ENOTCONN"},
		{"fresh: tcp: write = EPIPE", "fresh: tcp: write = ENOTCONN"},
		{"basic: recv of the listener = ENOTCONN", "basic: recv of the listener = EINVAL"},
		{"basic: send to the listener = EPIPE", "basic: send to the listener = ENOTCONN"},
	}},
	{"a local socket that was reset tells it to who reads", [][2]string{
		{"reset: send first: ECONNRESET", "reset: send first: EPIPE"},
		{"reset: then EPIPE, recv 0 \"\"", "reset: then EPIPE, recv ECONNRESET"},
	}},
	{"there is no urgent data", [][2]string{
		{"oob: send MSG_OOB = 1", "oob: send MSG_OOB = EOPNOTSUPP"},
		{"oob: poll IN|PRI|OUT", "oob: poll IN|OUT after 5 s, not PRI"},
		{"oob: recv MSG_OOB = 1 \"!\"", "oob: recv MSG_OOB = EINVAL"},
		{"oob: recv = 2 \"ab\"", "oob: recv = 4 \"abcd\""},
		{"oob: SIOCATMARK = 0: 1", "oob: SIOCATMARK = 0: 0"},
		{"oob: recv = 2 \"cd\"", "oob: recv = EAGAIN"},
	}},
	{"SO_RCVLOWAT and TCP_ULP are refused", [][2]string{
		{"options: SO_RCVLOWAT: 1; set 2 = 0; then 2", "options: SO_RCVLOWAT: 1; set 2 = ENOPROTOOPT; then 1"},
		{"options: SO_RCVLOWAT 2, one byte: poll -", "options: SO_RCVLOWAT 2, one byte: poll IN"},
		{"options: TCP_ULP = ENOENT", "options: TCP_ULP = ENOPROTOOPT"},
	}},
	{"a datagram of IPv6 is no longer than one of IPv4 can be", func() (lines [][2]string) {
		for _, discover := range []string{"0", "1", "5"} {
			for _, connected := range []string{"", "un"} {
				step := "mtu: discover " + discover + ", " + connected + "connected, 65508 bytes: recv = "
				lines = append(lines, [2]string{step + "65508", step + "EAGAIN"})
			}
		}
		return lines
	}()},
	{"NetBSD's kernel: TIME_WAIT keeps no address, lo0 no broadcasts, and multicast wants a route", [][2]string{
		{"inuse: bind in TIME_WAIT = EADDRINUSE", "inuse: bind in TIME_WAIT = 0"},
		{"udp: broadcast = EACCES", "udp: broadcast = ENETUNREACH"},
		{"multicast: sendto = 4", "multicast: sendto = ENETUNREACH"},
		{"multicast: recvfrom = 4", "multicast: recvfrom = EAGAIN"},
		{"multicast: \"many\" from inet HOST port, length 16", "multicast: \"\" from family 0, length 128"},
	}},
}

// localDifferences are those of UDP sockets that are local ones, where there may be no network namespace.
var localDifferences = []difference{
	{"an unconnected socket's errors are a local socket's", [][2]string{
		{"fresh: udp: send = EDESTADDRREQ", "fresh: udp: send = ENOTCONN"},
		{"fresh: udp: write = EDESTADDRREQ", "fresh: udp: write = ENOTCONN"},
		{"udp: send of the unconnected = EDESTADDRREQ", "udp: send of the unconnected = ENOTCONN"},
		{"udp: send = EDESTADDRREQ", "udp: send = ENOTCONN"},
	}},
	{"a local socket loses with its peer what has come of that", [][2]string{
		{"udp: unread: recvfrom = 6", "udp: unread: recvfrom = EAGAIN"},
		{"udp: unread: from the one before it is the same", "udp: unread: from the one before it is another family"},
	}},
	{"an error that a local socket can have is a reset only", [][2]string{
		{"udp: recv = ECONNREFUSED, then EAGAIN", "udp: recv = ECONNRESET, then EAGAIN"},
		{"udp: send then = ECONNREFUSED", "udp: send then = ECONNRESET"},
		{"udp: blocking recv = ECONNREFUSED", "udp: blocking recv = ECONNRESET"},
		{"udp: blocking recv, the error comes later = ECONNREFUSED", "udp: blocking recv, the error comes later = ECONNRESET"},
	}},
}

// otherKernelDifferences are those of a kernel that is not rumpd.
var otherKernelDifferences = []difference{
	{"NetBSD's TCP has no such times, and delays acknowledgements as it likes, and says so", [][2]string{
		{"options: TCP_QUICKACK: 1; set 1 = 0; then 1", "options: TCP_QUICKACK: 0; set 1 = ENOPROTOOPT; then 0"},
		{"accepts: TCP_DEFER_ACCEPT = 0, read back 63", "accepts: TCP_DEFER_ACCEPT = ENOPROTOOPT, read back 0"},
		{"accepts: connected: poll -", "accepts: connected: poll IN"},
		{"options: TCP_LINGER2: 60; set 30 = 0; then 30", "options: TCP_LINGER2: 60; set 30 = ENOPROTOOPT; then 60"},
	}},
	{"NetBSD's datagrams may be fragmented, and over IPv6 fragments are as short as can be or not", [][2]string{
		{"options: IP_MTU_DISCOVER: 1; set 2 = 0; then 2", "options: IP_MTU_DISCOVER: 1; set 2 = ENOPROTOOPT; then 1"},
		{"mtu: IPV6_MTU 1500 = 0", "mtu: IPV6_MTU 1500 = ENOPROTOOPT"},
		{"mtu: IPV6_MTU 70000 = 0", "mtu: IPV6_MTU 70000 = ENOPROTOOPT"},
	}},
	{"what waits in the supervisor does not count", [][2]string{
		{"backlog: of 3 to a backlog of 0, 1 are connected at first", "backlog: of 3 to a backlog of 0, 2 are connected at first"},
	}},
	{"a listener with a small backlog is full until the supervisor has taken what came last", [][2]string{
		{"backlog: 1: poll OUT", "backlog: 1: poll -"},
		{"backlog: 2: poll -", "backlog: 2: poll OUT"},
	}},
	{"NetBSD lets sockets for datagrams connect to where no route leads", [][2]string{
		{"noroute: connect = ENETUNREACH", "noroute: connect = 0"},
		// And one that cannot send has no port yet.
		{"noroute: after it: getsockname = inet 0.0.0.0 port, length 16", "noroute: after it: getsockname = inet 0.0.0.0 port 0, length 16"},
		{"noroute: after it: getsockname = inet6 :: port, length 28", "noroute: after it: getsockname = inet6 :: port 0, length 28"},
	}},
	{"NetBSD finds a listener full with the last packet of a connection, which is reset then", [][2]string{
		{"signals: it is connected in the end: poll OUT, SO_ERROR 0", "signals: it is connected in the end: poll OUT|ERR|HUP, SO_ERROR ECONNRESET"},
	}},
	{"NetBSD tells a socket of IPv6 nothing of a datagram of IPv4", [][2]string{
		{"dualstack: control messages: PKTINFO HOST PKTINFO HOST 0/2: 64 0/1: 8", "dualstack: control messages:"},
		{"dualstack: control messages: PKTINFO HOST PKTINFO HOST 0/2: 64 0/1: 2", "dualstack: control messages:"},
	}},
	{"NetBSD gives all datagrams for an address to one socket", [][2]string{
		{"inuse: udp SO_REUSEPORT: 4 of 4 get datagrams, both of a sender the same one", "inuse: udp SO_REUSEPORT: 1 of 4 get datagrams, both of a sender the same one"},
	}},
	{"NetBSD does not tell a datagram's type of service", [][2]string{
		{"options: IP_RECVTOS: 0; set 1 = 0; then 1", "options: IP_RECVTOS: 0; set 1 = ENOPROTOOPT; then 0"},
		{"control: TOS = 0", "control: TOS = ENOPROTOOPT"},
		{"control: TOS 16", ""},
	}},
	{"a datagram that is not routed lives one hop on NetBSD", [][2]string{
		{"control: TTL 33", "control: TTL 1"},
		{"control: MSG_DONTROUTE: TTL 33", "control: MSG_DONTROUTE: TTL 1"},
	}},
}

// TestSockets has one program use sockets in every way that matters to programs, on the
// host and in a kernel. It prints what came of each step: the same.
func TestSockets(t *testing.T) {
	if server.kernel == "" {
		t.Skip("compares exec with the host")
	}
	program := compile(t, "sockets/sockets.c")
	list, err := exec.Command(program, "-l").Output()
	if err != nil {
		t.Fatal(err)
	}
	known := differences
	sections := strings.Fields(string(list))
	if os.Getenv("APPS_SERVER") != "" {
		known = slices.Concat(known, otherKernelDifferences)
		// Datagrams for IPv4 may always be fragmented there, and no socket is bound to an interface.
		sections = slices.DeleteFunc(sections, func(section string) bool { return section == "whole" || section == "device" })
		t.Run("whole-6", func(t *testing.T) { transcript(t, program, "whole", "-6", server, known) })
	}
	transcripts(t, program, sections, server, known)
}

// transcripts runs sections of the program on the host and on a kernel, by both families.
func transcripts(t *testing.T, program string, sections []string, h *host, differences []difference) {
	for _, family := range []string{"-4", "-6"} {
		for _, section := range sections {
			if family == "-4" && section == "dualstack" {
				continue
			}
			t.Run(section+family, func(t *testing.T) {
				t.Parallel()
				transcript(t, program, section, family, h, differences)
			})
		}
	}
}

// datagramTranscripts are the transcripts of datagrams with an exec that something else runs.
func datagramTranscripts(t *testing.T, known []difference, wrap ...string) {
	t.Helper()
	if server.kernel == "" {
		t.Skip("compares exec with the host")
	}
	program := compile(t, "sockets/sockets.c")
	h := *server
	h.wrap = append([]string{find(t, wrap[0])}, wrap[1:]...)
	if out, err := exec.Command(h.wrap[0], append(slices.Clone(h.wrap[1:]), "unshare", "-U", "true")...).CombinedOutput(); err != nil {
		t.Skipf("no user namespace: %v\n%s", err, out)
	}
	if os.Getenv("APPS_SERVER") != "" {
		known = slices.Concat(known, otherKernelDifferences)
	}
	sections := []string{"fresh", "udp", "control", "errqueue"}
	if os.Getenv("APPS") == "all" {
		sections = append(sections, "mtu", "multicast", "forks", "rights")
	}
	transcripts(t, program, sections, &h, known)
}

// TestSocketsLocal: where exec may have no network namespace.
func TestSocketsLocal(t *testing.T) {
	datagramTranscripts(t, slices.Concat(differences, localDifferences),
		"unshare", "-Ur", "sh", "-c", `echo 0 >/proc/sys/user/max_net_namespaces && exec "$@"`, "sh")
}

// TestSocketsUserNamespace: where a network namespace takes a user namespace.
func TestSocketsUserNamespace(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("TestSockets is of a user")
	}
	datagramTranscripts(t, differences, "setpriv", "--bounding-set=-sys_admin")
}

// transcript runs a section of the program on the host and on a kernel.
func transcript(t *testing.T, program, section, family string, h *host, differences []difference) {
	args := []string{section}
	if family == "-6" {
		args = []string{"-6", section}
	}
	// Not in the namespace of the tests, where lo is down.
	onHost := func() *process { return start(t, onHost(program, args...)) }
	finish := func(host *process) []string {
		want := lines(host.finish(2 * limit).Stdout)
		if len(want) == 0 || want[len(want)-1] != section+": end" {
			t.Fatalf("on the host:\n%s", strings.Join(want, "\n"))
		}
		return want
	}
	host := onHost()
	there := start(t, h.command(nil, program, args...))
	want := finish(host)
	got := lines(there.finish(2 * limit).Stdout)
	if _, unknown := unlike(want, got, differences); len(unknown) > 0 {
		// The host has lost an error of ICMP, once in some hundred runs. What it does not do
		// twice is no measure.
		if again := finish(onHost()); !slices.Equal(again, want) {
			t.Logf("the host does not do the same twice:\n%s", strings.Join(want, "\n"))
			want = again
		}
	}
	compare(t, want, got, differences)
}

// onHost is a program on a network of the host's own kind: a new namespace whose lo is up.
func onHost(program string, args ...string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	command := func(args ...string) *exec.Cmd {
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), "APPS_RUN="+strings.Join(args, "\n"))
		cmd.SysProcAttr = ownNetwork()
		return cmd
	}
	mayHaveNetwork.Do(func() { hasNetwork = command("/bin/true").Run() == nil })
	if !hasNetwork {
		return exec.Command(program, args...)
	}
	return command(append([]string{program}, args...)...)
}

// hasNetwork tells whether a program can have a network of its own.
var (
	mayHaveNetwork sync.Once
	hasNetwork     bool
)

func lines(text string) []string {
	var all []string
	for line := range strings.Lines(text) {
		name, rest, found := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		if found {
			// "udp6: …"; the addresses' family shows the difference.
			line = strings.TrimSuffix(name, "6") + ": " + rest
		}
		all = append(all, line)
	}
	return all
}

// compare reports each line that differs, but for the differences that are known.
func compare(t *testing.T, want, got []string, differences []difference) {
	t.Helper()
	known, unknown := unlike(want, got, differences)
	for _, d := range known {
		t.Log(d)
	}
	for _, d := range unknown {
		t.Error(d)
	}
}

// unlike are the lines that differ.
func unlike(want, got []string, differences []difference) (known, unknown []string) {
	differ := func(host, exec string) {
		lines := fmt.Sprintf("\n host %q\n exec %q", host, exec)
		for _, d := range differences {
			if slices.Contains(d.lines, [2]string{host, exec}) {
				known = append(known, "known: "+d.why+lines)
				return
			}
		}
		unknown = append(unknown, lines)
	}
	// Between lines that both have, in their order, those of the one stand for those of
	// the other.
	common := commonLines(want, got)
	i, j := 0, 0
	for _, pair := range append(common, [2]int{len(want), len(got)}) {
		for i < pair[0] || j < pair[1] {
			var host, exec string
			if i < pair[0] {
				host = want[i]
				i++
			}
			if j < pair[1] {
				exec = got[j]
				j++
			}
			differ(host, exec)
		}
		i, j = pair[0]+1, pair[1]+1
	}
	return known, unknown
}

// commonLines are the indices of a longest common subsequence.
func commonLines(a, b []string) [][2]int {
	length := make([][]int, len(a)+1)
	for i := range length {
		length[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				length[i][j] = length[i+1][j+1] + 1
			} else {
				length[i][j] = max(length[i+1][j], length[i][j+1])
			}
		}
	}
	var common [][2]int
	for i, j := 0, 0; i < len(a) && j < len(b); {
		switch {
		case a[i] == b[j]:
			common = append(common, [2]int{i, j})
			i++
			j++
		case length[i+1][j] >= length[i][j+1]:
			i++
		default:
			j++
		}
	}
	return common
}

// compile makes a program of C; its calls are the C library's, as most programs' are.
func compile(t *testing.T, source string) string {
	t.Helper()
	cc := find(t, "cc")
	program := filepath.Join(bin, strings.TrimSuffix(filepath.Base(source), ".c"))
	out, err := exec.Command(cc, "-O1", "-Wall", "-Wextra", "-Wno-unused-result", "-pthread", "-o", program, source).CombinedOutput()
	if err != nil {
		t.Fatalf("cc: %v\n%s", err, out)
	}
	return program
}
