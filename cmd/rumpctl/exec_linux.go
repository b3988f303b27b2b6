//go:build amd64 || arm64

package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"rumptools/internal/hijack"
	"rumptools/internal/registry"
	"rumptools/internal/trace"
	"rumptools/pkg/spclient"
)

// execOptions are the command line's of exec.
type execOptions struct {
	server  string
	verbose bool
}

func execCommand() *cobra.Command {
	var o execOptions
	cmd := &cobra.Command{
		Use:   "exec [--server KERNEL] [-v] -- PROGRAM [ARGUMENT]...",
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
	f.BoolVarP(&o.verbose, "verbose", "v", false, "show what programs do with sockets")
	return cmd
}

func (o *execOptions) run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("exec: give a program")
	}
	if hijack.IsSupervisor() {
		hijack.Supervise(ctx, &hijack.Options{
			Dial:    func(ctx context.Context) (*spclient.Conn, error) { return registry.Dial(ctx, o.server, program) },
			Args:    args,
			Verbose: o.verbose,
			Program: program,
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

// execStage is the part of a program's start that needs a process of its own.
func execStage() { hijack.Stage() }
