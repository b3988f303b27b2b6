//go:build linux

package netview

import (
	"context"
	"errors"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"rumptools/pkg/netbsd"
)

// Group is a multicast group that an interface is in.
type Group struct {
	Addr  netip.Addr
	Users uint32 // how often it was joined
}

// Groups lists the groups of a family, Linux's, that an interface is in: by its addresses, and because programs have joined
// them. NetBSD's own kernel has a list of IPv4's with nothing in it; then it is the one that is by an address.
func Groups(ctx context.Context, k Kernel, l *Link, family uint8) ([]Group, error) {
	list, err := groups(ctx, k, l.Index, family)
	if err != nil || len(list) > 0 || family != unix.AF_INET || len(addrsOf(k.Machine(), []Link{*l}, netbsd.AF_INET)) == 0 {
		return list, err
	}
	return []Group{{netip.AddrFrom4([4]byte{224, 0, 0, 1}), 1}}, nil
}

func groups(ctx context.Context, k Kernel, index int, family uint8) ([]Group, error) {
	name, size := "net.inet.multicast", 4
	if family == unix.AF_INET6 {
		name, size = "net.inet6.multicast", 16
	}
	mib, _, err := k.SysctlNode(ctx, name)
	if refused(err) || errors.Is(err, netbsd.ENOENT) {
		return nil, nil // a kernel without IPv6
	}
	if err != nil {
		return nil, err
	}
	b, err := k.SysctlBytes(ctx, append(mib, int32(index)))
	if refused(err) {
		return nil, nil // it has just gone
	}
	if err != nil {
		return nil, err
	}
	// Each is an address of the interface, the group, and a number.
	var list []Group
	for ; len(b) >= 2*size+4; b = b[2*size+4:] {
		a, _ := netip.AddrFromSlice(b[size : 2*size])
		a, _ = netbsd.ExtractScope(a)
		users := k.Machine().Order.Uint32(b[2*size:])
		if i := slices.IndexFunc(list, func(g Group) bool { return g.Addr == a }); i >= 0 {
			list[i].Users += users
			continue
		}
		list = append(list, Group{a, users})
	}
	return list, nil
}
