//go:build linux

package netview

import (
	"bytes"
	"context"

	"golang.org/x/sys/unix"

	"rumptools/internal/rtsock"
	"rumptools/pkg/netbsd"
)

// Operational states of interfaces (IF_OPER_* of linux/if.h, RFC 2863).
const (
	OperUnknown = 0
	OperDown    = 2
	OperUp      = 6
)

// QueueLen is how many packets wait for an interface at most: NetBSD's
// IFQ_MAXLEN.
const QueueLen = 256

// Link is an interface.
type Link struct {
	Index int
	Name  string
	Flags uint32 // Linux's IFF_*
	Type  uint16 // ARPHRD_*
	MTU   uint32
	Oper  uint8 // Oper*
	// Addr is the link-level address; the loopback interface's is zero, as
	// it is on Linux. Broadcast is as long.
	Addr, Broadcast []byte
	// Data are the counters, NetBSD's.
	Data netbsd.IfData

	addresses []rtsock.Address
}

// Name is the kernel's name of the interface that a program names. Programs know the loopback interface as lo, without
// asking, as Linux calls it; what lists interfaces has the kernel's name.
func Name(name string) string {
	if name == "lo" {
		return "lo0"
	}
	return name
}

// Up tells whether the interface is configured to be up.
func (l *Link) Up() bool { return l.Flags&unix.IFF_UP != 0 }

// Loopback tells whether it is a loopback interface.
func (l *Link) Loopback() bool { return l.Flags&unix.IFF_LOOPBACK != 0 }

// Links lists the interfaces, in the kernel's order.
func Links(ctx context.Context, k Kernel) ([]Link, error) {
	list, err := rtsock.Interfaces(ctx, k)
	if err != nil {
		return nil, err
	}
	links := make([]Link, 0, len(list))
	for i := range list {
		links = append(links, newLink(k.Machine(), &list[i]))
	}
	return links, nil
}

func newLink(m *netbsd.Machine, iface *rtsock.Interface) Link {
	l := Link{
		Index: iface.Index, Name: iface.Name, Flags: LinkFlags(iface.Flags, iface.Data.LinkState),
		Type: LinkType(iface.Data.Type), MTU: uint32(min(iface.Data.Mtu, 1<<32-1)),
		Data: iface.Data, addresses: iface.Addresses,
	}
	l.Oper = operState(l.Flags, iface.Data.LinkState)
	if sa, err := netbsd.ParseSockaddr(m, iface.Link); err == nil {
		l.Addr = sa.DL.Addr
	}
	switch l.Type {
	case unix.ARPHRD_LOOPBACK:
		l.Addr, l.Broadcast = make([]byte, 6), make([]byte, 6)
	case unix.ARPHRD_ETHER:
		l.Broadcast = bytes.Repeat([]byte{0xff}, len(l.Addr))
	}
	return l
}

// LinkFlags are the flags of an interface, by NetBSD's and by the state of its
// link, LINK_STATE_*. Linux has no name for some of NetBSD's.
func LinkFlags(flags, linkState int32) uint32 {
	// These have the same numbers.
	const same = netbsd.IFF_UP | netbsd.IFF_BROADCAST | netbsd.IFF_DEBUG | netbsd.IFF_LOOPBACK | netbsd.IFF_POINTOPOINT |
		netbsd.IFF_NOARP | netbsd.IFF_PROMISC | netbsd.IFF_ALLMULTI
	f := uint32(flags) & same
	if flags&netbsd.IFF_MULTICAST != 0 {
		f |= unix.IFF_MULTICAST
	}
	// A link of which nothing is known is taken for one that works, by
	// Linux as well.
	if flags&netbsd.IFF_UP != 0 && flags&netbsd.IFF_RUNNING != 0 && linkState != netbsd.LINK_STATE_DOWN {
		f |= unix.IFF_RUNNING | unix.IFF_LOWER_UP
	}
	return f
}

func operState(flags uint32, linkState int32) uint8 {
	switch {
	case flags&unix.IFF_LOWER_UP == 0:
		return OperDown
	case linkState == netbsd.LINK_STATE_UP && flags&unix.IFF_LOOPBACK == 0:
		return OperUp
	}
	return OperUnknown
}

// LinkType is the kind of an interface, ARPHRD_*, by NetBSD's IFT_*.
func LinkType(ift uint8) uint16 {
	switch ift {
	case netbsd.IFT_LOOP:
		return unix.ARPHRD_LOOPBACK
	case netbsd.IFT_ETHER, netbsd.IFT_L2VLAN, netbsd.IFT_BRIDGE, netbsd.IFT_IEEE8023ADLAG, netbsd.IFT_CARP:
		return unix.ARPHRD_ETHER
	case netbsd.IFT_PPP:
		return unix.ARPHRD_PPP
	case netbsd.IFT_SLIP:
		return unix.ARPHRD_SLIP
	case netbsd.IFT_GIF, netbsd.IFT_TUNNEL, netbsd.IFT_FAITH:
		return unix.ARPHRD_TUNNEL
	case netbsd.IFT_STF:
		return unix.ARPHRD_SIT
	case netbsd.IFT_IEEE80211:
		return unix.ARPHRD_IEEE80211
	case netbsd.IFT_IEEE1394:
		return unix.ARPHRD_IEEE1394
	}
	return unix.ARPHRD_NONE
}
