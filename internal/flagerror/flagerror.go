// Package flagerror words the errors of command lines.
package flagerror

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Plain is an error of a command's flags in plain words, for [cobra.Command.SetFlagErrorFunc]. Pflag's own, of a
// flag whose value is none of its type, tells which function of Go's has said so, and the value twice.
func Plain(_ *cobra.Command, err error) error {
	v, ok := errors.AsType[*pflag.InvalidValueError](err)
	if !ok {
		return err
	}
	flag := v.GetFlag()
	name := "--" + flag.Name
	if flag.Shorthand != "" {
		name = "-" + flag.Shorthand
	}
	switch flag.Value.Type() {
	case "bool", "count":
		return fmt.Errorf("%s takes no value, but has %q", name, v.GetValue())
	case "int", "int32", "int64", "uint", "uint32":
		return fmt.Errorf("%s %s: not a number", name, v.GetValue())
	}
	return err
}
