package trace

import (
	"encoding/json"
	"time"
)

// event is a line of a trace in JSON.
type event struct {
	// Time is in seconds since 1970, or since a recording's begin.
	Time  float64 `json:"time"`
	Event string  `json:"event"` // call, signal, exit, kernel or note
	// Conn is the number of the client's connection, from 1; PID is the
	// host's process.
	Conn    int    `json:"conn,omitempty"`
	PID     int    `json:"pid,omitempty"`
	Process string `json:"process,omitempty"`

	// Call and what follows is of a call.
	Call   string         `json:"call,omitempty"`
	Args   []jsonArgument `json:"args,omitempty"`
	Result string         `json:"result,omitempty"`
	// Errno is an error's name, and "refused" when the server has not made
	// the call.
	Errno string `json:"errno,omitempty"`
	// Seconds is how long it took.
	Seconds float64 `json:"seconds,omitempty"`
	// Unfinished says that the connection ended before the call.
	Unfinished bool `json:"unfinished,omitempty"`

	// Text is of all others: the signal's name, how a process ended.
	Text string `json:"text,omitempty"`
}

type jsonArgument struct {
	Name string `json:"name,omitempty"`
	Text string `json:"text"`
}

func seconds(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }

func (t *Tracer) jsonCall(c *call) {
	e := event{
		Time: seconds(c.start), Event: "call", Conn: c.conn.id, PID: c.conn.pid, Process: c.conn.name,
		Call: c.name, Unfinished: c.lost,
	}
	for _, a := range t.arguments(c).text {
		e.Args = append(e.Args, jsonArgument{a.name, a.text})
	}
	if c.done {
		e.Seconds = c.end.Sub(c.start).Seconds()
		e.Result = t.result(c)
		switch {
		case c.refused != 0:
			e.Errno = "refused"
		case c.errnum != 0:
			e.Errno = c.errno.Name()
		}
	}
	t.jsonLine(e)
}

func (t *Tracer) jsonEvent(c *Conn, kind, text string) {
	t.jsonLine(event{Time: seconds(t.now), Event: kind, Conn: c.id, PID: c.pid, Process: c.name, Text: text})
}

func (t *Tracer) jsonLine(e event) {
	b, err := json.Marshal(e)
	if err != nil {
		t.o.Errors(err)
		return
	}
	t.out.write(string(b) + "\n")
}
