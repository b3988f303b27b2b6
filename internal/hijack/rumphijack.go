package hijack

import (
	"fmt"
	"strings"
)

// Env is the variable that says what is hijacked (rumphijack(3)).
const Env = "RUMPHIJACK"

// Families are the address families whose sockets are the rump kernel's.
type Families struct {
	Inet, Inet6 bool
}

// ParseRumphijack reads a value of RUMPHIJACK, a list of keyword=value with commas
// between: socket= takes families with colons between, all, inet and inet6, and with no
// before it each of them is left out again; others that rumphijack(3) knows, local and
// link, are the host's or do not exist here in any case. Without socket=, or without a
// value, all are taken. What else rumphijack(3) knows has no meaning here; notes say
// why. The error is that of a keyword or a value that nobody knows.
func ParseRumphijack(value string) (f Families, notes []string, err error) {
	f = Families{Inet: true, Inet6: true}
	if value == "" {
		return f, nil, nil
	}
	for _, part := range strings.Split(value, ",") {
		key, arg, _ := strings.Cut(part, "=")
		switch key {
		case "socket":
			if f, err = parseFamilies(arg); err != nil {
				return f, nil, err
			}
		case "path", "blanket", "vfs":
			notes = append(notes, fmt.Sprintf("%s: %s is not done: files are the host's, only sockets are the rump kernel's", Env, part))
		case "sysctl":
			switch arg {
			case "yes", "y", "no", "n", "":
			default:
				return f, nil, fmt.Errorf("%s: sysctl=%s: yes or no", Env, arg)
			}
			if arg != "no" && arg != "n" {
				notes = append(notes, fmt.Sprintf("%s: %s is not done: Linux has no sysctl(3); \"rumpctl\" and the tools show the rump kernel's", Env, part))
			}
		case "fdoff":
			notes = append(notes, fmt.Sprintf("%s: %s is not needed: descriptors are the host's, and have no offset", Env, part))
		default:
			return f, nil, fmt.Errorf("%s: %s: unknown", Env, part)
		}
	}
	return f, notes, nil
}

// parseFamilies reads the value of socket=. As in the original, the first one says
// where to begin: with all if it takes something away.
func parseFamilies(arg string) (Families, error) {
	var f Families
	for i, name := range strings.Split(arg, ":") {
		on := true
		if name == "all" {
			if i > 0 {
				return f, fmt.Errorf("%s: socket=%s: all comes first", Env, arg)
			}
			f = Families{Inet: true, Inet6: true}
			continue
		}
		if rest, ok := strings.CutPrefix(name, "no"); ok {
			if i == 0 {
				f = Families{Inet: true, Inet6: true}
			}
			name, on = rest, false
		}
		switch name {
		case "inet":
			f.Inet = on
		case "inet6":
			f.Inet6 = on
		case "local", "unix", "link", "oroute", "route", "ns", "iso", "mpls":
			// Nothing that a program for Linux could have from a rump kernel.
		default:
			return f, fmt.Errorf("%s: socket=%s: %s: unknown", Env, arg, name)
		}
	}
	return f, nil
}
