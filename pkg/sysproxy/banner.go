package sysproxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// MaxBanner is the most bytes that a banner has, its newline included
// (MAXBANNER).
const MaxBanner = 96

// ProtocolMajor and ProtocolMinor are the version that this package speaks.
const (
	ProtocolMajor = 0
	ProtocolMinor = 4
)

// Banner is the server's first line:
// RUMPSP-<major>.<minor>-<ostype>-<osrelease>/<machine>. What may follow the
// machine after a blank are extensions; clients that don't know them read on.
type Banner struct {
	Major, Minor int
	OSType       string // "NetBSD"
	OSRelease    string // "7.99.34"
	Machine      string // "amd64"; names the byte order and word size
	Extensions   []string
}

// ErrBanner is returned for a first line that no server of this protocol
// sends.
var ErrBanner = errors.New("not a rump kernel's banner")

// ErrVersion is returned for a banner of a protocol version that this package
// does not speak.
var ErrVersion = errors.New("unknown protocol version")

// String is the banner without its newline.
func (b Banner) String() string {
	s := fmt.Sprintf("RUMPSP-%d.%d-%s-%s/%s", b.Major, b.Minor, b.OSType, b.OSRelease, b.Machine)
	for _, x := range b.Extensions {
		s += " " + x
	}
	return s
}

// ParseBanner reads a banner, with or without its newline. It fails with
// [ErrBanner] or [ErrVersion]. A minor version newer than this package's is
// accepted, as the C client does.
func ParseBanner(line string) (Banner, error) {
	line = strings.TrimSuffix(line, "\n")
	bad := func() (Banner, error) { return Banner{}, fmt.Errorf("%w: %q", ErrBanner, line) }
	if len(line) >= MaxBanner {
		return bad()
	}
	for i := range len(line) {
		if line[i] < ' ' || line[i] > '~' {
			return bad()
		}
	}
	rest, ok := strings.CutPrefix(line, "RUMPSP-")
	if !ok {
		return bad()
	}
	version, rest, ok := strings.Cut(rest, "-")
	if !ok {
		return bad()
	}
	maj, mnr, ok := strings.Cut(version, ".")
	if !ok {
		return bad()
	}
	var b Banner
	// Without a sign, which Atoi would take.
	n, err1 := strconv.ParseUint(maj, 10, 31)
	m, err2 := strconv.ParseUint(mnr, 10, 31)
	if err1 != nil || err2 != nil {
		return bad()
	}
	b.Major, b.Minor = int(n), int(m)
	if b.OSType, rest, ok = strings.Cut(rest, "-"); !ok {
		return bad()
	}
	// A release may hold hyphens and slashes, a machine's name neither.
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return bad()
	}
	slash := strings.LastIndexByte(fields[0], '/')
	if slash < 0 {
		return bad()
	}
	b.OSRelease, b.Machine, b.Extensions = fields[0][:slash], fields[0][slash+1:], fields[1:]
	if b.OSType == "" || b.OSRelease == "" || b.Machine == "" {
		return bad()
	}
	if len(b.Extensions) == 0 {
		b.Extensions = nil
	}
	if b.Major != ProtocolMajor || b.Minor < ProtocolMinor {
		return b, fmt.Errorf("%w: %q", ErrVersion, line)
	}
	return b, nil
}

// ReadBanner reads a banner from r byte by byte, so that nothing of the first
// frame is taken. It fails with [ErrBanner] when no newline comes within
// [MaxBanner] bytes or the text is none, and with io.ErrUnexpectedEOF when r
// ends before.
func ReadBanner(r io.Reader) (Banner, error) {
	var line [MaxBanner]byte
	for n := range line {
		if _, err := io.ReadFull(r, line[n:n+1]); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return Banner{}, err
		}
		if line[n] == '\n' {
			return ParseBanner(string(line[:n]))
		}
	}
	head, _, _ := bytes.Cut(line[:], []byte{0})
	return Banner{}, fmt.Errorf("%w: no end within %d bytes: %.20q", ErrBanner, MaxBanner, head)
}
