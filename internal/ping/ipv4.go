package ping

import (
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"

	"rumptools/pkg/netbsd"
)

// Lengths in bytes.
const (
	ipv4HeaderLen = 20
	maxIPv4Header = 60
	maxIPOptLen   = 40
	echoHeaderLen = 8
	// sourceRouteLen is the loose source route to one address and the NOP behind it.
	sourceRouteLen = 8
	// minData4 is the least that ping(8) sends: it rounds the data up to 8 bytes
	// and adds the 8 bytes of a timestamp to the 8 of the header.
	minData4 = 8
)

// pinger4 is ping(8).
type pinger4 struct {
	*pinger
	jiggle   jiggle
	timed    bool
	decimals int // of the times
	totalLen int // of the datagrams sent

	lastSeq  uint16 // the reply with the highest number so far
	oldRoute []byte // the last recorded route that was shown
	// What was said already of the other side.
	noRecordRoute, noSourceRoute bool
}

func newIPv4(p *pinger) *pinger4 {
	p4 := &pinger4{pinger: p, lastSeq: 0xffff}
	size := p.size()
	stamp := 0
	switch {
	case size >= 16 && !p.Compat:
		stamp, p4.timed, p4.decimals = 16, true, 6
	case size >= 8:
		stamp, p4.timed, p4.decimals = 8, true, 3
	}
	p.data = newPayload(max(size, minData4), stamp, p.Pattern)
	clear(p.data.bytes[size:])
	p4.totalLen = ipv4HeaderLen + optionsLen(p.Options) + echoHeaderLen + len(p.data.bytes)
	return p4
}

// optionsLen is the length of the IP options of the requests.
func optionsLen(o *Options) int {
	switch {
	case o.RecordRoute:
		return maxIPOptLen
	case o.Gateway.IsValid():
		return sourceRouteLen
	}
	return 0
}

func (p *pinger4) bufferSize() int { return p.size() + maxIPv4Header + 76 }

func (p *pinger4) banner() {
	p.announcePattern()
	p.printf("PING %s (%s): %d data bytes\n", p.Host, p.Addr, p.size())
}

func (p *pinger4) message(seq uint16) []byte {
	if p.Random {
		p.data.randomize()
	}
	p.data.stamp(p.now)
	return marshal(ipv4.ICMPTypeEcho, p.ident, seq, p.data.bytes)
}

// marshal composes an echo request. For ICMPv6 the kernel computes the checksum.
func marshal(typ icmp.Type, ident, seq uint16, data []byte) []byte {
	m := icmp.Message{Type: typ, Body: &icmp.Echo{ID: int(ident), Seq: int(seq), Data: data}}
	b, _ := m.Marshal(nil) // fails for no echo message
	return b
}

func (p *pinger4) sent() {
	if p.Flood {
		p.move(1)
	}
}

func (p *pinger4) refused(err error, _ []byte) {
	p.flushDots(true)
	p.warn("%v", err)
}

func (p *pinger4) receiveFailed(err error) {
	p.flushDots(true)
	p.warn("%v", err)
}

// move shows a request or a reply of a flood.
func (p *pinger4) move(delta int) {
	if !p.Quiet && p.jiggle.move(delta, p.lastTx) {
		p.flushDots(false)
	}
}

func (p *pinger4) flushDots(newline bool) {
	p.printf("%s", p.jiggle.flush(p.now, newline))
	p.out.Flush()
}

func (p *pinger4) summary(last bool) {
	p.flushDots(true)
	if last {
		p.printf("\n----%s PING Statistics----\n", p.Host)
	}
	p.counts()
	if p.received == 0 || !p.timed {
		return
	}
	d, r := p.decimals, &p.round
	p.printf("round-trip min/avg/max/stddev = %.*f/%.*f/%.*f/%.*f ms\n",
		d, millis(r.min), d, r.average(), d, millis(r.max), d, r.deviation())
	if p.Flood {
		p.printf("  %.1f packets/sec sent,  %.1f packets/sec received\n",
			rate(p.transmitted, p.lastTx-p.firstTx), rate(p.received, p.lastRx-p.firstRx))
	}
}

// rate is n in a time, per second.
func rate(n int, d time.Duration) float64 {
	if d == 0 {
		d = 100 * time.Microsecond
	}
	return float64(n) / d.Seconds()
}

// datagram4 is what of a received IPv4 datagram is of interest.
type datagram4 struct {
	ttl     int
	options []byte
	icmp    []byte // at least 8 bytes
}

// parseIPv4 takes a datagram apart. ok is false when it is too short to hold an
// ICMP header.
func parseIPv4(b []byte) (d datagram4, ok bool) {
	if len(b) < ipv4HeaderLen {
		return d, false
	}
	hlen := int(b[0]&0xf) * 4
	if hlen < ipv4HeaderLen || len(b) < hlen+echoHeaderLen {
		return d, false
	}
	return datagram4{ttl: int(b[8]), options: b[ipv4HeaderLen:hlen], icmp: b[hlen:]}, true
}

// parseEcho returns the echo message in b, if that is what b is.
func parseEcho(proto int, typ icmp.Type, b []byte) (*icmp.Echo, bool) {
	m, err := icmp.ParseMessage(proto, b)
	if err != nil || m.Type != typ {
		return nil, false
	}
	echo, ok := m.Body.(*icmp.Echo)
	return echo, ok
}

