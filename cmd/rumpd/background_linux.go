package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// redirect makes standard input, output and error lead to f. Linux has no
// dup2 on every machine, but dup3.
func redirect(f *os.File) error {
	for fd := range 3 {
		if err := unix.Dup3(int(f.Fd()), fd, 0); err != nil {
			return os.NewSyscallError("dup3", err)
		}
	}
	return nil
}
