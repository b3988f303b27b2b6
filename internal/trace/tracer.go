package trace

import (
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// Clock says how the time of an event is shown.
type Clock uint8

// Clocks, as strace's -t, -tt, -ttt and -r have them.
const (
	NoClock   Clock = iota
	Seconds         // of the day: 15:04:05
	Micros          // of the day: 15:04:05.000000
	SinceUnix       // 1700000000.000000
	Relative        // since the event that was shown before
)

// Options say what a Tracer shows, and how.
type Options struct {
	// Output gets the trace. nil is nowhere.
	Output io.Writer
	// Errors is where the Tracer's own failures go: each once.
	Errors func(error)
	// Immediate writes every line at once. Else lines may wait for
	// [Tracer.Tick].
	Immediate bool
	// JSON writes one object a line in place of text.
	JSON bool
	// Filter chooses the calls that are shown and counted; nil is all.
	Filter *Filter
	// Failed and Successful show only calls that do, or do not, end in an
	// error. They are shown when they end.
	Failed, Successful bool
	// Strings is how many bytes of strings and other memory are shown.
	Strings int
	// Whole shows all elements of arrays and all members of structures.
	Whole bool
	// Descriptors shows what a descriptor is beside its number.
	Descriptors bool
	Clock       Clock
	// Durations shows how long each call took.
	Durations bool
	// Quiet leaves out all lines but those of calls and signals.
	Quiet bool
	// SummaryOnly shows no calls. They are counted in any case.
	SummaryOnly bool
	// Record gets a recording of all that passes. nil is none.
	Record io.Writer
	// Start is the recording's begin.
	Start time.Time
}

// DefaultStrings is strace's.
const DefaultStrings = 32

// maxElements is how many elements of an array are shown unless all are.
const maxElements = 16

// Tracer shows the conversations of any number of clients with one kernel. Its
// methods may be used by several goroutines.
type Tracer struct {
	o Options

	mu      sync.Mutex
	now     time.Time // of the event at hand
	seq     uint64
	conns   int     // made so far
	pending []*call // shown ones under way, of all connections, by their start
	last    string  // banner that was shown last

	preforks map[sysproxy.Auth]parent
	// forks is the keys of preforks, oldest first.
	forks []sysproxy.Auth

	out     output
	text    textWriter
	sysctl  *sysctlNames
	record  *recorder
	summary *Summary
	process int    // of the program that was started, 0 if none
	name    string // that the program's last connection had
}

// parent is a client that has made a cookie for a child.
type parent struct {
	name  string
	files fileTable
}

// maxForks is how many unused cookies are remembered.
const maxForks = 256

// New returns a Tracer.
func New(o Options) *Tracer {
	t := &Tracer{
		o:        o,
		preforks: make(map[sysproxy.Auth]parent),
		sysctl:   newSysctlNames(),
		summary:  newSummary(),
	}
	if t.o.Errors == nil {
		t.o.Errors = func(error) {}
	}
	t.out = output{w: o.Output, immediate: o.Immediate, fail: t.o.Errors}
	t.text = textWriter{t: t}
	t.record = newRecorder(o.Record, o.Start, t.o.Errors)
	return t
}

// Open begins a client's conversation. pid is the host's process, 0 if it is not
// known.
func (t *Tracer) Open(at time.Time, pid int) *Conn {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.begin(at)
	t.conns++
	c := &Conn{
		t: t, id: t.conns, pid: pid,
		copies: make(map[uint64]copyRequest), files: make(fileTable),
	}
	t.record.opened(c)
	t.finish()
	return c
}

// Own tells that pid is the program that the trace is about: its end is shown by
// Exited.
func (t *Tracer) Own(pid int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.process = pid
}

// Exited shows the end of the program: "exited with 0", "killed by SIGPIPE".
func (t *Tracer) Exited(at time.Time, pid int, how string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.begin(at)
	t.marked(&Conn{t: t, pid: pid, name: t.name}, "exit", "+++ "+how+" +++")
	t.finish()
}

// begin sets the time of the event at hand. Connections are read by several
// goroutines, and time does not go backwards.
func (t *Tracer) begin(at time.Time) {
	if at.After(t.now) {
		t.now = at
	}
}

func (t *Tracer) finish() {
	if t.o.Immediate {
		t.out.flush()
	}
}

// blockedTime is how long a call must be under way to be shown before it ends.
const blockedTime = 100 * time.Millisecond

// Tick shows what is waiting to be shown: calls that have been under way for a
// while at now, and lines that are buffered.
func (t *Tracer) Tick(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.begin(now)
	if t.textual() && !t.o.Failed && !t.o.Successful {
		for _, c := range t.pending {
			if !c.begun && now.Sub(c.start) >= blockedTime {
				t.text.beginCall(c)
			}
		}
	}
	t.out.flush()
	t.record.tick()
}

// Flush writes everything, and ends a line that is not whole.
func (t *Tracer) Flush() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text.interrupt()
	t.out.flush()
	t.record.flush()
}

