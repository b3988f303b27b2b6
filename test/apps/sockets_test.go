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

// compare reports each line that differs.
func compare(t *testing.T, want, got []string) {
	t.Helper()
	known := func(host, exec string) bool {
		for _, d := range differences {
			if d.host == host && d.exec == exec {
				t.Logf("known: %s\n host %q\n exec %q", d.why, host, exec)
				return true
			}
		}
		return false
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
			if !known(host, exec) {
				t.Errorf("\n host %q\n exec %q", host, exec)
			}
		}
		i, j = pair[0]+1, pair[1]+1
	}
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
