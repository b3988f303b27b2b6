package netbsd

import "syscall"

var moreHostSignals = [...]hostSignal{
	{SIGEMT, syscall.SIGEMT},
	{SIGINFO, syscall.SIGINFO},
	{SIGPWR, syscall.SIGPWR},
}
