//go:build freebsd || openbsd || darwin

package netbsd

import "syscall"

var moreHostSignals = [...]hostSignal{
	{SIGEMT, syscall.SIGEMT},
	{SIGINFO, syscall.SIGINFO},
}
