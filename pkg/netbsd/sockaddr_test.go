package netbsd

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(removeSpaces(s))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSockaddrs(t *testing.T) {
	for _, tt := range []struct {
		name string
		m    *Machine
		sa   SA
		want string
		text string
	}{
		{"in", AMD64, SA{Family: AF_INET, AddrPort: netip.MustParseAddrPort("10.0.0.1:80")},
			"10 02 0050 0a000001 0000000000000000", "10.0.0.1:80"},
		{"in, big-endian", POWERPC, SA{Family: AF_INET, AddrPort: netip.MustParseAddrPort("10.0.0.1:80")},
			"10 02 0050 0a000001 0000000000000000", "10.0.0.1:80"},
		{"in6", AMD64, SA{Family: AF_INET6, AddrPort: netip.MustParseAddrPort("[fe80::1]:8081"), ScopeID: 2, Flowinfo: 0x12345},
			"1c 18 1f91 00012345 fe800000000000000000000000000001 02000000", "[fe80::1%2]:8081"},
		{"in6, big-endian", POWERPC, SA{Family: AF_INET6, AddrPort: netip.MustParseAddrPort("[fe80::1]:8081"), ScopeID: 2},
			"1c 18 1f91 00000000 fe800000000000000000000000000001 00000002", "[fe80::1%2]:8081"},
		{"in6 without scope", AMD64, SA{Family: AF_INET6, AddrPort: netip.MustParseAddrPort("[fd00::1]:0")},
			"1c 18 0000 00000000 fd000000000000000000000000000001 00000000", "[fd00::1]:0"},
		{"dl", AMD64, SA{Family: AF_LINK, DL: SockaddrDL{Index: 2, Type: IFT_ETHER, Name: "shmif0", Addr: []byte{2, 0, 0, 0, 0, 2}, Sel: []byte{}}},
			"14 12 0200 06 06 06 00 73686d696630 020000000002", "shmif0 02:00:00:00:00:02"},
		{"dl, big-endian", POWERPC, SA{Family: AF_LINK, DL: SockaddrDL{Index: 2, Type: IFT_ETHER, Name: "", Addr: []byte{2, 0, 0, 0, 0, 2}, Sel: []byte{}}},
			"14 12 0002 06 00 06 00 020000000002 000000000000", "link#2 02:00:00:00:00:02"},
		{"dl longer than the structure", AMD64, SA{Family: AF_LINK, DL: SockaddrDL{Index: 1, Type: IFT_BRIDGE, Name: "longname123456", Addr: []byte{1}, Sel: []byte{9}}},
			"18 12 0100 d1 0e 01 01 6c6f6e676e616d65313233343536 01 09", "longname123456 01"},
		{"un", AMD64, SA{Family: AF_LOCAL, Path: "/sock"}, "08 01 2f736f636b 00", "/sock"},
		{"un without path", AMD64, SA{Family: AF_LOCAL}, "03 01 00", ""},
		{"route", AMD64, SA{Family: AF_ROUTE, Data: []byte{1, 2}}, "04 22 01 02", "family 34 01 02"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, err := tt.sa.Append(tt.m, nil)
			if err != nil {
				t.Fatal(err)
			}
			want := unhex(t, tt.want)
			if !bytes.Equal(b, want) {
				t.Errorf("% x, want % x", b, want)
			}
			sa, err := ParseSockaddr(tt.m, append(want, "more"...))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(sa, tt.sa) {
				t.Errorf("%+v, want %+v", sa, tt.sa)
			}
			if got := sa.String(); got != tt.text {
				t.Errorf("%q, want %q", got, tt.text)
			}
		})
	}
}

