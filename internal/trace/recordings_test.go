package trace_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"flag"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"rumptools/internal/trace"
	"rumptools/pkg/sysproxy/recording"
)

var update = flag.Bool("update", false, "write the golden files")

// recordings are the recorded conversations with real kernels, by their names.
var recordings = sync.OnceValue(func() map[string][]byte {
	f, err := os.Open("../../pkg/sysproxy/testdata/recordings.tar.gz")
	if err != nil {
		panic(err)
	}
	defer f.Close()
	zr, err := gzip.NewReader(f)
	if err != nil {
		panic(err)
	}
	all := make(map[string][]byte)
	for tr := tar.NewReader(zr); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			panic(err)
		}
		if name, ok := strings.CutSuffix(path.Base(h.Name), ".rsp"); ok {
			if all[name], err = io.ReadAll(tr); err != nil {
				panic(err)
			}
		}
	}
})

// show is a recording as a trace.
func show(t testing.TB, name string, o trace.Options) string {
	t.Helper()
	rec, ok := recordings()[name]
	if !ok {
		t.Fatalf("no recording %s", name)
	}
	return showBytes(t, rec, o)
}

func showBytes(t testing.TB, rec []byte, o trace.Options) string {
	t.Helper()
	var out strings.Builder
	if o.Output == nil {
		o.Output = &out
	}
	if o.Strings == 0 {
		o.Strings = trace.DefaultStrings
	}
	o.Errors = func(err error) { t.Error(err) }
	tr := trace.New(o)
	if err := trace.Read(bytes.NewReader(rec), tr); err != nil {
		t.Fatal(err)
	}
	tr.Flush()
	return out.String()
}

// TestGolden shows recordings of C clients. What a trace looks like is seen in
// testdata.
func TestGolden(t *testing.T) {
	for _, tt := range []struct {
		file, recording string
		o               trace.Options
	}{
		{"ping", "ping-n-2", trace.Options{Clock: trace.Relative, Durations: true}},
		{"ping6", "ping6-2", trace.Options{}},
		{"ifconfig", "ifconfig-get-linkstr", trace.Options{}},
		{"ifconfig-inet6", "ifconfig-inet6", trace.Options{}},
		{"route", "route-add", trace.Options{Strings: 16}},
		{"ndp", "ndp-get", trace.Options{}},
		{"sysctl", "sysctl-w", trace.Options{}},
		{"ls", "ls-root", trace.Options{Descriptors: true}},
		{"fork", "prog-fork", trace.Options{Descriptors: true}},
		{"exec", "prog-exec", trace.Options{}},
		{"threads", "prog-threads", trace.Options{Clock: trace.Micros}},
		{"kqueue", "prog-kqsock", trace.Options{}},
		{"poll", "prog-pollsel", trace.Options{}},
		{"descriptors", "prog-passfd", trace.Options{}},
		{"files", "prog-fdops", trace.Options{}},
		{"misc", "prog-misc", trace.Options{}},
		{"tcp", "prog-tcp", trace.Options{}},
		{"bpf", "prog-bpf", trace.Options{}},
		{"sigpipe", "prog-sigpipe", trace.Options{JSON: true}},
		{"powerpc", "powerpc-basic", trace.Options{}},
		{"i386", "i386-basic", trace.Options{}},
		{"raw", "raw-short-length", trace.Options{}},
		{"malformed", "raw-unknown-type", trace.Options{}},
		{"failed", "prog-misc", trace.Options{Failed: true}},
		{"network", "prog-misc", trace.Options{Filter: filter(t, "trace=%network"), Quiet: true}},
	} {
		t.Run(tt.file, func(t *testing.T) {
			got := show(t, tt.recording, tt.o)
			file := filepath.Join("testdata", tt.file+".trace")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("%s as a trace is not %s:\n%s", tt.recording, file, firstDifference(got, string(want)))
			}
		})
	}
}

func filter(t testing.TB, expr string) *trace.Filter {
	t.Helper()
	f, err := trace.ParseFilter(expr)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range g {
		if i >= len(w) {
			return fmt.Sprintf("line %d: %q is too much", i+1, g[i])
		}
		if g[i] != w[i] {
			return fmt.Sprintf("line %d:\n got %s\nwant %s", i+1, g[i], w[i])
		}
	}
	return fmt.Sprintf("line %d: %q is missing", len(g)+1, w[len(g)])
}

// hostile are the recordings with bytes that are no conversation.
var hostile = map[string]bool{"raw-short-length": true, "raw-zero-length": true}

// odd are those with what a client or a kernel does not do, or with a frame that
// has no end.
var odd = map[string]bool{
	"raw-copyin-wrong-reqno": true, "raw-disconnect-mid-frame-first": true, "raw-disconnect-mid-frame": true,
	"raw-disconnect-mid-header": true, "raw-first-frame-resp-class": true, "raw-len-64M-unfinished": true,
	"raw-raise-frame": true, "raw-resp-for-nothing": true, "raw-huge-length": true,
}

