//go:build amd64 || arm64

package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"rumptools/internal/hijack"
	"rumptools/internal/registry"
	"rumptools/internal/trace"
	"rumptools/pkg/spclient"
)

// execOptions are the command line's of exec.
type execOptions struct {
	server        string
	resolv, hosts string
	procnet       bool
	verbose       bool
}

func execCommand() *cobra.Command {
	var o execOptions
	cmd := &cobra.Command{
		Use:   "exec [FLAG]... [--server KERNEL] -- PROGRAM [ARGUMENT]...",
		Short: "run a program on a kernel's network",
		Long: "Exec runs a program, and all that it starts, whose Internet sockets are then those\n" +
			"of a rump kernel. The program need not be changed and no privilege is needed.",
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd.Context(), args)
		},
	}
	f := cmd.Flags()
	f.SetInterspersed(false)
	f.StringVar(&o.server, "server", "", "the kernel's URL or name")
	f.StringVar(&o.resolv, "resolv", "", "the programs' resolv.conf; without one, names are found in hosts only")
	f.StringVar(&o.hosts, "hosts", "", "the programs' hosts, instead of the host's own")
	f.BoolVar(&o.procnet, "procnet", false, "answer opens of /proc/net where mounting is not permitted (slows all opens)")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "show what programs do with sockets")
	return cmd
}

func (o *execOptions) run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("exec: give a program")
	}
	families, notes, err := hijack.ParseRumphijack(os.Getenv(hijack.Env))
	if err != nil {
		return fmt.Errorf("exec: %w", err)
	}
	for _, f := range []*string{&o.resolv, &o.hosts} {
		if *f == "" {
			continue
		}
		if _, err := os.Stat(*f); err != nil {
			return fmt.Errorf("exec: %w", err)
		}
	}
	if hijack.IsSupervisor() {
		for _, note := range notes {
			complain(fmt.Errorf("exec: %s", note))
		}
		hijack.Supervise(ctx, &hijack.Options{
			Dial:       func(ctx context.Context) (*spclient.Conn, error) { return registry.Dial(ctx, o.server, program) },
			Owners:     registry.Owners,
			TellOwners: registry.TellOwners,
			Args:       args,
			Resolv:     o.resolv,
			Hosts:      o.hosts,
			ProcNet:    o.procnet,
			Families:   families,
			Verbose:    o.verbose,
			Program:    program,
		})
		return nil
	}
	st, err := hijack.Front()
	if err != nil && st.Code == 0 {
		return err
	}
	if err != nil || st.Code != 0 || st.Signal != 0 {
		return &programEnd{status: trace.Status{Code: st.Code, Signal: st.Signal}, err: err}
	}
	return nil
}
