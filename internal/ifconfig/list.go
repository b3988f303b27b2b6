package ifconfig

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"rumptools/internal/rtsock"
	"rumptools/pkg/netbsd"
)

// Filter chooses interfaces. The zero Filter takes all.
type Filter struct {
	// Name is the only interface that is wanted, when it is not empty.
	Name string
	// Broadcast, Down and Up take only interfaces that are so.
	Broadcast, Down, Up bool
	// Connected takes only interfaces that do not say that their link is
	// down.
	Connected bool
}

// Detail says what is asked of each interface beyond its addresses.
type Detail struct {
	// Family takes only the addresses of one family.
	Family Family
	// Lifetimes asks for those of inet6 addresses.
	Lifetimes bool
	// ZeroStatistics sets the counters to zero as they are read.
	ZeroStatistics bool
}

// Names lists the names of interfaces, in the kernel's order.
func Names(ctx context.Context, k Kernel, f Filter) ([]string, error) {
	c := newClient(k)
	defer c.close(ctx)
	list, err := c.interfaces(ctx, f)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(list))
	for i := range list {
		names = append(names, list[i].Name)
	}
	return names, nil
}

// Connected tells whether an interface's link is up, or the interface does
// not say.
func Connected(ctx context.Context, k Kernel, name string) (bool, error) {
	c := newClient(k)
	defer c.close(ctx)
	if _, err := c.flags(ctx, name); err != nil {
		return false, err
	}
	return c.connected(ctx, name)
}

func (c *client) connected(ctx context.Context, name string) (bool, error) {
	r := netbsd.Ifmediareq{Name: netbsd.IfName(name)}
	if err := c.request(ctx, netbsd.SIOCGIFMEDIA, &r); err != nil {
		if unsupported(err) {
			return true, nil
		}
		return false, on(name, err)
	}
	return r.Status&netbsd.IFM_AVALID == 0 || r.Status&netbsd.IFM_ACTIVE != 0, nil
}

// interfaces lists the kernel's interfaces that a filter lets through.
func (c *client) interfaces(ctx context.Context, f Filter) ([]rtsock.Interface, error) {
	if f.Name != "" {
		// The list would only not have it; the kernel says why.
		if _, err := c.flags(ctx, f.Name); err != nil {
			return nil, err
		}
	}
	all, err := rtsock.Interfaces(ctx, c)
	if err != nil {
		return nil, err
	}
	var list []rtsock.Interface
	for _, iface := range all {
		up := iface.Flags&netbsd.IFF_UP != 0
		switch {
		case f.Name != "" && iface.Name != f.Name,
			f.Broadcast && iface.Flags&netbsd.IFF_BROADCAST == 0,
			f.Down && up,
			f.Up && !up:
			continue
		}
		if f.Connected {
			if ok, err := c.connected(ctx, iface.Name); err != nil {
				return nil, err
			} else if !ok {
				continue
			}
		}
		list = append(list, iface)
	}
	return list, nil
}

// List takes a snapshot of interfaces.
func List(ctx context.Context, k Kernel, f Filter, d Detail) ([]Interface, error) {
	c := newClient(k)
	defer c.close(ctx)
	if d.Family != 0 {
		// A family that the kernel has not is an error, not an empty list.
		if _, err := c.socket(ctx, int32(d.Family)); err != nil {
			return nil, err
		}
	}
	found, err := c.interfaces(ctx, f)
	if err != nil {
		return nil, err
	}
	s := &snapshot{client: c, detail: d}
	if d.Lifetimes {
		now, err := c.ClockGettime(ctx, netbsd.CLOCK_REALTIME)
		if err != nil {
			return nil, err
		}
		s.now = now.Sec
	}
	list := make([]Interface, 0, len(found))
	for i := range found {
		iface, err := s.take(ctx, &found[i])
		if errors.Is(err, netbsd.ENXIO) && f.Name == "" {
			continue // it has gone since
		}
		if err != nil {
			return nil, err
		}
		list = append(list, iface)
	}
	return list, nil
}

// snapshot is the state of List.
type snapshot struct {
	*client
	detail Detail
	now    int64 // the kernel's time, in seconds since 1970
}

