package netbsd

import "fmt"

// Cmsg is a control message of sendmsg(2) and recvmsg(2).
type Cmsg struct {
	Level int32
	Type  int32
	Data  []byte
}

// CmsgLen returns the value of cmsg_len for n bytes of data (CMSG_LEN).
func CmsgLen(m *Machine, n int) int { return cmsgHeader(m) + n }

// CmsgSpace returns the number of bytes that a control message with n bytes of
// data takes, padding included (CMSG_SPACE).
func CmsgSpace(m *Machine, n int) int { return cmsgHeader(m) + roundUp(n, m.CmsgAlign) }

func cmsgHeader(m *Machine) int { return roundUp(12, m.CmsgAlign) }

// AppendCmsg appends a control message with its padding. Control messages
// begin at the start of a buffer and follow each other, so b must have been
// empty or the result of AppendCmsg.
func AppendCmsg(m *Machine, b []byte, level, typ int32, data []byte) []byte {
	n := len(b)
	b = append(b, make([]byte, CmsgSpace(m, len(data)))...)
	m.Order.PutUint32(b[n:], uint32(CmsgLen(m, len(data))))
	m.Order.PutUint32(b[n+4:], uint32(level))
	m.Order.PutUint32(b[n+8:], uint32(typ))
	copy(b[n+cmsgHeader(m):], data)
	return b
}

// ParseCmsgs returns the control messages in b. Their data alias b. A message
// that says that it is longer than what is left of b, as the last one may be
// when it was cut (MSG_CTRUNC), or shorter than its own header, is an error;
// those before it are returned with the error.
func ParseCmsgs(m *Machine, b []byte) ([]Cmsg, error) {
	var msgs []Cmsg
	header := cmsgHeader(m)
	for len(b) >= 12 {
		n := m.Order.Uint32(b)
		if n < uint32(header) || uint64(n) > uint64(len(b)) {
			return msgs, fmt.Errorf("netbsd: control message says %d bytes, %d are there", n, len(b))
		}
		msgs = append(msgs, Cmsg{
			Level: int32(m.Order.Uint32(b[4:])),
			Type:  int32(m.Order.Uint32(b[8:])),
			Data:  b[header:n:n],
		})
		b = b[min(roundUp(int(n), m.CmsgAlign), len(b)):]
	}
	return msgs, nil
}
