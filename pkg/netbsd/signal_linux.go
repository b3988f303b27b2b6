package netbsd

import "syscall"

var moreHostSignals = [...]hostSignal{
	{SIGPWR, syscall.SIGPWR},
}
