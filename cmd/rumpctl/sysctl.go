package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"rumptools/internal/registry"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

func sysctlCommand() *cobra.Command {
	var server string
	var write, quiet bool
	cmd := &cobra.Command{
		Use:   "sysctl [-nw] NAME[=VALUE]...",
		Short: "show and set a kernel's sysctl variables",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, arg := range args {
				if _, _, sets := strings.Cut(arg, "="); write && !sets {
					return fmt.Errorf("sysctl %s: no value to set", arg)
				}
			}
			ctx := cmd.Context()
			c, err := registry.Dial(ctx, server, program)
			if err != nil {
				return err
			}
			defer c.Close()
			s := &sysctls{c: c, out: cmd.OutOrStdout(), quiet: quiet}
			var errs []error
			for _, arg := range args {
				name, value, sets := strings.Cut(arg, "=")
				if sets {
					err = s.set(ctx, name, value)
				} else {
					err = s.show(ctx, name)
				}
				errs = append(errs, err)
				if ends(err) {
					break
				}
			}
			return errors.Join(errs...)
		},
	}
	cmd.Flags().StringVar(&server, "server", "", "the kernel's URL or name")
	cmd.Flags().BoolVarP(&write, "write", "w", false, "only set variables")
	cmd.Flags().BoolVarP(&quiet, "values", "n", false, "print values without names")
	return cmd
}

// sysctls shows and sets variables as sysctl(8) does.
type sysctls struct {
	c     *spclient.Conn
	out   io.Writer
	quiet bool
}

// show prints a variable, or all below a node.
func (s *sysctls) show(ctx context.Context, name string) error {
	mib, node, err := s.c.SysctlNode(ctx, name)
	if err != nil {
		return err
	}
	if node.Type() != netbsd.CTLTYPE_NODE {
		v, err := s.value(ctx, mib, &node)
		if err != nil {
			return fmt.Errorf("sysctl %s: %w", name, cause(err))
		}
		return s.print(name, v)
	}
	return s.below(ctx, strings.TrimSuffix(name, "."), mib) // "kern." is good, too
}

func (s *sysctls) below(ctx context.Context, name string, mib []int32) error {
	children, err := s.c.SysctlQuery(ctx, mib)
	if err != nil {
		return fmt.Errorf("sysctl %s: %w", name, cause(err))
	}
	for i := range children {
		ch := &children[i]
		below := name + "." + netbsd.CString(ch.Name[:])
		at := append(mib[:len(mib):len(mib)], ch.Num)
		if ch.Type() == netbsd.CTLTYPE_NODE {
			// Some make names of their own, which cannot be listed.
			if err := s.below(ctx, below, at); ends(err) {
				return err
			}
			continue
		}
		v, err := s.value(ctx, at, ch)
		if err == nil {
			err = s.print(below, v)
		}
		if ends(err) {
			return err
		}
	}
	return nil
}

// ends tells whether an error is no single variable's: nothing that follows would
// be shown.
func ends(err error) bool {
	_, unwritten := errors.AsType[*fs.PathError](err)
	return unwritten || errors.Is(err, spclient.ErrLost) || errors.Is(err, context.Canceled)
}

func (s *sysctls) print(name, value string) error {
	if s.quiet {
		_, err := fmt.Fprintln(s.out, value)
		return err
	}
	_, err := fmt.Fprintf(s.out, "%s = %s\n", name, value)
	return err
}

// errStructure is for variables whose form the node does not tell.
var errStructure = errors.New("a structure, which is not shown")

// value reads a variable as text.
func (s *sysctls) value(ctx context.Context, mib []int32, node *netbsd.Sysctlnode) (string, error) {
	if node.Type() == netbsd.CTLTYPE_STRUCT {
		return "", errStructure
	}
	b, err := s.c.SysctlBytes(ctx, mib)
	if err != nil {
		return "", err
	}
	order := s.c.Machine().Order
	switch t := node.Type(); {
	case t == netbsd.CTLTYPE_INT && len(b) == 4:
		return fmt.Sprint(int32(order.Uint32(b))), nil
	case t == netbsd.CTLTYPE_QUAD && len(b) == 8:
		return fmt.Sprint(int64(order.Uint64(b))), nil
	case t == netbsd.CTLTYPE_BOOL && len(b) == 1:
		return fmt.Sprint(b[0]), nil
	case t == netbsd.CTLTYPE_STRING:
		return netbsd.CString(b), nil
	}
	return "", errStructure
}

// set sets a variable and prints what it was and is.
func (s *sysctls) set(ctx context.Context, name, value string) error {
	mib, node, err := s.c.SysctlNode(ctx, name)
	if err != nil {
		return err
	}
	old, err := s.value(ctx, mib, &node)
	if err != nil {
		return fmt.Errorf("sysctl %s: %w", name, cause(err))
	}
	var b []byte
	order := s.c.Machine().Order
	switch node.Type() {
	case netbsd.CTLTYPE_INT:
		v, err := strconv.ParseInt(value, 0, 32)
		if err != nil {
			return fmt.Errorf("sysctl %s: %q is no integer of 32 bits", name, value)
		}
		b = order.AppendUint32(nil, uint32(v))
	case netbsd.CTLTYPE_QUAD:
		v, err := strconv.ParseInt(value, 0, 64)
		if err != nil {
			return fmt.Errorf("sysctl %s: %q is no integer of 64 bits", name, value)
		}
		b = order.AppendUint64(nil, uint64(v))
	case netbsd.CTLTYPE_BOOL:
		v, err := strconv.ParseUint(value, 0, 1)
		if err != nil {
			return fmt.Errorf("sysctl %s: %q is neither 0 nor 1", name, value)
		}
		b = []byte{byte(v)}
	case netbsd.CTLTYPE_STRING:
		b = append([]byte(value), 0)
	}
	if err := s.c.SysctlSet(ctx, mib, b); err != nil {
		return fmt.Errorf("sysctl %s: %w", name, cause(err))
	}
	now, err := s.value(ctx, mib, &node)
	if err != nil {
		return fmt.Errorf("sysctl %s: %w", name, cause(err))
	}
	if s.quiet {
		_, err = fmt.Fprintln(s.out, now)
	} else {
		_, err = fmt.Fprintf(s.out, "%s: %s -> %s\n", name, old, now)
	}
	return err
}

// cause is what a call failed with, of which the name is said already.
func cause(err error) error {
	if e, ok := errors.AsType[*spclient.SyscallError](err); ok {
		return e.Errno
	}
	return err
}
