//go:build amd64 || arm64

package hijack

import (
	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
	"rumptools/pkg/spclient"
)

// maxOption is how long an option's value can be.
const maxOption = 64 << 10

// withOptions does something with the options and the kernel's descriptor, of which that of
// a connection that broke, or ended, is gone; once more if it does at that moment. An error of
// a socket that connects is for who waits for that.
func (x *socket) withOptions(isError bool, do func(fd spclient.FD) unix.Errno) (e unix.Errno) {
	x.optMu.Lock()
	defer x.optMu.Unlock()
	for range 2 {
		x.mu.Lock()
		state, ks := x.state, x.ks
		x.mu.Unlock()
		if state == broken || state == completed || state == dead || isError && state == connecting {
			return do(spclient.FD{})
		}
		if ks == nil || ks.Lost() {
			x.optMu.Unlock() // which kernel takes
			ks, e = x.kernel()
			x.optMu.Lock()
			if e != 0 {
				return e
			}
		}
		err := ks.Use(func(fd spclient.FD) error {
			e = do(fd)
			return nil
		})
		if err == nil {
			if e == unix.ECONNRESET && state == connected && !isError {
				e = do(spclient.FD{}) // it has just ended there
			}
			break
		}
		e = linuxsock.Errno(err)
	}
	return e
}

// early does something with the options of a socket of which the kernel has none yet, and tells
// whether it has. A socket that is made meanwhile waits, and has what was set.
func (x *socket) early(do func(fd spclient.FD) unix.Errno) (done bool, e unix.Errno) {
	x.making.Lock()
	defer x.making.Unlock()
	x.mu.Lock()
	none := x.ks == nil && x.state == fresh
	x.mu.Unlock()
	if !none {
		return false, 0
	}
	x.optMu.Lock()
	defer x.optMu.Unlock()
	return true, do(spclient.FD{})
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
	host, over := t.hostFor(t.arg(1), t.arg(2))
	defer over()
	x.sendsBefore(t.arg(1), t.arg(2))
	cork := x.opts.Type == unix.SOCK_STREAM && t.arg(1) == unix.SOL_TCP && t.arg(2) == unix.TCP_CORK
	set := func(fd spclient.FD) unix.Errno {
		if !cork {
			return x.opts.Set(t.s.ctx, t.s.conn, fd, host, t.arg(1), t.arg(2), value)
		}
		var c carrier
		x.opts.CorksHere, c = x.corksHere()
		was := x.opts.Corked()
		e := x.opts.Set(t.s.ctx, t.s.conn, fd, host, t.arg(1), t.arg(2), value)
		if on := x.opts.Corked(); c != nil && on != was {
			c.setCork(on)
		}
		return e
	}
	var done, had bool
	var e unix.Errno
	x.optMu.Lock()
	had = x.opts.HasControl()
	x.optMu.Unlock()
	if x.opts.Waits(t.arg(1), t.arg(2)) {
		done, e = x.early(set)
	}
	if !done {
		e = x.withOptions(false, set)
	}
	if !had {
		x.asksForControl()
	}
	x.tellsErrors()
	x.standIn.optionSet(t.host, t.arg(1), t.arg(2))
	if p := x.joined(); p != nil && e == 0 && t.arg(1) == unix.SOL_SOCKET && t.arg(2) == unix.SO_LINGER {
		p.lingersNow(t.host)
	}
	if e == 0 && joins(t.arg(1), t.arg(2)) {
		t.s.groupsChanged()
	}
	t.s.say("%d: setsockopt %d %d %d: %v", t.TID, t.arg(0), t.arg(1), t.arg(2), e)
	t.done(0, e)
}

// hostFor is the host's socket that has an option for the program: S, or while that is filled another one with the send buffer that
// the program knows. over is called when the option has been set, or read.
func (t *trap) hostFor(level, name int) (host int, over func()) {
	x := t.sock
	if level != unix.SOL_SOCKET || name != unix.SO_SNDBUF || x.opts.Type != unix.SOCK_STREAM {
		return t.host, func() {}
	}
	x.op.Lock() // S is filled, or not any more, with that
	x.mu.Lock()
	a := x.attempt
	x.mu.Unlock()
	if a == nil || a.size == 0 {
		return t.host, x.op.Unlock
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return t.host, x.op.Unlock
	}
	setSendBuffer(fd, a.size)
	return fd, func() {
		if size, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF); err == nil {
			a.size = size
		}
		unix.Close(fd)
		x.op.Unlock()
	}
}

// asksForControl waits, once the program has asked for control messages, until no call goes on that was made before: what comes from
// now on is to have its own.
func (x *socket) asksForControl() {
	x.optMu.Lock()
	has := x.opts.HasControl()
	x.optMu.Unlock()
	if !has {
		return
	}
	x.asking.Lock()
	defer x.asking.Unlock()
}

// joins tells whether an option joins or leaves a group.
func joins(level, name int) bool {
	switch name {
	case unix.MCAST_JOIN_GROUP, unix.MCAST_LEAVE_GROUP:
		return level == unix.SOL_IP || level == unix.SOL_IPV6
	case unix.IP_ADD_MEMBERSHIP, unix.IP_DROP_MEMBERSHIP:
		return level == unix.SOL_IP
	case unix.IPV6_ADD_MEMBERSHIP, unix.IPV6_DROP_MEMBERSHIP:
		return level == unix.SOL_IPV6
	}
	return false
}

// corksHere tells whether it is not by its option that the kernel learns of TCP_CORK, with the
// carrier that acts on it. In a pair there are no segments, so nobody does.
func (x *socket) corksHere() (here bool, c carrier) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.connection != nil {
		c = x.connection.carrier
	}
	return c != nil || x.pair != nil || !x.s.conn.CanLend(), c
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
	isError := t.arg(1) == unix.SOL_SOCKET && t.arg(2) == unix.SO_ERROR
	if isError {
		x.toldByHost(t.host)
	}
	host, over := t.hostFor(t.arg(1), t.arg(2))
	defer over()
	var value []byte
	e := x.withOptions(isError, func(fd spclient.FD) (e unix.Errno) {
		value, e = x.opts.Get(t.s.ctx, t.s.conn, fd, host, t.arg(1), t.arg(2), int(min(n, maxOption)))
		return e
	})
	if isError {
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
// S has it no longer. An S that alone has its errors is not asked, for it would lose one.
func (x *socket) toldByHost(host int) {
	x.shown()
	x.mu.Lock()
	has := x.condition == failing || x.opts.Type == unix.SOCK_DGRAM && x.k != nil
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