func TestSockaddrOddities(t *testing.T) {
	if got, want := SockaddrIn(netip.MustParseAddrPort("[::ffff:1.2.3.4]:5")), unhex(t, "1002 0005 01020304 0000000000000000"); !bytes.Equal(got, want) {
		t.Errorf("mapped address: % x", got)
	}
	if got, want := SockaddrIn(netip.AddrPort{}), unhex(t, "1002 0000 00000000 0000000000000000"); !bytes.Equal(got, want) {
		t.Errorf("no address: % x", got)
	}
	if got := SockaddrIn6(AMD64, netip.AddrPortFrom(netip.MustParseAddr("fe80::1%7"), 1), 0, 0); got[24] != 7 {
		t.Errorf("numeric zone: % x", got)
	}
	if got := SockaddrIn6(AMD64, netip.AddrPortFrom(netip.MustParseAddr("fe80::1%7"), 1), 3, 0); got[24] != 3 {
		t.Errorf("zone and scope: % x", got)
	}
	if got := SockaddrIn6(AMD64, netip.AddrPortFrom(netip.MustParseAddr("1.2.3.4"), 1), 0, 0); !bytes.Equal(got[8:24], unhex(t, "00000000000000000000ffff01020304")) {
		t.Errorf("IPv4 address: % x", got)
	}
	if got := Sockaddr(AMD64, netip.MustParseAddrPort("1.2.3.4:5")); len(got) != 16 {
		t.Errorf("IPv4: % x", got)
	}
	if got := Sockaddr(AMD64, netip.MustParseAddrPort("[::1]:5")); len(got) != 28 {
		t.Errorf("IPv6: % x", got)
	}
	if _, err := SockaddrUn(strings.Repeat("x", 104)); err != nil {
		t.Errorf("path of 104 bytes: %v", err)
	}
	if b, err := SockaddrUn(strings.Repeat("x", 105)); err == nil {
		t.Errorf("path of 105 bytes: % x", b)
	}
	if _, err := AppendSockaddrDl(AMD64, nil, SockaddrDL{Addr: make([]byte, 248)}); err == nil {
		t.Error("link-level address of 248 bytes")
	}
	if _, err := (SA{Family: 99, Data: make([]byte, 254)}).Append(AMD64, nil); err == nil {
		t.Error("data of 254 bytes")
	}
	// lo0's, as the kernel shows it.
	if b, err := AppendSockaddrDlCompact(AMD64, nil, SockaddrDL{Index: 1, Type: IFT_LOOP, Name: "lo0"}); err != nil || !bytes.Equal(b, unhex(t, "0b12 0100 18 03 00 00 6c6f30")) {
		t.Errorf("lo0: % x, %v", b, err)
	}
}

func TestParseSockaddrErrors(t *testing.T) {
	for _, s := range []string{
		"",
		"10",
		"01 02",
		"10 02 0000 0a0000", // says more than is there
		"07 02 0000 0a0000", // IPv4 address cut
		"17 18 0000" + "00000000" + strings.Repeat("00", 15), // IPv6 address cut
		"07 12 0100 06 00 00",
		"14 12 0100 06 06 07 00 000000000000000000000000", // name and address need 13 of 12
		"14 12 0100 06 ff ff ff 000000000000000000000000",
	} {
		if sa, err := ParseSockaddr(AMD64, unhex(t, s)); err == nil {
			t.Errorf("%s: %+v", s, sa)
		}
	}
	// Programs that leave the length out.
	sa, err := ParseSockaddr(AMD64, unhex(t, "00 02 0050 0a000001 0000000000000000"))
	if err != nil || sa.AddrPort.String() != "10.0.0.1:80" {
		t.Errorf("length 0: %v, %v", sa, err)
	}
}

