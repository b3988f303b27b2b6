//go:build darwin || freebsd || netbsd || openbsd

package test

import "syscall"

// infoSignal asks a program how far it is.
const infoSignal = syscall.SIGINFO
