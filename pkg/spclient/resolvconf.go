package spclient

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What resolver(5) has where nothing is said.
const (
	defaultNdots      = 1
	defaultAttempts   = 2
	defaultDNSTimeout = 5 * time.Second
	dnsPort           = 53
	maxNdots          = 15
	maxAttempts       = 5
	maxDNSTimeout     = 30 * time.Second
)

// ResolvConf says which name servers a [Resolver] asks, and how: what a resolv.conf(5)
// says. The zero value asks none.
type ResolvConf struct {
	// Servers are asked in this order, each when those before did not answer.
	Servers []netip.AddrPort
	// Search are the domains in which a name is looked for that has fewer dots than
	// Ndots; others are looked for there when there is none as given.
	Search []string
	// Ndots is as described; 0 is 1, and a negative one is 0.
	Ndots int
	// Timeout is how long a server may take to answer; 0 is 5 seconds.
	Timeout time.Duration
	// Attempts is how often all servers are asked; 0 is twice.
	Attempts int
	// Rotate begins with another server each time.
	Rotate bool
	// UseTCP asks by TCP alone.
	UseTCP bool
}

// ParseResolvConf reads a resolv.conf(5): nameserver, domain, search and the options
// ndots, timeout, attempts, rotate and use-vc. A server may have a port, as in
// "[fe80::1%shmif0]:5353". Other lines and options mean nothing here. Without a
// nameserver there is none: not even one on localhost.
func ParseResolvConf(r io.Reader) (ResolvConf, error) {
	var c ResolvConf
	sc := bufio.NewScanner(r)
	for line := 1; sc.Scan(); line++ {
		text := sc.Text()
		if i := strings.IndexAny(text, "#;"); i >= 0 {
			text = text[:i]
		}
		f := strings.Fields(text)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "nameserver":
			server, err := parseServer(f[1])
			if err != nil {
				return c, fmt.Errorf("line %d: nameserver %s: not an address", line, f[1])
			}
			c.Servers = append(c.Servers, server)
		case "domain":
			c.Search = f[1:2]
		case "search":
			c.Search = f[1:]
		case "options":
			for _, o := range f[1:] {
				if err := c.option(o); err != nil {
					return c, fmt.Errorf("line %d: option %s: %w", line, o, err)
				}
			}
		}
	}
	for _, domain := range c.Search {
		if domain != "." && !isDomainName(domain) {
			return c, fmt.Errorf("search %s: %s", domain, errBadName)
		}
	}
	return c, sc.Err()
}

// parseServer reads the address of a name server, which may have a port.
func parseServer(s string) (netip.AddrPort, error) {
	if addr, err := netip.ParseAddr(s); err == nil {
		return netip.AddrPortFrom(addr.Unmap(), dnsPort), nil
	}
	return netip.ParseAddrPort(s)
}

// option reads one of the options of a resolv.conf.
func (c *ResolvConf) option(o string) error {
	name, value, _ := strings.Cut(o, ":")
	switch name {
	case "rotate":
		c.Rotate = true
		return nil
	case "use-vc", "usevc", "tcp":
		c.UseTCP = true
		return nil
	case "ndots", "timeout", "attempts":
	default:
		return nil
	}
	n, err := strconv.ParseUint(value, 10, 31)
	if err != nil {
		return fmt.Errorf("not a number")
	}
	switch name {
	case "ndots":
		if c.Ndots = int(min(n, maxNdots)); n == 0 {
			c.Ndots = -1
		}
	case "timeout":
		c.Timeout = min(max(1, time.Duration(n))*time.Second, maxDNSTimeout)
	case "attempts":
		c.Attempts = int(min(max(1, n), maxAttempts))
	}
	return nil
}

func (c *ResolvConf) timeout() time.Duration {
	if c.Timeout <= 0 {
		return defaultDNSTimeout
	}
	return c.Timeout
}

func (c *ResolvConf) attempts() int {
	if c.Attempts <= 0 {
		return defaultAttempts
	}
	return c.Attempts
}

// names returns the names to ask for, in order, for one that a user gave.
func (c *ResolvConf) names(name string) []string {
	if strings.HasSuffix(name, ".") {
		return []string{name}
	}
	ndots := c.Ndots
	switch {
	case ndots == 0:
		ndots = defaultNdots
	case ndots < 0:
		ndots = 0
	}
	var names []string
	for _, domain := range c.Search {
		full := name + "." + strings.TrimPrefix(strings.TrimSuffix(domain, ".")+".", ".")
		if isDomainName(full) && !slices.Contains(names, full) {
			names = append(names, full)
		}
	}
	asGiven := name + "."
	names = slices.DeleteFunc(names, func(n string) bool { return n == asGiven })
	if strings.Count(name, ".") >= ndots {
		return append([]string{asGiven}, names...)
	}
	return append(names, asGiven)
}

// Hosts is a table of hosts, as hosts(5) describes it. A nil table is empty.
type Hosts struct {
	addrs map[string][]netip.Addr
	names map[netip.Addr][]string
}

// ParseHosts reads a table of hosts: lines of an address and its names.
func ParseHosts(r io.Reader) (*Hosts, error) {
	h := &Hosts{addrs: make(map[string][]netip.Addr), names: make(map[netip.Addr][]string)}
	sc := bufio.NewScanner(r)
	for line := 1; sc.Scan(); line++ {
		text, _, _ := strings.Cut(sc.Text(), "#")
		f := strings.Fields(text)
		if len(f) == 0 {
			continue
		}
		addr, err := netip.ParseAddr(f[0])
		if err != nil {
			return nil, fmt.Errorf("line %d: %s: not an address", line, f[0])
		}
		addr = addr.Unmap()
		for _, name := range f[1:] {
			if !isDomainName(name) {
				return nil, fmt.Errorf("line %d: %s: %s", line, name, errBadName)
			}
			h.add(addr, name)
		}
	}
	return h, sc.Err()
}

func (h *Hosts) add(addr netip.Addr, name string) {
	key := hostKey(name)
	if !slices.Contains(h.addrs[key], addr) {
		h.addrs[key] = append(h.addrs[key], addr)
	}
	if !slices.Contains(h.names[addr], name) {
		h.names[addr] = append(h.names[addr], name)
	}
}

func hostKey(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// Addrs returns the addresses of a name, in the table's order, or nil.
func (h *Hosts) Addrs(name string) []netip.Addr {
	if h == nil {
		return nil
	}
	return slices.Clone(h.addrs[hostKey(name)])
}

// Names returns the names of an address, in the table's order, or nil.
func (h *Hosts) Names(addr netip.Addr) []string {
	if h == nil {
		return nil
	}
	return slices.Clone(h.names[addr.Unmap()])
}
