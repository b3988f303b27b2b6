package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"rumptools/internal/registry"
	"rumptools/internal/trace"
)

// traceOptions are the command line's of trace.
type traceOptions struct {
	server, attach, read string
	output, record       string
	filter               string
	strings              int
	clock                int
	relative, durations  bool
	failed, successful   bool
	count, countToo      bool
	json, whole, fds     bool
	quiet                bool
}

func traceCommand() *cobra.Command {
	var o traceOptions
	cmd := &cobra.Command{
		Use:   "trace [FLAG]... [--server KERNEL] -- PROGRAM [ARGUMENT]... | --attach KERNEL | --read FILE",
		Short: "show the system calls that programs make in a kernel",
		Long: "Trace runs a program as a client of a kernel and shows the system calls that it\n" +
			"and all that it starts make there, as strace(1) does for the host's. With\n" +
			"--attach it shows those of all clients that connect to a running kernel, with\n" +
			"--read those of a recording.",
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd.Context(), args)
		},
	}
	f := cmd.Flags()
	f.SetInterspersed(false)
	f.StringVar(&o.server, "server", "", "the kernel's URL or name")
	f.StringVar(&o.attach, "attach", "", "trace the clients of the running kernel with that name or URL")
	f.StringVar(&o.read, "read", "", "show a recording, - for standard input")
	f.StringVarP(&o.output, "output", "o", "", "write the trace to a file, not to standard error (--read: standard output)")
	f.StringVar(&o.record, "record", "", "write a recording of all that passes to a file")
	f.StringVarP(&o.filter, "expr", "e", "", "show only some calls: [trace=][!]NAME,%CLASS,...")
	f.IntVarP(&o.strings, "string-limit", "s", trace.DefaultStrings, "show so many bytes of strings and buffers")
	f.CountVarP(&o.clock, "timestamps", "t", "show the time of day; twice with microseconds, three times in seconds since 1970")
	f.BoolVarP(&o.relative, "relative-timestamps", "r", false, "show the time since the line before")
	f.BoolVarP(&o.durations, "syscall-times", "T", false, "show how long each call took")
	f.BoolVarP(&o.failed, "failed-only", "Z", false, "show only calls that fail")
	f.BoolVarP(&o.successful, "successful-only", "z", false, "show only calls that do not fail")
	f.BoolVarP(&o.count, "summary", "c", false, "show no calls, but at the end how many there were and how long they took")
	f.BoolVarP(&o.countToo, "summary-also", "C", false, "show the calls and the summary")
	f.BoolVarP(&o.whole, "no-abbrev", "v", false, "show arrays and structures whole")
	f.BoolVarP(&o.fds, "decode-fds", "y", false, "show what descriptors are")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "show calls and signals only")
	f.BoolVar(&o.json, "json", false, "print JSON, one object a line")
	return cmd
}

// check says what is wrong with the options together.
func (o *traceOptions) check(args []string) error {
	modes := 0
	for _, on := range []bool{len(args) > 0, o.attach != "", o.read != ""} {
		if on {
			modes++
		}
	}
	switch {
	case modes == 0:
		return errors.New("trace: give a program, --attach or --read")
	case modes > 1:
		return errors.New("trace: a program, --attach and --read exclude each other")
	case o.server != "" && len(args) == 0:
		return errors.New("trace: --server is for a program; --attach takes the kernel's name")
	case o.record != "" && o.read != "":
		return errors.New("trace: --record and --read exclude each other")
	case o.failed && o.successful:
		return errors.New("trace: -Z and -z exclude each other")
	case o.relative && o.clock > 0:
		return errors.New("trace: -r and -t exclude each other")
	case o.clock > 3:
		return errors.New("trace: -t more than three times")
	case o.count && o.json:
		return errors.New("trace: -c and --json exclude each other")
	case o.strings < 0:
		return fmt.Errorf("trace: -s %d: not a number of bytes", o.strings)
	}
	return nil
}

