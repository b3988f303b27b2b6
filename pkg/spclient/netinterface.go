package spclient

import (
	"context"
	"net"
	"net/netip"

	"rumptools/pkg/netbsd"
)

// Interface is a network interface of the kernel's.
type Interface struct {
	net.Interface
	// Addrs are the interface's IP addresses with the lengths of their
	// prefixes, in the kernel's order. Link-local ones have no zone.
	Addrs []netip.Prefix
}

// Interfaces returns the kernel's interfaces with their addresses, in the kernel's
// order: what net.Interfaces and Addrs tell of a host.
func (c *Conn) Interfaces(ctx context.Context) ([]Interface, error) {
	b, err := c.SysctlBytes(ctx, interfaceList)
	if err != nil {
		return nil, err
	}
	return parseInterfaces(c.Machine(), b)
}

// interfaceList is the node of route(4)'s list of interfaces.
var interfaceList = []int32{netbsd.CTL_NET, netbsd.PF_ROUTE, 0, 0, netbsd.NET_RT_IFLIST, 0}

// parseInterfaces reads the value of interfaceList.
func parseInterfaces(m *netbsd.Machine, b []byte) ([]Interface, error) {
	var list []Interface
	for len(b) > 0 {
		msg, rest, err := netbsd.NextRtMessage(m, b)
		if err != nil {
			return nil, err
		}
		b = rest
		switch {
		case msg.Ifm != nil:
			i := Interface{}
			i.Index = int(msg.Ifm.Index)
			i.MTU = int(msg.Ifm.Data.Mtu)
			i.Flags = interfaceFlags(msg.Ifm.Flags)
			if sa, err := netbsd.ParseSockaddr(m, msg.Addrs[netbsd.RTAX_IFP]); err == nil {
				i.Name = sa.DL.Name
				i.HardwareAddr = sa.DL.Addr
			}
			list = append(list, i)
		case msg.Ifam != nil && len(list) > 0 && list[len(list)-1].Index == int(msg.Ifam.Index):
			i := &list[len(list)-1]
			sa, err := netbsd.ParseSockaddr(m, msg.Addrs[netbsd.RTAX_IFA])
			if err != nil || !sa.Addr().IsValid() {
				continue // a link-level address
			}
			addr := sa.ExtractScope().Addr()
			mask, err := netbsd.ParseNetmask(sa.Family, msg.Addrs[netbsd.RTAX_NETMASK])
			if err != nil {
				return nil, err
			}
			prefix, ok := netbsd.Prefix(addr, mask)
			if !ok {
				prefix = netip.PrefixFrom(addr, addr.BitLen())
			}
			i.Addrs = append(i.Addrs, prefix)
		}
	}
	return list, nil
}

// interfaceFlags are the flags of an interface that package net knows.
func interfaceFlags(flags int32) (f net.Flags) {
	for _, p := range [...]struct {
		bit  int32
		flag net.Flags
	}{
		{netbsd.IFF_UP, net.FlagUp},
		{netbsd.IFF_BROADCAST, net.FlagBroadcast},
		{netbsd.IFF_LOOPBACK, net.FlagLoopback},
		{netbsd.IFF_POINTOPOINT, net.FlagPointToPoint},
		{netbsd.IFF_MULTICAST, net.FlagMulticast},
		{netbsd.IFF_RUNNING, net.FlagRunning},
	} {
		if flags&p.bit != 0 {
			f |= p.flag
		}
	}
	return f
}