// Summary is what has been counted.
func (t *Tracer) Summary() *Summary {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.summary.clone()
}

// Exit adds how a process ended to the recording.
func (t *Tracer) Exit(code int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.record.remark("exit", fmt.Sprint(code))
}

// Command adds a process's command line to the recording. It must come before
// anything is opened.
func (t *Tracer) Command(line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.record.remark("command", line)
}

// textual tells whether calls are shown as text.
func (t *Tracer) textual() bool { return !t.o.JSON && !t.o.SummaryOnly && t.out.good() }

func (t *Tracer) preforked(a sysproxy.Auth, c *Conn, files fileTable) {
	if _, ok := t.preforks[a]; !ok {
		if len(t.forks) >= maxForks {
			delete(t.preforks, t.forks[0])
			t.forks = t.forks[1:]
		}
		t.forks = append(t.forks, a)
	}
	t.preforks[a] = parent{c.name, files}
}

// started takes a request that begins.
func (t *Tracer) started(c *call) {
	t.seq++
	c.seq = t.seq
	c.shown = t.o.Filter.match(c)
	if c.shown {
		t.text.see(c.conn)
		t.pending = append(t.pending, c)
	}
}

// finished takes a request that has its answer, or will have none.
func (t *Tracer) finished(c *call) {
	if !c.shown {
		return
	}
	i, _ := slices.BinarySearchFunc(t.pending, c.seq, func(p *call, seq uint64) int {
		return int(int64(p.seq - seq))
	})
	if i < len(t.pending) && t.pending[i] == c {
		t.pending = slices.Delete(t.pending, i, i+1)
	}
	if t.o.Failed && !c.failed() || t.o.Successful && (c.failed() || c.lost) {
		return
	}
	if c.done {
		t.summary.add(c)
	}
	switch {
	case t.o.SummaryOnly || !t.out.good():
	case t.o.JSON:
		t.jsonCall(c)
	default:
		t.text.endCall(c)
	}
}

// raised shows a signal that the kernel wants raised in a client.
func (t *Tracer) raised(c *Conn, sig netbsd.Signal) {
	t.summary.signals++
	t.text.see(c)
	t.show(c, "signal", "--- "+sig.Name()+" ---", sig.Name())
}

// greeted shows which kernel it is.
func (t *Tracer) greeted(c *Conn, b sysproxy.Banner) {
	if s := b.String(); s != t.last {
		t.last = s
		t.marked(c, "kernel", "--- "+s+" ---")
	}
}

// note shows something unexpected.
func (t *Tracer) note(c *Conn, text string) {
	t.text.see(c)
	t.show(c, "note", "??? "+text, text)
}

// closed shows the end of a client that has been a process. The end of the
// program itself is shown when it is known how it ended.
func (t *Tracer) closed(c *Conn) {
	switch {
	case c.pid != 0 && c.pid == t.process:
		t.name = c.name
	case c.process:
		t.marked(c, "exit", "+++ disconnected +++")
	}
}

// marked shows a line that Quiet leaves out.
func (t *Tracer) marked(c *Conn, event, line string) {
	if !t.o.Quiet {
		t.show(c, event, line, line[4:len(line)-4])
	}
}

func (t *Tracer) show(c *Conn, event, line, text string) {
	switch {
	case t.o.SummaryOnly || !t.out.good():
	case t.o.JSON:
		t.jsonEvent(c, event, text)
	default:
		t.text.line(c, line)
	}
}
