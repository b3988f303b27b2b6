package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"rumptools/internal/flagerror"
	"rumptools/internal/ping"
)

// options are the command line.
type options struct {
	ping.Options
	server   string
	ip4, ip6 bool
	deadline time.Duration

	// Values as they were written.
	count, interval, maxwait, deadline6, trip, preload, size, pattern  value
	ttl, hopLimit, tos, gateway, sourceOrInterface, source, policyText value
}

// value is a flag's value. It may be given and empty, as where a script's variable
// has none.
type value struct {
	text  string
	given bool
}

func (v *value) String() string { return v.text }
func (v *value) Type() string   { return "string" }

func (v *value) Set(text string) error {
	*v = value{text, true}
	return nil
}

const usage = `usage: rping [-46aCDdfLnoPQqRrv] [-c count] [-g gateway] [-h hoplimit]
             [-I addr|interface] [-i interval] [-l preload] [-p pattern]
             [-S addr] [-s size] [-T ttl] [-t tos] [-w maxwait]
             [-X deadline] [-x maxtrip] [--server url|name] host`

// errUsage is the error of a command line without a host, or with several.
var errUsage = errors.New(usage)

// complain makes an error of ping(8)'s words, capitals and all.
func complain(format string, args ...any) error { return fmt.Errorf(format, args...) }

// command is the command line's parser. It calls run with what was said.
func command(run func(*options) error) *cobra.Command {
	o := &options{}
	cmd := &cobra.Command{
		Use:   "rping [flags] host",
		Short: "send ICMP echo requests out of a rump kernel",
		Long: "Rping sends ICMP echo requests out of a rump kernel, as ping(8) does for an IPv4\n" +
			"address and ping6(8) for an IPv6 address. It ends at the first interrupt. Exit\n" +
			"status: 0 there was a reply, 2 there was none, 1 error.",
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errUsage
			}
			o.Host = args[0]
			if err := o.parse(); err != nil {
				return err
			}
			return run(o)
		},
	}
	cmd.CompletionOptions.DisableDefaultCmd = true
	cmd.SetFlagErrorFunc(flagerror.Plain)
	f := cmd.Flags()
	f.SortFlags = false // the order is that of the letters
	f.StringVar(&o.server, "server", "", "the kernel's `URL` or name (default $RUMP_SERVER, else the kernel named default)")
	f.Bool("help", false, "show this help")
	f.BoolVarP(&o.ip4, "ipv4", "4", false, "of a host's addresses, take an IPv4 one (the default if there is one)")
	f.BoolVarP(&o.ip6, "ipv6", "6", false, "of a host's addresses, take an IPv6 one")
	f.BoolVarP(&o.Audible, "audible", "a", false, "sound the bell for every reply")
	f.BoolVarP(&o.Compat, "compat", "C", false, "8-byte timestamps, times in microseconds (IPv4)")
	f.VarP(&o.count, "count", "c", "stop after this many replies")
	f.BoolVarP(&o.DontFrag, "dont-fragment", "D", false, "set the Don't Fragment bit; IPv6: send no fragments")
	f.BoolVarP(&o.Debug, "debug", "d", false, "set SO_DEBUG on the socket")
	f.VarP(&o.policyText, "policy", "E", "IPsec policy; not supported")
	f.BoolVarP(&o.Flood, "flood", "f", false, "send as fast as replies come, or 100 times a second")
	f.VarP(&o.gateway, "gateway", "g", "IPv4: loose source route through this address; IPv6: next hop")
	f.VarP(&o.hopLimit, "hoplimit", "h", "hop limit, the same as -T")
	f.VarP(&o.sourceOrInterface, "source-or-interface", "I", "source address; IPv6: or outgoing interface")
	f.VarP(&o.interval, "interval", "i", "seconds between requests (default 1)")
	f.BoolVarP(&o.NoLoop, "no-loop", "L", false, "do not loop multicasts back")
	f.VarP(&o.preload, "preload", "l", "send this many requests at once at the beginning")
	f.BoolP("numeric", "n", false, "no names for addresses; they are never looked up")
	f.BoolVarP(&o.Once, "once", "o", false, "stop after the first reply")
	f.BoolVarP(&o.Random, "random", "P", false, "fill requests with random data")
	f.VarP(&o.pattern, "pattern", "p", "fill requests with this pattern of 1-32 `hex` digits")
	f.BoolVarP(&o.SemiQuiet, "quiet-errors", "Q", false, "do not show errors that come back for the requests")
	f.BoolVarP(&o.Quiet, "quiet", "q", false, "show the first line and the statistics only")
	f.BoolVarP(&o.RecordRoute, "record-route", "R", false, "record and show routes (IPv4)")
	f.BoolVarP(&o.DontRoute, "dont-route", "r", false, "only to hosts on attached networks (SO_DONTROUTE)")
	f.VarP(&o.source, "source", "S", "source `address`")
	f.VarP(&o.size, "size", "s", "data `bytes` to send (default 56; IPv6: 8)")
	f.VarP(&o.ttl, "ttl", "T", "time to live; IPv6: hop limit")
	f.VarP(&o.tos, "tos", "t", "type of service; IPv6: traffic class")
	f.BoolVarP(&o.Verbose, "verbose", "v", false, "show other ICMP messages too")
	f.VarP(&o.maxwait, "maxwait", "w", "stop after this many `seconds`")
	f.VarP(&o.deadline6, "deadline", "X", "the same as -w")
	f.VarP(&o.trip, "maxtrip", "x", "replies that take more `milliseconds` are none (IPv6)")
	return cmd
}

