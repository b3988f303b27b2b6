package sysproxy_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rumptools/pkg/sysproxy"
)

var banners = []struct {
	line string
	want sysproxy.Banner
	err  error
}{
	{line: "RUMPSP-0.4-NetBSD-7.99.34/amd64",
		want: sysproxy.Banner{Major: 0, Minor: 4, OSType: "NetBSD", OSRelease: "7.99.34", Machine: "amd64"}},
	{line: "RUMPSP-0.4-NetBSD-7.99.34/powerpc\n",
		want: sysproxy.Banner{Major: 0, Minor: 4, OSType: "NetBSD", OSRelease: "7.99.34", Machine: "powerpc"}},
	{line: "RUMPSP-0.5-NetBSD-10.0_STABLE/i386",
		want: sysproxy.Banner{Major: 0, Minor: 5, OSType: "NetBSD", OSRelease: "10.0_STABLE", Machine: "i386"}},
	{line: "RUMPSP-0.4-NetBSD-7.0-RC1/x/sparc64",
		want: sysproxy.Banner{Major: 0, Minor: 4, OSType: "NetBSD", OSRelease: "7.0-RC1/x", Machine: "sparc64"}},
	{line: "RUMPSP-0.4-NetBSD-7.99.34/amd64 trace sockets=2",
		want: sysproxy.Banner{Major: 0, Minor: 4, OSType: "NetBSD", OSRelease: "7.99.34", Machine: "amd64", Extensions: []string{"trace", "sockets=2"}}},

	{line: "RUMPSP-0.3-NetBSD-6.0/amd64", err: sysproxy.ErrVersion,
		want: sysproxy.Banner{Major: 0, Minor: 3, OSType: "NetBSD", OSRelease: "6.0", Machine: "amd64"}},
	{line: "RUMPSP-1.4-NetBSD-6.0/amd64", err: sysproxy.ErrVersion,
		want: sysproxy.Banner{Major: 1, Minor: 4, OSType: "NetBSD", OSRelease: "6.0", Machine: "amd64"}},

	{line: "", err: sysproxy.ErrBanner},
	{line: "\n", err: sysproxy.ErrBanner},
	{line: "SSH-2.0-OpenSSH_9.6", err: sysproxy.ErrBanner},
	{line: "HTTP/1.1 400 Bad Request\r", err: sysproxy.ErrBanner},
	{line: "RUMPSP", err: sysproxy.ErrBanner},
	{line: "RUMPSP-", err: sysproxy.ErrBanner},
	{line: "RUMPSP-0.4", err: sysproxy.ErrBanner},
	{line: "RUMPSP-4-NetBSD-7/amd64", err: sysproxy.ErrBanner},
	{line: "RUMPSP-0.-NetBSD-7/amd64", err: sysproxy.ErrBanner},
	{line: "RUMPSP-0.x-NetBSD-7/amd64", err: sysproxy.ErrBanner},
	{line: "RUMPSP--0.4-NetBSD-7/amd64", err: sysproxy.ErrBanner},
	{line: "RUMPSP-0.+4-NetBSD-7/amd64", err: sysproxy.ErrBanner},
	{line: "RUMPSP-0.99999999999999999999-NetBSD-7/amd64", err: sysproxy.ErrBanner},
	{line: "RUMPSP-0.4-NetBSD", err: sysproxy.ErrBanner},
	{line: "RUMPSP-0.4-NetBSD-7.99.34", err: sysproxy.ErrBanner},
	{line: "RUMPSP-0.4-NetBSD-7.99.34/", err: sysproxy.ErrBanner},
	{line: "RUMPSP-0.4-NetBSD-/amd64", err: sysproxy.ErrBanner},
	{line: "RUMPSP-0.4--7.99.34/amd64", err: sysproxy.ErrBanner},
	{line: "RUMPSP-0.4-NetBSD- ", err: sysproxy.ErrBanner},
	{line: "RUMPSP-0.4-NetBSD-7.99.34/amd64\x00", err: sysproxy.ErrBanner},
	{line: "RUMPSP-0.4-NetBSD-7.99.34/amd64\x1b[2J", err: sysproxy.ErrBanner},
	{line: "RUMPSP-0.4-NetBSD-7.99.34/\xff\xfe", err: sysproxy.ErrBanner},
	{line: "RUMPSP-0.4-NetBSD-7.99.34/" + strings.Repeat("a", 96), err: sysproxy.ErrBanner},
}

