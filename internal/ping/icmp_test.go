package ping

import (
	"bufio"
	"bytes"
	"context"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rumptools/pkg/netbsd"
)

// newTestPinger makes a pinger that has sent one request and prints to a buffer.
func newTestPinger(o Options) (*pinger, *bytes.Buffer) {
	var out bytes.Buffer
	o.Ident = 0x1234
	o.Program = "rping"
	if o.Size == 0 {
		o.Size = -1
	}
	p := &pinger{Options: &o, out: bufio.NewWriter(&out), errw: &out, ident: o.Ident, start: time.Now()}
	p.sock = newFake(silence)
	if o.ip6() {
		p.protocol = newIPv6(p)
	} else {
		p.protocol = newIPv4(p)
	}
	p.transmit(time.Second)
	return p, &out
}

func hear(p *pinger, out *bytes.Buffer, pkt Packet) string {
	p.receive(&pkt, time.Millisecond)
	p.out.Flush()
	return out.String()
}

// ip4 is an IPv4 header without options, or with.
func ip4(proto byte, options ...byte) []byte {
	h := []byte{0x45, 0, 0, 84, 0, 7, 0x40, 0, 64, proto, 0xab, 0xcd, 10, 0, 0, 1, 10, 0, 1, 3}
	h[0] += byte(len(options) / 4)
	return append(h, options...)
}

