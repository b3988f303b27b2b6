// Rnetstat shows the network of a rump kernel: sockets, routes, interfaces and
// statistics, as NetBSD's netstat(1) does those of the host.
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
	"golang.org/x/sys/unix"

	"rumptools/internal/flagerror"
	"rumptools/internal/netdb"
	"rumptools/internal/netstat"
	"rumptools/internal/registry"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// program is the name in messages, and that kernels show for this process.
const program = "rnetstat"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the program: it returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var o options
	cmd := &cobra.Command{
		Use:           program + " [flags] [SECONDS]",
		Example:       "  rnetstat -rn\n  rnetstat -i\n  rnetstat -an -f inet",
		Short:         "show sockets, routes, interfaces and statistics of a rump kernel",
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd.Context(), args, stdout)
		},
	}
	o.define(cmd.Flags())
	cmd.SetFlagErrorFunc(flagerror.Plain)
	cmd.SetHelpFunc(func(c *cobra.Command, _ []string) {
		fmt.Fprintf(stdout, "%s\n\n%s\n", c.Short, strings.TrimSpace(c.UsageString()))
	})
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	if err := cmd.ExecuteContext(ctx); err != nil {
		if ctx.Err() != nil {
			err = errors.New("interrupted")
		}
		fmt.Fprintf(stderr, "%s: %v\n", program, err)
		return 1
	}
	return 0
}

// run shows what the flags say.
func (o *options) run(ctx context.Context, args []string, w io.Writer) error {
	todo, err := o.plan(args)
	if err != nil {
		return err
	}
	k, err := registry.Dial(ctx, o.server, program)
	if err != nil {
		return err
	}
	defer k.Close()
	switch todo {
	case showRoutes:
		return o.showRoutes(ctx, k, w)
	case showRouteStatistics:
		s, err := netstat.ReadRoutingStatistics(ctx, k)
		if err != nil {
			return err
		}
		return o.writeStatistics(w, []*netstat.Statistics{s})
	case showInterfaces:
		return o.showInterfaces(ctx, k, w)
	case watchInterfaces:
		interval, err := o.interval()
		if err != nil {
			return err
		}
		return netstat.Watch(ctx, k, w, netstat.WatchOptions{
			InterfaceOptions: o.columns(), Name: o.interfaceName, Interval: interval, Lines: screenLines(w),
		})
	case showStatistics:
		return o.showStatistics(ctx, k, w)
	}
	return o.showSockets(ctx, k, w)
}

func (o *options) showRoutes(ctx context.Context, k *spclient.Conn, w io.Writer) error {
	var family int32
	for _, f := range o.families {
		family = map[string]int32{"inet": netbsd.AF_INET, "inet6": netbsd.AF_INET6}[f]
	}
	r, err := netstat.ListRoutes(ctx, k, netstat.RouteOptions{Family: family, NoLink: o.noLink})
	if err != nil {
		return err
	}
	if o.json {
		return printJSON(w, r.List)
	}
	return r.Write(w, o.namesOf())
}

func (o *options) showInterfaces(ctx context.Context, k *spclient.Conn, w io.Writer) error {
	l, err := netstat.ListInterfaces(ctx, k, o.interfaceName)
	if err != nil {
		return err
	}
	if o.json {
		err = printJSON(w, l.List)
	} else {
		err = l.Write(w, o.namesOf(), o.columns())
	}
	if err == nil && o.interfaceName != "" && len(l.List) == 0 {
		return netstat.ErrUnknownInterface(o.interfaceName)
	}
	return err
}

func (o *options) showStatistics(ctx context.Context, k *spclient.Conn, w io.Writer) error {
	names := []string{o.protocol}
	asked := o.protocol != "" // for just these
	if !asked {
		names = netstat.StatisticsOf("")
		if len(o.families) > 0 {
			names = nil
			for _, f := range o.families {
				names = append(names, netstat.StatisticsOf(f)...)
			}
		}
	}
	var list []*netstat.Statistics
	for _, name := range names {
		s, err := netstat.ReadStatistics(ctx, k, name)
		var none netstat.ErrNoStatistics
		if errors.As(err, &none) && !asked {
			continue // of all there are those that the kernel has
		}
		if err != nil {
			return err
		}
		list = append(list, s)
	}
	if len(list) == 0 && len(names) > 0 {
		return errors.New("the kernel keeps no statistics")
	}
	return o.writeStatistics(w, list)
}

func (o *options) writeStatistics(w io.Writer, list []*netstat.Statistics) error {
	if o.json {
		return printJSON(w, list)
	}
	for _, s := range list {
		if err := s.Write(w, o.statistics > 1, netdb.Host()); err != nil {
			return err
		}
	}
	return nil
}

// sockets are the sockets in JSON.
type sockets struct {
	Internet []netstat.Socket      `json:"internet"`
	Local    []netstat.LocalSocket `json:"local"`
}

func (o *options) showSockets(ctx context.Context, k *spclient.Conn, w io.Writer) error {
	found := sockets{[]netstat.Socket{}, []netstat.LocalSocket{}}
	families, asked := o.families, true
	if len(families) == 0 {
		families, asked = []string{"inet", "inet6", "local"}, false
	}
	for _, family := range families {
		switch family {
		case "inet":
			if err := o.internetSockets(ctx, k, w, netstat.InetProtocols, &found); err != nil {
				return err
			}
		case "inet6":
			if err := o.internetSockets(ctx, k, w, netstat.Inet6Protocols, &found); err != nil {
				return err
			}
		case "local":
			err := o.localSockets(ctx, k, w, &found)
			// Of all families there are those that the kernel has.
			if err != nil && (asked || !errors.Is(err, netstat.ErrNoLocal)) {
				return err
			}
		}
	}
	if o.json {
		return encode(w, found)
	}
	return nil
}

// internetSockets adds the sockets of protocols to those found, or prints
// them.
func (o *options) internetSockets(ctx context.Context, k *spclient.Conn, w io.Writer, protocols []string, found *sockets) error {
	var list []netstat.Socket
	for _, p := range protocols {
		s, err := netstat.ListSockets(ctx, k, p, o.all)
		if err != nil {
			return err
		}
		list = append(list, s...)
	}
	if o.owners {
		known, err := registry.Owners(ctx, k.URL())
		netstat.AddOwners(list, known)
		if err != nil {
			return err
		}
	}
	if o.json {
		found.Internet = append(found.Internet, list...)
		return nil
	}
	return netstat.WriteSockets(w, list, o.all, o.namesOf())
}

// localSockets adds the sockets of the local family to those found, or prints
// them.
func (o *options) localSockets(ctx context.Context, k *spclient.Conn, w io.Writer, found *sockets) error {
	list, err := netstat.ListLocalSockets(ctx, k)
	if err != nil {
		return err
	}
	if o.json {
		found.Local = append(found.Local, list...)
		return nil
	}
	return netstat.WriteLocalSockets(w, list)
}

func printJSON[T any](w io.Writer, list []T) error {
	if list == nil {
		list = []T{}
	}
	return encode(w, list)
}

func encode(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// screenLines is how many lines there are between two headings: as many as
// the terminal shows with them.
func screenLines(w io.Writer) int {
	const unknown = 21
	f, ok := w.(*os.File)
	if !ok {
		return unknown
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil || size.Row <= 3 {
		return unknown
	}
	return int(size.Row) - 3
}
