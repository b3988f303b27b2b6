package ping

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"rumptools/pkg/netbsd"
)

// report4 describes an ICMP message that is not a reply to one of our requests.
type report4 struct {
	*pinger4
	from netip.Addr
	msg  []byte // at least 8 bytes
}

func (r *report4) typ() int  { return int(r.msg[0]) }
func (r *report4) code() int { return int(r.msg[1]) }

// quoted is the datagram that an ICMP error is about, as far as it came along.
func (r *report4) quoted() []byte { return r.msg[echoHeaderLen:] }

// message prints the description. It prints nothing and returns false when the
// message is of no interest.
func (r *report4) message() bool {
	switch r.typ() {
	case netbsd.ICMP_ECHOREPLY:
		return false // other programs' pings are too noisy
	case netbsd.ICMP_UNREACH, netbsd.ICMP_SOURCEQUENCH, netbsd.ICMP_REDIRECT,
		netbsd.ICMP_TIMXCEED, netbsd.ICMP_PARAMPROB:
		if !r.interesting(true) {
			return false
		}
		r.printf("%s", r.describeError())
		r.describeQuoted()
		return true
	}
	if !r.interesting(false) {
		return false
	}
	switch r.typ() {
	case netbsd.ICMP_ECHO:
		r.printf("Echo Request: ID=%d seq=%d", binary.BigEndian.Uint16(r.msg[4:]), binary.BigEndian.Uint16(r.msg[6:]))
	case netbsd.ICMP_ROUTERADVERT:
		r.printf("Router Discovery Advert")
	case netbsd.ICMP_ROUTERSOLICIT:
		r.printf("Router Discovery Solicit")
	case netbsd.ICMP_TSTAMP:
		r.printf("Timestamp")
	case netbsd.ICMP_TSTAMPREPLY:
		r.printf("Timestamp Reply")
	case netbsd.ICMP_IREQ:
		r.printf("Information Request")
	case netbsd.ICMP_IREQREPLY:
		r.printf("Information Reply")
	case netbsd.ICMP_MASKREQ:
		r.printf("Address Mask Request")
	case netbsd.ICMP_MASKREPLY:
		r.printf("Address Mask Reply")
	default:
		r.printf("Bad ICMP type: %d", r.typ())
		r.ipHeader()
	}
	return true
}

// interesting tells whether the message is to be printed: when verbose, and when
// it is an error that one of our own requests met.
func (r *report4) interesting(isError bool) bool {
	if r.Verbose {
		r.flushDots(true)
		return true
	}
	if !isError || r.Quiet || r.SemiQuiet || !r.aboutOurs() {
		return false
	}
	r.flushDots(true)
	r.printf("%d bytes from %s: ", len(r.msg), r.from)
	return true
}

// aboutOurs tells whether the quoted datagram is an ICMP message of ours.
func (r *report4) aboutOurs() bool {
	proto, payload, ok := quotedIPv4(r.quoted())
	return ok && proto == netbsd.IPPROTO_ICMP && len(payload) >= 6 &&
		binary.BigEndian.Uint16(payload[4:]) == r.ident
}

// quotedIPv4 takes the datagram apart that an ICMP error quotes. The payload
// may be cut short.
func quotedIPv4(b []byte) (proto int, payload []byte, ok bool) {
	if len(b) < ipv4HeaderLen {
		return 0, nil, false
	}
	hlen := int(b[0]&0xf) * 4
	if hlen < ipv4HeaderLen || hlen > len(b) {
		return 0, nil, false
	}
	return int(b[9]), b[hlen:], true
}

var unreachable = map[int]string{
	netbsd.ICMP_UNREACH_NET:            "Destination Net Unreachable",
	netbsd.ICMP_UNREACH_HOST:           "Destination Host Unreachable",
	netbsd.ICMP_UNREACH_PROTOCOL:       "Destination Protocol Unreachable",
	netbsd.ICMP_UNREACH_PORT:           "Destination Port Unreachable",
	netbsd.ICMP_UNREACH_SRCFAIL:        "Source Route Failed",
	netbsd.ICMP_UNREACH_NET_UNKNOWN:    "Unreachable unknown net",
	netbsd.ICMP_UNREACH_HOST_UNKNOWN:   "Unreachable unknown host",
	netbsd.ICMP_UNREACH_ISOLATED:       "Unreachable host isolated",
	netbsd.ICMP_UNREACH_NET_PROHIB:     "Net prohibited access",
	netbsd.ICMP_UNREACH_HOST_PROHIB:    "Host prohibited access",
	netbsd.ICMP_UNREACH_TOSNET:         "Bad TOS for net",
	netbsd.ICMP_UNREACH_TOSHOST:        "Bad TOS for host",
	netbsd.ICMP_UNREACH_ADMIN_PROHIBIT: "Communication prohibited",
	netbsd.ICMP_UNREACH_HOST_PREC:      "Host precedence violation",
	netbsd.ICMP_UNREACH_PREC_CUTOFF:    "Precedence cutoff",
}

