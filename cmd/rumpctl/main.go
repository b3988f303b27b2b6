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

	"rumptools/internal/flagerror"
)

// program is the name in messages, and that kernels show for this process.
const program = "rumpctl"

func main() {
	ctx, stop := context.Background(), func() {}
	if sigs := endSignals(); len(sigs) > 0 { // none would be all
		ctx, stop = signal.NotifyContext(ctx, sigs...)
	}
	defer stop()
	err := root().ExecuteContext(ctx)
	var end *programEnd
	switch {
	case err == nil:
	case errors.As(err, &end):
		if end.err != nil {
			complain(end.err)
		}
		end.exit()
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		// What was begun has been undone; that it was cut off is all
		// there is to say.
		fmt.Fprintf(os.Stderr, "%s: interrupted\n", program)
		os.Exit(1)
	default:
		complain(err)
		os.Exit(1)
	}
}

// endSignals are the signals that end a command. Those that are ignored, as in a
// shell's background, stay so, also in programs that are run.
func endSignals() []os.Signal {
	var sigs []os.Signal
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		if !signal.Ignored(sig) {
			sigs = append(sigs, sig)
		}
	}
	return sigs
}

func complain(err error) {
	for _, line := range strings.Split(err.Error(), "\n") {
		fmt.Fprintf(os.Stderr, "%s: %s\n", program, line)
	}
}

func root() *cobra.Command {
	cmd := &cobra.Command{
		Use:           program,
		Short:         "start, look at, trace and end rump kernels",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	cmd.CompletionOptions.HiddenDefaultCmd = true
	cmd.SetFlagErrorFunc(flagerror.Plain)
	cmd.DisableSuggestions = true // they are six lines, and an error is one
	cmd.AddCommand(startCommand(), listCommand(), statusCommand(), haltCommand(), sysctlCommand(), traceCommand(), execCommand())
	return cmd
}
