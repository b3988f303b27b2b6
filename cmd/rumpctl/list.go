package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"rumptools/internal/registry"
)

func listCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "list the kernels that were started by name",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			kernels, err := registry.List(cmd.Context())
			if err != nil && len(kernels) == 0 {
				return err
			}
			show := listText
			if asJSON {
				show = listJSON
			}
			return errors.Join(show(cmd.OutOrStdout(), kernels), err)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// listEntry is a kernel in rumpctl list --json.
type listEntry struct {
	Name    string         `json:"name"`
	URL     string         `json:"url"`
	State   registry.State `json:"state"`
	System  string         `json:"system,omitempty"`  // "NetBSD 7.99.34"
	Machine string         `json:"machine,omitempty"` // "amd64"
	PID     int            `json:"pid,omitempty"`     // the host's process
	Traced  bool           `json:"traced,omitempty"`  // by rumpctl trace --attach
}

func entry(k registry.Kernel) listEntry {
	e := listEntry{Name: k.Name, URL: k.URL, State: k.State, PID: k.PID, Traced: k.Traced}
	if k.State == registry.Running {
		e.System = k.Banner.OSType + " " + k.Banner.OSRelease
		e.Machine = k.Banner.Machine
	}
	return e
}

func listJSON(w io.Writer, kernels []registry.Kernel) error {
	entries := make([]listEntry, 0, len(kernels))
	for _, k := range kernels {
		entries = append(entries, entry(k))
	}
	return writeJSON(w, entries)
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// listText prints a table, or nothing when there are no kernels.
func listText(w io.Writer, kernels []registry.Kernel) error {
	if len(kernels) == 0 {
		return nil
	}
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(tw, "NAME\tSTATE\tPID\tMACHINE\tURL")
	for _, k := range kernels {
		pid, machine := "-", "-"
		if k.PID != 0 {
			pid = fmt.Sprint(k.PID)
		}
		if k.State == registry.Running {
			machine = k.Banner.Machine
		}
		state := string(k.State)
		if k.Traced && k.State == registry.Running {
			state = "traced"
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\n", k.Name, state, pid, machine, k.URL)
	}
	return tw.Flush()
}