var redirect = map[int]string{
	netbsd.ICMP_REDIRECT_NET:     "Redirect Network",
	netbsd.ICMP_REDIRECT_HOST:    "Redirect Host",
	netbsd.ICMP_REDIRECT_TOSNET:  "Redirect Type of Service and Network",
	netbsd.ICMP_REDIRECT_TOSHOST: "Redirect Type of Service and Host",
}

// describeError says which error it is.
func (r *report4) describeError() string {
	switch r.typ() {
	case netbsd.ICMP_UNREACH:
		if r.code() == netbsd.ICMP_UNREACH_NEEDFRAG {
			return fmt.Sprintf("frag needed and DF set.  Next MTU=%d", binary.BigEndian.Uint16(r.msg[6:]))
		}
		return byCode(unreachable, "Bad Destination Unreachable Code: %d", r.code())
	case netbsd.ICMP_SOURCEQUENCH:
		return "Source Quench"
	case netbsd.ICMP_REDIRECT:
		return byCode(redirect, "Redirect--Bad Code: %d", r.code()) +
			" New router addr: " + netip.AddrFrom4([4]byte(r.msg[4:8])).String()
	case netbsd.ICMP_TIMXCEED:
		switch r.code() {
		case netbsd.ICMP_TIMXCEED_INTRANS:
			return "Time To Live exceeded"
		case netbsd.ICMP_TIMXCEED_REASS:
			return "Frag reassembly time exceeded"
		}
		return fmt.Sprintf("Time exceeded, Bad Code: %d", r.code())
	}
	return fmt.Sprintf("Parameter problem: pointer = 0x%02x", r.msg[4])
}

// byCode is the text for a code, or the other one, which is a format for it.
func byCode(texts map[int]string, other string, code int) string {
	if s, ok := texts[code]; ok {
		return s
	}
	return fmt.Sprintf(other, code)
}

// describeQuoted says what an ICMP error is about.
func (r *report4) describeQuoted() {
	r.ipHeader()
	proto, b, ok := quotedIPv4(r.quoted())
	if !ok {
		return
	}
	switch proto {
	case netbsd.IPPROTO_TCP, netbsd.IPPROTO_UDP:
		if r.Verbose && len(b) >= 4 {
			name := map[int]string{netbsd.IPPROTO_TCP: "TCP", netbsd.IPPROTO_UDP: "UDP"}[proto]
			r.printf("\n  %s: from port %d, to port %d", name, binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:]))
		}
	case netbsd.IPPROTO_ICMP:
		if len(b) < echoHeaderLen || b[0] != netbsd.ICMP_ECHO {
			return
		}
		id, seq := binary.BigEndian.Uint16(b[4:]), binary.BigEndian.Uint16(b[6:])
		if r.Verbose {
			r.printf("\n  ID=%d icmp_seq=%d", id, seq)
		} else {
			r.printf(" for icmp_seq=%d", seq)
		}
	}
}

// ipHeader dumps the quoted IP header when verbose. ping(8) prints the 16-bit
// fields as its machine reads them from memory, in the wrong order on a
// little-endian one, and this is what people compare with.
func (r *report4) ipHeader() {
	b := r.quoted()
	if !r.Verbose || len(b) < ipv4HeaderLen {
		return
	}
	field := binary.LittleEndian.Uint16
	off := field(b[6:])
	r.printf("\n Vr HL TOS  Len   ID Flg  off TTL Pro  cks      Src\t     Dst\n")
	r.printf("  %1x  %1x  %02x %04x %04x", b[0]>>4, b[0]&0xf, b[1], field(b[2:]), field(b[4:]))
	r.printf("   %1x %04x", off>>13, off&0x1fff)
	r.printf("  %02x  %02x %04x", b[8], b[9], field(b[10:]))
	r.printf(" %15s  %s ", netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20])))
	hlen := int(b[0]&0xf) * 4
	if hlen > ipv4HeaderLen {
		r.printf("%x", b[ipv4HeaderLen:min(hlen, len(b))])
	}
}

// routeAddrs returns the addresses in a route option up to a position, whole
// ones only.
func routeAddrs(opt []byte, end int) []byte {
	const first = 3 // type, length, pointer
	end = min(end, len(opt))
	if end < first+4 {
		return nil
	}
	n := (end - first) / 4 * 4
	return opt[first : first+n]
}

// route prints the addresses of a route, one a line.
func (p *pinger4) route(addrs []byte) {
	for i := 0; i < len(addrs); i += 4 {
		if i > 0 {
			p.printf("\n")
		}
		p.printf("\t%s", netip.AddrFrom4([4]byte(addrs[i:i+4])))
	}
}

// hexByte formats a byte as C's %#x does.
func hexByte(b byte) string {
	if b == 0 {
		return "0"
	}
	return fmt.Sprintf("%#x", b)
}