// parse reads the values, and complains in ping(8)'s words.
func (o *options) parse() error {
	o.Program = program
	o.Size = -1
	var err error
	if o.policyText.given {
		return errors.New("-E: IPsec policies are not supported")
	}
	if o.ip4 && o.ip6 {
		return errors.New("only one of -4 and -6 allowed")
	}
	if s := o.count.text; o.count.given {
		if o.Count, err = integer(s, 1, math.MaxInt32); err != nil {
			return complain("Bad/invalid number of packets: %s", s)
		}
	}
	if s := o.interval.text; o.interval.given {
		if o.Interval, err = duration(s, time.Second); err != nil {
			return complain("Bad/invalid interval: %s", s)
		}
	}
	if s := o.preload.text; o.preload.given {
		if o.Preload, err = integer(s, 0, math.MaxInt32); err != nil {
			return complain("Bad/invalid preload value: %s", s)
		}
	}
	if s := o.size.text; o.size.given {
		if o.Size, err = integer(s, 0, math.MaxInt32); err != nil {
			return complain("Bad/invalid packet size: %s", s)
		}
	}
	if s := o.tos.text; o.tos.given {
		v, err := integer(s, 0, 255)
		if err != nil {
			return complain("bad tos value: %s", s)
		}
		o.TOS = uint8(v)
	}
	if s := o.ttl.text; o.ttl.given {
		if o.TTL, err = integer(s, 1, 255); err != nil {
			return complain("ttl out of range: %s", s)
		}
	}
	if s := o.hopLimit.text; o.hopLimit.given {
		if o.TTL, err = integer(s, 1, 255); err != nil {
			return complain("illegal hoplimit -- %s", s)
		}
	}
	for _, v := range []value{o.maxwait, o.deadline6} {
		if !v.given {
			continue
		}
		if o.deadline, err = duration(v.text, time.Second); err != nil {
			return complain("Bad/invalid maxwait time: %s", v.text)
		}
		o.Deadline = o.deadline
	}
	if s := o.trip.text; o.trip.given {
		if o.MaxWait, err = duration(s, time.Millisecond); err != nil {
			return complain("Bad/invalid maxwait time: %s", s)
		}
	}
	if o.pattern.given {
		if o.Pattern, err = ping.ParsePattern(o.pattern.text); err != nil {
			return err
		}
	}
	return nil
}

