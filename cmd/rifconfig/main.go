// Rifconfig shows and changes the network interfaces of a rump kernel, as
// NetBSD's ifconfig(8) does those of the host.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"rumptools/internal/flagerror"
	"rumptools/internal/ifconfig"
	"rumptools/internal/netdb"
	"rumptools/internal/registry"
	"rumptools/pkg/netbsd"
)

// program is the name in messages, and that kernels show for this process.
const program = "rifconfig"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the program: it returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	cmd := command(stdout, stderr)
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	err := cmd.ExecuteContext(ctx)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errQuiet):
	case ctx.Err() != nil:
		report(stderr, errors.New("interrupted"))
	default:
		report(stderr, err)
	}
	// ifconfig(8) tells of this failure twice, the second time as the one of
	// all that it was to do.
	if e := (*ifconfig.CloneError)(nil); errors.As(err, &e) {
		var errno netbsd.Errno
		if errors.As(e, &errno) {
			report(stderr, fmt.Errorf("exec_matches: %w", errno))
		}
	}
	return 1
}

// errQuiet ends the program with exit code 1 and no message.
var errQuiet = errors.New("")

// report prints an error, each line of it as a message of its own.
func report(w io.Writer, err error) {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintf(w, "%s: %s\n", program, line)
	}
}

func command(stdout, stderr io.Writer) *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use: program + " [flags] [INTERFACE [WORD ...]]",
		Example: "  rifconfig shmif0 create\n" +
			"  rifconfig shmif0 linkstr /tmp/bus\n" +
			"  rifconfig shmif0 inet 10.0.0.1/24\n" +
			"  rifconfig -a",
		Short:         "show and change network interfaces of a rump kernel",
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd.Context(), args, stdout, stderr)
		},
	}
	o.define(cmd.Flags())
	cmd.SetFlagErrorFunc(flagerror.Plain)
	cmd.SetHelpFunc(func(c *cobra.Command, _ []string) {
		fmt.Fprintf(stdout, "%s\n\n%s\n", c.Short, strings.TrimSpace(c.UsageString()))
	})
	return cmd
}

// run does what the flags and words say.
func (o *options) run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	todo, err := o.plan(args)
	if err != nil {
		return err
	}
	if o.deprecated {
		report(stderr, errors.New("-A is deprecated"))
	}
	k, err := registry.Dial(ctx, o.server, program)
	if err != nil {
		return err
	}
	defer k.Close()
	switch todo.what {
	case doCloners:
		names, err := ifconfig.Cloners(ctx, k)
		return printNames(stdout, names, o.json, err)
	case doNames:
		names, err := ifconfig.Names(ctx, k, o.filter(""))
		return printNames(stdout, names, o.json, err)
	case doWait:
		return ifconfig.Wait(ctx, k, seconds(o.wait), seconds(o.waitDetached))
	case doConnected:
		ok, err := ifconfig.Connected(ctx, k, todo.cmd.Interface)
		if err == nil && !ok {
			err = errQuiet
		}
		return err
	case doApply:
		return ifconfig.Apply(ctx, k, todo.cmd, ifconfig.Output{
			Stdout: stdout,
			Warn:   func(err error) { report(stderr, err) },
		})
	}
	list, err := ifconfig.List(ctx, k, o.filter(todo.cmd.Interface), ifconfig.Detail{
		Family:         todo.cmd.Family,
		Lifetimes:      o.lifetimes || o.json,
		ZeroStatistics: o.zero,
	})
	if err != nil {
		return err
	}
	if o.json {
		return printJSON(stdout, list)
	}
	text := ifconfig.TextOptions{
		Family:     todo.cmd.Family,
		Statistics: o.verbose || o.zero,
		Human:      o.human,
		Media:      o.media,
		Lifetimes:  o.lifetimes,
	}
	if o.names {
		text.Names = netdb.Host()
	}
	return ifconfig.WriteText(stdout, list, text)
}

// printNames prints a list of names in one line.
func printNames(w io.Writer, names []string, asJSON bool, err error) error {
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(w, names)
	}
	_, err = fmt.Fprintln(w, strings.Join(names, " "))
	return err
}

func printJSON[T any](w io.Writer, list []T) error {
	if list == nil {
		list = []T{}
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(list)
}
