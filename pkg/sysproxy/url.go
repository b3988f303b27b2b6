package sysproxy

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
)

// URL says where a rump kernel listens (rump_sp(7)): unix://PATH, where PATH
// is relative or absolute, or tcp://HOST:PORT/.
type URL struct {
	// Network is "unix" or "tcp", as package net names them.
	Network string
	// Address is the path, or HOST:PORT.
	Address string
}

// ErrURL is returned for a string that names no place to listen.
var ErrURL = errors.New("not a rump kernel's URL")

// maxUnixPath is the longest path of a local socket that every host takes
// (sun_path on the BSDs is 104 bytes, on Linux 108, its NUL included).
const maxUnixPath = 103

// ParseURL reads a URL. The slash after a TCP port may be left out. It fails
// with an error that wraps [ErrURL].
func ParseURL(s string) (URL, error) {
	bad := func(why string) (URL, error) { return URL{}, fmt.Errorf("%w: %s: %s", ErrURL, s, why) }
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		return bad("want unix://PATH or tcp://HOST:PORT/")
	}
	switch scheme {
	case "unix":
		switch {
		case rest == "":
			return bad("no path")
		case strings.IndexByte(rest, 0) >= 0:
			return bad("NUL in the path")
		}
		return URL{"unix", rest}, nil
	case "tcp":
		host, port, err := net.SplitHostPort(strings.TrimSuffix(rest, "/"))
		if err != nil || host == "" {
			return bad("want HOST:PORT")
		}
		if strings.ContainsAny(host, "/ \x00") {
			return bad("bad host")
		}
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return bad("bad port")
		}
		return URL{"tcp", net.JoinHostPort(host, strconv.FormatUint(n, 10))}, nil
	}
	return bad("unknown kind of address: " + scheme)
}

// String is the URL in the form that ParseURL reads.
func (u URL) String() string {
	if u.Network == "unix" {
		return "unix://" + u.Address
	}
	return "tcp://" + u.Address + "/"
}

// Absolute makes a relative path absolute from dir, so that the URL stays
// good when the process changes its directory.
func (u URL) Absolute(dir string) URL {
	if u.Network == "unix" && !filepath.IsAbs(u.Address) {
		u.Address = filepath.Join(dir, u.Address)
	}
	return u
}

// CheckDial says why nobody could connect to u: a path that is too long for a
// local socket, or TCP's wildcard address, at which only a server can be.
func (u URL) CheckDial() error {
	if u.Network == "unix" {
		if len(u.Address) > maxUnixPath {
			return fmt.Errorf("%w: %s: path longer than %d bytes", ErrURL, u, maxUnixPath)
		}
		return nil
	}
	host, _, err := net.SplitHostPort(u.Address)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrURL, u, err)
	}
	if ip := net.ParseIP(host); host == "0" || ip != nil && ip.IsUnspecified() {
		return fmt.Errorf("%w: %s: a client needs a host's address", ErrURL, u)
	}
	return nil
}
