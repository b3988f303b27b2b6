package main

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"rumptools/internal/netdb"
	"rumptools/internal/netstat"
)

// options are the flags. Their letters are netstat(1)'s.
type options struct {
	server string
	json   bool
	owners bool

	all, routes, interfaces bool
	interfaceName           string
	families                []string
	numeric, symbolicPorts  bool
	bytes, human, drops     bool
	noLink, verbose         bool
	statistics              int
	protocol                string
	wait                    string

	refused []*refusedFlag
}

// refusedFlag is a flag of netstat(1)'s that this program has not, and why.
type refusedFlag struct {
	letter, why string
	takesValue  bool
	set         bool
}

func (r *refusedFlag) String() string   { return "" }
func (r *refusedFlag) Type() string     { return "" }
func (r *refusedFlag) Set(string) error { r.set = true; return nil }

// IsBoolFlag lets the flag stand without a value.
func (r *refusedFlag) IsBoolFlag() bool { return !r.takesValue }

func (o *options) define(f *pflag.FlagSet) {
	f.SetInterspersed(false)
	f.StringVar(&o.server, "server", "", "the kernel's `URL or name`; else $RUMP_SERVER, else the kernel named default")
	f.BoolVar(&o.json, "json", false, "print JSON")
	f.BoolVar(&o.owners, "owners", false, "show which programs have the sockets, of those that run under rumpctl exec")
	f.BoolVarP(&o.all, "all", "a", false, "show sockets that are not connected as well")
	f.BoolVarP(&o.numeric, "numeric", "n", false, "show addresses and ports as numbers")
	f.BoolVarP(&o.symbolicPorts, "symbolic-ports", "S", false, "show addresses as numbers, ports by name")
	f.StringSliceVarP(&o.families, "family", "f", nil, "only `families`, with commas between them: inet, inet6, arp, local or unix")
	f.BoolVarP(&o.routes, "routes", "r", false, "show routing tables, with -s their statistics")
	f.BoolVarP(&o.interfaces, "interfaces", "i", false, "show interfaces")
	f.StringVarP(&o.interfaceName, "interface", "I", "", "show one `interface`")
	f.StringVarP(&o.wait, "wait", "w", "", "show what interfaces count every so many `seconds`")
	f.BoolVarP(&o.bytes, "bytes", "b", false, "with -i and -w: show bytes, not packets")
	f.BoolVarP(&o.human, "human", "h", false, "with -b: show bytes in short form")
	f.BoolVarP(&o.drops, "drops", "d", false, "with -i and -w: show dropped packets")
	f.CountVarP(&o.statistics, "statistics", "s", "show statistics of protocols, twice without those that are zero")
	f.StringVarP(&o.protocol, "protocol", "p", "", "show statistics of one `protocol`")
	f.BoolVarP(&o.noLink, "no-link", "L", false, "with -r: leave out neighbours")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "show long addresses in full and metrics of routes")
	// Without it cobra would take -h for help.
	f.Bool("help", false, "print this help")

	for _, r := range []*refusedFlag{
		{letter: "A", why: "addresses of control blocks are of no use in a rump kernel"},
		{letter: "B", why: "bpf(4) peers are not shown"},
		{letter: "g", why: "multicast routing is not in rump kernels"},
		{letter: "l", why: "multicast routing is not in rump kernels"},
		{letter: "m", why: "the memory of the network stack is not shown"},
		{letter: "q", why: "software interrupt queues are not shown"},
		{letter: "T", why: "MPLS tags are not shown"},
		{letter: "t", why: "watchdog timers are not shown"},
		{letter: "u", why: "not a documented flag; -f local shows local sockets"},
		{letter: "V", why: "not a documented flag"},
		{letter: "X", why: "there is nothing but sysctl(3) to use"},
		{letter: "M", why: "there is no memory file of a rump kernel", takesValue: true},
		{letter: "N", why: "there is no name list of a rump kernel", takesValue: true},
		{letter: "P", why: "control blocks are not shown", takesValue: true},
	} {
		o.refused = append(o.refused, r)
		flag := f.VarPF(r, "refused-"+r.letter, r.letter, "")
		flag.Hidden = true
		if !r.takesValue {
			flag.NoOptDefVal = "true"
		}
	}
}

// what the program is to show.
type what int

const (
	showSockets what = iota
	showRoutes
	showRouteStatistics
	showInterfaces
	watchInterfaces
	showStatistics
)

// plan checks the flags and the words, without a kernel.
func (o *options) plan(args []string) (what, error) {
	for _, r := range o.refused {
		if r.set {
			return 0, fmt.Errorf("-%s: %s", r.letter, r.why)
		}
	}
	// netstat(1) takes the interval of -w without the flag as well.
	if len(args) > 0 && o.wait == "" && args[0] != "" && args[0][0] >= '0' && args[0][0] <= '9' {
		o.wait, args = args[0], args[1:]
	}
	if len(args) > 0 {
		return 0, fmt.Errorf("unexpected word %q", args[0])
	}
	for i, f := range o.families {
		switch f {
		case "unix":
			o.families[i] = "local"
		case "inet", "inet6", "arp", "local":
		case "mpls", "atalk", "ns", "pfkey":
			return 0, fmt.Errorf("%s: address family not supported", f)
		default:
			return 0, fmt.Errorf("%s: unknown address family", f)
		}
	}
	interfaces := o.interfaces || o.interfaceName != ""
	switch {
	case o.wait != "":
		if _, err := o.interval(); err != nil {
			return 0, err
		}
		if o.json {
			return 0, errors.New("-w and --json exclude each other")
		}
		return watchInterfaces, nil
	case interfaces && (o.statistics > 0 || o.protocol != ""):
		return 0, errors.New("-i and -I exclude -s and -p: kernels keep no statistics of protocols by interface")
	case interfaces && len(o.families) > 0:
		return 0, errors.New("-i and -I exclude -f")
	case o.protocol != "":
		name, ok := netstat.FindProtocol(o.protocol, netdb.Host())
		if !ok {
			return 0, fmt.Errorf("%s: unknown or uninstrumented protocol", o.protocol)
		}
		o.protocol = name
		return showStatistics, nil
	case interfaces:
		return showInterfaces, nil
	case o.routes && o.statistics > 0:
		return showRouteStatistics, nil
	case o.routes:
		return showRoutes, o.routeFamilies()
	case o.statistics > 0:
		return showStatistics, nil
	}
	return showSockets, nil
}

// routeFamilies checks that the families have routing tables.
func (o *options) routeFamilies() error {
	if len(o.families) > 1 {
		return fmt.Errorf("-r takes one family, not %s", strings.Join(o.families, ","))
	}
	for _, f := range o.families {
		if f != "inet" && f != "inet6" {
			return fmt.Errorf("%s: no routing table", f)
		}
	}
	return nil
}

// interval is the time of -w.
func (o *options) interval() (time.Duration, error) {
	n, err := strconv.ParseInt(o.wait, 10, 32)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("bad value for -w: %q: expected 1 to %d seconds", o.wait, math.MaxInt32)
	}
	return time.Duration(n) * time.Second, nil
}

func (o *options) namesOf() netstat.Names {
	return netstat.Names{
		DB: netdb.Host(), NumericAddresses: o.numeric || o.symbolicPorts, NumericPorts: o.numeric, Verbose: o.verbose,
	}
}

func (o *options) columns() netstat.InterfaceOptions {
	return netstat.InterfaceOptions{Bytes: o.bytes, Human: o.human, Drops: o.drops}
}