// resolve finds the addresses of names, on the host, and checks that all goes
// together.
func (o *options) resolve(ctx context.Context) (*ping.Options, error) {
	p := &o.Options
	network := "ip"
	switch {
	case o.ip4:
		network = "ip4"
	case o.ip6:
		network = "ip6"
	}
	var err error
	if p.Addr, err = lookup(ctx, network, p.Host); err != nil {
		return nil, err
	}
	network = "ip4"
	if p.Addr.Is6() {
		network = "ip6"
	}
	if o.gateway.given {
		if p.Gateway, err = lookup(ctx, network, o.gateway.text); err != nil {
			return nil, err
		}
	}
	if s := o.sourceOrInterface.text; o.sourceOrInterface.given {
		if addr, ok := literal(s); ok {
			p.Source = addr
		} else if p.Addr.Is6() && s != "" {
			p.Interface = s
		} else if p.Source, err = lookup(ctx, network, s); err != nil {
			return nil, err
		}
	}
	if s := o.source.text; o.source.given {
		if p.Source, err = lookup(ctx, network, s); err != nil {
			return nil, err
		}
	}
	return p, p.Check()
}

// lookup finds an address of a host, an IPv4 one if there is one and the
// network is "ip".
func lookup(ctx context.Context, network, host string) (netip.Addr, error) {
	if addr, ok := literal(host); ok {
		if network == "ip4" && addr.Is6() || network == "ip6" && addr.Is4() {
			return addr, fmt.Errorf("%s is not an %s address", host, map[string]string{"ip4": "IPv4", "ip6": "IPv6"}[network])
		}
		return addr, nil
	}
	if strings.ContainsAny(host, ":%/ ") || host == "" {
		return netip.Addr{}, complain("Cannot resolve %q (Unknown host)", host)
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, network, host)
	if err != nil {
		return netip.Addr{}, unresolved(host, err)
	}
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
		if addrs[i].Is4() {
			return addrs[i], nil
		}
	}
	if len(addrs) == 0 {
		return netip.Addr{}, complain("Cannot resolve %q (No address associated with name)", host)
	}
	return addrs[0], nil
}

// unresolved is the error of a name that has not been found, which the resolver's
// own errors name again.
func unresolved(host string, err error) error {
	why := err.Error()
	if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
		why = "Unknown host"
	} else if ok {
		why = dns.Err
	} else if addr, ok := errors.AsType[*net.AddrError](err); ok {
		why = addr.Err
	}
	return complain("Cannot resolve %q (%s)", host, why)
}

// literal reads an address as inet_aton(3) and inet_pton(3) do.
func literal(s string) (netip.Addr, bool) {
	if addr, err := netip.ParseAddr(s); err == nil {
		return addr, true
	}
	// One to four numbers; the last one fills the rest of the address.
	parts := strings.Split(s, ".")
	if len(parts) > 4 {
		return netip.Addr{}, false
	}
	var b [4]byte
	for i, part := range parts {
		bits := 8
		if i == len(parts)-1 {
			bits = 8 * (4 - i)
		}
		v, err := number(part, bits)
		if err != nil {
			return netip.Addr{}, false
		}
		for j := i; j < 4 && bits > 0; j++ {
			bits -= 8
			b[j] = byte(v >> bits)
		}
	}
	return netip.AddrFrom4(b), true
}

// number reads an unsigned number as C writes it: decimal, 0x hexadecimal, or 0
// and octal digits.
func number(s string, bits int) (uint64, error) {
	if s == "" || strings.Contains(s, "_") || len(s) > 1 && s[0] == '0' && strings.ContainsRune("bBoO", rune(s[1])) {
		return 0, strconv.ErrSyntax // Go's, not C's
	}
	return strconv.ParseUint(s, 0, bits)
}

// integer reads a number within limits. No digits are 0, as they are to strtol(3).
func integer(s string, low, high int) (int, error) {
	if s == "" {
		s = "0"
	}
	digits := strings.TrimPrefix(s, "+")
	v, err := number(digits, 32)
	if err != nil {
		return 0, err
	}
	if v < uint64(low) || v > uint64(high) {
		return 0, strconv.ErrRange
	}
	return int(v), nil
}

// duration reads a number of units, more than none and with a fraction if need be.
func duration(s string, unit time.Duration) (time.Duration, error) {
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return 0, err
	}
	d := v * float64(unit)
	const longest = float64(100 * 365 * 24 * time.Hour)
	if !(d > 0) || d > longest {
		return 0, strconv.ErrRange
	}
	return max(time.Duration(d), time.Microsecond), nil
}
