package ping

import (
	"net/netip"
	"time"

	"golang.org/x/net/ipv6"

	"rumptools/pkg/netbsd"
)

const (
	ipv6HeaderLen = 40
	// stampLen6 is the timestamp of ping6(8).
	stampLen6 = 8
)

// pinger6 is ping6(8).
type pinger6 struct {
	*pinger
	timed bool
}

func newIPv6(p *pinger) *pinger6 {
	p6 := &pinger6{pinger: p, timed: p.size() >= stampLen6}
	p.data = newPayload(p.size(), min(p.size(), stampLen6), p.Pattern)
	return p6
}

func (p *pinger6) bufferSize() int {
	const various = 256 // other headers
	size := p.size()
	if p.Verbose {
		size = max(size, 2048) // other messages
	}
	return size + ipv6HeaderLen + echoHeaderLen + various
}

func (p *pinger6) banner() {
	p.announcePattern()
	n := echoHeaderLen + p.size()
	p.printf("PING6(%d=40+8+%d bytes) %s --> %s\n", ipv6HeaderLen+n, n-echoHeaderLen, addr6(p.sock.Source()), addr6(p.Addr))
}

func (p *pinger6) message(seq uint16) []byte {
	if p.Random {
		p.data.randomize()
	}
	if p.timed {
		p.data.stamp(p.now)
	}
	return marshal(ipv6.ICMPTypeEchoRequest, p.ident, seq, p.data.bytes)
}

func (p *pinger6) sent() {
	if p.Flood && !p.Quiet {
		p.printf(".")
	}
}

func (p *pinger6) refused(err error, msg []byte) {
	p.warn("%v", err)
	p.printf("ping6: wrote %s %d chars, ret=-1\n", p.Host, len(msg))
}

func (p *pinger6) receiveFailed(err error) { p.warn("%v", err) }

func (p *pinger6) summary(bool) {
	p.printf("\n--- %s ping6 statistics ---\n", p.Host)
	p.counts()
	if p.received == 0 || !p.timed {
		return
	}
	r := &p.round
	p.printf("round-trip min/avg/max/std-dev = %.3f/%.3f/%.3f/%.3f ms\n",
		millis(r.min), r.average(), millis(r.max), r.deviation())
}

func (p *pinger6) receive(pkt *Packet, at time.Duration) {
	switch {
	case len(pkt.Data) < echoHeaderLen:
		if p.Verbose {
			p.warn("packet too short (%d bytes) from %s", len(pkt.Data), addr6(pkt.From))
		}
		return
	case pkt.HopLimit < 0:
		p.warn("failed to get receiving hop limit")
		return
	case !pkt.Dst.IsValid():
		p.warn("failed to get receiving packet information")
		return
	}
	echo, ok := parseEcho(netbsd.IPPROTO_ICMPV6, ipv6.ICMPTypeEchoReply, pkt.Data)
	switch {
	case ok && echo.ID == int(p.ident) && p.ours(uint16(echo.Seq)):
		if !p.reply(pkt, uint16(echo.Seq), echo.Data, at) {
			return
		}
	case !p.Verbose:
		return
	default:
		p.printf("%d bytes from %s: ", len(pkt.Data), addr6(pkt.From))
		p.describe(pkt.Data)
	}
	if !p.Flood {
		p.printf("\n")
		if p.Verbose {
			p.extHeaders(pkt.Ext)
		}
	}
}

// reply reports a reply to one of our requests. It returns false when the
// reply is not shown.
func (p *pinger6) reply(pkt *Packet, seq uint16, data []byte, at time.Duration) bool {
	p.caughtUp = true
	trip := p.roundTrip(seq, at)
	if p.MaxWait > 0 && trip > p.MaxWait {
		return false
	}
	duplicate := p.answered(seq, at, trip)
	if p.Quiet {
		return false
	}
	if p.Flood {
		p.printf("\b")
		return true
	}
	p.printf("%d bytes from %s, icmp_seq=%d hlim=%d", len(pkt.Data), addr6(pkt.From), seq, pkt.HopLimit)
	if p.Verbose {
		p.printf(" dst=%s", addr6(pkt.Dst))
	}
	if p.timed {
		p.printf(" time=%.3f ms", millis(trip))
	}
	if duplicate {
		p.printf("(DUP!)")
	} else if p.Audible {
		p.out.Flush()
		p.errw.Write([]byte("\a"))
	}
	if i := p.data.firstWrong(data); i >= 0 && !p.Random {
		p.printf("\nwrong data byte #%d should be 0x%x but was 0x%x", i, p.data.bytes[i], data[i])
	}
	return true
}

// addr6 formats an address as NetBSD's inet_ntop(3) does. It differs from Go in
// addresses such as ::192.0.2.1, which Go writes in hexadecimal.
func addr6(a netip.Addr) string {
	if !a.IsValid() {
		return "?"
	}
	b := a.As16()
	if !a.Is6() || a.Is4In6() || [12]byte(b[:12]) != [12]byte{} || b[12] == 0 && b[13] == 0 {
		return a.String()
	}
	s := "::" + netip.AddrFrom4([4]byte(b[12:])).String()
	if zone := a.Zone(); zone != "" {
		s += "%" + zone
	}
	return s
}
