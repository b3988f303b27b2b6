// Rumpctl starts, lists and ends rump kernels.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// program is the name in messages, and that kernels show for this process.
const program = "rumpctl"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := root().ExecuteContext(ctx)
	switch {
	case err == nil:
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		// What was begun has been undone; that it was cut off is all
		// there is to say.
		fmt.Fprintf(os.Stderr, "%s: interrupted\n", program)
		os.Exit(1)
	default:
		for _, line := range strings.Split(err.Error(), "\n") {
			fmt.Fprintf(os.Stderr, "%s: %s\n", program, line)
		}
		os.Exit(1)
	}
}

func root() *cobra.Command {
	cmd := &cobra.Command{
		Use:           program,
		Short:         "start, look at and end rump kernels",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	cmd.CompletionOptions.HiddenDefaultCmd = true
	cmd.AddCommand(startCommand(), listCommand(), statusCommand(), haltCommand())
	return cmd
}