// TestEveryRecording: all that passes is understood, every call is shown, and a
// recording that is made of a recording is the same.
func TestEveryRecording(t *testing.T) {
	if n := len(recordings()); n < 250 {
		t.Fatalf("%d recordings", n)
	}
	began := regexp.MustCompile(`(?m)^(\[conn \d+[^\]]*\] )?[A-Za-z_]\w*\(`)
	for name, rec := range recordings() {
		var again bytes.Buffer
		got := showBytes(t, rec, trace.Options{Record: &again, Start: time.Unix(0, 0)})
		if strings.Contains(got, "undecodable") != hostile[name] {
			t.Errorf("%s: undecodable bytes:\n%s", name, got)
		}
		if strings.Contains(got, "??? ") && !hostile[name] && !odd[name] {
			t.Errorf("%s: something unexpected:\n%s", name, got)
		}
		if n, want := len(began.FindAllString(got, -1)), requests(t, rec); n != want {
			t.Errorf("%s: %d calls are shown, want %d", name, n, want)
		}
		compareRecordings(t, name, again.Bytes(), rec)
	}
}

// requests is how many frames are a client's requests.
func requests(t *testing.T, rec []byte) (n int) {
	for _, e := range events(t, rec) {
		if e.Kind == recording.Sent && e.FromClient && !strings.HasPrefix(e.Comment, "RAW") && !strings.HasPrefix(e.Comment, "RESP") {
			n++
		}
	}
	return n
}

func events(t *testing.T, rec []byte) (es []recording.Event) {
	t.Helper()
	r := recording.NewReader(bytes.NewReader(rec))
	for {
		e, err := r.Next()
		if err == io.EOF {
			return es
		}
		if err != nil {
			t.Fatal(err)
		}
		es = append(es, e)
	}
}

// compareRecordings compares what passed on each connection, in each direction,
// frame by frame.
func compareRecordings(t *testing.T, name string, got, want []byte) {
	t.Helper()
	type key struct {
		conn int
		up   bool
	}
	collect := func(rec []byte) map[key][]string {
		all := make(map[key][]string)
		for _, e := range events(t, rec) {
			k := key{e.Conn, e.FromClient}
			switch {
			case e.Kind == recording.Sent && strings.HasPrefix(e.Comment, "RAW") && len(all[k]) > 0 && strings.HasPrefix(all[k][len(all[k])-1], "raw "):
				all[k][len(all[k])-1] += fmt.Sprintf("%x", e.Data)
			case e.Kind == recording.Sent && strings.HasPrefix(e.Comment, "RAW"):
				all[k] = append(all[k], fmt.Sprintf("raw %x", e.Data))
			case e.Kind == recording.Sent:
				// What a client says before it is greeted is read, and
				// recorded, after.
				at := fmt.Sprint(e.At)
				if name == "raw-pipelined" && e.FromClient {
					at = ""
				}
				all[k] = append(all[k], fmt.Sprintf("%s %x", at, e.Data))
			case e.Kind == recording.Ended:
				all[k] = append(all[k], fmt.Sprintf("%v end", e.At))
			}
		}
		return all
	}
	g, w := collect(got), collect(want)
	for k := range w {
		if !slices.Equal(g[k], w[k]) {
			t.Errorf("%s: connection %d, from the client %v: recorded again it differs:\n%s", name, k.conn, k.up,
				firstDifference(strings.Join(g[k], "\n"), strings.Join(w[k], "\n")))
		}
	}
	if len(g) != len(w) {
		t.Errorf("%s: %d directions, want %d", name, len(g), len(w))
	}
}

// TestChunks: how the bytes are cut on their way does not matter.
func TestChunks(t *testing.T) {
	for _, name := range []string{"prog-misc", "prog-fork", "powerpc-basic", "netstat-an-inet6", "raw-pipelined"} {
		want := show(t, name, trace.Options{})
		var out strings.Builder
		tr := trace.New(trace.Options{Output: &out, Strings: trace.DefaultStrings})
		conns := make(map[int]*trace.Conn)
		at := time.Unix(0, 0)
		n := 0
		for _, e := range events(t, recordings()[name]) {
			at = time.Unix(0, 0).Add(e.At)
			c := conns[e.Conn]
			if c == nil {
				n++
				c = tr.Open(at, 0)
				conns[e.Conn] = c
			}
			switch e.Kind {
			case recording.Sent:
				for i := range e.Data {
					c.Bytes(at, e.FromClient, e.Data[i:i+1])
				}
			case recording.Ended:
				c.EOF(at, e.FromClient)
			}
		}
		for i := range n {
			conns[i+1].Close(at)
		}
		tr.Flush()
		got := out.String()
		// The end of the process is the recording's own.
		if i := strings.Index(want, "+++ exited"); i >= 0 {
			want = want[:i]
		}
		if i := strings.Index(want, "+++ killed"); i >= 0 {
			want = want[:i]
		}
		if got != want {
			t.Errorf("%s byte by byte: %s", name, firstDifference(got, want))
		}
	}
}
