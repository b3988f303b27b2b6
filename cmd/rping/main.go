// Rping sends ICMP echo requests out of a rump kernel, as NetBSD's ping(8) and
// ping6(8) do.
package main

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"time"

	"rumptools/internal/ping"
	"rumptools/internal/registry"
	"rumptools/internal/signals"
)

// program is the name in messages, and that kernels show for this process.
const program = "rping"

// exitInterrupted is the exit status of a program that is interrupted before it
// has sent anything: that of one that has received nothing.
const exitInterrupted = 2

func main() {
	// Before anything else, so that no signal finds its default action.
	source, err := signals.Open(os.Interrupt, syscall.SIGTERM, syscall.SIGCONT, signals.Info)
	if err != nil {
		fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	events := make(chan ping.Event, maxEvents)
	go watch(source, events, cancel)

	code := 0
	cmd := command(func(o *options) error {
		code, err = run(ctx, o, events)
		return err
	})
	err = cmd.Execute()
	switch {
	case err != nil && ctx.Err() != nil:
		os.Exit(exitInterrupted)
	case err != nil:
		fatal(err)
	}
	// The kernel's side of the connection ends with the process. Ending it in
	// an orderly way would mean to wait for a kernel that may not answer.
	os.Exit(code)
}

func fatal(err error) {
	if err == errUsage {
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(1)
	}
	fmt.Fprintf(os.Stderr, "%s: %v\n", program, err)
	os.Exit(1)
}

// run does what the command line says. ctx ends with the wish to stop, which is
// how the setting up is interrupted; from then on events tell of it.
func run(ctx context.Context, o *options, events <-chan ping.Event) (int, error) {
	if o.deadline > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.deadline)
		defer cancel()
	}
	p, err := o.resolve(ctx)
	if err != nil {
		return 1, err
	}
	conn, err := registry.Dial(ctx, o.server, program)
	if err != nil {
		return 1, err
	}
	sock, err := ping.Open(ctx, conn, p)
	if err != nil {
		return 1, registry.Late(conn.URL(), err)
	}
	return ping.Run(context.Background(), p, sock, events, os.Stdout, os.Stderr), nil
}

const (
	maxEvents = 64
	// grace is how long the statistics may take to get written after a second
	// interrupt.
	grace = time.Second
)

// watch turns signals into events. The first SIGINT or SIGTERM also calls stop.
// The second one ends the process, should its output be stuck somewhere.
func watch(source *signals.Source, events chan<- ping.Event, stop func()) {
	stopping := false
	for sig := range source.C() {
		switch sig {
		case signals.Info, syscall.SIGCONT:
			event := ping.Status
			if sig == syscall.SIGCONT {
				event = ping.Continued
			}
			if len(events) < maxEvents/2 { // room is kept for what matters
				events <- event
			}
		default:
			if stopping {
				time.AfterFunc(grace, func() { os.Exit(1) })
				continue
			}
			stopping = true
			events <- ping.Stop
			stop()
		}
	}
}
