package trace

import (
	"errors"
	"fmt"
	"io"
	"time"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy/recording"
)

// epoch is when recordings begin: their times count from it.
var epoch = time.Unix(0, 0).UTC()

// Read shows a recording to the Tracer.
func Read(r io.Reader, t *Tracer) error {
	rd := recording.NewReader(r)
	type side struct {
		*Conn
		up, down bool // have ended
	}
	conns := make(map[int]*side)
	var order []int
	at := epoch
	get := func(n int) *side {
		c := conns[n]
		if c == nil {
			c = &side{Conn: t.Open(at, 0)}
			conns[n] = c
			order = append(order, n)
		}
		return c
	}
	for {
		e, err := rd.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		at = epoch.Add(e.At)
		c := get(e.Conn)
		switch e.Kind {
		case recording.Sent:
			if c.up && e.FromClient || c.down && !e.FromClient {
				return fmt.Errorf("line %d: bytes after the end of their direction", e.Line)
			}
			c.Bytes(at, e.FromClient, e.Data)
		case recording.Ended:
			if e.FromClient && !c.up || !e.FromClient && !c.down {
				c.EOF(at, e.FromClient)
			}
			c.up, c.down = c.up || e.FromClient, c.down || !e.FromClient
		}
	}
	for _, n := range order {
		conns[n].Close(at)
	}
	if len(rd.Commands) == 1 && len(rd.Exits) == 1 {
		t.Exited(at, 0, exitText(rd.Exits[0]))
	}
	return nil
}

// exitText says how a process ended, by a recording's number.
func exitText(code int) string {
	if code < 0 {
		return "killed by " + netbsd.Signal(-code).Name()
	}
	return fmt.Sprintf("exited with %d", code)
}
