package innernet

import (
	"encoding/binary"
	"os"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// unreachable are the codes of ICMP's destination unreachable (RFC 792, RFC 1122) by which Linux's UDP sockets have an
// error, also without IP_RECVERR.
var unreachable = map[unix.Errno]int{
	unix.ENOPROTOOPT:  2,
	unix.ECONNREFUSED: 3,
	unix.EMSGSIZE:     codeFragNeeded,
	unix.EOPNOTSUPP:   5,
	unix.ENETUNREACH:  6,
	unix.EHOSTDOWN:    7,
	unix.ENONET:       8,
	unix.EHOSTUNREACH: 13,
}

// codeFragNeeded says that a datagram was too long, and what would have been short enough.
const codeFragNeeded = 4

// Fail has s have an error. Those that no message of ICMP makes become EHOSTUNREACH. mtu is of EMSGSIZE: how long, in bytes, a
// datagram of IPv4 to K may be, with its headers; s fragments longer ones, or refuses them, as its IP_MTU_DISCOVER
// says.
//
// Without a K, -1, s has its queue of errors only.
func (n *Net) Fail(s, k int, e unix.Errno, mtu int) error {
	if k < 0 {
		k = n.prober
	}
	from, to, err := names(s, k)
	if err != nil {
		return err
	}
	packet, err := refusal(from, to, e, mtu)
	if err != nil {
		return err
	}
	return os.NewSyscallError("sendto", unix.Sendto(n.raw, packet, unix.MSG_NOSIGNAL, &unix.SockaddrInet4{Addr: from.Addr}))
}

// Limit has the host know how long, in bytes, a datagram of IPv4 to k may be, with its headers. It is no error of
// anybody's.
func (n *Net) Limit(k, mtu int) error { return n.Fail(n.prober, k, unix.EMSGSIZE, mtu) }

func names(s, k int) (from, to *unix.SockaddrInet4, err error) {
	a, err := unix.Getsockname(s)
	if err != nil {
		return nil, nil, os.NewSyscallError("getsockname", err)
	}
	b, err := unix.Getsockname(k)
	if err != nil {
		return nil, nil, os.NewSyscallError("getsockname", err)
	}
	from, ok := a.(*unix.SockaddrInet4)
	to, ok2 := b.(*unix.SockaddrInet4)
	if !ok || !ok2 {
		return nil, nil, os.NewSyscallError("getsockname", unix.EAFNOSUPPORT)
	}
	return from, to, nil
}

// refusal is the packet that tells of a datagram from one socket to another.
func refusal(from, to *unix.SockaddrInet4, e unix.Errno, mtu int) ([]byte, error) {
	const udpHeader = 8
	header := func(src, dst [4]byte, protocol, length int) ([]byte, error) {
		h := ipv4.Header{
			Version: ipv4.Version, Len: ipv4.HeaderLen, TotalLen: ipv4.HeaderLen + length, TTL: 64, Protocol: protocol,
			Src: src[:], Dst: dst[:],
		}
		return h.Marshal()
	}
	quoted, err := header(from.Addr, to.Addr, unix.IPPROTO_UDP, udpHeader)
	if err != nil {
		return nil, err
	}
	quoted = binary.BigEndian.AppendUint16(quoted, uint16(from.Port))
	quoted = binary.BigEndian.AppendUint16(quoted, uint16(to.Port))
	quoted = binary.BigEndian.AppendUint16(quoted, udpHeader)
	quoted = append(quoted, 0, 0)
	m := icmp.Message{Type: ipv4.ICMPTypeDestinationUnreachable, Body: &icmp.DstUnreach{Data: quoted}}
	var ok bool
	switch m.Code, ok = unreachable[e]; {
	case e == unix.EPROTO:
		m.Type, m.Body = ipv4.ICMPTypeParameterProblem, &icmp.ParamProb{Data: quoted}
	case e == unix.EMSGSIZE:
		m.Type, m.Body = ipv4.ICMPTypeDestinationUnreachable, &icmp.PacketTooBig{MTU: mtu, Data: quoted}
	case !ok:
		m.Code = unreachable[unix.EHOSTUNREACH]
	}
	body, err := m.Marshal(nil)
	if err != nil {
		return nil, err
	}
	packet, err := header(to.Addr, from.Addr, unix.IPPROTO_ICMP, len(body))
	return append(packet, body...), err
}

// IsLocalError tells whether an error in the queue of a program's socket, with its control messages, is one that the host
// itself has found: a datagram that is too long.
func IsLocalError(oob []byte) bool {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return false
	}
	for i := range messages {
		m := &messages[i]
		const originAt = 4 // of ee_origin in struct sock_extended_err
		if m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_RECVERR && len(m.Data) > originAt {
			return m.Data[originAt] == unix.SO_EE_ORIGIN_LOCAL
		}
	}
	return false
}