// take asks the kernel for what its list of interfaces does not say.
func (s *snapshot) take(ctx context.Context, r *rtsock.Interface) (Interface, error) {
	flags := uint16(r.Flags)
	i := Interface{
		Name: r.Name, Index: r.Index,
		flags: flags, Flags: flagBits.names(uint64(flags)),
		MTU: int(r.Data.Mtu), Metric: int(r.Data.Metric),
		LinkState:  linkStates[r.Data.LinkState],
		Statistics: statistics(&r.Data),
	}
	name := netbsd.IfName(r.Name)

	caps := netbsd.Ifcapreq{Name: name}
	if err := ignore(s.request(ctx, netbsd.SIOCGIFCAP, &caps)); err != nil {
		return i, on(r.Name, err)
	}
	i.capabilities, i.capEnabled = caps.Capabilities, caps.Capenable
	i.Capabilities, i.CapabilitiesEnabled = capabilityBits.names(caps.Capabilities), capabilityBits.names(caps.Capenable)

	ether := netbsd.Eccapreq{Name: name}
	if err := ignore(s.request(ctx, netbsd.SIOCGETHERCAP, &ether)); err != nil {
		return i, on(r.Name, err)
	}
	i.etherCaps, i.etherCapEnabled = uint64(uint32(ether.Capabilities)), uint64(uint32(ether.Capenable))

	for _, ask := range []func(context.Context, *rtsock.Interface, *Interface) error{
		s.askTunnel, s.askVlan, s.askLinkstr, s.askMedia, s.askStatistics, s.askAddresses,
	} {
		if err := ask(ctx, r, &i); err != nil {
			return i, on(r.Name, err)
		}
	}
	return i, nil
}

// ignore drops the error of a request that the interface does not know.
func ignore(err error) error {
	if err != nil && unsupported(err) {
		return nil
	}
	return err
}

func (s *snapshot) askTunnel(ctx context.Context, r *rtsock.Interface, i *Interface) error {
	req := netbsd.IfLaddrreq{Name: netbsd.IfName(r.Name)}
	if err := s.request(ctx, netbsd.SIOCGLIFPHYADDR, &req); err != nil {
		return ignore(err)
	}
	src, err := netbsd.ParseSockaddr(s.Machine(), req.Addr[:])
	if err != nil {
		return nil
	}
	dst, err := netbsd.ParseSockaddr(s.Machine(), req.Dstaddr[:])
	if err != nil {
		return nil
	}
	i.Tunnel = &Tunnel{Family: Family(src.Family).String(), Source: endpoint(src), Destination: endpoint(dst)}
	return nil
}

// endpoint is an address and, when it has one, a port.
func endpoint(sa netbsd.SA) string {
	sa = sa.ExtractScope()
	if !sa.Addr().IsValid() {
		return ""
	}
	s := sa.Addr().String()
	if sa.Port() != 0 {
		s += fmt.Sprintf(",%d", sa.Port())
	}
	return s
}

func (s *snapshot) askVlan(ctx context.Context, r *rtsock.Interface, i *Interface) error {
	if !isVlan(r.Name) {
		return nil
	}
	v, err := s.vlan(ctx, r.Name)
	if err != nil {
		return ignore(err)
	}
	if parent := netbsd.CString(v.Parent[:]); v.Tag != 0 || parent != "" {
		i.Vlan = &Vlan{Tag: int(v.Tag), Parent: parent}
	}
	return nil
}

func (s *snapshot) askLinkstr(ctx context.Context, r *rtsock.Interface, i *Interface) error {
	req := netbsd.Ifdrv{Name: netbsd.IfName(r.Name), Cmd: netbsd.IFLINKSTR_QUERYLEN}
	if err := s.request(ctx, netbsd.SIOCGLINKSTR, &req); err != nil {
		if errors.Is(err, netbsd.ENOENT) {
			err = nil // attached to nothing
		}
		return ignore(err)
	}
	// Kernels copy out the whole path, however short the buffer is said to
	// be; it is never longer than this.
	buf := make([]byte, max(maxLinkstr+1, min(int(req.Len), 1<<16)))
	req = netbsd.Ifdrv{Name: netbsd.IfName(r.Name), Len: req.Len}
	if err := s.requestPtr(ctx, netbsd.SIOCGLINKSTR, &req, buf, func(p netbsd.Ptr) { req.Data = p }); err != nil {
		return wrap("failed to query linkstr", err)
	}
	i.Linkstr = netbsd.CString(buf)
	return nil
}

