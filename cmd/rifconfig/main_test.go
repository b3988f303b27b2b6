package main

import (
	"bytes"
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

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

// TestRecordings gives the program what NetBSD's ifconfig was given, and what
// the kernel answered it, and compares what it prints, its exit code and the
// changes that it asks the kernel for.
func TestRecordings(t *testing.T) {
	// Its words are refused before the kernel is asked anything; see
	// TestWrongWords.
	elsewhere := []string{"ifconfig-lladdr"}
	// Requests that NetBSD's program does not make: what the address that is
	// replaced was, so that it can be put back.
	extra := map[string]string{"ifconfig-up-inet": "SIOCGIFALIAS"}
	for _, rec := range recordings(t) {
		if slices.Contains(elsewhere, rec.Name) {
			continue
		}
		t.Run(rec.Name, func(t *testing.T) {
			srv := replay.Serve(t, rec)
			args := strings.Fields(rec.Commands[0])[1:]
			stdout, stderr, code := execute(t.Context(), append([]string{"--server", srv.URL}, args...)...)
			want := rec.Exits[0]
			if diff := cmp.Diff(want.Stdout, stdout); diff != "" {
				t.Errorf("standard output: %s", diff)
			}
			if diff := cmp.Diff(strings.ReplaceAll(want.Stderr, "ifconfig: ", "rifconfig: "), stderr); diff != "" {
				t.Errorf("standard error: %s", diff)
			}
			if code != want.Code {
				t.Errorf("exit code %d, want %d", code, want.Code)
			}
			if unsent := srv.Unsent(); len(unsent) > 0 {
				t.Errorf("requests that were not made: %q", unsent)
			}
			for _, m := range srv.Missing() {
				if e := extra[rec.Name]; e == "" || !strings.HasPrefix(m, e) {
					t.Errorf("not recorded: %s", m)
				}
			}
		})
	}
}

// TestNoKernel: there is one line to say so, for every kind of command, and
// wrong words are found without a kernel.
func TestNoKernel(t *testing.T) {
	url := "unix://" + filepath.Join(t.TempDir(), "nothing")
	want := "rifconfig: no rump kernel at " + url + `: start one with "rumpctl start" or set RUMP_SERVER` + "\n"
	for _, args := range [][]string{{}, {"-a"}, {"-l"}, {"-C"}, {"-w", "1"}, {"-s", "lo0"}, {"lo0"}, {"lo0", "up"}} {
		stdout, stderr, code := execute(t.Context(), append([]string{"--server", url}, args...)...)
		if stdout != "" || stderr != want || code != 1 {
			t.Errorf("%q: exit code %d\n%s%s", args, code, stdout, stderr)
		}
	}
}

func TestWrongWords(t *testing.T) {
	url := "unix://" + filepath.Join(t.TempDir(), "nothing")
	for _, c := range []struct{ args, want string }{
		{"shmif0 lladdr 02:00:00:00:00:01", "lladdr: no such parameter of NetBSD's: see link"},
		{"shmif0 mtu many", `bad value for mtu: "many": expected 0 to 2147483647`},
		{"shmif0 mtu", "mtu: value missing"},
		{"-l -a", "-l, -C and -w exclude each other and -a, -L, -m, -v and -z"},
		{"-l -C", "-l, -C and -w exclude each other and -a, -L, -m, -v and -z"},
		{"-C -v", "-l, -C and -w exclude each other and -a, -L, -m, -v and -z"},
		{"-l lo0", `unexpected word "lo0": -l, -C and -w take none`},
		{"-a up", `unexpected word "up": -a takes only an address family`},
		{"-v", "no interface given: name one, or use -a for all"},
		{"-s lo0 inet", `unexpected word "inet": -s takes an interface`},
		{"-z lo0 up", `unexpected word "up": -L, -m, -z and --json only show`},
		{"-w x", `invalid argument "x" for "-w, --wait" flag: expected 0 to 2147483647`},
		{"-W 1 lo0", "-W is for -w"},
		{"-x", "unknown shorthand flag: 'x' in -x"},
	} {
		args := append([]string{"--server", url}, strings.Fields(c.args)...)
		stdout, stderr, code := execute(t.Context(), args...)
		if want := "rifconfig: " + c.want + "\n"; stdout != "" || stderr != want || code != 1 {
			t.Errorf("%s: exit code %d\n%s%swant %s", c.args, code, stdout, stderr, want)
		}
	}
}

func TestJSON(t *testing.T) {
	list := recordings(t)
	rec := list[slices.IndexFunc(list, func(r *spclienttest.Recording) bool { return r.Name == "ifconfig-v" })]
	srv := replay.Serve(t, rec)
	// Lifetimes and the time are not in the recording: the kernel refuses.
	_, stderr, code := execute(t.Context(), "--server", srv.URL, "--json", "shmif0")
	if code != 1 || !strings.HasPrefix(stderr, "rifconfig: ") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
	for _, c := range []struct{ args, want string }{
		{"-l", "[\n  \"lo0\",\n  \"shmif0\"\n]\n"},
		{"-ld", "[]\n"},
	} {
		stdout, stderr, code := execute(t.Context(), append([]string{"--server", srv.URL, "--json"}, strings.Fields(c.args)...)...)
		if code != 0 || stderr != "" || stdout != c.want {
			t.Errorf("%s: exit code %d, %s%s", c.args, code, stdout, stderr)
		}
	}
}

// TestInterrupted: who waits can be interrupted, and says so in one line.
func TestInterrupted(t *testing.T) {
	list := recordings(t)
	rec := list[slices.IndexFunc(list, func(r *spclienttest.Recording) bool { return r.Name == "ifconfig-v" })]
	srv := replay.Serve(t, rec)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	// Its addresses stay tentative for ever.
	stdout, stderr, code := execute(ctx, "--server", srv.URL, "-w", "0")
	if stdout != "" || stderr != "rifconfig: interrupted\n" || code != 1 {
		t.Errorf("exit code %d, %s%s", code, stdout, stderr)
	}
	stdout, stderr, code = execute(t.Context(), "--server", srv.URL, "-w", "1")
	if stdout != "" || stderr != "rifconfig: timed out\n" || code != 1 {
		t.Errorf("exit code %d, %s%s", code, stdout, stderr)
	}
}
