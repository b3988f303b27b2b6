//go:build linux

package linuxsock

import (
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"rumptools/pkg/netbsd"
)

// cmsg is a control message of Linux's.
type cmsg struct {
	level, typ int
	data       []byte
}

// Layout of struct cmsghdr, whose cmsg_len is a long.
const (
	cmsgAlign  = longSize
	cmsgHeader = longSize + 8
)

// MaxControl is how many bytes of control messages a program can send at once
// (net.core.optmem_max); more are ENOBUFS.
const MaxControl = 128 << 10

func alignCmsg(n int) int { return (n + cmsgAlign - 1) &^ (cmsgAlign - 1) }

// parseCmsgs reads the control messages that a program sends. They alias b. One
// that does not fit is EINVAL.
func parseCmsgs(b []byte) ([]cmsg, unix.Errno) {
	var list []cmsg
	for len(b) >= cmsgHeader {
		n := uint64(native.Uint32(b))
		if longSize == 8 {
			n = native.Uint64(b)
		}
		if n < cmsgHeader || n > uint64(len(b)) {
			return nil, unix.EINVAL
		}
		list = append(list, cmsg{
			level: int(int32(native.Uint32(b[longSize:]))),
			typ:   int(int32(native.Uint32(b[longSize+4:]))),
			data:  b[cmsgHeader:n:n],
		})
		b = b[min(alignCmsg(int(n)), len(b)):]
	}
	return list, 0
}

// putCmsg appends a control message to b if a buffer of so many bytes has room
// for it, as Linux does: what does not fit is cut, and left out when not even
// the header fits. It tells whether it was whole.
func putCmsg(b []byte, room int, c cmsg) ([]byte, bool) {
	left := room - len(b)
	if left < cmsgHeader {
		return b, false
	}
	n := min(cmsgHeader+len(c.data), left)
	start := len(b)
	b = append(b, make([]byte, min(alignCmsg(n), left))...)
	h := b[start:]
	if longSize == 8 {
		native.PutUint64(h, uint64(n))
	} else {
		native.PutUint32(h, uint32(n))
	}
	native.PutUint32(h[longSize:], uint32(c.level))
	native.PutUint32(h[longSize+4:], uint32(c.typ))
	copy(h[cmsgHeader:n], c.data)
	return b, n == cmsgHeader+len(c.data)
}

// KernelCredentials is the control message SCM_CREDENTIALS that a socket with SO_PASSCRED has with
// what the kernel sends, for a buffer of room bytes; and tells whether it did not fit.
func KernelCredentials(room int) (b []byte, truncated bool) {
	b, whole := putCmsg(nil, room, cmsg{unix.SOL_SOCKET, unix.SCM_CREDENTIALS, make([]byte, unix.SizeofUcred)})
	return b, !whole
}

// Outgoing is what control messages say of a datagram that is sent.
type Outgoing struct {
	// Control are NetBSD's control messages, which are about IPv6.
	Control []byte
	// What NetBSD has no control messages for: it takes none on sockets of
	// IPv4, and those of IPv6 do not concern IPv4-mapped destinations.
	Source    netip.Addr // of IPv4; not valid: any
	Interface uint32     // 0: as routed
	TTL, TOS  int        // of IPv4; -1: as the socket's options say

	// Segment is how many bytes of what is sent each datagram has (UDP_SEGMENT in udp(7)), 0 for
	// one of all.
	Segment int
}

// Plain tells whether Control has all there is.
func (o *Outgoing) Plain() bool {
	return !o.Source.IsValid() && o.Interface == 0 && o.TTL < 0 && o.TOS < 0
}