func concat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func TestErrors4(t *testing.T) {
	echo := []byte{8, 0, 0, 0, 0x12, 0x34, 0, 5} // with our identifier
	udp := []byte{0x30, 0x39, 0, 53, 0, 8, 0, 0}
	router := netip.MustParseAddr("10.0.0.9")
	icmp4 := func(typ, code byte, word ...byte) []byte {
		return append([]byte{typ, code, 0, 0}, append(word, make([]byte, 4-len(word))...)...)
	}
	tests := []struct {
		name             string
		msg, quoted      []byte
		plain, verbosely string
	}{
		{"net", icmp4(3, 0), concat(ip4(1), echo), "Destination Net Unreachable", ""},
		{"host", icmp4(3, 1), concat(ip4(1), echo), "Destination Host Unreachable", ""},
		{"protocol", icmp4(3, 2), concat(ip4(1), echo), "Destination Protocol Unreachable", ""},
		{"port", icmp4(3, 3), concat(ip4(1), echo), "Destination Port Unreachable", ""},
		{"needs fragments", icmp4(3, 4, 0, 0, 2, 0x40), concat(ip4(1), echo), "frag needed and DF set.  Next MTU=576", ""},
		{"source route", icmp4(3, 5), concat(ip4(1), echo), "Source Route Failed", ""},
		{"unknown net", icmp4(3, 6), concat(ip4(1), echo), "Unreachable unknown net", ""},
		{"unknown host", icmp4(3, 7), concat(ip4(1), echo), "Unreachable unknown host", ""},
		{"isolated", icmp4(3, 8), concat(ip4(1), echo), "Unreachable host isolated", ""},
		{"net prohibited", icmp4(3, 9), concat(ip4(1), echo), "Net prohibited access", ""},
		{"host prohibited", icmp4(3, 10), concat(ip4(1), echo), "Host prohibited access", ""},
		{"net TOS", icmp4(3, 11), concat(ip4(1), echo), "Bad TOS for net", ""},
		{"host TOS", icmp4(3, 12), concat(ip4(1), echo), "Bad TOS for host", ""},
		{"admin", icmp4(3, 13), concat(ip4(1), echo), "Communication prohibited", ""},
		{"precedence", icmp4(3, 14), concat(ip4(1), echo), "Host precedence violation", ""},
		{"cutoff", icmp4(3, 15), concat(ip4(1), echo), "Precedence cutoff", ""},
		{"code 16", icmp4(3, 16), concat(ip4(1), echo), "Bad Destination Unreachable Code: 16", ""},
		{"quench", icmp4(4, 0), concat(ip4(1), echo), "Source Quench", ""},
		{"redirect net", icmp4(5, 0, 10, 0, 0, 8), concat(ip4(1), echo), "Redirect Network New router addr: 10.0.0.8", ""},
		{"redirect host", icmp4(5, 1, 10, 0, 0, 8), concat(ip4(1), echo), "Redirect Host New router addr: 10.0.0.8", ""},
		{"redirect TOS", icmp4(5, 2), concat(ip4(1), echo), "Redirect Type of Service and Network New router addr: 0.0.0.0", ""},
		{"redirect TOS host", icmp4(5, 3), concat(ip4(1), echo), "Redirect Type of Service and Host New router addr: 0.0.0.0", ""},
		{"redirect 4", icmp4(5, 4), concat(ip4(1), echo), "Redirect--Bad Code: 4 New router addr: 0.0.0.0", ""},
		{"ttl", icmp4(11, 0), concat(ip4(1), echo), "Time To Live exceeded", ""},
		{"reassembly", icmp4(11, 1), concat(ip4(1), echo), "Frag reassembly time exceeded", ""},
		{"time 2", icmp4(11, 2), concat(ip4(1), echo), "Time exceeded, Bad Code: 2", ""},
		{"parameter", icmp4(12, 0, 20), concat(ip4(1), echo), "Parameter problem: pointer = 0x14", ""},
		{"quoted options", icmp4(11, 0), concat(ip4(1, 7, 3, 4, 0), echo), "Time To Live exceeded", ""},
		{"of another's echo", icmp4(11, 0), concat(ip4(1), []byte{8, 0, 0, 0, 0x12, 0x35, 0, 5}), "-", "ICMP"},
		{"of another's UDP", icmp4(3, 3), concat(ip4(17), udp), "-", "UDP"},
		{"of another's TCP", icmp4(3, 3), concat(ip4(6), udp), "-", "TCP"},
		{"of nothing", icmp4(3, 3), nil, "-", "nothing"},
		{"of a stub", icmp4(3, 3), ip4(1)[:19], "-", "nothing"},
		{"of a header", icmp4(3, 3), ip4(1), "-", "header"},
		{"of a header that lies", icmp4(3, 3), append([]byte{0x4f}, concat(ip4(1), echo)[1:]...), "-", "header"},
		{"of ours, cut", icmp4(3, 3), concat(ip4(1), echo[:7]), "cut", "header"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			pkt := Packet{Data: concat(ip4(1), tt.msg, tt.quoted), From: router}
			p, out := newTestPinger(Options{Addr: target4})
			got := hear(p, out, pkt)
			n := len(tt.msg) + len(tt.quoted)
			want := strconv.Itoa(n) + " bytes from 10.0.0.9: " + tt.plain + " for icmp_seq=5\n"
			switch tt.plain {
			case "-":
				want = ""
			case "cut":
				want = strconv.Itoa(n) + " bytes from 10.0.0.9: Destination Port Unreachable\n"
			}
			if got != want {
				t.Errorf("got %q, want %q", got, want)
			}

			for _, o := range []Options{{Quiet: true}, {SemiQuiet: true}} {
				o.Addr = target4
				p, out = newTestPinger(o)
				if got := hear(p, out, pkt); got != "" {
					t.Errorf("quietly: %q", got)
				}
			}

			p, out = newTestPinger(Options{Addr: target4, Verbose: true})
			got = hear(p, out, pkt)
			header := "\n Vr HL TOS  Len   ID Flg  off TTL Pro  cks      Src\t     Dst\n" +
				"  4  5  00 5400 0700   0 0040  40  01 cdab        10.0.0.1  10.0.1.3 "
			text := tt.plain
			if text == "-" || text == "cut" {
				text, _, _ = strings.Cut(got, "\n")
			}
			switch tt.verbosely {
			case "":
				if tt.name == "quoted options" {
					header = strings.Replace(header, "4  5", "4  6", 1) + "07030400"
				}
				want = text + header + "\n  ID=4660 icmp_seq=5\n"
			case "ICMP":
				want = text + header + "\n  ID=4661 icmp_seq=5\n"
			case "UDP", "TCP":
				proto := map[string]string{"UDP": "11", "TCP": "06"}[tt.verbosely]
				want = text + strings.Replace(header, "40  01", "40  "+proto, 1) +
					"\n  " + tt.verbosely + ": from port 12345, to port 53\n"
			case "nothing":
				want = text + "\n"
			case "header":
				if tt.name == "of a header that lies" {
					header = strings.Replace(header, "4  5", "4  f", 1) + "0800000012340005"
				}
				want = text + header + "\n"
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("verbosely, wanted -, got +:\n%s", diff)
			}
		})
	}
}

