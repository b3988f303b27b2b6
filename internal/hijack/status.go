package hijack

import "syscall"

// Status is how a program ended.
type Status struct {
	// Code is its exit code.
	Code int
	// Signal is the number of the signal that ended it, 0 when none did.
	Signal syscall.Signal
}
