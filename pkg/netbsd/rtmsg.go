package netbsd

import "fmt"

// RoundUp returns the number of bytes that a socket address of n bytes takes
// in routing messages (RT_ROUNDUP): a multiple of 8 on every machine, and 8
// for an empty one.
func RoundUp(n int) int {
	if n <= 0 {
		return 8
	}
	return roundUp(n, 8)
}

// SplitAddrs splits what follows the header of a routing message into its
// socket addresses. addrs are the RTA_* bits that tell which are there. The
// addresses alias b and have the length that their first byte tells; one of
// length 0 is an empty slice that is not nil. It is an error when b ends
// before the addresses do; padding after the last one may be missing, and
// bytes after it are ignored. The interface's addresses (RTA_IFP, RTA_IFA) may
// be missing when nothing follows: programs ask for them so, and the result is
// nil for them.
func SplitAddrs(addrs uint32, b []byte) (sas [RTAX_MAX][]byte, err error) {
	for i := range sas {
		if addrs&(1<<i) == 0 {
			continue
		}
		if len(b) == 0 && (i == RTAX_IFP || i == RTAX_IFA) {
			continue
		}
		if len(b) == 0 || int(b[0]) > len(b) {
			return sas, fmt.Errorf("netbsd: routing message ends before its socket address %d of %#x", i, addrs)
		}
		n := int(b[0])
		sas[i] = b[:n:n]
		b = b[min(RoundUp(n), len(b)):]
	}
	if addrs>>RTAX_MAX != 0 {
		return sas, fmt.Errorf("netbsd: routing message has unknown socket addresses: %#x", addrs)
	}
	return sas, nil
}

// AppendAddrs appends the socket addresses that are not nil with the padding
// that routing messages have between them, and returns the RTA_* bits that
// tell which are there. The padding is zero. It is the inverse of
// [SplitAddrs].
func AppendAddrs(b []byte, sas [RTAX_MAX][]byte) (_ []byte, addrs uint32) {
	for i, sa := range sas {
		if sa == nil {
			continue
		}
		addrs |= 1 << i
		b = append(b, sa...)
		b = append(b, make([]byte, RoundUp(len(sa))-len(sa))...)
	}
	return b, addrs
}

// RtMessage is one message of a routing socket or of the lists below
// net.route. One of the headers is set, by the type.
type RtMessage struct {
	Version uint8
	Type    uint8 // RTM_*
	Raw     []byte
	Rtm     *RtMsghdr         // messages about routes
	Ifm     *IfMsghdr         // RTM_IFINFO
	Ifam    *IfaMsghdr        // RTM_NEWADDR, RTM_DELADDR, RTM_CHGADDR
	Ifan    *IfAnnouncemsghdr // RTM_IFANNOUNCE, RTM_IEEE80211
	Addrs   [RTAX_MAX][]byte  // socket addresses, aliasing Raw; nil where not there
}

// NextRtMessage takes the first routing message off b and returns it and what
// follows it. Messages of another version than RTM_VERSION and of old types
// are returned without a header. It fails when b does not hold a whole
// message.
func NextRtMessage(m *Machine, b []byte) (msg RtMessage, rest []byte, err error) {
	if len(b) < 4 {
		return msg, nil, fmt.Errorf("netbsd: routing message of %d bytes", len(b))
	}
	n := int(m.Order.Uint16(b))
	if n < 4 || n > len(b) {
		return msg, nil, fmt.Errorf("netbsd: routing message says %d bytes, %d are there", n, len(b))
	}
	msg.Raw, rest = b[:n:n], b[n:]
	msg.Version, msg.Type = b[2], b[3]
	if msg.Version != RTM_VERSION {
		return msg, rest, nil
	}
	var addrs uint32
	var header any
	switch msg.Type {
	case RTM_IFINFO:
		msg.Ifm = new(IfMsghdr)
		header = msg.Ifm
	case RTM_NEWADDR, RTM_DELADDR, RTM_CHGADDR:
		msg.Ifam = new(IfaMsghdr)
		header = msg.Ifam
	case RTM_IFANNOUNCE, RTM_IEEE80211:
		msg.Ifan = new(IfAnnouncemsghdr)
		header = msg.Ifan
	case RTM_OIFINFO, RTM_OOIFINFO:
		return msg, rest, nil
	default:
		msg.Rtm = new(RtMsghdr)
		header = msg.Rtm
	}
	if err := Unmarshal(m, msg.Raw, header); err != nil {
		return msg, rest, err
	}
	switch {
	case msg.Ifm != nil:
		addrs = uint32(msg.Ifm.Addrs)
	case msg.Ifam != nil:
		addrs = uint32(msg.Ifam.Addrs)
	case msg.Rtm != nil:
		addrs = uint32(msg.Rtm.Addrs)
	}
	msg.Addrs, err = SplitAddrs(addrs, msg.Raw[Sizeof(m, header):])
	return msg, rest, err
}

// AppendRtMessage appends a routing message: the header (a pointer to one of
// [RtMsghdr], [IfMsghdr], [IfaMsghdr] and [IfAnnouncemsghdr]) and the socket
// addresses that are not nil. It sets the header's version, length and
// addresses.
func AppendRtMessage(m *Machine, b []byte, header any, sas [RTAX_MAX][]byte) []byte {
	n := len(b)
	b = append(b, make([]byte, Sizeof(m, header))...)
	b, addrs := AppendAddrs(b, sas)
	msglen := uint16(len(b) - n)
	switch h := header.(type) {
	case *RtMsghdr:
		h.Msglen, h.Version, h.Addrs = msglen, RTM_VERSION, int32(addrs)
	case *IfMsghdr:
		h.Msglen, h.Version, h.Addrs = msglen, RTM_VERSION, int32(addrs)
	case *IfaMsghdr:
		h.Msglen, h.Version, h.Addrs = msglen, RTM_VERSION, int32(addrs)
	case *IfAnnouncemsghdr:
		h.Msglen, h.Version = msglen, RTM_VERSION
	default:
		panic(fmt.Sprintf("netbsd: %T is no header of routing messages", header))
	}
	Append(m, b[:n], header)
	return b
}
