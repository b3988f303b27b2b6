package spclienttest

import (
	"archive/tar"
	"compress/gzip"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const sample = `# command: ping -c 1 10.0.0.2
# command: cat
# server: RUMPSP-0.4-NetBSD-7.99.34/amd64
# note: one
# note: two
0.000010 1 open
1.500000 1 < 52554d50  # BANNER
1.500001 2 > 0a0b  # REQ SYSCALL 20 getpid # reqno=1
1.500002 2 < ff  # RAW 1 bytes, unfinished frame
2.000000 1 eof>
2.000000 2 eof<
# exit: -13
# stdout:
#| line one
#|
#|  indented
# stderr:
#! failed
# exit: 2
`

func TestParseRecording(t *testing.T) {
	got, err := ParseRecording("sample", strings.NewReader(sample))
	if err != nil {
		t.Fatal(err)
	}
	want := &Recording{
		Name:     "sample",
		Commands: []string{"ping -c 1 10.0.0.2", "cat"},
		Server:   "RUMPSP-0.4-NetBSD-7.99.34/amd64",
		Notes:    []string{"one", "two"},
		Events: []Event{
			{Line: 6, At: 10 * time.Microsecond, Conn: 1, Kind: Opened},
			{Line: 7, At: 1500 * time.Millisecond, Conn: 1, Kind: Sent, Data: []byte("RUMP"), Comment: "BANNER"},
			{Line: 8, At: 1500001 * time.Microsecond, Conn: 2, Kind: Sent, FromClient: true, Data: []byte{10, 11}, Comment: "REQ SYSCALL 20 getpid # reqno=1"},
			{Line: 9, At: 1500002 * time.Microsecond, Conn: 2, Kind: Sent, Data: []byte{255}, Comment: "RAW 1 bytes, unfinished frame"},
			{Line: 10, At: 2 * time.Second, Conn: 1, Kind: Ended, FromClient: true},
			{Line: 11, At: 2 * time.Second, Conn: 2, Kind: Ended},
		},
		Exits: []Exit{{Code: -13, Stdout: "line one\n\n indented\n", Stderr: "failed\n"}, {Code: 2}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for i, frame := range []bool{false, false, true, false, false, false} {
		if got.Events[i].IsFrame() != frame {
			t.Errorf("event %d is a frame: %v", i, !frame)
		}
	}
}

func TestParseRecordingErrors(t *testing.T) {
	for in, want := range map[string]string{
		"0.1 1":                    "x:1:",
		"\n\nnonsense":             "x:3:",
		"a 1 open":                 "x:1:",
		"0.1 b open":               "x:1:",
		"0.1 1 open now":           "x:1:",
		"0.1 1 <":                  "x:1:",
		"0.1 1 < 0":                "x:1:",
		"0.1 1 > 0g":               "x:1:",
		"0.1 1 >> 00":              "x:1:",
		"# exit: none":             "x:1:",
		"#| output before an exit": "x:1:",
	} {
		if _, err := ParseRecording("x", strings.NewReader(in)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, want %s...", in, err, want)
		}
	}
}

// recordedTexts returns the shorter of the real recordings, as text.
func recordedTexts(tb testing.TB) (texts []string) {
	tb.Helper()
	f, err := os.Open("../../sysproxy/testdata/recordings.tar.gz")
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	zr, err := gzip.NewReader(f)
	if err != nil {
		tb.Fatal(err)
	}
	for tr := tar.NewReader(zr); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return texts
		} else if err != nil {
			tb.Fatal(err)
		}
		if h.Size > 8<<10 {
			continue
		}
		b, err := io.ReadAll(tr)
		if err != nil {
			tb.Fatal(err)
		}
		texts = append(texts, string(b))
	}
}

func FuzzParseRecording(f *testing.F) {
	f.Add(sample)
	for _, text := range recordedTexts(f) {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ParseRecording("x", strings.NewReader(s))
	})
}
