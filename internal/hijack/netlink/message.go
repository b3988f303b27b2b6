//go:build linux

package netlink

import (
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"
)

// native is the byte order of netlink's messages: the host's.
var native = binary.NativeEndian

// maxDatagram is how many bytes of answers go into one datagram, unless a
// single message needs more. Linux puts as much into a page; some programs,
// Go's among them, read into no more than a page.
const maxDatagram = 3776

// header is struct nlmsghdr without its length.
type header struct {
	typ    uint16
	flags  uint16
	seq    uint32
	portID uint32
}

func align(n int) int { return (n + unix.NLMSG_ALIGNTO - 1) &^ (unix.NLMSG_ALIGNTO - 1) }

// pad fills b with zeros to netlink's alignment.
func pad(b []byte) []byte { return append(b, make([]byte, align(len(b))-len(b))...) }

// appendMessage appends a message.
func appendMessage(b []byte, h header, body []byte) []byte {
	b = native.AppendUint32(b, uint32(unix.NLMSG_HDRLEN+len(body)))
	b = native.AppendUint16(b, h.typ)
	b = native.AppendUint16(b, h.flags)
	b = native.AppendUint32(b, h.seq)
	b = native.AppendUint32(b, h.portID)
	b = append(b, body...)
	return pad(b)
}

// appendAttr appends an attribute (struct rtattr, struct nlattr).
func appendAttr(b []byte, typ uint16, data []byte) []byte {
	b = native.AppendUint16(b, uint16(unix.SizeofRtAttr+len(data)))
	b = native.AppendUint16(b, typ)
	b = append(b, data...)
	return pad(b)
}

func appendAttr8(b []byte, typ uint16, v uint8) []byte { return appendAttr(b, typ, []byte{v}) }

func appendAttr32(b []byte, typ uint16, v uint32) []byte {
	return appendAttr(b, typ, native.AppendUint32(nil, v))
}

// appendAttrString appends an attribute that is a string with a NUL at its end.
func appendAttrString(b []byte, typ uint16, s string) []byte {
	return appendAttr(b, typ, append([]byte(s), 0))
}

// nlaTypeMask is NLA_TYPE_MASK: the others of a type say how it is encoded.
const nlaTypeMask = 0x3fff

// attrs are the attributes of a request by type, without the bits that say how
// they are encoded.
type attrs map[uint16][]byte

// parseAttrs reads the attributes of a request. What is left after the last
// whole one is none, as Linux has it.
func parseAttrs(b []byte) attrs {
	list := attrs{}
	for len(b) >= unix.SizeofRtAttr {
		n := int(native.Uint16(b))
		if n < unix.SizeofRtAttr || n > len(b) {
			break
		}
		list[native.Uint16(b[2:])&nlaTypeMask] = b[unix.SizeofRtAttr:n]
		b = b[min(align(n), len(b)):]
	}
	return list
}

// uint32 is a number, 0 when it is not there.
func (a attrs) uint32(typ uint16) uint32 {
	if b := a[typ]; len(b) >= 4 {
		return native.Uint32(b)
	}
	return 0
}

// string is a string up to its NUL.
func (a attrs) string(typ uint16) string {
	b := a[typ]
	if i := slices.Index(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

// request is a message of a program, with the answers to it.
type request struct {
	header
	raw  []byte // all of it
	body []byte

	out    *answers
	listed bool // it was answered with a list
}

// answers are the datagrams for a program.
type answers struct {
	list [][]byte
	// open is the last datagram, to which more may be added; nil if not.
	open []byte
}

func (a *answers) add(h header, body []byte) {
	if size := unix.NLMSG_HDRLEN + align(len(body)); a.open != nil && len(a.open)+size > maxDatagram {
		a.flush()
	}
	a.open = appendMessage(a.open, h, body)
}

func (a *answers) flush() {
	if a.open != nil {
		a.list = append(a.list, a.open)
		a.open = nil
	}
}

// is tells whether all of some flags are set.
func (r *request) is(flags uint16) bool { return r.flags&flags == flags }

// dump tells whether a list is asked for. NLM_F_DUMP is two flags, of which
// Linux looks for either.
func (r *request) dump() bool { return r.flags&unix.NLM_F_DUMP != 0 }

// fixed is the start of the body as a structure of n bytes, and what follows
// it. Programs may leave out the end of it.
func (r *request) fixed(n int) (head []byte, rest attrs) {
	head = make([]byte, n)
	copy(head, r.body)
	if len(r.body) > align(n) {
		rest = parseAttrs(r.body[align(n):])
	}
	return head, rest
}

// answer answers with a message.
func (r *request) answer(typ uint16, body []byte) {
	r.out.add(header{typ: typ, seq: r.seq, portID: r.portID}, body)
	r.out.flush()
}

// answerList answers with a list, whose end is a datagram of its own: so Linux does it with lists of
// interfaces, addresses and routes, and there are programs that look at the first message of each.
func (r *request) answerList(typ uint16, bodies [][]byte, flags uint16) {
	h := header{typ: typ, flags: unix.NLM_F_MULTI | flags, seq: r.seq, portID: r.portID}
	for _, body := range bodies {
		r.out.add(h, body)
	}
	r.out.flush()
	r.listed = true
	h.typ = unix.NLMSG_DONE
	r.out.add(h, make([]byte, 4))
	r.out.flush()
}

// acknowledge answers with an error number, 0 for success (NLMSG_ERROR).
func (r *request) acknowledge(errno unix.Errno) {
	h := header{typ: unix.NLMSG_ERROR, seq: r.seq, portID: r.portID}
	body := native.AppendUint32(nil, uint32(-int32(errno)))
	if errno == 0 {
		h.flags = unix.NLM_F_CAPPED
		body = append(body, r.raw[:unix.NLMSG_HDRLEN]...)
	} else {
		body = append(body, r.raw...)
	}
	r.out.add(h, body)
	r.out.flush()
}
