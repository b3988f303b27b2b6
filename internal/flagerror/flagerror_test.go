package flagerror_test

import (
	"io"
	"testing"

	"github.com/spf13/cobra"

	"rumptools/internal/flagerror"
)

func TestPlain(t *testing.T) {
	for _, test := range []struct{ arg, want string }{
		{"-nx", "-n x: not a number"},
		{"--number=1.5", "-n 1.5: not a number"},
		{"--long=", "--long : not a number"},
		{"--quiet=perhaps", `-q takes no value, but has "perhaps"`},
		{"-v=x", `-v takes no value, but has "x"`},
		{"--time=x", `invalid argument "x" for "--time" flag: time: invalid duration "x"`},
		{"--other", "unknown flag: --other"},
		{"--quiet=false", ""},
		{"-n1", ""},
	} {
		cmd := &cobra.Command{SilenceErrors: true, SilenceUsage: true, Run: func(*cobra.Command, []string) {}}
		cmd.SetFlagErrorFunc(flagerror.Plain)
		f := cmd.Flags()
		f.IntP("number", "n", 0, "")
		f.Int32("long", 0, "")
		f.BoolP("quiet", "q", false, "")
		f.CountP("verbose", "v", "")
		f.Duration("time", 0, "")
		cmd.SetArgs([]string{test.arg})
		cmd.SetOut(io.Discard)
		got := ""
		if err := cmd.Execute(); err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%s: %q, want %q", test.arg, got, test.want)
		}
	}
}
