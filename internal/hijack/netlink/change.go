//go:build linux

package netlink

import (
	"context"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/netview"
)

// only fails when there is an attribute of another type: what it asks for would not be done.
func (a attrs) only(types ...uint16) error {
	for typ := range a {
		if !slices.Contains(types, typ) {
			return unix.EOPNOTSUPP
		}
	}
	return nil
}

// linkOf finds the interface of a number: ENODEV.
func (s *Server) linkOf(ctx context.Context, index int) (*netview.Link, error) {
	links, err := netview.Links(ctx, s.kernel)
	if err != nil {
		return nil, err
	}
	for i := range links {
		if links[i].Index == index {
			return &links[i], nil
		}
	}
	return nil, unix.ENODEV
}

// setLink is RTM_SETLINK, and RTM_NEWLINK of an interface that is there: its flags and its MTU.
func (s *Server) setLink(ctx context.Context, r *request) error {
	if len(r.body) < unix.SizeofIfInfomsg {
		return unix.EINVAL
	}
	head, given := r.fixed(unix.SizeofIfInfomsg)
	index, flags, mask := int(int32(native.Uint32(head[4:]))), native.Uint32(head[8:]), native.Uint32(head[12:])
	links, err := netview.Links(ctx, s.kernel)
	if err != nil {
		return err
	}
	name := given.linkName()
	i := slices.IndexFunc(links, func(l netview.Link) bool {
		if index != 0 {
			return l.Index == index
		}
		return l.Name == name
	})
	switch {
	case head[0] != unix.AF_UNSPEC, i < 0 && r.typ == unix.RTM_NEWLINK && r.is(unix.NLM_F_CREATE):
		return unix.EOPNOTSUPP // bridges, and interfaces that Linux has kinds of
	case r.typ == unix.RTM_SETLINK && index == 0 && name == "":
		return unix.EINVAL
	case i < 0: // so, too, of RTM_NEWLINK without a name, by which ip(8) sees whether it can be used
		return unix.ENODEV
	case r.typ == unix.RTM_NEWLINK && r.is(unix.NLM_F_EXCL):
		return unix.EEXIST
	}
	l := &links[i]
	if err := given.only(unix.IFLA_IFNAME, unix.IFLA_ALT_IFNAME, unix.IFLA_MTU, unix.IFLA_TXQLEN, unix.IFLA_GROUP, unix.IFLA_EXT_MASK); err != nil {
		return err
	}
	if flags == 0 && mask == 0 {
		flags = l.Flags
	} else if mask != 0 {
		flags = flags&mask | l.Flags&^mask
	}
	// Others are the interface's own, and passed over.
	const linux = unix.IFF_UP | unix.IFF_DEBUG | unix.IFF_NOARP | unix.IFF_PROMISC | unix.IFF_ALLMULTI | unix.IFF_MULTICAST |
		unix.IFF_DYNAMIC | unix.IFF_PORTSEL | unix.IFF_AUTOMEDIA
	changed := (flags ^ l.Flags) & linux
	if mask == 0 {
		changed &^= l.Flags & unix.IFF_MULTICAST // Linux's lo has not that, and who sets it up so does not mean it
	}
	mtu := given.uint32(unix.IFLA_MTU)
	switch queue := given[unix.IFLA_TXQLEN]; {
	case changed&^netview.Settable != 0, name != "" && name != l.Name, given.uint32(unix.IFLA_GROUP) != 0,
		queue != nil && given.uint32(unix.IFLA_TXQLEN) != netview.QueueLen:
		return unix.EOPNOTSUPP
	case given[unix.IFLA_MTU] != nil && (len(given[unix.IFLA_MTU]) < 4 || int32(mtu) < 0):
		return unix.EINVAL
	}
	if given[unix.IFLA_MTU] != nil && mtu != l.MTU {
		if err := netview.SetMTU(ctx, s.kernel, l.Name, int32(mtu)); err != nil {
			return err
		}
	}
	if changed == 0 {
		return nil
	}
	if err := netview.SetLinkFlags(ctx, s.kernel, l.Name, flags&changed, changed&^flags); err != nil || changed&flags&unix.IFF_UP == 0 {
		return err
	}
	// NetBSD looks again whether another host has the interface's addresses.
	addrs, err := netview.Configured(ctx, s.kernel, unix.AF_INET)
	for i := range addrs {
		if err == nil && addrs[i].Index == l.Index {
			err = netview.AwaitUsable(ctx, s.kernel, &addrs[i])
		}
	}
	return err
}

// addrRequest is a request about an address.
type addrRequest struct {
	given  attrs
	family uint8
	bits   int
	flags  uint32 // IFA_F_*
	link   *netview.Link
	// local is the address itself, far what IFA_ADDRESS says: the same, or the other end. They are not valid where
	// they are not given.
	local, far netip.Addr
}

func (s *Server) readAddr(ctx context.Context, r *request) (a addrRequest, err error) {
	if len(r.body) < unix.SizeofIfAddrmsg {
		return a, unix.EINVAL
	}
	head, given := r.fixed(unix.SizeofIfAddrmsg)
	a.given, a.family, a.bits, a.flags = given, head[0], int(head[1]), uint32(head[2])
	if a.family != unix.AF_INET && a.family != unix.AF_INET6 {
		return a, unix.EOPNOTSUPP
	}
	if given[unix.IFA_FLAGS] != nil {
		a.flags = given.uint32(unix.IFA_FLAGS)
	}
	for typ, to := range map[uint16]*netip.Addr{unix.IFA_LOCAL: &a.local, unix.IFA_ADDRESS: &a.far} {
		if b := given[typ]; b != nil {
			var ok bool
			if *to, ok = addrOf(a.family, b); !ok {
				return a, unix.EINVAL
			}
		}
	}
	if a.family == unix.AF_INET6 && !a.local.IsValid() {
		a.local = a.far
	}
	a.link, err = s.linkOf(ctx, int(int32(native.Uint32(head[4:]))))
	return a, err
}

