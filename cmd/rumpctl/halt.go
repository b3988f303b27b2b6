package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"rumptools/internal/registry"
	"rumptools/pkg/netbsd"
)

func haltCommand() *cobra.Command {
	var server string
	var all bool
	var dump, halt, nosync bool
	cmd := &cobra.Command{
		Use:   "halt [NAME]...",
		Short: "end kernels",
		Long: "Halt ends the named kernels, or the one that --server, RUMP_SERVER or the name\n" +
			"default chooses, and returns when they are gone.",
		RunE: func(cmd *cobra.Command, names []string) error {
			if len(names) > 0 && (server != "" || all) || server != "" && all {
				return errors.New("halt: names, --server and --all exclude each other")
			}
			var errs []error
			if all {
				kernels, err := registry.List(cmd.Context())
				for _, k := range kernels {
					names = append(names, k.Name)
				}
				if len(names) == 0 {
					return err
				}
				errs = append(errs, err)
			}
			if len(names) == 0 {
				names = []string{server}
			}
			var howto int32
			if dump {
				howto |= netbsd.RB_DUMP
			}
			if halt {
				howto |= netbsd.RB_HALT
			}
			if nosync {
				howto |= netbsd.RB_NOSYNC
			}
			for _, name := range names {
				errs = append(errs, haltOne(cmd, name, howto))
			}
			return errors.Join(errs...)
		},
	}
	f := cmd.Flags()
	f.StringVar(&server, "server", "", "the kernel's URL or name")
	f.BoolVar(&all, "all", false, "end every named kernel")
	f.BoolVarP(&dump, "dump", "d", false, "ask for a dump first (RB_DUMP)")
	f.BoolVarP(&halt, "halt", "h", false, "halt only: the kernel serves no more, its process stays (RB_HALT)")
	f.BoolVarP(&nosync, "nosync", "n", false, "do not write file systems back first (RB_NOSYNC)")
	f.Bool("help", false, "help for halt")
	return cmd
}

func haltOne(cmd *cobra.Command, name string, howto int32) error {
	// One that is stopped accepts connections and never says a word.
	ctx, cancel := context.WithTimeout(cmd.Context(), registry.HaltTime)
	defer cancel()
	c, err := registry.Dial(ctx, name, program)
	if err != nil {
		return err
	}
	defer c.Close()
	return registry.Halt(cmd.Context(), c, howto)
}