// ToControl translates the control messages that a program sends with a
// message: IP_PKTINFO, IP_TTL, IP_TOS, IPV6_PKTINFO, IPV6_HOPLIMIT, IPV6_TCLASS,
// IPV6_DONTFRAG and UDP_SEGMENT. Others fail with the errno that Linux has for those that it
// does not know or that need privilege.
func (s *Socket) ToControl(m *netbsd.Machine, control []byte) (Outgoing, unix.Errno) {
	out := Outgoing{TTL: -1, TOS: -1, Segment: int(s.values[optionKey{unix.SOL_UDP, unix.UDP_SEGMENT}])}
	list, errno := parseCmsgs(control)
	if errno != 0 {
		return out, errno
	}
	for _, c := range list {
		switch {
		case c.level == unix.SOL_SOCKET:
			errno = s.socketControl(c)
		case s.isTCP():
			// Streams pass the others over.
		case s.Domain == unix.AF_INET && c.level == unix.SOL_IP:
			errno = s.ipControl(c, &out)
		case s.Domain == unix.AF_INET6 && c.level == unix.SOL_IP && c.typ == unix.IP_TOS:
			errno = s.ipControl(c, &out) // of a datagram to IPv4; otherwise it is passed over
		case s.Domain == unix.AF_INET6 && c.level == unix.SOL_IPV6:
			errno = s.ip6Control(m, c, &out)
		case s.isUDP() && c.level == unix.SOL_UDP:
			switch {
			case c.typ != unix.UDP_SEGMENT:
			case len(c.data) != 2:
				errno = unix.EINVAL
			default:
				out.Segment = int(native.Uint16(c.data))
			}
		}
		if errno != 0 {
			return out, errno
		}
	}
	return out, 0
}

// socketControl is what control messages of the level SOL_SOCKET do: nothing
// but fail.
func (s *Socket) socketControl(c cmsg) unix.Errno {
	switch c.typ {
	case unix.SO_MARK:
		return unix.EPERM
	case unix.SO_TIMESTAMPING_OLD, unix.SO_TIMESTAMPING_NEW:
		if len(c.data) != 4 || native.Uint32(c.data) != 0 {
			return unix.EINVAL // what is sent has no time
		}
		return 0
	case unix.SO_PRIORITY:
		if len(c.data) != 4 {
			return unix.EINVAL
		}
		return 0
	case unix.SCM_RIGHTS, unix.SCM_CREDENTIALS:
		return 0 // for local sockets
	}
	return unix.EINVAL
}

// ipControl is a control message of a socket of IPv4.
func (s *Socket) ipControl(c cmsg, out *Outgoing) unix.Errno {
	number := func(low, high int) (int, unix.Errno) {
		v := 0
		switch {
		case len(c.data) == 4:
			v = int(int32(native.Uint32(c.data)))
		case len(c.data) == 1 && c.typ == unix.IP_TOS:
			v = int(c.data[0])
		default:
			return 0, unix.EINVAL
		}
		if v < low || v > high {
			return 0, unix.EINVAL
		}
		return v, 0
	}
	var errno unix.Errno
	switch c.typ {
	case unix.IP_PKTINFO:
		if len(c.data) != unix.SizeofInet4Pktinfo {
			return unix.EINVAL
		}
		if index := native.Uint32(c.data); index != 0 {
			out.Interface = index
		}
		if a := netip.AddrFrom4([4]byte(c.data[4:8])); !a.IsUnspecified() {
			out.Source = a
		}
	case unix.IP_TTL:
		out.TTL, errno = number(1, 255)
	case unix.IP_TOS:
		out.TOS, errno = number(0, 255)
	case unix.IP_RETOPTS:
		if len(c.data) != 0 {
			return unix.EINVAL
		}
	default:
		return unix.EINVAL
	}
	return errno
}

// ip6Control is a control message of a socket of IPv6.
func (s *Socket) ip6Control(m *netbsd.Machine, c cmsg, out *Outgoing) unix.Errno {
	add := func(typ int32, data []byte) {
		out.Control = netbsd.AppendCmsg(m, out.Control, netbsd.IPPROTO_IPV6, typ, data)
	}
	number := func(typ int32, low, high int32) unix.Errno {
		if len(c.data) != 4 {
			return unix.EINVAL
		}
		v := int32(native.Uint32(c.data))
		if v < low || v > high {
			return unix.EINVAL
		}
		add(typ, m.Order.AppendUint32(nil, uint32(v)))
		return 0
	}
	switch c.typ {
	case unix.IPV6_PKTINFO, unix.IPV6_2292PKTINFO:
		if len(c.data) < unix.SizeofInet6Pktinfo {
			return unix.EINVAL
		}
		info := netbsd.In6Pktinfo{Addr: [16]byte(c.data), Ifindex: native.Uint32(c.data[16:])}
		if a := netip.AddrFrom16(info.Addr); a.Is4In6() {
			if !a.Unmap().IsUnspecified() {
				out.Source = a.Unmap()
			}
			out.Interface = info.Ifindex
			return 0
		}
		add(netbsd.IPV6_PKTINFO, netbsd.Marshal(m, &info))
	case unix.IPV6_HOPLIMIT, unix.IPV6_2292HOPLIMIT:
		return number(netbsd.IPV6_HOPLIMIT, -1, 255)
	case unix.IPV6_TCLASS:
		return number(netbsd.IPV6_TCLASS, -1, 255)
	case unix.IPV6_DONTFRAG:
		return number(netbsd.IPV6_DONTFRAG, 0, 1)
	case unix.IPV6_HOPOPTS, unix.IPV6_2292HOPOPTS, unix.IPV6_DSTOPTS, unix.IPV6_2292DSTOPTS, unix.IPV6_RTHDRDSTOPTS:
		return unix.EPERM
	default:
		return unix.EINVAL
	}
	return 0
}