func TestOtherMessages4(t *testing.T) {
	for typ, want := range map[byte]string{
		netbsd.ICMP_ECHO:          "Echo Request: ID=258 seq=772\n",
		netbsd.ICMP_ROUTERADVERT:  "Router Discovery Advert\n",
		netbsd.ICMP_ROUTERSOLICIT: "Router Discovery Solicit\n",
		netbsd.ICMP_TSTAMP:        "Timestamp\n",
		netbsd.ICMP_TSTAMPREPLY:   "Timestamp Reply\n",
		netbsd.ICMP_IREQ:          "Information Request\n",
		netbsd.ICMP_IREQREPLY:     "Information Reply\n",
		netbsd.ICMP_MASKREQ:       "Address Mask Request\n",
		netbsd.ICMP_MASKREPLY:     "Address Mask Reply\n",
		99:                        "Bad ICMP type: 99\n",
		netbsd.ICMP_ECHOREPLY:     "",
	} {
		pkt := Packet{Data: concat(ip4(1), []byte{typ, 0, 0, 0, 1, 2, 3, 4}), From: target4}
		p, out := newTestPinger(Options{Addr: target4, Verbose: true})
		if got := hear(p, out, pkt); got != want {
			t.Errorf("type %d: %q, want %q", typ, got, want)
		}
		p, out = newTestPinger(Options{Addr: target4})
		if got := hear(p, out, pkt); got != "" {
			t.Errorf("type %d, not verbose: %q", typ, got)
		}
	}
}

func TestIPOptions(t *testing.T) {
	rr := func(ptr byte, room int, addrs ...byte) []byte {
		opt := append([]byte{netbsd.IPOPT_RR, byte(3 + room), ptr}, addrs...)
		opt = append(opt, make([]byte, 3+room-len(opt))...)
		for len(opt)%4 != 0 {
			opt = append(opt, netbsd.IPOPT_EOL)
		}
		return opt
	}
	const line = "64 bytes from 10.0.0.2: icmp_seq=0 ttl=64 time=1.000000 ms"
	tests := []struct {
		name      string
		options   []byte
		o         Options
		want      string
		sameAgain string
	}{
		{"none", nil, Options{}, line + "\n", ""},
		{"route", rr(12, 36, 10, 0, 0, 2, 10, 0, 0, 1), Options{}, line + "\nRR: \t10.0.0.2\n\t10.0.0.1\n", "\t(same route)\n"},
		{"full route", rr(13, 8, 10, 0, 0, 2, 10, 0, 0, 1), Options{}, line + "\nRR: \t10.0.0.2\n\t10.0.0.1\n", "\t(same route)\n"},
		{"pointer too far", rr(255, 8, 10, 0, 0, 2, 10, 0, 0, 1), Options{}, line + "\nRR: \t10.0.0.2\n\t10.0.0.1\n", "\t(same route)\n"},
		{"empty route", rr(4, 36), Options{}, line + "\n", ""},
		{"pointer before the start", rr(0, 36), Options{}, line + "\n", ""},
		{"unspecified", rr(8, 36), Options{}, line + "\nRR: \t0.0.0.0\n", "\t(same route)\n"},
		{"padding", []byte{1, 1, 1, 0}, Options{}, line + "\n", ""},
		{"source route", []byte{131, 7, 8, 10, 0, 0, 9, 1}, Options{}, line + "\n", ""},
		{"unknown", []byte{0x94, 4, 0, 0, 1, 1, 1, 0}, Options{}, line + "\nunknown option 0x94\n", ""},
		{"lies about its length", []byte{7, 40, 8, 10}, Options{}, line + "\nunknown option 0x7\n", ""},
		{"has no length", []byte{1, 1, 1, 7}, Options{}, line + "\nunknown option 0x7\n", ""},
		{"length 0", []byte{7, 0, 0, 0}, Options{}, line + "\nunknown option 0x7\n", ""},
		{"length 2", []byte{7, 2, 0, 0}, Options{}, line + "\n", ""},
		{"flood", rr(8, 36, 10, 0, 0, 2), Options{Flood: true}, ".\nRR: \t10.0.0.2\n", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.o.Addr = target4
			p, out := newTestPinger(tt.o)
			msg := p.message(0)
			packet := func(msg []byte) Packet {
				msg[0] = netbsd.ICMP_ECHOREPLY
				p.protocol.(*pinger4).totalLen = ipv4HeaderLen + len(tt.options) + len(msg)
				return Packet{Data: concat(ip4(1, tt.options...), msg), From: target4}
			}
			got := hear(p, out, packet(msg))
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if tt.sameAgain == "" {
				return
			}
			out.Reset()
			p.transmit(time.Second)
			got = hear(p, out, packet(p.message(1)))
			if want := "64 bytes from 10.0.0.2: icmp_seq=1 ttl=64 time=1.000000 ms" + tt.sameAgain; got != want {
				t.Errorf("again: got %q, want %q", got, want)
			}
		})
	}

	// Of other messages, everything is shown.
	p, out := newTestPinger(Options{Addr: target4, Verbose: true})
	opts := []byte{1, 131, 11, 12, 10, 0, 0, 9, 10, 0, 0, 8, 7, 7, 8, 10, 0, 0, 2, 0}
	got := hear(p, out, Packet{Data: concat(ip4(1, opts...), []byte{13, 0, 0, 0, 0, 0, 0, 0}), From: target4})
	want := "Timestamp\nNOP\nLSRR: \t10.0.0.9\n\t10.0.0.8\nRR: \t10.0.0.2\n"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// ip6 is an IPv6 header.