func (s *snapshot) askMedia(ctx context.Context, r *rtsock.Interface, i *Interface) error {
	req := netbsd.Ifmediareq{Name: netbsd.IfName(r.Name)}
	if err := s.request(ctx, netbsd.SIOCGIFMEDIA, &req); err != nil {
		return ignore(err)
	}
	const most = 1 << 10
	if req.Count <= 0 || req.Count > most {
		return nil
	}
	buf := make([]byte, 4*req.Count)
	req = netbsd.Ifmediareq{Name: netbsd.IfName(r.Name), Count: req.Count}
	if err := s.requestPtr(ctx, netbsd.SIOCGIFMEDIA, &req, buf, func(p netbsd.Ptr) { req.Ulist = p }); err != nil {
		return err
	}
	m := &Media{current: req.Current, active: req.Active, status: req.Status}
	for b := buf; len(b) >= 4 && len(m.supported) < int(req.Count); b = b[4:] {
		m.supported = append(m.supported, int32(s.Machine().Order.Uint32(b)))
	}
	m.fill()
	i.Media = m
	return nil
}

func (s *snapshot) askStatistics(ctx context.Context, r *rtsock.Interface, i *Interface) error {
	if !s.detail.ZeroStatistics {
		return nil
	}
	req := netbsd.Ifdatareq{Name: netbsd.IfName(r.Name)}
	if err := s.request(ctx, netbsd.SIOCZIFDATA, &req); err != nil {
		return err
	}
	i.Statistics = statistics(&req.Data)
	return nil
}

func (s *snapshot) askAddresses(ctx context.Context, r *rtsock.Interface, i *Interface) error {
	haveInet := false
	for n := range r.Addresses {
		a := &r.Addresses[n]
		family := Family(a.Family())
		if family.String() == "" {
			continue
		}
		sa, err := netbsd.ParseSockaddr(s.Machine(), a.Addr())
		if err != nil {
			return err
		}
		addr := Address{Family: family.String()}
		switch family {
		case Link:
			err = s.linkAddress(ctx, r, a, sa, &addr)
		case Inet:
			addr.Alias = haveInet
			haveInet = true
			err = s.inetAddress(ctx, r, a, sa, &addr)
		case Inet6:
			err = s.inet6Address(ctx, r, a, sa, &addr)
		}
		if errors.Is(err, netbsd.EADDRNOTAVAIL) {
			continue // it has gone since
		}
		if err != nil {
			return err
		}
		if family == Link && addr.Active {
			i.LinkAddress = addr.Address
		}
		if s.detail.Family == 0 || s.detail.Family == family || family == Link && addr.Active {
			i.Addresses = append(i.Addresses, addr)
		}
	}
	return nil
}

func (s *snapshot) linkAddress(ctx context.Context, r *rtsock.Interface, a *rtsock.Address, sa netbsd.SA, addr *Address) error {
	addr.Address = linkString(sa.DL.Addr)
	req := netbsd.IfLaddrreq{Name: netbsd.IfName(r.Name), Flags: netbsd.IFLR_PREFIX, Prefixlen: uint32(8 * len(sa.DL.Addr))}
	copy(req.Addr[:], a.Addr())
	err := s.requestOf(ctx, netbsd.AF_LINK, netbsd.SIOCGLIFADDR, &req)
	if err == nil {
		addr.Active = req.Flags&netbsd.IFLR_ACTIVE != 0
		return nil
	}
	// A kernel that does not tell has the active one in its list.
	is, parseErr := netbsd.ParseSockaddr(s.Machine(), r.Link)
	addr.Active = parseErr == nil && linkString(is.DL.Addr) == addr.Address
	if errors.Is(err, netbsd.EADDRNOTAVAIL) {
		return err
	}
	return ignore(err)
}