// Incoming is what is known of a datagram that came, besides NetBSD's control
// messages.
type Incoming struct {
	// Local, if it is set, tells which of this host's addresses a datagram
	// was for that came to a broadcast address or a group on an interface,
	// for in_pktinfo's ipi_spec_dst; see [Addresses.Local].
	Local func(index uint32, dst netip.Addr) netip.Addr
}

// FromControl translates the control messages of a datagram that came into
// those that the program asked for, for a buffer of room bytes; and tells
// whether some did not fit, which is MSG_CTRUNC. What NetBSD's control messages
// were cut by is for its own flags to tell.
func (s *Socket) FromControl(m *netbsd.Machine, control []byte, in Incoming, room int) (b []byte, truncated bool) {
	list, _ := netbsd.ParseCmsgs(m, control) // those before one that was cut
	for _, c := range list {
		for _, c := range s.fromCmsg(m, c, in) {
			var whole bool
			if b, whole = putCmsg(b, room, c); !whole {
				truncated = true
			}
		}
	}
	return b, truncated
}

// on tells whether a boolean option of the program's is set.
func (s *Socket) on(level, name int) bool { return s.values[optionKey{level, name}] != 0 }

func (s *Socket) fromCmsg(m *netbsd.Machine, c netbsd.Cmsg, in Incoming) []cmsg {
	one := func(level, typ int, data []byte) []cmsg { return []cmsg{{level, typ, data}} }
	int32Of := func() int32 { return int32(m.Order.Uint32(c.Data)) }
	switch c.Level {
	case netbsd.SOL_SOCKET:
		var tv netbsd.Timeval
		if c.Type == netbsd.SCM_TIMESTAMP && netbsd.Unmarshal(m, c.Data, &tv) == nil {
			return s.stamp.cmsgs(tv.Time())
		}
	case netbsd.IPPROTO_IP:
		switch c.Type {
		case netbsd.IP_PKTINFO:
			var info netbsd.InPktinfo
			if netbsd.Unmarshal(m, c.Data, &info) != nil {
				break
			}
			var list []cmsg
			if s.Domain == unix.AF_INET6 {
				addr := netip.AddrFrom16(netip.AddrFrom4(info.Addr).As16()).As16()
				list = s.bothForms(unix.IPV6_RECVPKTINFO, unix.IPV6_PKTINFO, unix.IPV6_2292PKTINFO, native.AppendUint32(addr[:], info.Ifindex))
			}
			if !s.on(unix.SOL_IP, unix.IP_PKTINFO) {
				return list
			}
			local := info.Addr
			if in.Local != nil {
				if a := in.Local(info.Ifindex, netip.AddrFrom4(info.Addr)); a.Is4() {
					local = a.As4()
				}
			}
			b := native.AppendUint32(nil, info.Ifindex)
			return append(list, cmsg{unix.SOL_IP, unix.IP_PKTINFO, append(append(b, local[:]...), info.Addr[:]...)})
		case netbsd.IP_RECVTTL:
			if s.on(unix.SOL_IP, unix.IP_RECVTTL) && len(c.Data) >= 1 {
				return one(unix.SOL_IP, unix.IP_TTL, intValue(int32(c.Data[0])))
			}
		case netbsd.IP_TOS:
			if s.on(unix.SOL_IP, unix.IP_RECVTOS) && len(c.Data) >= 1 {
				return one(unix.SOL_IP, unix.IP_TOS, c.Data[:1])
			}
		case netbsd.IP_RECVOPTS:
			return s.ipOptionCmsgs(c.Data)
		}
	case netbsd.IPPROTO_IPV6:
		switch c.Type {
		case netbsd.IPV6_PKTINFO:
			var info netbsd.In6Pktinfo
			if netbsd.Unmarshal(m, c.Data, &info) != nil {
				break
			}
			addr := netip.AddrFrom16(info.Addr)
			if a, scope := netbsd.ExtractScope(addr); scope != 0 {
				info.Addr = a.As16()
			}
			data := native.AppendUint32(info.Addr[:], info.Ifindex)
			return s.bothForms(unix.IPV6_RECVPKTINFO, unix.IPV6_PKTINFO, unix.IPV6_2292PKTINFO, data)
		case netbsd.IPV6_HOPLIMIT:
			if len(c.Data) >= 4 {
				return s.bothForms(unix.IPV6_RECVHOPLIMIT, unix.IPV6_HOPLIMIT, unix.IPV6_2292HOPLIMIT, intValue(int32Of()))
			}
		case netbsd.IPV6_TCLASS:
			if s.on(unix.SOL_IPV6, unix.IPV6_RECVTCLASS) && len(c.Data) >= 4 {
				return one(unix.SOL_IPV6, unix.IPV6_TCLASS, intValue(int32Of()))
			}
		case netbsd.IPV6_HOPOPTS:
			if s.on(unix.SOL_IPV6, unix.IPV6_RECVHOPOPTS) {
				return one(unix.SOL_IPV6, unix.IPV6_HOPOPTS, c.Data)
			}
		case netbsd.IPV6_DSTOPTS:
			if s.on(unix.SOL_IPV6, unix.IPV6_RECVDSTOPTS) {
				return one(unix.SOL_IPV6, unix.IPV6_DSTOPTS, c.Data)
			}
		case netbsd.IPV6_RTHDR:
			if s.on(unix.SOL_IPV6, unix.IPV6_RECVRTHDR) {
				return one(unix.SOL_IPV6, unix.IPV6_RTHDR, c.Data)
			}
		}
	}
	return nil
}

