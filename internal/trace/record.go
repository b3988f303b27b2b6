package trace

import (
	"fmt"
	"io"
	"time"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
	"rumptools/pkg/sysproxy/recording"
)

// recorder writes what passes as a recording. What can't be written is said once.
// A nil recorder writes nothing.
type recorder struct {
	w      *recording.Writer
	start  time.Time
	fail   func(error)
	failed bool
	server string // as written, once
	// opens are connections that have been opened while nothing was said: the
	// recording begins with the kernel's name.
	opens []recording.Event
}

func newRecorder(w io.Writer, start time.Time, fail func(error)) *recorder {
	if w == nil {
		return nil
	}
	return &recorder{w: recording.NewWriter(w), start: start, fail: fail}
}

func (r *recorder) event(c *Conn, kind recording.Kind, fromClient bool, data []byte, comment string) {
	if r == nil {
		return
	}
	e := recording.Event{
		At: max(c.t.now.Sub(r.start), 0), Conn: c.id, Kind: kind,
		FromClient: fromClient, Data: data, Comment: comment,
	}
	if kind == recording.Opened && r.server == "" && len(r.opens) < maxOpens {
		r.opens = append(r.opens, e)
		return
	}
	r.release()
	r.check(r.w.Event(e))
}

// maxOpens is how many connections may be opened before anything is said.
const maxOpens = 1024

// release writes what has been held back.
func (r *recorder) release() {
	for _, e := range r.opens {
		r.check(r.w.Event(e))
	}
	r.opens = nil
}

func (r *recorder) check(err error) {
	if err != nil && !r.failed {
		r.failed = true
		r.fail(err)
	}
}

func (r *recorder) remark(key, value string) {
	if r != nil {
		r.check(r.w.Remark(key, value))
	}
}

// tick writes what is buffered, but for what is held back.
func (r *recorder) tick() {
	if r != nil {
		r.check(r.w.Flush())
	}
}

func (r *recorder) flush() {
	if r != nil {
		r.release()
		r.check(r.w.Flush())
	}
}

func (r *recorder) opened(c *Conn) { r.event(c, recording.Opened, false, nil, "") }

func (r *recorder) ended(c *Conn, fromClient bool) {
	r.event(c, recording.Ended, fromClient, nil, "")
}

func (r *recorder) banner(c *Conn) {
	if r == nil {
		return
	}
	if r.server == "" {
		r.server = string(c.banner[:len(c.banner)-1])
		r.remark("server", r.server)
	}
	r.event(c, recording.Sent, false, c.banner, "BANNER")
}

// bytes writes bytes that are no whole frame.
func (r *recorder) bytes(c *Conn, fromClient bool, b []byte) {
	if len(b) > 0 {
		r.event(c, recording.Sent, fromClient, b, fmt.Sprintf("RAW %d bytes", len(b)))
	}
}

func (r *recorder) frame(c *Conn, fromClient bool, f *frame) {
	if r != nil {
		r.event(c, recording.Sent, fromClient, f.raw, c.describe(f))
	}
}

// describe is the comment of a frame.
func (c *Conn) describe(f *frame) string {
	tail := fmt.Sprintf("reqno=%d len=%d", f.ReqNo, f.Len)
	if f.Class == sysproxy.Error {
		return fmt.Sprintf("ERROR error=%d(%v) %s", f.U, sysproxy.ErrorCode(f.U), tail)
	}
	head := f.Class.String() + " " + f.Type.String()
	m, err := c.layout.Decode(f.Header, f.payload())
	if err != nil {
		return fmt.Sprintf("%s u=%d %s", head, f.U, tail)
	}
	detail := ""
	switch m := m.(type) {
	case sysproxy.Guest:
		detail = fmt.Sprintf(" %s %s", sysproxy.HandshakeGuest, quoteBytes([]byte(clip(m.Name))))
	case sysproxy.Exec:
		detail = fmt.Sprintf(" %s %s", sysproxy.HandshakeExec, quoteBytes([]byte(clip(m.Name))))
	case sysproxy.Fork:
		detail = fmt.Sprintf(" %s cancel=%d", sysproxy.HandshakeFork, m.Cancel)
	case sysproxy.HandshakeReply:
		detail = " error=" + errorComment(m.Errno)
	case sysproxy.Syscall:
		name := "?"
		if m.Num <= 1<<31-1 {
			if n := netbsd.SyscallName(int(m.Num)); n != "" {
				name = n
			}
		}
		detail = fmt.Sprintf(" %d %s", m.Num, name)
	case sysproxy.SyscallReply:
		if call := c.waiting(f.ReqNo); call != nil {
			detail = " " + call.name
		}
		detail += fmt.Sprintf(" error=%s retval=%d,%d", errorComment(m.Errno), m.Retval[0], m.Retval[1])
	case sysproxy.CopyIn:
		detail = fmt.Sprintf(" rcp_len=%d rcp_addr=%#x", m.Len, m.Addr)
	case sysproxy.CopyInStr:
		detail = fmt.Sprintf(" rcp_len=%d rcp_addr=%#x", m.Len, m.Addr)
	case sysproxy.CopyOut:
		detail = fmt.Sprintf(" rcp_len=%d rcp_addr=%#x", len(m.Data), m.Addr)
	case sysproxy.CopyOutStr:
		detail = fmt.Sprintf(" rcp_len=%d rcp_addr=%#x", len(m.Data), m.Addr)
	case sysproxy.Raise:
		detail = fmt.Sprintf(" signo=%d", m.Signo)
	}
	return head + detail + " " + tail
}

func errorComment(n int32) string {
	if n == 0 {
		return "0"
	}
	return fmt.Sprintf("%d(%s)", n, netbsd.Errno(uint32(n)).Name())
}
