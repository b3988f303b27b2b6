package trace

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"rumptools/pkg/netbsd"
)

// iovecArg shows buffers and what is in them.
func (r *renderer) iovecArg(a *netbsd.Arg, addr uint64) string {
	c := r.c
	n := c.value(a.LenArg)
	vs := c.iovecs(addr, n)
	if len(vs) == 0 {
		if n == 0 {
			return "[]"
		}
		return r.later(addr)
	}
	switch c.base() {
	case "readv", "preadv":
		if !r.ended() {
			return r.later(addr)
		}
		if c.failed() || c.lost {
			return r.iovecText(vs, n, fromClient, 0)
		}
		return r.iovecText(vs, n, toClient, c.reply.Retval[0])
	}
	return r.iovecText(vs, n, fromClient, 1<<63)
}

// iovecText shows buffers, of which left bytes in all have been filled.
func (r *renderer) iovecText(vs []netbsd.Iovec, n uint64, dir direction, left uint64) string {
	var parts []string
	for i, v := range vs {
		if i == maxElements && !r.t.o.Whole {
			break
		}
		size := min(uint64(v.Len), left)
		left -= size
		base := pointer(uint64(v.Base))
		if size > 0 {
			base = r.data(dir, uint64(v.Base), size)
		} else if dir == toClient {
			base = `""`
		}
		parts = append(parts, fmt.Sprintf("{iov_base=%s, iov_len=%d}", base, v.Len))
	}
	if uint64(len(parts)) < n {
		parts = append(parts, "...")
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// msghdrArg shows the argument of sendmsg(2) and recvmsg(2).
func (r *renderer) msghdrArg(addr uint64) string {
	c := r.c
	receives := c.base() != "sendmsg"
	if receives && !r.ended() {
		return r.later(addr)
	}
	var h netbsd.Msghdr
	if !c.readStruct(fromClient, addr, &h) {
		return r.later(addr)
	}
	got := uint64(1 << 63)
	if receives {
		got = 0
		if c.done && !c.failed() {
			got = c.reply.Retval[0]
		}
	}
	return r.msghdrText(addr, &h, receives, got)
}

// msghdrText shows a message: one that is sent, or what has been received in got
// bytes.
func (r *renderer) msghdrText(addr uint64, h *netbsd.Msghdr, receives bool, got uint64) string {
	c := r.c
	dir := fromClient
	after := *h
	if receives {
		dir = toClient
		c.readStruct(toClient, addr, &after)
	}
	name := pointer(uint64(h.Name))
	if b := c.mem.read(dir, uint64(h.Name), uint64(min(after.Namelen, 256))); h.Name != 0 && len(b) > 0 {
		name = sockaddr(r.m, b)
	} else if h.Name != 0 && !receives && h.Namelen > 0 {
		name = r.later(uint64(h.Name))
	}
	n := uint64(0)
	if h.Iovlen > 0 {
		n = uint64(h.Iovlen)
	}
	iov := pointer(uint64(h.Iov))
	if vs := c.iovecs(uint64(h.Iov), n); len(vs) > 0 {
		iov = r.iovecText(vs, n, dir, got)
	} else if n > 0 {
		iov = r.later(uint64(h.Iov))
	}
	control := pointer(uint64(h.Control))
	if h.Control != 0 && after.Controllen > 0 {
		b := c.mem.read(dir, uint64(h.Control), uint64(min(after.Controllen, maxPiece)))
		switch {
		case len(b) > 0:
			control = r.controlMessages(b)
		case !receives:
			control = r.later(uint64(h.Control))
		}
	}
	s := fmt.Sprintf("{msg_name=%s, msg_namelen=%s, msg_iov=%s, msg_iovlen=%d", name,
		change(uint64(h.Namelen), uint64(after.Namelen)), iov, h.Iovlen)
	if h.Control != 0 || h.Controllen != 0 {
		s += fmt.Sprintf(", msg_control=%s", control)
	}
	return s + fmt.Sprintf(", msg_controllen=%s, msg_flags=%s}", change(uint64(h.Controllen), uint64(after.Controllen)),
		netbsd.MessageFlags.Format(uint64(uint32(after.Flags))))
}

// change shows a number that may have been changed.
func change(before, after uint64) string {
	if before == after {
		return strconv.FormatUint(before, 10)
	}
	return fmt.Sprintf("%d => %d", before, after)
}

func (r *renderer) mmsghdrArg(a *netbsd.Arg, addr uint64) string {
	c := r.c
	receives := c.base() != "sendmmsg"
	if receives && !r.ended() {
		return r.later(addr)
	}
	count := c.value(a.LenArg)
	if receives && c.done && !c.failed() {
		count = min(count, c.reply.Retval[0])
	}
	size := uint64(netbsd.Sizeof(r.m, netbsd.Mmsghdr{}))
	var parts []string
	for i := uint64(0); i < count; i++ {
		if len(parts) == maxElements && !r.t.o.Whole {
			parts = append(parts, "...")
			break
		}
		at := addr + i*size
		var h, after netbsd.Mmsghdr
		if !c.readStruct(fromClient, at, &h.Hdr) {
			if i == 0 {
				return r.later(addr)
			}
			r.wait = true
			parts = append(parts, "...")
			break
		}
		after = h
		lenAt := at + uint64(netbsd.Offsetof(r.m, netbsd.Mmsghdr{}, "msg_len"))
		if b := c.mem.read(toClient, lenAt, 4); len(b) == 4 {
			after.Len = r.m.Order.Uint32(b)
		} else {
			c.readStruct(toClient, at, &after)
		}
		got := uint64(1 << 63)
		if receives {
			got = uint64(after.Len)
		}
		text := r.msghdrText(at, &h.Hdr, receives, got)
		if r.ended() {
			text = fmt.Sprintf("{msg_hdr=%s, msg_len=%d}", text, after.Len)
		} else {
			// How much is sent is known at the end.
			r.wait = true
			text = fmt.Sprintf("{msg_hdr=%s}", text)
		}
		parts = append(parts, text)
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

func (r *renderer) controlMessages(b []byte) string {
	msgs, err := netbsd.ParseCmsgs(r.m, b)
	var parts []string
	for _, msg := range msgs {
		level := "SOL_SOCKET"
		if msg.Level != netbsd.SOL_SOCKET {
			level = netbsd.IPProtocols.Format(int64(msg.Level))
		}
		typ, data := r.controlMessage(&msg)
		parts = append(parts, fmt.Sprintf("{cmsg_level=%s, cmsg_type=%s, cmsg_data=%s}", level, typ, data))
	}
	if err != nil {
		parts = append(parts, "...")
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

func (r *renderer) controlMessage(msg *netbsd.Cmsg) (typ, data string) {
	data = r.t.quote(msg.Data, uint64(len(msg.Data)))
	t := int64(msg.Type)
	switch msg.Level {
	case netbsd.SOL_SOCKET:
		typ = netbsd.ControlMessages.Format(t)
		switch {
		case t == netbsd.SCM_RIGHTS:
			data = r.ints(msg.Data)
		case t == netbsd.SCM_TIMESTAMP && len(msg.Data) >= netbsd.Sizeof(r.m, netbsd.Timeval{}):
			data = r.structure(types["timeval"], msg.Data)
		}
	case netbsd.IPPROTO_IP:
		typ = netbsd.IPOptions.Format(t)
		switch {
		case t == netbsd.IP_RECVDSTADDR && len(msg.Data) == 4:
			data = netip.AddrFrom4([4]byte(msg.Data)).String()
		case t == netbsd.IP_RECVIF:
			data = sockaddr(r.m, msg.Data)
		case t == netbsd.IP_RECVTTL && len(msg.Data) == 1:
			data = fmt.Sprintf("[%d]", msg.Data[0])
		case t == netbsd.IP_PKTINFO && len(msg.Data) >= 8:
			data = fmt.Sprintf("{ipi_addr=%s, ipi_ifindex=%d}", netip.AddrFrom4([4]byte(msg.Data)), r.m.Order.Uint32(msg.Data[4:]))
		}
	case netbsd.IPPROTO_IPV6:
		typ = netbsd.IPv6Options.Format(t)
		switch {
		case t == netbsd.IPV6_PKTINFO && len(msg.Data) >= 20:
			data = fmt.Sprintf("{ipi6_addr=%s, ipi6_ifindex=%d}", netip.AddrFrom16([16]byte(msg.Data)), r.m.Order.Uint32(msg.Data[16:]))
		case (t == netbsd.IPV6_HOPLIMIT || t == netbsd.IPV6_TCLASS) && len(msg.Data) == 4:
			data = r.ints(msg.Data)
		}
	default:
		typ = strconv.FormatInt(t, 10)
	}
	return typ, data
}

// ints shows an array of int.
func (r *renderer) ints(b []byte) string {
	var parts []string
	for ; len(b) >= 4; b = b[4:] {
		if len(parts) == maxElements && !r.t.o.Whole {
			parts = append(parts, "...")
			break
		}
		parts = append(parts, strconv.Itoa(int(int32(r.m.Order.Uint32(b)))))
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// local tells whether the call is about a local socket.
func (r *renderer) local() bool {
	f := r.c.conn.files[int32(r.c.value(0))]
	return f.socket && f.domain == netbsd.AF_LOCAL
}

func (r *renderer) level(level int32) string {
	switch {
	case level == netbsd.SOL_SOCKET:
		return "SOL_SOCKET"
	case level == 0 && r.local():
		return "SOL_LOCAL"
	}
	return netbsd.IPProtocols.Format(int64(level))
}

func (r *renderer) option(level, name int32) string {
	n := int64(name)
	switch level {
	case netbsd.SOL_SOCKET:
		return netbsd.SocketOptions.Format(n)
	case netbsd.IPPROTO_IP:
		if r.local() {
			return netbsd.LocalOptions.Format(n)
		}
		return netbsd.IPOptions.Format(n)
	case netbsd.IPPROTO_IPV6:
		return netbsd.IPv6Options.Format(n)
	case netbsd.IPPROTO_TCP:
		return netbsd.TCPOptions.Format(n)
	case netbsd.IPPROTO_UDP:
		return netbsd.UDPOptions.Format(n)
	case netbsd.IPPROTO_ICMPV6:
		return netbsd.ICMPv6Options.Format(n)
	}
	return strconv.FormatInt(n, 10)
}

// optionArg shows the value of a socket option.
func (r *renderer) optionArg(a *netbsd.Arg, addr uint64) string {
	c := r.c
	dir := r.inputDirection(a)
	if dir == toClient && (c.failed() || c.lost) {
		return pointer(addr)
	}
	n := c.argSize(a)
	b := c.mem.read(dir, addr, min(n, maxPiece))
	if len(b) == 0 {
		if n == 0 {
			return `""`
		}
		return r.later(addr)
	}
	level, name := int32(c.arg("level")), int32(c.arg("name"))
	size := func(v any) bool { return len(b) == netbsd.Sizeof(r.m, v) }
	switch {
	case level == netbsd.SOL_SOCKET && name == netbsd.SO_LINGER && size(netbsd.Linger{}):
		return r.structureOf(netbsd.Linger{}, b)
	case level == netbsd.SOL_SOCKET && (name == netbsd.SO_SNDTIMEO || name == netbsd.SO_RCVTIMEO) && size(netbsd.Timeval{}):
		return r.structureOf(netbsd.Timeval{}, b)
	case level == netbsd.SOL_SOCKET && name == netbsd.SO_ERROR && len(b) == 4:
		e := int32(r.m.Order.Uint32(b))
		if e > 0 {
			return "[" + netbsd.Errno(e).Name() + "]"
		}
	case level == netbsd.SOL_SOCKET && name == netbsd.SO_TYPE && len(b) == 4:
		return "[" + netbsd.SocketTypes.Format(int64(r.m.Order.Uint32(b))) + "]"
	case level == netbsd.IPPROTO_IP && r.local() && name == netbsd.LOCAL_PEEREID && size(netbsd.Unpcbid{}):
		return r.structureOf(netbsd.Unpcbid{}, b)
	case level == netbsd.IPPROTO_IP && (name == netbsd.IP_ADD_MEMBERSHIP || name == netbsd.IP_DROP_MEMBERSHIP) && size(netbsd.IpMreq{}):
		return fmt.Sprintf("{imr_multiaddr=%s, imr_interface=%s}", netip.AddrFrom4([4]byte(b)), netip.AddrFrom4([4]byte(b[4:])))
	case level == netbsd.IPPROTO_IP && name == netbsd.IP_MULTICAST_IF && len(b) == 4:
		return netip.AddrFrom4([4]byte(b)).String()
	case level == netbsd.IPPROTO_IPV6 && (name == netbsd.IPV6_JOIN_GROUP || name == netbsd.IPV6_LEAVE_GROUP) && size(netbsd.Ipv6Mreq{}):
		return fmt.Sprintf("{ipv6mr_multiaddr=%s, ipv6mr_interface=%d}", netip.AddrFrom16([16]byte(b)), r.m.Order.Uint32(b[16:]))
	case level == netbsd.IPPROTO_ICMPV6 && name == netbsd.ICMP6_FILTER && size(netbsd.Icmp6Filter{}):
		var f netbsd.Icmp6Filter
		if netbsd.Unmarshal(r.m, b, &f) == nil {
			return icmp6Filter(&f)
		}
	case level == netbsd.IPPROTO_TCP && name == netbsd.TCP_INFO && size(netbsd.TcpInfo{}):
		return r.structureOf(netbsd.TcpInfo{}, b)
	case level == netbsd.IPPROTO_TCP && name == netbsd.TCP_CONGCTL:
		return quoteBytes([]byte(netbsd.CString(b)))
	}
	if len(b) == 4 && n == 4 {
		return fmt.Sprintf("[%d]", int32(r.m.Order.Uint32(b)))
	}
	if len(b) == 1 && n == 1 {
		return fmt.Sprintf("[%d]", b[0])
	}
	return r.t.quote(b, n)
}

// icmp6Filter shows the types that a filter lets pass.
func icmp6Filter(f *netbsd.Icmp6Filter) string {
	var pass, block []string
	for typ := range 256 {
		if f.WillPass(uint8(typ)) {
			pass = append(pass, strconv.Itoa(typ))
		} else {
			block = append(block, strconv.Itoa(typ))
		}
	}
	switch {
	case len(block) == 0:
		return "{pass all}"
	case len(pass) == 0:
		return "{block all}"
	case len(pass) <= len(block):
		return "{pass " + strings.Join(pass, " ") + "}"
	}
	return "{block " + strings.Join(block, " ") + "}"
}
