package apps

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// differences are what a program may see that is not as on the host: a line of the
// host's transcript, what stands in its place, and why. Lines of IPv6 are compared as
// those of IPv4 are.
var differences = []struct{ host, exec, why string }{}

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
	for _, family := range []string{"-4", "-6"} {
		for _, section := range strings.Fields(string(list)) {
			if family == "-4" && section == "dualstack" {
				continue
			}
			t.Run(section+family, func(t *testing.T) {
				t.Parallel()
				args := []string{section}
				if family == "-6" {
					args = []string{"-6", section}
				}
				// Not in the namespace of the tests, where lo is down.
				host := start(t, onHost(program, args...))
				there := start(t, server.command(nil, program, args...))
				want := lines(host.finish(2 * limit).Stdout)
				got := lines(there.finish(2 * limit).Stdout)
				if len(want) == 0 || want[len(want)-1] != section+": end" {
					t.Fatalf("on the host:\n%s", strings.Join(want, "\n"))
				}
				compare(t, want, got)
			})
		}
	}
}

// onHost is a program on a network of the host's own kind: a new namespace whose lo is up.
func onHost(program string, args ...string) *exec.Cmd {
	if os.Getenv("APPS_ISOLATED") == "" {
		return exec.Command(program, args...)
	}
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), "APPS_RUN="+program+"\n"+strings.Join(args, "\n"))
	return cmd
}

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

// compare reports each line that differs, with the one before it: that is where to look.
func compare(t *testing.T, want, got []string) {
	t.Helper()
	known := func(host, exec string) bool {
		for _, d := range differences {
			if d.host == host && (d.exec == exec || strings.HasSuffix(d.exec, "…") && strings.HasPrefix(exec, strings.TrimSuffix(d.exec, "…"))) {
				t.Logf("known: %s\n host %q\n exec %q", d.why, host, exec)
				return true
			}
		}
		return false
	}
	for i := range max(len(want), len(got)) {
		switch {
		case i >= len(want):
			t.Errorf("and more: %q", got[i:])
			return
		case i >= len(got):
			t.Errorf("not said: %q", want[i:])
			return
		case want[i] != got[i] && !known(want[i], got[i]):
			t.Errorf("line %d\n host %q\n exec %q", i+1, want[i], got[i])
			if strings.HasSuffix(got[i], "HANGS") || strings.Contains(got[i], "FATAL") || strings.Contains(got[i], ": ends ") {
				return
			}
		}
	}
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

// TestDifferences: the list has no line twice, and a reason for each.
func TestDifferences(t *testing.T) {
	var seen []string
	for _, d := range differences {
		if d.why == "" || d.host == d.exec || slices.Contains(seen, d.host) {
			t.Errorf("%q: twice, without a reason, or no difference", d.host)
		}
		seen = append(seen, d.host)
	}
}
