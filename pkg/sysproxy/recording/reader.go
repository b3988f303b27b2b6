package recording

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// MaxLine is the longest line that a Reader takes, in bytes. A frame of 8 MiB
// fits.
const MaxLine = 17 << 20

// Reader reads a recording event by event.
type Reader struct {
	// Commands, Server and Notes are what the lines so far have said.
	Commands []string
	Server   string // the banner, without its newline
	Notes    []string
	// Exits are the exit codes of the processes, in the order of Commands.
	Exits []int

	sc   *bufio.Scanner
	line int
}

// NewReader returns a reader of r.
func NewReader(r io.Reader) *Reader {
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, MaxLine)
	return &Reader{sc: sc}
}

// Next returns the next event, and io.EOF after the last. Other errors name the
// line.
func (r *Reader) Next() (Event, error) {
	for r.sc.Scan() {
		r.line++
		line := r.sc.Text()
		if line == "" || strings.HasPrefix(line, "#") {
			if err := r.remark(line); err != nil {
				return Event{}, fmt.Errorf("line %d: %w", r.line, err)
			}
			continue
		}
		e, err := parseEvent(line)
		if err != nil {
			return Event{}, fmt.Errorf("line %d: %w", r.line, err)
		}
		e.Line = r.line
		return e, nil
	}
	if err := r.sc.Err(); err != nil {
		return Event{}, fmt.Errorf("line %d: %w", r.line+1, err)
	}
	return Event{}, io.EOF
}

// remark reads a line that is no event. What the processes printed is passed over.
func (r *Reader) remark(line string) error {
	key, value, _ := strings.Cut(strings.TrimPrefix(line, "# "), ":")
	value = strings.TrimPrefix(value, " ")
	switch {
	case !strings.HasPrefix(line, "# "):
	case key == "command":
		r.Commands = append(r.Commands, value)
	case key == "server":
		r.Server = value
	case key == "note":
		r.Notes = append(r.Notes, value)
	case key == "exit":
		code, err := strconv.Atoi(value)
		if err != nil {
			return fmt.Errorf("exit %q: not a number", value)
		}
		r.Exits = append(r.Exits, code)
	}
	return nil
}

// maxSeconds is the longest time of an event that a time.Duration holds.
const maxSeconds = float64(1<<63-1) / 1e9

func parseEvent(line string) (Event, error) {
	text, comment, _ := strings.Cut(line, "#")
	f := strings.Fields(text)
	if len(f) < 3 {
		return Event{}, fmt.Errorf("no event: %.80q", line)
	}
	var e Event
	secs, err := strconv.ParseFloat(f[0], 64)
	if err != nil || !(secs >= 0 && secs < maxSeconds-1) {
		return Event{}, fmt.Errorf("time %.40q: not a number of seconds", f[0])
	}
	e.At = time.Duration(secs*1e6+0.5) * time.Microsecond
	if e.Conn, err = strconv.Atoi(f[1]); err != nil || e.Conn < 1 {
		return Event{}, fmt.Errorf("connection %.40q: not a number from 1", f[1])
	}
	switch kind := f[2]; {
	case kind == "open" && len(f) == 3:
		e.Kind = Opened
	case (kind == "eof>" || kind == "eof<") && len(f) == 3:
		e.Kind, e.FromClient = Ended, kind == "eof>"
	case (kind == ">" || kind == "<") && len(f) == 4:
		e.Kind, e.FromClient, e.Comment = Sent, kind == ">", strings.TrimSpace(comment)
		if e.Data, err = hex.DecodeString(f[3]); err != nil {
			return Event{}, errors.New("bytes that are not hexadecimal")
		}
	default:
		return Event{}, fmt.Errorf("no event: %.80q", line)
	}
	return e, nil
}
