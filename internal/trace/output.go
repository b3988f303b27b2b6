package trace

import (
	"io"
)

// output buffers what is written. What can't be written is said once, and the
// conversations go on.
type output struct {
	w         io.Writer
	immediate bool
	buf       []byte
	failed    bool
	fail      func(error)
}

// maxOutput is how much is buffered.
const maxOutput = 64 << 10

// good tells whether anything can be written.
func (o *output) good() bool { return o.w != nil && !o.failed }

func (o *output) write(s string) {
	if !o.good() {
		return
	}
	o.buf = append(o.buf, s...)
	if len(o.buf) >= maxOutput {
		o.flush()
	}
}

func (o *output) flush() {
	if !o.good() || len(o.buf) == 0 {
		return
	}
	if _, err := o.w.Write(o.buf); err != nil {
		o.failed = true
		o.fail(err)
	}
	o.buf = o.buf[:0]
}
