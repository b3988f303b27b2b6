//go:build linux

package netview

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"rumptools/internal/rtsock"
	"rumptools/pkg/netbsd"
)

// ErrNoAddress is why no route leads to an interface's own network: NetBSD sends from an address of the interface.
var ErrNoAddress = errors.New("the interface has no address of the route's family")

// Configured lists the addresses of a family, Linux's, that interfaces have, those among them that cannot be used yet,
// and without the flags and lifetimes of IPv6.
func Configured(ctx context.Context, k Kernel, family uint8) ([]Addr, error) {
	links, err := Links(ctx, k)
	if err != nil {
		return nil, err
	}
	var list []Addr
	for _, f := range families(family) {
		list = append(list, shown(links, addrsOf(k.Machine(), links, f))...)
	}
	return list, nil
}

// ioctl makes a request about interfaces by a socket of a family, NetBSD's.
func ioctl(ctx context.Context, k Kernel, family uint8, req *netbsd.Ioctl, v any) error {
	fd, err := k.Socket(ctx, int32(family), netbsd.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer closeFD(ctx, k, fd)
	return k.IoctlStruct(ctx, fd, req, v)
}

// scopeOf is the interface's index where an address needs it.
func scopeOf(a netip.Addr, index int) uint32 {
	if netbsd.HasScope(a) {
		return uint32(index)
	}
	return 0
}

// AddAddr gives the interface called a.Label an address, or one that it has another netmask (IPv4) or lifetime (IPv6).
func AddAddr(ctx context.Context, k Kernel, a *Addr) error {
	ip, m := a.Prefix.Addr(), k.Machine()
	if ip.Is4() {
		req := netbsd.Ifaliasreq{Name: netbsd.IfName(a.Label)}
		copy(req.Addr[:], netbsd.Sockaddr(m, netip.AddrPortFrom(ip, 0)))
		copy(req.Mask[:], netbsd.Netmask(netbsd.AF_INET, a.Prefix.Bits()))
		if a.Broadcast.IsValid() {
			copy(req.Dstaddr[:], netbsd.Sockaddr(m, netip.AddrPortFrom(a.Broadcast, 0)))
		}
		return ioctl(ctx, k, netbsd.AF_INET, netbsd.SIOCAIFADDR, &req)
	}
	req := netbsd.In6Aliasreq{Name: netbsd.IfName(a.Label)}
	copy(req.Addr[:], netbsd.SockaddrIn6(m, netip.AddrPortFrom(ip, 0), scopeOf(ip, a.Index), 0))
	copy(req.Prefixmask[:], netbsd.Netmask(netbsd.AF_INET6, a.Prefix.Bits()))
	req.Lifetime = netbsd.In6Addrlifetime{Vltime: a.Valid, Pltime: a.Preferred}
	if a.Valid != Forever || a.Preferred != Forever {
		now, err := kernelTime(ctx, k, netbsd.CLOCK_REALTIME)
		if err != nil {
			return err
		}
		if a.Valid != Forever {
			req.Lifetime.Expire = now + int64(a.Valid)
		}
		if a.Preferred != Forever {
			req.Lifetime.Preferred = now + int64(a.Preferred)
		}
	}
	return ioctl(ctx, k, netbsd.AF_INET6, netbsd.SIOCAIFADDR_IN6, &req)
}

// DeleteAddr takes an address off the interface called a.Label.
func DeleteAddr(ctx context.Context, k Kernel, a *Addr) error {
	ip, m := a.Prefix.Addr(), k.Machine()
	if ip.Is4() {
		req := netbsd.Ifreq{Name: netbsd.IfName(a.Label)}
		req.SetAddr(netbsd.Sockaddr(m, netip.AddrPortFrom(ip, 0)))
		return ioctl(ctx, k, netbsd.AF_INET, netbsd.SIOCDIFADDR, &req)
	}
	req := netbsd.In6Ifreq{Name: netbsd.IfName(a.Label)}
	req.SetAddr(netbsd.SockaddrIn6(m, netip.AddrPortFrom(ip, 0), scopeOf(ip, a.Index), 0))
	return ioctl(ctx, k, netbsd.AF_INET6, netbsd.SIOCDIFADDR_IN6, &req)
}

const (
	// usablePoll is how often it is looked whether an address can be used.
	usablePoll = 20 * time.Millisecond
	// usableTime is how long that may take: NetBSD asks three times, a second each, whether another host has it.
	usableTime = 20 * time.Second
)

// AwaitUsable waits until an address that was just added can be bound, as long as the kernel looks whether another host
// has it.
func AwaitUsable(ctx context.Context, k Kernel, a *Addr) error {
	for end := time.Now().Add(usableTime); time.Now().Before(end); {
		ready, err := usable(ctx, k, a)
		if err != nil || ready {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(usablePoll):
		}
	}
	return nil
}

func usable(ctx context.Context, k Kernel, a *Addr) (bool, error) {
	ip, m := a.Prefix.Addr(), k.Machine()
	var err error
	var tentative bool
	if ip.Is4() {
		req := netbsd.Ifreq{Name: netbsd.IfName(a.Label)}
		req.SetAddr(netbsd.Sockaddr(m, netip.AddrPortFrom(ip, 0)))
		err = ioctl(ctx, k, netbsd.AF_INET, netbsd.SIOCGIFAFLAG_IN, &req)
		tentative = req.Value(m)&(netbsd.IN_IFF_TENTATIVE|netbsd.IN_IFF_TRYTENTATIVE) != 0
	} else {
		req := netbsd.In6Ifreq{Name: netbsd.IfName(a.Label)}
		req.SetAddr(netbsd.SockaddrIn6(m, netip.AddrPortFrom(ip, 0), scopeOf(ip, a.Index), 0))
		err = ioctl(ctx, k, netbsd.AF_INET6, netbsd.SIOCGIFAFLAG_IN6, &req)
		tentative = req.Flags6(m)&netbsd.IN6_IFF_TENTATIVE != 0
	}
	if refused(err) {
		return true, nil // it has gone, or the kernel does not look
	}
	return !tentative, err
}

// Settable are the flags of an interface that can be set, by the same numbers as Linux's.
const Settable = netbsd.IFF_UP | netbsd.IFF_NOARP | netbsd.IFF_DEBUG

// SetLinkFlags sets and clears flags of an interface, of [Settable].
func SetLinkFlags(ctx context.Context, k Kernel, name string, set, clear uint32) error {
	m := k.Machine()
	fd, err := k.Socket(ctx, netbsd.AF_INET, netbsd.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer closeFD(ctx, k, fd)
	req := netbsd.Ifreq{Name: netbsd.IfName(name)}
	if err := k.IoctlStruct(ctx, fd, netbsd.SIOCGIFFLAGS, &req); err != nil {
		return err
	}
	req.SetFlags(m, req.Flags(m)&^uint16(clear&Settable)|uint16(set&Settable))
	return k.IoctlStruct(ctx, fd, netbsd.SIOCSIFFLAGS, &req)
}

// SetMTU sets the MTU of an interface, in bytes.
func SetMTU(ctx context.Context, k Kernel, name string, mtu int32) error {
	req := netbsd.Ifreq{Name: netbsd.IfName(name)}
	req.SetMTU(k.Machine(), mtu)
	return ioctl(ctx, k, netbsd.AF_INET, netbsd.SIOCSIFMTU, &req)
}

// AddRoute adds a route of [Routes]' kind. NetBSD has one to each network: EEXIST.
func AddRoute(ctx context.Context, k Kernel, r *Route) error {
	return changeRoute(ctx, k, netbsd.RTM_ADD, r)
}

// ReplaceRoute puts a route in the place of another to the same network.
func ReplaceRoute(ctx context.Context, k Kernel, old, r *Route) error {
	// Whether a route leads to a router is fixed.
	if old.viaGateway && (r.Gateway.IsValid() || r.rejects()) {
		r.host = old.host
		return changeRoute(ctx, k, netbsd.RTM_CHANGE, r)
	}
	if err := DeleteRoute(ctx, k, old); err != nil {
		return err
	}
	err := AddRoute(ctx, k, r)
	if err != nil {
		if undo := AddRoute(context.WithoutCancel(ctx), k, old); undo != nil {
			return errors.Join(err, fmt.Errorf("the route that was there is gone: %w", undo))
		}
	}
	return err
}

// DeleteRoute takes a route of [Routes]' out of the table.
func DeleteRoute(ctx context.Context, k Kernel, r *Route) error {
	return changeRoute(ctx, k, netbsd.RTM_DELETE, r)
}

func (r *Route) rejects() bool { return r.Type == unix.RTN_UNREACHABLE || r.Type == unix.RTN_BLACKHOLE }

func changeRoute(ctx context.Context, k Kernel, typ uint8, r *Route) error {
	m, family := k.Machine(), netbsdFamily(r.Dst.Addr())
	hdr := &netbsd.RtMsghdr{Type: typ, Seq: 1, Flags: netbsd.RTF_UP | netbsd.RTF_STATIC}
	sas := rtsock.Addrs{netbsd.RTAX_DST: sockaddr(m, r.Dst.Addr(), r.Index)}
	if r.host || typ == netbsd.RTM_ADD && r.Dst.IsSingleIP() {
		hdr.Flags |= netbsd.RTF_HOST
	} else {
		sas[netbsd.RTAX_NETMASK] = netbsd.Netmask(family, r.Dst.Bits())
	}
	if typ != netbsd.RTM_DELETE {
		if err := r.way(ctx, k, hdr, &sas); err != nil {
			return err
		}
	}
	fd, err := k.Socket(ctx, netbsd.PF_ROUTE, netbsd.SOCK_RAW, 0)
	if err != nil {
		return err
	}
	defer closeFD(ctx, k, fd)
	_, err = k.Write(ctx, fd, netbsd.AppendRtMessage(m, nil, hdr, sas))
	return err
}

// way puts where a route leads into a message.
func (r *Route) way(ctx context.Context, k Kernel, hdr *netbsd.RtMsghdr, sas *rtsock.Addrs) error {
	m := k.Machine()
	tag, err := r.tag(m)
	if err != nil {
		return err
	}
	sas[netbsd.RTAX_TAG] = tag
	// A metric of 0 is none; a change takes the old one's away.
	hdr.Inits, hdr.Rmx.Mtu = netbsd.RTV_MTU, uint64(r.MTU)
	if r.rejects() {
		hdr.Flags |= netbsd.RTF_GATEWAY
		if r.Type == unix.RTN_BLACKHOLE {
			hdr.Flags |= netbsd.RTF_BLACKHOLE
		} else {
			hdr.Flags |= netbsd.RTF_REJECT
		}
		loopback := netip.IPv6Loopback()
		if r.Dst.Addr().Is4() {
			loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		}
		sas[netbsd.RTAX_GATEWAY] = sockaddr(m, loopback, 0)
		return nil
	}
	ifp, err := netbsd.AppendSockaddrDl(m, nil, netbsd.SockaddrDL{Index: uint16(r.Index)})
	if err != nil {
		return err
	}
	sas[netbsd.RTAX_IFP] = ifp
	if r.PrefSrc.IsValid() {
		sas[netbsd.RTAX_IFA] = sockaddr(m, r.PrefSrc, r.Index)
	}
	if r.Gateway.IsValid() {
		hdr.Flags |= netbsd.RTF_GATEWAY
		sas[netbsd.RTAX_GATEWAY] = sockaddr(m, r.Gateway, r.Index)
		return nil
	}
	// The interface is named by one of its addresses.
	addrs, err := Configured(ctx, k, r.Family())
	if err != nil {
		return err
	}
	for i := range addrs {
		if addrs[i].Index == r.Index {
			sas[netbsd.RTAX_GATEWAY] = sockaddr(m, addrs[i].Prefix.Addr(), r.Index)
			if r.Dst.Addr().Is6() && hdr.Flags&netbsd.RTF_HOST == 0 {
				hdr.Flags |= netbsd.RTF_CONNECTED // with IPv4 the kernel sets it
			}
			return nil
		}
	}
	return ErrNoAddress
}
