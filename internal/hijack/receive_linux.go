//go:build amd64 || arm64

package hijack

import (
	"time"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
	"rumptools/internal/label"
	"rumptools/internal/sidefile"
)

// recvfrom is recvfrom(2) with room for an address, or with flags that are not the
// host's business.
func (t *trap) recvfrom() {
	m := t.oneSpan()
	m.name, m.lengthAt = t.Args[4], t.Args[5]
	if m.name != 0 {
		var b [4]byte
		if e := t.read(m.lengthAt, b[:]); e != 0 {
			t.fail(e)
			return
		}
		if m.namelen = native.Uint32(b[:]); int32(m.namelen) < 0 {
			t.fail(unix.EINVAL)
			return
		}
	}
	t.receive(&m, t.arg(3), t.answer)
}

// recvmsg is recvmsg(2).
func (t *trap) recvmsg() {
	m, e := t.message(t.Args[1])
	if e != 0 {
		t.fail(e)
		return
	}
	if t.sock.opts.Type == unix.SOCK_STREAM && m.name == 0 && t.arg(2)&(unix.MSG_OOB|unix.MSG_ERRQUEUE) == 0 {
		t.native()
		return
	}
	t.receive(&m, t.arg(2), t.answer)
}

// recvmmsg is recvmmsg(2).
func (t *trap) recvmmsg() {
	n := min(int(uint32(t.Args[2])), maxIovecs)
	flags := t.arg(3)
	var end time.Time // none
	if t.Args[4] != 0 {
		var b [16]byte // struct timespec
		if e := t.read(t.Args[4], b[:]); e != 0 {
			t.fail(e)
			return
		}
		sec, nsec := int64(native.Uint64(b[:])), int64(native.Uint64(b[8:]))
		if sec < 0 || nsec < 0 || nsec >= 1e9 {
			t.fail(unix.EINVAL)
			return
		}
		end = time.Now().Add(time.Duration(min(sec, 1<<32))*time.Second + time.Duration(nsec))
	}
	var left time.Duration
	stop := func(i int, e unix.Errno) {
		if i > 0 {
			e = 0
			if !end.IsZero() {
				b := native.AppendUint64(nil, uint64(left/time.Second))
				e = t.write(t.Args[4], native.AppendUint64(b, uint64(left%time.Second)))
			}
		}
		t.done(int64(i), e)
	}
	var next func(i, flags int)
	next = func(i, flags int) {
		// Linux looks at the time after each message only.
		left = max(time.Until(end), 0)
		if i == n || i > 0 && !end.IsZero() && left == 0 {
			stop(i, 0)
			return
		}
		at := t.Args[1] + uint64(i)*sizeofMmsghdr
		m, e := t.message(at)
		if e != 0 {
			stop(i, e)
			return
		}
		t.receive(&m, flags&^unix.MSG_WAITFORONE, func(host, got int, e unix.Errno) {
			if e == 0 {
				e = t.keep(host)
			}
			if e == 0 {
				e = t.write(at+sizeofMsghdr, native.AppendUint32(nil, uint32(got)))
			}
			if e != 0 {
				stop(i, e)
				return
			}
			if flags&unix.MSG_WAITFORONE != 0 {
				flags |= unix.MSG_DONTWAIT
			}
			next(i+1, flags)
		})
	}
	next(0, flags)
}

// finished is told what has come of a message: how long it is, or an error. The socket's
// descriptor, host, is open meanwhile, also of a call that was parked.
type finished func(host, n int, e unix.Errno)

// answer answers a call that is about one message.
func (t *trap) answer(_, n int, e unix.Errno) { t.done(int64(n), e) }

// keep has t go on with a descriptor that may be that of a call which was parked.
func (t *trap) keep(host int) unix.Errno {
	if t.host >= 0 {
		return 0
	}
	fd, err := unix.FcntlInt(uintptr(host), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return errnoOf(err)
	}
	t.host = fd
	return 0
}

