package main

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/spf13/pflag"

	"rumptools/internal/ifconfig"
	"rumptools/internal/netdb"
)

// options are the flags. Their letters are ifconfig(8)'s.
type options struct {
	server string
	json   bool

	all, list, cloners         bool
	broadcast, down, up, short bool
	verbose, human, zero       bool
	media, lifetimes, names    bool
	deprecated                 bool
	wait, waitDetached         secondsFlag
}

// secondsFlag is a whole number of seconds.
type secondsFlag struct {
	set   bool
	value int32
}

func (s *secondsFlag) String() string { return strconv.Itoa(int(s.value)) }
func (s *secondsFlag) Type() string   { return "seconds" }

func (s *secondsFlag) Set(v string) error {
	n, err := strconv.ParseInt(v, 10, 32)
	if err != nil || n < 0 {
		return fmt.Errorf("expected 0 to %d", math.MaxInt32)
	}
	s.set, s.value = true, int32(n)
	return nil
}

func seconds(s secondsFlag) time.Duration { return time.Duration(s.value) * time.Second }

func (o *options) define(f *pflag.FlagSet) {
	// Words after the interface that begin with - are parameters.
	f.SetInterspersed(false)
	f.StringVar(&o.server, "server", "", "the kernel's `URL or name`; else $RUMP_SERVER, else the kernel named default")
	f.BoolVar(&o.json, "json", false, "print JSON")
	f.BoolVarP(&o.all, "all", "a", false, "show all interfaces; so does giving no arguments")
	f.BoolVarP(&o.list, "list", "l", false, "list the names of interfaces")
	f.BoolVarP(&o.cloners, "cloners", "C", false, "list the kinds of interfaces that can be created")
	f.BoolVarP(&o.broadcast, "broadcast", "b", false, "with -a and -l: only broadcast interfaces")
	f.BoolVarP(&o.down, "down", "d", false, "with -a and -l: only interfaces that are down")
	f.BoolVarP(&o.up, "up", "u", false, "with -a and -l: only interfaces that are up")
	f.BoolVarP(&o.short, "connected", "s", false, "with -a and -l: only connected interfaces; with one interface: print nothing, fail if it is not connected")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "show statistics")
	f.BoolVarP(&o.human, "human", "h", false, "with -v and -z: show bytes in short form")
	f.BoolVarP(&o.zero, "zero", "z", false, "show statistics and set them to zero")
	f.BoolVarP(&o.media, "media", "m", false, "show the media that are supported")
	f.BoolVarP(&o.lifetimes, "lifetimes", "L", false, "show the lifetimes of inet6 addresses")
	f.BoolVarP(&o.names, "names", "N", false, "show hosts by name")
	f.VarP(&o.wait, "wait", "w", "wait until no address is tentative, at most so many `seconds`; 0 is for ever")
	f.VarP(&o.waitDetached, "wait-detached", "W", "with -w: wait so many `seconds` for detached addresses")
	f.BoolVarP(&o.deprecated, "aliases", "A", false, "does nothing")
	_ = f.MarkHidden("aliases")
	// Without it cobra would take -h for help.
	f.Bool("help", false, "print this help")
}

// action is what the program is to do.
type action int

const (
	doShow action = iota
	doApply
	doNames
	doCloners
	doWait
	doConnected
)

// plan is an action, and the command or the interface and family that it is
// about.
type plan struct {
	what action
	cmd  *ifconfig.Command
}

// plan checks the flags and the words, without a kernel.
func (o *options) plan(args []string) (plan, error) {
	exclusive := 0
	for _, set := range []bool{o.list, o.cloners, o.wait.set} {
		if set {
			exclusive++
		}
	}
	others := o.all || o.media || o.verbose || o.zero || o.lifetimes
	switch {
	case exclusive > 1 || exclusive == 1 && others:
		return plan{}, errors.New("-l, -C and -w exclude each other and -a, -L, -m, -v and -z")
	case exclusive == 1 && len(args) > 0:
		return plan{}, fmt.Errorf("unexpected word %q: -l, -C and -w take none", args[0])
	case o.cloners:
		return plan{what: doCloners}, nil
	case o.list:
		return plan{what: doNames}, nil
	case o.wait.set:
		return plan{what: doWait}, nil
	case o.waitDetached.set:
		return plan{}, errors.New("-W is for -w")
	case o.all || len(args) == 0:
		return o.planAll(args)
	}
	cmd, err := ifconfig.Parse(args, netdb.Host())
	switch {
	case err != nil:
		return plan{}, err
	case o.short && (!cmd.Show || cmd.Family != 0):
		return plan{}, fmt.Errorf("unexpected word %q: -s takes an interface", args[1])
	case o.short:
		return plan{doConnected, cmd}, nil
	case cmd.Show:
		return plan{doShow, cmd}, nil
	case o.lifetimes || o.media || o.zero || o.json:
		return plan{}, fmt.Errorf("unexpected word %q: -L, -m, -z and --json only show", args[1])
	}
	return plan{doApply, cmd}, nil
}

// planAll is for all interfaces: only a family may be given.
func (o *options) planAll(args []string) (plan, error) {
	if !o.all && (o.broadcast || o.down || o.up || o.short || o.verbose || o.human || o.zero || o.media || o.lifetimes || o.names) {
		return plan{}, errors.New("no interface given: name one, or use -a for all")
	}
	// The command line of one interface, without the interface.
	cmd, err := ifconfig.Parse(append([]string{"all"}, args...), netdb.Host())
	if err != nil {
		return plan{}, err
	}
	if !cmd.Show {
		return plan{}, fmt.Errorf("unexpected word %q: -a takes only an address family", args[0])
	}
	cmd.Interface = ""
	return plan{doShow, cmd}, nil
}

// filter is the choice of interfaces that the flags make.
func (o *options) filter(name string) ifconfig.Filter {
	return ifconfig.Filter{
		Name: name, Broadcast: o.broadcast, Down: o.down, Up: o.up,
		Connected: o.short,
	}
}
