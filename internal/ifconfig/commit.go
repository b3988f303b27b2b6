package ifconfig

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"rumptools/internal/rtsock"
	"rumptools/pkg/netbsd"
)

// change is a change to an address that has been checked against the
// interface, in the kernel's structures.
type change struct {
	cmd    *Command
	action addressAction

	in    netbsd.Ifaliasreq
	in6   netbsd.In6Aliasreq
	link  netbsd.IfLaddrreq
	name  [netbsd.IFNAMSIZ]byte
	bytes []byte // the address
}

// sockaddr is the address as the kernel takes it.
func (a *addressChange) sockaddr(m *netbsd.Machine, scope uint32) []byte {
	if a.link != nil {
		// As long as it needs to be, without interface and type.
		b, err := netbsd.AppendSockaddrDlCompact(m, nil, netbsd.SockaddrDL{Addr: a.link})
		if err != nil {
			return nil // the parser lets no such address through
		}
		return b
	}
	return sockaddr(m, netip.AddrPortFrom(a.addr, 0), scope)
}

// prepare checks what depends on the interface.
func (c *client) prepare(ctx context.Context, cmd *Command) (*change, error) {
	m := c.Machine()
	a := &cmd.address
	ch := &change{cmd: cmd, action: a.action, name: netbsd.IfName(cmd.Interface)}
	if a.action == addressRemoveFirst {
		return ch, nil
	}
	flags, err := c.flags(ctx, cmd.Interface)
	if err != nil {
		return nil, err
	}
	broadcast, pointToPoint := flags&netbsd.IFF_BROADCAST != 0, flags&netbsd.IFF_POINTOPOINT != 0
	if a.broadcast.IsValid() && !broadcast {
		return nil, fmt.Errorf("not a broadcast interface")
	}
	if broadcast && pointToPoint {
		return nil, fmt.Errorf("unsupported interface flags")
	}
	scope, err := c.scope(ctx, a.addr.Zone())
	if err != nil {
		return nil, err
	}
	if ch.bytes = a.sockaddr(m, scope); a.eui64 {
		addr, err := c.eui64(ctx, cmd)
		if err != nil {
			return nil, err
		}
		ch.bytes = sockaddr(m, netip.AddrPortFrom(addr, 0), scope)
	}
	var netmask, peer []byte
	for _, mask := range a.masks {
		b := netbsd.Sockaddr(m, netip.AddrPortFrom(mask.addr.WithZone(""), 0))
		if mask.orPeer && !broadcast {
			peer = b
		} else {
			netmask = b
		}
	}
	if !pointToPoint {
		peer = nil
	}
	switch cmd.Family {
	case Inet:
		ch.in.Name = ch.name
		copy(ch.in.Addr[:], ch.bytes)
		copy(ch.in.Mask[:], netmask)
		copy(ch.in.Dstaddr[:], peer)
		if a.broadcast.IsValid() {
			copy(ch.in.Dstaddr[:], netbsd.SockaddrIn(netip.AddrPortFrom(a.broadcast, 0)))
		}
	case Inet6:
		ch.in6.Name = ch.name
		copy(ch.in6.Addr[:], ch.bytes)
		if netmask == nil {
			netmask = netbsd.Netmask(netbsd.AF_INET6, 64)
		}
		copy(ch.in6.Prefixmask[:], netmask)
		copy(ch.in6.Dstaddr[:], peer)
		ch.in6.Flags = a.flags6
		if ch.in6.Lifetime, err = c.lifetime(ctx, a); err != nil {
			return nil, err
		}
	case Link:
		ch.link.Name = ch.name
		copy(ch.link.Addr[:], ch.bytes)
		if a.active {
			ch.link.Flags |= netbsd.IFLR_ACTIVE
		}
	}
	return ch, nil
}

// lifetime is how long an address of inet6 shall live.
func (c *client) lifetime(ctx context.Context, a *addressChange) (netbsd.In6Addrlifetime, error) {
	l := netbsd.In6Addrlifetime{Vltime: netbsd.ND6_INFINITE_LIFETIME, Pltime: netbsd.ND6_INFINITE_LIFETIME}
	if a.vltime == nil && a.pltime == nil {
		return l, nil
	}
	now, err := c.ClockGettime(ctx, netbsd.CLOCK_REALTIME)
	if err != nil {
		return l, err
	}
	if a.vltime != nil {
		l.Vltime, l.Expire = *a.vltime, now.Sec+int64(*a.vltime)
	}
	if a.pltime != nil {
		l.Pltime, l.Preferred = *a.pltime, now.Sec+int64(*a.pltime)
	}
	return l, nil
}

