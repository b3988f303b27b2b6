//go:build !linux || !(amd64 || arm64)

package main

import (
	"errors"

	"github.com/spf13/cobra"
)

func execCommand() *cobra.Command {
	return &cobra.Command{
		Use:                "exec",
		Short:              "run a program on a kernel's network (Linux on amd64 and arm64 only)",
		DisableFlagParsing: true,
		RunE: func(*cobra.Command, []string) error {
			return errors.New("exec: only Linux on amd64 and arm64 has what it needs")
		},
	}
}
