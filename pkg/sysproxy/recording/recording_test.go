package recording_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"rumptools/pkg/sysproxy/recording"
)

func read(t testing.TB, text string) (*recording.Reader, []recording.Event, error) {
	t.Helper()
	r := recording.NewReader(strings.NewReader(text))
	var events []recording.Event
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			return r, events, nil
		}
		if err != nil {
			return r, events, err
		}
		events = append(events, e)
	}
}

const sample = `# command: ping -c 1 10.0.0.2
# server: RUMPSP-0.4-NetBSD-7.99.34/amd64
# note: a neighbour
0.004431 1 open
0.004609 1 < 52554d500a  # BANNER
1.500000 1 > 0102  # REQ HANDSHAKE GUEST "ping" reqno=1 len=2
1.500001 1 eof>
123.000001 1 eof<
# exit: -13
# stdout:
#| PING
#|
# stderr:
#! oops
`

func TestReader(t *testing.T) {
	r, events, err := read(t, sample)
	if err != nil {
		t.Fatal(err)
	}
	us := time.Microsecond
	want := []recording.Event{
		{Line: 4, At: 4431 * us, Conn: 1, Kind: recording.Opened},
		{Line: 5, At: 4609 * us, Conn: 1, Kind: recording.Sent, Data: []byte("RUMP\n"), Comment: "BANNER"},
		{Line: 6, At: 1500000 * us, Conn: 1, Kind: recording.Sent, FromClient: true, Data: []byte{1, 2}, Comment: `REQ HANDSHAKE GUEST "ping" reqno=1 len=2`},
		{Line: 7, At: 1500001 * us, Conn: 1, Kind: recording.Ended, FromClient: true},
		{Line: 8, At: 123000001 * us, Conn: 1, Kind: recording.Ended},
	}
	if !reflect.DeepEqual(events, want) {
		t.Errorf("events:\n%+v\nwant\n%+v", events, want)
	}
	if fmt.Sprintf("%v %v %v %v", r.Commands, r.Server, r.Notes, r.Exits) != "[ping -c 1 10.0.0.2] RUMPSP-0.4-NetBSD-7.99.34/amd64 [a neighbour] [-13]" {
		t.Errorf("%q, %q, %q, %v", r.Commands, r.Server, r.Notes, r.Exits)
	}
}

func TestMistakes(t *testing.T) {
	for _, tt := range []struct{ line, want string }{
		{"nonsense", `line 2: no event: "nonsense"`},
		{"0.1 1 shut", "line 2: no event"},
		{"0.1 1 open 1", "line 2: no event"},
		{"x 1 open", `line 2: time "x": not a number of seconds`},
		{"-1 1 open", "line 2: time"},
		{"NaN 1 open", "line 2: time"},
		{"1e300 1 open", "line 2: time"},
		{"0.1 0 open", `line 2: connection "0": not a number from 1`},
		{"0.1 x open", "line 2: connection"},
		{"0.1 1 > 012", "line 2: bytes that are not hexadecimal"},
		{"0.1 1 > 01 02", "line 2: no event"},
		{"# exit: x", `line 2: exit "x": not a number`},
		{"0.1 1 > " + strings.Repeat("00", recording.MaxLine/2), "line 2: bufio.Scanner: token too long"},
	} {
		_, _, err := read(t, "0.1 1 open\n"+tt.line+"\n")
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%.40q: %v, want %q", tt.line, err, tt.want)
		}
	}
}

func TestWriter(t *testing.T) {
	_, events, err := read(t, sample)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := recording.NewWriter(&b)
	w.Remark("command", "ping -c 1 10.0.0.2")
	w.Remark("server", "RUMPSP-0.4-NetBSD-7.99.34/amd64")
	w.Remark("note", "a\nneighbour")
	for _, e := range events {
		if err := w.Event(e); err != nil {
			t.Fatal(err)
		}
	}
	w.Remark("exit", "-13")
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	want, _, _ := strings.Cut(sample, "# stdout")
	if b.String() != want {
		t.Errorf("written:\n%s\nwant:\n%s", b.String(), want)
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestWriterErrorSticks(t *testing.T) {
	w := recording.NewWriter(broken{})
	w.Remark("note", "x")
	if err := w.Flush(); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("flush: %v", err)
	}
	if err := w.Event(recording.Event{Conn: 1}); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("event: %v", err)
	}
	if err := w.Remark("note", "x"); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("remark: %v", err)
	}
}

// FuzzReader: what is read is written as it was meant.
func FuzzReader(f *testing.F) {
	f.Add(sample)
	f.Add("9223372035.999999 9223372036854775807 > ff # RAW # x")
	f.Add("0.004431 1 open # it has no bytes that could be explained")
	f.Fuzz(func(t *testing.T, text string) {
		_, events, err := read(t, text)
		if err != nil {
			return
		}
		var b bytes.Buffer
		w := recording.NewWriter(&b)
		for _, e := range events {
			if err := w.Event(e); err != nil {
				t.Fatal(err)
			}
		}
		w.Flush()
		_, again, err := read(t, b.String())
		if err != nil || len(again) != len(events) {
			t.Fatalf("%d events of %d are read again: %v\n%s", len(again), len(events), err, &b)
		}
		for i := range events {
			e, a := events[i], again[i]
			e.Line, a.Line = 0, 0
			// Times beyond microseconds and blanks in comments are not kept.
			if d := e.At - a.At; d < -time.Microsecond || d > time.Microsecond {
				t.Errorf("%v, then %v", e.At, a.At)
			}
			if e.At, a.At = 0, 0; !reflect.DeepEqual(e, a) {
				t.Errorf("%+v, then %+v", e, a)
			}
		}
	})
}
