package ping

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Sizes of echo data.
const (
	// DefaultSize4 and DefaultSize6 are sent when no size is asked for.
	DefaultSize4 = 56
	DefaultSize6 = 8
	// maxSize4 is what fits an IPv4 datagram beside the longest header and
	// the 8 bytes of an ICMP header.
	maxSize4 = 65535 - 60 - 8
	// maxSize6 is the limit of ping6(8); kernels have lower ones.
	maxSize6 = 131072 - 40 - 8
)

// Options are what the user asks for.
type Options struct {
	// Program is the name in front of messages on standard error.
	Program string
	// Host is the target as the user wrote it, Addr its address. An IPv6
	// address may have a zone, the name or number of an interface in the rump kernel.
	Host string
	Addr netip.Addr

	Count    int           // -c: replies to wait for; 0 for no limit
	Interval time.Duration // -i: between requests; 0 for the default: 1 s, when flooding 10 ms
	Deadline time.Duration // -w, -X: ends the program; 0 for none
	MaxWait  time.Duration // -x: a reply that takes longer is none; 0 for no limit (IPv6)
	Preload  int           // -l: requests to send at once at the beginning
	Size     int           // -s: data bytes; negative for the default of the family
	Pattern  []byte        // -p: what fills the data, at most 16 bytes; nil for counting bytes
	Random   bool          // -P: fill each request with other, random data
	Compat   bool          // -C: 8-byte timestamps, times with three decimals (IPv4)

	Once      bool // -o: the first reply ends the program
	Quiet     bool // -q: only the first and the last lines
	SemiQuiet bool // -Q: no errors that come back for our requests (IPv4)
	Verbose   bool // -v: every ICMP message
	Flood     bool // -f: as fast as replies come, or 100 a second
	Audible   bool // -a: a bell for every reply

	// Options of the socket and of the packets.
	TTL         int        // -T, -h: 1 to 255; 0 for the default. IPv6: the hop limit
	TOS         uint8      // -t: type of service, IPv6: traffic class
	DontFrag    bool       // -D: IPv4: the DF bit; IPv6: IPV6_DONTFRAG
	RecordRoute bool       // -R (IPv4)
	Gateway     netip.Addr // -g: IPv4: loose source route through it; IPv6: next hop
	Source      netip.Addr // -I, -S: source address
	Interface   string     // -I: outgoing interface (IPv6)
	NoLoop      bool       // -L: no copies of our own multicasts
	DontRoute   bool       // -r: only to directly attached networks
	Debug       bool       // -d: SO_DEBUG

	// Ident is the identifier in the echo messages; 0 for a random one.
	Ident uint16
}

// Check tells what of the options does not go together.
func (o *Options) Check() error {
	if !o.Addr.IsValid() {
		return fmt.Errorf("no address for %q", o.Host)
	}
	if o.Pattern != nil && o.Random {
		//lint:ignore ST1005 ping(8)'s words
		return errors.New("Only one of -P and -p allowed")
	}
	type flag struct {
		used bool
		name string
	}
	if o.ip6() {
		if o.size() > maxSize6 {
			return fmt.Errorf("datalen value too large, maximum is %d", maxSize6)
		}
		for _, f := range []flag{{o.RecordRoute, "-R"}, {o.Compat, "-C"}} {
			if f.used {
				return fmt.Errorf("%s is for IPv4, %s is an IPv6 address", f.name, o.Addr)
			}
		}
	} else {
		if o.size() > maxSize4 {
			return errors.New("packet size is too large")
		}
		for _, f := range []flag{{o.MaxWait != 0, "-x"}, {o.Interface != "", "-I with an interface"}} {
			if f.used {
				return fmt.Errorf("%s is for IPv6, %s is an IPv4 address", f.name, o.Addr)
			}
		}
	}
	for _, a := range []struct {
		addr netip.Addr
		name string
	}{{o.Gateway, "-g"}, {o.Source, "source address"}} {
		if a.addr.IsValid() && a.addr.Is4() != o.Addr.Is4() {
			return fmt.Errorf("%s %s and %s are not of the same family", a.name, a.addr, o.Addr)
		}
	}
	return nil
}

// ip6 tells whether the target is an IPv6 one.
func (o *Options) ip6() bool { return o.Addr.Is6() }

// size is the number of data bytes that the user is told of.
func (o *Options) size() int {
	switch {
	case o.Size >= 0:
		return o.Size
	case o.ip6():
		return DefaultSize6
	}
	return DefaultSize4
}

// interval is the time between two requests.
func (o *Options) interval() time.Duration {
	switch {
	case o.Interval > 0:
		return o.Interval
	case o.Flood:
		return 10 * time.Millisecond
	}
	return time.Second
}

// limit is how many replies end the program.
func (o *Options) limit() int {
	if o.Count == 0 {
		return int(^uint(0) >> 1)
	}
	if o.ip6() {
		return o.Count
	}
	return o.Count + o.Preload // as ping(8) counts
}
