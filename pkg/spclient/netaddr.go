package spclient

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"rumptools/pkg/netbsd"
)

// addr returns a socket address as package net has it for the socket's network;
// nil for none, such as the name of a local socket that was not bound.
func (fd *netFD) addr(sa []byte) net.Addr {
	if len(sa) < 2 {
		return nil
	}
	a, err := netbsd.ParseSockaddr(fd.s.machine, sa)
	if err != nil {
		return nil
	}
	if fd.network[:2] == "un" != (a.Family == netbsd.AF_LOCAL) {
		return nil
	}
	switch a.Family {
	case netbsd.AF_LOCAL:
		if a.Path == "" && fd.network == "unixgram" {
			return nil
		}
		return &net.UnixAddr{Name: a.Path, Net: fd.network}
	case netbsd.AF_INET, netbsd.AF_INET6:
		a = a.ExtractScope()
		ip, zone := net.IP(a.Addr().AsSlice()), fd.zoneName(a.ScopeID)
		switch fd.network[0] {
		case 't':
			return &net.TCPAddr{IP: ip, Port: int(a.Port()), Zone: zone}
		case 'u':
			return &net.UDPAddr{IP: ip, Port: int(a.Port()), Zone: zone}
		}
		return &net.IPAddr{IP: ip, Zone: zone}
	}
	return nil
}

// endAddr returns a socket address as that of an end of the socket: of one that the kernel
// does not tell it is the zero address of the network's type, as who has a socket of
// that network may count on the type.
func (fd *netFD) endAddr(sa []byte) net.Addr {
	if a := fd.addr(sa); a != nil {
		return a
	}
	switch fd.network[:2] {
	case "tc":
		return &net.TCPAddr{}
	case "ud":
		return &net.UDPAddr{}
	case "ip":
		return &net.IPAddr{}
	}
	return &net.UnixAddr{Net: fd.network}
}

// addrPort reads a socket address of IP's without allocating memory for it.
func (fd *netFD) addrPort(sa []byte) netip.AddrPort {
	switch {
	case len(sa) >= 8 && sa[1] == netbsd.AF_INET:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(sa[4:8])), binary.BigEndian.Uint16(sa[2:]))
	case len(sa) >= netbsd.SizeofSockaddrIn6 && sa[1] == netbsd.AF_INET6:
		addr, scope := netbsd.ExtractScope(netip.AddrFrom16([16]byte(sa[8:24])))
		if id := fd.s.machine.Order.Uint32(sa[24:]); id != 0 {
			scope = id
		}
		if scope != 0 {
			addr = addr.WithZone(fd.zoneName(scope))
		}
		return netip.AddrPortFrom(addr, binary.BigEndian.Uint16(sa[2:]))
	}
	return netip.AddrPort{}
}

// appendSockaddr appends the socket address that ap is for the socket, which decides the
// form; it fails when there is none. The kernel is asked for an IPv6 zone's number.
func (fd *netFD) appendSockaddr(b []byte, ap netip.AddrPort) ([]byte, error) {
	scope := noScope
	if zone := ap.Addr().Zone(); zone != "" && fd.family != netbsd.AF_INET {
		id, err := fd.zoneID(zone)
		if err != nil {
			return nil, err
		}
		scope = [4]byte(fd.s.machine.Order.AppendUint32(nil, id))
	}
	return appendSockaddr(b, fd.family, ap, scope)
}

// noScope is the scope of addresses without a zone.
var noScope [4]byte

// appendSockaddr appends the socket address that ap is for a socket of a family, with an IPv6
// scope in the kernel's byte order.
func appendSockaddr(b []byte, family int32, ap netip.AddrPort, scope [4]byte) ([]byte, error) {
	addr := ap.Addr()
	if family == netbsd.AF_INET {
		if addr = addr.Unmap(); !addr.Is4() {
			return nil, &net.AddrError{Err: "no IPv4 address", Addr: ap.Addr().String()}
		}
		a := addr.As4()
		b = append(b, netbsd.SizeofSockaddrIn, netbsd.AF_INET)
		b = binary.BigEndian.AppendUint16(b, ap.Port())
		b = append(b, a[:]...)
		return append(b, 0, 0, 0, 0, 0, 0, 0, 0), nil
	}
	if !addr.IsValid() {
		return nil, &net.AddrError{Err: "no IPv6 address", Addr: addr.String()}
	}
	a := addr.As16() // an IPv4 address is mapped
	b = append(b, netbsd.SizeofSockaddrIn6, netbsd.AF_INET6)
	b = binary.BigEndian.AppendUint16(b, ap.Port())
	b = append(b, 0, 0, 0, 0)
	b = append(b, a[:]...)
	return append(b, scope[:]...), nil
}

// addrPortOf returns the address and port of one of package net's addresses. An
// IPAddr has port 0.
func addrPortOf(a net.Addr) (ap netip.AddrPort, ok bool) {
	var ip net.IP
	var zone string
	var port int
	switch a := a.(type) {
	case *net.TCPAddr:
		if a == nil {
			return ap, false
		}
		ip, zone, port = a.IP, a.Zone, a.Port
	case *net.UDPAddr:
		if a == nil {
			return ap, false
		}
		ip, zone, port = a.IP, a.Zone, a.Port
	case *net.IPAddr:
		if a == nil {
			return ap, false
		}
		ip, zone = a.IP, a.Zone
	default:
		return ap, false
	}
	addr, ok := netip.AddrFromSlice(ip)
	if !ok {
		if len(ip) != 0 {
			return ap, false
		}
		addr = netip.IPv4Unspecified()
	}
	addr = addr.Unmap()
	if addr.Is6() {
		addr = addr.WithZone(zone)
	}
	return netip.AddrPortFrom(addr, uint16(port)), port >= 0 && port <= 0xffff
}