// Flags of addresses that programs may set; others are passed over.
const (
	addrFlags4 = unix.IFA_F_NOPREFIXROUTE | unix.IFA_F_MCAUTOJOIN
	addrFlags6 = unix.IFA_F_NODAD | unix.IFA_F_HOMEADDRESS | unix.IFA_F_MANAGETEMPADDR | unix.IFA_F_NOPREFIXROUTE |
		unix.IFA_F_MCAUTOJOIN | unix.IFA_F_OPTIMISTIC
)

// newAddr is RTM_NEWADDR. The answer waits until an address of IPv4 can be used: Linux does not look whether another
// host has it.
func (s *Server) newAddr(ctx context.Context, r *request) error {
	a, err := s.readAddr(ctx, r)
	if err != nil {
		return err
	}
	addr := netview.Addr{Index: a.link.Index, Label: a.link.Name, Preferred: netview.Forever, Valid: netview.Forever}
	addr.Prefix = netip.PrefixFrom(a.local, a.bits)
	if !addr.Prefix.IsValid() {
		return unix.EINVAL
	}
	if info := a.given[unix.IFA_CACHEINFO]; info != nil {
		if len(info) < 8 {
			return unix.EINVAL
		}
		if addr.Preferred, addr.Valid = native.Uint32(info), native.Uint32(info[4:]); addr.Valid == 0 || addr.Preferred > addr.Valid {
			return unix.EINVAL
		}
	}
	if b := a.given[unix.IFA_BROADCAST]; b != nil {
		var ok bool
		if addr.Broadcast, ok = addrOf(a.family, b); !ok {
			return unix.EINVAL
		}
	}
	// How near an address is NetBSD sees from it.
	if err := a.given.only(unix.IFA_LOCAL, unix.IFA_ADDRESS, unix.IFA_BROADCAST, unix.IFA_LABEL, unix.IFA_FLAGS, unix.IFA_CACHEINFO); err != nil {
		return err
	}
	v4 := a.family == unix.AF_INET
	switch {
	case a.far.IsValid() && a.far != a.local, // a peer's
		a.given[unix.IFA_LABEL] != nil && netview.Name(a.given.string(unix.IFA_LABEL)) != a.link.Name,
		v4 && a.flags&addrFlags4 != 0, !v4 && a.flags&addrFlags6&^unix.IFA_F_NODAD != 0,
		v4 && (addr.Valid != netview.Forever || addr.Preferred != netview.Forever):
		return unix.EOPNOTSUPP
	case !v4 && (a.local.IsUnspecified() || a.local.IsMulticast()):
		return unix.EADDRNOTAVAIL
	}
	if err := s.putAddr(ctx, r, &addr); err != nil {
		return err
	}
	if v4 || a.flags&unix.IFA_F_NODAD != 0 {
		return netview.AwaitUsable(ctx, s.kernel, &addr)
	}
	return nil
}

// putAddr adds or changes an address as the request's flags say.
func (s *Server) putAddr(ctx context.Context, r *request, a *netview.Addr) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	family := uint8(unix.AF_INET)
	if a.Prefix.Addr().Is6() {
		family = unix.AF_INET6
	}
	list, err := netview.Configured(ctx, s.kernel, family)
	if err != nil {
		return err
	}
	for i := range list {
		old := &list[i]
		if old.Index != a.Index || old.Prefix.Addr() != a.Prefix.Addr() {
			continue
		}
		switch {
		case old.Prefix == a.Prefix && a.Prefix.Addr().IsLoopback():
			// Who makes a network namespace gives its lo the address that it has not there.
			return nil
		case r.is(unix.NLM_F_EXCL) || !r.is(unix.NLM_F_REPLACE):
			return unix.EEXIST
		case family == unix.AF_INET6:
			a.Prefix = old.Prefix // which cannot be changed on Linux either
		case old.Prefix == a.Prefix:
			return nil
		}
	}
	return netview.AddAddr(ctx, s.kernel, a)
}

// delAddr is RTM_DELADDR. Of what is not given any will do.
func (s *Server) delAddr(ctx context.Context, r *request) error {
	a, err := s.readAddr(ctx, r)
	if err != nil {
		return err
	}
	if a.family == unix.AF_INET6 && !a.local.IsValid() {
		return unix.EINVAL
	}
	s.changing.Lock()
	defer s.changing.Unlock()
	list, err := netview.Configured(ctx, s.kernel, a.family)
	if err != nil {
		return err
	}
	for i := range list {
		have := &list[i]
		label := a.given[unix.IFA_LABEL]
		switch {
		case have.Index != a.link.Index,
			a.local.IsValid() && have.Prefix.Addr() != a.local,
			a.family == unix.AF_INET && label != nil && netview.Name(a.given.string(unix.IFA_LABEL)) != have.Label,
			a.family == unix.AF_INET6 && have.Prefix.Bits() != a.bits,
			a.family == unix.AF_INET && a.far.IsValid() && (have.Prefix.Bits() != a.bits || !have.Prefix.Masked().Contains(a.far)):
			continue
		}
		return netview.DeleteAddr(ctx, s.kernel, have)
	}
	return unix.EADDRNOTAVAIL
}
