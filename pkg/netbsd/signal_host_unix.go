//go:build unix

package netbsd

import "syscall"

// hostSignals are the signals that every Unix has.
var hostSignals = [...]hostSignal{
	{SIGHUP, syscall.SIGHUP},
	{SIGINT, syscall.SIGINT},
	{SIGQUIT, syscall.SIGQUIT},
	{SIGILL, syscall.SIGILL},
	{SIGTRAP, syscall.SIGTRAP},
	{SIGABRT, syscall.SIGABRT},
	{SIGFPE, syscall.SIGFPE},
	{SIGKILL, syscall.SIGKILL},
	{SIGBUS, syscall.SIGBUS},
	{SIGSEGV, syscall.SIGSEGV},
	{SIGSYS, syscall.SIGSYS},
	{SIGPIPE, syscall.SIGPIPE},
	{SIGALRM, syscall.SIGALRM},
	{SIGTERM, syscall.SIGTERM},
	{SIGURG, syscall.SIGURG},
	{SIGSTOP, syscall.SIGSTOP},
	{SIGTSTP, syscall.SIGTSTP},
	{SIGCONT, syscall.SIGCONT},
	{SIGCHLD, syscall.SIGCHLD},
	{SIGTTIN, syscall.SIGTTIN},
	{SIGTTOU, syscall.SIGTTOU},
	{SIGIO, syscall.SIGIO},
	{SIGXCPU, syscall.SIGXCPU},
	{SIGXFSZ, syscall.SIGXFSZ},
	{SIGVTALRM, syscall.SIGVTALRM},
	{SIGPROF, syscall.SIGPROF},
	{SIGWINCH, syscall.SIGWINCH},
	{SIGUSR1, syscall.SIGUSR1},
	{SIGUSR2, syscall.SIGUSR2},
}
