// Package recording reads and writes recorded conversations between clients and
// a rump kernel: all bytes that passed, frame by frame.
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
// where SECONDS since the start have six decimals, connections are numbered from
// 1, > is from the client and < from the server. Each line with HEX has one frame
// or, marked BANNER or RAW in the comment, the server's first line or bytes that
// are no whole frame. The comment says what the bytes are, and is derived from
// them. At the end, for each process: "# exit: CODE", negative for a signal,
// "# stdout:" and lines that begin with "#| ", "# stderr:" and lines that begin
// with "#! ".
package recording

import (
	"time"
)

// Kind says what happened.
type Kind uint8

// The kinds of events.
const (
	Opened Kind = iota // a connection
	Sent               // a frame or other bytes
	Ended              // one side closed its sending direction
)

// Event is a line of a recording.
type Event struct {
	Line       int           // in the file, from 1; of no meaning for a Writer
	At         time.Duration // since the start of the recording
	Conn       int           // from 1
	Kind       Kind
	FromClient bool   // for Sent and Ended
	Data       []byte // for Sent
	Comment    string // for Sent: what Data is
}
