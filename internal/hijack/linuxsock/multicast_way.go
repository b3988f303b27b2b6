//go:build linux

package linuxsock

import (
	"context"
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"rumptools/internal/rtsock"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// Linux finds an interface for multicasts where NetBSD wants a route or IP_MULTICAST_IF: that of the address
// that the socket is bound to, and for IPv6 one that can multicast, since there each is a way to all groups.

// Bound is told of the address of IPv4 that the socket has been bound to.
func (s *Socket) Bound(ctx context.Context, k Kernel, fd spclient.FD, addr netip.Addr) {
	if s.isTCP() || s.Domain != unix.AF_INET || !addr.Is4() || addr.IsUnspecified() || addr.IsLoopback() || addr.IsMulticast() {
		return
	}
	s.groupsFrom = addr
	if s.blobs[optionKey{unix.SOL_IP, unix.IP_MULTICAST_IF}] != nil {
		return
	}
	r := &request{ctx: ctx, k: k, fd: fd, host: -1, s: s}
	// A broadcast address is no interface's, and gives none.
	r.toKernel(kernelOption{level: netbsd.IPPROTO_IP, name: netbsd.IP_MULTICAST_IF, value: addr.AsSlice()})
}

// WayToGroups sees to it that what the socket sends to a group of IPv6, at a sockaddr of NetBSD's, has an interface to leave by.
// local is the address that it is bound to, if it is.
func (s *Socket) WayToGroups(ctx context.Context, k Kernel, fd spclient.FD, to []byte, local netip.Addr) {
	if s.Domain != unix.AF_INET6 || s.hasGroupWay || !IsGroup6(to) || s.Device() != 0 ||
		s.values[optionKey{unix.SOL_IPV6, unix.IPV6_MULTICAST_IF}] != 0 {
		return
	}
	s.hasGroupWay = true
	r := &request{ctx: ctx, k: k, fd: fd, host: -1, s: s}
	if index, errno := r.groupInterface(local); errno == 0 {
		r.kernelInt(netbsd.IPPROTO_IPV6, netbsd.IPV6_MULTICAST_IF, int32(index))
	}
}

// IsGroup6 tells whether a sockaddr of NetBSD's is of a group of IPv6.
func IsGroup6(sa []byte) bool {
	return len(sa) == netbsd.SizeofSockaddrIn6 && sa[1] == netbsd.AF_INET6 && sa[8] == 0xff
}

// groupSource is the address that a datagram for a group of IPv4, a sockaddr of NetBSD's, has where it leaves: by the
// interface with an index, or else by that of IP_MULTICAST_IF. It is none if there is no such interface, or the
// destination is no group.
//
// NetBSD looks at IP_MULTICAST_IF only when it has found some address to send from, which lo0's are not, unless a socket
// is bound to one: with no other interface nothing can be sent to groups.
func (r *request) groupSource(to []byte, index uint32) netip.Addr {
	if r.s.Domain != unix.AF_INET || !IsGroup4(to) {
		return netip.Addr{}
	}
	addr, ok := netip.AddrFromSlice(r.s.kernelValue(netbsd.IPPROTO_IP, netbsd.IP_MULTICAST_IF, make([]byte, 4)))
	if !ok {
		return netip.Addr{}
	}
	if b := addr.As4(); index == 0 && b[0] == 0 {
		index = binary.BigEndian.Uint32(b[:])
	}
	if index == 0 {
		if addr.IsUnspecified() {
			return netip.Addr{}
		}
		return addr
	}
	list, err := rtsock.Interfaces(r.ctx, r.k)
	if err != nil {
		return netip.Addr{}
	}
	for i := range list {
		if list[i].Index == int(index) {
			return firstAddress4(r.k.Machine(), &list[i])
		}
	}
	return netip.Addr{}
}

// IsGroup4 tells whether a sockaddr of NetBSD's is of a group of IPv4.
func IsGroup4(sa []byte) bool {
	return len(sa) == netbsd.SizeofSockaddrIn && sa[1] == netbsd.AF_INET && sa[4]>>4 == 0xe
}

// groupInterface finds an interface for multicasts: one with an address, if that is given, else the first that can, and
// lo0 only if no other can.
func (r *request) groupInterface(local netip.Addr) (int, unix.Errno) {
	list, err := rtsock.Interfaces(r.ctx, r.k)
	if err != nil {
		return 0, Errno(err)
	}
	found := 0
	loop := false
	for i := range list {
		ifp := &list[i]
		if ifp.Flags&netbsd.IFF_UP == 0 || ifp.Flags&netbsd.IFF_MULTICAST == 0 {
			continue
		}
		if local.IsValid() && !local.IsUnspecified() && hasAddress(r.k.Machine(), ifp, local) {
			return ifp.Index, 0
		}
		if found == 0 || loop {
			found, loop = ifp.Index, ifp.Flags&netbsd.IFF_LOOPBACK != 0
		}
	}
	if found == 0 {
		return 0, unix.ENODEV
	}
	return found, 0
}

// hasAddress tells whether an interface has an address.
func hasAddress(m *netbsd.Machine, ifp *rtsock.Interface, a netip.Addr) bool {
	for i := range ifp.Addresses {
		sa, err := netbsd.ParseSockaddr(m, ifp.Addresses[i].Addr())
		if err == nil && sa.ExtractScope().Addr().WithZone("") == a.WithZone("") {
			return true
		}
	}
	return false
}