// receive receives a message.
func (t *trap) receive(m *message, flags int, done finished) {
	switch {
	case flags&unix.MSG_ERRQUEUE != 0:
		n, e := t.receiveError(m)
		done(t.host, n, e)
		return
	case flags&unix.MSG_OOB != 0:
		done(t.host, 0, unix.EINVAL) // there is none
		return
	}
	waits := flags&unix.MSG_DONTWAIT == 0 && !nonblocking(t.host)
	// A stream's call that waits for all does so here.
	all := waits && t.sock.opts.Type == unix.SOCK_STREAM && flags&(unix.MSG_WAITALL|unix.MSG_PEEK) == unix.MSG_WAITALL
	want, have := int(m.size()), 0
	finish := func(host int, e unix.Errno) bool {
		if have > 0 {
			e = 0 // the next call is told
		}
		done(host, have, e)
		return true
	}
	try := func(host int) bool {
		for {
			part := m.behind(have)
			n, e := t.receiveNow(host, &part, flags)
			if e == unix.EAGAIN && waits && t.sock.shutRead(host) {
				e = t.putMessage(m, nil, nil, 0) // nothing comes any more, and nobody waits for it
			}
			have += n
			switch {
			case e == unix.EAGAIN && (have == 0 || all):
				return false
			case e != 0 || n == 0 || !all || have >= want:
				return finish(host, e)
			}
		}
	}
	if try(t.host) {
		return
	}
	if !waits {
		finish(t.host, unix.EAGAIN)
		return
	}
	timeout := hostTimeout(t.host, unix.SO_RCVTIMEO)
	w := &wait{t: t, expire: func(host int) { finish(host, unix.EAGAIN) }}
	w.interrupted = func(e unix.Errno, host int) { finish(host, e) }
	w.try = func() bool {
		if !t.s.l.Valid(&t.Call) {
			return true // its thread is gone, and the message is for another
		}
		return try(w.fd)
	}
	t.s.waits.park(w, unix.EPOLLIN, timeout)
}

// shutRead tells whether a socket for datagrams has been shut down for reading.
func (x *socket) shutRead(host int) bool {
	return x.opts.Type == unix.SOCK_DGRAM && x.nl == nil && polled(host, unix.POLLRDHUP)&unix.POLLRDHUP != 0
}

// receiveNow takes what is there.
func (t *trap) receiveNow(host int, m *message, flags int) (int, unix.Errno) {
	x := t.sock
	stream := x.opts.Type == unix.SOCK_STREAM
	datagrams := !stream && x.nl == nil
	room := maxDatagram
	if stream {
		room = 1 << 20
	}
	buf := make([]byte, min(m.size(), uint64(room)))
	const kept = unix.MSG_PEEK | unix.MSG_TRUNC | unix.MSG_WAITALL
	var oob []byte
	if datagrams {
		oob = make([]byte, max(sidefile.Room, label.Room))
	}
	n, oobn, got, from, err := unix.RecvmsgBuffers(host, [][]byte{buf}, oob, flags&kept|unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		e := errnoOf(err)
		switch {
		case e == unix.EINTR:
			e = unix.EAGAIN
		case e == unix.ECONNRESET:
			// How a K that goes says that something is wrong.
			if was := x.takeError(); was != 0 {
				e = was
			}
		case e == unix.EINVAL && stream:
			e = unix.ENOTCONN
		}
		return 0, e
	}
	var name, control []byte
	var left, cut bool
	if datagrams {
		name, control, left = x.standIn.origin(from, oob[:oobn], got)
	}
	// With MSG_TRUNC TCP throws away what it would have given.
	if !stream || flags&unix.MSG_TRUNC == 0 {
		if e := t.scatter(m, buf[:min(n, len(buf))]); e != 0 {
			return 0, e
		}
	}
	switch {
	case x.nl != nil:
		name = sockaddrNl(0, 0)
		got &^= unix.MSG_CTRUNC // of what the host has to say
		if v, err := unix.GetsockoptInt(host, unix.SOL_SOCKET, unix.SO_PASSCRED); err == nil && v != 0 {
			if control, cut = linuxsock.KernelCredentials(int(min(m.controllen, linuxsock.MaxControl))); cut {
				got |= unix.MSG_CTRUNC
			}
		}
	case datagrams:
		x.optMu.Lock()
		control, cut = x.opts.FromControl(t.s.machine, control, linuxsock.Incoming{Local: t.s.localAddr}, int(min(m.controllen, linuxsock.MaxControl)))
		x.optMu.Unlock()
		if got &^= unix.MSG_CTRUNC; cut || left {
			got |= unix.MSG_CTRUNC
		}
	}
	if e := t.putMessage(m, name, control, got); e != 0 {
		return 0, e
	}
	return n, 0
}

// putMessage writes what is told of a message beside its data.
func (t *trap) putMessage(m *message, name, control []byte, flags int) unix.Errno {
	if m.name != 0 {
		if e := t.write(m.name, name[:min(len(name), int(m.namelen))]); e != 0 {
			return e
		}
	}
	if m.at == 0 {
		if m.name != 0 {
			return t.write(m.lengthAt, native.AppendUint32(nil, uint32(len(name))))
		}
		return 0
	}
	flags &= unix.MSG_TRUNC | unix.MSG_EOR | unix.MSG_CTRUNC | unix.MSG_ERRQUEUE
	if e := t.write(m.control, control); e != 0 {
		return e
	}
	if m.name != 0 {
		if e := t.write(m.at+8, native.AppendUint32(nil, uint32(len(name)))); e != 0 {
			return e
		}
	}
	b := native.AppendUint64(nil, uint64(len(control)))
	return t.write(m.at+40, native.AppendUint32(b, uint32(flags)))
}
