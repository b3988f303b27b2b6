//go:build linux

package linuxsock_test

import (
	"bytes"
	"net/netip"
	"testing"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
)

var udpHeader = []byte{0x12, 0x34, 0, 53, 0, 12, 0, 0}

// packet4 is a packet of IPv4 with a header of so many bytes.
func packet4(headerLen int, src, dst string, ttl, proto byte, payload []byte) []byte {
	b := make([]byte, headerLen)
	b[0], b[8], b[9] = 0x40|byte(headerLen/4), ttl, proto
	copy(b[12:], netip.MustParseAddr(src).AsSlice())
	copy(b[16:], netip.MustParseAddr(dst).AsSlice())
	return append(b, payload...)
}

func packet6(src, dst string, proto byte, payload []byte) []byte {
	b := make([]byte, 40)
	b[0], b[6], b[7] = 0x60, proto, 64
	copy(b[8:], netip.MustParseAddr(src).AsSlice())
	copy(b[24:], netip.MustParseAddr(dst).AsSlice())
	return append(b, payload...)
}

// TestParseICMP: what the messages of a well-known package tell.
func TestParseICMP(t *testing.T) {
	message := func(m icmp.Message) []byte {
		b, err := m.Marshal(nil)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	data := append(bytes.Clone(udpHeader), "data"...)
	from, to := netip.MustParseAddrPort("10.0.0.1:4660"), netip.MustParseAddrPort("10.0.9.9:53")
	from6, to6 := netip.MustParseAddrPort("[fd00::1]:4660"), netip.MustParseAddrPort("[fd09::9]:53")
	quoted := packet4(20, "10.0.0.1", "10.0.9.9", 1, unix.IPPROTO_UDP, data)
	quoted6 := packet6("fd00::1", "fd09::9", unix.IPPROTO_UDP, data)
	router, router6 := netip.MustParseAddr("10.0.0.254"), netip.MustParseAddr("fd00::fe")
	tooLong := message(icmp.Message{Type: ipv4.ICMPTypeDestinationUnreachable, Code: 4, Body: &icmp.DstUnreach{Data: quoted}})
	tooLong[6], tooLong[7] = 1280>>8, 1280&255
	echo := []byte{8, 0, 0, 0, 0xab, 0xcd, 0, 1, 'x'}
	for _, test := range []struct {
		name  string
		b     []byte
		want  linuxsock.ICMPError // its place, ports and data
		errno unix.Errno
	}{
		{"nobody has the port", message(icmp.Message{Type: ipv4.ICMPTypeDestinationUnreachable, Code: 3, Body: &icmp.DstUnreach{Data: quoted}}),
			linuxsock.ICMPError{Type: 3, Code: 3, Protocol: unix.IPPROTO_UDP, From: from, To: to, Data: []byte("data")}, unix.ECONNREFUSED},
		{"no host", message(icmp.Message{Type: ipv4.ICMPTypeDestinationUnreachable, Code: 1, Body: &icmp.DstUnreach{Data: quoted[:28]}}),
			linuxsock.ICMPError{Type: 3, Code: 1, Protocol: unix.IPPROTO_UDP, From: from, To: to}, unix.EHOSTUNREACH},
		{"a code that nobody knows", message(icmp.Message{Type: ipv4.ICMPTypeDestinationUnreachable, Code: 99, Body: &icmp.DstUnreach{Data: quoted[:28]}}),
			linuxsock.ICMPError{Type: 3, Code: 99, Protocol: unix.IPPROTO_UDP, From: from, To: to}, unix.EHOSTUNREACH},
		{"too long", tooLong,
			linuxsock.ICMPError{Type: 3, Code: 4, Info: 1280, Protocol: unix.IPPROTO_UDP, From: from, To: to, Data: []byte("data")}, unix.EMSGSIZE},
		{"too many hops", message(icmp.Message{Type: ipv4.ICMPTypeTimeExceeded, Body: &icmp.TimeExceeded{Data: quoted}}),
			linuxsock.ICMPError{Type: 11, Protocol: unix.IPPROTO_UDP, From: from, To: to, Data: []byte("data")}, unix.EHOSTUNREACH},
		{"a problem with a byte", message(icmp.Message{Type: ipv4.ICMPTypeParameterProblem, Body: &icmp.ParamProb{Pointer: 12, Data: quoted}}),
			linuxsock.ICMPError{Type: 12, Info: 12, Protocol: unix.IPPROTO_UDP, From: from, To: to, Data: []byte("data")}, unix.EPROTO},
		{"of an echo request, with options", message(icmp.Message{Type: ipv4.ICMPTypeTimeExceeded, Body: &icmp.TimeExceeded{Data: packet4(24, "10.0.0.1", "10.0.9.9", 1, unix.IPPROTO_ICMP, echo)}}),
			linuxsock.ICMPError{Type: 11, Protocol: unix.IPPROTO_ICMP, From: netip.MustParseAddrPort("10.0.0.1:43981"), To: netip.MustParseAddrPort("10.0.9.9:0"), Data: []byte("x")}, unix.EHOSTUNREACH},
		{"nobody has the port", message(icmp.Message{Type: ipv6.ICMPTypeDestinationUnreachable, Code: 4, Body: &icmp.DstUnreach{Data: quoted6}}),
			linuxsock.ICMPError{V6: true, Type: 1, Code: 4, Protocol: unix.IPPROTO_UDP, From: from6, To: to6, Data: []byte("data")}, unix.ECONNREFUSED},
		{"of a first fragment", message(icmp.Message{Type: ipv6.ICMPTypeTimeExceeded, Body: &icmp.TimeExceeded{Data: packet6("fd00::1", "fd09::9", unix.IPPROTO_FRAGMENT, append([]byte{unix.IPPROTO_UDP, 0, 0, 1, 0, 0, 0, 7}, data...))}}),
			linuxsock.ICMPError{V6: true, Type: 3, Protocol: unix.IPPROTO_UDP, From: from6, To: to6, Data: []byte("data")}, unix.EHOSTUNREACH},
		{"forbidden", message(icmp.Message{Type: ipv6.ICMPTypeDestinationUnreachable, Code: 1, Body: &icmp.DstUnreach{Data: quoted6}}),
			linuxsock.ICMPError{V6: true, Type: 1, Code: 1, Protocol: unix.IPPROTO_UDP, From: from6, To: to6, Data: []byte("data")}, unix.EACCES},
		{"too long", message(icmp.Message{Type: ipv6.ICMPTypePacketTooBig, Body: &icmp.PacketTooBig{MTU: 1400, Data: quoted6}}),
			linuxsock.ICMPError{V6: true, Type: 2, Info: 1400, Protocol: unix.IPPROTO_UDP, From: from6, To: to6, Data: []byte("data")}, unix.EMSGSIZE},
		{"too many hops", message(icmp.Message{Type: ipv6.ICMPTypeTimeExceeded, Body: &icmp.TimeExceeded{Data: quoted6}}),
			linuxsock.ICMPError{V6: true, Type: 3, Protocol: unix.IPPROTO_UDP, From: from6, To: to6, Data: []byte("data")}, unix.EHOSTUNREACH},
		{"a problem with a byte", message(icmp.Message{Type: ipv6.ICMPTypeParameterProblem, Body: &icmp.ParamProb{Pointer: 6, Data: quoted6}}),
			linuxsock.ICMPError{V6: true, Type: 4, Info: 6, Protocol: unix.IPPROTO_UDP, From: from6, To: to6, Data: []byte("data")}, unix.EPROTO},
	} {
		var got linuxsock.ICMPError
		var ok bool
		want := test.want
		if want.V6 {
			got, ok = linuxsock.ParseICMP6(test.b, router6)
			want.Offender = router6
		} else {
			got, ok = linuxsock.ParseICMP(packet4(20, "10.0.0.254", "10.0.0.1", 63, unix.IPPROTO_ICMP, test.b))
			want.Offender, want.TTL = router, 63
		}
		data := got.Data
		if !ok || !bytes.HasPrefix(data, want.Data) || len(bytes.Trim(data[len(want.Data):], "\x00")) > 0 {
			t.Errorf("%s: %v, data %q, want %q", test.name, ok, data, want.Data)
		}
		got.Data, want.Data = nil, nil
		if got.V6 != want.V6 || got.Type != want.Type || got.Code != want.Code || got.Info != want.Info || got.Offender != want.Offender ||
			got.TTL != want.TTL || got.Protocol != want.Protocol || got.From != want.From || got.To != want.To {
			t.Errorf("%s: %+v, want %+v", test.name, got, want)
		}
		q := got.Queued()
		if q.Errno != test.errno || q.Type != want.Type || q.Code != want.Code || q.Info != want.Info || q.Offender != want.Offender {
			t.Errorf("%s: %+v, want %v", test.name, q, test.errno)
		}
	}
	// What is no error, or of no datagram.
	for name, msg := range map[string][]byte{
		"an echo reply": message(icmp.Message{Type: ipv4.ICMPTypeEchoReply, Body: &icmp.Echo{Data: quoted}}),
		"of TCP":        message(icmp.Message{Type: ipv4.ICMPTypeTimeExceeded, Body: &icmp.TimeExceeded{Data: packet4(20, "10.0.0.1", "10.0.9.9", 1, unix.IPPROTO_TCP, data)}}),
		"nothing":       {},
		"cut":           message(icmp.Message{Type: ipv4.ICMPTypeTimeExceeded, Body: &icmp.TimeExceeded{Data: quoted}})[:20],
	} {
		if e, ok := linuxsock.ParseICMP(packet4(20, "10.0.0.254", "10.0.0.1", 63, unix.IPPROTO_ICMP, msg)); ok {
			t.Errorf("%s: %+v", name, e)
		}
	}
}

// FuzzICMP: whatever comes is read without a panic, and what is read is within it.
func FuzzICMP(f *testing.F) {
	data := append(bytes.Clone(udpHeader), "data"...)
	msg := append([]byte{3, 3, 0, 0, 0, 0, 0, 0}, packet4(20, "10.0.0.1", "10.0.9.9", 1, unix.IPPROTO_UDP, data)...)
	f.Add(packet4(20, "10.0.0.254", "10.0.0.1", 63, unix.IPPROTO_ICMP, msg))
	f.Add(append([]byte{1, 4, 0, 0, 0, 0, 0, 0}, packet6("fd00::1", "fd09::9", unix.IPPROTO_UDP, data)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, parse := range []func() (linuxsock.ICMPError, bool){
			func() (linuxsock.ICMPError, bool) { return linuxsock.ParseICMP(b) },
			func() (linuxsock.ICMPError, bool) { return linuxsock.ParseICMP6(b, netip.IPv6Loopback()) },
		} {
			e, ok := parse()
			if !ok {
				continue
			}
			if !bytes.HasSuffix(b, e.Data) || e.Queued().Errno == 0 || !e.To.IsValid() || !e.From.IsValid() {
				t.Errorf("%x: %+v", b, e)
			}
			linuxsock.ErrorControl(nil, unix.AF_INET6, e.Queued(), 64)
		}
	})
}
