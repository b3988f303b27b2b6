//go:build amd64 || arm64

package hijack

import (
	"golang.org/x/sys/unix"
)

// setsockopt is setsockopt(2).
func (t *trap) setsockopt() {
	t.done(0, 0)
}

// getsockopt is getsockopt(2).
func (t *trap) getsockopt() {
	x := t.sock
	if t.arg(1) == unix.SOL_SOCKET && t.arg(2) == unix.SO_ERROR {
		x.mu.Lock()
		e := x.err
		x.err = 0
		x.mu.Unlock()
		t.done(0, t.putOption(native.AppendUint32(nil, uint32(e))))
		return
	}
	t.done(0, t.putOption(make([]byte, 4)))
}

// putOption answers with an option's value.
func (t *trap) putOption(val []byte) unix.Errno { return t.putSockaddr(t.Args[3], t.Args[4], val) }
