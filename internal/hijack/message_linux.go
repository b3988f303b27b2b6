//go:build amd64 || arm64

package hijack

import (
	"golang.org/x/sys/unix"
)

// Sizes of Linux's structures on machines of 64 bits (<bits/socket.h>).
const (
	sizeofMsghdr  = 56
	sizeofMmsghdr = 64
	sizeofIovec   = 16
	maxIovecs     = 1024 // UIO_MAXIOV
)

// message is a msghdr of a program's, in its memory.
type message struct {
	at         uint64 // of the msghdr itself, 0 for sendto(2) and recvfrom(2)
	name       uint64
	namelen    uint32
	iov        []span
	control    uint64
	controllen uint64

	// lengthAt is where recvfrom(2) has its socklen_t.
	lengthAt uint64
}

// span is some memory of a program's.
type span struct{ addr, n uint64 }

// message reads a msghdr.
func (t *trap) message(at uint64) (m message, e unix.Errno) {
	var b [sizeofMsghdr]byte
	if e := t.read(at, b[:]); e != 0 {
		return m, e
	}
	m = message{
		at: at, name: native.Uint64(b[0:]), namelen: native.Uint32(b[8:]),
		control: native.Uint64(b[32:]), controllen: native.Uint64(b[40:]),
	}
	n := native.Uint64(b[24:])
	if n > maxIovecs {
		return m, unix.EMSGSIZE
	}
	if int32(m.namelen) < 0 {
		return m, unix.EINVAL
	}
	iov := make([]byte, n*sizeofIovec)
	if e := t.read(native.Uint64(b[16:]), iov); e != 0 {
		return m, e
	}
	for ; len(iov) > 0; iov = iov[sizeofIovec:] {
		s := span{native.Uint64(iov), native.Uint64(iov[8:])}
		if int64(s.n) < 0 {
			return m, unix.EINVAL
		}
		m.iov = append(m.iov, s)
	}
	return m, 0
}

// size is how many bytes the message has, or has room for.
func (m *message) size() uint64 {
	var n uint64
	for _, s := range m.iov {
		n += s.n
	}
	return n
}

// behind is the message without its first n bytes.
func (m *message) behind(n int) message {
	if n == 0 {
		return *m
	}
	rest := *m
	rest.iov = nil
	for _, s := range m.iov {
		k := min(uint64(n), s.n)
		n -= int(k)
		rest.iov = append(rest.iov, span{s.addr + k, s.n - k})
	}
	return rest
}

// gather reads the message's data, of at most limit bytes.
func (t *trap) gather(m *message, limit int) ([]byte, unix.Errno) {
	b := make([]byte, 0, min(m.size(), uint64(limit)))
	for _, s := range m.iov {
		n := min(int(min(s.n, uint64(limit))), cap(b)-len(b))
		part := b[len(b) : len(b)+n]
		if e := t.read(s.addr, part); e != 0 {
			return nil, e
		}
		b = b[:len(b)+n]
	}
	return b, 0
}

// scatter writes data into the message's room.
func (t *trap) scatter(m *message, b []byte) unix.Errno {
	for _, s := range m.iov {
		n := min(int(min(s.n, uint64(len(b)))), len(b))
		if e := t.write(s.addr, b[:n]); e != 0 {
			return e
		}
		if b = b[n:]; len(b) == 0 {
			break
		}
	}
	return 0
}

// oneSpan is the message of sendto(2) and recvfrom(2).
func (t *trap) oneSpan() message {
	return message{iov: []span{{t.Args[1], t.Args[2]}}}
}
