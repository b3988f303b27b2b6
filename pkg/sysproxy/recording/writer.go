package recording

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
)

// Writer writes a recording. Its first error sticks; it is returned by every
// later call.
type Writer struct {
	w   *bufio.Writer
	err error
	hex []byte
}

// NewWriter returns a writer to w. What it writes is buffered: see
// [Writer.Flush].
func NewWriter(w io.Writer) *Writer { return &Writer{w: bufio.NewWriterSize(w, 1<<16)} }

// Remark writes "# KEY: VALUE"; the keys are command, server, note and exit.
func (w *Writer) Remark(key, value string) error {
	value = strings.Map(func(r rune) rune {
		if r == '\n' || r == '\r' {
			return ' '
		}
		return r
	}, value)
	w.printf("# %s: %s\n", key, value)
	return w.err
}

// Event writes an event.
func (w *Writer) Event(e Event) error {
	at := e.At.Microseconds()
	w.printf("%d.%06d %d ", at/1e6, at%1e6, e.Conn)
	direction := byte('<')
	if e.FromClient {
		direction = '>'
	}
	switch e.Kind {
	case Opened:
		w.printf("open\n")
	case Ended:
		w.printf("eof%c\n", direction)
	case Sent:
		w.hex = hex.AppendEncode(w.hex[:0], e.Data)
		w.printf("%c %s", direction, w.hex)
		if e.Comment != "" {
			w.printf("  # %s", e.Comment)
		}
		w.printf("\n")
	}
	return w.err
}

// Flush writes what is buffered.
func (w *Writer) Flush() error {
	if w.err == nil {
		w.err = w.w.Flush()
	}
	return w.err
}

func (w *Writer) printf(format string, args ...any) {
	if w.err == nil {
		_, w.err = fmt.Fprintf(w.w, format, args...)
	}
}
