//go:build linux

package netview

import (
	"context"
	"net"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"rumptools/internal/rtsock"
	"rumptools/pkg/netbsd"
)

// Neighbour is a host on a network that an interface is on.
type Neighbour struct {
	Index        int
	IP           netip.Addr
	HardwareAddr net.HardwareAddr // nil as long as it is not known
	State        uint16           // NUD_*
	Flags        uint8            // NTF_*
}

// Family is the address's family, Linux's.
func (n *Neighbour) Family() uint8 { return familyOf(n.IP) }

// Neighbours lists the neighbours of a family, or of both for AF_UNSPEC, IPv4
// first. The families are Linux's.
func Neighbours(ctx context.Context, k Kernel, family uint8) ([]Neighbour, error) {
	links, err := Links(ctx, k)
	if err != nil {
		return nil, err
	}
	var list []Neighbour
	for _, f := range families(family) {
		raw, err := rtsock.Neighbours(ctx, k, int32(f))
		if err != nil {
			return nil, err
		}
		raw = others(raw, addrsOf(k.Machine(), links, f))
		var part []Neighbour
		if f == netbsd.AF_INET {
			part, err = neighbours4(ctx, k, raw)
		} else {
			part, err = neighbours6(ctx, k, raw, links)
		}
		if err != nil {
			return nil, err
		}
		list = append(list, part...)
	}
	return list, nil
}

// others leaves out what is not about another host: an interface's own
// addresses are in the kernel's tables, too. Flags do not tell: some kernels
// leave them as they find them.
func others(raw []rtsock.Neighbour, addrs []Addr) []rtsock.Neighbour {
	return slices.DeleteFunc(raw, func(n rtsock.Neighbour) bool {
		return slices.ContainsFunc(addrs, func(a Addr) bool {
			return a.Prefix.Addr() == n.IP && (n.Scope == 0 || int(n.Scope) == a.Index)
		})
	})
}

// newNeighbour has the interface from the link-level address: NetBSD does not
// set the message's.
func newNeighbour(m *netbsd.Machine, n *rtsock.Neighbour) Neighbour {
	v := Neighbour{Index: int(n.Index), IP: n.IP, State: unix.NUD_INCOMPLETE}
	if gw, err := netbsd.ParseSockaddr(m, n.Gateway()); err == nil && gw.DL.Index != 0 {
		v.Index = int(gw.DL.Index)
	}
	if len(n.HardwareAddr) > 0 {
		v.HardwareAddr, v.State = n.HardwareAddr, unix.NUD_REACHABLE
	}
	return v
}

func neighbours4(ctx context.Context, k Kernel, raw []rtsock.Neighbour) ([]Neighbour, error) {
	var list []Neighbour
	var now int64
	for i := range raw {
		n := &raw[i]
		v := newNeighbour(k.Machine(), n)
		if v.HardwareAddr != nil {
			if n.Rmx.Expire == 0 {
				v.State = unix.NUD_PERMANENT
			} else {
				if now == 0 {
					// These times count from the kernel's start.
					t, err := kernelTime(ctx, k, netbsd.CLOCK_MONOTONIC)
					if err != nil {
						return nil, err
					}
					now = t
				}
				if n.Rmx.Expire < now {
					v.State = unix.NUD_STALE
				}
			}
		}
		list = append(list, v)
	}
	return list, nil
}

// neighbours6 asks for the state of each entry.
func neighbours6(ctx context.Context, k Kernel, raw []rtsock.Neighbour, links []Link) ([]Neighbour, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	fd, err := k.Socket(ctx, netbsd.AF_INET6, netbsd.SOCK_DGRAM, 0)
	if err != nil {
		return nil, err
	}
	defer closeFD(ctx, k, fd)
	names := make(map[int]string, len(links))
	for i := range links {
		names[links[i].Index] = links[i].Name
	}
	var list []Neighbour
	for i := range raw {
		n := &raw[i]
		v := newNeighbour(k.Machine(), n)
		if n.Rmx.Expire == 0 && v.HardwareAddr != nil {
			v.State = unix.NUD_PERMANENT
		}
		req := netbsd.In6Nbrinfo{
			Ifname: netbsd.IfName(names[v.Index]),
			Addr:   netbsd.EmbedScope(n.IP, uint32(v.Index)).As16(),
		}
		switch err := k.IoctlStruct(ctx, fd, netbsd.SIOCGNBRINFO_IN6, &req); {
		case refused(err): // it has just gone, or is not known there
		case err != nil:
			return nil, err
		default:
			if v.State != unix.NUD_PERMANENT {
				v.State = neighbourState(req.State)
			}
			if req.Isrouter != 0 {
				v.Flags |= unix.NTF_ROUTER
			}
		}
		list = append(list, v)
	}
	return list, nil
}

// neighbourState is NUD_* for ND6_LLINFO_*.
func neighbourState(state int32) uint16 {
	switch state {
	case netbsd.ND6_LLINFO_INCOMPLETE:
		return unix.NUD_INCOMPLETE
	case netbsd.ND6_LLINFO_REACHABLE:
		return unix.NUD_REACHABLE
	case netbsd.ND6_LLINFO_STALE:
		return unix.NUD_STALE
	case netbsd.ND6_LLINFO_DELAY:
		return unix.NUD_DELAY
	case netbsd.ND6_LLINFO_PROBE:
		return unix.NUD_PROBE
	}
	return unix.NUD_NONE
}
