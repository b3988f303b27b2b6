package main

import (
	"context"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"rumptools/internal/ping"
)

// parse reads a command line as far as the network, numeric addresses included.
func parse(t *testing.T, args ...string) (*ping.Options, string, error) {
	t.Helper()
	var p *ping.Options
	var server string
	cmd := command(func(o *options) (err error) {
		server = o.server
		p, err = o.resolve(context.Background())
		return err
	})
	cmd.SetArgs(args)
	cmd.SetOut(io.Discard)
	err := cmd.Execute()
	return p, server, err
}

func TestOptions(t *testing.T) {
	v4, v6 := netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("fd00::2")
	tests := []struct {
		args string
		want ping.Options
	}{
		{"10.0.0.2", ping.Options{}},
		{"-n -q -o -v 10.0.0.2", ping.Options{Quiet: true, Once: true, Verbose: true}},
		{"-nqov 10.0.0.2", ping.Options{Quiet: true, Once: true, Verbose: true}},
		{"10.0.0.2 -q", ping.Options{Quiet: true}},
		{"-c 3 -i 0.2 -w 2.5 -l 4 10.0.0.2", ping.Options{Count: 3, Interval: 200 * time.Millisecond, Deadline: 2500 * time.Millisecond, Preload: 4}},
		{"-c3 -i.2 10.0.0.2", ping.Options{Count: 3, Interval: 200 * time.Millisecond}},
		{"-c 0x10 -s 010 10.0.0.2", ping.Options{Count: 16, Size: 8}},
		{"-s 0 10.0.0.2", ping.Options{Size: 0}},
		{"-i 1e-9 10.0.0.2", ping.Options{Interval: time.Microsecond}},
		{"-T 5 -t 0x10 -D -R -r -d -L 10.0.0.2", ping.Options{TTL: 5, TOS: 16, DontFrag: true, RecordRoute: true, DontRoute: true, Debug: true, NoLoop: true}},
		{"-I 10.0.0.1 -g 10.0.0.9 10.0.0.2", ping.Options{Source: netip.MustParseAddr("10.0.0.1"), Gateway: netip.MustParseAddr("10.0.0.9")}},
		{"-p ff0 -C -Q -f -a 10.0.0.2", ping.Options{Pattern: []byte{0xff, 0}, Compat: true, SemiQuiet: true, Flood: true, Audible: true}},
		{"-P 10.0.0.2", ping.Options{Random: true}},
		{"-h 5 -X 3 -x 100 -S fd00::1 -I shmif0 fd00::2", ping.Options{TTL: 5, Deadline: 3 * time.Second, MaxWait: 100 * time.Millisecond, Source: netip.MustParseAddr("fd00::1"), Interface: "shmif0"}},
		{"-I fd00::1 -w 3 fd00::2", ping.Options{Source: netip.MustParseAddr("fd00::1"), Deadline: 3 * time.Second}},
		{"-6 fd00::2", ping.Options{}},
		{"-4 10.0.0.2", ping.Options{}},
	}
	for _, tt := range tests {
		args := strings.Fields(tt.args)
		got, _, err := parse(t, args...)
		if err != nil {
			t.Errorf("%s: %v", tt.args, err)
			continue
		}
		want := tt.want
		want.Program = "rping"
		want.Addr, want.Host = v4, "10.0.0.2"
		if strings.Contains(tt.args, "fd00::2") {
			want.Addr, want.Host = v6, "fd00::2"
		}
		if !strings.Contains(tt.args, "-s") {
			want.Size = -1
		}
		if diff := cmp.Diff(&want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Errorf("%s, wanted -, got +:\n%s", tt.args, diff)
		}
	}
}

func TestServer(t *testing.T) {
	for _, args := range [][]string{{"--server", "b", "10.0.0.2"}, {"10.0.0.2", "--server=b"}} {
		if _, server, err := parse(t, args...); server != "b" || err != nil {
			t.Errorf("%q: %q, %v", args, server, err)
		}
	}
}

func TestAddresses(t *testing.T) {
	for in, want := range map[string]string{
		"10.0.0.2":        "10.0.0.2",
		"127.1":           "127.0.0.1",
		"10.1.2":          "10.1.0.2",
		"0x7f000001":      "127.0.0.1",
		"010.0.0.010":     "8.0.0.8",
		"2130706433":      "127.0.0.1",
		"10.65536":        "10.1.0.0",
		"0":               "0.0.0.0",
		"fe80::1%shmif0":  "fe80::1%shmif0",
		"::ffff:10.0.0.1": "::ffff:10.0.0.1",
		"10.0.0.256":      "",
		"10.16777216":     "",
		"1.2.3.4.5":       "",
		"0b1.0.0.1":       "",
		"1_0.0.0.1":       "",
		"10.0.0.":         "",
		"4294967296":      "",
		"ten":             "",
		"-1":              "",
	} {
		got, ok := literal(in)
		if ok != (want != "") || ok && got.String() != want {
			t.Errorf("%s: %v, %v, want %q", in, got, ok, want)
		}
	}
	// The host's own name for itself needs no server.
	if addr, err := lookup(t.Context(), "ip4", "localhost"); err != nil || !addr.IsLoopback() || !addr.Is4() {
		t.Errorf("localhost: %v, %v", addr, err)
	}
}

