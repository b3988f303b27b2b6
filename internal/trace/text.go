package trace

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// resultColumn is where the results of short calls are, as in strace's output.
const resultColumn = 40

// textWriter writes a trace as text. A call is a line, written when the call
// ends. When another one ends first that began later, or when it takes long, what
// is known of it is written before: the line is broken off as "<unfinished ...>",
// and taken up again as "<... NAME resumed>".
type textWriter struct {
	t      *Tracer
	open   *call // whose line has no end yet
	spaced bool  // that line ends with a space
	column int   // in that line, without its head
	seen   *Conn // the first client that was shown
	many   bool  // more than one was
	prev   time.Time
}

// see takes note of a client that is shown: when there are several, lines tell
// whose they are.
func (w *textWriter) see(c *Conn) {
	if w.seen == nil {
		w.seen = c
	}
	if c != w.seen {
		w.many = true
	}
}

// head is what comes before a line: who, and when.
func (w *textWriter) head(c *Conn, at time.Time) string {
	var b strings.Builder
	if w.many && (c.id != 0 || c.pid != 0) {
		who := fmt.Sprintf("conn %d", c.id)
		if c.pid != 0 {
			who = fmt.Sprintf("pid %d", c.pid)
		}
		if c.name != "" {
			who += " " + c.name
		}
		fmt.Fprintf(&b, "[%s] ", who)
	}
	switch w.t.o.Clock {
	case Seconds:
		b.WriteString(at.Format("15:04:05 "))
	case Micros:
		b.WriteString(at.Format("15:04:05.000000 "))
	case SinceUnix:
		fmt.Fprintf(&b, "%d.%06d ", at.Unix(), at.Nanosecond()/1000)
	case Relative:
		var d time.Duration
		if !w.prev.IsZero() {
			d = max(at.Sub(w.prev), 0)
		}
		fmt.Fprintf(&b, "%6d.%06d ", d/time.Second, d%time.Second/time.Microsecond)
	}
	w.prev = at
	return b.String()
}

// put writes a part of a line.
func (w *textWriter) put(s string) {
	w.t.out.write(s)
	w.column += utf8.RuneCountInString(s)
	w.spaced = strings.HasSuffix(s, " ")
}

func (w *textWriter) start(c *Conn, at time.Time) {
	w.interrupt()
	w.t.out.write(w.head(c, at))
	w.column = 0
}

func (w *textWriter) end() {
	w.t.out.write("\n")
	w.open = nil
}

// interrupt breaks off the line that has no end yet.
func (w *textWriter) interrupt() {
	if w.open != nil {
		if !w.spaced {
			w.put(" ")
		}
		w.put("<unfinished ...>")
		w.end()
	}
}

// line writes a whole line.
func (w *textWriter) line(c *Conn, text string) {
	w.start(c, w.t.now)
	w.put(text)
	w.end()
}

// beginCall writes what is known of a call under way.
func (w *textWriter) beginCall(c *call) {
	w.start(c.conn, c.start)
	w.put(c.name + "(")
	args := w.t.arguments(c)
	for i, a := range args.text[:args.known] {
		if i > 0 {
			w.put(", ")
		}
		w.put(a.text)
	}
	if args.known > 0 && args.known < len(args.text) {
		w.put(", ")
	}
	c.begun, c.given = true, args.known
	w.open = c
}

// endCall writes a call that has ended, or what is left to be written of it.
func (w *textWriter) endCall(c *call) {
	status := w.t.o.Failed || w.t.o.Successful
	for _, p := range w.t.pending {
		if p.seq > c.seq || status {
			break
		}
		if !p.begun {
			w.beginCall(p)
		}
	}
	args := w.t.arguments(c)
	switch {
	case !c.begun:
		w.start(c.conn, c.start)
		w.put(c.name + "(")
	case w.open != c:
		w.start(c.conn, w.t.now)
		w.put("<... " + c.name + " resumed>")
		if c.given < len(args.text) {
			w.put(" ")
		}
	}
	for i := min(c.given, len(args.text)); i < len(args.text); i++ {
		if i > c.given {
			w.put(", ")
		}
		w.put(args.text[i].text)
	}
	w.put(")")
	if w.column < resultColumn-1 {
		w.put(strings.Repeat(" ", resultColumn-1-w.column))
	}
	w.put(" = " + w.t.result(c))
	if w.t.o.Durations && c.done {
		d := c.end.Sub(c.start)
		w.put(fmt.Sprintf(" <%d.%06d>", d/time.Second, d%time.Second/time.Microsecond))
	}
	w.end()
}
