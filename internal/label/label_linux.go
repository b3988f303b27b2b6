package label

import (
	"encoding/binary"
	"errors"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// Entries is how many entries a table has.
	Entries = 16384
	// entrySize is the size of an entry in bytes: its address's length, in a byte, whether control messages were left
	// out, in another, their length, in two; then both.
	entrySize = 512
	headSize  = 4
)

// MaxReceiveBuffer is the most that may be the SO_RCVBUF of a program's socket, as it is set, in bytes: the host doubles it, and
// counts at least 768 bytes for a datagram, so that no more wait there than a writer writes new entries before it writes
// over theirs.
const MaxReceiveBuffer = 768 * kept / 2

// half is how many entries a writer has, kept how many others it writes at least before it writes over one that a datagram
// has just been given.
const (
	half = Entries / 2
	kept = half / 2
)

// NewTable makes a table. Nobody can make it shorter or longer.
func NewTable() (fd int, err error) {
	fd, err = unix.MemfdCreate("labels", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return -1, os.NewSyscallError("memfd_create", err)
	}
	err = unix.Ftruncate(fd, Entries*entrySize)
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals)
	}
	if err != nil {
		unix.Close(fd)
		return -1, os.NewSyscallError("memfd", err)
	}
	return fd, nil
}

const seals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW

// IsTable tells whether a descriptor that somebody else gives is a table's: to write and to read it never waits.
func IsTable(fd int) bool {
	got, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	var st unix.Stat_t
	return err == nil && got&seals == seals && unix.Fstat(fd, &st) == nil && st.Size == Entries*entrySize
}

// A Half is the part of a table that one writer has: there may be two.
type Half int

// The halves.
const (
	First Half = iota
	Second
)

// Writer numbers the senders of datagrams. It is used by one goroutine at a time.
type Writer struct {
	fd    int
	first int
	// written counts the entries; known has when each was written by what is in it.
	written uint64
	known   map[string]uint64
	key     []byte
}

// maxKnown is how many entries are remembered, for others that are the same.
const maxKnown = 256

// NewWriter makes a writer of a half of a table.
func NewWriter(table int, half Half) *Writer {
	return &Writer{fd: table, first: int(half) * Entries / 2, known: make(map[string]uint64)}
}

// errLong is why there is no label.
var errLong = errors.New("the address is too long")

// Label is the number of an entry for a sender's address and control messages. If these are too long the entry says so
// instead.
func (w *Writer) Label(from, control []byte) (number int, err error) {
	if len(from) > 0xff {
		return 0, errLong
	}
	cut := byte(0)
	if headSize+len(from)+len(control) > entrySize {
		control, cut = nil, 1
	}
	w.key = append(w.key[:0], byte(len(from)), cut)
	w.key = binary.NativeEndian.AppendUint16(w.key, uint16(len(control)))
	w.key = append(append(w.key, from...), control...)
	if at, ok := w.known[string(w.key)]; ok && w.written-at < half-kept {
		return w.first + int(at%half), nil
	}
	at := w.written
	number = w.first + int(at%half)
	if _, err := unix.Pwrite(w.fd, w.key, int64(number)*entrySize); err != nil {
		return 0, err
	}
	w.written++
	if len(w.known) >= maxKnown {
		clear(w.known) // perhaps each has a time, and none comes again
	}
	w.known[string(w.key)] = at
	return number, nil
}

// Read reads an entry: the address, the control messages, and whether some were left out.
func Read(table, number int) (from, control []byte, cut, ok bool) {
	if number < 0 || number >= Entries {
		return nil, nil, false, false
	}
	var b [entrySize]byte
	if n, err := unix.Pread(table, b[:], int64(number)*entrySize); err != nil || n != entrySize {
		return nil, nil, false, false
	}
	n, m := int(b[0]), int(binary.NativeEndian.Uint16(b[2:]))
	if headSize+n+m > entrySize {
		return nil, nil, false, false
	}
	rest := append([]byte(nil), b[headSize:headSize+n+m]...)
	return rest[:n:n], rest[n:], b[1] != 0, true
}

// A number is in the time to live, which is never 0, and in the type of service.
func split(number int) (ttl, tos int32) { return int32(number>>8) + 1, int32(number & 0xff) }

// Ask has recvmsg(2) of a socket tell the labels of datagrams.
func Ask(fd int) error {
	for _, name := range []int{unix.IP_RECVTTL, unix.IP_RECVTOS} {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, name, 1); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	return nil
}

// Room is how long a buffer for the control messages of recvmsg(2) must be. What the program's socket has besides
// comes behind the label's.
const Room = 64

// Of is the label of a datagram with whose control messages, oob, recvmsg(2) has come back.
func Of(oob []byte) (number int, ok bool) {
	ttl, tos := -1, -1
	for len(oob) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(unsafe.SliceData(oob)))
		if int(h.Len) < unix.CmsgLen(0) || uint64(h.Len) > uint64(len(oob)) {
			break
		}
		data := oob[unix.CmsgLen(0):h.Len]
		switch {
		case h.Level != unix.IPPROTO_IP:
		case h.Type == unix.IP_TTL && len(data) >= 4:
			ttl = int(binary.NativeEndian.Uint32(data))
		case h.Type == unix.IP_TOS && len(data) >= 1:
			tos = int(data[0])
		}
		oob = oob[min(unix.CmsgSpace(len(data)), len(oob)):]
	}
	number = (ttl-1)<<8 | tos
	return number, ttl >= 1 && tos >= 0 && number < Entries
}

// Send sends a datagram on a connected socket. It does not wait, and may be called by who must not give up its
// processor.
func Send(fd int, datagram []byte, number int) syscall.Errno {
	var room [Room / 8]uint64 // aligned
	control := unsafe.Slice((*byte)(unsafe.Pointer(&room)), Room)
	ttl, tos := split(number)
	n := putInt(control, unix.IP_TTL, ttl)
	n += putInt(control[n:], unix.IP_TOS, tos)
	iov := unix.Iovec{Base: unsafe.SliceData(datagram)}
	iov.SetLen(len(datagram))
	m := unix.Msghdr{Iov: &iov, Control: unsafe.SliceData(control)}
	m.SetIovlen(1)
	m.SetControllen(n)
	for {
		_, _, e := syscall.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&m)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		if e != unix.EINTR {
			return e
		}
	}
}

// putInt makes a control message of the level IPPROTO_IP, and gives its size.
func putInt(b []byte, typ int32, value int32) (n int) {
	h := (*unix.Cmsghdr)(unsafe.Pointer(unsafe.SliceData(b)))
	h.Level, h.Type = unix.IPPROTO_IP, typ
	h.SetLen(unix.CmsgLen(4))
	binary.NativeEndian.PutUint32(b[unix.CmsgLen(0):], uint32(value))
	return unix.CmsgSpace(4)
}