func TestComplaints(t *testing.T) {
	for args, want := range map[string]string{
		"":                        usage,
		"10.0.0.2 10.0.0.3":       usage,
		"-c 0 10.0.0.2":           "Bad/invalid number of packets: 0",
		"-c x 10.0.0.2":           "Bad/invalid number of packets: x",
		"-c -1 10.0.0.2":          "Bad/invalid number of packets: -1",
		"-c 99999999999 10.0.0.2": "Bad/invalid number of packets: 99999999999",
		"-i 0 10.0.0.2":           "Bad/invalid interval: 0",
		"-i -1 10.0.0.2":          "Bad/invalid interval: -1",
		"-i nan 10.0.0.2":         "Bad/invalid interval: nan",
		"-i inf 10.0.0.2":         "Bad/invalid interval: inf",
		"-i 1s 10.0.0.2":          "Bad/invalid interval: 1s",
		"-w 0 10.0.0.2":           "Bad/invalid maxwait time: 0",
		"-X z fd00::2":            "Bad/invalid maxwait time: z",
		"-x 0 fd00::2":            "Bad/invalid maxwait time: 0",
		"-l -2 10.0.0.2":          "Bad/invalid preload value: -2",
		"-s x 10.0.0.2":           "Bad/invalid packet size: x",
		"-s 65468 10.0.0.2":       "packet size is too large",
		"-T 0 10.0.0.2":           "ttl out of range: 0",
		"-T 256 10.0.0.2":         "ttl out of range: 256",
		"-h 256 fd00::2":          "illegal hoplimit -- 256",
		"-t 256 10.0.0.2":         "bad tos value: 256",
		"-p gg 10.0.0.2":          `"-p gg": patterns must be specified with 1-32 hex digits`,
		"-p 11 -P 10.0.0.2":       "Only one of -P and -p allowed",
		"-E in 10.0.0.2":          "-E: IPsec policies are not supported",
		"-4 -6 10.0.0.2":          "only one of -4 and -6 allowed",
		"-6 10.0.0.2":             "10.0.0.2 is not an IPv6 address",
		"-4 fd00::2":              "fd00::2 is not an IPv4 address",
		"-S fd00::1 10.0.0.2":     "fd00::1 is not an IPv4 address",
		"-g 10.0.0.1 fd00::2":     "10.0.0.1 is not an IPv6 address",
		"-I fd00::1 10.0.0.2":     "source address fd00::1 and 10.0.0.2 are not of the same family",
		"-R fd00::2":              "-R is for IPv4, fd00::2 is an IPv6 address",
		"-x 5 10.0.0.2":           "-x is for IPv6, 10.0.0.2 is an IPv4 address",
		"fd00::zz":                `Cannot resolve "fd00::zz" (Unknown host)`,
		"-H fd00::2":              "unknown shorthand flag: 'H' in -H",
		"-c":                      "flag needs an argument: 'c' in -c",
	} {
		_, _, err := parse(t, strings.Fields(args)...)
		if err == nil || err.Error() != want {
			t.Errorf("rping %s: %v, want %s", args, err, want)
		}
	}
}

func TestUnresolved(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{&net.DNSError{Err: "no such host", Name: "h", IsNotFound: true}, `Cannot resolve "h" (Unknown host)`},
		{&net.DNSError{Err: "server misbehaving", Name: "h"}, `Cannot resolve "h" (server misbehaving)`},
		{&net.AddrError{Err: "no suitable address found", Addr: "h"}, `Cannot resolve "h" (no suitable address found)`},
		{context.Canceled, `Cannot resolve "h" (context canceled)`},
	} {
		if err := unresolved("h", tt.err); err.Error() != tt.want {
			t.Errorf("%v, want %s", err, tt.want)
		}
	}
}

// A script whose variable is empty asks for something, and not for what there is
// without the flag; numbers are 0 then, as they are to strtol(3).
func TestEmptyValues(t *testing.T) {
	for args, want := range map[string]string{
		"-c  10.0.0.2":        "Bad/invalid number of packets: ",
		"-i  10.0.0.2":        "Bad/invalid interval: ",
		"-w  10.0.0.2":        "Bad/invalid maxwait time: ",
		"-X  fd00::2":         "Bad/invalid maxwait time: ",
		"-x  fd00::2":         "Bad/invalid maxwait time: ",
		"-T  10.0.0.2":        "ttl out of range: ",
		"-h  fd00::2":         "illegal hoplimit -- ",
		"-p  10.0.0.2":        `"-p ": patterns must be specified with 1-32 hex digits`,
		"-g  10.0.0.2":        `Cannot resolve "" (Unknown host)`,
		"-I  10.0.0.2":        `Cannot resolve "" (Unknown host)`,
		"-I  fd00::2":         `Cannot resolve "" (Unknown host)`,
		"-S  10.0.0.2":        `Cannot resolve "" (Unknown host)`,
		"-E  10.0.0.2":        "-E: IPsec policies are not supported",
		"-s  -l  -t  fd00::2": "",
	} {
		p, _, err := parse(t, strings.Split(args, " ")...)
		if want == "" {
			if err != nil || p.Size != 0 || p.Preload != 0 || p.TOS != 0 {
				t.Errorf("rping %s: %v, %+v", args, err, p)
			}
		} else if err == nil || err.Error() != want {
			t.Errorf("rping %s: %v, want %s", args, err, want)
		}
	}
}

func TestHelp(t *testing.T) {
	var out strings.Builder
	cmd := command(func(*options) error { t.Error("help runs the command"); return nil })
	cmd.SetArgs([]string{"--help"})
	cmd.SetOut(&out)
	if err := cmd.Execute(); err != nil || !strings.Contains(out.String(), "-h, --hoplimit") {
		t.Errorf("%v: %s", err, out.String())
	}
}
