package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"rumptools/internal/ifconfig"
	"rumptools/internal/netdb"
	"rumptools/internal/registry"
	"rumptools/pkg/spclient"
)

// startOptions are the command line's of start.
type startOptions struct {
	bus       string
	addresses []string
	machine   string
	kernel    string
	args      []string
}

func startCommand() *cobra.Command {
	var o startOptions
	cmd := &cobra.Command{
		Use:   "start [NAME]",
		Short: "start a kernel",
		Long: "Start starts a kernel under a name, " + registry.DefaultName + " if none is given, and returns when it\n" +
			"serves and is configured. With --bus it has an Ethernet interface, shmif0, on\n" +
			"that bus, which is a file; with --address the interface has that address.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := registry.DefaultName
			if len(args) > 0 {
				name = args[0]
			}
			return o.start(cmd.Context(), name)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.bus, "bus", "", "Ethernet bus, a file; made if it is not there")
	f.StringArrayVar(&o.addresses, "address", nil, "address with its prefix's length, as 10.0.0.1/24; may be repeated")
	f.StringVar(&o.machine, "machine", "", "machine that rumpd is to be of")
	f.StringVar(&o.kernel, "kernel", "", "another program than rumpd, as rump_server")
	f.StringArrayVar(&o.args, "kernel-arg", nil, "argument for the program; may be repeated")
	return cmd
}

// networkInterface is the interface that --bus makes.
const networkInterface = "shmif0"

// configureTime is how long a kernel that serves may take to be configured.
const configureTime = 15 * time.Second

func (o *startOptions) start(ctx context.Context, name string) error {
	commands, err := o.configuration()
	if err != nil {
		return err
	}
	url, err := registry.Start(ctx, name, registry.Program{Path: o.kernel, Machine: o.machine, Args: o.args})
	if err != nil || len(commands) == 0 {
		return err
	}
	if err := configure(ctx, url, commands); err != nil {
		// Nothing half-done stays. The context may have ended; this
		// must happen all the same.
		if herr := end(url); herr != nil {
			err = errors.Join(err, herr)
		}
		return err
	}
	return nil
}

// configuration is the ifconfig commands for what the options ask for. What is
// wrong with them is found before a kernel is started.
func (o *startOptions) configuration() ([]*ifconfig.Command, error) {
	if o.bus == "" {
		if len(o.addresses) > 0 {
			return nil, errors.New("start: --address needs an interface: give --bus")
		}
		return nil, nil
	}
	// The kernel may have another directory than this program.
	bus, err := filepath.Abs(o.bus)
	if err != nil {
		return nil, err
	}
	lines := [][]string{
		{networkInterface, "create"},
		{networkInterface, "linkstr", bus},
	}
	for _, a := range o.addresses {
		p, err := netip.ParsePrefix(a)
		if err != nil {
			return nil, fmt.Errorf("start: --address %s: not an address with its prefix's length, as 10.0.0.1/24", a)
		}
		family := "inet6"
		if p.Addr().Is4() {
			family = "inet"
		}
		lines = append(lines, []string{networkInterface, family, p.String(), "alias"})
	}
	lines = append(lines, []string{networkInterface, "up"})
	var commands []*ifconfig.Command
	for _, words := range lines {
		cmd, err := ifconfig.Parse(words, &netdb.DB{})
		if err != nil {
			return nil, fmt.Errorf("start: %s: %w", strings.Join(words, " "), err)
		}
		commands = append(commands, cmd)
	}
	return commands, nil
}

// configure carries out ifconfig commands in the kernel at url.
func configure(ctx context.Context, url string, commands []*ifconfig.Command) error {
	ctx, cancel := context.WithTimeout(ctx, configureTime)
	defer cancel()
	c, err := spclient.Dial(ctx, url, &spclient.Options{Name: program})
	if err != nil {
		return err
	}
	defer c.Close()
	out := ifconfig.Output{Stdout: io.Discard, Warn: func(err error) {
		fmt.Fprintf(os.Stderr, "%s: %v\n", program, err)
	}}
	for _, cmd := range commands {
		if err := ifconfig.Apply(ctx, c, cmd, out); err != nil {
			return fmt.Errorf("configure %s: %w", cmd, err)
		}
	}
	// An address can't be used before its duplicate was looked for. A
	// kernel that has one is started all the same: status shows it.
	err = ifconfig.Wait(ctx, c, tentativeTime, 0)
	if err != nil && !errors.Is(err, ifconfig.ErrTimedOut) {
		return fmt.Errorf("configure %s: %w", networkInterface, err)
	}
	return nil
}

// tentativeTime is how long to wait for addresses to be good. NetBSD sends
// three ARP probes a second apart, and one neighbour solicitation.
const tentativeTime = 8 * time.Second

// end halts a kernel that was started in vain.
func end(url string) error {
	ctx, cancel := context.WithTimeout(context.Background(), configureTime)
	defer cancel()
	c, err := spclient.Dial(ctx, url, &spclient.Options{Name: program})
	if err != nil {
		return err
	}
	defer c.Close()
	return registry.Halt(ctx, c, 0)
}