func (s *snapshot) inetAddress(ctx context.Context, r *rtsock.Interface, a *rtsock.Address, sa netbsd.SA, addr *Address) error {
	addr.addr, addr.Address = sa.Addr(), sa.Addr().String()
	mask, err := netbsd.ParseNetmask(netbsd.AF_INET, a.Netmask())
	if err != nil {
		return err
	}
	addr.netmask = uint32(mask[0])<<24 | uint32(mask[1])<<16 | uint32(mask[2])<<8 | uint32(mask[3])
	addr.Netmask = netip.AddrFrom4([4]byte(mask)).String()
	if n, ok := netbsd.PrefixLen(mask); ok {
		addr.PrefixLen = &n
	}
	if dst, err := netbsd.ParseSockaddr(s.Machine(), a.Dst()); err == nil && dst.Family == netbsd.AF_INET {
		switch {
		case r.Flags&netbsd.IFF_POINTOPOINT != 0:
			addr.peer, addr.Destination = dst.Addr(), dst.Addr().String()
		case r.Flags&netbsd.IFF_BROADCAST != 0:
			addr.broadcast, addr.Broadcast = dst.Addr(), dst.Addr().String()
		}
	}
	req := netbsd.Ifreq{Name: netbsd.IfName(r.Name)}
	req.SetAddr(a.Addr())
	if err := s.requestOf(ctx, netbsd.AF_INET, netbsd.SIOCGIFAFLAG_IN, &req); err == nil {
		addr.Flags = inetFlagBits.names(uint64(uint32(req.Value(s.Machine()))))
	} else if err := ignore(err); err != nil {
		return err
	}
	return s.askPreference(ctx, r, a, addr)
}

func (s *snapshot) inet6Address(ctx context.Context, r *rtsock.Interface, a *rtsock.Address, sa netbsd.SA, addr *Address) error {
	m := s.Machine()
	addr.addr, addr.Scope = linkScope(sa)
	addr.zone = zoneOf(addr.Scope, r)
	addr.Address = addr.addr.WithZone(addr.zone).String()
	if mask, err := netbsd.ParseNetmask(netbsd.AF_INET6, a.Netmask()); err == nil {
		n, ok := netbsd.PrefixLen(mask)
		if !ok {
			n = 0
		}
		addr.PrefixLen = &n
	}
	if r.Flags&netbsd.IFF_POINTOPOINT != 0 {
		addr.peer = netip.IPv6Unspecified()
		if dst, err := netbsd.ParseSockaddr(m, a.Dst()); err == nil && dst.Family == netbsd.AF_INET6 {
			addr.peer, _ = linkScope(dst)
		}
		addr.Destination = addr.peer.String()
	}
	// As ifconfig(8) asks: the scope beside the address, not in it.
	ask := netbsd.SockaddrIn6(m, netip.AddrPortFrom(addr.addr, 0), addr.Scope, 0)
	req := netbsd.In6Ifreq{Name: netbsd.IfName(r.Name)}
	req.SetAddr(ask)
	if err := s.requestOf(ctx, netbsd.AF_INET6, netbsd.SIOCGIFAFLAG_IN6, &req); err == nil {
		addr.Flags = inet6FlagBits.names(uint64(uint32(req.Flags6(m))))
	} else if err := ignore(err); err != nil {
		return err
	}
	if s.detail.Lifetimes {
		req.SetAddr(ask)
		if err := s.requestOf(ctx, netbsd.AF_INET6, netbsd.SIOCGIFALIFETIME_IN6, &req); err == nil {
			l := req.Lifetime(m)
			addr.lifetimes(l.Preferred, l.Expire, s.now)
		} else if err := ignore(err); err != nil {
			return err
		}
	}
	return s.askPreference(ctx, r, a, addr)
}

// linkScope takes the scope out of a link-local unicast address, as
// ifconfig(8) does: other addresses are shown as the kernel has them.
func linkScope(sa netbsd.SA) (netip.Addr, uint32) {
	if !sa.Addr().IsLinkLocalUnicast() {
		return sa.Addr(), sa.ScopeID
	}
	sa = sa.ExtractScope()
	return sa.Addr(), sa.ScopeID
}

func (s *snapshot) askPreference(ctx context.Context, r *rtsock.Interface, a *rtsock.Address, addr *Address) error {
	req := netbsd.IfAddrprefreq{Name: netbsd.IfName(r.Name)}
	copy(req.Addr[:], a.Addr())
	err := s.requestOf(ctx, int32(a.Family()), netbsd.SIOCGIFADDRPREF, &req)
	if err == nil {
		addr.Preference = int(req.Preference)
	}
	return ignore(err)
}
