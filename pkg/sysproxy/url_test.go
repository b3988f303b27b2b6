package sysproxy_test

import (
	"errors"
	"strings"
	"testing"

	"rumptools/pkg/sysproxy"
)

var urls = []struct {
	in      string
	want    sysproxy.URL // zero: refused
	out     string       // "" for in
	noDial  bool
	dirDial string // after Absolute("/dir"), "" for no change
}{
	{in: "unix:///tmp/sock", want: sysproxy.URL{Network: "unix", Address: "/tmp/sock"}},
	{in: "unix://sock", want: sysproxy.URL{Network: "unix", Address: "sock"}, dirDial: "unix:///dir/sock"},
	{in: "unix://../a b/sock", want: sysproxy.URL{Network: "unix", Address: "../a b/sock"}, dirDial: "unix:///a b/sock"},
	{in: "unix://./sock", want: sysproxy.URL{Network: "unix", Address: "./sock"}, dirDial: "unix:///dir/sock"},
	{in: "unix://tcp://1", want: sysproxy.URL{Network: "unix", Address: "tcp://1"}, dirDial: "unix:///dir/tcp:/1"},
	{in: "unix:///" + strings.Repeat("p", 102), want: sysproxy.URL{Network: "unix", Address: "/" + strings.Repeat("p", 102)}},
	{in: "unix:///" + strings.Repeat("p", 103), want: sysproxy.URL{Network: "unix", Address: "/" + strings.Repeat("p", 103)}, noDial: true},
	{in: "tcp://10.0.0.1:12345/", want: sysproxy.URL{Network: "tcp", Address: "10.0.0.1:12345"}},
	{in: "tcp://10.0.0.1:12345", want: sysproxy.URL{Network: "tcp", Address: "10.0.0.1:12345"}, out: "tcp://10.0.0.1:12345/"},
	{in: "tcp://localhost:007/", want: sysproxy.URL{Network: "tcp", Address: "localhost:7"}, out: "tcp://localhost:7/"},
	{in: "tcp://[::1]:7/", want: sysproxy.URL{Network: "tcp", Address: "[::1]:7"}},
	{in: "tcp://[fe80::1%eth0]:7/", want: sysproxy.URL{Network: "tcp", Address: "[fe80::1%eth0]:7"}},
	{in: "tcp://0.0.0.0:7/", want: sysproxy.URL{Network: "tcp", Address: "0.0.0.0:7"}, noDial: true},
	{in: "tcp://0:7/", want: sysproxy.URL{Network: "tcp", Address: "0:7"}, noDial: true},
	{in: "tcp://[::]:7/", want: sysproxy.URL{Network: "tcp", Address: "[::]:7"}, noDial: true},

	{in: ""}, {in: "unix"}, {in: "unix:"}, {in: "unix:/tmp/sock"}, {in: "unix://"}, {in: "/tmp/sock"},
	{in: "unix:///a\x00b"}, {in: "UNIX:///tmp/sock"}, {in: "file:///tmp/sock"}, {in: "://x"},
	{in: "tcp://"}, {in: "tcp:///"}, {in: "tcp://host"}, {in: "tcp://host/"}, {in: "tcp://host:/"}, {in: "tcp://:7/"},
	{in: "tcp://host:0/"}, {in: "tcp://host:65536/"}, {in: "tcp://host:-1/"}, {in: "tcp://host:+1/"}, {in: "tcp://host:http/"},
	{in: "tcp://host:7/path"}, {in: "tcp://host:7//"}, {in: "tcp://a/b:7/"}, {in: "tcp://a b:7/"}, {in: "tcp://::1:7/"},
	{in: "tcp://[::1:7/"}, {in: "tcp://user@:7:8/"},
}

func TestParseURL(t *testing.T) {
	for _, tt := range urls {
		got, err := sysproxy.ParseURL(tt.in)
		if tt.want == (sysproxy.URL{}) {
			if !errors.Is(err, sysproxy.ErrURL) {
				t.Errorf("%q: %v, %v, want an error", tt.in, got, err)
			}
			continue
		}
		if err != nil || got != tt.want {
			t.Errorf("%q: %#v, %v, want %#v", tt.in, got, err, tt.want)
			continue
		}
		out := tt.out
		if out == "" {
			out = tt.in
		}
		if got.String() != out {
			t.Errorf("%q prints as %q, want %q", tt.in, got, out)
		}
		if err := got.CheckDial(); (err != nil) != tt.noDial || err != nil && !errors.Is(err, sysproxy.ErrURL) {
			t.Errorf("%q: CheckDial: %v", tt.in, err)
		}
		abs := tt.dirDial
		if abs == "" {
			abs = out
		}
		if got := got.Absolute("/dir").String(); got != abs {
			t.Errorf("%q from /dir is %q, want %q", tt.in, got, abs)
		}
	}
}

func FuzzURL(f *testing.F) {
	for _, tt := range urls {
		f.Add(tt.in)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := sysproxy.ParseURL(s)
		if err != nil {
			if !errors.Is(err, sysproxy.ErrURL) {
				t.Errorf("%q: %v is no ErrURL", s, err)
			}
			return
		}
		again, err := sysproxy.ParseURL(u.String())
		if err != nil || again != u {
			t.Errorf("%q prints as %q, which reads as %v, %v", s, u, again, err)
		}
		abs := u.Absolute("/dir")
		if again, err := sysproxy.ParseURL(abs.String()); err != nil || again != abs || again.Absolute("/other") != abs {
			t.Errorf("%q from /dir prints as %q, which reads as %v, %v", s, abs, again, err)
		}
		u.CheckDial()
	})
}
