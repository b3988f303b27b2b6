//go:build linux

package netlink

import (
	"context"
	"math"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/netview"
)

// skipStats is RTEXT_FILTER_SKIP_STATS of linux/rtnetlink.h, in IFLA_EXT_MASK.
const skipStats = 1 << 3

// getLink is RTM_GETLINK: all interfaces, or one by its number or its name.
func (s *Server) getLink(ctx context.Context, r *request) error {
	head, filter := r.fixed(unix.SizeofIfInfomsg)
	if r.dump() && (head[0] == unix.AF_BRIDGE || filter.uint32(unix.IFLA_MASTER) != 0 || filter[unix.IFLA_LINKINFO] != nil) {
		// No interface is of a bridge, has a master, or is of a kind
		// that Linux has a name for.
		r.answerList(unix.RTM_NEWLINK, nil, unix.NLM_F_DUMP_FILTERED)
		return nil
	}
	links, err := netview.Links(ctx, s.kernel)
	if err != nil {
		return err
	}
	stats := filter.uint32(unix.IFLA_EXT_MASK)&skipStats == 0
	if r.dump() {
		var list [][]byte
		for i := range links {
			list = append(list, linkBody(&links[i], stats))
		}
		r.answerList(unix.RTM_NEWLINK, list, 0)
		return nil
	}
	index := int(int32(native.Uint32(head[4:])))
	name := filter.linkName()
	if index <= 0 && name == "" {
		return unix.EINVAL
	}
	for i := range links {
		if l := &links[i]; index > 0 && l.Index == index || index <= 0 && l.Name == name {
			r.answer(unix.RTM_NEWLINK, linkBody(l, stats))
			return nil
		}
	}
	return unix.ENODEV
}

// linkName is the kernel's name of the interface that a request names, "" when it names none.
func (a attrs) linkName() string {
	name := a.string(unix.IFLA_IFNAME)
	if name == "" {
		name = a.string(unix.IFLA_ALT_IFNAME)
	}
	return netview.Name(name)
}

// linkBody is a struct ifinfomsg with its attributes.
func linkBody(l *netview.Link, stats bool) []byte {
	b := make([]byte, 0, 512)
	b = append(b, unix.AF_UNSPEC, 0)
	b = native.AppendUint16(b, l.Type)
	b = native.AppendUint32(b, uint32(l.Index))
	b = native.AppendUint32(b, l.Flags)
	b = native.AppendUint32(b, 0)
	b = appendAttrString(b, unix.IFLA_IFNAME, l.Name)
	b = appendAttr32(b, unix.IFLA_TXQLEN, netview.QueueLen)
	b = appendAttr8(b, unix.IFLA_OPERSTATE, l.Oper)
	b = appendAttr8(b, unix.IFLA_LINKMODE, 0)
	b = appendAttr32(b, unix.IFLA_MTU, l.MTU)
	b = appendAttr32(b, unix.IFLA_GROUP, 0)
	var promiscuity uint32
	var carrier uint8
	if l.Flags&unix.IFF_PROMISC != 0 {
		promiscuity = 1
	}
	if l.Oper != netview.OperDown {
		carrier = 1
	}
	b = appendAttr32(b, unix.IFLA_PROMISCUITY, promiscuity)
	b = appendAttr32(b, unix.IFLA_NUM_TX_QUEUES, 1)
	b = appendAttr32(b, unix.IFLA_NUM_RX_QUEUES, 1)
	b = appendAttr8(b, unix.IFLA_CARRIER, carrier)
	b = appendAttrString(b, unix.IFLA_QDISC, "noqueue")
	b = appendAttr8(b, unix.IFLA_PROTO_DOWN, 0)
	// Where the hardware's memory is (struct rtnl_link_ifmap).
	b = appendAttr(b, unix.IFLA_MAP, make([]byte, 32))
	if len(l.Addr) > 0 {
		b = appendAttr(b, unix.IFLA_ADDRESS, l.Addr)
		b = appendAttr(b, unix.IFLA_BROADCAST, l.Broadcast)
	}
	if stats {
		b = appendAttr(b, unix.IFLA_STATS64, linkStats(l, func(b []byte, v uint64) []byte { return native.AppendUint64(b, v) }))
		b = appendAttr(b, unix.IFLA_STATS, linkStats(l, func(b []byte, v uint64) []byte {
			return native.AppendUint32(b, uint32(v))
		}))
	}
	return b
}

