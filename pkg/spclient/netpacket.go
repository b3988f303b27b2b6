package spclient

import (
	"encoding/binary"
	"net"
	"net/netip"

	"rumptools/pkg/netbsd"
)

// receive is ReadFrom of all networks of messages.
func (fd *netFD) receive(p []byte) (int, net.Addr, error) {
	buf := sockaddrBufs.Get().(*sockaddrBuf)
	defer sockaddrBufs.Put(buf)
	n, salen, err := fd.readFrom(p, buf)
	if err != nil {
		return 0, nil, fd.opError("read", err)
	}
	return n, fd.addr(buf[:salen]), nil
}

// sendError is the error of a message to an address.
func (fd *netFD) sendError(to net.Addr, err error) error {
	return &net.OpError{Op: "write", Net: fd.network, Source: fd.laddr, Addr: to, Err: err}
}

// sendTo sends p as one message to an address of IP's.
func (fd *netFD) sendTo(p []byte, to netip.AddrPort) (int, error) {
	if fd.raddr != nil {
		return 0, net.ErrWriteToConnected
	}
	buf := sockaddrBufs.Get().(*sockaddrBuf)
	defer sockaddrBufs.Put(buf)
	sa, err := fd.appendSockaddr(buf[:0], to)
	if err != nil {
		return 0, err
	}
	return fd.writeTo(p, sa)
}

// UDPConn is a UDP socket in the kernel's network: a [net.PacketConn], and a [net.Conn]
// when it was dialled. A read of one that was dialled fails with ECONNREFUSED when the
// peer's host said that nobody has the port.
//
// Control messages and multicast groups have no methods here: [Conn.Setsockopt],
// [Conn.Recvmsg] and [Conn.Sendmsg] on its FD do them, which say EAGAIN where a method
// would wait.
type UDPConn struct{ netConn }

// ReadFrom receives a message and its sender's address, a [*net.UDPAddr]. Of one that
// is longer than p the rest is lost.
func (c *UDPConn) ReadFrom(p []byte) (int, net.Addr, error) { return c.fd.receive(p) }

// ReadFromUDP is ReadFrom with the address's type.
func (c *UDPConn) ReadFromUDP(p []byte) (int, *net.UDPAddr, error) {
	n, a, err := c.fd.receive(p)
	ua, _ := a.(*net.UDPAddr)
	return n, ua, err
}

// ReadFromUDPAddrPort is ReadFrom that allocates no memory. An address of IPv4 that a
// socket of both versions tells is an IPv4-mapped one of IPv6, as in package net.
func (c *UDPConn) ReadFromUDPAddrPort(p []byte) (int, netip.AddrPort, error) {
	buf := sockaddrBufs.Get().(*sockaddrBuf)
	defer sockaddrBufs.Put(buf)
	n, salen, err := c.fd.readFrom(p, buf)
	if err != nil {
		return 0, netip.AddrPort{}, c.fd.opError("read", err)
	}
	return n, c.fd.addrPort(buf[:salen]), nil
}

// sendToAddr sends p as one message to an address of the IP networks.
func (fd *netFD) sendToAddr(p []byte, addr net.Addr) (int, error) {
	to, ok := addrPortOf(addr)
	if !ok {
		return 0, fd.sendError(addr, netbsd.EINVAL)
	}
	n, err := fd.sendTo(p, to)
	if err != nil {
		err = fd.sendError(addr, err)
	}
	return n, err
}

// WriteTo sends p as one message to an address, a [*net.UDPAddr].
func (c *UDPConn) WriteTo(p []byte, addr net.Addr) (int, error) {
	a, ok := addr.(*net.UDPAddr)
	if !ok {
		return 0, c.fd.sendError(addr, netbsd.EINVAL)
	}
	return c.WriteToUDP(p, a)
}

// WriteToUDP is WriteTo with the address's type.
func (c *UDPConn) WriteToUDP(p []byte, addr *net.UDPAddr) (int, error) {
	if addr == nil {
		return 0, c.fd.sendError(nil, errMissingAddress)
	}
	return c.fd.sendToAddr(p, addr)
}

// WriteToUDPAddrPort is WriteTo that allocates no memory.
func (c *UDPConn) WriteToUDPAddrPort(p []byte, addr netip.AddrPort) (int, error) {
	n, err := c.fd.sendTo(p, addr)
	if err != nil {
		err = c.fd.sendError(net.UDPAddrFromAddrPort(addr), err)
	}
	return n, err
}

// IPConn is a raw socket in the kernel's network: a [net.PacketConn], and a [net.Conn]
// when it was dialled.
//
// As in package net, ReadFrom leaves out the IPv4 header and Read does not. The header
// that Read has is as it was on the wire: NetBSD's raw sockets tell length and
// offset in the order of the kernel's machine, and the length without the header.
type IPConn struct{ netConn }

// Read receives a packet, with its header if it is one of IPv4.
func (c *IPConn) Read(p []byte) (int, error) {
	n, err := c.fd.read(p)
	if err != nil {
		return 0, c.fd.opError("read", err)
	}
	if c.fd.family == netbsd.AF_INET {
		wireHeader(c.fd.s.machine, p[:n])
	}
	return n, nil
}

// wireHeader turns an IPv4 header as NetBSD's raw sockets tell it into one as it was on
// the wire.
func wireHeader(m *netbsd.Machine, p []byte) {
	if len(p) < ipv4Header {
		return
	}
	hlen := int(p[0]&0xf) << 2
	binary.BigEndian.PutUint16(p[2:], uint16(int(m.Order.Uint16(p[2:]))+hlen))
	binary.BigEndian.PutUint16(p[6:], m.Order.Uint16(p[6:]))
}

// ipv4Header is the length of the shortest IPv4 header.
const ipv4Header = 20

// ReadFrom receives a packet without its IPv4 header, and its sender's address, an
// [*net.IPAddr].
func (c *IPConn) ReadFrom(p []byte) (int, net.Addr, error) {
	n, a, err := c.fd.receive(p)
	if err != nil {
		return 0, nil, err
	}
	if c.fd.family == netbsd.AF_INET {
		n = stripHeader(p, n)
	}
	return n, a, nil
}

// stripHeader removes the IPv4 header from the n bytes in p and returns how many are
// left.
func stripHeader(p []byte, n int) int {
	if n < ipv4Header || p[0]>>4 != 4 {
		return n
	}
	hlen := int(p[0]&0xf) << 2
	if hlen < ipv4Header || hlen > n {
		return n
	}
	return copy(p, p[hlen:n])
}

// ReadFromIP is ReadFrom with the address's type.
func (c *IPConn) ReadFromIP(p []byte) (int, *net.IPAddr, error) {
	n, a, err := c.ReadFrom(p)
	ia, _ := a.(*net.IPAddr)
	return n, ia, err
}

// WriteTo sends a packet, without an IP header, to an address, an [*net.IPAddr].
func (c *IPConn) WriteTo(p []byte, addr net.Addr) (int, error) {
	a, ok := addr.(*net.IPAddr)
	if !ok {
		return 0, c.fd.sendError(addr, netbsd.EINVAL)
	}
	return c.WriteToIP(p, a)
}

// WriteToIP is WriteTo with the address's type.
func (c *IPConn) WriteToIP(p []byte, addr *net.IPAddr) (int, error) {
	if addr == nil {
		return 0, c.fd.sendError(nil, errMissingAddress)
	}
	return c.fd.sendToAddr(p, addr)
}
