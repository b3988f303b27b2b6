//go:build !linux

package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// redirect makes standard input, output and error lead to f.
func redirect(f *os.File) error {
	for fd := range 3 {
		if err := unix.Dup2(int(f.Fd()), fd); err != nil {
			return os.NewSyscallError("dup2", err)
		}
	}
	return nil
}
