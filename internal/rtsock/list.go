// Package rtsock reads what a kernel says of its interfaces, addresses, routes
// and neighbours: lists of route(4)'s messages, as sysctl(3) delivers them
// (net.route). Nothing that a kernel sends makes it panic.
package rtsock

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"rumptools/pkg/netbsd"
)

// Kernel is what this package needs of a kernel's client: an [spclient.Conn]
// has it.
type Kernel interface {
	Machine() *netbsd.Machine
	// SysctlBytes reads the value of the node with the given path, whole.
	SysctlBytes(ctx context.Context, mib []int32) ([]byte, error)
}

// Addrs are the socket addresses of a message, by RTAX_*: nil for those that
// it does not have.
type Addrs = [netbsd.RTAX_MAX][]byte

// Interface is a network interface with its addresses.
type Interface struct {
	Index int
	Name  string
	Flags int32 // IFF_*
	Data  netbsd.IfData
	// Link is the interface's sockaddr_dl, with its active link-level address.
	Link []byte
	// Addresses are in the kernel's order, the link-level ones among them.
	Addresses []Address
}

// Address is an address of an interface.
type Address struct {
	netbsd.IfaMsghdr
	Addrs Addrs
}

// Addr is the address itself, a socket address.
func (a *Address) Addr() []byte { return a.Addrs[netbsd.RTAX_IFA] }

// Family is the address's family, AF_*.
func (a *Address) Family() uint8 { return Family(a.Addr()) }

// Netmask is the mask of the address's network, to be read with
// [netbsd.ParseNetmask].
func (a *Address) Netmask() []byte { return a.Addrs[netbsd.RTAX_NETMASK] }

// Dst is the broadcast address, or on a point-to-point link the peer's.
func (a *Address) Dst() []byte { return a.Addrs[netbsd.RTAX_BRD] }

// Route is a route, or the way to a neighbour.
type Route struct {
	netbsd.RtMsghdr
	Addrs Addrs
}

// Dst is the route's destination, a socket address.
func (r *Route) Dst() []byte { return r.Addrs[netbsd.RTAX_DST] }

// Gateway is where packets go: an address, or an interface.
func (r *Route) Gateway() []byte { return r.Addrs[netbsd.RTAX_GATEWAY] }

// Netmask is the mask of the destination, to be read with
// [netbsd.ParseNetmask]; nil for a host.
func (r *Route) Netmask() []byte { return r.Addrs[netbsd.RTAX_NETMASK] }

// Neighbour is a host on a network that an interface is on: an entry of the
// ARP or the NDP table.
type Neighbour struct {
	Route
	IP    netip.Addr // without a zone
	Scope uint32     // the interface's number, for link-local addresses
	// HardwareAddr is empty as long as it is not known.
	HardwareAddr net.HardwareAddr
}

// Family is the family of a socket address, AF_UNSPEC when it has none.
func Family(sa []byte) uint8 {
	if len(sa) < 2 {
		return netbsd.AF_UNSPEC
	}
	return sa[1]
}

// Interfaces lists the interfaces, in the kernel's order.
func Interfaces(ctx context.Context, k Kernel) ([]Interface, error) {
	b, err := k.SysctlBytes(ctx, []int32{netbsd.CTL_NET, netbsd.PF_ROUTE, 0, 0, netbsd.NET_RT_IFLIST, 0})
	if err != nil {
		return nil, err
	}
	return ParseInterfaces(k.Machine(), b)
}

// ParseInterfaces reads the value of net.route with NET_RT_IFLIST: each
// interface followed by its addresses.
func ParseInterfaces(m *netbsd.Machine, b []byte) ([]Interface, error) {
	var list []Interface
	for len(b) > 0 {
		msg, rest, err := netbsd.NextRtMessage(m, b)
		if err != nil {
			return nil, err
		}
		b = rest
		switch {
		case msg.Ifm != nil:
			iface := Interface{
				Index: int(msg.Ifm.Index),
				Flags: msg.Ifm.Flags,
				Data:  msg.Ifm.Data,
				Link:  msg.Addrs[netbsd.RTAX_IFP],
			}
			if sa, err := netbsd.ParseSockaddr(m, iface.Link); err == nil {
				iface.Name = netbsd.CString([]byte(sa.DL.Name))
			}
			list = append(list, iface)
		case msg.Ifam != nil:
			n := len(list) - 1
			if n < 0 || int(msg.Ifam.Index) != list[n].Index {
				return nil, fmt.Errorf("interface list: an address of interface %d is not after it", msg.Ifam.Index)
			}
			list[n].Addresses = append(list[n].Addresses, Address{*msg.Ifam, msg.Addrs})
		}
	}
	return list, nil
}

// Names maps the numbers of interfaces to their names.
func Names(list []Interface) map[int]string {
	names := make(map[int]string, len(list))
	for i := range list {
		names[list[i].Index] = list[i].Name
	}
	return names
}

// Routes lists the routes of an address family, or of all when it is
// AF_UNSPEC, in the kernel's order.
func Routes(ctx context.Context, k Kernel, family int32) ([]Route, error) {
	return routes(ctx, k, family, netbsd.NET_RT_DUMP)
}

func routes(ctx context.Context, k Kernel, family, op int32) ([]Route, error) {
	b, err := k.SysctlBytes(ctx, []int32{netbsd.CTL_NET, netbsd.PF_ROUTE, 0, family, op, 0})
	if err != nil {
		return nil, err
	}
	return ParseRoutes(k.Machine(), b)
}

// ParseRoutes reads the value of net.route with NET_RT_DUMP or NET_RT_FLAGS.
func ParseRoutes(m *netbsd.Machine, b []byte) ([]Route, error) {
	var list []Route
	for len(b) > 0 {
		msg, rest, err := netbsd.NextRtMessage(m, b)
		if err != nil {
			return nil, err
		}
		b = rest
		if msg.Rtm != nil {
			list = append(list, Route{*msg.Rtm, msg.Addrs})
		}
	}
	return list, nil
}

// Neighbours lists the neighbours of an address family, AF_INET or AF_INET6,
// that the kernel knows of.
func Neighbours(ctx context.Context, k Kernel, family int32) ([]Neighbour, error) {
	// NET_RT_FLAGS without flags is the neighbours' table.
	list, err := routes(ctx, k, family, netbsd.NET_RT_FLAGS)
	if err != nil {
		return nil, err
	}
	return neighbours(k.Machine(), list), nil
}

// neighbours leaves out the routes that are no neighbours.
func neighbours(m *netbsd.Machine, list []Route) []Neighbour {
	var result []Neighbour
	for _, r := range list {
		dst, err := netbsd.ParseSockaddr(m, r.Dst())
		if err != nil || !dst.Addr().IsValid() {
			continue
		}
		gw, err := netbsd.ParseSockaddr(m, r.Gateway())
		if err != nil || gw.Family != netbsd.AF_LINK {
			continue
		}
		dst = dst.ExtractScope()
		result = append(result, Neighbour{
			Route: r, IP: dst.Addr(), Scope: dst.ScopeID,
			HardwareAddr: net.HardwareAddr(gw.DL.Addr),
		})
	}
	return result
}