// bothForms makes a control message in the forms of RFC 3542 and RFC 2292, as
// they were asked for. The option of the latter has its message's number.
func (s *Socket) bothForms(recv, typ, old int, data []byte) (list []cmsg) {
	if s.on(unix.SOL_IPV6, recv) {
		list = append(list, cmsg{unix.SOL_IPV6, typ, data})
	}
	if s.on(unix.SOL_IPV6, old) {
		list = append(list, cmsg{unix.SOL_IPV6, old, data})
	}
	return list
}

// cmsgs tells a time in the forms that were asked for.
func (s stamp) cmsgs(t time.Time) (list []cmsg) {
	// The old forms have two longs, the new ones two 64-bit integers.
	old := func(b []byte, sec, frac int64) []byte {
		if longSize == 4 {
			return native.AppendUint32(native.AppendUint32(b, uint32(sec)), uint32(frac))
		}
		return native.AppendUint64(native.AppendUint64(b, uint64(sec)), uint64(frac))
	}
	wide := func(b []byte, sec, frac int64) []byte {
		return native.AppendUint64(native.AppendUint64(b, uint64(sec)), uint64(frac))
	}
	sec, nsec := t.Unix(), int64(t.Nanosecond())
	add := func(typ int, data []byte) { list = append(list, cmsg{unix.SOL_SOCKET, typ, data}) }
	switch s.form {
	case stampMicros:
		add(unix.SO_TIMESTAMP_OLD, old(nil, sec, nsec/1000))
	case stampMicrosNew:
		add(unix.SO_TIMESTAMP_NEW, wide(nil, sec, nsec/1000))
	case stampNanos:
		add(unix.SO_TIMESTAMPNS_OLD, old(nil, sec, nsec))
	case stampNanosNew:
		add(unix.SO_TIMESTAMPNS_NEW, wide(nil, sec, nsec))
	}
	const wanted = unix.SOF_TIMESTAMPING_RX_SOFTWARE | unix.SOF_TIMESTAMPING_SOFTWARE
	if s.ing&wanted == wanted {
		// struct scm_timestamping: three times, the first is software's.
		form, typ := old, unix.SO_TIMESTAMPING_OLD
		if s.ingNew {
			form, typ = wide, unix.SO_TIMESTAMPING_NEW
		}
		add(typ, form(form(form(nil, sec, nsec), 0, 0), 0, 0))
	}
	return list
}
