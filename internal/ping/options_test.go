package ping

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"
	"time"

	"rumptools/pkg/netbsd"
)

func TestCheck(t *testing.T) {
	v4, v6 := netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("fd00::2")
	tests := []struct {
		o    Options
		want string
	}{
		{Options{Addr: v4, Size: -1}, ""},
		{Options{Addr: v6, Size: -1}, ""},
		{Options{Addr: v4, Size: 65467}, ""},
		{Options{Addr: v4, Size: 65468}, "packet size is too large"},
		{Options{Addr: v6, Size: 131024}, ""},
		{Options{Addr: v6, Size: 131025}, "datalen value too large, maximum is 131024"},
		{Options{Host: "x"}, `no address for "x"`},
		{Options{Addr: v4, Pattern: []byte{1}, Random: true}, "Only one of -P and -p allowed"},
		{Options{Addr: v6, RecordRoute: true}, "-R is for IPv4, fd00::2 is an IPv6 address"},
		{Options{Addr: v6, Compat: true}, "-C is for IPv4, fd00::2 is an IPv6 address"},
		{Options{Addr: v4, MaxWait: 1}, "-x is for IPv6, 10.0.0.2 is an IPv4 address"},
		{Options{Addr: v4, Interface: "lo0"}, "-I with an interface is for IPv6, 10.0.0.2 is an IPv4 address"},
		{Options{Addr: v4, Source: v6}, "source address fd00::2 and 10.0.0.2 are not of the same family"},
		{Options{Addr: v6, Source: v4}, "source address 10.0.0.2 and fd00::2 are not of the same family"},
		{Options{Addr: v4, Gateway: v6}, "-g fd00::2 and 10.0.0.2 are not of the same family"},
		{Options{Addr: v6, Source: v6, Gateway: v6, Interface: "lo0"}, ""},
	}
	for _, tt := range tests {
		got := ""
		if err := tt.o.Check(); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.o, got, tt.want)
		}
	}
}

func TestParsePattern(t *testing.T) {
	for in, want := range map[string]string{
		"ff00":                              "ff00",
		"f":                                 "0f",
		"abc":                               "ab0c",
		"00112233445566778899AABBCCDDEEFF":  "00112233445566778899aabbccddeeff",
		"":                                  "",
		"xyz":                               "",
		"0x12":                              "",
		"00112233445566778899aabbccddeeff0": "",
	} {
		b, err := ParsePattern(in)
		if hex.EncodeToString(b) != want || (err == nil) != (want != "") {
			t.Errorf("%q: %x, %v", in, b, err)
		}
		if err != nil && err.Error() != `"-p `+in+`": patterns must be specified with 1-32 hex digits` {
			t.Errorf("%q: %v", in, err)
		}
	}
}

func TestPayload(t *testing.T) {
	d := newPayload(20, 16, []byte{0xaa, 0xbb, 0xcc})
	if want := []byte{0xaa, 0xbb, 0xcc, 0xaa}; !bytes.Equal(d.bytes[16:], want) {
		t.Errorf("%x, want %x", d.bytes[16:], want)
	}
	at := 3*time.Second + 5*time.Microsecond
	d.stamp(at)
	if binary.LittleEndian.Uint64(d.bytes) != 3 || binary.LittleEndian.Uint64(d.bytes[8:]) != 5000 {
		t.Errorf("64-bit stamp %x", d.bytes[:16])
	}
	d = newPayload(12, 8, nil)
	d.stamp(at)
	if want := []byte{0, 0, 0, 3, 0, 0, 0, 5, 8, 9, 10, 11}; !bytes.Equal(d.bytes, want) {
		t.Errorf("%x, want %x", d.bytes, want)
	}
	old := bytes.Clone(d.bytes)
	for range 10 { // the chance that nothing changes is small
		d.randomize()
	}
	if bytes.Equal(d.bytes, old) || !bytes.Equal(d.bytes[:8], old[:8]) {
		t.Errorf("random %x", d.bytes)
	}
}

func TestJiggle(t *testing.T) {
	var j jiggle
	var out strings.Builder
	now := time.Duration(0)
	move := func(delta int) {
		if j.move(delta, now) {
			out.WriteString(j.flush(now, false))
		}
	}
	expect := func(want string) {
		t.Helper()
		if out.String() != want {
			t.Errorf("%q, want %q", out.String(), want)
		}
		out.Reset()
	}
	move(-1) // not back into a message
	expect("")
	move(1) // the first one at once
	expect(".")
	move(1) // the next ones are kept back ...
	move(1)
	move(1)
	move(-1)
	expect("")
	now += 201 * time.Millisecond // ... for 200 ms
	move(1)
	expect("...")
	now += 160 * time.Millisecond // or 150 ms when it turns
	move(-1)
	expect("\b")
	move(-1)
	expect("")
	out.WriteString(j.flush(now, true))
	expect("\b\n")
	out.WriteString(j.flush(now, true))
	expect("")
}

// The IP header goes out in the kernel's byte order.
func TestHeader4(t *testing.T) {
	o := &Options{Addr: target4, DontFrag: true, TOS: 0x10, TTL: 7, Source: netip.MustParseAddr("10.0.0.1")}
	for m, want := range map[*netbsd.Machine]string{
		netbsd.AMD64:   "4510 0000 0000 0040 0701 0000 0a000001 0a000002",
		netbsd.POWERPC: "4510 0000 0000 4000 0701 0000 0a000001 0a000002",
	} {
		if got := hex.EncodeToString(header4(m, o, o.Addr)); got != strings.ReplaceAll(want, " ", "") {
			t.Errorf("%s: %s, want %s", m.Name, got, want)
		}
	}
	gw := netip.MustParseAddr("10.0.0.9")
	o = &Options{Addr: target4, Gateway: gw}
	if got, want := hex.EncodeToString(header4(netbsd.AMD64, o, gw)), "4700000000000000ff010000000000000a000009"+"8307040a00000201"; got != want {
		t.Errorf("source route: %s, want %s", got, want)
	}
	o.RecordRoute = true
	got := header4(netbsd.AMD64, o, gw)
	if len(got) != 60 || got[0] != 0x4f || hex.EncodeToString(got[20:32]) != "8307040a00000201"+"071f0400" {
		t.Errorf("source and record route: %x", got)
	}
}