// eui64 fills the lower half of the address from the interface's link-local
// one.
func (c *client) eui64(ctx context.Context, cmd *Command) (netip.Addr, error) {
	list, err := rtsock.Interfaces(ctx, c)
	if err != nil {
		return netip.Addr{}, err
	}
	for _, iface := range list {
		if iface.Name != cmd.Interface {
			continue
		}
		for _, a := range iface.Addresses {
			sa, err := netbsd.ParseSockaddr(c.Machine(), a.Addr())
			if err != nil || sa.Family != netbsd.AF_INET6 || !sa.Addr().IsLinkLocalUnicast() {
				continue
			}
			b, low := cmd.address.addr.As16(), sa.Addr().As16()
			copy(b[8:], low[8:])
			return netip.AddrFrom16(b), nil
		}
	}
	return netip.Addr{}, fmt.Errorf("could not determine link local address")
}

// commit changes the address.
func (ch *change) commit(ctx context.Context, c *client) error {
	switch ch.cmd.Family {
	case Inet:
		return ch.commitInet(ctx, c)
	case Inet6:
		return ch.commitInet6(ctx, c)
	}
	req := netbsd.SIOCALIFADDR
	if ch.action == addressRemove {
		req = netbsd.SIOCDLIFADDR
	}
	return c.requestOf(ctx, netbsd.AF_LINK, req, &ch.link)
}

func (ch *change) commitInet(ctx context.Context, c *client) error {
	request := func(req *netbsd.Ioctl, v any) error { return c.requestOf(ctx, netbsd.AF_INET, req, v) }
	r := netbsd.Ifreq{Name: ch.name}
	var replaced *netbsd.Ifaliasreq
	switch ch.action {
	case addressRemove:
		r.SetAddr(ch.bytes)
		return request(netbsd.SIOCDIFADDR, &r)
	case addressRemoveFirst:
		if err := request(netbsd.SIOCGIFADDR, &r); err != nil {
			return err
		}
		return request(netbsd.SIOCDIFADDR, &r)
	case addressReplace:
		err := request(netbsd.SIOCGIFADDR, &r)
		if errors.Is(err, netbsd.EADDRNOTAVAIL) {
			break // there is none yet
		}
		if err != nil {
			return err
		}
		old := netbsd.Ifaliasreq{Name: ch.name}
		copy(old.Addr[:], r.Addr())
		if err := request(netbsd.SIOCGIFALIAS, &old); err == nil {
			replaced = &old
		}
		if err := request(netbsd.SIOCDIFADDR, &r); err != nil {
			return err
		}
	}
	err := request(netbsd.SIOCAIFADDR, &ch.in)
	if err != nil && replaced != nil {
		if undo := c.requestOf(context.WithoutCancel(ctx), netbsd.AF_INET, netbsd.SIOCAIFADDR, replaced); undo != nil {
			return errors.Join(err, fmt.Errorf("the address that was there is gone: %w", undo))
		}
	}
	return err
}

func (ch *change) commitInet6(ctx context.Context, c *client) error {
	request := func(req *netbsd.Ioctl, v any) error { return c.requestOf(ctx, netbsd.AF_INET6, req, v) }
	r := netbsd.In6Ifreq{Name: ch.name}
	switch ch.action {
	case addressRemove:
		r.SetAddr(ch.bytes)
		return request(netbsd.SIOCDIFADDR_IN6, &r)
	case addressRemoveFirst, addressReplace:
		// An interface has no first address of inet6: the kernel is asked
		// for one that nobody has, so that nothing is replaced.
		r.SetAddr(netbsd.Netmask(netbsd.AF_INET6, 64))
		err := request(netbsd.SIOCGIFADDR_IN6, &r)
		if ch.action == addressReplace && errors.Is(err, netbsd.EADDRNOTAVAIL) {
			break
		}
		if err != nil {
			return err
		}
		if err := request(netbsd.SIOCDIFADDR_IN6, &r); err != nil || ch.action == addressRemoveFirst {
			return err
		}
	}
	return request(netbsd.SIOCAIFADDR_IN6, &ch.in6)
}
