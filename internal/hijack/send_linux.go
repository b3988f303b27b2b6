//go:build amd64 || arm64

package hijack

import (
	"slices"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
)

// sendto is sendto(2) with an address, or with flags that are not the host's business.
func (t *trap) sendto() {
	m := t.oneSpan()
	m.name, m.namelen = t.Args[4], uint32(t.Args[5])
	t.send(&m, t.arg(3), t.answer)
}

// sendmsg is sendmsg(2).
func (t *trap) sendmsg() {
	m, e := t.message(t.Args[1])
	if e != 0 {
		t.fail(e)
		return
	}
	if t.sock.plain(&m) {
		t.native()
		return
	}
	t.send(&m, t.arg(2), t.answer)
}

// plain tells whether the host's own call does with a message what it should: the
// message has neither address nor control data, and is not too long for a datagram.
func (x *socket) plain(m *message) bool {
	if x.opts.Type == unix.SOCK_DGRAM && (m.size() > plainDatagram || !x.standIn.asUDP() && x.refusesTooLong()) {
		return false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return m.name == 0 && m.controllen == 0 && x.state == connected
}

// plainDatagram is a length in bytes that datagrams of both families may have.
const plainDatagram = 65507

// sendmmsg is sendmmsg(2).
func (t *trap) sendmmsg() {
	n := min(int(uint32(t.Args[2])), maxIovecs)
	var next func(i int)
	next = func(i int) {
		if i == n {
			t.done(int64(i), 0)
			return
		}
		at := t.Args[1] + uint64(i)*sizeofMmsghdr
		m, e := t.message(at)
		stop := func(e unix.Errno) {
			if i > 0 {
				e = 0
			}
			t.done(int64(i), e)
		}
		if e != 0 {
			stop(e)
			return
		}
		t.send(&m, t.arg(3), func(host, sent int, e unix.Errno) {
			if e == 0 {
				e = t.keep(host)
			}
			if e == 0 {
				e = t.write(at+sizeofMsghdr, native.AppendUint32(nil, uint32(sent)))
			}
			switch {
			case e != 0:
				stop(e)
			case uint64(sent) < m.size():
				t.done(int64(i+1), 0) // as far as there was room, or time
			default:
				next(i + 1)
			}
		})
	}
	next(0)
}

// maxDatagram is more than the longest datagram.
const maxDatagram = 1<<16 + 1

// send sends a message and tells how many bytes of it were.
func (t *trap) send(m *message, flags int, finished finished) {
	x := t.sock
	done := func(n int, e unix.Errno) { finished(t.host, n, e) }
	if flags&unix.MSG_OOB != 0 {
		done(0, unix.EOPNOTSUPP)
		return
	}
	if x.nl != nil {
		t.sendNetlink(m, done)
		return
	}
	if x.opts.Type == unix.SOCK_STREAM {
		t.sendStream(m, flags, finished)
		return
	}
	var to, toLinux []byte
	answer := done
	done = func(n int, e unix.Errno) {
		if e == unix.EMSGSIZE {
			x.queueTooLong(t.host, m.size(), to)
		}
		answer(n, e)
	}
	if m.name != 0 {
		sa, e := t.sockaddr(m.name, m.namelen)
		if e == 0 {
			toLinux = sa
			to, e = x.address(linuxsock.Send, sa)
		}
		if e != 0 {
			done(0, e)
			return
		}
	}
	if m.size() >= maxDatagram {
		done(0, unix.EMSGSIZE)
		return
	}
	data, e := t.gather(m, maxDatagram)
	if e != 0 {
		done(0, e)
		return
	}
	var control []byte
	if m.controllen > 0 {
		control = make([]byte, min(m.controllen, 4096))
		if e := t.read(m.control, control); e != 0 {
			done(0, e)
			return
		}
	}
	if e := x.open(t.host); e != 0 {
		done(0, e)
		return
	}
	x.optMu.Lock()
	kernelFlags, e := x.opts.SendFlags(flags)
	out, e2 := x.opts.ToControl(t.s.machine, control)
	x.optMu.Unlock()
	if e == 0 {
		e = e2
	}
	if e != 0 {
		done(0, e)
		return
	}
	if x.queuesErrors() {
		// Should what is bound there have been closed just now: an error is to come back.
		x.s.catchUpAt(toLinux)
	}
	// It is told with that, also to poll(2).
	if e := x.standIn.takeError(t.host); e != 0 {
		done(0, e)
		return
	}
	x.mu.Lock()
	mute := x.shut.write
	x.mu.Unlock()
	if mute {
		done(0, unix.EPIPE)
		return
	}
	done(x.sendSegments(data, to, kernelFlags, out))
}

// maxSegments is how many datagrams one call sends at most (UDP_MAX_SEGMENTS).
const maxSegments = 128

// sendSegments sends what is one datagram, or many of one size and a rest.
func (x *socket) sendSegments(data, to []byte, flags int32, out linuxsock.Outgoing) (int, unix.Errno) {
	if out.Segment == 0 || len(data) <= out.Segment {
		return x.sendDatagram(data, to, flags, out)
	}
	if len(data) > maxSegments*out.Segment {
		return 0, unix.EINVAL
	}
	sent := 0
	for part := range slices.Chunk(data, out.Segment) {
		n, e := x.sendDatagram(part, to, flags, out)
		if e != 0 && sent == 0 {
			return 0, e
		}
		// The others are lost, as datagrams may be, should there be no room for them.
		sent += max(n, len(part))
	}
	return sent, 0
}

// sendStream sends on a connection what the host would not, for the address that TCP
// ignores.
func (t *trap) sendStream(m *message, flags int, finished finished) {
	x := t.sock
	done := func(n int, e unix.Errno) { finished(t.host, n, e) }
	x.mu.Lock()
	state := x.state
	x.mu.Unlock()
	if state != connected {
		e := unix.EPIPE
		if flags&unix.MSG_FASTOPEN != 0 {
			e = unix.EOPNOTSUPP
		}
		done(0, e)
		return
	}
	data, e := t.gather(m, 1<<20)
	if e != 0 {
		done(0, e)
		return
	}
	sent := 0
	finish := func(host int, e unix.Errno) bool {
		if sent > 0 {
			e = 0
		}
		finished(host, sent, e)
		return true
	}
	try := func(host int) bool {
		for {
			n, err := unix.SendmsgN(host, data[sent:], nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
			switch {
			case err == unix.EINTR:
				continue
			case err == unix.EAGAIN:
				return false
			case err != nil:
				return finish(host, errnoOf(err))
			}
			if sent += n; sent == len(data) {
				return finish(host, 0)
			}
		}
	}
	if try(t.host) {
		return
	}
	if flags&unix.MSG_DONTWAIT != 0 || nonblocking(t.host) {
		finish(t.host, unix.EAGAIN)
		return
	}
	timeout := hostTimeout(t.host, unix.SO_SNDTIMEO)
	w := &wait{t: t, expire: func(host int) { finish(host, unix.EAGAIN) }}
	w.interrupted = func(e unix.Errno, host int) { finish(host, e) }
	w.try = func() bool { return try(w.fd) }
	t.s.waits.park(w, unix.EPOLLOUT, timeout)
}
