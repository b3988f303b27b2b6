//go:build amd64 || arm64

package hijack

import (
	"golang.org/x/sys/unix"

	"rumptools/pkg/spclient"
)

// maxOption is how long an option's value can be.
const maxOption = 64 << 10

// optionFD is the kernel's descriptor, to ask it of options; that of a connection that
// broke is gone.
func (x *socket) optionFD() (spclient.FD, unix.Errno) {
	x.mu.Lock()
	state := x.state
	x.mu.Unlock()
	if state == broken || state == dead {
		return spclient.FD{}, 0
	}
	ks, e := x.kernel()
	if e != 0 {
		return spclient.FD{}, e
	}
	return ks.FD(), 0
}

// withOptions does something with the options and the kernel's descriptor, once more if the
// connection breaks at that moment.
func (x *socket) withOptions(do func(fd spclient.FD) unix.Errno) (e unix.Errno) {
	for range 2 {
		fd, e2 := x.optionFD()
		if e2 != 0 {
			return e2
		}
		x.optMu.Lock()
		e = do(fd)
		x.optMu.Unlock()
		if e != unix.EBADF {
			break
		}
	}
	return e
}

// setsockopt is setsockopt(2).
func (t *trap) setsockopt() {
	x := t.sock
	n := int32(t.Args[4])
	if n < 0 {
		t.fail(unix.EINVAL)
		return
	}
	value := make([]byte, min(n, maxOption))
	if e := t.read(t.Args[3], value); e != 0 {
		t.fail(e)
		return
	}
	e := x.withOptions(func(fd spclient.FD) unix.Errno {
		return x.opts.Set(t.s.ctx, t.s.conn, fd, t.host, t.arg(1), t.arg(2), value)
	})
	x.tellsErrors()
	if p := x.joined(); p != nil && e == 0 && t.arg(1) == unix.SOL_SOCKET && t.arg(2) == unix.SO_LINGER {
		p.lingersNow(t.host)
	}
	t.s.say("%d: setsockopt %d %d %d: %v", t.TID, t.arg(0), t.arg(1), t.arg(2), e)
	t.done(0, e)
}

// getsockopt is getsockopt(2).
func (t *trap) getsockopt() {
	x := t.sock
	var b [4]byte
	if e := t.read(t.Args[4], b[:]); e != 0 {
		t.fail(e)
		return
	}
	n := int32(native.Uint32(b[:]))
	if n < 0 {
		t.fail(unix.EINVAL)
		return
	}
	if t.arg(1) == unix.SOL_SOCKET && t.arg(2) == unix.SO_ERROR {
		x.toldByHost(t.host)
	}
	var value []byte
	e := x.withOptions(func(fd spclient.FD) (e unix.Errno) {
		value, e = x.opts.Get(t.s.ctx, t.s.conn, fd, t.host, t.arg(1), t.arg(2), int(min(n, maxOption)))
		return e
	})
	if t.arg(1) == unix.SOL_SOCKET && t.arg(2) == unix.SO_ERROR {
		// What S itself has is the same error, only less exact; but of an end of a
		// pair nobody else knows.
		v, err := unix.GetsockoptInt(t.host, unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && v != 0 && x.joined() != nil && e == 0 && len(value) == 4 && native.Uint32(value) == 0 {
			native.PutUint32(value, uint32(v))
		}
	}
	if e == 0 {
		e = t.putOption(value)
	}
	t.s.say("%d: getsockopt %d %d %d: %v", t.TID, t.arg(0), t.arg(1), t.arg(2), e)
	t.done(0, e)
}

// toldByHost forgets an error that S has, too, if a call of the host's has told it: then
// S has it no longer.
func (x *socket) toldByHost(host int) {
	x.mu.Lock()
	has := x.state == broken || x.opts.Type == unix.SOCK_DGRAM && x.k != nil
	x.mu.Unlock()
	if !has {
		return
	}
	if v, err := unix.GetsockoptInt(host, unix.SOL_SOCKET, unix.SO_ERROR); err == nil && v == 0 {
		x.pend(0)
	}
}

// putOption answers with an option's value.
func (t *trap) putOption(val []byte) unix.Errno { return t.putSockaddr(t.Args[3], t.Args[4], val) }