func TestParseBanner(t *testing.T) {
	for _, tt := range banners {
		got, err := sysproxy.ParseBanner(tt.line)
		if !errors.Is(err, tt.err) || tt.err == nil && err != nil {
			t.Errorf("%q: error %v, want %v", tt.line, err, tt.err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tt.line, diff)
		}
		if tt.err == nil && got.String() != strings.TrimSuffix(tt.line, "\n") {
			t.Errorf("%q encodes to %q", tt.line, got.String())
		}
	}
}

// TestReadBanner checks that a banner is read and nothing behind it, and that a
// line without an end is not read for ever.
func TestReadBanner(t *testing.T) {
	for _, tt := range banners {
		line, _, _ := strings.Cut(tt.line, "\n")
		r := strings.NewReader(line + "\nrest\n")
		got, err := sysproxy.ReadBanner(r)
		if !errors.Is(err, tt.err) || tt.err == nil && err != nil {
			t.Errorf("%q: error %v, want %v", line, err, tt.err)
		}
		if err == nil {
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("%q (-want +got):\n%s", line, diff)
			}
			if rest, _ := io.ReadAll(r); string(rest) != "rest\n" {
				t.Errorf("%q: %q is left", line, rest)
			}
		}
	}
	banner := "RUMPSP-0.4-NetBSD-7.99.34/amd64\n"
	for n := range len(banner) {
		if _, err := sysproxy.ReadBanner(strings.NewReader(banner[:n])); err != io.ErrUnexpectedEOF {
			t.Errorf("end after %d bytes: %v", n, err)
		}
	}
	// The longest banner has 96 bytes with its newline.
	long := "RUMPSP-0.4-NetBSD-7/" + strings.Repeat("m", 96-1-20)
	if _, err := sysproxy.ReadBanner(strings.NewReader(long + "\n")); err != nil {
		t.Errorf("banner of %d bytes: %v", len(long)+1, err)
	}
	r := strings.NewReader(long + "m\n")
	if _, err := sysproxy.ReadBanner(r); !errors.Is(err, sysproxy.ErrBanner) {
		t.Errorf("banner of %d bytes: %v", len(long)+2, err)
	}
	endless := &announcer{left: 1 << 30}
	if _, err := sysproxy.ReadBanner(endless); !errors.Is(err, sysproxy.ErrBanner) {
		t.Errorf("banner without end: %v", err)
	}
	if read := 1<<30 - endless.left; read > sysproxy.MaxBanner {
		t.Errorf("banner without end: read %d bytes", read)
	}
}

func FuzzBanner(f *testing.F) {
	recs, err := recordings()
	if err != nil {
		f.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, rec := range recs {
		if !seen[rec.Server] {
			seen[rec.Server] = true
			f.Add(rec.Server)
		}
	}
	for _, tt := range banners {
		f.Add(tt.line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		b, err := sysproxy.ParseBanner(line)
		if err != nil {
			return
		}
		again, err := sysproxy.ParseBanner(b.String())
		if err != nil {
			t.Fatalf("%q encodes to %q: %v", line, b.String(), err)
		}
		if diff := cmp.Diff(b, again); diff != "" {
			t.Errorf("%q (-first +second):\n%s", line, diff)
		}
		read, err := sysproxy.ReadBanner(strings.NewReader(b.String() + "\n"))
		if err != nil || !cmp.Equal(read, b) {
			t.Errorf("%q reads as %v, %v", b.String(), read, err)
		}
	})
}
