// Rumpd is an embedded rump kernel: NetBSD's TCP/IP, seen from outside, in a
// process, for clients of the sysproxy protocol. It takes the place of
// rump_server(1) and most of its options.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"rumptools/internal/flagerror"
	"rumptools/internal/kernel"
	"rumptools/internal/kernel/inet"
	"rumptools/internal/kernel/local"
	"rumptools/internal/shmif"
	"rumptools/internal/slack"
	"rumptools/pkg/netbsd"
)

// options are the command line's.
type options struct {
	foreground bool
	verbose    bool
	cpus       int
	components []string
	memory     string
	machine    string
	url        string
}

func main() {
	// A busy client is waited for with one of them (see internal/kernel), so
	// that on a single CPU there must be another.
	if runtime.GOMAXPROCS(0) < 2 {
		runtime.GOMAXPROCS(2)
	}
	cmd := command(os.Args[1:])
	if err := cmd.Execute(); err != nil {
		fmt.Fprintf(os.Stderr, "rumpd: %v\n", err)
		os.Exit(1)
	}
}

func command(args []string) *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "rumpd [-sv] [-c NCPU] [-l LIB]... [-r BYTES] [--machine MACHINE] URL",
		Short: "run a rump kernel that serves at URL",
		Long:  longHelp(),
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("%d URLs given, want one", len(args))
			}
			return nil
		},
		SilenceErrors:         true,
		SilenceUsage:          true,
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, opt := range []string{"drive", "module"} {
				if f := cmd.Flags().Lookup(opt); f.Changed {
					return fmt.Errorf("-%s %s: no file systems and no modules here", f.Shorthand, f.Value)
				}
			}
			o.url = args[0]
			return run(&o)
		},
	}
	cmd.SetArgs(args)
	cmd.SetFlagErrorFunc(flagerror.Plain)
	f := cmd.Flags()
	f.BoolVarP(&o.foreground, "foreground", "s", false, "stay in the foreground")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "say what happens")
	f.IntVarP(&o.cpus, "ncpu", "c", 1, "number of processors, hw.ncpu")
	f.StringArrayVarP(&o.components, "lib", "l", nil, "component; those that networking needs are all there")
	f.StringVarP(&o.memory, "ram", "r", "64m", "memory, hw.physmem: bytes, or with k, m, g")
	// rump_server's, so that a script is told which of them is in the way.
	f.StringP("drive", "d", "", "not supported: no file systems")
	f.StringP("module", "m", "", "not supported: no kernel modules")
	f.StringVar(&o.machine, "machine", "amd64", "machine that the kernel is of")
	return cmd
}

// machines are the names of those that there are.
func machines() string {
	var names []string
	for _, m := range netbsd.Machines() {
		names = append(names, m.Name)
	}
	return strings.Join(names, " ")
}

func longHelp() string {
	return "Rumpd serves a rump kernel with a TCP/IP stack at URL, which is unix://PATH or\n" +
		"tcp://ADDRESS:PORT/. It goes to the background once it serves.\n\n" +
		"Machines: " + machines() + "."
}

func run(o *options) error {
	m, ok := netbsd.MachineByName(o.machine)
	if !ok {
		return fmt.Errorf("machine %s: unknown; there are %s", o.machine, machines())
	}
	if o.cpus < 1 || o.cpus > 32 {
		return fmt.Errorf("-c %d: not between 1 and 32", o.cpus)
	}
	memory, err := parseSize(o.memory)
	if err != nil {
		return fmt.Errorf("-r %s: %w", o.memory, err)
	}
	warnings, err := checkComponents(o.components)
	if err != nil {
		return err
	}
	if o.foreground {
		slack.Again()
	}
	if !inBackground() {
		for _, w := range warnings {
			fmt.Fprintln(os.Stderr, "rumpd: "+w)
		}
	}
	sigs := catchSignals()
	if !o.foreground && !inBackground() {
		return startBackground(sigs)
	}
	l, err := listen(o.url)
	if err != nil {
		return err
	}
	k := kernel.New(kernel.Config{Machine: m, CPUs: o.cpus, Memory: memory, Clients: maxClients()})
	local.Register(k)
	stack, err := inet.New(inet.Config{Kernel: k, OpenBus: openBus})
	if err != nil {
		l.Close()
		return fmt.Errorf("network: %w", err)
	}
	defer stack.Close()
	served := make(chan error, 1)
	go func() { served <- k.Serve(l) }()
	if o.verbose {
		fmt.Fprintf(os.Stderr, "rumpd: %s kernel serving at %s, process %d\n", m.Name, o.url, os.Getpid())
	}
	end := func() {}
	if !o.foreground {
		crash := crashPath(o.url)
		end, err = catchCrash(crash)
		if err != nil {
			fmt.Fprintf(os.Stderr, "rumpd: last words of the kernel will be lost: %s: %v\n", crash, cause(err))
		}
		defer end()
		if err := backgroundReady(); err != nil {
			k.Halt(true)
			<-served
			return err
		}
	}
	for {
		select {
		case <-sigs:
			k.Halt(true)
		case err := <-served:
			if !errors.Is(err, kernel.ErrHalted) {
				k.Halt(true)
				return fmt.Errorf("accept %s: %w", o.url, cause(err))
			}
			served = nil
		case <-k.Exited():
			if served != nil {
				<-served
			}
			// The socket is gone by now; whatever else should not
			// come to its end must not keep the process.
			time.AfterFunc(endTime, func() { giveUp(end) })
			go func() {
				<-sigs
				giveUp(end)
			}()
			k.Wait()
			return nil
		}
	}
}

// catchSignals gives the signals that end a kernel, from now on: one that comes
// while the kernel starts must not leave the socket behind. Those that are
// ignored, as by nohup(1) or in a shell's background, stay so. A reader of
// standard output that goes must not take the kernel with it.
func catchSignals() <-chan os.Signal {
	sigs := make(chan os.Signal, 1)
	for _, sig := range []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		if !signal.Ignored(sig) {
			signal.Notify(sigs, sig)
		}
	}
	signal.Ignore(syscall.SIGPIPE)
	return sigs
}

// endTime is how long calls under way and the network may take to end. One that
// writes to a console that nobody reads does not.
const endTime = 3 * time.Second

// giveUp ends the process at once.
func giveUp(end func()) {
	end()
	fmt.Fprintln(os.Stderr, "rumpd: not all ended in time")
	os.Exit(1)
}

// reserved is how many descriptors the kernel keeps for itself: its buses and
// what the runtime needs.
const reserved = 64

// maxClients is how many clients there are descriptors for.
func maxClients() int {
	var lim syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
		return 0
	}
	return int(max(1, min(uint64(lim.Cur), 1<<20)-min(uint64(lim.Cur)/2, reserved)))
}

// openBus opens the bus file that a linkstr names.
func openBus(path string) (inet.Bus, error) {
	bus, err := shmif.Open(path)
	if err != nil {
		return nil, err
	}
	return bus, nil
}