const (
	// zoneAge is how old the list of interfaces may be that zones are looked up
	// in; one that is not found there is looked for in a new one after zoneRetry.
	zoneAge   = time.Minute
	zoneRetry = time.Second
)

// A zoneCache knows the names of the kernel's interfaces, which are the zones of
// IPv6 addresses.
type zoneCache struct {
	mu    sync.Mutex
	read  time.Time
	names map[uint32]string
}

// readZones makes the cache no older than age; its lock is held.
func (fd *netFD) readZones(age time.Duration) {
	z := &fd.s.net.zones
	if z.names != nil && time.Since(z.read) < age {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), answerTime)
	defer cancel()
	list, err := fd.c.Interfaces(ctx)
	z.read = time.Now()
	if err != nil {
		if z.names == nil {
			z.names = map[uint32]string{}
		}
		return
	}
	z.names = make(map[uint32]string, len(list))
	for _, i := range list {
		z.names[uint32(i.Index)] = i.Name
	}
}

// zoneName returns the zone of an interface's number: its name, or the number when
// there is no such interface.
func (fd *netFD) zoneName(id uint32) string {
	if id == 0 {
		return ""
	}
	z := &fd.s.net.zones
	z.mu.Lock()
	defer z.mu.Unlock()
	for _, age := range [...]time.Duration{zoneAge, zoneRetry} {
		fd.readZones(age)
		if name, ok := z.names[id]; ok {
			return name
		}
	}
	return strconv.FormatUint(uint64(id), 10)
}

// zoneID returns the number of the interface that a zone is.
func (fd *netFD) zoneID(zone string) (uint32, error) {
	if id, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(id), nil
	}
	z := &fd.s.net.zones
	z.mu.Lock()
	defer z.mu.Unlock()
	for _, age := range [...]time.Duration{zoneAge, zoneRetry} {
		fd.readZones(age)
		for id, name := range z.names {
			if name == zone {
				return id, nil
			}
		}
	}
	return 0, &net.AddrError{Err: "no such interface in the kernel", Addr: zone}
}

// protocols are the names that networks of raw sockets may have behind the colon,
// in place of a number.
var protocols = map[string]int32{
	"icmp": netbsd.IPPROTO_ICMP, "igmp": netbsd.IPPROTO_IGMP, "tcp": netbsd.IPPROTO_TCP,
	"udp": netbsd.IPPROTO_UDP, "ipv6-icmp": netbsd.IPPROTO_ICMPV6, "gre": netbsd.IPPROTO_GRE,
	"esp": netbsd.IPPROTO_ESP, "ah": netbsd.IPPROTO_AH, "pim": netbsd.IPPROTO_PIM,
}

// services are the names that ports may have. The host's list has nothing to do
// with the kernel.
var services = map[string]uint16{
	"ftp": 21, "ssh": 22, "telnet": 23, "smtp": 25, "domain": 53, "gopher": 70, "http": 80,
	"pop3": 110, "ntp": 123, "imap2": 143, "snmp": 161, "imap3": 220, "https": 443, "submissions": 465,
	"ftps": 990, "imaps": 993, "pop3s": 995,
}

// parsePort reads a port: a number or a name.
func parsePort(network, s string) (uint16, error) {
	if s == "" {
		return 0, nil
	}
	if n, err := strconv.ParseUint(s, 10, 16); err == nil {
		return uint16(n), nil
	}
	if n, ok := services[strings.ToLower(s)]; ok {
		return n, nil
	}
	if strings.Trim(s, "0123456789") == "" {
		return 0, &net.AddrError{Err: "invalid port", Addr: s}
	}
	return 0, &net.AddrError{Err: "unknown port", Addr: network + "/" + s}
}

// A netKind is what a network's name tells.
type netKind struct {
	name   string // without the protocol of raw sockets
	typ    int32
	proto  int32 // of raw sockets
	family int32 // AF_UNSPEC when both versions of IP will do
}

// parseNetwork reads the name of a network as package net knows them.
func parseNetwork(network string) (k netKind, err error) {
	name, proto, raw := strings.Cut(network, ":")
	k.name = name
	switch name {
	case "tcp", "tcp4", "tcp6":
		k.typ = netbsd.SOCK_STREAM
	case "udp", "udp4", "udp6":
		k.typ = netbsd.SOCK_DGRAM
	case "ip", "ip4", "ip6":
		k.typ = netbsd.SOCK_RAW
	case "unix":
		k.typ, k.family = netbsd.SOCK_STREAM, netbsd.AF_LOCAL
	case "unixgram":
		k.typ, k.family = netbsd.SOCK_DGRAM, netbsd.AF_LOCAL
	case "unixpacket":
		k.typ, k.family = netbsd.SOCK_SEQPACKET, netbsd.AF_LOCAL
	default:
		return k, net.UnknownNetworkError(network)
	}
	if raw != (k.typ == netbsd.SOCK_RAW) {
		return k, net.UnknownNetworkError(network)
	}
	switch name[len(name)-1] {
	case '4':
		k.family = netbsd.AF_INET
	case '6':
		k.family = netbsd.AF_INET6
	}
	if raw {
		var ok bool
		if k.proto, ok = protocols[strings.ToLower(proto)]; !ok {
			n, err := strconv.ParseUint(proto, 10, 8)
			if err != nil {
				return k, net.UnknownNetworkError(network)
			}
			k.proto = int32(n)
		}
	}
	return k, nil
}

// fits tells whether an address is one of the network's.
func (k netKind) fits(addr netip.Addr) bool {
	switch k.family {
	case netbsd.AF_INET:
		return addr.Is4()
	case netbsd.AF_INET6:
		return addr.Is6()
	}
	return true
}