func ip6(next byte) []byte {
	src, dst := netip.MustParseAddr("fd00::1").As16(), netip.MustParseAddr("fd00:1::3").As16()
	return concat([]byte{0x61, 0x23, 0x45, 0x67, 0, 16, next, 63}, src[:], dst[:])
}

func TestMessages6(t *testing.T) {
	const header = "Vr TC  Flow Plen Nxt Hlim\n 6 12 34567 0010  "
	const addrs = "   3f\nfd00::1->fd00:1::3\n"
	echo := []byte{128, 0, 0, 0, 0x12, 0x34, 0, 0}
	word := []byte{0, 0, 5, 0x14}
	none := []byte{0, 0, 0, 0}
	quoted := concat(ip6(58), echo)
	said := header + "3a" + addrs + "ICMP6: type = 128, code = 0\n\n"
	zeros := func(n int) []byte { return make([]byte, n) }
	niMsg := func(typ, code, qtype byte, subject string) []byte {
		return concat([]byte{typ, code, 0, 0, 0, 0, 0, 0, 0, qtype}, zeros(6), []byte(subject))
	}
	tests := []struct {
		msg  []byte
		want string
	}{
		{concat([]byte{1, 0, 0, 0}, none, quoted), "No Route to Destination\n" + said},
		{concat([]byte{1, 1, 0, 0}, none, quoted), "Destination Administratively Unreachable\n" + said},
		{concat([]byte{1, 2, 0, 0}, none, quoted), "Destination Unreachable Beyond Scope\n" + said},
		{concat([]byte{1, 3, 0, 0}, none, quoted), "Destination Host Unreachable\n" + said},
		{concat([]byte{1, 4, 0, 0}, none, quoted), "Destination Port Unreachable\n" + said},
		{concat([]byte{1, 9, 0, 0}, none, quoted), "Destination Unreachable, Bad Code: 9\n" + said},
		{concat([]byte{2, 0, 0, 0}, word, quoted), "Packet too big mtu = 1300\n" + said},
		{concat([]byte{3, 0, 0, 0}, none, quoted), "Time to live exceeded\n" + said},
		{concat([]byte{3, 1, 0, 0}, none, quoted), "Frag reassembly time exceeded\n" + said},
		{concat([]byte{3, 2, 0, 0}, none, quoted), "Time exceeded, Bad Code: 2\n" + said},
		{concat([]byte{4, 0, 0, 0}, word, quoted), "Parameter problem: Erroneous Header pointer = 0x514\n" + said},
		{concat([]byte{4, 1, 0, 0}, none, quoted), "Parameter problem: Unknown Nextheader pointer = 0x00\n" + said},
		{concat([]byte{4, 2, 0, 0}, none, quoted), "Parameter problem: Unrecognized Option pointer = 0x00\n" + said},
		{concat([]byte{4, 3, 0, 0}, none, quoted), "Parameter problem: Bad code(3) pointer = 0x00\n" + said},
		{concat([]byte{1, 0, 0, 0}, none), "No Route to Destination\nIP6...\n\n"},
		{concat([]byte{1, 0, 0, 0}, none, ip6(58)), "No Route to Destination\n" + header + "3a" + addrs + "...\n\n"},
		{concat([]byte{1, 4, 0, 0}, none, ip6(17), []byte{0x30, 0x39, 0, 53, 0, 8, 0, 0}),
			"Destination Port Unreachable\n" + header + "11" + addrs + "UDP: from port 12345, to port 53 (decimal)\n\n"},
		{concat([]byte{1, 4, 0, 0}, none, ip6(6), []byte{0x30, 0x39, 0, 53, 0, 8, 0, 0}),
			"Destination Port Unreachable\n" + header + "06" + addrs + "TCP: from port 12345, to port 53 (decimal)\n\n"},
		{concat([]byte{1, 4, 0, 0}, none, ip6(0), []byte{60}, zeros(7), []byte{43}, zeros(7), []byte{44}, zeros(7), []byte{51}, zeros(7), []byte{50}, zeros(7), zeros(8)),
			"Destination Port Unreachable\n" + header + "00" + addrs + "HBH DSTOPT RTHDR FRAG AH ESP\n\n"},
		{concat([]byte{1, 4, 0, 0}, none, ip6(0), []byte{60, 200}, zeros(14)),
			"Destination Port Unreachable\n" + header + "00" + addrs + "HBH ...\n\n"},
		{concat([]byte{1, 4, 0, 0}, none, ip6(99), zeros(8)),
			"Destination Port Unreachable\n" + header + "63" + addrs + "Unknown Header(99)\n\n"},
		{concat([]byte{128, 0, 0, 0}, none), "Echo Request\n"},
		{concat([]byte{129, 0, 0, 0}, none), "Echo Reply\n"},
		{concat([]byte{130, 0, 0, 0}, none), "Listener Query\n"},
		{concat([]byte{131, 0, 0, 0}, none), "Listener Report\n"},
		{concat([]byte{132, 0, 0, 0}, none), "Listener Done\n"},
		{concat([]byte{133, 0, 0, 0}, none), "Router Solicitation\n"},
		{concat([]byte{134, 0, 0, 0}, none), "Router Advertisement\n"},
		{concat([]byte{135, 0, 0, 0}, none), "Neighbor Solicitation\n"},
		{concat([]byte{136, 0, 0, 0}, none), "Neighbor Advertisement\n"},
		{concat([]byte{137, 0, 0, 0}, none, ip6(0)[8:]), "Redirect\nDestination: fd00:1::3 New Target: fd00::1\n"},
		{concat([]byte{137, 0, 0, 0}, none), "Redirect\n\n"},
		{niMsg(139, 1, 0, ""), "Node Information Query, NOOP, no subject\n"},
		{niMsg(139, 1, 1, "\x03abc\x01\xe9\x00"), "Node Information Query, Supported qtypes, subject=DNS label(abc.\\351.)\n"},
		{niMsg(139, 1, 2, "\x03ab"), "Node Information Query, DNS name, subject=DNS label(invalid)\n"},
		{niMsg(139, 0, 3, string(ip6(0)[8:24])), "Node Information Query, nodeaddr, subject=IPv6 address(fd00::1)\n"},
		{niMsg(139, 0, 4, ""), "Node Information Query, IPv4 nodeaddr, oldfqdn\n"},
		{niMsg(139, 2, 9, "\x0a\x00\x00\x01"), "Node Information Query, unknown qtype, subject=IPv4 address(10.0.0.1)\n"},
		{niMsg(139, 2, 9, "\x0a"), "Node Information Query, unknown qtype, invalid\n"},
		{niMsg(139, 3, 9, ""), "Node Information Query, unknown qtype, invalid\n"},
		{niMsg(140, 0, 2, ""), "Node Information Reply, DNS name, Success\n"},
		{niMsg(140, 1, 2, ""), "Node Information Reply, DNS name, Refused\n"},
		{niMsg(140, 9, 2, ""), "Node Information Reply, DNS name, invalid\n"},
		{concat([]byte{139, 0, 0, 0}, none), "Node Information Query\n"},
		{concat([]byte{99, 0, 0, 0}, none), "Bad ICMP type: 99\n"},
	}
	from := netip.MustParseAddr("fe80::2%shmif0")
	for _, tt := range tests {
		o := Options{Addr: netip.MustParseAddr("fd00:1::3"), Verbose: true}
		pkt := Packet{Data: tt.msg, From: from, HopLimit: 1, Dst: netip.MustParseAddr("fd00::1%2")}
		p, out := newTestPinger(o)
		got := hear(p, out, pkt)
		want := strconv.Itoa(len(tt.msg)) + " bytes from fe80::2%shmif0: " + tt.want
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("% x, wanted -, got +:\n%s", tt.msg, diff)
		}
		o.Verbose = false
		p, out = newTestPinger(o)
		if got := hear(p, out, pkt); got != "" {
			t.Errorf("% x, not verbose: %q", tt.msg, got)
		}
	}
}