func TestScope(t *testing.T) {
	for _, tt := range []struct {
		plain, embedded string
		scope           uint32
	}{
		{"fe80::1", "fe80:2::1", 2},
		{"febf::1", "febf:1234::1", 0x1234},
		{"ff02::1", "ff02:1::1", 1},
		{"ff11::5", "ff11:3::5", 3},
	} {
		plain := netip.MustParseAddr(tt.plain)
		if got := EmbedScope(plain, tt.scope); got.String() != tt.embedded {
			t.Errorf("%s in %d: %s, want %s", tt.plain, tt.scope, got, tt.embedded)
		}
		got, scope := ExtractScope(netip.MustParseAddr(tt.embedded))
		if got != plain || scope != tt.scope {
			t.Errorf("%s: %s, %d, want %s, %d", tt.embedded, got, scope, tt.plain, tt.scope)
		}
	}
	for _, s := range []string{"fd00:2::1", "ff05:2::1", "10.0.0.1", "::ffff:254.128.0.2", "fec0:1::1", "2001:db8::1"} {
		addr := netip.MustParseAddr(s)
		if HasScope(addr) || EmbedScope(addr, 9) != addr {
			t.Errorf("%s has a scope", s)
		}
		if got, scope := ExtractScope(addr); got != addr || scope != 0 {
			t.Errorf("%s: %s, %d", s, got, scope)
		}
	}
	sa := SA{Family: AF_INET6, AddrPort: netip.MustParseAddrPort("[fe80:2::1]:5")}
	out := sa.ExtractScope()
	if out.ScopeID != 2 || out.AddrPort.String() != "[fe80::1]:5" {
		t.Errorf("%+v", out)
	}
	if back := out.EmbedScope(); !reflect.DeepEqual(back, sa) {
		t.Errorf("%+v", back)
	}
}

func TestNetmasks(t *testing.T) {
	for _, tt := range []struct {
		family            uint8
		n                 int
		full, route, addr string
	}{
		{AF_INET, 24, "10020000ffffff000000000000000000", "07ffffffffffff", "07020000ffffff"},
		{AF_INET, 16, "10020000ffff00000000000000000000", "06ffffffffff", "06020000ffff"},
		{AF_INET, 20, "10020000fffff0000000000000000000", "07fffffffffff0", "07020000fffff0"},
		{AF_INET, 32, "10020000ffffffff0000000000000000", "08ffffffffffffff", "08020000ffffffff"},
		{AF_INET, 0, "10020000000000000000000000000000", "00", "0002"},
		{AF_INET6, 64, "1c18000000000000ffffffffffffffff000000000000000000000000",
			"10ffffffffffffffffffffffffffffff", "1c18000000000000ffffffffffffffff000000000000000000000000"},
		{AF_INET6, 32, "1c18000000000000ffffffff00000000000000000000000000000000",
			"0cffffffffffffffffffffff", "1c18000000000000ffffffff00000000000000000000000000000000"},
		{AF_INET6, 10, "1c18000000000000ffc0000000000000000000000000000000000000",
			"0affffffffffffffffc0", "1c18000000000000ffc0000000000000000000000000000000000000"},
		{AF_INET6, 0, "1c180000" + strings.Repeat("00", 24), "00", "1c180000" + strings.Repeat("00", 24)},
	} {
		for _, f := range []struct {
			name string
			got  []byte
			want string
		}{
			{"Netmask", Netmask(tt.family, tt.n), tt.full},
			{"RouteNetmask", RouteNetmask(tt.family, tt.n), tt.route},
			{"AddrNetmask", AddrNetmask(tt.family, tt.n), tt.addr},
		} {
			if !bytes.Equal(f.got, unhex(t, f.want)) {
				t.Errorf("%s(%d, %d) = %x, want %s", f.name, tt.family, tt.n, f.got, f.want)
			}
			mask, err := ParseNetmask(tt.family, f.got)
			if err != nil {
				t.Errorf("%x: %v", f.got, err)
			}
			if n, ok := PrefixLen(mask); n != tt.n || !ok {
				t.Errorf("%x: %d, %t, want %d", f.got, n, ok, tt.n)
			}
		}
	}
	for _, n := range []int{-1, 33} {
		if Netmask(AF_INET, n) != nil || RouteNetmask(AF_INET, n) != nil || AddrNetmask(AF_INET, n) != nil {
			t.Errorf("netmask of %d bits", n)
		}
	}
	if Netmask(AF_LINK, 8) != nil {
		t.Error("netmask of AF_LINK")
	}
	if _, err := ParseNetmask(AF_LINK, []byte{0}); err == nil {
		t.Error("netmask of AF_LINK parsed")
	}
	if _, err := ParseNetmask(AF_INET, []byte{8, 0xff}); err == nil {
		t.Error("netmask that says more than is there")
	}
	if got := LinkNetmask("lo0"); !bytes.Equal(got, unhex(t, "0b00000000000000ffffff")) {
		t.Errorf("lo0: %x", got)
	}
}

