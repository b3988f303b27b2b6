package ping

import (
	"context"
	"net/netip"
)

// Socket is one raw ICMP or ICMPv6 socket, set up for one target.
//
// An error that wraps a [netbsd.Errno] is the kernel's answer to one call, and
// pinging goes on. Any other error means that there is no kernel any more.
type Socket interface {
	// Source is the address that requests are sent from, when it is known in
	// advance. It has a zone when its meaning depends on the interface.
	Source() netip.Addr
	// Send sends one ICMP message to the target. It returns when the kernel
	// has taken it, or at once when ctx is done.
	Send(ctx context.Context, msg []byte) error
	// Recv waits for a message, whoever it is meant for, and stores it in pkt, of
	// which pkt.Data is the buffer. It returns at once when ctx is done.
	Recv(ctx context.Context, pkt *Packet) error
}

// Packet is a received message.
type Packet struct {
	// Data is the message: the whole datagram with its IP header for IPv4, the
	// ICMPv6 message for IPv6. The IPv4 header's lengths are not to be
	// trusted: NetBSD's raw sockets deliver them in the kernel's byte order
	// and without the length of the header.
	Data []byte
	// From is the sender. It has a zone when its meaning depends on the interface.
	From netip.Addr
	// The rest is for IPv6, where the kernel tells what IPv4 has in the header.
	HopLimit int        // negative when the kernel did not tell
	Dst      netip.Addr // not valid when the kernel did not tell
	Ext      []ExtHeader
}

// ExtHeader is an extension header of a received IPv6 packet.
type ExtHeader struct {
	Proto int // IPPROTO_HOPOPTS, IPPROTO_DSTOPTS or IPPROTO_ROUTING
	Data  []byte
}
