package spclienttest

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"
	"time"
)

// Recording is what passed between clients and a kernel: all bytes, frame by
// frame.
//
// The format is lines of text. "# command: PROGRAM ARGUMENTS", one for each
// process, "# server: BANNER" and "# note: TEXT" come first. Then
//
//	SECONDS CONN open
//	SECONDS CONN > HEX  # COMMENT
//	SECONDS CONN < HEX  # COMMENT
//	SECONDS CONN eof>
//	SECONDS CONN eof<
//
// where > is from the client and < from the server, each one frame or, marked
// BANNER or RAW in the comment, the first line or bytes that are no frame. At the
// end, for each process: "# exit: CODE", "# stdout:" and lines that begin with
// "#| ", "# stderr:" and lines that begin with "#! ".
type Recording struct {
	Name     string
	Commands []string
	Server   string // the banner, without its newline
	Notes    []string
	Events   []Event
	Exits    []Exit // of the processes, in the order of Commands
}

// EventKind says what happened.
type EventKind uint8

// The kinds of events.
const (
	Opened EventKind = iota // a connection
	Sent                    // a frame or other bytes
	Ended                   // one side closed its sending direction
)

// Event is a line of a recording.
type Event struct {
	Line       int           // in the file
	At         time.Duration // since the start of the recording
	Conn       int           // from 1
	Kind       EventKind
	FromClient bool   // for Sent and Ended
	Data       []byte // for Sent
	Comment    string // for Sent: what Data is
}

// IsFrame tells whether the event is one whole frame.
func (e *Event) IsFrame() bool {
	return e.Kind == Sent && e.Comment != "BANNER" && !strings.HasPrefix(e.Comment, "RAW")
}

// Exit is how a process ended.
type Exit struct {
	Code           int // negative: killed by that signal
	Stdout, Stderr string
}

// ParseRecording reads a recording.
func ParseRecording(name string, r io.Reader) (*Recording, error) {
	rec := &Recording{Name: name}
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 64<<20)
	for n := 1; sc.Scan(); n++ {
		if err := rec.parseLine(n, sc.Text()); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, n, err)
		}
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return rec, nil
}

func (rec *Recording) parseLine(n int, line string) error {
	switch {
	case line == "":
		return nil
	case strings.HasPrefix(line, "#| "), line == "#|":
		return rec.output(func(x *Exit) *string { return &x.Stdout }, line)
	case strings.HasPrefix(line, "#! "), line == "#!":
		return rec.output(func(x *Exit) *string { return &x.Stderr }, line)
	case strings.HasPrefix(line, "#"):
		key, value, _ := strings.Cut(strings.TrimPrefix(line, "# "), ":")
		value = strings.TrimPrefix(value, " ")
		switch key {
		case "command":
			rec.Commands = append(rec.Commands, value)
		case "server":
			rec.Server = value
		case "note":
			rec.Notes = append(rec.Notes, value)
		case "exit":
			code, err := strconv.Atoi(value)
			if err != nil {
				return err
			}
			rec.Exits = append(rec.Exits, Exit{Code: code})
		}
		return nil
	}
	text, comment, _ := strings.Cut(line, "#")
	f := strings.Fields(text)
	if len(f) < 3 {
		return fmt.Errorf("no event: %.80q", line)
	}
	e := Event{Line: n, Comment: strings.TrimSpace(comment)}
	secs, err := strconv.ParseFloat(f[0], 64)
	if err != nil {
		return err
	}
	e.At = time.Duration(secs*1e6+0.5) * time.Microsecond
	if e.Conn, err = strconv.Atoi(f[1]); err != nil {
		return err
	}
	switch kind := f[2]; {
	case kind == "open" && len(f) == 3:
		e.Kind = Opened
	case (kind == "eof>" || kind == "eof<") && len(f) == 3:
		e.Kind, e.FromClient = Ended, kind == "eof>"
	case (kind == ">" || kind == "<") && len(f) == 4:
		e.Kind, e.FromClient = Sent, kind == ">"
		if e.Data, err = hex.DecodeString(f[3]); err != nil {
			return err
		}
	default:
		return fmt.Errorf("no event: %.80q", line)
	}
	rec.Events = append(rec.Events, e)
	return nil
}

// output adds a line to what the last process printed.
func (rec *Recording) output(to func(*Exit) *string, line string) error {
	if len(rec.Exits) == 0 {
		return fmt.Errorf("output before an exit")
	}
	s := to(&rec.Exits[len(rec.Exits)-1])
	*s += strings.TrimPrefix(line[2:], " ") + "\n"
	return nil
}

// OpenRecording reads the recording in a file.
func OpenRecording(file string) (*Recording, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return ParseRecording(recordingName(file), bytes.NewReader(b))
}

// OpenRecordings reads all recordings (NAME.rsp) in a tar.gz archive.
func OpenRecordings(archive string) ([]*Recording, error) {
	f, err := os.Open(archive)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	zr, err := gzip.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", archive, err)
	}
	var recs []*Recording
	for tr := tar.NewReader(zr); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return recs, nil
		} else if err != nil {
			return nil, fmt.Errorf("%s: %w", archive, err)
		}
		if path.Ext(h.Name) != ".rsp" {
			continue
		}
		rec, err := ParseRecording(recordingName(h.Name), tr)
		if err != nil {
			return nil, err
		}
		recs = append(recs, rec)
	}
}

func recordingName(file string) string {
	return strings.TrimSuffix(path.Base(file), ".rsp")
}
