package main

import (
	"bytes"
	"context"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rumptools/internal/replay"
	"rumptools/pkg/spclient/spclienttest"
)

// execute runs the program and returns what it prints and its exit code.
func execute(ctx context.Context, args ...string) (stdout, stderr string, code int) {
	var out, err bytes.Buffer
	code = run(ctx, args, &out, &err)
	return out.String(), err.String(), code
}

func recordings(t *testing.T) []*spclienttest.Recording {
	t.Helper()
	list, err := spclienttest.OpenRecordings("testdata/recordings.tar.gz")
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func recording(t *testing.T, name string) *spclienttest.Recording {
	t.Helper()
	list := recordings(t)
	i := slices.IndexFunc(list, func(r *spclienttest.Recording) bool { return r.Name == name })
	if i < 0 {
		t.Fatalf("no recording %s", name)
	}
	return list[i]
}

// trimLines takes the blanks at the ends of lines away: the recordings do not
// have them.
func trimLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

// TestRecordings gives the program what NetBSD's netstat was given, and what
// the kernel answered it, and compares what it prints and its exit code.
func TestRecordings(t *testing.T) {
	// What this program refuses; see TestRefused.
	refused := []string{"netstat-B", "netstat-q"}
	// What NetBSD's program says when it is built for rump kernels and is
	// asked for interfaces: it would rather read the kernel's memory.
	const forcing = "netstat: forcing sysctl usage even though it might not be supported\n"
	for _, rec := range recordings(t) {
		if slices.Contains(refused, rec.Name) {
			continue
		}
		t.Run(rec.Name, func(t *testing.T) {
			srv := replay.Serve(t, rec)
			args := append([]string{"--server", srv.URL}, strings.Fields(rec.Commands[0])[1:]...)
			// The recorded kernel had no files of names.
			if !slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "-") && strings.Contains(a, "n") && a != "--server" }) {
				args = append([]string{"-n"}, args...)
			}
			stdout, stderr, code := execute(t.Context(), args...)
			want := rec.Exits[0]
			if diff := cmp.Diff(want.Stdout, trimLines(stdout)); diff != "" {
				t.Errorf("standard output: %s", diff)
			}
			if diff := cmp.Diff(strings.TrimPrefix(want.Stderr, forcing), stderr); diff != "" {
				t.Errorf("standard error: %s", diff)
			}
			if code != want.Code {
				t.Errorf("exit code %d, want %d", code, want.Code)
			}
			for _, m := range srv.Missing() {
				t.Errorf("not recorded: %s", m)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	url := "unix://" + filepath.Join(t.TempDir(), "nothing")
	for _, c := range []struct{ args, want string }{
		{"-B", "-B: bpf(4) peers are not shown"},
		{"-q", "-q: software interrupt queues are not shown"},
		{"-an -m", "-m: the memory of the network stack is not shown"},
		{"-gn", "-g: multicast routing is not in rump kernels"},
		{"-M core -N netbsd", "-M: there is no memory file of a rump kernel"},
		{"-P 1234", "-P: control blocks are not shown"},
		{"-f mpls", "mpls: address family not supported"},
		{"-f bogus", "bogus: unknown address family"},
		{"-rn -f local", "local: no routing table"},
		{"-rn -f inet,inet6", "-r takes one family, not inet,inet6"},
		{"-p bogus", "bogus: unknown or uninstrumented protocol"},
		{"-is", "-i and -I exclude -s and -p: kernels keep no statistics of protocols by interface"},
		{"-i -f inet", "-i and -I exclude -f"},
		{"-w 0", `bad value for -w: "0": expected 1 to 2147483647 seconds`},
		{"-w x", `bad value for -w: "x": expected 1 to 2147483647 seconds`},
		{"-w 1 --json", "-w and --json exclude each other"},
		{"0", `bad value for -w: "0": expected 1 to 2147483647 seconds`},
		{"/netbsd", `unexpected word "/netbsd"`},
		{"-x", "unknown shorthand flag: 'x' in -x"},
		{"-rn", "no rump kernel at " + url + `: start one with "rumpctl start" or set RUMP_SERVER`},
	} {
		stdout, stderr, code := execute(t.Context(), append([]string{"--server", url}, strings.Fields(c.args)...)...)
		if want := "rnetstat: " + c.want + "\n"; stdout != "" || stderr != want || code != 1 {
			t.Errorf("%s: exit code %d\n%s%swant %s", c.args, code, stdout, stderr, want)
		}
	}
}

// TestNone: what the kernel has not is told when it was asked for, and left
// out when all was.
func TestNone(t *testing.T) {
	// This kernel was asked for routes only: it has nothing else to tell.
	srv := replay.Serve(t, recording(t, "netstat-rn-inet"))
	for _, c := range []struct{ args, stdout, stderr string }{
		{"-an", "", ""},
		{"-an -f inet", "", ""},
		{"-an -f local", "", "net.local: No such file or directory"},
		{"-s", "", "the kernel keeps no statistics"},
		{"-p tcp", "", "tcp: the kernel keeps no statistics of this protocol"},
		{"-rs", "", "routing: the kernel keeps no statistics of this protocol"},
		{"-I nosuch", "Name  Mtu   Network       Address              Ipkts Ierrs    Opkts Oerrs Colls\n", "nosuch: unknown interface"},
		{"-I nosuch -w 1", "", "nosuch: unknown interface"},
		{"--json -an", "{\n  \"internet\": [],\n  \"local\": []\n}\n", ""},
	} {
		stdout, stderr, code := execute(t.Context(), append([]string{"--server", srv.URL}, strings.Fields(c.args)...)...)
		want := 0
		if c.stderr != "" {
			c.stderr, want = "rnetstat: "+c.stderr+"\n", 1
		}
		if stdout != c.stdout || stderr != c.stderr || code != want {
			t.Errorf("%s: exit code %d\n%s%s", c.args, code, stdout, stderr)
		}
	}
}

// TestHelp: -h is netstat's.
func TestHelp(t *testing.T) {
	srv := replay.Serve(t, recording(t, "netstat-bin"))
	stdout, stderr, code := execute(t.Context(), "--server", srv.URL, "-bhin")
	if code != 0 || !strings.Contains(stdout, "shmif0 1500 10.0.0/24     10.0.0.1              12150B     13412B\n") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	stdout, stderr, code = execute(t.Context(), "--help")
	if code != 0 || stderr != "" || !strings.Contains(stdout, "rnetstat [flags]") || !strings.HasSuffix(stdout, "\n") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
}

func TestJSON(t *testing.T) {
	type object = map[string]any
	first := func(recordingName string, args ...string) any {
		t.Helper()
		srv := replay.Serve(t, recording(t, recordingName))
		stdout, stderr, code := execute(t.Context(), append([]string{"--server", srv.URL, "--json"}, args...)...)
		if code != 0 || stderr != "" {
			t.Fatalf("%s: exit code %d, %s", args, code, stderr)
		}
		var v any
		if err := json.Unmarshal([]byte(stdout), &v); err != nil {
			t.Fatal(err)
		}
		if list, ok := v.([]any); ok {
			return list[0]
		}
		return v
	}
	for _, c := range []struct {
		got  any
		want object
	}{
		{first("netstat-rn-inet", "-rn", "-f", "inet"), object{
			"family": "inet", "destination": "10.0.0.0/24", "gateway": "link#2", "flags": "UC", "mtuLocked": true, "interface": "shmif0",
			"metrics": object{"expire": 1795533684.0}}},
		{first("netstat-an-inet", "-an", "-f", "inet").(object)["internet"].([]any)[0], object{
			"protocol": "tcp", "state": "ESTABLISHED", "recvQueue": 0.0, "sendQueue": 0.0,
			"local":   object{"address": "127.0.0.1", "port": 8080.0},
			"foreign": object{"address": "127.0.0.1", "port": 59865.0}}},
		{first("netstat-an-unix", "-an", "-f", "unix").(object)["local"].([]any)[0], object{
			"type": "stream", "path": "/sock", "recvQueue": 0.0, "sendQueue": 0.0}},
		{first("netstat-in", "-in"), object{
			"name": "lo0", "index": 1.0, "up": true, "mtu": 33624.0,
			"addresses": []any{
				object{"family": "inet6", "address": "::1", "network": "::1/128"},
				object{"family": "inet6", "address": "fe80::1%lo0", "network": "fe80::/64"},
				object{"family": "inet", "address": "127.0.0.1", "network": "127.0.0.0/8"},
			},
			"inputPackets": 107.0, "inputErrors": 0.0, "inputBytes": 7174.0, "inputQueueDrops": 0.0,
			"outputPackets": 107.0, "outputErrors": 0.0, "outputBytes": 7174.0, "collisions": 0.0}},
	} {
		if diff := cmp.Diff(any(c.want), c.got); diff != "" {
			t.Error(diff)
		}
	}
	icmp := first("netstat-s-p-icmp", "-p", "icmp").(object)
	counters := icmp["counters"].(object)
	if icmp["protocol"] != "icmp" || counters["error"] != 54.0 || counters["inhist.8"] != 4.0 || counters["checksum"] != 12.0 {
		t.Error(icmp)
	}
}