func (p *pinger4) receive(pkt *Packet, at time.Duration) {
	d, ok := parseIPv4(pkt.Data)
	if !ok {
		if p.Verbose {
			p.flushDots(true)
			p.printf("packet too short (%d bytes) from %s\n", len(pkt.Data), pkt.From)
		}
		return
	}
	echo, ok := parseEcho(netbsd.IPPROTO_ICMP, ipv4.ICMPTypeEchoReply, d.icmp)
	if ok && echo.ID == int(p.ident) && p.ours(uint16(echo.Seq)) {
		p.reply(pkt, d, echo, at)
		return
	}
	r := report4{pinger4: p, from: pkt.From, msg: d.icmp}
	if !r.message() {
		return
	}
	p.options(d.options, func() {}, shownMessage)
	p.printf("\n")
}

// How much has been shown of a packet when its IP options are.
type shown int

const (
	shownNothing shown = iota
	shownReply
	shownMessage // something else than a reply: all its options are of interest
)

// reply reports a reply to one of our requests.
func (p *pinger4) reply(pkt *Packet, d datagram4, echo *icmp.Echo, at time.Duration) {
	seq := uint16(echo.Seq)
	if seq == uint16(p.transmitted-1) {
		p.caughtUp = true
	}
	trip := p.roundTrip(seq, at)
	duplicate := p.answered(seq, at, trip)

	state := shownNothing
	line := func() {
		if state != shownNothing {
			return
		}
		state = shownReply
		p.flushDots(true)
		if p.Flood {
			return
		}
		p.printf("%d bytes from %s: icmp_seq=%d", len(d.icmp), pkt.From, seq)
		if duplicate {
			p.printf(" DUP!")
		}
		p.printf(" ttl=%d", d.ttl)
		if p.timed {
			p.printf(" time=%.*f ms", p.decimals, millis(trip))
		}
		if p.Audible && !duplicate {
			// To where a terminal is more likely than at standard output.
			p.out.Flush()
			p.errw.Write([]byte("\a"))
		}
	}

	if !p.Quiet && len(pkt.Data) != p.totalLen {
		line()
		p.wrongLength(len(pkt.Data))
	}
	if !duplicate {
		p.gap(seq)
	}
	if p.Quiet {
		return
	}
	if !p.Flood {
		line()
	}
	if !p.Random && len(echo.Data) >= len(p.data.bytes) {
		if i := p.data.firstWrong(echo.Data); i >= 0 {
			line()
			p.wrongData(i, echo.Data)
		}
	}
	p.options(d.options, line, state)
	if state != shownNothing {
		p.printf("\n")
	} else {
		p.move(-1)
	}
}

// wrongLength says that a reply is not as long as the request.
func (p *pinger4) wrongLength(n int) {
	said := func(wanted bool, before *bool, what string) bool {
		if *before {
			return true
		}
		if wanted {
			*before = true
			p.printf("\nremote host does not support %s", what)
		}
		return wanted
	}
	switch p.totalLen - n {
	case maxIPOptLen:
		if said(p.RecordRoute, &p.noRecordRoute, "record route") {
			return
		}
	case sourceRouteLen:
		if said(p.Gateway.IsValid(), &p.noSourceRoute, "source route") {
			return
		}
	}
	p.printf("\nwrong total length %d instead of %d", n, p.totalLen)
}

// gap says that replies are missing before this one.
func (p *pinger4) gap(seq uint16) {
	missing := seq - (p.lastSeq + 1)
	if missing >= 0x8000 {
		return // an older one
	}
	if missing > 0 && p.Verbose {
		p.printf("[*** sequence gap of %d packets from %d ... %d ***]\n", missing, p.lastSeq+1, seq-1)
		if p.Quiet {
			p.summary(false)
		}
	}
	p.lastSeq = seq
}

// wrongData shows a reply's data, which differ from position i on.
func (p *pinger4) wrongData(i int, data []byte) {
	p.printf("\nwrong data byte #%d should have been %s but was %s",
		i-p.data.fixed, hexByte(p.data.bytes[i]), hexByte(data[i]))
	for i := p.data.fixed; i < p.size(); i++ {
		if i%16 == 0 {
			p.printf("\n\t")
		}
		p.printf("%2x ", data[i])
	}
}

// options shows the IP options of a packet. line shows the packet itself, if
// that has not happened yet.
func (p *pinger4) options(b []byte, line func(), state shown) {
	for len(b) > 0 && b[0] != netbsd.IPOPT_EOL {
		if b[0] == netbsd.IPOPT_NOP {
			if state == shownMessage {
				p.printf("\nNOP")
			}
			b = b[1:]
			continue
		}
		if len(b) < 2 || int(b[1]) < 2 || int(b[1]) > len(b) {
			line()
			p.printf("\nunknown option 0x%x", b[0])
			return
		}
		opt := b[:b[1]]
		b = b[b[1]:]
		switch opt[0] {
		case netbsd.IPOPT_RR:
			p.recordedRoute(opt, state)
		case netbsd.IPOPT_LSRR:
			if addrs := routeAddrs(opt, len(opt)); len(addrs) > 0 && state == shownMessage {
				p.printf("\nLSRR: ")
				p.route(addrs)
			}
		default:
			line()
			p.printf("\nunknown option 0x%x", opt[0])
		}
	}
}

// recordedRoute shows a record route option, unless it is the same as before.
func (p *pinger4) recordedRoute(opt []byte, state shown) {
	if len(opt) < 3 {
		return
	}
	// The pointer counts from 1 and shows where the next address would go.
	addrs := routeAddrs(opt, int(opt[2])-1)
	if len(addrs) == 0 {
		return
	}
	if state != shownMessage {
		if string(addrs) == string(p.oldRoute) {
			if state == shownReply {
				p.printf("\t(same route)")
			}
			return
		}
		p.oldRoute = append(p.oldRoute[:0], addrs...)
	}
	if state == shownNothing {
		p.flushDots(true)
		p.printf("RR: ")
	} else {
		p.printf("\nRR: ")
	}
	p.route(addrs)
	if state == shownNothing {
		p.printf("\n") // a flood goes on in a line of its own
	}
}