func TestExtensionHeaders(t *testing.T) {
	addr := netip.MustParseAddr("fd00::9").As16()
	ext := []ExtHeader{
		{netbsd.IPPROTO_HOPOPTS, []byte{58, 0, 5, 2, 0, 7, 1, 0}},
		{netbsd.IPPROTO_DSTOPTS, []byte{58, 1, 0xc2, 4, 0, 1, 0, 0, 0x1e, 2, 9, 9, 0, 0, 0, 0}},
		{netbsd.IPPROTO_DSTOPTS, []byte{58, 9, 0x1e, 9, 0, 0, 0, 0}}, // longer than itself
		{netbsd.IPPROTO_ROUTING, concat([]byte{58, 2, 0, 1, 0, 0, 0, 0}, addr[:])},
		{netbsd.IPPROTO_ROUTING, []byte{58, 4, 0, 2, 0, 0, 0, 0}},
		{netbsd.IPPROTO_ROUTING, []byte{58, 0, 4, 1, 0, 0, 0, 0}},
		{netbsd.IPPROTO_HOPOPTS, []byte{58, 0, 5}},
	}
	p, out := newTestPinger(Options{Addr: netip.MustParseAddr("fd00:1::3"), Verbose: true})
	got := hear(p, out, Packet{Data: []byte{131, 0, 0, 0, 0, 0, 0, 0}, From: netip.MustParseAddr("fd00::2"),
		HopLimit: 1, Dst: netip.MustParseAddr("ff02::1"), Ext: ext})
	want := `8 bytes from fd00::2: Listener Report
  HbH Options: nxt 58, len 0 (8 bytes)
    Router Alert Opt: Type 7
  Dst Options: nxt 58, len 1 (16 bytes)
    Jumbo Payload Opt: Length 65536
    Received Opt 30 len 2
  Dst Options: nxt 58, len 9 (80 bytes)
  Routing: nxt 58, len 2 (24 bytes), type 0, 1 segments, 1 left
   [0]fd00::9
  Routing: nxt 58, len 4 (40 bytes), type 0, 2 segments, 2 left
  Routing: nxt 58, len 0 (8 bytes), type 4, segments unknown, 1 left
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("wanted -, got +:\n%s", diff)
	}
}

func TestAddr6(t *testing.T) {
	for in, want := range map[string]string{
		"fd00::1":         "fd00::1",
		"fe80::1%shmif0":  "fe80::1%shmif0",
		"::":              "::",
		"::1":             "::1",
		"::ffff:10.0.0.1": "::ffff:10.0.0.1",
		"::10.0.0.1":      "::10.0.0.1",
		"::0.1.0.1":       "::0.1.0.1",
		"::0.0.1.1":       "::101",
		"::10.0.0.1%3":    "::10.0.0.1%3",
		"1::10.0.0.1":     "1::a00:1",
	} {
		if got := addr6(netip.MustParseAddr(in)); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
	if got := addr6(netip.Addr{}); got != "?" {
		t.Errorf("no address: %s", got)
	}
}

// What comes from the network or from the kernel does no harm, and each message
// leaves whole lines.
func FuzzReceive(f *testing.F) {
	f.Add([]byte{}, []byte{}, false)
	f.Add(concat(ip4(1), []byte{3, 1, 0, 0, 0, 0, 0, 0}, ip4(1), []byte{8, 0, 0, 0, 0x12, 0x34, 0, 5}), []byte{}, false)
	f.Add(concat(ip4(1, 7, 7, 8, 10, 0, 0, 1, 0), []byte{0, 0, 0, 0, 0x12, 0x34, 0, 0, 1, 2, 3}), []byte{}, true)
	f.Add(concat([]byte{129, 0, 0, 0, 0x12, 0x34, 0, 0}, make([]byte, 8)), []byte{58, 0, 5, 2, 0, 7, 1, 0}, true)
	f.Add(concat([]byte{1, 0, 0, 0, 0, 0, 0, 0}, ip6(0), []byte{60, 0, 0, 0, 0, 0, 0, 0}), []byte{58, 1, 0xc2, 4}, false)
	f.Add([]byte{139, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 3, 'a', 'b', 'c', 0}, []byte{}, false)
	f.Fuzz(func(t *testing.T, data, ext []byte, flood bool) {
		for _, o := range []Options{
			{Addr: target4, Verbose: true, Flood: flood, RecordRoute: true},
			{Addr: target4, Size: 3, Flood: flood},
			{Addr: netip.MustParseAddr("fd00::2"), Verbose: true, Flood: flood},
			{Addr: netip.MustParseAddr("fd00::2"), Size: 3, Flood: flood},
		} {
			p, out := newTestPinger(o)
			pkt := Packet{Data: data, From: o.Addr, HopLimit: 1, Dst: o.Addr}
			for _, proto := range []int{netbsd.IPPROTO_HOPOPTS, netbsd.IPPROTO_ROUTING} {
				pkt.Ext = append(pkt.Ext, ExtHeader{proto, ext})
			}
			got := hear(p, out, pkt)
			if got != "" && !flood && !strings.HasSuffix(got, "\n") {
				t.Errorf("half a line: %q", got)
			}
		}
	})
}

// FuzzDescribe reads what a kernel may say beside a packet.
func FuzzDescribe(f *testing.F) {
	m := netbsd.AMD64
	control := netbsd.AppendCmsg(m, nil, netbsd.IPPROTO_IPV6, netbsd.IPV6_HOPLIMIT, []byte{63, 0, 0, 0})
	control = netbsd.AppendCmsg(m, control, netbsd.IPPROTO_IPV6, netbsd.IPV6_PKTINFO, make([]byte, 20))
	f.Add(netbsd.SockaddrIn6(m, netip.MustParseAddrPort("[fe80::1]:0"), 2, 0), control)
	f.Fuzz(func(t *testing.T, from, control []byte) {
		for _, m := range []*netbsd.Machine{netbsd.AMD64, netbsd.POWERPC} {
			l := &interfaces{machine: m, list: func(context.Context) (map[int]string, error) {
				return map[int]string{1: "lo0"}, nil
			}}
			var pkt Packet
			l.describe(t.Context(), &pkt, from, control)
			addr6(pkt.From)
			addr6(pkt.Dst)
		}
	})
}