func TestPrefixLen(t *testing.T) {
	for _, tt := range []struct {
		mask string
		n    int
		ok   bool
	}{
		{"ffffff00", 24, true}, {"fffffe00", 23, true}, {"00000000", 0, true},
		{"ffffffff", 32, true}, {"ff00ff00", 8, false}, {"ffa00000", 9, false},
		{"00000001", 0, false}, {"", 0, true},
	} {
		if n, ok := PrefixLen(unhex(t, tt.mask)); n != tt.n || ok != tt.ok {
			t.Errorf("%s: %d, %t, want %d, %t", tt.mask, n, ok, tt.n, tt.ok)
		}
	}
	addr := netip.MustParseAddr("fe80::1%x")
	mask, _ := ParseNetmask(AF_INET6, RouteNetmask(AF_INET6, 64))
	if p, ok := Prefix(addr, mask); p.String() != "fe80::1/64" || !ok {
		t.Errorf("%v, %t", p, ok)
	}
	if p, ok := Prefix(addr, []byte{255, 0, 0, 0}); ok {
		t.Errorf("IPv4 netmask of an IPv6 address: %v", p)
	}
}

func FuzzParseSockaddr(f *testing.F) {
	f.Add(SockaddrIn(netip.MustParseAddrPort("10.0.0.1:80")), uint8(0))
	f.Add(SockaddrIn6(AMD64, netip.MustParseAddrPort("[fe80:2::1]:80"), 1, 2), uint8(4))
	f.Add([]byte("\x14\x12\x02\x00\x06\x06\x06\x00shmif0\x02\x00\x00\x00\x00\x02"), uint8(0))
	f.Add([]byte("\x07\x01/a/b\x00"), uint8(0))
	f.Fuzz(func(t *testing.T, b []byte, machine uint8) {
		m := machines[int(machine)%len(machines)]
		sa, err := ParseSockaddr(m, b)
		if err != nil {
			return
		}
		_ = sa.String()
		if sa.Family == AF_LOCAL && len(sa.Path) > 104 || len(sa.Data) > 253 {
			return // longer than it says, because it says 0
		}
		again, err := sa.Append(m, nil)
		if err != nil {
			// Only an address that says 0 can hold that much.
			if b[0] == 0 {
				return
			}
			t.Fatal(err)
		}
		sa2, err := ParseSockaddr(m, again)
		if err != nil {
			t.Fatalf("% x again: %v", again, err)
		}
		if !reflect.DeepEqual(sa, sa2) {
			t.Fatalf("% x: %+v, again %+v", b, sa, sa2)
		}
		sa.ExtractScope().EmbedScope()
	})
}

func FuzzParseNetmask(f *testing.F) {
	f.Add(unhex(f, "07ffffffffffff"), false)
	f.Add(unhex(f, "0affffffffffffffffc0"), true)
	f.Fuzz(func(t *testing.T, b []byte, inet6 bool) {
		family, bits := uint8(AF_INET), 32
		if inet6 {
			family, bits = AF_INET6, 128
		}
		mask, err := ParseNetmask(family, b)
		if err != nil {
			return
		}
		n, ok := PrefixLen(mask)
		if n < 0 || n > bits || 8*len(mask) != bits {
			t.Fatalf("% x: % x, %d", b, mask, n)
		}
		if !ok {
			return
		}
		again, err := ParseNetmask(family, RouteNetmask(family, n))
		if err != nil || !bytes.Equal(again, mask) {
			t.Fatalf("%d bits: % x, %v", n, again, err)
		}
	})
}
