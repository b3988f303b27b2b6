//go:build !unix

package netbsd

import "syscall"

// hostSignals are the signals that Go knows on every host.
var hostSignals = [...]hostSignal{
	{SIGHUP, syscall.SIGHUP},
	{SIGINT, syscall.SIGINT},
	{SIGQUIT, syscall.SIGQUIT},
	{SIGKILL, syscall.SIGKILL},
	{SIGPIPE, syscall.SIGPIPE},
	{SIGALRM, syscall.SIGALRM},
	{SIGTERM, syscall.SIGTERM},
}

var moreHostSignals = [...]hostSignal{}