func (o *traceOptions) run(ctx context.Context, args []string) (err error) {
	if err := o.check(args); err != nil {
		return err
	}
	var filter *trace.Filter
	if o.filter != "" {
		if filter, err = trace.ParseFilter(o.filter); err != nil {
			return fmt.Errorf("trace: -e %w", err)
		}
	}
	// A program's own output must not be mixed with its trace.
	standard := os.Stderr
	if o.read != "" {
		standard = os.Stdout
	}
	out, closeOut, err := create(o.output, standard)
	if err != nil {
		return err
	}
	defer closeOut()
	record, closeRecord, err := create(o.record, nil)
	if err != nil {
		return err
	}
	defer closeRecord()
	var failures []error
	t := trace.New(trace.Options{
		Output: out, Immediate: o.output == "" && o.read == "", JSON: o.json, Filter: filter,
		Errors: func(err error) { failures = append(failures, fmt.Errorf("trace: %w", err)) },
		Failed: o.failed, Successful: o.successful, Strings: o.strings, Whole: o.whole,
		Descriptors: o.fds, Clock: o.clockOf(), Durations: o.durations, Quiet: o.quiet,
		SummaryOnly: o.count, Record: record, Start: time.Now(),
	})
	err = o.trace(ctx, t, args)
	t.Flush()
	if o.count || o.countToo {
		if err := t.Summary().Write(out); err != nil {
			failures = append(failures, fmt.Errorf("trace: %w", err))
		}
	}
	for _, closeFile := range []func() error{closeOut, closeRecord} {
		if err := closeFile(); err != nil {
			failures = append(failures, fmt.Errorf("trace: %w", err))
		}
	}
	if end, ok := err.(*programEnd); ok {
		end.err = errors.Join(append(failures, end.err)...)
		return end
	}
	return errors.Join(append(failures, err)...)
}

// create makes a file to write to, and what closes it; without a name it is
// instead.
func create(name string, instead io.Writer) (io.Writer, func() error, error) {
	if name == "" {
		return instead, func() error { return nil }, nil
	}
	f, err := os.Create(name)
	if err != nil {
		return nil, nil, fmt.Errorf("trace: %w", err)
	}
	return f, f.Close, nil
}

func (o *traceOptions) clockOf() trace.Clock {
	switch {
	case o.relative:
		return trace.Relative
	case o.clock == 1:
		return trace.Seconds
	case o.clock == 2:
		return trace.Micros
	case o.clock == 3:
		return trace.SinceUnix
	}
	return trace.NoClock
}

func (o *traceOptions) trace(ctx context.Context, t *trace.Tracer, args []string) error {
	switch {
	case o.read != "":
		in := os.Stdin
		if o.read != "-" {
			f, err := os.Open(o.read)
			if err != nil {
				return fmt.Errorf("trace: %w", err)
			}
			defer f.Close()
			in = f
		}
		if err := trace.Read(in, t); err != nil {
			return fmt.Errorf("trace: %s: %w", o.read, err)
		}
		return nil
	case o.attach != "":
		url, err := registry.Resolve(o.attach)
		if err != nil {
			return err
		}
		return trace.Attach(ctx, t, url, func(s string) { fmt.Fprintf(os.Stderr, "%s: %s\n", program, s) })
	}
	url, err := o.kernel(ctx)
	if err != nil {
		return err
	}
	st, err := trace.Run(ctx, t, url, trace.Program{Args: args, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr})
	var start *trace.StartError
	switch {
	case errors.As(err, &start):
		// As env(1) and the shell have it.
		code := 126
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, exec.ErrNotFound) {
			code = 127
		}
		return &programEnd{status: trace.Status{Code: code}, err: fmt.Errorf("trace: %w", err)}
	case err != nil:
		return err
	case st.Code != 0 || st.Signal != 0:
		return &programEnd{status: st}
	}
	return nil
}

// kernel is the URL of the kernel that is meant, which must be there.
func (o *traceOptions) kernel(ctx context.Context) (string, error) {
	url, err := registry.Resolve(o.server)
	if err != nil {
		return "", err
	}
	k, err := registry.Probe(ctx, "", url)
	if err != nil {
		return "", err
	}
	if k.State == registry.Dead {
		return "", fmt.Errorf("no rump kernel at %s: start one with \"rumpctl start\" or set %s", url, registry.ServerEnv)
	}
	return url, nil
}

// programEnd is the end of a program whose status is to be this one's.
type programEnd struct {
	status trace.Status
	err    error // what went wrong besides, or nil
}

func (e *programEnd) Error() string {
	if e.err != nil {
		return e.err.Error()
	}
	return e.status.String()
}

// exit ends this process as the program has ended.
func (e *programEnd) exit() {
	sig := e.status.Signal
	if sig == 0 {
		os.Exit(e.status.Code)
	}
	// The core, if there is one, is the program's.
	syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{})
	if sig != syscall.SIGKILL {
		// Go's runtime makes something of its own of most signals; a shell in
		// this process dies of them.
		syscall.Exec("/bin/sh", []string{"sh", "-c", fmt.Sprintf("kill -%d $$; exit %d", sig, 128+sig)}, os.Environ())
	}
	syscall.Kill(os.Getpid(), sig)
	time.Sleep(signalTime)
	os.Exit(128 + int(sig))
}

// signalTime is more than a signal takes that a process sends itself.
const signalTime = time.Second
