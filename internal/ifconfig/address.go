package ifconfig

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"rumptools/pkg/netbsd"
)

// address is an address as a word says it.
type address struct {
	addr   netip.Addr // of inet and inet6, perhaps with a zone
	link   []byte     // of link
	prefix int        // of ADDRESS/LEN, -1 without
}

var errNoAddress = errors.New("no address")

// address reads an address of the command's family: of inet or inet6 when it
// has none. Only where it is wanted it may have a /LEN.
func (p *parser) address(w string, wantPrefix bool) (address, error) {
	if p.cmd.Family == Link {
		b, err := parseLink(w)
		if err != nil {
			return address{}, badValue("address", w, "a link-level address, as 02:00:00:00:00:01")
		}
		return address{link: b, prefix: -1}, nil
	}
	a := address{prefix: -1}
	text := w
	if i := strings.LastIndexByte(w, '/'); i >= 0 && wantPrefix {
		n, err := strconv.ParseUint(w[i+1:], 10, 8)
		if err != nil || n > 128 {
			return address{}, badValue("address", w, "a prefix length after /")
		}
		text, a.prefix = w[:i], int(n)
	}
	var err error
	if a.addr, err = p.ip(text); err != nil {
		return address{}, badValue("address", w, p.wanted())
	}
	return a, nil
}

func (p *parser) wanted() string {
	switch p.cmd.Family {
	case Inet:
		return "an address of the family inet"
	case Inet6:
		return "an address of the family inet6"
	}
	return "an address of the family inet or inet6"
}

// ip reads an address of the command's family, or a host's name.
func (p *parser) ip(s string) (netip.Addr, error) {
	if p.cmd.Family != Inet6 {
		if a, ok := parseInet(s); ok {
			return a, nil
		}
	}
	if p.cmd.Family != Inet {
		if a, err := netip.ParseAddr(s); err == nil && a.Is6() {
			return a, nil
		}
	}
	// A name must mean one address: which one of several is meant nobody
	// can tell.
	var found []netip.Addr
	for _, a := range p.db.HostAddrs(s) {
		if p.cmd.Family == 0 || (p.cmd.Family == Inet) == a.Is4() {
			found = append(found, a)
		}
	}
	if len(found) != 1 {
		return netip.Addr{}, errNoAddress
	}
	return found[0], nil
}

// addressPort reads ADDRESS or ADDRESS,PORT.
func (p *parser) addressPort(s string) (netip.AddrPort, error) {
	host, port, hasPort := strings.Cut(s, ",")
	a, err := p.ip(host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	n := uint64(0)
	if hasPort {
		if n, err = strconv.ParseUint(port, 10, 16); err != nil {
			return netip.AddrPort{}, err
		}
	}
	return netip.AddrPortFrom(a, uint16(n)), nil
}

// netmask reads a netmask: an address, a hexadecimal number, or the name of a
// network.
func (p *parser) netmask(s string) (netip.Addr, error) {
	if a, err := p.ip(s); err == nil {
		return a, nil
	}
	if a, ok := p.db.NetworkAddr(s); ok && p.cmd.Family != Inet6 {
		return a, nil
	}
	return netip.Addr{}, errNoAddress
}

// parseInet reads an IPv4 address as inet_aton(3) does: one to four numbers,
// decimal, octal or hexadecimal, of which the last fills what the others leave.
func parseInet(s string) (netip.Addr, bool) {
	parts := strings.Split(s, ".")
	if len(parts) > 4 {
		return netip.Addr{}, false
	}
	var v uint64
	for i, part := range parts {
		// ParseUint would take underscores and 0b, which inet_aton doesn't.
		if part == "" || strings.ContainsAny(part, "_bBoO+") && !strings.HasPrefix(strings.ToLower(part), "0x") {
			return netip.Addr{}, false
		}
		bits := 8
		if i == len(parts)-1 {
			bits = 8 * (5 - len(parts))
		}
		n, err := strconv.ParseUint(part, 0, bits)
		if err != nil || strings.Contains(part, "_") {
			return netip.Addr{}, false
		}
		v = v<<bits | n
	}
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}), true
}

// parseLink reads a link-level address: pairs of hexadecimal digits, or single
// ones, with colons between them.
func parseLink(s string) ([]byte, error) {
	var b []byte
	for part := range strings.SplitSeq(s, ":") {
		if len(part) == 1 {
			part = "0" + part
		}
		octet, err := hex.DecodeString(part)
		if err != nil || len(octet) != 1 {
			return nil, fmt.Errorf("bad link-level address %q", s)
		}
		b = append(b, octet[0])
	}
	// What fits into a sockaddr_storage.
	if len(b) > netbsd.SizeofSockaddrStorage-8 {
		return nil, fmt.Errorf("link-level address of %d bytes", len(b))
	}
	return b, nil
}

// prefixMask is the netmask of a prefix length. A length of 0 is a host's: so
// does ifconfig(8) take it.
func prefixMask(f Family, n int) netip.Addr {
	bits := 32
	if f == Inet6 {
		bits = 128
	}
	if n == 0 {
		n = bits
	}
	var b [16]byte
	for i := range n {
		b[i/8] |= 0x80 >> (i % 8)
	}
	if f == Inet6 {
		return netip.AddrFrom16(b)
	}
	return netip.AddrFrom4([4]byte(b[:4]))
}
