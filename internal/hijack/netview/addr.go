//go:build linux

package netview

import (
	"context"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// Forever is the lifetime of what does not end.
const Forever = 1<<32 - 1

// Addr is an address of an interface.
type Addr struct {
	Index  int
	Label  string // the interface's name
	Prefix netip.Prefix
	// Peer is the other end of a point-to-point link, Broadcast the
	// network's broadcast address; they are not valid where there is none.
	Peer, Broadcast netip.Addr
	Scope           uint8  // RT_SCOPE_*
	Flags           uint32 // IFA_F_*
	// Preferred and Valid are the seconds that are left.
	Preferred, Valid uint32
}

// ofLoopback is the link-local address that NetBSD gives its loopback interface by itself. Linux's has none, and programs
// take one for a sign of IPv6: by it glibc's getaddrinfo(3) with AI_ADDRCONFIG finds that there is no IPv4, if no interface
// has another address. So they are not shown it.
var ofLoopback = netip.MustParsePrefix("fe80::1/64")

// shown leaves out what programs are not shown.
func shown(links []Link, list []Addr) []Addr {
	return slices.DeleteFunc(list, func(a Addr) bool { return a.Prefix == ofLoopback && isLoopback(links, a.Index) })
}

// Addrs lists the addresses of a family, or of both for AF_UNSPEC: those of
// IPv4 first, as Linux lists them. The families are Linux's.
func Addrs(ctx context.Context, k Kernel, family uint8) ([]Addr, error) {
	links, err := Links(ctx, k)
	if err != nil {
		return nil, err
	}
	var list []Addr
	if family != unix.AF_INET6 {
		list = addrsOf(k.Machine(), links, netbsd.AF_INET)
		if list, err = usable4(ctx, k, list); err != nil {
			return nil, err
		}
	}
	if family != unix.AF_INET {
		list6 := shown(links, addrsOf(k.Machine(), links, netbsd.AF_INET6))
		if err := fillAddrs6(ctx, k, list6); err != nil {
			return nil, err
		}
		list = append(list, list6...)
	}
	return list, nil
}

// addrsOf reads the addresses of a family, NetBSD's, from the list of
// interfaces. Lifetimes and the flags of IPv6 are not in it.
func addrsOf(m *netbsd.Machine, links []Link, family uint8) []Addr {
	var list []Addr
	for i := range links {
		l := &links[i]
		first := len(list)
		for n := range l.addresses {
			raw := &l.addresses[n]
			sa, err := netbsd.ParseSockaddr(m, raw.Addr())
			if err != nil || sa.Family != family {
				continue
			}
			ip := sa.ExtractScope().Addr()
			mask, err := netbsd.ParseNetmask(sa.Family, raw.Netmask())
			if err != nil {
				continue
			}
			prefix, ok := netbsd.Prefix(ip, mask)
			if !ok {
				prefix = netip.PrefixFrom(ip, ip.BitLen())
			}
			a := Addr{
				Index: l.Index, Label: l.Name, Prefix: prefix, Scope: addrScope(ip),
				Flags: unix.IFA_F_PERMANENT, Preferred: Forever, Valid: Forever,
			}
			if sa, err := netbsd.ParseSockaddr(m, raw.Dst()); err == nil && sa.Family == family {
				switch {
				case l.Flags&unix.IFF_POINTOPOINT != 0:
					a.Peer = sa.ExtractScope().Addr()
				case l.Flags&unix.IFF_BROADCAST != 0 && family == netbsd.AF_INET:
					a.Broadcast = sa.Addr()
				}
			}
			// Of a network's addresses on one interface, all but the
			// first are secondary.
			if family == netbsd.AF_INET {
				for _, b := range list[first:] {
					if b.Prefix.Masked() == prefix.Masked() {
						a.Flags |= unix.IFA_F_SECONDARY
						break
					}
				}
			}
			list = append(list, a)
		}
	}
	return list
}

// usable4 leaves out the addresses of IPv4 that NetBSD does not use yet, since another host may have them: Linux
// does not look, so that an address that is there can be bound.
func usable4(ctx context.Context, k Kernel, list []Addr) ([]Addr, error) {
	var fd spclient.FD
	usable := list[:0]
	for _, a := range list {
		if a.Prefix.Addr().IsLoopback() {
			usable = append(usable, a)
			continue
		}
		if !fd.Valid() {
			var err error
			if fd, err = k.Socket(ctx, netbsd.AF_INET, netbsd.SOCK_DGRAM, 0); err != nil {
				return nil, err
			}
			defer closeFD(ctx, k, fd)
		}
		r := &netbsd.Ifreq{Name: netbsd.IfName(a.Label)}
		r.SetAddr(netbsd.Sockaddr(k.Machine(), netip.AddrPortFrom(a.Prefix.Addr(), 0)))
		err := k.IoctlStruct(ctx, fd, netbsd.SIOCGIFAFLAG_IN, r)
		if err != nil && !refused(err) {
			return nil, err
		}
		if flags := r.Value(k.Machine()); err == nil {
			if flags&(netbsd.IN_IFF_TENTATIVE|netbsd.IN_IFF_TRYTENTATIVE) != 0 {
				continue
			}
			if flags&netbsd.IN_IFF_DUPLICATED != 0 {
				a.Flags |= unix.IFA_F_DADFAILED
			}
		}
		usable = append(usable, a)
	}
	return usable, nil
}

func addrScope(ip netip.Addr) uint8 {
	switch {
	case ip.IsLoopback():
		return unix.RT_SCOPE_HOST
	case ip.Is6() && ip.IsLinkLocalUnicast():
		return unix.RT_SCOPE_LINK
	case ip.Is6() && ip.As16()[0] == 0xfe && ip.As16()[1]&0xc0 == 0xc0:
		return unix.RT_SCOPE_SITE
	}
	return unix.RT_SCOPE_UNIVERSE
}

// fillAddrs6 asks for the flags and lifetimes of IPv6 addresses.
func fillAddrs6(ctx context.Context, k Kernel, list []Addr) error {
	if len(list) == 0 {
		return nil
	}
	fd, err := k.Socket(ctx, netbsd.AF_INET6, netbsd.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer closeFD(ctx, k, fd)
	var now int64
	for i := range list {
		if err := fillAddr6(ctx, k, fd, &list[i], &now); err != nil {
			return err
		}
	}
	return nil
}

// fillAddr6 asks for the flags and lifetime of one address. now is the
// kernel's time, 0 as long as it was not asked for.
func fillAddr6(ctx context.Context, k Kernel, fd spclient.FD, a *Addr, now *int64) error {
	m := k.Machine()
	request := func() *netbsd.In6Ifreq {
		r := &netbsd.In6Ifreq{Name: netbsd.IfName(a.Label)}
		scope := uint32(0)
		if netbsd.HasScope(a.Prefix.Addr()) {
			scope = uint32(a.Index)
		}
		r.SetAddr(netbsd.SockaddrIn6(m, netip.AddrPortFrom(a.Prefix.Addr(), 0), scope, 0))
		return r
	}
	r := request()
	if err := k.IoctlStruct(ctx, fd, netbsd.SIOCGIFAFLAG_IN6, r); refused(err) {
		return nil // it has just gone
	} else if err != nil {
		return err
	}
	flags := r.Flags6(m)
	for _, f := range []struct {
		netbsd int32
		linux  uint32
	}{
		{netbsd.IN6_IFF_TENTATIVE, unix.IFA_F_TENTATIVE},
		{netbsd.IN6_IFF_DUPLICATED, unix.IFA_F_DADFAILED},
		{netbsd.IN6_IFF_DEPRECATED, unix.IFA_F_DEPRECATED},
		{netbsd.IN6_IFF_NODAD, unix.IFA_F_NODAD},
		{netbsd.IN6_IFF_TEMPORARY, unix.IFA_F_TEMPORARY},
	} {
		if flags&f.netbsd != 0 {
			a.Flags |= f.linux
		}
	}
	r = request()
	if err := k.IoctlStruct(ctx, fd, netbsd.SIOCGIFALIFETIME_IN6, r); refused(err) {
		return nil
	} else if err != nil {
		return err
	}
	lt := r.Lifetime(m)
	if (lt.Expire != 0 || lt.Preferred != 0) && *now == 0 {
		t, err := kernelTime(ctx, k, netbsd.CLOCK_REALTIME)
		if err != nil {
			return err
		}
		*now = t
	}
	a.Valid, a.Preferred = secondsLeft(lt.Expire, *now), secondsLeft(lt.Preferred, *now)
	if a.Valid != Forever {
		a.Flags &^= unix.IFA_F_PERMANENT
	}
	return nil
}

// secondsLeft is the time until a point in time, 0 of which is never.
func secondsLeft(t, now int64) uint32 {
	if t == 0 {
		return Forever
	}
	return uint32(min(max(t-now, 0), int64(Forever-1)))
}

// kernelTime is what a clock of the kernel's shows, in seconds.
func kernelTime(ctx context.Context, k Kernel, clock int32) (int64, error) {
	ts, err := k.ClockGettime(ctx, clock)
	return ts.Sec, err
}
