//go:build !linux

package bench

import (
	"errors"
	"os/exec"
)

// cpu is a CPU that a server is bound to: none.
type cpu struct{}

func pinServer(string) (*cpu, error) { return nil, errors.New("not on this host") }

func (c *cpu) release() {}

func (c *cpu) start(cmd *exec.Cmd) error { return cmd.Start() }