// linkStats is a struct rtnl_link_stats64, or rtnl_link_stats with shorter
// numbers. It ends with rx_nohandler.
func linkStats(l *netview.Link, put func([]byte, uint64) []byte) []byte {
	d := &l.Data
	var b []byte
	for _, v := range [24]uint64{
		d.Ipackets, d.Opackets, d.Ibytes, d.Obytes, d.Ierrors, d.Oerrors, d.Iqdrops, 0, d.Imcasts, d.Collisions,
		23: d.Noproto,
	} {
		b = put(b, v)
	}
	return b
}

// getAddr is RTM_GETADDR: all addresses, of one family or one interface; or one
// of IPv6.
func (s *Server) getAddr(ctx context.Context, r *request) error {
	head, filter := r.fixed(unix.SizeofIfAddrmsg)
	family, index := head[0], int(native.Uint32(head[4:]))
	if !r.dump() && family != unix.AF_INET6 {
		return unix.EOPNOTSUPP
	}
	addrs, err := netview.Addrs(ctx, s.kernel, family)
	if err != nil {
		return err
	}
	if !r.dump() {
		wanted := filter[unix.IFA_LOCAL]
		if wanted == nil {
			wanted = filter[unix.IFA_ADDRESS]
		}
		if wanted == nil {
			return unix.EINVAL
		}
		for i := range addrs {
			a := &addrs[i]
			if string(a.Prefix.Addr().AsSlice()) == string(wanted) && (index == 0 || index == a.Index) {
				r.answer(unix.RTM_NEWADDR, addrBody(a, true))
				return nil
			}
		}
		return unix.EADDRNOTAVAIL
	}
	if index != 0 {
		if _, err := s.linkOf(ctx, index); err != nil {
			return err
		}
	}
	var list [][]byte
	for i := range addrs {
		if a := &addrs[i]; index == 0 || a.Index == index {
			list = append(list, addrBody(a, true))
		}
	}
	var flags uint16
	if index != 0 {
		flags = unix.NLM_F_DUMP_FILTERED
	}
	r.answerList(unix.RTM_NEWADDR, list, flags)
	return nil
}

// addrBody is a struct ifaddrmsg with its attributes; without lifetimes, which
// always change.
func addrBody(a *netview.Addr, lifetimes bool) []byte {
	ip := a.Prefix.Addr()
	b := make([]byte, 0, 128)
	family := uint8(unix.AF_INET)
	if ip.Is6() {
		family = unix.AF_INET6
	}
	b = append(b, family, uint8(a.Prefix.Bits()), uint8(a.Flags&math.MaxUint8), a.Scope)
	b = native.AppendUint32(b, uint32(a.Index))
	far := ip
	if a.Peer.IsValid() {
		far = a.Peer
	}
	if ip.Is4() {
		b = appendAttr(b, unix.IFA_ADDRESS, far.AsSlice())
		b = appendAttr(b, unix.IFA_LOCAL, ip.AsSlice())
		if a.Broadcast.IsValid() {
			b = appendAttr(b, unix.IFA_BROADCAST, a.Broadcast.AsSlice())
		}
		b = appendAttrString(b, unix.IFA_LABEL, a.Label)
	} else {
		if far != ip {
			b = appendAttr(b, unix.IFA_LOCAL, ip.AsSlice())
		}
		b = appendAttr(b, unix.IFA_ADDRESS, far.AsSlice())
	}
	b = appendAttr32(b, unix.IFA_FLAGS, a.Flags)
	if lifetimes {
		info := native.AppendUint32(nil, a.Preferred)
		info = native.AppendUint32(info, a.Valid)
		b = appendAttr(b, unix.IFA_CACHEINFO, append(info, make([]byte, 8)...)) // when it was made is not known
	}
	return b
}
