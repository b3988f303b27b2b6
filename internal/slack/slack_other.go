//go:build !linux

package slack

import "os/exec"

// Start is cmd.Start.
func Start(cmd *exec.Cmd) error { return cmd.Start() }

// Again does nothing.
func Again() {}
